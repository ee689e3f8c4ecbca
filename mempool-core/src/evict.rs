//! Making room: as many victims as a request needs, in the order of the policy.
//!
//! Victims are exact: no more go than the request needs. What is written is not: a store that likes to write many
//! bytes at once is given the values that are next to go as well. They stay where they are, in memory and in the order,
//! and go for free when their turn comes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::budget::{Evictor, Progress, Wait};
use crate::entry::{Entry, EntryRef};
use crate::error::{Error, NoRoom, PinnedValue, Result};
use crate::events;
use crate::index::Index;
use crate::recency::Verdict;
use crate::shared::Shared;
use crate::stats::{count, read};
use crate::sync::{self, Condvar, Mutex};
use crate::turn::Turn;
use crate::word::{Eviction, State};

/// What one look at the order found.
#[derive(Default)]
struct Chosen {
    /// Clean values, to be released. The words are `Releasing`.
    release: Vec<EntryRef>,
    /// Values to be written and released. The words are `Spilling`.
    write: Vec<EntryRef>,
    /// Values to be written ahead of their turn, and kept. The words are `Spilling`.
    ahead: Vec<EntryRef>,
    /// The next one has to wait for the work of others: so many turns had ended then.
    busy: Option<u64>,
}

impl Chosen {
    fn is_empty(&self) -> bool {
        self.release.is_empty() && self.write.is_empty()
    }
}

/// One request's way through the order.
#[derive(Default)]
struct Pass {
    /// Values that cannot go now: somebody outside holds them, or their codec failed.
    passed_over: Vec<u32>,
    /// The first write that failed.
    failed: Option<Error>,
    /// The store refused a write: from then on clean values alone are evicted.
    store_failed: bool,
    freed: bool,
    /// Taken when the first victim is met that has to be written.
    turn: Option<Turn>,
}

/// A value is written ahead of its turn when it takes no more than this part of a batch; a larger one gains nothing.
const SMALL_SHARE: u64 = 4;

/// No more than this part of the limit is written in one batch, so that what is far from its turn is left alone.
const LIMIT_SHARE: u64 = 4;

/// How many values are looked at for a batch: pinned or clean ones may stand in between.
const LOOKS_MAX: usize = 1024;

impl Evictor for Shared {
    fn evict(&self, missing: &dyn Fn() -> u64, wait: Wait) -> Progress {
        self.passes.begin();
        let progress = events::evicting(self, missing(), || self.pass(missing));
        let others = self.passes.end();
        match (progress, others) {
            // Values that another thread is evicting are no pins: their room comes, so even he who does not wait
            // for pins any more looks again when that thread is done.
            (Progress::Stuck, Some(others)) if wait.is_over() => {
                match self.passes.wait_for_one_of(others, self.ledger.timeout()) {
                    true => Progress::Freed,
                    false => Progress::Stuck,
                }
            }
            (progress, _) => progress,
        }
    }

    fn note_no_room(&self, report: &NoRoom) {
        events::no_room(self, report);
    }

    fn largest_pinned(&self) -> Vec<PinnedValue> {
        let mut values: Vec<PinnedValue> = {
            let index = sync::lock(&self.index);
            index.entries().filter_map(|entry| pinned_value(entry)).collect()
        };
        values.sort_by_key(|value| std::cmp::Reverse(value.bytes));
        values.truncate(NoRoom::LARGEST_MAX);
        values
    }
}

impl Shared {
    fn pass(&self, missing: &dyn Fn() -> u64) -> Progress {
        let mut pass = Pass::default();
        let mut marked = false;
        loop {
            let ended = self.ledger.turns_ended();
            if self.writers.hold_up_room() {
                return Progress::Busy(ended);
            }
            // Behind that look: what came back with the end of such a write is not missing any more.
            let bytes = missing();
            if bytes == 0 {
                return Progress::Freed;
            }
            let chosen = self.choose(bytes, &mut pass);
            if chosen.is_empty() {
                if let Some(ended) = chosen.busy {
                    return Progress::Busy(ended);
                }
                match pass.failed.take() {
                    Some(error) => return Progress::Failed(error),
                    None if marked || !self.mark_pinned() => return Progress::Stuck,
                    None => marked = true,
                }
            }
            self.evict_chosen(chosen, &mut pass);
            if pass.freed {
                return Progress::Freed;
            }
        }
    }

