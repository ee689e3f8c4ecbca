//! Which views of maps stay when there are many: those that are read again, whatever comes between.

#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_core::{Blob, DRef, Pool, PoolOptions};

/// There may be 256 views beside so small a limit, 64 of which are young.
const LIMIT_BYTES: u64 = 64 << 10;

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(LIMIT_BYTES).open(Blob)
}

/// Values on disk alone, which a get maps.
fn spilled(pool: &Pool<Blob>, count: usize) -> Vec<DRef<Vec<u8>>> {
    let one = |n: usize| {
        let one = pool.set(n.to_ne_bytes().to_vec()).unwrap();
        pool.move_to_disk(&one).unwrap();
        one
    };
    (0..count).map(one).collect()
}

fn read(pool: &Pool<Blob>, all: &[DRef<Vec<u8>>]) {
    for one in all {
        pool.get(one).unwrap();
    }
}

fn in_memory(pool: &Pool<Blob>, all: &[DRef<Vec<u8>>]) -> usize {
    all.iter().filter(|one| pool.is_in_memory(one)).count()
}

#[test]
fn of_many_views_those_that_are_read_again_stay() {
    let pool = pool();
    let (often, once) = (spilled(&pool, 20), spilled(&pool, 5_000));
    // As many as there may be before the others come.
    read(&pool, &once[..1_000]);
    for some in once[1_000..].chunks(20) {
        read(&pool, &often);
        read(&pool, some);
    }
    // Each was loaded once, for all that came between.
    assert_eq!(pool.stats().loads, 5_020);
    assert_eq!(in_memory(&pool, &often), 20);
    let views = in_memory(&pool, &often) + in_memory(&pool, &once);
    assert!((240..=256).contains(&views), "{views} views");
    assert_eq!(pool.stats().mapped_trims, 5_020 - views as u64);
}

#[test]
fn what_is_read_in_long_turns_comes_to_stay() {
    let pool = pool();
    let (before, turns) = (spilled(&pool, 300), spilled(&pool, 180));
    // These have the views that there may be, and nobody reads them again.
    (0..2).for_each(|_| read(&pool, &before));
    let mut loads = pool.stats().loads;
    for _turn in 0..200 {
        read(&pool, &turns);
        let now = pool.stats().loads;
        if now == loads {
            return;
        }
        loads = now;
    }
    panic!("after 200 turns {} of {} are in memory", in_memory(&pool, &turns), turns.len());
}

#[test]
fn a_view_that_is_held_stays_while_others_go() {
    let pool = pool();
    let all = spilled(&pool, 2_000);
    let held: Vec<_> = all.iter().step_by(100).map(|one| pool.get(one).unwrap()).collect();
    read(&pool, &all);
    for (n, view) in held.iter().enumerate() {
        assert_eq!(view[..], (n * 100).to_ne_bytes());
    }
    drop(held);
    // Deleted while it is young, a value leaves nothing behind.
    for one in all {
        pool.get(&one).unwrap();
        pool.delete(&one).unwrap();
    }
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0));
    pool.close().unwrap();
}

/// A map of another process's frame takes from the limit, which the views of our own then make up for.
#[test]
fn maps_of_other_processes_count_towards_the_mapped_limit() {
    let pool = PoolOptions::new().memory_limit(1 << 20).mapped_limit(1000).open(Blob);
    let all = spilled(&pool, 2);
    let maps = pool.foreign_maps();
    pool.get(&all[0]).unwrap();
    assert_eq!(pool.stats().mapped_overruns, 0, "the store maps little");
    let foreign = maps.count(1001);
    assert_eq!(pool.stats().foreign_mapped_bytes, 1001);
    pool.get(&all[1]).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.mapped_overruns, 1, "what is mapped elsewhere cannot be let go of here");
    assert!(stats.mapped_trims > 0, "what could be was");
    drop(foreign);
    assert_eq!(pool.stats().foreign_mapped_bytes, 0);
    pool.get(&all[0]).unwrap();
    assert_eq!(pool.stats().mapped_overruns, 1);
}
