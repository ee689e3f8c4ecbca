//! What is retained among faults: damaged frames and manifests, calls that fail at every turn, full disks, lost files.
//!
//! `MANIFESTS` says how many bent manifests are read.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mempool_core::{
    Blob, Error, ErrorKind, FrameDamage, Pool, PoolOptions, SetOptions, StoreErrorKind,
};
use mempool_spill::{
    DiskCall, DiskFault, FaultyDisk, ReadMode, Retained, SessionState, SpillError, SpillStorage,
    read_retained, survey,
};

#[allow(clippy::duplicate_mod, reason = "each test is a crate")]
mod workloads;
use workloads::{LIMIT, Random, Scratch, bytes, names, number, options};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn pool_of(store: SpillStorage) -> Result<Pool<Blob>, Error> {
    PoolOptions::new().memory_limit(LIMIT).store(store).restore(Blob)
}

fn restored(directory: &Path) -> Pool<Blob> {
    pool_of(options(directory).restore().unwrap()).unwrap()
}

fn name_it(pool: &Pool<Blob>, name: &str, value: Vec<u8>) {
    drop(pool.set_with(value, SetOptions::new().name(name)).unwrap());
}

fn read(pool: &Pool<Blob>, name: &str) -> Result<Vec<u8>, Error> {
    Ok(pool.get(&pool.named(name)?)?.to_vec())
}

fn size(n: u64) -> usize {
    [40, 700, 3000, 9000, 20_000, 70_000][n as usize % 6]
}

/// Twelve values of all sizes, retained; `more` is in the seeds of their content.
fn fill(pool: &Pool<Blob>, more: u64) {
    (0..12).for_each(|n| name_it(pool, &format!("{n}"), bytes(n + more, size(n))));
}

fn retained_in(directory: &Path) -> Retained {
    let found = survey(directory).unwrap();
    let one = found.iter().find(|report| report.retained.is_some()).unwrap();
    read_retained(&one.path).unwrap()
}

fn is_whole(pool: &Pool<Blob>, more: u64) -> bool {
    (0..12)
        .all(|n| read(pool, &format!("{n}")).is_ok_and(|value| value == bytes(n + more, size(n))))
}

/// The error of the store in the error of a restored value, and the value's name.
fn cause(error: &Error) -> (&str, &SpillError) {
    let Error::Retained { name, source, .. } = error else { panic!("{error}") };
    let Error::Store(store) = &**source else { panic!("{source}") };
    (name, store.source.downcast_ref().unwrap())
}

fn fresh(name: &str) -> Scratch {
    let scratch = Scratch::in_memory(name);
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    fill(&pool, 0);
    pool.close_retaining().unwrap();
    scratch
}

#[test]
fn damage_of_a_frame_is_named_and_the_others_are_whole() {
    let scratch = fresh("retain-damage");
    let retained = retained_in(&scratch.0);
    let mut random = Random::new(7);
    for (name, at) in &retained.manifest.names {
        let value = &retained.manifest.values[*at as usize];
        let handle = value.frame.unwrap();
        let segment = retained.segments.iter().find(|s| s.segment == handle.segment).unwrap();
        let path = retained.path.join(segment.file_name());
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        // In the header's magic, identity, sum, and somewhere in the content.
        for place in [0, 74, 82, 121, 144 + random.below(handle.bytes - 144)] {
            let (mut byte, at) = ([0], handle.offset + place);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            let found = retained.check(value).unwrap_err();
            assert!(matches!(&found, SpillError::Damaged { path: p, .. } if *p == path), "{found}");
            for mode in [ReadMode::Map, ReadMode::Copy] {
                let store = options(&scratch.0).read_mode(mode).restore().unwrap();
                let pool = pool_of(store).unwrap();
                let error = read(&pool, name).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damage);
                let (named, cause) = cause(&error);
                let SpillError::Damaged { path: found, offset, .. } = cause else {
                    panic!("{cause}")
                };
                assert_eq!((named, found, *offset), (&**name, &path, handle.offset));
                let others = retained.manifest.names.iter().filter(|(other, _)| other != name);
                for (other, _) in others {
                    let n: u64 = other.parse().unwrap();
                    assert_eq!(read(&pool, other).unwrap(), bytes(n, size(n)), "{other}");
                }
                pool.close().unwrap();
            }
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(retained.check(value).unwrap().is_some());
    }
    assert!(is_whole(&restored(&scratch.0), 0));
}

