//! Query 18, the large orders: those of more than 300 units in all, with their customers. Exact integers.
//!
//! ```text
//! partition   lines are parted by the hash of their order, into chunks                 pool.builder
//! group       each partition's units are summed by order, 1.5 million groups at scale 1  pool.reserve
//! join        orders, then customers, are searched for the few that are large
//! ```
//! The direct computation shares the last step alone: it sums an order's lines as they follow each other, without partitions, hashes or the pool.

use std::cmp::Reverse;

use super::{
    groups::Groups,
    job::Job,
    layout::{CustomerChunk, LineChunk, OrderChunk, Tables},
    lineitem::Row,
    lines::Lines,
    order::Order,
    partition::{Amount, Partition, Partitioner, each_chunk, runs},
    plan::GroupPlan,
    reserved::Reserved,
    source::Source,
    table::{Decimal, Table, date, two_decimals},
    tables::Joined,
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
pub(crate) fn answer<L: Tables>(
    job: &Job<'_>,
    lines: &Lines<L::Lines>,
    tables: &Joined<L>,
    plan: GroupPlan,
) -> Result<Found, CliError> {
    let (partitions, partitioned) = partition(job, lines, plan)?;
    let (large, groups, grouped) = group(job, partitions)?;
    let (answer, [orders, customers]) = join(job, tables, &large)?;
    let phases = vec![partitioned, grouped, orders, customers];
    Ok(Found { answer, groups, phases })
}

/// Answers the query from rows that never were in the pool.
///
/// # Errors
/// The pool has no room for the answer, or the job is stopped.
pub(crate) fn direct(job: &Job<'_>, source: &Source) -> Result<(LargeOrders, Phase), CliError> {
    let parts = job.plan.parts;
    let running = job.start("direct 18", Source::rows_expected(job.options.scale));
    let mut sums = job.gather(|part, sums| {
        let rows = sum_in_order(source.part(part, parts), sums)?;
        running.add(rows, 0);
        Ok(())
    })?;
    sums.as_mut_slice().sort_unstable_by_key(|sum| sum.key);
    let orders = job.gather(|part, orders| {
        source.orders(part, parts).try_for_each(|order| keep_large(order.into(), &sums, orders))
    })?;
    let large = by_customer(job, vec![orders])?;
    let rows = job.gather(|part, rows| {
        source.customers(part, parts, |one| name_large(one.key, one.name, &large, rows))
    })?;
    Ok((LargeOrders::sorted(rows), running.finish()))
}

/// Sums lines that follow each other order by order, and keeps the large ones. Says how many lines there were.
fn sum_in_order<'r>(
    rows: impl Iterator<Item = Row<'r>>,
    large: &mut Reserved<Amount>,
) -> Result<u64, CliError> {
    let mut count = 0;
    let mut current = Amount { key: 0, amount: 0 };
    let none = Amount { key: 0, amount: 0 };
    let lines = rows.map(|row| Amount { key: row.order_key, amount: row.quantity });
    // The last order ends with a line of none.
    for line in lines.chain([none]) {
        count += u64::from(line != none);
        if line.key == current.key {
            current.amount += line.amount;
            continue;
        }
        if current.amount > QUANTITY_ABOVE {
            large.push(current, 0)?;
        }
        current = line;
    }
    Ok(count)
}

/// Parts the lines by order.
fn partition<T: LineChunk>(
    job: &Job<'_>,
    lines: &Lines<T>,
    plan: GroupPlan,
) -> Result<(Vec<Partition<Amount>>, Phase), CliError> {
    let start = || Ok(Partitioner::new(job, plan));
    let (parts, phase) = job.scan("partition", &lines.chunks, start, |partitioner, _, lines| {
        runs(T::quantities(lines)).try_for_each(|sum| partitioner.add(sum))
    })?;
    Ok((Partitioner::finish(parts)?, phase))
}

/// Sums each partition, and keeps the large orders, by key. Also says how many orders there were.
fn group(
    job: &Job<'_>,
    partitions: Vec<Partition<Amount>>,
) -> Result<(Reserved<Amount>, u64, Phase), CliError> {
    let rows = partitions.iter().flatten().map(|chunk| chunk.rows).sum();
    let running = job.start("group", rows);
    let parts = job.on_threads(partitions.len(), |queue| {
        let mut large = job.reserved()?;
        let mut count = 0;
        let mut groups = Groups::new(job.pool.reserve(0)?);
        while let Some(partition) = queue.take().and_then(|index| partitions.get(index)) {
            groups.clear();
            each_chunk(job, partition, |sums| {
                Ok(sums.iter().try_for_each(|sum| groups.add(sum.key, sum.amount))?)
            })?;
            running.add(
                partition.iter().map(|chunk| chunk.rows).sum(),
                partition.iter().map(|chunk| chunk.bytes).sum(),
            );
            count += groups.len() as u64;
            for (key, amount) in groups.iter().filter(|(_, sum)| *sum > QUANTITY_ABOVE) {
                large.push(Amount { key, amount }, 0)?;
            }
        }
        Ok((large, count))
    })?;
    let count = parts.iter().map(|(_, count)| count).sum();
    let mut all = job.append(parts.into_iter().map(|(large, _)| large).collect())?;
    all.as_mut_slice().sort_unstable_by_key(|sum| sum.key);
    Ok((all, count, running.finish()))
}

/// Finds the large orders and their customers.
fn join<L: Tables>(
    job: &Job<'_>,
    tables: &Joined<L>,
    sums: &[Amount],
) -> Result<(LargeOrders, [Phase; 2]), CliError> {
    let none = || job.reserved();
    let (parts, orders) = job.scan("orders", &tables.orders, none, |found, _, orders| {
        L::Orders::orders(orders).try_for_each(|order| keep_large(order, sums, found))
    })?;
    let large = by_customer(job, parts)?;
    let none = || job.reserved();
    let (parts, customers) = job.scan("customers", &tables.customers, none, |rows, _, view| {
        let mut names = L::Customers::names(view);
        names.try_for_each(|(key, name)| name_large(key, name, &large, rows))
    })?;
    let rows = job.append(parts)?;
    Ok((LargeOrders::sorted(rows), [orders, customers]))
}

/// Keeps the order if it is one of those with a large sum; `sums` are sorted by order.
fn keep_large(order: Order, sums: &[Amount], found: &mut Reserved<Large>) -> Result<(), CliError> {
    let index = sums.binary_search_by_key(&order.key, |sum| sum.key);
    if let Some(sum) = index.ok().and_then(|index| sums.get(index)) {
        found.push(Large { order, quantity: sum.amount }, 0)?;
    }
    Ok(())
}

/// All large orders, sorted by customer.
fn by_customer(job: &Job<'_>, parts: Vec<Reserved<Large>>) -> Result<Reserved<Large>, CliError> {
    let mut all = job.append(parts)?;
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
    use mempool_codec::Rkyv;
    use mempool_core::{Pool, PoolOptions};

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
        let sum = |key, amount| Amount { key, amount };
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
