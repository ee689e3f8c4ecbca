//! The queries, step by step as the main job takes them. Each answers a short text, by which it can be seen that it did the work.

use std::{cmp::Reverse, collections::BTreeMap};

use arrow_array::{Array, RecordBatch, StringArray};

use crate::{
    groups::{Groups, Partition, Partitioner},
    tables::{Tables, column, dates, ints, longs, on_threads, words},
};

/// 1998-09-02.
const LAST_SHIP_DATE: i32 = 10_471;
/// 1994.
const SHIP_DATES: std::ops::Range<i32> = 8766..9131;
/// 1995-03-15.
const DATE: i32 = 9204;
const SEGMENT: &str = "BUILDING";
const WORDS: [&str; 2] = ["special", "requests"];

/// What `look` finds in all batches of a table.
fn scan<A: Send>(
    tables: &Tables,
    batches: &[RecordBatch],
    start: impl Fn() -> A + Sync,
    look: impl Fn(&mut A, &RecordBatch) + Sync,
) -> Vec<A> {
    on_threads(tables.threads, batches.len(), start, |found, index| look(found, &batches[index]))
}

#[derive(Clone, Copy, Default)]
struct Sums {
    quantity: i64,
    price: i64,
    discounted: i64,
    charge: i64,
    discount: i64,
    rows: u64,
}

/// Query 1. Sums of a batch are of 64 bits, and of all batches of 128.
pub(crate) fn pricing(tables: &Tables) -> String {
    type Totals = BTreeMap<(String, String), [i128; 6]>;
    let add = |totals: &mut Totals, key: (String, String), more: [i128; 6]| {
        let total = totals.entry(key).or_default();
        total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
    };
    let found = scan(tables, &tables.lines, Totals::new, |totals, batch| {
        let (flags, flag_words) = words(batch, "return_flag");
        let (statuses, status_words) = words(batch, "line_status");
        let mut sums = vec![Sums::default(); flag_words.len() * status_words.len()];
        let keys = flags.iter().zip(statuses).zip(dates(batch, "ship_date"));
        let amounts = longs(batch, "quantity").iter().zip(longs(batch, "extended_price"));
        let percents = longs(batch, "discount").iter().zip(longs(batch, "tax"));
        for ((((flag, status), date), (quantity, price)), (discount, tax)) in
            keys.zip(amounts).zip(percents)
        {
            if *date > LAST_SHIP_DATE {
                continue;
            }
            let sums = &mut sums[usize::from(*flag) * status_words.len() + usize::from(*status)];
            let discounted = price * (100 - discount);
            sums.quantity += quantity;
            sums.price += price;
            sums.discounted += discounted;
            sums.charge += discounted * (100 + tax);
            sums.discount += discount;
            sums.rows += 1;
        }
        for (index, sums) in sums.iter().enumerate().filter(|(_, sums)| sums.rows > 0) {
            let flag = flag_words.value(index / status_words.len()).to_owned();
            let status = status_words.value(index % status_words.len()).to_owned();
            let Sums { quantity, price, discounted, charge, discount, rows } = *sums;
            let more = [quantity, price, discounted, charge, discount].map(i128::from);
            let [quantity, price, discounted, charge, discount] = more;
            let more = [quantity, price, discounted, charge, discount, rows.into()];
            add(totals, (flag, status), more);
        }
    });
    let mut all = Totals::new();
    found.into_iter().flatten().for_each(|(key, more)| add(&mut all, key, more));
    format!("{} rows, {}", all.len(), all.values().map(|total| total[5]).sum::<i128>())
}

/// Query 6.
pub(crate) fn revenue(tables: &Tables) -> String {
    let found = scan(
        tables,
        &tables.lines,
        || 0_i128,
        |total, batch| {
            let amounts = longs(batch, "quantity").iter().zip(longs(batch, "extended_price"));
            let rows = dates(batch, "ship_date").iter().zip(longs(batch, "discount")).zip(amounts);
            let counted = rows.filter(|((date, discount), (quantity, _))| {
                SHIP_DATES.contains(date) && (5..=7).contains(*discount) && **quantity < 24
            });
            let sum: i64 = counted.map(|((_, discount), (_, price))| price * discount).sum();
            *total += i128::from(sum);
        },
    );
    found.iter().sum::<i128>().to_string()
}

/// An amount that is summed by key.
#[derive(Clone, Copy)]
struct Amount {
    key: i64,
    amount: i64,
}

/// Sums amounts of one key that follow each other.
fn runs(amounts: impl Iterator<Item = Amount>) -> impl Iterator<Item = Amount> {
    let mut amounts = amounts.peekable();
    std::iter::from_fn(move || {
        let mut sum = amounts.next()?;
        while let Some(more) = amounts.next_if(|next| next.key == sum.key) {
            sum.amount += more.amount;
        }
        Some(sum)
    })
}

