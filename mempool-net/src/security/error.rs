//! Why a peer, a file or a name was refused.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mempool_core::{Cause, ErrorKind};
use rustls::{
    AlertDescription, CertificateError, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

use crate::NodeName;
use crate::security::bounds::Bounded;
use crate::security::rights::{Operation, Right};

/// Why a connection or an operation was refused, or why a node has no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// Plain text was asked for where others could read it and speak in one's name.
    #[error(
        "{address} is no loopback address, so it needs TLS; plain text is for loopback and Unix sockets alone"
    )]
    PlainText {
        /// Where to listen, whom to connect to, or who connected.
        address: SocketAddr,
    },
    /// A private key that others than its owner can read or change.
    #[error("the private key {} has mode {mode:04o}, so others have it, too; make it 0600", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A private key that is another user's, who could change it.
    #[error("the private key {} belongs to uid {uid}; it must be this process's ({own}) or root's", path.display())]
    KeyOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Whose this process is.
        own: u32,
    },
    /// A file of credentials cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// PEM text does not hold what it should.
    #[error("{origin} holds no {wanted}{}", detail.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Pem {
        /// The file, or what the text was given as.
        origin: String,
        /// What was looked for.
        wanted: &'static str,
        /// What the reader of PEM says, where there is text at all.
        detail: Option<String>,
    },
    /// A node's own credentials do not fit together, or no other node would take them.
    #[error("these credentials cannot be used: {fault}")]
    Credentials {
        /// What is wrong with them.
        fault: IdentityFault,
        /// What TLS says.
        source: Cause,
    },
    /// Credentials that were loaded anew are another node's.
    #[error("the new certificate is {found}'s, and this node is {own}")]
    OtherNode {
        /// The node that runs.
        own: NodeName,
        /// Whose certificate it is.
        found: NodeName,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {why}")]
    Issue {
        /// Why not.
        why: String,
    },
    /// The peer did not prove who he is.
    #[error("{peer} did not prove who he is: {fault}")]
    Identity {
        /// Whose socket it is.
        peer: String,
        /// What was wrong.
        fault: IdentityFault,
        /// What TLS says, where it came so far.
        source: Option<Cause>,
    },
    /// The peer said that he is a node which his certificate does not name.
    #[error("{actual} says that he is {claimed}")]
    Impersonation {
        /// Who he is.
        actual: NodeName,
        /// Who he says he is.
        claimed: NodeName,
    },
    /// The socket failed, or the peer closed it too early.
    #[error("the connection with {peer} failed while {phase}")]
    Connection {
        /// Whose socket it is.
        peer: String,
        /// How far it had come.
        phase: Phase,
        /// What the system says.
        source: io::Error,
    },
    /// The peer took longer than he may.
    #[error("{peer} took longer than {limit:?} while {phase}")]
    Deadline {
        /// Whose socket it is.
        peer: String,
        /// With what.
        phase: Phase,
        /// What he may take.
        limit: Duration,
    },
    /// The peer had not proved who he is when others needed the room: of the address with the most, the oldest goes.
    #[error("{peer} was still silent or in his handshake, and {limit} at once are the most")]
    Crowded {
        /// Whose socket it is.
        peer: String,
        /// How many may be in a handshake.
        limit: usize,
    },
    /// The peer has, or all peers together have, as much as they may.
    #[error("{peer}: {bounded} would be more than {limit}")]
    Bound {
        /// Who asked.
        peer: String,
        /// For what.
        bounded: Bounded,
        /// The most.
        limit: u64,
    },
    /// The peer may not do that.
    #[error("{peer} has no right to {right}, which {operation:?} needs")]
    Denied {
        /// Who asked.
        peer: String,
        /// For what.
        operation: Operation,
        /// What it takes.
        right: Right,
    },
}

impl SecurityError {
    /// Which of the four kinds it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Deadline { .. } | Self::Crowded { .. } | Self::Bound { .. } => ErrorKind::Limit,
            Self::File { .. } | Self::Connection { .. } => ErrorKind::Environment,
            _ => ErrorKind::Misuse,
        }
    }

    /// What a failed handshake says: of TLS, or of the socket.
    pub(crate) fn of_handshake(peer: String, error: io::Error) -> Self {
        match rustls_error(&error) {
            Some(source) => Self::Identity {
                peer,
                fault: IdentityFault::of(&source),
                source: Some(source.into()),
            },
            None => Self::Connection { peer, phase: Phase::Handshake, source: error },
        }
    }
}

/// The error of rustls that a socket's error carries.
fn rustls_error(error: &io::Error) -> Option<rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}

/// What a connection was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Connecting.
    Connect,
    /// Proving who is who; without TLS, sending the first byte.
    Handshake,
    /// Sending the head of a request.
    Headers,
    /// Sending or taking a body.
    Body,
    /// Nothing.
    Idle,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Handshake => "proving who he is",
            Self::Headers => "sending the head of a request",
            Self::Body => "sending or taking a body",
            Self::Idle => "idle",
        })
    }
}

