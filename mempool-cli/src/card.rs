//! The proof card: what the job did, what was measured while it did it, and whether all of it is as promised. Judges figures; measures nothing itself.

use std::{fmt, path::PathBuf, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use crate::{memory::Peaks, size::Bytes};

/// What the process may take beyond the memory limit: its code's own data, stacks, buffers of the spill tier, what the allocator keeps.
pub(crate) const PROCESS_ALLOWANCE_BYTES: u64 = 64 << 20;

/// All figures of one run. In JSON it has the same names, and `failures` and `passed` besides.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    /// What the data are; the benchmark's name may only be used for its own.
    pub(crate) data: &'static str,
    pub(crate) scale: f64,
    pub(crate) threads: usize,
    pub(crate) answers: AnswersPart,
    /// Rows set.
    pub(crate) rows: u64,
    /// Values set: chunks of rows.
    pub(crate) values: u64,
    /// Bytes of all values as they live in the pool.
    pub(crate) set_bytes: u64,
    /// Values whose rows, all 16 columns, were not those that were set.
    pub(crate) values_changed: u64,
    pub(crate) memory: MemoryPart,
    pub(crate) spill: SpillPart,
    pub(crate) phases: Vec<Phase>,
}

/// The answers and what they were compared with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AnswersPart {
    pub(crate) compared_with: &'static str,
    /// Each difference as a sentence; empty if the answers are equal.
    pub(crate) query_1_differences: Vec<String>,
    /// The same for query 6.
    pub(crate) query_6_differences: Vec<String>,
}

/// What was in memory at most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryPart {
    pub(crate) limit_bytes: u64,
    /// What the pool counted against the limit: its values, and the generator's own buffers, which are reserved there.
    pub(crate) peak_resident_bytes: u64,
    /// What the kernel counted for the process and its children.
    pub(crate) process_peaks: Peaks,
    /// What anonymous and shared memory of the process may come to.
    pub(crate) process_limit_bytes: u64,
}

/// What went to disk and came back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SpillPart {
    pub(crate) directory: PathBuf,
    pub(crate) file_system: String,
    /// Values written to make room.
    pub(crate) spills: u64,
    pub(crate) spilled_bytes: u64,
    /// Spilled bytes over the memory limit.
    pub(crate) times_the_limit: f64,
    /// Values that were evicted without a write, because the disk had them already.
    pub(crate) clean_evictions: u64,
    /// Values that came back from disk.
    pub(crate) reloads: u64,
    pub(crate) gets: u64,
    /// Gets that found their value in memory, over all gets; 1 where there were none.
    pub(crate) hit_ratio: f64,
    pub(crate) peak_disk_bytes: u64,
    /// Files of the session that are left after its end.
    pub(crate) files_left: Vec<PathBuf>,
}

/// One phase of the job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) rows: u64,
    /// Bytes of values; 0 for a phase that has none.
    pub(crate) bytes: u64,
    pub(crate) rows_per_second: f64,
    pub(crate) bytes_per_second: u64,
}

impl Phase {
    /// A phase and its rates.
    pub(crate) fn new(name: &'static str, time: Duration, rows: u64, bytes: u64) -> Self {
        // A phase too short to be measured is given the clock's own step.
        let time = time.max(Duration::from_nanos(1));
        let seconds = time.as_secs_f64();
        let bytes_per_second = u128::from(bytes) * 1_000_000_000 / time.as_nanos();
        Self {
            name,
            seconds,
            rows,
            bytes,
            rows_per_second: rows as f64 / seconds,
            bytes_per_second: u64::try_from(bytes_per_second).unwrap_or(u64::MAX),
        }
    }
}

