//! Frames in the session's own segments are damaged, under `Verify::Always`: no get answers another value, and none dies.
//!
//! `DAMAGED_FRAMES` says how many, `SEED` which.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use mempool_core::{Blob, DRef, Error, ErrorKind, MAGIC, Pool};
use mempool_spill::{DiskCall, DiskFault, FaultyDisk, Verify};

mod workloads;
use workloads::{Random, Scratch, bytes, close_empty, names, number, options};

/// A value by the seed of its bytes.
type Value = (u64, DRef<Vec<u8>>);

/// A value that lies on disk, and where.
struct Target {
    seed: u64,
    one: DRef<Vec<u8>>,
    file: File,
    offset: u64,
    /// The frame as it was written.
    frame: Vec<u8>,
    /// Whether the file is this frame's alone. It is mapped anew by each open, and may be cut in between.
    alone: bool,
}

impl Target {
    fn write(&self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.offset).unwrap();
    }

    fn value(&self) -> Vec<u8> {
        bytes(self.seed, length_of(self.seed))
    }
}

/// Many small values of a few lengths, so that frames can be swapped; some with a file of their own.
fn length_of(seed: u64) -> usize {
    [100, 100, 100, 1000, 1000, 1000, 5000, 5000, 20_000, 20_000]
        [usize::try_from(seed % 10).unwrap()]
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Finds the frames of values in the files of a session: a frame starts with its magic, and names its value (docs/format.md).
fn find(session: &Path, values: Vec<Value>) -> Vec<Target> {
    let mut by_id: HashMap<(u32, u32), Value> = values
        .into_iter()
        .map(|(seed, one)| ((one.id().slot, one.id().generation), (seed, one)))
        .collect();
    let mut targets = Vec::new();
    for name in names(session) {
        let content = std::fs::read(session.join(&name)).unwrap();
        let starts = (0..content.len()).step_by(64).filter(|&at| content[at..].starts_with(&MAGIC));
        for at in starts {
            let header = &content[at..];
            let id = word(header, 72);
            let id = (u32::try_from(id & 0xffff_ffff).unwrap(), u32::try_from(id >> 32).unwrap());
            let end = at + usize::try_from(word(header, 48)).unwrap();
            let Some((seed, one)) = by_id.remove(&id) else { continue };
            let file = OpenOptions::new().read(true).write(true).open(session.join(&name)).unwrap();
            let (frame, alone) = (content[at..end].to_vec(), at == 0 && end + 4096 > content.len());
            targets.push(Target { seed, one, file, offset: at as u64, frame, alone });
        }
    }
    assert!(by_id.is_empty(), "each value has a frame in the session's files");
    targets
}

fn set(pool: &Pool<Blob>, seed: u64) -> Value {
    let one = pool.set(bytes(seed, length_of(seed))).unwrap();
    pool.move_to_disk(&one).unwrap();
    (seed, one)
}

/// What was done to a frame, so that a failure says it.
#[derive(Debug)]
enum Damage {
    HeaderBit(usize),
    AnyBit(usize),
    Block(usize, usize),
    Zeros(usize),
    Swapped(usize),
    Stale,
    Cut(u64),
}

fn damage(targets: &[Target], n: usize, stale: &[Vec<u8>], random: &mut Random) -> Damage {
    let target = &targets[n];
    let below =
        |random: &mut Random, end: usize| usize::try_from(random.below(end as u64)).unwrap();
    let mut bent = target.frame.clone();
    let damage = match random.below(7) {
        0 => Damage::HeaderBit(below(random, 144 * 8)),
        1 | 2 => Damage::AnyBit(below(random, bent.len() * 8)),
        3 => {
            let start = below(random, bent.len());
            Damage::Block(start, 1 + below(random, bent.len() - start))
        }
        4 => Damage::Zeros(below(random, bent.len())),
        5 => Damage::Swapped(below(random, targets.len())),
        _ if target.alone && random.below(2) == 0 => {
            Damage::Cut(random.below(target.frame.len() as u64))
        }
        _ => Damage::Stale,
    };
    match damage {
        Damage::HeaderBit(bit) | Damage::AnyBit(bit) => bent[bit / 8] ^= 1 << (bit % 8),
        Damage::Block(start, len) => {
            bent[start..start + len].fill_with(|| random.next().to_le_bytes()[3]);
        }
        Damage::Zeros(start) => bent[start..].fill(0),
        Damage::Swapped(other) => put(&mut bent, &targets[other].frame),
        Damage::Stale => put(&mut bent, &stale[below(random, stale.len())]),
        Damage::Cut(len) => {
            target.file.set_len(len).unwrap();
            return damage;
        }
    }
    target.write(&bent);
    damage
}

/// Puts another frame's bytes where this one's are, as far as they fit.
fn put(frame: &mut [u8], other: &[u8]) {
    let len = frame.len().min(other.len());
    frame[..len].copy_from_slice(&other[..len]);
}

#[test]
fn a_damaged_frame_is_never_another_value() {
    let start = Instant::now();
    let count = number("DAMAGED_FRAMES", if cfg!(debug_assertions) { 3000 } else { 100_000 });
    let seed = number("SEED", 1);
    // Once by maps, and once where there are none and each frame is read.
    let (mut found, mut harmless) = (0, 0);
    for mapped in [true, false] {
        let scratch = Scratch::in_memory("damage");
        let disk = FaultyDisk::new();
        if !mapped {
            disk.fail(DiskCall::Map, 0, u64::MAX, DiskFault::Errno(12));
        }
        let store = options(&scratch.0).verify(Verify::Always).disk(disk).open().unwrap();
        let session = store.session_path().to_path_buf();
        let pool = workloads::pool(store);
        // Frames of values that are gone: their slots are given anew, with another generation.
        let old: Vec<_> = (1000..1050).map(|seed| set(&pool, seed)).collect();
        let stale: Vec<_> = find(&session, old).into_iter().map(|target| target.frame).collect();
        pool.quiesce();
        let values: Vec<_> = (0..50).map(|seed| set(&pool, seed)).collect();
        let targets = find(&session, values);
        assert!(targets.iter().any(|target| target.alone) && !targets.iter().all(|t| t.alone));
        let mut random = Random::new(seed);
        for case in 0..count / 2 {
            let n = usize::try_from(random.below(targets.len() as u64)).unwrap();
            let target = &targets[n];
            let length = target.file.metadata().unwrap().len();
            let what = damage(&targets, n, &stale, &mut random);
            match pool.get(&target.one) {
                Ok(view) => {
                    assert!(
                        view[..] == target.value()[..],
                        "a wrong value: case {case}, seed {seed}, {what:?}"
                    );
                    harmless += 1;
                }
                Err(error) => {
                    let cut = matches!(what, Damage::Cut(_)) && !mapped;
                    let read = matches!(error, Error::Store(_)) && cut;
                    let typed = error.kind() == ErrorKind::Damage || read;
                    assert!(typed, "case {case}, seed {seed}, {what:?}: {error}");
                    found += 1;
                }
            }
            if matches!(what, Damage::Cut(_)) {
                target.file.set_len(length).unwrap();
            }
            target.write(&target.frame);
            assert!(
                pool.get(&target.one).unwrap()[..] == target.value()[..],
                "it was damage, and no loss"
            );
            pool.move_to_disk(&target.one).unwrap();
        }
        drop(targets);
        close_empty(pool, &scratch.0);
    }
    println!(
        "{count} damaged frames in {:.1?}: {found} were found, {harmless} had lost nothing, none was another value",
        start.elapsed()
    );
    println!("proof: cases={count} faults={found} seed={seed}");
    // What loses nothing is a frame swapped with itself, or random bytes that are the same.
    assert!(harmless * 20 < count);
}
