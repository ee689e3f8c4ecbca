//! The credentials of one node, checked before the first peer sees them, and changed while it runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme,
};

use crate::NodeName;
use crate::security::peer::Protocol;
use crate::security::{IdentityFault, SecurityError, pem, subject};

/// Where a node's credentials are.
///
/// *Shape*: three PEM files. The private key must be readable by its owner alone, who is this process's user or root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities whose certificates are believed; the system's own never are.
    pub roots: PathBuf,
    /// This node's certificate, and behind it those between it and the authority, if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// The files that `mempool certs --dir DIR` makes for `node`.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>, node: &NodeName) -> Self {
        let directory = directory.into();
        Self {
            roots: directory.join("ca.crt"),
            certificate: directory.join(format!("{node}.crt")),
            key: directory.join(format!("{node}.key")),
        }
    }
}

/// The credentials of a node: mutual TLS 1.3, with the node's own authorities alone. A clone is the same credentials.
///
/// No session is resumed and no data come early: each connection shows its certificate, so one that was replaced or has
/// expired is worth nothing from then on. There is no list of revoked certificates: give short times, or new roots.
///
/// ```
/// use mempool_net::NodeName;
/// use mempool_net::security::{Authority, Tls, Validity};
///
/// let authority = Authority::new("my cluster")?;
/// let node = NodeName::new("node-1").expect("a label");
/// let issued = authority.issue(&node, &[], Validity::days(30)?)?;
/// let tls = Tls::from_pem(authority.certificate_pem(), issued.certificate_pem(), issued.key_pem())?;
/// assert_eq!(tls.node(), node);
/// # Ok::<(), mempool_net::security::SecurityError>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: Option<TlsFiles>,
    node: NodeName,
    loaded: RwLock<Arc<Loaded>>,
}

/// What new connections take.
pub(crate) struct Loaded {
    node: NodeName,
    pub(crate) server: Arc<ServerConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Loaded {
    /// For a client that asks for this protocol alone.
    pub(crate) fn client(&self, protocol: Protocol) -> Arc<ClientConfig> {
        match protocol {
            Protocol::Http1 => self.http1.clone(),
            Protocol::Http2 => self.http2.clone(),
        }
    }
}

impl Tls {
    /// Credentials from files, which [`reload`](Self::reload) reads again.
    ///
    /// # Errors
    /// [`SecurityError::KeyMode`] and [`KeyOwner`](SecurityError::KeyOwner) for a private key that others have,
    /// [`File`](SecurityError::File), [`Pem`](SecurityError::Pem), and [`Credentials`](SecurityError::Credentials) for what
    /// no other node would take: expired, of another authority, of two names, with another's key.
    pub fn from_files(files: TlsFiles) -> Result<Self, SecurityError> {
        let loaded = Loaded::from_files(&files)?;
        Ok(Self::of(loaded, Some(files)))
    }

    /// Credentials from PEM texts.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files), without those of files.
    pub fn from_pem(roots: &str, certificate: &str, key: &str) -> Result<Self, SecurityError> {
        Ok(Self::of(Loaded::from_pem(roots, certificate, key)?, None))
    }

    fn of(loaded: Loaded, files: Option<TlsFiles>) -> Self {
        let node = loaded.node.clone();
        Self { shared: Arc::new(Shared { files, node, loaded: RwLock::new(Arc::new(loaded)) }) }
    }

    /// Whose credentials they are: what the certificate says.
    #[must_use]
    pub fn node(&self) -> NodeName {
        self.shared.node.clone()
    }

    /// Reads the files again; connections that are made from now on take what they hold. Those that are open stay as they
    /// are. Credentials from texts stay, too.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files), and [`SecurityError::OtherNode`]; the old credentials then stand.
    pub fn reload(&self) -> Result<(), SecurityError> {
        match &self.shared.files {
            Some(files) => self.swap(Loaded::from_files(files)?),
            None => Ok(()),
        }
    }

    /// Takes other credentials of the same node, as [`reload`](Self::reload) does.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and [`SecurityError::OtherNode`]; the old credentials then stand.
    pub fn replace(&self, roots: &str, certificate: &str, key: &str) -> Result<(), SecurityError> {
        self.swap(Loaded::from_pem(roots, certificate, key)?)
    }

