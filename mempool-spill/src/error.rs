//! What can go wrong on disk; each error names the file, and the offset where there is one.

use std::io;
use std::path::{Path, PathBuf};

use mempool_core::{FrameDamage, StoreError, StoreErrorKind};
use rustix::io::Errno;

use crate::filter::{Filter, FilterError, FilterName};

/// Why the disk side failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// A call of the system failed.
    #[error("cannot {call} {}{}: {source}", path.display(), at(*offset))]
    Io {
        /// The call.
        call: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Where in it; `None` for calls on the whole file.
        offset: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The disk limit is reached.
    #[error(
        "the disk limit of {} is reached: {asked_bytes} bytes asked for, {used_bytes} of {limit_bytes} in use",
        path.display()
    )]
    Limit {
        /// The session's directory.
        path: PathBuf,
        /// What was asked for.
        asked_bytes: u64,
        /// What is in use.
        used_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The disk limit of all directories together is reached.
    #[error(
        "the disk limit of all directories is reached: {asked_bytes} bytes asked for, {used_bytes} of {limit_bytes} in use"
    )]
    TotalLimit {
        /// What was asked for.
        asked_bytes: u64,
        /// What is in use.
        used_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// None of several directories takes what is to be written.
    #[error("no directory takes it: {first}{}", and_others(others))]
    NoDirectory {
        /// What the first one said that was asked.
        #[source]
        first: Box<SpillError>,
        /// What the others said.
        others: Vec<SpillError>,
    },
    /// One directory was given twice, perhaps by two names.
    #[error("{} is the same directory as {}", path.display(), first.display())]
    SameDirectory {
        /// The directory as it was named again.
        path: PathBuf,
        /// As it was named first.
        first: PathBuf,
    },
    /// The file system would have less free than is to be left to others.
    #[error(
        "{} would leave less than the reserve of {reserve_bytes} bytes: {asked_bytes} bytes asked for, {free_bytes} free",
        path.display()
    )]
    Reserve {
        /// The session's directory.
        path: PathBuf,
        /// What was asked for.
        asked_bytes: u64,
        /// What the file system has free.
        free_bytes: u64,
        /// What is to be left.
        reserve_bytes: u64,
    },
    /// The bytes of a frame are not what was written.
    #[error("{} at offset {offset}: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the frame starts in it.
        offset: u64,
        /// What is wrong.
        damage: FrameDamage,
    },
    /// A frame that went through filters which the store does not have.
    #[error(
        "{} at offset {offset} went through the filters {filters}: open the store with them, in any order",
        path.display()
    )]
    FilterMissing {
        /// The file.
        path: PathBuf,
        /// Where the container starts in it.
        offset: u64,
        /// The names of its filters, in the order in which they were applied.
        filters: String,
    },
    /// A filter could not do its work, or undo it.
    #[error("{} at offset {offset}, filter {filter}, block {block}: {source}", path.display())]
    Filter {
        /// The file; of a frame that was to be written, it may be the session's directory.
        path: PathBuf,
        /// Where the container starts in it.
        offset: u64,
        /// The filter.
        filter: FilterName,
        /// The block, from 0.
        block: u32,
        /// What the filter says.
        source: FilterError,
    },
    /// A file is shorter than what was written to it.
    #[error("{} has {found} bytes, expected {expected}: somebody has truncated it", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What it should have.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A path leads to something that is no regular file.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// A file of the user's may not stand where the session's own files do.
    #[error("{} lies in a session's directory, which is removed at close", path.display())]
    InsideSession {
        /// The path.
        path: PathBuf,
    },
    /// A sessions' directory of another user's, who could change what is read from it.
    #[error("{} belongs to user {owner}, and this process is user {us}: choose another directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        us: u32,
    },
    /// A handle that this store did not give, or that was freed.
    #[error("there is no segment {segment} in {}", path.display())]
    NoSegment {
        /// The session's directory.
        path: PathBuf,
        /// The segment asked for.
        segment: u64,
    },
    /// No session under the directory has something retained under that label.
    #[error("nothing is retained in {} under the label {label:?}", path.display())]
    NothingRetained {
        /// The directory.
        path: PathBuf,
        /// The label asked for.
        label: String,
    },
    /// Several sessions under the directory have something retained under that label:
    /// [`SpillOptions::session`](crate::SpillOptions::session) chooses one.
    #[error("{} sessions have something retained under the label {label:?}: {}", sessions.len(), list(sessions))]
    Ambiguous {
        /// The label asked for.
        label: String,
        /// Their directories.
        sessions: Vec<PathBuf>,
    },
    /// A retained session that another store has open.
    #[error("the retained session {} is in use", path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// A store that was opened with retained values is to retain others, and its pool has not taken those over:
    /// `PoolOptions::restore` does.
    #[error("the values that are retained in {} were not restored, so nothing takes their place", path.display())]
    NotRestored {
        /// The session's directory.
        path: PathBuf,
    },
    /// A label is longer than any may be.
    #[error("a label of {bytes} bytes, and {limit} are the most")]
    LabelTooLong {
        /// What it has.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// What is retained lies in one directory, and the store has several.
    #[error("a store of several directories cannot retain values; give it one")]
    SeveralDirectories,
    /// The session is closed, or belongs to the process that this one was forked from.
    #[error("the session {} is closed", path.display())]
    Closed {
        /// The session's directory.
        path: PathBuf,
    },
}

