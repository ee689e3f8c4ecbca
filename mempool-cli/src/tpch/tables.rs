//! `orders` and `customer` in the pool: the tables that query 18 joins to the lines.

use mempool_codec::Rkyv;
use mempool_core::Codec;
use rkyv::Archived;

use super::{
    customer::Customer,
    job::{Chunk, Job},
    order::Order,
    source::Source,
};
use crate::{card::Phase, error::CliError, progress::Running};

/// Both tables as chunks.
pub(crate) struct Tables {
    pub(crate) orders: Vec<Chunk<Order>>,
    pub(crate) customers: Vec<Chunk<Customer>>,
}

impl Tables {
    /// Generates both into the pool.
    ///
    /// # Errors
    /// The pool fails, or the job is stopped.
    pub(crate) fn generate(job: &Job<'_>, source: &Source) -> Result<(Self, Phase), CliError> {
        // A customer for ten orders.
        let running = job.start("tables", Source::orders_expected(job.options.scale) * 11 / 10);
        let made = job.on_parts(|queue| {
            // A thread holds one chunk of either as rows at a time.
            let row_bytes = size_of::<Order>().max(Customer::HEAP_BYTES_MAX) as u64;
            let _room = job.pool.reserve(job.plan.chunk_rows as u64 * row_bytes)?;
            let mut made = Vec::new();
            while let Some(part) = queue.take() {
                let parts = job.plan.parts;
                made.push(Self {
                    orders: set_all(job, &running, source.orders(part, parts), order_bytes)?,
                    customers: set_all(
                        job,
                        &running,
                        source.customers(part, parts),
                        customer_bytes,
                    )?,
                });
            }
            Ok(made)
        })?;
        let made = made.into_iter().flatten();
        let (orders, customers): (Vec<_>, Vec<_>) =
            made.map(|tables| (tables.orders, tables.customers)).unzip();
        let orders = orders.into_iter().flatten().collect();
        let customers = customers.into_iter().flatten().collect();
        Ok((Self { orders, customers }, running.finish()))
    }
}

/// Bytes of an order in an archive.
fn order_bytes(_: &Order) -> usize {
    size_of::<Archived<Order>>()
}

/// Bytes of a customer in an archive: names are too long to stand in its fixed part.
fn customer_bytes(customer: &Customer) -> usize {
    size_of::<Archived<Customer>>() + customer.name.len()
}

/// Sets all rows as chunks.
fn set_all<R>(
    job: &Job<'_>,
    running: &Running,
    rows: impl Iterator<Item = R>,
    row_bytes: impl Fn(&R) -> usize,
) -> Result<Vec<Chunk<R>>, CliError>
where
    R: Send + Sync + 'static,
    Rkyv: Codec<Vec<R>>,
{
    let mut rows = rows.peekable();
    let mut chunks = Vec::new();
    while rows.peek().is_some() {
        // The vector does not grow, so that it takes what was reserved for it and no more.
        let mut chunk = Vec::with_capacity(job.plan.chunk_rows);
        chunk.extend(rows.by_ref().take(job.plan.chunk_rows));
        let count = chunk.len() as u64;
        let bytes = chunk.iter().map(&row_bytes).sum::<usize>() as u64;
        let reference = job.pool.set(chunk).map_err(|rejected| rejected.error)?;
        running.add(count, bytes);
        chunks.push(Chunk { reference, rows: count, bytes });
    }
    Ok(chunks)
}
