//! Zstandard frames, one a block. (RFC 8878.)

use std::sync::{Mutex, PoisonError};

use ::zstd::bulk::{Compressor, Decompressor};
use ::zstd::zstd_safe::compress_bound;

use super::{Block, Filter, FilterError, FilterName, Parameters, raw};

/// Compresses well, at a level of choice (feature `zstd`, which builds the C library).
///
/// It keeps as many contexts as threads have worked at once, each about a megabyte at the usual levels and more at high
/// ones, beside what the pool counts.
pub struct Zstd {
    level: i32,
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl Zstd {
    /// At `level`: 1 is quick, 3 usual, 19 slow; out of bounds is taken to the nearest there is. Negative ones are
    /// quicker still.
    #[must_use]
    pub fn level(level: i32) -> Self {
        let level = level.clamp(*::zstd::compression_level_range().start(), 22);
        Self { level, compressors: Mutex::default(), decompressors: Mutex::default() }
    }
}

impl Default for Zstd {
    fn default() -> Self {
        Self::level(3)
    }
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Works with a context that is kept for the next block, or with a new one.
fn with_kept<C, R>(
    kept: &Mutex<Vec<C>>,
    make: impl FnOnce() -> std::io::Result<C>,
    work: impl FnOnce(&mut C) -> R,
) -> std::io::Result<R> {
    let idle = kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut context = idle.map_or_else(make, Ok)?;
    let done = work(&mut context);
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(context);
    Ok(done)
}

impl Filter for Zstd {
    fn name(&self) -> FilterName {
        FilterName::new("zstd")
    }

    /// The level, for people: reading needs none.
    fn begin(&self) -> Result<Parameters, FilterError> {
        let mut parameters = [0; 48];
        parameters[..4].copy_from_slice(&self.level.to_le_bytes());
        Ok(parameters)
    }

    fn encoded_bytes_max(&self, bytes: usize) -> usize {
        raw::encoded_bytes_max(bytes)
    }

    fn encode(&self, _: &Block<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        let make = || Compressor::new(self.level);
        with_kept(&self.compressors, make, |context| {
            raw::encode(bytes, compress_bound(bytes.len()), out, |room| {
                context.compress_to_buffer(bytes, room).ok()
            });
        })
        .map_err(|error| FilterError::Failed(error.into()))
    }

    fn decode(
        &self,
        _: &Block<'_>,
        bytes: &[u8],
        decoded_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        with_kept(&self.decompressors, Decompressor::new, |context| {
            raw::decode(bytes, decoded_bytes_max, out, |bytes, room| {
                context.decompress_to_buffer(bytes, room).map_err(|error| error.to_string())
            })
        })
        .map_err(|error| FilterError::Failed(error.into()))?
    }
}
