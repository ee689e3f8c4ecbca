//! `Volume`: the part of a store that lies in one directory, with a session, a ledger and locks of its own. It sees
//! frames and files, never types.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::Mmap;
use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Fingerprint, Frame, Handle, Header, Id, Room, SpillStore,
    StoreError, StoreErrorKind, StoreUsage, Summing,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(crate) mod filtered;
mod reclaim;
mod retain;

use crate::checksum::{Running, xxh3_64};
use crate::container;
use crate::disk::Disk;
use crate::error::SpillError;
use crate::files::Files;
use crate::options::{ReadMode, SpillOptions, Verify};
use crate::places::{Candidate, Extent, PLACE, Places};
use crate::quota::{Quota, Total};
use crate::saved::open_user_frame;
use crate::segment::{NOT_SHARED, Segment};
use crate::session::{Session, Swept};
use crate::views::{BLOCK, OwnView, SharedView};
use crate::writer::{Batch, Target, write_frame, write_through};
use retain::{Keeping, Manifests, Standing};

/// What a store has in one directory. A store of one directory is this and no more.
///
/// Closing it, or dropping it, removes the session's directory; views that are held stay good. No lock is shared with
/// another volume, but for a ledger that is never held while the disk works: a disk that hangs stops who needs it.
#[derive(Debug)]
pub(crate) struct Volume {
    options: Arc<SpillOptions>,
    swept: Swept,
    files: Arc<Files>,
    state: Mutex<State>,
    /// Held while room is made for small frames, and while space is given back, so that one thread does so at a time.
    /// Nobody reads under it.
    growing: Mutex<()>,
    /// Held by the one thread that gives space back: how much had been freed in shared segments when it looked last.
    reclaiming: Mutex<u64>,
    /// The memory of batches, as many as threads have written at once.
    batches: Mutex<Vec<Batch>>,
    /// What is retained; held while that changes.
    manifests: Mutex<Manifests>,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<u64, Slot>,
    /// The shared segment that is being filled.
    filling: Option<u64>,
    last_segment: u64,
    /// The distance of the numbers of segments: how many volumes the store has.
    stride: u64,
    /// What shared segments take on the disk, holes left out.
    shared_bytes: u64,
    /// What live frames take of that.
    shared_live_bytes: u64,
    /// All that was ever freed in shared segments.
    freed_bytes: u64,
    /// Whether there are segments without live frames that somebody looked at when their last one was freed.
    empty_ones_left: bool,
    /// Segments that the manifest names and whose files could not be opened.
    lost: BTreeMap<u64, (PathBuf, Errno)>,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    segment: Arc<Segment>,
    /// `None` for a segment of one large frame.
    places: Option<Places>,
    keeping: Keeping,
}

/// Places that were taken for small frames; given back unless the frames are published.
struct Run<'a> {
    store: &'a Volume,
    segment: Arc<Segment>,
    /// Where the run starts in its segment.
    offset: u64,
    handles: Vec<Handle>,
}

impl Run<'_> {
    /// The frames are written: their places are theirs.
    fn publish(mut self) -> Vec<Handle> {
        let handles = std::mem::take(&mut self.handles);
        self.store.files.note_live(handles.iter().map(|handle| handle.bytes).sum());
        handles
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if mutant!("place_kept_after_failure") {
            return;
        }
        self.handles.iter().for_each(|handle| self.store.give_back(handle));
    }
}

impl Volume {
    /// What is written at once: many small values cost one call, and what is gathered still lies in the cache.
    pub(crate) const BATCH_BYTES: u64 = 256 << 10;

    /// Sweeps what dead processes left in a directory, and makes a session there. `total` is what all volumes share.
    ///
    /// The number of each of its segments leaves `index` when it is divided by `volumes`.
    pub(crate) fn open(
        options: &Arc<SpillOptions>,
        index: usize,
        total: Option<&Arc<Total>>,
    ) -> Result<Self, SpillError> {
        let (session, swept) = Session::open(options.directories[index].path())?;
        Ok(Self::in_session(options, index, total, session, swept))
    }

