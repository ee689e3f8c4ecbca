//! A frame that went through filters: the header that says which, and the blocks.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "MEMFILT\0"
//!      8      4  version, 1
//!     12      4  n, number of filters, 1 to 8
//!     16      8  container bytes: this header and all blocks
//!     24      8  frame bytes
//!     32      4  h, bytes of the frame's own header
//!     36      4  b, bytes of the frame in each block but the last; a power of two, 4 KiB to 1 MiB
//!     40      4  slot of the value
//!     44      4  generation of the slot
//!     48      8  pool
//!     56      8  checksum of this header, computed with this field zero
//!     64   64·n  filters, in the order in which they were applied: 16 bytes name, ASCII, padded with zeros; 48 bytes of its own
//!                blocks: ceil(frame bytes / b) of them, one behind the other
//!                     0   4  e, encoded bytes
//!                     4   4  zero
//!                     8   8  checksum of the encoded bytes
//!                    16   e  the encoded bytes
//! ```
//!
//! What the blocks hold, one after the other, is the content of the frame, and then its header: that has a checksum of the
//! content, so it is known last, and a frame is streamed through in one pass.
//!
//! The *context* of a container is its header with container bytes and checksum zero: all that is known before the first
//! block. The checksum of a block has a seed, which is the checksum of the context, plus twice its index, plus 1 for the
//! last block: a block that stands in another container, or at another place, does not match. Encryption has the context
//! as its associated data.

use std::path::Path;

use mempool_core::{FrameDamage, HEADER_BYTES, Id, SECTION_BYTES, SECTIONS_MAX};

use crate::checksum::{xxh3_64, xxh3_64_with_seed};
use crate::error::SpillError;
use crate::filter::{FilterName, Parameters};

pub(crate) const MAGIC: [u8; 8] = *b"MEMFILT\0";
const VERSION: u32 = 1;
/// The header without its filters.
pub(crate) const FIXED: usize = 64;
/// One filter in the header.
const ENTRY: usize = 64;
/// What stands in front of each block's bytes.
pub(crate) const BLOCK_HEAD: usize = 16;
/// The most filters that a chain may have.
pub(crate) const FILTERS_MAX: usize = 8;
/// What this version puts into a block.
pub(crate) const BLOCK_BYTES: u32 = 256 << 10;
const BLOCK_BYTES_MIN: u32 = 4 << 10;
const BLOCK_BYTES_MAX: u32 = 1 << 20;
const FRAME_HEADER_MAX: u64 = HEADER_BYTES + SECTION_BYTES * SECTIONS_MAX as u64;
const LENGTH: std::ops::Range<usize> = 16..24;
const SUM: std::ops::Range<usize> = 56..64;

/// One filter that was applied to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub name: FilterName,
    /// What it says of itself.
    pub parameters: Parameters,
}

/// What a container says, in the clear, of the frame in it: a value at rest that went through filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Header and blocks together.
    pub container_bytes: u64,
    /// The frame as it was before.
    pub frame_bytes: u64,
    /// The frame's own header.
    pub frame_header_bytes: u32,
    /// How much of the frame is in each block but the last.
    pub block_bytes: u32,
    /// The value.
    pub id: Id,
    /// The pool that wrote it.
    pub pool: u64,
    /// The filters, in the order in which they were applied.
    pub filters: Vec<Applied>,
}

impl Container {
    /// Where the first block starts.
    pub(crate) fn header_len(&self) -> usize {
        header_len(self.filters.len())
    }

