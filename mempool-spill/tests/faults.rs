//! Every call of the disk fails: by each errno that it may have, once, twice and for ever, at each turn of six workloads, with
//! filters and without.
//!
//! `FAULT_SHARE=n` runs one of n of all cases (1 runs all), `FAULT_SEEDS=n` has each workload in n forms,
//! `FAULT_POINTS=n` bounds how many turns of one call in one workload are tried. `FAULT_CASE` is one case as a failure
//! names it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mempool_core::{Error, ErrorKind};
use mempool_spill::{DiskCall, DiskFault, Encrypt, FaultyDisk, Lz4};

mod workloads;
use workloads::{
    Book, LIMIT, Random, Scratch, Workload, bytes, check_saved_files, close_empty, number,
};

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One fault of one run.
#[derive(Clone, Copy, Debug)]
struct Case {
    workload: Workload,
    /// Which form of it.
    seed: u64,
    call: DiskCall,
    fault: DiskFault,
    /// How many calls fail.
    times: u64,
    /// How many succeed before.
    skip: u64,
    /// Whether the store writes through lz4 and encryption.
    filtered: bool,
}

/// How a call may fail: a sync that failed with EIO is the write that came to nothing.
fn faults_of(call: DiskCall) -> Vec<DiskFault> {
    let mut errnos = vec![ENOSPC, EIO, EMFILE, EFBIG];
    if call == DiskCall::Map {
        errnos.push(ENOMEM);
    }
    let mut faults: Vec<_> = errnos.into_iter().map(DiskFault::Errno).collect();
    if call == DiskCall::Write {
        faults.extend([DiskFault::ShortThen(ENOSPC), DiskFault::ShortThen(EIO)]);
    }
    faults
}

/// All cases. How often a workload makes each call is found by a run in which nothing fails.
fn cases(seeds: u64, points_max: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    let forms = (1..=seeds).flat_map(|seed| [(seed, false), (seed, true)]);
    for (workload, (seed, filtered)) in
        Workload::ALL.into_iter().flat_map(|w| forms.clone().map(move |form| (w, form)))
    {
        let calls = run(workload, seed, filtered, &FaultyDisk::new(), None).calls;
        let calls = |call| calls[DiskCall::ALL.iter().position(|one| *one == call).unwrap()];
        for call in DiskCall::ALL {
            // A few more than there were: two threads do not make the same calls each time. Of very many, as many as
            // are asked for, evenly.
            let end = calls(call) + 2;
            let stride = end.div_ceil(points_max);
            let points = (0..end).step_by(usize::try_from(stride).unwrap());
            *made.entry(format!("{call:?}")).or_default() += calls(call);
            for (skip, fault, times) in points.flat_map(|skip| {
                let times = [1, 2, u64::MAX];
                let faults = faults_of(call).into_iter();
                faults.flat_map(move |fault| times.map(|times| (skip, fault, times)))
            }) {
                cases.push(Case { workload, seed, call, fault, times, skip, filtered });
            }
        }
    }
    println!("calls: {made:?}");
    // One that no workload makes would be tested in name alone.
    assert!(made.values().all(|&calls| calls > 0), "{made:?}");
    cases
}

fn errno_of(fault: DiskFault) -> i32 {
    match fault {
        DiskFault::Errno(errno) | DiskFault::ShortThen(errno) => errno,
    }
}

/// Panics unless the fault explains the error: its cause is the fault's own errno, and its kind says what helps.
fn explain(workload: Workload, filtered: bool, case: Option<Case>, error: &Error) {
    // Two threads hold values that each other's room might come from, and nobody waits for anybody. Where nothing can be
    // mapped, or a filter is to be undone, a value is read into memory, which may be too small for it.
    let crowded = workload == Workload::Threads;
    let unmapped = case.is_some_and(|case| case.call == DiskCall::Map);
    match error {
        Error::NoRoom(_) | Error::Pinned { .. } if crowded => return,
        Error::NoRoom(_) | Error::TooLarge { .. } if unmapped || filtered => return,
        _ => {}
    }
    let Some(case) = case else { panic!("nothing failed, and yet: {error}") };
    let mut cause = error.source();
    let mut errno = None;
    while let Some(error) = cause {
        errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).or(errno);
        cause = error.source();
    }
    let expected = errno_of(case.fault);
    assert_eq!(errno, Some(expected), "{error}: {error:?}");
    let full = matches!(expected, ENOSPC | EFBIG);
    let kind = if full { ErrorKind::Limit } else { ErrorKind::Environment };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains("cannot ") || error.source().is_some(), "{error}");
}

/// What a run saw while its fault was armed.
struct Seen {
    errors: u64,
    /// How often each call of [`DiskCall::ALL`] was made.
    calls: [u64; DiskCall::ALL.len()],
}

