//! A process that spills and saves is killed, and the next one finds everything in order.
//!
//! At exact points: strace kills it with SIGKILL at the k-th call of one kind, for each k of each kind in each workload.
//! At random points: after as many operations as a random number says, and a moment more. After each kill the next open
//! removes what the dead session left, a living session beside it is untouched and readable, files that were being
//! saved are whole or absent, and nothing else is in the directory.
//!
//! A process that retains is killed at the same points: what a later one restores is the state before or the new one, whole.
//!
//! No harness of libtest: strace counts the calls of each thread by itself, so the child works on its main thread.
//! `CRASH_POINTS`, `KILLS` and `SEED` say how much. Two stages run beside each other.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mempool_core::{Blob, DRef, Pool, PoolOptions, SetOptions};
use mempool_spill::read_retained;

#[allow(clippy::duplicate_mod, reason = "each test is a crate")]
mod workloads;
use workloads::{
    Book, Random, Scratch, Workload, bytes, check_saved_files, names, number, options,
};

/// The calls of the system by which a child touches files, as far as the machine has them.
const CALLS: &[&str] = &[
    "openat",
    "pwrite64",
    "fsync",
    "fallocate",
    "ftruncate",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "mmap",
    "munmap",
    "madvise",
    "close",
    "flock",
    "mkdirat",
    "fchmod",
    "ioctl",
    "fstat",
    "newfstatat",
    "statx",
    "getdents64",
];
/// The child asks for this file, which is not there, when it has started: what it called before is the loader's.
const MARK: &str = "the-child-starts";
const SIGKILL: i32 = 9;

