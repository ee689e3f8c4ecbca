//! Answers of a query as text, cell by cell, and where two of them differ. Computes nothing.

use std::fmt;

/// Rows of named columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads the form that the benchmark's answers have: a line of names and a line for each row, cells parted by `|` and padded with spaces.
    pub(crate) fn parse(text: &str) -> Self {
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let columns = lines.next().map(cells).unwrap_or_default();
        Self { columns, rows: lines.map(cells).collect() }
    }

    /// Each cell in which `self` is not what was expected, as a sentence; empty if the tables are equal.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        if self.columns != expected.columns {
            return vec![format!("columns {:?}, expected {:?}", self.columns, expected.columns)];
        }
        if self.rows.len() != expected.rows.len() {
            return vec![format!("{} rows, expected {}", self.rows.len(), expected.rows.len())];
        }
        let rows = self.rows.iter().zip(&expected.rows).enumerate();
        rows.flat_map(|(row, (found, expected))| self.row_differences(row, found, expected))
            .collect()
    }

    fn row_differences(&self, row: usize, found: &[String], expected: &[String]) -> Vec<String> {
        if found.len() != expected.len() {
            return vec![format!(
                "row {}: {} cells, expected {}",
                row + 1,
                found.len(),
                expected.len()
            )];
        }
        let cells = self.columns.iter().zip(found.iter().zip(expected));
        let differing = cells.filter(|(_, (found, expected))| found != expected);
        differing
            .map(|(column, (found, expected))| {
                format!("row {}, {column}: {found}, expected {expected}", row + 1)
            })
            .collect()
    }
}

/// `numerator / denominator` with two decimals, rounded half away from zero, as the benchmark prints sums and averages.
pub(crate) fn two_decimals(numerator: i128, denominator: i128) -> String {
    let hundredths = numerator * 100;
    let half = if hundredths < 0 { -denominator / 2 } else { denominator / 2 };
    Decimal { value: (hundredths + half) / denominator, places: 2 }.to_string()
}

/// A date, given in days since 1970-01-01, as `1996-03-13` (Howard Hinnant's `civil_from_days`).
pub(crate) fn date(days: i32) -> String {
    // Counted from 0000-03-01 in eras of 400 years, so that the leap day is a year's last.
    let days = i64::from(days) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `value` counted in `10^-places`, printed whole: no digit is dropped.
pub(crate) struct Decimal {
    pub(crate) value: i128,
    pub(crate) places: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10_u128.pow(self.places);
        let sign = if self.value < 0 { "-" } else { "" };
        let (whole, part) = (self.value.unsigned_abs() / one, self.value.unsigned_abs() % one);
        write!(f, "{sign}{whole}.{part:0width$}", width = self.places as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        Table::parse(text)
    }

    #[test]
    fn the_benchmarks_form_is_read() {
        let read = table("\nflag |sum   \nA    |1.50\nB|2\n\n");
        assert_eq!(read.columns, ["flag", "sum"]);
        assert_eq!(read.rows, [["A", "1.50"], ["B", "2"]]);
    }

    #[test]
    fn each_difference_is_named() {
        let expected = table("a|b\n1|2\n3|4\n");
        assert_eq!(expected.differences(&expected), Vec::<String>::new());
        assert_eq!(table("a|b\n1|2\n3|5\n").differences(&expected), ["row 2, b: 5, expected 4"]);
        assert_eq!(table("a|b\n1|2\n").differences(&expected), ["1 rows, expected 2"]);
        assert_eq!(table("a|b\n1|2\n3\n").differences(&expected), ["row 2: 1 cells, expected 2"]);
        assert_eq!(table("a\n1\n3\n").differences(&expected).len(), 1);
    }

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        for (numerator, denominator, text) in [
            (0, 1, "0.00"),
            (1, 3, "0.33"),
            (2, 3, "0.67"),
            (1, 200, "0.01"),
            (-1, 200, "-0.01"),
            (-2, 3, "-0.67"),
            (999, 1000, "1.00"),
            (37_734_107, 1, "37734107.00"),
        ] {
            assert_eq!(two_decimals(numerator, denominator), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (8036, "1992-01-02"),
            (9496, "1996-01-01"),
            (9555, "1996-02-29"),
            (10_471, "1998-09-02"),
            (11_016, "2000-02-29"),
        ] {
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn decimals_keep_each_digit() {
        assert_eq!(Decimal { value: 12_345, places: 4 }.to_string(), "1.2345");
        assert_eq!(Decimal { value: -5, places: 6 }.to_string(), "-0.000005");
        assert_eq!(Decimal { value: 700, places: 2 }.to_string(), "7.00");
    }
}
