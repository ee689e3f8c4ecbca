//! Requests that are bent in every way, over live connections: each is answered or its connection closed, nothing grows, and
//! a good asker is served as before.
//!
//! `BENT_REQUESTS` says how many; the seed of a failing case is printed, and `BENT_SEED` begins with it.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mempool_net::bytes::{ByteRange, Pace, Peer, PeerLimits, ServeLimits, Tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Kept, PATIENCE, Shelf, frame_of, id, run_for, served, until};

/// splitmix64 (Steele, Lea, Flood): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn of<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }
}

const NUMBERS: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "+5",
    "127",
    "128",
    "192",
    "292",
    "1192",
    "65536",
    "16777216",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "0x10",
    "1e3",
    " 7",
    "7 7",
    "\u{661}",
];

/// One request, most of which are none.
fn bent(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.below(12) == 0 {
        let len = random.below(300);
        bytes.extend((0..len).map(|_| random.next().to_le_bytes()[0]));
        return bytes;
    }
    if random.below(4) == 0 {
        return well_formed(random);
    }
    let method =
        random.of(&["GET", "GET", "GET", "HEAD", "PUT", "PUT", "POST", "DELETE", "G\0T", ""]);
    let version =
        random.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]);
    let path = path(random);
    let end = random.of(&["\r\n", "\r\n", "\r\n", "\n", "\r", ""]);
    bytes.extend_from_slice(format!("{method} {path} {version}{end}host: x{end}").as_bytes());
    for _ in 0..random.below(4) {
        bytes.extend_from_slice(header(random).as_bytes());
        bytes.extend_from_slice(end.as_bytes());
    }
    if random.below(20) == 0 {
        // More headers, or longer ones, than are taken.
        let many = random.below(200);
        (0..many).for_each(|n| bytes.extend_from_slice(format!("x-{n}: y{end}").as_bytes()));
        let long = "z".repeat(random.below(1 << 18));
        bytes.extend_from_slice(format!("x-long: {long}{end}").as_bytes());
    }
    bytes.extend_from_slice(end.as_bytes());
    body(random, &mut bytes);
    if random.below(8) == 0 {
        let cut = random.below(bytes.len().max(1));
        bytes.truncate(cut);
    }
    if random.below(8) == 0 && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// A request that is one, and asks for what there is not or puts what is no frame.
