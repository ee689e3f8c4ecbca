//! An allocator that counts what a thread holds, and the most that it has held.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: i64) {
    // A thread that ends allocates after its locals are gone.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn size(block: Block) -> i64 {
    i64::try_from(block.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        add(size(block));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        add(-size(block));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, block) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` answers, and how many bytes more than before it held at most.
pub(crate) fn peak_of<R>(work: impl FnOnce() -> R) -> (R, i64) {
    let before = LIVE.get();
    PEAK.set(before);
    let answer = work();
    (answer, PEAK.get() - before)
}
