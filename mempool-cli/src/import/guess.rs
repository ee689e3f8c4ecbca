//! Which type a column has, by all texts in it. The first pass asks; nothing is kept of a text but a hash, to count how many different ones there are.

use std::collections::HashSet;

use mempool_arrays::{Field, Logical, TimeUnit};
use twox_hash::XxHash3_64;

use super::parse;

/// The most different texts of a pooled column: what codes of two bytes count.
const DISTINCT_MAX: u64 = 1 << 16;

/// What a set takes for each hash: while it grows, 9 bytes a slot in the old table and in the new one, which is at worst half empty.
const DISTINCT_BYTES: u64 = 32;

/// What a column is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Truth,
    Integer,
    Float,
    Date,
    /// Microseconds.
    Moment {
        utc: bool,
    },
    Text,
    /// Text of few values, behind codes.
    Pooled,
}

/// The type of a column, as the whole file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) kind: Kind,
    /// Whether a field is missing anywhere.
    pub(crate) nullable: bool,
}

impl ColumnType {
    /// A field of that type.
    pub(crate) fn field(self, name: &str) -> Field {
        let field = Field::new(name);
        match self.kind {
            Kind::Date => field.with_logical(Logical::Date),
            Kind::Moment { utc } => {
                field.with_logical(Logical::Timestamp { unit: TimeUnit::Microsecond, utc })
            }
            _ => field,
        }
    }
}

/// What a column can still be, after the texts that it has shown.
#[derive(Debug)]
pub(crate) struct Guess {
    /// What each text so far was; none of them before the first.
    possible: Vec<Kind>,
    present: u64,
    missing: u64,
    /// A column of nothing but `NaN` is no column of numbers.
    has_number: bool,
    distinct: Distinct,
}

/// How many different texts there are, up to a bound.
#[derive(Debug)]
struct Distinct {
    hashes: HashSet<u64>,
    /// No more than that; `None` once there were more.
    most: Option<u64>,
}

impl Guess {
    /// Nothing is known yet; counts up to `distinct_max` different texts.
    pub(crate) fn new(distinct_max: u64) -> Self {
        let moments = [Kind::Moment { utc: false }, Kind::Moment { utc: true }];
        let [local, utc] = moments;
        Self {
            possible: vec![Kind::Truth, Kind::Integer, Kind::Float, Kind::Date, local, utc],
            present: 0,
            missing: 0,
            has_number: false,
            distinct: Distinct { hashes: HashSet::new(), most: Some(distinct_max) },
        }
    }

    /// How many different texts are counted a column, and the bytes that takes for all, when `bytes` may be taken at most.
    pub(crate) fn distinct_max(columns: usize, bytes: u64) -> (u64, u64) {
        let columns = columns.max(1) as u64;
        let most = (bytes / columns / DISTINCT_BYTES).min(DISTINCT_MAX);
        (most, most * columns * DISTINCT_BYTES)
    }

    /// The next field of the column.
    pub(crate) fn note(&mut self, text: Option<&str>) {
        let Some(text) = text else {
            self.missing += 1;
            return;
        };
        self.present += 1;
        let has_number = &mut self.has_number;
        self.possible.retain(|kind| match kind {
            Kind::Truth => parse::truth(text).is_some(),
            Kind::Integer => parse::integer(text).is_some(),
            Kind::Float => parse::float(text).is_some_and(|number| {
                *has_number |= number.is_finite();
                true
            }),
            Kind::Date => parse::date(text).is_some(),
            Kind::Moment { utc } => parse::moment(text).is_some_and(|(_, is_utc)| is_utc == *utc),
            Kind::Text | Kind::Pooled => true,
        });
        self.distinct.note(text);
    }

    /// The type that fits all fields.
    ///
    /// Text is pooled when its different values were few enough to be counted, and are at most half as many as its fields.
    pub(crate) fn decide(&self) -> ColumnType {
        let is_meant = |kind: &&Kind| **kind != Kind::Float || self.has_number;
        let kind = match self.possible.iter().find(is_meant) {
            Some(kind) if self.present > 0 => *kind,
            _ if self.is_repetitive() => Kind::Pooled,
            _ => Kind::Text,
        };
        ColumnType { kind, nullable: self.missing > 0 }
    }

    fn is_repetitive(&self) -> bool {
        let distinct = self.distinct.hashes.len() as u64;
        self.distinct.most.is_some() && self.present > 0 && distinct <= self.present / 2
    }
}

impl Distinct {
    fn note(&mut self, text: &str) {
        let Some(most) = self.most else { return };
        self.hashes.insert(XxHash3_64::oneshot(text.as_bytes()));
        if self.hashes.len() as u64 > most {
            self.hashes = HashSet::new();
            self.most = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(fields: &[Option<&str>]) -> ColumnType {
        let mut guess = Guess::new(4);
        fields.iter().for_each(|field| guess.note(*field));
        guess.decide()
    }

    fn kind(fields: &[&str]) -> Kind {
        decide(&fields.iter().map(|field| Some(*field)).collect::<Vec<_>>()).kind
    }

    #[test]
    fn a_column_is_the_narrowest_that_takes_all_its_texts() {
        assert_eq!(kind(&["1", "-2"]), Kind::Integer);
        assert_eq!(kind(&["1", "2.5", "NaN"]), Kind::Float);
        assert_eq!(kind(&["NaN"]), Kind::Text);
        assert_eq!(kind(&["true", "FALSE"]), Kind::Truth);
        assert_eq!(kind(&["2024-02-29"]), Kind::Date);
        assert_eq!(kind(&["2024-02-29 00:00:00"]), Kind::Moment { utc: false });
        assert_eq!(kind(&["2024-02-29T00:00:00Z"]), Kind::Moment { utc: true });
        assert_eq!(kind(&["2024-02-29 00:00:00", "2024-02-29 00:00:00Z"]), Kind::Text);
        assert_eq!(kind(&["2024-02-29", "2024-02-30"]), Kind::Text);
        assert_eq!(kind(&["1", "007"]), Kind::Text);
        assert_eq!(kind(&["1", "true"]), Kind::Text);
        assert_eq!(kind(&["1.5", "9007199254740993"]), Kind::Text);
    }

    #[test]
    fn text_is_pooled_when_it_repeats() {
        assert_eq!(kind(&["a", "b", "a", "b"]), Kind::Pooled);
        assert_eq!(kind(&["a", "b", "a"]), Kind::Text);
        // Five values, and four are counted at most.
        assert_eq!(kind(&["a", "b", "c", "d", "e"].repeat(9)), Kind::Text);
        // Numbers that turn out to be text have been counted all along.
        assert_eq!(kind(&["1", "1", "1", "x"]), Kind::Pooled);
    }

    #[test]
    fn missing_fields_have_no_say() {
        let nullable = |kind| ColumnType { kind, nullable: true };
        assert_eq!(decide(&[None, Some("1"), None]), nullable(Kind::Integer));
        assert_eq!(decide(&[None]), nullable(Kind::Text));
        assert_eq!(decide(&[]), ColumnType { kind: Kind::Text, nullable: false });
        assert_eq!(decide(&[Some(""), Some("1")]).kind, Kind::Text);
    }

    #[test]
    fn many_columns_count_fewer_texts() {
        assert_eq!(Guess::distinct_max(1, 1 << 30), (1 << 16, 32 << 16));
        assert_eq!(Guess::distinct_max(4, 4096), (32, 4096));
        assert_eq!(Guess::distinct_max(0, 0), (0, 0));
    }
}
