//! What each verb means, one test for each promise.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, Codec, CodecName, DRef, Error, Fingerprint, Format, Frame, Handle, MemoryStore,
    Policy, Pool, PoolOptions, Rejected, Result, Room, SetOptions, Sink, Source, SpillStore,
    StoreError, StoreErrorKind, Wait, copy_into,
};

/// The pool of most tests has room for four values of as many bytes.
const VALUE: usize = 1000;

fn charge() -> u64 {
    VALUE as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

fn options() -> PoolOptions {
    PoolOptions::new().memory_limit(4 * charge()).room_timeout(Duration::ZERO)
}

fn faulty(switch: &Switch) -> PoolOptions {
    options().store(FaultyStore::new(MemoryStore::new(), switch))
}

fn value(byte: u8) -> Vec<u8> {
    vec![byte; VALUE]
}

fn fill(pool: &Pool<Blob>, count: u8) -> Vec<DRef<Vec<u8>>> {
    (0..count).map(|n| pool.set(value(n)).unwrap()).collect()
}

fn in_memory(pool: &Pool<Blob>, all: &[DRef<Vec<u8>>]) -> Vec<bool> {
    all.iter().map(|one| pool.is_in_memory(one)).collect()
}

/// Nothing is used, nothing lives, nothing is on disk.
fn assert_empty(pool: &Pool<Blob>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes), (0, 0));
    assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
}

#[test]
fn the_least_recently_used_goes_first() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    assert_eq!(pool.get(&all[0]).unwrap()[0], 0);
    let fifth = pool.set(value(9)).unwrap();
    assert_eq!(in_memory(&pool, &all), [true, false, true, true]);
    assert!(pool.is_in_memory(&fifth));
    assert_eq!(pool.stats().used_bytes, 4 * charge());
}

#[test]
fn the_most_recently_used_goes_first_under_mru() {
    let pool = options().policy(Policy::Mru).open(Blob);
    let all = fill(&pool, 4);
    assert_eq!(pool.get(&all[1]).unwrap()[0], 1);
    let _fifth = pool.set(value(9)).unwrap();
    assert_eq!(in_memory(&pool, &all), [true, false, true, true]);
}

#[test]
fn sieve_passes_over_what_was_visited() {
    let pool = options().policy(Policy::Sieve).open(Blob);
    let all = fill(&pool, 4);
    assert_eq!(pool.get(&all[0]).unwrap()[0], 0);
    let _fifth = pool.set(value(9)).unwrap();
    assert_eq!(in_memory(&pool, &all), [true, false, true, true]);
}

#[test]
fn one_insert_takes_as_many_victims_as_it_needs() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    let big = pool.set(vec![7; 3 * VALUE]).unwrap();
    assert_eq!(in_memory(&pool, &all), [false, false, false, true]);
    assert_eq!(pool.get(&big).unwrap().len(), 3 * VALUE);
}

#[test]
fn a_second_eviction_of_an_unchanged_value_writes_nothing() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let file = pool.copy_to_disk(&one).unwrap();
    let written = pool.stats().written_bytes;
    assert!(pool.is_in_memory(&one) && pool.is_on_disk(&one));
    let others = fill(&pool, 4);
    assert!(!pool.is_in_memory(&one));
    assert_eq!(pool.get(&one).unwrap()[..], value(1)[..]);
    pool.move_to_disk(&one).unwrap();
    assert!(!pool.is_in_memory(&one));
    assert_eq!(pool.stats().written_bytes, written);
    assert_eq!(pool.stats().clean_evictions, 1);
    assert_eq!(pool.get_file(&file).unwrap()[..], value(1)[..]);
    drop((one, file, others));
    assert_empty(&pool);
}

#[test]
fn a_file_reference_outlives_the_value() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let file = pool.move_to_disk(&one).unwrap();
    drop(one);
    assert_eq!(pool.get_file(&file).unwrap()[..], value(1)[..]);
    drop(file);
    assert_empty(&pool);
}

#[test]
fn a_save_touches_neither_recency_nor_accounting() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    let before = pool.stats().used_bytes;
    let file = pool.save_to_disk(&all[0], "saved").unwrap();
    assert_eq!(pool.stats().used_bytes, before);
    let _fifth = pool.set(value(9)).unwrap();
    assert!(!pool.is_in_memory(&all[0]), "a save is no use");
    let again = pool.save_to_disk(&all[0], "again").unwrap();
    assert_eq!(pool.get_file(&file).unwrap()[..], pool.get_file(&again).unwrap()[..]);
    drop(all);
    assert_eq!(pool.get_file(&pool.file::<Vec<u8>>("saved")).unwrap()[..], value(0)[..]);
}

