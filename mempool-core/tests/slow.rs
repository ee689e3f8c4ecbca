//! A disk that hangs stops those who need it and nobody else; and who waits can be called off.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::Arc;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use mempool_core::{
    Blob, Buffer, DRef, Error, ErrorKind, Ledger, MemoryStore, Pool, PoolOptions, SetOptions, Wait,
};

mod stores;
use stores::{Log, Logged};

type Value = Vec<u8>;

/// Far more than anything here takes when it does not hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a request waits that must not succeed.
const SHORT: Duration = Duration::from_millis(50);

/// A pool with room for so many values of 1000 bytes.
fn pool(log: &Arc<Log>, values: u64) -> Pool<Blob> {
    let each = 1000 + Buffer::adoption_bytes::<Value>();
    let store = Logged(MemoryStore::new(), Arc::clone(log));
    let options = PoolOptions::new().memory_limit(values * each).room_timeout(PATIENCE);
    options.store(store).open(Blob)
}

fn set(pool: &Pool<Blob>, n: u8) -> DRef<Value> {
    pool.set(vec![n; 1000]).unwrap()
}

fn until_waiting(pool: &Pool<Blob>, ledger: &Ledger, count: usize) {
    let start = Instant::now();
    while ledger.usage().waiting != count {
        assert!(start.elapsed() < PATIENCE, "{count} wait in {pool:?}");
        yield_now();
    }
}

#[test]
fn beside_a_write_that_hangs_all_goes_on_that_needs_no_write() {
    let log = Arc::new(Log::default());
    let pool = pool(&log, 3);
    let values: Vec<_> = (0..3).map(|n| set(&pool, n)).collect();
    let away = &values[0];
    pool.move_to_disk(away).unwrap();
    let full = set(&pool, 3);
    log.hold_writes(true);
    std::thread::scope(|scope| {
        // Needs room, takes the coldest value for it, and hangs in its write.
        let hung = scope.spawn(|| set(&pool, 4));
        log.until_writes_hang(1);
        assert_eq!(pool.get(&values[1]).unwrap()[0], 1, "readable while it is written");
        assert_eq!(pool.get(&full).unwrap()[0], 3);
        assert_eq!(pool.get(away).unwrap()[0], 0, "a view of a map needs no room");
        assert_eq!(pool.stats().values, 4);
        assert_eq!(pool.values().count(), 4);
        // Room that comes free is for those behind the one that hangs, too.
        drop(full);
        let behind = pool.set(vec![5; 1000]);
        pool.delete(&values[2]).unwrap();
        let still_hangs = !hung.is_finished();
        // Whatever came of it, or the thread would never end.
        log.hold_writes(false);
        assert!(still_hangs);
        assert_eq!(pool.get(&behind.unwrap()).unwrap()[0], 5);
        assert_eq!(pool.get(&hung.join().unwrap()).unwrap()[0], 4);
    });
    assert!(pool.stats().used_bytes <= pool.stats().limit_bytes);
    assert_eq!(pool.get(&values[1]).unwrap()[999], 1);
}

#[test]
fn a_try_beside_a_write_that_hangs_ends_with_the_patience_of_the_pool() {
    let log = Arc::new(Log::default());
    let each = 1000 + Buffer::adoption_bytes::<Value>();
    let store = Logged(MemoryStore::new(), Arc::clone(&log));
    let options = PoolOptions::new().memory_limit(each).room_timeout(SHORT).store(store);
    let pool = options.open(Blob);
    let first = set(&pool, 1);
    log.hold_writes(true);
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| set(&pool, 2));
        log.until_writes_hang(1);
        let rejected = pool.try_set(vec![3; 1000]).unwrap_err();
        assert!(matches!(rejected.error, Error::NoRoom(_)), "{}", rejected.error);
        log.hold_writes(false);
        drop(hung.join().unwrap());
    });
    assert_eq!(pool.get(&first).unwrap()[0], 1);
}

