//! `Files`: the files of a session, made, kept for the next frames when theirs are gone, and removed.
//!
//! Writing over pages that are in the page cache already is several times as fast as writing a new file, so a file whose
//! frames are gone stays for a while. What is kept stands in the disk ledger and has a bound; when the disk or its limit
//! is full, it goes first. A file that was exported, or that a forked child may have mapped, is only removed.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use mempool_core::StoreErrorKind;
use mempool_core::fork::Maker;

use crate::disk::Disk;
use crate::error::SpillError;
use crate::quota::Quota;
use crate::reserve::Reserve;
use crate::segment::SegmentFile;
use crate::session::Session;
use crate::views::Mapped;

/// A file is written anew for a frame that fills at least this part of it: four fifths.
const FILLED_MIN: (u64, u64) = (4, 5);
/// Kept files may take this part of the live bytes, beside one shared segment.
const IDLE_SHARE: u64 = 8;

/// The files of one session.
pub(crate) struct Files {
    session: Session,
    disk: Arc<dyn Disk>,
    quota: Arc<Quota>,
    reserve: Reserve,
    mapped: Arc<Mapped>,
    /// What may be kept however little lives.
    idle_bytes_min: u64,
    live_bytes: AtomicU64,
    state: Mutex<State>,
    /// Whether the session is closed; held for reading while a file is made, so that none is made behind the close.
    gate: RwLock<bool>,
}

#[derive(Default)]
struct State {
    /// Files that can be written anew, the one that came last at the end.
    idle: VecDeque<SegmentFile>,
    idle_bytes: u64,
    /// Files that are only to be removed, by the next call that does I/O anyway.
    condemned: Vec<SegmentFile>,
    next_number: u64,
    closed: bool,
}