    /// What a store has in the directory of a session, which nobody else has.
    fn in_session(
        options: &Arc<SpillOptions>,
        index: usize,
        total: Option<&Arc<Total>>,
        session: Session,
        swept: Swept,
    ) -> Self {
        let directory = &options.directories[index];
        // Room for one file of a shared segment's size and a little more than that.
        let idle_bytes_min = options.segment_bytes.saturating_add(options.segment_bytes / 8);
        let path = session.path().to_path_buf();
        let quota = Quota::new(path, directory.limit_of(options), total.cloned());
        let disk = Arc::clone(directory.disk.as_ref().unwrap_or(&options.disk));
        let reserve_bytes = directory.reserve_bytes.unwrap_or(options.reserve_bytes);
        let files = Files::new(session, disk, quota, reserve_bytes, idle_bytes_min);
        let (last_segment, stride) = (index as u64, options.directories.len() as u64);
        Self {
            options: Arc::clone(options),
            swept,
            files,
            state: Mutex::new(State { last_segment, stride, ..State::default() }),
            growing: Mutex::new(()),
            reclaiming: Mutex::new(0),
            batches: Mutex::new(Vec::new()),
            manifests: Mutex::default(),
        }
    }

    /// Ends the session of a store that was not closed.
    pub(crate) fn leave(&self) -> Result<(), SpillError> {
        self.end(&BTreeMap::new())
    }

    /// The session's directory.
    pub(crate) fn session_path(&self) -> &Path {
        self.files.session().path()
    }