#[test]
fn pins_that_fill_the_limit_are_named() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    let pins: Vec<_> = all.iter().map(|one| pool.get(one).unwrap()).collect();
    let rejected = pool.set(value(9)).unwrap_err();
    assert_eq!(rejected.value, value(9), "a failed set gives the value back");
    let Error::NoRoom(report) = rejected.error else { panic!("{:?}", rejected.error) };
    assert_eq!((report.asked_bytes, report.limit_bytes), (charge(), 4 * charge()));
    assert_eq!(report.largest.len(), 4);
    assert!(report.largest.iter().all(|pinned| pinned.pins == 1 && pinned.bytes == charge()));
    assert!(report.largest[0].site.unwrap().file().ends_with("verbs.rs"));
    drop(pins);
    pool.set(value(9)).unwrap();
}

#[test]
fn a_pinned_value_is_not_evicted() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    let pin = pool.get(&all[0]).unwrap();
    let more = fill(&pool, 3);
    assert!(pool.is_in_memory(&all[0]), "three more values fit beside it");
    let crowd = fill(&pool, 5);
    assert_eq!(in_memory(&pool, &crowd), [false, false, true, true, true]);
    assert!(pool.is_in_memory(&all[0]));
    assert!(matches!(pool.move_to_disk(&all[0]), Err(Error::Pinned { pins: 1, .. })));
    assert_eq!(pin[..], value(0)[..]);
    drop(more);
}

#[test]
fn a_waiting_set_is_woken_by_the_last_unpin() {
    let pool = options().room_timeout(Duration::from_secs(60)).open(Blob);
    let all = fill(&pool, 4);
    let pins: Vec<_> = all.iter().map(|one| pool.get_owned(one).unwrap()).collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.set(value(9)).map(|_| ()));
        drop(pins);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_held_outside_counts_as_pinned_until_it_is_dropped() {
    let pool = options().room_timeout(Duration::from_secs(60)).open(Blob);
    let all = fill(&pool, 4);
    let outside: Vec<Buffer> = all.iter().map(|one| pool.get(one).unwrap().clone()).collect();
    assert!(matches!(pool.try_set(value(8)).unwrap_err().error, Error::NoRoom(_)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.set(value(9)).map(|_| ()));
        drop(outside);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_buffer_that_outlives_its_value_still_counts() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let outside = pool.get(&one).unwrap().slice(10..20).into_bytes();
    drop(one);
    assert_eq!(pool.stats().used_bytes, charge(), "somebody holds the allocation");
    assert_eq!(outside[..], [1; 10]);
    drop(outside);
    assert_empty(&pool);
}

#[test]
fn deleted_while_pinned_is_readable_until_the_unpin() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let pin = pool.get(&one).unwrap();
    pool.delete(&one).unwrap();
    assert_eq!(pin[..], value(1)[..]);
    assert!(matches!(pool.get(&one), Err(Error::Deleted { .. })));
    assert!(matches!(pool.delete(&one), Err(Error::Deleted { .. })));
    assert_eq!(pool.stats().used_bytes, charge());
    drop(pin);
    assert_empty(&pool);
}

#[test]
fn a_discardable_value_is_dropped_and_says_so() {
    let pool = options().open(Blob);
    let one = pool.set_with(value(1), SetOptions::new().discardable()).unwrap();
    let _others = fill(&pool, 4);
    assert!(matches!(pool.get(&one), Err(Error::Discarded { .. })));
    assert_eq!((pool.stats().discards, pool.stats().written_bytes), (1, 0));
}

#[test]
fn a_value_larger_than_the_limit_goes_straight_to_disk() {
    let pool = options().open(Blob);
    let huge = pool.set(vec![3; 100 * VALUE]).unwrap();
    assert!(!pool.is_in_memory(&huge) && pool.is_on_disk(&huge));
    assert_eq!(pool.get(&huge).unwrap().len(), 100 * VALUE);
    assert_eq!(pool.stats().peak_bytes, 0);
}

