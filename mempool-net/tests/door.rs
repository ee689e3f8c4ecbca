//! The door of a node: where it may stand, who is let in, and how those who are silent, slow or many are dealt with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod security;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mempool_core::ErrorKind;
use mempool_net::security::{
    Acceptor, Arrival, Bounded, Connector, Deadlines, Guard, Listener, Operation, Phase, Policy,
    Protocol, SecurityError, Transport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use security::{
    Dice, Lab, PATIENCE, Service, ask, connect, good_peer_is_served, node, policy, run,
};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[test]
fn plain_text_is_for_this_host_alone() {
    run(async {
        let plain = Acceptor::new(None, Guard::new(Policy::default()));
        let connector = Connector::new(None, Deadlines::default());
        let lab = Lab::new();
        let secret = Acceptor::new(Some(lab.tls("node-1")), Guard::new(Policy::default()));
        for address in
            ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070", "[2001:db8::1]:7070", "[::ffff:192.0.2.1]:1"]
        {
            let address: SocketAddr = address.parse().unwrap();
            let errors = [
                Listener::bind_tcp(address, plain.clone()).await.unwrap_err(),
                connector.connect_tcp(address, &node("a"), Protocol::Http1).await.unwrap_err(),
                connector.connect_seed(address, Protocol::Http2).await.unwrap_err(),
            ];
            for error in errors {
                assert!(
                    matches!(error, SecurityError::PlainText { address: named } if named == address),
                    "{error}"
                );
                assert_eq!(error.kind(), ErrorKind::Misuse);
            }
            secret.check_address(address).unwrap();
        }
        for address in ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            plain.check_address(address.parse().unwrap()).unwrap();
            connector.check_address(address.parse().unwrap()).unwrap();
        }
        // What the system refuses is told with its address.
        let taken = TcpListener::bind(LOCAL).await.unwrap();
        let error = Listener::bind_tcp(taken.local_addr().unwrap(), plain).await.unwrap_err();
        assert!(
            matches!(error, SecurityError::Connection { phase: Phase::Connect, .. }),
            "{error}"
        );
        let gone = taken.local_addr().unwrap();
        drop(taken);
        let error = connector.connect_tcp(gone, &node("a"), Protocol::Http1).await.unwrap_err();
        assert!(
            matches!(error, SecurityError::Connection { phase: Phase::Connect, .. }),
            "{error}"
        );
    });
}

#[test]
fn on_loopback_without_tls_nobody_has_a_name() {
    run(async {
        let service = Service::start(None, policy(PATIENCE)).await;
        let connector = Connector::new(None, Deadlines::default());
        let mut stream = connect(&connector, service.address, "node-1").await.unwrap();
        assert_eq!(
            (stream.peer().name.clone(), stream.peer().transport),
            (None, Transport::Loopback)
        );
        assert_eq!(stream.protocol(), None);
        for operation in Operation::ALL {
            assert_eq!(ask(&mut stream, operation).await, Some(true));
        }
        stream.peer().check_claim(&node("whoever")).unwrap();
        // Plain text is no way around TLS, on loopback neither.
        let mut service = Service::start(Some(Lab::new().tls("node-1")), policy(PATIENCE)).await;
        let mut stream = connect(&connector, service.address, "node-1").await.unwrap();
        assert_eq!(ask(&mut stream, Operation::Get).await, None);
        drop(stream);
        assert!(matches!(
            service.refusal().await,
            SecurityError::Connection { .. } | SecurityError::Identity { .. }
        ));
        assert_eq!(service.served(), 0);
    });
}

#[test]
fn a_unix_socket_says_whose_process_it_is() {
    run(async {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("door-{}", std::process::id()));
        let acceptor = Acceptor::new(None, Guard::new(Policy::default()));
        let mut listener = Listener::bind_unix(&path, acceptor.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listener.to_string(), path.display().to_string());
        let error = Listener::bind_unix(&path, acceptor).unwrap_err();
        assert!(matches!(error, SecurityError::Connection { .. }), "somebody is there: {error}");
        let connector = Connector::new(None, Deadlines::default());
        let mut near = connector.connect_unix(&path).await.unwrap();
        near.write_all(b"x").await.unwrap();
        let Arrival::Peer(mut far) = listener.next().await else { panic!("refused") };
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        let own = Transport::Unix {
            uid: rustix::process::geteuid().as_raw(),
            pid: i32::try_from(std::process::id()).ok(),
        };
        for stream in [&near, &far] {
            assert_eq!((stream.peer().transport, stream.peer().name.clone()), (own, None));
            assert!(stream.as_unix().is_some());
        }
        assert_eq!(listener.local_address(), None);
        drop(listener);
        assert!(!path.exists(), "the socket goes with its listener");
        let error = connector.connect_unix(&path).await.unwrap_err();
        assert!(
            matches!(error, SecurityError::Connection { phase: Phase::Connect, .. }),
            "{error}"
        );
    });
}

