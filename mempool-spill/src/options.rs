//! `SpillOptions`: how a store is opened.

use std::path::Path;
use std::sync::Arc;

use mempool_core::Header;

use crate::chain::Chain;
use crate::decode::check_file;
use crate::directory::Directory;
use crate::disk::{Disk, RealDisk};
use crate::error::SpillError;
use crate::filter::Filter;
use crate::placement::Placement;
use crate::retained::{LABEL_BYTES_MAX, SHARED_BYTES_MAX};
use crate::storage::SpillStorage;
use crate::views::BLOCK;

/// How much of a frame of our own is checked when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Header, length and generation. The content is believed, offsets, text and pointers among it: a view of bytes that are not those
    /// which were written is undefined behaviour. Where a disk may return others, [`Always`](Self::Always) is right.
    #[default]
    Header,
    /// Every byte, each time.
    Always,
}

/// How frames are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// As maps of their files, which take no memory from the limit and no copy.
    #[default]
    Map,
    /// Into memory that the pool counts and can evict; no file is mapped, neither a segment nor a file of the user's.
    ///
    /// A device that fails is then an error of the read and not a SIGBUS, and bytes that were read, and checked with
    /// [`Verify::Always`], cannot become others. It costs a copy and room: a value that is larger than the memory limit
    /// is written, and answers `TooLarge` when it is got; pins may leave no room for it (`NoRoom`).
    Copy,
}

/// The settings of a store.
#[derive(Clone)]
pub struct SpillOptions {
    /// At least one.
    pub(crate) directories: Vec<Directory>,
    pub(crate) placement: Placement,
    pub(crate) disk_limit: Option<u64>,
    pub(crate) reserve_bytes: u64,
    pub(crate) segment_bytes: u64,
    /// Frames of this size and more have a segment of their own.
    pub(crate) own_segment_bytes: u64,
    pub(crate) verify: Verify,
    pub(crate) read_mode: ReadMode,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) chain: Chain,
    pub(crate) label: String,
    /// The retained session to be restored, by the name of its directory.
    pub(crate) session: Option<String>,
}

impl SpillOptions {
    /// The size of shared segments unless another is set: 64 MiB.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Frames of this size and more have a segment of their own: 4 MiB.
    pub const OWN_SEGMENT_BYTES: u64 = 4 << 20;

    /// A store in a session of its own under `directory`, which must exist: a path, or a [`Directory`] with limits of
    /// its own.
    ///
    /// On a tmpfs the "disk" is memory; choose a directory on a real one. [`SpillStorage::warnings`] tells.
    #[must_use]
    pub fn new(directory: impl Into<Directory>) -> Self {
        Self {
            directories: vec![directory.into()],
            placement: Placement::default(),
            disk_limit: None,
            reserve_bytes: 0,
            segment_bytes: Self::SEGMENT_BYTES,
            own_segment_bytes: Self::OWN_SEGMENT_BYTES,
            verify: Verify::default(),
            read_mode: ReadMode::default(),
            disk: Arc::new(RealDisk),
            chain: Chain::default(),
            label: String::new(),
            session: None,
        }
    }

