//! Each way in which bytes do not come, or do not get there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mempool_core::ErrorKind;
use mempool_net::bytes::{
    ByteRange, BytesError, Pace, Peer, PeerLimits, Refusal, RefusalKind, ServeLimits, Tcp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Kept, Shelf, Watched, frame_of, id, pair, run, served};

fn hasty() -> PeerLimits {
    let mut limits = PeerLimits::default();
    limits.backoff = Duration::from_millis(1);
    limits.attempts = 3;
    limits
}

async fn failed(peer: &Peer, slot: u32) -> BytesError {
    let fetched = peer.fetch(id(slot), ByteRange::WHOLE, |_, _| Ok(Kept::default())).await;
    fetched.map(|_| ()).expect_err("an error")
}

/// A server that answers whatever it is asked with `answer`, and closes if `close`, else stays silent.
async fn answering(answer: impl Into<Vec<u8>>, close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                if stream.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {
                    stream.write_all(&answer).await.expect("it is read");
                }
                if !close {
                    let silent = std::future::pending::<()>();
                    silent.await;
                }
            });
        }
    });
    addr
}

/// The head of an answer of a frame of 1000 bytes.
fn head(status: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\netag: \"00000000000000ab-3e8\"\r\nmempool-format: raw/07/0\r\nmempool-type: T\r\n\
         mempool-resident-bytes: 1\r\nmempool-references: 0\r\n{more}\r\n"
    )
}

#[test]
fn nobody_there_is_no_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        drop(listener);
        let error = failed(&Peer::new(Tcp(addr), hasty()), 1).await;
        assert!(matches!(error, BytesError::Connect { attempts: 3, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.to_string().contains(&addr.to_string()));
        let put = Peer::new(Tcp(addr), hasty()).put(Arc::new(served(&frame_of(1)))).await;
        assert!(matches!(put, Err(BytesError::Connect { attempts: 1, .. })));
    });
}

#[test]
fn a_silent_peer_is_waited_for_so_long() {
    run(async {
        let limit = Duration::from_millis(50);
        let silent = answering("", false).await;
        let mut limits = hasty();
        limits.answer_timeout = limit;
        limits.connect_timeout = limit;
        limits.connections = 1;
        let peer = Peer::new(Tcp(silent), limits);
        let error = failed(&peer, 1).await;
        assert!(matches!(error, BytesError::Timeout { what: "the answer", .. }), "{error}");
        let error = peer.put(Arc::new(served(&frame_of(1)))).await.expect_err("silence");
        assert!(matches!(error, BytesError::Timeout { what: "a new value", .. }), "{error}");
        // One caller has the only connection; the other one waits for it.
        let stalled = answering(head("200 OK", "content-length: 1000\r\n"), false).await;
        let peer = Peer::new(Tcp(stalled), limits);
        let answer = peer.get(id(1), ByteRange::WHOLE).await.expect("a head");
        let error = failed(&peer, 1).await;
        assert!(matches!(error, BytesError::Timeout { what: "a free connection", .. }), "{error}");
        drop(answer);
        assert!(peer.get(id(1), ByteRange::WHOLE).await.is_ok());
    });
}

#[test]
fn a_body_that_stalls_is_given_up() {
    run(async {
        let stalled = answering(head("200 OK", "content-length: 1000\r\n") + "xxx", false).await;
        let mut limits = hasty();
        limits.attempts = 1;
        limits.pace = Pace { bytes: 100, within: Duration::from_millis(50) };
        let error = failed(&Peer::new(Tcp(stalled), limits), 1).await;
        assert!(matches!(error, BytesError::Timeout { what: "the body", .. }), "{error}");
    });
}

#[test]
fn a_connection_that_breaks_again_and_again_is_given_up() {
    run(async {
        let breaking = answering(head("200 OK", "content-length: 1000\r\n") + "xxx", true).await;
        let mut limits = hasty();
        limits.attempts = 1;
        let error = failed(&Peer::new(Tcp(breaking), limits), 1).await;
        let BytesError::Broken { received: 3, bytes: 1000, attempts: 1, .. } = error else {
            panic!("{error}");
        };
        let error = failed(&Peer::new(Tcp(answering("", true).await), hasty()), 1).await;
        let BytesError::Broken { received: 0, bytes: 0, attempts: 3, .. } = error else {
            panic!("{error}");
        };
        let peer = Peer::new(Tcp(answering("", true).await), hasty());
        let put = peer.put(Arc::new(served(&frame_of(1)))).await;
        assert!(matches!(put, Err(BytesError::Broken { attempts: 1, .. })));
    });
}