#[test]
fn a_destructor_runs_once_however_the_value_ends() {
    let calls = Arc::new(AtomicU64::new(0));
    let pool = options().open(Blob);
    let counted = |byte, options: SetOptions| {
        let calls = Arc::clone(&calls);
        let count = move || {
            calls.fetch_add(1, Ordering::SeqCst);
        };
        pool.set_with(value(byte), options.destructor(count)).unwrap()
    };
    drop(counted(1, SetOptions::new()));
    let deleted = counted(2, SetOptions::new());
    pool.delete(&deleted).unwrap();
    let moved = counted(3, SetOptions::new());
    pool.move_to_disk(&moved).unwrap();
    pool.quiesce();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "a move is no end");
    drop((deleted, moved));
    let discarded = counted(4, SetOptions::new().discardable());
    let others = fill(&pool, 4);
    pool.quiesce();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    drop((discarded, others));
    let at_close = counted(5, SetOptions::new());
    pool.close().unwrap();
    drop(at_close);
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[test]
fn a_destructor_that_panics_is_counted() {
    let pool = options().open(Blob);
    let panics = SetOptions::new().destructor(|| panic!("on purpose"));
    drop(pool.set_with(value(1), panics).unwrap());
    pool.quiesce();
    assert_eq!(pool.stats().panics, 1);
    pool.set(value(2)).unwrap();
}

#[test]
fn a_destructor_may_use_the_pool_and_even_close_it() {
    let pool = options().open(Blob);
    let inside = pool.clone();
    let close = SetOptions::new().destructor(move || {
        drop(inside.set(value(7)).unwrap());
        inside.quiesce();
        inside.close().unwrap();
    });
    let others = fill(&pool, 1);
    // From here on the reclaimer may close the pool at any time.
    drop(pool.set_with(value(1), close).unwrap());
    pool.quiesce();
    assert!(matches!(pool.get(&others[0]), Err(Error::Closed)));
    drop(others);
    assert_empty(&pool);
}

#[test]
fn a_lower_limit_evicts_first_and_a_refused_one_changes_nothing() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    pool.set_memory_limit(2 * charge()).unwrap();
    assert_eq!(in_memory(&pool, &all), [false, false, true, true]);
    let pin = pool.get(&all[3]).unwrap();
    assert!(matches!(pool.set_memory_limit(10), Err(Error::NoRoom(_))));
    assert_eq!(pool.stats().limit_bytes, 2 * charge());
    drop(pin);
    pool.set_memory_limit(0).unwrap();
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn a_reservation_evicts_and_pays_back() {
    let pool = options().open(Blob);
    let all = fill(&pool, 4);
    let mut working = pool.reserve(charge()).unwrap();
    assert_eq!(in_memory(&pool, &all), [false, true, true, true]);
    working.grow(charge()).unwrap();
    let half = working.split(charge());
    drop(working);
    assert_eq!(pool.stats().used_bytes, 3 * charge());
    drop(half);
    assert_eq!(pool.stats().used_bytes, 2 * charge());
}

#[test]
fn a_builder_stays_inside_the_budget() {
    let pool = PoolOptions::new().memory_limit(100_000).open(Blob);
    let others: Vec<_> = (0..9).map(|n| pool.set(vec![n; 10_000]).unwrap()).collect();
    let mut builder = pool.builder::<Vec<u8>>().unwrap();
    for n in 0..100_u8 {
        builder.push(&[n; 200]).unwrap();
        assert!(pool.stats().used_bytes <= 100_000);
    }
    let built = builder.finish().unwrap();
    let view = pool.get(&built).unwrap();
    assert_eq!((view.len(), view[0], view[19_999]), (20_000, 0, 99));
    drop(others);
}

#[test]
fn another_front_shares_the_budget_but_not_the_types() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let lists = pool.with_codec(Listed);
    let list = lists.set(vec![one.clone()]).unwrap();
    assert!(pool.stats().used_bytes > charge());
    let file = lists.copy_to_disk(&list).unwrap();
    assert!(pool.with_codec(Listed).get(&list).is_ok(), "another instance of the codec");
    assert!(lists.get_file(&file).is_ok());
    let elsewhere = options().open(Blob);
    assert!(matches!(elsewhere.get(&one), Err(Error::WrongPool { .. })));
    assert!(matches!(elsewhere.delete(&one), Err(Error::WrongPool { .. })));
}

