//! What can go wrong, in four kinds: misuse, limit, environment, damage.

use std::fmt;
use std::panic::Location;

use crate::codec::Format;
use crate::id::Id;

/// The cause of an error of a codec or a store, kept as it came.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which of the four kinds an [`Error`] is of: what to do about it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call cannot be meant like this; another call will succeed.
    Misuse,
    /// A limit of the user's stands in the way; raising it or waiting helps.
    Limit,
    /// The machine refused: a full disk, a device error, no memory.
    Environment,
    /// Bytes are not what was written.
    Damage,
}

/// Why an operation on a pool failed. The value concerned is still whole, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value was deleted.
    #[error("value {id} was deleted")]
    Deleted {
        /// The value.
        id: Id,
    },
    /// The value was discardable and was dropped to make room.
    #[error("value {id} was discardable and was dropped to make room")]
    Discarded {
        /// The value.
        id: Id,
    },
    /// The reference belongs to another pool.
    #[error("reference {id} belongs to another pool")]
    WrongPool {
        /// The value.
        id: Id,
    },
    /// The value was set through another codec or as another type.
    #[error("stored as {stored}, asked for as {asked}")]
    WrongCodec {
        /// Codec and type of the value.
        stored: String,
        /// Codec and type of the call.
        asked: String,
    },
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
    /// The call waited, and its [`Canceller`](crate::Canceller) gave it up.
    #[error("the call was cancelled")]
    Cancelled,
    /// This process is a forked child, and the pool is its parent's.
    #[error("the pool belongs to the process that this one was forked from")]
    Forked,
    /// The memory of the value cannot be released while readers hold it.
    #[error("value {id} is pinned by {pins} readers; drop their guards first")]
    Pinned {
        /// The value.
        id: Id,
        /// How many pins.
        pins: u32,
    },
    /// More readers than the entry can count.
    #[error("value {id} has {pins} pins, the most that can be counted")]
    TooManyPins {
        /// The value.
        id: Id,
        /// How many pins.
        pins: u32,
    },
    /// A value that holds references cannot leave its pool in a file: the file would not keep them alive.
    #[error("value {id} holds {references} references, so it cannot be saved to a file")]
    HoldsReferences {
        /// The value.
        id: Id,
        /// How many references.
        references: usize,
    },
    /// No reference of that index and type in the value.
    #[error("no reference {index} of type {asked} in the value, which holds {references}")]
    NoReference {
        /// The index asked for.
        index: u32,
        /// How many references the value holds.
        references: usize,
        /// The type asked for.
        asked: &'static str,
    },
    /// No value has that name.
    #[error("no value is named {name:?}")]
    NoName {
        /// The name.
        name: String,
    },
    /// A name is longer than any may be.
    #[error("a name of {bytes} bytes, and {limit} are the most")]
    NameTooLong {
        /// What it has.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// A value that was restored, or is another pool's, is asked for without a codec, and the pool was not told which type has
    /// its format: [`Pool::register`](crate::Pool::register) tells it.
    #[error(
        "value {id} was {stored}, and no type of that format is registered; it is asked for as {asked}"
    )]
    NotRegistered {
        /// The value.
        id: Id,
        /// Its type when it was written, and the format of its frame.
        stored: String,
        /// The type asked for.
        asked: &'static str,
    },
    /// One of several values that were asked for together cannot be had, so none of them is held.
    #[error("value {index} of those that were asked for: {source}")]
    OneOfMany {
        /// Which one, counted from 0.
        index: usize,
        /// Why not.
        source: Box<Error>,
    },
    /// The bytes of a value that was restored cannot be read. The others can.
    #[error("retained value {id}, kept as {name:?}, cannot be read: {source}")]
    Retained {
        /// The value.
        id: Id,
        /// Its name, or that of a value which refers to it.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// A value that another pool owns cannot be had from there.
    #[error("value {id} cannot be had from {at}: {source}")]
    Remote {
        /// The value, as this pool calls it.
        id: Id,
        /// The owner, and the value as it calls it.
        at: String,
        /// Why.
        source: Box<Error>,
    },
    /// The bytes of a value lie with another pool, and the call needs them to be this one's.
    #[error("the bytes of value {id} lie with {at}")]
    Elsewhere {
        /// The value, as this pool calls it.
        id: Id,
        /// The owner, and the value as it calls it.
        at: String,
    },
    /// The memory limit is filled by values that are pinned.
    #[error(transparent)]
    NoRoom(Box<NoRoom>),
    /// More than the whole limit was asked for.
    #[error("{asked_bytes} bytes asked for, and the whole limit is {limit_bytes}")]
    TooLarge {
        /// What was asked for.
        asked_bytes: u64,
        /// The memory limit.
        limit_bytes: u64,
    },
    /// The allocator refused memory that the ledger had granted.
    #[error("the allocator refused {bytes} bytes")]
    Allocation {
        /// The size.
        bytes: u64,
    },
    /// A victim could not be written, so there is no room; the victim is still in memory and readable.
    #[error("no room could be made: value {victim} could not be written")]
    Spill {
        /// The value that was to be evicted.
        victim: Id,
        /// Why.
        source: Box<Error>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// A codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame is not the one that was written for this value.
    #[error("the frame of {what} is damaged: {damage}")]
    Frame {
        /// Which value or file.
        what: String,
        /// What is wrong with it.
        damage: FrameDamage,
    },
}

impl Error {
    /// Which of the four kinds it is of.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoom(_) | Self::TooLarge { .. } | Self::Cancelled => ErrorKind::Limit,
            Self::Allocation { .. } => ErrorKind::Environment,
            Self::Spill { source, .. }
            | Self::Retained { source, .. }
            | Self::Remote { source, .. }
            | Self::OneOfMany { source, .. } => source.kind(),
            Self::Store(source) => source.kind.error_kind(),
            Self::Codec(codec) => codec.kind,
            Self::Frame { .. } => ErrorKind::Damage,
            _ => ErrorKind::Misuse,
        }
    }
}

