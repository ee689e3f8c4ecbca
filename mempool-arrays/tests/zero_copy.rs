//! What is set is not copied, and what comes back from disk is a view of the map: by the allocator, and by addresses.
//!
//! `COLUMN_BYTES` says how large the column is that is read back; 64 MiB unless it is set.
#![allow(clippy::unwrap_used, reason = "a test")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mempool_arrays::{Layout, Nullable, Raw, Strings, Values};
use mempool_core::{Buffer, MemoryStore, Pool, PoolOptions};
use mempool_spill::SpillOptions;

/// Counts what a thread allocates, and never takes anything off.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        // A thread that ends allocates after its locals are gone.
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + block.size()));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, block) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread allocates for `work`.
fn allocated<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = ALLOCATED.get();
    let done = work();
    (done, ALLOCATED.get() - before)
}

fn directory(name: &str) -> PathBuf {
    let name = format!("zero-copy-{name}-{}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn pool(directory: &Path, limit_bytes: u64) -> Pool<Raw> {
    let store = SpillOptions::new(directory).open().unwrap();
    PoolOptions::new().memory_limit(limit_bytes).store(store).open(Raw)
}

/// Whether these bytes lie in maps of files below `directory`.
fn is_mapped(bytes: &[u8], directory: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let addresses = bytes.as_ptr().addr()..bytes.as_ptr().addr() + bytes.len();
    let range = |line: &str| -> Option<Range<usize>> {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(from)?..address(to)?)
    };
    let ours = maps.lines().filter(|line| line.contains(directory.to_str().unwrap()));
    // One map may be told in several lines, end to end.
    let mut at = addresses.start;
    for range in ours.filter_map(range) {
        if range.contains(&at) {
            at = range.end;
        }
    }
    at >= addresses.end
}

fn parts(strings: &Strings) -> [&Buffer; 2] {
    let (offsets, bytes) = strings.as_binary().buffers();
    [offsets, bytes]
}

#[test]
fn a_large_column_comes_back_without_a_copy() {
    const TEXT: &str = "sixty-four bytes, some of which are not ASCII: Reykjavík, 東京!!";
    let bytes = std::env::var("COLUMN_BYTES").map_or(64 << 20, |bytes| bytes.parse().unwrap());
    let slots = bytes / TEXT.len();
    let offsets: Vec<i64> = (0..=slots).map(|slot| (slot * TEXT.len()) as i64).collect();
    let offsets = Values::from(offsets).buffer().clone();
    let text = Values::from(TEXT.repeat(slots).into_bytes()).buffer().clone();
    let strings = Strings::<i64>::from_buffers(offsets, text).unwrap();
    let addresses = parts(&strings).map(|part| part.as_ptr());

    let directory = directory("column");
    let pool = pool(&directory, bytes as u64 * 3);
    let (reference, set) = allocated(|| pool.set(strings).unwrap());
    assert!(set < 4096, "{set} bytes to set it");
    let resident = pool.get(&reference).unwrap();
    assert_eq!(parts(&resident).map(|part| part.as_ptr()), addresses, "resident as it was set");
    drop(resident);

    drop(pool.move_to_disk(&reference).unwrap());
    assert_eq!(pool.stats().used_bytes, 0);
    let (view, read) = allocated(|| pool.get(&reference).unwrap());
    assert!(read < 4096, "{read} bytes to read it back");
    assert!(parts(&view).iter().all(|part| is_mapped(part, &directory)), "in the map");
    let (_, looked) = allocated(|| assert!(view.iter().all(|text| text == TEXT)));
    assert_eq!(looked, 0, "nothing is allocated for what is looked at");
    let (part, sliced) = allocated(|| view.slice(slots / 2..slots));
    assert_eq!(part.get(0), Some(TEXT));
    assert_eq!(sliced, 0, "nor for a part of it");
    drop((part, view));
    println!(
        "{} bytes of text: {set} bytes allocated to set it, {read} to read it",
        slots * TEXT.len()
    );
    drop(reference);
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_vector_is_taken_over() {
    let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
    let vector: Vec<u64> = (0..10_000).collect();
    let address = vector.as_ptr();
    let (reference, set) = allocated(|| pool.set(vector).unwrap());
    assert!(set < 1024, "{set} bytes to set it");
    assert_eq!(pool.get(&reference).unwrap().as_ptr(), address);
}

#[test]
fn parts_of_nested_arrays_lie_in_the_map() {
    let directory = directory("nested");
    let pool = pool(&directory, 1 << 20);
    let names: Nullable<Strings> =
        (0..1000).map(|slot| (slot % 7 > 0).then_some("Reykjavík")).collect();
    let reference = pool.set(names.clone()).unwrap();
    drop(pool.move_to_disk(&reference).unwrap());
    let view = pool.get(&reference).unwrap();
    assert!(*view == names);
    view.visit(&mut |buffer| assert!(is_mapped(buffer, &directory)));
    names.visit(&mut |buffer| assert!(!is_mapped(buffer, &directory), "it can tell"));
    drop(view);
    drop(reference);
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Where the bytes of these parts lie, as far as they are lent.
fn lie_in(parts: [&Buffer; 2], lent: &[std::ops::Range<usize>]) -> bool {
    parts.iter().all(|part| lent.iter().any(|range| range.contains(&part.as_ptr().addr())))
}

#[test]
fn an_array_is_sent_from_where_it_lies_and_read_where_it_came() {
    let text: Vec<String> = (0..50_000).map(|n| format!("text {n}")).collect();
    let strings: Strings<i64> = text.iter().map(String::as_str).collect();
    let directories = ["sent", "received"].map(directory);
    let [from, to] = [0, 1].map(|at| pool(&directories[at], 16 << 20));
    let value = from.set(strings).unwrap();
    for mapped in [false, true] {
        let export = from.export(&value.untyped()).unwrap();
        let lent = export.slices(0..u64::MAX).unwrap().unwrap();
        let addresses: Vec<_> = lent
            .iter()
            .map(|part| part.as_ptr_range().start.addr()..part.as_ptr_range().end.addr())
            .collect();
        let view = from.get(&value).unwrap();
        // A map of a frame is as good as another of the same.
        assert!(mapped || lie_in(parts(&view), &addresses));
        let content = &lent[lent.len() - 1];
        assert_eq!(mapped, is_mapped(content, &directories[0]));
        drop(view);

        let mut receiving = to.receive(export.frame_bytes()).unwrap();
        lent.iter().for_each(|part| receiving.write(part).unwrap());
        let name = export.type_name();
        let received = receiving.finish(name, Vec::new(), Default::default()).unwrap();
        let used = to.stats().used_bytes;
        let received = to.typed::<Strings<i64>>(&received).unwrap();
        let view = to.get(&received).unwrap();
        assert!(view.iter().eq(text.iter().map(String::as_str)));
        assert_eq!(to.stats().used_bytes, used, "nothing was copied");
        // It can be evicted as any array can, and is the same then.
        drop(view);
        to.move_to_disk(&received).unwrap();
        assert_eq!(to.stats().used_bytes, 0);
        assert!(to.get(&received).unwrap().iter().eq(text.iter().map(String::as_str)));
        drop((received, lent, export));
        from.move_to_disk(&value).unwrap();
    }
}
