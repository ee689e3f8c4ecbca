//! The proof card: what the job did, what was measured while it did it, and whether all of it is as promised. Judges figures; measures nothing itself.

use std::{fmt, path::PathBuf, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use crate::{disk::Place, memory::Peaks, size::Bytes};

/// What the process may take beyond the memory limit: its code's own data, stacks, buffers of the spill tier, what the allocator keeps.
pub(crate) const PROCESS_ALLOWANCE_BYTES: u64 = 64 << 20;

/// All figures of one run. In JSON it has the same names, and `failures` and `passed` besides.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    /// What the data are; the benchmark's name may only be used for its own.
    pub(crate) data: &'static str,
    pub(crate) scale: f64,
    /// How the pool kept the tables: `columns` or `rows`.
    pub(crate) layout: &'static str,
    pub(crate) threads: usize,
    pub(crate) answers: AnswersPart,
    /// Rows of `lineitem`.
    pub(crate) rows: u64,
    /// Values that they were set as: chunks of rows, or of their columns.
    pub(crate) values: u64,
    /// Bytes of these values as they live in the pool.
    pub(crate) set_bytes: u64,
    /// Values whose rows, all 16 columns, were not those that were set.
    pub(crate) values_changed: u64,
    /// If the table was to be sorted.
    pub(crate) sort: Option<SortPart>,
    pub(crate) memory: MemoryPart,
    pub(crate) spill: SpillPart,
    pub(crate) phases: Vec<Phase>,
}

/// The answers and what they were compared with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AnswersPart {
    pub(crate) compared_with: &'static str,
    /// In the order in which they ran.
    pub(crate) queries: Vec<QueryPart>,
}

/// One query's answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QueryPart {
    /// The benchmark's number for it.
    pub(crate) query: u8,
    /// Rows of the answer.
    pub(crate) rows: usize,
    /// How many groups the rows were chosen from, for a query that has many.
    pub(crate) groups: Option<u64>,
    /// Each difference as a sentence; empty if the answers are equal.
    pub(crate) differences: Vec<String>,
}

/// The sorted table, beside the one that was generated.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SortPart {
    /// Sorted runs that were merged.
    pub(crate) runs: u64,
    pub(crate) rows: u64,
    pub(crate) rows_expected: u64,
    /// Rows that are not behind the one before them.
    pub(crate) out_of_order: u64,
    /// Over all columns of all rows, in whatever order.
    pub(crate) checksum: String,
    /// The same of the rows before the pool had them.
    pub(crate) checksum_expected: String,
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
    /// What may be mapped of spilled values, if that has a limit; then the whole RSS of the process has one, too.
    pub(crate) mapped_limit_bytes: Option<u64>,
}

/// What went to disk and came back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SpillPart {
    pub(crate) places: Vec<Place>,
    /// What was written went through these.
    pub(crate) filters: Vec<String>,
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

/// One promise: what it is about, how it was kept, and what broke it.
struct Check {
    about: String,
    kept: String,
    /// Each a sentence; empty if the promise was kept.
    broken: Vec<String>,
}

impl Check {
    fn new(about: impl Into<String>, kept: String, broken: Vec<String>) -> Self {
        Self { about: about.into(), kept, broken }
    }

    /// A promise that holds while `held` does.
    fn held(about: &str, held: bool, kept: String, broken: String) -> Self {
        Self::new(about, kept, if held { Vec::new() } else { vec![broken] })
    }
}

impl Card {
    /// Why the run is no proof, each reason a sentence; empty if it is one.
    pub(crate) fn failures(&self) -> Vec<String> {
        let checks = self.checks().into_iter();
        checks
            .flat_map(|Check { about, broken, .. }| {
                broken.into_iter().map(move |reason| format!("{about}: {reason}"))
            })
            .collect()
    }

