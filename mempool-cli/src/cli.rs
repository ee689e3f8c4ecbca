//! The command line: what can be asked for, and the texts that explain it. Does nothing.

mod nodes;

use std::{path::PathBuf, thread};

use clap::{
    Args, Parser, Subcommand,
    builder::{BoolishValueParser, PathBufValueParser, TypedValueParser},
};
use clap_complete::Shell;

use nodes::{
    GET_ABOUT, GET_EXAMPLES, LS_EXAMPLES, NAMED_EXAMPLES, PUT_ABOUT, PUT_EXAMPLES, SERVE_ABOUT,
    SERVE_EXAMPLES,
};
pub(crate) use nodes::{GetArgs, LsArgs, NamedArgs, PutArgs, RoomArgs, ServeArgs, VisitArgs};

use crate::{
    certs::NodeArg,
    disk::{PlacementArg, SpillDirectory},
    filters::FilterChoice,
    size::{Limit, Size},
    tpch::{Layout, Query},
};

/// Holds more data than memory: a pool with an exact memory limit that spills to disk.
#[derive(Parser)]
#[command(name = "mempool", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Hold a table larger than the memory limit, query it, and prove the answers
    #[command(long_about = TPCH_ABOUT, after_long_help = TPCH_EXAMPLES, after_help = "`mempool tpch --help` has examples.")]
    Tpch(TpchArgs),

    /// Make a sorted table of a CSV, Parquet or Arrow file that may be larger than memory
    #[command(long_about = IMPORT_ABOUT, after_long_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),

    /// Show a saved table: its columns, its first rows, and figures of each column
    #[command(long_about = SHOW_ABOUT, after_long_help = SHOW_EXAMPLES)]
    Show(ShowArgs),

    /// Measure this machine and this disk: how fast values are set, spilled and read
    #[command(long_about = BENCH_ABOUT, after_long_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),

    /// Show the settings of `mempool tpch`, and with --explain where each comes from
    #[command(long_about = CONFIG_ABOUT, after_long_help = CONFIG_EXAMPLES)]
    Config(ConfigArgs),

    /// Show the header of a file that `save_to_disk` wrote
    #[command(long_about = INSPECT_ABOUT, after_long_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),

    /// Read saved files whole, and say which are damaged, where and how
    #[command(long_about = VERIFY_ABOUT, after_long_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),

    /// Show the sessions in a spill directory, and remove those of dead processes
    #[command(long_about = GC_ABOUT, after_long_help = GC_EXAMPLES)]
    Gc(GcArgs),

    /// Make certificates, by which the nodes of a cluster know each other
    #[command(long_about = CERTS_ABOUT, after_long_help = CERTS_EXAMPLES)]
    Certs(CertsArgs),

    /// Keep values for other programs: a node with a pool that spills to disk
    #[command(long_about = SERVE_ABOUT, after_long_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),

    /// Put a saved file on a node, under a name
    #[command(long_about = PUT_ABOUT, after_long_help = PUT_EXAMPLES)]
    Put(PutArgs),

    /// Get the value of a name from a node, as a saved file
    #[command(long_about = GET_ABOUT, after_long_help = GET_EXAMPLES)]
    Get(GetArgs),

    /// List the names at a node, with type, place and size of their values
    #[command(after_long_help = LS_EXAMPLES)]
    Ls(LsArgs),

    /// Show what a node knows of the value of a name
    #[command(after_long_help = NAMED_EXAMPLES)]
    Stat(NamedArgs),

    /// Remove a name at a node; its value goes when nobody refers to it
    #[command(after_long_help = NAMED_EXAMPLES)]
    Rm(NamedArgs),

    /// Have a node move the value of a name from its memory to its disk
    #[command(name = "move-to-disk", after_long_help = NAMED_EXAMPLES)]
    MoveToDisk(NamedArgs),

    /// Print completions for a shell
    #[command(after_long_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),

    /// Print the manual page, or write the pages of all commands
    #[command(after_long_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is as promised; 1 something is not: an answer, a limit, a file; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.

Try: mempool tpch --scale 0.1 --memory-limit 16MiB";

const TPCH_ABOUT: &str = "\
Hold a table larger than the memory limit, query it, and prove the answers