#[test]
fn after_close_every_call_says_so() {
    let pool = options().open(Blob);
    let one = pool.set(value(1)).unwrap();
    let pin = pool.get(&one).unwrap();
    pool.close().unwrap();
    assert_eq!(pin[..], value(1)[..], "a guard stays good");
    assert!(matches!(pool.get(&one), Err(Error::Closed)));
    assert!(matches!(pool.set(value(2)).unwrap_err().error, Error::Closed));
    assert!(matches!(pool.reserve(1), Err(Error::Closed)));
    drop(pin);
    assert_empty(&pool);
}

#[test]
fn loads_of_one_value_by_many_threads_are_one_load() {
    let switch = Switch::new();
    let pool = faulty(&switch).open(Blob);
    let one = pool.set(value(1)).unwrap();
    pool.move_to_disk(&one).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(pool.get(&one).unwrap()[..], value(1)[..]));
        }
    });
    assert_eq!(switch.calls().iter().filter(|&&call| call == Call::Open).count(), 1);
}

#[test]
fn a_failed_write_goes_to_the_caller_and_loses_nothing() {
    for k in 0..6 {
        let switch = Switch::new();
        let pool = faulty(&switch).open(Blob);
        switch.fail(Call::Write, k, u64::MAX, StoreErrorKind::Full);
        let mut kept = Vec::new();
        let mut refused = 0;
        for n in 0..12 {
            match pool.set(value(n)) {
                Ok(one) => kept.push((n, one)),
                Err(rejected) => {
                    assert!(matches!(rejected.error, Error::Spill { .. }), "{:?}", rejected.error);
                    assert_eq!(rejected.value, value(n));
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 12 - 4 - k, "as many as could not be spilled");
        for (n, one) in &kept {
            assert_eq!(pool.get(one).unwrap()[..], value(*n)[..]);
        }
        switch.heal();
        pool.set(value(99)).unwrap();
        drop(kept);
        assert_empty(&pool);
    }
}

/// A pool with room for forty values, whose store likes batches of a quarter of that.
fn batching(switch: &Switch) -> Pool<Blob> {
    let store = FaultyStore::new(MemoryStore::new(), switch).batching(10 * charge());
    options().memory_limit(40 * charge()).store(store).open(Blob)
}

#[test]
fn values_that_are_next_are_written_with_a_victim_and_stay() {
    let switch = Switch::new();
    let pool = batching(&switch);
    let all = fill(&pool, 40);
    let _one_more = pool.set(value(99)).unwrap();
    let on_disk = all.iter().take_while(|one| pool.is_on_disk(one)).count();
    assert_eq!(on_disk, 10, "the victim and those that are next");
    assert_eq!(in_memory(&pool, &all[..3]), [false, true, true], "only the victim is gone");
    assert_eq!((pool.stats().spills, pool.stats().written_ahead), (1, 9));
    let more = fill(&pool, 9);
    assert_eq!(pool.stats().clean_evictions, 9, "those that follow go for free");
    assert_eq!(pool.stats().spills, 1);
    drop((all, more, _one_more));
    assert_empty(&pool);
}

#[test]
fn a_batch_that_fails_halfway_keeps_what_was_written_and_loses_nothing() {
    for k in 0..10 {
        let switch = Switch::new();
        let pool = batching(&switch);
        let all = fill(&pool, 40);
        switch.fail(Call::Write, k, u64::MAX, StoreErrorKind::Full);
        let outcome = pool.set(value(99));
        assert_eq!(outcome.is_ok(), k > 0, "the victim's own write decides");
        assert_eq!(all.iter().filter(|one| pool.is_on_disk(one)).count() as u64, k);
        for (n, one) in (0..).zip(&all) {
            assert_eq!(pool.get(one).unwrap()[..], value(n)[..]);
        }
        switch.heal();
        drop((outcome, all));
        assert_empty(&pool);
    }
}

/// Keeps bytes as [`Blob`] does, and panics when it is to write a value of thirteens.
struct Superstitious;

impl Codec<Vec<u8>> for Superstitious {
    type Resident = Buffer;
    type View = Buffer;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("superstitious"), type_tag: 3, pointer_width: 0 }
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
        assert_ne!(resident[0], 13, "an unlucky value");
        Blob.mmwrite(resident, sink)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        Blob.mmwrite_value(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Buffer> {
        Codec::<Vec<u8>>::mmread(&Blob, source, room)
    }
}

#[test]
fn a_value_that_its_codec_cannot_write_is_passed_over() {
    let pool = options().open(Superstitious);
    let unlucky = pool.set(value(13)).unwrap();
    let others: Vec<_> = (0..3).map(|n| pool.set(value(n)).unwrap()).collect();
    let more = pool.set(value(9)).expect("the next one goes instead");
    assert!(pool.is_in_memory(&unlucky) && !pool.is_in_memory(&others[0]));
    assert_eq!(pool.get(&unlucky).unwrap()[0], 13);
    let error = pool.move_to_disk(&unlucky).unwrap_err();
    assert!(error.to_string().contains("an unlucky value"), "{error}");
    drop((others, more));
    pool.quiesce();
    let pins = pool.reserve(3 * charge()).unwrap();
    let rejected = pool.set(value(1)).unwrap_err();
    assert!(rejected.error.to_string().contains("could not be written"), "{}", rejected.error);
    drop((pins, unlucky));
    pool.quiesce();
    assert_eq!(pool.stats().used_bytes, 0);
}

/// A store that panics when it is to write.
struct Panics;

impl SpillStore for Panics {
    fn write(&self, _frame: &Frame<'_>) -> Result<Handle, StoreError> {
        panic!("on purpose")
    }

    fn open(&self, _handle: &Handle, _room: &mut Room) -> Result<Buffer, StoreError> {
        unreachable!("nothing was written")
    }

    fn free(&self, _handle: &Handle) {}

    fn save(&self, _frame: &Frame<'_>, _path: &Path) -> Result<Fingerprint, StoreError> {
        unreachable!("nothing is saved")
    }

    fn load(&self, _path: &Path, _room: &mut Room) -> Result<Buffer, StoreError> {
        unreachable!("nothing is loaded")
    }
}

#[test]
fn a_store_that_panics_fails_the_call_and_hangs_nobody() {
    let pool = options().store(Panics).open(Blob);
    let all = fill(&pool, 4);
    let rejected = pool.set(value(9)).unwrap_err();
    assert!(rejected.error.to_string().contains("could not be written"), "{}", rejected.error);
    for (n, one) in (0..).zip(&all) {
        assert_eq!(pool.get(one).unwrap()[..], value(n)[..]);
        assert!(matches!(pool.move_to_disk(one), Err(Error::Store(_))));
    }
    drop(all);
    assert_empty(&pool);
}

#[test]
fn a_place_that_was_given_anew_is_an_error_and_never_another_value() {
    let switch = Switch::new();
    let pool = faulty(&switch).open(Blob);
    let all = fill(&pool, 2);
    pool.move_to_disk(&all[0]).unwrap();
    pool.move_to_disk(&all[1]).unwrap();
    switch.answer_with(Handle { segment: 0, offset: 0, bytes: 0 });
    assert_eq!(pool.get(&all[0]).unwrap()[0], 0);
    assert!(matches!(pool.get(&all[1]), Err(Error::Frame { .. })));
    switch.heal();
    assert_eq!(pool.get(&all[1]).unwrap()[0], 1);
}

#[test]
fn used_bytes_never_pass_the_limit() {
    let pool = options().room_timeout(Duration::from_secs(60)).open(Blob);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let stats = pool.stats();
                assert!(stats.used_bytes <= stats.limit_bytes);
            }
        });
        let work = |worker: u8| {
            let mut kept: Vec<(u8, DRef<Vec<u8>>)> = Vec::new();
            for n in 0..200_u8 {
                let byte = n ^ worker;
                kept.push((byte, pool.set(value(byte)).unwrap()));
                let (byte, one) = &kept[usize::from(n) / 2 % kept.len()];
                assert_eq!(pool.get(one).unwrap()[VALUE - 1], *byte);
                if n % 3 == 0 {
                    kept.swap_remove(0);
                }
            }
        };
        let workers: Vec<_> = (0..3).map(|worker| scope.spawn(move || work(worker))).collect();
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap();
        assert!(ended.iter().all(std::result::Result::is_ok));
    });
    assert_empty(&pool);
    assert!(pool.stats().peak_bytes <= pool.stats().limit_bytes);
}