impl Card {
    /// Why the run is no proof, each reason a sentence; empty if it is one.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail_if = |fails: bool, reason: String| {
            if fails {
                failures.push(reason);
            }
        };
        let queries =
            [("1", &self.answers.query_1_differences), ("6", &self.answers.query_6_differences)];
        for (query, difference) in
            queries.iter().flat_map(|(query, all)| all.iter().map(move |one| (query, one)))
        {
            fail_if(true, format!("query {query}: {difference}"));
        }
        fail_if(
            self.values_changed > 0,
            format!("{} values came back changed", self.values_changed),
        );
        let memory = &self.memory;
        let over =
            format!("the pool held {}, more than its limit", Bytes(memory.peak_resident_bytes));
        fail_if(memory.peak_resident_bytes > memory.limit_bytes, over);
        let held = memory.process_peaks.unreclaimable_bytes;
        let over = format!(
            "the process held {}, more than limit + {}",
            Bytes(held),
            Bytes(PROCESS_ALLOWANCE_BYTES)
        );
        fail_if(held > memory.process_limit_bytes, over);
        fail_if(
            memory.process_peaks.samples == 0,
            "the memory of the process was never seen".into(),
        );
        for file in &self.spill.files_left {
            fail_if(true, format!("left behind: {}", file.display()));
        }
        failures
    }

    /// The card as JSON, on several lines.
    ///
    /// # Errors
    /// None is known: all figures are finite numbers and all texts are text.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Judged<'a> {
            #[serde(flatten)]
            card: &'a Card,
            failures: &'a [String],
            passed: bool,
        }
        let failures = self.failures();
        serde_json::to_string_pretty(&Judged {
            card: self,
            failures: &failures,
            passed: failures.is_empty(),
        })
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "mempool tpch: {}, scale {}, {} threads\n",
            self.data, self.scale, self.threads
        )?;
        self.fmt_answers(f)?;
        self.fmt_memory(f)?;
        self.fmt_spill(f)?;
        self.fmt_phases(f)?;
        let failures = self.failures();
        for failure in &failures {
            writeln!(f, "  FAILED: {failure}")?;
        }
        write!(f, "{}", if failures.is_empty() { "PASSED" } else { "FAILED" })
    }
}

impl Card {
    fn fmt_answers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict =
            |differences: &[String]| if differences.is_empty() { "equal" } else { "DIFFERENT" };
        let answers = &self.answers;
        let queries =
            [verdict(&answers.query_1_differences), verdict(&answers.query_6_differences)];
        line(f, "answers", format_args!("query 1 {}, query 6 {}", queries[0], queries[1]))?;
        line(f, "", format_args!("compared with {}", answers.compared_with))?;
        let came_back = match self.values_changed {
            0 => "each came back with all 16 columns as they were set".to_owned(),
            changed => format!("{changed} of its values CAME BACK CHANGED"),
        };
        line(f, "rows", format_args!("{}; {came_back}", HumanCount(self.rows)))?;
        line(
            f,
            "set",
            format_args!("{} in {} values", Bytes(self.set_bytes), HumanCount(self.values)),
        )
    }

    fn fmt_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        let share = 100.0 * memory.peak_resident_bytes as f64 / memory.limit_bytes as f64;
        let (peak, limit) = (Bytes(memory.peak_resident_bytes), Bytes(memory.limit_bytes));
        line(f, "resident", format_args!("peak {peak} of the limit of {limit} ({share:.1} %)"))?;
        let peaks = &memory.process_peaks;
        let [anonymous, shared, mapped] =
            [peaks.anonymous_bytes, peaks.shared_bytes, peaks.mapped_bytes].map(Bytes);
        line(
            f,
            "process",
            format_args!("peak RSS: anonymous {anonymous}, shared {shared}, mapped files {mapped}"),
        )?;
        let (held, allowed) = (Bytes(peaks.unreclaimable_bytes), Bytes(memory.process_limit_bytes));
        let allowance = Bytes(PROCESS_ALLOWANCE_BYTES);
        line(
            f,
            "",
            format_args!("anonymous + shared {held} of {allowed} allowed (limit + {allowance})"),
        )
    }

    fn fmt_spill(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spill = &self.spill;
        let times = format!("{:.1} times the memory limit", spill.times_the_limit);
        line(
            f,
            "spilled",
            format_args!("{} in {} spills: {times}", Bytes(spill.spilled_bytes), spill.spills),
        )?;
        let ratio = format!("hit ratio {:.1} % of {} gets", 100.0 * spill.hit_ratio, spill.gets);
        line(
            f,
            "",
            format_args!(
                "{} reloads, {} clean evictions, {ratio}",
                spill.reloads, spill.clean_evictions
            ),
        )?;
        let peak = Bytes(spill.peak_disk_bytes);
        line(
            f,
            "disk",
            format_args!("peak {peak} under {} ({})", spill.directory.display(), spill.file_system),
        )?;
        line(f, "left behind", format_args!("{} files", spill.files_left.len()))
    }

    fn fmt_phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            let rows = format!("{:>7.2} M rows/s", phase.rows_per_second / 1e6);
            let bytes = match phase.bytes {
                0 => String::new(),
                _ => format!(" {:>12}/s", Bytes(phase.bytes_per_second)),
            };
            line(f, phase.name, format_args!("{:>8.2} s {rows}{bytes}", phase.seconds))?;
        }
        Ok(())
    }
}