type Test = (&'static str, fn());
const TESTS: &[Test] = &[
    ("a_kill_at_any_call_leaves_nothing", a_kill_at_any_call_leaves_nothing),
    ("a_kill_at_any_moment_leaves_nothing", a_kill_at_any_moment_leaves_nothing),
    (
        "a_kill_while_values_are_retained_leaves_the_old_or_the_new",
        a_kill_while_values_are_retained_leaves_the_old_or_the_new,
    ),
];

fn main() -> ExitCode {
    if let Ok(job) = std::env::var("MEMPOOL_CRASH_CHILD") {
        child(&job);
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let tests: Vec<&Test> = TESTS.iter().filter(|(name, _)| chosen(name)).collect();
    if std::env::args().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in &tests {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let (passed, out) = (tests.len() - failed, TESTS.len() - tests.len());
    println!(
        "test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// What is killed: opens a session, does a workload, saves over and over, closes. `job` is a workload and a seed; with
/// `for ever` behind them it begins anew until it is killed, and writes a byte for each operation.
fn child(job: &str) {
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_CRASH_DIRECTORY").unwrap());
    if job == RETAIN {
        assert!(File::open(directory.join(MARK)).is_err());
        return retain(&directory);
    }
    let mut words = job.split(' ');
    let workload = words.next().and_then(Workload::of).unwrap();
    let seed: u64 = words.next().unwrap().parse().unwrap();
    let for_ever = words.next().is_some();
    assert!(File::open(directory.join(MARK)).is_err());
    let tell = || {
        if for_ever {
            std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush()).unwrap();
        }
    };
    for round in 0.. {
        let pool = workloads::pool(options(&directory).open().unwrap());
        let explain = |error: &mempool_core::Error| {
            use mempool_core::Error;
            let crowded = matches!(error, Error::NoRoom(_) | Error::Pinned { .. });
            assert!(crowded && workload == Workload::Threads, "{error}");
        };
        let mut book = Book::new(&pool, &directory, &explain);
        book.after = &tell;
        workload.run(&mut book, seed + round);
        (0..6).for_each(|n| book.save(usize::try_from(n).unwrap(), n % 2));
        drop(book);
        pool.close().unwrap();
        if !for_ever {
            return;
        }
    }
}

/// A directory with a living session of this process, beside which children are killed.
struct Stage {
    scratch: Scratch,
    pool: Pool<Blob>,
    values: Vec<(u64, usize, DRef<Vec<u8>>)>,
    session: String,
    files: Vec<String>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let store = options(&scratch.0).open().unwrap();
        let session = store.session_path().file_name().unwrap().to_str().unwrap().to_owned();
        let pool = workloads::pool(store);
        let value = |(seed, len)| (seed, len, pool.set(bytes(seed, len)).unwrap());
        let values: Vec<_> = [(1, 100), (2, 5000), (3, 40_000)].map(value).into_iter().collect();
        values.iter().for_each(|(_, _, one)| drop(pool.move_to_disk(one).unwrap()));
        let files = names(&scratch.0.join(".mempool").join(&session));
        Self { scratch, pool, values, session, files }
    }

    fn child(&self, program: &str, job: &str) -> Command {
        child_in(&self.scratch.0, program, job)
    }

    /// What must hold when the child is dead. How many files it had saved, and whether it left a session.
    fn check(&self) -> (usize, u64) {
        let root = self.scratch.0.join(".mempool");
        let store = options(&self.scratch.0).open().unwrap();
        let swept = store.swept();
        assert_eq!(swept.living, 1, "{swept:?}");
        assert!(swept.sessions <= 1 && swept.saves <= 1, "{swept:?}");
        let own = store.session_path().file_name().unwrap().to_str().unwrap().to_owned();
        let pool = workloads::pool(store);
        let saved = check_saved_files(&pool, &self.scratch.0);
        let mut sessions = vec![self.session.clone(), own];
        sessions.sort();
        assert_eq!(names(&root), sessions, "the dead session is gone");
        pool.close().unwrap();
        let rest = names(&self.scratch.0);
        let strange: Vec<_> =
            rest.iter().filter(|name| !name.starts_with(workloads::SAVED)).collect();
        assert_eq!(strange, [".mempool"]);
        for name in rest.iter().filter(|name| name.starts_with(workloads::SAVED)) {
            fs::remove_file(self.scratch.0.join(name)).unwrap();
        }
        assert_eq!(names(&root.join(&self.session)), self.files, "the living session is untouched");
        for (seed, len, one) in &self.values {
            assert_eq!(self.pool.get(one).unwrap()[..], bytes(*seed, *len)[..]);
            self.pool.move_to_disk(one).unwrap();
        }
        (saved, swept.sessions)
    }
}

fn child_in(directory: &Path, program: &str, job: &str) -> Command {
    let mut command = Command::new(program);
    command.env("MEMPOOL_CRASH_CHILD", job).env("MEMPOOL_CRASH_DIRECTORY", directory);
    command.stdin(Stdio::null());
    command
}

/// One point: the k-th call of a kind.
#[derive(Clone, Copy, Debug)]
struct Point {
    workload: Workload,
    seed: u64,
    call: &'static str,
    k: u64,
}

/// How often each thread of a child makes each call; the first figure of each is what came before its start.
fn counts(log: &str) -> BTreeMap<&'static str, (u64, u64)> {
    let mut by_thread: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    let mut counts: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        let Some(call) = CALLS.iter().find(|call| **call == name) else { continue };
        let count = by_thread.entry((thread, call)).or_default();
        *count += 1;
        let both = counts.entry(call).or_default();
        both.1 = both.1.max(*count);
        if rest.contains(MARK) {
            counts.values_mut().for_each(|both| both.0 = both.1);
        }
    }
    counts
}

/// Runs a job that is not killed, and counts its calls.
fn trace(directory: &Path, job: &str) -> BTreeMap<&'static str, (u64, u64)> {
    let log = directory.with_extension("strace");
    let calls = CALLS.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
    let status = child_in(directory, "strace", job)
        .args(["-f", "-qq", "-e", "signal=none", "-e", &format!("trace={calls}"), "-o"])
        .args([&log, &std::env::current_exe().unwrap()])
        .status()
        .unwrap();
    assert!(status.success(), "{job} is not killed, and ends with {status}");
    let counted = counts(&fs::read_to_string(&log).unwrap());
    fs::remove_file(log).unwrap();
    counted
}

