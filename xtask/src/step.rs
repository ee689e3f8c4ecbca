//! A named step of a run: its commands or its function, how its tests are counted, what it needs. The runner runs every
//! step, whatever became of the one before, and closes with the tally.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::invocation::{Ending, Invocation};
use crate::proof::{Line, Reported, Tier};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A step that runs longer hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How much of a failed step's output is shown; the rest is in its log.
const SHOWN_LINES_MAX: usize = 300;

/// What a step inside this process is given: the workspace and a log to write to.
pub(crate) type Inside = fn(&Workspace, &mut String) -> Result<(), String>;

/// Fetches what a command needs, and says which that is; or why it cannot be had.
pub(crate) type Prepare = fn(&Workspace) -> Result<Invocation, String>;

enum Work {
    /// Commands in order; the first that fails ends the step.
    Commands(Vec<Invocation>),
    /// One command, once all that it needs was fetched; if that cannot be, the step is skipped.
    Prepared(Prepare),
    Inside(Inside),
}

/// One step.
pub(crate) struct Step {
    name: String,
    work: Work,
    /// Whether the test harness's own counts are read; else the step counts as one test.
    counts_tests: bool,
    bar: Option<u8>,
    limit: Duration,
    missing: Option<String>,
}

impl Step {
    /// A step that passes when every command does.
    pub(crate) fn check(name: &str, commands: Vec<Invocation>) -> Self {
        Self::new(name, Work::Commands(commands), false)
    }

    /// A step of test harnesses: their counts are added up, and it fails if no test ran.
    pub(crate) fn tests(name: &str, command: Invocation) -> Self {
        Self::new(name, Work::Commands(vec![command]), true)
    }

    /// A step inside this process.
    pub(crate) fn inside(name: &str, function: Inside) -> Self {
        Self::new(name, Work::Inside(function), false)
    }

    /// A step of a test harness that needs what is fetched when the step runs, and is skipped where it cannot be.
    pub(crate) fn prepared(name: &str, prepare: Prepare) -> Self {
        Self::new(name, Work::Prepared(prepare), true)
    }

    fn new(name: &str, work: Work, counts_tests: bool) -> Self {
        Self { name: name.to_owned(), work, counts_tests, bar: None, limit: LIMIT, missing: None }
    }

    /// The line of the bar that this step shows.
    pub(crate) fn bar(mut self, line: u8) -> Self {
        self.bar = Some(line);
        self
    }

    /// Another limit than the usual one.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Skips the step with a reason unless `there`.
    pub(crate) fn needs(mut self, there: bool, reason: &str) -> Self {
        if !there && self.missing.is_none() {
            self.missing = Some(reason.to_owned());
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Prints the step with its commands.
    pub(crate) fn describe(&self) -> String {
        let mut text = self.name.clone();
        if let Some(reason) = &self.missing {
            text.push_str(&format!("  (skipped: {reason})"));
        }
        match &self.work {
            Work::Commands(commands) => {
                commands.iter().for_each(|command| text.push_str(&format!("\n    {command}")))
            }
            Work::Prepared(_) => text.push_str("\n    what it needs, then its tests"),
            Work::Inside(_) => text.push_str("\n    inside cargo xtask"),
        }
        text
    }

    fn run(&self, workspace: &Workspace) -> Result<Outcome, String> {
        if let Some(reason) = &self.missing {
            return Ok(Outcome::skipped(reason));
        }
        let start = Instant::now();
        let (log, fault) = match &self.work {
            Work::Commands(commands) => self.run_commands(workspace, commands)?,
            Work::Prepared(prepare) => match prepare(workspace) {
                Ok(command) => self.run_commands(workspace, &[command])?,
                Err(why) => return Ok(Outcome::skipped(why.lines().next().unwrap_or_default())),
            },
            Work::Inside(function) => {
                let mut log = String::new();
                let fault = function(workspace, &mut log).err();
                (log, fault)
            }
        };
        Ok(self.judge(log, fault, start.elapsed()))
    }

    fn run_commands(
        &self,
        workspace: &Workspace,
        commands: &[Invocation],
    ) -> Result<(String, Option<String>), String> {
        let (path, mut file) = self.log(workspace)?;
        let mut fault = None;
        for command in commands {
            let ending = command.run(&mut file, self.limit);
            fault = match ending {
                Ok(ending) if ending.is_success() => None,
                Ok(Ending::Exited(status)) => Some(format!("`{command}` ended with {status}")),
                Ok(Ending::Killed) => {
                    Some(format!("`{command}` hung: killed after {:?}", self.limit))
                }
                Err(why) => Some(why),
            };
            if fault.is_some() {
                break;
            }
        }
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), fault))
    }

    fn log(&self, workspace: &Workspace) -> Result<(PathBuf, File), String> {
        let directory = workspace.target.join("xtask/log");
        let path = directory.join(format!("{}.txt", self.name.replace(' ', "-")));
        std::fs::create_dir_all(&directory)
            .and_then(|()| {
                File::options().create(true).truncate(true).read(true).write(true).open(&path)
            })
            .map(|file| (path.clone(), file))
            .map_err(|error| format!("{} cannot be made: {error}", path.display()))
    }

    fn judge(&self, log: String, mut fault: Option<String>, took: Duration) -> Outcome {
        let mut tally = if self.counts_tests { Tally::of_log(&log) } else { Tally::default() };
        if self.counts_tests && fault.is_none() && tally.passed == 0 {
            fault = Some(String::from("no test ran"));
        }
        match fault {
            // A build that fails has no failed test of its own; neither has a harness that dies.
            Some(_) => tally.failed = tally.failed.max(1),
            None if !self.counts_tests => tally.passed = 1,
            None => {}
        }
        Outcome { tally, fault, skipped: None, log, took }
    }
}

