//! Values that another node owns.
//!
//! A node is a pool that others can reach. What it owns it keeps as long as somebody in the cluster claims it; what others
//! own it has references to. Values never change, so any verified copy may be read; the right to free and to move one is
//! its owner's alone.

pub mod bytes;
mod identity;
pub mod security;

pub use identity::{GlobalId, Incarnation, NodeName, NodeNameError};
