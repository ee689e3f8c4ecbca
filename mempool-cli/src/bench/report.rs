//! What `mempool bench` found: medians, ratios, and whether the pool kept its promises meanwhile. Measures nothing itself.

use std::{collections::BTreeSet, fmt, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{Ended, Options, TIMES_THE_LIMIT, Times, side::Reads};
use crate::{disk::Place, memory::Peaks, size::Bytes};

/// The phases, in the order in which they are measured.
const PHASES: [&str; 3] = ["set", "read in order", "Zipf reads"];

/// All figures of one run. In JSON it has the same names, and `failures` and `passed` besides.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    memory_limit_bytes: u64,
    times_the_limit: u64,
    threads: usize,
    rounds: usize,
    places: Vec<Place>,
    pub(crate) sizes: Vec<SizeResult>,
    /// What the pools counted against the limit.
    peak_resident_bytes: u64,
    /// What the kernel counted for the process, with what both sides and the measurement itself take.
    pub(crate) process_peaks: Peaks,
    /// Values that a pool gave back changed.
    values_changed: u64,
    /// Values that the plain file gave back changed.
    pub(crate) plain_values_changed: u64,
    /// Files of sessions that are left after their end.
    files_left: BTreeSet<PathBuf>,
}

/// Values of one size, round by round.
pub(crate) struct SizePart {
    value_bytes: u64,
    values: u32,
    phase_bytes: [u64; 3],
    pool: Vec<Times>,
    plain: Vec<Times>,
}

/// Values of one size: the medians.
#[derive(Debug, Serialize)]
pub(crate) struct SizeResult {
    value_bytes: u64,
    values: u32,
    phases: Vec<PhaseResult>,
}

/// One phase, by the pool and by plain calls.
#[derive(Debug, Serialize)]
struct PhaseResult {
    name: &'static str,
    seconds: f64,
    plain_seconds: f64,
    bytes_per_second: f64,
    microseconds_per_value: f64,
    /// The pool's rate over that of plain calls.
    of_plain: f64,
}

impl SizePart {
    pub(crate) fn new(reads: &Reads) -> Self {
        Self {
            value_bytes: reads.value_bytes as u64,
            values: reads.count,
            phase_bytes: reads.phase_bytes(),
            pool: Vec::new(),
            plain: Vec::new(),
        }
    }

    pub(crate) fn add_pool(&mut self, times: Times) {
        self.pool.push(times);
    }

    pub(crate) fn add_plain(&mut self, times: Times) {
        self.plain.push(times);
    }