/// What is wrong with an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFault {
    /// No certificate at all.
    #[error("no certificate")]
    Missing,
    /// No authority that is known here signed it, or it signed itself.
    #[error("the certificate is from no authority that is known here")]
    Issuer,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It is another node's.
    #[error("the certificate is for {found:?}, and not for {expected}")]
    OtherName {
        /// The DNS name that was expected.
        expected: String,
        /// What the certificate is for.
        found: Vec<String>,
    },
    /// It does not name exactly one node.
    #[error("the certificate must name one node as NAME.mempool, and names {found:?}")]
    Names {
        /// The DNS names in it.
        found: Vec<String>,
    },
    /// It is for another purpose: a client's alone, or a server's alone.
    #[error("the certificate is for another purpose")]
    Purpose,
    /// It is an authority's, which signs others and is no node.
    #[error("the certificate is an authority's, and an authority is no node")]
    Authority,
    /// The certificate cannot be read, or its signature does not hold.
    #[error("the certificate is damaged or forged")]
    Damaged,
    /// The private key is not the one of the certificate.
    #[error("the private key does not belong to the certificate")]
    Key,
    /// It speaks TLS, and not 1.3.
    #[error("it does not speak TLS 1.3")]
    Version,
    /// It speaks no TLS, or damaged TLS.
    #[error("what it sent is no TLS")]
    NoTls,
    /// It speaks neither `h2` nor `http/1.1`, or does not say so (ALPN).
    #[error("it asks for neither h2 nor http/1.1")]
    Protocol,
    /// The other side refused us, and said why in one word.
    #[error("it refused ours: {0}")]
    Refused(String),
    /// Anything else that TLS does not allow.
    #[error("{0}")]
    Other(String),
}

impl IdentityFault {
    /// What an error of rustls means for an identity.
    pub(crate) fn of(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::NoCertificatesPresented => Self::Missing,
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::InconsistentKeys(_) => Self::Key,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version,
            Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Self::Version,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::NoTls,
            Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                Self::Key
            }
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::Protocol,
            Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::Issuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            CertificateError::BadEncoding => Self::Damaged,
            // Of a chain it was called damaged before it came here; so it is the handshake's.
            CertificateError::BadSignature => Self::Key,
            CertificateError::Other(other) => {
                if let Some(fault) = other.0.downcast_ref::<Self>() {
                    return fault.clone();
                }
                match other.0.downcast_ref::<webpki::Error>() {
                    Some(webpki::Error::CaUsedAsEndEntity) => Self::Authority,
                    // Somebody signed it who may sign nothing, or nothing below himself.
                    Some(
                        webpki::Error::EndEntityUsedAsCa | webpki::Error::PathLenConstraintViolated,
                    ) => Self::Issuer,
                    Some(error) => Self::Other(error.to_string()),
                    None => Self::Other(other.to_string()),
                }
            }
            other => Self::Other(other.to_string()),
        }
    }

    /// As an error of rustls, which the other side is told as an alert.
    pub(crate) fn into_rustls(self) -> rustls::Error {
        let other = rustls::OtherError(std::sync::Arc::new(self));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    }
}

/// What is wrong with the name of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportNameFault {
    /// It has no byte.
    #[error("it is empty")]
    Empty,
    /// It has more than 255 bytes.
    #[error("it has {bytes} bytes, and 255 are the most")]
    Long {
        /// What it has.
        bytes: usize,
    },
    /// It begins with a dot, as `.`, `..` and hidden files do.
    #[error("it begins with a dot")]
    LeadingDot,
    /// It begins or ends with a space, or ends with a dot, which some systems drop.
    #[error("it begins or ends with what some systems drop")]
    Edge,
    /// A character that separates, controls, or is not seen.
    #[error("U+{code:04X} at byte {at} may stand in no name")]
    Character {
        /// The character.
        code: u32,
        /// Where it is.
        at: usize,
    },
    /// A name that means a device on some system.
    #[error("it means a device on some systems")]
    Device,
}

/// Why a value was not saved for a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The owner has no export directory.
    #[error("this node exports nothing")]
    Off,
    /// The name is none.
    #[error("{name:?} cannot name a file: {fault}")]
    Name {
        /// What was given, cut after 255 characters.
        name: String,
        /// Why.
        fault: ExportNameFault,
    },
    /// A file of that name is there, and it was not asked to replace it.
    #[error("{name:?} is there already")]
    Exists {
        /// The name.
        name: String,
    },
    /// What stands under that name is no file, so it is not replaced.
    #[error("{name:?} is there and no plain file")]
    NoFile {
        /// The name.
        name: String,
    },
    /// The directory or the file cannot be used.
    #[error("the export of {name:?} failed")]
    Io {
        /// The name, or the directory.
        name: String,
        /// What the system says.
        source: io::Error,
    },
}

impl ExportError {
    /// Which of the four kinds it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Environment,
            _ => ErrorKind::Misuse,
        }
    }
}
