//! Why a file cannot be imported, in words that name the file and the place in it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::size::Bytes;

/// A file that cannot become a table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The end of the name says nothing about what is in the file.
    #[error("{}: what it holds is told by the end of its name, which is none of {known}", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
        /// The ends that are known.
        known: &'static str,
    },
    /// The program was built without what reads such files.
    #[cfg(not(all(feature = "arrow", feature = "parquet")))]
    #[error("this program was built without {feature} files, as {} is one: build it with --features {feature}", path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// The feature that it takes.
        feature: &'static str,
    },
    /// An Arrow file that cannot be read.
    #[cfg(feature = "arrow")]
    #[error("{} cannot be read as an Arrow file", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: mempool_core::Error,
    },
    /// A Parquet file that cannot be read.
    #[cfg(feature = "parquet")]
    #[error("{} cannot be read as a Parquet file", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system refused to read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a FIFO or the like, which could not be read twice.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{} has no line with the names of its columns", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// A row has another number of fields than there are columns.
    #[error("{}, line {line}: {found} fields, and the first line names {expected}", path.display())]
    Ragged {
        /// The file.
        path: PathBuf,
        /// The line that the row starts on, from 1.
        line: u64,
        /// Columns that there are.
        expected: usize,
        /// Fields that the row has.
        found: usize,
    },
    /// A field is no text.
    #[error("{}, line {line}: field {field} is not UTF-8", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line that the row starts on.
        line: u64,
        /// Which of its fields, from 1.
        field: usize,
    },
    /// A row takes more than its share of the memory: often a quote that nobody closed.
    #[error(
        "{}, line {line}: a row of more than {}; give a higher --memory-limit, or look for a quote that is not closed",
        path.display(), Bytes(*.most)
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line that the row starts on.
        line: u64,
        /// The longest row, in bytes.
        most: u64,
    },
    /// The file ends within quotes.
    #[error("{}, line {line}: a quote that is not closed", path.display())]
    Unclosed {
        /// The file.
        path: PathBuf,
        /// The line that the row starts on.
        line: u64,
    },
    /// Two columns of the file, or of the index, have one name.
    #[error("{what} names {name:?} twice")]
    Duplicate {
        /// What does.
        what: String,
        /// The name.
        name: String,
    },
    /// The index is to have a column that is not there.
    #[error("--index {name}: there is no such column; there are {columns}")]
    NoColumn {
        /// The name.
        name: String,
        /// The names that there are.
        columns: String,
    },
    /// The second pass has found other things than the first.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The result would stand in the place of something else.
    #[error("{} is there already; give another place with --out", path.display())]
    Exists {
        /// Where it was to go.
        path: PathBuf,
    },
    /// The result cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ImportError {
    /// 1 for a file that is not as it should be, 2 for a command line that asks for what is not there, 3 for a system that refused.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NoHeader { .. }
            | Self::Ragged { .. }
            | Self::Utf8 { .. }
            | Self::TooLong { .. }
            | Self::Unclosed { .. }
            | Self::Duplicate { .. } => 1,
            Self::Extension { .. } | Self::NoColumn { .. } | Self::Exists { .. } => 2,
            #[cfg(not(all(feature = "arrow", feature = "parquet")))]
            Self::Feature { .. } => 2,
            #[cfg(feature = "arrow")]
            Self::Arrow { source, .. } => match source.kind() {
                mempool_core::ErrorKind::Damage => 1,
                _ => 3,
            },
            #[cfg(feature = "parquet")]
            Self::Parquet { .. } => 1,
            Self::Read { .. }
            | Self::NotRegular { .. }
            | Self::Changed { .. }
            | Self::Write { .. } => 3,
        }
    }

    /// What makes the error of a system that does not read `path`.
    pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.into(), source }
    }

    /// What makes the error of a system that does not write `path`.
    pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.into(), source }
    }
}
