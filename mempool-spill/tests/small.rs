//! What many small values take beside the bytes that are counted for them, by an allocator that counts.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use mempool_core::{Blob, DRef, PoolOptions};
use mempool_spill::SpillOptions;

/// The system's allocator, and how many bytes were asked of it and not given back.
struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(i64::try_from(layout.size()).unwrap(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(i64::try_from(layout.size()).unwrap(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VALUES: usize = 250_000;
/// As 256 MiB for ten million.
const LIMIT_BYTES: u64 = 6_710_000;
const BYTES_MAX: i64 = 160;

#[test]
fn a_small_value_takes_little_beside_its_bytes() {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("small-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool = PoolOptions::new().memory_limit(LIMIT_BYTES).store(store).open(Blob);
    let beside = |what: &str, values: usize| {
        let counted = i64::try_from(pool.stats().used_bytes).unwrap();
        let each = (LIVE_BYTES.load(Ordering::Relaxed) - before - counted)
            / i64::try_from(values).unwrap();
        assert!(each <= BYTES_MAX, "{what}: {each} bytes for each value");
        each
    };
    // The list of references, which is the user's, counts here as well.
    let references: Vec<DRef<Vec<u8>>> =
        (0..VALUES).map(|n| pool.set(vec![u8::try_from(n % 251).unwrap(); 100]).unwrap()).collect();
    let sets = beside("after the sets", VALUES);
    for (n, reference) in references.iter().enumerate() {
        assert_eq!(pool.get(reference).unwrap()[99], u8::try_from(n % 251).unwrap());
    }
    let reads = beside("after all were read", VALUES);
    // What is dropped does not stay behind in a queue.
    drop(references);
    pool.quiesce();
    let gone = beside("after all were dropped", VALUES);
    assert!(gone < sets.min(reads) / 4, "{gone} bytes for each value that is gone");
    pool.close().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}
