//! Who may speak with a node, what he may do, and how much of it: everything between a socket and the first message.
//!
//! A peer on another host proves who he is by mutual TLS 1.3: his certificate comes from the cluster's own authority and
//! holds his [`NodeName`](crate::NodeName) as its one DNS name, `node-1.mempool`. Plain text is for loopback addresses and
//! Unix sockets alone, and that is no setting. What a peer is called is what his certificate says, never what he says.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Authority`], [`CertificateDirectory`] | make certificates, for clusters that have no authority and for tests |
//! | [`Tls`] | one node's credentials; they can be loaded anew while it runs |
//! | [`Guard`] | the rights and the bounds of all peers of one node |
//! | [`Listener`], [`Acceptor`], [`Connector`] | from a socket to a [`Stream`] with its [`Peer`] |
//! | [`Exports`], [`ExportName`] | where values are saved for others: names, never paths |
//!
//! Nothing here reads a message; that is left to whoever is given the stream.

mod accept;
mod authority;
mod bounds;
mod connect;
mod directory;
mod error;
mod export;
mod listen;
mod lobby;
mod peer;
mod pem;
mod rights;
mod stream;
mod subject;
mod tls;

pub use accept::Acceptor;
pub use authority::{Authority, Issued, Validity};
pub use bounds::{Bounded, Bounds, Deadlines, Guard, Permit, Policy};
pub use connect::Connector;
pub use directory::CertificateDirectory;
pub use error::{ExportError, ExportNameFault, IdentityFault, Phase, SecurityError};
pub use export::{Existing, ExportFile, ExportName, Exports};
pub use listen::{Arrival, Listener};
pub use peer::{Peer, Protocol, Transport};
pub use rights::{Operation, Right, Rights, RightsTable};
pub use stream::Stream;
pub use subject::{DNS_SUFFIX, dns_name};
pub use tls::{Tls, TlsFiles};
