//! Query 1, the pricing summary: totals by return flag and line status over the rows shipped until 1998-09-02. Exact integers; partial results merge.

use mempool_arrays::{Codes, Layout};

use super::{
    lineitem::{LineColumns, Row},
    table::{Decimal, Table, two_decimals},
};

/// 1998-12-01 less 90 days (the benchmark's validation parameter), in days since 1970-01-01.
const LAST_SHIP_DATE: i32 = 10_471;

/// The answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PricingSummary {
    /// Sorted by (flag, status). The data have four, so looking through them costs less than a map.
    groups: Vec<Group>,
}

/// Totals of one group. Sums are exact, and 128 bits wide so that no scale overflows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    return_flag: u8,
    line_status: u8,
    quantity: i128,
    price_cents: i128,
    /// Price less discount, in 1/10,000.
    discounted_e4: i128,
    /// Price less discount plus tax, in 1/1,000,000.
    charge_e6: i128,
    discount_percent: i128,
    rows: u64,
}

/// Totals of one group in one chunk.
#[derive(Clone, Copy, Default)]
struct Sums {
    quantity: i64,
    price_cents: i64,
    discounted_e4: i64,
    charge_e6: i64,
    discount_percent: i64,
    rows: u64,
}

impl PricingSummary {
    /// Counts one row.
    #[inline]
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        if row.ship_date > LAST_SHIP_DATE {
            return;
        }
        // A line costs less than 2^24 cents, so the products stay far below 2^63.
        let discounted_e4 = row.extended_price_cents * (100 - row.discount_percent);
        let charge_e6 = discounted_e4 * (100 + row.tax_percent);
        let group = self.group(row.return_flag, row.line_status);
        group.quantity += i128::from(row.quantity);
        group.price_cents += i128::from(row.extended_price_cents);
        group.discounted_e4 += i128::from(discounted_e4);
        group.charge_e6 += i128::from(charge_e6);
        group.discount_percent += i128::from(row.discount_percent);
        group.rows += 1;
    }

    /// Counts all rows of a chunk: sums by codes of 64 bits, and then by letters of 128.
    pub(crate) fn add_columns(&mut self, lines: &LineColumns) {
        let (flags, statuses) = (lines.return_flag.dictionary(), lines.line_status.dictionary());
        let mut sums = vec![Sums::default(); flags.len() * statuses.len()];
        let (flag_codes, status_codes) = (lines.return_flag.codes(), lines.line_status.codes());
        let (Codes::U8(flag_codes), Codes::U8(status_codes)) = (flag_codes, status_codes) else {
            // A byte has no more than 256 letters, so codes are as narrow; others are right as well.
            return lines.iter().for_each(|row| self.add(&row));
        };
        let keys = flag_codes.iter().zip(status_codes).zip(&lines.ship_date);
        let amounts = lines.quantity.iter().zip(&lines.extended_price_cents);
        let percents = lines.discount_percent.iter().zip(&lines.tax_percent);
        for ((((flag, status), ship_date), (quantity, price)), (discount, tax)) in
            keys.zip(amounts).zip(percents)
        {
            if *ship_date > LAST_SHIP_DATE {
                continue;
            }
            let sums = &mut sums[usize::from(*flag) * statuses.len() + usize::from(*status)];
            // As above; and a chunk has less than 2^17 rows, so that sums stay below 2^63, too.
            let discounted_e4 = price * (100 - discount);
            sums.quantity += quantity;
            sums.price_cents += price;
            sums.discounted_e4 += discounted_e4;
            sums.charge_e6 += discounted_e4 * (100 + tax);
            sums.discount_percent += discount;
            sums.rows += 1;
        }
        let letters =
            flags.iter().flat_map(|flag| statuses.iter().map(move |status| (flag, status)));
        for ((flag, status), sums) in letters.zip(&sums).filter(|(_, sums)| sums.rows > 0) {
            self.group(*flag, *status).add(sums);
        }
    }

    /// Adds what another thread counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for theirs in &other.groups {
            let ours = self.group(theirs.return_flag, theirs.line_status);
            ours.quantity += theirs.quantity;
            ours.price_cents += theirs.price_cents;
            ours.discounted_e4 += theirs.discounted_e4;
            ours.charge_e6 += theirs.charge_e6;
            ours.discount_percent += theirs.discount_percent;
            ours.rows += theirs.rows;
        }
    }

    #[inline]
    fn group(&mut self, return_flag: u8, line_status: u8) -> &mut Group {
        let wanted = (return_flag, line_status);
        let found =
            self.groups.iter().position(|group| (group.return_flag, group.line_status) >= wanted);
        let index = found.unwrap_or(self.groups.len());
        let is_there = self
            .groups
            .get(index)
            .is_some_and(|group| (group.return_flag, group.line_status) == wanted);
        if !is_there {
            self.groups.insert(index, Group { return_flag, line_status, ..Group::default() });
        }
        &mut self.groups[index]
    }

    /// The answer in the benchmark's form: sums and averages with two decimals.
    pub(crate) fn rounded(&self) -> Table {
        let columns = [
            "l_returnflag",
            "l_linestatus",
            "sum_qty",
            "sum_base_price",
            "sum_disc_price",
            "sum_charge",
            "avg_qty",
            "avg_price",
            "avg_disc",
            "count_order",
        ];
        Table {
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.groups.iter().map(Group::rounded).collect(),
        }
    }

    /// The answer with each digit of its sums. Averages follow from sums and counts.
    pub(crate) fn exact(&self) -> Table {
        let columns = [
            "l_returnflag",
            "l_linestatus",
            "sum_qty",
            "sum_base_price",
            "sum_disc_price",
            "sum_charge",
            "sum_disc",
            "count_order",
        ];
        Table {
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.groups.iter().map(Group::exact).collect(),
        }
    }
}

