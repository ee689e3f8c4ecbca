//! How the table is cut: rows to a chunk, parts to generate independently. A small memory limit makes small chunks, so that the pool always has many values to choose from.

use super::{groups::SLOT_BYTES, layout::Tables, source::Source};
use crate::size::Bytes;

/// Largest size of a chunk in the pool.
const CHUNK_BYTES_MAX: u64 = 8 << 20;

/// Smallest size of a chunk in the pool: below it the program would measure its own bookkeeping.
const CHUNK_BYTES_MIN: u64 = 16 << 10;

/// A thread holds a chunk as rows and as an archive, or its columns while they grow, while it sets it: some three times the chunk. So that this takes no more than a fifth of the limit,
/// the limit is divided by so many chunks for each thread.
const CHUNKS_PER_THREAD: u64 = 16;

/// Parts are this many chunks long where the table is large enough; a part ends with a chunk that is not full.
const CHUNKS_PER_PART: u64 = 16;

/// How the table is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Most rows of a chunk.
    pub(crate) chunk_rows: usize,
    /// Parts that are generated independently.
    pub(crate) parts: usize,
    limit_bytes: u64,
    /// Of one row in the pool, about.
    row_bytes: u64,
    /// Of the whole table in the pool, about.
    table_bytes: u64,
}

/// The limit is too small for so many threads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a memory limit of {} is too small for {what}; give at least --memory-limit {}KiB{}",
    Bytes(*.limit_bytes),
    .needed_bytes.div_ceil(1024),
    // Two threads need no more than one.
    if *.threads > 2 { ", or fewer --threads" } else { "" }
)]
pub(crate) struct LimitTooSmall {
    /// What it is too small for.
    pub(crate) what: String,
    /// The limit that was asked for.
    pub(crate) limit_bytes: u64,
    /// The smallest limit that will do.
    pub(crate) needed_bytes: u64,
    /// The threads that were asked for.
    pub(crate) threads: usize,
}

impl Plan {
    /// A plan for the table of `scale` in the layout `L` under `limit_bytes`.
    ///
    /// # Errors
    /// The limit leaves no room for the buffers that `threads` threads need.
    pub(crate) fn new<L: Tables>(
        scale: f64,
        limit_bytes: u64,
        threads: usize,
    ) -> Result<Self, LimitTooSmall> {
        let source_bytes = Source::HEAP_BYTES as u64;
        // One thread alone still leaves half of the pool to values.
        let shares = CHUNKS_PER_THREAD * threads.max(2) as u64;
        let chunk_bytes = (limit_bytes.saturating_sub(source_bytes) / shares).min(CHUNK_BYTES_MAX);
        if chunk_bytes < CHUNK_BYTES_MIN {
            let needed_bytes = source_bytes + CHUNK_BYTES_MIN * shares;
            let what = format!("{threads} threads");
            return Err(LimitTooSmall { what, limit_bytes, needed_bytes, threads });
        }
        let chunk_rows = chunk_bytes / L::LINE_BYTES;
        let chunks = Source::rows_expected(scale).div_ceil(chunk_rows);
        // Enough parts for all threads to end together, and no more orders left over for the last part than one chunk has.
        let parts = (chunks / CHUNKS_PER_PART).max(4 * threads as u64).min(chunks);
        Ok(Self {
            // Both are small: a chunk has at most 8 MiB, and at the largest scale there are some millions of parts.
            chunk_rows: usize::try_from(chunk_rows).unwrap_or(usize::MAX),
            parts: usize::try_from(parts).unwrap_or(usize::MAX).max(1),
            limit_bytes,
            row_bytes: L::LINE_BYTES,
            table_bytes: Source::rows_expected(scale) * L::LINE_BYTES,
        })
    }

    /// Bytes that have no room in memory: what the disk must hold at least. A sort has the table twice.
    pub(crate) fn spilled_bytes_min(&self, sorts: bool) -> u64 {
        let tables = if sorts { 2 } else { 1 };
        (tables * self.table_bytes).saturating_sub(self.limit_bytes)
    }
}

