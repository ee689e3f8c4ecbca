//! `cargo xtask test`: the list of all that CI runs. The running is the step's own.
//!
//! Compiling costs more than testing on two cores, so the list shares builds: clippy, the features and the docs use one
//! set of checked dependencies, unit and doc tests one set of built ones, the model, the hostile bytes and the program
//! one in release. Only loom and shuttle, whose `cfg` changes every crate, build apart.

use crate::Verdict;
use crate::crashpoints;
use crate::errcover;
use crate::invocation::{Flavor, Invocation};
use crate::metadata::{Metadata, Package};
use crate::proof::Tier;
use crate::python;
use crate::step::{Runner, Step};
use crate::tidy;
use crate::workspace::Workspace;

/// The oldest compiler that we promise, as `rust-version` says it.
pub(crate) const MSRV: &str = "1.88";
/// The downstream user's crate, outside the workspace.
pub(crate) const PLUGIN: &str = "examples/codec-plugin";

/// Runs the steps, or those whose names contain one of the arguments.
///
/// # Errors
/// Where cargo does not answer or no step is called so.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let metadata = Metadata::load(workspace)?;
    Runner::run(workspace, Tier::A, &steps(workspace, &metadata), arguments)
}

fn steps(workspace: &Workspace, metadata: &Metadata) -> Vec<Step> {
    let mut steps = lints(workspace, metadata);
    steps.extend(tests(workspace, metadata));
    steps.extend(disk(workspace));
    steps.extend(downstream(workspace));
    steps.extend(program(workspace));
    steps.extend(where_installed(workspace));
    steps
}

fn lints(workspace: &Workspace, metadata: &Metadata) -> Vec<Step> {
    let cargo = |arguments: &[&str]| vec![workspace.cargo(arguments)];
    vec![
        Step::check("format", cargo(&["fmt", "--all", "--check"])),
        Step::inside("tidy", tidy::step).bar(26),
        Step::inside("errcover", errcover::step).bar(28),
        Step::check(
            "clippy",
            cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        )
        .bar(27),
        Step::check(
            "clippy all features",
            cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ]),
        )
        .bar(27),
        Step::check(
            "features",
            metadata.own().flat_map(|package| each_feature(workspace, package)).collect(),
        ),
        Step::check(
            "docs",
            vec![
                workspace
                    .cargo(&["doc", "--locked", "--workspace", "--no-deps", "--all-features"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ],
        ),
    ]
}

/// A package by itself: without its default features, then with each of its features alone. Clippy rather than check,
/// for it can refuse warnings without building the dependencies anew.
fn each_feature(workspace: &Workspace, package: &Package) -> Vec<Invocation> {
    let base = ["clippy", "--locked", "--package", &package.name, "--no-default-features"];
    let strict = ["--", "-D", "warnings"];
    let alone = package.features.iter().filter(|feature| feature.as_str() != "default");
    let mut calls: Vec<Invocation> = alone
        .map(|feature| {
            workspace.cargo(&base).arguments(&["--features", feature]).arguments(&strict)
        })
        .collect();
    // With no features there is nothing that the step `clippy` has not seen.
    if !calls.is_empty() {
        calls.push(workspace.cargo(&base).arguments(&strict));
    }
    calls
}

fn tests(workspace: &Workspace, metadata: &Metadata) -> Vec<Step> {
    let features = metadata.features_without_mutants().join(",");
    let all = ["test", "--locked", "--workspace", "--no-fail-fast", "--features", &features];
    vec![
        Step::tests("tests", workspace.cargo(&all).arguments(&["--lib", "--bins", "--tests"])),
        Step::tests("doc tests", workspace.cargo(&all).arguments(&["--doc", "--exclude", "xtask"])),
        Step::tests(
            "readme",
            workspace.cargo(&["test", "--locked", "--package", "xtask", "--doc"]),
        ),
        Step::tests("model", model(workspace, "10000")).bar(1),
        Step::tests("arrays", arrays(workspace, "2000")).bar(2),
        Step::tests("hostile", hostile(workspace, "mempool-codec", "200000")).bar(13),
        Step::tests("hostile arrays", hostile(workspace, "mempool-arrays", "200000")).bar(13),
        Step::tests("loom", loom(workspace, "3")).bar(3),
        Step::tests("shuttle", shuttle(workspace, "20000")).bar(4),
    ]
}

