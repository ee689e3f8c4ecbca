//! The commands that speak with nodes: what can be asked for, and the texts that explain it.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser},
};
use mempool_net::{
    NodeName,
    security::{Right, Rights},
};

use crate::{disk::SpillDirectory, size::Size};

pub(super) const SERVE_ABOUT: &str = "\
Keep values for other programs: a node with a pool that spills to disk

What is put here under a name stays until the name is removed, whatever becomes of the program that put it. The pool keeps its memory limit by spilling what was used least \
recently. When the node can be reached it prints one line: its name, its address and its limit. It runs until SIGINT or SIGTERM, then tells the other nodes, and removes what it spilled: \
values end with it.

Without --certs the node speaks plain text on loopback alone, and every process of this host may do everything. With --certs (`mempool certs` makes them) it speaks mutual TLS, may listen anywhere, and nodes \
of the cluster may do what --allow says.";

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  For programs of this host
    mempool serve --memory-limit 1GiB --disk /mnt/fast

  For the nodes of a cluster
    mempool serve --name node-1 --listen 10.0.0.1:7077 --certs certs --allow read,write

Exit codes: 0 it was asked to stop, and left nothing; 1 files are left; 2 the command line is wrong; 3 it cannot start.";

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// What the node is called: letters, digits and hyphens. Random digits if this is not given; with --certs the name of its certificate
    #[arg(long, value_name = "NAME", value_parser = parse_node)]
    pub(crate) name: Option<NodeName>,

    /// Where it listens; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7077")]
    pub(crate) listen: String,

    /// Where others reach it, if that is not where it listens
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise: Option<String>,

    /// Nodes to know, as HOST:PORT or NAME@HOST:PORT, with commas or by repeating it; they may start later
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,

    /// Memory that the pool may use: 256MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, env = "MEMPOOL_MEMORY_LIMIT", value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory_limit: Size,

    /// Directory to spill to, several as for `mempool tpch`
    #[arg(long, env = "MEMPOOL_DISK", value_name = "DIR[:LIMIT]", value_delimiter = ',', default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: Vec<SpillDirectory>,

    /// Directory of certificates, as `mempool certs` makes it
    #[arg(long, value_name = "DIR", requires_all = ["name", "allow"])]
    pub(crate) certs: Option<PathBuf>,

    /// What nodes of the cluster may do: read, write (set, remove and move), admin (save to files here)
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', requires = "certs", value_parser = parse_right)]
    pub(crate) allow: Vec<Right>,

    /// Print the line as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl ServeArgs {
    /// What `--allow` gives.
    pub(crate) fn rights(&self) -> Rights {
        let has = |right| self.allow.contains(&right);
        Rights { read: has(Right::Read), write: has(Right::Write), admin: has(Right::Admin) }
    }
}

/// Who this program is to the node that it asks, and how it prints.
#[derive(Args)]
pub(crate) struct VisitArgs {
    /// Directory of certificates, as `mempool certs` makes it; without it the node must be on this host
    #[arg(long, value_name = "DIR", requires = "node")]
    pub(crate) certs: Option<PathBuf>,

    /// Whose certificate there this program shows: a name that no node has that runs
    #[arg(long = "as", value_name = "NODE", requires = "certs", value_parser = parse_node)]
    pub(crate) node: Option<NodeName>,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What bytes go through on their way.
#[derive(Args)]
pub(crate) struct RoomArgs {
    /// Memory that a value may take here on its way: 256MiB, 75% (of the machine or the container) or auto (half)
    #[arg(long, env = "MEMPOOL_MEMORY_LIMIT", value_name = "SIZE", default_value = "auto")]
    pub(crate) memory_limit: Size,