/// What became of a step.
struct Outcome {
    tally: Tally,
    fault: Option<String>,
    skipped: Option<String>,
    log: String,
    took: Duration,
}

impl Outcome {
    fn skipped(reason: &str) -> Self {
        let tally = Tally { skipped: 1, ..Tally::default() };
        Self {
            tally,
            fault: None,
            skipped: Some(reason.to_owned()),
            log: String::new(),
            took: Duration::ZERO,
        }
    }
}

/// A run of several steps.
pub(crate) struct Runner<'a> {
    workspace: &'a Workspace,
    tier: Tier,
    commit: String,
    total: Tally,
}

impl<'a> Runner<'a> {
    /// Runs the steps whose names contain one of `words`, or lists them for `--list`. Prints the closing line.
    ///
    /// # Errors
    /// Where no step has such a name, or nothing can be written to the target directory.
    pub(crate) fn run(
        workspace: &'a Workspace,
        tier: Tier,
        steps: &[Step],
        words: &[String],
    ) -> crate::Verdict {
        let mut words = words.to_vec();
        let list = words.iter().any(|word| word == "--list");
        words.retain(|word| word != "--list");
        if let Some(option) = words.iter().find(|word| word.starts_with('-')) {
            return Err(format!("there is no option `{option}`; --list shows the steps"));
        }
        let chosen = choose(steps, &words)?;
        if list {
            chosen.iter().for_each(|step| println!("{}", step.describe()));
            return Ok(true);
        }
        let mut runner =
            Self { workspace, tier, commit: workspace.commit(), total: Tally::default() };
        let start = Instant::now();
        for step in chosen {
            runner.one(step)?;
        }
        println!("total  {:.1}s", start.elapsed().as_secs_f64());
        println!("{}", runner.total);
        Ok(runner.total.failed == 0)
    }

    fn one(&mut self, step: &Step) -> Result<(), String> {
        let terminal = std::io::stdout().is_terminal();
        if terminal {
            print!("....   {}\r", step.name);
            // Only a hint for the eye.
            let _ = std::io::stdout().flush();
        }
        let outcome = step.run(self.workspace)?;
        println!("{}", summary(step, &outcome));
        if let Some(fault) = &outcome.fault {
            println!("{}", excerpt(&outcome.log));
            println!("FAILED {}: {fault}\n", step.name);
        }
        self.total += outcome.tally;
        let json = Line {
            name: &step.name,
            bar: step.bar,
            tier: self.tier,
            reported: Reported::of_log(&outcome.log),
            passed: outcome.tally.passed,
            failures: outcome.tally.failed,
            commit: &self.commit,
            secs: outcome.took.as_secs_f64(),
            skipped: outcome.skipped.as_deref(),
        }
        .keep(self.workspace)?;
        if self.tier == Tier::B {
            println!("{json}");
        }
        Ok(())
    }
}

fn choose<'s>(steps: &'s [Step], words: &[String]) -> Result<Vec<&'s Step>, String> {
    for word in words {
        if !steps.iter().any(|step| step.name.contains(word.as_str())) {
            return Err(format!("no step has `{word}` in its name; --list shows them"));
        }
    }
    let wanted = |step: &&Step| {
        words.is_empty() || words.iter().any(|word| step.name.contains(word.as_str()))
    };
    Ok(steps.iter().filter(wanted).collect())
}

