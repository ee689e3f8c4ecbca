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
use crate::stats::read;
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

/// The frame of an entry on disk. In most cases the entry alone keeps it, which costs no allocation.
#[derive(Default)]
pub(crate) enum Kept {
    /// There is none.
    #[default]
    No,
    /// The entry alone keeps it, at a place whose numbers are small.
    Own(Packed),
    /// The same with larger numbers.
    OwnWide(Box<Handle>),
    /// File references may keep it, too.
    Claimed(Arc<FrameClaim>),
}

/// A handle in 16 bytes, one of which has values to spare: segments below 2^32, offsets below 2^48, frames below 2^40 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Packed {
    segment: u32,
    offset_high: u16,
    bytes_high: u8,
    tag: Tag,
    offset_low: u32,
    bytes_low: u32,
}

/// The byte whose other values tell the variants of [`Kept`] apart.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Packed,
}

impl Packed {
    fn new(handle: &Handle) -> Option<Self> {
        Some(Self {
            segment: u32::try_from(handle.segment).ok()?,
            offset_high: u16::try_from(handle.offset >> 32).ok()?,
            bytes_high: u8::try_from(handle.bytes >> 32).ok()?,
            tag: Tag::Packed,
            offset_low: low(handle.offset),
            bytes_low: low(handle.bytes),
        })
    }

    fn handle(self) -> Handle {
        let Self { segment, offset_high, bytes_high, tag: Tag::Packed, offset_low, bytes_low } =
            self;
        Handle {
            segment: segment.into(),
            offset: u64::from(offset_high) << 32 | u64::from(offset_low),
            bytes: u64::from(bytes_high) << 32 | u64::from(bytes_low),
        }
    }
}

/// The lower half.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

impl Kept {
    /// A frame that its entry alone keeps.
    pub(crate) fn own(handle: Handle) -> Self {
        match Packed::new(&handle) {
            Some(packed) => Self::Own(packed),
            None => Self::OwnWide(Box::new(handle)),
        }
    }

    /// Where the frame lies, if there is one.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Self::Claimed(claim) => claim.handle,
            other => other.own_handle(),
        }
    }

    /// Whether there is one, here or elsewhere.
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// Where the frame lies, if the entry alone keeps it.
    pub(crate) fn own_handle(&self) -> Option<Handle> {
        match self {
            Self::No | Self::Claimed(_) => None,
            Self::Own(packed) => Some(packed.handle()),
            Self::OwnWide(handle) => Some(**handle),
        }
    }

    /// The entry is gone: gives the frame up, unless somebody else has a claim on it.
    pub(crate) fn give_up(self, back: &Arc<Back>) {
        if let Some(handle) = self.own_handle() {
            back.give_up(handle);
        }
    }
}

/// A frame that is alive, and what is needed to read it without its entry.
pub(crate) struct FrameClaim {
    pub(crate) back: Arc<Back>,
    /// Where it lies in the store; `None` where another pool has it.
    pub(crate) handle: Option<Handle>,
    /// What its value was charged when it was written.
    pub(crate) charged_bytes: u64,
    pub(crate) id: Id,
    pub(crate) registration: Arc<dyn Registration>,
    pub(crate) references: References,
    /// Where the frame comes from, if this pool has not written it for a value of its own.
    pub(crate) origin: Option<Origin>,
}

impl FrameClaim {
    /// A claim on the frame of `entry`, which from then on has no more than such a claim itself.
    pub(crate) fn on(entry: &Entry) -> Option<Arc<Self>> {
        let cold = &mut *crate::sync::lock(&entry.cold);
        if let Kept::Claimed(claim) = &cold.kept {
            return Some(Arc::clone(claim));
        }
        let handle = cold.kept.own_handle()?;
        let claim = Arc::new(Self {
            back: Arc::clone(&entry.shared().back),
            handle: Some(handle),
            charged_bytes: cold.value_bytes().unwrap_or_else(|| read(&entry.charged_bytes)),
            id: entry.id(),
            registration: Arc::clone(entry.registration()),
            references: cold.references(),
            origin: None,
        });
        cold.kept = Kept::Claimed(Arc::clone(&claim));
        Some(claim)
    }

    /// What is needed to read it.
    pub(crate) fn frame(&self) -> OwnFrame<'_> {
        OwnFrame {
            handle: self.handle,
            id: self.id,
            registration: &self.registration,
            charged_bytes: self.charged_bytes,
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
            std::mem::forget(self.origin.take());
            return std::mem::forget(self.references.take());
        }
        if let Some(handle) = self.handle {
            self.back.give_up(handle);
        }
        if let Some(remote) = self.origin.take().and_then(Origin::into_remote) {
            self.back.reclaimer.push(Work::Remote(remote));
        }
        if let Some(references) = self.references.take() {
            self.back.reclaimer.push(Work::References(references));
        }
    }
}

/// A frame of our own that somebody keeps while it is read.
#[derive(Clone, Copy)]
pub(crate) struct OwnFrame<'a> {
    /// `None` where another pool has it.
    pub(crate) handle: Option<Handle>,
    pub(crate) id: Id,
    pub(crate) registration: &'a Arc<dyn Registration>,
    pub(crate) charged_bytes: u64,
    pub(crate) references: &'a [AnyRef],
    /// Where it comes from, if this pool has not written it for a value of its own.
    pub(crate) origin: Option<&'a Origin>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_kept_exactly_in_sixteen_bytes() {
        assert_eq!(size_of::<Kept>(), 16);
        let handle = |segment, offset, bytes| Handle { segment, offset, bytes };
        let edges = [0, 1, 144, (1 << 32) - 1, 1 << 32, (1 << 40) - 1, 1 << 40, (1 << 48) - 1];
        for n in edges.into_iter().chain([1 << 48, u64::MAX]) {
            for one in [handle(n, 7, 9), handle(7, n, 9), handle(7, 9, n), handle(n, n, n)] {
                assert_eq!(Kept::own(one).handle(), Some(one));
            }
        }
        assert!(matches!(Kept::own(handle(u64::from(u32::MAX), 0, 0)), Kept::Own(_)));
        assert!(matches!(Kept::own(handle(1 << 32, 0, 0)), Kept::OwnWide(_)));
        assert_eq!(Kept::No.handle(), None);
    }
}