    /// Steps values whose bytes make up at least `bytes` towards their eviction, and some to be written with them.
    fn choose(&self, bytes: u64, pass: &mut Pass) -> Chosen {
        let mut chosen = Chosen::default();
        let found = std::cell::Cell::new(0_u64);
        let mut index = sync::lock(&self.index);
        let now = index.drain(&self.touched);
        index.pick(&mut || found.get() < bytes, &mut |entry| {
            let clean_alone = pass.store_failed && !is_clean(entry);
            if clean_alone || pass.passed_over.contains(&entry.slot) {
                return Verdict::Skip;
            }
            let eviction = loop {
                if pass.turn.is_none() && entry.word.load().evictable() && !is_clean(entry) {
                    match Turn::take(&self.ledger) {
                        Ok(turn) => pass.turn = Some(turn),
                        Err(ended) => {
                            chosen.busy = Some(ended);
                            return Verdict::Stop;
                        }
                    }
                }
                if let Some(eviction) = entry.word.begin_evict(entry.discardable) {
                    break eviction;
                }
                chosen.busy = self.written_ahead_of(entry);
                match chosen.busy {
                    Some(_) => return Verdict::Stop,
                    // A write ahead may have ended between the two looks: it is not passed over for that.
                    None if entry.word.load().evictable() => {}
                    None => return Verdict::Skip,
                }
            };
            found.set(found.get().saturating_add(read(&entry.charged_bytes)));
            match eviction {
                Eviction::Release => chosen.release.push(entry.clone()),
                Eviction::Write => chosen.write.push(entry.clone()),
            }
            Verdict::Take
        });
        if let Some(last) = chosen.write.last() {
            let last_bytes = read(&last.charged_bytes);
            self.choose_ahead(&mut index, last_bytes, &mut chosen.ahead);
        }
        drop(index);
        self.publish_clock(now);
        chosen
    }

    /// Whether a value cannot go because it is being written ahead of need: it is waited for, and nothing else goes in its
    /// place. How many turns had ended then.
    fn written_ahead_of(&self, entry: &Entry) -> Option<u64> {
        // Before the look: a write that ends after it is one more.
        let ended = self.writers.are_on().then(|| self.ledger.turns_ended())?;
        let now = entry.word.load();
        let goes = now.state() == State::Spilling && now.pins() == 0 && !now.doomed();
        let goes = goes && !mutant!("written_ahead_passed_over");
        (goes && self.writers.is_writing(entry)).then_some(ended)
    }

    /// Steps the small values that are next to go, so that they are written with a victim of `bytes`.
    fn choose_ahead(&self, index: &mut Index, bytes: u64, ahead: &mut Vec<EntryRef>) {
        let batch_bytes = self.batch_bytes();
        let mut sum = bytes;
        let mut looks = LOOKS_MAX;
        index.peek(&mut |entry| {
            let bytes = read(&entry.charged_bytes);
            let small = bytes <= batch_bytes / SMALL_SHARE;
            looks -= 1;
            if sum.saturating_add(bytes) > batch_bytes || looks == 0 {
                return false;
            }
            if small && !entry.discardable && entry.word.begin_write() {
                sum = sum.saturating_add(bytes);
                ahead.push(entry.clone());
            }
            true
        });
    }

    /// How many bytes go into one batch.
    pub(crate) fn batch_bytes(&self) -> u64 {
        self.back.store.batch_bytes().min(self.ledger.limit() / LIMIT_SHARE)
    }

    fn evict_chosen(&self, chosen: Chosen, pass: &mut Pass) {
        for entry in chosen.release {
            if self.is_free(&entry, pass) {
                let discard = !entry.word.load().on_disk();
                count(&self.counters.clean_evictions, u64::from(!discard));
                self.release(&entry, discard);
                pass.freed = true;
            }
        }
        let mut write = chosen.write;
        write.retain(|entry| self.is_free(entry, pass));
        let mut ahead = chosen.ahead;
        let batch_bytes = self.batch_bytes();
        while !write.is_empty() {
            let rest = write.split_off(first_batch(&write, batch_bytes));
            let with_it = if rest.is_empty() { std::mem::take(&mut ahead) } else { Vec::new() };
            self.write_batch(&write, &with_it, pass);
            write = rest;
        }
        self.keep(&ahead, 0);
    }

    /// Whether nobody outside holds a victim; one that is held is left where it was.
    fn is_free(&self, entry: &Entry, pass: &mut Pass) -> bool {
        let free = !is_held_outside(entry);
        if !free {
            pass.passed_over.push(entry.slot);
            self.spare(entry);
        }
        free
    }

    /// Writes victims, and with them those that are next; then releases the victims that were written.
    fn write_batch(&self, victims: &[EntryRef], ahead: &[EntryRef], pass: &mut Pass) {
        if pass.store_failed {
            victims.iter().for_each(|entry| self.spare(entry));
            return self.keep(ahead, 0);
        }
        let all: Vec<&Entry> = victims.iter().chain(ahead).map(|entry| &**entry).collect();
        let (written, failed) = self.write_entries(&all);
        let (done, left) = victims.split_at(written.min(victims.len()));
        for entry in done {
            pass.freed |= self.end_spill(entry);
        }
        // The first one that is left failed; those behind it were not tried, and may be when it is passed over.
        if let (Some(first), Some(error)) = (left.first(), failed) {
            pass.store_failed |= matches!(error, Error::Store(_));
            pass.passed_over.push(first.slot);
            let (victim, source) = (first.id(), Box::new(error));
            pass.failed.get_or_insert(Error::Spill { victim, source });
        }
        for entry in left {
            entry.word.end_write(false);
            self.restore(entry);
        }
        self.keep(ahead, written.saturating_sub(victims.len()));
    }

