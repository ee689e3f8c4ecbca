//! `cargo xtask bench core|spill`: prints the machine, then runs the bench program of that crate. Measures nothing itself.

use crate::Verdict;
use crate::machine::Machine;
use crate::workspace::Workspace;

/// Name on the command line, package, bench target.
const BENCHES: &[(&str, &str, &str)] =
    &[("core", "mempool-core", "core"), ("spill", "mempool-spill", "spill")];

/// Runs one bench with the arguments behind its name passed through.
///
/// # Errors
/// Where no such bench exists or cargo cannot be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let (name, rest) = arguments
        .split_first()
        .ok_or("which one? `cargo xtask bench core` or `cargo xtask bench spill`")?;
    let &(_, package, bench) = BENCHES
        .iter()
        .find(|(known, _, _)| known == name)
        .ok_or_else(|| format!("there is no bench `{name}`; there are `core` and `spill`"))?;
    println!("{}\n", Machine::here(workspace));
    let mut call = workspace.cargo(&["bench", "--locked", "--package", package, "--bench", bench]);
    if !rest.is_empty() {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        call = call.arguments(&["--"]).arguments(&rest);
    }
    Ok(call.run_shown()?.success())
}
