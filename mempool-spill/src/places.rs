//! `Places`: which parts of a shared segment are taken, and where the next frames go.
//!
//! ```text
//! blocks of 64 KiB:   live frames in each      holes: given back to the disk
//! ┌────┬────┬────┬────┬────┬────┬────┬────┐
//! │ 12 │  0 │  0 │ 31 │  0 │  ○ │  ○ │  7 │    the run that is being filled: blocks 1 and 2, from left to right
//! └────┴────┴────┴────┴────┴────┴────┴────┘
//! ```
//!
//! Frames are placed one behind the other within a run of blocks that have no live frame and that nobody looks at. A
//! block whose last frame is gone is written anew by a later run, or given back to the disk as a hole.

use std::ops::Range;

use crate::views::{BLOCK, Views, blocks_of};

/// The distance of places, and the least alignment of a frame.
pub(crate) const PLACE: u64 = 64;

/// What is asked of a shared segment: room for a few frames, one behind the other.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    pub(crate) bytes: u64,
    pub(crate) align: u64,
    /// Where each frame starts from the start of the extent, and how long it is.
    pub(crate) frames: &'a [(u64, u64)],
}

/// The places of one shared segment.
#[derive(Debug)]
pub(crate) struct Places {
    /// One bit for each place where a live frame starts.
    starts: Vec<u64>,
    blocks: Vec<Block>,
    /// The part that is being filled.
    run: Range<u64>,
    capacity: u64,
    live_frames: u64,
    live_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    live_frames: u16,
    /// Its space was given back to the disk.
    hole: bool,
}

/// A run that can be filled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) run: Range<u64>,
    /// The part of it that has to be reserved again before it is written.
    pub(crate) hole: Option<Range<u64>>,
}

impl Places {
    /// The places of a segment of `capacity` bytes, a multiple of a block.
    pub(crate) fn new(capacity: u64) -> Self {
        let words = usize::try_from(capacity.div_ceil(PLACE * 64)).unwrap_or_default();
        let blocks = vec![Block::default(); blocks_of(0, capacity).len()];
        let (live_frames, live_bytes) = (0, 0);
        Self { starts: vec![0; words], blocks, run: 0..capacity, capacity, live_frames, live_bytes }
    }

    /// Where `extent` starts, if there is room for it in the run that is being filled.
    pub(crate) fn take(&mut self, extent: &Extent<'_>) -> Option<u64> {
        let offset = self.run.start.checked_next_multiple_of(extent.align.max(PLACE))?;
        let end = offset.checked_add(extent.bytes).filter(|&end| end <= self.run.end)?;
        self.run.start = end;
        for (start, bytes) in extent.frames {
            self.mark(offset.saturating_add(*start), *bytes);
        }
        Some(offset)
    }

    /// The next run in which `bytes` fit: behind the present one, or with `anew` from the beginning on.
    pub(crate) fn candidate(&self, bytes: u64, anew: bool, views: &Views) -> Option<Candidate> {
        let from = if anew { 0 } else { self.run.end.div_ceil(BLOCK) };
        let mut runs = self.free_runs(usize::try_from(from).ok()?, |block| views.is_free(block));
        let run = runs.find(|run| run.end - run.start >= bytes)?;
        Some(Candidate { hole: self.hole_in(&run), run })
    }

    /// Fills `run` from now on; what were holes in it is reserved again.
    pub(crate) fn begin(&mut self, run: Range<u64>) {
        self.set_holes(&run, false);
        self.run = run;
    }

