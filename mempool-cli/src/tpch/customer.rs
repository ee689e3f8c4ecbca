//! The record of a customer: the columns of `customer` that the queries read.

use std::fmt::Write;

use mempool_arrays::{Pooled, Strings, Values};
use rkyv::{Archive, Archived, Serialize};
use tpchgen::generators;

use super::{
    columns::columns,
    layout::{CustomerChunk, View},
    rows::ArchivedRow,
};

/// What query 18 reads of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Customer {
    pub(crate) key: i64,
    pub(crate) name: String,
}

/// One row of `customer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CustomerRow<'a> {
    pub(crate) key: i64,
    pub(crate) segment: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> CustomerRow<'a> {
    /// The generator's customer, whose name is written into `name`.
    pub(crate) fn of(customer: &generators::Customer<'a>, name: &'a mut String) -> Self {
        name.clear();
        // A string takes all that is written to it.
        let _ = write!(name, "{}", customer.c_name);
        Self { key: customer.c_custkey, segment: customer.c_mktsegment, name }
    }
}

impl From<CustomerRow<'_>> for Customer {
    fn from(row: CustomerRow<'_>) -> Self {
        Self { key: row.key, name: row.name.to_owned() }
    }
}

impl ArchivedRow for Customer {
    type Row<'a> = CustomerRow<'a>;

    // `Customer#` and the 19 digits of the largest key.
    const HEAP_BYTES_MAX: usize = size_of::<Self>() + 9 + 19;

    /// Names are too long to stand in the fixed part.
    fn archived_bytes(&self) -> u64 {
        (size_of::<Archived<Self>>() + self.name.len()) as u64
    }
}

impl CustomerChunk for Vec<Customer> {
    fn names(view: &View<Self>) -> impl Iterator<Item = (i64, &str)> {
        view.iter().map(|customer| (customer.key.to_native(), &*customer.name))
    }
}

columns! {
    /// Customers as columns.
    CustomerColumns, grown as CustomersGrowing, of CustomerRow {
        key: Values<i64>,
        segment: Pooled<Strings<i32>>,
        name: Strings<i32>,
    }
}

impl CustomerChunk for CustomerColumns {
    fn names(view: &Self) -> impl Iterator<Item = (i64, &str)> {
        view.key.iter().copied().zip(view.name.iter())
    }
}
