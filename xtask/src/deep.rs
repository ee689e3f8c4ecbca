//! `cargo xtask deep`: the same properties as `test` with counts that take hours, one JSON line each. Owns the counts,
//! not the properties.

use std::time::Duration;

use crate::Verdict;
use crate::bench::{ARRAYS, NET, PEERS, peers_cargo};
use crate::crashpoints;
use crate::fuzz;
use crate::invocation::Invocation;
use crate::proof::Tier;
use crate::step::{Runner, Step};
use crate::test;
use crate::workspace::Workspace;

/// Far beyond what any line needs; it ends one that hangs.
const LIMIT: Duration = Duration::from_secs(90 * 60);

/// How long each target is fuzzed.
const FUZZ_SECONDS: u64 = 15 * 60;

/// Runs the steps, or those whose names contain one of the arguments.
///
/// # Errors
/// Where no step is called so or the target directory cannot be written.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    // The lines are appended to a file in a directory that only a first step would make.
    std::fs::create_dir_all(workspace.target.join("xtask"))
        .map_err(|error| format!("the target directory: {error}"))?;
    let steps: Vec<Step> = steps(workspace).into_iter().map(|step| step.limit(LIMIT)).collect();
    Runner::run(workspace, Tier::B, &steps, arguments)
}

fn steps(workspace: &Workspace) -> Vec<Step> {
    let fetch = |manifest| {
        workspace.output("cargo", &["fetch", "--locked", "--manifest-path", manifest]).is_ok()
    };
    let registry = fetch(PEERS) && fetch(ARRAYS) && fetch(NET);
    let lint = |manifest| {
        let call = peers_cargo(workspace, manifest, "clippy");
        call.arguments(&["--all-targets", "--", "-D", "warnings"])
    };
    let mut steps = vec![
        Step::tests("model", test::model(workspace, "300000")).bar(1),
        Step::tests("arrays", test::arrays(workspace, "100000")).bar(2),
        Step::tests("hostile", test::hostile(workspace, "mempool-codec", "10000000")).bar(13),
        Step::tests("hostile arrays", test::hostile(workspace, "mempool-arrays", "10000000"))
            .bar(13),
        Step::tests("hostile arrow files", test::arrow_files(workspace, "300000")).bar(13),
        Step::tests("zero copy", test::zero_copy(workspace, "1073741824")),
        Step::tests("loom", test::loom(workspace, "4")).bar(3),
        Step::tests("shuttle", test::shuttle(workspace, "1000000")).bar(4),
        Step::tests("spill", release(workspace, "mempool-spill").env("DAMAGE_CASES", "5000000"))
            .bar(12),
        Step::tests("faults", test::faults(workspace, "1", "10").env("FAULT_POINTS", "1000"))
            .bar(5),
        crashpoints::exact(workspace, 10_000, 1),
        crashpoints::random(workspace, 5000, 1),
        Step::tests("full disk", test::spill(workspace, "full")).bar(11),
        Step::tests("damage", test::damage(workspace, "5000000")).bar(12),
        Step::tests("lifecycle", test::spill(workspace, "lifecycle").env("RACES", "20000")).bar(23),
        Step::tests("bent requests", bent_requests(workspace, "100000")),
        Step::tests("killed nodes", killed_nodes(workspace, "40")).bar(18),
        // The benchmark's own answers, with a tenth of the memory that the tables take.
        Step::check("official answers", test::main_job(workspace, "1", "64MiB")),
        // That it still compiles and counts right; what it measures is for a quiet machine.
        Step::check(
            "peers",
            vec![lint(PEERS), peers_cargo(workspace, PEERS, "test"), lint(ARRAYS), lint(NET)],
        )
        .needs(registry, "the peers' packages are not here and the registry is not reached"),
    ];
    steps.extend(fuzz::steps(workspace, FUZZ_SECONDS));
    steps
}

/// Requests that are bent, over live connections.
fn bent_requests(workspace: &Workspace, count: &str) -> Invocation {
    workspace
        .cargo(&["test", "--locked", "--release", "--package", "mempool-net", "--test", "bytes"])
        .arguments(&["hostile", "--", "--show-output"])
        .env("BENT_REQUESTS", count)
}

/// Nodes in processes of their own that are killed or stopped.
fn killed_nodes(workspace: &Workspace, count: &str) -> Invocation {
    workspace
        .cargo(&["test", "--locked", "--package", "mempool-net", "--test", "chaos"])
        .arguments(&["--", "--show-output"])
        .env("CHAOS_CASES", count)
}

/// All tests of a package, in release.
fn release(workspace: &Workspace, package: &str) -> Invocation {
    workspace
        .cargo(&[
            "test",
            "--locked",
            "--release",
            "--package",
            package,
            "--all-features",
            "--tests",
            "--no-fail-fast",
        ])
        .arguments(&["--", "--show-output"])
}
