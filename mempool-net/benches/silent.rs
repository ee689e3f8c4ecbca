//! What a good peer notices of silent sockets: the slowest one in a hundred of its requests, with them and without.
//!
//! `cargo bench -p mempool-net --bench silent -- [SOCKETS] [SECONDS]`, 200 and 20 if nothing is said. Turns without and with
//! silent sockets alternate, so that both see the same machine. As many as were asked for stand all the time: one that the node
//! closes is replaced. A request is one byte there and back over a stream that stays open, or over a new one with its handshake; the
//! node and the peer are threads of this process, with TLS. Prints figures; judges nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mempool_net::NodeName;
use mempool_net::security::{
    Acceptor, Arrival, Authority, Connector, Deadlines, Guard, Listener, Policy, Protocol, Stream,
    Tls, Validity,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SOCKETS: usize = 200;
const SECONDS: u64 = 20;
/// Turns of each kind.
const TURNS: u32 = 4;

fn main() -> Outcome<()> {
    // Cargo says `--bench` to each.
    let mut numbers = std::env::args().skip(1).filter(|word| word != "--bench");
    let sockets = numbers.next().map_or(Ok(SOCKETS), |text| text.parse())?;
    let seconds = numbers.next().map_or(Ok(SECONDS), |text| text.parse())?;
    let authority = Authority::new("bench")?;
    let (server, good) = (credentials(&authority, "node-1")?, credentials(&authority, "node-2")?);
    let (near, far) = (runtime()?, runtime()?);
    let (address, guard) = far.block_on(serve(server))?;
    let turn = Duration::from_secs(seconds) / TURNS;
    let (mut quiet, mut loaded) = (Latencies::default(), Latencies::default());
    let mut closed = 0;
    for _ in 0..TURNS {
        quiet.add(near.block_on(measure(address, good.clone(), turn))?);
        let crowd = Crowd::stand(&far, address, sockets);
        loaded.add(near.block_on(measure(address, good.clone(), turn))?);
        closed += crowd.leave();
    }
    println!(
        "{sockets} silent sockets, {seconds} s with them and {seconds} s without, in {TURNS} turns each"
    );
    println!(
        "{closed} of them were closed by the node and replaced; {} streams are open at the end",
        guard.connections()
    );
    println!(
        "{:<12} {:>10} {:>12} {:>12} {:>8}",
        "request", "count", "quiet p99", "loaded p99", "ratio"
    );
    for (name, quiet, loaded) in [
        ("open stream", &mut quiet.open, &mut loaded.open),
        ("new stream", &mut quiet.new, &mut loaded.new),
    ] {
        let (before, after) = (p99(quiet), p99(loaded));
        let ratio = after.as_secs_f64() / before.as_secs_f64();
        println!("{name:<12} {:>10} {before:>12.1?} {after:>12.1?} {ratio:>8.2}", loaded.len());
    }
    Ok(())
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn credentials(authority: &Authority, name: &str) -> Outcome<Tls> {
    let issued = authority.issue(&NodeName::new(name)?, &[], Validity::days(1)?)?;
    let root = authority.certificate_pem();
    Ok(Tls::from_pem(root, issued.certificate_pem(), issued.key_pem())?)
}

/// A node that answers each byte with itself.
async fn serve(tls: Tls) -> Outcome<(SocketAddr, Guard)> {
    let mut policy = Policy::default();
    policy.bounds.handshakes_max = 4096;
    let guard = Guard::new(policy);
    let acceptor = Acceptor::new(Some(tls), guard.clone());
    let mut listener = Listener::bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), acceptor).await?;
    let address = listener.local_address().ok_or("no address")?;
    tokio::spawn(async move {
        loop {
            if let Arrival::Peer(mut stream) = listener.next().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_u8(byte).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    Ok((address, guard))
}

/// Silent sockets, as long as it stands.
struct Crowd {
    ends: Arc<AtomicBool>,
    closed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn stand(runtime: &Runtime, address: SocketAddr, count: usize) -> Self {
        let (ends, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let stands = |_| {
            let (ends, closed) = (ends.clone(), closed.clone());
            runtime.spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let Ok(mut socket) = TcpStream::connect(address).await else { return };
                    // Waits for the end, and says nothing.
                    let _ = socket.read(&mut [0; 64]).await;
                    closed.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..count).map(stands).collect();
        Self { ends, closed, tasks }
    }

    fn leave(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.closed.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Latencies {
    open: Vec<Duration>,
    new: Vec<Duration>,
}

impl Latencies {
    fn add(&mut self, other: Self) {
        self.open.extend(other.open);
        self.new.extend(other.new);
    }
}

async fn measure(address: SocketAddr, tls: Tls, turn: Duration) -> Outcome<Latencies> {
    let connector = Connector::new(Some(tls), Deadlines::default());
    let node = NodeName::new("node-1")?;
    let connect = || connector.connect_tcp(address, &node, Protocol::Http1);
    let mut open = connect().await?;
    let mut latencies = Latencies::default();
    let end = Instant::now() + turn;
    while Instant::now() < end {
        for _ in 0..20 {
            let start = Instant::now();
            ask(&mut open).await?;
            latencies.open.push(start.elapsed());
        }
        let start = Instant::now();
        ask(&mut connect().await?).await?;
        latencies.new.push(start.elapsed());
    }
    Ok(latencies)
}

async fn ask(stream: &mut Stream) -> Outcome<()> {
    stream.write_u8(7).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        7 => Ok(()),
        other => Err(format!("an answer of {other}").into()),
    }
}

/// The time that 99 of 100 did not take longer than.
fn p99(latencies: &mut [Duration]) -> Duration {
    latencies.sort_unstable();
    let at = latencies.len() * 99 / 100;
    latencies.get(at).copied().unwrap_or_default()
}
