//! Sorting `lineitem` out of core, by ship date, order and line, and the proof that it was: rows in order, and the checksum of all of them as before.
//!
//! ```text
//! runs    a thread holds a few chunks, sorts the places of their rows, and sets the rows in that order as pages      pool.get, pool.reserve, pool.set
//! merge   the least row among all runs' first pages is the next one; a page goes when its last row is taken          pool.get_owned, pool.set
//! order   threads look through the sorted chunks: each row, and each chunk's first beside the last of the one before  pool.get
//! ```
//! Held at one time are the chunks of one run for each thread, a third of the limit at most, or one page of each run, half of it at most.

use std::{cmp::Reverse, collections::BinaryHeap, vec};

use mempool_core::{DRef, PinnedOwned};

use super::{
    filling::Filling,
    fingerprint::{Checksum, row_hash},
    job::{Chunk, Job},
    layout::{LineChunk, View},
    lineitem::Row,
    lines::{self, Lines},
    plan::SortPlan,
    reserved::Reserved,
};
use crate::{
    card::{Phase, SortPart},
    error::CliError,
};

/// What rows are ordered by. No two rows have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) ship_date: i32,
    pub(crate) order_key: i64,
    pub(crate) line_number: i32,
}

/// Where a row is among the chunks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: Key,
    chunk: u32,
    row: u32,
}

/// Rows in order, as pages of which one is held at a time.
type Run<T> = Vec<DRef<T>>;

/// Sorts the table, which is gone then, and looks whether that went well.
///
/// # Errors
/// The pool fails, or the job is stopped.
pub(crate) fn sort<T: LineChunk>(
    job: &Job<'_>,
    lines: Lines<T>,
    plan: SortPlan,
) -> Result<(SortPart, [Phase; 3]), CliError> {
    let Lines { chunks, checksum, .. } = lines;
    let (runs, made) = make_runs(job, &chunks, plan)?;
    // The rows are in the runs now, so their places in memory and on disk are free before the merge needs others.
    drop(chunks);
    let count = runs.len() as u64;
    let (sorted, merged) = merge(job, runs, checksum.rows)?;
    let (found, out_of_order, looked) = look(job, &sorted)?;
    let part = SortPart {
        runs: count,
        rows: found.rows,
        rows_expected: checksum.rows,
        out_of_order,
        checksum: found.to_string(),
        checksum_expected: checksum.to_string(),
    };
    Ok((part, [made, merged, looked]))
}

/// Makes sorted runs of some chunks each.
fn make_runs<T: LineChunk>(
    job: &Job<'_>,
    chunks: &[Chunk<T>],
    plan: SortPlan,
) -> Result<(Vec<Run<T>>, Phase), CliError> {
    let groups: Vec<_> = chunks.chunks(plan.run_chunks).collect();
    let running = job.start("sort runs", chunks.iter().map(|chunk| chunk.rows).sum());
    let made = job.on_threads(groups.len(), |queue| {
        let mut runs = Vec::new();
        while let Some(group) = queue.take().and_then(|index| groups.get(index)) {
            runs.push(make_run(job, group, plan)?);
            running.add(
                group.iter().map(|chunk| chunk.rows).sum(),
                group.iter().map(|chunk| chunk.bytes).sum(),
            );
        }
        Ok(runs)
    })?;
    Ok((made.into_iter().flatten().collect(), running.finish()))
}

fn make_run<T: LineChunk>(
    job: &Job<'_>,
    chunks: &[Chunk<T>],
    plan: SortPlan,
) -> Result<Run<T>, CliError> {
    let views = chunks.iter().map(|chunk| T::pool(job).get(&chunk.reference));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let mut places = Reserved::new(job.pool.reserve(0)?);
    places.grow(views.iter().map(|view| T::rows(view)).sum())?;
    for (chunk, view) in (0..).zip(&views) {
        let keys = (0..T::rows(view)).filter_map(|row| T::key(view, row));
        for (row, key) in (0..).zip(keys) {
            places.push(Place { key, chunk, row }, 0)?;
        }
    }
    places.as_mut_slice().sort_unstable();
    let line = |place: &Place| T::row(views.get(place.chunk as usize)?, place.row as usize);
    let mut pages = Filling::<T>::new(job, plan.page_rows);
    for row in places.iter().filter_map(line) {
        pages.push(row)?;
    }
    pages.end()?;
    Ok(pages.chunks().into_iter().map(|page| page.reference).collect())
}

/// A run under way: the page that is held, and those behind it.
struct Cursor<T: LineChunk> {
    page: PinnedOwned<T::Codec, T>,
    row: usize,
    rest: vec::IntoIter<DRef<T>>,
}

impl<T: LineChunk> Cursor<T> {
    /// At the first row of a run; nothing if it has no page.
    fn new(job: &Job<'_>, run: Run<T>) -> Result<Option<Self>, CliError> {
        let mut rest = run.into_iter();
        let Some(page) = rest.next() else { return Ok(None) };
        // The guard keeps the page's last reference, so the page goes with it.
        let page = T::pool(job).get_owned(&page)?;
        Ok(Some(Self { page, row: 0, rest }))
    }