    /// Each promise, in the order of the card.
    fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<_> = self.answers.checks().collect();
        checks.push(Check::held(
            "rows",
            self.values_changed == 0,
            format!("{} came back, each column as it was set", HumanCount(self.rows)),
            format!("{} values came back changed", self.values_changed),
        ));
        checks.extend(self.sort.as_ref().map(SortPart::check));
        checks.extend(self.memory.checks());
        checks.push(self.spill.check());
        checks
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

impl AnswersPart {
    fn checks(&self) -> impl Iterator<Item = Check> {
        self.queries.iter().map(|query| {
            let rows = match query.rows {
                1 => "1 row".to_owned(),
                rows => format!("{} rows", HumanCount(rows as u64)),
            };
            let of = query.groups.map(|groups| format!(" of {} groups", HumanCount(groups)));
            let equal = if query.rows == 1 { "equals" } else { "equal" };
            let kept = format!("{rows}{} {equal} {}", of.unwrap_or_default(), self.compared_with);
            Check::new(format!("query {}", query.query), kept, query.differences.clone())
        })
    }
}

impl SortPart {
    fn check(&self) -> Check {
        let Self { out_of_order, checksum, checksum_expected, .. } = self;
        let [rows, expected, runs] = [self.rows, self.rows_expected, self.runs].map(HumanCount);
        let mut broken = Vec::new();
        if *out_of_order > 0 {
            broken.push(format!("{} rows are out of order", HumanCount(*out_of_order)));
        }
        if self.rows != self.rows_expected {
            broken.push(format!("{rows} rows, expected {expected}"));
        }
        if checksum != checksum_expected {
            broken.push(format!("its checksum is {checksum}, expected {checksum_expected}"));
        }
        let kept = format!("{rows} rows in order, from {runs} runs; checksum {checksum} as before");
        Check::new("sort", kept, broken)
    }
}

impl MemoryPart {
    /// What the pool counted, and what the kernel did.
    fn checks(&self) -> Vec<Check> {
        let (peak, limit) = (Bytes(self.peak_resident_bytes), Bytes(self.limit_bytes));
        let pool = Check::held(
            "pool",
            self.peak_resident_bytes <= self.limit_bytes,
            format!("{peak} at most, and the limit is {limit}"),
            format!("it held {peak}, more than its limit of {limit}"),
        );
        let peaks = &self.process_peaks;
        let (held, allowed) = (Bytes(peaks.unreclaimable_bytes), Bytes(self.process_limit_bytes));
        let allowance = Bytes(PROCESS_ALLOWANCE_BYTES);
        let mut broken = Vec::new();
        if peaks.unreclaimable_bytes > self.process_limit_bytes {
            broken.push(format!("it held {held}, more than {allowed} (the limit + {allowance})"));
        }
        if peaks.samples == 0 {
            broken.push("its memory was never seen".into());
        }
        let kept =
            format!("{held} anonymous + shared at most, of {allowed} (the limit + {allowance})");
        let mut checks = vec![pool, Check::new("process", kept, broken)];
        checks.extend(self.mapped_limit_bytes.map(|mapped| self.check_rss(mapped)));
        checks
    }

    /// The whole RSS, when what is mapped has a limit.
    fn check_rss(&self, mapped_limit_bytes: u64) -> Check {
        let allowed_bytes = self.process_limit_bytes.saturating_add(mapped_limit_bytes);
        let rss_bytes = self.process_peaks.rss_bytes;
        let (held, allowed) = (Bytes(rss_bytes), Bytes(allowed_bytes));
        let why = format!("the same and {} of maps", Bytes(mapped_limit_bytes));
        Check::held(
            "RSS",
            rss_bytes <= allowed_bytes,
            format!("{held} in all at most, of {allowed} ({why})"),
            format!("it held {held} in all, more than {allowed} ({why})"),
        )
    }
}

impl SpillPart {
    fn check(&self) -> Check {
        let left = self.files_left.iter().map(|file| format!("left behind: {}", file.display()));
        Check::new("files", "none is left behind".into(), left.collect())
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let Self { data, scale, layout, threads: count, .. } = self;
        let limit = Bytes(self.memory.limit_bytes);
        writeln!(
            f,
            "mempool tpch: {data}, scale {scale}, as {layout}, {limit} of memory, {count} {threads}"
        )?;
        writeln!(f, "\nProved")?;
        let checks = self.checks();
        for Check { about, kept, .. } in checks.iter().filter(|check| check.broken.is_empty()) {
            writeln!(f, "  ok      {about:<9} {kept}")?;
        }
        for Check { about, broken, .. } in &checks {
            for reason in broken {
                writeln!(f, "  FAILED  {about:<9} {reason}")?;
            }
        }
        writeln!(f, "\nMeasured")?;
        self.fmt_measured(f)?;
        self.fmt_phases(f)?;
        let passed = checks.iter().all(|check| check.broken.is_empty());
        write!(f, "\n{}", if passed { "PASSED" } else { "FAILED" })
    }
}

impl Card {
    fn fmt_measured(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (set, values) = (Bytes(self.set_bytes), HumanCount(self.values));
        line(f, "table", format_args!("{set} in {values} values"))?;
        let spill = &self.spill;
        let (spilled, spills) = (Bytes(spill.spilled_bytes), HumanCount(spill.spills));
        let times = spill.times_the_limit;
        line(
            f,
            "spilled",
            format_args!("{spilled} in {spills} spills: {times:.1} times the limit"),
        )?;
        let (reloads, clean) = (HumanCount(spill.reloads), HumanCount(spill.clean_evictions));
        line(f, "came back", format_args!("{reloads} reloads, {clean} clean evictions"))?;
        let (hits, gets) = (100.0 * spill.hit_ratio, HumanCount(spill.gets));
        line(f, "hit ratio", format_args!("{hits:.1} % of {gets} gets"))?;
        let places: Vec<_> = spill.places.iter().map(Place::to_string).collect();
        let (peak, places) = (Bytes(spill.peak_disk_bytes), places.join(" and "));
        line(f, "disk", format_args!("{peak} at most, under {places}"))?;
        if spill.filters.iter().any(|filter| filter != "none") {
            line(f, "filters", format_args!("{}", spill.filters.join(", then ")))?;
        }
        let peaks = &self.memory.process_peaks;
        let [anonymous, shared, mapped] =
            [peaks.anonymous_bytes, peaks.shared_bytes, peaks.mapped_bytes].map(Bytes);
        let rss = format_args!("{anonymous} anonymous, {shared} shared, {mapped} mapped files");
        line(f, "peak RSS", rss)
    }

