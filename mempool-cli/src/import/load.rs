//! Text files: a first pass that finds the types, and a second one that makes tables of them, each within its share of the memory.

use mempool_arrays::Table;

use super::{
    Job, Tables,
    build::{Columns, Counted},
    csv::{Row, Rows},
    error::ImportError,
    guess::{ColumnType, Guess},
};
use crate::{card::Phase, error::CliError};

/// After so many rows it is asked whether to stop.
const ROWS_BETWEEN_CHECKS: u64 = 4096;

/// What the first pass has found.
pub(crate) struct Survey {
    pub(crate) names: Vec<String>,
    pub(crate) types: Vec<ColumnType>,
    pub(crate) rows: u64,
    file_bytes: u64,
}

impl Survey {
    /// Reads the file whole.
    ///
    /// # Errors
    /// It cannot be read, or what is in it is no table of text.
    pub(crate) fn make(job: &Job<'_>, delimiter: u8) -> Result<(Self, Phase), CliError> {
        let mut rows = open(job, delimiter)?;
        let file_bytes = rows.file_bytes()?;
        let header = rows.next()?;
        let header = header.ok_or_else(|| ImportError::NoHeader { path: job.path().into() })?;
        let names = texts(job, header).map(|name| name.map(|name| name.unwrap_or("").to_owned()));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        let what = format!("{}, line {}", job.path().display(), header.line);
        super::refuse_duplicates(&names, &what)?;
        let (distinct_max, bytes) = Guess::distinct_max(names.len(), job.plan.distinct_bytes);
        let _room = job.pool.reserve(bytes)?;
        let mut guesses: Vec<Guess> = names.iter().map(|_| Guess::new(distinct_max)).collect();
        let running = job.progress.start("types", rows.rows_expected()?);
        let mut count = 0;
        while let Some(row) = rows.next()? {
            if row.len() != names.len() {
                return Err(rows.ragged(names.len()));
            }
            for (guess, text) in guesses.iter_mut().zip(texts(job, row)) {
                guess.note(text?);
            }
            count += 1;
            if count % ROWS_BETWEEN_CHECKS == 0 {
                job.stop.check()?;
                running.add(ROWS_BETWEEN_CHECKS, 0);
            }
        }
        running.add(count % ROWS_BETWEEN_CHECKS, 0);
        let types = guesses.iter().map(Guess::decide).collect();
        Ok((Self { names, types, rows: count, file_bytes }, running.finish()))
    }
}

/// The second pass: tables, one after the other.
pub(crate) struct Loader<'a> {
    job: &'a Job<'a>,
    survey: &'a Survey,
    rows: Rows,
    /// Rows of all tables so far; `None` before the first.
    loaded: Option<u64>,
}

impl<'a> Loader<'a> {
    /// From the first row on.
    ///
    /// # Errors
    /// The file cannot be read any more, or is another one.
    pub(crate) fn new(
        job: &'a Job<'a>,
        survey: &'a Survey,
        delimiter: u8,
    ) -> Result<Self, CliError> {
        let mut rows = open(job, delimiter)?;
        let is_same = rows.file_bytes()? == survey.file_bytes;
        if !is_same || rows.next()?.map(Row::len) != Some(survey.names.len()) {
            return Err(changed(job));
        }
        Ok(Self { job, survey, rows, loaded: None })
    }
}

impl Tables for Loader<'_> {
    fn names(&self) -> Vec<String> {
        self.survey.names.clone()
    }

    fn rows_expected(&self) -> u64 {
        self.survey.rows
    }

    fn next(&mut self) -> Result<Option<(Table, Counted)>, CliError> {
        let Self { job, survey, rows, loaded } = self;
        let mut room = Counted(job.pool.reserve(0)?);
        let mut columns = Columns::new(&survey.types);
        let plan = &job.plan;
        while room.0.bytes() < plan.table_bytes && columns.rows() < plan.table_rows {
            let Some(row) = rows.next()? else { break };
            let mut texts = row.fields().map(|field| field.map(std::str::from_utf8).transpose());
            let mut is_text = true;
            let fields = std::iter::from_fn(|| match texts.next()? {
                Ok(text) => Some(text),
                Err(_) => {
                    is_text = false;
                    None
                }
            });
            let is_like_before = row.len() == survey.names.len();
            if !is_like_before || !columns.push(fields, &mut room)? || !is_text {
                return Err(changed(job));
            }
        }
        let before = loaded.unwrap_or(0);
        let is_end = columns.rows() == 0;
        if is_end && before != survey.rows {
            return Err(changed(job));
        }
        if is_end && loaded.is_some() {
            return Ok(None);
        }
        *loaded = Some(before + columns.rows() as u64);
        Ok(Some((columns.finish(&survey.names)?, room)))
    }
}

fn open(job: &Job<'_>, delimiter: u8) -> Result<Rows, CliError> {
    Rows::open(job.path(), delimiter, job.pool.reserve(0)?, job.plan.row_bytes_max)
}

fn changed(job: &Job<'_>) -> CliError {
    ImportError::Changed { path: job.path().into() }.into()
}

/// The fields of a row as text.
fn texts<'r>(
    job: &Job<'_>,
    row: &'r Row,
) -> impl Iterator<Item = Result<Option<&'r str>, CliError>> {
    let path = job.path();
    (1..).zip(row.fields()).map(move |(field, bytes)| {
        let text = bytes.map(std::str::from_utf8).transpose();
        text.map_err(|_| ImportError::Utf8 { path: path.into(), line: row.line, field }.into())
    })
}
