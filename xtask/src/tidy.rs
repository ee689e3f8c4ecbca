//! `cargo xtask tidy`: the rules that neither rustfmt nor clippy knows. Each rule is a function from what it looks at to
//! what it found, so that each can be shown to fail.

use crate::Verdict;
use crate::metadata::{Kind, Metadata, Package};
use crate::source::{Source, count_word, has_word};
use crate::workspace::Workspace;

/// Which of our crates may lean on which; `mempool-cli` and `xtask` may lean on all.
const EDGES: &[(&str, &[&str])] = &[
    ("mempool-core", &[]),
    ("mempool-codec", &["mempool-core"]),
    ("mempool-arrays", &["mempool-core"]),
    ("mempool-spill", &["mempool-core"]),
    ("mempool-net", &["mempool-core"]),
];

/// The files that may hold `unsafe`; what tests need to count allocations and to fork, and what a
/// bench needs of peers and kernel, beside them.
const UNSAFE_FILES: &[&str] = &[
    "mempool-core/src/entry.rs",
    "mempool-core/src/counted.rs",
    "mempool-core/src/buffer.rs",
    "mempool-core/src/fork.rs",
    "mempool-core/src/models.rs",
    "mempool-core/src/testing/child.rs",
    "mempool-codec/src/rkyv.rs",
    "mempool-arrays/src/string.rs",
    "mempool-arrays/src/arrow/incoming.rs",
    "mempool-arrays/src/arrow/outgoing.rs",
    "mempool-arrays/tests/arrow_foreign.rs",
    "mempool-net/src/host/map.rs",
    "mempool-net/src/host/process.rs",
    "mempool-spill/src/map.rs",
    "mempool-spill/src/sigbus.rs",
    "mempool-spill/tests/map_file.rs",
    "mempool-spill/benches/small.rs",
    "mempool-spill/tests/filtered_memory.rs",
    "mempool-spill/tests/small.rs",
    "mempool-codec/tests/exact.rs",
    "mempool-codec/tests/hostile.rs",
    "mempool-arrays/tests/counting/mod.rs",
    "mempool-arrays/tests/zero_copy.rs",
    "bench-arrays/src/formats.rs",
    "bench-arrays/src/plain.rs",
    "bench-net/src/mapped.rs",
    "bench-peers/src/cold.rs",
    "bench-peers/src/stores/lmdb.rs",
    "bench-peers/src/stores/mapped.rs",
];

/// Least versions, because of advisories or of bugs that we met.
const FLOORS: &[(&str, &str)] =
    &[("rkyv", "0.8.17"), ("memmap2", "0.9.11"), ("crossbeam-epoch", "0.9.20")];

/// The whole of what `mempool-core` may pull in.
const CORE_TREE: &[&str] = &[
    "bytes",
    "crossbeam",
    "crossbeam-channel",
    "crossbeam-deque",
    "crossbeam-epoch",
    "crossbeam-queue",
    "crossbeam-utils",
    "thiserror",
    "thiserror-impl",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
    "cfg-if",
];

/// Licences that are taken, by name; one of an `OR` is enough.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSL-1.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Zlib",
    "ISC",
    "Unicode-3.0",
    "Apache-2.0 WITH LLVM-exception",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "MIT-0",
];

const FILE_BYTES_MAX: u64 = 1 << 20;

/// Runs every rule and prints what they found.
///
/// # Errors
/// Where the workspace cannot be read.
pub(crate) fn run(workspace: &Workspace, _arguments: &[String]) -> Verdict {
    let mut log = String::new();
    let outcome = step(workspace, &mut log);
    print!("{log}");
    if let Err(why) = &outcome {
        println!("{why}");
    }
    Ok(outcome.is_ok())
}

/// The same, as a step of `cargo xtask test`.
///
/// # Errors
/// Says how many findings there are; they are in the log.
pub(crate) fn step(workspace: &Workspace, log: &mut String) -> Result<(), String> {
    let metadata = Metadata::load(workspace)?;
    let mut findings = graph_findings(&metadata);
    let manifest = read(workspace, "Cargo.toml")?;
    findings.extend(uncommented_dependencies(&manifest));
    findings.extend(crate::jl::findings(workspace)?);
    let mut unsafe_count = 0;
    let files = workspace.files()?;
    for path in &files {
        let bytes = std::fs::metadata(workspace.root.join(path)).map_or(0, |file| file.len());
        if bytes > FILE_BYTES_MAX {
            findings.push(format!("{path}: {bytes} bytes, more than {FILE_BYTES_MAX}"));
        }
        if path.ends_with(".rs") {
            let (found, count) = rust_findings(path, &read(workspace, path)?);
            findings.extend(found);
            unsafe_count += count;
        }
    }
    for finding in &findings {
        log.push_str(&format!("{finding}\n"));
    }
    match findings.len() {
        0 => {
            log.push_str(&format!("{} files, {unsafe_count} uses of unsafe\n", files.len()));
            Ok(())
        }
        count => Err(format!("{count} findings")),
    }
}

