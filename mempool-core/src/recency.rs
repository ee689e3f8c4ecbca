//! Which value goes next: the policies Lru, Mru and Sieve, and the clocks that order what readers did.
//!
//! A policy knows slots and stamps, not values. Readers do not touch it: they store a stamp in their entry and
//! push the entry on a queue, which the evicting side drains before it picks (`index.rs`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::sync;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Which value is evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The one that was used longest ago.
    #[default]
    Lru,
    /// The one that was used last: for scans that come round again and again.
    Mru,
    /// Sieve (Zhang et al., NSDI 2024): one bit for each value and a hand that passes over those used since its
    /// last visit; resists scans.
    Sieve,
}

/// What the evicting side says to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is taken: forget it.
    Take,
    /// It cannot be evicted now: go on.
    Skip,
    /// It is next, and cannot go yet: end here, and begin with it the next time.
    Stop,
}

/// The order of the values that can be evicted.
pub(crate) trait Order: Send {
    /// Adds a slot.
    fn insert(&mut self, slot: u32, stamp: u64);
    /// A slot that was inserted was used since.
    fn touch(&mut self, slot: u32, before: u64, stamp: u64);
    /// Forgets a slot that was inserted.
    fn remove(&mut self, slot: u32, stamp: u64);
    /// Offers slots in the order of eviction, each once, while `more` says that more are needed.
    fn pick(&mut self, more: &mut dyn FnMut() -> bool, offer: &mut dyn FnMut(u32) -> Verdict);
    /// Shows slots in the order in which they would be offered now, while `more` says so. Changes nothing.
    fn peek(&self, more: &mut dyn FnMut(u32) -> bool);
}

impl Policy {
    pub(crate) fn order(self) -> Box<dyn Order> {
        match self {
            Self::Lru => Box::new(Stamped { entries: BTreeSet::new(), newest_first: false }),
            Self::Mru => Box::new(Stamped { entries: BTreeSet::new(), newest_first: true }),
            Self::Sieve => Box::new(Sieve::default()),
        }
    }
}

/// Lru and Mru: by stamp, from one end or the other.
struct Stamped {
    entries: BTreeSet<(u64, u32)>,
    newest_first: bool,
}

impl Order for Stamped {
    fn insert(&mut self, slot: u32, stamp: u64) {
        self.entries.insert((stamp, slot));
    }

    fn touch(&mut self, slot: u32, before: u64, stamp: u64) {
        self.entries.remove(&(before, slot));
        self.entries.insert((stamp, slot));
    }

    fn remove(&mut self, slot: u32, stamp: u64) {
        self.entries.remove(&(stamp, slot));
    }

    fn pick(&mut self, more: &mut dyn FnMut() -> bool, offer: &mut dyn FnMut(u32) -> Verdict) {
        let mut at = None;
        while more() {
            let next = match (at, self.newest_first) {
                (None, false) => self.entries.first(),
                (None, true) => self.entries.last(),
                (Some(at), false) => self
                    .entries
                    .range((std::ops::Bound::Excluded(at), std::ops::Bound::Unbounded))
                    .next(),
                (Some(at), true) => self.entries.range(..at).next_back(),
            };
            let Some(&key) = next else { return };
            match offer(key.1) {
                Verdict::Take => {
                    self.entries.remove(&key);
                }
                Verdict::Skip => {}
                Verdict::Stop => return,
            }
            at = Some(key);
        }
    }

    fn peek(&self, more: &mut dyn FnMut(u32) -> bool) {
        let show = |&(_, slot): &(u64, u32)| more(slot);
        match self.newest_first {
            false => self.entries.iter().all(show),
            true => self.entries.iter().rev().all(show),
        };
    }
}

/// Sieve: values in the order of their coming, and a hand that moves from the oldest to the newest.
#[derive(Default)]
struct Sieve {
    /// By arrival. The hand stands before the first arrival that is not smaller than it.
    queue: std::collections::BTreeMap<u64, (u32, bool)>,
    arrivals: std::collections::HashMap<u32, u64>,
    next_arrival: u64,
    hand: u64,
}

impl Sieve {
    /// The value under the hand, which starts anew at the oldest when it has passed the newest.
    fn under_hand(&self) -> Option<(u64, u32, bool)> {
        let from_hand = self.queue.range(self.hand..).next();
        let (&arrival, &(slot, visited)) = from_hand.or_else(|| self.queue.first_key_value())?;
        Some((arrival, slot, visited))
    }
}

