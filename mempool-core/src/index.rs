//! The pool's table: slots with their generations, and the order of eviction. One short lock, never held across I/O.

use crate::entry::{Entry, EntryRef};
use crate::id::Id;
use crate::recency::{Order, Policy, Seats, Verdict};
use crate::slots::Slots;
use crate::sync::Queue;
use crate::sync::atomic::Ordering;
use crate::word::State;

/// The entries that were read since the evicting side looked.
pub(crate) type Touched = Queue<EntryRef>;

/// So many entries that readers touched are taken in at once.
const AT_ONCE: usize = 32;

/// So many are looked at when a value ends, where nothing else can be done with them: more than one, so that the queue becomes
/// shorter.
const LOOKED_AT: usize = 4;

/// All values of a pool, and which of them can be evicted, in which order.
pub(crate) struct Index {
    slots: Slots<Slot>,
    free: Vec<u32>,
    /// How many slots have an entry.
    len: usize,
    policy: Policy,
    order: Box<dyn Order>,
    /// Values that are views of maps, the one that was used longest ago first.
    maps: Box<dyn Order>,
    /// The latest stamp that was given or seen.
    clock: u64,
    closed: bool,
}

/// 24 bytes.
struct Slot {
    entry: Option<EntryRef>,
    standing: Standing,
    generation: u32,
}

/// Where an entry stands: in one of the two orders under the stamp that it had there, or in neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing(u64);

impl Standing {
    /// No stamp is so large.
    const MAPPED: u64 = 1 << 63;
    /// No stamp is 0.
    const NOWHERE: Self = Self(0);

    fn ordered(stamp: u64) -> Self {
        debug_assert!(stamp != 0 && stamp & Self::MAPPED == 0, "stamp {stamp}");
        Self(stamp)
    }

    fn mapped(stamp: u64) -> Self {
        debug_assert!(stamp & Self::MAPPED == 0, "stamp {stamp}");
        Self(stamp | Self::MAPPED)
    }

    /// In the same order under another stamp.
    fn at(self, stamp: u64) -> Self {
        debug_assert!(stamp & Self::MAPPED == 0, "stamp {stamp}");
        Self(self.0 & Self::MAPPED | stamp)
    }

    /// The stamp, and whether it is in the order of maps.
    fn get(self) -> Option<(u64, bool)> {
        (self != Self::NOWHERE).then_some((self.0 & !Self::MAPPED, self.0 & Self::MAPPED != 0))
    }
}

