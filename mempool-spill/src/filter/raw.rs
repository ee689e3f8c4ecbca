//! Blocks that a compressor does not make smaller are stored as they are, so that none grows by more than one byte.
//!
//! ```text
//! 0  1  0: the bytes as they were, 1: compressed
//! 1     the bytes
//! ```

use super::FilterError;

/// What stands in front of the bytes.
const AS_IT_WAS: u8 = 0;
const COMPRESSED: u8 = 1;

/// The most that a block of `bytes` becomes.
pub(super) fn encoded_bytes_max(bytes: usize) -> usize {
    bytes.saturating_add(1)
}

/// Appends what `compress` makes of `bytes`, or `bytes` themselves; it is given `room_bytes` to write to, and says how
/// many it has used.
pub(super) fn encode(
    bytes: &[u8],
    room_bytes: usize,
    out: &mut Vec<u8>,
    compress: impl FnOnce(&mut [u8]) -> Option<usize>,
) {
    let start = out.len();
    out.push(COMPRESSED);
    let behind = start.saturating_add(1);
    out.resize(behind.saturating_add(room_bytes), 0);
    let used = out.get_mut(behind..).and_then(compress).filter(|&used| used < bytes.len());
    match used {
        Some(used) => out.truncate(behind.saturating_add(used)),
        None => {
            out.truncate(start);
            out.push(AS_IT_WAS);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends what `bytes` were made of; `decompress` writes into room for as much as there may be.
pub(super) fn decode(
    bytes: &[u8],
    decoded_bytes_max: usize,
    out: &mut Vec<u8>,
    decompress: impl FnOnce(&[u8], &mut [u8]) -> Result<usize, String>,
) -> Result<(), FilterError> {
    let undecodable = |what: String| FilterError::Undecodable { what };
    match bytes.split_first() {
        Some((&AS_IT_WAS, bytes)) if bytes.len() <= decoded_bytes_max => {
            out.extend_from_slice(bytes)
        }
        Some((&AS_IT_WAS, _)) => {
            return Err(FilterError::TooLong { limit_bytes: decoded_bytes_max as u64 });
        }
        Some((&COMPRESSED, bytes)) => {
            let start = out.len();
            out.resize(start.saturating_add(decoded_bytes_max), 0);
            let room = out.get_mut(start..).unwrap_or_default();
            let written = decompress(bytes, room).map_err(undecodable)?;
            out.truncate(start.saturating_add(written));
        }
        Some((kind, _)) => return Err(undecodable(format!("kind of block {kind}"))),
        None => return Err(undecodable("an empty block".into())),
    }
    Ok(())
}
