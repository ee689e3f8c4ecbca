//! `orders` and `customer` in the pool: the tables that queries join to the lines.

use super::{
    Query,
    answers::Expected,
    filling::Filling,
    job::{Chunk, Job},
    layout::{RowChunk, Tables},
    order::OrderRow,
    prose::{Comments, Prose},
    source::Source,
};
use crate::{card::Phase, error::CliError, progress::Running};

/// Both tables as chunks.
pub(crate) struct Joined<L: Tables> {
    pub(crate) orders: Vec<Chunk<L::Orders>>,
    pub(crate) customers: Vec<Chunk<L::Customers>>,
}

impl<L: Tables> Joined<L> {
    /// Generates both into the pool.
    ///
    /// # Errors
    /// The pool fails, or the job is stopped.
    pub(crate) fn generate(job: &Job<'_>, source: &Source) -> Result<(Self, Vec<Phase>), CliError> {
        let (mut prose, mut phases) = (None, Vec::new());
        // The benchmark's own answer is that for its own comments.
        if job.asks(Query::Distribution) && Expected::has_official(job.options.scale) {
            let (all, phase) = Prose::generate(job)?;
            prose = Some(all);
            phases.push(phase);
        }
        // A customer for ten orders.
        let running = job.start("tables", Source::orders_expected(job.options.scale) * 11 / 10);
        let parts = job.plan.parts;
        let made = job.on_parts(|queue| {
            let mut orders = Filling::<L::Orders>::new(job, job.plan.chunk_rows);
            let mut customers = Filling::<L::Customers>::new(job, job.plan.chunk_rows);
            while let Some(part) = queue.take() {
                let mut add = |order: OrderRow<'_>| {
                    note(&running, orders.push(order)?);
                    Ok(())
                };
                match &prose {
                    Some(prose) => with_comments(job, prose, source.orders(part, parts), add)?,
                    None => source.orders(part, parts).try_for_each(&mut add)?,
                }
                source.customers(part, parts, |customer| {
                    note(&running, customers.push(customer)?);
                    Ok(())
                })?;
            }
            note(&running, orders.end()?);
            note(&running, customers.end()?);
            Ok((orders.chunks(), customers.chunks()))
        })?;
        phases.push(running.finish());
        let (orders, customers): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let orders = orders.into_iter().flatten().collect();
        let customers = customers.into_iter().flatten().collect();
        Ok((Self { orders, customers }, phases))
    }
}

/// Shows each order to `add`, with its comment cut from `prose`: as many at a time as a chunk has rows.
fn with_comments<'o>(
    job: &Job<'_>,
    prose: &Prose,
    mut orders: impl Iterator<Item = OrderRow<'o>>,
    mut add: impl FnMut(OrderRow<'_>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let rows = job.plan.chunk_rows;
    let _room = job.pool.reserve((rows * size_of::<OrderRow<'_>>()) as u64)?;
    let mut batch = Vec::with_capacity(rows);
    let mut comments = Comments::with_room(job, rows)?;
    loop {
        batch.clear();
        batch.extend(orders.by_ref().take(rows));
        if batch.is_empty() {
            return Ok(());
        }
        comments.cut(job, prose, batch.iter().map(|order| order.key))?;
        let rows = batch.iter().zip(comments.iter());
        rows.map(|(order, comment)| OrderRow { comment, ..*order }).try_for_each(&mut add)?;
    }
}

/// Takes note of a chunk that is full.
fn note<T: RowChunk>(running: &Running, full: Option<&Chunk<T>>) {
    full.into_iter().for_each(|chunk| running.add(chunk.rows, chunk.bytes));
}