Generates the table `lineitem` (data derived from TPC-H) chunk by chunk into a pool, which keeps the memory limit by spilling what was used least recently. \
Then answers the benchmark's queries 1, 3, 6, 13 and 18 from the pool, reads every column of every row once more and compares it with what was set, sorts the table if \
it is asked to, closes the pool, and prints a proof card: the answers beside the expected ones (at scale 1 the benchmark's own), memory as the pool and as the kernel saw it, what was spilled, \
how fast each phase was, and that no file is left.";

const TPCH_EXAMPLES: &str = "\
Examples:
  A quick one: 600,000 rows, some 80 MiB, with 16 MiB of memory
    mempool tpch --scale 0.1 --memory-limit 16MiB

  The main one: 6,001,215 rows, some 800 MiB, with 256 MiB of memory, checked against the benchmark's official answers
    mempool tpch --scale 1 --memory-limit 256MiB

  Half of what this machine or its container has, spilling to a disk of your choice, the card as JSON
    mempool tpch --scale 10 --memory-limit auto --disk /mnt/fast --json > card.json

  A fast disk first, and what has no room there on a slow one
    mempool tpch --scale 10 --disk /mnt/fast:4GiB --disk /mnt/slow

  Large groups and a sort in little memory: the hash tables and the merge, too, are inside the limit
    mempool tpch --query 18 --sort --memory-limit 64MiB

  The kernel as a second judge: anonymous memory beyond 320 MiB is refused
    bash -c 'ulimit -d $((320 * 1024)); mempool tpch --scale 1 --memory-limit 256MiB'

Exit codes: 0 all is as promised; 1 an answer differs, a limit was passed or a file was left; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.";

/// The settings: each has its flag, its variable and its default here and nowhere else. `mempool config` reads this table as the commands do.
#[derive(Args)]
pub(crate) struct TpchArgs {
    /// Size of the table: 1 is 6,001,215 rows, 0.1 a tenth of it
    #[arg(long, env = "MEMPOOL_SCALE", value_name = "FACTOR", default_value = "1", value_parser = parse_scale, allow_negative_numbers = true)]
    pub(crate) scale: f64,

    /// Queries to run: 1 (pricing summary), 3 (shipping priority), 6 (revenue change), 13 (customer distribution), 18 (large orders: 1.5 million groups at scale 1)
    #[arg(long, env = "MEMPOOL_QUERY", value_name = "N", value_delimiter = ',', default_value = "1,3,6,13,18", value_parser = parse_query)]
    pub(crate) query: Vec<Query>,

    /// How the pool keeps the tables: columns, or rows (without queries 3 and 13, which go over columns alone)
    #[arg(long, env = "MEMPOOL_LAYOUT", value_name = "LAYOUT", default_value = "columns")]
    pub(crate) layout: Layout,

    /// Also sort the table by ship date and order key, out of core, and prove its order and its checksum
    #[arg(long, env = "MEMPOOL_SORT", value_parser = BoolishValueParser::new())]
    pub(crate) sort: bool,

    /// Memory that the pool may use: 256MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, env = "MEMPOOL_MEMORY_LIMIT", value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory_limit: Size,

    /// Maps of spilled values that may be in memory beside it: 64MiB, 10% or none (no limit)
    #[arg(long, env = "MEMPOOL_MAPPED_LIMIT", value_name = "SIZE", default_value = "none")]
    pub(crate) mapped_limit: Limit,

    /// Directory to spill to; a folder `.mempool` is made in it. Should be on a disk, not on tmpfs. Several with commas or by repeating it, each with its own limit if it has one: /mnt/fast:10GiB,/mnt/slow
    #[arg(long, env = "MEMPOOL_DISK", value_name = "DIR[:LIMIT]", value_delimiter = ',', default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: Vec<SpillDirectory>,

    /// Which of several directories is filled
    #[arg(long, env = "MEMPOOL_PLACEMENT", value_name = "POLICY", default_value = "in-order")]
    pub(crate) placement: PlacementArg,