#[test]
fn the_frame_of_another_value_is_not_taken_for_it() {
    let scratch = fresh("retain-swap");
    let retained = retained_in(&scratch.0);
    let place = |name: &str| {
        let (_, at) = retained.manifest.names.iter().find(|(other, _)| other == name).unwrap();
        let handle = retained.manifest.values[*at as usize].frame.unwrap();
        let file = retained.segments.iter().find(|s| s.segment == handle.segment).unwrap();
        let path = retained.path.join(file.file_name());
        (fs::File::options().read(true).write(true).open(path).unwrap(), handle)
    };
    // Both are whole, of one length and one format.
    let ((from, a), (to, b)) = (place("0"), place("6"));
    let mut frame = vec![0; a.bytes as usize];
    from.read_exact_at(&mut frame, a.offset).unwrap();
    to.write_all_at(&frame, b.offset).unwrap();
    let pool = restored(&scratch.0);
    let error = read(&pool, "6").unwrap_err();
    let Error::Retained { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, Error::Frame { damage: FrameDamage::Id { .. }, .. }), "{source}");
    assert_eq!(read(&pool, "0").unwrap(), bytes(0, size(0)));
}

#[test]
fn a_file_that_is_lost_or_cut_is_named_and_the_others_are_whole() {
    let scratch = fresh("retain-lost");
    let retained = retained_in(&scratch.0);
    let of = |name: &str| {
        let (_, at) = retained.manifest.names.iter().find(|(other, _)| other == name).unwrap();
        let handle = retained.manifest.values[*at as usize].frame.unwrap();
        retained.segments.iter().find(|s| s.segment == handle.segment).unwrap()
    };
    // The files of two large values: one is gone, of the other the end.
    let (lost, cut) =
        (retained.path.join(of("5").file_name()), retained.path.join(of("11").file_name()));
    fs::remove_file(&lost).unwrap();
    fs::File::options().write(true).open(&cut).unwrap().set_len(50_000).unwrap();
    // And a shared one, of which what is left is read.
    let shared = of("1");
    assert!(shared.shared);
    let shared = retained.path.join(shared.file_name());
    fs::File::options().write(true).open(&shared).unwrap().set_len(2000).unwrap();
    let pool = restored(&scratch.0);
    let mut damaged = 0;
    for n in 0..12 {
        match read(&pool, &format!("{n}")) {
            Ok(value) => assert_eq!(value, bytes(n, size(n))),
            Err(error) => {
                let (name, cause) = cause(&error);
                assert_eq!(name, format!("{n}"));
                match cause {
                    SpillError::Io { path, call: "open", .. } => assert_eq!(*path, lost),
                    SpillError::Truncated { path, .. } => assert!([&cut, &shared].contains(&path)),
                    other => panic!("{other}"),
                }
                damaged += 1;
            }
        }
    }
    assert!(damaged >= 3);
    assert_eq!(read(&pool, "0").unwrap(), bytes(0, size(0)), "before the cut");
    // What cannot be read cannot be retained; without its name the rest can.
    let error = pool.close_retaining().unwrap_err();
    assert!(error.to_string().contains(lost.to_str().unwrap()), "{error}");
    drop(pool.unname("5").unwrap());
    pool.close_retaining().unwrap();
    assert_eq!(restored(&scratch.0).names().len(), 11);
}

