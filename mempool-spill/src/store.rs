//! `SpillStorage`: the store of one session. It sees frames and files, never types.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::Mmap;
use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Fingerprint, Frame, FrameDamage, Handle, Header, Room,
    SpillStore, StoreError, StoreUsage,
};
use rustix::fs::{Mode, OFlags};

use crate::checksum::xxh3_64;
use crate::disk::{Disk, RealDisk, write_all_at};
use crate::error::SpillError;
use crate::quota::{FileBytes, Quota};
use crate::segment::{Extent, Places, Segment};
use crate::session::{Session, Swept, open_user_file};
use crate::writer::{Batch, Target, write_frame};

/// How much of a frame of our own is checked when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Header, length and generation.
    #[default]
    Header,
    /// Every byte, each time.
    Always,
}

/// The settings of a store.
#[derive(Clone)]
pub struct SpillOptions {
    directory: PathBuf,
    disk_limit: Option<u64>,
    segment_bytes: u64,
    own_segment_bytes: u64,
    verify: Verify,
    disk: Arc<dyn Disk>,
}

impl SpillOptions {
    /// The size of shared segments unless another is set: 64 MiB.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Frames of this size and more have a segment of their own: 4 MiB.
    pub const OWN_SEGMENT_BYTES: u64 = 4 << 20;

    /// A store in a session of its own under `directory`, which must exist.
    ///
    /// On a tmpfs the "disk" is memory; choose a directory on a real one.
    #[must_use]
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_path_buf(),
            disk_limit: None,
            segment_bytes: Self::SEGMENT_BYTES,
            own_segment_bytes: Self::OWN_SEGMENT_BYTES,
            verify: Verify::default(),
            disk: Arc::new(RealDisk),
        }
    }

    /// The most bytes that the session's files may take, reserved ones included.
    #[must_use]
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.disk_limit = Some(bytes);
        self
    }

    /// The size of the segments that small frames share; they hold frames of up to a quarter of it. At least 64 KiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.max(64 << 10).next_multiple_of(4096);
        self.own_segment_bytes = Self::OWN_SEGMENT_BYTES.min(self.segment_bytes / 4);
        self
    }

    /// How much is checked when a frame is opened.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Another disk: for tests that make it fail.
    #[must_use]
    pub fn disk(mut self, disk: impl Disk) -> Self {
        self.disk = Arc::new(disk);
        self
    }

    /// Sweeps what dead processes left under the directory, and makes a session.
    ///
    /// # Errors
    /// When the directory is not there or cannot be written.
    pub fn open(self) -> Result<SpillStorage, SpillError> {
        let (session, swept) = Session::open(&self.directory)?;
        let quota = Quota::new(session.path().to_path_buf(), self.disk_limit);
        let state = Mutex::new(State::default());
        let (growing, batches) = (Mutex::new(()), Mutex::new(Vec::new()));
        Ok(SpillStorage { session, swept, quota, state, growing, batches, options: self })
    }
}

impl std::fmt::Debug for SpillOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpillOptions")
            .field("directory", &self.directory)
            .field("disk_limit", &self.disk_limit)
            .field("segment_bytes", &self.segment_bytes)
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

/// The store of one session.
///
/// Closing it, or dropping it, removes the session's directory; views that are held stay good.
#[derive(Debug)]
pub struct SpillStorage {
    options: SpillOptions,
    session: Session,
    swept: Swept,
    quota: Arc<Quota>,
    state: Mutex<State>,
    /// Held while a shared segment is made, so that one is made at a time. Nobody reads under it.
    growing: Mutex<()>,
    /// The memory of batches, as many as threads have written at once.
    batches: Mutex<Vec<Batch>>,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<u64, Slot>,
    /// The shared segment that is being filled.
    filling: Option<u64>,
    next_segment: u64,
    live_bytes: u64,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    segment: Arc<Segment>,
    /// `None` for a segment of one large frame.
    places: Option<Places>,
}

/// Places that were taken for small frames; given back unless the frames are published.
struct Run<'a> {
    store: &'a SpillStorage,
    segment: Arc<Segment>,
    /// Where the run starts in its segment.
    offset: u64,
    handles: Vec<Handle>,
}

impl Run<'_> {
    /// The frames are written: their places are theirs.
    fn publish(mut self) -> Vec<Handle> {
        let handles = std::mem::take(&mut self.handles);
        self.store.lock().live_bytes += handles.iter().map(|handle| handle.bytes).sum::<u64>();
        handles
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.handles.iter().for_each(|handle| self.store.give_back(handle));
    }
}

