//! The figures of all processes: their medians, the tables, and the raw numbers.

use std::error::Error;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::job::{Measured, WORKLOADS};
use crate::plan::{Plan, size_name};
use crate::store::{KINDS, Kind, version};

/// Everything measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The machine, as the one who started the run describes it.
    machine: String,
    directory: String,
    rounds: usize,
    stores: Vec<Described>,
    #[serde(skip)]
    plans: Vec<Plan>,
    measured: Vec<Measured>,
    failures: Vec<String>,
}

/// A store and how it was set up.
#[derive(Serialize)]
struct Described {
    name: &'static str,
    version: &'static str,
    setup: &'static str,
}

/// The medians of a store, a size and a workload.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) gib_a_second: f64,
    micros: f64,
    /// The most of any round: a value lost once is lost.
    lost: u64,
    wrong: u64,
    operations: u64,
}

impl Report {
    pub(crate) fn new(kinds: &[&Kind], plans: &[Plan], rounds: usize, directory: &Path) -> Self {
        let describe = |kind: &&Kind| Described {
            name: kind.name,
            version: version(kind.package),
            setup: kind.setup,
        };
        Self {
            machine: std::env::var("BENCH_MACHINE").unwrap_or_default(),
            directory: directory.display().to_string(),
            rounds,
            stores: kinds.iter().map(describe).collect(),
            plans: plans.to_vec(),
            measured: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    pub(crate) fn fail(&mut self, kind: &Kind, plan: &Plan, why: &str) {
        self.failures.push(format!("{}, {}: {why}", kind.name, size_name(plan.value_bytes)));
    }

    /// All of it, for other programs.
    pub(crate) fn json(&self) -> Result<String, Box<dyn Error>> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.stores.iter().map(|store| store.name).collect()
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.plans.iter().map(|plan| plan.value_bytes).collect()
    }

    fn of(&self, name: &str, size: usize) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(move |found| found.store == name && found.value_bytes == size)
    }

    /// The medians; none where the store failed.
    pub(crate) fn cell(&self, name: &str, size: usize, workload: usize) -> Option<Cell> {
        let phases: Vec<_> = self.of(name, size).map(|found| &found.phases[workload]).collect();
        let operations = phases.first()?.operations;
        let seconds = median(phases.iter().map(|phase| phase.seconds).collect())?;
        // A value that a cache lost was not written either, so it counts against the setting, too.
        let lost = if workload == 0 {
            self.of(name, size).map(|found| found.phases[1].missing).max()
        } else {
            phases.iter().map(|phase| phase.missing).max()
        };
        Some(Cell {
            gib_a_second: (operations * size as u64) as f64 / f64::from(1 << 30) / seconds,
            micros: seconds * 1e6 / operations as f64,
            lost: lost?,
            wrong: phases.iter().map(|phase| phase.wrong).max()?,
            operations,
        })
    }

    /// The fastest of the stores that lost nothing, of all or of all but ours.
    pub(crate) fn best(
        &self,
        size: usize,
        workload: usize,
        ours: bool,
    ) -> Option<(&'static str, f64)> {
        let whole = |name: &'static str| {
            let cell = self.cell(name, size, workload).filter(Cell::is_whole)?;
            Some((name, cell.gib_a_second))
        };
        let names = self.names().into_iter().filter(|&name| ours || name != KINDS[0].name);
        names.filter_map(whole).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn write_head(&self, f: &mut fmt::Formatter<'_>, left: &str, right: &str) -> fmt::Result {
        write!(f, "| {left} |")?;
        self.stores.iter().try_for_each(|store| write!(f, " {} |", store.name))?;
        if !right.is_empty() {
            write!(f, " {right} |")?;
        }
        let columns = 1 + self.stores.len() + usize::from(!right.is_empty());
        writeln!(f, "\n|{}", " --- |".repeat(columns))
    }

    fn write_workload(&self, f: &mut fmt::Formatter<'_>, workload: usize) -> fmt::Result {
        writeln!(f, "\n### {}\n", capitalized(WORKLOADS[workload]))?;
        self.write_head(f, "GiB/s (µs a value)", "ours")?;
        for size in self.sizes() {
            write!(f, "| {} |", size_name(size))?;
            for name in self.names() {
                match self.cell(name, size, workload) {
                    Some(cell) => write!(f, " {cell} |")?,
                    None => write!(f, " failed |")?,
                }
            }
            writeln!(f, " {} |", self.verdict(size, workload))?;
        }
        Ok(())
    }

