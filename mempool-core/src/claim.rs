//! `FrameClaim`: a counted claim on a frame of the store. The last one that goes gives the frame up.

use std::sync::Arc;

use crate::dref::References;
use crate::id::Id;
use crate::reclaim::{Reclaimer, Work};
use crate::registration::Registration;
use crate::store::{Handle, SpillStore};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The slower side of a pool: its store, and the reclaimer that may do its I/O.
pub(crate) struct Back {
    pub(crate) store: Box<dyn SpillStore>,
    pub(crate) reclaimer: Reclaimer,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) pool: u64,
}

/// A frame that is alive, and what is needed to read it without its entry.
pub(crate) struct FrameClaim {
    pub(crate) back: Arc<Back>,
    pub(crate) handle: Handle,
    pub(crate) id: Id,
    pub(crate) registration: Arc<dyn Registration>,
    pub(crate) charged_bytes: u64,
    pub(crate) references: References,
}

impl FrameClaim {
    pub(crate) fn new(
        back: &Arc<Back>,
        handle: Handle,
        id: Id,
        registration: &Arc<dyn Registration>,
        charged_bytes: u64,
        references: References,
    ) -> Arc<Self> {
        back.live_bytes.fetch_add(handle.bytes, Ordering::Relaxed);
        Arc::new(Self {
            back: Arc::clone(back),
            handle,
            id,
            registration: Arc::clone(registration),
            charged_bytes,
            references,
        })
    }
}

impl Drop for FrameClaim {
    fn drop(&mut self) {
        self.back.live_bytes.fetch_sub(self.handle.bytes, Ordering::Relaxed);
        self.back.reclaimer.push(Work::Free(Arc::clone(&self.back), self.handle));
        if let Some(references) = self.references.take() {
            self.back.reclaimer.push(Work::References(references));
        }
    }
}
