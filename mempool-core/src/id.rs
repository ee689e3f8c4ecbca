//! The name of a value: a slot, and how often that slot was given anew.

use std::fmt;

/// The name of a value in its pool.
///
/// The pair is never used twice: a slot that has been given 2^32 - 1 times is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The place in the pool's table.
    pub slot: u32,
    /// How often the slot was given anew; starts at 1.
    pub generation: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
