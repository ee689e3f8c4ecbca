//! Rows parted by the hash of their order, so that all lines of one order meet in one partition: each partition is a list of chunks that are built inside the
//! memory limit.

use mempool_codec::Rkyv;
use mempool_core::Builder;
use rkyv::{Archive, Serialize};

use super::{
    groups::hash,
    job::{Chunk, Job},
    plan::GroupPlan,
};
use crate::error::CliError;

/// What the query sums: the units on one line of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Quantity {
    pub(crate) order_key: i64,
    pub(crate) quantity: i64,
}

/// Chunks of one partition.
pub(crate) type Partition = Vec<Chunk<Quantity>>;

/// One thread's share of all partitions while they grow.
pub(crate) struct Partitioner<'a> {
    job: &'a Job<'a>,
    plan: GroupPlan,
    growing: Vec<Growing>,
}

/// One thread's share of one partition: what is full, and what is not.
#[derive(Default)]
struct Growing {
    full: Partition,
    builder: Option<Builder<Rkyv, Vec<Quantity>>>,
    rows: usize,
}

impl<'a> Partitioner<'a> {
    pub(crate) fn new(job: &'a Job<'a>, plan: GroupPlan) -> Self {
        let growing = (0..plan.partitions).map(|_| Growing::default()).collect();
        Self { job, plan, growing }
    }

    /// Puts a row where its order belongs.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn add(&mut self, row: Quantity) -> Result<(), CliError> {
        let index = partition_of(row.order_key, self.growing.len());
        let Some(growing) = self.growing.get_mut(index) else { return Ok(()) };
        let builder = match &mut growing.builder {
            Some(builder) => builder,
            empty => empty.insert(self.job.pool.builder()?),
        };
        builder.push(&[row])?;
        growing.rows += 1;
        if growing.rows == self.plan.chunk_rows {
            growing.end_chunk()?;
        }
        Ok(())
    }

    /// Ends all chunks and gives the partitions in their order.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn finish(self) -> Result<Vec<Partition>, CliError> {
        let ended = self.growing.into_iter().map(|mut growing| {
            growing.end_chunk()?;
            Ok(growing.full)
        });
        ended.collect()
    }
}

impl Growing {
    fn end_chunk(&mut self) -> Result<(), CliError> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let rows = std::mem::take(&mut self.rows) as u64;
        let bytes = rows * size_of::<ArchivedQuantity>() as u64;
        self.full.push(Chunk { reference: builder.finish()?, rows, bytes });
        Ok(())
    }
}

/// Which of `partitions` an order belongs to: the share of the hash's range that its high bits fall in.
fn partition_of(order_key: i64, partitions: usize) -> usize {
    let high = u128::from(hash(order_key)) * partitions as u128;
    usize::try_from(high >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_spread_evenly() {
        let mut counts = [0_u32; 7];
        (0..7000).for_each(|key| counts[partition_of(key, 7)] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
        assert_eq!(partition_of(i64::MAX, 1), 0);
    }
}
