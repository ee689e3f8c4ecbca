//! Rows: a table's chunk as one archive of its rows, and how rows are gathered for it.

use mempool_codec::Rkyv;
use mempool_core::{Codec, Pool, Reservation};

use super::{
    job::{Chunk, Job},
    layout::{Gather, RowChunk},
};
use crate::error::CliError;

/// A row that owns its strings and is archived beside others.
pub(crate) trait ArchivedRow: Send + Sync + Sized + 'static {
    /// The row that it is made from.
    type Row<'a>: Into<Self>;

    /// The most heap bytes that it takes in a vector, its place there included.
    const HEAP_BYTES_MAX: usize;

    /// Bytes that it takes in an archive.
    fn archived_bytes(&self) -> u64;
}

impl<R: ArchivedRow> RowChunk for Vec<R>
where
    Rkyv: Codec<Self>,
{
    type Codec = Rkyv;
    type Row<'a> = R::Row<'a>;
    type Gather = GatherRows<R>;

    fn pool<'a>(job: &'a Job<'_>) -> &'a Pool<Rkyv> {
        &job.pool
    }
}

/// Rows that are archived when all are there. What they may take at most is reserved when the first comes.
pub(crate) struct GatherRows<R> {
    // Before `room`: memory is freed before its reservation is paid back.
    rows: Vec<R>,
    bytes: u64,
    room: Reservation,
}

impl<R: ArchivedRow> Gather<Vec<R>> for GatherRows<R>
where
    Rkyv: Codec<Vec<R>>,
{
    fn start(job: &Job<'_>, rows: usize) -> Result<Self, CliError> {
        let room = job.pool.reserve(rows as u64 * R::HEAP_BYTES_MAX as u64)?;
        // The vector does not grow, so that it takes what was reserved for it and no more.
        Ok(Self { rows: Vec::with_capacity(rows), bytes: 0, room })
    }

    fn push(&mut self, row: R::Row<'_>) -> Result<(), CliError> {
        let row = row.into();
        self.bytes += row.archived_bytes();
        self.rows.push(row);
        Ok(())
    }

    fn set(self, job: &Job<'_>) -> Result<Chunk<Vec<R>>, CliError> {
        let Self { rows, bytes, room } = self;
        let count = rows.len() as u64;
        let reference = job.pool.set(rows).map_err(|rejected| rejected.error)?;
        drop(room);
        Ok(Chunk { reference, rows: count, bytes })
    }
}
