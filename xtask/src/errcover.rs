//! `cargo xtask errcover`: every variant of our errors, and the test that provokes it. A variant that no test names has
//! never been seen, and the run fails.
//!
//! A test names a variant where it matches on it, as `Error::Closed`. A line that tells a double to fail
//! (`switch.fail(…)`) names what is put in and not what came out, so it does not count.

use crate::Verdict;
use crate::source::{Source, has_word};
use crate::workspace::Workspace;

/// The enums, each with its file.
const ENUMS: &[(&str, &str)] = &[
    ("mempool-core/src/error.rs", "Error"),
    ("mempool-core/src/error.rs", "StoreErrorKind"),
    ("mempool-core/src/error.rs", "FrameDamage"),
    ("mempool-arrays/src/error.rs", "ArrayError"),
    ("mempool-spill/src/error.rs", "SpillError"),
    ("mempool-spill/src/machine.rs", "MachineError"),
    ("mempool-net/src/error.rs", "NetError"),
    ("mempool-net/src/bytes/error.rs", "BytesError"),
    ("mempool-net/src/security/error.rs", "SecurityError"),
    ("mempool-net/src/security/error.rs", "IdentityFault"),
    ("mempool-net/src/security/error.rs", "ExportError"),
    ("mempool-net/src/security/error.rs", "ExportNameFault"),
    ("mempool-net/src/host/error.rs", "HostError"),
    ("mempool-net/src/host/error.rs", "DescriptorFault"),
];

/// Prints every variant with its test.
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
/// Says how many variants no test names; they are in the log.
pub(crate) fn step(workspace: &Workspace, log: &mut String) -> Result<(), String> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(workspace.root.join(path));
        text.map(|text| Source::parse(&text)).map_err(|error| format!("{path}: {error}"))
    };
    let mut tests = Vec::new();
    for path in workspace.files()? {
        if path.contains("/tests/") && path.ends_with(".rs") {
            tests.extend(tests_of(&read(&path)?));
        }
    }
    let (mut count, mut missing) = (0, 0);
    for (path, name) in ENUMS {
        for variant in variants(&read(path)?, name)? {
            let test = naming(&tests, &variant);
            log.push_str(&format!("{variant:<26} {}\n", test.unwrap_or("NO TEST NAMES IT")));
            count += 1;
            missing += usize::from(test.is_none());
        }
    }
    log.push_str(&format!("proof: cases={count}\n"));
    match missing {
        0 => Ok(()),
        _ => Err(format!("{missing} of {count} variants have no test")),
    }
}

/// One test, with the lines of its code.
#[derive(Debug, Default)]
struct Test {
    name: String,
    code: Vec<String>,
}

/// The tests that stand at the margin of a file; helpers between them are no tests.
fn tests_of(source: &Source) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut marked = false;
    let mut open: Option<Test> = None;
    for line in &source.code {
        if line.starts_with("#[test]") {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split('(').next().unwrap_or_default().to_owned();
            open = std::mem::take(&mut marked).then(|| Test { name, code: Vec::new() });
        } else if line.starts_with('}') {
            tests.extend(open.take());
        } else if let Some(test) = &mut open {
            test.code.push(line.clone());
        }
    }
    tests
}

/// The variants of an enum, as `Enum::Variant`.
fn variants(source: &Source, name: &str) -> Result<Vec<String>, String> {
    let head = format!("pub enum {name} {{");
    let mut lines = source.code.iter().skip_while(|line| line.trim() != head);
    lines.next().ok_or_else(|| format!("there is no enum {name}"))?;
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for line in lines {
        let word = line.trim().split(|letter: char| !letter.is_alphanumeric()).next();
        if let Some(word) = word.filter(|word| word.starts_with(char::is_uppercase) && depth == 0) {
            found.push(format!("{name}::{word}"));
        }
        for letter in line.chars() {
            match letter {
                '{' | '(' | '[' => depth += 1,
                '}' if depth == 0 => return Ok(found),
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    Err(format!("enum {name} does not end"))
}

/// The first test that names `variant`.
fn naming<'a>(tests: &'a [Test], variant: &str) -> Option<&'a str> {
    let names = |line: &String| has_word(line, variant) && !line.contains(".fail(");
    tests.iter().find(|test| test.code.iter().any(names)).map(|test| test.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_whatever_they_hold() {
        let text = "pub enum Other { X }\npub enum E {\n    /// Doc.\n    #[error(\n        \"{}\",\n        Path::new()\n    )]\n    A {\n        Field: u8,\n    },\n    B(Box<C>),\n    D,\n}\nD2,\n";
        assert_eq!(variants(&Source::parse(text), "E").unwrap(), ["E::A", "E::B", "E::D"]);
        assert!(variants(&Source::parse(text), "F").is_err());
    }

    #[test]
    fn a_variant_counts_where_a_test_names_it() {
        let text = "fn helper() {\n    E::A;\n}\n#[test]\nfn one() {\n    matches!(x, E::B);\n    s.fail(E::C);\n    // E::D\n}\n#[test]\nfn two() {\n    E::Bee;\n    \"E::A\";\n}\n";
        let tests = tests_of(&Source::parse(text));
        assert_eq!(tests.len(), 2);
        assert_eq!(naming(&tests, "E::B"), Some("one"));
        for absent in ["E::A", "E::C", "E::D", "E::Be"] {
            assert_eq!(naming(&tests, absent), None, "{absent}");
        }
        assert_eq!(naming(&tests, "E::Bee"), Some("two"));
    }
}
