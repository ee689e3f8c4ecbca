//! What an import says of itself: the table that it made, and what that took.

use std::{fmt, path::PathBuf};

use indicatif::HumanCount;
use serde::Serialize;

use crate::{
    card::{PROCESS_ALLOWANCE_BYTES, Phase},
    memory::Peaks,
    show::Shown,
    size::Bytes,
};

/// The result of an import.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) file: PathBuf,
    /// Sorted runs that were merged; none in the order of the file.
    pub(crate) runs: usize,
    /// Whether types were found by a pass of their own.
    pub(crate) read_twice: bool,
    pub(crate) spilled_bytes: u64,
    pub(crate) memory: Memory,
    /// Files of the session that are left after its end.
    pub(crate) files_left: Vec<PathBuf>,
    pub(crate) phases: Vec<Phase>,
    #[serde(rename = "table")]
    pub(crate) shown: Shown,
}

/// What was in memory at most.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) limit_bytes: u64,
    pub(crate) peak_resident_bytes: u64,
    pub(crate) process_peaks: Peaks,
}

impl Report {
    /// Why the import is not as promised, each reason a sentence.
    pub(crate) fn failures(&self) -> Vec<String> {
        let memory = &self.memory;
        let mut failures = Vec::new();
        let (peak, limit) = (memory.peak_resident_bytes, memory.limit_bytes);
        if peak > limit {
            failures.push(format!("the pool held {}, its limit is {}", Bytes(peak), Bytes(limit)));
        }
        let (held, allowed) = (
            memory.process_peaks.unreclaimable_bytes,
            limit.saturating_add(PROCESS_ALLOWANCE_BYTES),
        );
        if held > allowed {
            failures.push(format!("the process held {} of {}", Bytes(held), Bytes(allowed)));
        }
        failures.extend(self.files_left.iter().map(|file| format!("{} is left", file.display())));
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is imported.", self.file.display())?;
        if self.read_twice {
            writeln!(f, "It was read twice: first for the types, which fit each of its rows.")?;
        }
        if self.runs > 1 {
            let runs = HumanCount(self.runs as u64);
            writeln!(f, "Sorted in {runs} runs; {} spilled.", Bytes(self.spilled_bytes))?;
        }
        let (held, limit) = (self.memory.peak_resident_bytes, self.memory.limit_bytes);
        let process = Bytes(self.memory.process_peaks.unreclaimable_bytes);
        let (held, limit) = (Bytes(held), Bytes(limit));
        writeln!(f, "Memory: {held} at most, of {limit}; {process} with the program itself.")?;
        for failure in self.failures() {
            writeln!(f, "FAILED: {failure}")?;
        }
        write!(f, "\n{}", self.shown)
    }
}
