//! Query 3, the shipping priority: the ten orders of most revenue among those of the segment BUILDING that were placed before 1995-03-15 and had not all been
//! shipped by then. Exact integers. It goes over columns.
//!
//! ```text
//! orders  keys of the segment's customers, and the orders before the date, parted by customer    pool.builder
//! join    a partition's orders that are of one of its customers, parted by order                 pool.reserve, pool.builder
//! lines   revenue of the lines shipped after the date, parted by order                           pool.builder
//! group   a partition's revenue is summed by order, and the ten best orders are kept              pool.reserve
//! ```
//! The direct computation goes through orders and their lines side by side: no partition, no hash table, no pool.

use std::cmp::Reverse;

use bytemuck::{Pod, Zeroable};
use mempool_arrays::{Element, ElementType};

use super::{
    customer::CustomerColumns,
    groups::Groups,
    job::Job,
    layout::Columns,
    lineitem::{LineColumns, Row},
    lines::Lines,
    order::{OrderColumns, OrderRow},
    partition::{Amount, Partition, Partitioner, Record, each_chunk, rows_of, runs},
    plan::GroupPlan,
    source::Source,
    table::{Decimal, Table, date, two_decimals},
    tables::Joined,
};
use crate::{card::Phase, error::CliError};

/// 1995-03-15 in days since 1970-01-01 (the benchmark's validation parameter, as is the next).
const DATE: i32 = 9204;
const SEGMENT: &str = "BUILDING";

/// Rows of the answer.
const ROWS: usize = 10;

/// The answer: the best orders, most revenue first, then by date; where both are equal by key, so that there is one right order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShippingPriority {
    /// Sorted, and at most ten.
    rows: Vec<Unshipped>,
}

/// An order, and what its late lines come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unshipped {
    key: i64,
    /// Price less discount, in 1/10,000.
    revenue_e4: i64,
    date: i32,
    ship_priority: i32,
}

/// An order whose customer is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Placed {
    customer_key: i64,
    order: Open,
}

impl Element for Placed {
    const TYPE: ElementType = ElementType::record::<Self>("placed order");
}

impl Record for Placed {
    fn key(&self) -> i64 {
        self.customer_key
    }
}

/// An order whose lines are to be found.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Open {
    key: i64,
    date: i32,
    ship_priority: i32,
}

impl Element for Open {
    const TYPE: ElementType = ElementType::record::<Self>("open order");
}

impl Record for Open {
    fn key(&self) -> i64 {
        self.key
    }
}

/// What was found from the pool.
pub(crate) struct Found {
    pub(crate) answer: ShippingPriority,
    /// Orders that the ten were chosen from.
    pub(crate) groups: u64,
    pub(crate) phases: Vec<Phase>,
}

/// Answers the query from the pool.
///
/// # Errors
/// The pool fails, or the job is stopped.
pub(crate) fn answer(
    job: &Job<'_>,
    lines: &Lines<LineColumns>,
    tables: &Joined<Columns>,
    plan: GroupPlan,
) -> Result<Found, CliError> {
    let start = || Ok(Partitioner::new(job, plan));
    let (customers, found) =
        job.scan("3: customers", &tables.customers, start, |partitioner, _, customers| {
            keys_of_segment(customers)
                .try_for_each(|key| partitioner.add(Amount { key, amount: 0 }))
        })?;
    let customers = Partitioner::finish(customers)?;
    let mut phases = vec![found];
    let start = || Ok(Partitioner::new(job, plan));
    let (orders, found) =
        job.scan("3: orders", &tables.orders, start, |partitioner, _, orders| {
            placed_before(orders).try_for_each(|order| partitioner.add(order))
        })?;
    phases.push(found);
    let (orders, joined) = join(job, &customers, &Partitioner::finish(orders)?, plan)?;
    phases.push(joined);
    let start = || Ok(Partitioner::new(job, plan));
    let (late, found) = job.scan("3: lines", &lines.chunks, start, |partitioner, _, lines| {
        runs(shipped_after(lines)).try_for_each(|revenue| partitioner.add(revenue))
    })?;
    phases.push(found);
    let (answer, groups, grouped) = group(job, &orders, &Partitioner::finish(late)?)?;
    phases.push(grouped);
    Ok(Found { answer, groups, phases })
}

/// The customers of the segment.
fn keys_of_segment(customers: &CustomerColumns) -> impl Iterator<Item = i64> {
    let wanted = customers.segment.code_of(&SEGMENT);
    let codes = customers.segment.codes().iter();
    let keys = customers.key.iter().zip(codes);
    keys.filter(move |(_, code)| Some(*code) == wanted).map(|(key, _)| *key)
}

