//! How the table is cut: rows to a chunk, parts to generate independently. A small memory limit makes small chunks, so that the pool always has many values to choose from.

use super::{lineitem::LineItem, source::Source};
use crate::size::Bytes;

/// Largest size of a chunk in the pool.
const CHUNK_BYTES_MAX: u64 = 8 << 20;

/// Smallest size of a chunk in the pool: below it the program would measure its own bookkeeping.
const CHUNK_BYTES_MIN: u64 = 16 << 10;

/// Bytes of one row in an archive, on average: 96 fixed and two strings out of line.
const ARCHIVED_ROW_BYTES: u64 = 140;

/// A thread holds a chunk as rows and as an archive while it sets it, some three times the chunk. So that this takes no more than a fifth of the limit,
/// the limit is divided by so many chunks for each thread.
const CHUNKS_PER_THREAD: u64 = 16;

/// Parts are this many chunks long where the table is large enough; a part ends with a chunk that is not full.
const CHUNKS_PER_PART: u64 = 16;

/// How the table is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Most rows of a chunk.
    pub(crate) chunk_rows: usize,
    /// Parts that are generated independently.
    pub(crate) parts: usize,
    limit_bytes: u64,
    /// Of the whole table in the pool, about.
    table_bytes: u64,
}

/// The limit is too small for so many threads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a memory limit of {} is too small for {what}; give at least --memory-limit {}KiB{}",
    Bytes(*.limit_bytes),
    .needed_bytes.div_ceil(1024),
    // Two threads need no more than one.
    if *.threads > 2 { ", or fewer --threads" } else { "" }
)]
pub(crate) struct LimitTooSmall {
    /// What it is too small for.
    pub(crate) what: String,
    /// The limit that was asked for.
    pub(crate) limit_bytes: u64,
    /// The smallest limit that will do.
    pub(crate) needed_bytes: u64,
    /// The threads that were asked for.
    pub(crate) threads: usize,
}

impl Plan {
    /// A plan for the table of `scale` under `limit_bytes`.
    ///
    /// # Errors
    /// The limit leaves no room for the buffers that `threads` threads need.
    pub(crate) fn new(scale: f64, limit_bytes: u64, threads: usize) -> Result<Self, LimitTooSmall> {
        let source_bytes = Source::HEAP_BYTES as u64;
        // One thread alone still leaves half of the pool to values.
        let shares = CHUNKS_PER_THREAD * threads.max(2) as u64;
        let chunk_bytes = (limit_bytes.saturating_sub(source_bytes) / shares).min(CHUNK_BYTES_MAX);
        if chunk_bytes < CHUNK_BYTES_MIN {
            let needed_bytes = source_bytes + CHUNK_BYTES_MIN * shares;
            let what = format!("{threads} threads");
            return Err(LimitTooSmall { what, limit_bytes, needed_bytes, threads });
        }
        let chunk_rows = chunk_bytes / ARCHIVED_ROW_BYTES;
        let chunks = Source::rows_expected(scale).div_ceil(chunk_rows);
        // Enough parts for all threads to end together, and no more orders left over for the last part than one chunk has.
        let parts = (chunks / CHUNKS_PER_PART).max(4 * threads as u64).min(chunks);
        Ok(Self {
            // Both are small: a chunk has at most 8 MiB, and at the largest scale there are some millions of parts.
            chunk_rows: usize::try_from(chunk_rows).unwrap_or(usize::MAX),
            parts: usize::try_from(parts).unwrap_or(usize::MAX).max(1),
            limit_bytes,
            table_bytes: Source::rows_expected(scale) * ARCHIVED_ROW_BYTES,
        })
    }

    /// Bytes that have no room in memory: what the disk must hold at least.
    pub(crate) fn spilled_bytes_min(&self) -> u64 {
        self.table_bytes.saturating_sub(self.limit_bytes)
    }

    /// Heap bytes of the rows of one chunk before they are archived, at most.
    pub(crate) fn chunk_heap_bytes(&self) -> u64 {
        self.chunk_rows as u64 * LineItem::HEAP_BYTES_MAX as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_with_the_limit() {
        let rows =
            |limit_bytes, threads| Plan::new(1.0, limit_bytes, threads).unwrap().chunk_rows as u64;
        assert_eq!(rows(1 << 40, 2), CHUNK_BYTES_MAX / ARCHIVED_ROW_BYTES);
        assert_eq!(rows(1 << 40, 64), CHUNK_BYTES_MAX / ARCHIVED_ROW_BYTES);
        assert!(rows(64 << 20, 2) < rows(256 << 20, 2));
        assert!(rows(64 << 20, 8) < rows(64 << 20, 2));
        assert_eq!(rows(64 << 20, 1), rows(64 << 20, 2));
    }

    #[test]
    fn buffers_of_all_threads_leave_most_of_the_limit() {
        for (limit_bytes, threads) in
            [(4 << 20, 2), (64 << 20, 2), (256 << 20, 2), (256 << 20, 16), (1 << 30, 100)]
        {
            let plan = Plan::new(1.0, limit_bytes, threads).unwrap();
            let buffers_bytes =
                threads as u64 * plan.chunk_heap_bytes() + Source::HEAP_BYTES as u64;
            assert!(
                buffers_bytes < limit_bytes / 2,
                "{buffers_bytes} of {limit_bytes} with {threads} threads"
            );
        }
    }

    #[test]
    fn a_limit_that_is_too_small_says_what_will_do() {
        let error = Plan::new(1.0, 1 << 20, 2).unwrap_err();
        assert!(error.to_string().contains("at least --memory-limit 1537KiB"), "{error}");
        assert!(Plan::new(1.0, error.needed_bytes, 2).is_ok());
        assert!(Plan::new(1.0, error.needed_bytes - 1, 2).is_err());
    }

    #[test]
    fn there_are_never_more_parts_than_chunks() {
        assert_eq!(Plan::new(0.001, 1 << 40, 8).unwrap().parts, 1);
        assert_eq!(Plan::new(1.0, 256 << 20, 2).unwrap().parts, 8);
        assert!(Plan::new(100.0, 64 << 20, 2).unwrap().parts > 1000);
    }
}
