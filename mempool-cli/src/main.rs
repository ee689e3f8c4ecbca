//! The program `mempool`: reads the command line, runs the job, prints the proof card. What it promises is in `mempool --help`.

mod allocator;
mod card;
mod disk;
mod error;
mod machine;
mod memory;
mod progress;
#[cfg(test)]
mod scratch;
mod size;
mod stop;
mod tpch;
mod workers;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
};

use clap::{Args, Parser, Subcommand};

use card::{Card, PROCESS_ALLOWANCE_BYTES};
use error::CliError;
use machine::Machine;
use progress::{Progress, line};
use size::{Bytes, Size};
use stop::Stop;
use tpch::Query;

/// Holds more data than memory: a pool with an exact memory limit that spills to disk.
#[derive(Parser)]
#[command(name = "mempool", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold a table larger than the memory limit, query it, and prove the answers
    #[command(long_about = TPCH_ABOUT, after_long_help = TPCH_EXAMPLES, after_help = "`mempool tpch --help` has examples.")]
    Tpch(TpchArgs),
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is as promised; 1 an answer differs, a limit was passed or a file was left; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.

Try: mempool tpch --scale 0.1 --memory-limit 16MiB";

const TPCH_ABOUT: &str = "\
Hold a table larger than the memory limit, query it, and prove the answers

Generates the table `lineitem` (data derived from TPC-H) chunk by chunk into a pool, which keeps the memory limit by spilling what was used least recently. \
Then answers the benchmark's queries 1, 6 and 18 from the pool, reads every column of every row once more and compares it with what was set, closes the pool, and \
prints a proof card: the answers beside the expected ones (at scale 1 the benchmark's own), memory as the pool and as the kernel saw it, what was spilled, \
how fast each phase was, and that no file is left.";

const TPCH_EXAMPLES: &str = "\
Examples:
  A quick one: 600,000 rows, some 80 MiB, with 16 MiB of memory
    mempool tpch --scale 0.1 --memory-limit 16MiB

  The main one: 6,001,215 rows, some 800 MiB, with 256 MiB of memory, checked against the benchmark's official answers
    mempool tpch --scale 1 --memory-limit 256MiB

  Half of what this machine or its container has, spilling to a disk of your choice, the card as JSON
    mempool tpch --scale 10 --memory-limit auto --disk /mnt/fast --json > card.json

  The kernel as a second judge: anonymous memory beyond 320 MiB is refused
    bash -c 'ulimit -d $((320 * 1024)); mempool tpch --scale 1 --memory-limit 256MiB'

Exit codes: 0 all is as promised; 1 an answer differs, a limit was passed or a file was left; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.";

#[derive(Args)]
struct TpchArgs {
    /// Size of the table: 1 is 6,001,215 rows, 0.1 a tenth of it
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_scale, allow_negative_numbers = true)]
    scale: f64,

    /// Queries to run: 1 (pricing summary), 6 (revenue change), 18 (large orders: 1.5 million groups at scale 1)
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,6,18", value_parser = parse_query)]
    query: Vec<Query>,

    /// Also sort the table by ship date and order key, out of core, and prove its order and its checksum
    #[arg(long)]
    sort: bool,

    /// Memory that the pool may use: 256MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory_limit: Size,

    /// Directory to spill to; a folder `.mempool` is made in it. Should be on a disk, not on tmpfs
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,

    /// Threads that generate and query [default: as many as the machine has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true)]
    threads: Option<u16>,

    /// Print the proof card as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Scales that the generator can make and this program can count.
fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.001..=10_000.0).contains(&scale) => Ok(scale),
        Ok(_) => Err("the scale goes from 0.001 (6,000 rows) to 10000; try 0.1".into()),
        Err(_) => Err("the scale is a number such as 0.1 or 1".into()),
    }
}

/// A query by its number.
fn parse_query(text: &str) -> Result<Query, String> {
    let found = Query::ALL.into_iter().find(|query| query.number().to_string() == text);
    found.ok_or_else(|| "the queries are 1, 6 and 18; several are written as 1,18".into())
}

fn main() -> ExitCode {
    let Command::Tpch(args) = Cli::parse().command;
    match run(&args) {
        Ok(card) if card.failures().is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            line(&error.report());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &TpchArgs) -> Result<Card, CliError> {
    let options = tpch::Options {
        scale: args.scale,
        queries: BTreeSet::from_iter(args.query.iter().copied()).into_iter().collect(),
        sorts: args.sort,
        memory_limit_bytes: args
            .memory_limit
            .resolve(|| Machine::this().memory().map(|memory| memory.bytes))?,
        disk: args.disk.clone(),
        threads: args.threads.map_or_else(all_threads, usize::from),
    };
    if let Err(error) = allocator::fix_threshold() {
        line(&format!(
            "warning: the allocator keeps its own settings, so memory may be over the limit: {error}"
        ));
    }
    warn_of_refusals(options.memory_limit_bytes);
    let stop = Stop::on_signals()?;
    let card = tpch::run(&options, Progress::detect(), stop)?;
    let text = if args.json { card.json()? } else { card.to_string() };
    print(&text)?;
    Ok(card)
}

/// Writes `text` to standard output. Who closed the other end has read all that he wanted, so that is no error.
fn print(text: &str) -> Result<(), CliError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

/// Says beforehand that the system may refuse memory which the limit allows: then the program ends where it stands.
fn warn_of_refusals(limit_bytes: u64) {
    let needed_bytes = limit_bytes.saturating_add(PROCESS_ALLOWANCE_BYTES);
    // Where the machine does not say what it has, there is nothing to warn of.
    let Ok(memory) = Machine::this().memory() else { return };
    if memory.bytes < needed_bytes {
        line(&format!(
            "warning: {} for the limit and the program are more than {} leaves: {}; give a lower --memory-limit",
            Bytes(needed_bytes),
            memory.origin,
            Bytes(memory.bytes)
        ));
    }
}

fn all_threads() -> usize {
    // A machine that does not say gets one thread, which is never wrong.
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scales_out_of_range_are_refused() {
        assert_eq!(parse_scale("0.1"), Ok(0.1));
        for text in ["0", "-1", "NaN", "inf", "20000", "one"] {
            assert!(parse_scale(text).is_err(), "{text}");
        }
    }
}
