//! Chunks while they fill: rows go in one by one, and what is full is set in the pool.

use super::{
    job::{Chunk, Job},
    layout::{Gather, RowChunk},
};
use crate::error::CliError;

/// One thread's chunks of a table.
pub(crate) struct Filling<'a, T: RowChunk> {
    job: &'a Job<'a>,
    /// Most rows of a chunk.
    chunk_rows: usize,
    /// The chunk under way and its rows, of which there is at least one.
    under_way: Option<(T::Gather, usize)>,
    full: Vec<Chunk<T>>,
}

impl<'a, T: RowChunk> Filling<'a, T> {
    /// No chunks yet.
    pub(crate) fn new(job: &'a Job<'a>, chunk_rows: usize) -> Self {
        Self { job, chunk_rows, under_way: None, full: Vec::new() }
    }

    /// Adds a row, and says what chunk that has filled, if it has.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn push(&mut self, row: T::Row<'_>) -> Result<Option<&Chunk<T>>, CliError> {
        let (gather, rows) = match &mut self.under_way {
            Some(under_way) => under_way,
            none => none.insert((T::Gather::start(self.job, self.chunk_rows)?, 0)),
        };
        gather.push(row)?;
        *rows += 1;
        if *rows < self.chunk_rows {
            return Ok(None);
        }
        self.end()
    }

    /// Ends the chunk under way, if there is one, and says what it is.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn end(&mut self) -> Result<Option<&Chunk<T>>, CliError> {
        let Some((gather, _)) = self.under_way.take() else { return Ok(None) };
        self.full.push(gather.set(self.job)?);
        Ok(self.full.last())
    }

    /// All chunks, in order; the one under way must have been ended.
    pub(crate) fn chunks(self) -> Vec<Chunk<T>> {
        debug_assert!(self.under_way.is_none());
        self.full
    }
}