/// Every point of every workload of this seed.
fn points(stage: &Stage, seed: u64) -> Vec<Point> {
    let mut points = Vec::new();
    for workload in Workload::ALL {
        let counted = trace(&stage.scratch.0, &format!("{workload:?} {seed}"));
        stage.check();
        for (call, (before, all)) in counted {
            points.extend((before + 1..=all).map(|k| Point { workload, seed, call, k }));
        }
    }
    points
}

/// Runs a child that strace kills at the point; whether it was killed, for two threads do not always get so far.
fn kill_at(stage: &Stage, point: Point) -> bool {
    let Point { workload, seed, call, k } = point;
    kill_job_at(&stage.scratch.0, &format!("{workload:?} {seed}"), call, k)
}

fn kill_job_at(directory: &Path, job: &str, call: &str, k: u64) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={k}");
    let program = std::env::current_exe().unwrap();
    let output = child_in(directory, "strace", job)
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &inject])
        .args(["-o", "/dev/null"])
        .arg(program)
        .output()
        .unwrap();
    let killed =
        output.status.signal() == Some(SIGKILL) || output.status.code() == Some(128 + SIGKILL);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(killed || output.status.success(), "{job} at {call} {k}: {}\n{said}", output.status);
    killed
}

fn strace_works() -> bool {
    let call = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    call.is_ok_and(|status| status.success())
}

fn a_kill_at_any_call_leaves_nothing() {
    let start = Instant::now();
    let limit = usize::try_from(number("CRASH_POINTS", 40)).unwrap();
    let seed = number("SEED", 1);
    if !strace_works() {
        println!(
            "skipped: strace is not there or may not trace; the random kills stand for the exact ones"
        );
        return;
    }
    let stages = [Stage::new("crash-a"), Stage::new("crash-b")];
    let mut all = Vec::new();
    let mut form = seed;
    // Other forms of the workloads have other points.
    while all.len() < limit {
        all.extend(points(&stages[0], form));
        form += 1;
    }
    let stride = all.len() as f64 / limit as f64;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list"
    )]
    let chosen: Vec<Point> = (0..limit).map(|n| all[(n as f64 * stride) as usize]).collect();
    let next = AtomicU64::new(0);
    let (killed, whole, left) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let by_call: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let work = |stage: &Stage| {
        while let Some(point) =
            chosen.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
        {
            let hit = kill_at(stage, *point);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.check()));
            let (saved, sessions) =
                checked.unwrap_or_else(|_| panic!("after the kill at {point:?}"));
            killed.fetch_add(u64::from(hit), Ordering::Relaxed);
            whole.fetch_add(saved as u64, Ordering::Relaxed);
            left.fetch_add(sessions, Ordering::Relaxed);
            *by_call.lock().unwrap().entry(point.call).or_default() += u64::from(hit);
        }
    };
    on_both(&stages, work);
    let (killed, whole, left) = (killed.into_inner(), whole.into_inner(), left.into_inner());
    println!(
        "{killed} kills at {limit} of {} points in {:.1?}: {left} sessions were swept, {whole} saved files were whole",
        all.len(),
        start.elapsed()
    );
    println!("{:?}", by_call.into_inner().unwrap());
    println!("proof: cases={limit} faults={killed} seed={seed}");
    assert!(killed * 2 >= limit as u64, "children get so far that they are killed");
    assert!(left > 0);
}

