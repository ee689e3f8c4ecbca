//! A Python with packages of the Python registry, in a virtual environment below the target directory.

use std::path::PathBuf;

use crate::invocation::Invocation;
use crate::metadata::Metadata;
use crate::workspace::Workspace;

/// What the exchange of Arrow files needs, on the other side.
const ARROW_PACKAGES: [&str; 2] = ["pyarrow", "polars"];

/// The Python of the environment of that name, which has `packages`.
///
/// # Errors
/// Says why there is none: no `python3`, no `venv`, or a registry that does not answer.
pub(crate) fn environment(
    workspace: &Workspace,
    name: &str,
    packages: &[&str],
) -> Result<PathBuf, String> {
    let directory = workspace.target.join(name);
    let python = directory.join("bin").join("python");
    let python_name = python.display().to_string();
    if !python.exists() {
        let directory = directory.display().to_string();
        let made = workspace.output("python3", &["-m", "venv", &directory]);
        made.map_err(|why| format!("no virtual environment of Python can be made: {why}"))?;
    }
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = workspace.output(&python_name, &[&install[..], packages].concat());
    installed.map_err(|why| format!("{} cannot be installed: {why}", packages.join(" and ")))?;
    Ok(python)
}

/// The test that exchanges Arrow files with pyarrow and polars.
///
/// # Errors
/// Says why there is no Python that has them.
pub(crate) fn arrow_exchange(workspace: &Workspace) -> Result<Invocation, String> {
    let python = environment(workspace, "pyarrow", &ARROW_PACKAGES)?;
    // The features of the step `tests`, whose build this shares.
    let features = Metadata::load(workspace)?.features_without_mutants().join(",");
    let test = ["test", "--locked", "--workspace", "--features", &features];
    let test = workspace.cargo(&test).arguments(&["--test", "arrow_python", "--", "--show-output"]);
    Ok(test.env("MEMPOOL_PYTHON", &python.display().to_string()))
}
