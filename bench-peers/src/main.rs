//! mempool beside what a Rust user would otherwise take, in one run.
//!
//! `cargo xtask bench peers [DIRECTORY] [--quick] [--json FILE] [--svg FILE] [--only STORE] [--size BYTES]`. Each store
//! and size is measured in a process of its own; the order of the stores rotates from round to round, so that none
//! always meets the dirty pages of the same one before it. Prints medians; judges nothing.

mod chart;
mod cold;
mod job;
mod memory;
mod plan;
mod report;
mod store;
mod stores;
mod value;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use job::Measured;
use plan::{Plan, plans, size_name};
use report::Report;
use store::{KINDS, Kind, Outcome};

const ROUNDS: usize = 3;

/// What was asked for.
#[derive(Default)]
struct Arguments {
    directory: Option<PathBuf>,
    quick: bool,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
    /// One store, or one size, for a look with a profiler.
    only: Option<String>,
    size: Option<usize>,
    /// Measure in this process, and print the figures as JSON.
    child: bool,
}

impl Arguments {
    fn read() -> Outcome<Self> {
        let mut found = Self::default();
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => found.quick = true,
                "--child" => found.child = true,
                "--json" => found.json = Some(next()?.into()),
                "--svg" => found.svg = Some(next()?.into()),
                "--only" => found.only = Some(next()?),
                "--size" => found.size = Some(next()?.parse()?),
                _ if word.starts_with('-') => {
                    return Err(format!("there is no option {word}").into());
                }
                _ => found.directory = Some(word.into()),
            }
        }
        Ok(found)
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        let wanted = |kind: &&Kind| self.only.as_deref().is_none_or(|only| only == kind.name);
        KINDS.iter().filter(wanted).collect()
    }

    fn plans(&self) -> Vec<Plan> {
        let mut plans = plans(self.quick);
        plans.retain(|plan| self.size.is_none_or(|size| size == plan.value_bytes));
        plans
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::read()?;
    if arguments.child { child(&arguments) } else { parent(&arguments) }
}

/// Measures one store at one size in the directory given.
fn child(arguments: &Arguments) -> Outcome<()> {
    let (kinds, plans) = (arguments.kinds(), arguments.plans());
    let ([kind], [plan]) = (kinds.as_slice(), plans.as_slice()) else {
        return Err("--child needs one store and one size".into());
    };
    let directory = arguments.directory.as_deref().ok_or("--child needs a directory")?;
    println!("{}", serde_json::to_string(&job::run(kind, plan, directory)?)?);
    Ok(())
}

/// Measures all, each in a process of its own, and reports.
fn parent(arguments: &Arguments) -> Outcome<()> {
    let (kinds, plans) = (arguments.kinds(), arguments.plans());
    if kinds.is_empty() || plans.is_empty() {
        return Err("there is no such store or size".into());
    }
    let parent = arguments.directory.clone().unwrap_or_else(env::temp_dir);
    let rounds = if arguments.quick { 1 } else { ROUNDS };
    let start = Instant::now();
    let mut report = Report::new(&kinds, &plans, rounds, &parent);
    for plan in &plans {
        for round in 0..rounds {
            for turn in 0..kinds.len() {
                let kind = kinds[(turn + round * kinds.len().div_ceil(rounds)) % kinds.len()];
                eprintln!("{}, round {}: {}", size_name(plan.value_bytes), round + 1, kind.name);
                match measure(kind, plan, &parent, arguments.quick) {
                    Ok(measured) => report.add(measured),
                    Err(why) => report.fail(kind, plan, &why.to_string()),
                }
            }
        }
    }
    print!("{report}");
    println!("\nThe whole run took {:.0} s.", start.elapsed().as_secs_f64());
    if let Some(path) = &arguments.json {
        fs::write(path, report.json()?)?;
    }
    if let Some(path) = &arguments.svg {
        fs::write(path, chart::draw(&report))?;
    }
    Ok(())
}

/// Starts this program again to measure one store at one size, in a directory of its own.
fn measure(kind: &Kind, plan: &Plan, parent: &Path, quick: bool) -> Outcome<Measured> {
    let directory = parent.join(format!("bench-peers-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("--child").args(["--only", kind.name]).arg("--size");
    command.arg(plan.value_bytes.to_string()).arg(&directory);
    if quick {
        command.arg("--quick");
    }
    if kind.name == KINDS[0].name {
        command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=262144");
    }
    let output = command.stderr(Stdio::inherit()).output();
    fs::remove_dir_all(&directory)?;
    let output = output?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
