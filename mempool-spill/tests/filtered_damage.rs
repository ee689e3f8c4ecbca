//! Damaged and forged containers in the session's own segments and in saved files: no get answers another value, and none
//! dies.
//!
//! `DAMAGED_CONTAINERS` says how many, `SEED` which.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::error::Error as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mempool_core::{Blob, DRef, Error, ErrorKind, Pool, PoolOptions};
use mempool_spill::{FilterError, SpillError};
use twox_hash::XxHash3_64;

mod filtered;
mod workloads;
use filtered::{Scratch, mixed, with_chain};
use workloads::{Random, names, number};

const LIMIT: u64 = 4 << 20;

/// A value whose container lies in a file of the session.
struct Target {
    one: DRef<Vec<u8>>,
    plain: Vec<u8>,
    file: File,
    offset: u64,
    bytes: Vec<u8>,
}

impl Target {
    fn write(&self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.offset).unwrap();
    }
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where each block starts, its head included, and where it ends.
fn blocks(container: &[u8]) -> Vec<(usize, usize)> {
    let mut at = 64 + 64 * half(container, 12) as usize;
    let mut found = Vec::new();
    while at + 16 <= container.len() {
        let end = at + 16 + half(container, at) as usize;
        found.push((at, end));
        at = end;
    }
    found
}

/// Gives a container that was changed the checksums that it should have, as somebody would who wants it to be believed.
fn reseal(container: &mut [u8]) {
    let head = 64 + 64 * half(container, 12).min(8) as usize;
    if head > container.len() {
        return;
    }
    let mut context = container[..head].to_vec();
    context[16..24].fill(0);
    context[56..64].fill(0);
    let seed = XxHash3_64::oneshot(&context);
    let found = blocks(container);
    let last = found.len().wrapping_sub(1);
    for (index, (start, end)) in found.into_iter().enumerate() {
        if end > container.len() {
            break;
        }
        let place = 2 * index as u64 + u64::from(index == last);
        let seed = seed.wrapping_add(place);
        let sum = XxHash3_64::oneshot_with_seed(seed, &container[start + 16..end]);
        container[start + 8..start + 16].copy_from_slice(&sum.to_le_bytes());
    }
    container[56..64].fill(0);
    let sum = XxHash3_64::oneshot(&container[..head]);
    container[56..64].copy_from_slice(&sum.to_le_bytes());
}

/// Small ones that share a segment, of equal length so that they can be swapped, and some of three blocks.
fn length_of(n: usize) -> usize {
    [100, 100, 100, 1000, 1000, 5000, 5000, 20_000, 20_000, 600_000][n % 10]
}

fn set(pool: &Pool<Blob>, session: &Path, count: usize, seed: usize) -> Vec<Target> {
    let make = |n: usize| {
        let plain = mixed((seed + n) as u64, length_of(n));
        let one = pool.set(plain.clone()).unwrap();
        drop(pool.move_to_disk(&one).unwrap());
        (one, plain)
    };
    let mut values: Vec<_> = (0..count).map(make).collect();
    let mut targets = Vec::new();
    for name in names(session) {
        let content = fs::read(session.join(&name)).unwrap();
        for at in (0..content.len()).step_by(64) {
            let header = &content[at..];
            if !header.starts_with(b"MEMFILT\0") {
                continue;
            }
            let id = (half(header, 40), half(header, 44));
            let is_its = |(one, _): &(DRef<_>, _)| (one.id().slot, one.id().generation) == id;
            let Some(found) = values.iter().position(is_its) else { continue };
            let (one, plain) = values.swap_remove(found);
            let bytes = header[..word(header, 16) as usize].to_vec();
            let file = OpenOptions::new().write(true).open(session.join(&name)).unwrap();
            targets.push(Target { one, plain, file, offset: at as u64, bytes });
        }
    }
    assert!(values.is_empty(), "each value has a container in the session's files");
    targets
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    HeaderBit(usize),
    AnyBit(usize),
    Noise(usize, usize),
    Zeros(usize),
    /// Another container's bytes, as far as they fit.
    Other(usize),
    /// A container that was there before, of a value that is gone.
    Old(usize),
    /// A block of this one at the place of another.
    Reordered(usize, usize),
    /// A block of another container's at the same place.
    Foreign(usize, usize),
    /// A length of a block that lies.
    Length(usize, u32),
    /// A field of the header that lies.
    Field(usize, u64),
}

