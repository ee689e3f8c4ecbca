//! `FaultyDisk`: a disk whose calls fail when a test says so.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::Mmap;

use crate::disk::{Disk, RealDisk};

/// The calls of a disk that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskCall {
    /// [`Disk::create`]
    Create,
    /// [`Disk::allocate`]
    Allocate,
    /// [`Disk::punch`]
    Punch,
    /// [`Disk::free_bytes`]
    Free,
    /// [`Disk::write_at`]
    Write,
    /// [`Disk::sync`]
    Sync,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::unlink`]
    Unlink,
    /// [`Disk::len`]
    Len,
    /// [`Disk::map`]
    Map,
    /// [`Disk::read_exact_at`]
    Read,
}

impl DiskCall {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Allocate,
        Self::Punch,
        Self::Free,
        Self::Write,
        Self::Sync,
        Self::Rename,
        Self::Unlink,
        Self::Len,
        Self::Map,
        Self::Read,
    ];
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// With this errno.
    Errno(i32),
    /// A write writes half of what it was given, and the next one fails with this errno.
    ShortThen(i32),
}

/// The real disk behind a switch.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Armed>>);

#[derive(Debug, Default)]
struct Armed {
    fault: Option<(DiskCall, u64, u64, DiskFault)>,
    failed: u64,
    capacity_bytes: Option<u64>,
    calls: HashMap<DiskCall, u64>,
    read_ahead: u64,
}

impl FaultyDisk {
    /// A disk that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `skip` calls of that kind succeed, then fails `times` of them.
    pub fn fail(&self, call: DiskCall, skip: u64, times: u64, fault: DiskFault) {
        self.lock().fault = Some((call, skip, times, fault));
    }

    /// Every call succeeds again.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// Has a session's file system say that it holds so much in all, and that the session alone uses it; `None` has it
    /// say the truth. Writes succeed all the same.
    pub fn pretend_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// How many calls were made to fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// How many calls of that kind there were.
    #[must_use]
    pub fn calls(&self, call: DiskCall) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or_default()
    }

    /// How often the kernel was asked to read ahead.
    #[must_use]
    pub fn read_ahead_calls(&self) -> u64 {
        self.lock().read_ahead
    }

    fn lock(&self) -> MutexGuard<'_, Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, call: DiskCall) -> Option<DiskFault> {
        let mut armed = self.lock();
        *armed.calls.entry(call).or_default() += 1;
        let (_, skip, times, fault) = armed.fault.as_mut().filter(|fault| fault.0 == call)?;
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        *times = times.checked_sub(1)?;
        let due = *fault;
        if let DiskFault::ShortThen(errno) = due {
            *fault = DiskFault::Errno(errno);
            *times += 1;
        }
        armed.failed += 1;
        Some(due)
    }

    fn check(&self, call: DiskCall) -> io::Result<()> {
        match self.due(call) {
            Some(DiskFault::Errno(errno) | DiskFault::ShortThen(errno)) => {
                Err(io::Error::from_raw_os_error(errno))
            }
            None => Ok(()),
        }
    }
}

/// What the files in a directory take.
fn taken_in(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let files = std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
    files.map(|file| Ok(file?.metadata()?.blocks() * 512)).sum()
}

impl Disk for FaultyDisk {
    fn read_ahead(&self, file: &File, offset: u64, bytes: u64) {
        self.lock().read_ahead += 1;
        RealDisk.read_ahead(file, offset, bytes);
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        self.check(DiskCall::Create)?;
        RealDisk.create(dir, name)
    }

    fn allocate(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        self.check(DiskCall::Allocate)?;
        RealDisk.allocate(file, offset, bytes)
    }

    fn punch(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        self.check(DiskCall::Punch)?;
        RealDisk.punch(file, offset, bytes)
    }

    fn free_bytes(&self, dir: BorrowedFd<'_>) -> io::Result<u64> {
        self.check(DiskCall::Free)?;
        match self.lock().capacity_bytes {
            Some(capacity) => Ok(capacity.saturating_sub(taken_in(dir)?)),
            None => RealDisk.free_bytes(dir),
        }
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self.due(DiskCall::Write) {
            None => RealDisk.write_at(file, bytes, offset),
            Some(DiskFault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(DiskFault::ShortThen(_)) => {
                RealDisk.write_at(file, &bytes[..bytes.len().div_ceil(2)], offset)
            }
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.check(DiskCall::Sync)?;
        RealDisk.sync(file)
    }

    fn rename(&self, dir: BorrowedFd<'_>, from: &str, to: &Path) -> io::Result<()> {
        self.check(DiskCall::Rename)?;
        RealDisk.rename(dir, from, to)
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.check(DiskCall::Unlink)?;
        RealDisk.unlink(dir, name)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        self.check(DiskCall::Len)?;
        RealDisk.len(file)
    }

    fn map(&self, file: &File, bytes: u64) -> io::Result<Mmap> {
        self.check(DiskCall::Map)?;
        RealDisk.map(file, bytes)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(DiskCall::Read)?;
        RealDisk.read_exact_at(file, bytes, offset)
    }
}
