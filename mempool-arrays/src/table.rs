//! `Table`: named columns whose rows are in the order of the first of them, the index.
//!
//! ```text
//!          index columns          other columns
//!        ┌────────┬────────┬────────┬────────┬────────┐
//! row 0  │ AIR    │ 1      │        │        │        │    rows are sorted by the index, from its
//! row 1  │ AIR    │ 7      │        │        │        │    first column on; equal ones stay together
//! row 2  │ RAIL   │ 2      │        │        │        │
//!        └────────┴────────┴────────┴────────┴────────┘
//! ```
//!
//! At rest a table is its columns, one after the other, each under its name. All that is asked of a table is answered on
//! mapped columns, too: a look-up by the index touches as many pages as a binary search does.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::{Bound, Range, RangeBounds};

use mempool_core::{Buffer, Result, type_tag};

use crate::column::Column;
use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::field::Field;
use crate::layout::{Layout, Meter, Rearrange, Replacing, Unmetered, has_no_bytes};
use crate::part::{Assembly, Parts};
use crate::structs::{Row, Struct};
use crate::value::Value;

/// Named, typed columns; rows are sorted by the first of them, the index, if it has one.
///
/// *Shape*: no buffers of its own; its columns are its children. *Cost*: clone, slice and selection of columns share the
/// buffers; taking rows, sorting and merging make new ones.
///
/// ```
/// use mempool_arrays::{Column, Layout, Pooled, Strings, Table, Value, Values};
///
/// let modes: Pooled<Strings> = ["RAIL", "AIR", "RAIL"].into_iter().collect();
/// let prices = Values::from(vec![10_i64, 30, 20]);
/// let table = Table::new([("mode", Column::of(&modes)), ("price", Column::of(&prices))])?;
/// let table = table.sort_by(&["mode", "price"])?;
///
/// let rail = table.find(&[Value::from("RAIL")]);
/// let prices: Values<i64> = table.slice(rail).typed("price")?;
/// assert_eq!(prices[..], [10, 20]);
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Table {
    columns: Struct,
    /// So many columns in front are the index, by which rows are sorted.
    index: usize,
}

impl Table {
    /// Columns under their names, without an index.
    ///
    /// # Errors
    /// [`ArrayError::Slots`] for columns of two lengths, [`ArrayError::Duplicate`] for a name that comes twice.
    pub fn new<F: Into<Field>>(columns: impl IntoIterator<Item = (F, Column)>) -> Result<Self> {
        let columns = columns.into_iter().map(|(field, column)| (field.into(), column));
        let columns = Struct::new(columns).map_err(ArrayError::of::<Self>)?;
        Ok(Self { columns, index: 0 })
    }

    /// The columns of a struct, without an index.
    #[must_use]
    pub fn from_struct(columns: Struct) -> Self {
        Self { columns, index: 0 }
    }

    /// The same table, whose first columns are known to be an index.
    pub(crate) fn with_index(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.len()
    }