#[test]
fn a_set_that_does_not_wait_says_so_at_once() {
    let pool = options().room_timeout(Duration::from_secs(3600)).open(Blob);
    let all = fill(&pool, 4);
    let _pins: Vec<_> = all.iter().map(|one| pool.get(one).unwrap()).collect();
    assert!(matches!(pool.try_set(value(9)).unwrap_err().error, Error::NoRoom(_)));
    assert!(matches!(pool.try_reserve(1), Err(Error::NoRoom(_))));
    let no_wait = SetOptions::new().wait(Wait::No);
    assert!(matches!(pool.set_with(value(9), no_wait).unwrap_err().error, Error::NoRoom(_)));
}

/// A list of references, kept as their indices.
struct Listed;

type List = Vec<DRef<Vec<u8>>>;

impl Codec<List> for Listed {
    type Resident = Buffer;
    type View = Buffer;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("listed"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, value: &List) -> Result<u64> {
        Buffer::allocation_bytes(value.len() * 4, 64)
    }

    fn admit(&self, value: List, room: &mut Room) -> Result<Buffer, Rejected<List>> {
        let encode = |room: &mut Room| {
            let mut bytes = Vec::new();
            for reference in &value {
                bytes.extend_from_slice(&room.reference(reference)?.to_le_bytes());
            }
            copy_into(room, &bytes, 64)
        };
        encode(room).map_err(|error| Rejected::new(value, error))
    }

