//! Our side: a pool.

use mempool_core::{Blob, DRef, Pool, PoolOptions, Stats};
use mempool_spill::SpillStorage;

use super::side::Side;
use crate::error::CliError;

/// A pool of bytes that spills.
pub(crate) struct Pooled(Pool<Blob>);

impl Pooled {
    pub(crate) fn new(memory_limit_bytes: u64, storage: SpillStorage) -> Self {
        Self(PoolOptions::new().memory_limit(memory_limit_bytes).store(storage).open(Blob))
    }

    /// Ends the pool and all that is left of it; what it counted.
    ///
    /// # Errors
    /// The session cannot be removed.
    pub(crate) fn close(self) -> Result<Stats, CliError> {
        let stats = self.0.stats();
        self.0.close()?;
        Ok(stats)
    }
}

impl Side for Pooled {
    type Key = DRef<Vec<u8>>;

    fn set(&self, _number: u32, value: Vec<u8>) -> Result<Self::Key, CliError> {
        self.0.set(value).map_err(|rejected| rejected.error.into())
    }

    fn finish(&mut self) -> Result<(), CliError> {
        Ok(())
    }

    fn read(&self, key: &Self::Key, look: impl FnOnce(&[u8])) -> Result<(), CliError> {
        look(&self.0.get(key)?);
        Ok(())
    }
}
