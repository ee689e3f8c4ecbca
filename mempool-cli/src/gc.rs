//! `mempool gc`: what sessions stand in a directory, whose they are, which of them go, and why. The sweep itself is the spill tier's.

use std::{fmt, fs, path::Path};

use indicatif::HumanCount;
use mempool_spill::{
    SessionReport, SessionState, SpillError, remove_retained, survey, sweep_directory,
};
use serde::Serialize;

use crate::{retained::Retention, size::Bytes};

/// What stands in a directory, and what was or would be removed.
#[derive(Debug, Serialize)]
pub(crate) struct Collection {
    directory: String,
    dry_run: bool,
    sessions: Vec<Session>,
}

#[derive(Debug, Serialize)]
struct Session {
    name: String,
    state: &'static str,
    /// As its name says.
    pid: Option<u32>,
    /// The program that has this number now, if it lives.
    program: Option<String>,
    uid: u32,
    files: u64,
    disk_bytes: u64,
    why: String,
    /// Whether it is dead, so that a sweep removes it, or retained and not wanted any more.
    goes: bool,
    /// Whether it was removed.
    gone: bool,
}

impl Collection {
    /// Looks at what there is, and sweeps unless it is a dry run; what is `retained` goes only when that is asked for.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(crate) fn of(directory: &Path, dry_run: bool, retained: bool) -> Result<Self, SpillError> {
        let session = |report: &SessionReport| Session::new(report, retained);
        let mut sessions: Vec<_> = survey(directory)?.iter().map(session).collect();
        if !dry_run {
            sweep_directory(directory)?;
            for session in sessions.iter().filter(|session| session.goes) {
                remove_retained(directory, &session.name)?;
            }
            let left = survey(directory)?;
            let is_left = |name: &str| left.iter().any(|report| name_of(report) == name);
            sessions.iter_mut().for_each(|session| session.gone = !is_left(&session.name));
        }
        Ok(Self { directory: directory.display().to_string(), dry_run, sessions })
    }

    /// Whether all that is dead was removed, or was only to be looked at.
    pub(crate) fn is_clean(&self) -> bool {
        self.dry_run || self.sessions.iter().all(|session| session.gone || !session.goes)
    }
}

fn name_of(report: &SessionReport) -> String {
    report.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Session {
    fn new(report: &SessionReport, retained: bool) -> Self {
        let (state, why) = match &report.state {
            SessionState::Living => ("living", "a process holds its lock".to_owned()),
            SessionState::Dead if report.foreign_files > 0 => {
                let count = report.foreign_files;
                (
                    "dead",
                    format!("nobody holds its lock; it stays for {count} files that are not ours"),
                )
            }
            SessionState::Dead => ("dead", "nobody holds its lock".to_owned()),
            SessionState::Retained => {
                let what = match &report.retained {
                    Some(Ok(kept)) => Retention::of(kept).summary(),
                    Some(Err(error)) => format!("damaged: {error}"),
                    None => String::new(),
                };
                let how = if retained { "" } else { "; --retained removes it" };
                ("retained", format!("values are kept in it, {what}{how}"))
            }
            SessionState::NoSession => ("foreign", "it is no session".to_owned()),
            SessionState::Refused(error) => ("refused", format!("it cannot be opened: {error}")),
            _ => ("unknown", "this program does not know its state".to_owned()),
        };
        let dead = match report.state {
            SessionState::Dead => true,
            SessionState::Retained => retained,
            _ => false,
        };
        let goes = dead && report.foreign_files == 0;
        // The number of a dead session's process may be another program's by now, so it is not looked up.
        let living = report.pid.filter(|_| matches!(report.state, SessionState::Living));
        let program = living.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        Self {
            name: name_of(report),
            state,
            pid: report.pid,
            program: program.map(|name| name.trim().to_owned()),
            uid: report.uid,
            files: report.files,
            disk_bytes: report.disk_bytes,
            why,
            goes,
            gone: false,
        }
    }

    /// `pid 7 (mempool), uid 0`.
    fn owner(&self) -> String {
        let pid = self.pid.map(|pid| format!("pid {pid}"));
        let program = self.program.as_ref().map(|program| format!(" ({program})"));
        format!(
            "{}{}, uid {}",
            pid.unwrap_or("no pid".into()),
            program.unwrap_or_default(),
            self.uid
        )
    }

    fn fate(&self, dry_run: bool) -> &'static str {
        match (self.goes, dry_run, self.gone) {
            (true, true, _) => "would go",
            (_, _, true) => "removed",
            (true, false, false) => "NOT REMOVED",
            (false, _, _) => "stays",
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sessions.is_empty() {
            return write!(f, "{}: no sessions", self.directory);
        }
        let entries = if self.sessions.len() == 1 { "entry" } else { "entries" };
        writeln!(f, "{}: {} {entries} in .mempool\n", self.directory, self.sessions.len())?;
        for session in &self.sessions {
            let (files, bytes) = (HumanCount(session.files), Bytes(session.disk_bytes));
            let fate = session.fate(self.dry_run);
            writeln!(f, "  {:<8} {} of {}", session.state, session.name, session.owner())?;
            writeln!(f, "           {files} files, {bytes}; {fate}: {}", session.why)?;
        }
        let going: Vec<_> = self.sessions.iter().filter(|session| session.goes).collect();
        let bytes = Bytes(going.iter().map(|session| session.disk_bytes).sum());
        let kind = match going.iter().any(|session| session.state == "retained") {
            true => "dead or retained",
            false => "dead",
        };
        let count = match going.len() {
            0 => return write!(f, "\nnothing to remove"),
            1 => format!("1 {kind} session"),
            count => format!("{count} {kind} sessions"),
        };
        match (self.dry_run, self.is_clean()) {
            (true, _) => write!(f, "\n{count}, {bytes}; without --dry-run this is removed"),
            (false, true) => write!(f, "\n{count} removed, {bytes} freed"),
            (false, false) => write!(f, "\n{count}, {bytes}, of which not all could be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use mempool_spill::SpillOptions;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_dead_go_and_the_living_stay() {
        let scratch = Scratch::new();
        assert!(
            Collection::of(scratch.path(), false, false)
                .unwrap()
                .to_string()
                .ends_with("no sessions")
        );
        let store = SpillOptions::new(scratch.path()).open().unwrap();
        scratch.write(".mempool/s-4000000000-ab/seg-1", "some bytes");
        scratch.write(".mempool/s-4000000001-ab/theirs", "");
        let dry = Collection::of(scratch.path(), true, false).unwrap();
        let text = dry.to_string();
        for part in [
            "pid 4000000000, uid",
            "would go: nobody holds its lock",
            "stays: a process holds its lock",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(scratch.path().join(".mempool/s-4000000000-ab").is_dir());
        let swept = Collection::of(scratch.path(), false, false).unwrap();
        assert!(swept.is_clean(), "{swept}");
        assert!(swept.to_string().contains("removed: nobody"), "{swept}");
        assert!(swept.to_string().contains("\n1 dead session removed, "), "{swept}");
        assert!(!scratch.path().join(".mempool/s-4000000000-ab").exists());
        assert!(scratch.path().join(".mempool/s-4000000001-ab/theirs").exists());
        assert!(store.session_path().is_dir());
    }
}
