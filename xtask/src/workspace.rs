//! Where things lie: the root, the target directory, the files under version control. Reads, never writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::invocation::Invocation;

/// The workspace that `cargo xtask` was started for.
pub(crate) struct Workspace {
    /// Directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Absolute target directory.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the root from the manifest that cargo started us from.
    ///
    /// # Errors
    /// Where the current directory cannot be read or no workspace is found.
    pub(crate) fn find() -> Result<Self, String> {
        // Cargo sets the variable for what it runs; the fallback is for a binary started by hand.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(manifest).parent().map(Path::to_path_buf).unwrap_or_default();
        if !root.join("Cargo.lock").is_file() {
            return Err(format!("{} is not the root of the workspace", root.display()));
        }
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => {
                std::env::current_dir().map_err(|error| error.to_string())?.join(directory)
            }
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A call of cargo at the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Invocation {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| String::from("cargo"));
        Invocation::new(&cargo, &self.root).arguments(arguments)
    }

    /// Standard output of a command at the root.
    ///
    /// # Errors
    /// Where it cannot be started, fails, or prints no UTF-8.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let call = format!("{program} {}", arguments.join(" "));
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`{call}` could not be started: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "`{call}` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| format!("`{call}` printed bytes that are not UTF-8"))
    }

    /// Paths of all files that are, or would be, under version control, relative to the root.
    ///
    /// # Errors
    /// Where git is missing or this is no repository.
    pub(crate) fn files(&self) -> Result<Vec<String>, String> {
        let listed =
            self.output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut files: Vec<String> =
            listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        // A file that is deleted and not yet committed is listed all the same.
        files.retain(|path| self.root.join(path).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The commit at hand, `-dirty` behind it where the tree differs from it.
    pub(crate) fn commit(&self) -> String {
        let Ok(commit) = self.output("git", &["rev-parse", "--short=12", "HEAD"]) else {
            return String::from("unknown");
        };
        let dirty = self
            .output("git", &["status", "--porcelain"])
            .is_ok_and(|status| !status.trim().is_empty());
        format!("{}{}", commit.trim(), if dirty { "-dirty" } else { "" })
    }
}
