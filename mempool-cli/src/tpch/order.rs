//! The record of an order: the four columns of `orders` that the query reads.

use rkyv::{Archive, Serialize};
use tpchgen::generators;

/// One row of `orders`. Money is in cents, the date in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Order {
    pub(crate) key: i64,
    pub(crate) customer_key: i64,
    pub(crate) total_price_cents: i64,
    pub(crate) date: i32,
}

impl From<generators::Order<'_>> for Order {
    fn from(order: generators::Order<'_>) -> Self {
        Self {
            key: order.o_orderkey,
            customer_key: order.o_custkey,
            total_price_cents: order.o_totalprice.0,
            date: order.o_orderdate.to_unix_epoch(),
        }
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

#[cfg(test)]
mod tests {
    use crate::tpch::source::Source;

    #[test]
    fn the_first_order_is_the_benchmarks() {
        let source = Source::new(1.0);
        let order = source.orders(0, 1000).next().unwrap();
        // 1|36901|O|173665.47|1996-01-02|5-LOW|...
        assert_eq!((order.key, order.customer_key), (1, 36_901));
        assert_eq!((order.total_price_cents, order.date), (17_366_547, 9497));
    }
}
