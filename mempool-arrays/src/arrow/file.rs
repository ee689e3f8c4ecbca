//! `ArrowFile`: an Arrow IPC file of anybody's, read batch by batch into memory that a pool pays for.
//!
//! ```text
//! ┌────────┬──────────────┬─────────┬───┬────────┬───────────────┬────────┐
//! │ ARROW1 │ dictionaries │ batch 0 │ … │ footer │ bytes of that │ ARROW1 │
//! └────────┴──────────────┴─────────┴───┴────────┴───────────────┴────────┘
//! ```
//!
//! A dictionary or batch is a block, which is read whole, into one buffer of which its columns are slices.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block as ArrowBlock, Endianness, root_as_footer};
use arrow_schema::{ArrowError, Schema};
use mempool_core::{ALIGNMENT, Buffer, BufferMut, Pool, Result};

use crate::arrow::blocks::{
    Block, Dictionaries, Failure, PREFIX_BYTES, check_schema, read_batch, read_dictionary,
};
use crate::error::ArrayError;
use crate::table::Table;

const MAGIC: &[u8] = b"ARROW1";
/// The length of the footer and the magic behind it.
const TAIL_BYTES: usize = 10;

/// An Arrow IPC file, open for reading: what pyarrow, polars or an [`ArrowFileWriter`](super::ArrowFileWriter) has written.
///
/// *Memory*: dictionaries are read when it is opened, a batch when it is asked for, each into one buffer that the pool
/// pays for and the columns share; a file may be larger than the memory limit. Columns that are not aligned in the file
/// as their numbers need it are copied once more, and so are views and dictionaries that grow from batch to batch. A table
/// that is set in the pool is not paid for again.
///
/// *Trust*: none. Everything is checked before there is a table: bounds, offsets, UTF-8, codes, counts of missing slots.
/// The file may change meanwhile; what was read does not.
///
/// Compressed files are refused.
pub struct ArrowFile {
    path: PathBuf,
    file: File,
    schema: Schema,
    /// Those that batches share.
    dictionaries: Dictionaries,
    batches: Vec<ArrowBlock>,
}

impl fmt::Debug for ArrowFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowFile")
            .field("path", &self.path)
            .field("batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}

impl ArrowFile {
    /// Opens a file, reading its dictionaries into memory that `pool` pays for.
    ///
    /// # Errors
    /// [`ArrayError::File`] when it cannot be read, [`ArrayError::Arrow`] when it is no whole Arrow file,
    /// [`ArrayError::Kind`] for a type that columns have not; and those of [`Pool::reserve`].
    pub fn open<C: Send + Sync + 'static>(path: impl AsRef<Path>, pool: &Pool<C>) -> Result<Self> {
        let path = path.as_ref();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| io_failed(path, "open", &error))?;
        let footer = read_footer(path, &file, bytes)?;
        let footer = root_as_footer(&footer).map_err(|error| damaged(error.to_string()))?;
        let schema = footer.schema().ok_or_else(|| damaged("no schema"))?;
        if schema.endianness() != Endianness::Little {
            return Err(damaged("its numbers are big-endian"));
        }
        let schema = try_fb_to_schema(schema).map_err(|error| from_arrow(&error))?;
        check_schema(&schema).map_err(ArrayError::of::<Table>)?;
        let mut dictionaries = Dictionaries::new();
        for block in footer.dictionaries().iter().flatten() {
            let block = read_block(path, &file, block, pool)?;
            let room = |bytes| room(bytes, pool);
            let read = read_dictionary(&block, &schema, &mut dictionaries, &room);
            read.map_err(failed)?;
        }
        let batches = footer.recordBatches().iter().flatten().copied().collect();
        Ok(Self { path: path.to_owned(), file, schema, dictionaries, batches })
    }

    /// A table of its columns that has no rows.
    ///
    /// # Errors
    /// [`ArrayError::Duplicate`] when two columns have one name.
    pub fn empty(&self) -> Result<Table> {
        Table::from_record_batch(&RecordBatch::new_empty(Arc::new(self.schema.clone())))
    }

    /// How many batches it has.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Reads batch `index` into memory that `pool` pays for.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// When there is no such batch.
    pub fn read<C: Send + Sync + 'static>(&self, index: usize, pool: &Pool<C>) -> Result<Table> {
        let block = &self.batches[index];
        let block = read_block(&self.path, &self.file, block, pool)?;
        let room = |bytes| room(bytes, pool);
        let columns = read_batch(&block, &self.schema, &self.dictionaries, &room);
        columns.map(Table::from_struct).map_err(failed)
    }
}

