//! fjall: a log-structured merge tree that keeps large values in files apart.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use crate::plan::Plan;
use crate::store::{Outcome, Store};

pub(crate) const SETUP: &str = "key-value separation; block cache at half of the budget, memtables at a quarter each; no compression, for the bytes are random; the journal is neither flushed nor synced by hand";

struct Fjall {
    // Held, for the database ends with its last handle.
    _database: Database,
    values: Keyspace,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    let database = Database::builder(directory.join("fjall"))
        .cache_size(plan.budget_bytes / 2)
        .manual_journal_persist(true)
        .open()?;
    let options = || {
        KeyspaceCreateOptions::default()
            .with_kv_separation(Some(KvSeparationOptions::default()))
            .max_memtable_size(plan.budget_bytes / 4)
    };
    let values = database.keyspace("values", options)?;
    Ok(Box::new(Fjall { _database: database, values }))
}

impl Store for Fjall {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        Ok(self.values.insert(id.to_be_bytes(), value)?)
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        Ok(self.values.get(id.to_be_bytes())?.map(|bytes| look(&bytes)))
    }
}
