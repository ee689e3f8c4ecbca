//! Which value goes next: the policies Lru, Mru and Sieve, and the clocks that order what readers did.
//!
//! A policy knows slots and stamps, not values. Readers do not touch it: they store a stamp in their entry and
//! push the entry on a queue, which the evicting side drains before it picks (`index.rs`). Lru does not move a value then, but when
//! it is next to go: it stands under an older stamp than its last use until the order comes to it, and no value that
//! stands behind it can be older. So a value that is read a thousand times moves once, and one that is only read, never.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
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
    /// A slot that stands under `before` was used since. The stamp under which it stands now.
    fn touch(&mut self, slot: u32, before: u64, stamp: u64) -> u64;
    /// Forgets a slot that was inserted.
    fn remove(&mut self, slot: u32, stamp: u64);
    /// Offers slots in the order of eviction, each once, while `more` says that more are needed.
    fn pick(&mut self, more: &mut dyn FnMut() -> bool, seats: &mut dyn Seats);
    /// Shows slots in the order in which they would be offered now, until a verdict is to stop. None is taken.
    fn peek(&mut self, seats: &mut dyn Seats);
}

/// What an order asks of the slots that it names.
pub(crate) trait Seats {
    /// These are about to be asked for, each of them once.
    fn look_ahead(&self, slots: &mut dyn Iterator<Item = u32>);
    /// Has a slot that stands under `standing` stand under the stamp of its last use; that stamp, unless it is older.
    fn restamp(&mut self, slot: u32, standing: u64) -> u64;
    fn offer(&mut self, slot: u32) -> Verdict;
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

/// So many slots are looked at ahead at once: about as many reads as a processor waits for at a time.
const LOOK_AHEAD_MAX: usize = 16;

/// Lru and Mru: by stamp, from one end or the other.
struct Stamped {
    entries: BTreeSet<(u64, u32)>,
    newest_first: bool,
}

impl Stamped {
    /// The next one behind `last`, where its last use puts it.
    fn next(&mut self, last: Option<(u64, u32)>, seats: &mut dyn Seats) -> Option<(u64, u32)> {
        if self.newest_first {
            return match last {
                None => self.entries.last().copied(),
                Some(last) => self.entries.range(..last).next_back().copied(),
            };
        }
        loop {
            let &(standing, slot) = match last {
                None => self.entries.first()?,
                Some(last) => self.entries.range((Excluded(last), Unbounded)).next()?,
            };
            let stamp = seats.restamp(slot, standing);
            if stamp == standing {
                return Some((standing, slot));
            }
            self.entries.remove(&(standing, slot));
            self.entries.insert((stamp, slot));
        }
    }

    /// Shows the oldest ones behind `last` and moves that on, up to one that was used since: where it stands, and its new stamp.
    fn show(
        &self,
        last: &mut Option<(u64, u32)>,
        seats: &mut dyn Seats,
    ) -> Option<(u64, u32, u64)> {
        for &(standing, slot) in self.entries.range((last.map_or(Unbounded, Excluded), Unbounded)) {
            let stamp = seats.restamp(slot, standing);
            if stamp != standing {
                return Some((standing, slot, stamp));
            }
            if seats.offer(slot) == Verdict::Stop {
                return None;
            }
            *last = Some((standing, slot));
        }
        None
    }
}

impl Order for Stamped {
    fn insert(&mut self, slot: u32, stamp: u64) {
        self.entries.insert((stamp, slot));
    }

    fn touch(&mut self, slot: u32, before: u64, stamp: u64) -> u64 {
        if !self.newest_first {
            return before;
        }
        self.entries.remove(&(before, slot));
        self.entries.insert((stamp, slot));
        stamp
    }

    fn remove(&mut self, slot: u32, stamp: u64) {
        self.entries.remove(&(stamp, slot));
    }

    fn pick(&mut self, more: &mut dyn FnMut() -> bool, seats: &mut dyn Seats) {
        let mut last = None;
        let (mut picked, mut looked) = (0, 1);
        while more() {
            if picked == looked && !self.newest_first {
                // As many as were picked so far, so no more than half of them for nothing.
                let ahead = looked.min(LOOK_AHEAD_MAX);
                let behind = (last.map_or(Unbounded, Excluded), Unbounded);
                let next = self.entries.range(behind).map(|&(_, slot)| slot);
                seats.look_ahead(&mut next.take(ahead));
                looked += ahead;
            }
            picked += 1;
            let Some(key) = self.next(last, seats) else { return };
            match seats.offer(key.1) {
                Verdict::Take => {
                    self.entries.remove(&key);
                }
                Verdict::Skip => {}
                Verdict::Stop => return,
            }
            last = Some(key);
        }
    }