    /// Filters that spilled values go through, in this order: lz4, zstd or zstd:LEVEL (1 to 19), encrypt; or none. Values are then decoded into memory
    #[arg(
        long,
        env = "MEMPOOL_FILTER",
        value_name = "FILTER",
        value_delimiter = ',',
        default_value = "none"
    )]
    pub(crate) filter: Vec<FilterChoice>,

    /// Key of `--filter encrypt`: a file of 32 bytes or 64 hexadecimal digits; without it a random one for this run
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Threads that generate and query, 1 to 1024, or auto (as many as the machine has)
    #[arg(long, env = "MEMPOOL_THREADS", value_name = "N", default_value = "auto", value_parser = parse_threads, allow_negative_numbers = true)]
    pub(crate) threads: Threads,

    /// Print the answer as JSON on standard output
    #[arg(long, env = "MEMPOOL_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// How many threads were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    Auto,
    Count(u16),
}

impl Threads {
    /// The number, at least 1.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Count(count) => count.into(),
            // A machine that does not say gets one thread, which is never wrong.
            Self::Auto => thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

const IMPORT_ABOUT: &str = "\
Make a sorted table of a CSV, Parquet or Arrow file that may be larger than memory

Of a CSV file the first line names the columns, and the file is read twice. The first pass finds the type of each column, which fits all of its fields: integers (i64), floats, true and false, days (2024-02-29), \
moments (2024-02-29 13:00:00, with T, a fraction or Z), else text. What would not print the same way again, such as 007, stays text; text of few values that repeat (at most 65,536, and half as many as there are fields) is pooled. An empty field is missing; \"\" is an empty text. Lines without a byte are no rows.

Parquet files (.parquet; not compressed, or by snappy, gzip or lz4) and Arrow IPC files (.arrow, not compressed) say their types themselves, and are read once. They take a program that was built with the features parquet and arrow.

Rows are loaded into tables of a share of the memory limit. With --index each is sorted and spilled, and all are merged; rows that are equal by the index keep the order of the file. \
The result is a directory of saved tables that follow one another, which appears when it is whole: `mempool show` shows it, `mempool verify` checks its chunks, and programs read them with mempool-arrays.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  Sorted by two columns, in 256 MiB of memory; the result is trips.mempool
    mempool import trips.csv --index city,day --memory-limit 256MiB

  In the order of the file, to another place, spilling to another disk
    mempool import trips.csv --out /data/trips --disk /mnt/fast

Exit codes: 0 the table is there; 1 the file is not as it should be, or a limit was passed; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.";

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The file: .csv, .tsv, .parquet or .arrow
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Columns to sort by, the first one first, with commas or by repeating it; without it rows keep their order
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(crate) index: Vec<String>,

    /// Memory that the pool may use: 256MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, env = "MEMPOOL_MEMORY_LIMIT", value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory_limit: Size,

    /// Directory to spill to, several as for `mempool tpch`
    #[arg(long, env = "MEMPOOL_DISK", value_name = "DIR[:LIMIT]", value_delimiter = ',', default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: Vec<SpillDirectory>,

    /// Directory to make for the table; nothing may be there. Beside the file if this is not given, FILE with .mempool at its end
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// First rows to print
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rows: usize,

    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const SHOW_ABOUT: &str = "\
Show a saved table: its columns, its first rows, and figures of each column

Reads a table that `save_to_disk` wrote, or the directory that `mempool import` made, one chunk after the other. Each file is copied into a session below --disk (shared with it, where the file system can), \
where nobody else can change it; every byte is compared with its checksum and every row with the index before anything is believed. Figures are of all rows: missing slots, different values of pooled columns, the least and the greatest value, the mean of numbers, bytes of text.";

const SHOW_EXAMPLES: &str = "\
Examples:
  mempool show trips.mempool
  mempool show trips.mempool/chunk-00000.frame --rows 20
  mempool show trips.mempool --json | jq .columns

Exit codes: 0 the table is whole; 1 it is damaged, or no table; 3 it cannot be read.";

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The file, or the directory that `mempool import` made
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// First rows to print
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) rows: usize,

    /// Directory that the session is made in, several as for `mempool tpch`
    #[arg(long, env = "MEMPOOL_DISK", value_name = "DIR[:LIMIT]", value_delimiter = ',', default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: Vec<SpillDirectory>,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const BENCH_ABOUT: &str = "\
