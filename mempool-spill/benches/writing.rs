//! Writing to make room: how many threads at once, and ahead of need. In one run, round by round.
//!
//! `cargo xtask bench writing [DIRECTORY]`. Prints medians of the rounds and their ratios; judges nothing.
#![allow(clippy::cast_possible_truncation, reason = "a measurement")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mempool_core::{Blob, Pool, PoolOptions, WriteAhead};
use mempool_spill::SpillOptions;

const ROUNDS: usize = 5;
/// So many threads set values at once.
const THREADS: usize = 64;
/// How many of them write at once; the last bounds nothing.
const WRITERS: [usize; 5] = [1, 2, 4, 8, THREADS];
/// The bytes of a value, and how many each thread sets.
const SIZES: [(usize, usize); 3] = [(4 << 10, 100), (256 << 10, 12), (4 << 20, 3)];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn open(directory: &Path, limit: u64, options: PoolOptions) -> Outcome<Pool<Blob>> {
    let store = SpillOptions::new(directory).open()?;
    Ok(options.memory_limit(limit).store(store).open(Blob))
}

/// Every page is touched before the clock runs.
fn touched(len: usize, byte: u8) -> Vec<u8> {
    let mut bytes = vec![byte; len];
    (0..len).step_by(512).for_each(|at| bytes[at] = bytes[at].wrapping_add(1));
    bytes
}

/// Times of one round, in order.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all)
    }

    fn micros(&self, percent: usize) -> f64 {
        let at = self.0.len() * percent / 100;
        self.0[at.min(self.0.len() - 1)].as_secs_f64() * 1e6
    }
}

/// What a round came to: seconds in all, and microseconds of one set.
#[derive(Clone, Copy, Default)]
struct Round {
    seconds: f64,
    median: f64,
    p99: f64,
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// All threads set values of `len` bytes in a pool that has room for one value of every second of them.
fn crowd(directory: &Path, writers: usize, len: usize, count: usize) -> Outcome<Round> {
    let limit = (THREADS * len / 2) as u64;
    let minute = Duration::from_secs(60);
    let options = PoolOptions::new().parallel_writers(writers).room_timeout(minute);
    let pool = open(directory, limit, options)?;
    let start = Instant::now();
    let times = std::thread::scope(|scope| {
        let set = |n: usize| {
            let pool = &pool;
            scope.spawn(move || {
                let mut references = Vec::new();
                let mut times = Vec::new();
                for _ in 0..count {
                    let value = touched(len, n as u8);
                    let start = Instant::now();
                    references.push(pool.set(value).map_err(|rejected| rejected.error));
                    times.push(start.elapsed());
                }
                (references, times)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(set).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for outcome in times {
        let (references, times) = outcome.map_err(|_| "a thread panicked")?;
        references.into_iter().collect::<Result<Vec<_>, _>>()?;
        all.extend(times);
    }
    pool.close()?;
    let times = Times::of(all);
    Ok(Round { seconds, median: times.micros(50), p99: times.micros(99) })
}

fn crowds(directory: &Path) -> Outcome<()> {
    for (len, count) in SIZES {
        let mut rounds = vec![Vec::new(); WRITERS.len()];
        for round in 0..ROUNDS {
            // Each goes first once: none meets the others' dirty pages alone.
            for at in 0..WRITERS.len() {
                let at = (at + round) % WRITERS.len();
                rounds[at].push(crowd(directory, WRITERS[at], len, count)?);
            }
        }
        let free = median(&rounds[WRITERS.len() - 1], |round| round.seconds);
        for (writers, rounds) in WRITERS.iter().zip(&rounds) {
            let seconds = median(rounds, |round| round.seconds);
            println!(
                "{THREADS} threads set {:>4} KiB, {writers:>2} write at once: {seconds:6.3} s, {:.2} of unbounded; a set median {:9.1} us, p99 {:10.1} us",
                len >> 10,
                seconds / free,
                median(rounds, |round| round.median),
                median(rounds, |round| round.p99),
            );
        }
    }
    Ok(())
}

/// How much there is to set in a paced round, and the value's bytes.
const PACED: [(usize, usize); 2] = [(64 << 10, 1500), (4 << 20, 60)];
/// Room for so many values in a paced round.
const PACED_ROOM: usize = 24;

/// One thread makes a value, which takes about as long as writing one, and sets it; again and again.
fn paced(directory: &Path, threads: usize, len: usize, count: usize) -> Outcome<(Round, f64)> {
    let options = PoolOptions::new().write_ahead(WriteAhead::threads(threads));
    let pool = open(directory, (PACED_ROOM * len) as u64, options)?;
    let mut references = Vec::new();
    let mut times = Vec::new();
    let start = Instant::now();
    for n in 0..count {
        let value = worked(len, n as u64);
        let start = Instant::now();
        references.push(pool.set(value)?);
        // Until the pool is full nothing has to go.
        if n >= PACED_ROOM {
            times.push(start.elapsed());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = pool.stats();
    let clean = stats.clean_evictions as f64 / (stats.clean_evictions + stats.spills).max(1) as f64;
    drop(references);
    pool.close()?;
    let times = Times::of(times);
    Ok((Round { seconds, median: times.micros(50), p99: times.micros(99) }, clean))
}

/// A value that takes some work to make: several rounds over every word.
fn worked(len: usize, seed: u64) -> Vec<u8> {
    let mut words = vec![seed; len / 8];
    for round in 0..4_u64 {
        let mut state = seed ^ round;
        for word in &mut words {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(*word | 1);
            *word = state.rotate_left(17);
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn paced_rounds(directory: &Path) -> Outcome<()> {
    for (len, count) in PACED {
        let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
        let mut clean = [0.0; 3];
        for round in 0..ROUNDS {
            for threads in 0..3 {
                let threads = (threads + round) % 3;
                let (figures, share) = paced(directory, threads, len, count)?;
                rounds[threads].push(figures);
                clean[threads] += share / ROUNDS as f64;
            }
        }
        let without = median(&rounds[0], |round| round.median);
        let without_p99 = median(&rounds[0], |round| round.p99);
        let without_seconds = median(&rounds[0], |round| round.seconds);
        for (threads, rounds) in rounds.iter().enumerate() {
            let (half, p99) =
                (median(rounds, |round| round.median), median(rounds, |round| round.p99));
            let seconds = median(rounds, |round| round.seconds);
            println!(
                "one thread makes and sets {:>4} KiB, {threads} write ahead: a set median {half:8.1} us ({:.2} of none), p99 {p99:9.1} us ({:.2}), all {seconds:6.3} s ({:.2}); {:.0} % of evictions were clean",
                len >> 10,
                half / without,
                p99 / without_p99,
                seconds / without_seconds,
                clean[threads] * 100.0,
            );
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = named.map_or_else(std::env::temp_dir, Into::into);
    let directory = parent.join(format!("mempool-bench-{}", std::process::id()));
    fs::create_dir(&directory)?;
    println!("medians of {ROUNDS} rounds, in turn, in {}", parent.display());
    paced_rounds(&directory)?;
    crowds(&directory)?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}