#[test]
fn beside_a_read_that_hangs_all_goes_on_but_for_who_wants_that_value() {
    let log = Arc::new(Log::default());
    let pool = pool(&log, 4);
    let away = set(&pool, 0);
    pool.move_to_disk(&away).unwrap();
    let resident = set(&pool, 1);
    let canceller = pool.canceller();
    log.hold(true);
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| pool.get(&away).unwrap()[0]);
        log.until_opened(1);
        assert_eq!(pool.get(&resident).unwrap()[0], 1);
        // More than the limit, so that one is written.
        let more: Vec<_> = (2..6).map(|n| set(&pool, n)).collect();
        assert_eq!(pool.stats().values, 6);
        drop(more);
        // One read for both; who waits for the other's can be called off.
        let (pool, away, wait) = (&pool, &away, canceller.wait());
        let second = scope.spawn(move || pool.get_within(away, wait).map(drop));
        canceller.cancel();
        assert!(matches!(second.join().unwrap(), Err(Error::Cancelled)));
        log.hold(false);
        assert_eq!(hung.join().unwrap(), 0);
    });
    assert_eq!(log.take_opened().len(), 1);
}

#[test]
fn who_is_called_off_leaves_no_trace_and_those_behind_move_up() {
    // It is called off while it looks for victims, and while it sleeps.
    for rounds in 0..20 {
        call_off_after(500 * rounds);
    }
}

fn call_off_after(yields: usize) {
    let log = Arc::new(Log::default());
    let pool = pool(&log, 2);
    let reservation = pool.reserve(1).unwrap();
    let ledger = Arc::clone(reservation.ledger());
    drop(reservation);
    let held = set(&pool, 1);
    let pinned = pool.get(&held).unwrap();
    let canceller = pool.canceller();
    std::thread::scope(|scope| {
        let wait = canceller.wait_at_most(PATIENCE);
        // Large and first in the queue; the small one behind it would fit.
        let pool = &pool;
        let large = scope
            .spawn(move || pool.set_with(vec![2; 2000], SetOptions::new().wait(wait)).map(drop));
        while ledger.usage().waiting != 1 {
            yield_now();
        }
        let behind = {
            let ledger = Arc::clone(&ledger);
            scope.spawn(move || ledger.reserve(100, Wait::for_at_most(PATIENCE)).map(drop))
        };
        while ledger.usage().waiting != 2 {
            yield_now();
        }
        assert!(!canceller.is_cancelled());
        (0..yields).for_each(|_| yield_now());
        let start = Instant::now();
        canceller.cancel();
        assert!(canceller.is_cancelled());
        let rejected = large.join().unwrap().unwrap_err();
        assert!(matches!(rejected.error, Error::Cancelled));
        assert_eq!(rejected.error.kind(), ErrorKind::Limit);
        assert_eq!(rejected.value, vec![2; 2000], "the value is given back");
        assert!(start.elapsed() < PATIENCE, "it did not wait for its own time to be over");
        behind.join().unwrap().unwrap();
    });
    assert_eq!(ledger.usage().waiting, 0);
    drop(pinned);
}

#[test]
fn a_call_that_was_called_off_before_it_waits_does_not_wait() {
    let log = Arc::new(Log::default());
    let pool = pool(&log, 1);
    let canceller = pool.canceller();
    canceller.cancel();
    let wait = canceller.wait();
    // What needs no waiting is done.
    let held = pool.set_with(vec![1; 1000], SetOptions::new().wait(wait)).unwrap();
    let pinned = pool.get_within(&held, wait).unwrap();
    assert!(matches!(pool.reserve_within(1000, wait), Err(Error::Cancelled)));
    drop(pinned);
    let other = pool.canceller();
    let reservation = pool.reserve_within(1000, other.wait()).unwrap();
    until_waiting(&pool, reservation.ledger(), 0);
    // A canceller that is gone cancels nothing.
    drop(canceller);
    assert!(matches!(pool.reserve_within(2000, wait), Err(Error::TooLarge { .. })));
}
