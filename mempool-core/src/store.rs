//! `SpillStore`: what the pool asks of a slower tier. Five methods, so that a double is fifty lines.

use std::fs::File;
use std::path::Path;

use crate::buffer::Buffer;
use crate::codec::{Fnv1a, Room, fnv1a};
use crate::error::{StoreError, StoreErrorKind};
use crate::frame::{Frame, Header};
use crate::id::Id;

/// Where a frame lies in its store. Only the store that made it knows what the numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// Which segment.
    pub segment: u64,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How long the frame is.
    pub bytes: u64,
}

/// How a saved file is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The length of the frame.
    pub bytes: u64,
    /// The checksum of its header, which covers the checksum of its content.
    pub header_checksum: u64,
}

impl Fingerprint {
    /// The fingerprint of a whole frame whose header was decoded.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        let mut sum = [0; 8];
        if let Some(field) = frame.get(crate::frame::HEADER_SUM) {
            sum.copy_from_slice(field);
        }
        Self { bytes: frame.len() as u64, header_checksum: u64::from_le_bytes(sum) }
    }
}

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of frames that were written and not freed.
    pub live_bytes: u64,
    /// Bytes that the store takes on its device, dead space included.
    pub disk_bytes: u64,
    /// The most that `disk_bytes` has been.
    pub peak_disk_bytes: u64,
    /// The store's limit for them; `None` where it has none.
    pub limit_bytes: Option<u64>,
    /// Bytes of maps that were given out since they were last trimmed.
    pub mapped_bytes: u64,
    /// Files and other descriptors that are open.
    pub descriptors: u64,
}

/// A checksum of bytes that come piece by piece; see [`SpillStore::summing`].
pub trait Summing: Send {
    /// Takes the next bytes.
    fn update(&mut self, bytes: &[u8]);

    /// The checksum of all that it was given.
    fn finish(&self) -> u64;
}

