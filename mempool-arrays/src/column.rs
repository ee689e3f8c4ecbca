//! `Column`: an array whose type is known at run time.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result, type_tag};

use crate::bits::Bits;
use crate::description::Kind;
use crate::error::ArrayError;
use crate::layout::{Layout, Meter, Rearrange, Replacing, debug};
use crate::list::List;
use crate::nullable::Nullable;
use crate::part::{Assembly, Parts, convert};
use crate::plain::Plain;
use crate::pooled::Pooled;
use crate::string::{Binary, Strings};
use crate::structs::Struct;
use crate::units::Units;
use crate::value::{Value, order_slots};
use crate::values::Values;

/// An array of any type, known at run time: what tables are made of.
///
/// *Shape*: that of the array it was made of, whose buffers it shares. To loop over millions of slots, get the
/// [typed array](Self::to) back: that costs a few words, and its loop knows its type.
///
/// ```
/// use mempool_arrays::{Column, Layout, Nullable, Pooled, Strings, Value};
///
/// let modes: Nullable<Pooled<Strings>> = [Some("AIR"), None, Some("AIR")].into_iter().collect();
/// let column = Column::of(&modes);
/// assert_eq!(column.get(0), Some(Value::Text("AIR")));
/// assert_eq!(column.get(1), Some(Value::Null));
/// let typed: Nullable<Pooled<Strings>> = column.to()?;
/// assert_eq!(typed, modes);
/// assert!(column.to::<Strings>().is_err());
/// # Ok::<(), mempool_arrays::ArrayError>(())
/// ```
#[derive(Clone)]
pub struct Column {
    pub(crate) array: Array,
}

/// The layouts that there are; the children of one are columns.
#[derive(Clone)]
pub(crate) enum Array {
    Plain(Plain),
    Bits(Bits),
    Units(Units),
    Strings32(Strings<i32>),
    Strings64(Strings<i64>),
    Binary32(Binary<i32>),
    Binary64(Binary<i64>),
    Nullable(Box<Nullable<Column>>),
    Pooled(Box<Pooled<Column>>),
    List32(Box<List<Column, i32>>),
    List64(Box<List<Column, i64>>),
    Struct(Struct),
}

/// Does the same with whatever is in the column.
macro_rules! each {
    ($array:expr, $of:ident => $do:expr) => {
        match $array {
            Array::Plain($of) => $do,
            Array::Bits($of) => $do,
            Array::Units($of) => $do,
            Array::Strings32($of) => $do,
            Array::Strings64($of) => $do,
            Array::Binary32($of) => $do,
            Array::Binary64($of) => $do,
            Array::Nullable($of) => $do,
            Array::Pooled($of) => $do,
            Array::List32($of) => $do,
            Array::List64($of) => $do,
            Array::Struct($of) => $do,
        }
    };
}

/// Makes an array of the same kind from each.
macro_rules! same {
    ($array:expr, $of:ident => $do:expr) => {
        match $array {
            Array::Plain($of) => Array::Plain($do),
            Array::Bits($of) => Array::Bits($do),
            Array::Units($of) => Array::Units($do),
            Array::Strings32($of) => Array::Strings32($do),
            Array::Strings64($of) => Array::Strings64($do),
            Array::Binary32($of) => Array::Binary32($do),
            Array::Binary64($of) => Array::Binary64($do),
            Array::Nullable($of) => Array::Nullable(Box::new($do)),
            Array::Pooled($of) => Array::Pooled(Box::new($do)),
            Array::List32($of) => Array::List32(Box::new($do)),
            Array::List64($of) => Array::List64(Box::new($do)),
            Array::Struct($of) => Array::Struct($do),
        }
    };
}

/// Joins the arrays of all columns, which must be of one kind.
macro_rules! join {
    ($columns:expr, $first:expr, $meter:expr, $($kind:ident by $as:expr => $wrap:expr),* $(,)?) => {
        match $first {
            $(
                Array::$kind(_) => {
                    let mut arrays = Vec::with_capacity($columns.len());
                    for column in $columns {
                        match &column.array {
                            Array::$kind(array) => arrays.push($as(array)),
                            _ => return Err(other_kind($first, column)),
                        }
                    }
                    $wrap(Rearrange::concat(&arrays, $meter)?)
                }
            )*
            Array::Plain(first) => {
                let mut arrays = Vec::with_capacity($columns.len());
                for column in $columns {
                    match &column.array {
                        Array::Plain(array) if array.kind() == first.kind() => arrays.push(array),
                        _ => return Err(other_kind($first, column)),
                    }
                }
                Array::Plain(Plain::concat(&arrays, $meter)?)
            }
        }
    };
}

fn other_kind(first: &Array, other: &Column) -> mempool_core::Error {
    let expected = Column { array: first.clone() }.kind().into();
    ArrayError::Kind { expected, found: other.kind().into() }.of::<Column>()
}

impl Column {
    /// A column of `array`, sharing its buffers.
    ///
    /// # Panics
    /// When `array` is of a layout of the program's own, which columns do not know, or of a table or several dimensions.
    #[must_use]
    pub fn of(array: &impl Layout) -> Self {
        convert(array).expect("a layout that columns know")
    }