impl Order for Sieve {
    fn insert(&mut self, slot: u32, _stamp: u64) {
        self.queue.insert(self.next_arrival, (slot, false));
        self.arrivals.insert(slot, self.next_arrival);
        self.next_arrival += 1;
    }

    fn touch(&mut self, slot: u32, _before: u64, _stamp: u64) {
        let arrival = self.arrivals.get(&slot);
        if let Some((_, visited)) = arrival.and_then(|arrival| self.queue.get_mut(arrival)) {
            *visited = true;
        }
    }

    fn remove(&mut self, slot: u32, _stamp: u64) {
        if let Some(arrival) = self.arrivals.remove(&slot) {
            self.queue.remove(&arrival);
        }
    }

    fn pick(&mut self, more: &mut dyn FnMut() -> bool, offer: &mut dyn FnMut(u32) -> Verdict) {
        // Two rounds: the first may only clear the bits.
        let mut steps = self.queue.len().saturating_mul(2);
        while steps > 0 && more() {
            steps -= 1;
            let Some((arrival, slot, visited)) = self.under_hand() else { return };
            if visited {
                self.queue.insert(arrival, (slot, false));
            } else {
                match offer(slot) {
                    Verdict::Take => self.remove(slot, 0),
                    Verdict::Skip => {}
                    Verdict::Stop => return,
                }
            }
            self.hand = arrival + 1;
        }
    }

    fn peek(&self, more: &mut dyn FnMut(u32) -> bool) {
        let from_hand = self.queue.range(self.hand..).chain(self.queue.range(..self.hand));
        // What was visited gets a second chance, and is not next.
        from_hand.filter(|(_, (_, visited))| !visited).all(|(_, &(slot, _))| more(slot));
    }
}

/// What one thread did in one pool. Written by that thread alone, read by all.
#[derive(Debug, Default)]
pub(crate) struct ThreadLog {
    clock: AtomicU64,
    gets: AtomicU64,
}

impl ThreadLog {
    /// Counts a get, and gives its stamp: later than all that this thread did and all that the pool has ordered.
    pub(crate) fn note_get(&self, ordered: u64) -> u64 {
        // Relaxed: one writer; the stamp reaches the evicting side through the touched queue.
        let stamp = self.clock.load(Ordering::Relaxed).max(ordered) + 1;
        self.clock.store(stamp, Ordering::Relaxed);
        self.gets.store(self.gets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        stamp
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Ordering::Relaxed)
    }
}

/// A log that is shared by the thread that writes it and the pool that reads it.
pub(crate) type SharedLog = Arc<CachePadded<ThreadLog>>;

/// The logs of one thread: the pool that it used last stands ready.
#[derive(Default)]
struct Logs {
    last: Option<(u64, SharedLog)>,
    others: Vec<(u64, SharedLog)>,
}

sync::thread_local! {
    static LOGS: RefCell<Logs> = RefCell::new(Logs::default());
}

/// Calls `note` with this thread's log in the pool; `make` registers a new one.
///
/// In a thread that is ending, when its locals are gone, the log is a fresh one.
pub(crate) fn with_log<R>(
    pool: u64,
    make: impl Fn() -> SharedLog,
    note: impl Fn(&ThreadLog) -> R,
) -> R {
    let with_locals = LOGS.try_with(|logs| {
        let mut logs = logs.borrow_mut();
        match &logs.last {
            Some((last, log)) if *last == pool => note(log),
            _ => note(logs.switch_to(pool, &make)),
        }
    });
    with_locals.unwrap_or_else(|_| note(&make()))
}

impl Logs {
    #[cold]
    fn switch_to(&mut self, pool: u64, make: &dyn Fn() -> SharedLog) -> &ThreadLog {
        let known = self.others.iter().position(|(other, _)| *other == pool);
        let log = match known {
            Some(at) => self.others.swap_remove(at).1,
            None => make(),
        };
        // A log that its pool has let go of is of no use any more.
        self.others.extend(self.last.take());
        self.others.retain(|(_, log)| Arc::strong_count(log) > 1);
        &self.last.insert((pool, log)).1
    }
}