fn summary(step: &Step, outcome: &Outcome) -> String {
    if let Some(reason) = &outcome.skipped {
        return format!("skip   {:<22} skipped: {reason}", step.name);
    }
    let word = if outcome.fault.is_some() { "FAILED" } else { "ok    " };
    let mut line = format!("{word} {:<22} {:>7.1}s", step.name, outcome.took.as_secs_f64());
    if step.counts_tests {
        line.push_str(&format!("  ({} passed", outcome.tally.passed));
        for (count, what) in [(outcome.tally.failed, "failed"), (outcome.tally.skipped, "skipped")]
        {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        line.push(')');
    } else if outcome.fault.is_none() && outcome.log.lines().count() == 1 {
        // A step inside this process may say in one line what it looked at.
        line.push_str(&format!("  ({})", outcome.log.trim()));
    }
    line
}

fn excerpt(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let left_out = lines.len().saturating_sub(SHOWN_LINES_MAX);
    let mut text = String::new();
    if left_out > 0 {
        text.push_str(&format!("[{left_out} lines before these are in the step's log]\n"));
    }
    text.push_str(&lines[left_out..].join("\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str =
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";

    #[test]
    fn a_step_whose_needs_cannot_be_fetched_is_skipped() {
        let workspace = Workspace { root: "/w".into(), target: "/t".into() };
        let step = Step::prepared("fetched", |_| Err(String::from("no network\nat all")));
        let outcome = step.run(&workspace).unwrap();
        assert_eq!(outcome.skipped.as_deref(), Some("no network"));
        assert_eq!(outcome.tally, Tally { skipped: 1, ..Tally::default() });
    }

    fn tests_step() -> Step {
        Step::new("unit tests", Work::Commands(Vec::new()), true)
    }

    fn judge(step: &Step, log: &str, fault: Option<&str>) -> Outcome {
        step.judge(log.to_owned(), fault.map(str::to_owned), Duration::ZERO)
    }

    #[test]
    fn tests_are_counted() {
        let outcome = judge(&tests_step(), PASSED, None);
        assert_eq!(outcome.tally, Tally { passed: 3, failed: 0, skipped: 1 });
        assert_eq!(
            summary(&tests_step(), &outcome),
            "ok     unit tests                 0.0s  (3 passed, 1 skipped)"
        );
    }

    #[test]
    fn a_build_that_fails_counts_as_one_failure() {
        let outcome =
            judge(&tests_step(), "error: could not compile", Some("cargo ended with 101"));
        assert_eq!(outcome.tally, Tally { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_step_in_which_no_test_ran_fails() {
        let outcome = judge(&tests_step(), "test result: ok. 0 passed; 0 failed; 0 ignored", None);
        assert_eq!(outcome.tally.failed, 1);
        assert_eq!(outcome.fault.as_deref(), Some("no test ran"));
    }

    #[test]
    fn a_check_counts_as_one() {
        let step = Step::check("format", Vec::new());
        assert_eq!(judge(&step, "", None).tally.passed, 1);
        assert_eq!(judge(&step, "", Some("no")).tally.failed, 1);
    }

    #[test]
    fn what_is_missing_is_skipped_with_its_reason() {
        let step = Step::check("deny", Vec::new())
            .needs(true, "never")
            .needs(false, "cargo-deny is not installed");
        assert!(step.describe().contains("cargo-deny is not installed"));
        let outcome = Outcome::skipped(step.missing.as_deref().unwrap());
        assert_eq!(outcome.tally.skipped, 1);
        assert!(summary(&step, &outcome).ends_with("skipped: cargo-deny is not installed"));
    }

    #[test]
    fn words_choose_steps_and_unknown_words_are_refused() {
        let steps = [Step::check("loom", Vec::new()), Step::check("docs", Vec::new())];
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            choose(&steps, &words)
                .map(|steps| steps.iter().map(|step| step.name().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["loom", "docs"]);
        assert_eq!(names(&["oo"]).unwrap(), ["loom"]);
        assert!(names(&["loom", "lom"]).is_err());
    }

    #[test]
    fn a_long_log_is_cut_at_its_head() {
        let log = (0..1000).map(|line| format!("{line}\n")).collect::<String>();
        let text = excerpt(&log);
        assert!(text.starts_with("[700 lines before"));
        assert!(text.ends_with("999"));
    }
}
