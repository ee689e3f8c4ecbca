//! `mempool import`: a file of the user's, which may be larger than memory, becomes a table that is sorted by an index.
//!
//! ```text
//! types    text is read once, and each column's type is what all of its fields are          guess.rs
//! load     it is read again, into tables of a share of the memory                           load.rs, build.rs
//!          files that say their types are read once: as many batches as that share holds    batches.rs, arrow.rs, parquet.rs
//! merge    with an index: each table is sorted and spilled, then all are merged             runs.rs
//! save     the result is a directory of tables that follow one another                     output.rs
//! ```

#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "arrow")]
mod batches;
mod build;
mod csv;
mod error;
mod guess;
mod load;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod parse;
mod report;
mod runs;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use mempool_arrays::{Raw, Table};
use mempool_core::{Pool, PoolOptions};
use mempool_spill::Placement;

use self::{
    build::Counted,
    load::{Loader, Survey},
    output::Output,
    report::Memory,
    runs::Runs,
};
pub(crate) use self::{error::ImportError, report::Report};
use crate::{
    card::Phase,
    chunks::Manifest,
    disk::{SpillDirectory, SpillPlace},
    error::CliError,
    memory::Sampler,
    progress::Progress,
    show::Shown,
    stop::Stop,
    tpch::plan::LimitTooSmall,
};

/// The smallest limit that leaves a table some rows.
const LIMIT_BYTES_MIN: u64 = 1 << 20;

/// The largest table that is saved as one file.
const SAVED_BYTES_MAX: u64 = 64 << 20;

/// The largest table that is sorted at once.
const RUN_BYTES_MAX: u64 = 1 << 30;

/// What sorting takes for each row beside the rows.
const SORT_BYTES: u64 = 24;

/// Rows of text that are loaded at once, at most: then what a chunk takes beside its columns has a bound, too.
const TABLE_ROWS_MAX: u64 = 1 << 24;

/// How long the pool waits for room: nobody else can give it back.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// What was asked for on the command line.
pub(crate) struct Options {
    pub(crate) file: PathBuf,
    /// Columns to sort by; none for the order of the file.
    pub(crate) index: Vec<String>,
    pub(crate) memory_limit_bytes: u64,
    /// Existing directories, at least one.
    pub(crate) disks: Vec<SpillDirectory>,
    /// Where the result goes; beside the file if that is not said.
    pub(crate) out: Option<PathBuf>,
    /// How many rows the report shows.
    pub(crate) rows: usize,
}

/// What a file holds, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Text whose fields are divided by this byte.
    Text(u8),
    /// An Arrow IPC file.
    #[cfg(feature = "arrow")]
    Arrow,
    /// A Parquet file.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// The ends of names that are known.
    const KNOWN: &'static str = ".csv, .tsv, .parquet and .arrow";

    fn of(path: &Path) -> Result<Self, ImportError> {
        let end = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match &end[..] {
            "csv" => Ok(Self::Text(b',')),
            "tsv" => Ok(Self::Text(b'\t')),
            #[cfg(feature = "arrow")]
            "arrow" => Ok(Self::Arrow),
            #[cfg(not(feature = "arrow"))]
            "arrow" => Err(ImportError::Feature { path: path.into(), feature: "arrow" }),
            #[cfg(feature = "parquet")]
            "parquet" => Ok(Self::Parquet),
            #[cfg(not(feature = "parquet"))]
            "parquet" => Err(ImportError::Feature { path: path.into(), feature: "parquet" }),
            _ => Err(ImportError::Extension { path: path.into(), known: Self::KNOWN }),
        }
    }
}

/// What an import reads its rows from.
trait Tables {
    /// The names of the columns.
    fn names(&self) -> Vec<String>;

    /// About how many rows there are.
    fn rows_expected(&self) -> u64;

    /// The next rows, with what pays for those of their buffers that the pool does not; `None` behind the last. There is one table at least.
    ///
    /// # Errors
    /// The file is not as it should be, or the pool has no room.
    fn next(&mut self) -> Result<Option<(Table, Counted)>, CliError>;
}

/// The shares of the memory limit.
pub(crate) struct Plan {
    /// A table is loaded until it has taken so much. Doubling vectors may take twice that, and the sorted copy as much again.
    table_bytes: u64,
    /// And until it has so many rows.
    table_rows: usize,
    /// The longest row of a text file.
    row_bytes_max: usize,
    /// What counting different texts may take.
    distinct_bytes: u64,
    /// A table of the result.
    saved_bytes: u64,
    /// What a row takes at least while it is sorted.
    row_bytes_min: u64,
}

