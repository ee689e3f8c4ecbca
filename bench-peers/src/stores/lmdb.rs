//! LMDB through heed: a copy-on-write B-tree in one mapped file.
#![expect(unsafe_code, reason = "opening an environment is a promise about its file")]

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls};

use crate::plan::Plan;
use crate::store::{BATCH_BYTES, Outcome, Store};

pub(crate) const SETUP: &str = "MDB_NOSYNC, a commit for each 16 MiB; without MDB_WRITEMAP, which here is two to eight times slower from 64 KiB to 1 MiB and no faster elsewhere; no memory of its own, the page cache is all; all reads in one transaction";

type Table = Database<'static, U64<BigEndian>, Bytes>;

struct Lmdb {
    // Before the environment, for they are dropped in this order.
    snapshot: Option<RoTxn<'static, WithTls>>,
    environment: Env<WithTls>,
    table: Table,
    batch: Vec<(u64, Vec<u8>)>,
    batch_bytes: usize,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    let mut options = EnvOpenOptions::new();
    // Addresses and not bytes: the file grows as it is filled.
    options.map_size(usize::try_from(2 * plan.data_bytes() + (1 << 30))?);
    // SAFETY: with NO_SYNC a crash of the machine may damage the file, which nobody reads after this process.
    unsafe { options.flags(EnvFlags::NO_SYNC) };
    // SAFETY: the directory is this process's own, nobody else opens or changes what is in it.
    let environment = unsafe { options.open(directory)? };
    let table = environment
        .create_databases_and_commit(environment.write_txn()?, |opener, transaction| {
            opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    Ok(Box::new(Lmdb { snapshot: None, environment, table, batch: Vec::new(), batch_bytes: 0 }))
}

impl Lmdb {
    fn commit(&mut self) -> Outcome<()> {
        let mut transaction: RwTxn<'_> = self.environment.write_txn()?;
        for (id, value) in self.batch.drain(..) {
            self.table.put(&mut transaction, &id, &value)?;
        }
        transaction.commit()?;
        self.batch_bytes = 0;
        Ok(())
    }
}

impl Store for Lmdb {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        // Kept aside until there is enough for a transaction, because one borrows the environment while it is open.
        self.batch_bytes += value.len();
        self.batch.push((id, value));
        if self.batch_bytes >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn finish(&mut self) -> Outcome<()> {
        self.commit()?;
        self.snapshot = Some(self.environment.clone().static_read_txn()?);
        Ok(())
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        let snapshot = self.snapshot.as_ref().ok_or("read before finish")?;
        Ok(self.table.get(snapshot, &id)?.map(look))
    }
}
