//! The few calls of the file system that we use, behind a trait: real here, failing on demand in tests.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::Mmap;
use rustix::fs::{Advice, AtFlags, FallocateFlags, Mode, OFlags};

/// The file system as the store sees it. Names are looked up in an open directory and never followed.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, mode 0600, for reading and writing.
    ///
    /// # Errors
    /// As `openat`.
    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<File>;

    /// Reserves `bytes` of the file from `offset` on; it is then at least that long.
    ///
    /// # Errors
    /// As `fallocate`; nothing is done where the file system cannot.
    fn allocate(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()>;

    /// Gives the space of `bytes` from `offset` on back to the disk; the file stays as long as it is.
    ///
    /// # Errors
    /// As `fallocate` with a hole to be punched; some file systems cannot.
    fn punch(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()>;

    /// How many bytes of the file system that `dir` is on this user may still take.
    ///
    /// # Errors
    /// As `fstatvfs`.
    fn free_bytes(&self, dir: BorrowedFd<'_>) -> io::Result<u64>;

    /// Writes some of `bytes` at `offset`; answers how many.
    ///
    /// # Errors
    /// As `pwrite`.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes data and metadata of a file or directory durable.
    ///
    /// # Errors
    /// As `fsync`.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Renames within a directory, over what is there.
    ///
    /// # Errors
    /// As `renameat`.
    fn rename(&self, dir: BorrowedFd<'_>, from: &str, to: &Path) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// As `unlinkat`.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;

    /// The length of a file.
    ///
    /// # Errors
    /// As `fstat`.
    fn len(&self, file: &File) -> io::Result<u64>;

    /// Maps the first `bytes` of a file of ours that nobody makes shorter.
    ///
    /// # Errors
    /// As `mmap`.
    fn map(&self, file: &File, bytes: u64) -> io::Result<Mmap>;

    /// Has the kernel read `bytes` from `offset` on into its cache, without waiting for them. A hint that may do nothing.
    fn read_ahead(&self, file: &File, offset: u64, bytes: u64) {
        let _ = (file, offset, bytes);
    }

    /// Reads exactly `bytes.len()` bytes at `offset`.
    ///
    /// # Errors
    /// As `pread`; `UnexpectedEof` at the end of the file.
    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read_ahead(&self, file: &File, offset: u64, bytes: u64) {
        // A file system that does not know the hint reads when it must.
        let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(bytes), Advice::WillNeed);
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    fn allocate(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, bytes) {
            // A file system without reservations writes all the same; a full disk is then met by the write.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let end = offset.saturating_add(bytes);
                // Never shorter: the file may be mapped.
                if file.metadata()?.len() < end {
                    file.set_len(end)?;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn punch(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(file, flags, offset, bytes)?)
    }

    fn free_bytes(&self, dir: BorrowedFd<'_>) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, dir: BorrowedFd<'_>, from: &str, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(dir, from, dir, to)?)
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn map(&self, file: &File, bytes: u64) -> io::Result<Mmap> {
        crate::map::map(file, bytes)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(bytes, offset)
    }
}

/// Writes all of `bytes` at `offset`, however short the single writes are.
pub(crate) fn write_all_at(
    disk: &dyn Disk,
    file: &File,
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if mutant!("short_write_taken_for_whole") => return Ok(()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset = offset.saturating_add(written as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
