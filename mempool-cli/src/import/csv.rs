//! A file of comma-separated values, row by row, in bounded memory. Knows no types: a field is text, or missing.
//!
//! Rows are split by `csv-core`, the automaton of the crate `csv`. It is fed here and not by that crate's reader, because that one lets a row grow
//! as long as the file, and does not say whether a field stood in quotes: an empty field is missing, and an empty one in quotes is an empty text.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use mempool_core::Reservation;
use rustix::fs::{Mode, OFlags};

use super::error::ImportError;
use crate::error::CliError;

/// Bytes that are read at a time.
const INPUT_BYTES: usize = 256 << 10;

/// The rows of a file, from its first line on.
pub(crate) struct Rows {
    path: PathBuf,
    file: File,
    automaton: Reader,
    input: Vec<u8>,
    /// What of `input` is still to be looked at.
    ahead: Range<usize>,
    /// Nothing comes behind `input`.
    ended: bool,
    /// Newlines that lie behind us, and one.
    line: u64,
    row: Row,
    /// Pays for `input` and for the row.
    room: Reservation,
    /// The longest row.
    row_bytes_max: usize,
}

/// One row: its fields' bytes, end to end.
#[derive(Debug, Default)]
pub(crate) struct Row {
    bytes: Vec<u8>,
    /// How much of `bytes` is in use.
    len: usize,
    fields: Vec<Field>,
    /// The line that it starts on.
    pub(crate) line: u64,
}

/// Where a field ends, and whether it stood in quotes.
#[derive(Debug)]
struct Field {
    end: usize,
    quoted: bool,
}

impl Row {
    /// How many fields it has.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Its fields in order; `None` for a missing one.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let starts = std::iter::once(0).chain(self.fields.iter().map(|field| field.end));
        starts.zip(&self.fields).map(|(start, field)| {
            let bytes = self.bytes.get(start..field.end).unwrap_or_default();
            (field.quoted || !bytes.is_empty()).then_some(bytes)
        })
    }

    fn clear(&mut self) {
        self.len = 0;
        self.fields.clear();
    }
}

/// What is known of the field that is being read.
#[derive(Default)]
struct Reading {
    /// Its first byte, once that is there.
    first: Option<u8>,
    quotes: usize,
}

impl Rows {
    /// Opens a file whose fields are divided by `delimiter`. Its buffers are paid for by `room`.
    ///
    /// # Errors
    /// It cannot be read, or could not be a second time.
    pub(crate) fn open(
        path: &Path,
        delimiter: u8,
        mut room: Reservation,
        row_bytes_max: usize,
    ) -> Result<Self, CliError> {
        let refused = ImportError::reading(path);
        // A FIFO does not make it wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| refused(e.into()))?;
        let file = File::from(file);
        if !file.metadata().map_err(&refused)?.is_file() {
            return Err(ImportError::NotRegular { path: path.into() }.into());
        }
        room.grow(INPUT_BYTES as u64)?;
        Ok(Self {
            path: path.into(),
            file,
            automaton: ReaderBuilder::new().delimiter(delimiter).build(),
            input: vec![0; INPUT_BYTES],
            ahead: 0..0,
            ended: false,
            line: 1,
            row: Row::default(),
            room,
            row_bytes_max,
        })
    }

    /// The next row; `None` behind the last. Lines without a byte are no rows.
    ///
    /// # Errors
    /// The file cannot be read, a row is too long, or a quote is not closed.
    pub(crate) fn next(&mut self) -> Result<Option<&Row>, CliError> {
        self.row.clear();
        let mut reading = Reading::default();
        loop {
            if self.ahead.is_empty() && !self.ended {
                self.fill()?;
            }
            let input = self.input.get(self.ahead.clone()).unwrap_or_default();
            let is_end = input.is_empty();
            let output = self.row.bytes.get_mut(self.row.len..).unwrap_or_default();
            let (result, taken, made) = self.automaton.read_field(input, output);
            let taken_bytes = input.get(..taken).unwrap_or_default();
            note(taken_bytes, &mut self.line, &mut self.row, &mut reading);
            self.ahead.start += taken;
            self.row.len += made;
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull => self.grow_row()?,
                ReadFieldResult::Field { record_end } => {
                    let quoted = reading.first == Some(b'"');
                    if is_end && quoted && reading.quotes % 2 == 1 {
                        let (path, line) = (self.path.clone(), self.row.line);
                        return Err(ImportError::Unclosed { path, line }.into());
                    }
                    self.add_field(quoted)?;
                    reading = Reading::default();
                    if record_end {
                        return Ok(Some(&self.row));
                    }
                }
                ReadFieldResult::End => return Ok(None),
            }
        }
    }

    /// The error of the row that was read last.
    pub(crate) fn ragged(&self, expected: usize) -> CliError {
        let (path, line, found) = (self.path.clone(), self.row.line, self.row.len());
        ImportError::Ragged { path, line, expected, found }.into()
    }

    /// Whether the file is as long as it was when `bytes` were counted.
    pub(crate) fn file_bytes(&self) -> Result<u64, CliError> {
        Ok(self.file.metadata().map_err(ImportError::reading(&self.path))?.len())
    }

    /// About how many rows there are, by the lines in the input that has been read first.
    pub(crate) fn rows_expected(&self) -> Result<u64, CliError> {
        let seen = self.input.get(..self.ahead.end).unwrap_or_default();
        let lines = seen.iter().filter(|byte| **byte == b'\n').count() as u64;
        let bytes = self.file_bytes()?;
        let rows = u128::from(bytes) * u128::from(lines) / (seen.len().max(1) as u128);
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    fn fill(&mut self) -> Result<(), CliError> {
        loop {
            match self.file.read(&mut self.input) {
                Ok(count) => {
                    (self.ahead, self.ended) = (0..count, count == 0);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ImportError::Read { path: self.path.clone(), source }.into());
                }
            }
        }
    }

    fn grow_row(&mut self) -> Result<(), CliError> {
        let old = self.row.bytes.len();
        if old >= self.row_bytes_max {
            return Err(self.too_long());
        }
        let new = (old * 2).clamp(4096, self.row_bytes_max.max(4096));
        self.room.grow(new as u64)?;
        self.row.bytes.reserve_exact(new - old);
        self.row.bytes.resize(new, 0);
        self.room.shrink(old as u64);
        Ok(())
    }

    fn add_field(&mut self, quoted: bool) -> Result<(), CliError> {
        let fields = &mut self.row.fields;
        if fields.len() == fields.capacity() {
            let more = fields.len().max(16);
            let bytes = |fields: usize| (fields * size_of::<Field>()) as u64;
            if bytes(fields.len() + more) > self.row_bytes_max as u64 {
                return Err(self.too_long());
            }
            self.room.grow(bytes(more))?;
            fields.reserve_exact(more);
        }
        fields.push(Field { end: self.row.len, quoted });
        Ok(())
    }

    fn too_long(&self) -> CliError {
        let (path, line, most) = (self.path.clone(), self.row.line, self.row_bytes_max as u64);
        ImportError::TooLong { path, line, most }.into()
    }
}