    fn peek(&mut self, seats: &mut dyn Seats) {
        if self.newest_first {
            let mut slots = self.entries.iter().rev().map(|&(_, slot)| slot);
            while slots.next().is_some_and(|slot| seats.offer(slot) != Verdict::Stop) {}
            return;
        }
        // Many are shown for each that has to move first: between two of these it is a walk along the tree.
        let mut last = None;
        while let Some((standing, slot, stamp)) = self.show(&mut last, seats) {
            self.entries.remove(&(standing, slot));
            self.entries.insert((stamp, slot));
        }
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

    fn touch(&mut self, slot: u32, before: u64, _stamp: u64) -> u64 {
        let arrival = self.arrivals.get(&slot);
        if let Some((_, visited)) = arrival.and_then(|arrival| self.queue.get_mut(arrival)) {
            *visited = true;
        }
        before
    }

    fn remove(&mut self, slot: u32, _stamp: u64) {
        if let Some(arrival) = self.arrivals.remove(&slot) {
            self.queue.remove(&arrival);
        }
    }

    fn pick(&mut self, more: &mut dyn FnMut() -> bool, seats: &mut dyn Seats) {
        // Two rounds: the first may only clear the bits.
        let mut steps = self.queue.len().saturating_mul(2);
        while steps > 0 && more() {
            steps -= 1;
            let Some((arrival, slot, visited)) = self.under_hand() else { return };
            if visited {
                self.queue.insert(arrival, (slot, false));
            } else {
                match seats.offer(slot) {
                    Verdict::Take => self.remove(slot, 0),
                    Verdict::Skip => {}
                    Verdict::Stop => return,
                }
            }
            self.hand = arrival + 1;
        }
    }

    fn peek(&mut self, seats: &mut dyn Seats) {
        let from_hand = self.queue.range(self.hand..).chain(self.queue.range(..self.hand));
        // What was visited gets a second chance, and is not next.
        let mut next = from_hand.filter(|(_, (_, visited))| !visited).map(|(_, &(slot, _))| slot);
        while next.next().is_some_and(|slot| seats.offer(slot) != Verdict::Stop) {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots with the stamps of their last uses, and of each whether it is there.
    #[derive(Default)]
    struct Uses {
        last: Vec<Option<u64>>,
        stands: Vec<u64>,
        offered: Vec<u32>,
        verdicts: Vec<Verdict>,
    }

    impl Seats for Uses {
        fn look_ahead(&self, slots: &mut dyn Iterator<Item = u32>) {
            slots.for_each(|slot| assert!(self.last[slot as usize].is_some(), "slot {slot}"));
        }

        fn restamp(&mut self, slot: u32, standing: u64) -> u64 {
            let at = slot as usize;
            assert_eq!(self.stands[at], standing, "slot {slot}");
            self.stands[at] = self.last[at].unwrap();
            self.stands[at]
        }

        fn offer(&mut self, slot: u32) -> Verdict {
            self.offered.push(slot);
            self.verdicts.pop().unwrap_or(Verdict::Stop)
        }
    }

    /// Whatever was used, looked at and taken before: slots are offered in the order of their last uses.
    #[test]
    fn lru_and_mru_offer_in_the_order_of_the_last_uses() {
        for (policy, seed) in [Policy::Lru, Policy::Mru].into_iter().cycle().zip(1..200_u64) {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut number = move |below: u64| {
                // Marsaglia's xorshift (2003).
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut order = policy.order();
            let mut uses = Uses { last: vec![None; 20], stands: vec![0; 20], ..Uses::default() };
            for now in 1..400 {
                let slot = u32::try_from(number(20)).unwrap();
                let at = slot as usize;
                match (number(8), uses.last[at]) {
                    (0..=4, None) => {
                        order.insert(slot, now);
                        (uses.last[at], uses.stands[at]) = (Some(now), now);
                    }
                    (0..=4, Some(_)) => {
                        uses.last[at] = Some(now);
                        uses.stands[at] = order.touch(slot, uses.stands[at], now);
                    }
                    (5, Some(_)) => {
                        order.remove(slot, uses.stands[at]);
                        uses.last[at] = None;
                    }
                    (what, _) => {
                        let mut expected: Vec<(u64, u32)> = (0..)
                            .zip(&uses.last)
                            .filter_map(|(n, last)| Some(((*last)?, n)))
                            .collect();
                        expected.sort_unstable();
                        if policy == Policy::Mru {
                            expected.reverse();
                        }
                        let take = what == 7;
                        let verdict =
                            |n| if take && n % 3 == 0 { Verdict::Take } else { Verdict::Skip };
                        uses.verdicts = (0..number(20)).map(verdict).collect();
                        let verdicts: Vec<Verdict> = uses.verdicts.iter().rev().copied().collect();
                        match take {
                            true => order.pick(&mut || true, &mut uses),
                            false => order.peek(&mut uses),
                        }
                        let offered = std::mem::take(&mut uses.offered);
                        let all = expected.iter().map(|&(_, slot)| slot);
                        assert!(
                            all.take(verdicts.len() + 1).eq(offered.iter().copied()),
                            "seed {seed}"
                        );
                        for (slot, verdict) in offered.iter().zip(verdicts) {
                            if verdict == Verdict::Take {
                                uses.last[*slot as usize] = None;
                            }
                        }
                    }
                }
            }
        }
    }
}