    fn fmt_phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:<15} {:>9} {:>13} {:>14}", "Phase", "seconds", "M rows/s", "bytes/s")?;
        for phase in &self.phases {
            let bytes = match phase.bytes {
                0 => String::new(),
                _ => Bytes(phase.bytes_per_second).to_string(),
            };
            let (name, seconds, rows) = (phase.name, phase.seconds, phase.rows_per_second / 1e6);
            let row = format!("  {name:<13} {seconds:>9.2} {rows:>13.2} {bytes:>14}");
            writeln!(f, "{}", row.trim_end())?;
        }
        Ok(())
    }
}

/// One line of figures: what they are about, and what there is to say.
fn line(f: &mut fmt::Formatter<'_>, about: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {about:<10} {text}")
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
            rss_bytes: 25 * MIB,
            samples: 9,
        };
        Card {
            data: "derived from TPC-H",
            scale: 0.1,
            layout: "columns",
            threads: 2,
            answers: AnswersPart {
                compared_with: "something",
                queries: [1, 6]
                    .map(|query| QueryPart {
                        query,
                        rows: 1,
                        groups: Some(7),
                        differences: Vec::new(),
                    })
                    .to_vec(),
            },
            rows: 600_572,
            values: 80,
            set_bytes: 88 * MIB,
            values_changed: 0,
            sort: Some(SortPart {
                runs: 5,
                rows: 600_572,
                rows_expected: 600_572,
                out_of_order: 0,
                checksum: "0a".into(),
                checksum_expected: "0a".into(),
            }),
            memory: MemoryPart {
                limit_bytes: 16 * MIB,
                peak_resident_bytes: 16 * MIB,
                process_peaks: peaks,
                process_limit_bytes: 80 * MIB,
                mapped_limit_bytes: Some(10 * MIB),
            },
            spill: SpillPart {
                filters: vec!["lz4".into()],
                places: vec![Place { path: "/x".into(), file_system: "ext4".into() }],
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
            "ok      query 6   1 row of 7 groups equals something",
            "5.0 times the limit",
            "75.0 % of 240 gets",
            "176.0 MiB",
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
        let sort = |card: &mut Card, break_it: fn(&mut SortPart)| {
            card.sort.as_mut().into_iter().for_each(break_it);
        };
        let breaks: [&dyn Fn(&mut Card); 11] = [
            &|card| sort(card, |sort| sort.out_of_order = 1),
            &|card| sort(card, |sort| sort.rows -= 1),
            &|card| sort(card, |sort| sort.checksum = "0b".into()),
            &|card| card.answers.queries[0].differences.push("row 1".into()),
            &|card| card.answers.queries[1].differences.push("row 1".into()),
            &|card| card.values_changed = 1,
            &|card| card.memory.peak_resident_bytes += 1,
            &|card| card.memory.process_peaks.unreclaimable_bytes = 80 * MIB + 1,
            &|card| card.memory.process_peaks.rss_bytes = 90 * MIB + 1,
            &|card| card.memory.process_peaks.samples = 0,
            &|card| card.spill.files_left.push("/x/.mempool/s/1".into()),
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
