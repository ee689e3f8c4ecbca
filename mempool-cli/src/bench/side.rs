//! One side of the comparison, and the phases that both go through. Knows neither pools nor files.

use std::time::{Duration, Instant};

use super::{Options, TIMES_THE_LIMIT, Times, order, value};
use crate::{
    error::CliError,
    stop::Stop,
    workers::{Queue, on_threads},
};

/// Something that values can be put into and read from, by several threads at once.
pub(crate) trait Side: Sync {
    /// What it is read by.
    type Key: Send + Sync;

    /// Takes the value of that number.
    fn set(&self, number: u32, value: Vec<u8>) -> Result<Self::Key, CliError>;

    /// All values are set.
    fn finish(&mut self) -> Result<(), CliError>;

    /// Shows a value.
    fn read(&self, key: &Self::Key, look: impl FnOnce(&[u8])) -> Result<(), CliError>;
}

/// Values of one size, and the order in which they are read.
pub(crate) struct Reads {
    pub(crate) value_bytes: usize,
    pub(crate) count: u32,
    in_order: Vec<u32>,
    zipf: Vec<u32>,
}

/// Threads take so many bytes of values at once.
const PIECE_BYTES: usize = 1 << 20;

impl Reads {
    pub(crate) fn new(options: &Options, value_bytes: u64) -> Self {
        let count = TIMES_THE_LIMIT.saturating_mul(options.memory_limit_bytes) / value_bytes;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let value_bytes = usize::try_from(value_bytes).unwrap_or(usize::MAX);
        Self { value_bytes, count, in_order: (0..count).collect(), zipf: order::zipf(count) }
    }

    /// Bytes of all values.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.count) * self.value_bytes as u64
    }

    /// Bytes that each phase moves.
    pub(crate) fn phase_bytes(&self) -> [u64; 3] {
        [self.bytes(), self.bytes(), self.zipf.len() as u64 * self.value_bytes as u64]
    }

    fn pieces(&self) -> usize {
        (PIECE_BYTES / self.value_bytes).max(1)
    }
}

/// All phases on one side; how long each took, and how many values were not what was set.
///
/// A phase takes as long as the thread that spends most time in the calls. What values take to be made is not counted.
///
/// # Errors
/// What the side says, or it is stopped.
pub(crate) fn measure<S: Side>(
    side: &mut S,
    threads: usize,
    reads: &Reads,
    stop: &Stop,
) -> Result<(Times, u64), CliError> {
    let (keys, set) = set(side, threads, reads, stop)?;
    let start = Instant::now();
    side.finish()?;
    let set = set + start.elapsed();
    let (in_order, changed) = read(side, threads, reads, &keys, &reads.in_order, stop)?;
    let (zipf, changed_too) = read(side, threads, reads, &keys, &reads.zipf, stop)?;
    Ok(([set, in_order, zipf], changed + changed_too))
}

fn set<S: Side>(
    side: &S,
    threads: usize,
    reads: &Reads,
    stop: &Stop,
) -> Result<(Vec<S::Key>, Duration), CliError> {
    let pieces = reads.in_order.chunks(reads.pieces()).collect::<Vec<_>>();
    let done = on_threads(threads, &Queue::new(pieces.len(), stop), |queue| {
        let (mut keys, mut spent) = (Vec::new(), Duration::ZERO);
        while let Some(piece) = queue.take() {
            for &number in pieces.get(piece).copied().unwrap_or_default() {
                let value = value::make(number.into(), reads.value_bytes);
                let start = Instant::now();
                keys.push((number, side.set(number, value)?));
                spent += start.elapsed();
            }
        }
        Ok::<_, CliError>((keys, spent))
    })?;
    stop.check()?;
    let spent = done.iter().map(|(_, spent)| *spent).max().unwrap_or_default();
    let mut keys: Vec<_> = done.into_iter().flat_map(|(keys, _)| keys).collect();
    keys.sort_unstable_by_key(|(number, _)| *number);
    Ok((keys.into_iter().map(|(_, key)| key).collect(), spent))
}

fn read<S: Side>(
    side: &S,
    threads: usize,
    reads: &Reads,
    keys: &[S::Key],
    order: &[u32],
    stop: &Stop,
) -> Result<(Duration, u64), CliError> {
    let pieces = order.chunks(reads.pieces()).collect::<Vec<_>>();
    let done = on_threads(threads, &Queue::new(pieces.len(), stop), |queue| {
        let (mut changed, mut spent) = (0, Duration::ZERO);
        while let Some(piece) = queue.take() {
            // Looking at the words is part of reading, so the clock is read once a piece.
            let start = Instant::now();
            for &number in pieces.get(piece).copied().unwrap_or_default() {
                let Some(key) = keys.get(number as usize) else { continue };
                let look = |found: &[u8]| {
                    changed += u64::from(!value::is(number.into(), reads.value_bytes, found));
                };
                side.read(key, look)?;
            }
            spent += start.elapsed();
        }
        Ok::<_, CliError>((spent, changed))
    })?;
    stop.check()?;
    let changed = done.iter().map(|(_, changed)| changed).sum();
    Ok((done.iter().map(|(spent, _)| *spent).max().unwrap_or_default(), changed))
}
