//! Handing a value over to another process of the same host, beside one `memcpy` of it: medians of one run.
//!
//! The asker is a process of its own: this program, started again. It times what it waits for: from the question to the
//! mapped frame, and to the end of a read of each page of it; and then a copy of the same bytes to memory of its own, so that
//! both meet the same neighbours.
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

/// Asks for each value, and says how long that took: to the map, to the end of a read of each page, and what a `memcpy` took
/// to memory that is new, and to memory that was written before.
fn ask(directory: &Path) {
    let mut hello = [0; HostHello::BYTES];
    std::io::stdin().read_exact(&mut hello).unwrap();
    let dir = Arc::new(RuntimeDir::open(directory.join("run")).unwrap());
    let hello = HostHello::from_bytes(&hello).unwrap();
    let link = HostLink::connect(&dir, ASKER, hello, PATIENCE).unwrap();
    let maps = ForeignMaps::default();
    let mut warm = vec![1; BYTES];
    for slot in [SPILLED, SHAREABLE, PROMOTED] {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let Given::Mapped { frame, .. } = link.fetch(value(slot), None, &maps).unwrap() else {
                panic!("bytes")
            };
            times[0].push(begun.elapsed());
            let sum: u64 = frame.iter().step_by(4096).map(|&byte| u64::from(byte)).sum();
            times[1].push(begun.elapsed());
            std::hint::black_box(sum);
            let from = &frame[frame.len() - BYTES..];
            let begun = Instant::now();
            let mut new = Vec::with_capacity(BYTES);
            new.extend_from_slice(from);
            times[2].push(begun.elapsed());
            std::hint::black_box(&new);
            let begun = Instant::now();
            warm.copy_from_slice(from);
            times[3].push(begun.elapsed());
            std::hint::black_box(&warm);
            // The owner is told that the frame is gone in a message that comes before the next question.
        }
        let nanos = times.map(|times| median(times).as_nanos().to_string());
        println!("{}", nanos.join(" "));
    }
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
        "256 MiB, medians of {ROUNDS}, in ms: until it is mapped, until each page of it was read,"
    );
    println!(
        "and a memcpy of it in the same rounds to new memory and to memory that was written before"
    );
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let names = ["spilled", "promoted ahead", "promoted each time"];
    for (name, line) in names.into_iter().zip(lines) {
        let line = line.unwrap();
        let ms = |nanos: &str| nanos.parse::<f64>().unwrap() / 1e6;
        let [mapped, read, new, warm] = line.split(' ').map(ms).collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let beside = new / mapped;
        println!(
            "{name:18} {mapped:9.3} {read:9.3} {new:9.3} {warm:9.3}   {beside:.2} of memcpy's speed"
        );
    }
    assert!(child.wait().unwrap().success());
    drop(server);
    std::fs::remove_dir_all(&scratch).unwrap();
}