impl From<StoreError> for Error {
    /// A store that asks for room passes on what it was told; that says more than that the store failed.
    fn from(StoreError { kind, source }: StoreError) -> Self {
        match source.downcast::<Self>() {
            Ok(own) => *own,
            Err(source) => Self::Store(StoreError { kind, source }),
        }
    }
}

/// A value that was not taken, given back with the reason.
pub struct Rejected<T> {
    /// The value, as it was handed in.
    pub value: T,
    /// Why it was not taken.
    pub error: Error,
}

impl<T> Rejected<T> {
    /// A rejection.
    pub fn new(value: T, error: impl Into<Error>) -> Self {
        Self { value, error: error.into() }
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// The report of a request that pins left no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What was asked for.
    pub asked_bytes: u64,
    /// The memory limit.
    pub limit_bytes: u64,
    /// What was in use.
    pub used_bytes: u64,
    /// The largest values that could not be evicted, largest first; at most [`NoRoom::LARGEST_MAX`].
    pub largest: Vec<PinnedValue>,
}

impl NoRoom {
    /// How many values the report names.
    pub const LARGEST_MAX: usize = 8;
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no room for {} bytes: {} of {} in use",
            self.asked_bytes, self.used_bytes, self.limit_bytes
        )?;
        for value in &self.largest {
            write!(f, "; {value}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoRoom {}

impl From<NoRoom> for Error {
    fn from(report: NoRoom) -> Self {
        Self::NoRoom(Box::new(report))
    }
}

/// One value that could not be evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedValue {
    /// The value.
    pub id: Id,
    /// Its resident bytes.
    pub bytes: u64,
    /// How many readers hold it; 0 when a buffer of it is held outside the pool.
    pub pins: u32,
    /// Where the latest pin was taken.
    pub site: Option<&'static Location<'static>>,
    /// Where each living pin was taken, the most frequent first; empty unless the pool was opened with
    /// [`track_pins`](crate::PoolOptions::track_pins). Read a moment after `pins`, which others may have changed.
    pub sites: Vec<PinSite>,
}

/// A line of the program that holds pins of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinSite {
    /// The call that took them.
    pub site: &'static Location<'static>,
    /// How many of them are alive.
    pub pins: u32,
}

impl fmt::Display for PinSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.pins, self.site)
    }
}