    pub(crate) fn finish(self) -> SizeResult {
        let phases = PHASES.into_iter().zip(self.phase_bytes).enumerate();
        let phase = |(at, (name, bytes)): (usize, (&'static str, u64))| {
            let seconds = |rounds: &[Times]| {
                median(rounds.iter().filter_map(|times| times.get(at).copied()).collect())
            };
            let (ours, plain) = (seconds(&self.pool), seconds(&self.plain));
            let reads = bytes as f64 / self.value_bytes as f64;
            PhaseResult {
                name,
                seconds: ours,
                plain_seconds: plain,
                bytes_per_second: bytes as f64 / ours,
                microseconds_per_value: ours * 1e6 / reads,
                of_plain: plain / ours,
            }
        };
        let phases = phases.map(phase).collect();
        SizeResult { value_bytes: self.value_bytes, values: self.values, phases }
    }
}

/// The median in seconds, never 0.
fn median(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    // Too short to be measured is given the clock's own step.
    median.max(Duration::from_nanos(1)).as_secs_f64()
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            memory_limit_bytes: options.memory_limit_bytes,
            times_the_limit: TIMES_THE_LIMIT,
            threads: options.threads,
            rounds: options.rounds,
            places: Vec::new(),
            sizes: Vec::new(),
            peak_resident_bytes: 0,
            process_peaks: Peaks::default(),
            values_changed: 0,
            plain_values_changed: 0,
            files_left: BTreeSet::new(),
        }
    }

    /// A pool was closed.
    pub(crate) fn add_pool(&mut self, ended: Ended) {
        self.places = ended.places;
        self.peak_resident_bytes = self.peak_resident_bytes.max(ended.peak_resident_bytes);
        self.values_changed += ended.values_changed;
        self.files_left.extend(ended.files_left);
    }

    /// What was not as promised, each a sentence; empty if all was.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.values_changed > 0 {
            failures.push(format!("{} values came back changed", self.values_changed));
        }
        if self.plain_values_changed > 0 {
            failures.push(format!(
                "{} values came back changed from a plain file: this disk or memory is not to be trusted",
                self.plain_values_changed
            ));
        }
        if self.peak_resident_bytes > self.memory_limit_bytes {
            let [held, limit] = [self.peak_resident_bytes, self.memory_limit_bytes].map(Bytes);
            failures.push(format!("the pool held {held}, more than its limit of {limit}"));
        }
        let left = self.files_left.iter().map(|file| format!("left behind: {}", file.display()));
        failures.extend(left);
        failures
    }

    /// The report as JSON, on several lines.
    ///
    /// # Errors
    /// None is known: all figures are finite numbers and all texts are text.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Judged<'a> {
            #[serde(flatten)]
            report: &'a Report,
            failures: &'a [String],
            passed: bool,
        }
        let failures = self.failures();
        let passed = failures.is_empty();
        serde_json::to_string_pretty(&Judged { report: self, failures: &failures, passed })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let rounds = if self.rounds == 1 { "round" } else { "rounds" };
        writeln!(
            f,
            "mempool bench: {} of memory, {} times as much set, {} {threads}, {} {rounds}, under {}",
            Bytes(self.memory_limit_bytes),
            self.times_the_limit,
            self.threads,
            self.rounds,
            self.places.iter().map(Place::to_string).collect::<Vec<_>>().join(", ")
        )?;
        writeln!(
            f,
            "Medians. Plain: the same values in one file, written and mapped with plain calls.\n"
        )?;
        writeln!(
            f,
            "{:<10} {:<14} {:>14} {:>12} {:>14} {:>9}",
            "Values", "", "bytes/s", "us/value", "plain bytes/s", "of plain"
        )?;
        for size in &self.sizes {
            for (at, phase) in size.phases.iter().enumerate() {
                let name =
                    if at == 0 { Bytes(size.value_bytes).to_string() } else { String::new() };
                writeln!(
                    f,
                    "{name:<10} {:<14} {:>14} {:>12.2} {:>14} {:>9.2}",
                    phase.name,
                    rate(phase.bytes_per_second),
                    phase.microseconds_per_value,
                    rate(phase.bytes_per_second / phase.of_plain),
                    phase.of_plain
                )?;
            }
        }
        let (peak, limit) = (Bytes(self.peak_resident_bytes), Bytes(self.memory_limit_bytes));
        let anonymous = Bytes(self.process_peaks.anonymous_bytes);
        writeln!(
            f,
            "\nThe pool held {peak} at most, of {limit}; the process {anonymous} of anonymous memory."
        )?;
        let failures = self.failures();
        for failure in &failures {
            writeln!(f, "FAILED  {failure}")?;
        }
        match failures.is_empty() {
            true => write!(f, "Each value came back as it was set, and no file is left."),
            false => write!(f, "FAILED"),
        }
    }
}

fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} MiB", bytes_per_second / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let options = Options {
            value_bytes: vec![1 << 20],
            memory_limit_bytes: 16 << 20,
            disk: PathBuf::from("/x").into(),
            threads: 1,
            rounds: 3,
        };
        let reads = Reads::new(&options, 1 << 20);
        let mut size = SizePart::new(&reads);
        for seconds in [1, 9, 2] {
            size.add_pool([Duration::from_secs(2 * seconds); 3]);
            size.add_plain([Duration::from_secs(seconds); 3]);
        }
        let mut report = Report::new(&options);
        report.sizes.push(size.finish());
        report.add_pool(Ended {
            places: vec![Place { path: "/x".into(), file_system: "ext4".into() }],
            peak_resident_bytes: 16 << 20,
            values_changed: 0,
            files_left: Vec::new(),
        });
        report
    }

    #[test]
    fn medians_are_compared() {
        let report = report();
        assert_eq!(report.failures(), Vec::<String>::new());
        let phase = &report.sizes[0].phases[0];
        assert_eq!((phase.seconds, phase.plain_seconds, phase.of_plain), (4.0, 2.0, 0.5));
        let text = report.to_string();
        for part in
            ["16.0 MiB of memory, 4 times", "ext4", "1.0 MiB    set", "62500.00", "16.0 MiB"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["passed"], true);
        assert_eq!(json["sizes"][0]["phases"][1]["name"], "read in order");
    }

    #[test]
    fn each_broken_promise_fails_the_run() {
        let breaks: [fn(&mut Report); 4] = [
            |report| report.values_changed = 1,
            |report| report.plain_values_changed = 1,
            |report| report.peak_resident_bytes += 1,
            |report| report.files_left.extend([PathBuf::from("/x/.mempool/s/1")]),
        ];
        for break_it in breaks {
            let mut report = report();
            break_it(&mut report);
            assert_eq!(report.failures().len(), 1);
            assert!(report.to_string().ends_with("\nFAILED"));
        }
    }
}