impl Index {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            slots: Slots::new(),
            free: Vec::new(),
            len: 0,
            policy,
            order: policy.order(),
            maps: Policy::Lru.order(),
            clock: 0,
            closed: false,
        }
    }

    /// A free slot and its generation; `None` when the pool is closed, or has 2^32 - 1 slots.
    pub(crate) fn claim_slot(&mut self) -> Option<(u32, u32)> {
        if self.closed {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok().filter(|&slot| slot < u32::MAX)?;
                self.slots.push(Slot { entry: None, standing: Standing::NOWHERE, generation: 0 });
                slot
            }
        };
        let generation = self.slots[slot].generation + 1;
        self.slots[slot].generation = generation;
        Some((slot, generation))
    }

    /// Returns a slot whose value is gone, or never came. A generation that would repeat retires it.
    pub(crate) fn free_slot(&mut self, slot: u32) {
        self.unorder(slot);
        let place = &mut self.slots[slot];
        self.len -= usize::from(place.entry.take().is_some());
        if place.generation < u32::MAX {
            self.free.push(slot);
        }
    }

    /// Puts a new entry in its slot.
    pub(crate) fn install(&mut self, entry: EntryRef) {
        let slot = entry.slot;
        self.slots[slot].entry = Some(entry);
        self.len += 1;
    }

    /// Orders an entry that can be evicted, as the most recently used; the new time.
    pub(crate) fn order_newest(&mut self, entry: &Entry, touched: &Touched) -> u64 {
        self.drain(touched);
        self.clock += 1;
        entry.stamp.store(self.clock, Ordering::Relaxed);
        self.order_at_stamp(entry);
        self.clock
    }

    /// Orders an entry where its last use puts it.
    pub(crate) fn order_at_stamp(&mut self, entry: &Entry) {
        self.unorder(entry.slot);
        // An entry that ended meanwhile has left its slot, and is not ordered any more.
        if self.is_here(entry) {
            let place = &mut self.slots[entry.slot];
            let stamp = entry.stamp.load(Ordering::Relaxed);
            place.standing = Standing::ordered(stamp);
            self.order.insert(entry.slot, stamp);
        }
    }

    /// Takes an entry out of the order that it stands in.
    pub(crate) fn unorder(&mut self, slot: u32) {
        let place = &mut self.slots[slot];
        match std::mem::replace(&mut place.standing, Standing::NOWHERE).get() {
            Some((stamp, false)) => self.order.remove(slot, stamp),
            Some((stamp, true)) => self.maps.remove(slot, stamp),
            None => {}
        }
    }

    /// Takes in what readers touched; the time after that.
    pub(crate) fn drain(&mut self, touched: &Touched) -> u64 {
        while self.drain_some(touched) {}
        self.clock
    }

    /// Takes in a few of the entries that readers touched; whether there may be more.
    fn drain_some(&mut self, touched: &Touched) -> bool {
        let Some(first) = touched.pop() else { return false };
        let mut some = [const { None }; AT_ONCE];
        some[0] = Some(first);
        let mut count = 1;
        while count < AT_ONCE
            && let Some(next) = touched.pop()
        {
            some[count] = Some(next);
            count += 1;
        }
        self.look_ahead(some.iter().flatten());
        for entry in some.into_iter().flatten() {
            entry.noted.clear();
            self.reorder(&entry);
        }
        count == AT_ONCE
    }

    /// Reads a word of each entry and slot that will be worked on: these reads do not depend on each other, so the processor
    /// waits for many of them at a time. Among millions of values all of them miss its caches.
    fn look_ahead<'a>(&self, entries: impl Iterator<Item = &'a EntryRef>) {
        let look = |entry: &EntryRef| {
            let standing = self.slots.get(entry.slot as usize).map_or(0, |slot| slot.standing.0);
            standing ^ entry.stamp.load(Ordering::Relaxed)
        };
        std::hint::black_box(entries.map(look).fold(0, std::ops::BitXor::bitxor));
    }

    /// Orders views that are young no more by their last use; the time after that.
    pub(crate) fn order_grown(&mut self, views: &[EntryRef]) -> u64 {
        for some in views.chunks(AT_ONCE) {
            self.look_ahead(some.iter());
            some.iter().for_each(|entry| self.reorder(entry));
        }
        self.clock
    }

    /// Looks at a few of the entries that readers touched, and lets go of those that have ended. Where values end and none is
    /// set nobody else would, and they would stay in the queue.
    pub(crate) fn forget_ended(&mut self, touched: &Touched) {
        if mutant!("ended_kept_in_queue") {
            return;
        }
        if self.policy != Policy::Sieve {
            self.drain_some(touched);
            return;
        }
        // Sieve would order otherwise what it hears of now, and not when it is asked for victims.
        for entry in std::iter::from_fn(|| touched.pop()).take(LOOKED_AT) {
            if self.is_here(&entry) {
                touched.push(entry);
            }
        }
    }

    /// Whether the entry is in its slot still.
    fn is_here(&self, entry: &Entry) -> bool {
        let there = self.slots.get(entry.slot as usize).and_then(|slot| slot.entry.as_ref());
        there.is_some_and(|there| std::ptr::eq(&raw const **there, entry))
    }

    fn reorder(&mut self, entry: &Entry) {
        let stamp = entry.stamp.load(Ordering::Relaxed);
        self.clock = self.clock.max(stamp);
        let here = self.is_here(entry);
        let place = &mut self.slots[entry.slot];
        match (place.standing.get(), here) {
            (Some((before, mapped)), true) => {
                let order = if mapped { &mut self.maps } else { &mut self.order };
                let stands = order.touch(entry.slot, before, stamp);
                place.standing = place.standing.at(stands);
            }
            // A load leaves it to whoever comes to it here to order what it has mapped.
            (None, true) if entry.word.load().state() == State::Mapped => {
                place.standing = Standing::mapped(stamp);
                self.maps.insert(entry.slot, stamp);
            }
            _ => {}
        }
    }

    /// Offers entries in the order of eviction while `more` are needed; what is taken leaves the order.
    pub(crate) fn pick(
        &mut self,
        more: &mut dyn FnMut() -> bool,
        offer: &mut dyn FnMut(&EntryRef) -> Verdict,
    ) {
        let Self { slots, clock, order, .. } = self;
        order.pick(more, &mut Candidates { slots, clock, offer });
    }

    /// As [`pick`](Self::pick), of the values that are views of maps.
    pub(crate) fn pick_maps(
        &mut self,
        more: &mut dyn FnMut() -> bool,
        offer: &mut dyn FnMut(&EntryRef) -> Verdict,
    ) {
        let Self { slots, clock, maps, .. } = self;
        maps.pick(more, &mut Candidates { slots, clock, offer });
    }

    /// Shows entries in about the order of eviction while `more` says so.
    pub(crate) fn peek(&mut self, more: &mut dyn FnMut(&EntryRef) -> bool) {
        let Self { slots, clock, order, .. } = self;
        let offer = &mut |entry: &EntryRef| if more(entry) { Verdict::Skip } else { Verdict::Stop };
        order.peek(&mut Candidates { slots, clock, offer });
    }

    /// The value of that name, if it is there.
    pub(crate) fn entry(&self, id: Id) -> Option<EntryRef> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.entry.as_ref().filter(|_| slot.generation == id.generation).cloned()
    }

    /// Every entry that is in its slot.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &EntryRef> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// The entries in these slots; `None` behind the last slot.
    pub(crate) fn entries_of(
        &self,
        slots: std::ops::Range<usize>,
    ) -> Option<impl Iterator<Item = &EntryRef>> {
        let there = slots.start < slots.end.min(self.slots.len());
        there.then(|| self.slots.range(slots).filter_map(|slot| slot.entry.as_ref()))
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// No further slot is given.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

/// The entries that an order names, offered to somebody.
struct Candidates<'a> {
    slots: &'a mut Slots<Slot>,
    clock: &'a mut u64,
    offer: &'a mut dyn FnMut(&EntryRef) -> Verdict,
}

