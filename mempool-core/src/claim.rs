//! Who keeps a frame of the store: its entry alone, or counted claims. The last one that goes gives the frame up.

use std::sync::{Arc, OnceLock, Weak};

use crate::dref::{AnyRef, References};
use crate::entry::Entry;
use crate::fork::Maker;
use crate::id::Id;
use crate::reclaim::{Reclaimer, Work};
use crate::registration::Registration;
use crate::restored::Origin;
use crate::shared::Shared;
use crate::store::{Handle, SpillStore};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The slower side of a pool: its store, and the reclaimer that may do its I/O.
pub(crate) struct Back {
    pub(crate) store: Box<dyn SpillStore>,
    pub(crate) reclaimer: Reclaimer,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) pool: u64,
    pub(crate) maker: Maker,
    /// The pool in front; set once, when it is there.
    pub(crate) shared: OnceLock<Weak<Shared>>,
}

impl Back {
    /// A frame was written.
    pub(crate) fn note_written(&self, handle: &Handle) {
        self.live_bytes.fetch_add(handle.bytes, Ordering::Relaxed);
    }

    /// Frees the space of a frame, and lets the store give back what has become of no use. Does I/O.
    pub(crate) fn free(&self, handle: &Handle) {
        self.store.free(handle);
        self.reclaim();
    }

    /// Lets the store give back what is of no use. Does I/O.
    pub(crate) fn reclaim(&self) {
        let shared = self.shared.get().and_then(Weak::upgrade);
        self.store.reclaim(&mut |id, old, new| {
            shared.as_ref().is_some_and(|shared| shared.rehome(id, old, new))
        });
    }

    /// Gives a frame up. Its bytes are back in the figures when this returns; its space is left to the reclaimer.
    pub(crate) fn give_up(self: &Arc<Self>, handle: Handle) {
        self.live_bytes.fetch_sub(handle.bytes, Ordering::Relaxed);
        self.reclaimer.push(Work::Free(Arc::clone(self), handle));
    }
}

/// Where a frame lies, and what its value was charged when it was written.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) handle: Handle,
    pub(crate) charged_bytes: u64,
}

/// The frame of an entry on disk.
#[derive(Default)]
pub(crate) enum Kept {
    /// There is none.
    #[default]
    No,
    /// The entry alone keeps it: the usual case, which costs no allocation.
    Own(Place),
    /// File references may keep it, too.
    Claimed(Arc<FrameClaim>),
}

impl Kept {
    /// Where the frame lies, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::No => None,
            Self::Own(place) => Some(*place),
            Self::Claimed(claim) => Some(claim.place),
        }
    }

    /// The entry is gone: gives the frame up, unless somebody else has a claim on it.
    pub(crate) fn give_up(self, back: &Arc<Back>) {
        match self {
            Self::Own(place) => back.give_up(place.handle),
            Self::No | Self::Claimed(_) => {}
        }
    }
}

/// A frame that is alive, and what is needed to read it without its entry.
pub(crate) struct FrameClaim {
    pub(crate) back: Arc<Back>,
    pub(crate) place: Place,
    pub(crate) id: Id,
    pub(crate) registration: Arc<dyn Registration>,
    pub(crate) references: References,
    /// Where the frame comes from, if another pool has written it and this one was restored from that.
    pub(crate) origin: Option<Origin>,
}

impl FrameClaim {
    /// A claim on the frame of `entry`, which from then on has no more than such a claim itself.
    pub(crate) fn on(entry: &Entry) -> Option<Arc<Self>> {
        let cold = &mut *crate::sync::lock(&entry.cold);
        let place = match &cold.kept {
            Kept::No => return None,
            Kept::Claimed(claim) => return Some(Arc::clone(claim)),
            Kept::Own(place) => *place,
        };
        let claim = Arc::new(Self {
            back: Arc::clone(&entry.shared().back),
            place,
            id: entry.id(),
            registration: Arc::clone(&entry.registration),
            references: cold.references.clone(),
            origin: None,
        });
        cold.kept = Kept::Claimed(Arc::clone(&claim));
        Some(claim)
    }

    /// What is needed to read it.
    pub(crate) fn frame(&self) -> OwnFrame<'_> {
        OwnFrame {
            handle: self.place.handle,
            id: self.id,
            registration: &self.registration,
            charged_bytes: self.place.charged_bytes,
            references: self.references.as_deref().map_or(&[], Vec::as_slice),
            origin: self.origin.as_ref(),
        }
    }
}

impl Drop for FrameClaim {
    fn drop(&mut self) {
        if !self.back.maker.is_here() {
            // The frame is the parent's, and so are the store and the codec behind these counts: they leak here.
            std::mem::forget((Arc::clone(&self.back), Arc::clone(&self.registration)));
            return std::mem::forget(self.references.take());
        }
        self.back.give_up(self.place.handle);
        if let Some(references) = self.references.take() {
            self.back.reclaimer.push(Work::References(references));
        }
    }
}

/// A frame of our own that somebody keeps while it is read.
#[derive(Clone, Copy)]
pub(crate) struct OwnFrame<'a> {
    pub(crate) handle: Handle,
    pub(crate) id: Id,
    pub(crate) registration: &'a Arc<dyn Registration>,
    pub(crate) charged_bytes: u64,
    pub(crate) references: &'a [AnyRef],
    /// Where it comes from, if it was restored.
    pub(crate) origin: Option<&'a Origin>,
}