/// Sockets that say nothing.
async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(TcpStream::connect(address).await.unwrap());
    }
    sockets
}

/// Waits until the other side has closed each of them.
async fn all_are_closed(sockets: Vec<TcpStream>) {
    for mut socket in sockets {
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "the service spoke to a silent socket: {read:?}");
    }
}

#[test]
fn silent_sockets_keep_nobody_out_and_are_closed() {
    const SILENT: usize = 200;
    const REQUESTS: usize = 40;
    run(async {
        let lab = Lab::new();
        for tls in [Some(lab.tls("node-1")), None] {
            let client = tls.as_ref().map(|_| lab.tls("node-good"));
            let mut service = Service::start(tls, policy(Duration::from_secs(4))).await;
            let sockets = silent(service.address, SILENT).await;
            let connector = Connector::new(client, Deadlines::default());
            let mut open = connect(&connector, service.address, "node-1").await.unwrap();
            for _ in 0..REQUESTS {
                assert_eq!(ask(&mut open, Operation::Get).await, Some(true));
                let mut new = connect(&connector, service.address, "node-1").await.unwrap();
                assert_eq!(ask(&mut new, Operation::Get).await, Some(true));
            }
            all_are_closed(sockets).await;
            for _ in 0..SILENT {
                let error = service.refusal().await;
                assert!(
                    matches!(error, SecurityError::Deadline { phase: Phase::Handshake, .. }),
                    "{error}"
                );
                assert_eq!(error.kind(), ErrorKind::Limit);
            }
            assert_eq!(ask(&mut open, Operation::Get).await, Some(true));
        }
    });
}

#[test]
fn when_there_is_no_room_the_oldest_of_the_many_go() {
    const SILENT: usize = 100;
    const ROOM: usize = 8;
    run(async {
        let lab = Lab::new();
        let mut policy = policy(PATIENCE);
        policy.bounds.handshakes_max = ROOM;
        let mut service = Service::start(Some(lab.tls("node-1")), policy).await;
        let good = lab.tls("node-good");
        let mut sockets = Vec::new();
        // Their deadline is far: it is for room alone that they go.
        for _ in 0..SILENT {
            sockets.extend(silent(service.address, 1).await);
            if sockets.len().is_multiple_of(25) {
                good_peer_is_served(&service, &good).await;
            }
        }
        for _ in 0..SILENT - ROOM {
            let error = service.refusal().await;
            assert!(matches!(error, SecurityError::Crowded { limit: ROOM, .. }), "{error}");
        }
        // Those that are left are the newest.
        let newest = sockets.split_off(SILENT - ROOM + 4);
        all_are_closed(sockets.drain(..SILENT - 2 * ROOM).collect()).await;
        good_peer_is_served(&service, &good).await;
        drop(newest);
    });
}

#[test]
fn a_peer_has_as_many_connections_as_it_may() {
    run(async {
        let lab = Lab::new();
        let mut policy = policy(PATIENCE);
        policy.bounds.peer_connections_max = 2;
        policy.bounds.connections_max = 3;
        let mut service = Service::start(Some(lab.tls("node-1")), policy).await;
        let one = Connector::new(Some(lab.tls("node-good")), Deadlines::default());
        let other = Connector::new(Some(lab.tls("node-2")), Deadlines::default());
        let mut held = Vec::new();
        for connector in [&one, &one, &other] {
            let mut stream = connect(connector, service.address, "node-1").await.unwrap();
            assert_eq!(ask(&mut stream, Operation::Get).await, Some(true));
            held.push(stream);
        }
        for (connector, expected) in
            [(&one, Bounded::PeerConnections), (&other, Bounded::Connections)]
        {
            let mut stream = connect(connector, service.address, "node-1").await.unwrap();
            assert_eq!(ask(&mut stream, Operation::Get).await, None);
            match service.refusal().await {
                SecurityError::Bound { bounded, .. } => assert_eq!(bounded, expected),
                other => panic!("{other}"),
            }
        }
        assert_eq!(service.guard.connections(), 3);
        held.truncate(1);
        // The service sees the end of a stream some time after we have ended it.
        let ended = async {
            while service.guard.connections() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
        let mut stream = connect(&one, service.address, "node-1").await.unwrap();
        assert_eq!(ask(&mut stream, Operation::Get).await, Some(true));
    });
}

#[test]
fn a_stream_that_stands_still_ends() {
    run(async {
        let lab = Lab::new();
        for (tls, client) in [(Some(lab.tls("node-1")), Some(lab.tls("node-good"))), (None, None)] {
            let mut policy = policy(PATIENCE);
            policy.deadlines.idle = Duration::from_millis(200);
            policy.deadlines.body_progress = Duration::from_millis(200);
            let acceptor = Acceptor::new(tls, Guard::new(policy));
            let mut listener = Listener::bind_tcp(LOCAL, acceptor).await.unwrap();
            let address = listener.local_address().unwrap();
            let connector = Connector::new(client, Deadlines::default());
            let mut peers = Vec::new();
            let mut streams = Vec::new();
            for _ in 0..2 {
                let connecting = async {
                    let mut stream = connect(&connector, address, "node-1").await.unwrap();
                    stream.write_all(b"x").await.unwrap();
                    stream.flush().await.unwrap();
                    stream
                };
                let (stream, arrival) = tokio::join!(connecting, listener.next());
                let Arrival::Peer(mut peer) = arrival else { panic!("{arrival:?}") };
                assert_eq!(peer.read_u8().await.unwrap(), b'x');
                peers.push(peer);
                streams.push(stream);
            }
            let phase = |error: std::io::Error| {
                assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
                match error.get_ref().unwrap().downcast_ref::<SecurityError>().unwrap() {
                    SecurityError::Deadline { phase, .. } => *phase,
                    other => panic!("{other}"),
                }
            };
            // It says nothing more.
            assert_eq!(phase(peers[0].read_u8().await.unwrap_err()), Phase::Idle);
            // It takes nothing of what it is sent, until the buffers of the system are full.
            let error = loop {
                if let Err(error) = peers[1].write_all(&[7; 1 << 16]).await {
                    break error;
                }
            };
            assert_eq!(phase(error), Phase::Body);
        }
    });
}

/// The first bytes of a good client.
async fn a_hello(lab: &Lab) -> Vec<u8> {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = Connector::new(Some(lab.tls("node-good")), Deadlines::default());
    let client = tokio::spawn(async move { connect(&connector, address, "node-1").await.is_err() });
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 4096];
    let read = socket.read(&mut hello).await.unwrap();
    hello.truncate(read);
    drop(socket);
    assert!(client.await.unwrap());
    hello
}

