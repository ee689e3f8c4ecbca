//! How the pool keeps the tables: as columns, or as archives of rows. All that is different between the two stands behind these traits; the job is one.

use clap::ValueEnum;
use mempool_core::{Codec, Pool};

use super::{
    Query,
    customer::{Customer, CustomerColumns, CustomerRow},
    job::{Chunk, Job},
    lineitem::{LineColumns, LineItem, Row},
    lines::Lines,
    order::{Order, OrderColumns, OrderRow},
    partition::Amount,
    plan::GroupPlan,
    q1::PricingSummary,
    q3,
    q6::RevenueChange,
    q13,
    sort::Key,
    tables::Joined,
};
use crate::error::CliError;

/// The layouts that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// Each column of a chunk as an array of its own, with the codec `Raw`
    Columns,
    /// Each chunk as an archive of its rows, with the codec `Rkyv`
    Rows,
}

impl Layout {
    /// The word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::Rows => "rows",
        }
    }

    /// Whether the query can be answered.
    pub(crate) fn answers(self, query: Query) -> bool {
        self == Self::Columns || !matches!(query, Query::Shipping | Query::Distribution)
    }
}

/// What the tables' chunks are in one layout.
pub(crate) trait Tables: Sized {
    /// Bytes of one line in the pool, on average.
    const LINE_BYTES: u64;

    type Lines: LineChunk;
    type Orders: OrderChunk;
    type Customers: CustomerChunk;

    /// Answers query 3, in a layout that can.
    ///
    /// # Errors
    /// The pool fails, or the job is stopped.
    fn shipping(
        _job: &Job<'_>,
        _lines: &Lines<Self::Lines>,
        _tables: &Joined<Self>,
        _plan: GroupPlan,
    ) -> Result<Option<q3::Found>, CliError> {
        Ok(None)
    }

    /// Answers query 13, in a layout that can.
    ///
    /// # Errors
    /// The pool fails, or the job is stopped.
    fn distribution(
        _job: &Job<'_>,
        _tables: &Joined<Self>,
        _plan: GroupPlan,
    ) -> Result<Option<q13::Found>, CliError> {
        Ok(None)
    }
}

/// Tables as columns.
pub(crate) struct Columns;

impl Tables for Columns {
    // Seven numbers of 8 bytes, four of 4, four codes of one, and a comment of 26.5 on average behind an offset of 4.
    const LINE_BYTES: u64 = 107;

    type Lines = LineColumns;
    type Orders = OrderColumns;
    type Customers = CustomerColumns;

    fn shipping(
        job: &Job<'_>,
        lines: &Lines<LineColumns>,
        tables: &Joined<Self>,
        plan: GroupPlan,
    ) -> Result<Option<q3::Found>, CliError> {
        q3::answer(job, lines, tables, plan).map(Some)
    }

    fn distribution(
        job: &Job<'_>,
        tables: &Joined<Self>,
        plan: GroupPlan,
    ) -> Result<Option<q13::Found>, CliError> {
        q13::answer(job, tables, plan).map(Some)
    }
}

/// Tables as archives of rows.
pub(crate) struct Rows;

impl Tables for Rows {
    // 96 fixed and two strings out of line.
    const LINE_BYTES: u64 = 140;

    type Lines = Vec<LineItem>;
    type Orders = Vec<Order>;
    type Customers = Vec<Customer>;
}

/// Some rows of a table as one value of the pool.
pub(crate) trait RowChunk: Sized + Send + Sync + 'static {
    type Codec: Codec<Self>;
    /// A row that borrows its strings.
    type Row<'a>;
    type Gather: Gather<Self>;

    /// The pool's front for such values.
    fn pool<'a>(job: &'a Job<'_>) -> &'a Pool<Self::Codec>;
}

/// What a `get` of a chunk shows.
pub(crate) type View<T> = <<T as RowChunk>::Codec as Codec<T>>::View;

/// Rows on their way to become a chunk, inside the memory limit.
pub(crate) trait Gather<T: RowChunk>: Sized {
    /// No rows yet; there will be at most so many.
    ///
    /// # Errors
    /// The pool has no room for them.
    fn start(job: &Job<'_>, rows: usize) -> Result<Self, CliError>;

    /// Adds a row.
    ///
    /// # Errors
    /// The pool has no room for it.
    fn push(&mut self, row: T::Row<'_>) -> Result<(), CliError>;

    /// Sets all rows as one value.
    ///
    /// # Errors
    /// The pool fails.
    fn set(self, job: &Job<'_>) -> Result<Chunk<T>, CliError>;
}

/// Lines, as queries and the sort read them.
pub(crate) trait LineChunk: for<'a> RowChunk<Row<'a> = Row<'a>> {
    /// How many rows there are.
    fn rows(view: &View<Self>) -> usize;

    /// The row at `index`; nothing behind the last.
    fn row(view: &View<Self>, index: usize) -> Option<Row<'_>>;

    /// What that row is sorted by.
    fn key(view: &View<Self>, index: usize) -> Option<Key>;

    /// Counts all rows for query 1.
    fn price(view: &View<Self>, summary: &mut PricingSummary);

    /// Counts all rows for query 6.
    fn discount(view: &View<Self>, change: &mut RevenueChange);

    /// The units on each line, by order.
    fn quantities(view: &View<Self>) -> impl Iterator<Item = Amount>;
}

/// Orders, as query 18 reads them.
pub(crate) trait OrderChunk: for<'a> RowChunk<Row<'a> = OrderRow<'a>> {
    /// All of them.
    fn orders(view: &View<Self>) -> impl Iterator<Item = Order>;
}

/// Customers, as query 18 reads them.
pub(crate) trait CustomerChunk: for<'a> RowChunk<Row<'a> = CustomerRow<'a>> {
    /// The key and the name of each.
    fn names(view: &View<Self>) -> impl Iterator<Item = (i64, &str)>;
}
