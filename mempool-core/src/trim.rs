//! The mapped limit: views of maps that nobody holds are let go of, the coldest first.
//!
//! Mapped bytes are no resident bytes: the kernel takes their pages back as it needs. But schedulers and containers count
//! them while they are in the page tables. What a store has given out since it was last trimmed stays below the limit,
//! as far as pins allow; a get is never refused for it.

use std::sync::Arc;

use crate::entry::Entry;
use crate::recency::Verdict;
use crate::shared::Shared;
use crate::stats::{count, read};
use crate::sync;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The mapped limit of one pool.
#[derive(Debug)]
pub(crate) struct MappedLimit {
    bytes: u64,
    /// How many loads do not look again: what readers hold was looked through in vain.
    pause: AtomicU64,
    /// Whether a thread is trimming; others go on meanwhile.
    trimming: AtomicBool,
    /// Values whose views were let go of.
    pub(crate) trims: AtomicU64,
    /// Loads that left more mapped than the limit, because readers hold it.
    pub(crate) overruns: AtomicU64,
}

/// A part of the limit that is trimmed at once, so that not every load trims.
const AT_ONCE: u64 = 4;

/// A look in vain is paid for by one load for so many values that were looked at.
const LOOKS_PER_LOAD: u64 = 16;

impl MappedLimit {
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        Self {
            bytes: bytes.unwrap_or(u64::MAX),
            pause: AtomicU64::new(0),
            trimming: AtomicBool::new(false),
            trims: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
        }
    }

    /// Whether a load that finds so much mapped looks for something to let go of.
    fn is_due(&self, mapped: u64) -> bool {
        // Relaxed: two loads may count as one.
        let pause = read(&self.pause);
        if mapped > self.bytes && pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
        }
        mapped > self.bytes && pause == 0
    }

    /// The limit, if there is one.
    pub(crate) fn bytes(&self) -> Option<u64> {
        (self.bytes < u64::MAX).then_some(self.bytes)
    }
}

impl Shared {
    /// After something was mapped: trims if there is more than the limit.
    pub(crate) fn keep_mapped_limit(&self) {
        let limit = &self.mapped_limit;
        let mapped = self.back.store.mapped_bytes();
        if limit.is_due(mapped) && !limit.trimming.swap(true, Ordering::Acquire) {
            let held = self.trim();
            limit.pause.store(held / LOOKS_PER_LOAD, Ordering::Relaxed);
            limit.trimming.store(false, Ordering::Release);
        }
        count(&limit.overruns, u64::from(self.back.store.mapped_bytes() > limit.bytes));
    }

    /// Lets go of what can be; how many values that are held were looked at in vain.
    fn trim(&self) -> u64 {
        let mut held = 0;
        let limit = &self.mapped_limit;
        let wanted = limit.bytes - limit.bytes / AT_ONCE;
        // Small values lie together in a block that counts as a whole, so it may take many of them to free one.
        for factor in (0..u64::BITS).map(|round| 1 << round) {
            self.back.store.trim();
            let mapped = self.back.store.mapped_bytes();
            if mapped <= wanted {
                return 0;
            }
            let coldest;
            (coldest, held) = self.coldest_maps((mapped - wanted).saturating_mul(factor));
            if coldest.is_empty() {
                break;
            }
            count(&limit.trims, coldest.len() as u64);
            coldest.iter().for_each(|entry| self.release(entry, false));
        }
        held
    }

    /// Steps values of about `bytes` that are views and that nobody holds towards their release; how many are held.
    fn coldest_maps(&self, bytes: u64) -> (Vec<Arc<Entry>>, u64) {
        let (mut coldest, mut held) = (Vec::new(), 0);
        let found = std::cell::Cell::new(0_u64);
        let mut index = sync::lock(&self.index);
        let now = index.drain(&self.touched);
        index.pick_maps(&mut || found.get() < bytes, &mut |entry| {
            if !entry.word.begin_release() {
                held += 1;
                return Verdict::Skip;
            }
            found.set(found.get().saturating_add(read(&entry.charged_bytes).max(1)));
            coldest.push(Arc::clone(entry));
            Verdict::Take
        });
        drop(index);
        self.publish_clock(now);
        (coldest, held)
    }
}
