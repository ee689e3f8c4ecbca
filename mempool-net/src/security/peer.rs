//! Who is at the other end of a stream, and how that is known.

use std::fmt;
use std::net::SocketAddr;

use crate::NodeName;
use crate::security::SecurityError;

/// Who is at the other end, as far as the socket and the certificate say. What he says himself is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// His name, which his certificate holds. Without TLS there is none.
    pub name: Option<NodeName>,
    /// How he came.
    pub transport: Transport,
    /// His address; a Unix socket has none.
    pub address: Option<SocketAddr>,
}

/// How a peer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Plain text from this host, as any process of any of its users can send it.
    Loopback,
    /// A Unix socket of this host; the kernel says whose process made the connection.
    Unix {
        /// The user.
        uid: u32,
        /// The process, where the system says so. It may have ended since, and its number may be another's.
        pid: Option<i32>,
    },
    /// Mutual TLS.
    Tls,
}

impl Peer {
    /// Whether he may call himself `claimed` in a message: with TLS that is his own name alone. On this host he may say what he
    /// likes, for nothing on it proves more; that is trust in the host.
    ///
    /// # Errors
    /// [`SecurityError::Impersonation`].
    pub fn check_claim(&self, claimed: &NodeName) -> Result<(), SecurityError> {
        match &self.name {
            Some(actual) if actual != claimed => Err(SecurityError::Impersonation {
                actual: actual.clone(),
                claimed: claimed.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.transport, self.address) {
            (Some(name), _, Some(address)) => write!(f, "{name} ({address})"),
            (Some(name), ..) => write!(f, "{name}"),
            (None, Transport::Unix { uid, pid: Some(pid) }, _) => {
                write!(f, "uid {uid} (pid {pid})")
            }
            (None, Transport::Unix { uid, pid: None }, _) => write!(f, "uid {uid}"),
            (None, _, Some(address)) => write!(f, "{address}"),
            (None, ..) => f.write_str("a process of this host"),
        }
    }
}

/// What is spoken on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `h2`: calls.
    Http2,
    /// `http/1.1`: bytes.
    Http1,
}

impl Protocol {
    /// Both, the one that a server prefers first.
    pub const ALL: [Self; 2] = [Self::Http2, Self::Http1];

    /// What it is called in a handshake (ALPN, RFC 7301).
    #[must_use]
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Http1 => b"http/1.1",
        }
    }

    pub(crate) fn of_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.alpn() == name)
    }
}