/// How the table is cut to be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortPlan {
    /// Chunks of one run.
    pub(crate) run_chunks: usize,
    /// Most rows of a page.
    pub(crate) page_rows: usize,
}

impl SortPlan {
    /// The chunks that all threads hold while they make runs take a third of the limit at most.
    const RUN_SHARE: u64 = 3;

    /// The pages that are held while runs are merged take half of it at most. Fewer runs and larger pages are fewer values, and what the pool needs to
    /// know of each value is not inside the limit.
    const PAGE_SHARE: u64 = 2;

    /// Smallest page: the allocator gives smaller blocks back late or never.
    const PAGE_BYTES_MIN: u64 = 32 << 10;

    /// A plan for the table that `plan` cuts.
    ///
    /// # Errors
    /// The limit leaves no room for a page of each run: with less memory there are more runs, and each has a smaller page, so that the least limit grows
    /// with the square root of the table.
    pub(crate) fn new(plan: &Plan, threads: usize) -> Result<Self, LimitTooSmall> {
        let limit_bytes = plan.limit_bytes;
        let threads_u64 = threads.max(2) as u64;
        let chunk_bytes = (plan.chunk_rows as u64 * plan.row_bytes).max(1);
        let run_chunks = (limit_bytes / (Self::RUN_SHARE * threads_u64) / chunk_bytes).max(1);
        // Each part ends with a chunk that is not full.
        let chunks = plan.table_bytes.div_ceil(chunk_bytes) + plan.parts as u64;
        let runs = chunks.div_ceil(run_chunks).max(1);
        let page_bytes = limit_bytes / Self::PAGE_SHARE / runs;
        if page_bytes < Self::PAGE_BYTES_MIN {
            let shares = Self::RUN_SHARE * Self::PAGE_SHARE * threads_u64;
            let square = u128::from(Self::PAGE_BYTES_MIN) * u128::from(plan.table_bytes);
            let needed_bytes = u64::try_from((square * u128::from(shares)).isqrt());
            // An eighth more makes up for chunks that are not full and for what the divisions above cut off.
            let needed_bytes = needed_bytes.map_or(u64::MAX, |bytes| bytes / 8 * 9 + (2 << 20));
            return Err(LimitTooSmall {
                what: "--sort".into(),
                limit_bytes,
                needed_bytes,
                threads,
            });
        }
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let page_rows = (page_bytes.min(chunk_bytes) / plan.row_bytes).max(1);
        Ok(Self { run_chunks: number(run_chunks), page_rows: number(page_rows) })
    }
}

/// How rows are parted for queries with many groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupPlan {
    /// Partitions, of about as many orders each.
    pub(crate) partitions: usize,
    /// Most bytes of a partition's chunk.
    chunk_bytes: u64,
}

impl GroupPlan {
    /// A table is at least a quarter full, and the table that it grew from lives beside it while it grows: six slots for each group, at most.
    const GROUP_BYTES: u64 = 6 * SLOT_BYTES as u64;

    /// The tables of all threads take one eighth of the limit at most.
    const TABLE_SHARE: u64 = 8;

    /// What all threads have not yet made chunks of takes a third of the limit at most.
    const BUILDER_SHARE: u64 = 3;

    /// Where there is room for them, so many at least, and four for each thread: all threads have some, and a table is not much larger than the processor's
    /// caches.
    const PARTITIONS_MIN: u64 = 16;

    /// Largest chunk.
    const CHUNK_BYTES_MAX: u64 = 512 << 10;

    /// Smallest chunk: the allocator gives smaller blocks back late or never.
    const BYTES_MIN: u64 = 32 << 10;

