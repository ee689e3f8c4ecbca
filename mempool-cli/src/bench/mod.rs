//! `mempool bench`: how fast values are set, spilled and read on this machine and this disk, beside plain calls that do the same work.
//!
//! ```text
//! set            threads set values, four times the memory limit     plain: they are written to one new file, reserved first
//! read in order  each value once, every word checked                 plain: places in one map of that file
//! Zipf reads     few values often, most of them seldom               plain: the same places
//! ```
//!
//! Both sides make the same values, and each round measures both; which one goes first changes from round to round.

mod order;
mod plain;
mod pooled;
mod report;
mod side;
mod value;

use std::{path::PathBuf, time::Duration};

use mempool_spill::Placement;

use self::{
    pooled::Pooled,
    report::{Report, SizePart},
    side::Reads,
};
use crate::{
    disk::{Place, SpillDirectory, SpillPlace},
    error::CliError,
    memory::Sampler,
    progress::line,
    size::Bytes,
    stop::Stop,
};

/// Values are set until they are so many times the memory limit.
pub(crate) const TIMES_THE_LIMIT: u64 = 4;

/// What was asked for on the command line.
pub(crate) struct Options {
    /// Sizes of values, each a multiple of 8.
    pub(crate) value_bytes: Vec<u64>,
    pub(crate) memory_limit_bytes: u64,
    /// An existing directory.
    pub(crate) disk: SpillDirectory,
    /// At least 1.
    pub(crate) threads: usize,
    /// At least 1.
    pub(crate) rounds: usize,
}

/// Values so large that the pool would have nothing to choose from, or so small that the figures would be the clock's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "values of {} cannot be measured with a memory limit of {}; give sizes from {} to {} (a quarter of the limit for each thread), or another --memory-limit",
    Bytes(*.value_bytes), Bytes(*.limit_bytes), Bytes(VALUE_BYTES_MIN), Bytes(*.bytes_max)
)]
pub(crate) struct SizeOutOfRange {
    value_bytes: u64,
    limit_bytes: u64,
    bytes_max: u64,
}

/// Reading the clock costs some percent of setting a value of this size.
const VALUE_BYTES_MIN: u64 = 1 << 10;

/// Seconds of the phases of one round: set, read in order, Zipf reads.
pub(crate) type Times = [Duration; 3];

/// Measures all sizes. A report is returned whether or not all is well; see [`Report::failures`].
///
/// # Errors
/// A size does not fit the limit, the disk refuses, the pool fails, or it is stopped.
pub(crate) fn run(options: &Options, stop: &Stop) -> Result<Report, CliError> {
    let bytes_max = options.memory_limit_bytes / (4 * options.threads as u64);
    for &value_bytes in &options.value_bytes {
        if !(VALUE_BYTES_MIN..=bytes_max).contains(&value_bytes) {
            let limit_bytes = options.memory_limit_bytes;
            return Err(SizeOutOfRange { value_bytes, limit_bytes, bytes_max }.into());
        }
    }
    let sampler = Sampler::start()?;
    let mut report = Report::new(options);
    for &value_bytes in &options.value_bytes {
        let reads = Reads::new(options, value_bytes);
        let mut size = SizePart::new(&reads);
        for round in 0..options.rounds {
            line(&format!("{}: round {} of {}", Bytes(value_bytes), round + 1, options.rounds));
            // Neither side always meets the dirty pages of the other.
            let plain_first = round % 2 == 1;
            for plain in [plain_first, !plain_first] {
                if plain {
                    let (times, changed) = plain::measure(options, &reads, stop)?;
                    size.add_plain(times);
                    report.plain_values_changed += changed;
                } else {
                    let (times, ended) = pool(options, &reads, stop)?;
                    size.add_pool(times);
                    report.add_pool(ended);
                }
            }
        }
        report.sizes.push(size.finish());
    }
    report.process_peaks = sampler.finish();
    Ok(report)
}

/// What a pool leaves behind when it is closed.
pub(crate) struct Ended {
    pub(crate) places: Vec<Place>,
    pub(crate) peak_resident_bytes: u64,
    pub(crate) values_changed: u64,
    pub(crate) files_left: Vec<PathBuf>,
}

fn pool(options: &Options, reads: &Reads, stop: &Stop) -> Result<(Times, Ended), CliError> {
    // Frames have headers, and segments are filled to their ends.
    let needed_bytes = reads.bytes().saturating_add(reads.bytes() / 8).saturating_add(64 << 20);
    let disks = std::slice::from_ref(&options.disk);
    let (place, storage) = SpillPlace::open(disks, Placement::default(), needed_bytes)?;
    let mut pooled = Pooled::new(options.memory_limit_bytes, storage);
    let (times, values_changed) = side::measure(&mut pooled, options.threads, reads, stop)?;
    let stats = pooled.close()?;
    let ended = Ended {
        files_left: place.left()?,
        places: place.places,
        peak_resident_bytes: stats.peak_bytes,
        values_changed,
    };
    Ok((times, ended))
}
