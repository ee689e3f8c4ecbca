//! `mempool show`: what a saved table is, its first rows, and figures of its columns, one chunk after the other.

mod grid;
mod statistics;
mod text;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use indicatif::HumanCount;
use mempool_arrays::{Field, Layout, Raw, Table, Value};
use mempool_core::{ErrorKind, Loaded, Pool, PoolOptions};
use mempool_spill::Placement;
use serde::Serialize;

use self::{grid::Grid, statistics::Statistics};
use crate::{
    chunks::{MANIFEST, Manifest, chunk_name},
    disk::{SpillDirectory, SpillPlace},
    error::CliError,
    size::Bytes,
    stop::Stop,
};

/// What the pool may take: tables are mapped, so it is for what must be copied.
const MEMORY_LIMIT_BYTES: u64 = 64 << 20;

/// What was asked for on the command line.
pub(crate) struct Options {
    pub(crate) file: PathBuf,
    /// How many rows are shown.
    pub(crate) rows: usize,
    /// Where the tables are brought before they are believed.
    pub(crate) disks: Vec<SpillDirectory>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    /// A directory without a manifest.
    #[error("{} has no {MANIFEST}: it is no table that `mempool import` made", path.display())]
    NoTable {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{}: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file that is no whole table.
    #[error("{} cannot be shown; `mempool inspect` says what its header is", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: mempool_core::Error,
    },
    /// A chunk is not what the manifest, or the chunk in front of it, says.
    #[error("{}: {what}", path.display())]
    Chunk {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl ShowError {
    /// 1 for a file that is damaged or no table, 3 for one that cannot be read.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } => 3,
            Self::File { source, .. } => match source.kind() {
                ErrorKind::Damage | ErrorKind::Misuse => 1,
                _ => 3,
            },
            Self::NoTable { .. } | Self::Manifest { .. } | Self::Chunk { .. } => 1,
        }
    }
}

/// A table as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    path: PathBuf,
    rows: u64,
    chunks: usize,
    frame_bytes: u64,
    /// The columns by which rows are sorted.
    index: Vec<String>,
    columns: Vec<ColumnPart>,
    /// Whether the columns have figures of all rows.
    has_statistics: bool,
    /// The first rows, each value in the place of its column.
    first_rows: Vec<Vec<Shape>>,
}

/// One column.
#[derive(Debug, Serialize)]
struct ColumnPart {
    name: String,
    r#type: String,
    /// Slots that are missing.
    nulls: u64,
    least: Option<Shape>,
    greatest: Option<Shape>,
    mean: Option<f64>,
    /// Bytes of all strings.
    text_bytes: Option<u64>,
    /// Values that a pooled column shows.
    distinct: Option<u64>,
    /// There are more than that.
    distinct_is_bound: bool,
}

/// A value in both of its forms.
#[derive(Debug)]
struct Shape {
    text: String,
    json: serde_json::Value,
    is_number: bool,
}

impl Shape {
    fn of(value: &Value<'_>, field: &Field) -> Self {
        let logical = field.logical();
        let is_number = matches!(value, Value::Int(_) | Value::Large(_) | Value::Float(_));
        Self { text: text::text(value, logical), json: text::json(value, logical), is_number }
    }
}

impl Serialize for Shape {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Shows a saved table, or the directory of one that `mempool import` made.
///
/// # Errors
/// There is no table, it is not whole, the directory for its copy cannot be used, or the job is stopped.
pub(crate) fn run(options: &Options, stop: &Stop) -> Result<Shown, CliError> {
    let manifest = match options.file.is_dir() {
        true => Some(manifest(&options.file)?),
        false => None,
    };
    let (_place, storage) = SpillPlace::open(&options.disks, Placement::InOrder, 0)?;
    let pool = PoolOptions::new().memory_limit(MEMORY_LIMIT_BYTES).store(storage).open(Raw);
    let mut showing = Showing::new(&options.file, options.rows, true);
    match &manifest {
        Some(manifest) => {
            for number in 0..manifest.chunks.len() {
                stop.check()?;
                showing.chunk(&pool, &options.file, manifest, number)?;
            }
        }
        None => {
            let table = load(&pool, &options.file)?;
            showing.add(&options.file, &table)?;
        }
    }
    let shown = showing.finish();
    pool.close()?;
    Ok(shown)
}

fn manifest(directory: &Path) -> Result<Manifest, ShowError> {
    let path = directory.join(MANIFEST);
    match Manifest::read(directory) {
        Ok(Ok(manifest)) => Ok(manifest),
        Ok(Err(what)) => Err(ShowError::Manifest { path, what }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ShowError::NoTable { path: directory.into() })
        }
        Err(source) => Err(ShowError::Read { path, source }),
    }
}