impl SpillStorage {
    /// What is written at once: many small values cost one call, and what is gathered still lies in the cache.
    const BATCH_BYTES: u64 = 256 << 10;

    /// The session's directory.
    #[must_use]
    pub fn session_path(&self) -> &Path {
        self.session.path()
    }

    /// What the sweep at opening found.
    #[must_use]
    pub fn swept(&self) -> Swept {
        self.swept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> SpillError {
        SpillError::Closed { path: self.session.path().to_path_buf() }
    }

    /// Refuses a forked child before it takes a lock: another thread of the parent may have held it at the fork.
    fn check_process(&self) -> Result<(), SpillError> {
        if self.session.is_ours() { Ok(()) } else { Err(self.closed()) }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.options.disk
    }

    /// Makes a file of `bytes` in the session, reserved on the disk and in the quota.
    fn new_segment(&self, bytes: u64) -> Result<(u64, Segment), SpillError> {
        if !self.session.is_ours() {
            return Err(self.closed());
        }
        let number = {
            let mut state = self.lock();
            if state.closed {
                return Err(self.closed());
            }
            state.next_segment += 1;
            state.next_segment
        };
        let bytes = self.quota.take(bytes.next_multiple_of(4096))?;
        let name = format!("seg-{number}");
        let path = self.session.path().join(&name);
        let file = self.disk().create(self.session.dir(), &name);
        let file = file.map_err(|e| SpillError::io("create", &path, e))?;
        let segment = Segment { name, path, file, bytes, map: OnceLock::new() };
        match self.disk().allocate(&segment.file, segment.bytes.bytes()) {
            Ok(()) => Ok((number, segment)),
            Err(error) => {
                let error = SpillError::io("reserve", &segment.path, error);
                self.unlink(&segment);
                Err(error)
            }
        }
    }

    fn unlink(&self, segment: &Segment) {
        if self.session.is_ours() {
            // A name that cannot be removed is removed with the session.
            let _ = self.disk().unlink(self.session.dir(), &segment.name);
        }
    }

    fn write_large(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let bytes = frame.frame_bytes();
        let (number, segment) = self.new_segment(bytes)?;
        if let Err(error) = write_frame(&self.target(&segment, 0), frame) {
            self.unlink(&segment);
            return Err(error);
        }
        let mut state = self.lock();
        state.segments.insert(number, Slot { segment: Arc::new(segment), places: None });
        state.live_bytes += bytes;
        Ok(Handle { segment: number, offset: 0, bytes })
    }

    fn target<'a>(&'a self, segment: &'a Segment, offset: u64) -> Target<'a> {
        Target { disk: self.disk(), file: &segment.file, path: &segment.path, offset }
    }

    /// Streams a frame that is too large to be gathered to a place in a shared segment.
    fn write_shared(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let (bytes, align) = (frame.frame_bytes(), u64::from(frame.header().align));
        let run = self.take_run(&Extent { bytes, align, frames: &[(0, bytes)] })?;
        write_frame(&self.target(&run.segment, run.offset), frame)?;
        Ok(run.publish()[0])
    }

    /// Writes small frames with one call; all of them or none.
    fn write_small(&self, frames: &[Frame<'_>]) -> Result<Vec<Handle>, StoreError> {
        let mut batch = self.batches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let batch = batch.get_or_insert_default();
        batch.clear();
        frames.iter().try_for_each(|frame| batch.push(frame))?;
        batch.round_to_pages();
        let run = self.take_run(&batch.extent())?;
        write_all_at(self.disk(), &run.segment.file, batch.bytes(), run.offset)
            .map_err(|e| SpillError::io_at("write", &run.segment.path, run.offset, e))?;
        let handles = run.publish();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(batch));
        Ok(handles)
    }

    /// Room in the shared segment that is being filled, or in a new one.
    fn take_run(&self, extent: &Extent<'_>) -> Result<Run<'_>, SpillError> {
        if let Some(run) = self.run_in_filling(extent)? {
            return Ok(run);
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        // Others may fill a new segment before this thread has a place in it; then the next one is made.
        loop {
            if let Some(run) = self.run_in_filling(extent)? {
                return Ok(run);
            }
            self.grow()?;
        }
    }

    /// Makes the shared segment that is filled from now on; the caller holds `growing`.
    fn grow(&self) -> Result<(), SpillError> {
        let (number, segment) = self.new_segment(self.options.segment_bytes)?;
        let places = Places::new(segment.bytes.bytes());
        let retired = {
            let mut state = self.lock();
            let slot = Slot { segment: Arc::new(segment), places: Some(places) };
            state.segments.insert(number, slot);
            let retired = state.filling.replace(number);
            retired.and_then(|retired| state.remove_if_empty(retired))
        };
        if let Some(retired) = retired {
            self.unlink(&retired);
        }
        Ok(())
    }

    fn run_in_filling(&self, extent: &Extent<'_>) -> Result<Option<Run<'_>>, SpillError> {
        let mut state = self.lock();
        if state.closed {
            return Err(self.closed());
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
        Ok(offset.map(|offset| Run {
            store: self,
            segment,
            offset,
            handles: extent.frames.iter().map(|frame| handle(offset, frame)).collect(),
        }))
    }

    /// Frees the place of a frame; the segment goes with its last one.
    fn give_back(&self, handle: &Handle) {
        let mut state = self.lock();
        let Some(slot) = state.segments.get_mut(&handle.segment) else { return };
        let freed = match &mut slot.places {
            Some(places) => places.free(handle.offset),
            None => true,
        };
        debug_assert!(freed || mutant!("double_free_of_place"), "{handle:?} is freed once");
        let filling = state.filling == Some(handle.segment);
        let gone = if filling { None } else { state.remove_if_empty(handle.segment) };
        drop(state);
        if let Some(gone) = gone {
            self.unlink(&gone);
        }
    }

    /// Writes frames that may stand in one batch: together, or where that fails each by itself, until one fails.
    fn write_run(&self, run: &[Frame<'_>], handles: &mut Vec<Handle>) -> Result<(), StoreError> {
        if let [_, _, ..] = run
            && let Ok(written) = self.write_small(run)
        {
            handles.extend(written);
            return Ok(());
        }
        for frame in run {
            handles.push(self.write(frame)?);
        }
        Ok(())
    }

    /// The segment of a frame, and whether it is a shared one.
    fn segment(&self, handle: &Handle) -> Result<(Arc<Segment>, bool), SpillError> {
        let state = self.lock();
        let slot = state.segments.get(&handle.segment);
        let slot = slot.ok_or_else(|| SpillError::NoSegment {
            path: self.session.path().to_path_buf(),
            segment: handle.segment,
        })?;
        Ok((Arc::clone(&slot.segment), slot.places.is_some()))
    }

    /// Maps a segment, after a look at its length: what lies beyond the end of a file cannot be read.
    fn map(&self, segment: &Segment, bytes: u64) -> Result<Option<Mmap>, SpillError> {
        let found = self.disk().len(&segment.file);
        let found = found.map_err(|e| SpillError::io("stat", &segment.path, e))?;
        if found < bytes {
            let path = segment.path.clone();
            return Err(SpillError::Truncated { path, expected: bytes, found });
        }
        // A process may run out of maps; then the frame is read into memory of its own.
        Ok(self.disk().map(&segment.file, bytes).ok())
    }

    fn open_frame(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        if let Some(frame) = self.frame_in_map(handle) {
            return Ok(frame);
        }
        let (segment, shared) = self.segment(handle)?;
        let mapped = if shared {
            self.shared_map(&segment)?.and_then(|map| slice(&map, handle))
        } else {
            self.map(&segment, handle.bytes)?.map(|map| Buffer::adopt(map, None))
        };
        match mapped {
            Some(frame) => Ok(frame),
            None => self.read_frame(&segment, handle, room),
        }
    }

    /// A frame of a shared segment that is mapped already: the usual way of a small value.
    fn frame_in_map(&self, handle: &Handle) -> Option<Buffer> {
        let state = self.lock();
        let segment = &state.segments.get(&handle.segment)?.segment;
        slice(segment.map.get()?, handle)
    }

    fn shared_map(&self, segment: &Segment) -> Result<Option<Buffer>, SpillError> {
        if let Some(map) = segment.map.get() {
            return Ok(Some(map.clone()));
        }
        let Some(map) = self.map(segment, segment.bytes.bytes())? else { return Ok(None) };
        Ok(Some(segment.map.get_or_init(|| Buffer::adopt(map, None)).clone()))
    }

    /// Reads a frame into memory that `room` pays for.
    fn read_frame(
        &self,
        segment: &Segment,
        handle: &Handle,
        room: &mut Room,
    ) -> Result<Buffer, StoreError> {
        let len = usize::try_from(handle.bytes).unwrap_or(usize::MAX);
        let memory = |error| StoreError::new(mempool_core::StoreErrorKind::Io, error);
        let bytes = Buffer::allocation_bytes(len, ALIGNMENT).map_err(memory)?;
        let reservation = room.take(bytes).map_err(memory)?;
        let mut buffer = BufferMut::with_capacity(len, ALIGNMENT, reservation).map_err(memory)?;
        buffer.zero_to(len);
        self.disk()
            .read_exact_at(&segment.file, buffer.as_mut_slice(), handle.offset)
            .map_err(|e| SpillError::io_at("read", &segment.path, handle.offset, e))?;
        Ok(buffer.freeze())
    }

    fn verify(&self, frame: &Buffer, path: &Path, offset: u64) -> Result<(), SpillError> {
        check_whole(frame).map_err(|damage| {
            let path = path.to_path_buf();
            SpillError::Damaged { path, offset, damage }
        })
    }

    /// Brings a file of the user's into the session, under no name: nobody else can change it there.
    fn bring_in(&self, path: &Path) -> Result<(File, FileBytes), SpillError> {
        let (file, len) = open_user_file(path)?;
        if len < mempool_core::HEADER_BYTES {
            let damage = FrameDamage::Length { expected: mempool_core::HEADER_BYTES, found: len };
            return Err(SpillError::Damaged { path: path.to_path_buf(), offset: 0, damage });
        }
        let bytes = self.quota.take(len)?;
        let number = {
            let mut state = self.lock();
            if state.closed || !self.session.is_ours() {
                return Err(self.closed());
            }
            state.next_segment += 1;
            state.next_segment
        };
        let name = format!("load-{number}");
        let own_path = self.session.path().join(&name);
        let own = self.disk().create(self.session.dir(), &name);
        let own = own.map_err(|e| SpillError::io("create", &own_path, e))?;
        let unnamed = self.disk().unlink(self.session.dir(), &name);
        unnamed.map_err(|e| SpillError::io("unlink", &own_path, e))?;
        if rustix::fs::ioctl_ficlone(&own, &file).is_err() {
            self.copy(&file, path, &own, &own_path, len)?;
        }
        Ok((own, bytes))
    }

    fn copy(
        &self,
        from: &File,
        from_path: &Path,
        to: &File,
        to_path: &Path,
        len: u64,
    ) -> Result<(), SpillError> {
        self.disk().allocate(to, len).map_err(|e| SpillError::io("reserve", to_path, e))?;
        let mut chunk = vec![0; 256 << 10];
        let mut at = 0;
        while at < len {
            let count = usize::try_from(len - at).map_or(chunk.len(), |left| left.min(chunk.len()));
            let part = chunk.get_mut(..count).unwrap_or_default();
            self.disk()
                .read_exact_at(from, part, at)
                .map_err(|e| SpillError::io_at("read", from_path, at, e))?;
            write_all_at(self.disk(), to, part, at)
                .map_err(|e| SpillError::io_at("write", to_path, at, e))?;
            at += count as u64;
        }
        Ok(())
    }

    /// Writes a frame to a new file beside `path`, makes it durable, then puts it in the place of what is there.
    fn save_frame(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        let (directory, name) = self.parent_of(path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&directory, flags, Mode::empty());
        let dir = File::from(dir.map_err(|e| SpillError::io("open", &directory, e))?);
        let number = {
            let mut state = self.lock();
            state.next_segment += 1;
            state.next_segment
        };
        let temporary = format!(".mempool-save-{}-{number}", std::process::id());
        let file = self.disk().create(dir.as_fd(), &temporary);
        let file = file.map_err(|e| SpillError::io("create", &directory.join(&temporary), e))?;
        let target = Target { disk: self.disk(), file: &file, path, offset: 0 };
        let written = write_frame(&target, frame).and_then(|header| {
            // A sync that failed is never tried again: the kernel may have forgotten what was lost. The file goes.
            self.disk().sync(&file).map_err(|e| SpillError::io("sync", path, e))?;
            self.disk()
                .rename(dir.as_fd(), &temporary, &name)
                .map_err(|e| SpillError::io("rename", path, e))?;
            Ok(header)
        });
        let header = written.inspect_err(|_| {
            let _ = self.disk().unlink(dir.as_fd(), &temporary);
        })?;
        self.disk().sync(&dir).map_err(|e| SpillError::io("sync", &directory, e))?;
        Ok(Fingerprint { bytes: frame.frame_bytes(), ..Fingerprint::of(&header) })
    }

    /// The directory of a file of the user's, and its name there.
    fn parent_of(&self, path: &Path) -> Result<(PathBuf, PathBuf), SpillError> {
        let invalid = || SpillError::NotRegular { path: path.to_path_buf() };
        let name = path.file_name().map(PathBuf::from).ok_or_else(invalid)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if self.session.contains(&parent) {
            return Err(SpillError::InsideSession { path: path.to_path_buf() });
        }
        Ok((parent, name))
    }
}

impl State {
    fn remove_if_empty(&mut self, number: u64) -> Option<Arc<Segment>> {
        let slot = self.segments.get(&number)?;
        if slot.places.as_ref().is_some_and(|places| !places.is_empty()) {
            return None;
        }
        self.segments.remove(&number).map(|slot| slot.segment)
    }
}

fn slice(map: &Buffer, handle: &Handle) -> Option<Buffer> {
    let start = usize::try_from(handle.offset).ok()?;
    let end = start.checked_add(usize::try_from(handle.bytes).ok()?)?;
    (end <= map.len()).then(|| map.slice(start..end))
}

fn check_whole(frame: &[u8]) -> Result<(), FrameDamage> {
    Header::check_whole(frame, xxh3_64).map(|_| ())
}

/// A file of the user's that was brought in, mapped, with its bytes in the quota.
struct Adopted {
    map: Mmap,
    _bytes: FileBytes,
}

impl AsRef<[u8]> for Adopted {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl SpillStore for SpillStorage {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        self.check_process()?;
        match frame.frame_bytes() {
            own if own >= self.options.own_segment_bytes => self.write_large(frame),
            small if small <= Self::BATCH_BYTES => {
                Ok(self.write_small(std::slice::from_ref(frame))?[0])
            }
            _ => self.write_shared(frame),
        }
    }

    fn write_batch(&self, frames: &[Frame<'_>]) -> (Vec<Handle>, Option<StoreError>) {
        if let Err(error) = self.check_process() {
            return (Vec::new(), Some(error.into()));
        }
        let bound = Self::BATCH_BYTES.min(self.options.own_segment_bytes.saturating_sub(1));
        let small = |frame: &Frame<'_>| frame.frame_bytes() <= bound;
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
        if self.options.verify == Verify::Always {
            self.verify(&frame, &self.segment(handle)?.0.path, handle.offset)?;
        }
        Ok(frame)
    }

    fn free(&self, handle: &Handle) {
        if !self.session.is_ours() {
            return;
        }
        let times = if mutant!("double_free_of_place") { 2 } else { 1 };
        for _ in 0..times {
            let mut state = self.lock();
            state.live_bytes = state.live_bytes.saturating_sub(handle.bytes);
            drop(state);
            self.give_back(handle);
        }
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.check_process()?;
        self.save_frame(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.check_process()?;
        let (file, bytes) = self.bring_in(path)?;
        let len = bytes.bytes();
        let name = path.display().to_string();
        let frame = match self.disk().map(&file, len) {
            Ok(map) => Buffer::adopt(Adopted { map, _bytes: bytes }, None),
            Err(_) => {
                let map = OnceLock::new();
                let segment = Segment { name, path: path.to_path_buf(), file, bytes, map };
                let handle = Handle { segment: 0, offset: 0, bytes: len };
                self.read_frame(&segment, &handle, room)?
            }
        };
        self.verify(&frame, path, 0)?;
        Ok(frame)
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        xxh3_64(bytes)
    }

    fn share(&self, handle: &Handle) -> Option<(File, u64, u64)> {
        self.check_process().ok()?;
        let (segment, _) = self.segment(handle).ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(self.session.dir(), &segment.name, flags, Mode::empty());
        Some((File::from(file.ok()?), handle.offset, handle.bytes))
    }

    fn usage(&self) -> StoreUsage {
        if !self.session.is_ours() {
            return StoreUsage::default();
        }
        let used = self.quota.used();
        let state = self.lock();
        let mapped = |slot: &Slot| slot.segment.map.get().map_or(0, |map| map.len() as u64);
        StoreUsage {
            live_bytes: state.live_bytes,
            disk_bytes: used.bytes,
            peak_disk_bytes: used.peak_bytes,
            limit_bytes: self.quota.limit_bytes(),
            mapped_bytes: state.segments.values().map(mapped).sum(),
            descriptors: state.segments.len() as u64,
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
        drop(segments);
        Ok(self.session.remove()?)
    }
}

impl Drop for SpillStorage {
    fn drop(&mut self) {
        // Whoever wants to know closes it himself.
        let _ = self.session.remove();
    }
}
