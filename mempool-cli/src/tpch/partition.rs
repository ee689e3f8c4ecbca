//! Records parted by the hash of their key, so that all of one key meet in one partition: each partition is a list of chunks that are built inside the memory
//! limit.

use mempool_codec::Rkyv;
use mempool_core::{Build, Builder, Codec};
use rkyv::{Archive, Serialize};

use super::{
    groups::hash,
    job::{Chunk, Job},
    plan::GroupPlan,
};
use crate::error::CliError;

/// What is parted.
pub(crate) trait Record: Clone + Send + Sync + 'static {
    /// What it is parted by.
    fn key(&self) -> i64;
}

/// An amount that is summed by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Amount {
    pub(crate) key: i64,
    pub(crate) amount: i64,
}

impl Record for Amount {
    fn key(&self) -> i64 {
        self.key
    }
}

impl From<&ArchivedAmount> for Amount {
    #[inline]
    fn from(amount: &ArchivedAmount) -> Self {
        Self { key: amount.key.to_native(), amount: amount.amount.to_native() }
    }
}

/// Sums amounts of one key that follow each other: fewer records, and the same sums.
pub(crate) fn runs(amounts: impl Iterator<Item = Amount>) -> impl Iterator<Item = Amount> {
    let mut amounts = amounts.peekable();
    std::iter::from_fn(move || {
        let mut sum = amounts.next()?;
        while let Some(more) = amounts.next_if(|next| next.key == sum.key) {
            sum.amount += more.amount;
        }
        Some(sum)
    })
}

/// Chunks of one partition.
pub(crate) type Partition<R> = Vec<Chunk<Vec<R>>>;

/// One thread's share of all partitions while they grow.
pub(crate) struct Partitioner<'a, R: Record>
where
    Rkyv: Build<Vec<R>>,
{
    job: &'a Job<'a>,
    chunk_rows: usize,
    growing: Vec<Growing<R>>,
}

/// One thread's share of one partition: what is full, and what is not.
struct Growing<R: Record>
where
    Rkyv: Build<Vec<R>>,
{
    full: Partition<R>,
    builder: Option<Builder<Rkyv, Vec<R>>>,
    rows: usize,
}

impl<'a, R: Record> Partitioner<'a, R>
where
    Rkyv: Build<Vec<R>, Piece = [R]>,
{
    pub(crate) fn new(job: &'a Job<'a>, plan: GroupPlan) -> Self {
        let none = || Growing { full: Vec::new(), builder: None, rows: 0 };
        let growing = std::iter::repeat_with(none).take(plan.partitions).collect();
        Self { job, chunk_rows: plan.chunk_rows::<R>(), growing }
    }

    /// Puts a record where its key belongs.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn add(&mut self, record: R) -> Result<(), CliError> {
        let index = partition_of(record.key(), self.growing.len());
        let Some(growing) = self.growing.get_mut(index) else { return Ok(()) };
        let builder = match &mut growing.builder {
            Some(builder) => builder,
            empty => empty.insert(self.job.pool.builder()?),
        };
        builder.push(std::slice::from_ref(&record))?;
        growing.rows += 1;
        if growing.rows == self.chunk_rows {
            growing.end_chunk()?;
        }
        Ok(())
    }

    /// Ends all chunks of all threads, and gives the partitions in their order.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn finish(threads: Vec<Self>) -> Result<Vec<Partition<R>>, CliError> {
        let mut partitions = Vec::new();
        for partitioner in threads {
            partitions.resize_with(partitioner.growing.len(), Vec::new);
            for (all, mut growing) in partitions.iter_mut().zip(partitioner.growing) {
                growing.end_chunk()?;
                all.append(&mut growing.full);
            }
        }
        Ok(partitions)
    }
}

impl<R: Record> Growing<R>
where
    Rkyv: Build<Vec<R>>,
{
    fn end_chunk(&mut self) -> Result<(), CliError> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let rows = std::mem::take(&mut self.rows) as u64;
        let bytes = rows * size_of::<R>() as u64;
        self.full.push(Chunk { reference: builder.finish()?, rows, bytes });
        Ok(())
    }
}

/// Rows of a partition.
pub(crate) fn rows_of<R>(partition: &Partition<R>) -> u64 {
    partition.iter().map(|chunk| chunk.rows).sum()
}

/// Shows each chunk of a partition to `look`.
///
/// # Errors
/// The pool fails, or what `look` says.
pub(crate) fn each_chunk<R: Record>(
    job: &Job<'_>,
    partition: &Partition<R>,
    mut look: impl FnMut(&<Rkyv as Codec<Vec<R>>>::View) -> Result<(), CliError>,
) -> Result<(), CliError>
where
    Rkyv: Codec<Vec<R>>,
{
    partition.iter().try_for_each(|chunk| look(&*job.pool.get(&chunk.reference)?))
}

/// Which of `partitions` a key belongs to: the share of the hash's range that its high bits fall in.
fn partition_of(key: i64, partitions: usize) -> usize {
    let high = u128::from(hash(key)) * partitions as u128;
    usize::try_from(high >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0_u32; 7];
        (0..7000).for_each(|key| counts[partition_of(key, 7)] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
        assert_eq!(partition_of(i64::MAX, 1), 0);
    }
    #[test]
    fn amounts_of_one_key_are_summed_where_they_meet() {
        let amounts = |pairs: &[(i64, i64)]| {
            pairs.iter().map(|&(key, amount)| Amount { key, amount }).collect::<Vec<_>>()
        };
        let found: Vec<_> = runs(amounts(&[(1, 5), (1, 6), (2, 1), (1, 7)]).into_iter()).collect();
        assert_eq!(found, amounts(&[(1, 11), (2, 1), (1, 7)]));
        assert_eq!(runs(std::iter::empty()).count(), 0);
    }
}