impl SpillError {
    pub(crate) fn io(call: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { call, path: path.to_path_buf(), offset: None, source: source.into() }
    }

    pub(crate) fn io_at(
        call: &'static str,
        path: &Path,
        offset: u64,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { call, path: path.to_path_buf(), offset: Some(offset), source: source.into() }
    }

    pub(crate) fn filter(
        path: &Path,
        offset: u64,
        filter: &dyn Filter,
        block: u32,
        source: FilterError,
    ) -> Self {
        Self::Filter { path: path.to_path_buf(), offset, filter: filter.name(), block, source }
    }

    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Io { source, .. } => io_kind(source),
            Self::Limit { .. } | Self::TotalLimit { .. } | Self::Reserve { .. } => {
                StoreErrorKind::Full
            }
            // Room in one of them is enough.
            Self::NoDirectory { first, others } => {
                let full = others.iter().find(|error| error.kind() == StoreErrorKind::Full);
                full.unwrap_or(first).kind()
            }
            Self::Damaged { .. } | Self::Truncated { .. } => StoreErrorKind::Damaged,
            Self::NotRegular { .. }
            | Self::InsideSession { .. }
            | Self::Foreign { .. }
            | Self::SameDirectory { .. }
            | Self::Ambiguous { .. }
            | Self::InUse { .. } => StoreErrorKind::Io,
            Self::NoSegment { .. } | Self::NothingRetained { .. } => StoreErrorKind::Missing,
            Self::NotRestored { .. } | Self::LabelTooLong { .. } | Self::SeveralDirectories => {
                StoreErrorKind::Unsupported
            }
            Self::FilterMissing { .. } => StoreErrorKind::Unsupported,
            Self::Filter { source, .. } => match source {
                FilterError::WrongKey { .. } => StoreErrorKind::Unsupported,
                FilterError::Failed(_) => StoreErrorKind::Io,
                _ => StoreErrorKind::Damaged,
            },
            Self::Closed { .. } => StoreErrorKind::Closed,
        }
    }

    /// Whether it is the session in `session` that cannot take a frame, now: another one may.
    pub(crate) fn is_refusal_of(&self, session: &Path) -> bool {
        match self {
            Self::Io { path, .. } => path.starts_with(session),
            Self::Limit { .. } | Self::TotalLimit { .. } | Self::Reserve { .. } => true,
            _ => false,
        }
    }
}

fn and_others(others: &[SpillError]) -> String {
    others.iter().map(|error| format!("; {error}")).collect()
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at offset {offset}"))
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn io_kind(error: &io::Error) -> StoreErrorKind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => StoreErrorKind::Full,
        Some(Errno::NOENT) => StoreErrorKind::Missing,
        _ => StoreErrorKind::Io,
    }
}

impl From<SpillError> for StoreError {
    fn from(error: SpillError) -> Self {
        Self::new(error.kind(), error)
    }
}