impl Seats for Candidates<'_> {
    fn look_ahead(&self, slots: &mut dyn Iterator<Item = u32>) {
        for slot in slots {
            // The reads of the slots do not depend on each other, and nobody waits for the entries.
            if let Some(entry) = self.slots.get(slot as usize).and_then(|slot| slot.entry.as_ref())
            {
                entry.prefetch();
            }
        }
    }

    fn restamp(&mut self, slot: u32, standing: u64) -> u64 {
        let place = &mut self.slots[slot];
        let last_use = place.entry.as_ref().map_or(0, |entry| entry.stamp.load(Ordering::Relaxed));
        if last_use <= standing || mutant!("stale_stamp") {
            return standing;
        }
        *self.clock = last_use.max(*self.clock);
        place.standing = place.standing.at(last_use);
        last_use
    }

    fn offer(&mut self, slot: u32) -> Verdict {
        let place = &mut self.slots[slot];
        let verdict = place.entry.as_ref().map_or(Verdict::Take, &mut *self.offer);
        if verdict == Verdict::Take {
            place.standing = Standing::NOWHERE;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_and_an_entry_are_as_small_as_they_say() {
        assert_eq!(size_of::<Slot>(), 24);
        // The model checkers' primitives are larger.
        if !crate::sync::MODELLED {
            assert_eq!(size_of::<Entry>(), 104);
        }
    }
}
