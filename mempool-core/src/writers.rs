//! Writing ahead of need: threads of the pool's write the coldest values before their room is wanted.
//!
//! What they write stays where it is, in memory and in the order, and goes for free when its turn comes. They change nothing
//! but who is clean: a request that meets a value which is being written waits for it, and takes no other one in its place.
//!
//! ```text
//!  a value comes ─▶ use above the mark, and enough has come since the last look? ─▶ a thread, unless all are at work
//!  a thread:  look at the coldest values ─▶ write a batch of the dirty ones ─▶ look again ─▶ ... ─▶ all clean: it ends
//! ```

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::entry::{Entry, EntryRef};
use crate::error::Error;
use crate::events;
use crate::id::Id;
use crate::shared::Shared;
use crate::stats::{count, read};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{self, Condvar, Mutex};

/// So many of the coldest values are looked at: the index is locked meanwhile.
const LOOKS_MAX: u64 = 1024;

/// A look is worth its time when this part of what should be clean may have gone since the last one.
const LOOK_SHARE: u64 = 4;

/// No more than this part of the limit is written in one batch: who needs room waits for no more.
const LIMIT_SHARE: u64 = 16;

/// How long nothing is written ahead after the store refused a write: at first, and at the most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// So many values whose codec failed are remembered, and not tried again.
const FAILED_MAX: usize = 64;

/// How a pool writes values before their room is wanted.
///
/// ```
/// use mempool_core::{Blob, PoolOptions, WriteAhead};
///
/// let ahead = WriteAhead::threads(1).above(60).clean(20);
/// let pool = PoolOptions::new().write_ahead(ahead).open(Blob);
/// # let _ = pool.set(vec![1])?;
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteAhead {
    threads: usize,
    above_percent: u64,
    clean_percent: u64,
}

impl WriteAhead {
    /// `count` threads at most; none with 0, which is the default of a pool. Above half of the limit, a quarter of it clean.
    #[must_use]
    pub fn threads(count: usize) -> Self {
        Self { threads: count, above_percent: 50, clean_percent: 25 }
    }

    /// Only while more than so many percent of the limit are in use; 100 at most.
    #[must_use]
    pub fn above(mut self, percent: u32) -> Self {
        self.above_percent = u64::from(percent.min(100));
        self
    }

    /// Until the coldest values of so many percent of the limit are clean; 100 at most.
    #[must_use]
    pub fn clean(mut self, percent: u32) -> Self {
        self.clean_percent = u64::from(percent.min(100));
        self
    }
}

/// The writers of one pool.
pub(crate) struct Writers {
    options: WriteAhead,
    /// What has come since the last look: bytes, and for each value its share of a look at least.
    come: AtomicU64,
    state: Arc<AtWork>,
}

struct AtWork {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Asked for since a thread looked last.
    asked: bool,
    stopped: bool,
    /// The values that are being written now.
    writing: Vec<EntryRef>,
    /// Values whose codec failed, the latest last.
    failed: VecDeque<Id>,
    pause: Option<Pause>,
}

/// The store refused a write.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    next: Duration,
}

impl Writers {
    pub(crate) fn new(options: WriteAhead) -> Self {
        let state = AtWork { state: Mutex::new(State::default()), changed: Condvar::new() };
        Self { options, come: AtomicU64::new(0), state: Arc::new(state) }
    }

    /// Whether there are any.
    pub(crate) fn are_on(&self) -> bool {
        self.options.threads > 0
    }

    /// Whether this value is being written ahead now. Asked under the index's lock.
    pub(crate) fn is_writing(&self, entry: &Entry) -> bool {
        let state = sync::lock(&self.state.state);
        state.writing.iter().any(|writing| writing.id() == entry.id())
    }

    /// Whether a value has ended while it was being written, so that its room comes when the write ends.
    pub(crate) fn hold_up_room(&self) -> bool {
        let ended = |entry: &EntryRef| {
            let now = entry.word.load();
            now.doomed() && now.pins() == 0
        };
        self.are_on() && sync::lock(&self.state.state).writing.iter().any(ended)
    }

    /// How many bytes should be clean, in a pool of that limit.
    fn clean_bytes(&self, limit: u64) -> u64 {
        percent_of(limit, self.options.clean_percent)
    }

    /// A value came that can be evicted.
    pub(crate) fn note_come(&self, shared: &Shared, bytes: u64) {
        if self.are_on() {
            self.look_after(shared, bytes);
        }
    }

    #[cold]
    fn look_after(&self, shared: &Shared, bytes: u64) {
        let usage = shared.ledger.usage();
        let clean = self.clean_bytes(usage.limit_bytes);
        // Relaxed: a figure that orders nothing.
        let share = bytes.max(clean / LOOKS_MAX);
        let come = self.come.fetch_add(share, Ordering::Relaxed).saturating_add(share);
        let enough = come >= clean / LOOK_SHARE;
        if enough && usage.used_bytes > percent_of(usage.limit_bytes, self.options.above_percent) {
            self.come.store(0, Ordering::Relaxed);
            self.ask(shared);
        }
    }

    fn ask(&self, shared: &Shared) {
        let mut state = sync::lock(&self.state.state);
        if state.rests() {
            return;
        }
        state.asked = true;
        if state.running == self.options.threads {
            return;
        }
        state.running += 1;
        let name = format!("mempool-write-{}", state.running);
        drop(state);
        let (at_work, weak) = (Arc::clone(&self.state), shared.back.shared.get().cloned());
        let run = move || run(&at_work, &weak.unwrap_or_default());
        if sync::spawn(name, run).is_err() {
            // Nothing is written ahead then: requests write what they must, as they do without.
            self.state.end_thread(&mut sync::lock(&self.state.state));
        }
    }

