//! Several values at once: held together, or read before they are wanted.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, Codec, DRef, Error, Format, MemoryStore, Pool, PoolOptions, Rejected, Result,
    Room, Sink, Source, StoreErrorKind,
};

mod stores;
use stores::{Log, Logged};

/// Bytes that have to be decoded: what comes back is a copy that the room pays for.
struct Copied;

impl Codec<Vec<u8>> for Copied {
    type Resident = Buffer;
    type View = Buffer;

    fn format(&self) -> Format {
        Codec::<Vec<u8>>::format(&Blob)
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64> {
        Blob.size_hint(value)
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Buffer, Rejected<Vec<u8>>> {
        Blob.admit(value, room)
    }

    fn view<'a>(&self, resident: &'a Buffer) -> &'a Buffer {
        resident
    }

    fn mmwrite(&self, resident: &Buffer, sink: &mut Sink<'_>) -> Result<()> {
        Blob.mmwrite(resident, sink)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        Blob.mmwrite_value(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Buffer> {
        let bytes = source.section()?;
        let copy = mempool_core::copy_into(room, &bytes, 64)?;
        room.release_unused(0);
        Ok(copy)
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}

fn options(log: &Arc<Log>) -> PoolOptions {
    let store = Logged(MemoryStore::new(), Arc::clone(log));
    PoolOptions::new().memory_limit(1 << 20).room_timeout(Duration::from_millis(50)).store(store)
}

/// Values on disk, in this order.
fn spilled<C: Codec<Vec<u8>>>(pool: &Pool<C>, count: u8, len: usize) -> Vec<DRef<Vec<u8>>> {
    let set = |n| {
        let value = pool.set(vec![n; len]).unwrap();
        pool.move_to_disk(&value).unwrap();
        value
    };
    (0..count).map(set).collect()
}

#[test]
fn many_values_come_in_the_order_on_disk_and_are_handed_out_in_their_own() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Blob);
    let values = spilled(&pool, 6, 100);
    let resident = pool.set(vec![9; 100]).unwrap();
    let wanted = [&values[4], &resident, &values[1], &values[4], &values[3]];
    let held = pool.get_many(wanted).unwrap();
    assert_eq!(held.iter().map(|view| view[0]).collect::<Vec<_>>(), [4, 9, 1, 4, 3]);
    let opened = log.take_opened();
    assert_eq!(opened.len(), 3, "each once");
    assert!(opened.is_sorted(), "{opened:?}");
    let advised = log.advised.lock().unwrap().clone();
    assert_eq!(advised.len(), 1);
    assert!(advised[0].is_sorted() && advised[0].len() == 4, "{advised:?}");
    assert!(pool.get_many(Vec::<&DRef<Vec<u8>>>::new()).unwrap().is_empty());
    // What is in memory asks nothing of the store.
    drop(held);
    assert_eq!(pool.get_many([&resident]).unwrap().len(), 1);
    assert_eq!(log.advised.lock().unwrap().len(), 1);
}

#[test]
fn many_values_are_held_or_none() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Blob);
    let values = spilled(&pool, 4, 100);
    pool.delete(&values[2]).unwrap();
    let refused = pool.get_many(&values);
    let Err(Error::OneOfMany { index: 2, source }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, Error::Deleted { .. }), "{source}");
    for at in [0, 1, 3] {
        assert_eq!(pool.info(&values[at]).unwrap().pins, 0);
    }
    let other = PoolOptions::new().open(Blob);
    let foreign = other.set(vec![1]).unwrap();
    let refused = pool.get_many([&values[0], &foreign]);
    assert!(matches!(refused, Err(Error::OneOfMany { index: 1, .. })), "{refused:?}");
    assert_eq!(refused.unwrap_err().kind(), mempool_core::ErrorKind::Misuse);
}

#[test]
fn two_calls_that_hold_what_the_other_needs_both_end() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Copied);
    // Any three fill the pool, so two calls for all of them never both go on.
    let values = spilled(&pool, 6, 300_000);
    std::thread::scope(|scope| {
        for start in [0, 3] {
            let (pool, values) = (&pool, &values);
            scope.spawn(move || {
                let order = (0..6).map(|n| &values[(start + n) % 6]);
                let refused = pool.get_many(order);
                let Err(Error::OneOfMany { source, .. }) = refused else { panic!("{refused:?}") };
                assert!(matches!(*source, Error::NoRoom(_)), "{source}");
            });
        }
    });
    assert_eq!(pool.get_many(&values[..3]).unwrap().len(), 3, "nothing of it is left");
}

