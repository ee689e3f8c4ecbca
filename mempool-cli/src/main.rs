//! The program `mempool`: reads the command line, does what it asks for, prints what came of it. What it promises is in `mempool --help`.

mod allocator;
mod bench;
mod card;
mod certs;
mod chunks;
mod cli;
mod containers;
mod disk;
mod error;
mod filters;
mod gc;
mod import;
mod inspect;
mod manual;
mod memory;
mod output;
mod progress;
mod retained;
mod saved;
#[cfg(test)]
mod scratch;
mod serve;
mod settings;
mod show;
mod size;
mod stop;
mod tpch;
mod values;
mod verify;
mod visit;
mod workers;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use card::PROCESS_ALLOWANCE_BYTES;
use certs::Made;
use cli::{
    BenchArgs, CertsArgs, Cli, Command, ConfigArgs, GcArgs, GetArgs, ImportArgs, InspectArgs,
    ManArgs, PutArgs, RoomArgs, ServeArgs, ShowArgs, TpchArgs, VerifyArgs,
};
use containers::ContainerInspection;
use error::CliError;
use gc::Collection;
use inspect::Inspection;
use mempool_spill::Machine;
use output::print;
use progress::{Progress, line};
use retained::Retention;
use saved::SavedFile;
use serve::Served;
use settings::Settings;
use size::Bytes;
use stop::Stop;
use visit::Room;

fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    let (matches, cli) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Tpch(args) => tpch(&args),
        Command::Import(args) => import(&args),
        Command::Show(args) => show(&args),
        Command::Bench(args) => bench(&args),
        Command::Config(args) => config(&matches, &args),
        Command::Inspect(args) => inspect(&args),
        Command::Verify(args) => verify(&args),
        Command::Gc(args) => gc(&args),
        Command::Certs(args) => certs(&args),
        Command::Serve(args) => serve(&args),
        Command::Put(args) => put(&args),
        Command::Get(args) => get(&args),
        Command::Ls(args) => said(values::list(&args), args.visit.json),
        Command::Stat(args) => said(values::stat(&args), args.visit.json),
        Command::Rm(args) => said(values::remove(&args), args.visit.json),
        Command::MoveToDisk(args) => said(values::move_to_disk(&args), args.visit.json),
        Command::Completions(args) => print(&manual::completions(args.shell)).map(|()| 0),
        Command::Man(args) => man(&args),
    };
    let code = done.unwrap_or_else(|error| {
        line(&error.report());
        error.exit_code()
    });
    ExitCode::from(code)
}