#[test]
fn a_refusal_keeps_its_kind_and_words() {
    run(async {
        let (shelf, peer) = pair().await;
        let error = failed(&peer, 1).await;
        let BytesError::Refused { kind: RefusalKind::Gone, message, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*message, format!("no {}", id(1)));
        // The connection is as good as before.
        assert_eq!(peer.idle_connections(), 1);
        let error = peer.put(Arc::new(served(&frame_of(1 << 24)))).await.expect_err("no room");
        let BytesError::Refused { kind: RefusalKind::NoRoom, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(shelf.ledger.usage().used_bytes, 0);
        let other = answering("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", false).await;
        let error = failed(&Peer::new(Tcp(other), hasty()), 1).await;
        let BytesError::Refused { kind: RefusalKind::Unavailable, message, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(message, "no");
    });
}

#[test]
fn an_answer_that_is_none_is_refused() {
    run(async {
        for answer in [
            head("200 OK", "content-length: 999\r\n"),
            head("200 OK", "transfer-encoding: chunked\r\n") + "0\r\n\r\n",
            head("200 OK", ""),
            head("206 Partial", "content-length: 1000\r\n"),
            head("206 Partial", "content-length: 1000\r\ncontent-range: bytes 0-999/1001\r\n"),
            head("206 Partial", "content-length: 10\r\ncontent-range: bytes 0-9/1000\r\n"),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
            head("200 OK", "content-length: 1000\r\n").replace("-3e8", "-3E8"),
        ] {
            let peer = Peer::new(Tcp(answering(answer.clone(), false).await), hasty());
            let error = failed(&peer, 1).await;
            assert!(matches!(error, BytesError::Protocol { .. }), "{answer}{error}");
            assert_eq!(error.kind(), ErrorKind::Damage);
        }
        let created = answering("HTTP/1.1 201 Yes\r\ncontent-length: 0\r\n\r\n", false).await;
        let put = Peer::new(Tcp(created), hasty()).put(Arc::new(served(&frame_of(1)))).await;
        assert!(matches!(put, Err(BytesError::Protocol { .. })));
        // What is no HTTP is a connection that broke.
        let garbage = Peer::new(Tcp(answering("SSH-2.0-x\r\n", false).await), hasty());
        assert!(matches!(failed(&garbage, 1).await, BytesError::Broken { .. }));
    });
}

#[test]
fn another_frame_under_the_same_name_is_not_gone_on_with() {
    run(async {
        let shelf = Shelf::new();
        let addr = shelf.serve(ServeLimits::default()).await;
        let mut breaking = Watched::new(&frame_of(3 << 20));
        let other = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&other);
        breaking.before = Box::new(move |range| match range.start {
            0 => Ok(()),
            _ => {
                seen.store(true, Ordering::SeqCst);
                Err(Refusal::new(RefusalKind::Failed, "the disk"))
            }
        });
        shelf.put(id(1), breaking);
        let peer = Peer::new(Tcp(addr), hasty());
        let answer = peer.get(id(1), ByteRange::WHOLE).await.expect("a head");
        shelf.put(id(1), served(&frame_of(2 << 20)));
        let error = answer.read_into(Kept::default()).await.map(|_| ()).expect_err("changed");
        assert!(other.load(Ordering::SeqCst));
        assert!(matches!(error, BytesError::Changed { .. }), "{error}");
    });
}

#[test]
fn a_sink_that_fails_ends_the_transfer() {
    run(async {
        let (shelf, peer) = pair().await;
        shelf.put(id(1), served(&frame_of(1000)));
        let fetched = peer
            .fetch(id(1), ByteRange::WHOLE, |_, _| -> Result<Kept, mempool_core::Cause> {
                Err("no room".into())
            })
            .await;
        let error = fetched.map(|_| ()).expect_err("no sink");
        assert!(matches!(error, BytesError::Sink { .. }), "{error}");
        let small = crate::support::reserved(&shelf.ledger, 10).expect("room");
        let answer = peer.get(id(1), ByteRange::WHOLE).await.expect("a head");
        let error = answer.read_into(small).await.expect_err("too small");
        assert!(matches!(error, BytesError::Sink { .. }), "{error}");
        assert_eq!(shelf.ledger.usage().used_bytes, 0);
    });
}
