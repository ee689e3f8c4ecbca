//! Filters as they are named on the command line, and the file that a key is in.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use mempool_spill::{Encrypt, Lz4, SpillOptions};
use rustix::rand::{GetRandomFlags, getrandom};

/// What a key file has: these bytes, or twice as many hexadecimal digits.
const KEY_BYTES: usize = 32;

/// One filter of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterChoice {
    /// No filter: stands alone.
    None,
    Lz4,
    /// At a level.
    Zstd(i32),
    Encrypt,
}

impl FromStr for FilterChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => match text {
                "none" => Ok(Self::None),
                "lz4" => Ok(Self::Lz4),
                "zstd" => zstd_at(3),
                "encrypt" => Ok(Self::Encrypt),
                _ => Err("not one of none, lz4, zstd, zstd:LEVEL and encrypt".into()),
            },
            Some(("zstd", level)) => match level.parse() {
                Ok(level @ 1..=19) => zstd_at(level),
                _ => Err("a level of zstd is 1 to 19".into()),
            },
            Some((name, _)) => Err(format!("{name} has no level")),
        }
    }
}

fn zstd_at(level: i32) -> Result<FilterChoice, String> {
    match cfg!(feature = "zstd") {
        true => Ok(FilterChoice::Zstd(level)),
        false => Err("this program was built without zstd: build it with --features zstd".into()),
    }
}

impl fmt::Display for FilterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Lz4 => write!(f, "lz4"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Encrypt => write!(f, "encrypt"),
        }
    }
}

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has something else in it.
    #[error("{} has no key: 32 bytes, or 64 hexadecimal digits", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("cannot draw a key")]
    Random(#[source] io::Error),
}

/// The options with these filters, in this order. Without a key file the key is random, and goes with the store.
///
/// # Errors
/// [`KeyError`] where there is no key.
pub(crate) fn apply(
    options: SpillOptions,
    filters: &[FilterChoice],
    key_file: Option<&Path>,
) -> Result<SpillOptions, KeyError> {
    filters.iter().try_fold(options, |options, filter| {
        Ok(match filter {
            FilterChoice::None => options,
            FilterChoice::Lz4 => options.filter(Lz4),
            FilterChoice::Zstd(level) => with_zstd(options, *level),
            FilterChoice::Encrypt => {
                options.filter(Encrypt::with_key(key_file.map_or_else(random_key, read_key)?))
            }
        })
    })
}

/// Everything that can be undone, with the key in the file if there is one.
///
/// # Errors
/// [`KeyError`] for a file without a key.
pub(crate) fn readers(key_file: Option<&Path>) -> Result<SpillOptions, KeyError> {
    // The directory is not looked at.
    let options = SpillOptions::new("").reads(Lz4);
    #[cfg(feature = "zstd")]
    let options = options.reads(mempool_spill::Zstd::default());
    Ok(match key_file {
        Some(path) => options.reads(Encrypt::with_key(read_key(path)?)),
        None => options,
    })
}

#[cfg(feature = "zstd")]
fn with_zstd(options: SpillOptions, level: i32) -> SpillOptions {
    options.filter(mempool_spill::Zstd::level(level))
}

#[cfg(not(feature = "zstd"))]
fn with_zstd(options: SpillOptions, _: i32) -> SpillOptions {
    options
}

fn random_key() -> Result<[u8; KEY_BYTES], KeyError> {
    let mut key = [0; KEY_BYTES];
    match getrandom(&mut key, GetRandomFlags::empty()) {
        Ok(KEY_BYTES) => Ok(key),
        Ok(_) => Err(KeyError::Random(io::ErrorKind::UnexpectedEof.into())),
        Err(errno) => Err(KeyError::Random(errno.into())),
    }
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let refused = |source| KeyError::Read { path: path.into(), source };
    let bytes = fs::read(path).map_err(refused)?;
    let raw = bytes.as_slice().try_into().ok();
    raw.or_else(|| from_hex(bytes.trim_ascii()))
        .ok_or_else(|| KeyError::NoKey { path: path.into() })
}

fn from_hex(digits: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let digits: Vec<u8> = digits.iter().map(digit).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect();
    (digits.len() == 2 * KEY_BYTES).then(|| bytes.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn filters_are_named_with_their_levels() {
        assert_eq!("lz4".parse(), Ok(FilterChoice::Lz4));
        assert_eq!("encrypt".parse(), Ok(FilterChoice::Encrypt));
        assert_eq!("zstd:7".parse::<FilterChoice>().is_ok(), cfg!(feature = "zstd"));
        for wrong in ["", "gzip", "lz4:3", "zstd:99", "zstd:x", "encrypt:key"] {
            assert!(wrong.parse::<FilterChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_or_their_digits() {
        let scratch = Scratch::new();
        let key = |name: &str, content: &str| {
            scratch.write(name, content);
            read_key(&scratch.path().join(name))
        };
        assert_eq!(key("raw", "a key of exactly thirty-two byte").unwrap()[..5], *b"a key");
        let digits = "0f".repeat(32);
        assert_eq!(key("hex", &format!("{digits}\n")).unwrap(), [15; 32]);
        for wrong in ["", "short", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(matches!(key("wrong", wrong), Err(KeyError::NoKey { .. })), "{wrong}");
        }
        let missing = read_key(&scratch.path().join("missing"));
        assert!(matches!(missing, Err(KeyError::Read { .. })));
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }
}