impl fmt::Display for PinnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {} holds {} bytes, {} pins", self.id, self.bytes, self.pins)?;
        match self.site {
            Some(site) => write!(f, ", the latest at {site}")?,
            None => return Ok(()),
        }
        for (at, site) in self.sites.iter().enumerate() {
            write!(f, "{}{site}", if at == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// What a [`StoreError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No space: the disk, a quota or the store's own limit is full.
    Full,
    /// The device or the system failed.
    Io,
    /// The bytes are not what was written.
    Damaged,
    /// There is no such frame or file.
    Missing,
    /// The store was closed, or refuses after an earlier failure.
    Closed,
    /// The codec failed while it wrote; the error itself is kept by the frame.
    Codec,
    /// The store cannot do this at all.
    Unsupported,
}

impl StoreErrorKind {
    fn error_kind(self) -> ErrorKind {
        match self {
            Self::Full => ErrorKind::Limit,
            Self::Io | Self::Missing => ErrorKind::Environment,
            Self::Damaged => ErrorKind::Damage,
            Self::Closed | Self::Codec | Self::Unsupported => ErrorKind::Misuse,
        }
    }
}

/// Why a spill store failed. The cause is the store's own error and names file and offset.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StoreError {
    /// What it is about.
    pub kind: StoreErrorKind,
    /// The store's own error.
    pub source: Cause,
}

impl StoreError {
    /// An error of a store, with the store's own error as its cause.
    pub fn new(kind: StoreErrorKind, source: impl Into<Cause>) -> Self {
        Self { kind, source: source.into() }
    }
}

/// Why a codec failed.
#[derive(Debug, thiserror::Error)]
#[error("codec {codec} failed on {type_name}: {source}")]
pub struct CodecError {
    /// Misuse, limit, environment or damage.
    pub kind: ErrorKind,
    /// The codec.
    pub codec: &'static str,
    /// The Rust type of the value.
    pub type_name: &'static str,
    /// What it said.
    pub source: Cause,
}

impl CodecError {
    /// An error of `codec` about a value of type `T`.
    pub fn new<T: ?Sized>(kind: ErrorKind, codec: &'static str, source: impl Into<Cause>) -> Self {
        Self { kind, codec, type_name: std::any::type_name::<T>(), source: source.into() }
    }

    /// A panic in code of the codec whose format is known, with what it said.
    pub(crate) fn panicked(format: Format, panic: &(dyn std::any::Any + Send)) -> Self {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self {
            kind: ErrorKind::Misuse,
            codec: "of the user's",
            type_name: "value",
            source: format!("{format} panicked: {said}").into(),
        }
    }

    /// Bytes that are not what `codec` writes for a `T`.
    pub fn damage<T: ?Sized>(codec: &'static str, source: impl Into<Cause>) -> Self {
        Self::new::<T>(ErrorKind::Damage, codec, source)
    }
}

/// What is wrong with the bytes of a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameDamage {
    /// Fewer bytes than the frame says that it has.
    #[error("{found} bytes, expected {expected}")]
    Length {
        /// Bytes that should be there.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The first eight bytes are not those of a frame.
    #[error("no frame starts here (magic {found:02x?})")]
    Magic {
        /// What stands there.
        found: [u8; 8],
    },
    /// A version that this program does not read.
    #[error("format version {found}, this program reads {expected}")]
    Version {
        /// The version that this program writes.
        expected: u32,
        /// The version of the frame.
        found: u32,
    },
    /// A field has a value that no writer gives it.
    #[error("header field {field} is {found}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// A checksum does not match.
    #[error("{part} checksum {found:016x}, expected {expected:016x}")]
    Checksum {
        /// `header` or `content`.
        part: &'static str,
        /// What the frame says.
        expected: u64,
        /// What its bytes give.
        found: u64,
    },
    /// The frame of another value: a place on disk that was given anew.
    #[error("it is of value {found}, expected {expected}")]
    Id {
        /// The value that was asked for.
        expected: Id,
        /// The value whose frame it is.
        found: Id,
    },
    /// Written by another codec, or for another type.
    #[error("written as {found}, read as {expected}")]
    Format {
        /// Codec and type of the reader.
        expected: String,
        /// Codec and type of the frame.
        found: String,
    },
    /// A part of the frame was asked for that is not there.
    #[error("section {index} asked for, it has {sections}")]
    Section {
        /// The index asked for.
        index: usize,
        /// How many there are.
        sections: usize,
    },
}
