//! The disk tier beside what the machine can do with plain calls: in one run, round by round.
//!
//! `cargo xtask bench spill [DIRECTORY]`. Prints medians and their ratios; judges nothing.
#![allow(clippy::cast_possible_truncation, reason = "a measurement")]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use mempool_core::{Blob, PoolOptions};
use mempool_spill::SpillOptions;

const ROUNDS: usize = 7;
const LARGE: usize = 64 << 20;
const LARGE_COUNT: usize = 8;
const SMALL: usize = 4096;
const SMALL_COUNT: usize = 50_000;
const COLD: usize = 64 << 10;
const COLD_COUNT: usize = 2048;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn touched(len: usize, byte: u8) -> Vec<u8> {
    let mut bytes = vec![byte; len];
    for at in (0..len).step_by(512) {
        bytes[at] = bytes[at].wrapping_add(1);
    }
    bytes
}

/// Every word, so that every page is read.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    words.fold(0, |sum, word| {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        sum.wrapping_add(u64::from_ne_bytes(value))
    })
}

/// The figures of one round; seconds for all of the work.
#[derive(Default)]
struct Figures {
    set_large: Vec<f64>,
    write_large: Vec<f64>,
    write_reserved: Vec<f64>,
    read_large: Vec<f64>,
    map_large: Vec<f64>,
    set_small: Vec<f64>,
    append_small: Vec<f64>,
    read_small: Vec<f64>,
    place_small: Vec<f64>,
    cold: Vec<f64>,
    cold_ahead: Vec<f64>,
}

/// One round. Either side goes first in every other one, so that neither always meets the other's dirty pages.
fn large(directory: &Path, figures: &mut Figures, round: usize) -> Outcome<()> {
    if round.is_multiple_of(2) {
        pool_large(directory, figures)?;
    }
    write_reserved(directory, figures)?;
    plain_large(directory, figures)?;
    if !round.is_multiple_of(2) {
        pool_large(directory, figures)?;
    }
    Ok(())
}

fn pool_large(directory: &Path, figures: &mut Figures) -> Outcome<()> {
    // Room for one value, so that each set writes the one before.
    let store = SpillOptions::new(directory).open()?;
    let limit = LARGE as u64 + (LARGE as u64 / 2);
    let pool = PoolOptions::new().memory_limit(limit).store(store).open(Blob);
    let mut references = vec![pool.set(touched(LARGE, 0))?];
    let mut spent = Duration::ZERO;
    for n in 0..LARGE_COUNT {
        let value = touched(LARGE, n as u8);
        let start = Instant::now();
        references.push(pool.set(value)?);
        spent += start.elapsed();
    }
    figures.set_large.push(spent.as_secs_f64());
    let start = Instant::now();
    for reference in &references[..LARGE_COUNT] {
        black_box(sum(&pool.get(reference)?));
    }
    figures.read_large.push(start.elapsed().as_secs_f64());
    drop(references);
    pool.close()?;
    Ok(())
}

fn plain_large(directory: &Path, figures: &mut Figures) -> Outcome<()> {
    let mut spent = Duration::ZERO;
    for n in 0..LARGE_COUNT {
        let value = touched(LARGE, n as u8);
        let start = Instant::now();
        let file = File::create_new(directory.join(format!("plain-{n}")))?;
        for (chunk, at) in value.chunks(1 << 20).zip((0..).step_by(1 << 20)) {
            file.write_all_at(chunk, at)?;
        }
        drop(value);
        spent += start.elapsed();
    }
    figures.write_large.push(spent.as_secs_f64());
    let start = Instant::now();
    for n in 0..LARGE_COUNT {
        let file = File::open(directory.join(format!("plain-{n}")))?;
        black_box(sum(&plain_map(&file)?));
    }
    figures.map_large.push(start.elapsed().as_secs_f64());
    for n in 0..LARGE_COUNT {
        fs::remove_file(directory.join(format!("plain-{n}")))?;
    }
    Ok(())
}

/// The same with the space reserved first, as the store does it: on some file systems much faster.
fn write_reserved(directory: &Path, figures: &mut Figures) -> Outcome<()> {
    use mempool_spill::{Disk, RealDisk};
    let mut spent = Duration::ZERO;
    for n in 0..LARGE_COUNT {
        let value = touched(LARGE, n as u8);
        let start = Instant::now();
        let file = File::create_new(directory.join(format!("reserved-{n}")))?;
        RealDisk.allocate(&file, 0, LARGE as u64)?;
        for (chunk, at) in value.chunks(256 << 10).zip((0..).step_by(256 << 10)) {
            file.write_all_at(chunk, at)?;
        }
        drop(value);
        spent += start.elapsed();
    }
    figures.write_reserved.push(spent.as_secs_f64());
    for n in 0..LARGE_COUNT {
        fs::remove_file(directory.join(format!("reserved-{n}")))?;
    }
    Ok(())
}

fn plain_map(file: &File) -> Outcome<memmap2::Mmap> {
    use mempool_spill::{Disk, RealDisk};
    Ok(RealDisk.map(file, file.metadata()?.len())?)
}

