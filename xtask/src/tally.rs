//! How many tests passed, failed and were skipped: read from what the test harness prints, added up over steps.

use std::fmt;
use std::ops::AddAssign;

/// Counts of tests; a step that runs none counts as one itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Sums every `test result:` line of a log. An ignored test counts as skipped; one that a filter leaves out does not.
    pub(crate) fn of_log(log: &str) -> Self {
        let mut sum = Self::default();
        for line in log.lines() {
            // Not always the first on its line: a test that prints without a newline stands before it.
            if let Some((_, counts)) = line.split_once("test result: ") {
                sum += Self::of_line(counts);
            }
        }
        sum
    }

    fn of_line(counts: &str) -> Self {
        let count = |word: &str| {
            let before = counts.split(word).next().filter(|before| before.len() < counts.len());
            before
                .and_then(|before| before.split_whitespace().next_back()?.parse().ok())
                .unwrap_or(0)
        };
        Self { passed: count(" passed"), failed: count(" failed;"), skipped: count(" ignored") }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The closing line of a run, word for word what CI reads.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_lines_of_a_log() {
        let log = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s\n\
            noise 7 passed\n\
            .test result: FAILED. 20 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(Tally::of_log(log), Tally { passed: 23, failed: 2, skipped: 1 });
        assert_eq!(Tally::of_log("error: could not compile"), Tally::default());
    }

    #[test]
    fn prints_the_closing_line() {
        let tally = Tally { passed: 12, failed: 0, skipped: 2 };
        assert_eq!(tally.to_string(), "12 passed, 0 failed, 2 skipped");
    }
}
