//! An owner in another pool, of which a test has the frame: it fails, hangs and answers other bytes as it is told.
#![allow(clippy::unwrap_used, dead_code, reason = "a test, and each has its part of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use mempool_core::{
    ALIGNMENT, Blob, Buffer, Codec, Error, Fetched, Format, Header, Id, MemoryStore, RemoteFrame,
    RemoteValue, Result, Room, Section, SpillStore, StoreError, StoreErrorKind, Trust, Untyped,
    copy_into,
};

/// The id and the pool that the owner's frames have.
pub(crate) const ID: Id = Id { slot: 7, generation: 3 };
pub(crate) const POOL: u64 = 0xABCD;

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    MemoryStore::new().checksum(bytes)
}

pub(crate) fn format() -> Format {
    Codec::<Vec<u8>>::format(&Blob)
}

/// The frame of a value of [`Blob`] as its owner writes it.
pub(crate) fn frame_of(value: &[u8], references: u32) -> Vec<u8> {
    let align = ALIGNMENT as u64;
    let content_offset = (128 + 16_u64).next_multiple_of(align);
    let bytes = value.len() as u64;
    let mut content = vec![0; usize::try_from(content_offset).unwrap() - 144];
    content.extend_from_slice(value);
    let header = Header {
        format: format(),
        align: ALIGNMENT as u32,
        frame_bytes: content_offset + bytes,
        content_offset,
        resident_bytes: bytes,
        id: ID,
        pool: POOL,
        references,
        content_checksum: checksum(&content),
        sections: vec![Section { offset: content_offset, bytes }],
    };
    let mut frame = header.encode(checksum);
    frame.extend_from_slice(&content);
    frame
}

/// What the owner does next.
#[derive(Default)]
struct State {
    /// Every call fails so.
    fails: Option<fn() -> StoreError>,
    panics: bool,
    hangs: bool,
    /// Threads that hang in `open`.
    hanging: usize,
    /// What was asked of it, beside `open`.
    calls: Vec<&'static str>,
}

/// The owner's side of a value.
pub(crate) struct Owner {
    pub(crate) frame: Mutex<Vec<u8>>,
    pub(crate) opens: AtomicUsize,
    /// How often it was told that nobody needs it any more, and by which threads.
    pub(crate) released_by: Mutex<Vec<String>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Lends its bytes as a map of the same trust domain does, and counts nobody's memory.
    maps: bool,
}

/// What a pool has of an owner.
struct Way(Arc<Owner>);

impl Owner {
    pub(crate) fn new(frame: Vec<u8>) -> Arc<Self> {
        Self::build(frame, false)
    }

    /// One whose bytes are mapped, and believed.
    pub(crate) fn mapped(frame: Vec<u8>) -> Arc<Self> {
        Self::build(frame, true)
    }

    fn build(frame: Vec<u8>, maps: bool) -> Arc<Self> {
        Arc::new(Self {
            frame: Mutex::new(frame),
            opens: AtomicUsize::new(0),
            released_by: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            maps,
        })
    }

    pub(crate) fn remote(self: &Arc<Self>) -> Arc<dyn RemoteFrame> {
        Arc::new(Way(Arc::clone(self)))
    }

    /// What a pool is told of a value of [`Blob`].
    pub(crate) fn value(self: &Arc<Self>, references: Vec<Untyped>) -> RemoteValue {
        let charged_bytes = self.frame.lock().unwrap().len() as u64;
        RemoteValue {
            format: format(),
            type_name: "alloc::vec::Vec<u8>".to_owned(),
            charged_bytes,
            references,
            id: ID,
            pool: POOL,
            frame: self.remote(),
        }
    }

    pub(crate) fn fail(&self, error: fn() -> StoreError) {
        self.state.lock().unwrap().fails = Some(error);
    }

    pub(crate) fn panic(&self) {
        self.state.lock().unwrap().panics = true;
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.fails, state.panics) = (None, false);
    }

    pub(crate) fn hang(&self, hangs: bool) {
        self.state.lock().unwrap().hangs = hangs;
        self.changed.notify_all();
    }

    pub(crate) fn until_hanging(&self) {
        while self.state.lock().unwrap().hanging == 0 {
            std::thread::yield_now();
        }
    }

    pub(crate) fn opens(&self) -> usize {
        self.opens.load(Ordering::Relaxed)
    }

    pub(crate) fn releases(&self) -> usize {
        self.released_by.lock().unwrap().len()
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }

    fn ask(&self, call: &'static str) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        match state.fails {
            Some(error) => Err(error().into()),
            None => {
                state.calls.push(call);
                Ok(())
            }
        }
    }
}

impl RemoteFrame for Way {
    fn open(&self, room: &mut Room) -> Result<Fetched, StoreError> {
        let Self(owner) = self;
        let mut state = owner.state.lock().unwrap();
        state.hanging += 1;
        while state.hangs {
            state = owner.changed.wait(state).unwrap();
        }
        state.hanging -= 1;
        let (fails, panics) = (state.fails, state.panics);
        drop(state);
        owner.opens.fetch_add(1, Ordering::Relaxed);
        assert!(!panics, "told to panic");
        if let Some(error) = fails {
            return Err(error());
        }
        let frame = owner.frame.lock().unwrap().clone();
        match owner.maps {
            true => Ok(Fetched::new(Buffer::adopt(frame, None)).trust(Trust::Own)),
            false => {
                let copy = copy_into(room, &frame, ALIGNMENT);
                copy.map(Fetched::new).map_err(|error| StoreError::new(StoreErrorKind::Io, error))
            }
        }
    }

    fn delete(&self) -> Result<()> {
        self.0.ask("delete")
    }

    fn move_to_disk(&self) -> Result<()> {
        self.0.ask("move_to_disk")
    }

    fn copy_to_disk(&self) -> Result<()> {
        self.0.ask("copy_to_disk")
    }

    fn describe(&self) -> String {
        "node b, value 7.3".to_owned()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().to_owned();
        self.0.released_by.lock().unwrap().push(name);
    }
}

/// An owner that cannot be reached.
pub(crate) fn unreachable_owner() -> StoreError {
    StoreError::new(StoreErrorKind::Io, "connection refused")
}

/// An owner that has no such value any more.
pub(crate) fn deleted_there() -> StoreError {
    StoreError::new(StoreErrorKind::Missing, Error::Deleted { id: ID })
}
