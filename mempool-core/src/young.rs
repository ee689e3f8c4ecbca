//! Views that were made a moment ago. Of many small values most are read once and not again soon; their views go as they came,
//! while what they consist of is in the processor's caches still, and no order ever hears of them.
//!
//! ```text
//!  a load makes a view ──▶ young, in the order of coming ──▶ not read again, and there are many views: let go of
//!                                                        └─▶ else ordered by its last use among the other views
//! ```
//!
//! This is the small queue of S3-FIFO (Yang et al., SOSP 2023). In place of its list of those that went, one of a few stays
//! without having been read again, so that what is read in turns that are longer than the queue comes to stay, too.

use std::collections::VecDeque;

use crate::entry::{Entry, EntryRef};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{self, Mutex};

/// So many views are young, where there may be enough of them: what they consist of fits into the cache of one processor.
const YOUNG_MAX: u64 = 256;

/// Young views are at most this part of all that there may be.
const YOUNG_SHARE: u64 = 4;

/// One of so many stays, though it was not read again.
const STAYS: u64 = 8;

/// So many that stay are ordered at once: their slots lie anywhere, and are waited for together.
const STAYING_MAX: usize = 16;

/// What an entry knows of who will look at it: at its stamp, once a get has stored one.
///
/// ```text
/// bit 1: a load made a view of it, which is young   bit 0: a get was noted, and the entry stands in a queue
/// ```
pub(crate) struct Noted(AtomicU8);

/// Where the first get that is noted puts an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The queue of what was touched.
    Touched,
    /// The young views.
    Young,
}

impl Noted {
    const NOTED: u8 = 1;
    const YOUNG: u8 = 2;

    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Notes a get whose stamp is stored; `Some` when the entry stands in no queue yet, and the caller must put it there.
    #[inline]
    pub(crate) fn note(&self) -> Option<Queue> {
        // Relaxed: beside a `clear` the get may stand on either side of the look that follows that.
        if self.0.load(Ordering::Relaxed) & Self::NOTED != 0 { None } else { self.note_first() }
    }

    fn note_first(&self) -> Option<Queue> {
        // AcqRel pairs with the Release of `clear`.
        let before = self.0.fetch_or(Self::NOTED, Ordering::AcqRel);
        match (before & Self::NOTED, before & Self::YOUNG) {
            (0, 0) => Some(Queue::Touched),
            (0, _) => Some(Queue::Young),
            _ => None,
        }
    }

    /// A load has made a view. One that stands in a queue is left to whoever empties that.
    pub(crate) fn make_young(&self) {
        let _ = self.0.compare_exchange(0, Self::YOUNG, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_young(&self) -> bool {
        self.0.load(Ordering::Relaxed) & Self::YOUNG != 0
    }

    /// The entry was taken out of its queue. The stamp is read behind this.
    pub(crate) fn clear(&self) {
        // Release pairs with a reader's `note`: one that finds the bit clear puts the entry into a queue again.
        self.0.store(0, Ordering::Release);
    }
}

/// The young views of one pool.
pub(crate) struct Young {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With the stamps of the gets that they were made for.
    views: VecDeque<(EntryRef, u64)>,
    /// How many have grown old, in a circle.
    turn: u64,
    /// Those that stay, and that the order of the others has not heard of yet.
    staying: Vec<EntryRef>,
}

/// A view that is young no more.
pub(crate) struct Grown {
    pub(crate) entry: EntryRef,
    /// Whether it stays, however many views there are.
    pub(crate) stays: bool,
}

impl Young {
    /// Young views where there may be `views_max` in all.
    pub(crate) fn new(views_max: u64) -> Self {
        let max = usize::try_from(YOUNG_MAX.min(views_max / YOUNG_SHARE)).unwrap_or_default();
        Self { max, state: Mutex::default() }
    }

    /// Takes in a view that was made for a get of that stamp.
    pub(crate) fn push(&self, entry: EntryRef, stamp: u64) {
        sync::lock(&self.state).views.push_back((entry, stamp));
    }

    /// The eldest, when there are as many as there may be. Called by each load, it leaves room for the view that comes.
    pub(crate) fn grown(&self) -> Option<Grown> {
        let (entry, stamp, turn) = {
            let mut state = sync::lock(&self.state);
            if state.views.len() < self.max {
                return None;
            }
            let (entry, stamp) = state.views.pop_front()?;
            state.turn = (state.turn + 1) % STAYS;
            (entry, stamp, state.turn)
        };
        entry.noted.clear();
        let again = entry.stamp.load(Ordering::Relaxed) != stamp && !mutant!("read_again_unseen");
        Some(Grown { entry, stays: again || turn == 0 })
    }

    /// A view that grew and stays; when there are enough of them, all that are to be ordered now.
    pub(crate) fn stay(&self, entry: EntryRef) -> Vec<EntryRef> {
        let staying = &mut sync::lock(&self.state).staying;
        staying.push(entry);
        if staying.len() < STAYING_MAX { Vec::new() } else { std::mem::take(staying) }
    }

    /// All of them, as grown.
    pub(crate) fn take_all(&self) -> Vec<EntryRef> {
        let (views, mut all) = {
            let mut state = sync::lock(&self.state);
            (std::mem::take(&mut state.views), std::mem::take(&mut state.staying))
        };
        all.extend(views.into_iter().map(|(entry, _)| {
            entry.noted.clear();
            entry
        }));
        all
    }

    /// Takes out an entry that is resident now: readers must find it in no queue, so that the order of eviction hears of them.
    pub(crate) fn forget(&self, entry: &Entry) {
        let found = {
            let views = &mut sync::lock(&self.state).views;
            let at = views.iter().position(|(view, _)| std::ptr::eq(&raw const **view, entry));
            at.and_then(|at| views.remove(at))
        };
        // Let go of under no lock.
        drop(found);
        entry.noted.clear();
    }
}
