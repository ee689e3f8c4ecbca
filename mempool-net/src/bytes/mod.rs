//! Values as bodies of HTTP: frames, or parts of them, over any stream of bytes, by hyper.
//!
//! ```text
//! GET, HEAD /v1/values/{birth}/{slot}.{generation}    a frame, or the part that `Range` asks for
//! PUT       /v1/values                                a new frame, as long as `Content-Length` says
//!
//! FrameSource ──▶ ValueService ──▶ hyper ──▶ stream ──▶ hyper ──▶ Peer ──▶ FrameSink
//!   a pool           answers      no copy            one buffer  asks    one copy, where
//!                                                   per link     again   room was reserved
//! ```
//!
//! A frame leaves from where it lies: the pieces of a body are parts of its [`Buffer`](mempool_core::Buffer). It comes into a
//! bounded read buffer of the connection and is copied once, into what the receiver reserved before the first byte. A
//! connection that breaks is made anew, and the rest asked for with `Range` and `If-Range`; who drops the future of a
//! transfer closes its connection, and the sender stops.
//!
//! This folder knows neither pools nor who may do what: a [`FrameSource`] does. It makes no connections beside plain TCP and
//! Unix sockets: a [`Connector`] does. `docs/network.md` has the interface as others see it.

mod body;
mod check;
mod connect;
mod error;
mod export;
mod fetch;
mod frame;
mod headers;
mod path;
mod peer;
mod progress;
mod range;
mod refusal;
mod service;
mod stall;
mod transfer;

pub(crate) use path::value as value_of_text;

pub use body::ValueBody;
pub use check::Checked;
pub use connect::{ByteStream, Connecting, Connector, Tcp, Unix};
pub use error::BytesError;
pub use export::ExportFrame;
pub use fetch::Answer;
pub use frame::{BufferFrame, FrameHead, FrameSink, FrameSource, NewFrame, ServedFrame};
pub use peer::{Peer, PeerLimits};
pub use progress::Pace;
pub use range::ByteRange;
pub use refusal::{Refusal, RefusalKind};
pub use service::{ServeLimits, ValueService};
pub use stall::WriteDeadline;
