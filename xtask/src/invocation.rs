//! One child process: what to run, where, with which environment and for how long. Output goes to a file and never to
//! a pipe, so a child that outlives its parent cannot keep anyone waiting.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::Workspace;

/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Which of the primitives in `mempool-core/src/sync.rs` a build uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavor {
    Loom,
    Shuttle,
}

impl Flavor {
    /// The name of the `cfg`, and of the target directory that keeps its builds apart.
    fn cfg(self) -> &'static str {
        match self {
            Flavor::Loom => "loom",
            Flavor::Shuttle => "shuttle",
        }
    }
}

/// How a child ended.
pub(crate) enum Ending {
    Exited(ExitStatus),
    /// It ran past its limit and was killed with all it had started.
    Killed,
}

impl Ending {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Ending::Exited(status) if status.success())
    }
}

/// A command with its arguments, directory and environment.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
}

impl Invocation {
    /// `program`, to be run in `directory`.
    pub(crate) fn new(program: &str, directory: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: directory.to_path_buf(),
        }
    }

    /// Appends arguments.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a variable for the child.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Builds below `target/NAME` instead of `target`.
    pub(crate) fn target(self, workspace: &Workspace, name: &str) -> Self {
        let directory = workspace.target.join(name).display().to_string();
        self.env("CARGO_TARGET_DIR", &directory)
    }

    /// Chooses the primitives, in a target directory of their own: other flags would rebuild everything in a shared one.
    pub(crate) fn flavor(self, workspace: &Workspace, flavor: Flavor) -> Self {
        let cfg = flavor.cfg();
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        self.env("RUSTFLAGS", format!("{given} --cfg {cfg}").trim()).target(workspace, cfg)
    }

    /// Runs with both outputs appended to `log`, at most `limit` long.
    ///
    /// # Errors
    /// Where the program cannot be started or the log cannot be written.
    pub(crate) fn run(&self, log: &mut File, limit: Duration) -> Result<Ending, String> {
        writeln!(log, "$ {self}").map_err(|error| format!("the log cannot be written: {error}"))?;
        let output =
            || log.try_clone().map_err(|error| format!("the log cannot be shared: {error}"));
        let mut child = self
            .command()
            .stdout(output()?)
            .stderr(output()?)
            .spawn()
            .map_err(|error| format!("`{}` could not be started: {error}", self.program))?;
        let start = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(Ending::Exited(status)),
                Ok(None) if start.elapsed() < limit => std::thread::sleep(POLL),
                Ok(None) => {
                    kill_tree(&mut child);
                    return Ok(Ending::Killed);
                }
                Err(error) => {
                    return Err(format!("`{}` cannot be waited for: {error}", self.program));
                }
            }
        }
    }

    /// Runs with our own outputs, as long as it takes.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub(crate) fn run_shown(&self) -> Result<ExitStatus, String> {
        self.command()
            .status()
            .map_err(|error| format!("`{}` could not be started: {error}", self.program))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // What cargo said about our own package is not for the child: build scripts that watch such variables would run
        // again for nothing.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(name.as_ref());
            }
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }
}

/// The command as a person would type it at its directory.
impl std::fmt::Display for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        let program = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{program}")?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// Kills a child and what it has started: cargo passes no signal on to the test that hangs.
fn kill_tree(child: &mut Child) {
    for pid in descendants(child.id()) {
        // One that ended meanwhile is what we want.
        let _ =
            Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Processes below `ancestor` by `/proc`; none where there is no such thing.
fn descendants(ancestor: u32) -> Vec<u32> {
    let processes: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(processes.iter().filter(|&&(_, parent)| parent == above).map(|&(pid, _)| pid));
        next += 1;
    }
    found.split_off(1)
}

/// The parent's id out of a line of `/proc/PID/stat`: the second field after the name, which may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (PathBuf, File) {
        let path = std::env::temp_dir().join(format!(
            "xtask-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let file = File::create(&path).unwrap();
        (path, file)
    }

    #[test]
    fn output_and_exit_code_arrive() {
        let (path, mut file) = log();
        let call = Invocation::new("sh", Path::new("/"))
            .arguments(&["-c", "echo out; echo $WORD >&2; exit 3"])
            .env("WORD", "err");
        let ending = call.run(&mut file, Duration::from_secs(60)).unwrap();
        assert!(matches!(ending, Ending::Exited(status) if status.code() == Some(3)));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "$ WORD=err sh -c 'echo out; echo $WORD >&2; exit 3'\nout\nerr\n");
    }

    #[test]
    fn a_child_past_its_limit_is_killed_with_its_own_children() {
        let (path, mut file) = log();
        let call =
            Invocation::new("sh", Path::new("/")).arguments(&["-c", "sleep 1000 & echo $!; wait"]);
        let ending = call.run(&mut file, Duration::from_millis(300)).unwrap();
        assert!(matches!(ending, Ending::Killed));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // The shell may not have come so far as to start its child; then there is none to look for.
        if let Some(grandchild) = text.lines().nth(1) {
            // The kernel has the signal, but may not have ended the process yet.
            let gone = (0..10_000).any(|_| {
                std::thread::yield_now();
                matches!(state_of(grandchild).as_str(), "gone" | "Z" | "X")
            });
            assert!(gone, "{grandchild} is {}", state_of(grandchild));
        }
    }

    fn state_of(pid: &str) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        state.unwrap_or("gone").to_owned()
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let (path, mut file) = log();
        let ending = Invocation::new("no-such-program", Path::new("/"))
            .run(&mut file, Duration::from_secs(1));
        std::fs::remove_file(&path).unwrap();
        assert!(ending.is_err_and(|why| why.contains("no-such-program")));
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) c) S 7 1 2 3"), Some(7));
        assert_eq!(parent("12"), None);
    }
}