impl Group {
    /// Adds what a chunk has of it.
    fn add(&mut self, sums: &Sums) {
        self.quantity += i128::from(sums.quantity);
        self.price_cents += i128::from(sums.price_cents);
        self.discounted_e4 += i128::from(sums.discounted_e4);
        self.charge_e6 += i128::from(sums.charge_e6);
        self.discount_percent += i128::from(sums.discount_percent);
        self.rows += sums.rows;
    }

    fn key(&self) -> [String; 2] {
        [self.return_flag, self.line_status].map(|letter| char::from(letter).to_string())
    }

    fn rounded(&self) -> Vec<String> {
        let rows = i128::from(self.rows);
        let mut cells = self.key().to_vec();
        cells.extend([
            two_decimals(self.quantity, 1),
            two_decimals(self.price_cents, 100),
            two_decimals(self.discounted_e4, 10_000),
            two_decimals(self.charge_e6, 1_000_000),
            // A group exists because a row was counted in it, so there is something to divide by.
            two_decimals(self.quantity, rows),
            two_decimals(self.price_cents, 100 * rows),
            two_decimals(self.discount_percent, 100 * rows),
            self.rows.to_string(),
        ]);
        cells
    }

    fn exact(&self) -> Vec<String> {
        let decimal = |value, places| Decimal { value, places }.to_string();
        let mut cells = self.key().to_vec();
        cells.extend([
            self.quantity.to_string(),
            decimal(self.price_cents, 2),
            decimal(self.discounted_e4, 4),
            decimal(self.charge_e6, 6),
            decimal(self.discount_percent, 2),
            self.rows.to_string(),
        ]);
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::lineitem::tests::ROW;

    fn sample() -> Vec<Row<'static>> {
        let row = Row {
            quantity: 3,
            extended_price_cents: 1001,
            discount_percent: 4,
            tax_percent: 8,
            ..ROW
        };
        vec![
            Row { return_flag: b'R', line_status: b'F', ..row },
            Row { return_flag: b'A', line_status: b'F', ..row },
            Row {
                return_flag: b'A',
                line_status: b'F',
                quantity: 4,
                ship_date: LAST_SHIP_DATE,
                ..row
            },
            Row { return_flag: b'N', line_status: b'O', ship_date: LAST_SHIP_DATE + 1, ..row },
        ]
    }

    #[test]
    fn the_last_ship_date_is_ninety_days_before_december() {
        // The generator's day 2557 is 1998-12-31.
        let last = tpchgen::dates::TPCHDate::new(
            LAST_SHIP_DATE - 8035 + tpchgen::dates::MIN_GENERATE_DATE,
        );
        assert_eq!(last.to_string(), "1998-09-02");
    }

    #[test]
    fn totals_are_exact_and_sorted() {
        let mut summary = PricingSummary::default();
        sample().iter().for_each(|row| summary.add(row));
        // 10.01 × 0.96 = 9.6096, × 1.08 = 10.378368.
        let expected = Table::parse(
            "l_returnflag|l_linestatus|sum_qty|sum_base_price|sum_disc_price|sum_charge|sum_disc|count_order
             A|F|7|20.02|19.2192|20.756736|0.08|2
             R|F|3|10.01|9.6096|10.378368|0.04|1",
        );
        assert_eq!(summary.exact(), expected);
        let rounded = summary.rounded();
        assert_eq!(
            rounded.rows[0],
            ["A", "F", "7.00", "20.02", "19.22", "20.76", "3.50", "10.01", "0.04", "2"]
        );
    }

    #[test]
    fn merged_parts_equal_the_whole() {
        let mut whole = PricingSummary::default();
        sample().iter().for_each(|row| whole.add(row));
        let mut merged = PricingSummary::default();
        for row in sample().iter().rev() {
            let mut part = PricingSummary::default();
            part.add(row);
            merged.merge(&part);
        }
        assert_eq!(merged, whole);
    }
}
