//! Where rows come from: the benchmark's generator, cut into parts that threads make independently. Makes the same rows for the same scale, however they are cut.

use tpchgen::{
    distribution::Distributions,
    generators::{CustomerGenerator, LineItemGenerator, OrderGenerator},
    text::TextPool,
};

use super::{customer::CustomerRow, lineitem::Row, order::OrderRow};
use crate::error::CliError;

/// Bytes of generated prose that comments are cut from.
///
/// The benchmark cuts them from 300 MiB of it, which would outweigh a memory limit of 256 MiB. This is the start of the same prose; each comment has
/// the benchmark's length, other words, and all other columns are the benchmark's to the bit. Query 13 alone reads comments, those of orders: where its answer is
/// to be the benchmark's, they are cut from the whole (`prose.rs`).
const TEXT_BYTES: i32 = 1 << 20;

/// The generator may write one sentence past the end before it cuts.
const TEXT_SPARE_BYTES: usize = 256;

/// The tables at one scale.
pub(crate) struct Source {
    scale: f64,
    text: TextPool,
}

impl Source {
    /// Heap bytes of a `Source`.
    pub(crate) const HEAP_BYTES: usize = TEXT_BYTES as usize + TEXT_SPARE_BYTES;

    /// Orders at scale 1; each has 1 to 7 lines, 4 on average.
    const ORDERS: f64 = OrderGenerator::SCALE_BASE as f64;

    /// Generates the prose: some milliseconds.
    pub(crate) fn new(scale: f64) -> Self {
        Self { scale, text: TextPool::new(TEXT_BYTES, Distributions::static_default()) }
    }

    /// Rows to expect at `scale`, good to some percent: how many lines an order has is drawn.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the generator cuts it off as well, and a float saturates"
    )]
    pub(crate) fn rows_expected(scale: f64) -> u64 {
        (Self::ORDERS * scale) as u64 * 4
    }

    /// The rows of part `index` (from 0) of `parts`; all parts together have each row once.
    ///
    /// # Panics
    /// If `index` is not below `parts`, or `parts` is more than `i32::MAX`.
    pub(crate) fn part(&self, index: usize, parts: usize) -> impl Iterator<Item = Row<'_>> {
        let (part, parts) = part_numbers(index, parts);
        LineItemGenerator::new_with_distributions_and_text_pool(
            self.scale,
            part,
            parts,
            Distributions::static_default(),
            &self.text,
        )
        .iter()
        .map(Row::from)
    }

    /// Orders to expect at `scale`.
    pub(crate) fn orders_expected(scale: f64) -> u64 {
        Self::rows_expected(scale) / 4
    }

    /// Customers at `scale`; their keys count from 1.
    pub(crate) fn customers_expected(scale: f64) -> usize {
        usize::try_from(CustomerGenerator::calculate_row_count(scale, 1, 1)).unwrap_or(0)
    }

    /// The orders of part `index` of `parts`.
    ///
    /// # Panics
    /// As [`part`](Self::part).
    pub(crate) fn orders(&self, index: usize, parts: usize) -> impl Iterator<Item = OrderRow<'_>> {
        let (part, parts) = part_numbers(index, parts);
        let distributions = Distributions::static_default();
        OrderGenerator::new_with_distributions_and_text_pool(
            self.scale,
            part,
            parts,
            distributions,
            &self.text,
        )
        .iter()
        .map(OrderRow::from)
    }

    /// Shows each customer of part `index` of `parts` to `visit`.
    ///
    /// # Errors
    /// What `visit` says.
    ///
    /// # Panics
    /// As [`part`](Self::part).
    pub(crate) fn customers(
        &self,
        index: usize,
        parts: usize,
        mut visit: impl FnMut(CustomerRow<'_>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let (part, parts) = part_numbers(index, parts);
        let distributions = Distributions::static_default();
        let customers = CustomerGenerator::new_with_distributions_and_text_pool(
            self.scale,
            part,
            parts,
            distributions,
            &self.text,
        );
        let mut name = String::new();
        customers.iter().try_for_each(|customer| visit(CustomerRow::of(&customer, &mut name)))
    }
}

/// A part as the generator counts them: from 1.
fn part_numbers(index: usize, parts: usize) -> (i32, i32) {
    assert!(index < parts, "part {index} of {parts}");
    let number = |count| i32::try_from(count).expect("at most i32::MAX parts");
    (number(index + 1), number(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let source = Source::new(0.001);
        let whole: Vec<_> = source.part(0, 1).collect();
        let parts: Vec<_> = (0..7).flat_map(|index| source.part(index, 7)).collect();
        assert_eq!(parts, whole);
        assert!(whole.len().abs_diff(6000) < 300, "{}", whole.len());
        assert_eq!(Source::rows_expected(0.001), 6000);
    }

    #[test]
    fn each_line_has_its_order_and_each_order_its_customer() {
        let source = Source::new(0.001);
        let orders: Vec<_> = (0..3).flat_map(|index| source.orders(index, 3)).collect();
        let mut customers = Vec::new();
        for index in 0..3 {
            let note = |row: CustomerRow<'_>| {
                customers.push(row.name.to_owned());
                Ok(())
            };
            source.customers(index, 3, note).unwrap();
        }
        assert_eq!((orders.len(), customers.len()), (1500, 150));
        let mut keys: Vec<_> = source.part(0, 1).map(|row| row.order_key).collect();
        keys.dedup();
        assert!(keys.iter().eq(orders.iter().map(|order| &order.key)));
        assert!(orders.iter().all(|order| (1..=150).contains(&order.customer_key)));
        assert_eq!(customers[149], "Customer#000000150");
    }

    #[test]
    fn only_comments_differ_from_the_benchmarks() {
        let text = TextPool::new(TEXT_BYTES * 2, Distributions::static_default());
        let distributions = Distributions::static_default();
        let other = LineItemGenerator::new_with_distributions_and_text_pool(
            0.001,
            1,
            1,
            distributions,
            &text,
        );
        let source = Source::new(0.001);
        for (row, other) in source.part(0, 1).zip(other.iter()) {
            let other = Row::from(other);
            assert_eq!(row.comment.len(), other.comment.len());
            assert_eq!(row, Row { comment: row.comment, ..other });
        }
    }
}
