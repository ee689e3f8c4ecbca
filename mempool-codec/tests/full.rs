//! A store that fails in the middle of a value: its own error comes through each codec as it was, and the value stays.
#![cfg(all(feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use mempool_codec::{Bincode, Encoded, Rkyv};
use mempool_core::{
    Blob, Buffer, Codec, Content, Error, ErrorKind, Fingerprint, Frame, Handle, MemoryStore,
    PoolOptions, Room, SpillStore, StoreError, StoreErrorKind,
};

/// Takes so many bytes of each frame's content, then is full.
struct Full {
    inner: MemoryStore,
    bytes: usize,
}

struct Left(usize);

impl Content for Left {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let full = || StoreError::new(StoreErrorKind::Full, "no space left");
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(full)?;
        Ok(())
    }
}

impl SpillStore for Full {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        frame.write_content(&mut Left(self.bytes))?;
        self.inner.write(frame)
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.inner.open(handle, room)
    }

    fn free(&self, handle: &Handle) {
        self.inner.free(handle);
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.inner.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.inner.load(path, room)
    }
}

/// Moves a value to disk when its frame has more content than the store takes; also when it goes there straight.
fn fails<C: Codec<Vec<u8>>>(codec: C, straight: C) {
    let open = |codec, limit| {
        let store = Full { inner: MemoryStore::new(), bytes: 150_000 };
        PoolOptions::new().memory_limit(limit).store(store).open(codec)
    };
    let is_full = |error: &Error| {
        let kind = matches!(error, Error::Store(error) if error.kind == StoreErrorKind::Full);
        kind && error.kind() == ErrorKind::Limit
    };
    let pool = open(codec, 1 << 20);
    let reference = pool.set(vec![7; 200_000]).unwrap();
    assert!(is_full(&pool.move_to_disk(&reference).unwrap_err()));
    assert!(pool.is_in_memory(&reference) && pool.get(&reference).is_ok());
    let rejected = open(straight, 4096).set(vec![7; 200_000]).unwrap_err();
    assert!(is_full(&rejected.error), "{:?}", rejected.error);
    assert_eq!(rejected.value.len(), 200_000);
}

#[test]
fn rkyv() {
    fails(Rkyv::new(), Rkyv::new());
}

#[test]
fn bincode() {
    fails(Bincode, Bincode);
}

#[test]
fn encoded() {
    fails(Encoded::new(), Encoded::new());
}

#[test]
fn blob() {
    fails(Blob, Blob);
}