    /// Ends the writing of values that stay in memory; the first `written` of them are on disk now.
    fn keep(&self, ahead: &[EntryRef], written: usize) {
        for (at, entry) in ahead.iter().enumerate() {
            entry.word.end_write(at < written);
            self.settle(entry);
        }
        count(&self.counters.written_ahead, written as u64);
        if !ahead.is_empty() {
            // A request that met them while they were written must look again.
            self.ledger.nudge();
        }
    }

    /// Leaves a victim that was chosen where it was. Tells nobody: it was not evictable before either.
    fn spare(&self, entry: &Entry) {
        entry.word.cancel_evict();
        sync::lock(&self.index).order_at_stamp(entry);
        self.settle(entry);
    }

    /// Writes a victim and releases it; `false` when it was pinned or doomed meanwhile and is in memory still.
    ///
    /// # Errors
    /// When it could not be written; it is then as it was.
    pub(crate) fn spill(&self, entry: &Entry) -> Result<bool> {
        match self.write_entry(entry) {
            Ok(()) => Ok(self.end_spill(entry)),
            Err(error) => {
                entry.word.end_write(false);
                self.restore(entry);
                Err(error)
            }
        }
    }

    /// Releases a victim that was written; `false` when it was pinned or doomed meanwhile and is in memory still.
    fn end_spill(&self, entry: &Entry) -> bool {
        count(&self.counters.spills, 1);
        events::spilled(self, entry);
        if mutant!("reference_dropped_too_early") {
            let planted = sync::lock(&entry.cold).replace_references(None);
            drop(planted);
        }
        let released = entry.word.end_spill();
        if released {
            self.release(entry, false);
        } else {
            self.restore(entry);
        }
        released
    }

    /// Asks each pinned value to tell the ledger of its last unpin; whether one has become free meanwhile.
    fn mark_pinned(&self) -> bool {
        let index = sync::lock(&self.index);
        let mut free = false;
        for entry in index.entries() {
            let now = entry.word.load();
            if now.state() == State::Resident && !now.doomed() {
                free |= now.pins() == 0 || entry.word.want().pins() == 0;
            }
        }
        free
    }
}

/// How many of `victims` make up the first batch: one at least.
pub(crate) fn first_batch<E: std::ops::Deref<Target = Entry>>(
    victims: &[E],
    batch_bytes: u64,
) -> usize {
    let mut sum = 0_u64;
    let fits = |entry: &&E| {
        sum = sum.saturating_add(read(&entry.charged_bytes));
        sum <= batch_bytes
    };
    victims.iter().take_while(fits).count().max(1)
}

fn is_clean(entry: &Entry) -> bool {
    entry.discardable || entry.word.load().on_disk()
}

/// Asks the codec; one that panics has its value left alone.
fn is_held_outside(entry: &Entry) -> bool {
    let held = entry.value_of_worker();
    catch_unwind(AssertUnwindSafe(|| held.held_outside())).unwrap_or(true)
}

fn pinned_value(entry: &Entry) -> Option<PinnedValue> {
    let now = entry.word.load();
    matches!(now.state(), State::Resident | State::Spilling).then(|| PinnedValue {
        id: entry.id(),
        bytes: read(&entry.charged_bytes),
        pins: now.pins(),
        site: entry.site(),
        sites: entry.sites(),
    })
}

/// The passes of eviction that are under way.
#[derive(Default)]
pub(crate) struct Passes {
    state: Mutex<Running>,
    ended: Condvar,
}

#[derive(Default)]
struct Running {
    count: usize,
    /// How many passes have ended.
    ended: u64,
    waiting: usize,
}

impl Passes {
    fn begin(&self) {
        sync::lock(&self.state).count += 1;
    }

    /// Ends a pass; `Some` when others are under way, with what [`wait_for_one_of`](Self::wait_for_one_of) needs.
    fn end(&self) -> Option<u64> {
        let mut state = sync::lock(&self.state);
        state.count -= 1;
        state.ended += 1;
        if state.waiting > 0 {
            self.ended.notify_all();
        }
        (state.count > 0).then_some(state.ended)
    }

    /// Returns when one of the passes that were under way has ended, `false` when none has after `timeout`: the disk that
    /// they write to hangs.
    fn wait_for_one_of(&self, others: u64, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let is_over =
            || !sync::MODELLED && deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut state = sync::lock(&self.state);
        state.waiting += 1;
        while state.ended == others && state.count > 0 && !is_over() {
            state = match deadline {
                Some(deadline) => sync::wait_until(&self.ended, state, deadline),
                None => sync::wait(&self.ended, state),
            };
        }
        state.waiting -= 1;
        state.ended != others || state.count == 0
    }
}