#[test]
fn what_is_prefetched_is_there_and_nothing_went_for_it() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Copied);
    let values = spilled(&pool, 6, 300_000);
    let resident = pool.set(vec![7; 300_000]).unwrap();
    let before = pool.stats();
    let prefetch = pool.prefetch(values.iter().rev().chain([&resident])).unwrap();
    assert_eq!(prefetch.taken(), 6, "what is in memory is passed over");
    prefetch.wait();
    assert_eq!(prefetch.left(), 0);
    let after = pool.stats();
    assert!(pool.is_in_memory(&resident));
    let evicted = |stats: &mempool_core::Stats| (stats.spills, stats.clean_evictions);
    assert_eq!(evicted(&before), evicted(&after));
    let there = values.iter().filter(|value| pool.is_in_memory(value)).count();
    assert_eq!(there, 2, "as many as there was free room for");
    assert!(after.used_bytes <= after.limit_bytes);
    for (n, value) in values.iter().enumerate() {
        assert_eq!(pool.get(value).unwrap()[299_999], n as u8);
    }
}

#[test]
fn what_a_get_maps_is_announced_and_left_to_the_get() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Blob);
    let values = spilled(&pool, 6, 100);
    pool.prefetch([&values[5], &values[0], &values[3]]).unwrap().wait();
    assert_eq!(log.take_opened(), Vec::<u64>::new());
    let advised = log.advised.lock().unwrap().clone();
    assert!(advised.len() == 1 && advised[0].len() == 3 && advised[0].is_sorted(), "{advised:?}");
    assert!(!pool.is_in_memory(&values[0]));
}

#[test]
fn a_prefetch_that_is_cancelled_leaves_the_rest() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Copied);
    let values = spilled(&pool, 100, 100);
    log.hold(true);
    let prefetch = pool.prefetch(&values).unwrap();
    let second = pool.prefetch(&values).unwrap();
    log.until_opened(1);
    prefetch.cancel();
    second.cancel();
    // A get of what is being read waits for that one read, and one of what was left reads it itself.
    std::thread::scope(|scope| {
        let first = scope.spawn(|| pool.get(&values[0]).unwrap()[0]);
        log.hold(false);
        assert_eq!(first.join().unwrap(), 0);
    });
    prefetch.wait();
    second.wait();
    assert_eq!((prefetch.left(), second.left()), (0, 0));
    assert_eq!(log.take_opened().len(), 1, "one read for both");
    assert_eq!(pool.get(&values[99]).unwrap()[0], 99);
}

#[test]
fn a_pool_closes_while_its_prefetcher_reads() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Copied);
    let values = spilled(&pool, 10, 100);
    log.hold(true);
    let prefetch = pool.prefetch(&values).unwrap();
    log.until_opened(1);
    std::thread::scope(|scope| {
        // Ended by the close, and not by the read that hangs.
        let waiting = scope.spawn(|| prefetch.wait());
        pool.close().unwrap();
        waiting.join().unwrap();
    });
    assert!(matches!(pool.prefetch(&values), Err(Error::Closed)));
    log.hold(false);
    drop((values, pool));
    assert!(log.take_opened().len() <= 1, "nothing is begun behind a close");
}

#[test]
fn an_error_is_left_to_the_get_that_wants_the_value() {
    let switch = Switch::default();
    let store = FaultyStore::new(MemoryStore::new(), &switch);
    let pool = PoolOptions::new().store(store).open(Copied);
    let values = spilled(&pool, 2, 100);
    switch.fail(Call::Open, 0, 1, StoreErrorKind::Io);
    pool.prefetch(&values).unwrap().wait();
    assert!(!pool.is_in_memory(&values[0]), "its one read has failed");
    assert!(pool.is_in_memory(&values[1]));
    assert_eq!(pool.get(&values[0]).unwrap()[0], 0, "and the next one did not");
}

#[test]
fn a_value_that_ends_meanwhile_is_passed_over() {
    let log = Arc::new(Log::default());
    let pool = options(&log).open(Copied);
    let mut values = spilled(&pool, 10, 100);
    log.hold(true);
    let prefetch = pool.prefetch(&values).unwrap();
    log.until_opened(1);
    values.truncate(2);
    log.hold(false);
    prefetch.wait();
    assert_eq!(log.take_opened().len(), 2);
    assert_eq!(pool.stats().values, 2);
}
