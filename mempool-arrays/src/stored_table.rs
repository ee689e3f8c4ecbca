//! `StoredTable`: a table whose columns are values of their own in a pool.
//!
//! A selection of its columns refers to the same values: each is charged once and spilled once, and goes when the last
//! table that has it goes. Only the columns that somebody reads come back from disk.
//!
//! Itself a value, too; its one section at rest is
//!
//! ```text
//! offset  bytes
//!      0      8  rows
//!      8      8  columns of the index
//!     16      8  n, the number of columns
//!     24   16·n  columns: logical type (8), which of the value's references it is (4), bytes of its name (4)
//! 24+16·n     …  names, UTF-8, end to end
//! ```

use std::fmt;

use mempool_core::{
    Codec, CodecError, CodecName, DRef, Error, ErrorKind, Format, Pinned, Pool, Rejected, Result,
    Room, Sink, Source, type_tag,
};

use crate::column::Column;
use crate::error::{ArrayError, NAME};
use crate::field::{Field, Logical};
use crate::raw::Raw;
use crate::table::Table;

/// A table whose columns are values of their own in a pool.
///
/// *Ownership*: a counted reference to each column; clone and [`select`](Self::select) count them once more and touch no
/// data. As a value of a pool it keeps its columns alive as long as it is there, in memory and on disk.
///
/// ```
/// use mempool_arrays::{Column, Raw, StoredTable, Table, Values};
/// use mempool_core::PoolOptions;
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
/// let days = Column::of(&Values::from(vec![3_i32, 1, 2]));
/// let prices = Column::of(&Values::from(vec![30_i64, 10, 20]));
/// let table = Table::new([("day", days), ("price", prices)])?.sort_by(&["day"])?;
///
/// let stored = StoredTable::set(&pool, table)?;
/// let prices = stored.select(&["price"])?;
/// drop(stored);
/// let prices: Values<i64> = prices.column(&pool, "price")?.to()?;
/// assert_eq!(prices[..], [10, 20, 30]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StoredTable {
    columns: Box<[StoredColumn]>,
    rows: usize,
    index: usize,
}

#[derive(Clone)]
struct StoredColumn {
    name: Box<str>,
    logical: Logical,
    reference: DRef<Column>,
}

/// Bytes in front of the columns.
const HEAD_BYTES: usize = 24;
/// Bytes of one column.
const COLUMN_BYTES: usize = 16;

impl StoredTable {
    /// Sets each column of `table` as a value of its own.
    ///
    /// # Errors
    /// As [`Pool::set`]; the table comes back, and no column stays in the pool.
    pub fn set(pool: &Pool<Raw>, table: Table) -> Result<Self, Rejected<Table>> {
        let set = |(field, column): (&Field, &Column)| {
            let reference = pool.set(column.clone()).map_err(|rejected| rejected.error)?;
            Ok(StoredColumn { name: field.name().into(), logical: field.logical(), reference })
        };
        let columns = table.fields().iter().zip(table.columns()).map(set).collect::<Result<_>>();
        match columns {
            Ok(columns) => Ok(Self { columns, rows: table.rows(), index: table.index().len() }),
            Err(error) => Err(Rejected::new(table, error)),
        }
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names and logical types of the columns, the index first.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field> + '_ {
        self.columns.iter().map(|column| Field::new(&column.name).with_logical(column.logical))
    }

    /// How many columns in front are the index.
    #[must_use]
    pub fn index_columns(&self) -> usize {
        self.index
    }

