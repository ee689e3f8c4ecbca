//! Frames that travel: whole, in parts, through connections that break, and given up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mempool_core::{BufferMut, FrameDamage};
use mempool_net::bytes::{
    ByteRange, BytesError, Checked, Peer, PeerLimits, Refusal, RefusalKind, ServeLimits,
    ServedFrame, Tcp, Unix, ValueService,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::support::{Kept, Shelf, Watched, frame_of, id, pair, reserved, run, served, until};

/// Gets a part of a value into memory of the test's own.
async fn get(peer: &Peer, slot: u32, range: ByteRange) -> Vec<u8> {
    let fetched = peer.fetch(id(slot), range, |_, _| Ok(Kept::default())).await;
    fetched.expect("a frame").1.bytes
}

#[test]
fn frames_of_any_size_come_as_they_were() {
    run(async {
        let (shelf, peer) = pair().await;
        for (slot, content) in (0..).zip([0, 1, 100, 4096, 1 << 20, (5 << 20) + 3]) {
            let frame = frame_of(content);
            shelf.put(id(slot), served(&frame));
            assert!(get(&peer, slot, ByteRange::WHOLE).await == frame, "{content} bytes");
        }
        assert_eq!(shelf.connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn memory_is_reserved_before_the_first_byte_and_each_byte_is_copied_once() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(3 << 20);
        shelf.put(id(1), served(&frame));
        let answer = peer.get(id(1), ByteRange::WHOLE).await.expect("an answer");
        let bytes = answer.head().bytes();
        assert_eq!((bytes, answer.range()), (frame.len() as u64, 0..frame.len() as u64));
        assert_eq!(answer.head(), served(&frame).head());
        let buffer = reserved(&shelf.ledger, bytes).expect("room");
        let at = shelf.ledger.usage().used_bytes;
        assert!(at >= bytes);
        let copied = Arc::new(AtomicUsize::new(0));
        let sink = Copying { buffer: Checked::new(buffer), copied: Arc::clone(&copied) };
        let sink = answer.read_into(sink).await.expect("all bytes");
        assert_eq!(copied.load(Ordering::SeqCst), frame.len());
        let (_, received) = sink.buffer.finish().expect("a good frame");
        assert!(received[..] == frame[..]);
        assert_eq!(shelf.ledger.usage().used_bytes, at);
    });
}

/// Counts what it copies into memory that was reserved, which has room for the frame and no byte more.
struct Copying {
    buffer: Checked<BufferMut>,
    copied: Arc<AtomicUsize>,
}

impl mempool_net::bytes::FrameSink for Copying {
    fn write(&mut self, bytes: &[u8]) -> Result<(), mempool_core::Cause> {
        self.copied.fetch_add(bytes.len(), Ordering::SeqCst);
        self.buffer.write(bytes)
    }
}

#[test]
fn each_part_is_that_part_of_the_frame() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(10_000);
        shelf.put(id(1), served(&frame));
        let len = frame.len() as u64;
        for (from, to) in
            [(0, 1), (0, len), (1, 2), (127, 129), (5000, len), (len - 1, len), (7, len + 100)]
        {
            let part = get(&peer, 1, ByteRange { from, to: Some(to) }).await;
            let end = usize::try_from(to.min(len)).expect("64 bits");
            assert!(part == frame[usize::try_from(from).expect("64 bits")..end], "{from}..{to}");
        }
        assert!(get(&peer, 1, ByteRange { from: 9000, to: None }).await == frame[9000..]);
        for (from, to) in [(0, 0), (7, 7), (9, 3), (len, len + 1), (u64::MAX - 1, u64::MAX)] {
            let none = peer.get(id(1), ByteRange { from, to: Some(to) }).await;
            let error = none.expect_err("no bytes");
            let kind = RefusalKind::Range;
            assert!(matches!(&error, BytesError::Refused { kind: k, .. } if *k == kind), "{error}");
        }
    });
}

#[test]
fn a_frame_comes_over_a_unix_socket() {
    run(async {
        let directory = std::env::temp_dir().join(format!("mempool-bytes-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        let listener = UnixListener::bind(directory.join("node")).expect("a socket");
        let shelf = Shelf::new();
        let frame = frame_of(1 << 20);
        shelf.put(id(1), served(&frame));
        let service = ValueService::new(shelf.source(), ServeLimits::default());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            service.serve_connection(stream).await
        });
        let peer = Peer::new(Unix(directory.join("node")), PeerLimits::default());
        assert!(get(&peer, 1, ByteRange::WHOLE).await == frame);
        std::fs::remove_dir_all(&directory).expect("removed");
    });
}

