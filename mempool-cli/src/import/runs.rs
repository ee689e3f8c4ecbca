//! Sorting out of core: sorted runs, and their merge into tables that follow one another.
//!
//! ```text
//! runs    each table is sorted by the index and set in the pool, which spills what has no room           Table::sort_within, pool.set
//! merge   all runs are mapped; of each, the rows that come next are gathered, sorted and saved            pool.get_owned, Table::concat
//! ```
//! Held at one time are a table that is loaded and the same one sorted, or the rows of one table of the result and the same ones sorted. The runs
//! themselves lie in the page cache. Rows that are equal by the index come out in the order of the file.

use std::ops::{Bound, Range};

use mempool_arrays::{Column, Field, Kind, Layout, Meter, Raw, Rearrange, Table, Value};
use mempool_core::{DRef, ErrorKind, PinnedOwned};

use super::{Job, build::Counted, output::Output};
use crate::{card::Phase, error::CliError};

/// Sorted tables in the order of the file.
pub(crate) struct Runs {
    runs: Vec<DRef<Table>>,
    rows: u64,
    /// Of all runs in memory.
    bytes: u64,
}

/// One run and how far it was taken.
struct Cursor {
    run: PinnedOwned<Raw, Table>,
    at: usize,
}

impl Runs {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { runs: Vec::new(), rows: 0, bytes: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Sorts a table and sets it in the pool; `room` has paid for it.
    ///
    /// # Errors
    /// The pool has no room.
    pub(crate) fn add(
        &mut self,
        job: &Job<'_>,
        table: Table,
        room: Counted,
    ) -> Result<(), CliError> {
        let mut sorted_room = Counted(job.pool.reserve(0)?);
        let sorted = table.sort_within(&job.index(), &mut sorted_room)?;
        self.rows += sorted.rows() as u64;
        drop((table, room, sorted_room));
        // From here on the pool pays for it; nobody else asks for room meanwhile.
        let run = job.pool.set(sorted).map_err(|rejected| rejected.error)?;
        self.bytes += job.pool.info(&run)?.resident_bytes;
        self.runs.push(run);
        Ok(())
    }

    /// Saves all rows in the order of the index.
    ///
    /// # Errors
    /// The pool has no room, the disk refuses, or the job was stopped.
    pub(crate) fn merge(self, job: &Job<'_>, output: &mut Output) -> Result<Phase, CliError> {
        let running = job.progress.start("merge", self.rows);
        if self.runs.len() > 1 {
            // Mapped, they leave all of the memory to the merge.
            self.runs.iter().try_for_each(|run| job.pool.move_to_disk(run).map(drop))?;
        }
        let row_bytes = (self.bytes / self.rows.max(1)).max(job.plan.row_bytes_min);
        let most = usize::try_from(job.plan.saved_bytes / row_bytes).unwrap_or(usize::MAX).max(1);
        let cursor = |run: &DRef<Table>| Ok(Cursor { run: job.pool.get_owned(run)?, at: 0 });
        let mut cursors = self.runs.iter().map(cursor).collect::<Result<Vec<_>, CliError>>()?;
        loop {
            job.stop.check()?;
            let table = gather(job, &mut cursors, most)?;
            let Some((table, room)) = table.filter(|(table, _)| is_due(table, output)) else {
                return Ok(running.finish());
            };
            running.add(table.rows() as u64, 0);
            output.save(job, table, room)?;
        }
    }
}

/// A table without rows is saved when it is all that there is: it has the types.
fn is_due(table: &Table, output: &Output) -> bool {
    table.rows() > 0 || output.chunks() == 0
}

/// The next rows of all runs, about `most` of them, sorted; fewer where these have no room.
fn gather(
    job: &Job<'_>,
    cursors: &mut [Cursor],
    mut most: usize,
) -> Result<Option<(Table, Counted)>, CliError> {
    let starts: Vec<usize> = cursors.iter().map(|cursor| cursor.at).collect();
    loop {
        let block = (most / cursors.len().max(1)).max(1);
        let mut rows = 0;
        while rows < most {
            match advance(cursors, block) {
                0 => break,
                more => rows += more,
            }
        }
        let parts = starts.iter().zip(&*cursors).map(|(start, cursor)| (cursor, *start..cursor.at));
        match join(job, parts) {
            // Rows differ in size: where many large ones come together, fewer are taken.
            Err(error) if error.kind() == ErrorKind::Limit && rows > 1 => {
                cursors.iter_mut().zip(&starts).for_each(|(cursor, start)| cursor.at = *start);
                most = rows / 2;
            }
            joined => return Ok(joined?),
        }
    }
}

/// Takes from each run, of its next `block` rows, those that come before all rows that no block has. Answers how many these are: none at the end.
fn advance(cursors: &mut [Cursor], block: usize) -> usize {
    // The run whose block ends first is taken to the end of its block, and all others up to there.
    let mut first: Option<(usize, usize)> = None;
    for (number, cursor) in cursors.iter().enumerate() {
        let Some(last) = cursor.block(block).last() else { continue };
        let is_first = first.is_none_or(|(other, other_last)| {
            let key = cursors.get(other).map(|other| other.key(other_last)).unwrap_or_default();
            cursor.key(last).iter().zip(&key).map(|(a, b)| a.order(b)).find(|o| o.is_ne())
                == Some(std::cmp::Ordering::Less)
        });
        if is_first {
            first = Some((number, last));
        }
    }
    let Some((first, last)) = first else { return 0 };
    let mut ends = Vec::with_capacity(cursors.len());
    if let Some(leader) = cursors.get(first) {
        let key = leader.key(last);
        for (number, cursor) in cursors.iter().enumerate() {
            // Equal rows of later runs come behind all of this run's, and its next block may have some.
            let bound = match number <= first {
                true => Bound::Included(&key[..]),
                false => Bound::Excluded(&key[..]),
            };
            let rows = cursor.run.slice(cursor.block(block)).range((Bound::Unbounded, bound));
            ends.push(if number == first { last + 1 } else { cursor.at + rows.end });
        }
    }
    let taken = cursors
        .iter_mut()
        .zip(ends)
        .map(|(cursor, end)| end - std::mem::replace(&mut cursor.at, end));
    taken.sum()
}

impl Cursor {
    /// The next `block` rows, or as many as there are.
    fn block(&self, block: usize) -> Range<usize> {
        self.at..self.run.rows().min(self.at.saturating_add(block))
    }

