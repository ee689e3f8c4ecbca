//! Who is no peer: each kind of bad identity, at both ends, is refused by name and within its deadline, asks for everything and
//! gets nothing, and keeps no good peer waiting.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod security;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mempool_net::security::{
    Connector, Deadlines, IdentityFault, Operation, Phase, Protocol, SecurityError, Tls, Transport,
};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use security::{
    Lab, PATIENCE, Paper, Service, Wanted, ask, connect, good_peer_is_served, node, policy, run,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A client that believes whatever it is shown, so that nothing but our side refuses.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Shows a chain with whichever key, whether they belong together or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn shows(paper: &Paper) -> Arc<Shows> {
    let chain = CertificateDer::pem_slice_iter(paper.chain.as_bytes()).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_slice(paper.key.as_bytes()).unwrap();
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    Arc::new(Shows(Arc::new(CertifiedKey::new(chain.collect(), key))))
}

const H2: &[&[u8]] = &[b"h2"];
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;

/// A client of whatever kind.
fn client(
    paper: Option<&Paper>,
    version: &'static SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> Attack {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match paper {
        Some(paper) => builder.with_client_cert_resolver(shows(paper)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Attack::Tls(Arc::new(config))
}

/// What a bad peer does once it is connected.
#[derive(Clone)]
enum Attack {
    /// Speaks TLS, and then asks.
    Tls(Arc<ClientConfig>),
    /// Sends that, closes its end, and reads.
    Sends(Vec<u8>),
    /// Sends that, and stays.
    Stays(Vec<u8>),
}

impl Attack {
    /// Whether the operation was answered, with yes or no: neither may be.
    async fn ask(self, service: std::net::SocketAddr, operation: Operation) -> bool {
        let mut socket = TcpStream::connect(service).await.unwrap();
        match self {
            Self::Tls(config) => {
                let name = ServerName::try_from("node-1.mempool").unwrap();
                match TlsConnector::from(config).connect(name, socket).await {
                    Ok(mut stream) => ask(&mut stream, operation).await.is_some(),
                    Err(_) => false,
                }
            }
            Self::Sends(bytes) => {
                // The other side may close while we still send; that is its right.
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
                got_an_answer(socket).await
            }
            Self::Stays(bytes) => {
                let _ = socket.write_all(&bytes).await;
                got_an_answer(socket).await
            }
        }
    }
}

/// Reads to the end. TLS may have said something, an alert or its half of a handshake; the service has not.
async fn got_an_answer(mut socket: TcpStream) -> bool {
    let mut read = Vec::new();
    let _ = socket.read_to_end(&mut read).await;
    // Records of TLS begin with 20 to 23; ours are `+` and `-`.
    matches!(read.first(), Some(b'+' | b'-'))
}

/// What a good client sends, as it went over the wire: its hello and everything behind it.
async fn recorded(service: &Service, tls: &Tls) -> (Vec<u8>, usize) {
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let target = service.address;
    let recording = tokio::spawn(async move {
        let (near, _) = relay.accept().await.unwrap();
        let far = TcpStream::connect(target).await.unwrap();
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
            (near.into_split(), far.into_split());
        let back = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut far_in, &mut near_out).await;
        });
        let (mut record, mut hello_bytes, mut chunk) = (Vec::new(), 0, [0; 4096]);
        loop {
            let read = near_in.read(&mut chunk).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            record.extend_from_slice(&chunk[..read]);
            hello_bytes = if hello_bytes == 0 { read } else { hello_bytes };
            far_out.write_all(&chunk[..read]).await.unwrap();
        }
        drop(far_out);
        back.await.unwrap();
        (record, hello_bytes)
    });
    let connector = Connector::new(Some(tls.clone()), Deadlines::default());
    let mut stream = connect(&connector, address, "node-1").await.unwrap();
    assert_eq!(ask(&mut stream, Operation::Delete).await, Some(true));
    drop(stream);
    recording.await.unwrap()
}

struct Bad {
    name: &'static str,
    attack: Attack,
    expected: fn(&SecurityError) -> bool,
}

