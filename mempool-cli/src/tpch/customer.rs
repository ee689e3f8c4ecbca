//! The record of a customer: the two columns of `customer` that the query reads.

use rkyv::{Archive, Serialize};
use tpchgen::generators;

/// One row of `customer`.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Customer {
    pub(crate) key: i64,
    pub(crate) name: String,
}

impl From<generators::Customer<'_>> for Customer {
    fn from(customer: generators::Customer<'_>) -> Self {
        Self { key: customer.c_custkey, name: customer.c_name.to_string() }
    }
}

impl Customer {
    /// The most heap bytes that one customer takes in a `Vec<Customer>`: `Customer#` and the 19 digits of the largest key. Formatting may have doubled it.
    pub(crate) const HEAP_BYTES_MAX: usize = size_of::<Self>() + 2 * (9 + 19);
}
