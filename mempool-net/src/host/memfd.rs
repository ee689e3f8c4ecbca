//! `SealedFrame`: a frame in memory that has a descriptor, and that nobody can change any more.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use mempool_core::Reservation;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

/// All that a frame's memory must be sealed against: writes, both changes of its length, and the loss of a seal.
pub(super) const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// A frame in a sealed memfd.
///
/// *Ownership*: its memory lives as long as a descriptor or a map of it does, in any process; a reservation pays for it
/// until this is dropped.
#[derive(Debug)]
pub struct SealedFrame {
    file: File,
    bytes: u64,
    _reservation: Option<Reservation>,
}

impl SealedFrame {
    /// A frame of `bytes` that `fill` writes in order; `reservation` pays for it.
    ///
    /// # Errors
    /// What the system and `fill` say; [`io::ErrorKind::InvalidData`] when `fill` wrote another number of bytes.
    pub fn write(
        bytes: u64,
        reservation: Option<Reservation>,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut counted = Counted { file: memory()?, bytes: 0 };
        fill(&mut counted)?;
        let Counted { file, bytes: found } = counted;
        if found != bytes {
            let said = format!("a frame of {bytes} bytes was written as {found}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, said));
        }
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok(Self { file: read_only(&file)?, bytes, _reservation: reservation })
    }

    /// A descriptor that is open for reading alone.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// How long the frame is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Memory with a descriptor that is not sealed yet.
pub(super) fn memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(rustix::fs::memfd_create("mempool", flags)?))
}

/// The same file, open for reading alone.
pub(super) fn read_only(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(File::from(opened))
}

/// Counts what is written to a file.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_sealed_frame_can_be_read_and_not_changed() {
        let sealed = SealedFrame::write(3, None, |out| out.write_all(b"abc")).unwrap();
        let mut bytes = [0; 3];
        sealed.file().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((&bytes, sealed.bytes()), (b"abc", 3));
        assert!(sealed.file().write_at(b"x", 0).is_err(), "open for reading alone");
        let path = format!("/proc/self/fd/{}", sealed.file().as_raw_fd());
        let writable = File::options().write(true).open(path).unwrap();
        assert!(writable.write_at(b"x", 0).is_err(), "sealed against writes");
        assert!(writable.set_len(1).is_err() && writable.set_len(9).is_err());
        assert!(rustix::fs::fcntl_add_seals(&writable, SealFlags::FUTURE_WRITE).is_err());
    }

    #[test]
    fn what_was_not_filled_as_said_is_no_frame() {
        for (bytes, said) in [(2, "of 2 bytes was written as 3"), (4, "of 4 bytes")] {
            let error = SealedFrame::write(bytes, None, |out| out.write_all(b"abc")).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let failed = SealedFrame::write(3, None, |_| Err(io::Error::other("no value")));
        assert_eq!(failed.unwrap_err().to_string(), "no value");
    }
}
