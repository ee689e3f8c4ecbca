//! Wins back the dead space of shared segments: holes where nothing lives, and live frames moved together where little
//! does. Owns when that is done and how much; the places themselves are `places.rs`.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use mempool_core::{Handle, Header, Id, SpillStore};

use super::{Slot, State, Volume};
use crate::checksum::xxh3_64;
use crate::container;
use crate::error::SpillError;
use crate::places::{PLACE, Places};
use crate::segment::Segment;
use crate::views::BLOCK;
use crate::writer::Batch;

/// Space that nothing lives in may be this part of the live bytes, beside somewhat less than two shared segments:
/// the one that is being filled, and as much again.
const WASTE_SHARE: u64 = 4;

/// So many live bytes are moved at most before the reclaiming thread does other work.
const COMPACTED_BYTES_MAX: u64 = 64 << 20;

impl Volume {
    /// Removes what nobody holds any more; and when there is too much dead space, makes holes of it, and moves what stands
    /// in the way.
    pub(super) fn give_space_back(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        let gone = self.lock().remove_empty_ones();
        drop(gone);
        self.files.sweep();
        if !self.is_wasteful() {
            return;
        }
        let Ok(mut looked_at) = self.reclaiming.try_lock() else { return };
        self.files.remove_idle();
        // A look costs: it is taken again when a part of a segment more has been freed.
        let freed = self.lock().freed_bytes;
        if freed - *looked_at < self.options.segment_bytes / 16 {
            return;
        }
        *looked_at = freed;
        self.punch();
        if self.is_wasteful() {
            self.compact(rehome);
        }
    }

    /// Whether there is more space that nothing lives in than may wait for later frames.
    fn is_wasteful(&self) -> bool {
        let segment_bytes = self.options.segment_bytes;
        let waiting = 2 * segment_bytes - segment_bytes / 4;
        let bound = waiting.saturating_add(self.files.live_bytes() / WASTE_SHARE);
        self.lock().dead_bytes() + self.files.idle_bytes() > bound
    }

    /// Makes holes of dead blocks, one thread at a time.
    fn punch(&self) {
        // Whoever grows chooses among free blocks.
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let holes = self.lock().punch();
        for (number, segment, hole) in holes {
            let punched = self.files.punch(segment.file(), &hole);
            let mut state = self.lock();
            if let (Some(places), false) = (state.places(number), punched) {
                places.unpunch(&hole);
                state.shared_bytes += hole.end - hole.start;
            }
        }
    }

    /// Copies the live frames of sparse segments together, so that their blocks can be given back.
    fn compact(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        let sparse = self.lock().sparse();
        let mut batch = Batch::default();
        let mut moved = Vec::new();
        for (number, segment, offsets) in sparse {
            if !self.is_wasteful() {
                return;
            }
            batch.clear();
            for offset in offsets {
                // A frame that cannot be read stays where it is: whoever gets it is told.
                if let Some(frame) = self.read_written(&segment, number, offset, &mut batch) {
                    moved.push(frame);
                }
                if batch.bytes().len() as u64 >= Self::BATCH_BYTES
                    && self.move_batch(&mut batch, &mut moved, rehome).is_err()
                {
                    return;
                }
            }
            if self.move_batch(&mut batch, &mut moved, rehome).is_err() {
                return;
            }
            self.punch();
        }
    }

