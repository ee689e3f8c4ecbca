//! `cargo xtask bench columns`: the queries of `mempool tpch` over columns within a memory limit, beside the same queries over arrays of arrow-rs that are all in
//! memory (the package `bench-columns`). Prints medians of five rounds; judges nothing.

use std::fs;

use crate::Verdict;
use crate::duckdb::{Asked, card, number, seconds};
use crate::json::Json;
use crate::machine::Machine;
use crate::workspace::Workspace;

const ROUNDS: usize = 5;
const MANIFEST: &str = "bench-columns/Cargo.toml";

/// Each query, and our phases that make it up.
const QUERIES: [(u8, &[&str]); 5] = [
    (1, &["query 1"]),
    (3, &["3: customers", "3: orders", "3: join", "3: lines", "3: group"]),
    (6, &["query 6"]),
    (13, &["13: customers", "13: orders", "13: group"]),
    (18, &["partition", "group", "orders", "customers"]),
];

/// Runs the comparison: `[DIRECTORY] [--scale FACTOR] [--memory-limit MIB]`, in a new directory below the one given.
///
/// # Errors
/// For a word that is not understood, or where a program does not build or run.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let asked = Asked::read(arguments)?;
    println!("{}\n", Machine::here(workspace, &asked.parent));
    let directory = asked.parent.join(format!("bench-columns-{}", std::process::id()));
    fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let measured = compare(workspace, &asked, &directory.display().to_string());
    let removed = fs::remove_dir_all(&directory);
    measured?;
    removed.map_err(|error| format!("{} is left: {error}", directory.display()))?;
    Ok(true)
}

fn compare(workspace: &Workspace, asked: &Asked, place: &str) -> Result<(), String> {
    let builds = [
        workspace.cargo(&["build", "--release", "--locked", "--package", "mempool-cli"]),
        workspace
            .cargo(&["build", "--release", "--locked", "--manifest-path", MANIFEST])
            .target(workspace, "columns"),
    ];
    for build in builds {
        if !build.run_shown()?.success() {
            return Err("a program does not build".into());
        }
    }
    let theirs = workspace.target.join("columns").join("release").join("bench-columns");
    let theirs = theirs.display().to_string();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let mut found = QUERIES.map(|_| (Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        let card = card(workspace, asked, place, &["--threads", &threads])?;
        let text = workspace.output(&theirs, &[&asked.scale, &threads])?;
        let peer = Json::parse(&text)?;
        for ((query, phases), (ours, theirs)) in QUERIES.iter().zip(&mut found) {
            ours.push(seconds(&card, phases)?);
            theirs.push(seconds_of(&peer, *query)?);
        }
    }
    println!(
        "data derived from TPC-H, scale {}, {threads} threads, medians of {ROUNDS} rounds\n",
        asked.scale
    );
    let ours = format!("at {} MiB", asked.limit_mib);
    println!("{:<10} {ours:>14} {:>18} {:>8}", "", "arrow in memory", "ratio");
    for ((query, _), (ours, theirs)) in QUERIES.iter().zip(&mut found) {
        let (ours, theirs) = (median(ours), median(theirs));
        let name = format!("query {query}");
        println!("{name:<10} {ours:>12.3} s {theirs:>16.3} s {:>8.2}", ours / theirs);
    }
    Ok(())
}

/// What the peer took for a query.
fn seconds_of(peer: &Json, query: u8) -> Result<f64, String> {
    let is_it =
        |found: &&Json| number(found, "query").is_ok_and(|number| number == f64::from(query));
    let found = peer.get("queries").list().iter().find(is_it);
    number(found.ok_or_else(|| format!("the peer has no query {query}"))?, "seconds")
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_queries_are_found_by_number() {
        let peer = Json::parse(
            r#"{"queries": [{"query": 13, "seconds": 0.5}, {"query": 1, "seconds": 0.25}]}"#,
        )
        .unwrap();
        assert_eq!(seconds_of(&peer, 1), Ok(0.25));
        assert_eq!(seconds_of(&peer, 3), Err("the peer has no query 3".into()));
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