    /// Returns when no thread writes ahead; at once in one that does, as a codec may that asks.
    pub(crate) fn quiesce(&self) {
        if WRITES_AHEAD.with(Cell::get) {
            return;
        }
        let mut state = sync::lock(&self.state.state);
        while state.running > 0 {
            state = sync::wait(&self.state.changed, state);
        }
    }

    /// Begins nothing any more, and returns when what was begun is done.
    pub(crate) fn stop(&self) {
        sync::lock(&self.state.state).stopped = true;
        self.quiesce();
    }
}

impl State {
    /// Whether nothing is begun now.
    fn rests(&self) -> bool {
        self.stopped || self.pause.is_some_and(|pause| Instant::now() < pause.until)
    }

    /// The store refused a write: nothing is begun for a while, which is longer each time.
    fn rest(&mut self) {
        let length = self.pause.map_or(PAUSE.0, |pause| pause.next);
        let until = Instant::now() + length;
        self.pause = Some(Pause { until, next: (length * 2).min(PAUSE.1) });
    }
}

impl AtWork {
    /// The first `written` of these were written, and the next one failed with `failed`, if it did.
    fn end_batch(&self, entries: &[&Entry], written: usize, failed: Option<&Error>) {
        let mut state = sync::lock(&self.state);
        // None of them goes here: the caller holds them, too.
        state.writing.retain(|writing| entries.iter().all(|entry| entry.id() != writing.id()));
        match failed {
            None => state.pause = None,
            Some(Error::Store(_)) => state.rest(),
            Some(_) => {
                state.failed.extend(entries.get(written).map(|entry| entry.id()));
                if state.failed.len() > FAILED_MAX {
                    state.failed.pop_front();
                }
            }
        }
    }

    fn end_thread(&self, state: &mut State) {
        state.running -= 1;
        if state.running == 0 {
            self.changed.notify_all();
        }
    }

    /// Whether the thread ends, which has found nothing to write.
    fn ends(&self) -> bool {
        let mut state = sync::lock(&self.state);
        let ends = state.stopped || !std::mem::take(&mut state.asked);
        if ends {
            self.end_thread(&mut state);
        }
        ends
    }
}

sync::thread_local! {
    /// Whether this thread writes ahead.
    static WRITES_AHEAD: Cell<bool> = const { Cell::new(false) };
}

/// Writes batch by batch until what should be clean is clean.
fn run(at_work: &AtWork, shared: &Weak<Shared>) {
    WRITES_AHEAD.with(|writes| writes.set(true));
    loop {
        // Held for one batch: the threads do not keep the pool.
        let wrote = shared.upgrade().is_some_and(|shared| shared.write_ahead());
        if !wrote && at_work.ends() {
            return;
        }
    }
}

impl Shared {
    /// Writes one batch of the coldest values; whether there was anything to write.
    fn write_ahead(&self) -> bool {
        let batch = self.choose_coldest();
        if batch.is_empty() {
            return false;
        }
        let entries: Vec<&Entry> = batch.iter().map(|entry| &**entry).collect();
        let (written, failed) = self.write_entries(&entries);
        let mut bytes = 0;
        for (at, entry) in entries.iter().enumerate() {
            bytes += if at < written { read(&entry.charged_bytes) } else { 0 };
            entry.word.end_write(at < written);
        }
        count(&self.counters.background_writes, written as u64);
        count(&self.counters.background_bytes, bytes);
        events::wrote_ahead(self, written, bytes);
        // The room of those that have ended comes back first: until then requests wait for it.
        entries.iter().for_each(|entry| self.settle(entry));
        self.writers.state.end_batch(&entries, written, failed.as_ref());
        // Who met them while they were written looks again.
        if !mutant!("ended_writer_unannounced") {
            self.ledger.note_work_ended();
        }
        true
    }

    /// Steps the coldest dirty values, so many as go into a batch, as long as less is clean before them than should be.
    fn choose_coldest(&self) -> Vec<EntryRef> {
        let limit = self.ledger.limit();
        let clean_bytes = self.writers.clean_bytes(limit);
        let batch_bytes = self.batch_bytes().max(1).min(limit / LIMIT_SHARE);
        let mut batch: Vec<EntryRef> = Vec::new();
        let (mut sum, mut seen, mut looks) = (0_u64, 0_u64, LOOKS_MAX);
        let mut index = sync::lock(&self.index);
        let mut state = sync::lock(&self.writers.state.state);
        if state.rests() {
            return batch;
        }
        index.peek(&mut |entry| {
            let bytes = read(&entry.charged_bytes);
            if seen >= clean_bytes || looks == 0 {
                return false;
            }
            looks -= 1;
            let now = entry.word.load();
            // What is pinned does not go in its turn.
            if now.pins() > 0 {
                return true;
            }
            seen = seen.saturating_add(bytes);
            let dirty = !entry.discardable && !now.on_disk();
            if dirty && !state.failed.contains(&entry.id()) {
                if !batch.is_empty() && sum.saturating_add(bytes) > batch_bytes {
                    return false;
                }
                if entry.word.begin_write() {
                    sum = sum.saturating_add(bytes);
                    state.writing.push(entry.clone());
                    batch.push(entry.clone());
                }
            }
            true
        });
        batch
    }
}

fn percent_of(bytes: u64, percent: u64) -> u64 {
    // The parts are exact where the product would not fit.
    bytes / 100 * percent + bytes % 100 * percent / 100
}