#[derive(Clone, Copy)]
struct Placed {
    customer_key: i64,
    order: Open,
}

#[derive(Clone, Copy)]
struct Open {
    key: i64,
    date: i32,
    ship_priority: i32,
}

#[derive(Clone, Copy, Default)]
struct Unshipped {
    key: i64,
    revenue: i64,
    date: i32,
    ship_priority: i32,
}

/// Query 3.
pub(crate) fn shipping(tables: &Tables) -> String {
    let customers = scan(tables, &tables.customers, Partitioner::new, |partitioner, batch| {
        let (codes, segments) = words(batch, "segment");
        let wanted = segments.iter().position(|segment| segment == Some(SEGMENT));
        let keys = longs(batch, "key").iter().zip(codes);
        let keys = keys.filter(|(_, code)| Some(usize::from(**code)) == wanted);
        keys.for_each(|(&key, _)| partitioner.add(key, Amount { key, amount: 0 }));
    });
    let customers = Partitioner::finish(customers);
    let orders = scan(tables, &tables.orders, Partitioner::new, |partitioner, batch| {
        let keys = longs(batch, "key").iter().zip(longs(batch, "customer_key"));
        let rows = keys.zip(dates(batch, "date").iter().zip(ints(batch, "ship_priority")));
        let before = rows.filter(|(_, (date, _))| **date < DATE);
        before.for_each(|((&key, &customer_key), (&date, &ship_priority))| {
            let order = Open { key, date, ship_priority };
            partitioner.add(customer_key, Placed { customer_key, order });
        });
    });
    let orders = join(tables, &customers, &Partitioner::finish(orders));
    let late = scan(tables, &tables.lines, Partitioner::new, |partitioner, batch| {
        let prices = longs(batch, "extended_price").iter().zip(longs(batch, "discount"));
        let keys = longs(batch, "order_key").iter().zip(dates(batch, "ship_date"));
        let after = keys.zip(prices).filter(|((_, date), _)| **date > DATE);
        let revenue = after
            .map(|((&key, _), (price, discount))| Amount { key, amount: price * (100 - discount) });
        runs(revenue).for_each(|revenue| partitioner.add(revenue.key, revenue));
    });
    let best = best(tables, &orders, &Partitioner::finish(late));
    let rows = best.iter().map(|order| format!("{} {}", order.key, order.revenue));
    rows.collect::<Vec<_>>().join(", ")
}

/// Keeps the orders that are of one of the customers, and parts them by order.
fn join(
    tables: &Tables,
    customers: &[Partition<Amount>],
    orders: &[Partition<Placed>],
) -> Vec<Partition<Open>> {
    let pairs: Vec<_> = customers.iter().zip(orders).collect();
    let start = || (Partitioner::new(), Groups::<()>::new());
    let found = on_threads(tables.threads, pairs.len(), start, |(partitioner, wanted), index| {
        let (customers, orders) = pairs[index];
        wanted.clear();
        customers.iter().flatten().for_each(|customer| *wanted.entry(customer.key) = ());
        for placed in orders.iter().flatten() {
            if wanted.get_mut(placed.customer_key).is_some() {
                partitioner.add(placed.order.key, placed.order);
            }
        }
    });
    Partitioner::finish(found.into_iter().map(|(partitioner, _)| partitioner).collect())
}

/// Sums revenue by order, and keeps the ten best.
fn best(tables: &Tables, orders: &[Partition<Open>], late: &[Partition<Amount>]) -> Vec<Unshipped> {
    let add = |best: &mut Vec<Unshipped>, order: Unshipped| {
        let rank = |order: &Unshipped| {
            (Reverse(order.revenue), order.date, order.key, order.ship_priority)
        };
        let index = best.partition_point(|row| rank(row) < rank(&order));
        if index < 10 {
            best.insert(index, order);
            best.truncate(10);
        }
    };
    let pairs: Vec<_> = orders.iter().zip(late).collect();
    let start = || (Vec::new(), Groups::<Unshipped>::new());
    let found = on_threads(tables.threads, pairs.len(), start, |(best, groups), index| {
        let (orders, late) = pairs[index];
        groups.clear();
        for &Open { key, date, ship_priority } in orders.iter().flatten() {
            *groups.entry(key) = Unshipped { key, revenue: 0, date, ship_priority };
        }
        for revenue in late.iter().flatten() {
            if let Some(order) = groups.get_mut(revenue.key) {
                order.revenue += revenue.amount;
            }
        }
        let with_revenue = groups.iter().filter(|(_, order)| order.revenue > 0);
        with_revenue.for_each(|(_, order)| add(best, order));
    });
    let mut all = Vec::new();
    found.into_iter().flat_map(|(best, _)| best).for_each(|order| add(&mut all, order));
    all
}

