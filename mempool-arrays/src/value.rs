//! `Value`: what a slot of a column shows, whatever its type.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;

use crate::column::Column;
use crate::layout::{Layout, has_no_bytes};
use crate::plain::order_complex;
use crate::structs::Row;

/// What a slot of a [`Column`] shows. Numbers are widened without loss.
///
/// Values of one column have a total order: missing ones first, numbers by size, floats as `f64::total_cmp` has them, text by
/// its bytes, lists and rows from their first part on. Values of two kinds are ordered by their kinds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Nothing: the slot is missing.
    Null,
    /// An element of no bytes.
    Unit,
    /// A bit.
    Bool(bool),
    /// An integer of any width.
    Int(i128),
    /// An integer above the largest `i128`.
    Large(u128),
    /// A float of any width.
    Float(f64),
    /// A complex number: real and imaginary part.
    Complex([f64; 2]),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The bytes of a record of the program's own.
    Record(&'a [u8]),
    /// A list.
    List(Column),
    /// A row of a struct.
    Row(Row),
}

impl Value<'_> {
    /// Where the kind of value stands in the order of kinds.
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Unit => 1,
            Self::Bool(_) => 2,
            Self::Int(_) => 3,
            Self::Large(_) => 4,
            Self::Float(_) => 5,
            Self::Complex(_) => 6,
            Self::Text(_) => 7,
            Self::Bytes(_) => 8,
            Self::Record(_) => 9,
            Self::List(_) => 10,
            Self::Row(_) => 11,
        }
    }

    /// Which of two values comes first.
    #[must_use]
    pub fn order(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Self::Int(a), Value::Int(b)) => a.cmp(b),
            (Self::Large(a), Value::Large(b)) => a.cmp(b),
            (Self::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Self::Complex(a), Value::Complex(b)) => order_complex(*a, *b),
            (Self::Text(a), Value::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Value::Bytes(b)) | (Self::Record(a), Value::Record(b)) => a.cmp(b),
            (Self::List(a), Value::List(b)) => order_slots(a, b),
            (Self::Row(a), Value::Row(b)) => a.order(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// The front of the value as a number: of two values of one column, the one that comes first has no larger one.
    pub(crate) fn prefix(&self) -> u64 {
        let text = |bytes: &[u8]| {
            let mut front = [0; 8];
            let len = bytes.len().min(8);
            front[..len].copy_from_slice(&bytes[..len]);
            u64::from_be_bytes(front).max(1)
        };
        // Zero is for missing values alone.
        match self {
            Self::Null => 0,
            Self::Bool(bit) => 1 + u64::from(*bit),
            Self::Int(number) => {
                let clamped = (*number).clamp(i64::MIN.into(), i64::MAX.into());
                u64::try_from(clamped - i128::from(i64::MIN)).unwrap_or(u64::MAX).max(1)
            }
            Self::Float(number) => {
                let bits = number.to_bits();
                let negative = bits >> 63 == 1;
                (if negative { !bits } else { bits | 1 << 63 }).max(1)
            }
            Self::Text(string) => text(string.as_bytes()),
            Self::Bytes(bytes) | Self::Record(bytes) => text(bytes),
            Self::Large(_) => u64::MAX,
            _ => 1,
        }
    }

    /// Feeds the value to a hash.
    pub(crate) fn hash_into(&self, state: &mut impl Hasher) {
        state.write_u8(self.rank());
        match self {
            Self::Null | Self::Unit => {}
            Self::Bool(bit) => state.write_u8((*bit).into()),
            Self::Int(number) => state.write_i128(*number),
            Self::Large(number) => state.write_u128(*number),
            Self::Float(number) => state.write_u64(number.to_bits()),
            Self::Complex(parts) => parts.iter().for_each(|part| state.write_u64(part.to_bits())),
            Self::Text(text) => write_bytes(text.as_bytes(), state),
            Self::Bytes(bytes) | Self::Record(bytes) => write_bytes(bytes, state),
            Self::List(list) => {
                state.write_usize(list.len());
                if !has_no_bytes(list) {
                    list.iter().for_each(|slot| slot.hash_into(state));
                }
            }
            Self::Row(row) => row.values().for_each(|value| value.hash_into(state)),
        }
    }
}

fn write_bytes(bytes: &[u8], state: &mut impl Hasher) {
    // Its length in front: any byte may stand in it, so none can end it.
    state.write_usize(bytes.len());
    state.write(bytes);
}

/// Slot by slot; of two that begin alike, the shorter comes first.
pub(crate) fn order_slots(a: &Column, b: &Column) -> Ordering {
    if has_no_bytes(a) && has_no_bytes(b) {
        return a.len().cmp(&b.len());
    }
    let mut orders = a.iter().zip(b.iter()).map(|(a, b)| a.order(&b));
    let differing = orders.find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

macro_rules! from_integers {
    ($($type:ty),*) => {
        $(
            impl From<$type> for Value<'_> {
                fn from(number: $type) -> Self {
                    Self::Int(number.into())
                }
            }
        )*
    };
}

from_integers!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<f32> for Value<'_> {
    fn from(number: f32) -> Self {
        Self::Float(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(bit: bool) -> Self {
        Self::Bool(bit)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, V: Into<Value<'a>>> From<Option<V>> for Value<'a> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Value<'_> {
    /// Text as it is, and all else as Rust shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.pad("null"),
            Self::Unit => f.pad("()"),
            Self::Bool(bit) => fmt::Display::fmt(bit, f),
            Self::Int(number) => fmt::Display::fmt(number, f),
            Self::Large(number) => fmt::Display::fmt(number, f),
            Self::Float(number) => fmt::Display::fmt(number, f),
            Self::Complex([re, im]) => f.pad(&format!("{re}{im:+}i")),
            Self::Text(text) => f.pad(text),
            Self::Bytes(bytes) | Self::Record(bytes) => {
                f.pad(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Self::List(list) => {
                let slots: Vec<String> = list.iter().map(|slot| slot.to_string()).collect();
                f.pad(&format!("[{}]", slots.join(", ")))
            }
            Self::Row(row) => f.pad(&row.to_string()),
        }
    }
}
