//! Query 18, the large orders: those of more than 300 units in all, with their customers. Exact integers.
//!
//! ```text
//! tables      orders and customers go into the pool as chunks                          tables.rs
//! partition   lines are parted by the hash of their order, into chunks                 pool.builder
//! group       each partition's units are summed by order, 1.5 million groups at scale 1  pool.reserve
//! join        orders, then customers, are searched for the few that are large
//! ```
//! The direct computation shares the last step alone: it sums an order's lines as they follow each other, without partitions, hashes or the pool.

use std::cmp::Reverse;

use mempool_codec::Rkyv;
use mempool_core::{Pool, Reservation};

use super::{
    groups::Groups,
    job::Job,
    lineitem::Row,
    lines::Lines,
    order::Order,
    partition::{Partition, Partitioner, Quantity},
    plan::GroupPlan,
    reserved::Reserved,
    source::Source,
    table::{Decimal, Table, date, two_decimals},
    tables::Tables,
};
use crate::{card::Phase, error::CliError};

/// Orders of more units than this are large (the benchmark's validation parameter).
const QUANTITY_ABOVE: i64 = 300;

/// More differences than this help nobody.
const DIFFERENCES_MAX: usize = 10;

/// The answer, ordered by price, highest first, then by date; where both are equal by key, so that there is one right order.
pub(crate) struct LargeOrders {
    rows: Reserved<LargeOrder>,
}

/// One row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LargeOrder {
    large: Large,
    customer_name: String,
}

/// A large order, whose customer is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Large {
    order: Order,
    quantity: i64,
}

/// What was found from the pool.
pub(crate) struct Found {
    pub(crate) answer: LargeOrders,
    /// Orders that have lines.
    pub(crate) groups: u64,
    pub(crate) phases: Vec<Phase>,
}

/// Answers the query from the pool.
///
/// # Errors
/// The pool fails, or the job is stopped.
pub(crate) fn answer(
    job: &Job<'_>,
    source: &Source,
    lines: &Lines,
    plan: GroupPlan,
) -> Result<Found, CliError> {
    let (tables, loaded) = Tables::generate(job, source)?;
    let (partitions, partitioned) = partition(job, lines, plan)?;
    let (large, groups, grouped) = group(job, partitions)?;
    let (answer, [orders, customers]) = join(job, &tables, &large)?;
    let phases = vec![loaded, partitioned, grouped, orders, customers];
    Ok(Found { answer, groups, phases })
}

/// Answers the query from rows that never were in the pool.
///
/// # Errors
/// The pool has no room for the answer, or the job is stopped.
pub(crate) fn direct(job: &Job<'_>, source: &Source) -> Result<(LargeOrders, Phase), CliError> {
    let parts = job.plan.parts;
    let running = job.start("direct 18", Source::rows_expected(job.options.scale));
    let mut sums = gather(job, |part, sums| {
        let rows = sum_in_order(source.part(part, parts), sums)?;
        running.add(rows, 0);
        Ok(())
    })?;
    sums.as_mut_slice().sort_unstable_by_key(|quantity| quantity.order_key);
    let orders = gather(job, |part, orders| {
        source.orders(part, parts).try_for_each(|order| keep_large(order, &sums, orders))
    })?;
    let large = by_customer(job, vec![orders])?;
    let rows = gather(job, |part, rows| {
        let mut customers = source.customers(part, parts);
        customers.try_for_each(|one| name_large(one.key, &one.name, &large, rows))
    })?;
    Ok((LargeOrders::sorted(rows), running.finish()))
}

/// What `add` finds in all parts of a table.
fn gather<T: Send>(
    job: &Job<'_>,
    add: impl Fn(usize, &mut Reserved<T>) -> Result<(), CliError> + Sync,
) -> Result<Reserved<T>, CliError> {
    let found = job.on_parts(|queue| {
        let mut found = Reserved::new(empty(&job.pool)?);
        while let Some(part) = queue.take() {
            add(part, &mut found)?;
        }
        Ok(found)
    })?;
    append_all(job, found)
}

/// All parts as one.
fn append_all<T>(job: &Job<'_>, parts: Vec<Reserved<T>>) -> Result<Reserved<T>, CliError> {
    let mut all = Reserved::new(empty(&job.pool)?);
    parts.into_iter().try_for_each(|part| all.append(part))?;
    Ok(all)
}

/// Sums lines that follow each other order by order, and keeps the large ones. Says how many lines there were.
fn sum_in_order<'r>(
    rows: impl Iterator<Item = Row<'r>>,
    large: &mut Reserved<Quantity>,
) -> Result<u64, CliError> {
    let mut count = 0;
    let mut current = Quantity { order_key: 0, quantity: 0 };
    let none = Quantity { order_key: 0, quantity: 0 };
    let lines = rows.map(|row| Quantity { order_key: row.order_key, quantity: row.quantity });
    // The last order ends with a line of none.
    for line in lines.chain([none]) {
        count += u64::from(line != none);
        if line.order_key == current.order_key {
            current.quantity += line.quantity;
            continue;
        }
        if current.quantity > QUANTITY_ABOVE {
            large.push(current, 0)?;
        }
        current = line;
    }
    Ok(count)
}