    /// How many blocks there are.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.frame_bytes.div_ceil(u64::from(self.block_bytes))
    }

    /// How much of the frame is in block `index`.
    pub(crate) fn plain_len(&self, index: u64) -> usize {
        let block = u64::from(self.block_bytes);
        let left = self.frame_bytes.saturating_sub(index.saturating_mul(block));
        usize::try_from(left.min(block)).unwrap_or(usize::MAX)
    }

    /// The names of its filters, in order, for people.
    #[must_use]
    pub fn chain(&self) -> String {
        let names = self.filters.iter().map(|filter| filter.name.to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    /// What is known before the first block.
    pub(crate) fn context(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.filters.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.frame_bytes.to_le_bytes());
        out.extend_from_slice(&self.frame_header_bytes.to_le_bytes());
        out.extend_from_slice(&self.block_bytes.to_le_bytes());
        out.extend_from_slice(&self.id.slot.to_le_bytes());
        out.extend_from_slice(&self.id.generation.to_le_bytes());
        out.extend_from_slice(&self.pool.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for filter in &self.filters {
            out.extend_from_slice(filter.name.as_bytes());
            out.extend_from_slice(&filter.parameters);
        }
        out
    }

    /// The header as it stands in a file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.context();
        out[LENGTH].copy_from_slice(&self.container_bytes.to_le_bytes());
        let sum = xxh3_64(&out);
        out[SUM].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// How long the header is that starts with these bytes; nothing is believed yet but that.
    pub(crate) fn length_of(fixed: &[u8; FIXED]) -> Result<usize, FrameDamage> {
        let found: [u8; 8] = part(fixed, 0);
        if found != MAGIC {
            return Err(FrameDamage::Magic { found });
        }
        let found = u32::from_le_bytes(part(fixed, 8));
        if found != VERSION {
            return Err(FrameDamage::Version { expected: VERSION, found });
        }
        match u32::from_le_bytes(part(fixed, 12)) as usize {
            filters @ 1..=FILTERS_MAX => Ok(header_len(filters)),
            found => Err(FrameDamage::Field { field: "number of filters", found: found as u64 }),
        }
    }

    /// Reads the header at the start of `bytes`: magic, version, its checksum, and that all numbers fit each other.
    ///
    /// Allocates no more than its filters take. The blocks are not looked at.
    ///
    /// # Errors
    /// [`FrameDamage`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameDamage> {
        let short = |expected: usize| FrameDamage::Length {
            expected: expected as u64,
            found: bytes.len() as u64,
        };
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(|| short(FIXED))?;
        let len = Self::length_of(fixed)?;
        let header = bytes.get(..len).ok_or_else(|| short(len))?;
        let expected = u64::from_le_bytes(part(header, SUM.start));
        let mut zeroed = header.to_vec();
        zeroed[SUM].fill(0);
        let found = xxh3_64(&zeroed);
        if found != expected {
            return Err(FrameDamage::Checksum { part: "container header", expected, found });
        }
        let filter = |entry: &[u8]| {
            let name = FilterName::from_bytes(part(entry, 0));
            let name = name.ok_or(FrameDamage::Field { field: "name of a filter", found: 0 })?;
            Ok(Applied { name, parameters: part(entry, 16) })
        };
        let container = Self {
            container_bytes: u64::from_le_bytes(part(header, LENGTH.start)),
            frame_bytes: u64::from_le_bytes(part(header, 24)),
            frame_header_bytes: u32::from_le_bytes(part(header, 32)),
            block_bytes: u32::from_le_bytes(part(header, 36)),
            id: Id {
                slot: u32::from_le_bytes(part(header, 40)),
                generation: u32::from_le_bytes(part(header, 44)),
            },
            pool: u64::from_le_bytes(part(header, 48)),
            filters: header[FIXED..].chunks_exact(ENTRY).map(filter).collect::<Result<_, _>>()?,
        };
        container.check()?;
        Ok(container)
    }

    /// A small file cannot ask for much: each block of a frame takes some of the container.
    fn check(&self) -> Result<(), FrameDamage> {
        let field = |field, found| Err(FrameDamage::Field { field, found });
        let block = self.block_bytes;
        if !block.is_power_of_two() || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block) {
            return field("block bytes", u64::from(block));
        }
        let head = u64::from(self.frame_header_bytes);
        if !(HEADER_BYTES..=FRAME_HEADER_MAX).contains(&head) || head > self.frame_bytes {
            return field("frame header bytes", head);
        }
        let blocks = self.blocks();
        let least =
            (self.header_len() as u64).saturating_add(blocks.saturating_mul(BLOCK_HEAD as u64));
        if blocks > u64::from(u32::MAX) || self.container_bytes < least {
            return field("frame bytes", self.frame_bytes);
        }
        Ok(())
    }
}

