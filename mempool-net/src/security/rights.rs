//! What a peer may do: three rights, a table by node, and one function that is asked before each operation.

use std::collections::BTreeMap;
use std::fmt;

use crate::NodeName;
use crate::security::SecurityError;
use crate::security::peer::{Peer, Transport};

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// To see values, and to hold references to them.
    Read,
    /// To set and delete values, and to move them.
    Write,
    /// To change what the node itself does, and to write files of its host.
    Admin,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// Everything that a peer can ask a node for. Each has its right, and there is no other way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// The bytes of a value, or its descriptor.
    Get,
    /// What is known of a value.
    Stat,
    /// Which values there are.
    List,
    /// To have a value loaded.
    Prefetch,
    /// To claim a value, renew the claim or release it.
    Claim,
    /// To find a value by its name or its ticket.
    Resolve,
    /// To set a value.
    Set,
    /// To delete a value.
    Delete,
    /// To move a value to its owner's disk.
    MoveToDisk,
    /// To copy a value to its owner's disk.
    CopyToDisk,
    /// To give a value to another owner, or to take one.
    Migrate,
    /// To save a value under a name in the export directory.
    SaveToDisk,
    /// To say what became of a node that is lost, or to stop this one.
    Operate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Get,
        Self::Stat,
        Self::List,
        Self::Prefetch,
        Self::Claim,
        Self::Resolve,
        Self::Set,
        Self::Delete,
        Self::MoveToDisk,
        Self::CopyToDisk,
        Self::Migrate,
        Self::SaveToDisk,
        Self::Operate,
    ];

    /// What it takes.
    #[must_use]
    pub fn right(self) -> Right {
        match self {
            Self::Get | Self::Stat | Self::List | Self::Prefetch | Self::Claim | Self::Resolve => {
                Right::Read
            }
            Self::Set | Self::Delete | Self::MoveToDisk | Self::CopyToDisk | Self::Migrate => {
                Right::Write
            }
            Self::SaveToDisk | Self::Operate => Right::Admin,
        }
    }
}

/// The rights of one peer. None of them implies another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    /// [`Right::Read`].
    pub read: bool,
    /// [`Right::Write`].
    pub write: bool,
    /// [`Right::Admin`].
    pub admin: bool,
}

impl Rights {
    /// None.
    pub const NONE: Self = Self { read: false, write: false, admin: false };
    /// To see values.
    pub const READ: Self = Self { read: true, ..Self::NONE };
    /// To see and to change values.
    pub const READ_WRITE: Self = Self { write: true, ..Self::READ };
    /// All three.
    pub const ALL: Self = Self { admin: true, ..Self::READ_WRITE };

    /// Whether `right` is among them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::Read => self.read,
            Right::Write => self.write,
            Right::Admin => self.admin,
        }
    }
}

/// Who may do what.
///
/// Nobody may do anything until he is named, with two exceptions on the node's own host: plain text on a loopback address,
/// which is there only where no TLS is, and processes of the node's own user (or root) on a Unix socket, who could read its
/// memory anyway.
///
/// ```
/// use mempool_net::NodeName;
/// use mempool_net::security::{Operation, Peer, Rights, RightsTable, Transport};
///
/// let node = NodeName::new("node-2")?;
/// let table = RightsTable::default().node(node.clone(), Rights::READ);
/// let peer = Peer { name: Some(node), transport: Transport::Tls, address: None };
/// assert!(table.authorize(&peer, Operation::Get).is_ok());
/// assert!(table.authorize(&peer, Operation::Delete).is_err());
/// # Ok::<(), mempool_net::NodeNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsTable {
    nodes: BTreeMap<NodeName, Rights>,
    others: Rights,
    loopback: Rights,
    own_user: Rights,
    other_users: Rights,
}

impl Default for RightsTable {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            others: Rights::NONE,
            loopback: Rights::ALL,
            own_user: Rights::ALL,
            other_users: Rights::NONE,
        }
    }
}

