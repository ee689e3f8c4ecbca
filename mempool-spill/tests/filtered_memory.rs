//! What a value of 256 MiB (16 in a debug build) takes in memory, beside itself, on its way through filters and back, by the
//! allocator. What the C library of zstd takes for its contexts is not seen here; `Zstd` says how much that is.
#![allow(clippy::unwrap_used, reason = "a test")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use mempool_core::{Blob, PoolOptions};
use mempool_spill::SpillOptions;

mod filtered;
use filtered::{noise, with_chain};

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: it does what `System` does, and counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VALUE: usize = if cfg!(debug_assertions) { 16 << 20 } else { 256 << 20 };
/// As `SpillOptions::filter` says, for a thread that writes or reads.
const BESIDE_MAX: usize = 3 << 20;

/// The most that `work` takes beyond what there was.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(before, Ordering::Relaxed);
    work();
    PEAK_BYTES.load(Ordering::Relaxed) - before
}

#[test]
fn a_large_value_goes_through_filters_in_bounded_memory() {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("filtered-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    for chain in ["l", "z", "le"] {
        let store = with_chain(SpillOptions::new(&directory), chain).open().unwrap();
        let pool = PoolOptions::new().memory_limit(VALUE as u64 + 4096).store(store).open(Blob);
        let part = noise(1, 1 << 20);
        let one = pool.set(part.repeat(VALUE >> 20)).unwrap();
        let saved = directory.join("saved");
        let written = peak_of(|| {
            pool.save_to_disk(&one, &saved).unwrap();
            drop(pool.move_to_disk(&one).unwrap());
        });
        assert!(written <= BESIDE_MAX, "{chain}: {written} bytes to write it");
        let read = peak_of(|| assert_eq!(pool.get(&one).unwrap()[VALUE - 1], part[(1 << 20) - 1]));
        assert!(read <= VALUE + 4096 + BESIDE_MAX, "{chain}: {read} bytes to read it");
        let checked = peak_of(|| {
            with_chain(SpillOptions::new(&directory), chain).check_file(&saved).map(drop).unwrap();
        });
        assert!(checked <= BESIDE_MAX, "{chain}: {checked} bytes to check it");
        println!("{chain}: {written} to write, {} to read, {checked} to check", read - VALUE);
        std::fs::remove_file(&saved).unwrap();
        drop(one);
        pool.close().unwrap();
    }
    std::fs::remove_dir_all(directory).unwrap();
}
