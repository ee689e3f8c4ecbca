//! `Warning`: what a store finds at opening that its user should know and that is no error. A library prints nothing.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What the user should know of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The files of its file system stay in memory, so that spilling to it wins nothing.
    MemoryBacked {
        /// The directory.
        path: PathBuf,
        /// `tmpfs` or `ramfs`.
        file_system: &'static str,
    },
}

impl Warning {
    /// What there is to say of an open directory. Memory under a file system of another kind, as a loop device or an
    /// overlay may have it, is not seen.
    pub(crate) fn of(path: &Path, dir: impl AsFd) -> Option<Self> {
        // The type differs between architectures; the numbers are all 32 bits wide.
        let magic = u64::try_from(rustix::fs::fstatfs(dir).ok()?.f_type).ok()? & 0xFFFF_FFFF;
        // linux/magic.h
        let file_system = match magic {
            0x0102_1994 => "tmpfs",
            0x8584_58F6 => "ramfs",
            _ => return None,
        };
        Some(Self::MemoryBacked { path: path.to_path_buf(), file_system })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryBacked { path, file_system } => {
                let path = path.display();
                write!(f, "{path} is on {file_system}: what is spilled there stays in memory")
            }
        }
    }
}