/// What the disk, the system and the neighbours may do to a session. One build in release for all.
fn disk(workspace: &Workspace) -> Vec<Step> {
    let life = || spill(workspace, "lifecycle");
    vec![
        Step::tests("faults", faults(workspace, "4", "1")).bar(5),
        crashpoints::exact(workspace, 200, 1),
        crashpoints::random(workspace, 200, 1),
        Step::tests("full disk", spill(workspace, "full")).bar(11),
        Step::tests("damage", damage(workspace, "100000")).bar(12),
        Step::tests("planted", life().arguments(&["planted", "root", "umask", "name"])).bar(22),
        Step::tests("lifecycle", life().env("RACES", "1000")).bar(23),
    ]
}

/// A test binary of the spill engine, in release; what follows are arguments of its harness.
pub(crate) fn spill(workspace: &Workspace, binary: &str) -> Invocation {
    workspace
        .cargo(&[
            "test",
            "--locked",
            "--release",
            "--package",
            "mempool-spill",
            "--features",
            "testing",
            "--test",
            binary,
        ])
        .arguments(&["--", "--show-output"])
}

/// One of so many faults of the disk, over so many forms of the workloads.
pub(crate) fn faults(workspace: &Workspace, share: &str, seeds: &str) -> Invocation {
    spill(workspace, "faults").env("FAULT_SHARE", share).env("FAULT_SEEDS", seeds)
}

/// So many damaged frames of a session's own.
pub(crate) fn damage(workspace: &Workspace, frames: &str) -> Invocation {
    spill(workspace, "damage").env("DAMAGED_FRAMES", frames)
}

/// The reference model beside the pool, over so many sequences.
pub(crate) fn model(workspace: &Workspace, cases: &str) -> Invocation {
    workspace
        .cargo(&[
            "test",
            "--locked",
            "--release",
            "--package",
            "mempool-core",
            "--features",
            "testing",
            "--test",
            "model",
        ])
        .arguments(&["--", "--show-output"])
        .env("MODEL_CASES", cases)
}

/// So many archives and encodings, or arrays, that nobody wrote.
pub(crate) fn hostile(workspace: &Workspace, package: &str, cases: &str) -> Invocation {
    let features = if package == "mempool-codec" { "testing" } else { "half,complex" };
    release(workspace, package, features, "hostile").env("HOSTILE_CASES", cases)
}

/// So many damaged Arrow files of each kind.
pub(crate) fn arrow_files(workspace: &Workspace, files: &str) -> Invocation {
    release(workspace, "mempool-arrays", "arrow", "arrow_files").env("DAMAGED_FILES", files)
}

/// So many arrays beside plain vectors, for each element in each layout.
pub(crate) fn arrays(workspace: &Workspace, cases: &str) -> Invocation {
    release(workspace, "mempool-arrays", "half,complex", "model").env("ARRAY_CASES", cases)
}

/// A column of so many bytes, read back from disk without a copy.
pub(crate) fn zero_copy(workspace: &Workspace, bytes: &str) -> Invocation {
    release(workspace, "mempool-arrays", "half,complex", "zero_copy").env("COLUMN_BYTES", bytes)
}

/// A test binary of a package, in release.
fn release(workspace: &Workspace, package: &str, features: &str, binary: &str) -> Invocation {
    workspace
        .cargo(&["test", "--locked", "--release", "--package", package, "--features", features])
        .arguments(&["--test", binary, "--", "--show-output"])
}

/// Every interleaving up to a bound of preemptions.
pub(crate) fn loom(workspace: &Workspace, preemptions: &str) -> Invocation {
    workspace
        .cargo(&["test", "--locked", "--release", "--package", "mempool-core", "--lib", "models"])
        .arguments(&["--", "--show-output"])
        .env("LOOM_MAX_PREEMPTIONS", preemptions)
        .flavor(workspace, Flavor::Loom)
}

