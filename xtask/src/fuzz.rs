//! `cargo xtask fuzz [TARGET...] [--seconds N]`: the targets of `fuzz/`, each for a while, and how many inputs it has tried. Owns
//! the list of them and how they are called, not what they look at.
//!
//! A target goes on from what was found before, in `fuzz/corpus`; those that read arrays begin with good ones. An input that fails
//! is left in `fuzz/artifacts`, and the log ends with the command that replays it.

use std::time::Duration;

use crate::Verdict;
use crate::invocation::Invocation;
use crate::proof::Tier;
use crate::step::{Runner, Step};
use crate::workspace::Workspace;

/// How long each target runs unless something else is said.
const SECONDS: u64 = 60;
/// For the build, which is with the first target.
const BUILD: Duration = Duration::from_secs(45 * 60);
/// What must be there.
const MISSING: &str = "it needs a nightly toolchain and cargo-fuzz: `rustup toolchain install nightly`, `cargo install cargo-fuzz`";
const MANIFEST: &str = "fuzz/Cargo.toml";

/// Encodings of one value, and what stands around them.
const OF_BYTES: [&str; 6] = ["frame", "archive", "bincode", "encoded", "manifest", "container"];
/// The layouts of arrays, and Arrow's files.
const OF_ARRAYS: [&str; 14] = [
    "values",
    "records",
    "bits",
    "units",
    "strings",
    "binary",
    "nullable",
    "pooled",
    "list",
    "structs",
    "column",
    "table",
    "nd_array",
    "arrow_file",
];

/// Runs the targets, or those whose names contain one of the arguments.
///
/// # Errors
/// Where no target is called so, or the seconds are no number.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let (seconds, words) = seconds(arguments)?;
    std::fs::create_dir_all(workspace.target.join("xtask"))
        .map_err(|error| format!("the target directory: {error}"))?;
    Runner::run(workspace, Tier::B, &steps(workspace, seconds), &words)
}

/// The seconds that were asked for, and the other arguments.
fn seconds(arguments: &[String]) -> Result<(u64, Vec<String>), String> {
    let mut words = arguments.to_vec();
    let Some(at) = words.iter().position(|word| word == "--seconds") else {
        return Ok((SECONDS, words));
    };
    let number = words.get(at + 1).and_then(|number| number.parse().ok());
    let seconds = number.filter(|&seconds| seconds > 0);
    words.drain(at..words.len().min(at + 2));
    Ok((seconds.ok_or("--seconds needs a number above zero")?, words))
}

/// A step for each target.
pub(crate) fn steps(workspace: &Workspace, seconds: u64) -> Vec<Step> {
    let there = workspace.output("cargo", &["+nightly", "fuzz", "--version"]).is_ok();
    let step = |target: &str, commands| {
        Step::check(&format!("fuzz {target}"), commands)
            .bar(14)
            .limit(BUILD + Duration::from_secs(seconds))
            .needs(there, MISSING)
    };
    let of_bytes =
        OF_BYTES.iter().map(|target| step(target, vec![fuzz(workspace, target, seconds)]));
    let of_arrays = OF_ARRAYS
        .iter()
        .map(|target| step(target, vec![seeds(workspace), fuzz(workspace, target, seconds)]));
    of_bytes.chain(of_arrays).collect()
}

/// One target. By name and not by $CARGO, which is one toolchain's own program.
fn fuzz(workspace: &Workspace, target: &str, seconds: u64) -> Invocation {
    Invocation::new("cargo", &workspace.root)
        .arguments(&["+nightly", "fuzz", "run", target, "--"])
        .arguments(&[&format!("-max_total_time={seconds}"), "-max_len=65536"])
        .arguments(&["-rss_limit_mb=2048", "-timeout=5"])
        .target(workspace, "fuzz")
}

/// Good arrays of all layouts, where the targets look for them.
fn seeds(workspace: &Workspace) -> Invocation {
    let call = ["run", "--locked", "--manifest-path", MANIFEST, "--example", "seeds"];
    workspace.cargo(&call).target(workspace, "fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_target_is_run() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort_unstable();
        let mut targets = [&OF_BYTES[..], &OF_ARRAYS[..]].concat();
        targets.sort_unstable();
        assert_eq!(targets, files);
    }

    #[test]
    fn seconds_are_taken_out_of_the_words() {
        let taken = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            seconds(&words)
        };
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(taken("strings list"), Ok((60, words(&["strings", "list"]))));
        assert_eq!(taken("strings --seconds 5 list"), Ok((5, words(&["strings", "list"]))));
        for wrong in ["--seconds", "--seconds strings", "--seconds 0"] {
            assert!(taken(wrong).is_err(), "{wrong}");
        }
    }
}