/// One line of the card: what it is about, and what there is to say.
fn line(f: &mut fmt::Formatter<'_>, about: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {about:<12} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn card() -> Card {
        let peaks = Peaks {
            anonymous_bytes: 20 * MIB,
            shared_bytes: 0,
            mapped_bytes: 90 * MIB,
            unreclaimable_bytes: 20 * MIB,
            samples: 9,
        };
        Card {
            data: "derived from TPC-H",
            scale: 0.1,
            threads: 2,
            answers: AnswersPart {
                compared_with: "something",
                query_1_differences: Vec::new(),
                query_6_differences: Vec::new(),
            },
            rows: 600_572,
            values: 80,
            set_bytes: 88 * MIB,
            values_changed: 0,
            memory: MemoryPart {
                limit_bytes: 16 * MIB,
                peak_resident_bytes: 16 * MIB,
                process_peaks: peaks,
                process_limit_bytes: 80 * MIB,
            },
            spill: SpillPart {
                directory: "/x".into(),
                file_system: "ext4".into(),
                spills: 70,
                spilled_bytes: 80 * MIB,
                times_the_limit: 5.0,
                clean_evictions: 3,
                reloads: 60,
                gets: 240,
                hit_ratio: 0.75,
                peak_disk_bytes: 80 * MIB,
                files_left: Vec::new(),
            },
            phases: vec![Phase::new("generate", Duration::from_millis(500), 600_572, 88 * MIB)],
        }
    }

    #[test]
    fn a_good_run_passes() {
        let card = card();
        assert_eq!(card.failures(), Vec::<String>::new());
        let text = card.to_string();
        assert!(text.ends_with("\nPASSED"), "{text}");
        for part in [
            "derived from TPC-H",
            "600,572",
            "5.0 times the memory limit",
            "75.0 % of 240 gets",
            "176.0 MiB/s",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&card.json().unwrap()).unwrap();
        assert_eq!(json["passed"], true);
        assert_eq!(json["memory"]["peak_resident_bytes"], 16 * MIB);
        assert_eq!(json["phases"][0]["name"], "generate");
    }

    #[test]
    fn each_broken_promise_fails_the_run() {
        let breaks: [fn(&mut Card); 7] = [
            |card| card.answers.query_1_differences.push("row 1".into()),
            |card| card.answers.query_6_differences.push("row 1".into()),
            |card| card.values_changed = 1,
            |card| card.memory.peak_resident_bytes += 1,
            |card| card.memory.process_peaks.unreclaimable_bytes = 80 * MIB + 1,
            |card| card.memory.process_peaks.samples = 0,
            |card| card.spill.files_left.push("/x/.mempool/s/1".into()),
        ];
        for (number, break_it) in breaks.into_iter().enumerate() {
            let mut card = card();
            break_it(&mut card);
            assert_eq!(card.failures().len(), 1, "promise {number}");
            assert!(card.to_string().ends_with("\nFAILED"), "promise {number}");
            let json: serde_json::Value = serde_json::from_str(&card.json().unwrap()).unwrap();
            assert_eq!(json["passed"], false, "promise {number}");
        }
    }
}
