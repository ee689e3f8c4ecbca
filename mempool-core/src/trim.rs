//! The mapped limit: views of maps that nobody holds are let go of, the coldest first.
//!
//! Mapped bytes are no resident bytes: the kernel takes their pages back as it needs. But schedulers and containers count
//! them while they are in the page tables. What a store has given out since it was last trimmed stays below the limit,
//! as far as pins allow; a get is never refused for it.
//!
//! Views take a little heap that is charged to nobody. So that millions of small values cannot add it up, there are never many more
//! of them than a part of the memory limit has room for. Those that were made a moment ago go first (`young.rs`).

use crate::entry::{Entry, Held};
use crate::foreign::ForeignMaps;
use crate::recency::Verdict;
use crate::shared::Shared;
use crate::stats::{count, read};
use crate::sync;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::young::{Grown, Young};

/// The mapped limit of one pool.
pub(crate) struct MappedLimit {
    bytes: u64,
    /// The most views that there should be.
    views_max: u64,
    /// How many there are.
    views: AtomicU64,
    /// Those of them that were made a moment ago.
    pub(crate) young: Young,
    /// How many loads do not look again: what readers hold was looked through in vain.
    pause: AtomicU64,
    /// Whether a thread is trimming; others go on meanwhile.
    trimming: AtomicBool,
    /// What views look at that the store does not know of.
    pub(crate) foreign: ForeignMaps,
    /// Values whose views were let go of.
    pub(crate) trims: AtomicU64,
    /// Loads that left more mapped than the limit, because readers hold it.
    pub(crate) overruns: AtomicU64,
}

/// A part of the limit that is trimmed at once, so that not every load trims.
const AT_ONCE: u64 = 4;

/// The same of the views that there may be.
const VIEWS_AT_ONCE: u64 = 16;

/// Views may take this part of the memory limit, by the estimate below.
const VIEWS_SHARE: u64 = 16;

/// About what a view takes from the heap: the holder, the buffer's header, the store's own part, the allocator's rounding.
const VIEW_BYTES: u64 = 256;

/// So many views there may be, however small the limit is.
const VIEWS_MIN: u64 = 256;

/// A look in vain is paid for by one load for so many values that were looked at.
const LOOKS_PER_LOAD: u64 = 16;

impl MappedLimit {
    /// A limit beside a memory limit of `memory_bytes`.
    pub(crate) fn new(bytes: Option<u64>, memory_bytes: u64) -> Self {
        let views_max = (memory_bytes / VIEWS_SHARE / VIEW_BYTES).max(VIEWS_MIN);
        Self {
            bytes: bytes.unwrap_or(u64::MAX),
            views_max,
            views: AtomicU64::new(0),
            young: Young::new(views_max),
            pause: AtomicU64::new(0),
            trimming: AtomicBool::new(false),
            foreign: ForeignMaps::default(),
            trims: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
        }
    }

    /// Whether a load that finds so much mapped looks for something to let go of.
    fn is_due(&self, mapped: u64) -> bool {
        // Relaxed: two loads may count as one.
        let pause = read(&self.pause);
        let many = read(&self.views) > self.views_max && !mutant!("views_unbounded");
        let over = mapped > self.bytes || many;
        if over && pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
        }
        over && pause == 0
    }

    /// A load has made a view.
    pub(crate) fn note_view(&self, entry: &Entry) {
        entry.noted.make_young();
        count(&self.views, 1);
    }

    /// A value that was taken out of its entry is dropped.
    pub(crate) fn note_gone(&self, held: &dyn Held) {
        // Relaxed: a figure, which orders nothing.
        self.views.fetch_sub(u64::from(held.is_view()), Ordering::Relaxed);
    }

    /// So many views stay when some are let go of.
    fn views_kept(&self) -> u64 {
        self.views_max - self.views_max / VIEWS_AT_ONCE
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
        if let Some(grown) = limit.young.grown() {
            self.let_grow(grown);
        }
        let mapped = self.mapped_bytes();
        if limit.is_due(mapped) && !limit.trimming.swap(true, Ordering::Acquire) {
            let held = self.trim();
            limit.pause.store(held / LOOKS_PER_LOAD, Ordering::Relaxed);
            limit.trimming.store(false, Ordering::Release);
        }
        count(&limit.overruns, u64::from(self.mapped_bytes() > limit.bytes));
    }

    /// Bytes of all maps that views look at: the store's, and other processes'.
    fn mapped_bytes(&self) -> u64 {
        self.back.store.mapped_bytes().saturating_add(self.mapped_limit.foreign.bytes())
    }

    /// Lets a young view go, or orders it among the others.
    fn let_grow(&self, Grown { entry, stays }: Grown) {
        let limit = &self.mapped_limit;
        let goes = !stays && read(&limit.views) > limit.views_kept() && !mutant!("views_unbounded");
        if goes && entry.word.begin_release_view() {
            count(&limit.trims, 1);
            return self.release(&entry, false);
        }
        let staying = limit.young.stay(entry);
        if !staying.is_empty() {
            let now = sync::lock(&self.index).order_grown(&staying);
            self.publish_clock(now);
        }
    }

    /// Lets go of what can be; how many values that are held were looked at in vain.
    fn trim(&self) -> u64 {
        let limit = &self.mapped_limit;
        let views = read(&limit.views);
        let mut held = 0;
        if views > limit.views_max {
            let more = views - limit.views_kept();
            held = self.let_go(&mut |found, _| found < more).1;
        }
        if limit.bytes < u64::MAX { held.max(self.trim_bytes()) } else { held }
    }

    fn trim_bytes(&self) -> u64 {
        let mut held = 0;
        let limit = &self.mapped_limit;
        // The coldest go first, young or not.
        let now = {
            let young = limit.young.take_all();
            sync::lock(&self.index).order_grown(&young)
        };
        self.publish_clock(now);
        let wanted = limit.bytes - limit.bytes / AT_ONCE;
        // Small values lie together in a block that counts as a whole, so it may take many of them to free one.
        for factor in (0..u64::BITS).map(|round| 1 << round) {
            self.back.store.trim();
            let mapped = self.mapped_bytes();
            if mapped <= wanted {
                return 0;
            }
            let bytes = (mapped - wanted).saturating_mul(factor);
            let gone;
            (gone, held) = self.let_go(&mut |_, found| found < bytes);
            if gone == 0 {
                break;
            }
        }
        held
    }

    /// Lets go of views that nobody holds, the coldest first, while `more` says so of how many were found and of their bytes.
    /// Answers how many that were, and how many are held.
    fn let_go(&self, more: &mut dyn FnMut(u64, u64) -> bool) -> (u64, u64) {
        let (mut coldest, mut held) = (Vec::new(), 0);
        let found = std::cell::Cell::new((0_u64, 0_u64));
        let mut index = sync::lock(&self.index);
        let now = index.drain(&self.touched);
        let mut more = || more(found.get().0, found.get().1);
        index.pick_maps(&mut more, &mut |entry| {
            if !entry.word.begin_release() {
                held += 1;
                return Verdict::Skip;
            }
            let (count, bytes) = found.get();
            found.set((count + 1, bytes.saturating_add(read(&entry.charged_bytes).max(1))));
            coldest.push(entry.clone());
            Verdict::Take
        });
        drop(index);
        self.publish_clock(now);
        let gone = coldest.len() as u64;
        count(&self.mapped_limit.trims, gone);
        coldest.iter().for_each(|entry| self.release(entry, false));
        (gone, held)
    }
}