/// Brings a file into the pool's session, checks every byte and every row, and maps it.
fn load(pool: &Pool<Raw>, path: &Path) -> Result<Loaded<Raw, Table>, ShowError> {
    let loaded = pool.get_file(&pool.file::<Table>(path));
    loaded.map_err(|source| ShowError::File { path: path.into(), source })
}

/// A table that is looked at chunk by chunk.
struct Showing {
    shown: Shown,
    /// How many rows to show.
    most: usize,
    /// A row of the chunk before, which the next one must fit.
    last: Option<Table>,
    fields: Vec<Field>,
    statistics: Vec<Statistics>,
}

impl Shown {
    /// The first rows of a table that was just made, without figures of its columns.
    ///
    /// # Errors
    /// It cannot be read back.
    pub(crate) fn head(
        pool: &Pool<Raw>,
        directory: &Path,
        manifest: &Manifest,
        rows: usize,
    ) -> Result<Self, CliError> {
        let mut showing = Showing::new(directory, rows, false);
        for number in 0..manifest.chunks.len() {
            if number > 0 && showing.shown.first_rows.len() >= rows {
                break;
            }
            showing.chunk(pool, directory, manifest, number)?;
        }
        let mut shown = showing.finish();
        let files = (0..manifest.chunks.len()).map(|number| directory.join(chunk_name(number)));
        shown.frame_bytes = files.map(|file| file_bytes(&file)).sum();
        (shown.rows, shown.chunks) = (manifest.rows, manifest.chunks.len());
        Ok(shown)
    }
}

impl Showing {
    fn new(path: &Path, most: usize, has_statistics: bool) -> Self {
        let shown = Shown {
            path: path.into(),
            rows: 0,
            chunks: 0,
            frame_bytes: 0,
            index: Vec::new(),
            columns: Vec::new(),
            has_statistics,
            first_rows: Vec::new(),
        };
        Self { shown, most, last: None, fields: Vec::new(), statistics: Vec::new() }
    }

    fn chunk(
        &mut self,
        pool: &Pool<Raw>,
        directory: &Path,
        manifest: &Manifest,
        number: usize,
    ) -> Result<(), ShowError> {
        let path = directory.join(chunk_name(number));
        let table = load(pool, &path)?;
        let rows = manifest.chunks.get(number).copied().unwrap_or_default();
        let wrong = |what: String| ShowError::Chunk { path: path.clone(), what };
        if table.rows() as u64 != rows {
            return Err(wrong(format!("{} rows, and {MANIFEST} says {rows}", table.rows())));
        }
        if !table.index().iter().map(Field::name).eq(manifest.index.iter()) {
            return Err(wrong(format!("it is sorted by others than {MANIFEST} says")));
        }
        self.add(&path, &table)
    }

    /// Looks at the next chunk.
    fn add(&mut self, path: &Path, table: &Table) -> Result<(), ShowError> {
        if let Some(last) = &self.last {
            let wrong = |what: &str| ShowError::Chunk { path: path.into(), what: what.into() };
            let types = |table: &Table| -> Vec<String> {
                table.columns().iter().map(mempool_arrays::Column::type_text).collect()
            };
            if table.fields() != last.fields() || types(table) != types(last) {
                return Err(wrong("it has other columns than the chunk in front of it"));
            }
            if comes_before(table, last) {
                return Err(wrong("its first row comes before the last one in front of it"));
            }
        } else {
            self.start(table);
        }
        let shown = &mut self.shown;
        shown.rows += table.rows() as u64;
        shown.chunks += 1;
        shown.frame_bytes += file_bytes(path);
        let more = self.most.saturating_sub(shown.first_rows.len()).min(table.rows());
        for row in table.slice(0..more).iter() {
            let values = row.values();
            let shapes = values.zip(&self.fields).map(|(value, field)| Shape::of(&value, field));
            shown.first_rows.push(shapes.collect());
        }
        if shown.has_statistics {
            let columns = self.statistics.iter_mut().zip(table.columns());
            columns.for_each(|(statistics, column)| statistics.add(column));
        }
        self.last = Some(table.slice(table.rows().saturating_sub(1)..table.rows()));
        Ok(())
    }