/// The orders before the date.
fn placed_before(orders: &OrderColumns) -> impl Iterator<Item = Placed> {
    let keys = orders.key.iter().zip(&orders.customer_key);
    let rows = keys.zip(orders.date.iter().zip(&orders.ship_priority));
    let before = rows.filter(|(_, (date, _))| **date < DATE);
    before.map(|((&key, &customer_key), (&date, &ship_priority))| Placed {
        customer_key,
        order: Open { key, date, ship_priority },
    })
}

/// Revenue of the lines shipped after the date, by order.
fn shipped_after(lines: &LineColumns) -> impl Iterator<Item = Amount> {
    let prices = lines.extended_price_cents.iter().zip(&lines.discount_percent);
    let rows = lines.order_key.iter().zip(&lines.ship_date).zip(prices);
    let after = rows.filter(|((_, ship_date), _)| **ship_date > DATE);
    after.map(|((&key, _), (price, discount))| Amount { key, amount: price * (100 - discount) })
}

/// Keeps the orders that are of one of the customers, and parts them by order.
fn join(
    job: &Job<'_>,
    customers: &[Partition<Amount>],
    orders: &[Partition<Placed>],
    plan: GroupPlan,
) -> Result<(Vec<Partition<Open>>, Phase), CliError> {
    let running = job.start("3: join", orders.iter().map(rows_of).sum());
    let pairs: Vec<_> = customers.iter().zip(orders).collect();
    let parts = job.on_threads(pairs.len(), |queue| {
        let mut partitioner = Partitioner::new(job, plan);
        let mut wanted = Groups::<()>::new(job.pool.reserve(0)?);
        while let Some((customers, orders)) = queue.take().and_then(|index| pairs.get(index)) {
            wanted.clear();
            each_chunk(job, customers, |customers| {
                let mut keys = customers.iter().map(|customer| customer.key);
                Ok(keys.try_for_each(|key| wanted.entry(key).map(|_| ()))?)
            })?;
            each_chunk(job, orders, |orders| {
                orders.iter().try_for_each(|placed| {
                    let is_wanted = wanted.get_mut(placed.customer_key).is_some();
                    if is_wanted { partitioner.add(placed.order) } else { Ok(()) }
                })
            })?;
            running.add(rows_of(orders), 0);
        }
        Ok(partitioner)
    })?;
    Ok((Partitioner::finish(parts)?, running.finish()))
}

/// Sums revenue by order, and keeps the best. Also says how many orders have any.
fn group(
    job: &Job<'_>,
    orders: &[Partition<Open>],
    late: &[Partition<Amount>],
) -> Result<(ShippingPriority, u64, Phase), CliError> {
    let running = job.start("3: group", late.iter().map(rows_of).sum());
    let pairs: Vec<_> = orders.iter().zip(late).collect();
    let parts = job.on_threads(pairs.len(), |queue| {
        let (mut best, mut count) = (ShippingPriority::default(), 0);
        let mut groups = Groups::<Unshipped>::new(job.pool.reserve(0)?);
        while let Some((orders, late)) = queue.take().and_then(|index| pairs.get(index)) {
            groups.clear();
            each_chunk(job, orders, |orders| {
                orders.iter().try_for_each(|&Open { key, date, ship_priority }| {
                    *groups.entry(key)? = Unshipped { key, revenue_e4: 0, date, ship_priority };
                    Ok(())
                })
            })?;
            each_chunk(job, late, |late| {
                for revenue in late {
                    if let Some(order) = groups.get_mut(revenue.key) {
                        order.revenue_e4 += revenue.amount;
                    }
                }
                Ok(())
            })?;
            running.add(rows_of(late), 0);
            // A line costs something, whatever the discount, so an order without revenue has no late line.
            for (_, order) in groups.iter().filter(|(_, order)| order.revenue_e4 > 0) {
                best.add(order);
                count += 1;
            }
        }
        Ok((best, count))
    })?;
    let mut best = ShippingPriority::default();
    let rows = parts.iter().flat_map(|(part, _)| part.rows.iter().copied());
    rows.for_each(|row| best.add(row));
    Ok((best, parts.iter().map(|(_, count)| count).sum(), running.finish()))
}

/// Answers the query from rows that never were in the pool.
///
/// # Errors
/// The pool has no room for the customers' keys, or the job is stopped.
pub(crate) fn direct(
    job: &Job<'_>,
    source: &Source,
) -> Result<(ShippingPriority, Phase), CliError> {
    let parts = job.plan.parts;
    let running = job.start("direct 3", Source::rows_expected(job.options.scale));
    let mut customers = job.gather(|part, keys| {
        source.customers(part, parts, |customer| {
            if customer.segment == SEGMENT {
                keys.push(customer.key, 0)?;
            }
            Ok(())
        })
    })?;
    customers.as_mut_slice().sort_unstable();
    let found = job.on_parts(|queue| {
        let mut best = ShippingPriority::default();
        while let Some(part) = queue.take() {
            let orders = source.orders(part, parts);
            let rows = best.add_in_order(orders, source.part(part, parts), |key| {
                customers.binary_search(&key).is_ok()
            });
            running.add(rows, 0);
        }
        Ok(best)
    })?;
    let mut best = ShippingPriority::default();
    found.iter().flat_map(|part| &part.rows).for_each(|row| best.add(*row));
    Ok((best, running.finish()))
}

