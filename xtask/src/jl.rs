//! `docs/mempool-jl.md`: the map from MemPool.jl's tests to ours. Each test that it names exists, each row names one or
//! says why not, and each test that was written for it is on it.

use crate::workspace::Workspace;

const PAGE: &str = "docs/mempool-jl.md";

/// The files whose tests were written for the page.
const WRITTEN_FOR_IT: &[&str] = &["mempool-core/tests/jl.rs", "mempool-codec/tests/jl.rs"];

/// What is wrong with the page.
///
/// # Errors
/// Where a file cannot be read.
pub(crate) fn findings(workspace: &Workspace) -> Result<Vec<String>, String> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(workspace.root.join(path));
        text.map_err(|error| format!("{path}: {error}"))
    };
    let page = read(PAGE)?;
    let named = named_tests(&page);
    let mut findings = unanswered_rows(&page);
    for &(path, test) in &named {
        // A file that is not there has no test.
        if !tests_of(&read(path).unwrap_or_default()).contains(&test.to_owned()) {
            findings.push(format!("{PAGE}: no test `{path}::{test}`"));
        }
    }
    for path in WRITTEN_FOR_IT {
        let tests = tests_of(&read(path)?);
        let missing = tests.iter().filter(|test| !named.contains(&(*path, test.as_str())));
        findings.extend(missing.map(|test| format!("{PAGE}: does not name `{path}::{test}`")));
    }
    Ok(findings)
}

/// Each `file.rs::test` in backticks.
fn named_tests(page: &str) -> Vec<(&str, &str)> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|text| text.split_once("::").filter(|(path, _)| path.ends_with(".rs")))
        .collect()
}

/// Rows whose third column neither names a test nor says that there is none.
fn unanswered_rows(page: &str) -> Vec<String> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let bodies = rows.filter(|line| !line.starts_with("| ---") && !line.starts_with("| section |"));
    let unanswered = bodies.filter(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let ours = cells.get(2).copied().unwrap_or_default();
        let answered = ["not yet", "none"].contains(&ours) || !named_tests(ours).is_empty();
        // Why there is none stands in the last column.
        let reasoned =
            !named_tests(ours).is_empty() || cells.get(3).is_some_and(|why| !why.is_empty());
        cells.len() != 4 || !answered || !reasoned
    });
    unanswered.map(|line| format!("{PAGE}: a row without an answer: {line}")).collect()
}

/// The tests of a file: functions marked so, and the modules that `codec_laws!` makes.
fn tests_of(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    let marked = text.split("#[test]").skip(1);
    let functions = marked.filter_map(|after| after.split_once("fn ").map(|(_, rest)| name(rest)));
    let laws = text.split("codec_laws!(").skip(1).map(|after| name(after.trim_start()));
    functions.chain(laws).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| section | what | ours | why |\n| --- | --- | --- | --- |\n";

    #[test]
    fn tests_are_found_in_their_files() {
        let text = "#[test]\n#[cfg(x)]\nfn one() {}\nfn two() {}\ncodec_laws!(\n    three,\n    X);\ncodec_laws!(four, Y);";
        assert_eq!(tests_of(text), ["one", "three", "four"]);
    }

    #[test]
    fn names_are_read_from_backticks() {
        let page = "text `a/b.rs::c`, `d::e`, `f.rs` and `g.rs::h`";
        assert_eq!(named_tests(page), [("a/b.rs", "c"), ("g.rs", "h")]);
    }

    #[test]
    fn a_row_without_an_answer_is_found() {
        let found = |row: &str| unanswered_rows(&format!("{HEAD}{row}\n")).len();
        assert_eq!(found("| lru | x | `a.rs::b` | |"), 0);
        assert_eq!(found("| lru | x | not yet | issue 3 |"), 0);
        assert_eq!(found("| lru | x | not yet | |"), 1);
        assert_eq!(found("| lru | x | perhaps | y |"), 1);
        assert_eq!(found("| lru | x | `a.rs` | y |"), 1);
        assert_eq!(found("| lru | `a.rs::b` | none |"), 1);
    }

    #[test]
    fn the_page_is_right() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let workspace = Workspace { root: root.to_path_buf(), target: root.join("target") };
        assert_eq!(findings(&workspace).unwrap(), Vec::<String>::new());
    }
}