    /// The row that it stands at; pages are never empty.
    fn line(&self) -> Option<Row<'_>> {
        T::row(&self.page, self.row)
    }

    fn key(&self) -> Option<Key> {
        T::key(&self.page, self.row)
    }

    /// Goes on to the next row, and says whether there is one.
    fn advance(&mut self, job: &Job<'_>) -> Result<bool, CliError> {
        self.row += 1;
        if self.row < T::rows(&self.page) {
            return Ok(true);
        }
        let Some(page) = self.rest.next() else { return Ok(false) };
        self.page = T::pool(job).get_owned(&page)?;
        self.row = 0;
        Ok(true)
    }
}

/// Merges all runs into chunks.
fn merge<T: LineChunk>(
    job: &Job<'_>,
    runs: Vec<Run<T>>,
    rows: u64,
) -> Result<(Vec<Chunk<T>>, Phase), CliError> {
    let running = job.start("merge", rows);
    let cursors = runs.into_iter().filter_map(|run| Cursor::new(job, run).transpose());
    let mut cursors = cursors.collect::<Result<Vec<_>, _>>()?;
    let first = cursors.iter().enumerate();
    let first = first.filter_map(|(run, at)| Some(Reverse((at.key()?, run))));
    let mut least: BinaryHeap<_> = first.collect();
    let mut sorted = Filling::<T>::new(job, job.plan.chunk_rows);
    while let Some(mut top) = least.peek_mut() {
        let Reverse((_, run)) = *top;
        let Some(cursor) = cursors.get_mut(run) else { break };
        let full = cursor.line().map(|row| sorted.push(row)).transpose()?.flatten();
        if let Some(chunk) = full {
            job.stop.check()?;
            running.add(chunk.rows, chunk.bytes);
        }
        match cursor.advance(job)?.then(|| cursor.key()).flatten() {
            Some(next) => *top = Reverse((next, run)),
            None => drop(std::collections::binary_heap::PeekMut::pop(top)),
        }
    }
    let last = sorted.end()?;
    last.into_iter().for_each(|chunk| running.add(chunk.rows, chunk.bytes));
    Ok((sorted.chunks(), running.finish()))
}

/// What one thread has seen of the sorted chunks.
#[derive(Default)]
struct Seen {
    checksum: Checksum,
    out_of_order: u64,
    ends: Vec<Ends>,
}

/// The index of a chunk, its first key and its last.
type Ends = (usize, Key, Key);

/// The checksum of all rows, and how many are not behind the one before them.
fn look<T: LineChunk>(
    job: &Job<'_>,
    sorted: &[Chunk<T>],
) -> Result<(Checksum, u64, Phase), CliError> {
    let start = || Ok(Seen::default());
    let (seen, phase) = job.scan("order", sorted, start, |seen, index, view: &View<T>| {
        lines::rows::<T>(view).for_each(|row| seen.checksum.add(row_hash(&row)));
        let rows = T::rows(view);
        seen.out_of_order += out_of_order((0..rows).filter_map(|row| T::key(view, row)));
        let ends = (T::key(view, 0), T::key(view, rows.saturating_sub(1)));
        if let (Some(first), Some(last)) = ends {
            seen.ends.push((index, first, last));
        }
        Ok(())
    })?;
    let mut checksum = Checksum::default();
    seen.iter().for_each(|seen| checksum.merge(seen.checksum));
    let between = not_joined(seen.iter().flat_map(|seen| seen.ends.iter().copied()).collect());
    let within: u64 = seen.iter().map(|seen| seen.out_of_order).sum();
    Ok((checksum, within + between, phase))
}

/// How many chunks do not begin behind the end of the one before them.
fn not_joined(mut ends: Vec<Ends>) -> u64 {
    ends.sort_unstable();
    let wrong = |pair: &&[Ends]| matches!(pair, [(_, _, last), (_, first, _)] if first <= last);
    ends.windows(2).filter(wrong).count() as u64
}

/// How many keys are not greater than the one before them.
fn out_of_order(keys: impl Iterator<Item = Key>) -> u64 {
    let mut last = None;
    keys.filter(|key| last.replace(*key).is_some_and(|last| last >= *key)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ship_date: i32, order_key: i64, line_number: i32) -> Key {
        Key { ship_date, order_key, line_number }
    }

    #[test]
    fn keys_go_by_date_then_order_then_line() {
        let sorted = [key(1, 9, 9), key(2, 1, 9), key(2, 3, 1), key(2, 3, 2), key(3, 0, 0)];
        assert_eq!(out_of_order(sorted.into_iter()), 0);
        assert_eq!(out_of_order(sorted.into_iter().rev()), 4);
        assert_eq!(out_of_order([key(1, 1, 1), key(1, 1, 1)].into_iter()), 1);
        assert_eq!(out_of_order(std::iter::empty()), 0);
    }

    #[test]
    fn chunks_are_joined_in_their_order() {
        let chunk = |index, first, last| (index, key(first, 1, 1), key(last, 1, 1));
        // Threads have seen them in any order.
        assert_eq!(not_joined(vec![chunk(2, 7, 9), chunk(0, 1, 3), chunk(1, 4, 6)]), 0);
        assert_eq!(not_joined(vec![chunk(2, 7, 9), chunk(0, 1, 4), chunk(1, 4, 7)]), 2);
        assert_eq!(not_joined(vec![chunk(1, 1, 3), chunk(0, 4, 6)]), 1);
        assert_eq!(not_joined(Vec::new()), 0);
    }
}
