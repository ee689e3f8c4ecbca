//! What the tests of identities share: a service that answers one byte with one byte, and certificates of all kinds.

#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mempool_net::NodeName;
use mempool_net::security::{
    Acceptor, Arrival, Authority, Connector, Deadlines, Guard, Listener, Operation, Policy,
    Protocol, Rights, SecurityError, Stream, Tls, Validity,
};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Long enough for a machine that does much else; nothing waits for it unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async { tokio::time::timeout(PATIENCE * 4, test).await.unwrap() });
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// An authority with its key, so that certificates can be made which ours would not make.
pub(crate) struct Lab {
    pub(crate) authority: Authority,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

/// A certificate to be: good unless something is changed.
pub(crate) struct Wanted {
    pub(crate) names: Vec<&'static str>,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) is_ca: IsCa,
}

impl Default for Wanted {
    fn default() -> Self {
        let Validity { from, until } = Validity::days(1).unwrap();
        let purposes =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { names: vec!["node-2.mempool"], from, until, purposes, is_ca: IsCa::ExplicitNoCa }
    }
}

impl Wanted {
    pub(crate) fn named(names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), ..Self::default() }
    }

    pub(crate) fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a node");
        let names =
            self.names.iter().map(|name| SanType::DnsName(Ia5String::try_from(*name).unwrap()));
        params.subject_alt_names = names.collect();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.not_before = self.from.into();
        params.not_after = self.until.into();
        params.extended_key_usages = self.purposes;
        params.is_ca = self.is_ca;
        params
    }
}

/// A chain and a key, in PEM.
#[derive(Clone)]
pub(crate) struct Paper {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("the lab").unwrap();
        let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "the lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self { authority, issuer: Issuer::new(params, key) }
    }

    /// What `node` needs to be one of us.
    pub(crate) fn tls(&self, name: &str) -> Tls {
        let issued = self.authority.issue(&node(name), &[], Validity::days(1).unwrap()).unwrap();
        let root = self.authority.certificate_pem();
        Tls::from_pem(root, issued.certificate_pem(), issued.key_pem()).unwrap()
    }

    pub(crate) fn paper(&self, wanted: Wanted) -> Paper {
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.params().signed_by(&key, &self.issuer).unwrap();
        Paper { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A service behind a listener: a byte is the number of an operation, the answer `+` or `-`.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) guard: Guard,
    pub(crate) refusals: mpsc::UnboundedReceiver<SecurityError>,
    pub(crate) served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `node-2` may see values, `node-good` may do everything; nobody else may do anything.
pub(crate) fn policy(handshake: Duration) -> Policy {
    let mut policy = Policy::default();
    policy.rights =
        policy.rights.node(node("node-2"), Rights::READ).node(node("node-good"), Rights::ALL);
    policy.deadlines.handshake = handshake;
    policy
}

impl Service {
    pub(crate) async fn start(tls: Option<Tls>, policy: Policy) -> Self {
        let guard = Guard::new(policy);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let acceptor = Acceptor::new(tls, guard.clone());
        let mut listener = Listener::bind_tcp(address, acceptor).await.unwrap();
        let address = listener.local_address().unwrap();
        let (refused, refusals) = mpsc::unbounded_channel();
        let served = Arc::new(AtomicU64::new(0));
        let (counter, policy) = (served.clone(), guard.clone());
        let task = tokio::spawn(async move {
            loop {
                match listener.next().await {
                    Arrival::Peer(stream) => {
                        tokio::spawn(serve(stream, policy.clone(), counter.clone()));
                    }
                    Arrival::Refused(error) => drop(refused.send(error)),
                }
            }
        });
        Self { address, guard, refusals, served, task }
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// The next refusal; there must be one.
    pub(crate) async fn refusal(&mut self) -> SecurityError {
        tokio::time::timeout(PATIENCE, self.refusals.recv()).await.unwrap().unwrap()
    }
}

async fn serve(mut stream: Stream, guard: Guard, served: Arc<AtomicU64>) {
    while let Ok(number) = stream.read_u8().await {
        let _request = guard.request(stream.peer());
        let operation = Operation::ALL.get(usize::from(number)).copied();
        let answer = match operation.map(|it| guard.authorize(stream.peer(), it)) {
            Some(Ok(())) => {
                served.fetch_add(1, Ordering::SeqCst);
                b'+'
            }
            _ => b'-',
        };
        if stream.write_all(&[answer]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Asks for one operation, and says whether it was done; `None` where there is no answer.
pub(crate) async fn ask<S>(stream: &mut S, operation: Operation) -> Option<bool>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let number = Operation::ALL.iter().position(|&it| it == operation)?;
    stream.write_all(&[u8::try_from(number).ok()?]).await.ok()?;
    stream.flush().await.ok()?;
    match stream.read_u8().await.ok()? {
        b'+' => Some(true),
        b'-' => Some(false),
        // An alert of TLS, to one who does not speak it.
        _ => None,
    }
}

/// A stream to that node, for calls.
pub(crate) async fn connect(
    connector: &Connector,
    address: SocketAddr,
    name: &str,
) -> Result<Stream, SecurityError> {
    connector.connect_tcp(address, &node(name), Protocol::Http2).await
}

/// A peer of good standing asks for everything, and gets it.
pub(crate) async fn good_peer_is_served(service: &Service, tls: &Tls) {
    let connector = Connector::new(Some(tls.clone()), Deadlines::default());
    let mut stream = connect(&connector, service.address, "node-1").await.unwrap();
    for operation in Operation::ALL {
        assert_eq!(ask(&mut stream, operation).await, Some(true), "{operation:?}");
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}
