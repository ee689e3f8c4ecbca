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
    fn decimals_keep_each_digit() {
        assert_eq!(Decimal { value: 12_345, places: 4 }.to_string(), "1.2345");
        assert_eq!(Decimal { value: -5, places: 6 }.to_string(), "-0.000005");
        assert_eq!(Decimal { value: 700, places: 2 }.to_string(), "7.00");
    }
}
