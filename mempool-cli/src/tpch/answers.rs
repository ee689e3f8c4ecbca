//! What the answers must be. At scale 1: the benchmark's own, as its tools print them. At any other scale: the same queries over rows straight from
//! the generator, which never were in the pool.
//!
//! How it is compared: ours are exact integers. For the official answers, which have two decimals, they are rounded once at the end (half away from
//! zero) and must then be equal character by character in each cell; the benchmark itself would allow 100 dollars in a sum and 1 percent in an average.
//! For computed answers nothing is rounded: each sum must be equal in its last digit.

use tpchgen::q_and_a::answers_sf1;

use super::{lineitem::Row, q1::PricingSummary, q6::RevenueChange, table::Table};

/// Both queries' answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) pricing: PricingSummary,
    pub(crate) revenue: RevenueChange,
}

impl Answers {
    /// Counts one row for both.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        self.pricing.add(row);
        self.revenue.add(row);
    }

    /// Adds what another thread counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.pricing.merge(&other.pricing);
        self.revenue.merge(&other.revenue);
    }
}

/// Where the expected answers come from.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The benchmark's, for scale 1.
    Official,
    /// Computed from the generator's rows.
    Direct(Answers),
}

impl Expected {
    /// Whether the benchmark has answers for `scale`.
    pub(crate) fn has_official(scale: f64) -> bool {
        scale == 1.0
    }

    /// For the proof card: against what was compared.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Official => "the official answers for scale 1, each cell to its two decimals",
            Self::Direct(_) => "a direct computation outside the pool, each sum to its last digit",
        }
    }

    /// Where `found` differs for query 1; empty if it does not.
    pub(crate) fn pricing_differences(&self, found: &PricingSummary) -> Vec<String> {
        match self {
            Self::Official => found.rounded().differences(&Table::parse(answers_sf1::Q1_ANSWER)),
            Self::Direct(expected) => found.exact().differences(&expected.pricing.exact()),
        }
    }

    /// Where `found` differs for query 6; empty if it does not.
    pub(crate) fn revenue_differences(&self, found: &RevenueChange) -> Vec<String> {
        match self {
            Self::Official => found.rounded().differences(&Table::parse(answers_sf1::Q6_ANSWER)),
            Self::Direct(expected) => found.exact().differences(&expected.revenue.exact()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::source::Source;

    fn answers(rows: impl Iterator<Item = Row<'static>>) -> Answers {
        let mut answers = Answers::default();
        rows.for_each(|row| answers.add(&row));
        answers
    }

    #[test]
    fn the_official_answers_are_there_and_can_fail() {
        let found = Answers::default();
        assert_eq!(Expected::Official.pricing_differences(&found.pricing), ["0 rows, expected 4"]);
        let differences = Expected::Official.revenue_differences(&found.revenue);
        assert_eq!(differences, ["row 1, revenue: 0.00, expected 123141078.23"]);
    }

    #[test]
    fn one_cent_is_a_difference() {
        let source: &'static Source = Box::leak(Box::new(Source::new(0.001)));
        let expected = Expected::Direct(answers(source.part(0, 1)));
        let same = answers(source.part(0, 1));
        assert_eq!(expected.pricing_differences(&same.pricing), Vec::<String>::new());
        assert_eq!(expected.revenue_differences(&same.revenue), Vec::<String>::new());
        let mut first = true;
        let other = answers(source.part(0, 1).map(|mut row| {
            if std::mem::take(&mut first) {
                row.extended_price_cents += 1;
            }
            row
        }));
        // The price, and with it the discounted price and the charge.
        assert_eq!(expected.pricing_differences(&other.pricing).len(), 3);
    }

    #[test]
    fn only_scale_one_has_official_answers() {
        assert!(Expected::has_official(1.0));
        assert!(!Expected::has_official(0.1) && !Expected::has_official(10.0));
    }
}
