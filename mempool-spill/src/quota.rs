//! The disk ledger: real file bytes against the disk limit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mempool_core::fork::Maker;

use crate::error::SpillError;

/// The bytes of all files of one session.
#[derive(Debug)]
pub(crate) struct Quota {
    path: PathBuf,
    limit_bytes: Option<u64>,
    state: Mutex<Used>,
    maker: Maker,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// Bytes taken from the quota; dropped, they return. Dropped after the file is gone.
#[derive(Debug)]
pub(crate) struct FileBytes {
    quota: Arc<Quota>,
    bytes: u64,
}

impl Quota {
    pub(crate) fn new(path: PathBuf, limit_bytes: Option<u64>) -> Arc<Self> {
        Arc::new(Self { path, limit_bytes, state: Mutex::default(), maker: Maker::here() })
    }

    pub(crate) fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    pub(crate) fn used(&self) -> Used {
        *self.lock()
    }

    /// Takes `bytes`, if the limit allows them.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Result<FileBytes, SpillError> {
        let mut used = self.lock();
        let after = used.bytes.saturating_add(bytes);
        if let Some(limit_bytes) = self.limit_bytes.filter(|&limit| after > limit) {
            let (path, used_bytes) = (self.path.clone(), used.bytes);
            return Err(SpillError::Limit { path, asked_bytes: bytes, used_bytes, limit_bytes });
        }
        used.bytes = after;
        used.peak_bytes = used.peak_bytes.max(after);
        Ok(FileBytes { quota: Arc::clone(self), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileBytes {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for FileBytes {
    fn drop(&mut self) {
        if !self.quota.maker.is_here() {
            // In a forked child the lock may be one that nobody will ever open, and the bytes are the parent's.
            return;
        }
        let mut used = self.quota.lock();
        used.bytes = used.bytes.saturating_sub(self.bytes);
    }
}