    /// Names and logical types of the columns, the index first.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        self.columns.fields()
    }

    /// The columns, the index first.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.columns.columns()
    }

    /// The columns as a struct.
    #[must_use]
    pub fn as_struct(&self) -> &Struct {
        &self.columns
    }

    /// The columns by which rows are sorted.
    #[must_use]
    pub fn index(&self) -> &[Field] {
        &self.fields()[..self.index]
    }

    /// The column of that name.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn column(&self, name: &str) -> Result<&Column> {
        let at = self.columns.position(name).map_err(ArrayError::of::<Self>)?;
        Ok(&self.columns()[at])
    }

    /// The column of that name as its own type, sharing its buffers.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`], or [`ArrayError::Kind`] when it is of another type.
    pub fn typed<A: Layout>(&self, name: &str) -> Result<A> {
        self.column(name)?.to().map_err(ArrayError::of::<A>)
    }

    /// Some of its columns, in this order, sharing their buffers. It keeps as much of the index as comes first.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn select(&self, names: &[&str]) -> Result<Self> {
        let places = self.places(names)?;
        let index =
            places.iter().enumerate().take_while(|&(to, &from)| to == from && to < self.index);
        Ok(Self { index: index.count(), columns: self.columns.select(&places) })
    }

    fn places(&self, names: &[&str]) -> Result<Vec<usize>> {
        let places = names.iter().map(|name| self.columns.position(name));
        places.collect::<Result<_, _>>().map_err(ArrayError::of::<Self>)
    }

    /// The same rows, sorted by these columns, which become the index and come first. Equal rows keep their order.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn sort_by(&self, names: &[&str]) -> Result<Self> {
        self.sort_within(names, &mut Unmetered)
    }

    /// As [`sort_by`](Self::sort_by), reporting what is allocated to `meter`.
    ///
    /// # Errors
    /// As [`sort_by`](Self::sort_by), and what the meter says.
    pub fn sort_within(&self, names: &[&str], meter: &mut dyn Meter) -> Result<Self> {
        let mut places = self.places(names)?;
        let others = (0..self.columns().len()).filter(|at| !places.contains(at));
        places.extend(others.collect::<Vec<_>>());
        let reordered = Self { columns: self.columns.select(&places), index: names.len() };
        if reordered.first_unsorted().is_none() {
            return Ok(reordered);
        }
        let order = reordered.sorted_rows(meter)?;
        let columns = reordered.columns.take(&order, meter)?;
        meter.give_back(SORT_BYTES * order.len() as u64);
        Ok(Self { columns, index: names.len() })
    }

    /// The rows in the order of the index. What it allocates is reported, and not given back.
    fn sorted_rows(&self, meter: &mut dyn Meter) -> Result<Vec<usize>> {
        let rows = self.rows();
        meter.take(SORT_BYTES.saturating_mul(rows as u64))?;
        let prefix = |row: usize| {
            let first = self.columns().first().and_then(|column| column.get(row));
            first.map_or(0, |value| value.prefix())
        };
        let mut keyed: Vec<(u64, usize)> = (0..rows).map(|row| (prefix(row), row)).collect();
        keyed.sort_by(|&(a, first), &(b, second)| {
            a.cmp(&b).then_with(|| self.order_rows(first, second))
        });
        Ok(keyed.into_iter().map(|(_, row)| row).collect())
    }

    /// Which of two rows comes first by the index.
    fn order_rows(&self, a: usize, b: usize) -> Ordering {
        let mut orders = self.columns()[..self.index].iter().map(|column| column.order_slots(a, b));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The first row that comes before the one in front of it.
    fn first_unsorted(&self) -> Option<usize> {
        // Rows that an index of no bytes tells apart there are none, and they may be more than anybody could look at.
        if self.columns()[..self.index].iter().all(has_no_bytes) {
            return None;
        }
        (1..self.rows()).find(|&row| self.order_rows(row - 1, row).is_gt())
    }

    /// The rows whose first index columns have these values.
    ///
    /// # Panics
    /// For more values than the index has columns.
    #[must_use]
    pub fn find(&self, key: &[Value<'_>]) -> Range<usize> {
        self.range((Bound::Included(key), Bound::Included(key)))
    }

    /// The rows whose first index columns lie within these bounds; a bound names values of as many columns as it likes.
    ///
    /// # Panics
    /// For more values than the index has columns.
    #[must_use]
    pub fn range<'k, 'v: 'k>(&self, keys: impl RangeBounds<&'k [Value<'v>]>) -> Range<usize> {
        let start = match keys.start_bound() {
            Bound::Included(key) => self.first_row(|row| self.order_key(row, key).is_ge()),
            Bound::Excluded(key) => self.first_row(|row| self.order_key(row, key).is_gt()),
            Bound::Unbounded => 0,
        };
        let end = match keys.end_bound() {
            Bound::Included(key) => self.first_row(|row| self.order_key(row, key).is_gt()),
            Bound::Excluded(key) => self.first_row(|row| self.order_key(row, key).is_ge()),
            Bound::Unbounded => self.rows(),
        };
        start..end.max(start)
    }

    /// How a row's index compares with a key.
    fn order_key(&self, row: usize, key: &[Value<'_>]) -> Ordering {
        assert!(key.len() <= self.index, "{} values for an index of {}", key.len(), self.index);
        let mut orders = self.columns().iter().zip(key).map(|(column, value)| {
            column.get(row).map_or(Ordering::Less, |there| there.order(value))
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The first row for which `is_there` holds, which it does from there on; or the number of rows.
    fn first_row(&self, is_there: impl Fn(usize) -> bool) -> usize {
        let (mut from, mut to) = (0, self.rows());
        while from < to {
            let middle = from + (to - from) / 2;
            if is_there(middle) { to = middle } else { from = middle + 1 }
        }
        from
    }

    /// The runs of rows that agree in their first `columns` index columns, in order: what a group-by over the index looks
    /// at, one run after the other.
    ///
    /// # Panics
    /// When the index has fewer columns.
    pub fn groups(&self, columns: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        assert!(columns <= self.index, "groups over {columns} of {} index columns", self.index);
        let mut start = 0;
        std::iter::from_fn(move || {
            if start >= self.rows() {
                return None;
            }
            // From the run's first row on in steps that double, then back: a run of n rows takes about 2 log n looks.
            let same = |row: usize| {
                let columns = &self.columns()[..columns];
                columns.iter().all(|column| column.order_slots(start, row).is_eq())
            };
            let (mut known, mut step) = (start, 1_usize);
            while known + step < self.rows() && same(known + step) {
                known += step;
                step *= 2;
            }
            let (mut from, mut to) = (known + 1, self.rows().min(known + step));
            while from < to {
                let middle = from + (to - from) / 2;
                if same(middle) { from = middle + 1 } else { to = middle }
            }
            let run = start..from;
            start = from;
            Some(run)
        })
    }

    /// Sorted tables of the same columns and index, merged into one; equal rows come in the order of the tables.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] or [`ArrayError::NoColumn`] for tables of other columns, [`ArrayError::Index`] for another index.
    pub fn merge(tables: &[&Self]) -> Result<Self> {
        Self::merge_within(tables, &mut Unmetered)
    }

    /// As [`merge`](Self::merge), reporting what is allocated to `meter`.
    ///
    /// # Errors
    /// As [`merge`](Self::merge), and what the meter says.
    pub fn merge_within(tables: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let joined = Self::concat(tables, meter)?;
        let index = tables.first().map_or(0, |table| table.index);
        if let Some(other) = tables.iter().find(|table| table.index != index) {
            let error = ArrayError::Index { expected: index as u64, found: other.index as u64 };
            return Err(error.of::<Self>());
        }
        // The sort finds the runs that are in order already, and merges them.
        let joined = Self { index, ..joined };
        let order = joined.sorted_rows(meter)?;
        let columns = joined.columns.take(&order, meter)?;
        meter.give_back(SORT_BYTES * order.len() as u64);
        Ok(Self { columns, index })
    }
}

/// What sorting takes a row, beside the rows: a number of the row twice, and the front of its key.
const SORT_BYTES: u64 = 24;

impl Layout for Table {
    type Item<'a> = Row;

    const TAG: u64 = type_tag("table");

    fn len(&self) -> usize {
        self.rows()
    }

    fn get(&self, index: usize) -> Option<Row> {
        self.columns.get(index)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { columns: self.columns.slice(range), index: self.index }
    }

    fn order(a: &Row, b: &Row) -> Ordering {
        a.order(b)
    }

    fn hash_item(item: &Row, state: &mut impl Hasher) {
        Struct::hash_item(item, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let children = u32::try_from(self.columns().len()).expect("fewer columns than sections");
        let node = Node::new(Kind::Table, self.rows());
        parts.node(Node { children, figure: self.index as u64, ..node });
        self.columns.take_columns_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let children = from.peek()?.children;
        let (node, rows) = from.expect(Kind::Table, children)?;
        let columns = Struct::assemble_columns(&node, rows, from)?;
        let index = usize::try_from(node.figure).ok().filter(|&n| n <= columns.columns().len());
        let index = index.ok_or(ArrayError::Index {
            expected: columns.columns().len() as u64,
            found: node.figure,
        })?;
        let table = Self { columns, index };
        // It looks at every row, so rows of our own are believed.
        let unsorted = if from.is_checked() { table.first_unsorted() } else { None };
        match unsorted {
            None => Ok(table),
            Some(row) => Err(ArrayError::Unsorted { row: row as u64 }),
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.columns.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.columns.replace(replace)
    }
}

impl Rearrange for Table {
    /// The rows need not be in order any more: the table has no index.
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        Ok(Self { columns: self.columns.take(slots, meter)?, index: 0 })
    }

    /// Columns are joined by their names, in the order of the first table. The table has no index.
    fn concat(tables: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let Some(first) = tables.first() else { return Self::new::<&str>([]) };
        let names: Vec<&str> = first.fields().iter().map(Field::name).collect();
        let selected = tables.iter().map(|table| Ok(table.select(&names)?.columns));
        let selected: Vec<Struct> = selected.collect::<Result<_>>()?;
        if let Some((table, _)) = tables
            .iter()
            .zip(&selected)
            .find(|(table, chosen)| table.columns().len() != chosen.columns().len())
        {
            let (expected, found) = (names.len() as u64, table.columns().len() as u64);
            let error = ArrayError::Slots { part: "columns".to_owned(), expected, found };
            return Err(error.of::<Self>());
        }
        let columns = Struct::concat(&selected.iter().collect::<Vec<_>>(), meter)?;
        Ok(Self { columns, index: 0 })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.rows())
            .field("index", &self.index().iter().map(Field::name).collect::<Vec<_>>())
            .field("columns", &self.columns)
            .finish()
    }
}
