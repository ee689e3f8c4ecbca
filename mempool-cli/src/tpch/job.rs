//! The job under way: its pool, and its way of going through values on all threads. Knows no table and no query.

use mempool_codec::Rkyv;
use mempool_core::{Codec, DRef, Pool};

use super::{
    Options, Query,
    plan::{GroupPlan, Plan, SortPlan},
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
    /// If query 18 is one of those to run.
    pub(crate) group_plan: Option<GroupPlan>,
    /// If the table is to be sorted.
    pub(crate) sort_plan: Option<SortPlan>,
    pub(crate) progress: Progress,
    pub(crate) stop: Stop,
    pub(crate) pool: Pool<Rkyv>,
}

/// Rows as the pool keeps them.
pub(crate) struct Chunk<R> {
    pub(crate) reference: DRef<Vec<R>>,
    pub(crate) rows: u64,
    /// Size of the archive.
    pub(crate) bytes: u64,
}

/// What a `get` of a chunk shows.
pub(crate) type View<R> = <Rkyv as Codec<Vec<R>>>::View;

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
    pub(crate) fn scan<R, A>(
        &self,
        name: &'static str,
        chunks: &[Chunk<R>],
        start: impl Fn() -> Result<A, CliError> + Sync,
        look: impl Fn(&mut A, usize, &View<R>) -> Result<(), CliError> + Sync,
    ) -> Result<(Vec<A>, Phase), CliError>
    where
        A: Send,
        R: Send + Sync + 'static,
        Rkyv: Codec<Vec<R>>,
    {
        let running = self.start(name, chunks.iter().map(|chunk| chunk.rows).sum());
        let found = self.on_threads(chunks.len(), |queue| {
            let mut found = start()?;
            while let Some(index) = queue.take() {
                let Some(chunk) = chunks.get(index) else { break };
                let rows = self.pool.get(&chunk.reference)?;
                look(&mut found, index, &rows)?;
                running.add(chunk.rows, chunk.bytes);
            }
            Ok(found)
        })?;
        Ok((found, running.finish()))
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
