//! What the answers must be. At scale 1: the benchmark's own, as its tools print them. At any other scale: the same queries over rows straight from
//! the generator, which never were in the pool.
//!
//! How it is compared: ours are exact integers. For the official answers, which have two decimals, they are rounded once at the end (half away from
//! zero) and must then be equal character by character in each cell; the benchmark itself would allow 100 dollars in a sum and 1 percent in an average.
//! For computed answers nothing is rounded: each sum must be equal in its last digit.

use tpchgen::q_and_a::answers_sf1;

use super::{
    Query,
    job::Job,
    lineitem::Row,
    lines::merged,
    q1::PricingSummary,
    q3::{self, ShippingPriority},
    q6::RevenueChange,
    q13::{self, Distribution},
    q18::{self, LargeOrders},
    source::Source,
    table::Table,
};
use crate::{card::Phase, error::CliError};

/// The answers of the queries that only count lines, which one pass over the rows gives.
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
pub(crate) enum Expected {
    /// The benchmark's, for scale 1.
    Official,
    /// Computed from the generator's rows.
    Direct {
        counted: Answers,
        /// If it was asked for, as the next two.
        shipping: Option<ShippingPriority>,
        distribution: Option<Distribution>,
        large: Option<LargeOrders>,
    },
}

impl Expected {
    /// Whether the benchmark has answers for `scale`.
    pub(crate) fn has_official(scale: f64) -> bool {
        scale == 1.0
    }

    /// What the answers must be: the official ones where there are any, else computed without the pool.
    ///
    /// # Errors
    /// The pool has no room for a computed answer, or the job is stopped.
    pub(crate) fn find(
        job: &Job<'_>,
        source: &Source,
        phases: &mut Vec<Phase>,
    ) -> Result<Self, CliError> {
        if Self::has_official(job.options.scale) {
            return Ok(Self::Official);
        }
        let mut counted = Answers::default();
        if job.asks(Query::Pricing) || job.asks(Query::Revenue) {
            let (answers, phase) = count(job, source)?;
            counted = answers;
            phases.push(phase);
        }
        let (mut shipping, mut distribution, mut large) = (None, None, None);
        if job.asks(Query::Shipping) {
            let (answer, phase) = q3::direct(job, source)?;
            shipping = Some(answer);
            phases.push(phase);
        }
        if job.asks(Query::Distribution) {
            let (answer, phase) = q13::direct(job, source)?;
            distribution = Some(answer);
            phases.push(phase);
        }
        if job.asks(Query::LargeOrders) {
            let (answer, phase) = q18::direct(job, source)?;
            large = Some(answer);
            phases.push(phase);
        }
        Ok(Self::Direct { counted, shipping, distribution, large })
    }

    /// For the proof card: against what was compared.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Official => "the official answer for scale 1, each cell to its two decimals",
            Self::Direct { .. } => "a direct computation outside the pool, each to its last digit",
        }
    }

    /// Where `found` differs for query 1; empty if it does not.
    pub(crate) fn pricing_differences(&self, found: &PricingSummary) -> Vec<String> {
        match self {
            Self::Official => found.rounded().differences(&Table::parse(answers_sf1::Q1_ANSWER)),
            Self::Direct { counted, .. } => found.exact().differences(&counted.pricing.exact()),
        }
    }

    /// Where `found` differs for query 6; empty if it does not.
    pub(crate) fn revenue_differences(&self, found: &RevenueChange) -> Vec<String> {
        match self {
            Self::Official => found.rounded().differences(&Table::parse(answers_sf1::Q6_ANSWER)),
            Self::Direct { counted, .. } => found.exact().differences(&counted.revenue.exact()),
        }
    }

    /// Where `found` differs for query 3; empty if it does not.
    pub(crate) fn shipping_differences(&self, found: &ShippingPriority) -> Vec<String> {
        match self {
            Self::Official => found.rounded().differences(&Table::parse(answers_sf1::Q3_ANSWER)),
            Self::Direct { shipping: Some(expected), .. } => {
                found.exact().differences(&expected.exact())
            }
            Self::Direct { shipping: None, .. } => nothing_to_compare_with(),
        }
    }

    /// Where `found` differs for query 13; empty if it does not.
    pub(crate) fn distribution_differences(&self, found: &Distribution) -> Vec<String> {
        match self {
            Self::Official => found.table().differences(&Table::parse(answers_sf1::Q13_ANSWER)),
            Self::Direct { distribution: Some(expected), .. } => {
                found.table().differences(&expected.table())
            }
            Self::Direct { distribution: None, .. } => nothing_to_compare_with(),
        }
    }

    /// Where `found` differs for query 18; empty if it does not.
    pub(crate) fn large_differences(&self, found: &LargeOrders) -> Vec<String> {
        match self {
            Self::Official => found.official_differences(&Table::parse(answers_sf1::Q18_ANSWER)),
            Self::Direct { large: Some(expected), .. } => found.differences(expected),
            Self::Direct { large: None, .. } => nothing_to_compare_with(),
        }
    }
}

/// The difference of an answer that nobody computed.
fn nothing_to_compare_with() -> Vec<String> {
    vec!["there is nothing to compare with".into()]
}

/// Queries 1 and 6 over rows straight from the generator.
fn count(job: &Job<'_>, source: &Source) -> Result<(Answers, Phase), CliError> {
    let running = job.start("direct", Source::rows_expected(job.options.scale));
    let parts = job.on_parts(|queue| {
        let mut answers = Answers::default();
        while let Some(part) = queue.take() {
            let rows = source.part(part, job.plan.parts).inspect(|row| answers.add(row)).count();
            running.add(rows as u64, 0);
        }
        Ok(answers)
    })?;
    Ok((merged(&parts, Answers::merge), running.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let differences = Expected::Official.shipping_differences(&ShippingPriority::default());
        assert_eq!(differences, ["0 rows, expected 10"]);
        let differences = Expected::Official.distribution_differences(&Distribution::default());
        assert_eq!(differences, ["0 rows, expected 42"]);
    }

    #[test]
    fn one_cent_is_a_difference() {
        let source: &'static Source = Box::leak(Box::new(Source::new(0.001)));
        let expected = Expected::Direct {
            counted: answers(source.part(0, 1)),
            shipping: None,
            distribution: None,
            large: None,
        };
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
