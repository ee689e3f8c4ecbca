//! Many small values: what each costs beside its bytes, and whether an operation costs more when there are ten million.
//!
//! `cargo xtask bench small [DIRECTORY] [COUNT...]`. Values of 100 bytes; the limit is a sixth of what they take, so that most are on disk,
//! whatever their number (256 MiB for ten million). Gets are in no order: one by one, and a hundred at a time. Beside it the same values
//! in boxes of their own, which nothing counts, evicts or writes: what memory and allocator cost by themselves. And what memory alone
//! takes of a get: a word of the reader's list, of a block of an entry's size and of a frame in a map, each where the one before
//! says; one value after the other, as a get is, and without waiting for the one before. Prints figures; judges nothing.
#![allow(clippy::cast_possible_truncation, reason = "a measurement")]
#![allow(unsafe_code, reason = "an allocator that counts, and a map of a file of its own")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use mempool_core::{Blob, DRef, PoolOptions};
use mempool_spill::SpillOptions;

type Outcome<T> = Result<T, Box<dyn Error>>;

const COUNTS: [usize; 3] = [10_000, 1_000_000, 10_000_000];
const VALUE_BYTES: usize = 100;
/// So many are got at a time by `get_many`.
const BATCH: usize = 100;
/// What a frame of one takes.
const FRAME_BYTES: usize = 256;
/// The size of an entry in `mempool-core`.
const ENTRY_BYTES: usize = 104;
/// 256 MiB for ten million.
const LIMIT_BYTES_PER_VALUE: f64 = 26.84;
/// So many operations are measured at least; small counts are repeated.
const OPERATIONS_MIN: usize = 1_000_000;

/// The system's allocator, and how many bytes were asked of it and not given back.
struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap that was asked for, and anonymous memory that the kernel counts, in bytes.
#[derive(Clone, Copy)]
struct Memory {
    heap: i64,
    rss: i64,
}

impl Memory {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        Self { heap: LIVE_BYTES.load(Ordering::Relaxed), rss: kib.unwrap_or_default() * 1024 }
    }

    /// What came since `before`, beside `counted` bytes, for each of `count` values.
    fn beside(self, before: Self, counted: u64, count: usize) -> [f64; 2] {
        [self.heap - before.heap, self.rss - before.rss]
            .map(|bytes| (bytes - counted as i64) as f64 / count as f64)
    }
}

/// What one round found: nanoseconds an operation, and bytes a value (asked for, RSS).
#[derive(Default)]
struct Round {
    set: f64,
    get: f64,
    get_many: f64,
    drop: f64,
    after_sets: [f64; 2],
    after_reads: [f64; 2],
    after_drops: [f64; 2],
}

/// Visits each of `count` places once, in no order.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    // An odd step that has no divisor in common with a power of ten.
    let step = (count as f64 * 0.618) as usize / 10 * 10 + 7;
    (0..count).map(move |n| n * step % count)
}

fn nanoseconds(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

fn value(n: usize) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    value[..8].copy_from_slice(&n.to_ne_bytes());
    value
}

fn pooled(directory: &Path, count: usize) -> Outcome<Round> {
    let limit = (count as f64 * LIMIT_BYTES_PER_VALUE) as u64;
    let store = SpillOptions::new(directory).open()?;
    let pool = PoolOptions::new().memory_limit(limit).store(store).open(Blob);
    let mut references: Vec<Option<DRef<Vec<u8>>>> = Vec::with_capacity(count);
    // The reader's own list is in memory before it is counted.
    (0..count).for_each(|_| references.push(black_box(None)));
    let mut round = Round::default();
    let before = Memory::now();
    let start = Instant::now();
    for (n, place) in references.iter_mut().enumerate() {
        *place = Some(pool.set(value(n))?);
    }
    round.set = nanoseconds(start, count);
    round.after_sets = Memory::now().beside(before, pool.stats().used_bytes, count);
    let start = Instant::now();
    for n in scattered(count) {
        let reference = references[n].as_ref().ok_or("it was set")?;
        let view = pool.get(reference)?;
        if view[..8] != n.to_ne_bytes() {
            return Err(format!("value {n} came back changed").into());
        }
    }
    round.get = nanoseconds(start, count);
    let start = Instant::now();
    let mut places = scattered(count);
    loop {
        let batch: Vec<usize> = places.by_ref().take(BATCH).collect();
        let wanted = batch.iter().filter_map(|&n| references[n].as_ref());
        for (view, n) in pool.get_many(wanted)?.iter().zip(&batch) {
            if view[..8] != n.to_ne_bytes() {
                return Err(format!("value {n} came back changed").into());
            }
        }
        if batch.is_empty() {
            break;
        }
    }
    round.get_many = nanoseconds(start, count);
    round.after_reads = Memory::now().beside(before, pool.stats().used_bytes, count);
    let start = Instant::now();
    references.iter_mut().for_each(|reference| drop(reference.take()));
    pool.quiesce();
    round.drop = nanoseconds(start, count);
    round.after_drops = Memory::now().beside(before, pool.stats().used_bytes, count);
    pool.close()?;
    Ok(round)
}