fn a_kill_at_any_moment_leaves_nothing() {
    let start = Instant::now();
    let kills = number("KILLS", 20);
    let seed = number("SEED", 1);
    let stages = [Stage::new("kill-a"), Stage::new("kill-b")];
    let next = AtomicU64::new(0);
    let (whole, left) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |stage: &Stage| {
        loop {
            let kill = next.fetch_add(1, Ordering::Relaxed);
            if kill >= kills {
                break;
            }
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(kill));
            let workload = Workload::ALL[usize::try_from(random.below(6)).unwrap()];
            let program = std::env::current_exe().unwrap();
            let mut child = stage
                .child(program.to_str().unwrap(), &format!("{workload:?} {kill} for-ever"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let operations = random.below(if workload == Workload::Files { 60 } else { 300 });
            // Kept open, for a child that cannot tell any more would end by itself.
            let mut pipe = child.stdout.take().unwrap();
            let told = (&mut pipe).take(operations).read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(
                told as u64, operations,
                "the child of kill {kill} goes on until it is killed"
            );
            let moment = std::time::Duration::from_micros(random.below(1000));
            let then = Instant::now();
            while then.elapsed() < moment {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.check()));
            let (saved, sessions) = checked
                .unwrap_or_else(|_| panic!("after kill {kill} of {workload:?}, seed {seed}"));
            whole.fetch_add(saved as u64, Ordering::Relaxed);
            left.fetch_add(sessions, Ordering::Relaxed);
        }
    };
    on_both(&stages, work);
    let (whole, left) = (whole.into_inner(), left.into_inner());
    println!(
        "{kills} random kills in {:.1?}: {left} sessions were swept, {whole} saved files were whole",
        start.elapsed()
    );
    println!("proof: cases={kills} faults={kills} seed={seed}");
    assert!(left > 0);
}

