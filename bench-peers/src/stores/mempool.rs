//! Ours.

use std::path::Path;

use mempool_core::{Blob, DRef, Pool, PoolOptions};
use mempool_spill::SpillOptions;

use crate::plan::Plan;
use crate::store::{Outcome, Store};

pub(crate) const SETUP: &str = "defaults, the memory limit at the budget; glibc's mmap threshold fixed at 256 KiB, as its README asks";

struct Mempool {
    pool: Pool<Blob>,
    references: Vec<DRef<Vec<u8>>>,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    let store = SpillOptions::new(directory).open()?;
    let pool = PoolOptions::new().memory_limit(plan.budget_bytes).store(store).open(Blob);
    Ok(Box::new(Mempool { pool, references: Vec::with_capacity(plan.count) }))
}

impl Store for Mempool {
    fn set(&mut self, _id: u64, value: Vec<u8>) -> Outcome<()> {
        // Values come in the order of their ids, and a reference knows its value.
        self.references.push(self.pool.set(value)?);
        Ok(())
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        let reference = self.references.get(usize::try_from(id)?);
        let Some(reference) = reference else { return Ok(None) };
        Ok(Some(look(&self.pool.get(reference)?)))
    }
}
