//! Query 13, the distribution of customers: how many have how many orders, those with special requests left out. Counts. It goes over columns.
//!
//! ```text
//! orders  a zero for each customer and a one for each order that counts, parted by customer   pool.builder
//! group   each partition is summed by customer, and the sums are counted                      pool.reserve
//! ```
//! The direct computation counts in an array with a place for each customer: no partition, no hash table.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    groups::Groups,
    job::Job,
    layout::Columns,
    order::OrderColumns,
    partition::{Amount, Partition, Partitioner, each_chunk, rows_of},
    plan::GroupPlan,
    source::Source,
    table::Table,
    tables::Joined,
};
use crate::{card::Phase, error::CliError};

/// Orders whose comment has one behind the other are left out (the benchmark's validation parameters).
const WORDS: [&str; 2] = ["special", "requests"];

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// How many customers have so many orders.
    customers: BTreeMap<i64, u64>,
}

/// What was found from the pool.
pub(crate) struct Found {
    pub(crate) answer: Distribution,
    /// Customers.
    pub(crate) groups: u64,
    pub(crate) phases: Vec<Phase>,
}

/// Answers the query from the pool.
///
/// # Errors
/// The pool fails, or the job is stopped.
pub(crate) fn answer(
    job: &Job<'_>,
    tables: &Joined<Columns>,
    plan: GroupPlan,
) -> Result<Found, CliError> {
    let start = || Ok(Partitioner::new(job, plan));
    let (customers, found) =
        job.scan("13: customers", &tables.customers, start, |partitioner, _, customers| {
            let mut keys = customers.key.iter();
            keys.try_for_each(|&key| partitioner.add(Amount { key, amount: 0 }))
        })?;
    let mut partitions = Partitioner::finish(customers)?;
    let mut phases = vec![found];
    let start = || Ok(Partitioner::new(job, plan));
    let (orders, found) =
        job.scan("13: orders", &tables.orders, start, |partitioner, _, orders| {
            counted(orders).try_for_each(|key| partitioner.add(Amount { key, amount: 1 }))
        })?;
    for (all, more) in partitions.iter_mut().zip(Partitioner::finish(orders)?) {
        all.extend(more);
    }
    phases.push(found);
    let (answer, grouped) = group(job, &partitions)?;
    phases.push(grouped);
    Ok(Found { groups: answer.customers.values().sum(), answer, phases })
}

/// The customers of the orders that count.
fn counted(orders: &OrderColumns) -> impl Iterator<Item = i64> {
    let rows = orders.customer_key.iter().zip(orders.comment.iter());
    rows.filter(|(_, comment)| counts(comment)).map(|(key, _)| *key)
}

/// Whether an order counts that has this comment.
fn counts(comment: &str) -> bool {
    let [first, second] = WORDS;
    let behind = comment.find(first).map(|start| &comment[start + first.len()..]);
    !behind.is_some_and(|behind| behind.contains(second))
}

/// Sums each partition by customer, and counts the sums.
fn group(
    job: &Job<'_>,
    partitions: &[Partition<Amount>],
) -> Result<(Distribution, Phase), CliError> {
    let running = job.start("13: group", partitions.iter().map(rows_of).sum());
    let parts = job.on_threads(partitions.len(), |queue| {
        let mut found = Distribution::default();
        let mut groups = Groups::new(job.pool.reserve(0)?);
        while let Some(partition) = queue.take().and_then(|index| partitions.get(index)) {
            groups.clear();
            each_chunk(job, partition, |ones| {
                Ok(ones.iter().try_for_each(|one| groups.add(one.key, one.amount))?)
            })?;
            running.add(rows_of(partition), 0);
            groups.iter().for_each(|(_, orders)| found.add(orders, 1));
        }
        Ok(found)
    })?;
    let mut all = Distribution::default();
    let counts = parts.iter().flat_map(|part| &part.customers);
    counts.for_each(|(&orders, &customers)| all.add(orders, customers));
    Ok((all, running.finish()))
}

/// Answers the query from rows that never were in the pool.
///
/// # Errors
/// The pool has no room for a count of each customer, or the job is stopped.
pub(crate) fn direct(job: &Job<'_>, source: &Source) -> Result<(Distribution, Phase), CliError> {
    let (scale, parts) = (job.options.scale, job.plan.parts);
    let running = job.start("direct 13", Source::orders_expected(scale));
    let customers = Source::customers_expected(scale);
    let counts = job.on_parts(|queue| {
        let mut counts = job.reserved::<u32>()?;
        counts.grow(customers)?;
        (0..customers).try_for_each(|_| counts.push(0, 0))?;
        while let Some(part) = queue.take() {
            let mut rows = 0;
            for order in source.orders(part, parts) {
                rows += 1;
                let place = usize::try_from(order.customer_key - 1).ok();
                let place = place.and_then(|place| counts.as_mut_slice().get_mut(place));
                if let Some(count) = place.filter(|_| counts_naively(order.comment)) {
                    *count += 1;
                }
            }
            running.add(rows, 0);
        }
        Ok(counts)
    })?;
    let mut found = Distribution::default();
    for customer in 0..customers {
        let counts = counts.iter().filter_map(|counts| counts.get(customer));
        found.add(counts.map(|count| i64::from(*count)).sum(), 1);
    }
    Ok((found, running.finish()))
}

/// The same as [`counts`], in other words.
fn counts_naively(comment: &str) -> bool {
    let [first, second] = WORDS;
    !comment.match_indices(second).any(|(start, _)| comment[..start].contains(first))
}

impl Distribution {
    fn add(&mut self, orders: i64, customers: u64) {
        *self.customers.entry(orders).or_default() += customers;
    }

    /// The answer in the benchmark's form: most customers first, then most orders.
    pub(crate) fn table(&self) -> Table {
        let mut rows: Vec<_> = self.customers.iter().collect();
        rows.sort_unstable_by_key(|&(&orders, &customers)| Reverse((customers, orders)));
        let cells =
            |(orders, customers): (&i64, &u64)| vec![orders.to_string(), customers.to_string()];
        Table {
            columns: ["c_count", "custdist"].map(str::to_owned).to_vec(),
            rows: rows.into_iter().map(cells).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_with_one_word_behind_the_other_are_left_out() {
        for (comment, expected) in [
            ("the special, regular requests", false),
            ("specialrequests", false),
            ("requests special", true),
            ("requests special requests", false),
            ("special special request", true),
            ("specia requests", true),
            ("", true),
        ] {
            assert_eq!(counts(comment), expected, "{comment}");
            assert_eq!(counts_naively(comment), expected, "{comment}");
        }
    }

    #[test]
    fn the_answer_is_ordered_by_customers_then_orders() {
        let mut found = Distribution::default();
        [(0, 5), (7, 2), (9, 2), (3, 1), (7, 1)]
            .into_iter()
            .for_each(|(orders, customers)| found.add(orders, customers));
        let expected = Table::parse("c_count|custdist\n0|5\n7|3\n9|2\n3|1");
        assert_eq!(found.table(), expected);
    }
}
