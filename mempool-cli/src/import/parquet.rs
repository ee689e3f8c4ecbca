//! Parquet files, decoded batch by batch. The reader allocates as it likes, so what it may take is reserved before: its pages once for the file, and
//! each batch as soon as it is there.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
};

use mempool_arrays::{Table, arrow::arrow_array::RecordBatch};
use mempool_core::Reservation;
use parquet::{
    arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use super::{
    Job, Tables,
    batches::{Batch, gather},
    build::Counted,
    error::ImportError,
};
use crate::error::CliError;

/// What a page and a dictionary of a column take decoded, by the sizes that writers choose.
const COLUMN_BYTES: u64 = 3 << 20;

/// The most rows that are decoded at once.
const BATCH_ROWS_MAX: u64 = 64 << 10;

/// The batches of a file.
pub(crate) struct Batches<'a> {
    job: &'a Job<'a>,
    reader: ParquetRecordBatchReader,
    /// Columns without rows.
    empty: Option<Table>,
    names: Vec<String>,
    rows: u64,
    /// For the reader's own pages.
    _room: Reservation,
}

impl<'a> Batches<'a> {
    /// Opens the job's file.
    ///
    /// # Errors
    /// It is no Parquet file, or has types that columns have not.
    pub(crate) fn open(job: &'a Job<'a>) -> Result<Self, CliError> {
        let path = job.path();
        let file = File::open(path).map_err(ImportError::reading(path))?;
        if !file.metadata().map_err(ImportError::reading(path))?.is_file() {
            return Err(ImportError::NotRegular { path: path.into() }.into());
        }
        let builder = caught(job, || ParquetRecordBatchReaderBuilder::try_new(file))?;
        let builder = builder.map_err(|error| refused(job, error))?;
        let metadata = builder.metadata();
        let room = job.pool.reserve(pages_bytes(metadata))?;
        let batch_rows = batch_rows(metadata, job.plan.table_bytes / 4);
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let empty = Table::from_record_batch(&RecordBatch::new_empty(builder.schema().clone()));
        let empty = empty.map_err(|error| refused(job, error))?;
        let names = empty.fields().iter().map(|field| field.name().to_owned()).collect();
        let builder = builder.with_batch_size(batch_rows);
        let reader = caught(job, || builder.build())?.map_err(|error| refused(job, error))?;
        Ok(Self { job, reader, empty: Some(empty), names, rows, _room: room })
    }
}

impl Tables for Batches<'_> {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn rows_expected(&self) -> u64 {
        self.rows
    }

    fn next(&mut self) -> Result<Option<Batch>, CliError> {
        let Self { job, reader, empty, .. } = self;
        let batch = gather(job, || {
            let Some(batch) = caught(job, || reader.next())? else { return Ok(None) };
            let batch = batch.map_err(|error| refused(job, error))?;
            let room = Counted(job.pool.reserve(batch.get_array_memory_size() as u64)?);
            let table = Table::from_record_batch(&batch).map_err(|error| refused(job, error))?;
            Ok(Some((table, room)))
        })?;
        let first = empty.take();
        match (batch, first) {
            (None, Some(table)) => Ok(Some((table, Counted(job.pool.reserve(0)?)))),
            (batch, _) => Ok(batch),
        }
    }
}

/// What the reader holds of one row group: of each column a page and a dictionary, if the column is so large.
fn pages_bytes(metadata: &ParquetMetaData) -> u64 {
    let of_group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter();
        columns.map(|column| unsigned(column.uncompressed_size()).min(COLUMN_BYTES)).sum()
    };
    metadata.row_groups().iter().map(of_group).max().unwrap_or(0)
}

/// Rows that take about `bytes` decoded, by what the row groups say of themselves.
fn batch_rows(metadata: &ParquetMetaData, bytes: u64) -> usize {
    let of_group = |group: &RowGroupMetaData| {
        unsigned(group.total_byte_size()) / unsigned(group.num_rows()).max(1)
    };
    let columns = metadata.file_metadata().schema_descr().num_columns() as u64;
    let encoded = metadata.row_groups().iter().map(of_group).max().unwrap_or(0);
    // Dictionaries and runs make rows shorter in the file than they are here.
    let row_bytes = encoded.max(columns * 16).max(1);
    usize::try_from((bytes / row_bytes).clamp(1, BATCH_ROWS_MAX)).unwrap_or(1)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Bytes of a stranger's that make the reader panic are an error like any other.
fn caught<T>(job: &Job<'_>, read: impl FnOnce() -> T) -> Result<T, CliError> {
    // What the reader holds is not used again.
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| refused(job, "its reader gave up"))
}

fn refused(job: &Job<'_>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    ImportError::Parquet { path: job.path().into(), source: source.into() }.into()
}