/// A slower tier. It sees bytes, never types, and places frames as it likes.
///
/// Called by many threads at once, never under a lock of the pool's. What it returned `Ok` for is there; a failed
/// call has left nothing behind. Errors name the file and the offset.
pub trait SpillStore: Send + Sync + 'static {
    /// Writes a frame: header and content, whole or not at all.
    ///
    /// # Errors
    /// [`StoreErrorKind::Full`] and others; nothing is then kept.
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError>;

    /// The bytes of a frame, header first, aligned to the frame's alignment: a map, or a copy paid from `room`.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Damaged`](crate::StoreErrorKind::Damaged) where the store checks content.
    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError>;

    /// These frames will be opened soon: a store that can reads them ahead. They are in the order in which they lie, and may
    /// be freed meanwhile. A hint: it has no errors, and waits for nothing.
    fn advise(&self, handles: &[Handle]) {
        let _ = handles;
    }

    /// Gives up a frame. Buffers of it that are still held stay good. Called once for each handle.
    fn free(&self, handle: &Handle);

    /// Writes a frame to a file of the user's, durably and whole, or leaves what was there.
    ///
    /// # Errors
    /// As [`write`](Self::write). Where the file alone was made durable and its directory was not, the new file stands
    /// there, whole, and may be gone after a power cut.
    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError>;

    /// Opens a file that [`save`](Self::save) wrote, with every checksum checked over bytes that nobody else can
    /// change from then on.
    ///
    /// # Errors
    /// [`Missing`](crate::StoreErrorKind::Missing), [`Damaged`](crate::StoreErrorKind::Damaged), or as `open`.
    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError>;

    /// Writes frames in order until one fails: the handles of those that were written, and why the next one was not.
    fn write_batch(&self, frames: &[Frame<'_>]) -> (Vec<Handle>, Option<StoreError>) {
        let mut handles = Vec::with_capacity(frames.len());
        for frame in frames {
            match self.write(frame) {
                Ok(handle) => handles.push(handle),
                Err(error) => return (handles, Some(error)),
            }
        }
        (handles, None)
    }

    /// How many bytes this store likes to write at once. A pool that has to write a small value writes others that
    /// are next to go with it, up to so many bytes in all; 0 has each value written when it must be, by itself.
    fn batch_bytes(&self) -> u64 {
        0
    }

    /// Gives space that nothing lives in back, if there is much of it. Called after frames were freed, where I/O may be
    /// done.
    ///
    /// Live frames that stand in the way are copied to a new place. `rehome` takes the value of such a frame with its
    /// old place and its new one, and says whether the old one is free now; if not, the frame stays where it was, and
    /// the new place is free.
    fn reclaim(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        let _ = rehome;
    }

    /// The checksum that this store seals frames with.
    fn checksum(&self, bytes: &[u8]) -> u64 {
        fnv1a(bytes)
    }

    /// The same of bytes that come piece by piece. A store that has a checksum of its own has this, too.
    fn summing(&self) -> Box<dyn Summing> {
        Box::new(Fnv1a::new())
    }

    /// As [`open`](Self::open), of a frame that another process has written: every byte is checked.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Damaged`](crate::StoreErrorKind::Damaged) when a checksum does not match.
    fn open_whole(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        let frame = self.open(handle, room)?;
        match Header::check_whole(&frame, |bytes| self.checksum(bytes)) {
            Ok(_) => Ok(frame),
            Err(damage) => {
                let said = format!("{handle:?}: {damage}");
                Err(StoreError::new(StoreErrorKind::Damaged, said))
            }
        }
    }

    /// Makes `frames` durable, and with them `manifest`, which says what they are: all of it, or what was retained before
    /// stays. From then on they outlive a close and the process.
    ///
    /// Each of `frames` is claimed by the caller until this returns. What was retained before and is not any more is
    /// free to go.
    ///
    /// # Errors
    /// [`Unsupported`](crate::StoreErrorKind::Unsupported) from a store that ends with its process, and what the disk
    /// says.
    fn retain(&self, manifest: &[u8], frames: &[Handle]) -> Result<(), StoreError> {
        let _ = (manifest, frames);
        Err(StoreError::new(StoreErrorKind::Unsupported, "this store keeps nothing"))
    }

    /// Whether a frame should be written anew before it is retained: because its place cannot be made durable, or is one
    /// where little lives that would have to be kept for it.
    fn wants_anew(&self, handle: &Handle) -> bool {
        let _ = handle;
        false
    }

    /// The manifest that a store was opened with, as [`retain`](Self::retain) was given it; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read any more.
    fn retained(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    /// Takes over the frames of that manifest: each is freed by its own call of [`free`](Self::free).
    ///
    /// # Errors
    /// [`Damaged`](crate::StoreErrorKind::Damaged) for frames that cannot lie where the manifest says. A file that is
    /// missing is an error of the [`open`](Self::open) that needs it.
    fn adopt(&self, frames: &[Handle]) -> Result<(), StoreError> {
        let _ = frames;
        Err(StoreError::new(StoreErrorKind::Unsupported, "this store keeps nothing"))
    }

    /// Gives up what was retained: the next close leaves nothing.
    ///
    /// # Errors
    /// When the disk refuses; it is then still retained.
    fn forget(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A read-only descriptor of the frame's file with its offset and length, where it may leave the process: the frame has
    /// the file to itself, no byte of it changes from now on, and it is never made shorter, whatever becomes of the value.
    fn share(&self, handle: &Handle) -> Option<(File, u64, u64)> {
        let _ = handle;
        None
    }

    /// Bytes of maps that were given out since they were last trimmed: they may be in the process's page tables, and
    /// schedulers count them.
    fn mapped_bytes(&self) -> u64 {
        0
    }

    /// Takes the pages that no buffer views any more out of the process's page tables.
    fn trim(&self) {}

    /// What it holds.
    fn usage(&self) -> StoreUsage {
        StoreUsage::default()
    }

    /// Ends the store's use: no further frame is written. What is still held stays readable, and what was retained
    /// stays.
    ///
    /// # Errors
    /// When something could not be removed.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
