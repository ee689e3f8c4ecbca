//! Files that come in batches: as many of them as fill a share of the memory become one table.

use mempool_arrays::{Layout, Rearrange, Table};

use super::{Job, build::Counted};
use crate::error::CliError;

/// A batch, with what pays for it beside the pool.
pub(crate) type Batch = (Table, Counted);

/// Takes batches until the job's share is full, and joins them. `None` where there is no more.
pub(crate) fn gather(
    job: &Job<'_>,
    mut next: impl FnMut() -> Result<Option<Batch>, CliError>,
) -> Result<Option<Batch>, CliError> {
    let (mut batches, mut bytes, mut rows) = (Vec::new(), 0, 0);
    while bytes < job.plan.table_bytes && rows < job.plan.table_rows {
        job.stop.check()?;
        let Some((table, room)) = next()? else { break };
        rows += table.rows();
        bytes += bytes_of(&table);
        batches.push((table, room));
    }
    if batches.len() <= 1 {
        return Ok(batches.pop());
    }
    let mut room = Counted(job.pool.reserve(0)?);
    let joined =
        Table::concat(&batches.iter().map(|(table, _)| table).collect::<Vec<_>>(), &mut room)?;
    Ok(Some((joined, room)))
}

/// What the buffers of a table show.
fn bytes_of(table: &Table) -> u64 {
    let mut bytes = 0;
    table.visit(&mut |buffer| bytes += buffer.len() as u64);
    bytes
}