fn empty(pool: &Pool<Rkyv>) -> Result<Reservation, CliError> {
    Ok(pool.reserve(0)?)
}

/// Parts the lines by order.
fn partition(
    job: &Job<'_>,
    lines: &Lines,
    plan: GroupPlan,
) -> Result<(Vec<Partition>, Phase), CliError> {
    let start = || Ok(Partitioner::new(job, plan));
    let (parts, phase) = job.scan("partition", &lines.chunks, start, |partitioner, _, lines| {
        lines.iter().map(Row::from).try_for_each(|row| {
            partitioner.add(Quantity { order_key: row.order_key, quantity: row.quantity })
        })
    })?;
    let mut partitions: Vec<Partition> = (0..plan.partitions).map(|_| Vec::new()).collect();
    for part in parts {
        for (all, more) in partitions.iter_mut().zip(part.finish()?) {
            all.extend(more);
        }
    }
    Ok((partitions, phase))
}

/// Sums each partition, and keeps the large orders, by key. Also says how many orders there were.
fn group(
    job: &Job<'_>,
    partitions: Vec<Partition>,
) -> Result<(Reserved<Quantity>, u64, Phase), CliError> {
    let rows = partitions.iter().flatten().map(|chunk| chunk.rows).sum();
    let running = job.start("group", rows);
    let parts = job.on_threads(partitions.len(), |queue| {
        let mut large = Reserved::new(empty(&job.pool)?);
        let mut count = 0;
        while let Some(index) = queue.take() {
            let mut groups = Groups::new(empty(&job.pool)?);
            for chunk in partitions.get(index).into_iter().flatten() {
                let quantities = job.pool.get(&chunk.reference)?;
                quantities.iter().try_for_each(|line| {
                    groups.add(line.order_key.to_native(), line.quantity.to_native())
                })?;
                running.add(chunk.rows, chunk.bytes);
            }
            count += groups.len() as u64;
            for (order_key, quantity) in groups.iter().filter(|(_, sum)| *sum > QUANTITY_ABOVE) {
                large.push(Quantity { order_key, quantity }, 0)?;
            }
        }
        Ok((large, count))
    })?;
    let count = parts.iter().map(|(_, count)| count).sum();
    let mut all = append_all(job, parts.into_iter().map(|(large, _)| large).collect())?;
    all.as_mut_slice().sort_unstable_by_key(|quantity| quantity.order_key);
    Ok((all, count, running.finish()))
}

/// Finds the large orders and their customers.
fn join(
    job: &Job<'_>,
    tables: &Tables,
    sums: &[Quantity],
) -> Result<(LargeOrders, [Phase; 2]), CliError> {
    let none = || Ok(Reserved::new(empty(&job.pool)?));
    let (parts, orders) = job.scan("orders", &tables.orders, none, |found, _, orders| {
        orders.iter().map(Order::from).try_for_each(|order| keep_large(order, sums, found))
    })?;
    let large = by_customer(job, parts)?;
    let none = || Ok(Reserved::new(empty(&job.pool)?));
    let (parts, customers) = job.scan("customers", &tables.customers, none, |rows, _, view| {
        view.iter().try_for_each(|customer| {
            name_large(customer.key.to_native(), &customer.name, &large, rows)
        })
    })?;
    let rows = append_all(job, parts)?;
    Ok((LargeOrders::sorted(rows), [orders, customers]))
}

/// Keeps the order if it is one of those with a large sum; `sums` are sorted by order.
fn keep_large(
    order: Order,
    sums: &[Quantity],
    found: &mut Reserved<Large>,
) -> Result<(), CliError> {
    let index = sums.binary_search_by_key(&order.key, |sum| sum.order_key);
    if let Some(sum) = index.ok().and_then(|index| sums.get(index)) {
        found.push(Large { order, quantity: sum.quantity }, 0)?;
    }
    Ok(())
}

/// All large orders, sorted by customer.
fn by_customer(job: &Job<'_>, parts: Vec<Reserved<Large>>) -> Result<Reserved<Large>, CliError> {
    let mut all = append_all(job, parts)?;
    all.as_mut_slice().sort_unstable_by_key(|large| large.order.customer_key);
    Ok(all)
}

/// Adds the customer's large orders to the answer; `large` is sorted by customer.
fn name_large(
    key: i64,
    name: &str,
    large: &[Large],
    rows: &mut Reserved<LargeOrder>,
) -> Result<(), CliError> {
    let first = large.partition_point(|large| large.order.customer_key < key);
    for large in large.iter().skip(first).take_while(|large| large.order.customer_key == key) {
        let row = LargeOrder { large: *large, customer_name: name.to_owned() };
        rows.push(row, name.len())?;
    }
    Ok(())
}