    /// Reads a frame of our own into `batch`; its value, and where it was.
    fn read_written(
        &self,
        segment: &Segment,
        number: u64,
        offset: u64,
        batch: &mut Batch,
    ) -> Option<(Id, Handle)> {
        let read = |bytes: &mut [u8], at: u64| {
            self.disk().read_exact_at(&segment.file().file, bytes, at).ok()
        };
        let mut fixed = [0; 128];
        read(&mut fixed, offset)?;
        let container = self.is_filtered();
        let bytes = match container {
            true => container::bytes_of(&fixed),
            false => Header::frame_bytes_of(&fixed),
        }?;
        let bound = self.options.chain.bytes_max(self.options.own_segment_bytes);
        let len = usize::try_from(bytes).ok().filter(|_| bytes < bound)?;
        let mut frame = vec![0; len];
        read(&mut frame, offset)?;
        let handle = Handle { segment: number, offset, bytes };
        if container {
            let container = container::check_whole(&frame).ok()?;
            batch.push_written(&frame, PLACE);
            return Some((container.id, handle));
        }
        // Checked whole: the place may have been freed, and be written anew at this moment.
        let header = Header::check_whole(&frame, xxh3_64).ok()?;
        batch.push_written(&frame, u64::from(header.align));
        Some((header.id, handle))
    }

    /// Writes the frames of `batch` to a new place and frees the places that they had.
    fn move_batch(
        &self,
        batch: &mut Batch,
        moved: &mut Vec<(Id, Handle)>,
        rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool,
    ) -> Result<(), SpillError> {
        if moved.is_empty() {
            return Ok(());
        }
        let run = self.take_run(&batch.extent())?;
        self.target(&run.segment, run.offset, BLOCK).write(batch.bytes(), run.offset)?;
        for ((id, old), new) in moved.drain(..).zip(run.publish()) {
            let gone = if rehome(id, &old, &new) { old } else { new };
            self.free(&gone);
        }
        batch.clear();
        Ok(())
    }
}

impl State {
    /// The bytes of shared segments that no live frame takes.
    fn dead_bytes(&self) -> u64 {
        self.shared_bytes.saturating_sub(self.shared_live_bytes)
    }

    /// Makes holes of all blocks of shared segments that can be given back.
    fn punch(&mut self) -> Vec<(u64, Arc<Segment>, Range<u64>)> {
        let mut holes = Vec::new();
        for (number, slot) in &mut self.segments {
            let Some(places) = &mut slot.places else { continue };
            if slot.segment.is_seen_elsewhere() || !slot.keeping.is_ours() {
                continue;
            }
            for hole in places.punch(slot.segment.views()) {
                self.shared_bytes -= hole.end - hole.start;
                holes.push((*number, Arc::clone(&slot.segment), hole));
            }
        }
        holes
    }

    /// Takes out the segments without live frames that nobody looks at any more.
    fn remove_empty_ones(&mut self) -> Vec<Arc<Segment>> {
        if !std::mem::take(&mut self.empty_ones_left) {
            return Vec::new();
        }
        let shared = self.segments.iter().filter(|(_, slot)| slot.places.is_some());
        let others =
            shared.map(|(number, _)| *number).filter(|&number| Some(number) != self.filling);
        let others: Vec<u64> = others.collect();
        others.into_iter().filter_map(|number| self.remove_if_empty(number)).collect()
    }

    /// Shared segments of which less than three quarters live, the sparsest first, and where their frames start.
    fn sparse(&self) -> Vec<(u64, Arc<Segment>, Vec<u64>)> {
        let mut sparse: Vec<_> = self
            .segments
            .iter()
            .filter(|(number, slot)| Some(**number) != self.filling && slot.keeping.is_ours())
            .filter_map(|(number, slot)| Some((*number, slot, slot.places.as_ref()?)))
            .filter(|(_, _, places)| places.live_bytes() < places.disk_bytes() / 4 * 3)
            .collect();
        sparse.sort_by_key(|(_, _, places)| places.live_bytes() * 1024 / places.disk_bytes());
        let mut bytes = 0;
        // The first one in any case.
        let few = |(_, _, places): &(u64, &Slot, &Places)| {
            let first = bytes == 0;
            bytes += places.live_bytes();
            first || bytes <= COMPACTED_BYTES_MAX
        };
        let place = |(number, slot, places): (u64, &Slot, &Places)| {
            (number, Arc::clone(&slot.segment), places.live().collect())
        };
        sparse.into_iter().take_while(few).map(place).collect()
    }
}