impl ShippingPriority {
    /// Keeps the order if it is one of the best.
    fn add(&mut self, order: Unshipped) {
        let rank = |order: &Unshipped| (Reverse(order.revenue_e4), order.date, order.key);
        let index = self.rows.partition_point(|row| rank(row) < rank(&order));
        if index < ROWS {
            self.rows.insert(index, order);
            self.rows.truncate(ROWS);
        }
    }

    /// Looks at orders and their lines side by side. Says how many lines there were.
    fn add_in_order<'r>(
        &mut self,
        orders: impl Iterator<Item = OrderRow<'r>>,
        lines: impl Iterator<Item = Row<'r>>,
        is_wanted: impl Fn(i64) -> bool,
    ) -> u64 {
        let (mut lines, mut count) = (lines.peekable(), 0);
        for order in orders {
            let mut revenue_e4 = 0;
            while let Some(line) = lines.next_if(|line| line.order_key == order.key) {
                count += 1;
                if line.ship_date > DATE {
                    revenue_e4 += line.extended_price_cents * (100 - line.discount_percent);
                }
            }
            if order.date < DATE && revenue_e4 > 0 && is_wanted(order.customer_key) {
                let OrderRow { key, date, ship_priority, .. } = order;
                self.add(Unshipped { key, revenue_e4, date, ship_priority });
            }
        }
        count
    }

    /// How many rows the answer has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The answer in the benchmark's form: revenue with two decimals.
    pub(crate) fn rounded(&self) -> Table {
        self.table(|revenue_e4| two_decimals(revenue_e4, 10_000))
    }

    /// The answer with each digit of its revenue.
    pub(crate) fn exact(&self) -> Table {
        self.table(|value| Decimal { value, places: 4 }.to_string())
    }

    fn table(&self, revenue: impl Fn(i128) -> String) -> Table {
        let columns = ["l_orderkey", "revenue", "o_orderdat", "o_shippriority"];
        let cells = |row: &Unshipped| {
            vec![
                row.key.to_string(),
                revenue(row.revenue_e4.into()),
                date(row.date),
                row.ship_priority.to_string(),
            ]
        };
        Table {
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.rows.iter().map(cells).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::{lineitem::tests::ROW, order::tests::ORDER};

    #[test]
    fn the_date_is_that_of_the_benchmark() {
        assert_eq!(date(DATE), "1995-03-15");
    }

    #[test]
    fn the_ten_best_are_kept_in_their_order() {
        let order = |key, revenue_e4, date| Unshipped { key, revenue_e4, date, ship_priority: 0 };
        let mut best = ShippingPriority::default();
        (1..=20).for_each(|key| best.add(order(key, 10_000 * (key % 7), 0)));
        // Revenue first, then the date, then the key.
        best.add(order(30, 60_000, -1));
        let keys: Vec<_> = best.rows.iter().map(|row| row.key).collect();
        assert_eq!(keys, [30, 6, 13, 20, 5, 12, 19, 4, 11, 18]);
        assert_eq!(best.exact().rows[0], ["30", "6.0000", "1969-12-31", "0"]);
        assert_eq!(best.rounded().rows[4][1], "5.00");
    }

    #[test]
    fn only_late_lines_of_earlier_orders_count() {
        let line = |order_key, ship_date, price| Row {
            order_key,
            ship_date,
            extended_price_cents: price,
            discount_percent: 10,
            ..ROW
        };
        let orders = [(1, DATE - 1, 5), (2, DATE, 5), (3, DATE - 1, 6), (4, DATE - 1, 5)];
        let orders =
            orders.map(|(key, date, customer_key)| OrderRow { key, date, customer_key, ..ORDER });
        let lines = [
            line(1, DATE, 1000),
            line(1, DATE + 1, 100),
            line(1, DATE + 2, 10),
            line(2, DATE + 1, 100),
            line(3, DATE + 1, 100),
            line(4, DATE, 100),
        ];
        let mut best = ShippingPriority::default();
        let count = best.add_in_order(orders.into_iter(), lines.into_iter(), |key| key == 5);
        assert_eq!(count, 6);
        let expected = Unshipped { key: 1, revenue_e4: 9900, date: DATE - 1, ship_priority: 0 };
        assert_eq!(best.rows, [expected]);
    }
}
