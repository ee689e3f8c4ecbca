//! Where the pins of one value were taken: kept only for a pool that asks for it.

use std::panic::Location;

use crate::error::PinSite;
use crate::sync::{self, Mutex};

/// A line of the user's program.
pub(crate) type Site = &'static Location<'static>;

/// Every site of a value's living pins, each with their number. A value is held from few lines of a program, so a list
/// is searched from its start. Its lock is taken last of all, and nothing happens under it.
#[derive(Default)]
pub(crate) struct Sites(Mutex<Vec<PinSite>>);

impl Sites {
    /// Counts a pin; answers its site.
    #[cold]
    pub(crate) fn add(&self, site: Site) -> Option<Site> {
        let mut sites = sync::lock(&self.0);
        match sites.iter_mut().find(|known| known.site == site) {
            Some(known) => known.pins += 1,
            None => sites.push(PinSite { site, pins: 1 }),
        }
        Some(site)
    }

    /// Counts a pin less, which [`add`](Self::add) has counted.
    pub(crate) fn remove(&self, site: Site) {
        let mut sites = sync::lock(&self.0);
        let Some(at) = sites.iter().position(|known| known.site == site) else { return };
        sites[at].pins -= 1;
        if sites[at].pins == 0 {
            sites.swap_remove(at);
        }
    }

    /// The sites, the one with the most pins first.
    pub(crate) fn list(&self) -> Vec<PinSite> {
        let mut sites = sync::lock(&self.0).clone();
        sites.sort_by_key(|site| std::cmp::Reverse(site.pins));
        sites
    }
}
