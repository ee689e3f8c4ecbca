//! Reads a container back: block by block from its file, through the filters in reverse, into one buffer.
//!
//! Memory beside that buffer is what one read of the file takes and what two blocks take, less than two megabytes.

use std::fs::File;
use std::io;
use std::path::Path;

use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, FrameDamage, Header, Room, StoreError, StoreErrorKind,
};

use crate::chain::Chain;
use crate::checksum::{Running, xxh3_64};
use crate::container::{BLOCK_HEAD, Container, FIXED, Seed, encoded_len};
use crate::disk::{Disk, RealDisk};
use crate::error::SpillError;
use crate::filter::{Block, Filter, FilterError};
use crate::saved::open_user_frame;

/// What is read at once.
const READ: u64 = 512 << 10;

/// A container in a file.
pub(crate) struct Place<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Place<'_> {
    pub(crate) fn damaged(&self, damage: FrameDamage) -> SpillError {
        SpillError::Damaged { path: self.path.to_path_buf(), offset: self.offset, damage }
    }

    /// Why the bytes at `at` cannot be read: where the file ends too early, that somebody has made it shorter.
    fn read_error(&self, at: u64, error: io::Error) -> SpillError {
        let expected = self.offset.saturating_add(self.bytes);
        match self.disk.len(self.file) {
            Ok(found) if found < expected => {
                SpillError::Truncated { path: self.path.to_path_buf(), expected, found }
            }
            _ => SpillError::io_at("read", self.path, at, error),
        }
    }

    /// Whether a container stands there, and not a frame as it is.
    pub(crate) fn is_container(&self) -> Result<bool, SpillError> {
        let mut magic = [0; 8];
        if self.bytes < magic.len() as u64 {
            return Ok(false);
        }
        let read = self.disk.read_exact_at(self.file, &mut magic, self.offset);
        read.map_err(|e| self.read_error(self.offset, e))?;
        Ok(crate::container::begins(&magic))
    }

    /// Reads the container's header, and what comes with it.
    pub(crate) fn open(&self) -> Result<Opened<'_>, SpillError> {
        let mut input = Input { place: self, at: 0, bytes: Vec::new(), used: 0 };
        let fixed = input.next(FIXED)?.first_chunk().copied().unwrap_or([0; FIXED]);
        let len = Container::length_of(&fixed).map_err(|damage| self.damaged(damage))?;
        input.used = 0;
        let header = input.next(len)?;
        let container = Container::decode(header).map_err(|damage| self.damaged(damage))?;
        let (expected, found) = (container.container_bytes, self.bytes);
        if expected != found {
            return Err(self.damaged(FrameDamage::Length { expected, found }));
        }
        let seed = Seed::of(&container.context());
        Ok(Opened { input, container, seed })
    }
}

/// The bytes of a container, from its beginning to its end.
struct Input<'a> {
    place: &'a Place<'a>,
    /// How many were read.
    at: u64,
    bytes: Vec<u8>,
    /// How many of `bytes` were given out.
    used: usize,
}

impl Input<'_> {
    /// The next `len` bytes.
    fn next(&mut self, len: usize) -> Result<&[u8], SpillError> {
        if self.bytes.len().saturating_sub(self.used) < len {
            self.fill(len)?;
        }
        let from = self.used;
        self.used = from.saturating_add(len);
        Ok(self.bytes.get(from..self.used).unwrap_or_default())
    }

    fn fill(&mut self, len: usize) -> Result<(), SpillError> {
        let place = self.place;
        self.bytes.drain(..self.used);
        self.used = 0;
        let have = self.bytes.len();
        let missing = len.saturating_sub(have) as u64;
        let left = place.bytes.saturating_sub(self.at);
        if missing > left {
            let expected = self.at.saturating_add(missing);
            return Err(place.damaged(FrameDamage::Length { expected, found: place.bytes }));
        }
        let more = READ.max(missing).min(left);
        self.bytes.resize(have.saturating_add(usize::try_from(more).unwrap_or(usize::MAX)), 0);
        let from = place.offset.saturating_add(self.at);
        let into = self.bytes.get_mut(have..).unwrap_or_default();
        let read = place.disk.read_exact_at(place.file, into, from);
        read.map_err(|e| place.read_error(from, e))?;
        self.at = self.at.saturating_add(more);
        Ok(())
    }
}

