//! What a column holds, gathered one table after the other: nothing is kept but a figure, two values and the hashes of a dictionary.

use std::{
    collections::HashSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use mempool_arrays::{Column, Kind, Layout, Logical, Nullable, Pooled, Value};

/// The most values of dictionaries that are told from one another.
const DISTINCT_MAX: usize = 1 << 20;

/// Figures of one column.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) slots: u64,
    pub(crate) nulls: u64,
    least: Option<Kept>,
    greatest: Option<Kept>,
    sum: Sum,
    /// Bytes of strings.
    pub(crate) text_bytes: Option<u64>,
    /// The hashes of the values that a pooled column shows.
    distinct: Option<HashSet<u64, BuildHasherDefault<Passing>>>,
}

/// A value that outlives its table.
#[derive(Debug)]
enum Kept {
    /// A number or a bit.
    Plain(Value<'static>),
    Text(String),
    Bytes(Vec<u8>),
}

impl Kept {
    /// A copy of a value that has an order which means something.
    fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(bit) => Self::Plain(Value::Bool(*bit)),
            Value::Int(number) => Self::Plain(Value::Int(*number)),
            Value::Large(number) => Self::Plain(Value::Large(*number)),
            Value::Float(number) => Self::Plain(Value::Float(*number)),
            Value::Text(text) => Self::Text((*text).to_owned()),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            _ => return None,
        })
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// A sum of numbers: exact for integers as long as 128 bits hold it.
#[derive(Debug, Default)]
enum Sum {
    /// No number yet.
    #[default]
    Nothing,
    Exact(i128),
    Float(f64),
}

impl Sum {
    fn add(&mut self, value: &Value<'_>) {
        *self = match (&*self, value) {
            (Self::Nothing, Value::Int(number)) => Self::Exact(*number),
            (Self::Nothing, Value::Float(number)) => Self::Float(*number),
            (Self::Exact(sum), Value::Int(number)) => match sum.checked_add(*number) {
                Some(sum) => Self::Exact(sum),
                None => Self::Float(*sum as f64 + *number as f64),
            },
            (Self::Float(sum), Value::Int(number)) => Self::Float(sum + *number as f64),
            (Self::Float(sum), Value::Float(number)) => Self::Float(sum + number),
            _ => return,
        };
    }
}

/// Takes hashes as they are.
#[derive(Default)]
struct Passing(u64);

impl std::hash::Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl std::fmt::Debug for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passing")
    }
}

impl Statistics {
    /// Looks at the same column of the next table.
    pub(crate) fn add(&mut self, column: &Column) {
        self.slots += column.len() as u64;
        self.add_distinct(column);
        for value in column.iter() {
            match &value {
                Value::Null => self.nulls += 1,
                Value::Text(text) => {
                    *self.text_bytes.get_or_insert(0) += text.len() as u64;
                }
                other => self.sum.add(other),
            }
            keep(&mut self.least, &value, std::cmp::Ordering::Less);
            keep(&mut self.greatest, &value, std::cmp::Ordering::Greater);
        }
    }

    fn add_distinct(&mut self, column: &Column) {
        let pooled = match (column.kind(), column.child().map(Column::kind)) {
            (Kind::Pooled(_), _) => column.to::<Pooled<Column>>().map(Nullable::from),
            (Kind::Nullable, Some(Kind::Pooled(_))) => column.to::<Nullable<Pooled<Column>>>(),
            _ => return,
        };
        // What was asked for is what it said that it is.
        let Ok(nullable) = pooled else { return };
        let pooled = nullable.values();
        let distinct = self.distinct.get_or_insert_default();
        // Of hashes there are more than enough: two values of one hash are no more likely than a fault of the machine.
        let hashing = BuildHasherDefault::<DefaultHasher>::default();
        let mut shown = vec![false; pooled.dictionary().len()];
        for (slot, code) in pooled.codes().iter().enumerate() {
            if nullable.is_valid(slot) {
                shown[code] = true;
            }
        }
        for (code, _) in shown.iter().enumerate().filter(|(_, shown)| **shown) {
            if distinct.len() > DISTINCT_MAX {
                return;
            }
            let mut state = hashing.build_hasher();
            if let Some(value) = pooled.dictionary().get(code) {
                Column::hash_item(&value, &mut state);
                distinct.insert(std::hash::Hasher::finish(&state));
            }
        }
    }