fn choose(targets: &[Target], old: &[Target], n: usize, random: &mut Random) -> Damage {
    let below = |random: &mut Random, end: usize| random.below(end.max(1) as u64) as usize;
    let bytes = &targets[n].bytes;
    let count = blocks(bytes).len();
    match random.below(11) {
        0 => Damage::HeaderBit(below(random, (64 + 64 * half(bytes, 12) as usize) * 8)),
        1 | 2 => Damage::AnyBit(below(random, bytes.len() * 8)),
        3 => {
            let start = below(random, bytes.len());
            Damage::Noise(start, 1 + below(random, bytes.len() - start))
        }
        4 => Damage::Zeros(below(random, bytes.len())),
        5 => Damage::Other(below(random, targets.len())),
        6 => Damage::Old(below(random, old.len())),
        7 => Damage::Reordered(below(random, count), below(random, count)),
        8 => Damage::Foreign(below(random, targets.len()), below(random, count)),
        9 => Damage::Length(below(random, count), random.next() as u32 >> random.below(32)),
        _ => Damage::Field(
            [12, 16, 24, 32, 36, 40, 44, 48][below(random, 8)],
            random.next() >> random.below(64),
        ),
    }
}

/// The container as it is after the damage; as long as it was.
fn apply(
    targets: &[Target],
    old: &[Target],
    n: usize,
    what: Damage,
    random: &mut Random,
) -> Vec<u8> {
    let mut bent = targets[n].bytes.clone();
    let put = |bent: &mut [u8], at: usize, other: &[u8]| {
        let len = other.len().min(bent.len() - at);
        bent[at..at + len].copy_from_slice(&other[..len]);
    };
    let own = blocks(&bent);
    match what {
        Damage::HeaderBit(bit) | Damage::AnyBit(bit) => bent[bit / 8] ^= 1 << (bit % 8),
        Damage::Noise(start, len) => {
            bent[start..start + len].fill_with(|| random.next().to_le_bytes()[3])
        }
        Damage::Zeros(start) => bent[start..].fill(0),
        Damage::Other(other) => put(&mut bent, 0, &targets[other].bytes),
        Damage::Old(other) => put(&mut bent, 0, &old[other].bytes),
        Damage::Reordered(from, to) => {
            let block = bent[own[from].0..own[from].1].to_vec();
            put(&mut bent, own[to].0, &block);
        }
        Damage::Foreign(other, block) => {
            let theirs = blocks(&targets[other].bytes);
            if let Some(&(start, end)) = theirs.get(block) {
                put(&mut bent, own[block].0, &targets[other].bytes[start..end]);
            }
        }
        Damage::Length(block, len) => put(&mut bent, own[block].0, &len.to_le_bytes()),
        Damage::Field(at, value) => {
            let width = if matches!(at, 16 | 24 | 48) { 8 } else { 4 };
            bent[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    bent
}

/// Whether an error says what damage it is, or that a lying length asked for more memory than there is.
fn is_typed(error: &Error) -> bool {
    let asked = matches!(error, Error::TooLarge { .. } | Error::NoRoom(_));
    let wrapped = error.source().is_some_and(|source| {
        matches!(source.downcast_ref(), Some(Error::TooLarge { .. } | Error::NoRoom(_)))
    });
    let Error::Store(store) = error else { return asked || error.kind() == ErrorKind::Damage };
    let said: Option<&SpillError> = store.source.downcast_ref();
    let needs = matches!(
        said,
        Some(
            SpillError::FilterMissing { .. }
                | SpillError::Filter { source: FilterError::WrongKey { .. }, .. }
        )
    );
    needs || wrapped || error.kind() == ErrorKind::Damage
}

#[test]
fn a_damaged_container_is_never_another_value() {
    let start = Instant::now();
    let count = number("DAMAGED_CONTAINERS", if cfg!(debug_assertions) { 1200 } else { 100_000 });
    let seed = number("SEED", 1);
    let (mut refused, mut harmless) = (0_u64, 0_u64);
    let mut said = [0_u64; 4];
    let chains = ["l", "z", "e", "ze"];
    for chain in chains {
        // Damage by accident, and, where a key protects, damage that somebody made to be believed.
        for forged in [false, true] {
            if forged && !chain.contains('e') {
                continue;
            }
            let scratch = Scratch::new("damage");
            let store = with_chain(scratch.options(), chain).open().unwrap();
            let session = store.session_path().to_path_buf();
            let options = PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO);
            let pool = options.store(store).open(Blob);
            let old = set(&pool, &session, 20, 1000);
            let targets = set(&pool, &session, 40, 0);
            let mut random = Random::new(seed);
            for case in 0..count / 6 {
                let n = random.below(targets.len() as u64) as usize;
                let target = &targets[n];
                let what = choose(&targets, &old, n, &mut random);
                let mut bent = apply(&targets, &old, n, what, &mut random);
                if forged {
                    reseal(&mut bent);
                }
                target.write(&bent);
                match pool.get(&target.one) {
                    Ok(view) => {
                        assert!(
                            view[..] == target.plain[..],
                            "a wrong value: {chain}, forged {forged}, case {case}, seed {seed}, {what:?}"
                        );
                        harmless += 1;
                    }
                    Err(error) => {
                        assert!(is_typed(&error), "{chain}, {case}, {seed}, {what:?}: {error:?}");
                        let cause = match &error {
                            Error::Store(store) => store.source.downcast_ref(),
                            _ => None,
                        };
                        let kind = match cause {
                            Some(SpillError::Damaged { .. }) => 0,
                            Some(SpillError::Filter {
                                source: FilterError::NotAuthentic, ..
                            }) => 1,
                            Some(SpillError::Filter {
                                source: FilterError::WrongKey { .. },
                                ..
                            }) => 2,
                            _ => 3,
                        };
                        said[kind] += 1;
                        refused += 1;
                    }
                }
                target.write(&target.bytes);
                assert!(pool.get(&target.one).unwrap()[..] == target.plain[..], "it was no loss");
                drop(pool.move_to_disk(&target.one).unwrap());
            }
        }
    }
    println!(
        "{count} damaged containers in {:.1?}: {refused} refused, {harmless} had lost nothing, none was another value",
        start.elapsed()
    );
    println!("damaged, not authentic, wrong key, other: {said:?}");
    println!("proof: cases={count} faults={refused} seed={seed}");
    assert!(harmless * 8 < count && said.iter().all(|&count| count > 0), "{harmless} {said:?}");
}

#[test]
fn a_bomb_takes_no_more_than_it_says() {
    // A block that would decode to much more than the frame has; every checksum is right.
    for (chain, bomb) in [
        ("l", lz4_flex::block::compress(&vec![0; 8 << 20])),
        ("z", zstd::bulk::compress(&vec![0; 8 << 20], 19).unwrap()),
    ] {
        let scratch = Scratch::new("bomb");
        let store = with_chain(scratch.options(), chain).open().unwrap();
        let options = PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO);
        let pool = options.store(store).open(Blob);
        let path = scratch.0.join("bomb");
        pool.save_to_disk(&pool.set(vec![7; 100_000]).unwrap(), &path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(128);
        bytes.extend_from_slice(&(bomb.len() as u32 + 1).to_le_bytes());
        bytes.extend_from_slice(&[0; 12]);
        bytes.push(1);
        bytes.extend_from_slice(&bomb);
        let len = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        reseal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = pool.get_file(&pool.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
        let Error::Store(store) = &error else { panic!("{error:?}") };
        let said: &SpillError = store.source.downcast_ref().unwrap();
        let source = match said {
            SpillError::Filter { source, .. } => source,
            other => panic!("{other:?}"),
        };
        assert!(matches!(source, FilterError::Undecodable { .. }), "{source:?}");
        // And a header that says that there is much: the pool's limit holds.
        bytes[24..32].copy_from_slice(&(1_u64 << 50).to_le_bytes());
        reseal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = pool.get_file(&pool.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damage, "so few bytes hold no such frame: {error}");
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let scratch = Scratch::new("cut");
    for chain in ["l", "ze"] {
        let store = with_chain(scratch.options(), chain).open().unwrap();
        let pool = PoolOptions::new().memory_limit(LIMIT).store(store).open(Blob);
        let path = scratch.0.join("cut");
        pool.save_to_disk(&pool.set(mixed(1, 300_000)).unwrap(), &path).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in (0..whole.len()).step_by(211).chain(whole.len() - 20..whole.len()) {
            fs::write(&path, &whole[..len]).unwrap();
            let error = pool.get_file(&pool.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damage, "{len}: {error}");
            // Whoever forges the length and the checksums has not the key.
            let mut forged = whole[..len].to_vec();
            if len >= 64 + 64 * chain.len() + 16 {
                forged[16..24].copy_from_slice(&(len as u64).to_le_bytes());
                reseal(&mut forged);
                fs::write(&path, &forged).unwrap();
                let error = pool.get_file(&pool.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damage, "{len}: {error}");
            }
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(pool.get_file(&pool.file::<Vec<u8>>(&path)).is_err());
    }
}