/// A container whose header was read.
pub(crate) struct Opened<'a> {
    input: Input<'a>,
    pub(crate) container: Container,
    seed: Seed,
}

impl Opened<'_> {
    /// Decodes all of it into memory that `room` pays for: a frame, whose content nobody has checked yet.
    pub(crate) fn decode(mut self, chain: &Chain, room: &mut Room) -> Result<Buffer, StoreError> {
        let filters = self.filters(chain)?;
        let memory = |error| StoreError::new(StoreErrorKind::Io, error);
        let len = usize::try_from(self.container.frame_bytes).unwrap_or(usize::MAX);
        let bytes = Buffer::allocation_bytes(len, ALIGNMENT).map_err(memory)?;
        let reservation = room.take(bytes).map_err(memory)?;
        let buffer = BufferMut::with_capacity(len, ALIGNMENT, reservation).map_err(memory)?;
        let head = self.container.frame_header_bytes as usize;
        let mut frame = Assembly { buffer, head, head_filled: 0 };
        frame.buffer.zero_to(head);
        let mut decoded = Decoded { context: self.container.context(), ..Decoded::default() };
        for index in 0..self.container.blocks() {
            let plain = self.block(&filters, index, &mut decoded)?;
            frame.take(plain);
        }
        self.end()?;
        Ok(frame.buffer.freeze())
    }

    /// Decodes all of it, block by block, and checks the frame's own checksums; answers the frame's header.
    fn check(mut self, chain: &Chain) -> Result<Header, SpillError> {
        let filters = self.filters(chain)?;
        let head = u64::from(self.container.frame_header_bytes);
        let mut content_left = self.container.frame_bytes.saturating_sub(head);
        let mut header = Vec::new();
        let mut hash = Running::new();
        let mut decoded = Decoded { context: self.container.context(), ..Decoded::default() };
        for index in 0..self.container.blocks() {
            let plain = self.block(&filters, index, &mut decoded)?;
            let content = usize::try_from(content_left).map_or(plain.len(), |n| n.min(plain.len()));
            let (content, rest) = plain.split_at(content);
            hash.update(content);
            content_left = content_left.saturating_sub(content.len() as u64);
            header.extend_from_slice(rest);
        }
        self.end()?;
        let place = self.input.place;
        let header = Header::decode(&header, xxh3_64).map_err(|damage| place.damaged(damage))?;
        let (expected, found) = (header.content_checksum, hash.finish());
        if expected != found {
            let damage = FrameDamage::Checksum { part: "content", expected, found };
            return Err(place.damaged(damage));
        }
        if header.frame_bytes != self.container.frame_bytes {
            let (expected, found) = (header.frame_bytes, self.container.frame_bytes);
            return Err(place.damaged(FrameDamage::Length { expected, found }));
        }
        Ok(header)
    }

    /// Checks every block by its checksum, and that nothing stands behind the last one. Needs no filter.
    fn check_sums(mut self) -> Result<Container, SpillError> {
        for index in 0..self.container.blocks() {
            self.encoded(index, usize::MAX)?;
        }
        self.end()?;
        Ok(self.container)
    }

    fn end(&mut self) -> Result<(), SpillError> {
        let place = self.input.place;
        let unread = self.input.bytes.len().saturating_sub(self.input.used) as u64;
        let found = self.input.at.saturating_sub(unread);
        let expected = place.bytes;
        if found != expected {
            return Err(place.damaged(FrameDamage::Length { expected, found }));
        }
        Ok(())
    }

    fn filters<'c>(&self, chain: &'c Chain) -> Result<Vec<&'c dyn Filter>, SpillError> {
        let place = self.input.place;
        let find = |applied| match chain.find(applied) {
            Some(Ok(filter)) => Ok(filter),
            Some(Err(source)) => Err(SpillError::Filter {
                path: place.path.to_path_buf(),
                offset: place.offset,
                filter: applied.name,
                block: 0,
                source,
            }),
            None => Err(SpillError::FilterMissing {
                path: place.path.to_path_buf(),
                offset: place.offset,
                filters: self.container.chain(),
            }),
        };
        self.container.filters.iter().map(find).collect()
    }

    /// The encoded bytes of a block, of which there are `max` at most.
    fn encoded(&mut self, index: u64, max: usize) -> Result<&[u8], SpillError> {
        let place = self.input.place;
        let (last, index) = self.place_of(index);
        let head = self.input.next(BLOCK_HEAD)?.first_chunk().copied().unwrap_or_default();
        let len = encoded_len(head);
        if len > max {
            return Err(place.damaged(FrameDamage::Field {
                field: "encoded bytes of a block",
                found: len as u64,
            }));
        }
        let encoded = self.input.next(len)?;
        self.seed.check(index, last, head, encoded).map_err(|damage| place.damaged(damage))?;
        Ok(encoded)
    }

    fn place_of(&self, index: u64) -> (bool, u32) {
        let last = index.saturating_add(1) == self.container.blocks();
        (last, u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Decodes a block.
    fn block<'d>(
        &mut self,
        filters: &[&dyn Filter],
        index: u64,
        decoded: &'d mut Decoded,
    ) -> Result<&'d [u8], SpillError> {
        let plain = self.container.plain_len(index);
        let Decoded { context, maxima, bytes, spare } = decoded;
        maxima.clear();
        let mut max = plain;
        for filter in filters {
            maxima.push(max);
            max = filter.encoded_bytes_max(max);
        }
        let (last, at) = self.place_of(index);
        let (path, offset) = (self.input.place.path, self.input.place.offset);
        // A copy of so few bytes; `encoded` borrows all of the rest.
        let applied = self.container.filters.clone();
        let mut first = Some(self.encoded(index, max)?);
        for ((filter, applied), &max) in filters.iter().zip(&applied).zip(&*maxima).rev() {
            let block = Block { parameters: &applied.parameters, header: context, index: at, last };
            spare.clear();
            let input = first.take().unwrap_or(bytes);
            let failed = |error| SpillError::filter(path, offset, *filter, at, error);
            filter.decode(&block, input, max, spare).map_err(failed)?;
            if spare.len() > max {
                return Err(failed(FilterError::TooLong { limit_bytes: max as u64 }));
            }
            std::mem::swap(bytes, spare);
        }
        if bytes.len() != plain {
            let what = format!("{} bytes in a block of {plain}", bytes.len());
            let filter = *filters.first().expect("a container has a filter");
            return Err(SpillError::filter(
                path,
                offset,
                filter,
                at,
                FilterError::Undecodable { what },
            ));
        }
        Ok(bytes)
    }
}