fn header_len(filters: usize) -> usize {
    FIXED.saturating_add(ENTRY.saturating_mul(filters))
}

/// The seeds of the blocks' checksums.
#[derive(Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn of(context: &[u8]) -> Self {
        Self(xxh3_64(context))
    }

    fn sum(self, index: u32, last: bool, encoded: &[u8]) -> u64 {
        let place = 2 * u64::from(index) + u64::from(last);
        xxh3_64_with_seed(self.0.wrapping_add(place), encoded)
    }

    /// What stands in front of a block.
    pub(crate) fn head(self, index: u32, last: bool, encoded: &[u8]) -> [u8; BLOCK_HEAD] {
        let mut head = [0; BLOCK_HEAD];
        let len = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[8..].copy_from_slice(&self.sum(index, last, encoded).to_le_bytes());
        head
    }

    /// Whether a block is what was written there.
    pub(crate) fn check(
        self,
        index: u32,
        last: bool,
        head: [u8; BLOCK_HEAD],
        encoded: &[u8],
    ) -> Result<(), FrameDamage> {
        let (expected, found) =
            (u64::from_le_bytes(part(&head, 8)), self.sum(index, last, encoded));
        if part::<4>(&head, 4) != [0; 4] {
            return Err(FrameDamage::Field { field: "zero of a block", found: u64::from(index) });
        }
        if found != expected {
            return Err(FrameDamage::Checksum { part: "block", expected, found });
        }
        Ok(())
    }
}

/// How many encoded bytes stand behind `head`.
pub(crate) fn encoded_len(head: [u8; BLOCK_HEAD]) -> usize {
    u32::from_le_bytes(part(&head, 0)) as usize
}

/// Whether these bytes begin as a container does.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Refuses bytes that are a container, where filters cannot be undone: with the filters that are needed.
pub(crate) fn refuse(bytes: &[u8], path: &Path, offset: u64) -> Result<(), SpillError> {
    if !begins(bytes) {
        return Ok(());
    }
    let path = path.to_path_buf();
    match Container::decode(bytes) {
        Ok(container) => {
            Err(SpillError::FilterMissing { path, offset, filters: container.chain() })
        }
        Err(damage) => Err(SpillError::Damaged { path, offset, damage }),
    }
}

/// How long the container is that starts with these bytes; nothing is checked but the magic.
pub(crate) fn bytes_of(fixed: &[u8; 128]) -> Option<u64> {
    begins(fixed).then(|| u64::from_le_bytes(part(fixed, LENGTH.start)))
}

/// Reads the header of a container that is whole in memory, and checks every block by its checksum.
pub(crate) fn check_whole(bytes: &[u8]) -> Result<Container, FrameDamage> {
    let container = Container::decode(bytes)?;
    let short =
        || FrameDamage::Length { expected: container.container_bytes, found: bytes.len() as u64 };
    let seed = Seed::of(&container.context());
    let mut rest = bytes.get(container.header_len()..).unwrap_or_default();
    let blocks = container.blocks();
    for index in 0..blocks {
        let (head, behind) = rest.split_first_chunk::<BLOCK_HEAD>().ok_or_else(short)?;
        let (encoded, behind) = behind.split_at_checked(encoded_len(*head)).ok_or_else(short)?;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        seed.check(number, index.saturating_add(1) == blocks, *head, encoded)?;
        rest = behind;
    }
    if rest.is_empty() && container.container_bytes == bytes.len() as u64 {
        Ok(container)
    } else {
        Err(short())
    }
}

fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}
