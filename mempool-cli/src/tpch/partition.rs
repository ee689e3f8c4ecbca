//! Records parted by the hash of their key, so that all of one key meet in one partition: each partition is a list of chunks that are built inside the memory
//! limit.

use bytemuck::{Pod, Zeroable};
use mempool_arrays::{Element, ElementType};
use mempool_core::Reservation;

use super::{
    groups::hash,
    job::{Chunk, Job},
    plan::GroupPlan,
};
use crate::error::CliError;

/// What is parted: plain data, which lies in the pool as it does here.
pub(crate) trait Record: Element {
    /// What it is parted by.
    fn key(&self) -> i64;
}

/// An amount that is summed by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Amount {
    pub(crate) key: i64,
    pub(crate) amount: i64,
}

impl Element for Amount {
    const TYPE: ElementType = ElementType::record::<Self>("amount");
}

impl Record for Amount {
    fn key(&self) -> i64 {
        self.key
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
pub(crate) struct Partitioner<'a, R> {
    job: &'a Job<'a>,
    chunk_rows: usize,
    growing: Vec<Growing<R>>,
}

/// One thread's share of one partition: what is full, and what is not.
struct Growing<R> {
    full: Partition<R>,
    /// With room for a whole chunk from its first record on, so that it takes what was reserved for it and no more.
    records: Vec<R>,
    room: Option<Reservation>,
}

impl<'a, R: Record> Partitioner<'a, R> {
    pub(crate) fn new(job: &'a Job<'a>, plan: GroupPlan) -> Self {
        let none = || Growing { full: Vec::new(), records: Vec::new(), room: None };
        let growing = std::iter::repeat_with(none).take(plan.partitions).collect();
        Self { job, chunk_rows: plan.chunk_rows::<R>(), growing }
    }

    /// Puts a record where its key belongs.
    ///
    /// # Errors
    /// The pool fails.
    #[inline]
    pub(crate) fn add(&mut self, record: R) -> Result<(), CliError> {
        let index = partition_of(record.key(), self.growing.len());
        let Some(growing) = self.growing.get_mut(index) else { return Ok(()) };
        if growing.records.len() == growing.records.capacity() {
            growing.start_chunk(self.job, self.chunk_rows)?;
        }
        growing.records.push(record);
        Ok(())
    }

    /// Ends all chunks of all threads, and gives the partitions in their order.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn finish(threads: Vec<Self>) -> Result<Vec<Partition<R>>, CliError> {
        let mut partitions = Vec::new();
        for Self { job, growing, .. } in threads {
            partitions.resize_with(growing.len(), Vec::new);
            for (all, mut growing) in partitions.iter_mut().zip(growing) {
                growing.end_chunk(job)?;
                all.append(&mut growing.full);
            }
        }
        Ok(partitions)
    }
}

impl<R: Record> Growing<R> {
    /// Ends the chunk that is full, if there is one, and makes room for the next.
    #[cold]
    fn start_chunk(&mut self, job: &Job<'_>, rows: usize) -> Result<(), CliError> {
        self.end_chunk(job)?;
        self.room = Some(job.pool.reserve((rows * size_of::<R>()) as u64)?);
        self.records = Vec::with_capacity(rows);
        Ok(())
    }

    fn end_chunk(&mut self, job: &Job<'_>) -> Result<(), CliError> {
        let mut records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Ok(());
        }
        // The last chunk need not be full.
        records.shrink_to_fit();
        let rows = records.len() as u64;
        let bytes = rows * size_of::<R>() as u64;
        // The pool takes the vector over and counts it itself; for a moment both do.
        let reference = job.columns.set(records).map_err(|rejected| rejected.error)?;
        self.room = None;
        self.full.push(Chunk { reference, rows, bytes });
        Ok(())
    }
}

/// Rows of a partition.
pub(crate) fn rows_of<R: Record>(partition: &Partition<R>) -> u64 {
    partition.iter().map(|chunk| chunk.rows).sum()
}

/// Shows the records of each chunk of a partition to `look`.
///
/// # Errors
/// The pool fails, or what `look` says.
pub(crate) fn each_chunk<R: Record>(
    job: &Job<'_>,
    partition: &Partition<R>,
    mut look: impl FnMut(&[R]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    partition.iter().try_for_each(|chunk| look(&job.columns.get(&chunk.reference)?))
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
