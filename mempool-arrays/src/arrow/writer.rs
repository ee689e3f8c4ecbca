//! `ArrowFileWriter`: tables as an Arrow IPC file, which is there whole or not at all.
//!
//! ```text
//! <directory of the user's choice>/
//! ├─ .mempool-arrow-<pid>-<n>   0600, while it is written; a process that is killed leaves it
//! └─ <name>                     what it is renamed to, over what was there
//! ```

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use arrow_ipc::writer::FileWriter;
use arrow_schema::ArrowError;
use mempool_core::Result;

use crate::error::{ArrayError, Shown};
use crate::table::Table;

/// Writes tables of the same columns to an Arrow IPC file, which pyarrow, polars and others open by themselves.
///
/// A table is written as it lies in memory or in a map, one batch each; nothing is compressed. Dictionaries are those of the
/// first table: another table has the same, or the format cannot hold it. The index goes unsaid.
///
/// *Durable*: the file takes its name when it is whole and on the disk. Until then, and if anything fails, what stood
/// there stands there; dropped before [`finish`](Self::finish) the writer leaves nothing.
///
/// ```
/// use mempool_arrays::arrow::{ArrowFile, ArrowFileWriter};
/// use mempool_arrays::{Column, Raw, Table, Values};
/// use mempool_core::PoolOptions;
///
/// # let directory = std::env::temp_dir().join(format!("mempool-doc-arrow-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// let path = directory.join("prices.arrow");
/// let prices = |of: [i64; 2]| Table::new([("price", Column::of(&Values::from(of.to_vec())))]);
/// let mut file = ArrowFileWriter::create(&path, &prices([10, 30])?)?;
/// file.write(&prices([10, 30])?)?;
/// file.write(&prices([20, 40])?)?;
/// file.finish()?;
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
/// let file = ArrowFile::open(&path, &pool)?;
/// assert_eq!(file.batches(), 2);
/// assert_eq!(file.read(1, &pool)?, prices([20, 40])?);
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), mempool_core::Error>(())
/// ```
pub struct ArrowFileWriter {
    path: PathBuf,
    temporary: Temporary,
    writer: FileWriter<BufWriter<File>>,
}

impl fmt::Debug for ArrowFileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowFileWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ArrowFileWriter {
    /// Begins a file that will stand at `path`, with columns such as `like` has.
    ///
    /// # Errors
    /// [`ArrayError::File`].
    pub fn create(path: impl AsRef<Path>, like: &Table) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let (temporary, file) = Temporary::create(&path).map_err(ArrayError::of::<Table>)?;
        let schema = like.to_record_batch().schema();
        let writer = FileWriter::try_new(BufWriter::new(file), &schema);
        let writer = writer.map_err(|error| failed(&path, "write", error))?;
        Ok(Self { path, temporary, writer })
    }

    /// Appends the rows of `table`, as a batch.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] for other columns than the first table's, [`ArrayError::File`], and [`ArrayError::Arrow`] for
    /// another dictionary. What was written before it is still good.
    pub fn write(&mut self, table: &Table) -> Result<()> {
        let batch = table.to_record_batch();
        let (expected, found) = (self.writer.schema(), batch.schema());
        if expected.fields() != found.fields() {
            let shown = |fields: &arrow_schema::Fields| {
                let fields = fields.iter().map(|field| {
                    let missing = if field.is_nullable() { "nullable " } else { "" };
                    format!("{}: {missing}{}", field.name(), field.data_type())
                });
                Shown(fields.collect::<Vec<_>>().join(", "))
            };
            let (expected, found) = (shown(expected.fields()), shown(found.fields()));
            return Err(ArrayError::Kind { expected, found }.of::<Table>());
        }
        self.writer.write(&batch).map_err(|error| failed(&self.path, "write", error))
    }

    /// Ends the file, makes it durable and puts it in its place.
    ///
    /// # Errors
    /// [`ArrayError::File`]. What stood there stands there, but for one case: the new file stands in its place, whole, and
    /// the directory could not be made durable.
    pub fn finish(self) -> Result<()> {
        let Self { path, temporary, writer } = self;
        let mut writer = writer;
        let file = writer.finish().and_then(|()| writer.into_inner());
        let file = file.map_err(|error| failed(&path, "write", error))?;
        let file = file.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(|error| io_failed(&path, "write", &error))?;
        // A sync that failed is never tried again: the kernel may have forgotten what was lost. The file goes.
        file.sync_all().map_err(|error| io_failed(&path, "sync", &error))?;
        rename(&temporary.path, &path).map_err(|error| io_failed(&path, "rename", &error))?;
        temporary.keep();
        let directory = directory_of(&path);
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| io_failed(directory, "sync", &error))
    }
}

impl Table {
    /// Saves the table as an Arrow IPC file of one batch: an [`ArrowFileWriter`] says how.
    ///
    /// # Errors
    /// [`ArrayError::File`].
    pub fn save_arrow(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = ArrowFileWriter::create(path, self)?;
        file.write(self)?;
        file.finish()
    }
}

/// A file under a temporary name, removed when it is dropped.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// A new file beside `path`.
    fn create(path: &Path) -> Result<(Self, File), ArrayError> {
        let pid = std::process::id();
        let mut name = OsString::from(".mempool-arrow-");
        // Random, for two writers of one process may write to one directory.
        name.push(format!("{pid}-{:016x}", RandomState::new().hash_one(pid)));
        let temporary = directory_of(path).join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(|error| ArrayError::file(&temporary, "create", &error))?;
        Ok((Self { path: temporary, kept: false }, file))
    }

    /// It has another name now.
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = remove_file(&self.path);
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(path: &Path, step: &'static str, error: ArrowError) -> mempool_core::Error {
    match error {
        ArrowError::IoError(_, error) => io_failed(path, step, &error),
        error => ArrayError::Arrow { what: error.to_string() }.of::<Table>(),
    }
}

fn io_failed(path: &Path, step: &'static str, error: &io::Error) -> mempool_core::Error {
    ArrayError::file(path, step, error).of::<Table>()
}
