//! Who is there, and who does not answer. It makes calls fail fast, and frees nothing: a claim ends by its lease or by proof.

mod probe;

use std::fmt;

use crate::identity::{Incarnation, NodeName};

pub(crate) use probe::keep_asking;

/// A node of the cluster, as another one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// What it is called.
    pub name: NodeName,
    /// The latest start of it that is known.
    pub incarnation: Incarnation,
    /// Where it listens, as `HOST:PORT`.
    pub address: String,
    /// Whether it answers.
    pub health: Health,
}

/// Whether a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It answers, as far as is known.
    Alive,
    /// It has not answered for a while. It may be there: calls to it fail at once, and it is asked on.
    Suspected,
    /// It is proved that this start of it has ended.
    Ended,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Suspected => "suspected",
            Self::Ended => "ended",
        })
    }
}

/// Where a node learns who is there. What it says makes calls fail fast, and is proof of nothing.
pub trait Membership: Send + Sync {
    /// The nodes that are known, in the order of their names.
    fn members(&self) -> Vec<Member>;
}
