//! A store in memory that says what it is asked for, and that can be made to hang.
#![allow(clippy::unwrap_used, dead_code, reason = "a test, and each has its part of it")]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use mempool_core::{Buffer, Fingerprint, Frame, Handle, MemoryStore, Room, SpillStore, StoreError};

/// What a store was asked for, and which of its calls hang.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) opened: Mutex<Vec<u64>>,
    pub(crate) advised: Mutex<Vec<Vec<u64>>>,
    hanging: Mutex<Hanging>,
    changed: Condvar,
}

#[derive(Default)]
struct Hanging {
    open: bool,
    write: bool,
    /// Writes that hang now.
    writes: usize,
}

impl Log {
    /// From now on opening hangs, until it no longer does.
    pub(crate) fn hold(&self, open: bool) {
        self.hanging.lock().unwrap().open = open;
        self.changed.notify_all();
    }

    /// The same of writing.
    pub(crate) fn hold_writes(&self, write: bool) {
        self.hanging.lock().unwrap().write = write;
        self.changed.notify_all();
    }

    pub(crate) fn until_opened(&self, count: usize) {
        while self.opened.lock().unwrap().len() < count {
            std::thread::yield_now();
        }
    }

    pub(crate) fn until_writes_hang(&self, count: usize) {
        while self.hanging.lock().unwrap().writes < count {
            std::thread::yield_now();
        }
    }

    pub(crate) fn take_opened(&self) -> Vec<u64> {
        std::mem::take(&mut self.opened.lock().unwrap())
    }

    fn hang_in_open(&self) {
        let mut hanging = self.hanging.lock().unwrap();
        while hanging.open {
            hanging = self.changed.wait(hanging).unwrap();
        }
    }

    fn hang_in_write(&self) {
        let mut hanging = self.hanging.lock().unwrap();
        hanging.writes += 1;
        while hanging.write {
            hanging = self.changed.wait(hanging).unwrap();
        }
        hanging.writes -= 1;
    }
}

/// A store in memory with its log.
pub(crate) struct Logged(pub(crate) MemoryStore, pub(crate) Arc<Log>);

fn place(handle: &Handle) -> u64 {
    handle.segment << 32 | handle.offset
}

impl SpillStore for Logged {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        self.1.hang_in_write();
        self.0.write(frame)
    }

    fn advise(&self, handles: &[Handle]) {
        self.1.advised.lock().unwrap().push(handles.iter().map(place).collect());
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.1.opened.lock().unwrap().push(place(handle));
        self.1.hang_in_open();
        self.0.open(handle, room)
    }

    fn free(&self, handle: &Handle) {
        self.0.free(handle);
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.0.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.0.load(path, room)
    }
}
