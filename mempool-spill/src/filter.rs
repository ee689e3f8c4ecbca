//! `Filter`: what is done to a frame on its way to a file, and undone on its way back. Lz4, zstd and encryption are
//! filters; a user can write his own.
//!
//! Filters work on one block of a frame at a time, see `container.rs` for how blocks lie in a file. What a filter needs in
//! order to undo its work, beside its key, stands in the container.

use std::error::Error;
use std::fmt;

#[cfg(feature = "testing")]
mod check;
#[cfg(feature = "encrypt")]
mod encrypt;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(any(feature = "lz4", feature = "zstd"))]
mod raw;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "testing")]
pub use check::check_filter;
#[cfg(feature = "encrypt")]
pub use encrypt::Encrypt;
#[cfg(feature = "lz4")]
pub use lz4::Lz4;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

/// What a filter writes into each container, in the clear: all that it needs to undo its work, but its key.
pub type Parameters = [u8; 48];

/// A change of bytes that can be undone.
///
/// [`SpillOptions::filter`](crate::SpillOptions::filter) puts filters into a chain. Each block of a frame goes through
/// [`encode`](Self::encode) of the first filter, then of the second; reading undoes the last one first. A filter is
/// called by many threads at once, and for one block several times if a write is tried again.
///
/// # What must hold
///
/// For every `block` and all `bytes`: `encode` appends at most `encoded_bytes_max(bytes.len())` bytes, and `decode` of
/// exactly those, with the same block, appends `bytes`. `decode` is given bytes that may be anything at all: it answers
/// an error or other bytes, at most `decoded_bytes_max` of them, and never panics.
/// `check_filter` (feature `testing`) tries this.
///
/// ```
/// use mempool_core::{Blob, PoolOptions};
/// use mempool_spill::{Block, Filter, FilterError, FilterName, SpillOptions};
///
/// /// Turns every byte over: no secret, but no plain text either.
/// struct Invert;
///
/// impl Filter for Invert {
///     fn name(&self) -> FilterName {
///         FilterName::new("example-invert")
///     }
///
///     fn encoded_bytes_max(&self, bytes: usize) -> usize {
///         bytes
///     }
///
///     fn encode(&self, _: &Block<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
///         out.extend(bytes.iter().map(|byte| !byte));
///         Ok(())
///     }
///
///     fn decode(
///         &self,
///         block: &Block<'_>,
///         bytes: &[u8],
///         decoded_bytes_max: usize,
///         out: &mut Vec<u8>,
///     ) -> Result<(), FilterError> {
///         match bytes.len() <= decoded_bytes_max {
///             true => self.encode(block, bytes, out),
///             false => Err(FilterError::TooLong { limit_bytes: decoded_bytes_max as u64 }),
///         }
///     }
/// }
///
/// let store = SpillOptions::new(std::env::temp_dir()).filter(Invert).open()?;
/// let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
/// let value = pool.set(b"a value".to_vec())?;
/// drop(pool.move_to_disk(&value)?);
/// assert_eq!(&pool.get(&value)?[..], b"a value");
/// pool.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Filter: Send + Sync + 'static {
    /// The name by which a container says that this filter was applied. A filter whose bytes change has a new name.
    fn name(&self) -> FilterName;

    /// Begins a frame: what stands of this filter in its container. A nonce is drawn here.
    ///
    /// # Errors
    /// The filter's own; the frame is not written.
    fn begin(&self) -> Result<Parameters, FilterError> {
        Ok([0; 48])
    }

    /// Whether this instance can undo what an instance with these parameters did.
    ///
    /// # Errors
    /// [`FilterError::WrongKey`], or [`FilterError::Undecodable`] for parameters that no writer gives.
    fn accepts(&self, parameters: &Parameters) -> Result<(), FilterError> {
        let _ = parameters;
        Ok(())
    }

    /// The most that [`encode`](Self::encode) makes of `bytes`; it grows with them.
    fn encoded_bytes_max(&self, bytes: usize) -> usize;

    /// Appends the encoded form of `bytes` to `out`.
    ///
    /// # Errors
    /// The filter's own; the frame is not written.
    fn encode(&self, block: &Block<'_>, bytes: &[u8], out: &mut Vec<u8>)
    -> Result<(), FilterError>;

    /// Appends to `out` what `bytes` were made of, which is `decoded_bytes_max` bytes at most.
    ///
    /// # Errors
    /// [`FilterError`] says why `bytes` are not what `encode` made.
    fn decode(
        &self,
        block: &Block<'_>,
        bytes: &[u8],
        decoded_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError>;

    /// Whether `decode` refuses everything that was not made with its own key.
    fn authenticates(&self) -> bool {
        false
    }
}

/// Which block of which container a filter works on.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// What this filter's [`begin`](Filter::begin) gave.
    pub parameters: &'a Parameters,
    /// The container's header, with every filter's parameters, without the fields that are known last. An
    /// authenticating filter covers it, so that no block passes in another container.
    pub header: &'a [u8],
    /// The place of the block in its container, from 0.
    pub index: u32,
    /// Whether it is the last one.
    pub last: bool,
}

/// The name of a filter: at most 16 printable ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FilterName([u8; 16]);

impl FilterName {
    /// A name.
    ///
    /// # Panics
    /// When it is empty, longer than 16 bytes, or not of printable ASCII characters.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 16, "a name of 1 to 16 bytes");
        let mut padded = [0; 16];
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_graphic(), "printable ASCII characters");
            padded[at] = bytes[at];
            at += 1;
        }
        Self(padded)
    }

    /// The name in these bytes, padded with zeros; `None` for any that [`new`](Self::new) does not make.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let (name, padding) = bytes.split_at(len);
        let named = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        (named && padding.iter().all(|&byte| byte == 0)).then_some(Self(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for FilterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.iter().take_while(|&&byte| byte != 0);
        name.map(|&byte| char::from(byte)).try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl fmt::Debug for FilterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterName({self})")
    }
}

/// What is known of a key without the key: it tells keys apart, and does not lead back to one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a filter cannot do, or undo, its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It was encrypted with another key than the one at hand.
    #[error("it was encrypted with key {expected}, and the key at hand is {found}")]
    WrongKey {
        /// The key that it needs.
        expected: KeyId,
        /// The key that the store has.
        found: KeyId,
    },
    /// The bytes were not made with this key, or not for this place.
    #[error("it is not authentic: not what was written here with this key")]
    NotAuthentic,
    /// No encoder makes these bytes.
    #[error("it cannot be decoded: {what}")]
    Undecodable {
        /// What is wrong with them.
        what: String,
    },
    /// They decode to more than there was.
    #[error("it decodes to more than {limit_bytes} bytes")]
    TooLong {
        /// How much there was at most.
        limit_bytes: u64,
    },
    /// The filter itself failed.
    #[error("the filter failed: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ascii_and_padded_with_zeros() {
        let name = FilterName::new("lz4");
        assert_eq!(
            (name.to_string(), FilterName::from_bytes(*name.as_bytes())),
            ("lz4".into(), Some(name))
        );
        assert_eq!(FilterName::from_bytes([0; 16]), None);
        assert_eq!(FilterName::from_bytes(*b"lz4\0x\0\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(FilterName::from_bytes(*b"l z4\0\0\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(FilterName::from_bytes([b'x'; 16]).map(|name| name.to_string().len()), Some(16));
    }
}
