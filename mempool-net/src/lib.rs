//! Values that another node owns.
//!
//! A node is a pool that others can reach. What it owns it keeps as long as somebody in the cluster claims it; what others
//! own it has references to. Values never change, so any verified copy may be read; the right to free and to move one is
//! its owner's alone.

/// Whether the planted bug of that name is switched on; `false` without the feature `mutants`.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "mutants")]
        let on = mempool_core::mutant_is_on($name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}

pub mod bytes;
mod error;
pub mod host;
mod identity;
mod membership;
mod node;
mod proto;
pub mod protocol;
pub mod security;

pub use error::{NetError, Reason, Result};
pub use identity::{GlobalId, Incarnation, NodeName, NodeNameError};
pub use membership::{Health, Member, Membership};
pub use node::{
    NamedAt, Node, NodeBuilder, NodeStats, NotSet, Received, SetOn, Ticket, TicketError, ValueAt,
};
