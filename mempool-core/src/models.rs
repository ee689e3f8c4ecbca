//! Loom: every interleaving of the protocols that are not a single lock: the entry word, the ledger and its waiters, and
//! the watch on a buffer. Run with `LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg loom" cargo test -p mempool-core --release --lib models`.

#![expect(unsafe_code, reason = "loom's cells are read and written by raw pointer")]

use std::sync::{Arc, Weak};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::budget::{Evictor, Ledger, Progress, Reservation, Wait};
use crate::buffer::Buffer;
use crate::codec::Room;
use crate::counted::{Counted, Holders};
use crate::error::{NoRoom, PinnedValue};
use crate::sync::{self, Mutex};
use crate::turn::Turn;
use crate::word::{Eviction, Pinning, State, Word};

/// A value behind a word, watched by loom: a read beside a write is a failure.
struct Guarded {
    word: Word,
    value: UnsafeCell<Option<u32>>,
    taken: AtomicUsize,
}

impl Guarded {
    fn new(state: State, on_disk: bool) -> loom::sync::Arc<Self> {
        let value = (state != State::Spilled).then_some(7);
        loom::sync::Arc::new(Self {
            word: Word::new(1, state, on_disk),
            value: UnsafeCell::new(value),
            taken: AtomicUsize::new(0),
        })
    }

    /// What a get does.
    fn read(&self) -> bool {
        let pinned = self.word.pin(|last| self.after(last.doomed()));
        if pinned != Pinning::Pinned {
            return false;
        }
        self.value.with(|value| {
            // SAFETY: the pin is held; loom sees it if somebody writes meanwhile.
            assert_eq!(unsafe { *value }, Some(7));
        });
        if let Some(last) = self.word.unpin() {
            self.after(last.doomed());
        }
        true
    }

    fn after(&self, doomed: bool) {
        if doomed {
            self.bury();
        }
    }

    fn bury(&self) {
        if self.word.bury() {
            self.take();
        }
    }

    fn take(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the word is Releasing or Deleted by this thread's step; loom sees a reader.
            unsafe { *value = None };
        });
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// What an eviction does.
    fn evict(&self) {
        match self.word.begin_evict(false) {
            None => return,
            Some(Eviction::Write) if !self.word.end_spill() => {}
            Some(_) => {
                self.take();
                self.word.end_release(false);
            }
        }
        self.after(self.word.load().doomed());
    }

    fn doom(&self) {
        if !self.word.doom().doomed() {
            self.bury();
        }
    }
}

#[test]
fn a_value_is_taken_out_only_without_readers() {
    loom::model(|| {
        let entry = Guarded::new(State::Resident, false);
        let reader = entry.clone();
        let reading = thread::spawn(move || reader.read());
        entry.evict();
        let read = reading.join().unwrap();
        let now = entry.word.load();
        assert_eq!(now.pins(), 0);
        assert!(read || now.state() == State::Spilled);
        assert!(now.on_disk() || now.state() == State::Resident);
    });
}

#[test]
fn a_doomed_value_is_taken_out_once() {
    loom::model(|| {
        let entry = Guarded::new(State::Resident, false);
        let (reader, evictor) = (entry.clone(), entry.clone());
        let reading = thread::spawn(move || reader.read());
        let evicting = thread::spawn(move || evictor.evict());
        entry.doom();
        reading.join().unwrap();
        evicting.join().unwrap();
        assert_eq!(entry.word.load().state(), State::Deleted);
        assert!(entry.taken.load(Ordering::Relaxed) <= 2, "by the eviction, and by the end of it");
        entry.value.with(|value| {
            // SAFETY: all other threads have ended.
            assert_eq!(unsafe { *value }, None);
        });
    });
}

#[test]
fn one_thread_loads() {
    loom::model(|| {
        let entry = Guarded::new(State::Spilled, true);
        let load = |entry: &Guarded| {
            if !entry.word.begin_load() {
                return false;
            }
            entry.value.with_mut(|value| {
                // SAFETY: the word is Loading by this thread's step; loom sees a reader.
                unsafe { *value = Some(7) };
            });
            entry.word.end_load(true);
            let _ = entry.word.unpin();
            true
        };
        let other = entry.clone();
        let loading = thread::spawn(move || load(&other));
        let here = load(&entry);
        let there = loading.join().unwrap();
        assert!(here != there, "exactly one of them");
        assert!(entry.read());
    });
}

#[test]
fn the_last_unpin_tells_who_wanted_it() {
    loom::model(|| {
        let entry = Guarded::new(State::Resident, false);
        assert_eq!(entry.word.pin(|_| {}), Pinning::Pinned);
        let reader = entry.clone();
        let told = thread::spawn(move || reader.word.unpin().is_some_and(|last| last.wanted()));
        let free = entry.word.want().pins() == 0;
        assert!(told.join().unwrap() || free, "the reader tells, or it was seen to be gone");
    });
}