/// Runs the workload with the fault armed, then everything that must hold afterwards.
fn run(
    workload: Workload,
    seed: u64,
    filtered: bool,
    disk: &FaultyDisk,
    case: Option<Case>,
) -> Seen {
    let scratch = Scratch::in_memory("faults");
    // With a reserve the disk is asked for its free space as well.
    let mut options = workloads::options(&scratch.0).free_space_reserve(1);
    if filtered {
        options = options.filter(Lz4).filter(Encrypt::with_key([7; 32]));
    }
    let store = options.disk(disk.clone()).open().unwrap();
    // What is decoded must fit into memory: the largest values do, one at a time.
    let pool = workloads::pool_of(store, if filtered { 3 * LIMIT } else { LIMIT });
    if let Some(case) = case {
        disk.fail(case.call, case.skip, case.times, case.fault);
    }
    let explain = |error: &Error| explain(workload, filtered, case, error);
    let mut book = Book::new(&pool, &scratch.0, &explain);
    workload.run(&mut book, seed);
    // While the fault is there, a read may fail by it; it never answers other bytes.
    book.read_all();
    let seen = Seen { errors: book.errors, calls: DiskCall::ALL.map(|call| disk.calls(call)) };
    disk.heal();
    book.explain =
        &|error| panic!("the disk works again, and one thread is left, and yet: {error}");
    book.read_all();
    // The pool goes on.
    (0..5).for_each(|_| book.set(30_000));
    (0..30).for_each(|_| book.set(700));
    book.read_all();
    book.save(0, 9);
    drop(book);
    assert!(check_saved_files(&pool, &scratch.0) > 0);
    close_empty(pool, &scratch.0);
    seen
}

#[test]
fn every_call_fails_at_every_turn() {
    let start = Instant::now();
    let share = number("FAULT_SHARE", if cfg!(debug_assertions) { 400 } else { 40 });
    let seed = number("SEED", 1);
    let only = std::env::var("FAULT_CASE").ok();
    let mut random = Random::new(seed);
    let mut chosen = cases(number("FAULT_SEEDS", 1), number("FAULT_POINTS", 60));
    let all = chosen.len();
    chosen.retain(|case| match &only {
        Some(only) => format!("{case:?}") == *only,
        None => random.below(share) == 0,
    });
    let (mut faults, mut errors, mut met) = (0, 0, 0_u64);
    let mut points = BTreeSet::new();
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for case in &chosen {
        let (disk, case) = (FaultyDisk::new(), *case);
        let worker = disk.clone();
        let answer = within(PATIENCE, case, move || {
            run(case.workload, case.seed, case.filtered, &worker, Some(case)).errors
        });
        errors += answer;
        faults += disk.failed();
        let worst = format!("{:?} of {:?}", case.call, case.workload);
        let most: &mut u64 = most.entry(worst).or_default();
        *most = disk.failed().max(*most);
        if disk.failed() > 0 {
            met += 1;
            points
                .insert(format!("{:?} {} {:?} {}", case.workload, case.seed, case.call, case.skip));
        }
    }
    println!(
        "{} of {all} cases in {:.1?}: {met} met their fault at {} distinct points, {faults} calls failed, {errors} \
         errors were answered",
        chosen.len(),
        start.elapsed(),
        points.len()
    );
    println!("calls that failed in one case, at most: {most:?}");
    println!("proof: cases={} faults={faults} seed={seed}", chosen.len());
    assert!(only.is_some() || met * 2 > chosen.len() as u64, "most cases meet their fault");
}

#[test]
fn a_place_whose_write_failed_is_given_back() {
    let scratch = Scratch::in_memory("places");
    let disk = FaultyDisk::new();
    let store = workloads::options(&scratch.0).disk(disk.clone()).open().unwrap();
    let pool = workloads::pool(store);
    let one = pool.set(bytes(1, 5000)).unwrap();
    disk.fail(DiskCall::Write, 0, u64::MAX, DiskFault::Errno(EIO));
    // As many as fill fifteen segments.
    for _ in 0..200 {
        pool.move_to_disk(&one).unwrap_err();
    }
    let usage = pool.stats().store;
    assert!(usage.disk_bytes <= 2 * workloads::SEGMENT && usage.live_bytes == 0, "{usage:?}");
    disk.heal();
    pool.move_to_disk(&one).unwrap();
    assert!(pool.get(&one).unwrap()[..] == bytes(1, 5000)[..]);
    drop(one);
    close_empty(pool, &scratch.0);
}

#[test]
fn a_short_write_is_not_taken_for_a_whole_one() {
    let scratch = Scratch::in_memory("short");
    for (len, turn) in [(5000, 0), (60_000, 0), (60_000, 1)] {
        let disk = FaultyDisk::new();
        let store = workloads::options(&scratch.0).disk(disk.clone()).open().unwrap();
        let pool = workloads::pool(store);
        let one = pool.set(bytes(1, len)).unwrap();
        disk.fail(DiskCall::Write, turn, 1, DiskFault::ShortThen(EIO));
        pool.move_to_disk(&one).expect_err("half of it was written, and then nothing");
        assert!(pool.get(&one).unwrap()[..] == bytes(1, len)[..]);
        pool.move_to_disk(&one).unwrap();
        assert!(pool.get(&one).unwrap()[..] == bytes(1, len)[..]);
        drop(one);
        close_empty(pool, &scratch.0);
    }
}

/// Runs one case on a thread of its own. One that does not end in time ends the process: nobody could take it back.
fn within(patience: Duration, case: Case, work: impl FnOnce() -> u64 + Send + 'static) -> u64 {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let answer = catch_unwind(AssertUnwindSafe(work));
        let _ = send.send(());
        answer
    });
    if receive.recv_timeout(patience).is_err() {
        eprintln!("HANGS: FAULT_CASE='{case:?}'");
        std::process::abort();
    }
    match thread.join().unwrap() {
        Ok(answer) => answer,
        Err(_) => panic!("FAULT_CASE='{case:?}'"),
    }
}
