//! The job under way: its pool, and its way of going through values on all threads. Knows no table and no query.

use mempool_arrays::Raw;
use mempool_codec::Rkyv;
use mempool_core::{DRef, Pool};

use super::{
    Options, Query,
    layout::{RowChunk, View},
    plan::{GroupPlan, Plan, SortPlan},
    reserved::Reserved,
};
use crate::{
    card::Phase,
    error::CliError,
    progress::{Progress, Running},
    stop::Stop,
    workers::{Queue, on_threads},
};

/// What all phases share.
pub(crate) struct Job<'a> {
    pub(crate) options: &'a Options,
    pub(crate) plan: Plan,
    /// If one of the queries to run has groups.
    pub(crate) group_plan: Option<GroupPlan>,
    /// If the table is to be sorted.
    pub(crate) sort_plan: Option<SortPlan>,
    pub(crate) progress: Progress,
    pub(crate) stop: Stop,
    pub(crate) pool: Pool<Rkyv>,
    /// The same pool, for columns.
    pub(crate) columns: Pool<Raw>,
}

/// Rows as the pool keeps them.
pub(crate) struct Chunk<T> {
    pub(crate) reference: DRef<T>,
    pub(crate) rows: u64,
    /// Bytes of the archive, or of the columns.
    pub(crate) bytes: u64,
}

impl Job<'_> {
    /// Whether the query is one of those to run.
    pub(crate) fn asks(&self, query: Query) -> bool {
        self.options.queries.contains(&query)
    }

    /// Starts a phase of about `rows` rows.
    pub(crate) fn start(&self, name: &'static str, rows: u64) -> Running {
        self.progress.start(name, rows)
    }

    /// Gets each chunk once, on all threads, and shows it to `look` with its index and what the thread has found so far; each thread begins with `start`.
    pub(crate) fn scan<T: RowChunk, A: Send>(
        &self,
        name: &'static str,
        chunks: &[Chunk<T>],
        start: impl Fn() -> Result<A, CliError> + Sync,
        look: impl Fn(&mut A, usize, &View<T>) -> Result<(), CliError> + Sync,
    ) -> Result<(Vec<A>, Phase), CliError> {
        let running = self.start(name, chunks.iter().map(|chunk| chunk.rows).sum());
        let found = self.on_threads(chunks.len(), |queue| {
            let mut found = start()?;
            while let Some(index) = queue.take() {
                let Some(chunk) = chunks.get(index) else { break };
                let rows = T::pool(self).get(&chunk.reference)?;
                look(&mut found, index, &rows)?;
                running.add(chunk.rows, chunk.bytes);
            }
            Ok(found)
        })?;
        Ok((found, running.finish()))
    }

    /// A vector inside the memory limit, empty.
    ///
    /// # Errors
    /// The pool refuses any reservation.
    pub(crate) fn reserved<T>(&self) -> Result<Reserved<T>, CliError> {
        Ok(Reserved::new(self.pool.reserve(0)?))
    }

    /// What `add` finds in all parts of the tables.
    ///
    /// # Errors
    /// What `add` says, or the job is stopped.
    pub(crate) fn gather<T: Send>(
        &self,
        add: impl Fn(usize, &mut Reserved<T>) -> Result<(), CliError> + Sync,
    ) -> Result<Reserved<T>, CliError> {
        let found = self.on_parts(|queue| {
            let mut found = self.reserved()?;
            while let Some(part) = queue.take() {
                add(part, &mut found)?;
            }
            Ok(found)
        })?;
        self.append(found)
    }

    /// All parts as one.
    ///
    /// # Errors
    /// The pool has no room.
    pub(crate) fn append<T>(&self, parts: Vec<Reserved<T>>) -> Result<Reserved<T>, CliError> {
        let mut all = self.reserved()?;
        parts.into_iter().try_for_each(|part| all.append(part))?;
        Ok(all)
    }

    /// Runs `work` on all threads, with a queue of the parts that tables are generated in.
    pub(crate) fn on_parts<T: Send>(
        &self,
        work: impl Fn(&Queue) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<T>, CliError> {
        self.on_threads(self.plan.parts, work)
    }

    /// Runs `work` on all threads, with a queue of `count` pieces; an error if it was stopped.
    pub(crate) fn on_threads<T: Send>(
        &self,
        count: usize,
        work: impl Fn(&Queue) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<T>, CliError> {
        let done = on_threads(self.options.threads, &Queue::new(count, &self.stop), work)?;
        self.stop.check()?;
        Ok(done)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mempool_core::PoolOptions;

    use super::*;
    use crate::tpch::{Layout, layout::Columns};

    /// A job on one thread over a pool without a disk, for a test of a part of it.
    pub(crate) fn with_job(test: impl FnOnce(&Job<'_>)) {
        let options = Options {
            scale: 0.001,
            layout: Layout::Columns,
            queries: Vec::new(),
            sorts: false,
            memory_limit_bytes: 4 << 20,
            mapped_limit_bytes: None,
            disks: Vec::new(),
            placement: mempool_spill::Placement::InOrder,
            filters: Vec::new(),
            key_file: None,
            threads: 1,
        };
        let plan = Plan::new::<Columns>(options.scale, options.memory_limit_bytes, 1).unwrap();
        let pool = PoolOptions::new().memory_limit(options.memory_limit_bytes).open(Rkyv::new());
        let columns = pool.with_codec(Raw);
        test(&Job {
            options: &options,
            plan,
            group_plan: None,
            sort_plan: None,
            progress: Progress::Lines,
            stop: Stop::default(),
            pool,
            columns,
        });
    }
}
