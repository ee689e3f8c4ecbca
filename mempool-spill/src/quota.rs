//! The disk ledger: real file bytes against the limit of their directory, and against that of all directories.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mempool_core::fork::Maker;

use crate::error::SpillError;

/// The bytes of all files of one session.
#[derive(Debug)]
pub(crate) struct Quota {
    path: PathBuf,
    limit_bytes: Option<u64>,
    state: Mutex<Used>,
    /// What a store of several directories counts for all of them.
    total: Option<Arc<Total>>,
    maker: Maker,
}

/// The bytes of all files of a store that has several sessions.
#[derive(Debug)]
pub(crate) struct Total {
    limit_bytes: Option<u64>,
    state: Mutex<Used>,
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
    bytes: AtomicU64,
}

impl Quota {
    pub(crate) fn new(
        path: PathBuf,
        limit_bytes: Option<u64>,
        total: Option<Arc<Total>>,
    ) -> Arc<Self> {
        Arc::new(Self { path, limit_bytes, state: Mutex::default(), total, maker: Maker::here() })
    }

    pub(crate) fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    pub(crate) fn used(&self) -> Used {
        *self.lock()
    }

    /// Takes `bytes`, if the limit allows them.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Result<FileBytes, SpillError> {
        self.add(bytes)?;
        Ok(FileBytes { quota: Arc::clone(self), bytes: AtomicU64::new(bytes) })
    }

    fn add(&self, bytes: u64) -> Result<(), SpillError> {
        let mut used = self.lock();
        let after = used.bytes.saturating_add(bytes);
        if let Some(limit_bytes) = self.limit_bytes.filter(|&limit| after > limit) {
            let (path, used_bytes) = (self.path.clone(), used.bytes);
            return Err(SpillError::Limit { path, asked_bytes: bytes, used_bytes, limit_bytes });
        }
        if let Some(total) = &self.total {
            total.add(bytes)?;
        }
        used.add(bytes);
        Ok(())
    }

    fn sub(&self, bytes: u64) {
        self.lock().sub(bytes);
        if let Some(total) = &self.total {
            total.lock().sub(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Total {
    pub(crate) fn new(limit_bytes: Option<u64>) -> Arc<Self> {
        Arc::new(Self { limit_bytes, state: Mutex::default() })
    }

    pub(crate) fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    pub(crate) fn used(&self) -> Used {
        *self.lock()
    }

    fn add(&self, bytes: u64) -> Result<(), SpillError> {
        let mut used = self.lock();
        let after = used.bytes.saturating_add(bytes);
        let limit_bytes = self.limit_bytes.filter(|_| !mutant!("total_limit_ignored"));
        if let Some(limit_bytes) = limit_bytes.filter(|&limit| after > limit) {
            let used_bytes = used.bytes;
            return Err(SpillError::TotalLimit { asked_bytes: bytes, used_bytes, limit_bytes });
        }
        used.add(bytes);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.peak_bytes = self.peak_bytes.max(self.bytes);
    }

    fn sub(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl FileBytes {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more for the same file.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), SpillError> {
        self.quota.add(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Returns `bytes` that a part of the file has given back.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.quota.sub(bytes);
    }
}

impl Drop for FileBytes {
    fn drop(&mut self) {
        // In a forked child the lock may be one that nobody will ever open, and the bytes are the parent's.
        if self.quota.maker.is_here() {
            self.quota.sub(*self.bytes.get_mut());
        }
    }
}
