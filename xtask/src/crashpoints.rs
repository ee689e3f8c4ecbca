//! `cargo xtask crashpoints`: kills a process that spills, saves and retains, and looks at what it leaves. Owns the counts and the
//! seed; the killing is in `mempool-spill/tests/crashpoints.rs`.

use std::time::Duration;

use crate::Verdict;
use crate::invocation::Invocation;
use crate::proof::Tier;
use crate::step::{Runner, Step};
use crate::test;
use crate::workspace::Workspace;

/// Fifty thousand points take about a quarter of an hour on two cores.
const LIMIT: Duration = Duration::from_secs(90 * 60);

const USAGE: &str = "[--mode kill|random] [--limit N] [--seed S]";

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    kill: bool,
    random: bool,
    limit: u64,
    seed: u64,
}

/// Kills at exact points, at random ones, or both; prints a JSON line for each.
///
/// # Errors
/// Where an argument is not known or nothing can be written to the target directory.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let asked = parse(arguments)?;
    std::fs::create_dir_all(workspace.target.join("xtask"))
        .map_err(|error| format!("the target directory: {error}"))?;
    let mut steps = Vec::new();
    if asked.kill {
        steps.push(exact(workspace, asked.limit, asked.seed));
    }
    if asked.random {
        steps.push(random(workspace, asked.limit, asked.seed));
    }
    let steps: Vec<Step> = steps.into_iter().map(|step| step.limit(LIMIT)).collect();
    Runner::run(workspace, Tier::B, &steps, &[])
}

/// A kill at the k-th call of each kind.
pub(crate) fn exact(workspace: &Workspace, points: u64, seed: u64) -> Step {
    let strace = workspace.output("strace", &["-f", "-o", "/dev/null", "true"]).is_ok();
    let call = test(workspace, "a_kill_at_any_call_leaves_nothing", seed)
        .arguments(&["a_kill_while_values_are_retained_leaves_the_old_or_the_new"]);
    Step::tests("crash points", call.env("CRASH_POINTS", &points.to_string()))
        .bar(7)
        .needs(strace, "strace is not installed or may not trace; the random kills stand for it")
}

/// A kill after a random number of operations.
pub(crate) fn random(workspace: &Workspace, kills: u64, seed: u64) -> Step {
    let call = test(workspace, "a_kill_at_any_moment_leaves_nothing", seed);
    Step::tests("random kills", call.env("KILLS", &kills.to_string())).bar(8)
}

fn test(workspace: &Workspace, name: &str, seed: u64) -> Invocation {
    test::spill(workspace, "crashpoints").arguments(&[name]).env("SEED", &seed.to_string())
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked { kill: true, random: true, limit: 1000, seed: 1 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value: {USAGE}"))?;
        let number = || value.parse().map_err(|_| format!("{word} wants a number, not `{value}`"));
        match (word.as_str(), value.as_str()) {
            ("--mode", "kill") => asked.random = false,
            ("--mode", "random") => asked.kill = false,
            ("--limit", _) => asked.limit = number()?,
            ("--seed", _) => asked.seed = number()?,
            _ => return Err(format!("`{word} {value}` is not known: {USAGE}")),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Asked, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn arguments_are_read() {
        let both = Asked { kill: true, random: true, limit: 1000, seed: 1 };
        assert_eq!(parsed(""), Ok(both));
        let exact = Asked { kill: true, random: false, limit: 50, seed: 7 };
        assert_eq!(parsed("--mode kill --limit 50 --seed 7"), Ok(exact));
        for wrong in ["--mode", "--mode maybe", "--limit many", "--kills 3"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