    /// A column of `array`, sharing its buffers, if columns know its layout.
    ///
    /// # Errors
    /// [`ArrayError::Kind`].
    pub fn try_of(array: &impl Layout) -> Result<Self, ArrayError> {
        convert(array)
    }

    /// The array as its own type, sharing its buffers.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] when it is of another.
    pub fn to<A: Layout>(&self) -> Result<A, ArrayError> {
        convert(self)
    }

    /// Its outermost layout.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.array {
            Array::Plain(plain) => plain.kind(),
            Array::Bits(_) => Kind::Bits,
            Array::Units(_) => Kind::Units,
            Array::Strings32(_) => Kind::Strings(4),
            Array::Strings64(_) => Kind::Strings(8),
            Array::Binary32(_) => Kind::Binary(4),
            Array::Binary64(_) => Kind::Binary(8),
            Array::Nullable(_) => Kind::Nullable,
            Array::Pooled(pooled) => Kind::Pooled(pooled.codes().width()),
            Array::List32(_) => Kind::List(4),
            Array::List64(_) => Kind::List(8),
            Array::Struct(_) => Kind::Struct,
        }
    }

    /// How many slots it has.
    #[must_use]
    pub fn len(&self) -> usize {
        each!(&self.array, array => array.len())
    }

    /// Whether it has no slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots are missing; a pooled column may miss values of its dictionary, too.
    #[must_use]
    pub fn nulls(&self) -> usize {
        match &self.array {
            Array::Nullable(nullable) => nullable.nulls(),
            _ => 0,
        }
    }

    /// The values of a nullable column, the dictionary of a pooled one, or the child of lists.
    #[must_use]
    pub fn child(&self) -> Option<&Self> {
        match &self.array {
            Array::Nullable(nullable) => Some(nullable.values()),
            Array::Pooled(pooled) => Some(pooled.dictionary()),
            Array::List32(list) => Some(list.child()),
            Array::List64(list) => Some(list.child()),
            _ => None,
        }
    }

    /// The columns of a struct.
    #[must_use]
    pub fn as_struct(&self) -> Option<&Struct> {
        match &self.array {
            Array::Struct(columns) => Some(columns),
            _ => None,
        }
    }

    /// Which of two of its slots comes first.
    ///
    /// # Panics
    /// When there is no such slot.
    #[must_use]
    pub fn order_slots(&self, a: usize, b: usize) -> Ordering {
        let value = |at| self.get(at).unwrap_or_else(|| panic!("slot {at} of {}", self.len()));
        value(a).order(&value(b))
    }

    /// The whole type, for people: `nullable pooled strings`.
    #[must_use]
    pub fn type_text(&self) -> String {
        let of = |child: &Self| child.type_text();
        match &self.array {
            Array::Nullable(nullable) => format!("nullable {}", of(nullable.values())),
            Array::Pooled(pooled) => format!("pooled {}", of(pooled.dictionary())),
            Array::List32(list) => format!("list of {}", of(list.child())),
            Array::List64(list) => format!("list of {}", of(list.child())),
            Array::Strings32(_) | Array::Strings64(_) => "strings".to_owned(),
            Array::Binary32(_) | Array::Binary64(_) => "binary".to_owned(),
            _ => self.kind().to_string(),
        }
    }
}

impl Layout for Column {
    type Item<'a> = Value<'a>;

