//! Values as bytes, and bytes as values: the codecs that most programs need.
//!
//! | codec | for | in memory | `get` gives | on disk | coming back |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Rkyv`] | types that derive `rkyv::Archive` | an archive, counted to the byte | `&Archived<T>` | the archive as it is | a view of the map: no copy, no decoding |
//! | [`Bincode`] | serde types that know their size ([`ResidentBytes`]) | the value itself | `&T` | bincode | decoded, inside the budget |
//! | [`Encoded`] | any serde type, maps and sets too | its bincode bytes, counted to the byte | [`Encoding`], which decodes a copy on demand | the bytes as they are | a view of the map |
//! | `mempool_core::Blob` | byte vectors | the vector itself | `&Buffer` | the bytes | a view of the map |
//!
//! ```
//! # #[cfg(feature = "rkyv")] {
//! use mempool_codec::Rkyv;
//! use mempool_core::PoolOptions;
//!
//! #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
//! struct Station {
//!     name: String,
//!     readings: Vec<f64>,
//! }
//!
//! let pool = PoolOptions::new().memory_limit(1 << 20).open(Rkyv::new());
//! let station = Station { name: "Ushuaia".into(), readings: vec![4.5; 1000] };
//! let reference = pool.set(station)?;
//! let view = pool.get(&reference)?;
//! assert_eq!(view.name, "Ushuaia");
//! assert_eq!(view.readings.len(), 1000);
//! # }
//! # Ok::<(), mempool_core::Error>(())
//! ```
//!
//! A value may hold references to other values of its pool, and keeps them alive, in memory and on disk: a field of type
//! `DRef` is archived with [`Reference`], or written by serde with [`mod@reference`].
//!
//! A codec of your own implements [`mempool_core::Codec`]; `codec_laws!` (feature `testing`) tests what it must keep.

#[cfg(feature = "rkyv")]
mod archived;
#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "bincode")]
mod decoder;
#[cfg(feature = "bincode")]
mod encoded;
#[cfg(feature = "bincode")]
mod encoder;
#[cfg(feature = "testing")]
pub mod laws;
#[cfg(feature = "bincode")]
pub mod reference;
#[cfg(feature = "bincode")]
mod resident;
#[cfg(feature = "rkyv")]
mod rkyv;

#[cfg(feature = "rkyv")]
pub use crate::archived::{ArchivedReference, Reference, ReferenceSink};
#[cfg(feature = "bincode")]
pub use crate::bincode::Bincode;
#[cfg(feature = "bincode")]
pub use crate::encoded::{Decoded, Encoded, Encoding};
#[cfg(feature = "bincode")]
pub use crate::resident::ResidentBytes;
#[cfg(feature = "rkyv")]
pub use crate::rkyv::{Archive, Out, Rkyv};