/// Query 13.
pub(crate) fn distribution(tables: &Tables) -> String {
    let customers = scan(tables, &tables.customers, Partitioner::new, |partitioner, batch| {
        let keys = longs(batch, "key").iter();
        keys.for_each(|&key| partitioner.add(key, Amount { key, amount: 0 }));
    });
    let mut partitions = Partitioner::finish(customers);
    let orders = scan(tables, &tables.orders, Partitioner::new, |partitioner, batch| {
        let comments = column::<StringArray>(batch, "comment");
        let rows = longs(batch, "customer_key").iter().zip(comments.iter().flatten());
        let counted = rows.filter(|(_, comment)| counts(comment));
        counted.for_each(|(&key, _)| partitioner.add(key, Amount { key, amount: 1 }));
    });
    for (all, more) in partitions.iter_mut().zip(Partitioner::finish(orders)) {
        all.extend(more);
    }
    let found = sums(tables, &partitions, BTreeMap::<i64, u64>::new, |found, _, orders| {
        *found.entry(orders).or_default() += 1;
    });
    let mut all = BTreeMap::new();
    for (orders, customers) in found.into_iter().flatten() {
        *all.entry(orders).or_insert(0) += customers;
    }
    let without = all.get(&0).copied().unwrap_or(0);
    format!("{} rows, {without} without orders", all.len())
}

/// Whether an order counts that has this comment.
fn counts(comment: &str) -> bool {
    let [first, second] = WORDS;
    let behind = comment.find(first).map(|start| &comment[start + first.len()..]);
    !behind.is_some_and(|behind| behind.contains(second))
}

/// Sums each partition, and shows each key with its sum to `note`.
fn sums<A: Send>(
    tables: &Tables,
    partitions: &[Partition<Amount>],
    start: impl Fn() -> A + Sync,
    note: impl Fn(&mut A, i64, i64) + Sync,
) -> Vec<A> {
    let start = || (start(), Groups::<i64>::new());
    let found = on_threads(tables.threads, partitions.len(), start, |(found, groups), index| {
        groups.clear();
        for one in partitions[index].iter().flatten() {
            *groups.entry(one.key) += one.amount;
        }
        groups.iter().for_each(|(key, sum)| note(found, key, sum));
    });
    found.into_iter().map(|(found, _)| found).collect()
}

/// Query 18.
pub(crate) fn large_orders(tables: &Tables) -> String {
    let lines = scan(tables, &tables.lines, Partitioner::new, |partitioner, batch| {
        let pairs = longs(batch, "order_key").iter().zip(longs(batch, "quantity"));
        let pairs = pairs.map(|(&key, &amount)| Amount { key, amount });
        runs(pairs).for_each(|sum| partitioner.add(sum.key, sum));
    });
    let found = sums(tables, &Partitioner::finish(lines), Vec::new, |found, key, sum| {
        if sum > 300 {
            found.push((key, sum));
        }
    });
    let mut large: Vec<_> = found.into_iter().flatten().collect();
    large.sort_unstable();
    let found = scan(tables, &tables.orders, Vec::new, |found, batch| {
        let rows = longs(batch, "key").iter().zip(longs(batch, "customer_key"));
        let rest = longs(batch, "total_price").iter().zip(dates(batch, "date"));
        for ((key, &customer_key), (&price, &date)) in rows.zip(rest) {
            if let Ok(index) = large.binary_search_by_key(key, |(key, _)| *key) {
                found.push((customer_key, price, date, large[index]));
            }
        }
    });
    let mut orders: Vec<_> = found.into_iter().flatten().collect();
    orders.sort_unstable();
    let found = scan(tables, &tables.customers, Vec::new, |found, batch| {
        let names = column::<StringArray>(batch, "name");
        for (&key, name) in longs(batch, "key").iter().zip(names.iter().flatten()) {
            let first = orders.partition_point(|(customer, ..)| *customer < key);
            let own = orders.iter().skip(first).take_while(|(customer, ..)| *customer == key);
            own.for_each(|order| found.push((Reverse(order.1), order.2, order.3, name.to_owned())));
        }
    });
    let mut rows: Vec<_> = found.into_iter().flatten().collect();
    rows.sort_unstable();
    let first = rows.first().map(|row| row.3.clone()).unwrap_or_default();
    format!("{} rows, first {first}", rows.len())
}
