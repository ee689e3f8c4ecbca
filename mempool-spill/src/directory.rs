//! `Directory`: one of the places that a store writes to, and what is told of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mempool_core::StoreUsage;

use crate::disk::Disk;
use crate::options::SpillOptions;

/// A directory for spilled values, with limits of its own.
///
/// Wherever one is asked for a path will do: `SpillOptions::new("/mnt/fast")`.
#[derive(Clone)]
pub struct Directory {
    path: PathBuf,
    pub(crate) disk_limit: Option<u64>,
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) disk: Option<Arc<dyn Disk>>,
}

impl Directory {
    /// A directory that exists, without limits of its own.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_path_buf();
        Self { path, disk_limit: None, reserve_bytes: None, disk: None }
    }

    /// The most bytes that the files in it may take, reserved ones included.
    /// [`SpillOptions::disk_limit`] is kept as well.
    #[must_use]
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.disk_limit = Some(bytes);
        self
    }

    /// What its file system must still have free, in place of [`SpillOptions::free_space_reserve`]. Two directories on one
    /// file system look each for itself, and may at one moment count on the same bytes.
    #[must_use]
    pub fn free_space_reserve(mut self, bytes: u64) -> Self {
        self.reserve_bytes = Some(bytes);
        self
    }

    /// A disk of its own, in place of [`SpillOptions::disk`]: for tests that make it fail.
    #[must_use]
    pub fn disk(mut self, disk: impl Disk) -> Self {
        self.disk = Some(Arc::new(disk));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its limit in a store with `options`: where it is the only directory, that of all is its own.
    pub(crate) fn limit_of(&self, options: &SpillOptions) -> Option<u64> {
        let total = options.disk_limit.filter(|_| options.directories.len() == 1);
        self.disk_limit.into_iter().chain(total).min()
    }
}

impl<P: AsRef<Path>> From<P> for Directory {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("path", &self.path)
            .field("disk_limit", &self.disk_limit)
            .field("reserve_bytes", &self.reserve_bytes)
            .finish_non_exhaustive()
    }
}

/// How a directory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DirectoryState {
    /// It is asked when it is its turn.
    Ready,
    /// It has refused what was to be written lately, being full or failing: the others are asked first, for 1, 2, 4 and
    /// at last 1024 writes. What it holds is read as ever.
    PassedOver,
    /// Nothing that it was asked to write or to remove has been done for a second, and something has been asked: the
    /// others are asked first.
    Stalled,
}

/// What a store has in one directory, and how that stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DirectoryUsage {
    /// The session's directory in it.
    pub path: PathBuf,
    /// What is held there; its limit is the directory's own.
    pub usage: StoreUsage,
    /// How it stands. The only directory of a store is always [`Ready`](DirectoryState::Ready): there is no other to
    /// be asked first.
    pub state: DirectoryState,
    /// How many writes it has refused that another directory was then asked for.
    pub refusals: u64,
}
