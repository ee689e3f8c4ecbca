//! Columns: a table's chunk as one array of arrays, and how rows are gathered into it. Knows no table: `columns!` makes the type of one.
//!
//! ```text
//! LineColumns   order_key  ship_date  return_flag …      a struct of typed arrays, one a column
//!                  │           │          │
//! at rest          i64…        i32…       codes, dictionary     each buffer a section of the frame; a query maps those it reads
//! ```

use mempool_arrays::{ArrayError, Assembly, Layout, Meter, Raw, pack};
use mempool_core::{Reservation, Result};

use super::{
    job::{Chunk, Job},
    layout::{Gather, RowChunk},
};
use crate::error::CliError;

/// The columns of a table while rows are put into them.
pub(crate) trait Growing: Default {
    type Columns: Layout;

    /// Appends `row`; after an error the columns may be of several lengths, and are of no use.
    ///
    /// # Errors
    /// What `meter` says, or that offsets cannot count a column's bytes.
    fn push(
        &mut self,
        row: <Self::Columns as Layout>::Item<'_>,
        meter: &mut dyn Meter,
    ) -> Result<()>;

    /// All columns.
    fn finish(self) -> Self::Columns;
}

/// Rows that become columns, one by one; what they take is reserved before it is allocated.
pub(crate) struct GatherColumns<G> {
    // Before `room`: memory is freed before its reservation is paid back.
    growing: G,
    room: Room,
}

/// A reservation of the pool's, to which a builder reports.
struct Room(Reservation);

impl Meter for Room {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.0.grow(bytes)
    }

    fn give_back(&mut self, bytes: u64) {
        self.0.shrink(bytes);
    }
}

impl<A, G> Gather<A> for GatherColumns<G>
where
    A: Layout + for<'a> RowChunk<Codec = Raw, Row<'a> = <A as Layout>::Item<'a>>,
    G: Growing<Columns = A>,
{
    fn start(job: &Job<'_>, _rows: usize) -> Result<Self, CliError> {
        Ok(Self { growing: G::default(), room: Room(job.pool.reserve(0)?) })
    }

    fn push(&mut self, row: A::Row<'_>) -> Result<(), CliError> {
        Ok(self.growing.push(row, &mut self.room)?)
    }

    fn set(self, job: &Job<'_>) -> Result<Chunk<A>, CliError> {
        let Self { growing, room } = self;
        // What it grew in is larger, and its many small blocks would stay with the allocator when the chunk is evicted.
        let mut bytes = 0;
        let columns = pack(growing.finish(), |all| {
            bytes = all;
            job.pool.reserve(all)
        })?;
        // What it was grown in is gone.
        drop(room);
        let rows = columns.len() as u64;
        let reference = job.columns.set(columns).map_err(|rejected| rejected.error)?;
        Ok(Chunk { reference, rows, bytes })
    }
}

/// Reads the column `name`, which must have `slots` of them.
pub(crate) fn column<A: Layout>(
    from: &mut Assembly<'_, '_>,
    name: &str,
    slots: usize,
) -> Result<A, ArrayError> {
    let column = from.child(A::assemble)?;
    match column.len() == slots {
        true => Ok(column),
        false => Err(ArrayError::Slots {
            part: name.to_owned(),
            expected: slots as u64,
            found: column.len() as u64,
        }),
    }
}

/// Makes the type of a table's chunk, with a typed array for each column, and of what it grows from. A slot of it shows `$row`, which has the same fields. All that is
/// done to it is done to each column; only that they have the same length is known here.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $table:ident, grown as $growing:ident, of $row:ident {
            $first:ident: $first_type:ty,
            $($column:ident: $type:ty,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $table {
            pub(crate) $first: $first_type,
            $(pub(crate) $column: $type,)+
        }

        impl $table {
            const COLUMNS: u32 = 1 $(+ { let _ = stringify!($column); 1 })+;
        }

        impl mempool_arrays::Layout for $table {
            type Item<'a> = $row<'a>;

            const TAG: u64 = {
                let tag = mempool_arrays::tag_over(stringify!($first), <$first_type>::TAG);
                $(let tag = tag ^ mempool_arrays::tag_over(stringify!($column), <$type>::TAG);)+
                mempool_arrays::tag_over(stringify!($table), tag)
            };

            fn len(&self) -> usize {
                mempool_arrays::Layout::len(&self.$first)
            }

            #[inline]
            fn get(&self, index: usize) -> Option<$row<'_>> {
                Some($row {
                    $first: mempool_arrays::Layout::get(&self.$first, index)?,
                    $($column: mempool_arrays::Layout::get(&self.$column, index)?,)+
                })
            }

            fn slice(&self, range: std::ops::Range<usize>) -> Self {
                Self {
                    $first: self.$first.slice(range.clone()),
                    $($column: self.$column.slice(range.clone()),)+
                }
            }

            fn order(a: &$row<'_>, b: &$row<'_>) -> std::cmp::Ordering {
                <$first_type>::order(&a.$first, &b.$first)
                    $(.then_with(|| <$type>::order(&a.$column, &b.$column)))+
            }

            fn hash_item(row: &$row<'_>, state: &mut impl std::hash::Hasher) {
                <$first_type>::hash_item(&row.$first, state);
                $(<$type>::hash_item(&row.$column, state);)+
            }

            fn take_apart(&self, parts: &mut mempool_arrays::Parts<'_>) {
                parts.group(mempool_arrays::Layout::len(self), Self::COLUMNS);
                parts.name_next(stringify!($first), 0);
                self.$first.take_apart(parts);
                $(
                    parts.name_next(stringify!($column), 0);
                    self.$column.take_apart(parts);
                )+
            }

            fn assemble(
                from: &mut mempool_arrays::Assembly<'_, '_>,
            ) -> Result<Self, mempool_arrays::ArrayError> {
                let slots = from.group(Self::COLUMNS)?;
                Ok(Self {
                    $first: crate::tpch::columns::column(from, stringify!($first), slots)?,
                    $($column: crate::tpch::columns::column(from, stringify!($column), slots)?,)+
                })
            }

            fn visit(&self, visit: &mut dyn FnMut(&mempool_core::Buffer)) {
                self.$first.visit(visit);
                $(self.$column.visit(visit);)+
            }

            fn replace(
                &mut self,
                replace: &mut mempool_arrays::Replacing<'_>,
            ) -> mempool_core::Result<()> {
                self.$first.replace(replace)?;
                $(self.$column.replace(replace)?;)+
                Ok(())
            }
        }

        /// A builder for each column.
        #[derive(Default)]
        pub(crate) struct $growing {
            $first: <$first_type as mempool_arrays::Buildable>::Builder,
            $($column: <$type as mempool_arrays::Buildable>::Builder,)+
        }

        impl crate::tpch::columns::Growing for $growing {
            type Columns = $table;

            #[inline]
            fn push(
                &mut self,
                row: $row<'_>,
                meter: &mut dyn mempool_arrays::Meter,
            ) -> mempool_core::Result<()> {
                use mempool_arrays::Builder;
                self.$first.push_metered(row.$first, meter)?;
                $(self.$column.push_metered(row.$column, meter)?;)+
                Ok(())
            }

            fn finish(self) -> $table {
                use mempool_arrays::Builder;
                $table {
                    $first: self.$first.finish(),
                    $($column: self.$column.finish(),)+
                }
            }
        }

        impl crate::tpch::layout::RowChunk for $table {
            type Codec = mempool_arrays::Raw;
            type Row<'a> = $row<'a>;
            type Gather = crate::tpch::columns::GatherColumns<$growing>;

            fn pool<'a>(
                job: &'a crate::tpch::job::Job<'_>,
            ) -> &'a mempool_core::Pool<mempool_arrays::Raw> {
                &job.columns
            }
        }
    };
}
pub(crate) use columns;

