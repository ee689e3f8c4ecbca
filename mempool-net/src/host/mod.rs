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