/// Says what is wrong with the command line, or shows the help that it asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    // A reader that has gone needs no help.
    let _ = error.print();
    if let Some(variable) = settings::refused_variable(error) {
        line(&format!("note: the value comes from the environment: {variable}"));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn tpch(args: &TpchArgs) -> Result<u8, CliError> {
    let memory_bytes = || Machine::this().memory().map(|memory| memory.bytes);
    let memory_limit_bytes = args.memory_limit.resolve(memory_bytes)?;
    prepare(memory_limit_bytes);
    let options = tpch::Options {
        scale: args.scale,
        layout: args.layout,
        queries: tpch::queries(args.layout, &args.query)?,
        sorts: args.sort,
        memory_limit_bytes,
        mapped_limit_bytes: args.mapped_limit.resolve(memory_bytes)?,
        disks: args.disk.clone(),
        placement: args.placement.into(),
        filters: args.filter.clone(),
        key_file: args.key_file.clone(),
        threads: args.threads.count(),
    };
    let stop = Stop::on_signals()?;
    let card = tpch::run(&options, Progress::detect(), stop)?;
    let text = if args.json { card.json()? } else { card.to_string() };
    print(&text)?;
    Ok(u8::from(!card.failures().is_empty()))
}

fn import(args: &ImportArgs) -> Result<u8, CliError> {
    let memory_bytes = || Machine::this().memory().map(|memory| memory.bytes);
    let options = import::Options {
        file: args.file.clone(),
        index: args.index.clone(),
        memory_limit_bytes: args.memory_limit.resolve(memory_bytes)?,
        disks: args.disk.clone(),
        out: args.out.clone(),
        rows: args.rows,
    };
    prepare(options.memory_limit_bytes);
    let report = import::run(&options, Progress::detect(), Stop::on_signals()?)?;
    output::either(&report, args.json)?;
    Ok(u8::from(!report.failures().is_empty()))
}

fn show(args: &ShowArgs) -> Result<u8, CliError> {
    let (file, rows, disks) = (args.file.clone(), args.rows, args.disk.clone());
    let shown = show::run(&show::Options { file, rows, disks }, &Stop::on_signals()?)?;
    output::either(&shown, args.json)?;
    Ok(0)
}

fn bench(args: &BenchArgs) -> Result<u8, CliError> {
    let memory_bytes = || Machine::this().memory().map(|memory| memory.bytes);
    let options = bench::Options {
        value_bytes: args.size.clone(),
        memory_limit_bytes: args.memory_limit.resolve(memory_bytes)?,
        disk: args.disk.clone(),
        threads: args.threads.count(),
        rounds: args.rounds.into(),
    };
    prepare(options.memory_limit_bytes);
    let report = bench::run(&options, &Stop::on_signals()?)?;
    print(&if args.json { report.json()? } else { report.to_string() })?;
    Ok(u8::from(!report.failures().is_empty()))
}

/// Sets the allocator up for a pool of this process, and warns of what may stand in its way.
fn prepare(memory_limit_bytes: u64) {
    if let Err(error) = allocator::fix_threshold() {
        line(&format!(
            "warning: the allocator keeps its own settings, so memory may be over the limit: {error}"
        ));
    }
    warn_of_refusals(memory_limit_bytes);
}

fn config(matches: &ArgMatches, args: &ConfigArgs) -> Result<u8, CliError> {
    // The command that was parsed is there; should clap say otherwise, all is a default.
    let none = ArgMatches::default();
    let matches = matches.subcommand().map_or(&none, |(_, matches)| matches);
    let settings = Settings::of(matches, &args.settings);
    match args.explain || args.settings.json {
        true => output::either(&settings, args.settings.json)?,
        false => print(&settings.lines())?,
    }
    Ok(0)
}

fn inspect(args: &InspectArgs) -> Result<u8, CliError> {
    if args.file.is_dir() {
        let retained = mempool_spill::read_retained(&args.file).map_err(CliError::Retained)?;
        output::either(&Retention::of(&retained), args.json)?;
        return Ok(0);
    }
    if let Some(found) = ContainerInspection::of(&args.file) {
        let found =
            found.map_err(|damage| CliError::Container(containers::damaged(&args.file, damage)))?;
        output::either(&found, args.json)?;
        return Ok(u8::from(found.damage.is_some()));
    }
    let file = SavedFile::open(&args.file)?;
    let inspection = Inspection::of(&args.file.display().to_string(), &file);
    output::either(&inspection, args.json)?;
    Ok(u8::from(inspection.damage.is_some()))
}

fn verify(args: &VerifyArgs) -> Result<u8, CliError> {
    let readers = filters::readers(args.key_file.as_deref())?;
    let report = verify::Report::of(&args.files, &readers);
    output::either(&report, args.json)?;
    Ok(report.exit_code())
}

fn gc(args: &GcArgs) -> Result<u8, CliError> {
    let collection = Collection::of(&args.directory, args.dry_run, args.retained)?;
    output::either(&collection, args.json)?;
    Ok(u8::from(!collection.is_clean()))
}

fn certs(args: &CertsArgs) -> Result<u8, CliError> {
    output::either(&Made::of(&args.dir, &args.nodes, args.days)?, args.json)?;
    Ok(0)
}

fn serve(args: &ServeArgs) -> Result<u8, CliError> {
    let memory_bytes = || Machine::this().memory().map(|memory| memory.bytes);
    let options = serve::Options {
        name: args.name.clone(),
        listen: args.listen.clone(),
        advertise: args.advertise.clone(),
        peers: args.peers.clone(),
        memory_limit_bytes: args.memory_limit.resolve(memory_bytes)?,
        disks: args.disk.clone(),
        certs: args.certs.clone(),
        rights: args.rights(),
    };
    prepare(options.memory_limit_bytes);
    let stop = Stop::on_signals()?;
    let served = Served::start(&options)?;
    let ready = served.ready();
    // One line in both forms: who waits for it reads a line.
    print(&if args.json { serde_json::to_string(&ready)? } else { ready.to_string() })?;
    stop.wait()?;
    let left = served.end()?;
    for path in &left {
        line(&format!("warning: {} is left", path.display()));
    }
    Ok(u8::from(!left.is_empty()))
}

fn put(args: &PutArgs) -> Result<u8, CliError> {
    said(values::put(args, &room(&args.room)?), args.visit.json)
}

fn get(args: &GetArgs) -> Result<u8, CliError> {
    said(values::get(args, &room(&args.room)?), args.visit.json)
}

fn room(args: &RoomArgs) -> Result<Room, CliError> {
    let memory_bytes = || Machine::this().memory().map(|memory| memory.bytes);
    let memory_limit_bytes = args.memory_limit.resolve(memory_bytes)?;
    Ok(Room { memory_limit_bytes, disks: args.disk.clone() })
}

/// Prints what came of a command.
fn said(
    answer: Result<impl std::fmt::Display + serde::Serialize, CliError>,
    json: bool,
) -> Result<u8, CliError> {
    output::either(&answer?, json)?;
    Ok(0)
}

fn man(args: &ManArgs) -> Result<u8, CliError> {
    match &args.out {
        None => print(&manual::page().map_err(CliError::Output)?)?,
        Some(directory) => manual::pages(directory)
            .map_err(|source| CliError::Pages { path: directory.clone(), source })?,
    }
    Ok(0)
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
