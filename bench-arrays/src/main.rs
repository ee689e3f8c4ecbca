//! Arrays in a pool beside the same bytes in plain buffers, Arrow, Parquet and bincode, in one run.
//!
//! `cargo xtask bench arrays [DIRECTORY [PART...]]`. Data of TPC-H at scale 1. Every line is the median of several rounds in which the
//! sides take turns, and says beside its ratio the bar it is held against. Prints; judges nothing.

mod check;
mod data;
mod first;
mod formats;
mod measure;
mod plain;
mod scan;
mod views;
mod write;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mempool_arrays::Raw;
use mempool_core::{Pool, PoolOptions};
use mempool_spill::{SpillOptions, Verify};

use data::Data;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Room for the largest column; nothing here is evicted.
const MEMORY_LIMIT: u64 = 2 << 30;

/// Measures and prints one part, with files in the directory.
type Part = fn(&Data, &Path) -> Outcome<()>;

/// What is measured, by name.
const PARTS: [(&str, Part); 6] = [
    ("first", first::measure),
    ("check", check::measure),
    ("scan", scan::measure),
    ("write", write::measure),
    ("formats", formats::measure),
    ("views", views::measure),
];

/// A pool of arrays whose files lie below `directory`, each column in a file of its own; and where exactly.
fn pool(directory: &Path, verify: Verify) -> Outcome<(Pool<Raw>, PathBuf)> {
    let store = SpillOptions::new(directory).segment_bytes(4 << 20).verify(verify).open()?;
    let session = store.session_path().to_owned();
    Ok((PoolOptions::new().memory_limit(MEMORY_LIMIT).store(store).open(Raw), session))
}

fn main() -> Outcome<()> {
    let mut words = env::args().skip(1);
    let parent = words.next().map_or_else(env::temp_dir, Into::into);
    let only: Vec<String> = words.collect();
    let directory = parent.join(format!("bench-arrays-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let measured = measure_all(&directory, &only);
    fs::remove_dir_all(&directory)?;
    measured
}

fn measure_all(directory: &Path, only: &[String]) -> Outcome<()> {
    let start = Instant::now();
    let data = Data::generate();
    println!("{data}");
    println!("medians of {} rounds, in turn", measure::ROUNDS);
    for (name, measure) in PARTS {
        if only.is_empty() || only.iter().any(|only| only == name) {
            measure(&data, directory)?;
        }
    }
    println!("\nThe whole run took {:.0} s.", start.elapsed().as_secs_f64());
    Ok(())
}