#[test]
fn bent_manifests_are_refused_or_are_the_one_that_was_written() {
    let scratch = fresh("retain-bent");
    let retained = retained_in(&scratch.0);
    let path = retained.path.join("manifest");
    let whole = fs::read(&path).unwrap();
    let cases = number("MANIFESTS", 100_000);
    let (mut refused, mut read) = (0, 0);
    for seed in 1..=cases {
        let mut random = Random::new(seed);
        let mut bent = whole.clone();
        let at = random.below(bent.len() as u64) as usize;
        match random.below(6) {
            0 | 1 => bent[at] ^= 1 << random.below(8),
            2 => bent.truncate(at),
            3 => bent.insert(at, random.next() as u8),
            4 => bent[at..].fill(0),
            _ => {
                let from = random.below(whole.len() as u64) as usize;
                let count = (whole.len() - from.max(at)).min(64);
                bent[at..at + count].copy_from_slice(&whole[from..from + count]);
            }
        }
        fs::write(&path, &bent).unwrap();
        match read_retained(&retained.path) {
            Ok(found) => {
                assert_eq!((bent == whole, &found.manifest), (true, &retained.manifest), "{seed}");
                read += 1;
            }
            Err(SpillError::Damaged { path: found, .. }) => {
                assert_eq!(found, path);
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
        if seed % 500 == 0 && bent != whole {
            // No sweep removes it, nobody restores it, and nothing else is harmed.
            let refused = options(&scratch.0).restore().map(pool_of);
            assert!(matches!(refused, Err(SpillError::Damaged { .. }) | Ok(Err(_))), "seed {seed}");
            drop(options(&scratch.0).open().unwrap());
        }
    }
    println!("{refused} refused, {read} read");
    assert!(refused > cases / 2);
    fs::write(&path, &whole).unwrap();
    assert!(is_whole(&restored(&scratch.0), 0));
}

#[test]
fn a_manifest_whose_places_cannot_be_is_refused() {
    // Whole by its checksums, and wrong: what a program of somebody else's might write.
    let scratch = fresh("retain-places");
    let retained = retained_in(&scratch.0);
    let path = retained.path.join("manifest");
    let whole = fs::read(&path).unwrap();
    let own = whole.len() - retained.manifest.encode(xxh3).len();
    let changes: [&dyn Fn(&mut mempool_core::Handle); 5] = [
        &|handle| handle.segment = 99,
        &|handle| handle.offset += 64,
        &|handle| handle.bytes = u64::MAX,
        &|handle| handle.offset = u64::MAX - 63,
        &|handle| handle.bytes = 0,
    ];
    for change in changes {
        let mut manifest = retained.manifest.clone();
        let last = manifest.values.iter_mut().max_by_key(|value| value.frame.unwrap().bytes);
        change(last.unwrap().frame.as_mut().unwrap());
        let bytes = [&whole[..own], &manifest.encode(xxh3)].concat();
        fs::write(&path, bytes).unwrap();
        let error = pool_of(options(&scratch.0).restore().unwrap()).unwrap_err();
        let Error::Store(error) = error else { panic!("{error}") };
        assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    }
    // Two values in one place.
    let mut manifest = retained.manifest.clone();
    manifest.values[1].frame = manifest.values[0].frame;
    fs::write(&path, [&whole[..own], &manifest.encode(xxh3)].concat()).unwrap();
    assert!(pool_of(options(&scratch.0).restore().unwrap()).is_err());
    // Numbers of segments that leave no room for others, sizes that would take memory.
    for (field, number) in [(0, u64::MAX), (8, u64::MAX), (16, u64::MAX), (16, 1 << 40), (24, 2)] {
        let mut bent = whole.clone();
        let shared = retained.segments.iter().position(|segment| segment.shared).unwrap();
        let at = 64 + retained.label.len() + 32 * shared + field;
        bent[at..at + 8].copy_from_slice(&number.to_le_bytes());
        bent[56..64].fill(0);
        let sum = xxh3(&bent[..own]);
        bent[56..64].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, &bent).unwrap();
        let error = options(&scratch.0).restore().unwrap_err();
        assert!(matches!(error, SpillError::Damaged { .. }), "{field} {number}: {error}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(is_whole(&restored(&scratch.0), 0));
}

/// The store's own checksum, by a store that has nothing to do with these files.
fn xxh3(bytes: &[u8]) -> u64 {
    use mempool_core::SpillStore as _;
    let scratch = Scratch::in_memory("retain-sum");
    options(&scratch.0).open().unwrap().checksum(bytes)
}

/// A copy of what stands on disk now: what a power cut or a kill would leave.
fn copy_of(directory: &Path, to: &Scratch) {
    let root = to.0.join(".mempool");
    let _ = fs::remove_dir_all(&root);
    for report in survey(directory).unwrap() {
        let session = root.join(report.path.file_name().unwrap());
        fs::create_dir_all(&session).unwrap();
        for file in names(&report.path) {
            fs::copy(report.path.join(&file), session.join(&file)).unwrap();
        }
    }
}

#[test]
fn every_call_fails_at_every_turn_and_the_old_state_or_the_new_is_whole() {
    let copy = Scratch::in_memory("retain-fault-copy");
    let mut failed = 0;
    for call in DiskCall::ALL {
        for skip in 0.. {
            let scratch = fresh("retain-fault");
            let disk = FaultyDisk::new();
            let store = options(&scratch.0).disk(disk.clone()).restore().unwrap();
            let pool = pool_of(store).unwrap();
            assert!(is_whole(&pool, 0));
            fill(&pool, 100);
            disk.fail(call, skip, 1, DiskFault::Errno(if skip % 2 == 0 { EIO } else { ENOSPC }));
            let result = pool.retain();
            let met = disk.failed() > 0;
            disk.heal();
            // No file goes while it is copied.
            pool.quiesce();
            copy_of(&scratch.0, &copy);
            let left = restored(&copy.0);
            let new = is_whole(&left, 100);
            assert!(new || is_whole(&left, 0), "{call:?} {skip}: the old state or the new");
            left.close().unwrap();
            match &result {
                Ok(()) => assert!(new, "{call:?} {skip}"),
                Err(error) => {
                    assert!(met, "{error}");
                    assert!(matches!(error, Error::Store(_)), "{error}");
                }
            }
            // Nothing is lost, and the next attempt succeeds.
            assert!(is_whole(&pool, 100), "{call:?} {skip}");
            name_it(&pool, "more", bytes(1, 5000));
            pool.close_retaining().unwrap();
            let pool = restored(&scratch.0);
            assert!(is_whole(&pool, 100), "{call:?} {skip}");
            assert_eq!(read(&pool, "more").unwrap(), bytes(1, 5000));
            failed += u64::from(result.is_err());
            if !met {
                break;
            }
        }
    }
    println!("proof: faults={failed}");
    assert!(failed >= 15, "{failed}");
}

#[test]
fn what_a_failed_sync_leaves_in_doubt_is_written_anew() {
    let scratch = Scratch::in_memory("retain-sync");
    let disk = FaultyDisk::new();
    let pool = workloads::pool(options(&scratch.0).disk(disk.clone()).open().unwrap());
    fill(&pool, 0);
    disk.fail(DiskCall::Sync, 0, 1, DiskFault::Errno(EIO));
    let error = pool.retain().unwrap_err();
    assert!(error.to_string().contains("cannot sync"), "{error}");
    let failed: PathBuf = error.to_string().split(' ').nth(2).unwrap().trim_end_matches(':').into();
    assert!(failed.is_file());
    disk.heal();
    // What the failure has lost is found, and is not retained.
    let file = fs::File::options().read(true).write(true).open(&failed).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 150).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 150).unwrap();
    let error = pool.retain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    file.write_all_at(&byte, 150).unwrap();
    pool.close_retaining().unwrap();
    // A file that could not be synced is never relied on, though the next sync of it would have answered that all is well.
    assert!(!failed.exists());
    assert!(is_whole(&restored(&scratch.0), 0));
}

#[test]
fn a_full_disk_retains_nothing_and_loses_nothing() {
    let scratch = Scratch::in_memory("retain-full");
    let store = options(&scratch.0).disk_limit(400_000).open().unwrap();
    let pool = workloads::pool(store);
    fill(&pool, 0);
    pool.retain().unwrap();
    // All that is on disk is retained, so nothing can be given back for what is to take its place.
    let mut set = 0;
    while pool.set_with(bytes(set, 9000), SetOptions::new().name(format!("more {set}"))).is_ok() {
        set += 1;
    }
    let error = pool.close_retaining().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(is_whole(&pool, 0));
    for n in 0..set {
        assert_eq!(read(&pool, &format!("more {n}")).unwrap(), bytes(n, 9000));
    }
    (0..set).for_each(|n| drop(pool.unname(&format!("more {n}")).unwrap()));
    pool.quiesce();
    pool.close_retaining().unwrap();
    let pool = restored(&scratch.0);
    assert_eq!(pool.names().len(), 12);
    assert!(is_whole(&pool, 0));
}

#[test]
fn a_session_that_is_retained_is_told_of_and_not_swept() {
    let scratch = fresh("retain-survey");
    for _ in 0..3 {
        let store = options(&scratch.0).open().unwrap();
        assert_eq!((store.swept().sessions, store.swept().retained), (0, 1));
    }
    let [report] = &survey(&scratch.0).unwrap()[..] else { panic!("one session") };
    assert!(matches!(report.state, SessionState::Retained), "{report:?}");
    let retained = report.retained.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(retained.manifest.names.len(), 12);
    let store = options(&scratch.0).restore().unwrap();
    let [report] = &survey(&scratch.0).unwrap()[..] else { panic!("one session") };
    assert!(matches!(report.state, SessionState::Living), "{report:?}");
    drop(store);
    fs::write(report.path.join("manifest"), "damaged").unwrap();
    let store = options(&scratch.0).open().unwrap();
    assert_eq!((store.swept().sessions, store.swept().retained), (0, 1), "damaged, it is kept");
    let report = survey(&scratch.0).unwrap().into_iter().find(|one| one.retained.is_some());
    let report = report.unwrap();
    assert!(matches!(report.retained, Some(Err(SpillError::Damaged { .. }))));
    assert!(matches!(report.state, SessionState::Retained));
}
