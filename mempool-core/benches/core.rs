//! What a `get` of a resident value costs, beside an `Arc` that is cloned and dropped: in one run, round by round. And
//! what the shortest way through a store costs, which is what the feature `tracing` adds to.
//!
//! `cargo xtask bench core`. Prints medians and their ratios; judges nothing.
#![allow(clippy::cast_possible_truncation, reason = "a measurement")]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use mempool_core::{Blob, PoolOptions};

const ROUNDS: usize = 11;
const CALLS: u32 = 2_000_000;

/// Nanoseconds for one call of `work` on each of `threads` threads, which start together and make `calls` each.
fn time(threads: usize, calls: u32, work: &(dyn Fn(usize) + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let one = |thread: usize| {
        barrier.wait();
        let start = Instant::now();
        for _ in 0..calls {
            work(thread);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let times = running.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN));
        times.sum::<f64>() / threads as f64
    })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Result<(), mempool_core::Error> {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    let references = [pool.set(vec![1; 64])?, pool.set(vec![2; 64])?];
    let arcs = [Arc::new([1_u8; 64]), Arc::new([2_u8; 64])];
    let get = |thread: usize| {
        if let Ok(view) = pool.get(&references[thread]) {
            black_box(view[0]);
        }
    };
    let tracking = PoolOptions::new().memory_limit(1 << 20).track_pins(true).open(Blob);
    let listed = [tracking.set(vec![1; 64])?, tracking.set(vec![2; 64])?];
    let get_listed = |thread: usize| {
        if let Ok(view) = tracking.get(&listed[thread]) {
            black_box(view[0]);
        }
    };
    let clone = |thread: usize| {
        let arc = Arc::clone(black_box(&arcs[thread]));
        black_box(arc[0]);
    };
    println!("medians of {ROUNDS} rounds of {CALLS} calls, in turn; nanoseconds a call and thread");
    let mut alone = f64::NAN;
    for threads in [1, 2] {
        let (mut gets, mut tracked, mut clones) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            gets.push(time(threads, CALLS, &get));
            tracked.push(time(threads, CALLS, &get_listed));
            clones.push(time(threads, CALLS, &clone));
        }
        let (get, tracked, clone) = (median(gets), median(tracked), median(clones));
        println!(
            "{threads} thread(s)  get {get:6.2}  Arc clone and drop {clone:6.2}  ratio {:.2} (bar 2.00)",
            get / clone
        );
        println!(
            "{threads} thread(s)  get with track_pins {tracked:6.2}  over get {:.2}",
            tracked / get
        );
        if threads == 1 {
            alone = get;
        } else {
            println!("get on 2 threads over get on 1: {:.2}", get / alone);
        }
    }
    let reload = |_| {
        // On disk already, so it is let go of and mapped again, and nothing is written.
        let moved = pool.move_to_disk(&references[0]);
        if let (Ok(_), Ok(view)) = (moved, pool.get(&references[0])) {
            black_box(view[0]);
        }
    };
    let reloads = (0..ROUNDS).map(|_| time(1, CALLS / 10, &reload)).collect();
    let tracing = if cfg!(feature = "tracing") { "on, without a subscriber" } else { "off" };
    println!("move to memory's store and get again {:6.1}, tracing {tracing}", median(reloads));
    Ok(())
}
