//! Making room: as many victims as a request needs, in the order of the policy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::budget::{Evictor, Progress};
use crate::entry::Entry;
use crate::error::{Error, NoRoom, PinnedValue, Result};
use crate::recency::Verdict;
use crate::shared::Shared;
use crate::stats::count;
use crate::sync;
use crate::sync::atomic::Ordering;
use crate::word::{Eviction, State};

/// A value whose word was stepped for its eviction.
struct Victim {
    entry: Arc<Entry>,
    eviction: Eviction,
}

/// One request's way through the order.
#[derive(Default)]
struct Pass {
    /// Values that somebody outside holds.
    held_outside: Vec<u32>,
    /// The first write that failed; from then on clean values alone are evicted.
    failed: Option<Error>,
    freed: bool,
}

impl Evictor for Shared {
    fn evict(&self, bytes: u64) -> Progress {
        let mut pass = Pass::default();
        let mut marked = false;
        loop {
            let victims = self.choose(bytes, &pass);
            if victims.is_empty() {
                match pass.failed.take() {
                    Some(error) => return Progress::Failed(error),
                    None if marked || !self.mark_pinned() => return Progress::Stuck,
                    None => marked = true,
                }
            }
            for victim in victims {
                self.evict_victim(victim, &mut pass);
            }
            if pass.freed {
                return Progress::Freed;
            }
        }
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
    /// Steps values whose bytes make up at least `bytes` towards their eviction.
    fn choose(&self, bytes: u64, pass: &Pass) -> Vec<Victim> {
        let mut victims = Vec::new();
        let found = std::cell::Cell::new(0_u64);
        let mut index = sync::lock(&self.index);
        let now = index.drain(&self.touched);
        index.pick(&mut || found.get() < bytes, &mut |entry| {
            let clean_alone = pass.failed.is_some() && !is_clean(entry);
            if clean_alone || pass.held_outside.contains(&entry.slot) {
                return Verdict::Skip;
            }
            let Some(eviction) = entry.word.begin_evict(entry.discardable) else {
                return Verdict::Skip;
            };
            // Acquire pairs with nothing: the charge was written before the entry was ordered.
            found.set(found.get().saturating_add(entry.charged_bytes.load(Ordering::Relaxed)));
            victims.push(Victim { entry: Arc::clone(entry), eviction });
            Verdict::Take
        });
        drop(index);
        self.publish_clock(now);
        victims
    }

    fn evict_victim(&self, victim: Victim, pass: &mut Pass) {
        let Victim { entry, eviction } = victim;
        if is_held_outside(&entry) {
            pass.held_outside.push(entry.slot);
            return self.spare(&entry);
        }
        match eviction {
            Eviction::Release => {
                let discard = !entry.word.load().on_disk();
                if !discard {
                    count(&self.counters.clean_evictions, 1);
                }
                self.release(&entry, discard);
                pass.freed = true;
            }
            Eviction::Write if pass.failed.is_some() => self.spare(&entry),
            Eviction::Write => match self.spill(&entry) {
                Ok(released) => pass.freed |= released,
                Err(error) => {
                    let (victim, source) = (entry.id(), Box::new(error));
                    pass.failed = Some(Error::Spill { victim, source });
                }
            },
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
            Ok(()) => {
                count(&self.counters.spills, 1);
                if mutant!("reference_dropped_too_early") {
                    drop(sync::lock(&entry.cold).references.take());
                }
                let released = entry.word.end_spill();
                if released {
                    self.release(entry, false)
                } else {
                    self.restore(entry)
                }
                Ok(released)
            }
            Err(error) => {
                entry.word.end_write(false);
                self.restore(entry);
                Err(error)
            }
        }
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
        bytes: entry.charged_bytes.load(Ordering::Relaxed),
        pins: now.pins(),
        site: entry.site(),
    })
}