impl LargeOrders {
    fn sorted(mut rows: Reserved<LargeOrder>) -> Self {
        rows.as_mut_slice().sort_unstable_by_key(|row| {
            let order = row.large.order;
            (Reverse(order.total_price_cents), order.date, order.key)
        });
        Self { rows }
    }

    /// How many rows the answer has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where it differs from the benchmark's answer; empty if it does not.
    pub(crate) fn official_differences(&self, expected: &Table) -> Vec<String> {
        let columns = ["c_name", "c_custkey", "o_orderkey", "o_orderdat", "o_totalprice", "col6"];
        let rows = self.rows.iter().map(LargeOrder::cells).collect();
        let table = Table { columns: columns.map(str::to_owned).to_vec(), rows };
        table.differences(expected)
    }

    /// Where it differs from another computation, row by row; empty if it does not.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let (found, wanted) = (self.rows.len(), expected.rows.len());
        if found != wanted {
            return vec![format!("{found} rows, expected {wanted}")];
        }
        let rows = self.rows.iter().zip(expected.rows.iter()).enumerate();
        let differing = rows.filter(|(_, (found, expected))| found != expected);
        let differences = differing.map(|(row, (found, expected))| {
            let (found, expected) = (found.cells().join("|"), expected.cells().join("|"));
            format!("row {}: {found}, expected {expected}", row + 1)
        });
        differences.take(DIFFERENCES_MAX).collect()
    }
}

impl LargeOrder {
    /// As the benchmark prints it.
    fn cells(&self) -> Vec<String> {
        let order = &self.large.order;
        let price = Decimal { value: order.total_price_cents.into(), places: 2 };
        vec![
            self.customer_name.clone(),
            order.customer_key.to_string(),
            order.key.to_string(),
            date(order.date),
            price.to_string(),
            two_decimals(self.large.quantity.into(), 1),
        ]
    }
}

#[cfg(test)]
mod tests {
    use mempool_core::PoolOptions;

    use super::*;
    use crate::tpch::lineitem::tests::ROW;

    fn row(order_key: i64, quantity: i64) -> Row<'static> {
        Row { order_key, quantity, ..ROW }
    }

    #[test]
    fn lines_that_follow_each_other_are_summed() {
        let pool = PoolOptions::new().memory_limit(1 << 20).open(Rkyv::new());
        let mut large = Reserved::new(pool.reserve(0).unwrap());
        let rows = [row(1, 300), row(2, 200), row(2, 101), row(3, 299), row(3, 1), row(7, 400)];
        assert_eq!(sum_in_order(rows.into_iter(), &mut large).unwrap(), 6);
        let sum = |order_key, quantity| Quantity { order_key, quantity };
        // 300 is not more than 300.
        assert_eq!(*large, [sum(2, 301), sum(7, 400)]);
    }

    fn answer(pool: &Pool<Rkyv>, orders: &[(i64, i64, i32)]) -> LargeOrders {
        let mut rows = Reserved::new(pool.reserve(0).unwrap());
        for (key, total_price_cents, date) in orders.iter().copied() {
            let order = Order { key, customer_key: 5, total_price_cents, date };
            let large = [Large { order, quantity: 301 }];
            name_large(5, "Customer#000000005", &large, &mut rows).unwrap();
            name_large(6, "Customer#000000006", &large, &mut rows).unwrap();
        }
        LargeOrders::sorted(rows)
    }

    #[test]
    fn the_answer_is_ordered_by_price_then_date() {
        let pool = PoolOptions::new().memory_limit(1 << 20).open(Rkyv::new());
        let found = answer(&pool, &[(1, 100, 5), (2, 250, 9), (3, 250, 8)]);
        let expected = Table::parse(
            "c_name|c_custkey|o_orderkey|o_orderdat|o_totalprice|col6
            Customer#000000005|5|3|1970-01-09|2.50|301.00
            Customer#000000005|5|2|1970-01-10|2.50|301.00
            Customer#000000005|5|1|1970-01-06|1.00|301.00",
        );
        assert_eq!(found.official_differences(&expected), Vec::<String>::new());
        assert_eq!(found.differences(&found), Vec::<String>::new());
        let other = answer(&pool, &[(1, 100, 5), (2, 250, 9), (3, 251, 8)]);
        let difference = "row 1: Customer#000000005|5|3|1970-01-09|2.50|301.00, expected \
            Customer#000000005|5|3|1970-01-09|2.51|301.00";
        assert_eq!(found.differences(&other), [difference]);
        assert_eq!(found.differences(&answer(&pool, &[])), ["3 rows, expected 0"]);
    }
}
