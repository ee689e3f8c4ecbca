//! Query 6, the forecast of revenue change: what the discounts of about 6 percent on small orders of 1994 came to. Exact integers; partial results merge.

use std::ops::{Range, RangeInclusive};

use super::{
    lineitem::{LineColumns, Row},
    table::{Decimal, Table, two_decimals},
};

/// The year 1994 in days since 1970-01-01 (the benchmark's validation parameter, as are the next two).
const SHIP_DATES: Range<i32> = 8766..9131;
/// 0.06 give or take 0.01.
const DISCOUNTS_PERCENT: RangeInclusive<i64> = 5..=7;
/// Orders of fewer units.
const QUANTITY_BELOW: i64 = 24;

/// The answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RevenueChange {
    /// Sum of price times discount, in 1/10,000.
    revenue_e4: i128,
}

impl RevenueChange {
    /// Counts one row.
    #[inline]
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let counts = SHIP_DATES.contains(&row.ship_date)
            && DISCOUNTS_PERCENT.contains(&row.discount_percent)
            && row.quantity < QUANTITY_BELOW;
        if counts {
            self.revenue_e4 += i128::from(row.extended_price_cents * row.discount_percent);
        }
    }

    /// Counts all rows of a chunk.
    pub(crate) fn add_columns(&mut self, lines: &LineColumns) {
        let amounts = lines.quantity.iter().zip(&lines.extended_price_cents);
        let rows = lines.ship_date.iter().zip(&lines.discount_percent).zip(amounts);
        let counted = rows.filter(|((ship_date, discount), (quantity, _))| {
            SHIP_DATES.contains(ship_date)
                && DISCOUNTS_PERCENT.contains(discount)
                && **quantity < QUANTITY_BELOW
        });
        // A chunk has less than 2^17 rows, and a line comes to less than 2^28.
        let revenue_e4: i64 = counted.map(|((_, discount), (_, price))| price * discount).sum();
        self.revenue_e4 += i128::from(revenue_e4);
    }

    /// Adds what another thread counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.revenue_e4 += other.revenue_e4;
    }

    /// The answer in the benchmark's form: two decimals.
    pub(crate) fn rounded(&self) -> Table {
        table(two_decimals(self.revenue_e4, 10_000))
    }

    /// The answer with each of its digits.
    pub(crate) fn exact(&self) -> Table {
        table(Decimal { value: self.revenue_e4, places: 4 }.to_string())
    }
}

fn table(revenue: String) -> Table {
    Table { columns: vec!["revenue".into()], rows: vec![vec![revenue]] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::lineitem::tests::ROW;

    #[test]
    fn the_year_is_1994() {
        for (days, text) in [(SHIP_DATES.start, "1994-01-01"), (SHIP_DATES.end, "1995-01-01")] {
            let date =
                tpchgen::dates::TPCHDate::new(days - 8035 + tpchgen::dates::MIN_GENERATE_DATE);
            assert_eq!(date.to_string(), text);
        }
    }

    #[test]
    fn only_rows_within_all_bounds_count() {
        let inside = Row {
            ship_date: 8766,
            discount_percent: 5,
            quantity: 23,
            extended_price_cents: 1001,
            ..ROW
        };
        let outside = [
            Row { ship_date: 8765, ..inside },
            Row { ship_date: 9131, ..inside },
            Row { discount_percent: 4, ..inside },
            Row { discount_percent: 8, ..inside },
            Row { quantity: 24, ..inside },
        ];
        let mut revenue = RevenueChange::default();
        outside.iter().for_each(|row| revenue.add(row));
        assert_eq!(revenue, RevenueChange::default());
        revenue.add(&inside);
        let mut other = RevenueChange::default();
        other.add(&Row { ship_date: 9130, discount_percent: 7, ..inside });
        revenue.merge(&other);
        // 10.01 × 0.05 + 10.01 × 0.07.
        assert_eq!(revenue.exact().rows, [["1.2012"]]);
        assert_eq!(revenue.rounded().rows, [["1.20"]]);
    }
}