    fn start(&mut self, table: &Table) {
        self.fields = table.fields().to_vec();
        self.shown.index = table.index().iter().map(|field| field.name().to_owned()).collect();
        self.statistics = self.fields.iter().map(|_| Statistics::default()).collect();
        let columns = self.fields.iter().zip(table.columns());
        self.shown.columns = columns
            .map(|(field, column)| ColumnPart {
                name: field.name().to_owned(),
                r#type: text::type_text(&column.type_text(), field.logical()),
                nulls: 0,
                least: None,
                greatest: None,
                mean: None,
                text_bytes: None,
                distinct: None,
                distinct_is_bound: false,
            })
            .collect();
    }

    fn finish(mut self) -> Shown {
        let parts = self.shown.columns.iter_mut().zip(&self.fields).zip(&self.statistics);
        for ((part, field), statistics) in parts {
            let shape = |value: Value<'_>| Shape::of(&value, field);
            part.nulls = statistics.nulls;
            part.least = statistics.least().map(shape);
            part.greatest = statistics.greatest().map(shape);
            part.mean = statistics.mean(field.logical());
            part.text_bytes = statistics.text_bytes;
            let distinct = statistics.distinct();
            part.distinct = distinct.map(|(count, _)| count);
            part.distinct_is_bound = distinct.is_some_and(|(_, is_bound)| is_bound);
        }
        self.shown
    }
}

/// The length of a file, for people: one that cannot be asked has none.
fn file_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

/// Whether the first row of a table comes before the row of another, by the index.
fn comes_before(table: &Table, last: &Table) -> bool {
    let columns = table.columns().iter().zip(last.columns()).take(table.index().len());
    let orders = columns.filter_map(|(first, last)| Some(first.get(0)?.order(&last.get(0)?)));
    orders.into_iter().find(|order| order.is_ne()) == Some(std::cmp::Ordering::Less)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = HumanCount(self.rows);
        let path = self.path.display();
        write!(f, "{path}: a table of {rows} rows")?;
        if self.chunks > 1 {
            write!(f, " in {} chunks", HumanCount(self.chunks as u64))?;
        }
        write!(f, ", {}", Bytes(self.frame_bytes))?;
        if !self.index.is_empty() {
            write!(f, ", sorted by {}", self.index.join(", "))?;
        }
        write!(f, "\n\n{}\n", self.columns_grid())?;
        if self.first_rows.is_empty() {
            return Ok(());
        }
        let first = HumanCount(self.first_rows.len() as u64);
        write!(f, "\nThe first {first} rows\n\n{}", self.rows_grid())
    }
}

impl Shown {
    fn columns_grid(&self) -> Grid {
        let names = ["column", "type"].map(|name| (name.to_owned(), false)).into_iter();
        if !self.has_statistics {
            let mut grid = Grid::new(names);
            self.columns.iter().for_each(|part| grid.row([part.name.clone(), part.r#type.clone()]));
            return grid;
        }
        let figures = ["missing", "distinct", "least", "greatest", "mean", "text"];
        let figures = figures.map(|name| (name.to_owned(), true));
        let mut grid = Grid::new(names.chain(figures));
        for part in &self.columns {
            let shape = |shape: &Option<Shape>| shape.as_ref().map(|shape| shape.text.clone());
            let bound = if part.distinct_is_bound { "> " } else { "" };
            let cells = [
                Some(part.name.clone()),
                Some(part.r#type.clone()),
                (part.nulls > 0).then(|| HumanCount(part.nulls).to_string()),
                part.distinct.map(|count| format!("{bound}{}", HumanCount(count))),
                shape(&part.least),
                shape(&part.greatest),
                part.mean.map(|mean| format!("{mean:.6}")),
                part.text_bytes.map(|bytes| Bytes(bytes).to_string()),
            ];
            grid.row(cells.into_iter().map(Option::unwrap_or_default));
        }
        grid
    }

    fn rows_grid(&self) -> Grid {
        let is_number = |at: usize| {
            self.first_rows.iter().filter_map(|row| row.get(at)).any(|shape| shape.is_number)
        };
        let names = self.columns.iter().enumerate();
        let mut grid = Grid::new(names.map(|(at, part)| (part.name.clone(), is_number(at))));
        for row in &self.first_rows {
            grid.row(row.iter().map(|shape| shape.text.clone()));
        }
        grid
    }
}
