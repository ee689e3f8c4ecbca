//! A frame behind a descriptor: what may leave a process, and what is looked at before one that came is mapped.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use mempool_core::{ALIGNMENT_MAX, FrameDamage, HEADER_BYTES, Header, Id};
use rustix::fs::{FileType, OFlags, SealFlags};

use super::error::{DescriptorFault, HostError};
use super::memfd::{SEALS, SealedFrame, memory};
use super::message;
use super::place::own_uid;
use crate::identity::GlobalId;

/// What the header of a frame says it is: a value of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The pool that wrote it.
    pub pool: u64,
    /// The value there.
    pub id: Id,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {} of pool {:016x}", self.id, self.pool)
    }
}

/// A frame that may leave the process as a descriptor.
#[derive(Clone)]
pub struct SharedFrame {
    file: Arc<File>,
    offset: u64,
    bytes: u64,
    stamp: Stamp,
    /// What lives as long as somebody maps the frame.
    kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for SharedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFrame")
            .field("offset", &self.offset)
            .field("bytes", &self.bytes)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

impl SharedFrame {
    /// A frame of a file of which no byte changes from now on, and which is never made shorter: what
    /// [`SpillStore::share`](mempool_core::SpillStore::share) gives.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidData`] when no frame is there.
    pub fn of_file(file: File, offset: u64, bytes: u64) -> io::Result<Self> {
        let mut fixed = [0; 128];
        file.read_exact_at(&mut fixed, offset)?;
        let stamp = stamp_of(&fixed, bytes)
            .map_err(|damage| io::Error::new(io::ErrorKind::InvalidData, damage))?;
        Ok(Self { file: Arc::new(file), offset, bytes, stamp, kept: None })
    }

    /// A frame in sealed memory, which is kept while somebody maps it.
    ///
    /// # Errors
    /// As [`of_file`](Self::of_file).
    pub fn of_sealed(sealed: Arc<SealedFrame>) -> io::Result<Self> {
        let frame = Self::of_file(sealed.file().try_clone()?, 0, sealed.bytes())?;
        Ok(Self { kept: Some(sealed), ..frame })
    }

    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What its header says.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn take_kept(self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.kept
    }
}

/// Which value a header is of, after a look at the magic and at the length. Its checksums are looked at where the pool takes
/// the frame in.
fn stamp_of(fixed: &[u8; 128], bytes: u64) -> Result<Stamp, FrameDamage> {
    let number = |at: usize| {
        let bytes = fixed.get(at..).and_then(|rest| rest.first_chunk::<8>());
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let half = |at: usize| {
        let bytes = fixed.get(at..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    match Header::frame_bytes_of(fixed) {
        None => Err(FrameDamage::Magic { found: number(0).to_le_bytes() }),
        Some(expected) if expected != bytes => Err(FrameDamage::Length { expected, found: bytes }),
        // As docs/format.md has them.
        Some(_) => Ok(Stamp { pool: number(80), id: Id { slot: half(72), generation: half(76) } }),
    }
}

/// What is looked at before a descriptor is mapped. Nothing is read through it here.
pub(super) fn check(
    value: GlobalId,
    frame: &message::Frame,
    mut descriptors: Vec<OwnedFd>,
    cut: bool,
) -> Result<File, HostError> {
    let found = descriptors.len();
    let fault = |fault| HostError::Descriptor { value, fault };
    match descriptors.pop() {
        Some(one) if found == 1 && !cut => {
            let file = File::from(one);
            check_file(&file, frame.offset, frame.bytes).map_err(fault)?;
            Ok(file)
        }
        _ => Err(fault(DescriptorFault::Count { found, cut })),
    }
}

fn check_file(file: &File, offset: u64, bytes: u64) -> Result<(), DescriptorFault> {
    let flags = rustix::fs::fcntl_getfl(file).unwrap_or(OFlags::PATH);
    if flags.contains(OFlags::PATH) || flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Err(DescriptorFault::Access { flags: flags.bits() });
    }
    let found = rustix::fs::fstat(file).map_err(|_| DescriptorFault::Type { mode: 0 })?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(DescriptorFault::Type { mode: found.st_mode });
    }
    if found.st_uid != own_uid() {
        return Err(DescriptorFault::Owner { expected: own_uid(), found: found.st_uid });
    }
    let end = place(offset, bytes)?;
    let len = u64::try_from(found.st_size).unwrap_or_default();
    if len < end {
        return Err(DescriptorFault::Short { expected: end, found: len });
    }
    check_seals(file, found.st_dev)
}

/// Where the frame ends, if it can be mapped so that its content is aligned.
fn place(offset: u64, bytes: u64) -> Result<u64, DescriptorFault> {
    let aligned = offset.is_multiple_of(ALIGNMENT_MAX as u64);
    let fits =
        bytes >= HEADER_BYTES && usize::try_from(bytes).is_ok_and(|len| len <= isize::MAX as usize);
    match offset.checked_add(bytes) {
        Some(end) if aligned && fits => Ok(end),
        _ => Err(DescriptorFault::Place { offset, bytes }),
    }
}

/// Memory must be sealed. A file of a file system cannot be.
fn check_seals(file: &File, device: u64) -> Result<(), DescriptorFault> {
    if Some(device) != memory_device() {
        return Ok(());
    }
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    match seals.contains(SEALS) || mutant!("unsealed_memory_mapped") {
        true => Ok(()),
        false => Err(DescriptorFault::Unsealed { seals: seals.bits() }),
    }
}

/// The device on which the kernel keeps all memory that has a descriptor, and nothing else.
fn memory_device() -> Option<u64> {
    static DEVICE: OnceLock<Option<u64>> = OnceLock::new();
    *DEVICE.get_or_init(|| Some(rustix::fs::fstat(&memory().ok()?).ok()?.st_dev))
}

/// Looks at the first bytes of a frame that was mapped: it is one, it is as long as was said, and it is that value's.
pub(super) fn check_mapped(
    value: GlobalId,
    expected: Stamp,
    mapped: &[u8],
) -> Result<(), HostError> {
    let short = || FrameDamage::Length { expected: HEADER_BYTES, found: mapped.len() as u64 };
    let fixed = mapped.first_chunk().ok_or_else(short);
    let found = fixed.and_then(|fixed| stamp_of(fixed, mapped.len() as u64));
    let found = found.map_err(|damage| HostError::Frame { value, damage })?;
    match found == expected {
        true => Ok(()),
        false => Err(HostError::WrongFrame { value, expected, found }),
    }
}