fn fault(error: &SecurityError) -> Option<&IdentityFault> {
    match error {
        SecurityError::Identity { fault, .. } => Some(fault),
        _ => None,
    }
}

/// Every identity that is none, with what it must be called.
fn bad_identities(lab: &Lab, record: &[u8], hello_bytes: usize) -> Vec<Bad> {
    let now = SystemTime::now();
    let paper = |wanted: Wanted| lab.paper(wanted);
    let other = Lab::new();
    let own_key = KeyPair::generate().unwrap();
    let signed_itself = Paper {
        chain: Wanted::default().params().self_signed(&own_key).unwrap().pem(),
        key: own_key.serialize_pem(),
    };
    let good = paper(Wanted::default());
    let other_key = Paper { key: paper(Wanted::default()).key, ..good.clone() };
    let authority =
        Paper { chain: lab.authority.certificate_pem().to_owned(), key: lab.authority.key_pem() };
    let clients = |paper: &Paper| client(Some(paper), TLS13, H2);
    let expired = Wanted { from: now - 48 * HOUR, until: now - HOUR, ..Wanted::default() };
    let early = Wanted { from: now + HOUR, until: now + 48 * HOUR, ..Wanted::default() };
    let server_only =
        Wanted { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Wanted::default() };
    let signing =
        Wanted { purposes: vec![ExtendedKeyUsagePurpose::CodeSigning], ..Wanted::default() };
    let may_sign = IsCa::Ca(BasicConstraints::Constrained(0));
    let named_authority = Wanted { is_ca: may_sign, ..Wanted::default() };
    let names = |names: &[&'static str]| clients(&paper(Wanted::named(names)));
    vec![
        Bad {
            name: "no certificate",
            attack: client(None, TLS13, H2),
            expected: |error| matches!(fault(error), Some(IdentityFault::Missing)),
        },
        Bad {
            name: "signed by itself",
            attack: clients(&signed_itself),
            expected: |error| matches!(fault(error), Some(IdentityFault::Issuer)),
        },
        Bad {
            // The same name of the authority, and another key.
            name: "another authority of the same name",
            attack: clients(&other.paper(Wanted::default())),
            expected: |error| matches!(fault(error), Some(IdentityFault::Damaged)),
        },
        Bad {
            name: "signed by another node",
            attack: clients(&signed_by_a_node(lab)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Issuer)),
        },
        Bad {
            name: "expired",
            attack: clients(&paper(expired)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Expired)),
        },
        Bad {
            name: "not yet valid",
            attack: clients(&paper(early)),
            expected: |error| matches!(fault(error), Some(IdentityFault::NotYetValid)),
        },
        Bad {
            name: "two names",
            attack: names(&["node-2.mempool", "node-good.mempool"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { found }) if found.len() == 2),
        },
        Bad {
            name: "no name of a node",
            attack: names(&["node-2.example"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { found }) if found == &["node-2.example"]),
        },
        Bad {
            name: "a name below a node's",
            attack: names(&["x.node-2.mempool"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { found }) if found.len() == 1),
        },
        Bad {
            name: "a name in capitals",
            attack: names(&["Node-Good.mempool"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { .. })),
        },
        Bad {
            name: "a wildcard",
            attack: names(&["*.mempool"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { .. })),
        },
        Bad {
            name: "an address for a name",
            attack: names(&[]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Names { found }) if found.is_empty()),
        },
        Bad {
            name: "the authority itself",
            attack: clients(&authority),
            expected: |error| matches!(fault(error), Some(IdentityFault::Authority)),
        },
        Bad {
            name: "a node that may sign",
            attack: clients(&paper(named_authority)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Authority)),
        },
        Bad {
            name: "for servers alone",
            attack: clients(&paper(server_only)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Purpose)),
        },
        Bad {
            name: "for signing code",
            attack: clients(&paper(signing)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Purpose)),
        },
        Bad {
            name: "another certificate's key",
            attack: clients(&other_key),
            expected: |error| matches!(fault(error), Some(IdentityFault::Key)),
        },
        Bad {
            name: "a certificate with one bit bent",
            attack: clients(&bent(&good)),
            expected: |error| matches!(fault(error), Some(IdentityFault::Damaged)),
        },
        Bad {
            name: "TLS 1.2 with a good certificate",
            attack: client(Some(&good), TLS12, H2),
            expected: |error| matches!(fault(error), Some(IdentityFault::Version)),
        },
        Bad {
            name: "another protocol (ALPN)",
            attack: client(Some(&good), TLS13, &[b"imap"]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Protocol)),
        },
        Bad {
            name: "no protocol (ALPN)",
            attack: client(Some(&good), TLS13, &[]),
            expected: |error| matches!(fault(error), Some(IdentityFault::Protocol)),
        },
        Bad {
            name: "plain HTTP/1.1",
            attack: Attack::Sends(
                b"GET /v1/values/0/0.0 HTTP/1.1\r\nhost: node-1\r\n\r\n".to_vec(),
            ),
            expected: |error| matches!(fault(error), Some(IdentityFault::NoTls)),
        },
        Bad {
            name: "plain HTTP/2",
            attack: Attack::Sends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
            expected: |error| matches!(fault(error), Some(IdentityFault::NoTls)),
        },
        Bad {
            name: "plain bytes of the service",
            attack: Attack::Sends((0..13).cycle().take(4096).collect()),
            expected: |error| matches!(fault(error), Some(IdentityFault::NoTls)),
        },
        Bad {
            name: "half a hello, then closed",
            attack: Attack::Sends(record[..hello_bytes / 2].to_vec()),
            expected: |error| {
                matches!(error, SecurityError::Connection { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "a hello, then closed",
            attack: Attack::Sends(record[..hello_bytes].to_vec()),
            expected: |error| {
                matches!(error, SecurityError::Connection { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "nothing, then closed",
            attack: Attack::Sends(Vec::new()),
            expected: |error| {
                matches!(error, SecurityError::Connection { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "half a hello, then silence",
            attack: Attack::Stays(record[..hello_bytes / 2].to_vec()),
            expected: |error| {
                matches!(error, SecurityError::Deadline { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "a hello, then silence",
            attack: Attack::Stays(record[..hello_bytes].to_vec()),
            expected: |error| {
                matches!(error, SecurityError::Deadline { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "silence",
            attack: Attack::Stays(Vec::new()),
            expected: |error| {
                matches!(error, SecurityError::Deadline { phase: Phase::Handshake, .. })
            },
        },
        Bad {
            name: "a recorded handshake, replayed",
            attack: Attack::Sends(record.to_vec()),
            expected: |error| matches!(fault(error), Some(IdentityFault::NoTls)),
        },
    ]
}

/// A good node signs a certificate for another, as if it were an authority.
fn signed_by_a_node(lab: &Lab) -> Paper {
    let middle = lab.paper(Wanted::named(&["node-3.mempool"]));
    let issuer = Issuer::new(Wanted::default().params(), KeyPair::from_pem(&middle.key).unwrap());
    let key = KeyPair::generate().unwrap();
    let forged = Wanted::named(&["node-good.mempool"]).params().signed_by(&key, &issuer).unwrap();
    Paper { chain: forged.pem() + &middle.chain, key: key.serialize_pem() }
}

/// The same certificate with its last bit changed, which is one of its signature.
fn bent(paper: &Paper) -> Paper {
    let der = CertificateDer::from_pem_slice(paper.chain.as_bytes()).unwrap();
    let mut bytes = der.as_ref().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    Paper { chain: pem_of(&bytes), key: paper.key.clone() }
}

/// PEM of one certificate.
fn pem_of(der: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for three in der.chunks(3) {
        let mut word = [0; 3];
        word[..three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..4 {
            let six = usize::try_from(word >> (18 - 6 * place) & 63).unwrap();
            let shown = place <= three.len();
            text.push(if shown { char::from(LETTERS[six]) } else { '=' });
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}

#[test]
fn no_bad_identity_gets_anything_and_each_is_named() {
    run(async {
        let lab = Lab::new();
        let mut service =
            Service::start(Some(lab.tls("node-1")), policy(Duration::from_secs(2))).await;
        let good = lab.tls("node-good");
        let (record, hello_bytes) = recorded(&service, &good).await;
        assert!(hello_bytes > 100 && record.len() > hello_bytes, "{hello_bytes}");
        let identities = bad_identities(&lab, &record, hello_bytes);
        assert!(identities.len() >= 16);
        let (mut refused, mut faults) = (0, Vec::new());
        for Bad { name, attack, expected } in identities {
            let served = service.served();
            let attempts = Operation::ALL
                .map(|operation| tokio::spawn(attack.clone().ask(service.address, operation)));
            for attempt in attempts {
                let answered = tokio::time::timeout(PATIENCE, attempt).await.unwrap().unwrap();
                assert!(!answered, "{name}: there was an answer");
            }
            for at in 0..Operation::ALL.len() {
                let error = service.refusal().await;
                assert!(expected(&error), "{name}: {error:?}");
                if at == 0 {
                    println!("{name:<36} {error}");
                    faults.extend(fault(&error).cloned());
                }
                refused += 1;
            }
            assert_eq!(service.served(), served, "{name}: something was done");
            good_peer_is_served(&service, &good).await;
        }
        assert!(service.refusals.try_recv().is_err(), "the good peer was refused");
        assert_eq!(faults.first(), Some(&IdentityFault::Missing), "the first had no certificate");
        println!("proof: cases={refused}");
    });
}

#[test]
fn a_node_that_is_named_does_what_it_may() {
    run(async {
        let lab = Lab::new();
        let service = Service::start(Some(lab.tls("node-1")), policy(PATIENCE)).await;
        for (name, may) in [("node-2", 6), ("node-3", 0), ("node-good", 13)] {
            let connector = Connector::new(Some(lab.tls(name)), Deadlines::default());
            for protocol in Protocol::ALL {
                let meant = node("node-1");
                let connecting = connector.connect_tcp(service.address, &meant, protocol);
                let mut stream = connecting.await.unwrap();
                assert_eq!(stream.protocol(), Some(protocol));
                assert_eq!(stream.peer().name, Some(node("node-1")));
                let mut done = 0;
                for operation in Operation::ALL {
                    done += u32::from(ask(&mut stream, operation).await.unwrap());
                }
                assert_eq!(done, may, "{name}");
            }
        }
        let nobody = mempool_net::security::Peer {
            name: Some(node("node-3")),
            transport: Transport::Tls,
            address: None,
        };
        let denied = service.guard.authorize(&nobody, Operation::Set).unwrap_err();
        assert!(
            matches!(denied, SecurityError::Denied { operation: Operation::Set, .. }),
            "{denied}"
        );
        let claim = nobody.check_claim(&node("node-good")).unwrap_err();
        assert!(matches!(claim, SecurityError::Impersonation { .. }), "{claim}");
    });
}

/// A server of whatever kind.
async fn rogue(
    paper: &Paper,
    version: &'static SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> std::net::SocketAddr {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
    let mut config = builder.with_cert_resolver(shows(paper));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    let _ = stream.read_u8().await;
                }
            });
        }
    });
    address
}

/// A server that sends that, whatever it is told.
async fn plain(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.write_all(bytes).await;
                while let Ok(1..) = socket.read(&mut [0; 4096]).await {}
            });
        }
    });
    address
}

#[test]
fn a_client_speaks_with_the_node_that_it_meant_alone() {
    run(async {
        let lab = Lab::new();
        let now = SystemTime::now();
        let paper = |wanted: Wanted| lab.paper(wanted);
        let good = paper(Wanted::default());
        let clients_only =
            Wanted { purposes: vec![ExtendedKeyUsagePurpose::ClientAuth], ..Wanted::default() };
        let expired = Wanted { from: now - 48 * HOUR, until: now - HOUR, ..Wanted::default() };
        let may_sign = IsCa::Ca(BasicConstraints::Constrained(0));
        let named_authority = Wanted { is_ca: may_sign, ..Wanted::default() };
        let other_key = Paper { key: paper(Wanted::default()).key, ..good.clone() };
        type Expected = fn(&SecurityError) -> bool;
        let servers: Vec<(&str, std::net::SocketAddr, Expected)> = vec![
            (
                "another node",
                rogue(&paper(Wanted::named(&["node-3.mempool"])), TLS13, H2).await,
                |error| matches!(fault(error), Some(IdentityFault::OtherName { found, .. }) if found.len() == 1),
            ),
            (
                "two names",
                rogue(&paper(Wanted::named(&["node-2.mempool", "node-3.mempool"])), TLS13, H2)
                    .await,
                |error| matches!(fault(error), Some(IdentityFault::Names { .. })),
            ),
            (
                "a wildcard",
                rogue(&paper(Wanted::named(&["*.mempool"])), TLS13, H2).await,
                |error| matches!(fault(error), Some(IdentityFault::Names { .. })),
            ),
            (
                "a wildcard and another's name",
                rogue(&paper(Wanted::named(&["*.mempool", "node-3.mempool"])), TLS13, H2).await,
                |error| matches!(fault(error), Some(IdentityFault::OtherName { .. })),
            ),
            (
                "another authority",
                rogue(&Lab::new().paper(Wanted::default()), TLS13, H2).await,
                |error| matches!(fault(error), Some(IdentityFault::Damaged)),
            ),
            ("expired", rogue(&paper(expired), TLS13, H2).await, |error| {
                matches!(fault(error), Some(IdentityFault::Expired))
            }),
            ("for clients alone", rogue(&paper(clients_only), TLS13, H2).await, |error| {
                matches!(fault(error), Some(IdentityFault::Purpose))
            }),
            ("a node that may sign", rogue(&paper(named_authority), TLS13, H2).await, |error| {
                matches!(fault(error), Some(IdentityFault::Authority))
            }),
            ("another certificate's key", rogue(&other_key, TLS13, H2).await, |error| {
                matches!(fault(error), Some(IdentityFault::Key))
            }),
            ("TLS 1.2", rogue(&good, TLS12, H2).await, |error| {
                matches!(fault(error), Some(IdentityFault::Version | IdentityFault::Refused(_)))
            }),
            ("another protocol (ALPN)", rogue(&good, TLS13, &[b"imap"]).await, |error| {
                matches!(fault(error), Some(IdentityFault::Protocol))
            }),
            ("no protocol (ALPN)", rogue(&good, TLS13, &[]).await, |error| {
                matches!(fault(error), Some(IdentityFault::Protocol))
            }),
            ("plain HTTP", plain(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, |error| {
                matches!(fault(error), Some(IdentityFault::NoTls))
            }),
            ("silence", plain(b"").await, |error| {
                matches!(error, SecurityError::Deadline { phase: Phase::Handshake, .. })
            }),
        ];
        let mut deadlines = Deadlines::default();
        deadlines.handshake = Duration::from_secs(2);
        let connector = Connector::new(Some(lab.tls("node-1")), deadlines);
        for (name, address, expected) in &servers {
            let error = connect(&connector, *address, "node-2").await.expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
            println!("{name:<36} {error}");
        }
        let address = rogue(&good, TLS13, H2).await;
        let stream = connect(&connector, address, "node-2").await.unwrap();
        assert_eq!(stream.peer().name, Some(node("node-2")));
        // A seed may be any node, and no other thing.
        let stream = connector.connect_seed(address, Protocol::Http2).await.unwrap();
        assert_eq!(stream.peer().name, Some(node("node-2")));
        for (name, address, expected) in &servers {
            match connector.connect_seed(*address, Protocol::Http2).await {
                Err(error) => assert!(expected(&error), "{name}: {error:?}"),
                Ok(stream) => {
                    assert!(name.contains("another node") || name.contains("another's"), "{name}");
                    assert_eq!(stream.peer().name, Some(node("node-3")));
                }
            }
        }
        println!("proof: cases={}", servers.len() * 2);
    });
}
