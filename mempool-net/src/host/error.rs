//! What can go wrong between two processes of one host.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_core::{ErrorKind, FrameDamage};

use super::frame::Stamp;
use super::hello::BootId;
use super::message::BytesReason;
use crate::identity::{GlobalId, Incarnation};

/// Why a value could not be had from a process of the same host. Whoever gets it asks for bytes over the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A call of the system failed.
    #[error("cannot {call} {}: {source}", path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// The socket, directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime directory is not ours alone.
    #[error(
        "{} belongs to uid {found_uid} with mode {found_mode:o}; it must belong to uid {uid} with mode 700",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Who we are.
        uid: u32,
        /// Whose it is.
        found_uid: u32,
        /// The mode it has.
        found_mode: u32,
    },
    /// The peer runs under another kernel, or was booted another time.
    #[error("node {peer} runs on another host: boot {found}, ours is {expected}")]
    OtherHost {
        /// The peer.
        peer: Incarnation,
        /// Our boot.
        expected: BootId,
        /// The peer's.
        found: BootId,
    },
    /// The process at the other end runs as another user.
    #[error(
        "process {pid} runs as uid {found}, not as {expected}: it gets bytes, and no descriptor"
    )]
    OtherUser {
        /// Who we are.
        expected: u32,
        /// Who the other process is.
        found: u32,
        /// Its number; 0 where it cannot be seen from here.
        pid: u32,
    },
    /// Nobody listens at the peer's place: it has ended, or its directory is not the one that we look in.
    #[error("node {peer} does not listen at {}: {source}", path.display())]
    NotListening {
        /// The peer.
        peer: Incarnation,
        /// Where its socket would be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process at the other end did not show that it is the node of the other connection.
    #[error("whoever listens as node {peer} does not know {what}")]
    Stranger {
        /// Who it should be.
        peer: Incarnation,
        /// What it did not show.
        what: &'static str,
    },
    /// A message is none of the protocol's.
    #[error("a message from {peer} is wrong in its {part}: {found}")]
    Message {
        /// Who sent it.
        peer: Incarnation,
        /// Which part.
        part: &'static str,
        /// What stands there.
        found: u64,
    },
    /// The peer answered nothing in time.
    #[error("node {peer} did not {what} within {waited:?}")]
    Timeout {
        /// The peer.
        peer: Incarnation,
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The peer has hung up, or has exited.
    #[error("node {peer} has closed its end")]
    Closed {
        /// The peer.
        peer: Incarnation,
    },
    /// The peer hands over no descriptor at all.
    #[error("node {peer} hands over no descriptors: {reason}")]
    Refused {
        /// The peer.
        peer: Incarnation,
        /// Why.
        reason: BytesReason,
    },
    /// The owner has no such value.
    #[error("node {peer} has no value {value}")]
    NoValue {
        /// The peer.
        peer: Incarnation,
        /// The value.
        value: GlobalId,
    },
    /// A descriptor is not what a frame may come in.
    #[error("the descriptor for value {value} {fault}")]
    Descriptor {
        /// The value.
        value: GlobalId,
        /// What is wrong with it.
        fault: DescriptorFault,
    },
    /// The bytes behind a descriptor are no frame.
    #[error("the frame of value {value}: {damage}")]
    Frame {
        /// The value.
        value: GlobalId,
        /// What is wrong.
        damage: FrameDamage,
    },
    /// The frame behind a descriptor is another value's.
    #[error("the frame of value {value} is {found}, not {expected}")]
    WrongFrame {
        /// The value.
        value: GlobalId,
        /// What was asked for.
        expected: Stamp,
        /// What stands in its header.
        found: Stamp,
    },
}

/// What is wrong with a descriptor that a peer has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// There is not exactly one.
    #[error("came as {found} descriptors{}", if *cut { " or more" } else { "" })]
    Count {
        /// How many came.
        found: usize,
        /// Whether there were more than were taken in.
        cut: bool,
    },
    /// It is no regular file.
    #[error("is no regular file: mode {mode:o}")]
    Type {
        /// What it is; 0 where the system does not say.
        mode: u32,
    },
    /// It is open for writing, or for nothing.
    #[error("is not open for reading alone: flags {flags:#x}")]
    Access {
        /// The flags that it was opened with.
        flags: u32,
    },
    /// Another user owns the file.
    #[error("is of a file of uid {found}, not of {expected}")]
    Owner {
        /// Who we are.
        expected: u32,
        /// Whose file it is.
        found: u32,
    },
    /// The file ends before the frame does.
    #[error("is of a file of {found} bytes, and the frame ends at {expected}")]
    Short {
        /// Where the frame ends.
        expected: u64,
        /// The length of the file.
        found: u64,
    },
    /// The frame starts in the middle of a page, or is longer than memory.
    #[error("has its frame at offset {offset}, {bytes} bytes long")]
    Place {
        /// Where it starts.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
    /// Memory that can still be written to or be made shorter.
    #[error("is of memory that is not sealed: seals {seals:#x}")]
    Unsealed {
        /// The seals that it has.
        seals: u32,
    },
}

impl HostError {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoValue { .. } => ErrorKind::Misuse,
            Self::Descriptor { .. }
            | Self::Frame { .. }
            | Self::WrongFrame { .. }
            | Self::Message { .. } => ErrorKind::Damage,
            _ => ErrorKind::Environment,
        }
    }

    pub(super) fn io(call: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { call, path: path.to_path_buf(), source: source.into() }
    }
}
