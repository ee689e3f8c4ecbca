//! `FaultyStore`: a store whose calls fail when a test says so.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::buffer::Buffer;
use crate::codec::Room;
use crate::error::{StoreError, StoreErrorKind};
use crate::frame::Frame;
use crate::id::Id;
use crate::store::{Fingerprint, Handle, SpillStore, StoreUsage, Summing};

/// The calls of a store that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`SpillStore::write`]
    Write,
    /// [`SpillStore::open`]
    Open,
    /// [`SpillStore::save`]
    Save,
    /// [`SpillStore::load`]
    Load,
}

/// Which calls fail, and how; shared by the test and the store.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    armed: Vec<Fault>,
    calls: Vec<Call>,
    swapped: Option<Handle>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    call: Call,
    /// How many calls of the kind still succeed.
    skip: u64,
    /// How many fail after that.
    times: u64,
    kind: StoreErrorKind,
}

impl Switch {
    /// All calls succeed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `skip` more calls of that kind succeed, then fails `times` of them.
    pub fn fail(&self, call: Call, skip: u64, times: u64, kind: StoreErrorKind) {
        self.lock().armed.push(Fault { call, skip, times, kind });
    }

    /// Every call succeeds again.
    pub fn heal(&self) {
        let mut faults = self.lock();
        faults.armed.clear();
        faults.swapped = None;
    }

    /// Every `open` answers the frame of `handle` instead, as a place that was given anew would.
    pub fn answer_with(&self, handle: Handle) {
        self.lock().swapped = Some(handle);
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, call: Call) -> Result<(), StoreError> {
        let mut faults = self.lock();
        faults.calls.push(call);
        for fault in faults.armed.iter_mut().filter(|fault| fault.call == call) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(StoreError::new(fault.kind, format!("{call:?} was told to fail")));
            }
        }
        Ok(())
    }
}

/// A store before another one that fails as its [`Switch`] says.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    switch: Switch,
    batch_bytes: u64,
}

impl<S: SpillStore> FaultyStore<S> {
    /// Puts `switch` before `inner`.
    pub fn new(inner: S, switch: &Switch) -> Self {
        let batch_bytes = inner.batch_bytes();
        Self { inner, switch: switch.clone(), batch_bytes }
    }

    /// Likes to be given so many bytes at once; it still writes frame by frame, so that each can fail.
    #[must_use]
    pub fn batching(mut self, bytes: u64) -> Self {
        self.batch_bytes = bytes;
        self
    }
}

impl<S: SpillStore> SpillStore for FaultyStore<S> {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        self.switch.check(Call::Write)?;
        self.inner.write(frame)
    }

    fn advise(&self, handles: &[Handle]) {
        self.inner.advise(handles);
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.switch.check(Call::Open)?;
        let swapped = self.switch.lock().swapped;
        self.inner.open(&swapped.unwrap_or(*handle), room)
    }

    fn free(&self, handle: &Handle) {
        self.inner.free(handle);
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.switch.check(Call::Save)?;
        self.inner.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.switch.check(Call::Load)?;
        self.inner.load(path, room)
    }

    fn open_whole(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.switch.check(Call::Open)?;
        let swapped = self.switch.lock().swapped;
        self.inner.open_whole(&swapped.unwrap_or(*handle), room)
    }

    fn retain(&self, manifest: &[u8], frames: &[Handle]) -> Result<(), StoreError> {
        self.inner.retain(manifest, frames)
    }

    fn wants_anew(&self, handle: &Handle) -> bool {
        self.inner.wants_anew(handle)
    }

    fn retained(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.retained()
    }

    fn adopt(&self, frames: &[Handle]) -> Result<(), StoreError> {
        self.inner.adopt(frames)
    }

    fn forget(&self) -> Result<(), StoreError> {
        self.inner.forget()
    }

    fn batch_bytes(&self) -> u64 {
        self.batch_bytes
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        self.inner.checksum(bytes)
    }

    fn summing(&self) -> Box<dyn Summing> {
        self.inner.summing()
    }

    fn share(&self, handle: &Handle) -> Option<(File, u64, u64)> {
        self.inner.share(handle)
    }

    fn reclaim(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        self.inner.reclaim(rehome);
    }

    fn mapped_bytes(&self) -> u64 {
        self.inner.mapped_bytes()
    }

    fn trim(&self) {
        self.inner.trim();
    }

    fn usage(&self) -> StoreUsage {
        self.inner.usage()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
