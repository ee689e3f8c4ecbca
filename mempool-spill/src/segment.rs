//! Segments: files of one large frame, or of many small ones.
//!
//! ```text
//! own (frames of 4 MiB and more)       shared (64 MiB, smaller frames)
//! ┌────────┬──────────────────────┐    ┌───────┬──┬───────┬──┬───────┬─────────────────┐
//! │ header │ sections             │    │ frame │  │ frame │  │ frame │ not filled yet  │
//! └────────┴──────────────────────┘    └───────┴──┴───────┴──┴───────┴─────────────────┘
//!                                      each at a multiple of 64, or of its own alignment
//! ```

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;

use mempool_core::Buffer;

use crate::quota::FileBytes;

/// The file of one segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// The bytes reserved for it; returned when the last holder goes, which is after the file is unlinked.
    pub(crate) bytes: FileBytes,
    /// The map of a shared segment, made once. A large frame is mapped anew by each open, and unmapped with its view.
    pub(crate) map: OnceLock<Buffer>,
}

/// Which places of a shared segment are taken: one bit for each place of 64 bytes where a frame starts.
#[derive(Debug)]
pub(crate) struct Places {
    bits: Vec<u64>,
    end: u64,
    capacity: u64,
    live: u64,
}

/// What is asked of a shared segment: room for a few frames, one behind the other.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    pub(crate) bytes: u64,
    pub(crate) align: u64,
    /// Where each frame starts from the start of the extent, and how long it is.
    pub(crate) frames: &'a [(u64, u64)],
}

/// The distance of places, and the least alignment of a frame.
pub(crate) const PLACE: u64 = 64;

impl Places {
    pub(crate) fn new(capacity: u64) -> Self {
        let words = usize::try_from(capacity.div_ceil(PLACE * 64)).unwrap_or_default();
        Self { bits: vec![0; words], end: 0, capacity, live: 0 }
    }

    /// Where `extent` starts, if there is room for it at the end.
    pub(crate) fn take(&mut self, extent: &Extent<'_>) -> Option<u64> {
        let offset = self.end.checked_next_multiple_of(extent.align.max(PLACE))?;
        let end = offset.checked_add(extent.bytes).filter(|&end| end <= self.capacity)?;
        self.end = end;
        for (start, _) in extent.frames {
            let (word, bit) = place_of(offset.saturating_add(*start));
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
                self.live += 1;
            }
        }
        Some(offset)
    }

    /// Gives a place back; `false` for one that is not taken.
    pub(crate) fn free(&mut self, offset: u64) -> bool {
        let (word, bit) = place_of(offset);
        let Some(word) = self.bits.get_mut(word).filter(|word| **word & bit != 0) else {
            return false;
        };
        *word &= !bit;
        self.live = self.live.saturating_sub(1);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }
}

fn place_of(offset: u64) -> (usize, u64) {
    let place = offset / PLACE;
    (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64))
}