    const TAG: u64 = type_tag("column");

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn get(&self, index: usize) -> Option<Value<'_>> {
        Some(match &self.array {
            Array::Plain(plain) => plain.get(index)?,
            Array::Bits(bits) => Value::Bool(bits.get(index)?),
            Array::Units(units) => units.get(index).map(|()| Value::Unit)?,
            Array::Strings32(strings) => Value::Text(strings.get(index)?),
            Array::Strings64(strings) => Value::Text(strings.get(index)?),
            Array::Binary32(binary) => Value::Bytes(binary.get(index)?),
            Array::Binary64(binary) => Value::Bytes(binary.get(index)?),
            Array::Nullable(nullable) => nullable.get(index)?.unwrap_or(Value::Null),
            Array::Pooled(pooled) => pooled.get(index)?,
            Array::List32(list) => Value::List(list.get(index)?),
            Array::List64(list) => Value::List(list.get(index)?),
            Array::Struct(rows) => Value::Row(rows.get(index)?),
        })
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { array: same!(&self.array, array => array.slice(range)) }
    }

    fn order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
        a.order(b)
    }

    fn hash_item(item: &Value<'_>, state: &mut impl Hasher) {
        item.hash_into(state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        match &self.array {
            Array::Plain(plain) => plain.take_apart(parts),
            Array::Nullable(nullable) => nullable.take_apart(parts),
            Array::Pooled(pooled) => pooled.take_apart(parts),
            Array::List32(list) => list.take_apart(parts),
            Array::List64(list) => list.take_apart(parts),
            Array::Bits(bits) => bits.take_apart(parts),
            Array::Units(units) => units.take_apart(parts),
            Array::Strings32(strings) => strings.take_apart(parts),
            Array::Strings64(strings) => strings.take_apart(parts),
            Array::Binary32(binary) => binary.take_apart(parts),
            Array::Binary64(binary) => binary.take_apart(parts),
            Array::Struct(columns) => columns.take_apart(parts),
        }
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let kind = from.peek()?.kind;
        let array = match kind {
            Kind::Values(_) => Array::Plain(Plain::assemble(from)?),
            Kind::Bits => Array::Bits(Bits::assemble(from)?),
            Kind::Units => Array::Units(Units::assemble(from)?),
            Kind::Strings(4) => Array::Strings32(Strings::assemble(from)?),
            Kind::Strings(_) => Array::Strings64(Strings::assemble(from)?),
            Kind::Binary(4) => Array::Binary32(Binary::assemble(from)?),
            Kind::Binary(_) => Array::Binary64(Binary::assemble(from)?),
            Kind::Nullable => Array::Nullable(Box::new(Nullable::assemble(from)?)),
            Kind::Pooled(_) => Array::Pooled(Box::new(Pooled::assemble(from)?)),
            Kind::List(4) => Array::List32(Box::new(List::assemble(from)?)),
            Kind::List(_) => Array::List64(Box::new(List::assemble(from)?)),
            Kind::Struct => Array::Struct(Struct::assemble(from)?),
            Kind::Table | Kind::NdArray => {
                let what = format!("{kind} within a column");
                return Err(ArrayError::description(what));
            }
        };
        Ok(Self { array })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        match &self.array {
            Array::Plain(plain) => visit(plain.buffer()),
            Array::Bits(bits) => bits.visit(visit),
            Array::Units(units) => units.visit(visit),
            Array::Strings32(strings) => strings.visit(visit),
            Array::Strings64(strings) => strings.visit(visit),
            Array::Binary32(binary) => binary.visit(visit),
            Array::Binary64(binary) => binary.visit(visit),
            Array::Nullable(nullable) => nullable.visit(visit),
            Array::Pooled(pooled) => pooled.visit(visit),
            Array::List32(list) => list.visit(visit),
            Array::List64(list) => list.visit(visit),
            Array::Struct(columns) => columns.visit(visit),
        }
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        match &mut self.array {
            Array::Plain(plain) => replace.buffer(plain.buffer_mut()),
            Array::Bits(bits) => bits.replace(replace),
            Array::Units(units) => units.replace(replace),
            Array::Strings32(strings) => strings.replace(replace),
            Array::Strings64(strings) => strings.replace(replace),
            Array::Binary32(binary) => binary.replace(replace),
            Array::Binary64(binary) => binary.replace(replace),
            Array::Nullable(nullable) => nullable.replace(replace),
            Array::Pooled(pooled) => pooled.replace(replace),
            Array::List32(list) => list.replace(replace),
            Array::List64(list) => list.replace(replace),
            Array::Struct(columns) => columns.replace(replace),
        }
    }
}

impl Rearrange for Column {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        Ok(Self { array: same!(&self.array, array => array.take(slots, meter)?) })
    }

    /// A column that misses slots, or has a dictionary, meets one of the same values that does not: all become as the
    /// first of its kind is.
    ///
    /// # Errors
    /// Also [`ArrayError::Kind`] for columns of two kinds.
    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let Some(first) = arrays.first() else { return Ok(Self::of(&Values::<u8>::default())) };
        let nullable = arrays.iter().any(|column| matches!(column.array, Array::Nullable(_)));
        if nullable && arrays.iter().any(|column| !matches!(column.array, Array::Nullable(_))) {
            let all: Vec<Self> = arrays.iter().map(|&column| column.clone().nullable()).collect();
            return Self::concat(&all.iter().collect::<Vec<_>>(), meter);
        }
        fn boxed<T>(array: &T) -> &T {
            array
        }
        let array = join!(arrays, &first.array, meter,
            Bits by boxed => Array::Bits,
            Units by boxed => Array::Units,
            Strings32 by boxed => Array::Strings32,
            Strings64 by boxed => Array::Strings64,
            Binary32 by boxed => Array::Binary32,
            Binary64 by boxed => Array::Binary64,
            Nullable by Box::as_ref => |array| Array::Nullable(Box::new(array)),
            Pooled by Box::as_ref => |array| Array::Pooled(Box::new(array)),
            List32 by Box::as_ref => |array| Array::List32(Box::new(array)),
            List64 by Box::as_ref => |array| Array::List64(Box::new(array)),
            Struct by boxed => Array::Struct,
        );
        Ok(Self { array })
    }
}

impl Column {
    /// The same column, with room for missing slots.
    fn nullable(self) -> Self {
        match self.array {
            Array::Nullable(_) => self,
            _ => Self { array: Array::Nullable(Box::new(self.into())) },
        }
    }
}

impl PartialEq for Column {
    /// What slots show counts, and not how it is stored.
    fn eq(&self, other: &Self) -> bool {
        order_slots(self, other).is_eq()
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}