    /// Directory that a session is made in, several as for `mempool tpch`
    #[arg(long, env = "MEMPOOL_DISK", value_name = "DIR[:LIMIT]", value_delimiter = ',', default_value = ".", value_parser = PathBufValueParser::new().map(SpillDirectory::from))]
    pub(crate) disk: Vec<SpillDirectory>,
}

pub(super) const PUT_ABOUT: &str = "\
Put a saved file on a node, under a name

FILE is a file that `save_to_disk` wrote, without filters; each byte is compared with its checksum before it is sent. With --raw it is any file, whose bytes become a value as they are \
(Blob, of type Vec<u8>). A value that has the name loses it.";

pub(super) const PUT_EXAMPLES: &str = "\
Examples:
  mempool put trips.mempool/chunk-00000.frame --to 127.0.0.1:7077 --name trips/0
  mempool put photo.jpg --raw --to node-1@10.0.0.1:7077 --name photo --certs certs --as node-9

Exit codes: 0 it is there; 1 the file is damaged, or the node refuses; 2 the command line is wrong; 3 the file or the node cannot be reached.";

#[derive(Args)]
pub(crate) struct PutArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The node, as HOST:PORT or NAME@HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: String,

    /// The name that the value has there
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,

    /// Take the file's bytes as they are
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) room: RoomArgs,

    #[command(flatten)]
    pub(crate) visit: VisitArgs,
}

pub(super) const GET_ABOUT: &str = "\
Get the value of a name from a node, as a saved file

The file is one that `mempool verify` and `pool.file` read. With --raw it has the bytes of a value that was put with --raw (Blob, of type Vec<u8>). It appears when it is whole. \
Nothing that is there is overwritten without --force.";

pub(super) const GET_EXAMPLES: &str = "\
Examples:
  mempool get trips/0 --from 127.0.0.1:7077 --out trips.frame
  mempool get photo --raw --from 127.0.0.1:7077 --out photo.jpg --force

Exit codes: 0 it is here; 1 there is no such value, it is damaged or has another type; 2 the command line is wrong; 3 a file is there already or cannot be written, or the node cannot be reached.";

#[derive(Args)]
pub(crate) struct GetArgs {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The node, as HOST:PORT or NAME@HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) from: String,

    /// The file to write; NAME in this directory if this is not given
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Write the value's bytes as they are
    #[arg(long)]
    pub(crate) raw: bool,

    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) room: RoomArgs,

    #[command(flatten)]
    pub(crate) visit: VisitArgs,
}

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  mempool ls --from 127.0.0.1:7077
  mempool ls --from 127.0.0.1:7077 --json | jq '.[].name'

Exit codes: 0 this is what has a name there; 1 the node refuses; 3 it cannot be reached.";

#[derive(Args)]
pub(crate) struct LsArgs {
    /// The node, as HOST:PORT or NAME@HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) from: String,

    #[command(flatten)]
    pub(crate) visit: VisitArgs,
}

pub(super) const NAMED_EXAMPLES: &str = "\
Exit codes: 0 it is done; 1 there is no such value, or the node refuses; 3 it cannot be reached.";

/// A value that has a name at a node.
#[derive(Args)]
pub(crate) struct NamedArgs {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The node, as HOST:PORT or NAME@HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) from: String,

    #[command(flatten)]
    pub(crate) visit: VisitArgs,
}

/// The name of a node.
fn parse_node(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|error| error.to_string())
}

fn parse_right(text: &str) -> Result<Right, String> {
    let all = [Right::Read, Right::Write, Right::Admin];
    let found = all.into_iter().find(|right| right.to_string() == text);
    found
        .ok_or_else(|| "rights are read, write and admin; several are written as read,write".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn serve(arguments: &str) -> Result<ServeArgs, clap::Error> {
        match Cli::try_parse_from(arguments.split(' '))?.command {
            Command::Serve(args) => Ok(args),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn credentials_come_with_a_name_and_with_rights() {
        let args = serve("mempool serve --certs d --name a --allow read,admin").unwrap();
        assert_eq!(args.rights(), Rights { write: false, ..Rights::ALL });
        assert_eq!(serve("mempool serve").unwrap().rights(), Rights::NONE);
        for bad in [
            "mempool serve --certs d --name a",
            "mempool serve --certs d --allow read",
            "mempool serve --allow read",
            "mempool serve --certs d --name a --allow all",
            "mempool serve --name a.b",
        ] {
            assert!(serve(bad).is_err(), "{bad}");
        }
    }
}
