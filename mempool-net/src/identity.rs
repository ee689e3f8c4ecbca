//! Who a node is, and the name of a value in a cluster.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mempool_core::Id;

/// The name of a node: what its certificate says, and what people write in a list of peers.
///
/// *Shape*: 1 to 63 ASCII letters, digits and hyphens, neither first nor last a hyphen, in lower case: a label as DNS has
/// them, so that a certificate can pin it. *Source*: RFC 1123, section 2.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

/// Why a text names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name of a node: 1 to {} letters, digits and hyphens, none at an end",
    NodeName::BYTES_MAX
)]
pub struct NodeNameError {
    /// What was given, cut after so many characters as a name may have.
    pub name: String,
}

impl NodeName {
    /// The most bytes that a name has.
    pub const BYTES_MAX: usize = 63;

    /// A name of that text, whose capital letters become small.
    ///
    /// # Errors
    /// [`NodeNameError`] for a text that is no label.
    pub fn new(name: &str) -> Result<Self, NodeNameError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let fits = bytes.len() <= Self::BYTES_MAX && bytes.iter().all(|&byte| inner(byte));
        if fits && outer(bytes.first()) && outer(bytes.last()) {
            return Ok(Self(name.to_ascii_lowercase().into()));
        }
        Err(NodeNameError { name: name.chars().take(Self::BYTES_MAX).collect() })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(name: &str) -> Result<Self, NodeNameError> {
        Self::new(name)
    }
}

/// One start of a node. A node that was started again has another, so it is never taken for its predecessor.
///
/// *Shape*: the time of the start in the upper 64 bits, in nanoseconds since 1970, and random bits below. *Order*: of two
/// starts under one name the later is the newer, as far as the clock of that host was not set back; two starts at one
/// instant differ in the random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// A start now.
    ///
    /// # Errors
    /// When the system has no random bits.
    pub(crate) fn now() -> io::Result<Self> {
        // A clock that stands before 1970 makes the oldest start there is.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let low = random()? & u128::from(u64::MAX);
        Ok(Self(u128::from(started) << 64 | low))
    }
}

/// Bits that nobody can guess.
pub(crate) fn random() -> io::Result<u128> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(u128::from_ne_bytes(random))
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of a value in a cluster: where it was born, and its name there. It stays when the value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalId {
    /// The start of the node in whose pool it was set.
    pub birth: Incarnation,
    /// Its name there.
    pub id: Id,
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.birth, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_in_lower_case() {
        for good in ["a", "node-1", "0", &"x".repeat(63)] {
            assert_eq!(NodeName::new(good).expect("a label").as_str(), good);
        }
        assert_eq!(NodeName::new("Node-A"), NodeName::new("node-a"));
        for bad in ["", "-a", "a-", "a.b", "a b", "ä", "a/b", "a\n", &"x".repeat(64)] {
            let error = bad.parse::<NodeName>().expect_err("no label");
            assert!(bad.starts_with(&error.name), "{error}");
        }
    }

    #[test]
    fn a_value_says_where_it_was_born() {
        let id = Id { slot: 7, generation: 1 };
        let global = GlobalId { birth: Incarnation(0xab), id };
        assert_eq!(global.to_string(), format!("{:030}ab/7.1", 0));
    }
}