/// The README's commands are commands that exist.
///
/// # Errors
/// Names the commands that do not.
pub(crate) fn readme_commands(workspace: &Workspace, log: &mut String) -> Result<(), String> {
    let readme = read(workspace, "README.md")?;
    let config = read(workspace, ".cargo/config.toml")?;
    let wrong = unknown_commands(&readme, &config);
    for line in &wrong {
        log.push_str(&format!("{line}\n"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} unknown commands in README.md", wrong.len()))
    }
}

fn read(workspace: &Workspace, path: &str) -> Result<String, String> {
    std::fs::read_to_string(workspace.root.join(path)).map_err(|error| format!("{path}: {error}"))
}

/// Lines in `console` blocks that call cargo with a subcommand or an alias that is not there.
fn unknown_commands(readme: &str, config: &str) -> Vec<String> {
    const BUILT_IN: &[&str] = &["build", "test", "run", "install", "doc"];
    let mut inside = false;
    let mut wrong = Vec::new();
    for line in readme.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = kind == "console";
        } else if let Some(call) = line.strip_prefix("$ cargo ").filter(|_| inside) {
            let mut words = call.split_whitespace();
            let command = words.next().unwrap_or_default();
            let alias = config.contains(&format!("\n{command} = "));
            let task = words.next().unwrap_or_default();
            let known_task = crate::TASKS.iter().any(|known| known.name == task);
            if !(BUILT_IN.contains(&command) || alias && (command != "xtask" || known_task)) {
                wrong.push(line.to_owned());
            }
        }
    }
    wrong
}

fn graph_findings(metadata: &Metadata) -> Vec<String> {
    let mut findings: Vec<String> = metadata.own().flat_map(forbidden_edges).collect();
    let own: Vec<&str> = metadata.own().map(|package| package.id.as_str()).collect();
    for package in metadata.reached(own, &[Kind::Normal, Kind::Build]) {
        findings.extend(package_findings(package));
    }
    let core = metadata.own().find(|package| package.name == "mempool-core");
    let needed = core.map(|core| metadata.reached([core.id.as_str()], &[Kind::Normal]));
    for package in needed.unwrap_or_default() {
        if !CORE_TREE.contains(&package.name.as_str()) {
            findings.push(format!("mempool-core pulls in {}", package.name));
        }
    }
    findings
}

fn forbidden_edges(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
        return Vec::new();
    };
    let ours = package.dependencies.iter().filter(|dependency| {
        let own = dependency.name.starts_with("mempool-") && dependency.name != package.name;
        own && dependency.kind != Kind::Dev
    });
    let forbidden = ours.filter(|dependency| !allowed.contains(&dependency.name.as_str()));
    forbidden
        .map(|dependency| format!("{} must not lean on {}", package.name, dependency.name))
        .collect()
}

fn package_findings(package: &Package) -> Vec<String> {
    let mut findings = Vec::new();
    let (name, version) = (&package.name, &package.version);
    if package.source.is_none() {
        return findings;
    }
    let floor = FLOORS.iter().find(|(floored, _)| floored == name);
    if let Some((_, floor)) = floor.filter(|(_, floor)| numbers(version) < numbers(floor)) {
        findings.push(format!("{name} {version} is older than {floor}"));
    }
    if name == "bincode" && version != "2.0.1" {
        findings.push(format!("bincode {version}: 2.0.1 is its last working release"));
    }
    let needs = package.rust_version.as_deref().unwrap_or("1.0");
    if numbers(needs) > numbers(crate::test::MSRV) {
        findings.push(format!("{name} {version} needs Rust {needs}"));
    }
    let licence = package.license.as_deref().unwrap_or("none");
    let taken =
        |all: &str| all.split(" AND ").all(|one| LICENCES.contains(&one.trim_matches(['(', ')'])));
    if !licence
        .replace('/', " OR ")
        .split(" OR ")
        .any(|one| taken(one.trim_matches(['(', ')', ' '])))
    {
        findings.push(format!("{name} {version} has the licence {licence}"));
    }
    findings
}

/// A version's three numbers; what follows a `-` or `+` is left out.
fn numbers(version: &str) -> [u64; 3] {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Entries of `[workspace.dependencies]` from other people with no comment above them or their group.
fn uncommented_dependencies(manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut inside = false;
    let mut commented = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() {
            commented = false;
        } else if inside && !commented && !line.starts_with("mempool-") {
            findings.push(format!("Cargo.toml: no reason beside `{line}`"));
        }
    }
    findings
}