/// The footer's bytes.
fn read_footer(path: &Path, file: &File, bytes: u64) -> Result<Vec<u8>> {
    let read = |start: u64, len: usize| {
        let mut read = vec![0; len];
        let outcome = file.read_exact_at(&mut read, start);
        outcome.map(|()| read).map_err(|error| io_failed(path, "read", &error))
    };
    let head = MAGIC.len() as u64;
    let Some(tail_start) = bytes.checked_sub(TAIL_BYTES as u64).filter(|&start| start >= head)
    else {
        return Err(damaged(format!("{bytes} bytes are no Arrow file")));
    };
    if read(0, MAGIC.len())? != MAGIC {
        return Err(damaged("it does not begin as an Arrow file"));
    }
    let mut tail = [0; TAIL_BYTES];
    tail.copy_from_slice(&read(tail_start, TAIL_BYTES)?);
    let len = read_footer_length(tail).map_err(|error| from_arrow(&error))?;
    match tail_start.checked_sub(len as u64) {
        Some(start) if start >= head => read(start, len),
        _ => Err(damaged(format!("a footer of {len} bytes in {bytes}"))),
    }
}

/// Reads a block into one buffer that `pool` pays for, its body at a multiple of 64 bytes.
fn read_block<C: Send + Sync + 'static>(
    path: &Path,
    file: &File,
    block: &ArrowBlock,
    pool: &Pool<C>,
) -> Result<Block> {
    let outside = || damaged("a block outside of the file");
    let size = |size: i64| u64::try_from(size).map_err(|_| outside());
    let (start, description) = (size(block.offset())?, size(block.metaDataLength().into())?);
    let bytes = description.checked_add(size(block.bodyLength())?).ok_or_else(outside)?;
    let end = start.checked_add(bytes).ok_or_else(outside)?;
    let there = file.metadata().map_err(|error| io_failed(path, "look at", &error))?.len();
    if end > there || description < PREFIX_BYTES as u64 {
        return Err(outside());
    }
    let in_memory = |bytes: u64| usize::try_from(bytes).map_err(|_| outside());
    let (bytes, description) = (in_memory(bytes)?, in_memory(description)?);
    let pad = description.next_multiple_of(ALIGNMENT) - description;
    let mut buffer = room(bytes.checked_add(pad).ok_or_else(outside)?, pool)?;
    let read = file.read_exact_at(&mut buffer.as_mut_slice()[pad..], start);
    read.map_err(|error| io_failed(path, "read", &error))?;
    Ok(Block { bytes: buffer.freeze().slice(pad..), body: description })
}

/// So many zeros that `pool` pays for.
fn room<C: Send + Sync + 'static>(bytes: usize, pool: &Pool<C>) -> Result<BufferMut> {
    let reservation = pool.reserve(Buffer::allocation_bytes(bytes, ALIGNMENT)?)?;
    let mut buffer = BufferMut::with_capacity(bytes, ALIGNMENT, reservation)?;
    buffer.zero_to(bytes);
    Ok(buffer)
}

fn failed(failure: Failure) -> mempool_core::Error {
    match failure {
        Failure::Array(error) => error.of::<Table>(),
        Failure::Pool(error) => error,
    }
}

fn damaged(what: impl Into<String>) -> mempool_core::Error {
    ArrayError::Arrow { what: what.into() }.of::<Table>()
}

fn from_arrow(error: &ArrowError) -> mempool_core::Error {
    damaged(error.to_string())
}

fn io_failed(path: &Path, step: &'static str, error: &io::Error) -> mempool_core::Error {
    ArrayError::file(path, step, error).of::<Table>()
}