impl Files {
    pub(crate) fn new(
        session: Session,
        disk: Arc<dyn Disk>,
        quota: Arc<Quota>,
        reserve_bytes: u64,
        idle_bytes_min: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            disk,
            quota,
            reserve: Reserve::new(reserve_bytes),
            mapped: Arc::default(),
            idle_bytes_min,
            live_bytes: AtomicU64::new(0),
            state: Mutex::default(),
            gate: RwLock::new(false),
        })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    pub(crate) fn mapped(&self) -> &Arc<Mapped> {
        &self.mapped
    }

    /// What may be taken by the limit, and by what the file system has free now.
    pub(crate) fn room_bytes(&self) -> Result<u64, SpillError> {
        let free_bytes = self.disk.free_bytes(self.session.dir());
        let free_bytes = free_bytes
            .map_err(|e| SpillError::io("ask for free space in", self.session.path(), e))?;
        Ok(self.quota.limit_bytes().map_or(free_bytes, |limit| limit.min(free_bytes)))
    }

    /// The bytes of frames that were written and not freed.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    // Relaxed: a figure, which orders nothing.
    pub(crate) fn note_live(&self, bytes: u64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_dead(&self, bytes: u64) {
        self.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn closed(&self) -> SpillError {
        SpillError::Closed { path: self.session.path().to_path_buf() }
    }

    /// The session stays open while the guard lives.
    pub(crate) fn pass_gate(&self) -> Result<RwLockReadGuard<'_, bool>, SpillError> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *gate { Err(self.closed()) } else { Ok(gate) }
    }

    /// A number that no other file of the session has.
    pub(crate) fn next_number(&self) -> Result<u64, SpillError> {
        let mut state = self.lock();
        if state.closed || !self.session.is_ours() {
            return Err(self.closed());
        }
        state.next_number += 1;
        Ok(state.next_number)
    }

    /// Numbers new files behind `last`.
    pub(crate) fn number_from(&self, last: Option<u64>) {
        let mut state = self.lock();
        state.next_number = state.next_number.max(last.unwrap_or_default());
    }

    /// A file of at least `bytes`, reserved on the disk and in the quota: one that is kept, or a new one.
    pub(crate) fn take(&self, bytes: u64) -> Result<SegmentFile, SpillError> {
        let bytes = bytes.next_multiple_of(4096);
        if let Some(mut kept) = self.take_idle(bytes) {
            self.cut(&mut kept, bytes);
            return Ok(kept);
        }
        self.with_room(|| self.make(bytes))
    }

    /// Gives what is longer than needed back to the disk; the file itself stays as long as it is.
    pub(crate) fn cut(&self, file: &mut SegmentFile, bytes: u64) {
        let bytes = bytes.next_multiple_of(4096);
        if file.len > bytes && self.punch(file, &(bytes..file.len)) {
            file.len = bytes;
        }
    }

    /// What is kept for later makes room for what is needed now: then it is tried once more.
    pub(crate) fn with_room<T>(
        &self,
        take: impl Fn() -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        match take() {
            Err(error) if error.kind() == StoreErrorKind::Full && self.remove_idle() => take(),
            taken => taken,
        }
    }

    /// Reserves a part of a file on the disk, as far as that leaves what others are to have;
    /// `new_bytes` of it are not the file's yet.
    pub(crate) fn allocate(
        &self,
        file: &File,
        path: &Path,
        part: &Range<u64>,
        new_bytes: u64,
    ) -> Result<(), SpillError> {
        let _turn = self.reserve.check(&*self.disk, &self.session, new_bytes)?;
        let allocated = self.disk.allocate(file, part.start, part.end - part.start);
        allocated.map_err(|e| SpillError::io_at("reserve", path, part.start, e))
    }

    fn take_idle(&self, bytes: u64) -> Option<SegmentFile> {
        let (filled, whole) = FILLED_MIN;
        let fits = |file: &SegmentFile| {
            let least = file.len / whole * filled;
            (least..=file.len).contains(&bytes) && file.maker.forks_since() == 0
        };
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        // The one that came last: its pages are most likely still in the page cache.
        let at = state.idle.iter().rposition(fits)?;
        let file = state.idle.remove(at)?;
        state.idle_bytes -= file.len;
        Some(file)
    }

    fn make(&self, bytes: u64) -> Result<SegmentFile, SpillError> {
        let _open = self.pass_gate()?;
        let number = self.next_number()?;
        let reserved = self.quota.take(bytes)?;
        // Looked at before there is a file, and held until its bytes are no longer free.
        let _turn = self.reserve.check(&*self.disk, &self.session, bytes)?;
        let name = format!("seg-{number}");
        let path = self.session.path().join(&name);
        let file = self.disk.create(self.session.dir(), &name);
        let file = file.map_err(|e| SpillError::io("create", &path, e))?;
        let maker = Maker::here();
        let file = SegmentFile { name, path, file, bytes: reserved, len: bytes, maker };
        match self.disk.allocate(&file.file, 0, bytes) {
            Ok(()) => Ok(file),
            Err(error) => {
                let error = SpillError::io("reserve", &file.path, error);
                self.unlink(&file);
                Err(error)
            }
        }
    }

    /// Reserves a part of a file again that was given back to the disk.
    pub(crate) fn refill(
        &self,
        file: &SegmentFile,
        part: &Range<u64>,
        holes: u64,
    ) -> Result<(), SpillError> {
        self.with_room(|| {
            file.bytes.grow(holes)?;
            let allocated = self.allocate(&file.file, &file.path, part, holes);
            allocated.inspect_err(|_| file.bytes.shrink(holes))
        })
    }

    /// Gives a part of a file back to the disk; whether the disk can.
    pub(crate) fn punch(&self, file: &SegmentFile, part: &Range<u64>) -> bool {
        let bytes = part.end - part.start;
        let punched = self.disk.punch(&file.file, part.start, bytes).is_ok();
        if punched {
            file.bytes.shrink(bytes);
        }
        punched
    }

    /// The last holder of a file is gone. Does no I/O: views may be dropped anywhere.
    pub(crate) fn take_back(&self, file: SegmentFile, condemned: bool) {
        let seen = condemned || file.maker.forks_since() > 0;
        let whole = file.bytes.bytes() == file.len;
        let mut state = self.lock();
        if state.closed {
            // The name is gone with the session's.
            drop(state);
            return drop(file);
        }
        if seen || !whole {
            return state.condemned.push(file);
        }
        state.idle_bytes += file.len;
        state.idle.push_back(file);
        let bound = self.idle_bytes_min.max(self.live_bytes() / IDLE_SHARE);
        while state.idle_bytes > bound
            && let Some(oldest) = state.idle.pop_front()
        {
            state.idle_bytes -= oldest.len;
            state.condemned.push(oldest);
        }
    }

    /// Removes what was condemned.
    pub(crate) fn sweep(&self) {
        let condemned = std::mem::take(&mut self.lock().condemned);
        condemned.iter().for_each(|file| self.unlink(file));
    }

    /// Removes all that is kept for later; whether there was anything.
    pub(crate) fn remove_idle(&self) -> bool {
        let gone: Vec<SegmentFile> = {
            let mut state = self.lock();
            state.idle_bytes = 0;
            let State { idle, condemned, .. } = &mut *state;
            idle.drain(..).chain(condemned.drain(..)).collect()
        };
        gone.iter().for_each(|file| self.unlink(file));
        !gone.is_empty()
    }

    fn unlink(&self, file: &SegmentFile) {
        if self.session.is_ours() {
            // A name that cannot be removed is removed with the session.
            let _ = self.disk.unlink(self.session.dir(), &file.name);
        }
    }

    /// The bytes of files that are kept for later.
    pub(crate) fn idle_bytes(&self) -> u64 {
        self.lock().idle_bytes
    }

    /// How many files are kept for later.
    pub(crate) fn kept(&self) -> usize {
        let state = self.lock();
        state.idle.len() + state.condemned.len()
    }

    /// No further file is made, and none is kept.
    pub(crate) fn close(&self) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = true;
        let kept = {
            let mut state = self.lock();
            state.closed = true;
            state.idle_bytes = 0;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.condemned))
        };
        drop(kept);
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("session", &self.session).finish_non_exhaustive()
    }
}
