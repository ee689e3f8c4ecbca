//! A short-lived node of this program's own, by which a command speaks with another one.

use std::{
    env, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use mempool_core::{Blob, Error, Pool, PoolOptions, Untyped};
use mempool_net::{
    NamedAt, NetError, Node, NodeName, SetOn, ValueAt,
    security::{Policy, Rights, RightsTable},
};
use mempool_spill::Placement;

use crate::{
    cli::VisitArgs,
    disk::{self, SpillDirectory, SpillPlace},
    error::CliError,
    serve::identified,
};

/// What bytes of values may take here on their way.
pub(crate) struct Room {
    pub(crate) memory_limit_bytes: u64,
    pub(crate) disks: Vec<SpillDirectory>,
}

/// A node that knows the one that is asked.
pub(crate) struct Visit {
    node: Node<Blob>,
    host: NodeName,
}

impl Visit {
    /// Memory for a command that brings no value here.
    const SMALL_BYTES: u64 = 1 << 20;

    /// Comes to know the node at an address, for a command that brings no value here.
    ///
    /// # Errors
    /// [`CliError::Net`] names the address that cannot be reached.
    pub(crate) fn to(address: &str, who: &VisitArgs) -> Result<Self, CliError> {
        // The checksum of stores on disk is that of the other node's; nothing will be written.
        let place = SpillDirectory::from(env::temp_dir());
        let refused = |source: mempool_spill::SpillError| CliError::Disk {
            path: place.path.clone(),
            source: source.into(),
        };
        let places = std::slice::from_ref(&place);
        let storage = disk::options(places, Placement::default()).open().map_err(refused)?;
        let pool = PoolOptions::new().memory_limit(Self::SMALL_BYTES).store(storage).open(Blob);
        Self::start(address, who, pool)
    }

    /// As [`to`](Self::to), with room for values.
    ///
    /// # Errors
    /// As [`to`](Self::to), and [`CliError::Disk`].
    pub(crate) fn with_room(address: &str, who: &VisitArgs, room: &Room) -> Result<Self, CliError> {
        let (_, storage) = SpillPlace::open(&room.disks, Placement::default(), 0)?;
        let options = PoolOptions::new().memory_limit(room.memory_limit_bytes);
        Self::start(address, who, options.store(storage).open(Blob))
    }

    fn start(address: &str, who: &VisitArgs, pool: Pool<Blob>) -> Result<Self, CliError> {
        let here = own_address(address).map_err(|source| NetError::Unreachable {
            node: address.to_owned(),
            call: "hello",
            source: source.into(),
        })?;
        let mut policy = Policy::default();
        // What the node says of the values that are asked for, it says by calls of its own.
        policy.rights = RightsTable::default().other_nodes(Rights::READ);
        let listen = SocketAddr::new(here, 0).to_string();
        let builder = Node::builder(pool).listen(listen).policy(policy);
        let node = identified(builder, who.node.as_ref(), who.certs.as_deref())?.start()?;
        let host = node.meet(address)?;
        Ok(Self { node, host })
    }

    /// The node that is asked.
    pub(crate) fn host(&self) -> &NodeName {
        &self.host
    }

    /// The pool of this program.
    pub(crate) fn pool(&self) -> &Pool<Blob> {
        self.node.pool()
    }

    /// # Errors
    /// [`CliError::Net`].
    pub(crate) fn names(&self) -> Result<Vec<NamedAt>, CliError> {
        Ok(self.node.names(&self.host)?)
    }

    /// # Errors
    /// [`CliError::Net`].
    pub(crate) fn values(&self) -> Result<Vec<ValueAt>, CliError> {
        Ok(self.node.list(&self.host)?)
    }

    /// # Errors
    /// [`CliError::Net`], of a name that is not there as well.
    pub(crate) fn find(&self, name: &str) -> Result<Untyped, CliError> {
        Ok(self.node.named_untyped(&self.host, name)?)
    }

    /// # Errors
    /// [`CliError::Net`].
    pub(crate) fn stat(&self, value: &Untyped) -> Result<ValueAt, CliError> {
        Ok(self.node.stat(&value.erased())?)
    }

    /// Puts a copy of a value of this program's on the node that is asked.
    ///
    /// # Errors
    /// [`CliError::Net`].
    pub(crate) fn put(&self, value: &Untyped, name: &str) -> Result<(), CliError> {
        self.node.copy_untyped_on(&self.host, value, SetOn::new().name(name))?;
        Ok(())
    }

    /// # Errors
    /// [`CliError::Net`], of a name that is not there as well.
    pub(crate) fn unname(&self, name: &str) -> Result<(), CliError> {
        Ok(self.node.unname_on(&self.host, name)?)
    }
}

/// What an error of this program's pool is about: the room that it has, or the value at its owner.
pub(crate) fn of_pool(error: Error) -> CliError {
    match error {
        Error::TooLarge { .. }
        | Error::NoRoom(_)
        | Error::Allocation { .. }
        | Error::Spill { .. }
        | Error::Store(_) => CliError::Pool(error),
        error => CliError::Net(NetError::Pool(error)),
    }
}

/// Where this host is reached by the one at `address`, which may have a name before it: the node there answers this one.
fn own_address(address: &str) -> io::Result<IpAddr> {
    let there = address.split_once('@').map_or(address, |(_, there)| there);
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for there in there.to_socket_addrs()? {
        let any = match there {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        // No datagram is sent: the system says by which way one would go.
        let way = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(there)?;
            socket.local_addr()
        });
        match way {
            Ok(here) => return Ok(here.ip()),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_loopback_is_visited_from_there() {
        for address in ["127.0.0.1:7077", "a@127.0.0.1:7077", "localhost:1"] {
            assert!(own_address(address).unwrap().is_loopback(), "{address}");
        }
        for bad in ["127.0.0.1", "a@", "", ":", "127.0.0.1:port"] {
            assert!(own_address(bad).is_err(), "{bad}");
        }
    }
}
