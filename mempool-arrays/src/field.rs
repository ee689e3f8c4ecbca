//! `Field`: the name of a column, and what its numbers mean.

use std::sync::Arc;

use crate::error::ArrayError;

/// The name of a column and its logical type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    name: Arc<str>,
    logical: Logical,
}

impl Field {
    /// A field of no logical type: the column is what it is stored as.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), logical: Logical::None }
    }

    /// The same field with a logical type.
    #[must_use]
    pub fn with_logical(self, logical: Logical) -> Self {
        Self { logical, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its numbers mean.
    #[must_use]
    pub fn logical(&self) -> Logical {
        self.logical
    }

    pub(crate) fn decode(name: String, logical: u64) -> Result<Self, ArrayError> {
        match Logical::decode(logical) {
            Some(logical) => Ok(Self { name: name.into(), logical }),
            None => Err(ArrayError::description(format!(
                "column {name:?} has logical type {logical:#x}"
            ))),
        }
    }
}

impl From<&str> for Field {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum TimeUnit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl TimeUnit {
    const ALL: [Self; 4] = [Self::Second, Self::Millisecond, Self::Microsecond, Self::Nanosecond];

    fn code(self) -> u8 {
        self as u8
    }
}

/// What the numbers of a column mean, as Arrow's types say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Logical {
    /// Nothing but themselves.
    #[default]
    None,
    /// Days since 1970-01-01, in `i32`.
    Date,
    /// Milliseconds since 1970-01-01, whole days, in `i64`.
    DateMillis,
    /// Time since 1970-01-01 00:00, in `i64`: UTC, or of no zone.
    Timestamp {
        /// Of one.
        unit: TimeUnit,
        /// Whether it is UTC; else its zone is not known.
        utc: bool,
    },
    /// Time of a day, in `i32` (seconds, milliseconds) or `i64`.
    Time(TimeUnit),
    /// A span of time, in `i64`.
    Duration(TimeUnit),
    /// A decimal number: an integer divided by a power of ten.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
}

impl Logical {
    /// Its number in a description: the kind in the lowest byte, what it is made with in the next two.
    #[must_use]
    pub fn encode(self) -> u64 {
        let [kind, first, second] = match self {
            Self::None => [0, 0, 0],
            Self::Date => [1, 0, 0],
            Self::DateMillis => [2, 0, 0],
            Self::Timestamp { unit, utc } => [3, unit.code(), utc.into()],
            Self::Time(unit) => [4, unit.code(), 0],
            Self::Duration(unit) => [5, unit.code(), 0],
            Self::Decimal { precision, scale } => [6, precision, scale.to_le_bytes()[0]],
        };
        u64::from(kind) | u64::from(first) << 8 | u64::from(second) << 16
    }

    /// What has that number.
    #[must_use]
    pub fn decode(number: u64) -> Option<Self> {
        let [kind, first, second, 0, 0, 0, 0, 0] = number.to_le_bytes() else { return None };
        let unit = TimeUnit::ALL.get(usize::from(first)).copied();
        let logical = match kind {
            0 => Self::None,
            1 => Self::Date,
            2 => Self::DateMillis,
            3 => Self::Timestamp { unit: unit?, utc: second == 1 },
            4 => Self::Time(unit?),
            5 => Self::Duration(unit?),
            6 => Self::Decimal { precision: first, scale: i8::from_le_bytes([second]) },
            _ => return None,
        };
        // What has two numbers is refused: one array has one description.
        (logical.encode() == number).then_some(logical)
    }
}