Measure this machine and this disk: how fast values are set, spilled and read

For each size, values of four times the memory limit are set in a pool, read in order, and read by a Zipf distribution (few of them often). The same values are \
written to one file with plain calls and read through one map of it, so that the last column says what the pool costs and what is the machine's. Each word of each value \
is checked on both sides. Other work on the machine shows in the figures; what is read may still be in the page cache.";

const BENCH_EXAMPLES: &str = "\
Examples:
  Is this disk fit to spill to?
    mempool bench --disk /mnt/fast

  Values like mine, with the memory that I would give them, on four threads
    mempool bench --size 300KiB --memory-limit 1GiB --threads 4

Exit codes: 0 all values came back as they were set; 1 one did not, the limit was passed or a file was left; 2 the command line is wrong; 3 the machine refused; \
130 (or 128 and the number of another signal) it was stopped, and removed its files.";

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Sizes of values, from 1KiB to a quarter of the memory limit for each thread
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_value = "4KiB,64KiB,1MiB,16MiB", value_parser = parse_value_size)]
    pub(crate) size: Vec<u64>,

    /// Memory that the pool may use: 64MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) memory_limit: Size,

    /// Directory to spill to
    #[arg(long, value_name = "DIR[:LIMIT]", default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: SpillDirectory,

    /// Threads that set and read, 1 to 1024, or auto (as many as the machine has)
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_threads, allow_negative_numbers = true)]
    pub(crate) threads: Threads,

    /// Rounds, of which the median is taken
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,

    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

const CONFIG_ABOUT: &str = "\
Show the settings of `mempool tpch`, and with --explain where each comes from

A setting is taken from its flag, else from its variable, else it is the default. The flags are those of `mempool tpch`, so that the same line with `config` in \
place of `tpch` shows what would be used. Without --explain each is printed as a line for the environment.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  Where does each setting come from, and what does it mean on this machine?
    mempool config --explain

  What would this line use?
    MEMPOOL_DISK=/mnt/fast mempool config --explain --memory-limit auto";

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// Show where each setting comes from, what else it could be, and what it means here
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) settings: TpchArgs,
}

const INSPECT_ABOUT: &str = "\
Show the header of a file that `save_to_disk` wrote, or what a retained session holds

Prints what stands before the value: codec, type tag, lengths, which value of which pool it was, the checksum of the content, and where each section lies. The \
header's own checksum and the length of the file are checked; the content is not read, so a file of any size is shown at once. `mempool verify` reads it. Of a directory DIR/.mempool/s-... with retained values: its label, and each name with its codec, \
type and size. Of a file that went through filters: which, and how much they made of it.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  mempool inspect results.frame
  mempool inspect results.frame --json | jq .codec
  mempool inspect /mnt/fast/.mempool/s-4711-0123456789abcdef

Exit codes: 0 the header is whole; 1 the file is damaged or no frame; 3 it cannot be read.";

#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The file, or the directory of a retained session
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_ABOUT: &str = "\
Read saved files whole, and say which are damaged, where and how