    /// One directory more, with a session of its own: on another disk, as a rule. [`Placement`] says which is filled.
    ///
    /// ```
    /// use mempool_spill::{Directory, SpillOptions};
    /// # let scratch = std::env::temp_dir().join(format!("mempool-doc-directories-{}", std::process::id()));
    /// # let (fast, slow) = (scratch.join("fast"), scratch.join("slow"));
    /// # std::fs::create_dir_all(&fast)?;
    /// # std::fs::create_dir_all(&slow)?;
    ///
    /// let fast = Directory::new(fast).disk_limit(10 << 30);
    /// let slow = Directory::new(slow).free_space_reserve(1 << 20);
    /// let store = SpillOptions::new(fast).directory(slow).open()?;
    /// assert_eq!(store.directories().usage().len(), 2);
    /// # drop(store);
    /// # std::fs::remove_dir_all(&scratch)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn directory(mut self, directory: impl Into<Directory>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// Which of several directories a frame goes to; [`Placement::InOrder`] unless it is set.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// The most bytes that the files of all directories may take together, reserved ones included.
    #[must_use]
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.disk_limit = Some(bytes);
        self
    }

    /// What the file system of each directory must still have free, unless [its own](Directory::free_space_reserve) is
    /// set: no file of the session is made, grown or refilled when
    /// less than that would be left, and a value that cannot be written stays where it is.
    ///
    /// Files that are kept for later are removed first. The error is [`SpillError::Reserve`]. Files that
    /// `save_to_disk` writes are not held back: their user asked for them by name. None unless it is set: how much
    /// others need is not for this store to guess, and a disk that is full to the last byte does it no harm itself.
    /// Other processes may take what was free in between, and a file system that cannot reserve space (`fallocate`)
    /// says that it is free until it is written.
    #[must_use]
    pub fn free_space_reserve(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// The size of the segments that small frames share; they hold frames of up to a quarter of it. At least 64 KiB, at
    /// most 64 GiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.clamp(BLOCK, SHARED_BYTES_MAX).next_multiple_of(BLOCK);
        self.own_segment_bytes = Self::OWN_SEGMENT_BYTES.min(self.segment_bytes / 4);
        self
    }

    /// Puts all that is written from now on through `filter`, behind the filters that were added before: compress first,
    /// then encrypt. Reading undoes them in reverse.
    ///
    /// That goes for the session's files and for those that `save_to_disk` writes. What is read is decoded into memory
    /// that the pool counts and can evict, never mapped: a value then needs room to be got, one that is larger than the
    /// memory limit answers `TooLarge`, and pins may leave no room for it (`NoRoom`), as with [`ReadMode::Copy`].
    /// Frames go through in blocks of 256 KiB; a thread that writes or reads takes up to three megabytes beside what
    /// the pool counts. A frame that is written to a file of its own needs disk for the most that the filters may make
    /// of it, and gives back what it did not need.
    ///
    /// A saved file, or a retained session, says which filters it went through; a store reads those that it can undo, in
    /// any order, and files without any. What an attacker may put in the place of a saved file without filters is not
    /// noticed by an encrypting store.
    ///
    /// ```
    /// # #[cfg(all(feature = "lz4", feature = "encrypt"))] {
    /// use mempool_core::{Blob, PoolOptions};
    /// use mempool_spill::{Encrypt, Lz4, SpillOptions};
    ///
    /// # let key = [7; 32];
    /// let store = SpillOptions::new(std::env::temp_dir());
    /// let store = store.filter(Lz4).filter(Encrypt::with_key(key)).open().unwrap();
    /// let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    /// let value = pool.set(vec![1; 100_000]).unwrap();
    /// drop(pool.move_to_disk(&value).unwrap());
    /// assert_eq!(pool.get(&value).unwrap()[99_999], 1);
    /// # pool.close().unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    /// With the ninth filter.
    #[must_use]
    pub fn filter(mut self, filter: impl Filter) -> Self {
        self.chain.push(Arc::new(filter));
        self
    }

    /// Undoes `filter` where a saved file or a retained session went through it, and writes nothing through it: for an
    /// earlier key, or for files of a pool with other filters.
    #[must_use]
    pub fn reads(mut self, filter: impl Filter) -> Self {
        self.chain.push_other(Arc::new(filter));
        self
    }

    /// Decodes a saved file that went through filters, block by block, and checks every byte of it. Opens no session and
    /// takes no more memory than a few blocks; the directory is not looked at.
    ///
    /// # Errors
    /// [`SpillError::FilterMissing`] where these options lack one; [`SpillError::Filter`] with a wrong key, or for bytes
    /// that are not authentic; [`SpillError::Damaged`], for a file without filters as well.
    pub fn check_file(&self, path: impl AsRef<Path>) -> Result<Header, SpillError> {
        check_file(&self.chain, path.as_ref())
    }

    /// How much is checked when a frame is opened.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// How frames are read: mapped, unless it is set.
    #[must_use]
    pub fn read_mode(mut self, mode: ReadMode) -> Self {
        self.read_mode = mode;
        self
    }

    /// Another disk: for tests that make it fail.
    #[must_use]
    pub fn disk(mut self, disk: impl Disk) -> Self {
        self.disk = Arc::new(disk);
        self
    }

    /// What the program calls the values that it retains: it restores those of its own label alone, so that several
    /// programs can use one directory. None unless it is set; at most 255 bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Restores the session whose directory has this name, where several have the label.
    #[must_use]
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session = Some(name.into());
        self
    }

    /// Opens what an earlier store has retained under the directory and the label, for
    /// [`PoolOptions::restore`](mempool_core::PoolOptions::restore). Its files are in the disk ledger from now on.
    ///
    /// # Errors
    /// [`SpillError::NothingRetained`]; [`SpillError::SeveralDirectories`]; [`SpillError::InUse`] when another store has it open;
    /// [`SpillError::Ambiguous`] when there are several; [`SpillError::Damaged`] when its manifest is not whole. What is
    /// retained stays as it is.
    pub fn restore(self) -> Result<SpillStorage, SpillError> {
        self.check_label()?;
        SpillStorage::restore(self)
    }

    /// As [`restore`](Self::restore), or where nothing is retained as [`open`](Self::open).
    ///
    /// # Errors
    /// As both of them.
    pub fn restore_or_open(self) -> Result<SpillStorage, SpillError> {
        match self.clone().restore() {
            Err(SpillError::NothingRetained { .. }) if self.session.is_none() => self.open(),
            other => other,
        }
    }

    fn check_label(&self) -> Result<(), SpillError> {
        let (bytes, limit) = (self.label.len(), LABEL_BYTES_MAX);
        if bytes > limit { Err(SpillError::LabelTooLong { bytes, limit }) } else { Ok(()) }
    }

    /// Sweeps what dead processes left under each directory, and makes a session in each.
    ///
    /// # Errors
    /// When a directory is not there or cannot be written, be it one of several: a disk that is not mounted is found
    /// here, and not when the others are full. [`SpillError::SameDirectory`] where one is given twice.
    /// [`SpillError::LabelTooLong`].
    pub fn open(self) -> Result<SpillStorage, SpillError> {
        self.check_label()?;
        SpillStorage::open(self)
    }
}

impl std::fmt::Debug for SpillOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpillOptions")
            .field("directories", &self.directories)
            .field("placement", &self.placement)
            .field("disk_limit", &self.disk_limit)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("segment_bytes", &self.segment_bytes)
            .field("verify", &self.verify)
            .field("read_mode", &self.read_mode)
            .field("filters", &self.chain.names().collect::<Vec<_>>())
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
