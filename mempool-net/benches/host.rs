//! Handing a value over to another process of the same host, beside one `memcpy` of it: medians of one run.
//!
//! The asker is a process of its own: this program, started again. It times what it waits for: from the question to the
//! mapped frame, and then the first read of every page.
#![allow(clippy::unwrap_used, reason = "a bench")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mempool_core::{Blob, ForeignMaps, Id, Pool, PoolOptions, Untyped};
use mempool_net::host::{
    Given, HandOver, HostHello, HostLink, HostServer, Promotions, RuntimeDir, SealedFrame, Shelf,
};
use mempool_net::{GlobalId, Incarnation};
use mempool_spill::SpillOptions;

const OWNER: Incarnation = Incarnation(1);
const ASKER: Incarnation = Incarnation(2);
const PATIENCE: Duration = Duration::from_secs(60);
const BYTES: usize = 256 << 20;
const ROUNDS: usize = 15;
const SPILLED: u32 = 1;
const SHAREABLE: u32 = 2;
const PROMOTED: u32 = 3;

/// The three ways that there are.
struct Ways {
    pool: Pool<Blob>,
    spilled: Untyped,
    shareable: Untyped,
    /// Keeps the copy of that one.
    _kept: Arc<SealedFrame>,
    resident: Untyped,
    promotions: Promotions,
}

impl Shelf for Ways {
    fn hand_over(&self, _: Incarnation, value: GlobalId) -> HandOver {
        let value = match value.id.slot {
            SPILLED => &self.spilled,
            SHAREABLE => &self.shareable,
            _ => &self.resident,
        };
        self.promotions.hand_over(&self.pool, value).unwrap()
    }
}

fn value(slot: u32) -> GlobalId {
    GlobalId { birth: OWNER, id: Id { slot, generation: 0 } }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Asks for a value, and says how long that took: to the map, and to the end of a read of each page of it.
fn ask(directory: &Path) {
    let mut hello = [0; HostHello::BYTES];
    std::io::stdin().read_exact(&mut hello).unwrap();
    let dir = Arc::new(RuntimeDir::open(directory.join("run")).unwrap());
    let hello = HostHello::from_bytes(&hello).unwrap();
    let link = HostLink::connect(&dir, ASKER, hello, PATIENCE).unwrap();
    let maps = ForeignMaps::default();
    for slot in [SPILLED, SHAREABLE, PROMOTED] {
        let (mut mapped, mut read) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let Given::Mapped { frame, .. } = link.fetch(value(slot), None, &maps).unwrap() else {
                panic!("bytes")
            };
            mapped.push(begun.elapsed());
            let sum: u64 = frame.iter().step_by(4096).map(|&byte| u64::from(byte)).sum();
            read.push(begun.elapsed());
            std::hint::black_box(sum);
            drop(frame);
            // The owner is told in a message that comes before the next question.
        }
        println!("{} {}", median(mapped).as_nanos(), median(read).as_nanos());
    }
}

fn memcpy(from: &[u8]) -> Duration {
    let copy = || {
        let begun = Instant::now();
        let mut to = Vec::with_capacity(from.len());
        to.extend_from_slice(from);
        std::hint::black_box(&to);
        begun.elapsed()
    };
    median((0..ROUNDS).map(|_| copy()).collect())
}

fn memcpy_warm(from: &[u8]) -> Duration {
    let mut to = vec![1; from.len()];
    let mut copy = || {
        let begun = Instant::now();
        to.copy_from_slice(from);
        std::hint::black_box(&to);
        begun.elapsed()
    };
    median((0..ROUNDS).map(|_| copy()).collect())
}

fn main() {
    if let Some(directory) = std::env::var_os("MEMPOOL_BENCH_HOST") {
        return ask(&PathBuf::from(directory));
    }
    let scratch = std::env::temp_dir().join(format!("mempool-bench-host-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let store = SpillOptions::new(&scratch).open().unwrap();
    let pool = PoolOptions::new().memory_limit(2 << 30).store(store).open(Blob);
    let content: Vec<u8> = (0..BYTES).map(|at| at.wrapping_mul(31).to_le_bytes()[1]).collect();
    let (cold, warm) = (memcpy(&content), memcpy_warm(&content));
    let set = || pool.set(content.clone()).unwrap();
    let (spilled, shareable, resident) = (set(), set(), set());
    pool.move_to_disk(&spilled).unwrap();
    let promotions = Promotions::default();
    let kept = promotions.promote(&pool, &shareable.untyped()).unwrap();
    let ways = Ways {
        pool,
        spilled: spilled.untyped(),
        shareable: shareable.untyped(),
        _kept: kept,
        resident: resident.untyped(),
        promotions,
    };
    let dir = Arc::new(RuntimeDir::open(scratch.join("run")).unwrap());
    let server = HostServer::start(&dir, OWNER, Arc::new(ways)).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env("MEMPOOL_BENCH_HOST", &scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&server.hello(ASKER).to_bytes()).unwrap();
    println!(
        "256 MiB, medians of {ROUNDS}: until it is mapped, and until each page of it was read"
    );
    let ms = |time: Duration| format!("{:9.3} ms", time.as_secs_f64() * 1e3);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let names = ["spilled", "in sealed memory", "promoted each time"];
    for (name, line) in names.into_iter().zip(lines) {
        let line = line.unwrap();
        let mut times = line.split(' ').map(|nanos| Duration::from_nanos(nanos.parse().unwrap()));
        let (mapped, read) = (times.next().unwrap(), times.next().unwrap());
        let beside = cold.as_secs_f64() / mapped.as_secs_f64();
        println!("{name:20} {} {}   {beside:.2} of the speed of memcpy", ms(mapped), ms(read));
    }
    println!("{:20} {}", "memcpy to new memory", ms(cold));
    println!("{:20} {}", "memcpy to warm memory", ms(warm));
    child.wait().unwrap();
    drop(server);
    std::fs::remove_dir_all(&scratch).unwrap();
}