Checks magic, version, header checksum, all lengths and offsets, the length of the file, and the checksum of each byte behind the header. One line a file, whatever \
is wrong with the others; of the directory of a retained session one line a value. Whether the bytes are a valid value of a type is for the program that has the type; `pool.get_file` checks that, too. \
Files that went through filters are decoded, encrypted ones with --key-file; without the key each block is compared with its checksum, and the line says so.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  mempool verify results.frame
  mempool verify backup/*.frame && echo all whole

Exit codes: 0 all are whole; 1 at least one is damaged; 3 at least one cannot be read.";

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The files, or the directories of retained sessions
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Key of files that were encrypted: a file of 32 bytes or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Print a list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const GC_ABOUT: &str = "\
Show the sessions in a spill directory, and remove those of dead processes

Each open pool has a session: a directory under DIR/.mempool, which its process holds locked as long as it lives. One that can be locked belongs to nobody any more, \
whatever process has its number today. A session that is locked is never touched, and files that are not ours are never removed. Opening a pool on DIR sweeps the same way; \
this command is for a directory that no pool is opened on again, and for looking.

A session in which values are retained is nobody's and yet kept, for the program that restores it: it is listed, and goes only with --retained.";

const GC_EXAMPLES: &str = "\
Examples:
  What is there, and what would go
    mempool gc --dry-run /mnt/fast

  Remove it
    mempool gc /mnt/fast

  And what programs have retained there, for ever
    mempool gc --retained /mnt/fast

Exit codes: 0 what was dead is gone; 1 something of it could not be removed; 3 the directory cannot be opened.";

#[derive(Args)]
pub(crate) struct GcArgs {
    /// The directory that was given to the pool (or to --disk): the one that `.mempool` is in
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Remove the values that programs have retained as well, unless one has them open
    #[arg(long)]
    pub(crate) retained: bool,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const CERTS_ABOUT: &str = "\
Make certificates, by which the nodes of a cluster know each other

Nodes on different hosts speak mutual TLS 1.3, and believe the certificates of one authority alone, which is the cluster's own. This makes the authority in DIR, or uses the one that is \
there, and for each node a certificate with its name, node-1.mempool, and a private key. DIR then has ca.crt and ca.key, node-1.crt and node-1.key. Private keys have mode 0600, and nodes refuse them with any other that lets others read them. \
Nothing that is there is overwritten: for new certificates of a node remove its two files first. Who has ca.key can name any node, so keep it away from the nodes.";

const CERTS_EXAMPLES: &str = "\
Examples:
  Three nodes
    mempool certs --dir certs node-1 node-2 node-3

  One more later, for a month, which curl may reach by its address
    mempool certs --dir certs --days 30 node-4=10.0.0.4

Exit codes: 0 they are made; 2 the command line is wrong; 3 files are there, or the machine refused.";

#[derive(Args)]
pub(crate) struct CertsArgs {
    /// The directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Days for which the certificates of nodes are valid; the authority's own is for ten years
    #[arg(long, value_name = "N", default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// Names of nodes: letters, digits and hyphens; with IP addresses as node-1=10.0.0.1,10.0.0.2
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<NodeArg>,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mempool completions bash > ~/.local/share/bash-completion/completions/mempool
  mempool completions zsh > \"${fpath[1]}/_mempool\"
  mempool completions fish > ~/.config/fish/completions/mempool.fish";

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  mempool man | man -l -
  mempool man --out ~/.local/share/man/man1";

#[derive(Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command to this directory, which must exist
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Scales that the generator can make and this program can count.
fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.001..=10_000.0).contains(&scale) => Ok(scale),
        Ok(_) => Err("the scale goes from 0.001 (6,000 rows) to 10000; try 0.1".into()),
        Err(_) => Err("the scale is a number such as 0.1 or 1".into()),
    }
}

/// A size of values: whole words.
fn parse_value_size(text: &str) -> Result<u64, String> {
    match text.parse::<Size>() {
        Ok(Size::Bytes(bytes)) if bytes.is_multiple_of(8) => Ok(bytes),
        Ok(Size::Bytes(_)) => Err("values are measured in words of 8 bytes; try 4KiB".into()),
        Ok(_) => Err("a value has a size of its own; try 4KiB".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of threads, or `auto`.
fn parse_threads(text: &str) -> Result<Threads, String> {
    if text == "auto" {
        return Ok(Threads::Auto);
    }
    match text.parse::<u16>() {
        Ok(count @ 1..=1024) => Ok(Threads::Count(count)),
        _ => Err("threads go from 1 to 1024; auto is as many as the machine has".into()),
    }
}

/// A query by its number.
fn parse_query(text: &str) -> Result<Query, String> {
    let found = Query::ALL.into_iter().find(|query| query.number().to_string() == text);
    found.ok_or_else(|| "the queries are 1, 3, 6, 13 and 18; several are written as 1,18".into())
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
    fn values_have_sizes_in_words() {
        assert_eq!(parse_value_size("4KiB"), Ok(4096));
        for text in ["9B", "0B", "50%", "auto", "many"] {
            assert!(parse_value_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn scales_out_of_range_are_refused() {
        assert_eq!(parse_scale("0.1"), Ok(0.1));
        for text in ["0", "-1", "NaN", "inf", "20000", "one"] {
            assert!(parse_scale(text).is_err(), "{text}");
        }
    }
}