    /// The index of a row.
    fn key(&self, row: usize) -> Vec<Value<'_>> {
        let columns = self.run.columns().iter().take(self.run.index().len());
        columns.map(|column| column.get(row).unwrap_or(Value::Null)).collect()
    }
}

/// Some rows of each run as one sorted table. Equal rows stay in the order of the runs.
fn join<'c>(
    job: &Job<'_>,
    parts: impl Iterator<Item = (&'c Cursor, Range<usize>)>,
) -> mempool_core::Result<Option<(Table, Counted)>> {
    let mut joined_room = Counted(job.pool.reserve(0)?);
    let (mut tables, mut names, mut dictionary_slots) = (Vec::new(), Vec::new(), 0);
    for (cursor, rows) in parts {
        if names.is_empty() {
            names = cursor.run.index().iter().map(Field::name).collect();
        }
        if rows.is_empty() && !tables.is_empty() {
            continue;
        }
        let part = cursor.run.slice(rows);
        let slots = dictionaries(&part).max().unwrap_or(0);
        // A slice has all of its run's dictionary; joined by itself it keeps what its rows show.
        let part = match slots > part.rows() {
            true => Table::concat(&[&part], &mut joined_room)?,
            false => part,
        };
        dictionary_slots += dictionaries(&part).sum::<usize>();
        tables.push(part);
    }
    if tables.is_empty() {
        return Ok(None);
    }
    // What joining dictionaries takes beside them, which it does not report: a code, a choice and a hash for each value.
    let merging = dictionary_slots as u64 * DICTIONARY_SLOT_BYTES;
    joined_room.take(merging)?;
    let joined = Table::concat(&tables.iter().collect::<Vec<_>>(), &mut joined_room)?;
    joined_room.give_back(merging);
    drop(tables);
    let mut room = Counted(job.pool.reserve(0)?);
    let sorted = joined.sort_within(&names, &mut room)?;
    // What was in order already is not copied.
    room.0.absorb(joined_room.0);
    Ok(Some((sorted, room)))
}

/// What a value of a dictionary takes while dictionaries are joined.
const DICTIONARY_SLOT_BYTES: u64 = 64;

/// The lengths of the dictionaries of a table's columns.
fn dictionaries(table: &Table) -> impl Iterator<Item = usize> {
    fn of(column: &Column) -> Option<usize> {
        match column.kind() {
            Kind::Pooled(_) => column.child().map(Column::len),
            Kind::Nullable => of(column.child()?),
            _ => None,
        }
    }
    table.columns().iter().filter_map(of)
}
