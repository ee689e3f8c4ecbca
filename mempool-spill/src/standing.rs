//! `Standing`: how a directory has answered lately, and whether it answers at all.
//!
//! All steps are relaxed: these are figures by which a directory is chosen, and a choice by an older figure is as right.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::directory::DirectoryState;

/// A directory that refuses again and again is passed over by so many writes at most.
const PASSES_MAX: u32 = 1024;
/// When no write has ended for so long, while some have begun, the directory hangs. A disk that is slow and no more ends
/// a write of many pieces within it as a rule; if not, its turn comes later and nothing else is lost.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// How a directory stands.
#[derive(Debug)]
pub(crate) struct Standing {
    since: Instant,
    /// How many writes will still ask the others first.
    passes: AtomicU32,
    /// How many writes it has refused since it took one.
    in_turn: AtomicU32,
    refusals: AtomicU64,
    /// Whether it was full when it refused last.
    full: AtomicBool,
    writers: AtomicU32,
    writing_bytes: AtomicU64,
    /// When a write ended, or the first of several began; in milliseconds.
    moved_ms: AtomicU64,
}

/// A write that has begun; dropped, it has ended.
pub(crate) struct Writing<'a> {
    standing: &'a Standing,
    bytes: u64,
}

impl Standing {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            passes: AtomicU32::new(0),
            in_turn: AtomicU32::new(0),
            refusals: AtomicU64::new(0),
            full: AtomicBool::new(false),
            writers: AtomicU32::new(0),
            writing_bytes: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(&self, bytes: u64) -> Writing<'_> {
        if self.writers.fetch_add(1, Relaxed) == 0 {
            self.moved();
        }
        self.writing_bytes.fetch_add(bytes, Relaxed);
        Writing { standing: self, bytes }
    }

    /// It has taken a frame: it is asked again when it is its turn.
    pub(crate) fn took(&self) {
        if self.in_turn.load(Relaxed) > 0 {
            self.in_turn.store(0, Relaxed);
            self.passes.store(0, Relaxed);
        }
    }

    pub(crate) fn refused(&self, full: bool) {
        self.refusals.fetch_add(1, Relaxed);
        let before = self.in_turn.fetch_add(1, Relaxed);
        self.full.store(full, Relaxed);
        self.passes
            .store(1_u32.checked_shl(before).map_or(PASSES_MAX, |n| n.min(PASSES_MAX)), Relaxed);
    }

    /// A frame in it was freed: if room is what it had none of, it is asked again.
    pub(crate) fn freed(&self) {
        if self.passes.load(Relaxed) > 0 && self.full.load(Relaxed) {
            self.passes.store(0, Relaxed);
        }
    }

    /// A write asks the others first, if this one is to be passed over.
    pub(crate) fn pass(&self) {
        let less = |passes: u32| passes.checked_sub(1);
        let _ = self.passes.fetch_update(Relaxed, Relaxed, less);
    }

    pub(crate) fn state(&self) -> DirectoryState {
        if self.is_stalled() {
            DirectoryState::Stalled
        } else if self.passes.load(Relaxed) > 0 {
            DirectoryState::PassedOver
        } else {
            DirectoryState::Ready
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        // The clock is asked only where something is being written.
        self.writers.load(Relaxed) > 0
            && self.now_ms().saturating_sub(self.moved_ms.load(Relaxed)) > millis(STALLED_AFTER)
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    pub(crate) fn writing_bytes(&self) -> u64 {
        self.writing_bytes.load(Relaxed)
    }

    fn moved(&self) {
        self.moved_ms.store(self.now_ms(), Relaxed);
    }

    fn now_ms(&self) -> u64 {
        millis(self.since.elapsed())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.standing.moved();
        self.standing.writing_bytes.fetch_sub(self.bytes, Relaxed);
        self.standing.writers.fetch_sub(1, Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many writes ask the others first from now on.
    fn passes(standing: &Standing) -> usize {
        let passed = |_: &u32| {
            let passed = standing.state() == DirectoryState::PassedOver;
            standing.pass();
            passed
        };
        (0..u32::MAX).take_while(passed).count()
    }

    #[test]
    fn who_refuses_again_is_passed_over_for_twice_as_long() {
        let standing = Standing::new();
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024] {
            standing.refused(false);
            assert_eq!(passes(&standing), expected);
        }
        (0..100).for_each(|_| standing.refused(false));
        assert_eq!(passes(&standing), 1024);
        standing.took();
        standing.refused(false);
        assert_eq!((passes(&standing), standing.refusals()), (1, 113));
    }

    #[test]
    fn room_that_came_back_ends_the_passing_over_of_a_full_one_alone() {
        let standing = Standing::new();
        (0..5).for_each(|_| standing.refused(true));
        standing.freed();
        assert_eq!(standing.state(), DirectoryState::Ready);
        (0..5).for_each(|_| standing.refused(false));
        standing.freed();
        assert_eq!(standing.state(), DirectoryState::PassedOver);
    }
}
