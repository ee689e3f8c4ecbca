//! `MemoryStore`: a slower tier that is no slower and keeps frames in memory that no ledger counts.
//!
//! For tests, for examples, and for programs that want the pool's order and its accounting without a disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::buffer::Buffer;
use crate::codec::Room;
use crate::error::{StoreError, StoreErrorKind};
use crate::frame::{Content, Frame, Header};
use crate::store::{Fingerprint, Handle, SpillStore, StoreUsage};
use crate::sync::{self, Mutex};

/// Keeps frames, and the files that are saved, in the heap.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: HashMap<u64, Buffer>,
    files: HashMap<PathBuf, Buffer>,
    next_segment: u64,
    usage: StoreUsage,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A frame as the bytes that any store would keep.
    ///
    /// # Errors
    /// The codec's, or when there is no memory.
    pub fn frame_bytes(&self, frame: &Frame<'_>) -> Result<Buffer, StoreError> {
        let mut content = Gather(Vec::new());
        frame.write_content(&mut content)?;
        let header =
            Header { content_checksum: self.checksum(&content.0), ..frame.header().clone() };
        let mut bytes = header.encode(|bytes| self.checksum(bytes));
        bytes.extend_from_slice(&content.0);
        Buffer::uncounted(&bytes).map_err(|error| StoreError::new(StoreErrorKind::Io, error))
    }
}

struct Gather(Vec<u8>);

impl Content for Gather {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl SpillStore for MemoryStore {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let bytes = self.frame_bytes(frame)?;
        let len = bytes.len() as u64;
        let mut state = sync::lock(&self.state);
        let segment = state.next_segment;
        state.next_segment += 1;
        state.frames.insert(segment, bytes);
        state.usage.live_bytes += len;
        state.usage.disk_bytes += len;
        state.usage.peak_disk_bytes = state.usage.peak_disk_bytes.max(state.usage.disk_bytes);
        Ok(Handle { segment, offset: 0, bytes: len })
    }

    fn open(&self, handle: &Handle, _room: &mut Room) -> Result<Buffer, StoreError> {
        let state = sync::lock(&self.state);
        state.frames.get(&handle.segment).cloned().ok_or_else(|| missing(format!("{handle:?}")))
    }

    fn free(&self, handle: &Handle) {
        let mut state = sync::lock(&self.state);
        let frame = state.frames.remove(&handle.segment);
        assert!(frame.is_some(), "{handle:?} is freed once");
        state.usage.live_bytes -= handle.bytes;
        state.usage.disk_bytes -= handle.bytes;
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        let bytes = self.frame_bytes(frame)?;
        let fingerprint = Fingerprint::of(&bytes);
        sync::lock(&self.state).files.insert(path.to_path_buf(), bytes);
        Ok(fingerprint)
    }

    fn load(&self, path: &Path, _room: &mut Room) -> Result<Buffer, StoreError> {
        let file = sync::lock(&self.state).files.get(path).cloned();
        let file = file.ok_or_else(|| missing(path.display().to_string()))?;
        let damaged = |damage| {
            let said = format!("{}: {damage}", path.display());
            StoreError::new(StoreErrorKind::Damaged, said)
        };
        Header::check_whole(&file, |bytes| self.checksum(bytes)).map_err(damaged)?;
        Ok(file)
    }

    fn usage(&self) -> StoreUsage {
        sync::lock(&self.state).usage
    }
}

fn missing(what: String) -> StoreError {
    StoreError::new(StoreErrorKind::Missing, format!("there is no {what} in the memory store"))
}