fn beside<S: Sync>(places: &[S; 2], work: impl Fn(&S) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = places.iter().map(|place| scope.spawn(|| work(place))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Works on each stage by a thread of its own, then closes its living session, which leaves nothing.
fn on_both(stages: &[Stage; 2], work: impl Fn(&Stage) + Sync) {
    beside(stages, work);
    for stage in stages {
        stage.pool.close().unwrap();
        assert_eq!(names(Path::new(&stage.scratch.0)), Vec::<String>::new());
    }
}

/// The job of the children that retain.
const RETAIN: &str = "retain";
/// How many values there are of each generation, beside the one that says which it is.
const RETAINED: u64 = 8;

fn length(n: u64) -> usize {
    [60, 900, 5000, 30_000][usize::try_from(n % 4).unwrap()]
}

/// Restores a generation, retains the next one, and closes with the one behind that. Some values are new in each, some are
/// kept, some go; others have no name.
fn retain(directory: &Path) {
    let store = options(directory).label(RETAIN).restore().unwrap();
    let pool = PoolOptions::new().memory_limit(workloads::LIMIT).store(store);
    let pool = pool.restore(Blob).unwrap();
    let mut generation = generation(&pool);
    for closes in [false, true] {
        generation += 1;
        let named = |name: &str| SetOptions::new().name(name);
        for n in (0..RETAINED).filter(|n| changed_in(*n, generation)) {
            let content = bytes(seed_of(n, generation), length(n));
            drop(pool.set_with(content, named(&n.to_string())).unwrap());
        }
        drop(pool.set(bytes(1, 20_000)).unwrap());
        let unnamed = pool.set(bytes(2, 3000)).unwrap();
        pool.move_to_disk(&unnamed).unwrap();
        let number = generation.to_le_bytes().to_vec();
        drop(pool.set_with(number, named("generation")).unwrap());
        if closes { pool.close_retaining().unwrap() } else { pool.retain().unwrap() }
    }
}

/// The values of one half change with each generation, those of the other with every fourth.
fn changed_in(n: u64, generation: u64) -> bool {
    n.is_multiple_of(2) || generation % 4 == 1
}

/// What value `n` is of, in this generation.
fn seed_of(n: u64, generation: u64) -> u64 {
    let since = if n.is_multiple_of(2) { generation } else { generation - (generation + 3) % 4 };
    since * 100 + n
}

fn generation(pool: &Pool<Blob>) -> u64 {
    let Ok(one) = pool.named::<Vec<u8>>("generation") else { return 0 };
    u64::from_le_bytes(pool.get(&one).unwrap()[..].try_into().unwrap())
}

/// The generation that is found, every value of it whole, and nothing beside it.
fn check_retained(directory: &Path) -> u64 {
    let store = options(directory).open().unwrap();
    assert_eq!((store.swept().sessions, store.swept().retained), (0, 1), "no sweep removes it");
    drop(store);
    let store = options(directory).label(RETAIN).restore().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = PoolOptions::new().memory_limit(workloads::LIMIT).store(store);
    let pool = pool.restore(Blob).unwrap();
    let generation = generation(&pool);
    for n in (0..RETAINED).filter(|_| generation > 0) {
        let one = pool.named::<Vec<u8>>(&n.to_string()).unwrap();
        let expected = bytes(seed_of(n, generation), length(n));
        assert_eq!(pool.get(&one).unwrap()[..], expected[..], "{n} of generation {generation}");
    }
    pool.close().unwrap();
    let kept = read_retained(&session).unwrap();
    let mut files: Vec<_> = kept.segments.iter().map(|segment| segment.file_name()).collect();
    files.push("manifest".into());
    files.sort();
    assert_eq!(names(&session), files);
    assert_eq!(names(directory), [".mempool"]);
    assert_eq!(names(&directory.join(".mempool")).len(), 1);
    generation
}

fn a_kill_while_values_are_retained_leaves_the_old_or_the_new() {
    let start = Instant::now();
    let limit = usize::try_from(number("CRASH_POINTS", 40)).unwrap();
    if !strace_works() {
        println!("skipped: strace is not there or may not trace");
        return;
    }
    let directories = [Scratch::new("crash-retain-a"), Scratch::new("crash-retain-b")];
    for directory in &directories {
        let pool = workloads::pool(options(&directory.0).label(RETAIN).open().unwrap());
        pool.close_retaining().unwrap();
    }
    let mut points = Vec::new();
    for (call, (before, all)) in trace(&directories[0].0, RETAIN) {
        // A generation has a few calls more than another.
        points.extend((before + 1..=all + 2).map(|k| (call, k)));
    }
    let all = points.len();
    let rounds = limit.div_ceil(all);
    let chosen: Vec<_> = match rounds {
        1 => (0..limit).map(|n| points[n * all / limit]).collect(),
        _ => points.iter().copied().cycle().take(limit).collect(),
    };
    let next = AtomicU64::new(0);
    let (killed, advanced) = (AtomicU64::new(0), AtomicU64::new(0));
    beside(&directories, |directory: &Scratch| {
        let mut before = check_retained(&directory.0);
        while let Some(&(call, k)) =
            chosen.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
        {
            let hit = kill_job_at(&directory.0, RETAIN, call, k);
            let checked = std::panic::catch_unwind(|| check_retained(&directory.0));
            let found = checked.unwrap_or_else(|_| panic!("after the kill at {call} {k}"));
            assert!((before..=before + 2).contains(&found), "{before}, then {found}: {call} {k}");
            killed.fetch_add(u64::from(hit), Ordering::Relaxed);
            advanced.fetch_add(u64::from(found > before), Ordering::Relaxed);
            before = found;
        }
    });
    let (killed, advanced) = (killed.into_inner(), advanced.into_inner());
    println!(
        "{killed} kills at {limit} of {all} points in {:.1?}: {advanced} left the new state, the others the old",
        start.elapsed()
    );
    println!("proof: cases={limit} faults={killed}");
    assert!(killed * 2 >= limit as u64, "children get so far that they are killed");
    assert!(advanced > 0 && advanced < limit as u64);
}