#[test]
fn a_slow_sink_and_a_slow_source_are_kept_off_the_workers() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(5 << 20);
        let mut slow = Watched::new(&frame);
        slow.may_block = true;
        slow.before = Box::new(|_| {
            // Only threads that may block answer this without a panic.
            let blocking = std::panic::catch_unwind(|| {
                tokio::runtime::Handle::current().block_on(async {});
            });
            assert!(blocking.is_ok());
            Ok(())
        });
        let pieces = Arc::clone(&slow.pieces);
        shelf.put(id(1), slow);
        // One that gives less than it is asked for.
        let mut short = Watched::new(&frame);
        short.may_block = true;
        short.piece_bytes = 300_000;
        shelf.put(id(2), short);
        assert!(get(&peer, 2, ByteRange::WHOLE).await == frame);
        let kept = Kept { slow: true, ..Kept::default() };
        let fetched = peer.fetch(id(1), ByteRange::WHOLE, |_, _| Ok(kept)).await;
        assert!(fetched.expect("a frame").1.bytes == frame);
        assert_eq!(pieces.load(Ordering::SeqCst), 6);
    });
}

#[test]
fn a_new_value_gets_a_name_under_which_it_is_found() {
    run(async {
        let (shelf, peer) = pair().await;
        for content in [0, 100, 2 << 20] {
            let frame = frame_of(content);
            let id = peer.put(Arc::new(served(&frame))).await.expect("a name");
            let got = peer.fetch(id, ByteRange::WHOLE, |_, _| Ok(Kept::default())).await;
            assert!(got.expect("a frame").1.bytes == frame);
        }
        assert_eq!(shelf.connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_was_damaged_on_the_way_is_seen() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(1 << 20);
        let head = served(&frame).head().clone();
        for at in [130, 200, frame.len() - 1] {
            let mut bent = frame.clone();
            bent[at] ^= 0x10;
            let buffer = mempool_core::Buffer::uncounted(&bent).expect("memory");
            let bent = mempool_net::bytes::BufferFrame::new(head.clone(), buffer);
            shelf.put(id(1), bent.expect("of that length"));
            let begin = |head: &mempool_net::bytes::FrameHead, _| {
                Ok(Checked::new(reserved(&shelf.ledger, head.bytes())?))
            };
            let (_, sink) = peer.fetch(id(1), ByteRange::WHOLE, begin).await.expect("bytes");
            let damage = sink.finish().expect_err("damage");
            assert!(matches!(damage, FrameDamage::Checksum { .. }), "{damage}");
        }
    });
}

/// Forwards to `to`, and cuts each of the first connections after so many bytes of what comes back.
async fn cutting(to: SocketAddr, cuts: Vec<u64>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    tokio::spawn(async move {
        let mut cuts = cuts.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let cut = cuts.next().unwrap_or(u64::MAX);
            tokio::spawn(async move {
                let (mut ask, mut tell) = stream.into_split();
                let server = TcpStream::connect(to).await.expect("the server");
                let (answers, mut asks) = server.into_split();
                let forward = tokio::spawn(async move {
                    let ended = tokio::io::copy(&mut ask, &mut asks).await;
                    drop(asks);
                    ended
                });
                let copied = tokio::io::copy(&mut answers.take(cut), &mut tell).await;
                forward.abort();
                drop(tell);
                copied
            });
        }
    });
    (addr, made)
}

fn hasty() -> PeerLimits {
    let mut limits = PeerLimits::default();
    limits.backoff = Duration::from_millis(1);
    limits
}

#[test]
fn a_transfer_goes_on_where_its_connection_broke() {
    run(async {
        let shelf = Shelf::new();
        let server = shelf.serve(ServeLimits::default()).await;
        let frame = frame_of(3 << 20);
        shelf.put(id(1), served(&frame));
        // Before the head, in the head, at its end or so, and in the body.
        let (proxy, made) = cutting(server, vec![0, 100, 1 << 20]).await;
        let peer = Peer::new(Tcp(proxy), hasty());
        let part = ByteRange { from: 10, to: Some(3 << 20) };
        let got = get(&peer, 1, part).await;
        assert!(got == frame[10..3 << 20]);
        assert_eq!(made.load(Ordering::SeqCst), 4);
        // The last connection is kept.
        assert_eq!(peer.idle_connections(), 1);
    });
}

#[test]
fn an_asker_who_goes_stops_the_sender() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(32 << 20);
        let watched = Watched::new(&frame);
        let pieces = Arc::clone(&watched.pieces);
        shelf.put(id(1), watched);
        let answer = peer.get(id(1), ByteRange::WHOLE).await.expect("an answer");
        assert!(pieces.load(Ordering::SeqCst) < 32);
        shelf.take(id(1));
        let task = tokio::spawn(answer.read_into(Stuck));
        until("some bytes came", || pieces.load(Ordering::SeqCst) > 1).await;
        // The sink holds the body up, so the sender waits for the socket.
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
        // The counter's other holder is the frame: it is gone when nobody sends it any more.
        until("the frame is let go", || Arc::strong_count(&pieces) == 1).await;
        assert!(pieces.load(Ordering::SeqCst) < 32, "it was not sent to its end");
        until("the connection is closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
        assert_eq!(peer.idle_connections(), 0);
    });
}

