//! The path between processes on one host: descriptors instead of bytes.
//!
//! ```text
//!  asker                                                     owner
//!    │  a call over the network: who are you, where do you run?  │
//!    │◀──────────────── HostHello { boot, uid, incarnation, ─────│   an introduction of its own for each peer
//!    │                              introduction }               │
//!    │  boot and uid are ours: <runtime directory>/<incarnation>.sock
//!    │─────────── connect, SOCK_SEQPACKET ──────────────────────▶│   peer's uid and pidfd, from the kernel
//!    │◀────────── Challenge { nonce } ───────────────────────────│
//!    │─────────── Hello { from, to, ask, nonces } ──────────────▶│   ask: one half of the introduction
//!    │◀────────── Welcome { answer, nonce } ─────────────────────│   answer: the other half
//!    │─────────── Get { value } ────────────────────────────────▶│
//!    │◀────────── Frame { export, offset, bytes, stamp } + fd ───│   counted as exported
//!    │  check the descriptor, map it                             │
//!    │─────────── Taken { export } ─────────────────────────────▶│
//!    │  … the last view goes                                     │
//!    │─────────── Release { exports } ──────────────────────────▶│   or its pidfd says that it has exited
//! ```
//!
//! One user on one kernel is one trust domain: a descriptor of his is checked for what it is, and its content is believed.
//! Another user gets bytes, over the network. No path is ever said by a peer: where its socket is follows from who it is.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use mempool_core::{Blob, Pool, PoolOptions};
//! use mempool_net::host::{Given, HandOver, HostLink, HostServer, Promotions, RuntimeDir, Shelf};
//! use mempool_net::{GlobalId, Incarnation};
//!
//! struct Values(Pool<Blob>, Promotions);
//!
//! impl Shelf for Values {
//!     fn hand_over(&self, _: Incarnation, value: GlobalId) -> HandOver {
//!         let found = self.0.find(value.id);
//!         let given = found.and_then(|value| self.1.hand_over(&self.0, &value).ok());
//!         given.unwrap_or(HandOver::NoValue)
//!     }
//! }
//!
//! # let place = std::env::temp_dir().join(format!("mempool-host-doc-{}", std::process::id()));
//! let dir = Arc::new(RuntimeDir::open(&place)?);
//! let (owner, asker) = (Incarnation(1), Incarnation(2));
//! let pool = PoolOptions::new().memory_limit(8 << 20).open(Blob);
//! let value = pool.set(vec![7; 2 << 20])?;
//! let id = GlobalId { birth: owner, id: value.id() };
//! let shelf = Values(pool.with_codec(Blob), Promotions::default());
//! let server = HostServer::start(&dir, owner, Arc::new(shelf))?;
//!
//! // In another process, which was sent the hello over the network:
//! let link = HostLink::connect(&dir, asker, server.hello(asker), Duration::from_secs(10))?;
//! let other = PoolOptions::new().open(Blob);
//! let Given::Mapped { frame, .. } = link.fetch(id, None, &other.foreign_maps())? else {
//!     panic!("it is large enough")
//! };
//! assert!(frame.ends_with(&[7; 2 << 20]));
//! assert_eq!(server.usage().bytes, frame.len() as u64);
//! # drop(server);
//! # std::fs::remove_dir_all(place)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All of it blocks: an async program calls it on threads that may wait. `HostLink::fetch` waits no longer than it was told.
//!
//! This folder sees descriptors and frames, never types, and reads no value: what a value's frame is, and who may have it, a
//! [`Shelf`] says.

mod channel;
mod error;
mod exports;
mod frame;
mod hello;
mod link;
mod map;
mod memfd;
mod message;
mod place;
mod process;
mod promotions;
mod server;

pub use error::{DescriptorFault, HostError};
pub use exports::{ExportUsage, Exported};
pub use frame::{SharedFrame, Stamp};
pub use hello::{BootId, HostHello, Introduction};
pub use link::{Given, HostLink};
pub use memfd::SealedFrame;
pub use message::BytesReason;
pub use place::RuntimeDir;
pub use process::PeerProcess;
pub use promotions::Promotions;
pub use server::{HandOver, HostServer, Shelf};