/// The same in boxes, which all stay in memory.
fn boxed(count: usize) -> Round {
    let mut values: Vec<Option<Box<Vec<u8>>>> = Vec::with_capacity(count);
    (0..count).for_each(|_| values.push(black_box(None)));
    let mut round = Round::default();
    let start = Instant::now();
    for (n, place) in values.iter_mut().enumerate() {
        *place = Some(Box::new(value(n)));
    }
    round.set = nanoseconds(start, count);
    let start = Instant::now();
    for n in scattered(count) {
        black_box(values[n].as_ref().map(|value| value[0]));
    }
    round.get = nanoseconds(start, count);
    let start = Instant::now();
    values.iter_mut().for_each(|value| drop(value.take()));
    round.drop = nanoseconds(start, count);
    round
}

/// Where a frame lies, in a block of the size of an entry.
struct Stand {
    frame: usize,
    _rest: [u8; ENTRY_BYTES - size_of::<usize>()],
}

/// Nanoseconds of the reads that a get cannot do without: one value after the other, and without waiting for the one before.
fn reads(directory: &Path, count: usize) -> Outcome<[f64; 2]> {
    let path = directory.join("frames");
    let mut file = File::options().create_new(true).read(true).write(true).open(&path)?;
    fs::remove_file(&path)?;
    let some = vec![0; FRAME_BYTES * BATCH];
    (0..count / BATCH).try_for_each(|_| file.write_all(&some))?;
    // SAFETY: the file has no name, and nobody else has it open; it is not written to while the map is there.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    let rest = [0; ENTRY_BYTES - size_of::<usize>()];
    let stand = |n: usize| Box::new(Stand { frame: n * FRAME_BYTES, _rest: rest });
    let stands: Vec<Box<Stand>> = (0..count).map(stand).collect();
    let read = |n: usize| {
        let frame = &map[stands[n].frame..][..FRAME_BYTES];
        frame.iter().step_by(64).fold(0, |all, byte| all | usize::from(*byte))
    };
    // Pages and page tables are there before it is timed.
    black_box(scattered(count).map(read).sum::<usize>());
    let times = (OPERATIONS_MIN / count).clamp(1, 31);
    let start = Instant::now();
    for _ in 0..times {
        // What was read is nothing, which the compiler does not know: the next read has to wait for it.
        black_box(scattered(count).fold(0, |nothing, n| read(n + nothing)));
    }
    let after_each_other = nanoseconds(start, times * count);
    let start = Instant::now();
    for _ in 0..times {
        black_box(scattered(count).map(read).fold(0, usize::wrapping_add));
    }
    Ok([after_each_other, nanoseconds(start, times * count)])
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Outcome<()> {
    let (mut parent, mut counts) = (std::env::temp_dir(), Vec::new());
    for word in std::env::args().skip(1).filter(|word| !word.starts_with('-')) {
        match word.parse() {
            Ok(count) => counts.push(count),
            Err(_) => parent = PathBuf::from(word),
        }
    }
    if counts.is_empty() {
        counts = COUNTS.to_vec();
    }
    let directory = parent.join(format!("mempool-bench-small-{}", std::process::id()));
    fs::create_dir(&directory)?;
    println!("values of {VALUE_BYTES} bytes, in {}", parent.display());
    println!(
        "           ns an operation              the same in boxes     the reads of a get   bytes a value beside what is counted: asked for (RSS)"
    );
    println!(
        "    values     set    get   many   drop     set    get   drop     serial  overlapped   after sets    after reads   after drops"
    );
    let mut first: Option<[f64; 4]> = None;
    for count in counts {
        let times = (OPERATIONS_MIN / count).clamp(3, 31);
        let times = if count > OPERATIONS_MIN { 1 } else { times };
        let ours = (0..times).map(|_| pooled(&directory, count)).collect::<Outcome<Vec<_>>>()?;
        let boxes: Vec<Round> = (0..times).map(|_| boxed(count)).collect();
        let ns = |rounds: &[Round]| {
            let of: [fn(&Round) -> f64; 4] = [|r| r.set, |r| r.get, |r| r.get_many, |r| r.drop];
            of.map(|of| median(rounds, of))
        };
        let (ours_ns, boxes_ns) = (ns(&ours), ns(&boxes));
        let [serial, overlapped] = reads(&directory, count)?;
        let bytes = |of: fn(&Round) -> [f64; 2]| {
            let [heap, rss] = [0, 1].map(|at: usize| median(&ours, |round| of(round)[at]));
            format!("{heap:>5.0} ({rss:.0})")
        };
        let [set, get, many, drop] = ours_ns;
        let [box_set, box_get, _, box_drop] = boxes_ns;
        println!(
            "{count:>10}  {set:>6.0} {get:>6.0} {many:>6.0} {drop:>6.0}  {box_set:>6.0} {box_get:>6.0} {box_drop:>6.0}     {serial:>6.0}      {overlapped:>6.0}   {:<13} {:<13} {}",
            bytes(|round| round.after_sets),
            bytes(|round| round.after_reads),
            bytes(|round| round.after_drops)
        );
        let base = *first.get_or_insert(ours_ns);
        let [set, get, many, drop] = [0, 1, 2, 3].map(|at: usize| ours_ns[at] / base[at]);
        println!(
            "             {set:>4.2}   {get:>4.2}   {many:>4.2}   {drop:>4.2}   of the first row"
        );
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}
