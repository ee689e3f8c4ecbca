//! What a pool has done, and what it holds.

use crate::store::StoreUsage;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a pool's figures.
///
/// The byte figures of memory are of one instant; the counters are read one after the other while the pool works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The memory limit.
    pub limit_bytes: u64,
    /// Resident bytes and reservations: the sum of all that is taken from the budget.
    pub used_bytes: u64,
    /// The most that `used_bytes` has been.
    pub peak_bytes: u64,
    /// Values that are there.
    pub values: u64,
    /// Values that were set.
    pub sets: u64,
    /// Of those, values larger than the limit, which went straight to disk.
    pub straight_to_disk: u64,
    /// Gets that answered.
    pub gets: u64,
    /// Of those, gets that found the value in memory.
    pub hits: u64,
    /// Values brought back from disk, or from another pool.
    pub loads: u64,
    /// Frames that came from other pools: for some of these loads, and for files and saves.
    pub remote_loads: u64,
    /// Bytes of those frames.
    pub remote_bytes: u64,
    /// Evictions that wrote a frame first.
    pub spills: u64,
    /// Values that were written with a victim because they were next to go; they stayed in memory until then.
    pub written_ahead: u64,
    /// Values that the pool's own threads wrote before their room was wanted; they stayed in memory.
    pub background_writes: u64,
    /// Resident bytes of those values.
    pub background_bytes: u64,
    /// Bytes of all frames that were written by evictions, moves, copies and values larger than the limit.
    pub written_bytes: u64,
    /// Evictions that wrote nothing, because a good copy was on disk.
    pub clean_evictions: u64,
    /// Discardable values that were dropped to make room.
    pub discards: u64,
    /// Frames that could not be written.
    pub failed_writes: u64,
    /// Callbacks and drops of the user's that panicked.
    pub panics: u64,
    /// Bytes of frames that some reference still claims.
    pub live_disk_bytes: u64,
    /// The limit of mapped bytes; `None` where there is none. What is mapped now is in [`store`](Self::store).
    pub mapped_limit_bytes: Option<u64>,
    /// Values whose views were let go of to keep it, or because there were very many small ones.
    pub mapped_trims: u64,
    /// Loads that left more mapped than the limit, because readers hold it.
    pub mapped_overruns: u64,
    /// Bytes of frames that lie with other processes and are mapped from there. They count towards the limit of mapped bytes.
    pub foreign_mapped_bytes: u64,
    /// What the store says.
    pub store: StoreUsage,
}

impl Stats {
    /// The share of gets that found their value in memory; 1 before the first get.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        if self.gets == 0 { 1.0 } else { self.hits as f64 / self.gets as f64 }
    }
}

/// The counters that slow paths move.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sets: AtomicU64,
    pub(crate) straight_to_disk: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) remote_loads: AtomicU64,
    pub(crate) remote_bytes: AtomicU64,
    pub(crate) spills: AtomicU64,
    pub(crate) written_ahead: AtomicU64,
    pub(crate) background_writes: AtomicU64,
    pub(crate) background_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) clean_evictions: AtomicU64,
    pub(crate) discards: AtomicU64,
    pub(crate) failed_writes: AtomicU64,
}

/// Adds to a counter. Relaxed: counters order nothing.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
