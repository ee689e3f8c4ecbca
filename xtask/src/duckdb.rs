//! `cargo xtask bench duckdb`: query 18 and the sort of `mempool tpch` beside DuckDB, at the same memory limit and on the same data. Prints
//! medians of three rounds; judges nothing. DuckDB comes from the Python registry, into a virtual environment below the target directory; where
//! that cannot be, the bench says why and passes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Verdict;
use crate::json::Json;
use crate::machine::Machine;
use crate::python;
use crate::workspace::Workspace;

const ROUNDS: usize = 3;
const PACKAGES: [&str; 2] = ["duckdb", "tpchgen-cli"];
const SCRIPT: &str = "xtask/bench_duckdb.py";

/// Our phases that make up each of DuckDB's jobs, and the name of the job for people.
const JOBS: [(&str, &str, &[&str]); 2] = [
    ("q18", "query 18", &["partition", "group", "orders", "customers"]),
    ("sort", "sort", &["sort runs", "merge"]),
];

/// What one job took in one round.
struct Round {
    seconds: f64,
    peak_bytes: f64,
}

/// Runs the comparison: `[DIRECTORY] [--scale FACTOR] [--memory-limit MIB]`, in a new directory below the one given.
///
/// # Errors
/// For a word that is not understood, or where a program that was there before does not run.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    let asked = Asked::read(arguments)?;
    println!("{}\n", Machine::here(workspace, &asked.parent));
    let python = match python::environment(workspace, "bench-duckdb", &PACKAGES) {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: {why}");
            return Ok(true);
        }
    };
    let directory = asked.parent.join(format!("bench-duckdb-{}", std::process::id()));
    fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let measured = compare(workspace, &python, &asked, &directory);
    let removed = fs::remove_dir_all(&directory);
    measured?;
    removed.map_err(|error| format!("{} is left: {error}", directory.display()))?;
    Ok(true)
}

/// What was asked for.
pub(crate) struct Asked {
    pub(crate) parent: PathBuf,
    pub(crate) scale: String,
    pub(crate) limit_mib: String,
}

impl Asked {
    pub(crate) fn read(arguments: &[String]) -> Result<Self, String> {
        let (scale, limit_mib) = (String::from("1"), String::from("128"));
        let mut asked = Self { parent: std::env::temp_dir(), scale, limit_mib };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().filter(|value| value.parse::<f64>().is_ok());
                value.cloned().ok_or_else(|| format!("{word} needs a number"))
            };
            match word.as_str() {
                "--scale" => asked.scale = number()?,
                "--memory-limit" => asked.limit_mib = number()?,
                _ if word.starts_with('-') => return Err(format!("there is no option {word}")),
                _ => asked.parent = PathBuf::from(word),
            }
        }
        Ok(asked)
    }
}

fn compare(
    workspace: &Workspace,
    python: &Path,
    asked: &Asked,
    directory: &Path,
) -> Result<(), String> {
    let build = workspace.cargo(&["build", "--release", "--locked", "--package", "mempool-cli"]);
    if !build.run_shown()?.success() {
        return Err("the program does not build".into());
    }
    let place = directory.display().to_string();
    let script = workspace.root.join(SCRIPT).display().to_string();
    let python = python.display().to_string();
    workspace.output(&python, &[&script, "load", &place, &asked.scale])?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let mut version = String::from("unknown");
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut failed = [None, None];
    for _ in 0..ROUNDS {
        let card = card(workspace, asked, &place, &["--query", "18", "--sort"])?;
        for (at, (job, _, phases)) in JOBS.iter().enumerate() {
            ours[at].push(our_round(&card, phases)?);
            let line = [&script, "run", &place, *job, &asked.limit_mib, &threads];
            let found = Json::parse(&workspace.output(&python, &line)?)?;
            version = found.get("version").text().unwrap_or("unknown").to_owned();
            match found.get("error").text() {
                Some(error) => failed[at] = Some(error.to_owned()),
                None => theirs[at].push(Round {
                    seconds: number(&found, "seconds")?,
                    peak_bytes: number(&found, "peak_bytes")?,
                }),
            }
        }
    }
    println!(
        "TPC-H data of scale {}, a limit of {} MiB, {threads} threads, medians of {ROUNDS} rounds, DuckDB {version}\n",
        asked.scale, asked.limit_mib
    );
    println!("{:<10} {:>24} {:>24}", "", "mempool", "DuckDB");
    for (at, (_, name, _)) in JOBS.iter().enumerate() {
        let theirs = if failed[at].is_some() { "failed".into() } else { shown(&theirs[at]) };
        println!("{name:<10} {:>24} {theirs:>24}", shown(&ours[at]));
    }
    for ((_, name, _), error) in JOBS.iter().zip(failed) {
        error.into_iter().for_each(|error| println!("\nDuckDB, {name}: {error}"));
    }
    println!(
        "\nPeaks are anonymous and shared memory of the process; ours is that of the whole job."
    );
    Ok(())
}