impl Plan {
    fn new(options: &Options) -> Result<Self, LimitTooSmall> {
        let limit_bytes = options.memory_limit_bytes;
        if limit_bytes < LIMIT_BYTES_MIN {
            let what = "an import".to_owned();
            let needed_bytes = LIMIT_BYTES_MIN;
            return Err(LimitTooSmall { what, limit_bytes, needed_bytes, threads: 1 });
        }
        let table_bytes_max =
            if options.index.is_empty() { SAVED_BYTES_MAX } else { RUN_BYTES_MAX };
        let table_bytes = (limit_bytes / 8).min(table_bytes_max);
        let usize_of = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            table_bytes,
            table_rows: usize_of((table_bytes / SORT_BYTES).min(TABLE_ROWS_MAX)),
            row_bytes_max: usize_of(limit_bytes / 16),
            distinct_bytes: limit_bytes / 64,
            saved_bytes: (limit_bytes / 16).min(SAVED_BYTES_MAX),
            row_bytes_min: SORT_BYTES,
        })
    }
}

/// The import under way.
pub(crate) struct Job<'a> {
    options: &'a Options,
    plan: Plan,
    progress: Progress,
    stop: Stop,
    pool: Pool<Raw>,
}

impl Job<'_> {
    fn path(&self) -> &Path {
        &self.options.file
    }

    fn index(&self) -> Vec<&str> {
        self.options.index.iter().map(String::as_str).collect()
    }
}

/// Imports the file and says what came of it.
///
/// # Errors
/// The file cannot be read or is no table, the index has no such column, the memory limit is too small, the disk refuses, or the job is stopped.
/// Nothing is left of the result then.
pub(crate) fn run(options: &Options, progress: Progress, stop: Stop) -> Result<Report, CliError> {
    let format = Format::of(&options.file)?;
    refuse_duplicates(&options.index, "--index")?;
    let plan = Plan::new(options)?;
    let target = options.out.clone().unwrap_or_else(|| options.file.with_extension("mempool"));
    let output = Output::create(&target)?;
    let (place, storage) = SpillPlace::open(&options.disks, Placement::InOrder, 0)?;
    let sampler = Sampler::start()?;
    let settings = PoolOptions::new().memory_limit(options.memory_limit_bytes);
    let pool = settings.room_timeout(ROOM_TIMEOUT).store(storage).open(Raw);
    let job = Job { options, plan, progress, stop, pool };
    let Done { manifest, runs, phases } = match format {
        Format::Text(delimiter) => {
            let (survey, phase) = Survey::make(&job, delimiter)?;
            job.check_index(&survey.names)?;
            job.import(&mut Loader::new(&job, &survey, delimiter)?, output, vec![phase])?
        }
        #[cfg(feature = "arrow")]
        Format::Arrow => job.import(&mut arrow::Batches::open(&job)?, output, Vec::new())?,
        #[cfg(feature = "parquet")]
        Format::Parquet => job.import(&mut parquet::Batches::open(&job)?, output, Vec::new())?,
    };
    let twice = matches!(format, Format::Text(_));
    let shown = Shown::head(&job.pool, &target, &manifest, options.rows)?;
    let stats = job.pool.stats();
    job.pool.close()?;
    let memory = Memory {
        limit_bytes: options.memory_limit_bytes,
        peak_resident_bytes: stats.peak_bytes,
        process_peaks: sampler.finish(),
    };
    let spilled_bytes = stats.written_bytes;
    let file = options.file.clone();
    let files_left = place.left()?;
    Ok(Report { file, runs, read_twice: twice, spilled_bytes, memory, files_left, phases, shown })
}

/// What the import came to.
struct Done {
    manifest: Manifest,
    /// Sorted runs that were merged.
    runs: usize,
    phases: Vec<Phase>,
}

impl Job<'_> {
    fn import(
        &self,
        tables: &mut dyn Tables,
        mut output: Output,
        mut phases: Vec<Phase>,
    ) -> Result<Done, CliError> {
        self.check_index(&tables.names())?;
        let running = self.progress.start("load", tables.rows_expected());
        let mut runs = Runs::new();
        while let Some((table, room)) = tables.next()? {
            self.stop.check()?;
            let rows = table.rows() as u64;
            match self.options.index.is_empty() {
                true => output.save(self, table, room)?,
                false => runs.add(self, table, room)?,
            }
            running.add(rows, 0);
        }
        phases.push(running.finish());
        let count = runs.len();
        if count > 0 {
            phases.push(runs.merge(self, &mut output)?);
        }
        self.stop.check()?;
        let manifest = output.finish(self.options.index.clone())?;
        Ok(Done { manifest, runs: count, phases })
    }

    /// Whether the columns of the index are there.
    fn check_index(&self, names: &[String]) -> Result<(), ImportError> {
        let missing = self.options.index.iter().find(|name| !names.contains(name));
        missing.map_or(Ok(()), |name| {
            Err(ImportError::NoColumn { name: name.clone(), columns: names.join(", ") })
        })
    }
}

/// # Errors
/// A name that comes twice.
fn refuse_duplicates(names: &[String], what: &str) -> Result<(), ImportError> {
    let mut seen = BTreeSet::new();
    let twice = names.iter().find(|name| !seen.insert(*name));
    twice.map_or(Ok(()), |name| {
        Err(ImportError::Duplicate { what: what.into(), name: name.clone() })
    })
}