#[test]
fn the_ledger_stays_within_its_limit() {
    loom::model(|| {
        let ledger = Ledger::new(3, Duration::ZERO);
        let other = Arc::clone(&ledger);
        let taking = thread::spawn(move || other.reserve(2, Wait::No).map(drop).is_ok());
        let here = ledger.reserve(2, Wait::No);
        assert!(ledger.usage().used_bytes <= 3);
        drop(here);
        let _ = taking.join().unwrap();
        assert_eq!(ledger.usage().used_bytes, 0);
        assert!(ledger.usage().peak_bytes <= 3);
    });
}

#[test]
fn a_waiter_is_woken_by_a_payment() {
    loom::model(|| {
        let ledger = Ledger::new(2, Duration::ZERO);
        let held = ledger.reserve(2, Wait::No).unwrap();
        let other = Arc::clone(&ledger);
        let waiting = thread::spawn(move || {
            let far = Wait::Until(std::time::Instant::now());
            other.reserve(1, far).map(drop).is_ok()
        });
        drop(held);
        assert!(waiting.join().unwrap());
        assert_eq!(ledger.usage().used_bytes, 0);
    });
}

/// An index with one place: what stands there can be evicted.
struct OnePlace(Mutex<Option<Reservation>>);

impl Evictor for OnePlace {
    fn evict(&self, _missing: &dyn Fn() -> u64, _wait: Wait) -> Progress {
        match sync::lock(&self.0).take() {
            Some(reservation) => {
                drop(reservation);
                Progress::Freed
            }
            None => Progress::Stuck,
        }
    }

    fn note_no_room(&self, _report: &NoRoom) {}

    fn largest_pinned(&self) -> Vec<PinnedValue> {
        Vec::new()
    }
}

/// A value that becomes evictable is told without a lock when nobody waits; who waits must not miss it.
#[test]
fn a_waiter_is_told_of_what_is_new_in_the_index() {
    loom::model(|| {
        let ledger = Ledger::new(1, Duration::ZERO);
        let index = Arc::new(OnePlace(Mutex::new(None)));
        let evictor: Weak<OnePlace> = Arc::downgrade(&index);
        ledger.set_evictor(evictor as Weak<dyn Evictor>);
        let value = ledger.reserve(1, Wait::No).unwrap();
        let other = Arc::clone(&ledger);
        let waiting = thread::spawn(move || {
            let far = Wait::Until(std::time::Instant::now());
            other.reserve(1, far).map(drop).is_ok()
        });
        *sync::lock(&index.0) = Some(value);
        ledger.nudge_waiting();
        assert!(waiting.join().unwrap());
        drop(sync::lock(&index.0).take());
        assert_eq!(ledger.usage().used_bytes, 0);
    });
}

/// One victim after the other, each of which has to be written, by one thread at a time.
struct Written(Mutex<Vec<Reservation>>, std::sync::OnceLock<Arc<Ledger>>);

impl Evictor for Written {
    fn evict(&self, _missing: &dyn Fn() -> u64, _wait: Wait) -> Progress {
        let ledger = self.1.get().expect("it is set first");
        let _turn = match Turn::take(ledger) {
            Ok(turn) => turn,
            Err(ended) => return Progress::Busy(ended),
        };
        let victim = sync::lock(&self.0).pop();
        if victim.is_some() { Progress::Freed } else { Progress::Stuck }
    }

    fn note_no_room(&self, _report: &NoRoom) {}

    fn largest_pinned(&self) -> Vec<PinnedValue> {
        Vec::new()
    }
}

/// Who got no turn hears of its end, and is let in.
#[test]
fn who_waits_for_a_turn_is_told_of_its_end() {
    loom::model(|| {
        let ledger = Ledger::new(2, Duration::ZERO);
        ledger.set_turns(1);
        let both = (0..2).map(|_| ledger.reserve(1, Wait::No).unwrap()).collect();
        let victims = Arc::new(Written(Mutex::new(both), std::sync::OnceLock::new()));
        let _ = victims.1.set(Arc::clone(&ledger));
        let evictor: Weak<Written> = Arc::downgrade(&victims);
        ledger.set_evictor(evictor as Weak<dyn Evictor>);
        let other = Arc::clone(&ledger);
        let far = Wait::Until(std::time::Instant::now());
        let waiting = thread::spawn(move || other.reserve(1, far).unwrap());
        let ours = ledger.reserve(1, far).unwrap();
        let theirs = waiting.join().unwrap();
        assert_eq!(ledger.usage().used_bytes, 2);
        drop((ours, theirs));
        assert_eq!((ledger.usage().used_bytes, ledger.usage().waiting), (0, 0));
    });
}

#[test]
fn a_close_ends_a_waiter() {
    loom::model(|| {
        let ledger = Ledger::new(2, Duration::ZERO);
        let held = ledger.reserve(2, Wait::No).unwrap();
        let other = Arc::clone(&ledger);
        let waiting = thread::spawn(move || {
            let far = Wait::Until(std::time::Instant::now());
            other.reserve(1, far).map(drop)
        });
        ledger.close();
        assert!(matches!(waiting.join().unwrap(), Err(crate::error::Error::Closed)));
        drop(held);
        assert_eq!(ledger.usage().used_bytes, 0);
        assert_eq!(ledger.usage().waiting, 0);
    });
}

