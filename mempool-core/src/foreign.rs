//! Maps of other processes' frames: bytes that views of this pool look at and that its store does not know of.

use std::sync::Arc;

use crate::stats::read;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts maps of frames that lie with other processes, for the mapped limit of a pool; see
/// [`Pool::foreign_maps`](crate::Pool::foreign_maps).
///
/// *Clone* is of the same count.
#[derive(Clone, Debug, Default)]
pub struct ForeignMaps(Arc<AtomicU64>);

impl ForeignMaps {
    /// Counts `bytes` that were mapped, until what this returns is dropped: with the map.
    #[must_use]
    pub fn count(&self, bytes: u64) -> ForeignMap {
        // Relaxed: a figure, which orders nothing.
        self.0.fetch_add(bytes, Ordering::Relaxed);
        ForeignMap { maps: self.clone(), bytes }
    }

    /// All that is counted now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        read(&self.0)
    }
}

/// One map that is counted, while it lives.
#[derive(Debug)]
pub struct ForeignMap {
    maps: ForeignMaps,
    bytes: u64,
}

impl Drop for ForeignMap {
    fn drop(&mut self) {
        // Relaxed as in `count`.
        self.maps.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_counts_while_it_lives() {
        let maps = ForeignMaps::default();
        let (a, b) = (maps.count(10), maps.clone().count(5));
        assert_eq!(maps.bytes(), 15);
        drop(a);
        assert_eq!(maps.bytes(), 5);
        drop(b);
        assert_eq!(maps.bytes(), 0);
    }
}
