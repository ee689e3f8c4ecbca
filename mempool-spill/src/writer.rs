//! Streams a frame into a file: content first, hashed as it goes, header last.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mempool_core::{Content, Frame, StoreError};

use crate::chain::{Chain, Output};
use crate::checksum::{Running, xxh3_64};
use crate::disk::{Disk, write_all_at};
use crate::error::SpillError;
use crate::places::{Extent, PLACE};

/// What is gathered before it is written, and the most that is written at once: small enough to be copied while what was
/// hashed a moment ago is still in the processor's cache.
const CHUNK: usize = 256 << 10;

/// From this size on a second thread hashes while the first one writes.
const HASHED_BESIDE: usize = 8 << 20;

/// A place in a file, for one frame.
pub(crate) struct Target<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
    /// Writes are cut at the multiples of this in the file. The page cache then holds pieces as large and as aligned, and
    /// a fault maps a whole piece: few faults where all is read, little that is mapped in vain where a part is.
    pub(crate) piece: u64,
}

impl Target<'_> {
    /// Pieces of a frame that is read as a whole: large, for the page cache then has it in few parts, and whoever reads
    /// it passes fewer of them. In pieces of 1 MiB frames of 64 MiB take nearly twice as long to write (docs/benchmarks.md).
    pub(crate) const WHOLE: u64 = 512 << 10;

    /// Writes `bytes` at `at` in the file.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> Result<(), SpillError> {
        pieces(bytes, at, self.piece).try_for_each(|(piece, at)| self.write_piece(piece, at))
    }

    fn write_piece(&self, bytes: &[u8], at: u64) -> Result<(), SpillError> {
        write_all_at(self.disk, self.file, bytes, at)
            .map_err(|e| SpillError::io_at("write", self.path, at, e))
    }
}

/// Writes `frame` to its place; answers its header's bytes.
pub(crate) fn write_frame(target: &Target<'_>, frame: &Frame<'_>) -> Result<Vec<u8>, StoreError> {
    let header = frame.header();
    let at = target.offset.saturating_add(header.header_bytes());
    let mut content = FileContent { target, at, hash: Running::new(), gathered: Vec::new() };
    frame.write_content(&mut content)?;
    let content_checksum = content.finish()?;
    let mut sealed = Vec::new();
    header.seal_into(content_checksum, xxh3_64, &mut sealed);
    target.write(&sealed, target.offset)?;
    Ok(sealed)
}

/// Writes `frame` to its place through the filters of `chain`, if it has any; answers how long it is there, and the
/// frame's header.
pub(crate) fn write_through(
    chain: &Chain,
    target: &Target<'_>,
    frame: &Frame<'_>,
) -> Result<(u64, Vec<u8>), StoreError> {
    if chain.is_empty() {
        return Ok((frame.frame_bytes(), write_frame(target, frame)?));
    }
    let at = target.offset.saturating_add(chain.header_bytes());
    let written = chain.write(frame, target.path, &mut FileOutput { target, at })?;
    target.write(&written.header, target.offset)?;
    Ok((written.container_bytes, written.frame_header))
}

/// The blocks of a container, one behind the other in a file.
struct FileOutput<'a> {
    target: &'a Target<'a>,
    at: u64,
}

