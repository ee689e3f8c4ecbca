//! Arrays in a pool: charged once, evicted whoever of the pool shares them, views of the map when they come back.
#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_arrays::{Layout, Nullable, Raw, Strings, Values};
use mempool_core::{DRef, MemoryStore, Pool, PoolOptions};
use mempool_spill::SpillOptions;

fn pool(limit_bytes: u64) -> Pool<Raw> {
    PoolOptions::new().memory_limit(limit_bytes).store(MemoryStore::new()).open(Raw)
}

fn used(pool: &Pool<Raw>) -> u64 {
    pool.stats().used_bytes
}

#[test]
fn two_values_that_share_their_buffers_are_charged_once() {
    let pool = pool(1 << 20);
    let whole: Values<u64> = (0..1000).collect();
    let part = whole.slice(10..20);
    let whole = pool.set(whole).unwrap();
    let alone = used(&pool);
    let part = pool.set(part).unwrap();
    assert_eq!(used(&pool), alone, "the part is paid for already");
    drop(whole);
    pool.quiesce();
    assert_eq!(used(&pool), alone, "the part holds the whole allocation");
    assert_eq!(pool.get(&part).unwrap()[..], (10..20).collect::<Vec<u64>>());
    drop(part);
    pool.quiesce();
    assert_eq!(used(&pool), 0);
}

#[test]
fn values_that_share_their_buffers_make_room_when_it_is_needed() {
    let pool = pool(20_000);
    let whole: Values<u64> = (0..1000).collect();
    let half = whole.slice(0..500);
    let (whole, half) = (pool.set(whole).unwrap(), pool.set(half).unwrap());
    let other: DRef<Vec<u64>> = pool.set((0..2000).collect()).unwrap();
    assert!(used(&pool) <= 20_000);
    assert_eq!(pool.get(&whole).unwrap().len(), 1000);
    assert_eq!(pool.get(&half).unwrap()[499], 499);
    assert_eq!(pool.get(&other).unwrap()[1999], 1999);
}

#[test]
fn what_a_reader_keeps_of_a_view_counts_as_a_pin() {
    let pool = pool(20_000);
    let reference = pool.set((0..1000).collect::<Values<u64>>()).unwrap();
    let kept = pool.get(&reference).unwrap().slice(0..1);
    let refused = pool.try_set((0..2000).collect::<Vec<u64>>());
    assert!(refused.is_err(), "the reader holds what would have to go");
    drop(kept);
    pool.try_set((0..2000).collect::<Vec<u64>>()).unwrap();
}

#[test]
fn a_failed_set_gives_the_vector_back() {
    let pool = pool(20_000);
    let held = pool.set((0..2000).collect::<Vec<u64>>()).unwrap();
    let pinned = pool.get(&held).unwrap();
    let texts: Vec<String> = (0..1000).map(|n| format!("text {n}")).collect();
    assert_eq!(pool.try_set(texts.clone()).unwrap_err().value, texts);
    let maybe: Vec<Option<u64>> = (0..1000).map(|n| (n % 3 > 0).then_some(n)).collect();
    assert_eq!(pool.try_set(maybe.clone()).unwrap_err().value, maybe);
    let numbers: Vec<u64> = (0..1000).collect();
    assert_eq!(pool.try_set(numbers.clone()).unwrap_err().value, numbers);
    let array: Strings = texts.iter().collect();
    assert_eq!(pool.try_set(array.clone()).unwrap_err().value, array);
    drop(pinned);
    assert_eq!(used(&pool), 16_000 + adoption());
}

fn adoption() -> u64 {
    let pool = pool(4096);
    let _one = pool.set(vec![1_u64]).unwrap();
    used(&pool) - 8
}

#[test]
fn a_spilled_array_comes_back_as_a_view_of_the_map() {
    let directory =
        std::env::temp_dir().join(format!("mempool-arrays-pool-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    let names =
        || (0..1000).map(|n| (n % 7 != 0).then_some("Reykjavík")).collect::<Nullable<Strings>>();
    let reference = pool.set(names()).unwrap();
    pool.move_to_disk(&reference).unwrap();
    assert_eq!(used(&pool), 0);
    let view = pool.get(&reference).unwrap();
    assert_eq!(*view, names());
    assert_eq!(used(&pool), 0, "a view has no memory of its own");
    let part = view.slice(10..20);
    drop(view);
    let copied = pool.set(part).unwrap();
    assert!(used(&pool) > 0, "what is set again from a map is copied");
    assert_eq!(*pool.get(&copied).unwrap(), names().slice(10..20));
    drop((reference, copied));
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_vector_too_large_for_the_pool_goes_straight_to_disk() {
    let pool = pool(4096);
    let value: Vec<String> = (0..1000).map(|n| format!("row {n}")).collect();
    let expected: Strings = value.iter().collect();
    let reference = pool.set(value).unwrap();
    assert_eq!(pool.stats().straight_to_disk, 1);
    assert_eq!(*pool.get(&reference).unwrap(), expected);
}

#[test]
fn an_array_is_written_piece_by_piece_inside_the_budget() {
    let pool = pool(40_000);
    let other = pool.set((0..2000).collect::<Vec<u64>>()).unwrap();
    let mut builder = pool.builder::<Nullable<Strings>>().unwrap();
    let piece: Nullable<Strings> = (0..100).map(|n| (n % 5 > 0).then_some("a text")).collect();
    for _ in 0..15 {
        builder.push(&piece).unwrap();
        assert!(used(&pool) <= 40_000);
    }
    let built = builder.finish().unwrap();
    let view = pool.get(&built).unwrap();
    assert_eq!((view.len(), view.nulls()), (1500, 300));
    assert!((0..15).all(|at| view.slice(at * 100..at * 100 + 100) == piece));
    drop(view);
    drop((other, built));
    pool.quiesce();
    assert_eq!(used(&pool), 0);
}

#[test]
fn a_piece_that_finds_no_room_leaves_the_array_as_it_was() {
    let pool = pool(10_000);
    let mut builder = pool.builder::<Vec<u32>>().unwrap();
    builder.push(&[1, 2, 3]).unwrap();
    let before = builder.bytes();
    assert!(builder.push(&vec![0; 10_000]).is_err());
    assert_eq!(builder.bytes(), before);
    assert_eq!(pool.get(&builder.finish().unwrap()).unwrap()[..], [1, 2, 3]);
    let mut builder = pool.builder::<Strings>().unwrap();
    builder.push(&["kept"].into_iter().collect()).unwrap();
    assert!(builder.push(&vec!["x".repeat(9_000); 2].into_iter().collect()).is_err());
    assert_eq!(*pool.get(&builder.finish().unwrap()).unwrap(), ["kept"].into_iter().collect());
}