    fn swap(&self, loaded: Loaded) -> Result<(), SecurityError> {
        let own = &self.shared.node;
        if loaded.node != *own {
            return Err(SecurityError::OtherNode { own: own.clone(), found: loaded.node });
        }
        // Whoever panicked with the lock held had changed nothing.
        *self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("Tls").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl Loaded {
    fn from_files(files: &TlsFiles) -> Result<Self, SecurityError> {
        let origin = |path: &PathBuf| path.display().to_string();
        let roots = pem::certificates(&pem::read(&files.roots)?, &origin(&files.roots))?;
        let chain =
            pem::certificates(&pem::read(&files.certificate)?, &origin(&files.certificate))?;
        let key = pem::private_key(&pem::read_private(&files.key)?, &origin(&files.key))?;
        Self::new(roots, chain, key)
    }

    fn from_pem(roots: &str, certificate: &str, key: &str) -> Result<Self, SecurityError> {
        let roots = pem::certificates(roots.as_bytes(), "the text of the roots")?;
        let chain = pem::certificates(certificate.as_bytes(), "the text of the certificate")?;
        let key = pem::private_key(key.as_bytes(), "the text of the key")?;
        Self::new(roots, chain, key)
    }

    fn new(
        roots: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, SecurityError> {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(refused)?;
        }
        let store = Arc::new(store);
        let clients = ClientVerifier::new(store.clone(), provider.clone())?;
        let servers = ServerVerifier::new(store, provider.clone())?;
        let node = check_own(&chain, &clients, &servers)?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(Arc::new(clients))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(refused)?;
        server.alpn_protocols = Protocol::ALL.map(|protocol| protocol.alpn().to_vec()).into();
        // A resumed session would not show its certificate again.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            // It leaves nothing out that rustls's own checks, and says more clearly what is wrong.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_auth_cert(chain, key)
            .map_err(refused)?;
        client.resumption = Resumption::disabled();
        let speaking = |protocol: Protocol| {
            let mut client = client.clone();
            client.alpn_protocols = vec![protocol.alpn().to_vec()];
            Arc::new(client)
        };
        let (http1, http2) = (speaking(Protocol::Http1), speaking(Protocol::Http2));
        Ok(Self { node, server: Arc::new(server), http1, http2 })
    }
}

/// Looks at a node's own certificate as its peers will, so that a wrong one is found at the start, and not by each of them.
fn check_own(
    chain: &[CertificateDer<'static>],
    clients: &ClientVerifier,
    servers: &ServerVerifier,
) -> Result<NodeName, SecurityError> {
    let missing = || refused(rustls::Error::NoCertificatesPresented);
    let (own, between) = chain.split_first().ok_or_else(missing)?;
    let now = UnixTime::now();
    clients.verify_client_cert(own, between, now).map_err(refused)?;
    servers.verify(own, between, now).map_err(refused)
}

/// A signature in a chain that does not hold. Of a handshake rustls says the same, and means the key.
fn of_chain(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            IdentityFault::Damaged.into_rustls()
        }
        other => other,
    }
}

fn refused(source: rustls::Error) -> SecurityError {
    SecurityError::Credentials { fault: IdentityFault::of(&source), source: source.into() }
}

/// Believes a client whose certificate an authority signed, and which names one node: so the other side is told by an alert
/// what is wrong, and no stream with another kind of name is ever handed out.
#[derive(Debug)]
struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, SecurityError> {
        let chains = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| refused(rustls::Error::General(error.to_string())))?;
        Ok(Self { chains })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if mutant!("client_unverified") {
            return Ok(ClientCertVerified::assertion());
        }
        let verified =
            self.chains.verify_client_cert(certificate, between, now).map_err(of_chain)?;
        subject::node_of(certificate).map_err(IdentityFault::into_rustls)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Believes a server whose certificate an authority signed, and which names one node: the one that is asked for, or whichever
/// it is where an address is asked for.
#[derive(Debug)]
struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
}

impl ServerVerifier {
    fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, SecurityError> {
        let chains = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| refused(rustls::Error::General(error.to_string())))?;
        Ok(Self { chains })
    }

    /// The node that the certificate names, if it may be a server: its time, chain and purpose are checked.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<NodeName, rustls::Error> {
        let node = subject::node_of(certificate).map_err(IdentityFault::into_rustls)?;
        let name = subject::server_name(&node).map_err(IdentityFault::into_rustls)?;
        self.chains.verify_server_cert(certificate, between, &name, &[], now).map_err(of_chain)?;
        Ok(node)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let node = self.verify(certificate, between, now)?;
        let found = subject::dns_name(&node);
        match asked {
            ServerName::DnsName(name) if name.as_ref() != found && !mutant!("name_unpinned") => {
                let expected = name.as_ref().to_owned();
                Err(IdentityFault::OtherName { expected, found: vec![found] }.into_rustls())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
