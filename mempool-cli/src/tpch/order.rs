//! The record of an order: the columns of `orders` that the queries read.

use mempool_arrays::{Strings, Values};
use rkyv::{Archive, Serialize};
use tpchgen::generators;

use super::{
    columns::columns,
    layout::{OrderChunk, View},
    rows::ArchivedRow,
};

/// What query 18 reads of an order. Money is in cents, the date in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Order {
    pub(crate) key: i64,
    pub(crate) customer_key: i64,
    pub(crate) total_price_cents: i64,
    pub(crate) date: i32,
}

/// One row of `orders`; units as in [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderRow<'a> {
    pub(crate) key: i64,
    pub(crate) customer_key: i64,
    pub(crate) total_price_cents: i64,
    pub(crate) date: i32,
    pub(crate) ship_priority: i32,
    pub(crate) comment: &'a str,
}

impl<'a> From<generators::Order<'a>> for OrderRow<'a> {
    fn from(order: generators::Order<'a>) -> Self {
        Self {
            key: order.o_orderkey,
            customer_key: order.o_custkey,
            total_price_cents: order.o_totalprice.0,
            date: order.o_orderdate.to_unix_epoch(),
            ship_priority: order.o_shippriority,
            comment: order.o_comment,
        }
    }
}

impl From<OrderRow<'_>> for Order {
    fn from(row: OrderRow<'_>) -> Self {
        let OrderRow { key, customer_key, total_price_cents, date, .. } = row;
        Self { key, customer_key, total_price_cents, date }
    }
}

impl From<&ArchivedOrder> for Order {
    #[inline]
    fn from(order: &ArchivedOrder) -> Self {
        Self {
            key: order.key.to_native(),
            customer_key: order.customer_key.to_native(),
            total_price_cents: order.total_price_cents.to_native(),
            date: order.date.to_native(),
        }
    }
}

impl ArchivedRow for Order {
    type Row<'a> = OrderRow<'a>;

    const HEAP_BYTES_MAX: usize = size_of::<Self>();

    fn archived_bytes(&self) -> u64 {
        size_of::<ArchivedOrder>() as u64
    }
}

impl OrderChunk for Vec<Order> {
    fn orders(view: &View<Self>) -> impl Iterator<Item = Order> {
        view.iter().map(Order::from)
    }
}

columns! {
    /// Orders as columns; units as in [`Order`].
    OrderColumns, grown as OrdersGrowing, of OrderRow {
        key: Values<i64>,
        customer_key: Values<i64>,
        total_price_cents: Values<i64>,
        date: Values<i32>,
        ship_priority: Values<i32>,
        comment: Strings<i32>,
    }
}

impl OrderChunk for OrderColumns {
    fn orders(view: &Self) -> impl Iterator<Item = Order> {
        let keys = view.key.iter().zip(&view.customer_key);
        let rest = view.total_price_cents.iter().zip(&view.date);
        keys.zip(rest).map(|((&key, &customer_key), (&total_price_cents, &date))| Order {
            key,
            customer_key,
            total_price_cents,
            date,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tpch::source::Source;

    /// A row of which each column differs from the others.
    pub(crate) const ORDER: OrderRow<'_> = OrderRow {
        key: 1,
        customer_key: 2,
        total_price_cents: 3,
        date: 4,
        ship_priority: 0,
        comment: "a comment",
    };

    #[test]
    fn the_first_order_is_the_benchmarks() {
        let source = Source::new(1.0);
        let order = source.orders(0, 1000).next().unwrap();
        // 1|36901|O|173665.47|1996-01-02|5-LOW|...
        assert_eq!((order.key, order.customer_key), (1, 36_901));
        assert_eq!((order.total_price_cents, order.date), (17_366_547, 9497));
    }
}