    /// What the sweep at opening found.
    pub(crate) fn swept(&self) -> Swept {
        self.swept
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// In a forked child nothing may be touched: the session, its files and its locks are the parent's.
    fn check_process(&self) -> Result<(), SpillError> {
        if self.files.session().is_ours() { Ok(()) } else { Err(self.files.closed()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> &dyn Disk {
        self.files.disk()
    }

    fn target<'a>(&'a self, segment: &'a Segment, offset: u64, piece: u64) -> Target<'a> {
        let file = segment.file();
        Target { disk: self.disk(), file: &file.file, path: &file.path, offset, piece }
    }

    fn write_large(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let chain = &self.options.chain;
        let bytes_max = chain.bytes_max(frame.frame_bytes());
        let mut segment = Segment::new(self.files.take(bytes_max)?, &self.files, NOT_SHARED);
        let written = write_through(chain, &self.target(&segment, 0, Target::WHOLE), frame);
        let bytes = match written {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                segment.condemn();
                drop(segment);
                self.files.sweep();
                return Err(error);
            }
        };
        self.give_back_tail(&mut segment, bytes);
        let number = self.lock().insert(segment, None).ok_or_else(|| self.files.closed())?;
        self.files.note_live(bytes);
        Ok(Handle { segment: number, offset: 0, bytes })
    }

    /// Streams a frame that is too large to be gathered to a place in a shared segment.
    fn write_shared(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let (bytes, align) = (frame.frame_bytes(), u64::from(frame.header().align));
        let run = self.take_run(&Extent { bytes, align, frames: &[(0, bytes)] })?;
        // Read as a whole, so written in large pieces: none of them reaches beyond the frame.
        write_frame(&self.target(&run.segment, run.offset, Target::WHOLE), frame)?;
        Ok(run.publish()[0])
    }

    /// Writes small frames with one call; all of them or none.
    fn write_small(&self, frames: &[Frame<'_>]) -> Result<Vec<Handle>, StoreError> {
        let mut batch = self.batches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let batch = batch.get_or_insert_default();
        batch.clear();
        let (chain, path) = (&self.options.chain, self.session_path());
        frames.iter().try_for_each(|frame| batch.push(frame, chain, path))?;
        batch.round_to_pages();
        let run = self.take_run(&batch.extent())?;
        self.target(&run.segment, run.offset, BLOCK).write(batch.bytes(), run.offset)?;
        let handles = run.publish();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(batch));
        Ok(handles)
    }

    /// Writes frames that may stand in one batch: together, or where that fails each by itself, until one fails.
    fn write_run(&self, run: &[Frame<'_>], handles: &mut Vec<Handle>) -> Result<(), StoreError> {
        let mut rest = run;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(self.first_batch(rest));
            if let [_, _, ..] = batch
                && let Ok(written) = self.write_small(batch)
            {
                handles.extend(written);
            } else {
                for frame in batch {
                    handles.push(self.write(frame)?);
                }
            }
            rest = behind;
        }
        Ok(())
    }

    /// How many of `frames` have room in one segment together, with as much again between them; one at least.
    fn first_batch(&self, frames: &[Frame<'_>]) -> usize {
        let mut sum = 0_u64;
        let fits = |frame: &&Frame<'_>| {
            let align = u64::from(frame.header().align).max(PLACE);
            sum = sum.saturating_add(self.bytes_max(frame)).saturating_add(align);
            sum <= self.options.segment_bytes / 2
        };
        frames.iter().take_while(fits).count().max(1)
    }

    /// Room in the run that is being filled, or in a new one.
    fn take_run(&self, extent: &Extent<'_>) -> Result<Run<'_>, SpillError> {
        if let Some(run) = self.run_in_filling(extent)? {
            return Ok(run);
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        // Others may fill a new run before this thread has a place in it; then the next one is made.
        loop {
            if let Some(run) = self.run_in_filling(extent)? {
                return Ok(run);
            }
            self.grow(extent.bytes)?;
        }
    }

    fn run_in_filling(&self, extent: &Extent<'_>) -> Result<Option<Run<'_>>, SpillError> {
        let mut state = self.lock();
        if state.closed {
            return Err(self.files.closed());
        }
        let Some(number) = state.filling else { return Ok(None) };
        let Some(slot) = state.segments.get_mut(&number) else { return Ok(None) };
        let segment = Arc::clone(&slot.segment);
        let offset = slot.places.as_mut().and_then(|places| places.take(extent));
        let handle = |offset: u64, &(start, bytes): &(u64, u64)| Handle {
            segment: number,
            offset: offset.saturating_add(start),
            bytes,
        };
        if offset.is_some() {
            state.shared_live_bytes += extent.frames.iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
        Ok(offset.map(|offset| Run {
            store: self,
            segment,
            offset,
            handles: extent.frames.iter().map(|frame| handle(offset, frame)).collect(),
        }))
    }

    /// Finds the run that is filled from now on, one of `bytes` at least: in the segment that is being filled, in another
    /// one that has much free room, or in a new one. The caller holds `growing`.
    fn grow(&self, bytes: u64) -> Result<(), SpillError> {
        let found = self.lock().candidate(bytes);
        if let Some((number, segment, candidate)) = found {
            let hole_bytes = |part| self.lock().places(number).map_or(0, |p| p.hole_bytes(part));
            let reserved = candidate
                .hole
                .as_ref()
                .map_or(Ok(()), |hole| self.files.refill(segment.file(), hole, hole_bytes(hole)));
            if reserved.is_ok() {
                self.fill(number, Some(candidate.run));
                return Ok(());
            }
        }
        let bytes = self.options.segment_bytes;
        let segment = Segment::new(self.files.take(bytes)?, &self.files, bytes);
        let number = self.lock().insert(segment, Some(Places::new(bytes)));
        self.fill(number.ok_or_else(|| self.files.closed())?, None);
        Ok(())
    }

    /// Fills segment `number` from now on: `run` of it, or where it is.
    fn fill(&self, number: u64, run: Option<Range<u64>>) {
        let retired = {
            let mut state = self.lock();
            let before = state.filling.replace(number).filter(|&before| before != number);
            if let (Some(places), Some(run)) = (state.places(number), run) {
                let holes = places.hole_bytes(&run);
                places.begin(run);
                state.shared_bytes += holes;
            }
            before.and_then(|before| {
                state.places(before)?.retire();
                state.remove_if_empty(before)
            })
        };
        // Its file is kept for later, or condemned.
        drop(retired);
        self.files.sweep();
    }

    /// Frees a frame, without I/O; `false` in a forked child, whose it is not.
    pub(crate) fn release(&self, handle: &Handle) -> bool {
        if self.check_process().is_err() {
            return false;
        }
        let times = if mutant!("double_free_of_place") { 2 } else { 1 };
        for _ in 0..times {
            self.files.note_dead(handle.bytes);
            self.give_back(handle);
        }
        true
    }

    /// Takes the pages that nobody views out of the page tables, without I/O; `false` in a forked child.
    pub(crate) fn trim_views(&self) -> bool {
        if self.check_process().is_err() {
            return false;
        }
        let segments: Vec<Arc<Segment>> = self.lock().shared().cloned().collect();
        segments.iter().for_each(|segment| segment.trim());
        true
    }

    /// Frees the place of a frame; the segment goes with its last one.
    fn give_back(&self, handle: &Handle) {
        let mut state = self.lock();
        let Some(slot) = state.segments.get_mut(&handle.segment) else { return };
        let shared = slot.places.as_mut();
        let freed = shared.map(|places| places.free(handle.offset, handle.bytes));
        let ours = slot.keeping.is_ours();
        slot.keeping.freed = freed.is_none();
        if freed == Some(true) && ours {
            state.shared_live_bytes -= handle.bytes;
            state.freed_bytes += handle.bytes;
        }
        // A frame behind the end of a file that was cut short has no place to give back.
        let freed = freed.unwrap_or(true) || !ours;
        debug_assert!(freed || mutant!("double_free_of_place"), "{handle:?} is freed once");
        let filling = state.filling == Some(handle.segment);
        let gone = if filling { None } else { state.remove_if_empty(handle.segment) };
        drop(state);
        // Its file goes home under no lock of ours.
        drop(gone);
    }

    /// The segment of a frame, and whether it is a shared one.
    fn segment(&self, handle: &Handle) -> Result<(Arc<Segment>, bool), SpillError> {
        let state = self.lock();
        let slot = state.segments.get(&handle.segment);
        let slot = slot.ok_or_else(|| self.no_segment(&state, handle.segment))?;
        Ok((Arc::clone(&slot.segment), slot.places.is_some()))
    }

    fn no_segment(&self, state: &State, segment: u64) -> SpillError {
        match state.lost.get(&segment) {
            Some((path, error)) => SpillError::io("open", path, *error),
            None => SpillError::NoSegment { path: self.session_path().to_path_buf(), segment },
        }
    }

    /// Maps a segment, after a look at its length: what lies beyond the end of a file cannot be read.
    fn map(&self, segment: &Segment, bytes: u64) -> Result<Option<Mmap>, SpillError> {
        let file = segment.file();
        let found = self.disk().len(&file.file);
        let found = found.map_err(|e| SpillError::io("stat", &file.path, e))?;
        if found < bytes {
            return Err(SpillError::Truncated { path: file.path.clone(), expected: bytes, found });
        }
        // A process may run out of maps; then the frame is read into memory of its own.
        Ok(self.disk().map(&file.file, bytes).ok())
    }

    fn open_frame(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        if let Some(frame) = self.open_filtered(handle, room)? {
            return Ok(frame);
        }
        if self.options.read_mode == ReadMode::Copy {
            let (segment, _) = self.segment(handle)?;
            return self.read_frame(&segment.file().file, &segment.file().path, handle, room);
        }
        if let Some(view) = self.view_in_map(handle) {
            return Ok(Buffer::adopt(view, None));
        }
        let (segment, shared) = self.segment(handle)?;
        let mapped = if shared {
            self.shared_view(&segment, handle)?.map(|view| Buffer::adopt(view, None))
        } else {
            let map = self.map(&segment, handle.bytes)?;
            let view = |map| OwnView::new(map, Arc::clone(&segment), self.files.mapped());
            map.map(|map| Buffer::adopt(view(map), None))
        };
        match mapped {
            Some(frame) => Ok(frame),
            None => {
                let file = segment.file();
                self.read_frame(&file.file, &file.path, handle, room)
            }
        }
    }

    /// A frame of a shared segment that is mapped already: the usual way of a small value.
    fn view_in_map(&self, handle: &Handle) -> Option<SharedView> {
        let state = self.lock();
        let segment = &state.segments.get(&handle.segment)?.segment;
        SharedView::new(segment, handle.offset, handle.bytes)
    }

    /// Has the processor fetch the start of a frame in a map, if it is in memory; whether it is.
    fn prefetch(&self, handle: &Handle) -> bool {
        let segment = self.lock().segments.get(&handle.segment).map(|of| Arc::clone(&of.segment));
        segment.is_some_and(|segment| segment.prefetch(handle.offset, handle.bytes))
    }

    fn shared_view(
        &self,
        segment: &Arc<Segment>,
        handle: &Handle,
    ) -> Result<Option<SharedView>, SpillError> {
        if segment.map().is_none() {
            let Some(map) = self.map(segment, segment.file().len)? else { return Ok(None) };
            segment.keep_map(map);
        }
        Ok(SharedView::new(segment, handle.offset, handle.bytes))
    }

    /// Reads a frame into memory that `room` pays for.
    fn read_frame(
        &self,
        file: &File,
        path: &Path,
        handle: &Handle,
        room: &mut Room,
    ) -> Result<Buffer, StoreError> {
        let len = usize::try_from(handle.bytes).unwrap_or(usize::MAX);
        let memory = |error| StoreError::new(StoreErrorKind::Io, error);
        let bytes = Buffer::allocation_bytes(len, ALIGNMENT).map_err(memory)?;
        let reservation = room.take(bytes).map_err(memory)?;
        let mut buffer = BufferMut::with_capacity(len, ALIGNMENT, reservation).map_err(memory)?;
        buffer.zero_to(len);
        self.disk()
            .read_exact_at(file, buffer.as_mut_slice(), handle.offset)
            .map_err(|error| self.read_error(file, path, handle, error))?;
        Ok(buffer.freeze())
    }

    /// Why a frame could not be read: where its file ends too early, that somebody has made it shorter.
    fn read_error(
        &self,
        file: &File,
        path: &Path,
        handle: &Handle,
        error: io::Error,
    ) -> SpillError {
        let expected = handle.offset.saturating_add(handle.bytes);
        match self.disk().len(file) {
            Ok(found) if found < expected => {
                SpillError::Truncated { path: path.to_path_buf(), expected, found }
            }
            _ => SpillError::io_at("read", path, handle.offset, error),
        }
    }

    /// A file of the user's: brought into the session and mapped, or read into memory, where nobody else changes it.
    fn load_frame(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        if let Some(frame) = self.load_filtered(path, room)? {
            return Ok(frame);
        }
        let mut copy = |file: &File, len| {
            self.read_frame(file, path, &Handle { segment: 0, offset: 0, bytes: len }, room)
        };
        if self.options.read_mode == ReadMode::Copy {
            let (file, len) = open_user_frame(path)?;
            return copy(&file, len);
        }
        let (file, bytes) = self.files.bring_in(path)?;
        let len = bytes.bytes();
        match self.disk().map(&file, len) {
            // Its bytes stay in the quota as long as it is looked at.
            Ok(map) => Ok(Buffer::adopt(OwnView::new(map, bytes, self.files.mapped()), None)),
            Err(_) => copy(&file, len),
        }
    }
}

impl State {
    /// The number of a new segment; `None` when the store is closed.
    fn insert(&mut self, segment: Segment, places: Option<Places>) -> Option<u64> {
        if self.closed {
            return None;
        }
        self.last_segment += self.stride;
        self.shared_bytes += places.as_ref().map_or(0, Places::disk_bytes);
        let (segment, keeping) = (Arc::new(segment), Keeping::default());
        self.segments.insert(self.last_segment, Slot { segment, places, keeping });
        Some(self.last_segment)
    }

    fn places(&mut self, number: u64) -> Option<&mut Places> {
        self.segments.get_mut(&number)?.places.as_mut()
    }

    /// A run of free blocks: in the segment that is being filled, or else in one that is free to a good part.
    fn candidate(&self, bytes: u64) -> Option<(u64, Arc<Segment>, Candidate)> {
        let look = |number: u64, anew: bool| {
            let Slot { segment, places, keeping } = self.segments.get(&number)?;
            let ours = keeping.is_ours() || mutant!("retained_written_over");
            let free = ours && !segment.is_seen_elsewhere();
            let places = places.as_ref().filter(|_| free)?;
            if anew && places.free_bytes() < segment.file().len / 4 {
                return None;
            }
            let candidate = places.candidate(bytes, anew, segment.views())?;
            Some((number, Arc::clone(segment), candidate))
        };
        let others = || self.segments.keys().filter(|&&number| Some(number) != self.filling);
        self.filling
            .and_then(|number| look(number, false))
            .or_else(|| others().find_map(|&number| look(number, true)))
            // The filled segment's own beginning may be free again.
            .or_else(|| self.filling.and_then(|number| look(number, true)))
    }

    fn shared(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let shared = self.segments.values().filter(|slot| slot.places.is_some());
        shared.map(|slot| &slot.segment)
    }

    /// Takes out a segment that has no live frame. A shared one that somebody looks at stays: what he does not look at
    /// can be filled again or given back.
    fn remove_if_empty(&mut self, number: u64) -> Option<Arc<Segment>> {
        let slot = self.segments.get(&number)?;
        if slot.keeping.standing == Standing::Listed {
            return None;
        }
        if let Some(places) = &slot.places {
            let held = Arc::strong_count(&slot.segment) > 1;
            self.empty_ones_left |= places.is_empty() && held;
            if held || !places.is_empty() {
                return None;
            }
        }
        let Slot { segment, places, keeping } = self.segments.remove(&number)?;
        if keeping.is_ours() {
            self.shared_bytes -= places.as_ref().map_or(0, Places::disk_bytes);
        } else {
            segment.condemn();
        }
        Some(segment)
    }
}

fn verify(frame: &Buffer, path: &Path, offset: u64) -> Result<(), SpillError> {
    container::refuse(frame, path, offset)?;
    Header::check_whole(frame, xxh3_64).map(|_| ()).map_err(|damage| SpillError::Damaged {
        path: path.to_path_buf(),
        offset,
        damage,
    })
}

impl SpillStore for Volume {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        self.check_process()?;
        match frame.frame_bytes() {
            _ if self.has_own_segment(frame) => self.write_large(frame),
            small if small <= Self::BATCH_BYTES || !self.options.chain.is_empty() => {
                Ok(self.write_small(std::slice::from_ref(frame))?[0])
            }
            _ => self.write_shared(frame),
        }
    }

    fn write_batch(&self, frames: &[Frame<'_>]) -> (Vec<Handle>, Option<StoreError>) {
        if let Err(error) = self.check_process() {
            return (Vec::new(), Some(error.into()));
        }
        let small = |frame: &Frame<'_>| {
            frame.frame_bytes() <= Self::BATCH_BYTES && !self.has_own_segment(frame)
        };
        let mut handles = Vec::with_capacity(frames.len());
        for run in frames.chunk_by(|a, b| small(a) && small(b)) {
            match self.write_run(run, &mut handles) {
                Ok(()) => {}
                Err(error) => return (handles, Some(error)),
            }
        }
        (handles, None)
    }

    fn batch_bytes(&self) -> u64 {
        Self::BATCH_BYTES
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.check_process()?;
        let frame = self.open_frame(handle, room)?;
        if self.options.verify == Verify::Always && !mutant!("content_unchecked") {
            verify(&frame, &self.segment(handle)?.0.file().path, handle.offset)?;
        }
        Ok(frame)
    }

    fn advise(&self, handles: &[Handle]) {
        if self.check_process().is_err() {
            return;
        }
        // What is in memory is brought nearer to the processor; a call of the system's for each would cost more than it reads.
        let absent = |handle: &&Handle| !self.prefetch(handle);
        let absent: Vec<Handle> = handles.iter().filter(absent).copied().collect();
        let mut rest = absent.as_slice();
        while let Some((first, behind)) = rest.split_first() {
            // Frames that lie close together are read as one; what is between them costs less than another call.
            let mut end = first.offset.saturating_add(first.bytes);
            let near = behind.iter().take_while(|next| {
                let near = next.segment == first.segment
                    && next.offset.checked_sub(end).is_some_and(|gap| gap <= BLOCK);
                if near {
                    end = next.offset.saturating_add(next.bytes);
                }
                near
            });
            let count = near.count();
            // One that was freed meanwhile needs nothing.
            if let Ok((segment, _)) = self.segment(first) {
                self.disk().read_ahead(&segment.file().file, first.offset, end - first.offset);
            }
            rest = behind.get(count..).unwrap_or_default();
        }
    }

    fn open_whole(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.check_process()?;
        let frame = self.open_frame(handle, room)?;
        verify(&frame, &self.segment(handle)?.0.file().path, handle.offset)?;
        Ok(frame)
    }

    fn retain(&self, manifest: &[u8], frames: &[Handle]) -> Result<(), StoreError> {
        self.check_process()?;
        Ok(self.retain_frames(manifest, frames)?)
    }

    fn wants_anew(&self, handle: &Handle) -> bool {
        self.is_better_moved(handle)
    }

    fn retained(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_process()?;
        Ok(self.restored_manifest())
    }

    fn adopt(&self, frames: &[Handle]) -> Result<(), StoreError> {
        self.check_process()?;
        Ok(self.adopt_frames(frames)?)
    }

    fn forget(&self) -> Result<(), StoreError> {
        self.check_process()?;
        Ok(self.forget_retained()?)
    }

    fn free(&self, handle: &Handle) {
        if self.release(handle) {
            self.files.sweep();
        }
    }

    fn reclaim(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        if self.check_process().is_ok() {
            self.give_space_back(rehome);
        }
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.check_process()?;
        self.files.save_frame(frame, path, &self.options.chain)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.check_process()?;
        let frame = self.load_frame(path, room)?;
        verify(&frame, path, 0)?;
        Ok(frame)
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        xxh3_64(bytes)
    }

    fn summing(&self) -> Box<dyn Summing> {
        Box::new(Running::new())
    }

    fn share(&self, handle: &Handle) -> Option<(File, u64, u64)> {
        self.check_process().ok()?;
        // Whoever gets the descriptor cannot undo filters.
        if self.options.chain.decodes() {
            return None;
        }
        // Nor may he see what else lies in a shared segment, which would never be filled again.
        let (segment, shared) = self.segment(handle).ok()?;
        if shared {
            return None;
        }
        if !mutant!("exported_file_recycled") {
            segment.condemn();
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (dir, name) = (self.files.session().dir(), &segment.file().name);
        let file = rustix::fs::openat(dir, name, flags, Mode::empty());
        Some((File::from(file.ok()?), handle.offset, handle.bytes))
    }

    fn mapped_bytes(&self) -> u64 {
        self.files.mapped().bytes()
    }

    fn trim(&self) {
        if self.trim_views() {
            self.files.sweep();
        }
    }

    fn usage(&self) -> StoreUsage {
        if self.check_process().is_err() {
            return StoreUsage::default();
        }
        let used = self.files.quota().used();
        StoreUsage {
            live_bytes: self.files.live_bytes(),
            disk_bytes: used.bytes,
            peak_disk_bytes: used.peak_bytes,
            limit_bytes: self.files.quota().limit_bytes(),
            mapped_bytes: self.mapped_bytes(),
            descriptors: (self.lock().segments.len() + self.files.kept()) as u64,
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.check_process()?;
        let segments = {
            let mut state = self.lock();
            state.closed = true;
            state.filling = None;
            std::mem::take(&mut state.segments)
        };
        self.files.close();
        let ended = self.end(&segments);
        drop(segments);
        Ok(ended?)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever wants to know closes it himself.
        let _ = self.leave();
    }
}