    /// A plan for the lines of `scale` under `limit_bytes`.
    ///
    /// # Errors
    /// The limit leaves no room for so many partitions: with less memory there are more of them, and each has less, so that the least limit grows with the
    /// square root of the table.
    pub(crate) fn new(scale: f64, limit_bytes: u64, threads: usize) -> Result<Self, LimitTooSmall> {
        let threads_u64 = threads.max(2) as u64;
        let groups_bytes = Source::orders_expected(scale) * Self::GROUP_BYTES;
        let table_bytes = (limit_bytes / (Self::TABLE_SHARE * threads_u64)).max(1);
        let builder_bytes = limit_bytes / (Self::BUILDER_SHARE * threads_u64);
        let enough = Self::PARTITIONS_MIN.max(4 * threads_u64).min(builder_bytes / Self::BYTES_MIN);
        let partitions = groups_bytes.div_ceil(table_bytes).max(enough).max(1);
        let chunk_bytes = builder_bytes / partitions;
        if chunk_bytes < Self::BYTES_MIN {
            let shares = Self::TABLE_SHARE * Self::BUILDER_SHARE * threads_u64 * threads_u64;
            let square =
                u128::from(Self::BYTES_MIN) * u128::from(groups_bytes) * u128::from(shares);
            // One more MiB makes up for what the divisions above cut off.
            let needed_bytes = u64::try_from(square.isqrt()).unwrap_or(u64::MAX) + (1 << 20);
            let what =
                format!("queries 3, 13 and 18 at scale {scale} (leave them out with --query 1,6)");
            return Err(LimitTooSmall { what, limit_bytes, needed_bytes, threads });
        }
        // It is small: a partition has at least some KiB of the limit.
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        Ok(Self { partitions, chunk_bytes: chunk_bytes.min(Self::CHUNK_BYTES_MAX) })
    }