#[test]
fn a_watched_buffer_is_never_left_unannounced() {
    loom::model(|| {
        let ledger = Ledger::new(1 << 20, Duration::ZERO);
        let bytes = Buffer::allocation_bytes(8, 8).unwrap();
        let reservation = ledger.reserve(bytes, Wait::No).unwrap();
        let buffer = Buffer::copy_of(&[1; 8], 8, reservation).unwrap();
        let outside = buffer.clone();
        let dropping = thread::spawn(move || drop(outside));
        let _ = buffer.watch_shared();
        dropping.join().unwrap();
        assert!(!buffer.is_shared());
        assert_eq!(ledger.usage().used_bytes, bytes);
        drop(buffer);
        assert_eq!(ledger.usage().used_bytes, 0);
    });
}

#[test]
fn a_buffer_that_two_values_bring_is_charged_once() {
    loom::model(|| {
        let ledger = Ledger::new(1 << 20, Duration::ZERO);
        let buffer = Buffer::adopt_heap([1_u8; 8], 0);
        let bytes = buffer.heap_bytes().unwrap();
        let (other, theirs) = (buffer.clone(), Arc::clone(&ledger));
        let charging = thread::spawn(move || {
            let mut room = Room::new(theirs.nothing(), Wait::No, 0);
            assert!(other.charge(&mut room).unwrap());
            assert_eq!(other.reserved_bytes(), bytes);
        });
        let mut room = Room::new(ledger.nothing(), Wait::No, 0);
        assert!(buffer.charge(&mut room).unwrap());
        assert_eq!(buffer.reserved_bytes(), bytes);
        charging.join().unwrap();
        drop(room);
        assert_eq!(ledger.usage().used_bytes, bytes);
        drop(buffer);
        assert_eq!(ledger.usage().used_bytes, 0);
    });
}

/// Something counted, which loom sees being freed and being used.
struct Held {
    holders: loom::sync::atomic::AtomicU32,
    references: loom::sync::atomic::AtomicU32,
    value: UnsafeCell<u32>,
    told: AtomicUsize,
    freed: Arc<std::sync::atomic::AtomicUsize>,
}

impl Held {
    fn look(&self) {
        self.value.with(|value| {
            // SAFETY: a holder keeps it; loom sees it if it is freed meanwhile.
            assert_eq!(unsafe { *value }, 7);
        });
    }
}

impl Holders for Held {
    fn holders(&self) -> &loom::sync::atomic::AtomicU32 {
        &self.holders
    }

    fn references(&self) -> &loom::sync::atomic::AtomicU32 {
        &self.references
    }

    fn last_reference_gone(&self) {
        self.look();
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.value.with_mut(|value| {
            // SAFETY: the last holder is gone; loom sees a reader that is not ordered before this.
            unsafe { *value = 0 };
        });
        assert!(self.told.load(Ordering::Relaxed) <= 1, "it was told once");
        self.freed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_is_counted_is_freed_once_and_after_its_last_use() {
    loom::model(|| {
        let freed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let held = Counted::new(Held {
            holders: loom::sync::atomic::AtomicU32::new(1),
            references: loom::sync::atomic::AtomicU32::new(0),
            value: UnsafeCell::new(7),
            told: AtomicUsize::new(0),
            freed: Arc::clone(&freed),
        });
        let one = held.first_reference();
        let other = one.clone();
        let user = thread::spawn(move || {
            other.look();
            drop(other);
        });
        let queue = thread::spawn(move || {
            held.look();
            drop(held);
        });
        let holder = one.holder();
        drop(one);
        holder.look();
        drop(holder);
        user.join().unwrap();
        queue.join().unwrap();
        assert_eq!(freed.load(std::sync::atomic::Ordering::Relaxed), 1);
    });
}

/// A value is found by its name while its last reference goes: it is found alive, or not at all.
#[test]
fn what_is_found_beside_its_last_drop_ends_once() {
    loom::model(|| {
        let freed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let held = Counted::new(Held {
            holders: loom::sync::atomic::AtomicU32::new(1),
            references: loom::sync::atomic::AtomicU32::new(0),
            value: UnsafeCell::new(7),
            told: AtomicUsize::new(0),
            freed: Arc::clone(&freed),
        });
        let last = held.first_reference();
        let user = thread::spawn(move || {
            last.look();
            drop(last);
        });
        if let Some(found) = held.another_reference() {
            assert_eq!(found.told.load(Ordering::Relaxed), 0, "it is found before it ends");
            found.look();
            drop(found);
        }
        user.join().unwrap();
        assert!(held.another_reference().is_none());
        assert_eq!(held.told.load(Ordering::Relaxed), 1);
        drop(held);
        assert_eq!(freed.load(std::sync::atomic::Ordering::Relaxed), 1);
    });
}