/// A hello that is bent: bytes changed, cut out, put in, doubled, or nothing but chance.
fn bent(hello: &[u8], dice: &mut Dice) -> Vec<u8> {
    let byte = |dice: &mut Dice| u8::try_from(dice.below(256)).unwrap();
    let mut bytes = hello.to_vec();
    match dice.below(6) {
        0 => bytes = (0..dice.below(600)).map(|_| byte(dice)).collect(),
        1 => bytes.truncate(dice.below(bytes.len())),
        2 => {
            let at = dice.below(bytes.len());
            bytes.drain(at..(at + dice.below(40)).min(hello.len()));
        }
        3 => {
            let at = dice.below(bytes.len());
            let more: Vec<u8> = (0..dice.below(40)).map(|_| byte(dice)).collect();
            bytes.splice(at..at, more);
        }
        4 => bytes.extend_from_slice(&hello[..dice.below(hello.len())]),
        // Lengths and kinds stand in front.
        _ => bytes[dice.below(64)] = byte(dice),
    }
    for _ in 0..dice.below(4) {
        let at = dice.below(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place ^= 1 << dice.below(8);
        }
    }
    bytes
}

#[test]
fn bent_first_bytes_get_nothing_and_break_nothing() {
    const CASES: usize = 10_000;
    const SEED: u64 = 5;
    run(async {
        let lab = Lab::new();
        let mut service = Service::start(Some(lab.tls("node-1")), policy(PATIENCE)).await;
        let good = lab.tls("node-good");
        let hello = a_hello(&lab).await;
        let mut dice = Dice(SEED);
        for case in 0..CASES {
            let bytes = bent(&hello, &mut dice);
            let mut socket = TcpStream::connect(service.address).await.unwrap();
            // The other side may close while we still send; that is its right.
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let reading = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer));
            let _ = reading.await.unwrap_or_else(|_| panic!("seed {SEED}, case {case}: no end"));
            assert!(!matches!(answer.first(), Some(b'+' | b'-')), "seed {SEED}, case {case}");
            if case % 2500 == 0 {
                good_peer_is_served(&service, &good).await;
            }
        }
        for _ in 0..CASES {
            let error = service.refusal().await;
            assert!(
                matches!(error, SecurityError::Identity { .. } | SecurityError::Connection { .. }),
                "{error}"
            );
        }
        good_peer_is_served(&service, &good).await;
        assert!(service.refusals.try_recv().is_err(), "the good peer was refused");
        println!("proof: cases={CASES}");
    });
}

#[test]
fn who_is_silent_on_a_unix_socket_is_not_let_in() {
    run(async {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("silent-door-{}", std::process::id()));
        let acceptor = Acceptor::new(None, Guard::new(policy(Duration::from_millis(300))));
        let mut listener = Listener::bind_unix(&path, acceptor).unwrap();
        let _silent = UnixStream::connect(&path).await.unwrap();
        match listener.next().await {
            Arrival::Refused(SecurityError::Deadline { phase: Phase::Handshake, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(listener.handshakes(), 0);
    });
}