    /// Some of its columns, in this order: the same values. It keeps as much of the index as comes first.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn select(&self, names: &[&str]) -> Result<Self> {
        let places: Vec<usize> =
            names.iter().map(|name| self.place(name)).collect::<Result<_>>()?;
        let index =
            places.iter().enumerate().take_while(|&(to, &from)| to == from && to < self.index);
        let index = index.count();
        let columns = places.iter().map(|&at| self.columns[at].clone()).collect();
        Ok(Self { columns, rows: self.rows, index })
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| &*column.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
            let error = ArrayError::NoColumn { name: name.to_owned(), columns: names.join(", ") };
            error.of::<Self>()
        })
    }

    /// The value of the column of that name.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`].
    pub fn reference(&self, name: &str) -> Result<&DRef<Column>> {
        Ok(&self.columns[self.place(name)?].reference)
    }

    /// The column of that name, pinned.
    ///
    /// # Errors
    /// [`ArrayError::NoColumn`], and as [`Pool::get`].
    pub fn column<'a>(&'a self, pool: &Pool<Raw>, name: &str) -> Result<Pinned<'a, Raw, Column>> {
        pool.get(self.reference(name)?)
    }

    /// All of its columns as one table. What is kept of it counts as a pin of each column.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub fn get(&self, pool: &Pool<Raw>) -> Result<Table> {
        let columns = self
            .fields()
            .zip(&self.columns)
            .map(|(field, column)| Ok((field, (*pool.get(&column.reference)?).clone())));
        let table = Table::new(columns.collect::<Result<Vec<_>>>()?)?;
        Ok(table.with_index(self.index))
    }

    /// What it has allocated.
    fn heap_bytes(&self) -> u64 {
        let names: usize = self.columns.iter().map(|column| column.name.len()).sum();
        (size_of_val(&*self.columns) + names) as u64
    }

    fn read(bytes: &[u8], source: &Source<'_>) -> Result<Self> {
        let wrong = |what: &str| -> Error {
            CodecError::damage::<Self>(NAME, ArrayError::description(what)).into()
        };
        let number = |at: usize| {
            let bytes = bytes.get(at..at.checked_add(8)?)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let length = |at: usize| number(at).and_then(|number| usize::try_from(number).ok());
        let head = length(0).zip(length(8)).zip(length(16));
        let ((rows, index), count) =
            head.ok_or_else(|| wrong("a stored table without its head"))?;
        let names = count.checked_mul(COLUMN_BYTES).and_then(|at| at.checked_add(HEAD_BYTES));
        let mut name_at =
            names.filter(|&at| at <= bytes.len() && index <= count).ok_or_else(|| {
                wrong("a stored table of more columns than its bytes, or more of index than it has")
            })?;
        // It grows with the references that are there, and not with what is claimed.
        let mut columns = Vec::new();
        for at in (0..count).map(|column| HEAD_BYTES + COLUMN_BYTES * column) {
            let logical = number(at).and_then(Logical::decode);
            let logical = logical.ok_or_else(|| wrong("a column of unknown logical type"))?;
            let (reference, name_bytes) = match number(at + 8).map(u64::to_le_bytes) {
                Some([a, b, c, d, e, f, g, h]) => {
                    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
                }
                None => return Err(wrong("a column that is cut")),
            };
            let end = usize::try_from(name_bytes).ok().and_then(|len| name_at.checked_add(len));
            let name = end.and_then(|end| bytes.get(name_at..end));
            let name = name.and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| wrong("the name of a column"))?;
            name_at += name.len();
            let reference = source.reference(reference)?;
            columns.push(StoredColumn { name: name.into(), logical, reference });
        }
        match name_at == bytes.len() {
            true => Ok(Self { columns: columns.into(), rows, index }),
            false => Err(wrong("bytes behind the names of a stored table")),
        }
    }
}

impl Codec<StoredTable> for Raw {
    type Resident = StoredTable;
    type View = StoredTable;

    fn format(&self) -> Format {
        let type_tag = type_tag("stored table");
        Format { codec: CodecName::new(NAME), type_tag, pointer_width: 0 }
    }

    fn size_hint(&self, value: &StoredTable) -> Result<u64> {
        Ok(value.heap_bytes())
    }

    fn admit(
        &self,
        value: StoredTable,
        room: &mut Room,
    ) -> Result<StoredTable, Rejected<StoredTable>> {
        let bytes = value.heap_bytes();
        match room.grow(bytes.saturating_sub(room.reserved_bytes())) {
            Ok(()) => {
                room.release_unused(bytes);
                Ok(value)
            }
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a StoredTable) -> &'a StoredTable {
        resident
    }

    fn mmwrite(&self, resident: &StoredTable, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        let count = resident.columns.len();
        for number in [resident.rows, resident.index, count] {
            sink.write(&(number as u64).to_le_bytes())?;
        }
        for column in &resident.columns {
            let reference = sink.reference(&column.reference)?;
            let name_bytes = u32::try_from(column.name.len())
                .map_err(|error| CodecError::new::<StoredTable>(ErrorKind::Limit, NAME, error))?;
            sink.write(&column.logical.encode().to_le_bytes())?;
            sink.write(&reference.to_le_bytes())?;
            sink.write(&name_bytes.to_le_bytes())?;
        }
        resident.columns.iter().try_for_each(|column| sink.write(column.name.as_bytes()))
    }

    fn mmwrite_value(&self, value: &StoredTable, sink: &mut Sink<'_>) -> Result<()> {
        Codec::<StoredTable>::mmwrite(self, value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<StoredTable> {
        let bytes = source.section()?;
        let table = StoredTable::read(&bytes, source)?;
        let heap_bytes = table.heap_bytes();
        room.grow(heap_bytes.saturating_sub(room.reserved_bytes()))?;
        room.release_unused(heap_bytes);
        Ok(table)
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns.iter().map(|column| (&column.name, &column.reference));
        f.debug_map().entries(columns).finish()
    }
}