/// The memory in which blocks are decoded.
#[derive(Default)]
struct Decoded {
    context: Vec<u8>,
    maxima: Vec<usize>,
    bytes: Vec<u8>,
    spare: Vec<u8>,
}

/// A frame that comes with its header behind.
struct Assembly {
    buffer: BufferMut,
    head: usize,
    head_filled: usize,
}

impl Assembly {
    fn take(&mut self, plain: &[u8]) {
        let room = self.buffer.capacity().saturating_sub(self.buffer.len());
        let (content, header) = plain.split_at(room.min(plain.len()));
        self.buffer.extend_from_slice(content);
        let from = self.head_filled;
        self.head_filled = from.saturating_add(header.len()).min(self.head);
        let into = self.buffer.as_mut_slice().get_mut(from..self.head_filled).unwrap_or_default();
        into.copy_from_slice(header);
    }
}

/// Checks every block of a saved file that went through filters, by its checksum. It needs no filter and no key: it finds
/// damage, and not what somebody has put in its place.
///
/// # Errors
/// [`SpillError::Damaged`] says what is wrong, for a file without filters as well.
pub fn check_blocks(path: impl AsRef<Path>) -> Result<Container, SpillError> {
    with_file(path.as_ref(), |place| place.open()?.check_sums())
}

/// As `SpillOptions::check_file` says.
pub(crate) fn check_file(chain: &Chain, path: &Path) -> Result<Header, SpillError> {
    with_file(path, |place| place.open()?.check(chain))
}

fn with_file<R>(
    path: &Path,
    check: impl FnOnce(&Place<'_>) -> Result<R, SpillError>,
) -> Result<R, SpillError> {
    let (file, bytes) = open_user_frame(path)?;
    check(&Place { disk: &RealDisk, file: &file, path, offset: 0, bytes })
}
