//! Where the pins of a pool's values were taken: kept only for a pool that asks for it.

use std::collections::HashMap;
use std::panic::Location;

use crossbeam::utils::CachePadded;

use crate::error::PinSite;
use crate::sync::{self, Mutex};

/// A line of the user's program.
pub(crate) type Site = &'static Location<'static>;

/// A few locks, so that threads which read different values do not meet.
const SHARDS: usize = 64;

/// Every site of all living pins of a pool, each with their number, by the address of the entry: a pin holds its entry, so no
/// other one can have that address meanwhile. A value is held from few lines of a program, so its list is searched from its start.
/// The locks are taken last of all, and nothing happens under them.
pub(crate) struct Sites(Box<[CachePadded<Shard>]>);

type Shard = Mutex<HashMap<usize, Vec<PinSite>>>;

impl Default for Sites {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| CachePadded::new(Mutex::new(HashMap::new()))).collect())
    }
}

impl Sites {
    fn shard(&self, entry: usize) -> &Shard {
        // Fibonacci hashing (Knuth, TAOCP 6.4): neighbours go to different shards.
        let mixed = (entry as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.0[usize::try_from(mixed >> 32).unwrap_or_default() % SHARDS]
    }

    /// Counts a pin.
    pub(crate) fn add(&self, entry: usize, site: Site) {
        let mut all = sync::lock(self.shard(entry));
        let sites = all.entry(entry).or_default();
        match sites.iter_mut().find(|known| known.site == site) {
            Some(known) => known.pins += 1,
            None => sites.push(PinSite { site, pins: 1 }),
        }
    }

    /// Counts a pin less, which [`add`](Self::add) has counted.
    pub(crate) fn remove(&self, entry: usize, site: Site) {
        let mut all = sync::lock(self.shard(entry));
        let Some(sites) = all.get_mut(&entry) else { return };
        let Some(at) = sites.iter().position(|known| known.site == site) else { return };
        sites[at].pins -= 1;
        if sites[at].pins == 0 {
            sites.swap_remove(at);
        }
        if sites.is_empty() {
            all.remove(&entry);
        }
    }

    /// The sites, the one with the most pins first.
    pub(crate) fn list(&self, entry: usize) -> Vec<PinSite> {
        let mut sites = sync::lock(self.shard(entry)).get(&entry).cloned().unwrap_or_default();
        sites.sort_by_key(|site| std::cmp::Reverse(site.pins));
        sites
    }
}
