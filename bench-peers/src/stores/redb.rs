//! redb: a copy-on-write B-tree in one file, with a page cache of its own.

use std::path::Path;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use crate::plan::Plan;
use crate::store::{BATCH_BYTES, Outcome, Store};

pub(crate) const SETUP: &str =
    "cache at the budget; Durability::None, a commit for each 16 MiB; all reads in one transaction";

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("values");

struct Redb {
    database: Database,
    batch: Vec<(u64, Vec<u8>)>,
    batch_bytes: usize,
    table: Option<ReadOnlyTable<u64, &'static [u8]>>,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    let database = Database::builder()
        .set_cache_size(usize::try_from(plan.budget_bytes)?)
        .create(directory.join("redb"))?;
    Ok(Box::new(Redb { database, batch: Vec::new(), batch_bytes: 0, table: None }))
}

impl Redb {
    fn commit(&mut self) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let mut table = transaction.open_table(TABLE)?;
        for (id, value) in self.batch.drain(..) {
            table.insert(id, value.as_slice())?;
        }
        drop(table);
        self.batch_bytes = 0;
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        // Kept aside until there is enough for a transaction, because a table borrows the one that it is open in.
        self.batch_bytes += value.len();
        self.batch.push((id, value));
        if self.batch_bytes >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn finish(&mut self) -> Outcome<()> {
        self.commit()?;
        self.table = Some(self.database.begin_read()?.open_table(TABLE)?);
        Ok(())
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        let table = self.table.as_ref().ok_or("read before finish")?;
        Ok(table.get(id)?.map(|found| look(found.value())))
    }
}