/// Counts lines and quotes, and finds the first byte of a field and the line of a row.
fn note(taken: &[u8], line: &mut u64, row: &mut Row, reading: &mut Reading) {
    let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut rest = taken;
    if reading.first.is_none() {
        // In front of a row are what is left of the last one's end, and lines without a byte.
        let is_blank = |byte: &u8| row.fields.is_empty() && matches!(byte, b'\n' | b'\r');
        let blank = rest.iter().take_while(|byte| is_blank(byte)).count();
        let (before, from) = rest.split_at(blank);
        *line += newlines(before);
        rest = from;
        reading.first = rest.first().copied();
        if row.fields.is_empty() {
            row.line = *line;
        }
    }
    *line += newlines(rest);
    reading.quotes += rest.iter().filter(|byte| **byte == b'"').count();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mempool_core::{Blob, Pool, PoolOptions};

    use super::*;
    use crate::scratch::Scratch;

    fn pool() -> Pool<Blob> {
        PoolOptions::new().memory_limit(1 << 20).open(Blob)
    }

    /// A row with its line, a missing field as `None`.
    type Numbered = (u64, Vec<Option<String>>);

    /// All rows of `text`.
    fn rows(text: &[u8]) -> Result<Vec<Numbered>, CliError> {
        let (scratch, pool) = (Scratch::new(), pool());
        let path = scratch.path().join("x.csv");
        fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path, b',', pool.reserve(0).unwrap(), 64 << 10)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
            all.push((row.line, row.fields().map(|field| field.map(text)).collect()));
        }
        drop(rows);
        assert_eq!(pool.stats().used_bytes, 0);
        Ok(all)
    }

    fn texts(fields: &[&str]) -> Vec<Option<String>> {
        fields.iter().map(|field| Some((*field).to_owned())).collect()
    }

    #[test]
    fn fields_may_hold_commas_quotes_and_newlines() {
        let found = rows(b"a,\"b, \"\"c\"\"\"\r\n\"x\ny\",z\n\n\r\nlast,\"\"").unwrap();
        let expected =
            [(1, texts(&["a", "b, \"c\""])), (2, texts(&["x\ny", "z"])), (6, texts(&["last", ""]))];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_empty_field_is_missing_and_a_quoted_one_is_not() {
        let found = rows(b"\xEF\xBB\xBFa,b,c\n,\"\",\n\"\",,\"\"\n").unwrap();
        let empty = || Some(String::new());
        assert_eq!(found[0].1, texts(&["a", "b", "c"]));
        assert_eq!(found[1].1, [None, empty(), None]);
        assert_eq!(found[2].1, [empty(), None, empty()]);
    }

    #[test]
    fn rows_are_the_same_wherever_the_input_is_cut() {
        // Rows of 13 bytes, so that each byte of a row comes to be the last one of a piece.
        let text = "\"a\"\"\n\",,\"\"\r\n".repeat(3 * INPUT_BYTES / 10);
        let found = rows(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 3 * INPUT_BYTES / 10);
        for (number, (line, fields)) in found.iter().enumerate() {
            assert_eq!(*line, 2 * number as u64 + 1);
            assert_eq!(fields[..], [Some("a\"\n".into()), None, Some(String::new())]);
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_found() {
        for text in ["a,b\nc,\"d\ne,f\n", "a\n\"", "a\n\"b\"\""] {
            let error = rows(text.as_bytes()).unwrap_err().to_string();
            assert!(error.ends_with("line 2: a quote that is not closed"), "{text:?}: {error}");
        }
        assert_eq!(rows(b"a\n\"b\"\"\"").unwrap()[1].1, texts(&["b\""]));
    }

    #[test]
    fn a_row_does_not_grow_beyond_its_bound() {
        let long = format!("a\n\"{}\n", "x".repeat(100 << 10));
        let error = rows(long.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2: a row of more than 64.0 KiB"), "{error}");
        let many = format!("a\n{}\n", ",".repeat(100 << 10));
        assert!(rows(many.as_bytes()).is_err());
    }
}