    fn view<'a>(&self, resident: &'a Buffer) -> &'a Buffer {
        resident
    }

    fn mmwrite(&self, resident: &Buffer, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(64)?;
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &List, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(64)?;
        for reference in value {
            let index = sink.reference(reference)?;
            sink.write(&index.to_le_bytes())?;
        }
        Ok(())
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Buffer> {
        source.section()
    }

    fn maps(&self) -> bool {
        true
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}

#[test]
fn a_value_keeps_the_references_in_it_alive() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    let lists = pool.with_codec(Listed);
    let child = pool.set(value(5)).unwrap();
    let parent = lists.set(vec![child.clone(), child]).unwrap();
    pool.quiesce();
    assert_eq!(pool.stats().values, 2);
    let file = lists.move_to_disk(&parent).unwrap();
    pool.quiesce();
    assert_eq!(pool.stats().values, 2, "the parent on disk keeps the child");
    let view = lists.get(&parent).unwrap();
    let index = u32::from_le_bytes(view[4..8].try_into().unwrap());
    let child = view.reference::<Vec<u8>>(index).unwrap();
    assert_eq!(pool.get(&child).unwrap()[..], value(5)[..]);
    assert!(matches!(view.reference::<String>(0), Err(Error::NoReference { .. })));
    assert!(matches!(view.reference::<Vec<u8>>(2), Err(Error::NoReference { .. })));
    assert!(matches!(lists.save_to_disk(&parent, "x"), Err(Error::HoldsReferences { .. })));
    drop(view);
    drop((parent, child));
    pool.quiesce();
    assert_eq!(pool.stats().values, 1, "the file keeps the child");
    drop(file);
    assert_empty(&pool);
}

#[test]
fn a_long_chain_of_references_ends_without_recursion() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    let links = pool.with_codec(Linked);
    let mut last: Option<DRef<Link>> = None;
    for _ in 0..100_000 {
        last = Some(links.set(Link(last)).unwrap());
    }
    drop(last);
    assert_empty(&pool);
}

struct Link(Option<DRef<Link>>);

struct Linked;

impl Codec<Link> for Linked {
    type Resident = ();
    type View = ();

    fn format(&self) -> Format {
        Format { codec: CodecName::new("linked"), type_tag: 2, pointer_width: 0 }
    }

    fn size_hint(&self, _value: &Link) -> Result<u64> {
        Ok(0)
    }

    fn admit(&self, value: Link, room: &mut Room) -> Result<(), Rejected<Link>> {
        let handed = value.0.as_ref().map(|next| room.reference(next)).transpose();
        handed.map(|_| ()).map_err(|error| Rejected::new(value, error))
    }

    fn view<'a>(&self, resident: &'a ()) -> &'a () {
        resident
    }

    fn mmwrite(&self, _resident: &(), _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmwrite_value(&self, _value: &Link, _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmread(&self, _source: &mut Source<'_>, _room: &mut Room) -> Result<()> {
        Ok(())
    }
}