impl Output for FileOutput<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        self.target.write_piece(bytes, self.at)?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl Output for Gather<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Small frames that stand one behind the other, for one write.
///
/// The memory is used again from batch to batch: what is hashed and written was touched a moment ago, and lies in the
/// cache.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    header: Vec<u8>,
    /// Where each frame starts, and how long it is.
    frames: Vec<(u64, u64)>,
    align: u64,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.align = PLACE;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the batch asks of a segment.
    pub(crate) fn extent(&self) -> Extent<'_> {
        Extent { bytes: self.bytes.len() as u64, align: self.align, frames: &self.frames }
    }

    /// Adds a frame, through the filters of `chain`, whose errors name `path`. The batch is as it was when that fails.
    pub(crate) fn push(
        &mut self,
        frame: &Frame<'_>,
        chain: &Chain,
        path: &Path,
    ) -> Result<(), StoreError> {
        let before = self.bytes.len();
        let pushed =
            if chain.is_empty() { self.gather(frame) } else { self.filter(frame, chain, path) };
        if pushed.is_err() {
            self.bytes.truncate(before);
        }
        pushed
    }

    fn gather(&mut self, frame: &Frame<'_>) -> Result<(), StoreError> {
        let header = frame.header();
        let align = u64::from(header.align).max(PLACE);
        let start = to_usize((self.bytes.len() as u64).next_multiple_of(align));
        let header_len = to_usize(header.header_bytes());
        self.bytes.resize(start.saturating_add(header_len), 0);
        frame.write_content(&mut Gather(&mut self.bytes))?;
        let (head, content) = self.bytes.split_at_mut(start.saturating_add(header_len));
        self.header.clear();
        header.seal_into(xxh3_64(content), xxh3_64, &mut self.header);
        head[start..].copy_from_slice(&self.header);
        self.frames.push((start as u64, frame.frame_bytes()));
        self.align = self.align.max(align);
        Ok(())
    }

    fn filter(&mut self, frame: &Frame<'_>, chain: &Chain, path: &Path) -> Result<(), StoreError> {
        // Decoded into other memory, so a container has no alignment of its own.
        let start = to_usize((self.bytes.len() as u64).next_multiple_of(PLACE));
        let behind = start.saturating_add(to_usize(chain.header_bytes()));
        self.bytes.resize(behind, 0);
        let written = chain.write(frame, path, &mut Gather(&mut self.bytes))?;
        self.bytes[start..behind].copy_from_slice(&written.header);
        self.frames.push((start as u64, written.container_bytes));
        Ok(())
    }

    /// Adds a frame that was written before, as it is.
    pub(crate) fn push_written(&mut self, frame: &[u8], align: u64) {
        let start = (self.bytes.len() as u64).next_multiple_of(align.max(PLACE));
        self.bytes.resize(to_usize(start), 0);
        self.bytes.extend_from_slice(frame);
        self.frames.push((start, frame.len() as u64));
        self.align = self.align.max(align);
    }

    /// Ends a large batch at a page, so that the kernel has no part of a page to look after.
    pub(crate) fn round_to_pages(&mut self) {
        if self.bytes.len() >= PAGES_WORTH {
            self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
            self.align = self.align.max(PAGE as u64);
        }
    }
}

const PAGE: usize = 4096;

/// From this size on a page more or less is a small part of a batch.
const PAGES_WORTH: usize = 16 * PAGE;

/// Sizes of frames that are smaller than a segment fit.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

struct Gather<'a>(&'a mut Vec<u8>);

impl Content for Gather<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Cuts bytes that go to `at` in a file at the multiples of `piece` there.
fn pieces(mut bytes: &[u8], mut at: u64, piece: u64) -> impl Iterator<Item = (&[u8], u64)> {
    std::iter::from_fn(move || {
        let room = to_usize(piece - at % piece);
        let (next, behind) = bytes.split_at(room.min(bytes.len()));
        let from = at;
        bytes = behind;
        at = at.saturating_add(next.len() as u64);
        (!next.is_empty()).then_some((next, from))
    })
}

/// Writes `bytes` while a second thread hashes them. What that one has not come to when all is written, because other
/// work has the processor, is hashed here: it can only help.
fn put_beside(
    target: &Target<'_>,
    from: u64,
    hash: &mut Running,
    bytes: &[u8],
) -> Result<(), SpillError> {
    let pieces_left = Mutex::new((hash, bytes.chunks(CHUNK)));
    let hash_next = || {
        let (hash, pieces) = &mut *pieces_left.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.next().map(|piece| hash.update(piece)).is_some()
    };
    std::thread::scope(|scope| {
        // Without a second thread all is hashed here.
        let _ = std::thread::Builder::new().spawn_scoped(scope, || while hash_next() {});
        let written = target.write(bytes, from);
        while hash_next() {}
        written
    })
}

/// Gathers what is small; what is large goes to the file from where it lies.
struct FileContent<'a> {
    target: &'a Target<'a>,
    at: u64,
    hash: Running,
    gathered: Vec<u8>,
}

impl FileContent<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        let Self { target, at, hash, .. } = self;
        let from = *at;
        *at = from.saturating_add(bytes.len() as u64);
        if bytes.len() >= HASHED_BESIDE {
            return put_beside(target, from, hash, bytes);
        }
        pieces(bytes, from, target.piece).try_for_each(|(piece, at)| {
            hash.update(piece);
            target.write_piece(piece, at)
        })
    }

    fn flush(&mut self) -> Result<(), SpillError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let put = self.put(&gathered);
        gathered.clear();
        self.gathered = gathered;
        put
    }

    fn finish(mut self) -> Result<u64, SpillError> {
        self.flush()?;
        Ok(self.hash.finish())
    }
}

impl Content for FileContent<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() < CHUNK {
            self.gathered.extend_from_slice(bytes);
            if self.gathered.len() >= CHUNK {
                self.flush()?;
            }
            return Ok(());
        }
        self.flush()?;
        Ok(self.put(bytes)?)
    }
}
