//! The JSON line of a run: what was done, how much of it, from which commit and seed. `docs/reliability` is made of these
//! lines; a claim without its line does not count as shown.
//!
//! A test says what it did by printing a line `proof: cases=10000 faults=312 seed=7`, each part optional. The figures
//! of a step's lines are summed, the last seed stands. What no test said is `null`, never zero. libFuzzer's closing line,
//! `Done 10000 runs in 61 second(s)`, says so, too.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::json::quote;
use crate::workspace::Workspace;

/// Where the lines are kept, below the target directory.
const FILE: &str = "xtask/proof.jsonl";

/// How much a run was meant to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Runs with every change.
    A,
    /// Hours; `cargo xtask deep`.
    B,
}

/// What the tests of a step said they did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) cases: Option<u64>,
    pub(crate) faults: Option<u64>,
    pub(crate) seed: Option<String>,
}

impl Reported {
    /// Reads the `proof:` lines of a log.
    pub(crate) fn of_log(log: &str) -> Self {
        let mut reported = Self::default();
        for (_, facts) in log.lines().filter_map(|line| line.split_once("proof: ")) {
            for (name, value) in facts.split_whitespace().filter_map(|fact| fact.split_once('=')) {
                match name {
                    "cases" => add(&mut reported.cases, value),
                    "faults" => add(&mut reported.faults, value),
                    "seed" => reported.seed = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        let done = log.lines().filter_map(|line| line.strip_prefix("Done "));
        for (runs, _) in done.filter_map(|line| line.split_once(" runs in ")) {
            add(&mut reported.cases, runs);
        }
        reported
    }
}

fn add(sum: &mut Option<u64>, value: &str) {
    if let Ok(value) = value.parse::<u64>() {
        *sum = Some(sum.unwrap_or(0) + value);
    }
}

/// One run of one step.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Name of the step.
    pub(crate) name: &'a str,
    /// Number of the bar's line that it belongs to, where it belongs to one.
    pub(crate) bar: Option<u8>,
    pub(crate) tier: Tier,
    pub(crate) reported: Reported,
    pub(crate) passed: u64,
    pub(crate) failures: u64,
    pub(crate) commit: &'a str,
    pub(crate) secs: f64,
    /// Why it did not run.
    pub(crate) skipped: Option<&'a str>,
}

impl Line<'_> {
    /// The line without its newline.
    pub(crate) fn to_json(&self) -> String {
        let number = |value: Option<u64>| {
            value.map_or_else(|| String::from("null"), |value| value.to_string())
        };
        let text = |value: Option<&str>| value.map_or_else(|| String::from("null"), quote);
        format!(
            "{{\"line\":{},\"name\":{},\"tier\":{},\"cases\":{},\"faults\":{},\"passed\":{},\"failures\":{},\"seed\":{},\
             \"commit\":{},\"secs\":{:.1},\"skipped\":{}}}",
            number(self.bar.map(u64::from)),
            quote(self.name),
            quote(match self.tier {
                Tier::A => "A",
                Tier::B => "B",
            }),
            number(self.reported.cases),
            number(self.reported.faults),
            self.passed,
            self.failures,
            text(self.reported.seed.as_deref()),
            quote(self.commit),
            self.secs,
            text(self.skipped),
        )
    }

    /// Appends the line to the file of all lines and returns it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn keep(&self, workspace: &Workspace) -> Result<String, String> {
        let json = self.to_json();
        let path = workspace.target.join(FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        writeln!(file, "{json}")
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn what_tests_say_is_summed_and_what_they_do_not_say_is_unknown() {
        let log = "proof: cases=10 seed=0x1\ntest a ... proof: cases=5 faults=2 seed=0x2\nproof: cases=many\n";
        let reported = Reported::of_log(log);
        assert_eq!(
            reported,
            Reported { cases: Some(15), faults: Some(2), seed: Some(String::from("0x2")) }
        );
        assert_eq!(Reported::of_log("ok"), Reported::default());
        let fuzzed = "#8 DONE cov: 9\nDone 4096 runs in 61 second(s)\nDone\n";
        assert_eq!(Reported::of_log(fuzzed).cases, Some(4096));
    }

    #[test]
    fn a_line_is_json() {
        let line = Line {
            name: "model \"a\"",
            bar: Some(1),
            tier: Tier::B,
            reported: Reported { cases: Some(3), faults: None, seed: None },
            passed: 2,
            failures: 0,
            commit: "abc",
            secs: 1.25,
            skipped: None,
        };
        let json = Json::parse(&line.to_json()).unwrap();
        assert_eq!(json.get("line"), &Json::Number(1.0));
        assert_eq!(json.get("name").text(), Some("model \"a\""));
        assert_eq!(json.get("cases"), &Json::Number(3.0));
        assert_eq!(json.get("faults"), &Json::Null);
    }
}
