//! Who looks at a segment: which parts of it are held, and which are in the process's page tables.
//!
//! ```text
//! a shared segment, in blocks of 64 KiB, one word for each:
//!
//!   31      30                      0
//!  ┌───────┬─────────────────────────┐   TOUCHED: a view was given out since the block was trimmed, so its pages
//!  │TOUCHED│ views                   │            may be in the page tables, and count as mapped
//!  └───────┴─────────────────────────┘   views:   how many views of frames in it are held
//! ```
//!
//! A block without views can be trimmed at any time, and written anew when its frames are gone. A fault maps 64 KiB or the
//! piece that the page cache holds, whichever is more; shared segments are written in pieces of one block. So a block is
//! what a view of a few bytes costs, and what is counted for it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::Mmap;

use crate::segment::Segment;

/// The part of a segment that is counted as one.
pub(crate) const BLOCK: u64 = 64 << 10;

const TOUCHED: u32 = 1 << 31;

/// The bytes of all maps of one store that may be in the page tables.
#[derive(Debug, Default)]
pub(crate) struct Mapped(AtomicU64);

impl Mapped {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    // Relaxed: a figure, which orders nothing.
    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The blocks that `bytes` at `offset` lie in.
pub(crate) fn blocks_of(offset: u64, bytes: u64) -> Range<usize> {
    let start = offset / BLOCK;
    let end = offset.saturating_add(bytes.max(1)).div_ceil(BLOCK);
    let index = |block| usize::try_from(block).unwrap_or(usize::MAX);
    index(start)..index(end)
}

/// The views of one shared segment.
#[derive(Debug)]
pub(crate) struct Views {
    blocks: Box<[AtomicU32]>,
    mapped: Arc<Mapped>,
}

impl Views {
    pub(crate) fn new(segment_bytes: u64, mapped: &Arc<Mapped>) -> Self {
        let blocks = blocks_of(0, segment_bytes).map(|_| AtomicU32::new(0)).collect();
        Self { blocks, mapped: Arc::clone(mapped) }
    }

    fn part(&self, blocks: &Range<usize>) -> &[AtomicU32] {
        self.blocks.get(blocks.clone()).unwrap_or_default()
    }

    /// Whether a view of all these blocks was given out since they were trimmed: then they are most likely in memory.
    pub(crate) fn are_touched(&self, blocks: &Range<usize>) -> bool {
        let mut part = self.part(blocks).iter();
        // Relaxed: for a hint.
        part.len() > 0 && part.all(|block| block.load(Ordering::Relaxed) & TOUCHED != 0)
    }

    fn enter(&self, blocks: &Range<usize>) {
        for block in self.part(blocks) {
            // Acquire pairs with the Release of a trim: who finds the block untouched counts it anew.
            let before = block.fetch_add(1, Ordering::Acquire);
            if before & TOUCHED == 0 && block.fetch_or(TOUCHED, Ordering::Relaxed) & TOUCHED == 0 {
                self.mapped.add(BLOCK);
            }
        }
    }

    fn leave(&self, blocks: &Range<usize>) {
        for block in self.part(blocks) {
            // Release: what was read through the view was read before the block is written anew.
            block.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether nobody looks at a block. Its frames must be gone, or somebody may come.
    pub(crate) fn is_free(&self, block: usize) -> bool {
        // Acquire pairs with the Release of `leave`.
        self.blocks.get(block).is_some_and(|block| block.load(Ordering::Acquire) & !TOUCHED == 0)
    }

    /// Takes the blocks that nobody looks at out of the page tables: `release` is called for each run of them.
    pub(crate) fn trim(&self, mut release: impl FnMut(Range<u64>)) {
        let mut run: Option<Range<u64>> = None;
        for (at, block) in (0_u64..).zip(&self.blocks) {
            // A view that comes after this step finds the block untouched, and counts it again.
            let step =
                block.compare_exchange(TOUCHED, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            match (&mut run, step) {
                (Some(run), true) => run.end = (at + 1) * BLOCK,
                (None, true) => run = Some(at * BLOCK..(at + 1) * BLOCK),
                (_, false) => self.end_run(run.take(), &mut release),
            }
        }
        self.end_run(run, &mut release);
    }

    fn end_run(&self, run: Option<Range<u64>>, release: &mut impl FnMut(Range<u64>)) {
        if let Some(run) = run {
            let bytes = run.end - run.start;
            release(run);
            self.mapped.sub(bytes);
        }
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        // The map goes with the segment.
        let touched = |block: &&AtomicU32| block.load(Ordering::Relaxed) & TOUCHED != 0;
        let count = self.blocks.iter().filter(touched).count();
        self.mapped.sub(BLOCK * count as u64);
    }
}

/// A frame in the map of a shared segment.
pub(crate) struct SharedView {
    segment: Arc<Segment>,
    range: Range<usize>,
    blocks: Range<usize>,
}

impl SharedView {
    /// A view of the bytes of `segment`, if they are mapped and lie in the map.
    pub(crate) fn new(segment: &Arc<Segment>, offset: u64, bytes: u64) -> Option<Self> {
        let start = usize::try_from(offset).ok()?;
        let range = start..start.checked_add(usize::try_from(bytes).ok()?)?;
        segment.map()?.get(range.clone())?;
        let blocks = blocks_of(offset, bytes);
        segment.views().enter(&blocks);
        Some(Self { segment: Arc::clone(segment), range, blocks })
    }
}

impl AsRef<[u8]> for SharedView {
    fn as_ref(&self) -> &[u8] {
        let map = self.segment.map().map_or(&[][..], |map| &map[..]);
        map.get(self.range.clone()).unwrap_or_default()
    }
}

impl Drop for SharedView {
    fn drop(&mut self) {
        self.segment.views().leave(&self.blocks);
    }
}

/// A frame in a map of its own, which goes with the view.
pub(crate) struct OwnView<K> {
    map: Mmap,
    mapped: Arc<Mapped>,
    // Behind the map: a segment's file may be written anew when its last holder is gone.
    _kept: K,
}

impl<K> OwnView<K> {
    /// A view of all of `map`, which keeps `kept` as well.
    pub(crate) fn new(map: Mmap, kept: K, mapped: &Arc<Mapped>) -> Self {
        mapped.add(map.len() as u64);
        Self { map, mapped: Arc::clone(mapped), _kept: kept }
    }
}

impl<K> AsRef<[u8]> for OwnView<K> {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl<K> Drop for OwnView<K> {
    fn drop(&mut self) {
        self.mapped.sub(self.map.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_once_and_until_it_is_trimmed_without_views() {
        let mapped = Arc::new(Mapped::default());
        let views = Views::new(10 * BLOCK, &mapped);
        let (a, b) = (blocks_of(100, 50), blocks_of(BLOCK - 1, 2));
        assert_eq!((a.clone(), b.clone()), (0..1, 0..2));
        views.enter(&a);
        views.enter(&b);
        assert_eq!(mapped.bytes(), 2 * BLOCK);
        let mut released = Vec::new();
        views.trim(|run| released.push((run.start, run.end)));
        assert!(released.is_empty(), "both are held");
        views.leave(&b);
        assert!(!views.is_free(0) && views.is_free(1));
        views.trim(|run| released.push((run.start, run.end)));
        assert_eq!((&released[..], mapped.bytes()), (&[(BLOCK, 2 * BLOCK)][..], BLOCK));
        views.leave(&a);
        drop(views);
        assert_eq!(mapped.bytes(), 0);
    }
}
