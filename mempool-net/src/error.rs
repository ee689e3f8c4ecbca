//! What can go wrong between nodes, in the four kinds of [`ErrorKind`].

use std::io;
use std::time::Duration;

use mempool_core::{Cause, Error, ErrorKind};

use crate::host::HostError;
use crate::identity::{Incarnation, NodeName};
use crate::protocol::Refusal;
use crate::security::SecurityError;

/// Why an operation that concerns other nodes failed. Values are as they were, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The node cannot listen at the address that it was given.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The machine refused what a node needs to start, such as a thread.
    #[error("the node cannot start: {source}")]
    Start {
        /// What the system said.
        source: io::Error,
    },
    /// No node of that name is known here.
    #[error("no node is known as {node}")]
    UnknownNode {
        /// The name.
        node: NodeName,
    },
    /// The node does not answer. It may have ended, or the network between may be cut; what it owns may be there still.
    #[error("node {node} cannot be reached for {call}: {source}")]
    Unreachable {
        /// Its name, or its address where the name is not known yet.
        node: String,
        /// What was to be done.
        call: &'static str,
        /// What the network said.
        source: Cause,
    },
    /// The node did not answer in time. The operation may have been carried out.
    #[error("node {node} did not answer {call} within {after:?}")]
    Deadline {
        /// Its name, or its address.
        node: String,
        /// What was to be done.
        call: &'static str,
        /// The time that it had.
        after: Duration,
    },
    /// That start of the node has ended, and what it owned with it: it has left, or another one answers in its place.
    #[error("node {node} of start {meant} has ended{}", successor(found))]
    Ended {
        /// The node.
        node: NodeName,
        /// The start that was meant.
        meant: Incarnation,
        /// The start that answers now; `None` where none does.
        found: Option<Incarnation>,
    },
    /// The node refused, or failed in doing it.
    #[error("node {node} answers {call}: {said}")]
    Remote {
        /// The node.
        node: String,
        /// What was to be done.
        call: &'static str,
        /// Of which kind its error is.
        kind: ErrorKind,
        /// What it is about.
        reason: Reason,
        /// What the node said.
        said: String,
    },
    /// The node's answer is not one that the protocol has.
    #[error("node {node} answers {call} with what the protocol does not have: {what}")]
    Answer {
        /// The node.
        node: String,
        /// What was to be done.
        call: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// The stores of the two nodes seal their frames by different checksums, so neither could read what the other sends: one has a
    /// store for disks, and the other none.
    #[error(
        "node {node} seals frames by another checksum: {found:016x} for what is {ours:016x} here"
    )]
    Checksum {
        /// The node.
        node: String,
        /// What this node's store makes of the probe.
        ours: u64,
        /// What that node's does.
        found: u64,
    },
    /// This node has left the cluster, or is leaving it.
    #[error("this node has left")]
    Left,
    /// A claim on a value of another node's does not stand.
    #[error(transparent)]
    Claim(#[from] Refusal),
    /// Somebody could not prove who he is, or may not do this.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The way between processes of one host does not work.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The pool of this node failed.
    #[error(transparent)]
    Pool(#[from] Error),
}

impl NetError {
    /// Which of the four kinds it is of.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownNode { .. } | Self::Checksum { .. } | Self::Left => ErrorKind::Misuse,
            Self::Deadline { .. } => ErrorKind::Limit,
            Self::Listen { .. }
            | Self::Start { .. }
            | Self::Unreachable { .. }
            | Self::Ended { .. } => ErrorKind::Environment,
            Self::Remote { kind, .. } => *kind,
            Self::Answer { .. } => ErrorKind::Damage,
            Self::Claim(source) => source.kind(),
            Self::Security(source) => source.kind(),
            Self::Host(source) => source.kind(),
            Self::Pool(source) => source.kind(),
        }
    }

    /// What a node that refused says it is about; `None` for other errors.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Remote { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

fn successor(found: &Option<Incarnation>) -> String {
    found.map_or_else(String::new, |found| format!("; {found} answers in its place"))
}

/// What an error of another node is about, where that can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing that has a name here.
    Other,
    /// The value was deleted.
    Deleted,
    /// The value was discardable and was dropped for room.
    Discarded,
    /// No such value, or none that this node has a claim on.
    NoValue,
    /// No value has that name.
    NoName,
    /// Readers hold the value.
    Pinned,
    /// Pins fill the memory limit of that node.
    NoRoom,
    /// More than its whole memory limit.
    TooLarge,
    /// The value holds references, so it cannot be saved to a file.
    HoldsReferences,
    /// The value has another type or codec.
    WrongCodec,
    /// Its disk is full.
    Full,
    /// Its pool is closed.
    Closed,
    /// It is leaving.
    Leaving,
    /// This node may not do that.
    Forbidden,
    /// It did not understand the call.
    Malformed,
    /// The lease of this node is over there: what it held may be gone.
    Fenced,
    /// It takes no saved values, or not under that name.
    Export,
    /// It does not know the ticket, or not any more.
    Ticket,
}

/// The crate's result.
pub type Result<T, E = NetError> = std::result::Result<T, E>;