#[cfg(test)]
mod tests {
    use mempool_arrays::{Builder, Column, Layout, Strings, StringsBuilder};

    use crate::tpch::{
        customer::{CustomerColumns, CustomerRow},
        filling::Filling,
        job::tests::with_job,
        order::OrderColumns,
    };

    const SEGMENTS: [&str; 2] = ["BUILDING", "MACHINERY"];

    /// The customers 1 to `count`.
    fn customers(count: i64) -> CustomerColumns {
        CustomerColumns {
            key: (1..=count).collect(),
            segment: (1..=count).map(|key| SEGMENTS[usize::from(key % 2 == 0)]).collect(),
            name: names(count),
        }
    }

    fn names(count: i64) -> Strings<i32> {
        let mut names = StringsBuilder::default();
        (1..=count).for_each(|key| names.push(&format!("Customer#{key:09}")).unwrap());
        names.finish()
    }

    #[test]
    fn a_table_is_a_struct_of_its_columns() {
        let table = customers(5);
        let expected = CustomerRow { key: 4, segment: "MACHINERY", name: "Customer#000000004" };
        assert_eq!(table.get(3), Some(expected));
        assert_eq!(table.get(5), None);
        assert_eq!(table.slice(2..5).get(1), Some(expected));
        // As a column it shows the names, and comes back as it was; as another table it does not.
        let column = Column::of(&table);
        let fields = column.as_struct().unwrap().fields();
        assert_eq!(
            fields.iter().map(|field| field.name()).collect::<Vec<_>>(),
            ["key", "segment", "name"]
        );
        assert!(column.to::<CustomerColumns>().unwrap().iter().eq(table.iter()));
        assert!(column.to::<OrderColumns>().is_err());
        assert_ne!(CustomerColumns::TAG, OrderColumns::TAG);
    }

    #[test]
    fn rows_are_ordered_column_by_column() {
        let row = |key, name| CustomerRow { key, segment: "BUILDING", name };
        let order = |a, b| CustomerColumns::order(&a, &b);
        assert!(order(row(1, "b"), row(2, "a")).is_lt());
        assert!(order(row(1, "b"), row(1, "a")).is_gt());
        assert!(order(row(1, "a"), row(1, "a")).is_eq());
    }

    #[test]
    fn columns_of_several_lengths_are_no_table() {
        with_job(|job| {
            let broken = CustomerColumns { name: names(2), ..customers(3) };
            let broken = job.columns.set(broken).unwrap();
            job.columns.move_to_disk(&broken).unwrap();
            let error = job.columns.get(&broken).map(drop).unwrap_err();
            let text = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(text.as_deref(), Some("name has 2 slots where 3 are needed"), "{error}");
        });
    }

    #[test]
    fn what_is_gathered_is_counted_and_given_back() {
        with_job(|job| {
            let before = job.pool.stats().used_bytes;
            let mut filling = Filling::<CustomerColumns>::new(job, 100);
            for row in customers(50).iter() {
                filling.push(row).unwrap();
            }
            assert!(job.pool.stats().used_bytes > before + 50 * (8 + 18));
            filling.end().unwrap();
            let chunks = filling.chunks();
            assert_eq!((chunks.len(), chunks[0].rows), (1, 50));
            drop(chunks);
            job.pool.quiesce();
            assert_eq!(job.pool.stats().used_bytes, before);
        });
    }
}