/// One run of the main job, whose answers, order and memory it has judged itself.
pub(crate) fn card(
    workspace: &Workspace,
    asked: &Asked,
    place: &str,
    more: &[&str],
) -> Result<Json, String> {
    let program = workspace.target.join("release").join("mempool").display().to_string();
    let limit = format!("{}MiB", asked.limit_mib);
    let line =
        ["tpch", "--scale", &asked.scale, "--json", "--disk", place, "--memory-limit", &limit];
    let text = workspace.output(&program, &[&line, more].concat())?;
    let card = Json::parse(&text)?;
    if card.get("passed") != &Json::Bool(true) {
        return Err(format!("the job did not pass:\n{text}"));
    }
    Ok(card)
}

fn our_round(card: &Json, phases: &[&str]) -> Result<Round, String> {
    let peaks = card.get("memory").get("process_peaks");
    Ok(Round { seconds: seconds(card, phases)?, peak_bytes: number(peaks, "unreclaimable_bytes")? })
}

/// What these phases took together.
pub(crate) fn seconds(card: &Json, phases: &[&str]) -> Result<f64, String> {
    let named = |phase: &&Json| phase.get("name").text().is_some_and(|name| phases.contains(&name));
    let found: Vec<f64> = card
        .get("phases")
        .list()
        .iter()
        .filter(named)
        .map(|phase| number(phase, "seconds"))
        .collect::<Result<_, _>>()?;
    if found.len() != phases.len() {
        return Err(format!("the job has not all of the phases {}", phases.join(", ")));
    }
    Ok(found.iter().sum())
}

pub(crate) fn number(from: &Json, key: &str) -> Result<f64, String> {
    match from.get(key) {
        Json::Number(number) => Ok(*number),
        _ => Err(format!("there is no number {key}")),
    }
}

/// `8.12 s, peak 137 MiB`: the median, and the highest peak.
fn shown(rounds: &[Round]) -> String {
    let mut seconds: Vec<f64> = rounds.iter().map(|round| round.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
    let peak = rounds.iter().map(|round| round.peak_bytes).fold(0.0, f64::max);
    format!("{median:.2} s, peak {:.0} MiB", peak / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Asked::read(&words)
        };
        let asked = read("--scale 0.1 /a --memory-limit 64").unwrap();
        assert_eq!((asked.scale.as_str(), asked.limit_mib.as_str()), ("0.1", "64"));
        assert_eq!(asked.parent, PathBuf::from("/a"));
        assert!(read("--scale big").is_err() && read("--fast").is_err());
    }

    #[test]
    fn our_phases_are_added_up() {
        let card = Json::parse(
            r#"{"phases": [{"name": "merge", "seconds": 2.5}, {"name": "group", "seconds": 9}, {"name": "sort runs", "seconds": 1}],
                "memory": {"process_peaks": {"unreclaimable_bytes": 1048576}}}"#,
        )
        .unwrap();
        let round = our_round(&card, &["sort runs", "merge"]).unwrap();
        assert_eq!(shown(&[round]), "3.50 s, peak 1 MiB");
        assert!(our_round(&card, &["sort runs", "shuffle"]).is_err());
    }
}