/// What is wrong with a file of Rust, and how often it says `unsafe`.
fn rust_findings(path: &str, text: &str) -> (Vec<String>, usize) {
    let mut findings = Vec::new();
    let source = Source::parse(text);
    if !text.starts_with("//!") {
        findings.push(format!("{path}: does not open with what it owns (`//!`)"));
    }
    let uses = |line: &String| count_word(line, "unsafe");
    let count: usize = source.code.iter().map(uses).sum();
    if count > 0 && !UNSAFE_FILES.contains(&path) {
        findings.push(format!("{path}: {count} uses of unsafe in a file that may have none"));
    }
    for (number, line) in (1..).zip(&source.code) {
        for mark in ["todo!", "unimplemented!", "#[ignore"] {
            if line.contains(mark) {
                findings.push(format!("{path}:{number}: {mark}"));
            }
        }
        let foreign = path.starts_with("mempool-core/src/") && !path.ends_with("/sync.rs");
        let primitive = ["std::sync::Mutex", "std::sync::Condvar", "std::sync::RwLock"];
        let tests = path.contains("/testing/");
        if foreign && !tests && primitive.iter().any(|name| line.contains(name)) {
            findings.push(format!("{path}:{number}: a lock that is not from sync.rs"));
        }
    }
    for (number, line) in (1..).zip(&source.comments) {
        if ["FIXME", "XXX", "TODO"].iter().any(|mark| has_word(line, mark)) {
            findings.push(format!("{path}:{number}: {}", line.trim()));
        }
    }
    (findings, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::{bare, graph};

    #[test]
    fn a_wrong_edge_is_found() {
        let good = graph(
            &["mempool-spill", "mempool-core"],
            &[("mempool-spill", "mempool-core", Kind::Normal)],
        );
        assert_eq!(graph_findings(&good), Vec::<String>::new());
        let wrong = graph(
            &["mempool-spill", "mempool-codec"],
            &[("mempool-spill", "mempool-codec", Kind::Normal)],
        );
        assert_eq!(graph_findings(&wrong), ["mempool-spill must not lean on mempool-codec"]);
        let dev = graph(
            &["mempool-spill", "mempool-codec"],
            &[("mempool-spill", "mempool-codec", Kind::Dev)],
        );
        assert_eq!(graph_findings(&dev), Vec::<String>::new());
    }

    #[test]
    fn what_core_pulls_in_is_bounded() {
        let wide = graph(&["mempool-core"], &[("mempool-core", "serde", Kind::Normal)]);
        assert_eq!(graph_findings(&wide), ["mempool-core pulls in serde"]);
    }

    #[test]
    fn versions_and_licences_are_held_to() {
        let old = Package { version: "0.8.16".into(), ..bare("rkyv") };
        assert_eq!(package_findings(&old), ["rkyv 0.8.16 is older than 0.8.17"]);
        assert!(package_findings(&Package { version: "0.10.0".into(), ..bare("rkyv") }).is_empty());
        assert_eq!(
            package_findings(&Package { version: "3.0.0".into(), ..bare("bincode") }).len(),
            1
        );
        assert_eq!(
            package_findings(&Package { rust_version: Some("1.89".into()), ..bare("x") }).len(),
            1
        );
        assert_eq!(
            package_findings(&Package { license: Some("GPL-3.0".into()), ..bare("x") }).len(),
            1
        );
        for license in ["GPL-3.0 OR MIT", "GPL-3.0/MIT", "GPL-3.0 / MIT"] {
            let either = Package { license: Some(license.into()), ..bare("x") };
            assert!(package_findings(&either).is_empty(), "{license}");
        }
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[workspace.dependencies]\nmempool-core = 1\n\n# Why.\na = 1\nb = 2\n\nc = 3\n[x]\nd = 4\n";
        assert_eq!(uncommented_dependencies(manifest), ["Cargo.toml: no reason beside `c = 3`"]);
    }

    #[test]
    fn what_may_not_stand_in_a_file_is_found() {
        let found = |path: &str, text: &str| rust_findings(path, text).0.len();
        assert_eq!(found("a.rs", "//! What.\nfn f() {}\n"), 0);
        assert_eq!(found("a.rs", "fn f() {}\n"), 1);
        assert_eq!(found("a.rs", "//! What.\nunsafe { x }\n"), 1);
        assert_eq!(found("mempool-core/src/entry.rs", "//! What.\nunsafe { x }\n"), 0);
        assert_eq!(found("a.rs", "//! What.\ntodo!()\n"), 1);
        assert_eq!(found("a.rs", "//! What.\n// FIXME later\n"), 1);
        assert_eq!(found("mempool-core/src/a.rs", "//! What.\nuse std::sync::Mutex;\n"), 1);
        assert_eq!(found("a.rs", "//! What.\nlet s = \"todo!() unsafe\";\n"), 0);
    }

    #[test]
    fn a_command_that_is_not_there_is_found() {
        let config = "[alias]\nxtask = \"run\"\nmempool = \"run\"\n";
        let readme = |call: &str| format!("```console\n$ cargo {call}\n```\n");
        assert!(unknown_commands(&readme("xtask test"), config).is_empty());
        assert!(unknown_commands(&readme("mempool tpch"), config).is_empty());
        assert_eq!(unknown_commands(&readme("xtask tset"), config).len(), 1);
        assert_eq!(unknown_commands(&readme("memool tpch"), config).len(), 1);
    }
}