/// So many random schedules of the whole pool.
pub(crate) fn shuttle(workspace: &Workspace, schedules: &str) -> Invocation {
    workspace
        .cargo(&[
            "test",
            "--locked",
            "--release",
            "--package",
            "mempool-core",
            "--features",
            "testing",
            "--test",
            "shuttle",
        ])
        .arguments(&["--", "--show-output"])
        .env("SHUTTLE_ITERS", schedules)
        .flavor(workspace, Flavor::Shuttle)
}

/// The example crate, built as its author would: outside the workspace, with a lock file and a target directory of its own.
fn downstream(workspace: &Workspace) -> Vec<Step> {
    let manifest = format!("{PLUGIN}/Cargo.toml");
    let there = workspace.root.join(&manifest).is_file();
    let cargo = |command| {
        workspace.cargo(&[command, "--manifest-path", &manifest]).target(workspace, "plugin")
    };
    let reason = format!("{PLUGIN} is not there");
    vec![
        Step::tests("plugin tests", cargo("test")).needs(there, &reason),
        Step::check(
            "plugin clippy",
            vec![cargo("clippy").arguments(&["--all-targets", "--", "-D", "warnings"])],
        )
        .needs(there, &reason),
    ]
}

/// The main job, small: twenty times less data than the benchmark's unit, in less memory than it takes.
fn program(workspace: &Workspace) -> Vec<Step> {
    vec![
        Step::check("main job", main_job(workspace, "0.05", "8MiB")),
        Step::inside("readme commands", tidy::readme_commands),
    ]
}

/// The main job in both layouts.
pub(crate) fn main_job(workspace: &Workspace, scale: &str, limit: &str) -> Vec<Invocation> {
    let run =
        ["run", "--locked", "--release", "--package", "mempool-cli", "--bin", "mempool", "--"];
    let job = ["tpch", "--scale", scale, "--memory-limit", limit, "--json", "--layout"];
    let over = |layout| workspace.cargo(&run).arguments(&job).arguments(&[layout]);
    ["columns", "rows"].map(over).to_vec()
}

/// What needs a tool that a newcomer does not have.
fn where_installed(workspace: &Workspace) -> Vec<Step> {
    let deny = workspace.output("cargo", &["deny", "--version"]).is_ok();
    let toolchains = workspace.output("rustup", &["toolchain", "list"]).unwrap_or_default();
    let oldest = toolchains
        .lines()
        .find(|line| line.starts_with(MSRV))
        .and_then(|line| line.split_whitespace().next());
    let toolchain = format!("+{}", oldest.unwrap_or(MSRV));
    // By name and not by $CARGO, which is one toolchain's own program and knows no `+`.
    let check = Invocation::new("cargo", &workspace.root).arguments(&[
        &toolchain,
        "check",
        "--locked",
        "--workspace",
    ]);
    vec![
        Step::prepared("pyarrow", python::arrow_exchange),
        Step::check("deny", vec![workspace.cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])])
            .bar(26)
            .needs(deny, "cargo-deny is not installed; tidy has checked licences, sources and version floors"),
        Step::check("oldest compiler", vec![check.target(workspace, "msrv")]).needs(
            oldest.is_some(),
            &format!("no toolchain {MSRV} is installed; clippy has checked our own code and tidy what the dependencies state"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::graph;

    #[test]
    fn names_are_unique_and_every_flavor_builds_apart() {
        let workspace = Workspace { root: "/w".into(), target: "/t".into() };
        let mut metadata = graph(&["mempool-core"], &[]);
        metadata.packages[0].features = vec![String::from("mutants"), String::from("testing")];
        let steps = steps(&workspace, &metadata);
        let mut names: Vec<&str> = steps.iter().map(Step::name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let described =
            |name: &str| steps.iter().find(|step| step.name() == name).map(Step::describe).unwrap();
        assert!(
            described("loom").contains("--cfg loom")
                && described("loom").contains("CARGO_TARGET_DIR=/t/loom")
        );
        assert!(described("shuttle").contains("CARGO_TARGET_DIR=/t/shuttle"));
        assert!(described("tests").contains("--features mempool-core/testing --lib"));
        assert_eq!(described("features").lines().count(), 4);
        assert!(described("plugin tests").contains("skipped"));
    }
}