/// A sink that takes very long, on a thread that may.
#[derive(Debug)]
struct Stuck;

impl mempool_net::bytes::FrameSink for Stuck {
    fn write(&mut self, _: &[u8]) -> Result<(), mempool_core::Cause> {
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    run(async {
        let shelf = Shelf::new();
        let addr = shelf.serve(ServeLimits::default()).await;
        let frame = frame_of(1 << 16);
        shelf.put(id(1), served(&frame));
        let mut limits = PeerLimits::default();
        limits.connections = 3;
        let peer = Peer::new(Tcp(addr), limits);
        let gets: Vec<_> = (0..50)
            .map(|_| {
                let peer = peer.clone();
                tokio::spawn(async move { get(&peer, 1, ByteRange::WHOLE).await })
            })
            .collect();
        for got in gets {
            assert!(got.await.expect("no panic") == frame);
        }
        assert!(shelf.most_open.load(Ordering::SeqCst) <= 3);
        assert!((1..=3).contains(&peer.idle_connections()));
        peer.close_idle();
        until("all are closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
    });
}

#[test]
fn a_kept_connection_that_the_peer_closed_is_not_an_attempt() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shelf = Shelf::new();
        let frame = frame_of(100);
        shelf.put(id(1), served(&frame));
        let service = ValueService::new(shelf.source(), ServeLimits::default());
        tokio::spawn(async move {
            // Each connection answers one request and is then cut without a word.
            while let Ok((stream, _)) = listener.accept().await {
                let (near, far) = tokio::io::duplex(1 << 16);
                let service = service.clone();
                tokio::spawn(async move { service.serve_connection(far).await });
                tokio::spawn(async move {
                    let (mut stream, mut near) = (stream, near);
                    let mut bytes = vec![0; 1 << 16];
                    let asked = stream.read(&mut bytes).await.expect("a request");
                    near.write_all(&bytes[..asked]).await.expect("asked");
                    let answered = near.read(&mut bytes).await.expect("an answer");
                    stream.write_all(&bytes[..answered]).await.expect("answered");
                });
            }
        });
        let mut limits = PeerLimits::default();
        limits.attempts = 1;
        let peer = Peer::new(Tcp(addr), limits);
        for _ in 0..20 {
            assert!(get(&peer, 1, ByteRange::WHOLE).await == frame);
        }
    });
}

#[test]
fn a_frame_that_something_makes_is_streamed_as_fast_as_it_is_taken() {
    run(async {
        let (shelf, peer) = pair().await;
        let frame = frame_of(3 << 20);
        for piece_bytes in [1000, 70_000, u64::MAX] {
            let mut made = Watched::new(&frame);
            made.piece_bytes = piece_bytes;
            made.streams = true;
            shelf.put(id(1), made);
            assert!(get(&peer, 1, ByteRange::WHOLE).await == frame);
            let part = ByteRange { from: 5, to: Some(100_000) };
            assert!(get(&peer, 1, part).await == frame[5..100_000]);
        }
        // One that ends early, or fails, breaks the body, and is not taken for the whole.
        for (slot, fails_at) in [(2, 1 << 20), (3, 0)] {
            let mut made = Watched::new(&frame);
            made.piece_bytes = 1 << 16;
            made.streams = true;
            made.before = Box::new(move |range| match range.start >= fails_at {
                true => Err(Refusal::new(RefusalKind::Failed, "the codec")),
                false => Ok(()),
            });
            shelf.put(id(slot), made);
            let answer = Peer::new(Tcp(peer_addr(&peer)), hasty())
                .fetch(id(slot), ByteRange::WHOLE, |_, _| Ok(Kept::default()))
                .await;
            assert!(matches!(answer, Err(BytesError::Broken { .. })));
        }
    });
}

fn peer_addr(peer: &Peer) -> SocketAddr {
    peer.name().parse().expect("the address it was made with")
}

#[test]
fn an_asker_who_never_reads_holds_nothing_for_long() {
    run(async {
        let shelf = Shelf::new();
        let mut limits = ServeLimits::default();
        limits.write_timeout = Duration::from_millis(100);
        let addr = shelf.serve(limits).await;
        let watched = Watched::new(&frame_of(32 << 20));
        let pieces = Arc::clone(&watched.pieces);
        shelf.put(id(1), watched);
        let mut silent = TcpStream::connect(addr).await.expect("a connection");
        let asked = format!("GET /v1/values/{} HTTP/1.1\r\nhost: x\r\n\r\n", id(1));
        silent.write_all(asked.as_bytes()).await.expect("asked");
        until("it is being sent", || pieces.load(Ordering::SeqCst) > 0).await;
        shelf.take(id(1));
        until("the frame is let go", || Arc::strong_count(&pieces) == 1).await;
        until("the connection is closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
        assert!(pieces.load(Ordering::SeqCst) < 32);
        drop(silent);
    });
}