    /// The runs of blocks without live frames, from block `from` on, of which `more` says yes as well.
    fn free_runs(
        &self,
        from: usize,
        more: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = Range<u64>> {
        let mut at = from;
        std::iter::from_fn(move || {
            let free = |at: &usize| {
                self.blocks.get(*at).is_some_and(|block| block.live_frames == 0) && more(*at)
            };
            let start = (at..self.blocks.len()).find(free)?;
            at = (start..self.blocks.len()).find(|at| !free(at)).unwrap_or(self.blocks.len());
            Some(start as u64 * BLOCK..(at as u64 * BLOCK).min(self.capacity))
        })
    }

    /// The part of a run that spans its holes.
    fn hole_in(&self, run: &Range<u64>) -> Option<Range<u64>> {
        let is_hole = |at: &usize| self.blocks.get(*at).is_some_and(|block| block.hole);
        let mut holes = blocks_of(run.start, run.end - run.start).filter(is_hole);
        let first = holes.next()?;
        let last = holes.next_back().unwrap_or(first);
        Some(first as u64 * BLOCK..((last + 1) as u64 * BLOCK).min(self.capacity))
    }

    /// The bytes of the holes in a part.
    pub(crate) fn hole_bytes(&self, part: &Range<u64>) -> u64 {
        let blocks = blocks_of(part.start, part.end - part.start);
        let holes = self.blocks.get(blocks).unwrap_or_default().iter().filter(|block| block.hole);
        BLOCK * holes.count() as u64
    }

    fn mark(&mut self, offset: u64, bytes: u64) {
        let (word, bit) = start_of(offset);
        if let Some(word) = self.starts.get_mut(word) {
            *word |= bit;
            self.live_frames += 1;
            self.live_bytes += bytes;
        }
        for block in self.blocks.get_mut(blocks_of(offset, bytes)).unwrap_or_default() {
            block.live_frames += 1;
        }
    }

    /// Takes the place of a frame that is there already.
    pub(crate) fn adopt(&mut self, offset: u64, bytes: u64) {
        self.mark(offset, bytes);
    }

    /// Gives a place back; `false` for one that is not taken.
    pub(crate) fn free(&mut self, offset: u64, bytes: u64) -> bool {
        let (word, bit) = start_of(offset);
        let Some(word) = self.starts.get_mut(word).filter(|word| **word & bit != 0) else {
            return false;
        };
        *word &= !bit;
        self.live_frames -= 1;
        self.live_bytes -= bytes;
        for block in self.blocks.get_mut(blocks_of(offset, bytes)).unwrap_or_default() {
            block.live_frames -= 1;
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live_frames == 0
    }

    /// Nothing more is placed until the segment is filled again.
    pub(crate) fn retire(&mut self) {
        self.run = self.capacity..self.capacity;
    }

    /// The bytes of blocks that hold no live frame.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_runs(0, |_| true).map(|run| run.end - run.start).sum()
    }

    /// Makes holes of the blocks that hold no frame and that nobody looks at; they are not in the run that is filled.
    pub(crate) fn punch(&mut self, views: &Views) -> Vec<Range<u64>> {
        let runs: Vec<_> = self.idle_runs(|block| views.is_free(block)).collect();
        for run in &runs {
            self.set_holes(run, true);
        }
        runs
    }

    /// Takes back that a part is a hole: it could not be made.
    pub(crate) fn unpunch(&mut self, run: &Range<u64>) {
        self.set_holes(run, false);
    }

    fn set_holes(&mut self, run: &Range<u64>, hole: bool) {
        let blocks = blocks_of(run.start, run.end - run.start);
        self.blocks.get_mut(blocks).unwrap_or_default().iter_mut().for_each(|b| b.hole = hole);
    }

    fn idle_runs(&self, more: impl Fn(usize) -> bool) -> impl Iterator<Item = Range<u64>> {
        let filling = blocks_of(self.run.start, self.run.end - self.run.start);
        let filling = if self.run.is_empty() { 0..0 } else { filling };
        self.free_runs(0, move |at| {
            let hole = self.blocks.get(at).is_some_and(|block| block.hole);
            !hole && !filling.contains(&at) && more(at)
        })
    }

    /// Where live frames start, in ascending order.
    pub(crate) fn live(&self) -> impl Iterator<Item = u64> {
        let words = (0_u64..).zip(&self.starts).filter(|(_, word)| **word != 0);
        words.flat_map(|(at, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| (at * 64 + bit) * PLACE)
        })
    }

    /// The bytes of live frames.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// What the segment takes on the disk: all but its holes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.capacity - self.hole_bytes(&(0..self.capacity))
    }
}

fn start_of(offset: u64) -> (usize, u64) {
    let place = offset / PLACE;
    (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::views::Mapped;

    const CAPACITY: u64 = 16 * BLOCK;

    /// Numbers that differ from seed to seed; xorshift (Marsaglia, 2003).
    fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        }
    }

    /// Places that are taken never overlap, holes lie where nothing lives, and all comes back.
    #[test]
    fn it_does_as_a_map_of_ranges() {
        for seed in 0..200 {
            let mut number = numbers(seed);
            let views = Views::new(CAPACITY, &Arc::new(Mapped::default()));
            let mut places = Places::new(CAPACITY);
            let mut live: BTreeMap<u64, u64> = BTreeMap::new();
            for _ in 0..400 {
                match number(10) {
                    0..=5 => take(&mut places, &views, &mut live, 1 + number(3 * BLOCK), seed),
                    6..=8 if !live.is_empty() => {
                        let at = usize::try_from(number(live.len() as u64)).unwrap();
                        let (&offset, &bytes) = live.iter().nth(at).unwrap();
                        live.remove(&offset);
                        assert!(places.free(offset, bytes));
                        assert!(!places.free(offset, bytes), "a place is freed once");
                    }
                    _ => {
                        let holes = places.punch(&views);
                        assert!(holes.iter().all(|hole| is_free(&live, hole)), "seed {seed}");
                        if number(2) == 0 {
                            holes.iter().for_each(|hole| places.unpunch(hole));
                        }
                    }
                }
                assert!(places.disk_bytes() >= live.values().sum::<u64>(), "seed {seed}");
                assert_eq!(places.live_bytes(), live.values().sum::<u64>());
                assert!(places.live().eq(live.keys().copied()), "seed {seed}");
                assert_eq!(places.is_empty(), live.is_empty());
            }
        }
    }

    fn take(
        places: &mut Places,
        views: &Views,
        live: &mut BTreeMap<u64, u64>,
        bytes: u64,
        seed: u64,
    ) {
        let frames = [(0, bytes)];
        let extent = Extent { bytes, align: PLACE, frames: &frames };
        let offset = places.take(&extent).or_else(|| {
            let behind = places.candidate(bytes, false, views);
            let Candidate { run, hole } =
                behind.or_else(|| places.candidate(bytes, true, views))?;
            assert!(is_free(live, &run) && run.end - run.start >= bytes, "seed {seed}");
            assert_eq!(hole.is_some(), places.hole_bytes(&run) > 0);
            places.begin(run.clone());
            assert_eq!(places.hole_bytes(&run), 0);
            places.take(&extent)
        });
        if let Some(offset) = offset {
            assert!(is_free(live, &(offset..offset + bytes)), "seed {seed}: {offset} is taken");
            assert!(offset.is_multiple_of(PLACE) && offset + bytes <= CAPACITY);
            live.insert(offset, bytes);
        }
    }

    fn is_free(live: &BTreeMap<u64, u64>, part: &Range<u64>) -> bool {
        let before = live.range(..part.end).next_back();
        before.is_none_or(|(offset, bytes)| offset + bytes <= part.start)
    }
}