    /// How ours stands beside the best of the others.
    fn verdict(&self, size: usize, workload: usize) -> String {
        let Some(ours) = self.cell(KINDS[0].name, size, workload) else {
            return String::from("–");
        };
        let Some((name, best)) = self.best(size, workload, false) else {
            return String::from("–");
        };
        let ratio = ours.gib_a_second / best;
        if ratio >= 1.0 {
            format!("first, {ratio:.2} × {name}")
        } else {
            format!("**{ratio:.2} of {name}**")
        }
    }

    fn write_space(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n### Memory and disk\n")?;
        writeln!(
            f,
            "MiB of anonymous memory at its peak, of file pages in the page table at their peak, and of disk.\n"
        )?;
        self.write_head(f, "budget, data", "")?;
        for plan in &self.plans {
            let size = plan.value_bytes;
            let (budget, data) = (plan.budget_bytes >> 20, plan.data_bytes() >> 20);
            write!(f, "| {}: {budget}, {data} |", size_name(size))?;
            for name in self.names() {
                let most = |bytes: fn(&Measured) -> u64| {
                    self.of(name, size).map(bytes).max().unwrap_or(0) >> 20
                };
                let anonymous = most(|found| found.anonymous_bytes);
                let mapped = most(|found| found.mapped_bytes);
                let disk = most(|found| found.disk_bytes);
                write!(f, " {anonymous}, {mapped}, {disk} |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        let warm = |found: &&Measured| found.still_cached >= 1.0;
        for found in self.measured.iter().filter(warm) {
            let (store, size) = (&found.store, size_name(found.value_bytes));
            writeln!(f, "{store}, {size}: {:.0} % of its pages were not cold", found.still_cached)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Medians of {} rounds, in turn, in {}.\n", self.rounds, self.directory)?;
        for store in &self.stores {
            let version = Some(store.version).filter(|version| !version.is_empty());
            let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
            writeln!(f, "- {}{version}: {}.", store.name, store.setup)?;
        }
        (0..WORKLOADS.len()).try_for_each(|workload| self.write_workload(f, workload))?;
        self.write_space(f)?;
        writeln!(f)?;
        self.write_doubts(f)
    }
}

impl Cell {
    /// Whether every value was there and right.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost == 0 && self.wrong == 0
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = if self.gib_a_second < 0.1 { 3 } else { 2 };
        let digits = if self.micros < 100.0 { 1 } else { 0 };
        write!(f, "{:.rate$} ({:.digits$})", self.gib_a_second, self.micros)?;
        if self.lost > 0 {
            write!(f, ", lost {} of {}", self.lost, self.operations)?;
        }
        if self.wrong > 0 {
            write!(f, ", WRONG {} of {}", self.wrong, self.operations)?;
        }
        Ok(())
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Phase;
    use crate::plan::plans;

    fn measured(store: &str, seconds: f64, missing: u64) -> Measured {
        let phase = Phase { seconds, operations: 1 << 18, missing, wrong: 0 };
        Measured {
            store: store.to_owned(),
            value_bytes: 4096,
            values: 1 << 18,
            budget_bytes: 1 << 28,
            phases: vec![phase; 4],
            anonymous_bytes: 0,
            mapped_bytes: 0,
            disk_bytes: 0,
            still_cached: 0.0,
        }
    }

    #[test]
    fn a_store_that_loses_values_is_never_best() {
        let kinds: Vec<&Kind> = KINDS.iter().collect();
        let mut report = Report::new(&kinds, &plans(false), 3, Path::new("/"));
        report.add(measured("foyer", 0.1, 9));
        report.add(measured("redb", 0.5, 0));
        [9.0, 1.0, 2.0].iter().for_each(|&seconds| report.add(measured("mempool", seconds, 0)));
        assert_eq!(report.cell("mempool", 4096, 0).map(|cell| cell.gib_a_second), Some(0.5));
        assert_eq!(report.best(4096, 1, true), Some(("redb", 2.0)));
        assert_eq!(report.verdict(4096, 1), "**0.25 of redb**");
        let text = report.to_string();
        assert!(text.contains("lost 9 of 262144") && text.contains("failed"), "{text}");
    }
}
