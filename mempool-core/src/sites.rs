//! Where the pins of a pool's values were taken: kept only for a pool that asks for it.

use std::collections::HashMap;
use std::panic::Location;

use crate::error::PinSite;
use crate::sync::{self, Mutex};

/// A line of the user's program.
pub(crate) type Site = &'static Location<'static>;

/// Every site of all living pins of a pool, each with their number, by the address of the entry: a pin holds its entry, so no
/// other one can have that address meanwhile. A value is held from few lines of a program, so its list is searched from its start.
/// The lock is taken last of all, and nothing happens under it.
#[derive(Default)]
pub(crate) struct Sites(Mutex<HashMap<usize, Vec<PinSite>>>);

impl Sites {
    /// Counts a pin.
    pub(crate) fn add(&self, entry: usize, site: Site) {
        let mut all = sync::lock(&self.0);
        let sites = all.entry(entry).or_default();
        match sites.iter_mut().find(|known| known.site == site) {
            Some(known) => known.pins += 1,
            None => sites.push(PinSite { site, pins: 1 }),
        }
    }

    /// Counts a pin less, which [`add`](Self::add) has counted.
    pub(crate) fn remove(&self, entry: usize, site: Site) {
        let mut all = sync::lock(&self.0);
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
        let mut sites = sync::lock(&self.0).get(&entry).cloned().unwrap_or_default();
        sites.sort_by_key(|site| std::cmp::Reverse(site.pins));
        sites
    }
}
