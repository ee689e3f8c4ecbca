//! `ArrayError`: what is wrong with an array, or with bytes that claim to be one.

use std::fmt;
use std::io;
#[cfg(feature = "arrow")]
use std::path::Path;
use std::path::PathBuf;

use mempool_core::{CodecError, Error, ErrorKind};

use crate::description::Kind;

/// The name under which errors and frames know this crate's codec.
pub(crate) const NAME: &str = "raw";

/// Why an array could not be made.
///
/// Kinds, as [`kind`](Self::kind) says: *damage* for bytes that no array of the asked type has; *misuse* for an argument
/// that does not fit; *limit* for what a narrow layout cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The description in front of an array cannot be read.
    #[error("the description of the array: {what}")]
    Description {
        /// What is wrong with it.
        what: String,
    },
    /// Another array stands there.
    #[error("an array of {found}, asked for as {expected}")]
    Kind {
        /// What was asked for.
        expected: Shown,
        /// What is there.
        found: Shown,
    },
    /// A part of an array has another length than its slots need.
    #[error("{part} of {slots} slots takes {expected} bytes and has {found}")]
    Length {
        /// Which part.
        part: &'static str,
        /// How many slots the array has.
        slots: u64,
        /// Bytes that it takes.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A part starts at an address where its elements may not lie.
    #[error("{part} starts at an address that is no multiple of {align}")]
    Misaligned {
        /// Which part.
        part: &'static str,
        /// The alignment of its elements.
        align: usize,
    },
    /// Offsets fall, start below zero or end beyond the bytes that they divide.
    #[error("offset {index} is {found}, and must lie from {least} to {most}")]
    Offset {
        /// Which offset.
        index: u64,
        /// What it is.
        found: i64,
        /// The offset before it.
        least: i64,
        /// The length of what is divided.
        most: i64,
    },
    /// Bytes of a string are not UTF-8, or a string starts within a character.
    #[error("string {index} is not UTF-8")]
    Utf8 {
        /// Which string.
        index: u64,
    },
    /// The number of nulls is another than the validity bitmap's zeros.
    #[error("{claimed} nulls are claimed, and the validity bitmap has {counted}")]
    Nulls {
        /// What the description says.
        claimed: u64,
        /// Zeros in the bitmap.
        counted: u64,
    },
    /// A code points behind the end of its dictionary.
    #[error("code {index} is {code}, and the dictionary has {dictionary} values")]
    Code {
        /// Which slot.
        index: u64,
        /// Its code.
        code: u64,
        /// How many values the dictionary has.
        dictionary: u64,
    },
    /// Parts of one array have different numbers of slots.
    #[error("{part} has {found} slots where {expected} are needed")]
    Slots {
        /// Which part.
        part: String,
        /// Slots that it needs.
        expected: u64,
        /// Slots that it has.
        found: u64,
    },
    /// More bytes or values than the layout's offsets or codes can count.
    #[error("{asked} are more than {layout} can count ({most})")]
    TooMany {
        /// The layout.
        layout: &'static str,
        /// How many were asked for.
        asked: u64,
        /// The most that it holds.
        most: u64,
    },
    /// Arrays are nested more deeply than a description may be.
    #[error("arrays nested more than {most} deep")]
    Depth {
        /// The most that is read.
        most: u32,
    },
    /// A shape whose elements are more or fewer than there are.
    #[error("a shape of {elements} elements over {found}")]
    Shape {
        /// Elements of the shape.
        elements: u64,
        /// Elements that there are.
        found: u64,
    },
    /// Rows of a table are not in the order of its index.
    #[error("row {row} comes before the one in front of it, by the index")]
    Unsorted {
        /// Which row.
        row: u64,
    },
    /// An index of other columns than there are, or than another table has.
    #[error("an index of {found} columns where {expected} are expected")]
    Index {
        /// Columns that it should have, or can have at most.
        expected: u64,
        /// Columns that it has.
        found: u64,
    },
    /// Columns that are to be joined have other names.
    #[error("columns {found}, to be joined to columns {expected}")]
    Fields {
        /// The names of the first.
        expected: String,
        /// The others.
        found: String,
    },
    /// Two columns have one name.
    #[error("two columns are called {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Slots are missing where the layout has a value in each.
    #[error("{nulls} slots are missing, and {layout} have a value in each")]
    Missing {
        /// The layout.
        layout: Shown,
        /// How many slots are missing.
        nulls: u64,
    },
    /// An array of more dimensions than one may have.
    #[error("{found} dimensions, and {most} are the most")]
    Dimensions {
        /// Dimensions of the array.
        found: u64,
        /// The most that one has.
        most: u64,
    },
    /// A stride that leads out of an array's values, or two indexes to one of them.
    #[error("the stride of axis {axis} is {stride}, and its size must lie from {least} to {most}")]
    Stride {
        /// Which axis.
        axis: u64,
        /// Its stride, in elements.
        stride: i64,
        /// Below this, indexes meet.
        least: u64,
        /// Above this, they leave the values.
        most: u64,
    },
    /// An Arrow file that is none, or that another part of it does not allow for.
    #[error("the Arrow file: {what}")]
    Arrow {
        /// What is wrong.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{step} {}: {error}", .path.display())]
    File {
        /// What was done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        kind: io::ErrorKind,
        /// The same in its words.
        error: String,
    },
    /// There is no column of that name.
    #[error("there is no column {name:?}; the table has {columns}")]
    NoColumn {
        /// The name.
        name: String,
        /// The names that there are.
        columns: String,
    },
}

/// A kind of array in an error's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(pub(crate) String);

impl From<Kind> for Shown {
    fn from(kind: Kind) -> Self {
        Self(kind.to_string())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ArrayError {
    /// Which of the four kinds it is of.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooMany { .. } => ErrorKind::Limit,
            Self::File { kind, .. } => match kind {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Limit,
                _ => ErrorKind::Environment,
            },
            Self::NoColumn { .. } | Self::Missing { .. } | Self::Fields { .. } => ErrorKind::Misuse,
            _ => ErrorKind::Damage,
        }
    }

    /// The error of a codec about a value of type `T`.
    pub(crate) fn of<T: ?Sized>(self) -> Error {
        CodecError::new::<T>(self.kind(), NAME, self).into()
    }

    #[cfg(feature = "arrow")]
    pub(crate) fn file(path: &Path, step: &'static str, error: &io::Error) -> Self {
        Self::File { step, path: path.to_owned(), kind: error.kind(), error: error.to_string() }
    }

    pub(crate) fn description(what: impl Into<String>) -> Self {
        Self::Description { what: what.into() }
    }
}
