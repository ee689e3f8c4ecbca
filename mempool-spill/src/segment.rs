//! Segments: files of one large frame, or of many small ones.
//!
//! ```text
//! own (frames of 4 MiB and more)       shared (64 MiB, smaller frames)
//! ┌────────┬──────────────────────┐    ┌───────┬──┬───────┬──┬───────┬─────────────────┐
//! │ header │ sections             │    │ frame │  │ frame │  │ frame │ not filled yet  │
//! └────────┴──────────────────────┘    └───────┴──┴───────┴──┴───────┴─────────────────┘
//!                                      each at a multiple of 64, or of its own alignment
//! ```
//!
//! A segment lives as long as the store or a view holds it. Then its file goes home, to be written anew or removed; this
//! is how "bytes of a published frame never change while anything can see them" is kept for whole files.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use memmap2::Mmap;
use mempool_core::fork::Maker;

use crate::files::Files;
use crate::quota::FileBytes;
use crate::views::{Views, blocks_of};

/// An open file of the session.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// The bytes reserved for it; returned when it is closed, which is after it is unlinked.
    pub(crate) bytes: FileBytes,
    /// How much of it may be used; holes in it may be given back to the disk, and so may what lies behind it.
    pub(crate) len: u64,
    /// Who made it, and when: a fork after that may have seen it.
    pub(crate) maker: Maker,
}

/// The file of one segment, while somebody holds it.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Taken out by the drop alone.
    file: Option<SegmentFile>,
    home: Weak<Files>,
    /// The map of a shared segment, made once. A large frame is mapped anew by each open, and unmapped with its view.
    map: OnceLock<Mmap>,
    views: Views,
    /// Its file is not to be written anew.
    condemned: AtomicBool,
}

impl Segment {
    /// A segment of a file that nobody else has; `shared` says how much of it frames will share.
    pub(crate) fn new(file: SegmentFile, home: &Arc<Files>, shared: u64) -> Self {
        Self {
            file: Some(file),
            home: Arc::downgrade(home),
            map: OnceLock::new(),
            views: Views::new(shared, home.mapped()),
            condemned: AtomicBool::new(false),
        }
    }

    pub(crate) fn file(&self) -> &SegmentFile {
        self.file.as_ref().expect("a segment has its file until it is dropped")
    }

    /// The file of a segment that nobody has looked at yet.
    pub(crate) fn file_mut(&mut self) -> Option<&mut SegmentFile> {
        self.file.as_mut()
    }

    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    pub(crate) fn map(&self) -> Option<&Mmap> {
        self.map.get()
    }

    /// Keeps a map of the whole; another thread's may have come first.
    pub(crate) fn keep_map(&self, map: Mmap) {
        let _ = self.map.set(map);
    }

    /// The file is never written anew: somebody outside this process may read it, or a write to it has failed.
    pub(crate) fn condemn(&self) {
        self.condemned.store(true, Ordering::Relaxed);
    }

    /// Whether somebody may look at it whose views are not counted here: it was exported, or a forked child has it
    /// mapped. Then no byte of it is changed any more, dead ones included.
    pub(crate) fn is_seen_elsewhere(&self) -> bool {
        let forked = self.file().maker.forks_since() > 0 && !mutant!("fork_forgotten");
        forked || self.condemned.load(Ordering::Relaxed)
    }

    /// Has the processor fetch the start of a frame that lies in the map and is in memory; whether it is.
    pub(crate) fn prefetch(&self, offset: u64, bytes: u64) -> bool {
        let bounds = usize::try_from(offset).ok().zip(usize::try_from(bytes).ok());
        let range = bounds.and_then(|(start, bytes)| Some(start..start.checked_add(bytes)?));
        let touched = self.views.are_touched(&blocks_of(offset, bytes));
        match (touched, self.map(), range) {
            (true, Some(map), Some(range)) => map.get(range).map(crate::map::prefetch).is_some(),
            _ => false,
        }
    }

    /// Takes the pages that nobody looks at out of the page tables.
    pub(crate) fn trim(&self) {
        if let Some(map) = self.map.get() {
            self.views.trim(|run| crate::map::release_pages(map, run));
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        // Unmapped before the file is written anew.
        drop(self.map.take());
        if file.maker.is_here()
            && let Some(home) = self.home.upgrade()
        {
            home.take_back(file, *self.condemned.get_mut());
        }
    }
}

/// Shared bytes of a segment of its own: none.
pub(crate) const NOT_SHARED: u64 = 0;