    /// The least value, by the order that an index has.
    pub(crate) fn least(&self) -> Option<Value<'_>> {
        self.least.as_ref().map(Kept::value)
    }

    /// The greatest value.
    pub(crate) fn greatest(&self) -> Option<Value<'_>> {
        self.greatest.as_ref().map(Kept::value)
    }

    /// How many values a pooled column shows; the second one says that there are more than that.
    pub(crate) fn distinct(&self) -> Option<(u64, bool)> {
        let count = self.distinct.as_ref()?.len();
        Some((count.min(DISTINCT_MAX) as u64, count > DISTINCT_MAX))
    }

    /// The mean of numbers, where a mean has a meaning.
    pub(crate) fn mean(&self, logical: Logical) -> Option<f64> {
        let scale = match logical {
            Logical::None => 0,
            Logical::Decimal { scale, .. } => i32::from(scale),
            _ => return None,
        };
        let sum = match self.sum {
            Sum::Nothing => return None,
            Sum::Exact(sum) => sum as f64,
            Sum::Float(sum) => sum,
        };
        Some(sum / (self.slots - self.nulls) as f64 / 10_f64.powi(scale))
    }
}

/// Keeps a value that comes on that side of the one that is there.
fn keep(there: &mut Option<Kept>, value: &Value<'_>, side: std::cmp::Ordering) {
    if there.as_ref().is_none_or(|there| value.order(&there.value()) == side)
        && let Some(kept) = Kept::of(value)
    {
        *there = Some(kept);
    }
}

#[cfg(test)]
mod tests {
    use mempool_arrays::{Strings, Values};

    use super::*;

    #[test]
    fn numbers_have_extremes_and_a_mean() {
        let mut statistics = Statistics::default();
        for part in [[Some(3_i64), None], [Some(-5), Some(8)]] {
            let part: Nullable<Values<i64>> = part.into_iter().collect();
            statistics.add(&Column::of(&part));
        }
        assert_eq!((statistics.slots, statistics.nulls), (4, 1));
        assert_eq!(statistics.least(), Some(Value::Int(-5)));
        assert_eq!(statistics.greatest(), Some(Value::Int(8)));
        assert_eq!(statistics.mean(Logical::None), Some(2.0));
        assert_eq!(statistics.mean(Logical::Decimal { precision: 9, scale: 1 }), Some(0.2));
        assert_eq!(statistics.mean(Logical::Date), None);
    }

    #[test]
    fn what_dictionaries_show_is_counted_once() {
        let mut statistics = Statistics::default();
        for part in [["a", "b", "a"], ["b", "c", "c"]] {
            let pooled: Pooled<Strings> = part.into_iter().collect();
            // The last slot is cut off, and its value with it.
            statistics.add(&Column::of(&pooled.slice(0..2)));
        }
        // What is below a missing slot is no value of the column.
        let missing: Nullable<Pooled<Strings>> = [None, Some("a")].into_iter().collect();
        statistics.add(&Column::of(&missing));
        assert_eq!(statistics.distinct(), Some((3, false)));
        assert_eq!(statistics.text_bytes, Some(5));
        assert_eq!(statistics.mean(Logical::None), None);
    }

    #[test]
    fn sums_beyond_128_bits_go_on_as_floats() {
        let mut statistics = Statistics::default();
        statistics.add(&Column::of(&Values::from(vec![i128::MAX; 3])));
        let mean = statistics.mean(Logical::None).unwrap();
        assert!((mean / i128::MAX as f64 - 1.0).abs() < 1e-9, "{mean}");
    }
}
