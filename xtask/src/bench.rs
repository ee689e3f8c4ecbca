//! `cargo xtask bench core|spill|small|writing|filter|arrays|columns|net|host|peers|duckdb`: prints the machine, then runs that bench
//! program. Measures nothing itself.

use std::path::PathBuf;

use crate::Verdict;
use crate::columns;
use crate::duckdb;
use crate::invocation::Invocation;
use crate::machine::Machine;
use crate::workspace::Workspace;

/// All there are, as a person reads them.
const NAMES: &str =
    "core, spill, small, writing, filter, arrays, columns, net, host, peers, duckdb";
/// Name on the command line, package, bench target.
const BENCHES: &[(&str, &str, &str)] = &[
    ("core", "mempool-core", "core"),
    ("spill", "mempool-spill", "spill"),
    ("small", "mempool-spill", "small"),
    ("writing", "mempool-spill", "writing"),
    ("filter", "mempool-spill", "filter"),
    ("host", "mempool-net", "host"),
];
/// What others offer for the job, in packages outside the workspace: for a store, for arrays, and for moving bytes.
pub(crate) const PEERS: &str = "bench-peers/Cargo.toml";
pub(crate) const ARRAYS: &str = "bench-arrays/Cargo.toml";
pub(crate) const NET: &str = "bench-net/Cargo.toml";

/// Runs one bench with the arguments behind its name passed through.
///
/// # Errors
/// Where no such bench exists or cargo cannot be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let (name, rest) = arguments.split_first().ok_or_else(|| format!("which one of {NAMES}?"))?;
    match name.as_str() {
        "peers" => return peers(workspace, rest),
        "arrays" => return arrays(workspace, rest),
        "net" => return net(workspace, rest),
        "columns" => return columns::run(workspace, rest),
        "duckdb" => return duckdb::run(workspace, rest),
        _ => {}
    }
    let &(_, package, bench) = BENCHES
        .iter()
        .find(|(known, _, _)| known == name)
        .ok_or_else(|| format!("there is no bench `{name}`; there are {NAMES}"))?;
    println!("{}\n", Machine::here(workspace, &workspace.target));
    let call = workspace.cargo(&["bench", "--locked", "--package", package, "--bench", bench]);
    Ok(passed_through(call, rest).run_shown()?.success())
}

fn peers(workspace: &Workspace, rest: &[String]) -> Verdict {
    let machine = Machine::here(workspace, &peers_directory(rest)).to_string();
    println!("{machine}\n");
    let call = peers_cargo(workspace, PEERS, "run").arguments(&["--release"]);
    Ok(passed_through(call.env("BENCH_MACHINE", &machine), rest).run_shown()?.success())
}

fn arrays(workspace: &Workspace, rest: &[String]) -> Verdict {
    let directory = rest.first().map_or_else(std::env::temp_dir, PathBuf::from);
    println!("{}\n", Machine::here(workspace, &directory));
    let call = peers_cargo(workspace, ARRAYS, "run").arguments(&["--release"]);
    Ok(passed_through(call, rest).run_shown()?.success())
}

fn net(workspace: &Workspace, rest: &[String]) -> Verdict {
    println!("{}\n", Machine::here(workspace, &std::env::temp_dir()));
    let call = peers_cargo(workspace, NET, "run").arguments(&["--release"]);
    Ok(passed_through(call, rest).run_shown()?.success())
}

/// A call of cargo for a package of peers, in a target directory of its own.
pub(crate) fn peers_cargo(workspace: &Workspace, manifest: &str, command: &str) -> Invocation {
    workspace.cargo(&[command, "--locked", "--manifest-path", manifest]).target(workspace, "peers")
}

/// The directory among the arguments, which is the only one that stands by itself.
fn peers_directory(arguments: &[String]) -> PathBuf {
    let mut words = arguments.iter();
    let mut named = None;
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            // All options but this one have a value.
            if word != "--quick" {
                words.next();
            }
        } else {
            named = Some(PathBuf::from(word));
        }
    }
    named.unwrap_or_else(std::env::temp_dir)
}

fn passed_through(call: Invocation, rest: &[String]) -> Invocation {
    if rest.is_empty() {
        return call;
    }
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    call.arguments(&["--"]).arguments(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_the_peers_is_found_among_options() {
        let found = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            peers_directory(&words)
        };
        assert_eq!(found("--quick /a --json /b"), PathBuf::from("/a"));
        assert_eq!(found("--json /b --quick"), std::env::temp_dir());
    }
}
