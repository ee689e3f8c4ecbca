//! The mapped limit: what the process has mapped of its spill files stays below it. One test alone in its process, which
//! looks at the process's own figures.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;

use mempool_core::{Blob, Pool, PoolOptions};
use mempool_spill::SpillOptions;

const LIMIT: u64 = 4 << 20;

/// What the kernel counts of mapped files.
fn rss_file() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn value(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ n) as u8).collect()
}

fn check(pool: &Pool<Blob>, len: usize, count: usize) {
    let all: Vec<_> = (0..count).map(|n| pool.set(value(n, len)).unwrap()).collect();
    let before = rss_file();
    let mut at = 7;
    for round in 0..2 * count {
        at = (at * 31 + round) % count;
        let view = pool.get(&all[at]).unwrap();
        assert_eq!(view[..], value(at, len)[..]);
        // What is held by this one guard may come on top.
        let held = (len as u64).next_multiple_of(64 << 10) + (64 << 10);
        let mapped = pool.stats().store.mapped_bytes;
        assert!(mapped <= LIMIT + held, "{mapped} mapped");
    }
    let grown = rss_file().saturating_sub(before);
    assert!(grown <= LIMIT + (4 << 20), "the process has {grown} bytes of files more");
    assert!(pool.stats().mapped_trims > 0);
    // Views that are held are left alone, and a get goes through all the same.
    let held: Vec<_> = all.iter().map(|one| pool.get(one).unwrap()).collect();
    assert!(held.iter().enumerate().all(|(n, view)| view[..] == value(n, len)[..]));
    assert!(pool.stats().mapped_overruns > 0);
    drop(held);
    // The next loads find them free.
    for (n, one) in all.iter().enumerate() {
        pool.move_to_disk(one).unwrap();
        assert_eq!(pool.get(one).unwrap()[..], value(n, len)[..]);
    }
    let mapped = pool.stats().store.mapped_bytes;
    assert!(mapped <= LIMIT + (len as u64) + (128 << 10), "{mapped} mapped");
}

#[test]
fn the_process_keeps_the_mapped_limit() {
    for (len, count) in [(1000, 20_000), (100_000, 400), (6 << 20, 8)] {
        let scratch = std::env::temp_dir().join(format!("mempool-mapped-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let store = SpillOptions::new(&scratch).open().unwrap();
        let options = PoolOptions::new().memory_limit(1 << 20).mapped_limit(LIMIT);
        let pool = options.store(store).open(Blob);
        check(&pool, len, count);
        pool.close().unwrap();
        fs::remove_dir_all(&scratch).unwrap();
    }
}