fn well_formed(random: &mut Random) -> Vec<u8> {
    let (number, other) = (random.of(NUMBERS), random.of(NUMBERS));
    if random.below(2) == 0 {
        let id = id(1);
        let asked = format!(
            "GET /v1/values/{id} HTTP/1.1\r\nhost: x\r\nrange: bytes={number}-{other}\r\n\r\n"
        );
        return asked.into_bytes();
    }
    let mut frame = frame_of(random.below(1000));
    let at = random.below(frame.len());
    frame[at] ^= 1 << random.below(8);
    let length = if random.below(2) == 0 { frame.len().to_string() } else { number.to_owned() };
    let head = format!("PUT /v1/values HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), &frame].concat()
}

fn path(random: &mut Random) -> String {
    match random.below(8) {
        0 => "/v1/values".to_owned(),
        1 => format!("/v1/values/{}", id(2)),
        2 => format!("/v1/values/{:032x}/{}.{}", 0xb, random.of(NUMBERS), random.of(NUMBERS)),
        3 => format!("/v1/values/{}/1.1", random.of(NUMBERS)),
        4 => random
            .of(&["/", "*", "//", "/v1/values/../..", "/%00", "http://[", "/v1/values?x"])
            .to_owned(),
        5 => format!("/v1/values/{}", "9".repeat(random.below(1 << 16))),
        _ => format!("/v1/values/{}", id(1)),
    }
}

fn header(random: &mut Random) -> String {
    let number = random.of(NUMBERS);
    match random.below(9) {
        0 | 1 => format!("content-length: {number}"),
        2 => format!("range: bytes={number}-{}", random.of(NUMBERS)),
        3 => format!(
            "range: {}",
            random.of(&["bytes", "=", "bytes=0-0,", "x=1-2", "bytes=-", "bytes=1-0"])
        ),
        4 => format!(
            "if-range: {}",
            random.of(&["\"", "\"0-0\"", "W/\"x\"", "Mon, 01 Jan 2024 00:00:00 GMT"])
        ),
        5 => format!(
            "transfer-encoding: {}",
            random.of(&["chunked", "gzip", "chunked, chunked", "identity", ""])
        ),
        6 => format!("expect: {}", random.of(&["100-continue", "200-ok"])),
        7 => format!("connection: {}", random.of(&["close", "keep-alive", "upgrade", "\u{7f}"])),
        _ => format!(
            "{}: {number}",
            random.of(&["x", "", " x", "x y", "content-length\t", "\u{e9}"])
        ),
    }
}

/// Something behind the head: a body, a frame that lies, chunks, or another request.
fn body(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(6) {
        0 => {
            let mut frame = frame_of(100);
            let at = random.below(frame.len());
            frame[at] ^= 1 << random.below(8);
            bytes.extend_from_slice(&frame);
        }
        1 => {
            for _ in 0..random.below(20) {
                let chunk = format!("{}\r\n{}\r\n", random.of(NUMBERS), random.of(NUMBERS));
                bytes.extend_from_slice(chunk.as_bytes());
            }
        }
        2 => bytes.extend((0..random.below(70_000)).map(|n| n.to_le_bytes()[0])),
        3 => {
            bytes.extend_from_slice(format!("GET /v1/values/{} HTTP/1.1\r\n\r\n", id(1)).as_bytes())
        }
        _ => {}
    }
}

/// Sends one, and reads whatever comes until the other end closes: the status of the first answer, if there is one.
async fn try_one(addr: SocketAddr, bytes: &[u8], leaves: bool) -> Result<Option<String>, String> {
    let mut stream = TcpStream::connect(addr).await.map_err(|error| format!("connect: {error}"))?;
    // The other end may close before it has read all.
    let _ = stream.write_all(bytes).await;
    if leaves {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, async {
        if stream.read_buf(&mut answer).await.is_ok_and(|bytes| bytes > 0) {
            // It has an answer, and does not stay to be cut off.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut answer).await;
        }
    });
    // A reset is an end, too.
    read.await.map_err(|_| format!("no end after {} bytes", answer.len()))?;
    let said = String::from_utf8_lossy(&answer);
    let status = said.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match (answer.is_empty(), status) {
        (false, None) => Err(format!("no HTTP: {said:?}")),
        (_, status) => Ok(status.map(str::to_owned)),
    }
}

/// How many connections are bent at a time.
const LANES: u64 = 64;

#[test]
fn bent_requests_are_answered_or_closed_and_leave_nothing() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("BENT_REQUESTS").unwrap_or(10_000);
    let first = number("BENT_SEED").unwrap_or(1);
    run_for(Duration::from_secs(count / 20 + 60), async {
        let shelf = Shelf::new();
        let mut limits = ServeLimits::default();
        limits.put_bytes = 1 << 26;
        // Who neither asks on nor leaves is cut off soon.
        limits.head_timeout = Duration::from_millis(500);
        limits.put_pace = Pace { bytes: 1 << 16, within: Duration::from_millis(500) };
        let addr = shelf.serve(limits).await;
        let frame = frame_of(1000);
        shelf.put(id(1), served(&frame));
        let peer = Peer::new(Tcp(addr), PeerLimits::default());
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let (peer, frame) = (peer.clone(), frame.clone());
            lanes.spawn(async move {
                let mut statuses = BTreeSet::new();
                for seed in (first..first + count).filter(|seed| seed % LANES == lane) {
                    let mut random = Random(seed);
                    let bytes = bent(&mut random);
                    let status = try_one(addr, &bytes, random.below(4) == 0).await;
                    statuses.extend(status.unwrap_or_else(|why| panic!("BENT_SEED={seed}: {why}")));
                    if random.below(16) == 0 {
                        let begin = |_: &_, _| Ok(Kept::default());
                        let got = peer.fetch(id(1), ByteRange::WHOLE, begin).await;
                        assert!(got.expect("a good asker is served").1.bytes == frame, "{seed}");
                    }
                }
                statuses
            });
        }
        let statuses: BTreeSet<String> = lanes.join_all().await.into_iter().flatten().collect();
        if count >= 10_000 {
            for status in [
                "200", "206", "400", "404", "405", "408", "410", "411", "413", "416", "422", "431",
                "507",
            ] {
                assert!(statuses.contains(status), "{status} is not among {statuses:?}");
            }
        }
        peer.close_idle();
        until("all connections are closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
        shelf.clear();
        assert_eq!(shelf.ledger.usage().used_bytes, 0, "all memory is given back");
        let usage = shelf.ledger.usage();
        assert!(usage.peak_bytes <= usage.limit_bytes, "{usage:?}");
        println!("proof: cases={count} seed={first}");
    });
}

#[test]
fn a_sender_who_drips_or_stops_is_cut_off() {
    run_for(PATIENCE, async {
        let shelf = Shelf::new();
        let mut limits = ServeLimits::default();
        limits.head_timeout = Duration::from_millis(200);
        limits.put_pace = Pace { bytes: 1 << 16, within: Duration::from_millis(200) };
        let addr = shelf.serve(limits).await;
        let put = "PUT /v1/values HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
        for (head, status) in [("", ""), ("GET / HT", ""), (put, "408")] {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.write_all(head.as_bytes()).await.expect("the head");
            let (mut reads, mut writes) = stream.into_split();
            // A byte now and then does not help.
            let drip = tokio::spawn(async move {
                while writes.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let mut answer = Vec::new();
            let _ = reads.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.contains(status), "{answer}");
            drip.abort();
        }
        until("all connections are closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
        assert_eq!(shelf.ledger.usage().used_bytes, 0);
    });
}

#[test]
fn chunks_without_end_are_not_taken() {
    run_for(PATIENCE, async {
        let shelf = Shelf::new();
        let addr = shelf.serve(ServeLimits::default()).await;
        let mut stream = TcpStream::connect(addr).await.expect("a connection");
        let head = "PUT /v1/values HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("the head");
        let (mut reads, mut writes) = stream.into_split();
        let endless =
            tokio::spawn(async move { while writes.write_all(b"4\r\nabcd\r\n").await.is_ok() {} });
        let mut answer = [0; 12];
        reads.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 411");
        endless.await.expect("the connection is closed");
        until("all connections are closed", || shelf.open.load(Ordering::SeqCst) == 0).await;
    });
}