impl RightsTable {
    /// Gives `node` these rights and no others.
    #[must_use]
    pub fn node(mut self, node: NodeName, rights: Rights) -> Self {
        self.nodes.insert(node, rights);
        self
    }

    /// What a node with a good certificate may do that is not named here: at first nothing.
    #[must_use]
    pub fn other_nodes(self, others: Rights) -> Self {
        Self { others, ..self }
    }

    /// What plain text on a loopback address may do: at first everything. Each user of the host can send it.
    #[must_use]
    pub fn loopback(self, loopback: Rights) -> Self {
        Self { loopback, ..self }
    }

    /// What other users of this host may do on a Unix socket: at first nothing.
    #[must_use]
    pub fn other_users(self, other_users: Rights) -> Self {
        Self { other_users, ..self }
    }

    /// The rights of a peer.
    #[must_use]
    pub fn of(&self, peer: &Peer) -> Rights {
        match (peer.transport, &peer.name) {
            (Transport::Tls, Some(name)) => self.nodes.get(name).copied().unwrap_or(self.others),
            // No such stream is made; if one were, it would have shown nothing.
            (Transport::Tls, None) => Rights::NONE,
            (Transport::Loopback, _) => self.loopback,
            (Transport::Unix { uid, .. }, _) => match uid {
                0 => self.own_user,
                uid if uid == rustix::process::geteuid().as_raw() => self.own_user,
                _ => self.other_users,
            },
        }
    }

    /// Whether `peer` may do that. It is asked before anything of the operation is done.
    ///
    /// # Errors
    /// [`SecurityError::Denied`].
    pub fn authorize(&self, peer: &Peer, operation: Operation) -> Result<(), SecurityError> {
        let right = operation.right();
        match self.of(peer).has(right) || mutant!("rights_ignored") {
            true => Ok(()),
            false => Err(SecurityError::Denied { peer: peer.to_string(), operation, right }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: Option<&str>, transport: Transport) -> Peer {
        let name = name.map(|name| NodeName::new(name).expect("a label"));
        Peer { name, transport, address: None }
    }

    #[test]
    fn nobody_may_do_anything_until_he_is_named() {
        let table = RightsTable::default();
        for operation in Operation::ALL {
            assert!(table.authorize(&peer(Some("a"), Transport::Tls), operation).is_err());
            assert!(table.authorize(&peer(None, Transport::Tls), operation).is_err());
            let stranger = Transport::Unix { uid: u32::MAX - 1, pid: None };
            assert!(table.authorize(&peer(None, stranger), operation).is_err());
            assert!(table.authorize(&peer(None, Transport::Loopback), operation).is_ok());
            let uid = rustix::process::geteuid().as_raw();
            let own = Transport::Unix { uid, pid: Some(1) };
            assert!(table.authorize(&peer(None, own), operation).is_ok());
        }
    }

    #[test]
    fn a_right_gives_its_operations_and_no_others() {
        let rights = [
            (Rights::NONE, 0),
            (Rights::READ, 6),
            (Rights::READ_WRITE, 11),
            (Rights::ALL, 13),
            (Rights { admin: true, ..Rights::NONE }, 2),
        ];
        for (rights, count) in rights {
            let name = NodeName::new("a").expect("a label");
            let table = RightsTable::default().node(name, rights).other_nodes(Rights::READ);
            let may = |name: &str| {
                let peer = peer(Some(name), Transport::Tls);
                Operation::ALL.into_iter().filter(|&it| table.authorize(&peer, it).is_ok()).count()
            };
            assert_eq!((may("a"), may("b")), (count, 6));
        }
    }

    #[test]
    fn a_peer_with_a_name_has_that_name_alone() {
        let (a, b) = (NodeName::new("a").expect("a label"), NodeName::new("b").expect("a label"));
        assert!(peer(Some("a"), Transport::Tls).check_claim(&a).is_ok());
        let error = peer(Some("a"), Transport::Tls).check_claim(&b).expect_err("another's name");
        assert_eq!(error.to_string(), "a says that he is b");
        assert!(peer(None, Transport::Loopback).check_claim(&b).is_ok());
    }
}
