//! `Struct`: named columns of one length, and `Row`, what a slot of them shows.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use mempool_core::{Buffer, Result, type_tag};

use crate::column::Column;
use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::field::Field;
use crate::layout::{Layout, Meter, Rearrange, Replacing, debug};
use crate::part::{Assembly, Parts};
use crate::value::Value;

/// Named columns of one length: an array whose slots are rows.
///
/// *Shape*: no buffers of its own; its columns are its children. *Cost*: clone copies two counted pointers and a length.
#[derive(Clone)]
pub struct Struct {
    fields: Arc<[Field]>,
    /// As many as there are fields, each of `len` slots: every constructor sees to that.
    columns: Arc<[Column]>,
    len: usize,
}

impl Struct {
    /// Columns under their names.
    ///
    /// # Errors
    /// [`ArrayError::Slots`] when one is longer or shorter than the first, [`ArrayError::Duplicate`] for a name that comes
    /// twice.
    pub fn new(columns: impl IntoIterator<Item = (Field, Column)>) -> Result<Self, ArrayError> {
        let (fields, columns): (Vec<Field>, Vec<Column>) = columns.into_iter().unzip();
        let len = columns.first().map_or(0, Column::len);
        Self::checked(fields, columns, len)
    }

    fn checked(fields: Vec<Field>, columns: Vec<Column>, len: usize) -> Result<Self, ArrayError> {
        for (field, column) in fields.iter().zip(&columns) {
            if column.len() != len {
                let (part, found) = (field.name().to_owned(), column.len() as u64);
                return Err(ArrayError::Slots { part, expected: len as u64, found });
            }
        }
        let mut names: Vec<&str> = fields.iter().map(Field::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ArrayError::Duplicate { name: twice[0].to_owned() });
        }
        Ok(Self { fields: fields.into(), columns: columns.into(), len })
    }

    /// Names and logical types, in order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where the column of that name stands.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`], with the names that there are.
    pub fn position(&self, name: &str) -> Result<usize, ArrayError> {
        self.fields.iter().position(|field| field.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.fields.iter().map(Field::name).collect();
            ArrayError::NoColumn { name: name.to_owned(), columns: names.join(", ") }
        })
    }

    /// The columns at these places, sharing their buffers.
    pub(crate) fn select(&self, places: &[usize]) -> Self {
        Self {
            fields: places.iter().map(|&at| self.fields[at].clone()).collect(),
            columns: places.iter().map(|&at| self.columns[at].clone()).collect(),
            len: self.len,
        }
    }

    /// Adds the nodes of all columns, each under its name.
    pub(crate) fn take_columns_apart(&self, parts: &mut Parts<'_>) {
        for (field, column) in self.fields.iter().zip(&*self.columns) {
            parts.name_next(field.name(), field.logical().encode());
            column.take_apart(parts);
        }
    }

    /// Reads the columns below `node`.
    pub(crate) fn assemble_columns(
        node: &Node,
        len: usize,
        from: &mut Assembly<'_, '_>,
    ) -> Result<Self, ArrayError> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for _ in 0..node.children {
            let child = from.peek()?;
            fields.push(Field::decode(child.name, child.logical)?);
            columns.push(from.child(Column::assemble)?);
        }
        Self::checked(fields, columns, len)
    }

    fn each(&self, make: impl Fn(&Column) -> Result<Column>, len: usize) -> Result<Self> {
        let columns = self.columns.iter().map(make).collect::<Result<_>>()?;
        Ok(Self { fields: Arc::clone(&self.fields), columns, len })
    }
}

impl Layout for Struct {
    type Item<'a> = Row;

    const TAG: u64 = type_tag("struct");

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Option<Row> {
        (index < self.len).then(|| Row { of: self.clone(), index })
    }

    fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        let columns = self.columns.iter().map(|column| column.slice(range.clone())).collect();
        Self { fields: Arc::clone(&self.fields), columns, len: range.len() }
    }

    fn order(a: &Row, b: &Row) -> Ordering {
        a.order(b)
    }

    fn hash_item(item: &Row, state: &mut impl Hasher) {
        item.values().for_each(|value| value.hash_into(state));
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let children = u32::try_from(self.columns.len()).expect("fewer columns than sections");
        parts.node(Node { children, ..Node::new(Kind::Struct, self.len) });
        self.take_columns_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let children = from.peek()?.children;
        let (node, len) = from.expect(Kind::Struct, children)?;
        Self::assemble_columns(&node, len, from)
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.columns.iter().for_each(|column| column.visit(visit));
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        let mut columns = self.columns.to_vec();
        let replaced = columns.iter_mut().try_for_each(|column| column.replace(replace));
        self.columns = columns.into();
        replaced
    }
}

impl Rearrange for Struct {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let meter = std::cell::RefCell::new(meter);
        self.each(|column| column.take(slots, &mut **meter.borrow_mut()), slots.len())
    }

    /// # Errors
    /// Also [`ArrayError::Fields`] for structs of other columns than the first has, or in another order.
    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let Some(first) = arrays.first() else {
            return Self::new([]).map_err(ArrayError::of::<Self>);
        };
        let names = |of: &Self| of.fields.iter().map(Field::name).collect::<Vec<_>>().join(", ");
        if let Some(other) = arrays.iter().find(|array| names(array) != names(first)) {
            let error = ArrayError::Fields { expected: names(first), found: names(other) };
            return Err(error.of::<Self>());
        }
        let mut columns = Vec::with_capacity(first.columns.len());
        for at in 0..first.columns.len() {
            let parts: Vec<&Column> = arrays.iter().map(|array| &array.columns[at]).collect();
            columns.push(Column::concat(&parts, meter)?);
        }
        let len = arrays.iter().map(|array| array.len).sum();
        Ok(Self { fields: Arc::clone(&first.fields), columns: columns.into(), len })
    }
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.fields == other.fields && self.columns == other.columns
    }
}

impl fmt::Debug for Struct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

/// One slot of several columns.
#[derive(Clone)]
pub struct Row {
    of: Struct,
    index: usize,
}

impl Row {
    /// Its value in the column of that name.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn get(&self, name: &str) -> Result<Value<'_>, ArrayError> {
        let at = self.of.position(name)?;
        Ok(self.value(at))
    }

    /// Its values, column by column.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Value<'_>> + '_ {
        (0..self.of.columns.len()).map(|at| self.value(at))
    }

    fn value(&self, at: usize) -> Value<'_> {
        self.of.columns[at].get(self.index).unwrap_or(Value::Null)
    }

    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let mut orders = self.values().zip(other.values()).map(|(a, b)| a.order(&b));
        let differing = orders.find(|order| order.is_ne());
        differing.unwrap_or_else(|| self.of.columns.len().cmp(&other.of.columns.len()))
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.of.fields.iter().map(Field::name).zip(self.values())).finish()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.of.fields.iter().map(Field::name).zip(self.values());
        let named: Vec<String> = named.map(|(name, value)| format!("{name}: {value}")).collect();
        write!(f, "{{{}}}", named.join(", "))
    }
}
