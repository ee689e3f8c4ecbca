//! Columns that grow field by field, inside the memory limit, to the types that the first pass has found.

use mempool_arrays::{
    Bits, Builder, Column, Layout, Meter, Nullable, NullableBuilder, Pooled, Strings, Table, Values,
};
use mempool_core::{Reservation, Result};

use super::{
    guess::{ColumnType, Kind},
    parse,
};

/// What columns allocate, reserved in a pool before they do.
pub(crate) struct Counted(pub(crate) Reservation);

impl Meter for Counted {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.0.grow(bytes)
    }

    fn give_back(&mut self, bytes: u64) {
        self.0.shrink(bytes);
    }
}

/// One column under way. Slots may be missing in all of them; whether they are is known at the end.
enum Growing {
    Truth(NullableBuilder<Bits>),
    Integer(NullableBuilder<Values<i64>>),
    Float(NullableBuilder<Values<f64>>),
    Date(NullableBuilder<Values<i32>>),
    Moment(NullableBuilder<Values<i64>>),
    Text(NullableBuilder<Strings>),
    Pooled(NullableBuilder<Pooled<Strings>>),
}

/// The columns of one table under way.
pub(crate) struct Columns {
    columns: Vec<(ColumnType, Growing)>,
    rows: usize,
}

impl Columns {
    /// No rows yet, of columns of these types.
    pub(crate) fn new(types: &[ColumnType]) -> Self {
        let growing = |of: &ColumnType| {
            let growing = match of.kind {
                Kind::Truth => Growing::Truth(NullableBuilder::default()),
                Kind::Integer => Growing::Integer(NullableBuilder::default()),
                Kind::Float => Growing::Float(NullableBuilder::default()),
                Kind::Date => Growing::Date(NullableBuilder::default()),
                Kind::Moment { .. } => Growing::Moment(NullableBuilder::default()),
                Kind::Text => Growing::Text(NullableBuilder::default()),
                Kind::Pooled => Growing::Pooled(NullableBuilder::default()),
            };
            (*of, growing)
        };
        Self { columns: types.iter().map(growing).collect(), rows: 0 }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row. Answers whether each field is of the type of its column; the row is not whole where one is not.
    ///
    /// # Errors
    /// The pool has no room.
    pub(crate) fn push<'a>(
        &mut self,
        fields: impl Iterator<Item = Option<&'a str>>,
        room: &mut Counted,
    ) -> Result<bool> {
        for ((of, column), field) in self.columns.iter_mut().zip(fields) {
            let fits = field.is_some() || of.nullable;
            if !fits || !column.push(of.kind, field, room)? {
                return Ok(false);
            }
        }
        self.rows += 1;
        Ok(true)
    }

    /// The table, in the order of its rows.
    ///
    /// # Errors
    /// Two columns have one name.
    pub(crate) fn finish(self, names: &[String]) -> Result<Table> {
        let columns = names.iter().zip(self.columns);
        Table::new(columns.map(|(name, (of, column))| (of.field(name), column.finish(of.nullable))))
    }
}

impl Growing {
    /// Adds a field; answers whether it is of the type.
    fn push(&mut self, kind: Kind, field: Option<&str>, room: &mut Counted) -> Result<bool> {
        match self {
            Self::Truth(builder) => push(builder, field, parse::truth, room),
            Self::Integer(builder) => push(builder, field, parse::integer, room),
            Self::Float(builder) => push(builder, field, parse::float, room),
            Self::Date(builder) => push(builder, field, parse::date, room),
            Self::Moment(builder) => {
                let moment = |text: &str| {
                    let (micros, utc) = parse::moment(text)?;
                    (kind == Kind::Moment { utc }).then_some(micros)
                };
                push(builder, field, moment, room)
            }
            Self::Text(builder) => builder.push_metered(field, room).map(|()| true),
            Self::Pooled(builder) => builder.push_metered(field, room).map(|()| true),
        }
    }

    fn finish(self, nullable: bool) -> Column {
        match self {
            Self::Truth(builder) => column(builder.finish(), nullable),
            Self::Integer(builder) | Self::Moment(builder) => column(builder.finish(), nullable),
            Self::Float(builder) => column(builder.finish(), nullable),
            Self::Date(builder) => column(builder.finish(), nullable),
            Self::Text(builder) => column(builder.finish(), nullable),
            Self::Pooled(builder) => column(builder.finish(), nullable),
        }
    }
}

/// Adds what `parse` makes of a field.
fn push<T, A>(
    builder: &mut NullableBuilder<A>,
    field: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    room: &mut Counted,
) -> Result<bool>
where
    A: mempool_arrays::Buildable + for<'a> Layout<Item<'a> = T>,
{
    let value = match field.map(parse) {
        Some(None) => return Ok(false),
        parsed => parsed.flatten(),
    };
    builder.push_metered(value, room).map(|()| true)
}

/// A column without room for missing slots where the whole file misses none.
fn column<A: Layout>(array: Nullable<A>, nullable: bool) -> Column {
    if nullable { Column::of(&array) } else { Column::of(array.values()) }
}

#[cfg(test)]
mod tests {
    use mempool_arrays::Raw;
    use mempool_core::{Pool, PoolOptions};

    use super::*;

    fn pool() -> Pool<Raw> {
        PoolOptions::new().memory_limit(1 << 20).open(Raw)
    }

    #[test]
    fn each_kind_has_its_array() {
        let pool = pool();
        let mut room = Counted(pool.reserve(0).unwrap());
        let kinds = [
            (Kind::Truth, "true", "bits"),
            (Kind::Integer, "7", "i64"),
            (Kind::Float, "0.5", "f64"),
            (Kind::Date, "1970-01-02", "i32"),
            (Kind::Moment { utc: true }, "1970-01-02T00:00:00Z", "i64"),
            (Kind::Text, "x", "strings"),
            (Kind::Pooled, "y", "pooled strings"),
        ];
        let types = kinds.map(|(kind, ..)| ColumnType { kind, nullable: false });
        let mut columns = Columns::new(&types);
        let fields = kinds.map(|(_, text, _)| Some(text));
        assert!(columns.push(fields.into_iter(), &mut room).unwrap());
        assert!(room.0.bytes() > 0);
        let names: Vec<String> = (0..kinds.len()).map(|n| n.to_string()).collect();
        let table = columns.finish(&names).unwrap();
        assert_eq!(table.rows(), 1);
        for (column, (.., text)) in table.columns().iter().zip(kinds) {
            assert!(column.type_text().contains(text), "{} and {text}", column.type_text());
        }
    }

    #[test]
    fn a_field_of_another_type_is_told() {
        let pool = pool();
        let mut room = Counted(pool.reserve(0).unwrap());
        let mut columns = Columns::new(&[ColumnType { kind: Kind::Integer, nullable: false }]);
        for wrong in [None, Some("x")] {
            assert!(!columns.push([wrong].into_iter(), &mut room).unwrap(), "{wrong:?}");
        }
        assert_eq!(columns.rows(), 0);
    }
}
