//! Arrow IPC files, read batch by batch into memory that the pool pays for.

use mempool_arrays::{Field, Table, arrow::ArrowFile};

use super::{
    Job, Tables,
    batches::{Batch, gather},
    build::Counted,
    error::ImportError,
};
use crate::error::CliError;

/// The batches of a file.
pub(crate) struct Batches<'a> {
    job: &'a Job<'a>,
    file: ArrowFile,
    /// Columns without rows.
    empty: Option<Table>,
    next: usize,
    names: Vec<String>,
}

impl<'a> Batches<'a> {
    /// Opens the job's file.
    ///
    /// # Errors
    /// It is no Arrow file, or has types that columns have not.
    pub(crate) fn open(job: &'a Job<'a>) -> Result<Self, CliError> {
        let regular = job.path().metadata().map_err(ImportError::reading(job.path()))?.is_file();
        if !regular {
            return Err(ImportError::NotRegular { path: job.path().into() }.into());
        }
        let file = ArrowFile::open(job.path(), &job.pool).map_err(|error| refused(job, error))?;
        let empty = file.empty().map_err(|error| refused(job, error))?;
        let names = empty.fields().iter().map(|field: &Field| field.name().to_owned()).collect();
        Ok(Self { job, file, empty: Some(empty), next: 0, names })
    }
}

impl Tables for Batches<'_> {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Only the batches themselves say it.
    fn rows_expected(&self) -> u64 {
        0
    }

    fn next(&mut self) -> Result<Option<Batch>, CliError> {
        let Self { job, file, empty, next, .. } = self;
        let batch = gather(job, || {
            if *next == file.batches() {
                return Ok(None);
            }
            let table = file.read(*next, &job.pool).map_err(|error| refused(job, error))?;
            *next += 1;
            Ok(Some((table, Counted(job.pool.reserve(0)?))))
        })?;
        let first = empty.take();
        match (batch, first) {
            (None, Some(table)) => Ok(Some((table, Counted(job.pool.reserve(0)?)))),
            (batch, _) => Ok(batch),
        }
    }
}

/// What has no room is the pool's matter, and all else the file's.
fn refused(job: &Job<'_>, source: mempool_core::Error) -> CliError {
    match source.kind() {
        mempool_core::ErrorKind::Limit => source.into(),
        _ => ImportError::Arrow { path: job.path().into(), source }.into(),
    }
}
