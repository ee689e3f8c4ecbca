//! `mempool serve`: a node that keeps values for other programs, from its start to the signal that ends it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use mempool_core::{Blob, PoolOptions};
use mempool_net::{
    NetError, Node, NodeBuilder, NodeName,
    security::{Policy, Rights, RightsTable, Tls, TlsFiles},
};
use mempool_spill::Placement;
use serde::Serialize;

use crate::{
    disk::{SpillDirectory, SpillPlace},
    error::CliError,
    size::Bytes,
};

/// What is served, and to whom.
pub(crate) struct Options {
    pub(crate) name: Option<NodeName>,
    pub(crate) listen: String,
    pub(crate) advertise: Option<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) disks: Vec<SpillDirectory>,
    pub(crate) certs: Option<PathBuf>,
    /// What nodes with a certificate may do.
    pub(crate) rights: Rights,
}

/// A node that can be reached.
pub(crate) struct Served {
    node: Node<Blob>,
    place: SpillPlace,
    memory_limit_bytes: u64,
}

/// What is said of it when it is there.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    name: String,
    address: String,
    memory_limit_bytes: u64,
}

impl Served {
    /// Opens a pool and starts its node.
    ///
    /// # Errors
    /// A disk, credentials or an address that cannot be used.
    pub(crate) fn start(options: &Options) -> Result<Self, CliError> {
        let (place, storage) = SpillPlace::open(&options.disks, Placement::default(), 0)?;
        let memory_limit_bytes = options.memory_limit_bytes;
        let pool = PoolOptions::new().memory_limit(memory_limit_bytes).store(storage).open(Blob);
        let mut policy = Policy::default();
        policy.rights = RightsTable::default().other_nodes(options.rights);
        let builder = Node::builder(pool)
            .listen(&options.listen)
            .join(options.peers.iter().cloned())
            .policy(policy);
        let builder = match &options.advertise {
            Some(address) => builder.advertise(address),
            None => builder,
        };
        let builder = identified(builder, options.name.as_ref(), options.certs.as_deref())?;
        Ok(Self { node: builder.start()?, place, memory_limit_bytes })
    }

    pub(crate) fn ready(&self) -> Ready {
        Ready {
            name: self.node.name().to_string(),
            address: self.node.address().to_owned(),
            memory_limit_bytes: self.memory_limit_bytes,
        }
    }

    /// Leaves the cluster, closes the pool, and says which files are left.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn end(self) -> Result<Vec<PathBuf>, CliError> {
        let Self { node, place, .. } = self;
        node.leave()?;
        let pool = node.pool().clone();
        drop(node);
        pool.close()?;
        drop(pool);
        place.left()
    }
}

/// A node's name and its credentials, which are that name's.
///
/// # Errors
/// Credentials that cannot be used.
pub(crate) fn identified(
    builder: NodeBuilder<Blob>,
    name: Option<&NodeName>,
    certs: Option<&Path>,
) -> Result<NodeBuilder<Blob>, NetError> {
    let Some(name) = name else { return Ok(builder) };
    let builder = builder.name(name.clone());
    match certs {
        Some(directory) => {
            Ok(builder.tls(Tls::from_files(TlsFiles::in_directory(directory, name))?))
        }
        None => Ok(builder),
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = Bytes(self.memory_limit_bytes);
        write!(f, "{} serves at {} with {limit} of memory", self.name, self.address)
    }
}