fn small(directory: &Path, figures: &mut Figures) -> Outcome<()> {
    let store = SpillOptions::new(directory).open()?;
    let pool = PoolOptions::new().memory_limit(64 * SMALL as u64).store(store).open(Blob);
    let values: Vec<Vec<u8>> = (0..SMALL_COUNT).map(|n| touched(SMALL, n as u8)).collect();
    let mut references = Vec::with_capacity(SMALL_COUNT);
    let start = Instant::now();
    for value in values {
        references.push(pool.set(value)?);
    }
    figures.set_small.push(start.elapsed().as_secs_f64());
    let start = Instant::now();
    for n in 0..SMALL_COUNT {
        // A stride that is prime to the count visits each once, in no order.
        let view = pool.get(&references[n * 7919 % SMALL_COUNT])?;
        black_box(sum(&view));
    }
    figures.read_small.push(start.elapsed().as_secs_f64());
    drop(references);
    pool.close()?;
    let values: Vec<Vec<u8>> = (0..SMALL_COUNT).map(|n| touched(SMALL, n as u8)).collect();
    let path = directory.join("appended");
    let start = Instant::now();
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, &file);
    for value in values {
        writer.write_all(&value)?;
    }
    writer.flush()?;
    drop(writer);
    figures.append_small.push(start.elapsed().as_secs_f64());
    let map = plain_map(&file)?;
    let start = Instant::now();
    for n in 0..SMALL_COUNT {
        let at = n * 7919 % SMALL_COUNT * SMALL;
        black_box(sum(&map[at..at + SMALL]));
    }
    figures.place_small.push(start.elapsed().as_secs_f64());
    fs::remove_file(path)?;
    Ok(())
}

/// Values that are in nobody's cache, in no order: one by one, and with the next ones prefetched.
fn cold(directory: &Path, figures: &mut Figures) -> Outcome<()> {
    const AHEAD: usize = 64;
    let store = SpillOptions::new(directory).open()?;
    let session = store.session_path().to_owned();
    let pool = PoolOptions::new().memory_limit(4 * COLD as u64).store(store).open(Blob);
    let set = |n: usize| pool.set(touched(COLD, n as u8));
    let references = (0..COLD_COUNT).map(set).collect::<Result<Vec<_>, _>>()?;
    let order: Vec<_> = (0..COLD_COUNT).map(|n| &references[n * 7919 % COLD_COUNT]).collect();
    for ahead in [false, true] {
        // A value that is mapped has its pages in the page table, and they stay.
        references.iter().try_for_each(|value| pool.move_to_disk(value).map(drop))?;
        for file in fs::read_dir(&session)? {
            let file = File::open(file?.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let start = Instant::now();
        for (n, reference) in order.iter().enumerate() {
            if ahead && n % AHEAD == 0 {
                // The window behind the one that is read now.
                let next = order.iter().skip(if n == 0 { 0 } else { n + AHEAD }).copied();
                let _ = pool.prefetch(next.take(if n == 0 { 2 * AHEAD } else { AHEAD }))?;
            }
            black_box(sum(&pool.get(reference)?));
        }
        let seconds = start.elapsed().as_secs_f64();
        if ahead { &mut figures.cold_ahead } else { &mut figures.cold }.push(seconds);
    }
    drop(references);
    pool.close()?;
    Ok(())
}

fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Outcome<()> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = named.map_or_else(std::env::temp_dir, Into::into);
    let directory = parent.join(format!("mempool-bench-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let mut figures = Figures::default();
    for round in 0..ROUNDS {
        large(&directory, &mut figures, round)?;
        small(&directory, &mut figures)?;
        cold(&directory, &mut figures)?;
    }
    fs::remove_dir_all(&directory)?;
    let gib = (LARGE * LARGE_COUNT) as f64 / f64::from(1 << 30);
    let rate = |seconds: &[f64]| gib / median(seconds);
    let micros = |seconds: &[f64]| median(seconds) * 1e6 / SMALL_COUNT as f64;
    println!("medians of {ROUNDS} rounds, in turn, in {}", parent.display());
    let (ours, plain) = (rate(&figures.set_large), rate(&figures.write_large));
    let reserved = rate(&figures.write_reserved);
    println!(
        "64 MiB set through a full pool {ours:6.2} GiB/s, new files {plain:6.2}, reserved first {reserved:6.2}: {:.2} of the better (bar 0.80)",
        ours / plain.max(reserved)
    );
    let (ours, plain) = (rate(&figures.read_large), rate(&figures.map_large));
    println!(
        "64 MiB back, every word summed {ours:6.2} GiB/s, plain mmap {plain:6.2}: {:.2} (bar 0.80)",
        ours / plain
    );
    let (ours, plain) = (micros(&figures.set_small), micros(&figures.append_small));
    println!(
        "4 KiB set through a full pool  {ours:6.2} us, appends {plain:6.2}: {:.2} of their rate (bar 0.40)",
        plain / ours
    );
    let (ours, plain) = (micros(&figures.read_small), micros(&figures.place_small));
    println!(
        "4 KiB back, every word summed  {ours:6.2} us, a place in a map {plain:6.2}: {:.2} times (bar 4.00)",
        ours / plain
    );
    let micros = |seconds: &[f64]| median(seconds) * 1e6 / COLD_COUNT as f64;
    let (one, ahead) = (micros(&figures.cold), micros(&figures.cold_ahead));
    println!(
        "64 KiB in no order, cold       {one:6.2} us one by one, {ahead:6.2} with the next 64 prefetched: {:.2} times as fast",
        one / ahead
    );
    Ok(())
}
