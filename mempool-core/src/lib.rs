//! A pool of values with an exact memory limit: past it, the least recently used go to a slower tier.
//!
//! A program puts values into a [`Pool`] and keeps small typed references, [`DRef`]. The pool counts every byte that
//! its values own; when the limit is reached it evicts the least recently used, writing them to its
//! [`SpillStore`], and brings them back when they are got. It is a store and not a cache: a value that was set stays
//! readable until its last reference is dropped or it is deleted.
//!
//! ```
//! use mempool_core::{Blob, PoolOptions};
//!
//! // Room for about one and a half of these values.
//! let pool = PoolOptions::new().memory_limit(1_600_000).open(Blob);
//! let first = pool.set(vec![1; 1_000_000])?;
//! let second = pool.set(vec![2; 1_000_000])?; // evicts the first
//! assert!(!pool.is_in_memory(&first));
//! assert_eq!(pool.get(&first)?[0], 1); // comes back as a view, and takes nothing from the limit
//! assert!(pool.stats().peak_bytes <= 1_600_000);
//! # drop(second);
//! # Ok::<(), mempool_core::Error>(())
//! ```
//!
//! This crate does no I/O and knows no format, no file and no network. What a value is in memory and on disk is told
//! by a [`Codec`] (`mempool-codec` has two, [`Blob`] here is a third); where frames go, by a [`SpillStore`]
//! (`mempool-spill` has the one for disks, [`MemoryStore`] here works alone).
//!
//! # The model
//!
//! | word | meaning |
//! | --- | --- |
//! | value | what a user puts in; immutable from then on |
//! | resident bytes | heap bytes owned by pooled values; what the memory limit counts |
//! | view | what `get` hands out, over heap or over a map |
//! | pin | a reader holds the value: it is not evicted until the guard is dropped |
//! | evict, spill | release the resident bytes; write first if there is no good copy on disk |
//! | frame | a value at rest: header and sections |
//! | name | keeps a value alive and finds it; what is named when a pool retains outlives it, with what it refers to |
//!
//! ```text
//!            set                 room is needed: written, then released
//!   value ─────────▶ Resident ───────────────────────────────────────────▶ Spilled
//!                     ▲   ▲                                                 │   │
//!                     │   └──────────── get: codec decodes ─────────────────┘   │
//!                     │                                                         │
//!                     │  Mapped ◀────── get: codec maps (no resident bytes) ────┘
//!                     │
//!                     └ a later eviction of the same value writes nothing: the frame is still good
//! ```
//!
//! # Features
//!
//! `testing`: doubles and checks for the tests of codecs and stores. `tracing`: what a pool does, as events and spans of
//! the crate `tracing`. Where the feature is off nothing of it is compiled; where nobody subscribes an event costs one
//! relaxed load, and the get of a value in memory has none. Each names its `pool`, see [`PoolOptions::name`].
//!
//! | target | level | what |
//! | --- | --- | --- |
//! | `mempool_core::pool` | debug | a pool was opened; was closed (span `close`) |
//! | `mempool_core::evict` | debug | a pass that makes room (span `evict`); a value was spilled; a discardable one was dropped |
//! | `mempool_core::evict` | trace | a value's memory was released |
//! | `mempool_core::write` | debug | spans `write` around calls of the store, `save` around those for a file of the user's |
//! | `mempool_core::write` | warn | a frame could not be written |
//! | `mempool_core::load` | debug | spans `read` around calls of the store, `fetch` around those to another pool; a value came back, or could not |
//! | `mempool_core::room` | debug | a request ended with [`NoRoom`] |
//! | `mempool_core::reclaim` | warn | a destructor or a drop of the user's panicked |
//!
//! An error that its caller has is `debug`; what the pool may get over without telling anybody is `warn`. Nothing is told
//! under a lock, so a subscriber may ask for [`Pool::stats`]; it must not ask the pool for room, which may just be making it.

#[macro_use]
mod mutant;

mod blob;
mod budget;
mod buffer;
mod builder;
mod cancel;
mod claim;
mod codec;
mod counted;
mod dref;
mod entry;
mod erased;
mod error;
mod events;
mod evict;
mod export;
mod file;
mod foreign;
pub mod fork;
mod frame;
mod id;
mod index;
mod manifest;
mod many;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod names;
mod options;
mod origin;
mod parking;
mod pin;
mod pool;
mod prefetch;
mod prometheus;
mod receive;
mod recency;
mod reclaim;
mod registration;
mod restored;
mod retain;
mod shared;
mod sink;
mod sites;
mod slots;
mod stats;
mod store;
mod sync;
mod trim;
mod turn;
mod values;
mod word;
mod writers;
mod young;

#[cfg(feature = "testing")]
pub mod testing;

pub use blob::Blob;
pub use budget::{Ledger, LedgerUsage, Reservation, Wait};
pub use buffer::{ALIGNMENT, ALIGNMENT_MAX, Buffer, BufferMut};
pub use builder::Builder;
pub use cancel::{CancelId, Canceller};
pub use codec::{Build, Codec, CodecName, Format, Room, copy_into, type_tag};
pub use dref::{DRef, ReferenceList};
pub use erased::Erased;
pub use error::{
    Cause, CodecError, Error, ErrorKind, FrameDamage, NoRoom, PinSite, PinnedValue, Rejected,
    Result, StoreError, StoreErrorKind,
};
pub use export::Export;
pub use file::FileRef;
pub use foreign::{ForeignMap, ForeignMaps};
pub use frame::{
    Content, Frame, HEADER_BYTES, Header, MAGIC, SECTION_BYTES, SECTIONS_MAX, Section, VERSION,
};
pub use id::Id;
pub use manifest::{KeptFormat, KeptValue, Manifest};
pub use memory::MemoryStore;
#[cfg(feature = "mutants")]
#[doc(hidden)]
pub use mutant::is_on as mutant_is_on;
pub use names::{NameInfo, Untyped, UntypedInfo};
pub use options::{PoolOptions, SetOptions};
pub use origin::{Fetched, RemoteFrame, RemoteValue};
pub use pin::{Loaded, Pinned, PinnedOwned, Resolve};
pub use pool::Pool;
pub use prefetch::Prefetch;
pub use prometheus::Prometheus;
pub use receive::Receiving;
pub use recency::Policy;
pub use sink::{Sink, Source, Trust};
pub use stats::Stats;
pub use store::{Fingerprint, Handle, SpillStore, StoreUsage, Summing};
pub use values::{Place, ValueInfo, Values};
pub use writers::WriteAhead;
