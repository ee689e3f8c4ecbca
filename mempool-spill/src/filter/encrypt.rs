//! Authenticated encryption: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) in the STREAM construction (Hoang,
//! Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, CRYPTO 2015).
//!
//! ```text
//! parameters: 48
//!     0     16  key id
//!    16     19  nonce prefix, random, drawn for each frame
//!    35     13  zero
//!
//! the nonce of a block: 24
//!     0     19  nonce prefix
//!    19      4  index of the block, big-endian
//!    23      1  1 for the last block, 0 for others
//!
//! a block: the encrypted bytes, then a tag of 16
//! ```
//!
//! Associated data is the header of the container. The index and the mark of the last block in the nonce make a block at
//! another place, and a container that ends early, fail. The prefix has 152 bits: among 2^56 frames of one key two have
//! the same one with a probability of 2^-41. The key id is 16 bytes of the key's stream at a nonce whose last byte is
//! 255, which no block has; it shows nothing of the key.

use chacha20poly1305::{AeadInOut, Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::{Block, Filter, FilterError, FilterName, KeyId, Parameters};

const TAG: usize = 16;
const PREFIX: usize = 19;

/// Encrypts with a key of the user's, and refuses whatever was not written with it (feature `encrypt`).
///
/// The last filter of a chain as a rule: what is encrypted cannot be compressed any more. Sizes are not hidden; with a
/// compressor before it they tell how well values compress, which matters where somebody else chooses part of a value.
/// The header of a container, with slot, generation and pool, is authenticated and not encrypted, and so is the manifest
/// of a retained session, with names and types, neither. The key is wiped from memory when the last store that has it is
/// dropped; values in memory are plain.
pub struct Encrypt {
    key: Zeroizing<[u8; 32]>,
    id: KeyId,
    #[cfg(feature = "testing")]
    prefix: Option<[u8; PREFIX]>,
}

impl Encrypt {
    /// With a key of 32 random bytes. A password is none: derive a key from it first.
    #[must_use]
    pub fn with_key(key: [u8; 32]) -> Self {
        let key = Zeroizing::new(key);
        let mut id = [0; 16];
        let nonce = XNonce::from([0xff; 24]);
        // Encrypting zeros shows the stream; it fails for messages of 256 GiB alone.
        let _ = cipher(&key).encrypt_inout_detached(&nonce, &[], (&mut id[..]).into());
        Self {
            key,
            id: KeyId(id),
            #[cfg(feature = "testing")]
            prefix: None,
        }
    }

    /// What containers say of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// With the same nonces for every frame: for golden files alone. It gives the secret away.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_fixed_prefix(mut self, prefix: [u8; 19]) -> Self {
        self.prefix = Some(prefix);
        self
    }

    fn draw(&self) -> Result<[u8; PREFIX], FilterError> {
        #[cfg(feature = "testing")]
        if let Some(prefix) = self.prefix {
            return Ok(prefix);
        }
        let mut prefix = [0; PREFIX];
        // So few bytes are given whole.
        match getrandom(&mut prefix, GetRandomFlags::empty()) {
            Ok(PREFIX) => Ok(prefix),
            Ok(_) => Err(FilterError::Failed("the system gave too few random bytes".into())),
            Err(errno) => Err(FilterError::Failed(Box::new(std::io::Error::from(errno)))),
        }
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(<&Key>::from(key))
}

fn nonce(block: &Block<'_>) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..PREFIX].copy_from_slice(&block.parameters[16..16 + PREFIX]);
    nonce[PREFIX..23].copy_from_slice(&block.index.to_be_bytes());
    nonce[23] = u8::from(block.last);
    nonce.into()
}

fn id_of(parameters: &Parameters) -> KeyId {
    let mut id = [0; 16];
    id.copy_from_slice(&parameters[..16]);
    KeyId(id)
}

impl std::fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypt").field("key_id", &self.id).finish_non_exhaustive()
    }
}

impl Filter for Encrypt {
    fn name(&self) -> FilterName {
        FilterName::new("xchacha20")
    }

    fn begin(&self) -> Result<Parameters, FilterError> {
        let mut parameters = [0; 48];
        parameters[..16].copy_from_slice(&self.id.0);
        parameters[16..16 + PREFIX].copy_from_slice(&self.draw()?);
        Ok(parameters)
    }

    fn accepts(&self, parameters: &Parameters) -> Result<(), FilterError> {
        let expected = id_of(parameters);
        match expected == self.id {
            true => Ok(()),
            false => Err(FilterError::WrongKey { expected, found: self.id }),
        }
    }

    fn encoded_bytes_max(&self, bytes: usize) -> usize {
        bytes.saturating_add(TAG)
    }

    fn encode(
        &self,
        block: &Block<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let start = out.len();
        out.extend_from_slice(bytes);
        let encrypted = out.get_mut(start..).unwrap_or_default();
        let tag = cipher(&self.key)
            .encrypt_inout_detached(&nonce(block), block.header, encrypted.into())
            .map_err(|error| FilterError::Failed(error.to_string().into()))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    fn decode(
        &self,
        block: &Block<'_>,
        bytes: &[u8],
        decoded_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let Some((encrypted, tag)) = bytes.split_last_chunk::<TAG>() else {
            return Err(FilterError::Undecodable { what: "a block without a tag".into() });
        };
        if encrypted.len() > decoded_bytes_max {
            return Err(FilterError::TooLong { limit_bytes: decoded_bytes_max as u64 });
        }
        let start = out.len();
        out.extend_from_slice(encrypted);
        let plain = out.get_mut(start..).unwrap_or_default();
        // Nothing is decrypted when the tag is wrong.
        cipher(&self.key)
            .decrypt_inout_detached(&nonce(block), block.header, plain.into(), &Tag::from(*tag))
            .map_err(|_| FilterError::NotAuthentic)
    }

    fn authenticates(&self) -> bool {
        true
    }
}
