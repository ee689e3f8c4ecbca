//! What is different in a store with filters: where frames go, and how they come back.

use std::path::Path;

use mempool_core::{Buffer, Frame, FrameDamage, Handle, Room, StoreError};

use super::Volume;
use crate::decode::Place;
use crate::options::SpillOptions;
use crate::saved::open_user_frame;
use crate::segment::Segment;

/// Frames of this size and more have a segment of their own in a store with filters: how long a frame becomes is known
/// when it went through them, so what goes to a shared segment is gathered in memory.
const GATHERED_MAX: u64 = 1 << 20;

/// The options as a store with such filters uses them.
pub(crate) fn options(mut options: SpillOptions) -> SpillOptions {
    if !options.chain.is_empty() {
        options.own_segment_bytes = options.own_segment_bytes.min(GATHERED_MAX);
    }
    options
}

impl Volume {
    /// Whether frames are written through filters.
    pub(super) fn is_filtered(&self) -> bool {
        !self.options.chain.is_empty()
    }

    /// The most that a frame takes where it is written.
    pub(super) fn bytes_max(&self, frame: &Frame<'_>) -> u64 {
        self.options.chain.bytes_max(frame.frame_bytes())
    }

    /// Whether a frame is too large for a shared segment.
    pub(super) fn has_own_segment(&self, frame: &Frame<'_>) -> bool {
        let large = frame.frame_bytes() >= self.options.own_segment_bytes;
        // A filter may make much of little.
        large || self.is_filtered() && self.bytes_max(frame) > self.options.segment_bytes / 2
    }

    /// Gives back what was reserved for a frame and not needed.
    pub(super) fn give_back_tail(&self, segment: &mut Segment, bytes: u64) {
        if self.is_filtered()
            && let Some(file) = segment.file_mut()
        {
            self.files.cut(file, bytes);
        }
    }

    /// Reads a frame that went through filters; `None` for one that did not.
    pub(super) fn open_filtered(
        &self,
        handle: &Handle,
        room: &mut Room,
    ) -> Result<Option<Buffer>, StoreError> {
        let chain = &self.options.chain;
        if !chain.decodes() {
            return Ok(None);
        }
        let restored = self.is_restored(handle);
        if !restored && chain.is_empty() {
            return Ok(None);
        }
        let (segment, _) = self.segment(handle)?;
        let (file, path) = (&segment.file().file, &segment.file().path);
        let Handle { offset, bytes, .. } = *handle;
        let place = Place { disk: self.disk(), file, path, offset, bytes };
        // An earlier store may have had other filters, or none; this one writes through its own alone.
        if restored && !place.is_container()? {
            return Ok(None);
        }
        let opened = place.open()?;
        let own = || opened.container.filters.iter().map(|filter| filter.name).eq(chain.names());
        if !restored && !own() {
            let found = opened.container.filters.len() as u64;
            return Err(place.damaged(FrameDamage::Field { field: "filters", found }).into());
        }
        opened.decode(chain, room).map(Some)
    }

    fn is_restored(&self, handle: &Handle) -> bool {
        let state = self.lock();
        let slot = state.segments.get(&handle.segment);
        slot.is_some_and(|slot| slot.keeping.is_restored())
    }

    /// Reads a file of the user's that went through filters; `None` for one that did not. Each of its bytes is read once,
    /// so it need not be brought into the session first.
    pub(super) fn load_filtered(
        &self,
        path: &Path,
        room: &mut Room,
    ) -> Result<Option<Buffer>, StoreError> {
        let chain = &self.options.chain;
        if !chain.decodes() {
            return Ok(None);
        }
        let (file, bytes) = open_user_frame(path)?;
        let place = Place { disk: self.disk(), file: &file, path, offset: 0, bytes };
        if !place.is_container()? {
            return Ok(None);
        }
        place.open()?.decode(chain, room).map(Some)
    }
}
