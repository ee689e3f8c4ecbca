//! Why bytes did not come from a peer, or did not get there.

use std::io;
use std::time::Duration;

use mempool_core::{Cause, ErrorKind};

use super::refusal::RefusalKind;

/// Why bytes did not come from a peer, or did not get there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BytesError {
    /// No connection could be made.
    #[error("no connection to {peer} after {attempts} attempts: {source}")]
    Connect {
        /// The peer.
        peer: String,
        /// How often it was tried.
        attempts: u32,
        /// The last reason.
        source: io::Error,
    },
    /// The peer, or a free connection to it, kept the caller waiting too long.
    #[error("{peer} kept {what} waiting longer than {limit:?}")]
    Timeout {
        /// The peer.
        peer: String,
        /// What did not come: `a connection`, `the answer`, `the body`.
        what: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The connection broke, and going on where it broke did not help either.
    #[error(
        "the connection to {peer} broke at byte {received} of {bytes}, after {attempts} attempts: {source}"
    )]
    Broken {
        /// The peer.
        peer: String,
        /// What had come, from the start of what was asked for.
        received: u64,
        /// What was asked for; 0 where that was not known yet.
        bytes: u64,
        /// How often it was tried.
        attempts: u32,
        /// The last reason.
        source: Cause,
    },
    /// The peer refused.
    #[error("{peer} refused {path}: {}: {message}", kind.name())]
    Refused {
        /// The peer.
        peer: String,
        /// What was asked for.
        path: String,
        /// Why.
        kind: RefusalKind,
        /// In the peer's words.
        message: String,
    },
    /// The peer's answer is not one to what was asked.
    #[error("{peer} answered {path} with {found}, expected {expected}")]
    Protocol {
        /// The peer.
        peer: String,
        /// What was asked for.
        path: String,
        /// What the interface says.
        expected: String,
        /// What came.
        found: String,
    },
    /// After a connection broke, the peer had another frame under the same name.
    #[error("the frame of {path} changed at {peer}: it was {expected}, and is {found}")]
    Changed {
        /// The peer.
        peer: String,
        /// What was asked for.
        path: String,
        /// The tag at first.
        expected: String,
        /// The tag now.
        found: String,
    },
    /// The receiver's own side could not take the bytes.
    #[error("what came from {peer} could not be kept: {source}")]
    Sink {
        /// The peer.
        peer: String,
        /// Why not.
        source: Cause,
    },
}

impl BytesError {
    /// Which of the four kinds it is of.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => kind.error_kind(),
            Self::Protocol { .. } | Self::Changed { .. } => ErrorKind::Damage,
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Sink { .. } => ErrorKind::Environment,
        }
    }
}