    /// Most rows of a partition's chunk of `R`: a power of two, as its builder grows by doubling.
    pub(crate) fn chunk_rows<R>(&self) -> usize {
        let rows = usize::try_from(self.chunk_bytes).unwrap_or(usize::MAX) / size_of::<R>();
        1 << rows.max(1).ilog2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::{layout::Rows, lineitem::LineItem, partition::Amount, rows::ArchivedRow};

    #[test]
    fn chunks_shrink_with_the_limit() {
        let rows = |limit_bytes, threads| {
            let plan = Plan::new::<Rows>(1.0, limit_bytes, threads).unwrap();
            plan.chunk_rows as u64
        };
        assert_eq!(rows(1 << 40, 2), CHUNK_BYTES_MAX / Rows::LINE_BYTES);
        assert_eq!(rows(1 << 40, 64), CHUNK_BYTES_MAX / Rows::LINE_BYTES);
        assert!(rows(64 << 20, 2) < rows(256 << 20, 2));
        assert!(rows(64 << 20, 8) < rows(64 << 20, 2));
        assert_eq!(rows(64 << 20, 1), rows(64 << 20, 2));
    }

    #[test]
    fn buffers_of_all_threads_leave_most_of_the_limit() {
        for (limit_bytes, threads) in
            [(4 << 20, 2), (64 << 20, 2), (256 << 20, 2), (256 << 20, 16), (1 << 30, 100)]
        {
            let plan = Plan::new::<Rows>(1.0, limit_bytes, threads).unwrap();
            let chunk_bytes = plan.chunk_rows as u64 * LineItem::HEAP_BYTES_MAX as u64;
            let buffers_bytes = threads as u64 * chunk_bytes + Source::HEAP_BYTES as u64;
            assert!(
                buffers_bytes < limit_bytes / 2,
                "{buffers_bytes} of {limit_bytes} with {threads} threads"
            );
        }
    }

    #[test]
    fn a_limit_that_is_too_small_says_what_will_do() {
        let error = Plan::new::<Rows>(1.0, 1 << 20, 2).unwrap_err();
        assert!(error.to_string().contains("at least --memory-limit 1537KiB"), "{error}");
        assert!(Plan::new::<Rows>(1.0, error.needed_bytes, 2).is_ok());
        assert!(Plan::new::<Rows>(1.0, error.needed_bytes - 1, 2).is_err());
    }

    #[test]
    fn there_are_never_more_parts_than_chunks() {
        assert_eq!(Plan::new::<Rows>(0.001, 1 << 40, 8).unwrap().parts, 1);
        assert_eq!(Plan::new::<Rows>(1.0, 256 << 20, 2).unwrap().parts, 8);
        assert!(Plan::new::<Rows>(100.0, 64 << 20, 2).unwrap().parts > 1000);
    }

    #[test]
    fn partitions_fit_into_the_limit() {
        for (scale, limit_mib, threads) in
            [(1.0, 64, 2), (1.0, 128, 2), (1.0, 256, 8), (0.01, 4, 1), (100.0, 1024, 2)]
        {
            let limit_bytes = limit_mib << 20;
            let plan = GroupPlan::new(scale, limit_bytes, threads).unwrap();
            let rows = plan.chunk_rows::<Amount>();
            let builders = threads * plan.partitions * rows * size_of::<Amount>();
            assert!(builders as u64 <= limit_bytes / 3, "{plan:?} at {scale}");
            let groups = Source::orders_expected(scale) / plan.partitions as u64;
            // The table of so many groups, and a tenth more: orders are not spread quite evenly.
            let slots = (2 * (groups + groups / 10)).next_power_of_two() * 3 / 2;
            let tables = threads as u64 * slots * SLOT_BYTES as u64;
            assert!(tables <= limit_bytes / 7, "{plan:?} at {scale}: {tables}");
            assert!(rows.is_power_of_two());
        }
    }

    #[test]
    fn all_threads_have_partitions_where_there_is_room() {
        let partitions =
            |limit_bytes, threads| GroupPlan::new(0.01, limit_bytes, threads).unwrap().partitions;
        assert_eq!(partitions(8 << 30, 2), 16);
        assert_eq!(partitions(8 << 30, 64), 256);
        assert_eq!(partitions(2560 << 10, 1), 13);
    }

    #[test]
    fn a_limit_that_is_too_small_for_the_groups_says_what_will_do() {
        for (scale, threads) in [(1.0, 2), (10.0, 4), (1000.0, 1)] {
            let error = GroupPlan::new(scale, 4 << 20, threads).unwrap_err();
            assert!(error.to_string().contains("--query 1,6"), "{error}");
            assert!(GroupPlan::new(scale, error.needed_bytes, threads).is_ok(), "{error}");
            assert!(GroupPlan::new(scale, error.needed_bytes * 9 / 10, threads).is_err());
        }
    }

    #[test]
    fn runs_and_pages_leave_room_for_others() {
        for (scale, limit_mib, threads) in
            [(1.0, 64, 2), (1.0, 128, 2), (1.0, 256, 8), (0.01, 8, 1), (100.0, 1024, 2)]
        {
            let plan = Plan::new::<Rows>(scale, limit_mib << 20, threads).unwrap();
            let sort = SortPlan::new(&plan, threads).unwrap();
            let limit_bytes = usize::try_from(limit_mib << 20).unwrap();
            let chunk_bytes = plan.chunk_rows * usize::try_from(Rows::LINE_BYTES).unwrap();
            assert!(
                threads * sort.run_chunks * chunk_bytes <= limit_bytes / 3,
                "{sort:?} at {scale}"
            );
            let table_bytes = usize::try_from(plan.table_bytes).unwrap();
            let runs = table_bytes / chunk_bytes / sort.run_chunks;
            let page_bytes = sort.page_rows * usize::try_from(Rows::LINE_BYTES).unwrap();
            assert!(runs * page_bytes <= limit_bytes / 2, "{sort:?} at {scale}");
        }
    }

    #[test]
    fn a_limit_that_is_too_small_to_sort_says_what_will_do() {
        for (scale, threads) in [(1.0, 2), (10.0, 4), (1000.0, 1)] {
            let sort = |limit_bytes| {
                SortPlan::new(&Plan::new::<Rows>(scale, limit_bytes, threads).unwrap(), threads)
            };
            let error = sort(8 << 20).unwrap_err();
            assert!(error.to_string().contains("too small for --sort"), "{error}");
            assert!(sort(error.needed_bytes).is_ok(), "{error}");
            assert!(sort(error.needed_bytes / 4 * 3).is_err(), "{error}");
        }
    }
}
