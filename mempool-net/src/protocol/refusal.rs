//! Why something cannot be had. Some refusals cross the wire, so they hold names and numbers alone.

use mempool_core::ErrorKind;

use crate::{GlobalId, Incarnation};

/// What is bounded, see [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// Holders that an owner knows.
    Holders,
    /// Values that one holder has from one owner.
    ValuesOfHolder,
    /// Values that an owner keeps for others.
    Values,
    /// Tickets of one owner.
    Tickets,
    /// Names of one owner.
    Names,
    /// Bytes of a name.
    NameBytes,
    /// Values of one call.
    Batch,
    /// Calls of one node that have not ended.
    Calls,
    /// References on their way to one node.
    Shares,
    /// Copies that a node prepares to own.
    Migrations,
}

/// Why a reference cannot be had, used, shared or moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// This node holds no reference to the value.
    #[error("this node holds no reference to {value}")]
    NotHeld {
        /// The value.
        value: GlobalId,
    },
    /// The owner has not answered yet; whoever waits will be told.
    #[error("{owner} has not yet said whether it keeps {value} for this node")]
    Pending {
        /// The value.
        value: GlobalId,
        /// Whom this node asked.
        owner: Incarnation,
    },
    /// The lease could not be renewed in time, so the owner may have freed the value. The reference is registered anew as
    /// soon as the owner is reached, if the value lives.
    #[error("the lease on {value} was not renewed by {owner} in time")]
    Fenced {
        /// The value.
        value: GlobalId,
        /// Its owner.
        owner: Incarnation,
    },
    /// The value was freed.
    #[error("{owner} no longer has {value}")]
    Gone {
        /// The value.
        value: GlobalId,
        /// Its owner.
        owner: Incarnation,
    },
    /// The owner is proved dead, and its values with it.
    #[error("{owner}, which owned the value, is dead")]
    OwnerDead {
        /// The owner.
        owner: Incarnation,
    },
    /// The owner does not answer, as membership has it. The reference stands as long as its lease.
    #[error("{owner} does not answer")]
    OwnerDown {
        /// The owner.
        owner: Incarnation,
    },
    /// Who should hold the value is proved dead.
    #[error("{holder}, which was to hold the value, is dead")]
    HolderDead {
        /// The holder.
        holder: Incarnation,
    },
    /// This copy was made to own the value from `epoch` on, and whether it does is not known.
    #[error("whether this node or {source_node} owns {value} in epoch {epoch} is not known")]
    OwnershipUnknown {
        /// The value.
        value: GlobalId,
        /// Who owned it before.
        source_node: Incarnation,
        /// The epoch that was prepared.
        epoch: u64,
    },
    /// No such ticket: it never was, its time is over, or its secret is another.
    #[error("ticket {ticket} is not known, or its time is over")]
    TicketUnknown {
        /// The ticket's number.
        ticket: u64,
    },
    /// The ticket was for one use, and somebody else made it.
    #[error("ticket {ticket} was used")]
    TicketUsed {
        /// The ticket's number.
        ticket: u64,
    },
    /// No value has that name.
    #[error("no value is called {name:?}")]
    NameUnknown {
        /// The name.
        name: String,
    },
    /// Another value has that name.
    #[error("another value is called {name:?}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A bound stands in the way.
    #[error("more than {most} {bound:?}")]
    Limit {
        /// What is bounded.
        bound: Bound,
        /// How many there may be.
        most: u64,
    },
    /// The deadline of the call passed.
    #[error("the deadline passed")]
    TimedOut,
    /// This node does not own the value.
    #[error("this node does not own {value}")]
    NotOwned {
        /// The value.
        value: GlobalId,
    },
    /// The value is being moved.
    #[error("{value} is being moved to {target}")]
    Moving {
        /// The value.
        value: GlobalId,
        /// Where to.
        target: Incarnation,
    },
    /// The target could not make a verified copy.
    #[error("{target} could not make a copy of {value}")]
    NotCopied {
        /// The value.
        value: GlobalId,
        /// The target.
        target: Incarnation,
    },
    /// The node that the value was moved to is proved dead; it stays where it was.
    #[error("{target}, where {value} was to move, is dead")]
    TargetDead {
        /// The value.
        value: GlobalId,
        /// The target.
        target: Incarnation,
    },
}

impl Refusal {
    /// Which of the four kinds it is of.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotHeld { .. }
            | Self::TicketUnknown { .. }
            | Self::TicketUsed { .. }
            | Self::NameUnknown { .. }
            | Self::NameTaken { .. }
            | Self::NotOwned { .. }
            | Self::Moving { .. }
            | Self::Gone { .. } => ErrorKind::Misuse,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Pending { .. }
            | Self::Fenced { .. }
            | Self::OwnerDead { .. }
            | Self::OwnerDown { .. }
            | Self::HolderDead { .. }
            | Self::OwnershipUnknown { .. }
            | Self::TimedOut
            | Self::NotCopied { .. }
            | Self::TargetDead { .. } => ErrorKind::Environment,
        }
    }
}
