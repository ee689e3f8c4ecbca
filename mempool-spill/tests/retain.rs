//! Values that outlive their pool: retained under names, and restored by another pool, store or process.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use mempool_codec::{Bincode, Encoded, Reference, ResidentBytes, Rkyv};
use mempool_core::{
    Blob, Codec, DRef, Error, ErrorKind, Format, Place, Pool, PoolOptions, Rejected, Room,
    SetOptions, Sink, Source, StoreErrorKind, Trust,
};
use mempool_spill::{
    ReadMode, SpillError, SpillOptions, SpillStorage, Verify, read_retained, remove_retained,
    survey, sweep_directory,
};
use rkyv::with::Map;

#[allow(clippy::duplicate_mod, reason = "each test is a crate")]
mod workloads;
use workloads::{LIMIT, Random, SEGMENT, Scratch, bytes, names, options};

fn pool_of<C: Send + Sync + 'static>(store: SpillStorage, codec: C) -> Pool<C> {
    PoolOptions::new().memory_limit(LIMIT).store(store).restore(codec).unwrap()
}

fn restored(directory: &Path) -> Pool<Blob> {
    pool_of(options(directory).restore().unwrap(), Blob)
}

fn name_it(pool: &Pool<Blob>, name: &str, value: Vec<u8>) {
    drop(pool.set_with(value, SetOptions::new().name(name)).unwrap());
}

fn read(pool: &Pool<Blob>, name: &str) -> Vec<u8> {
    pool.get(&pool.named(name).unwrap()).unwrap().to_vec()
}

/// The one session of a directory.
fn session(directory: &Path) -> PathBuf {
    let root = directory.join(".mempool");
    let all = names(&root);
    assert_eq!(all.len(), 1, "{all:?}");
    root.join(&all[0])
}

fn disk_bytes(session: &Path) -> u64 {
    let files = fs::read_dir(session).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// The error of the store, as the spill tier says it.
fn spill_error(error: &Error) -> &SpillError {
    match error {
        Error::Retained { source, .. } => spill_error(source),
        Error::Store(error) => error.source.downcast_ref().unwrap(),
        other => panic!("{other}"),
    }
}

/// Values of all sizes, of which those with a name are retained.
fn fill(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let pool = workloads::pool(options(directory).open().unwrap());
    let mut kept = Vec::new();
    let mut others = Vec::new();
    for seed in 0..60 {
        let value = bytes(seed, 100 + 500 * seed as usize);
        let reference = pool.set(value.clone()).unwrap();
        if seed % 3 == 0 {
            let name = format!("value {seed}");
            assert!(pool.set_name(&name, &reference).unwrap().is_none());
            kept.push((name, value));
        } else {
            others.push(reference);
        }
    }
    // Larger than the whole memory limit.
    let huge = bytes(99, 3 * LIMIT as usize);
    name_it(&pool, "huge", huge.clone());
    kept.push(("huge".into(), huge));
    pool.close_retaining().unwrap();
    kept
}

#[test]
fn values_come_back_by_their_names() {
    let scratch = Scratch::new("retain");
    let kept = fill(&scratch.0);
    let pool = restored(&scratch.0);
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes), (kept.len() as u64, 0), "the others are gone");
    let all: u64 = kept.iter().map(|(_, value)| value.len() as u64).sum();
    assert!(stats.store.disk_bytes >= all && stats.live_disk_bytes >= all);
    let infos = pool.names();
    assert_eq!(infos.len(), kept.len());
    for info in &infos {
        assert_eq!(info.value_type, "alloc::vec::Vec<u8>");
        assert_eq!(info.value.unwrap().place, Place::Spilled);
    }
    for _ in 0..2 {
        for (name, value) in &kept {
            assert_eq!(read(&pool, name), *value, "{name}");
        }
    }
    assert!(pool.stats().peak_bytes <= LIMIT);
    assert!(matches!(pool.named::<Vec<u8>>("value 1"), Err(Error::NoName { .. })));
    pool.close().unwrap();
    // A pool that was closed without retaining has lost nothing.
    let pool = restored(&scratch.0);
    assert_eq!(pool.names().len(), kept.len());
    pool.forget_retained().unwrap();
    assert_eq!(read(&pool, &kept[3].0), kept[3].1);
    pool.close().unwrap();
    assert_eq!(scratch.names(), Vec::<String>::new());
}

/// What programs keep beside each other: an index with references to parts, some of which are shared.
#[derive(
    Debug, PartialEq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
struct Row {
    key: u64,
    text: String,
}

impl ResidentBytes for Row {
    fn resident_bytes(&self) -> u64 {
        self.text.resident_bytes()
    }
}

#[derive(Debug, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
struct Tree {
    label: String,
    #[rkyv(with = Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    parts: Vec<DRef<Vec<Row>>>,
    #[rkyv(with = Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    below: Vec<DRef<Tree>>,
}

impl ResidentBytes for Tree {
    fn resident_bytes(&self) -> u64 {
        self.label.resident_bytes() + self.parts.resident_bytes() + self.below.resident_bytes()
    }
}

fn rows(seed: u64) -> Vec<Row> {
    (0..40).map(|key| Row { key, text: format!("row {key} of {seed}") }).collect()
}

/// The children of the tests below.
#[test]
fn child_of_the_retaining() {
    let Some(directory) = std::env::var_os("MEMPOOL_RETAIN_DIRECTORY").map(PathBuf::from) else {
        return;
    };
    let store = options(&directory).label("typed").open().unwrap();
    let pool = PoolOptions::new().memory_limit(LIMIT).store(store).open(Rkyv::new());
    let (plain, encoded) = (pool.with_codec(Bincode), pool.with_codec(Encoded::new()));
    let parts: Vec<_> = (0..20).map(|seed| pool.set(rows(seed)).unwrap()).collect();
    let leaf = |label: &str, parts: &[DRef<Vec<Row>>]| Tree {
        label: label.into(),
        parts: parts.to_vec(),
        below: Vec::new(),
    };
    let below = vec![
        pool.set(leaf("left", &parts[..12])).unwrap(),
        pool.set(leaf("right", &parts[8..])).unwrap(),
    ];
    let root = Tree { label: "root".into(), parts: vec![parts[0].clone()], below };
    drop(pool.set_with(root, SetOptions::new().name("tree")).unwrap());
    drop(plain.set_with(rows(100), SetOptions::new().name("plain")).unwrap());
    drop(encoded.set_with(rows(101), SetOptions::new().name("encoded")).unwrap());
    let plain_parts: Vec<_> = (0..3).map(|seed| plain.set(rows(seed)).unwrap()).collect();
    let plain_tree = SetOptions::new().name("plain tree");
    drop(plain.set_with(leaf("plain", &plain_parts), plain_tree).unwrap());
    drop(parts);
    drop(plain_parts);
    pool.close_retaining().unwrap();
}

fn in_another_process(directory: &Path) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_of_the_retaining", "--test-threads=1"]);
    let output = command.env("MEMPOOL_RETAIN_DIRECTORY", directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn values_of_each_codec_come_back_from_another_process_with_their_references() {
    for mode in [ReadMode::Map, ReadMode::Copy] {
        let scratch = Scratch::new("retain-typed");
        in_another_process(&scratch.0);
        let store = options(&scratch.0).label("typed").read_mode(mode).restore().unwrap();
        let pool = pool_of(store, Rkyv::new());
        let (plain, encoded) = (pool.with_codec(Bincode), pool.with_codec(Encoded::new()));
        assert_eq!(*plain.get(&plain.named::<Vec<Row>>("plain").unwrap()).unwrap(), rows(100));
        let row_list = encoded.named::<Vec<Row>>("encoded").unwrap();
        assert_eq!(*encoded.get(&row_list).unwrap().decode().unwrap(), rows(101));
        assert_eq!(pool.stats().values, 3 + 3 + 20 + 2 + 1);
        let tree = pool.named::<Tree>("tree").unwrap();
        {
            let root = pool.get(&tree).unwrap();
            let first = root.reference::<Vec<Row>>(root.parts[0].index());
            let Err(Error::NotRegistered { stored, asked, .. }) = first else {
                panic!("{first:?}")
            };
            assert!(stored.contains("retain::Row>, kept as rkyv"), "{stored}");
            assert!(asked.contains("retain::Row"), "{asked}");
            pool.register::<Vec<Row>>();
            let first = root.reference::<Vec<Row>>(root.parts[0].index()).unwrap();
            assert_eq!(pool.get(&first).unwrap()[7].text, "row 7 of 0");
            let sides: Vec<DRef<Tree>> = root
                .below
                .iter()
                .map(|side| root.reference::<Tree>(side.index()).unwrap())
                .collect();
            let mut seen = BTreeSet::new();
            for (side, seeds) in sides.iter().zip([0..12, 8..20]) {
                let view = pool.get(side).unwrap();
                for (part, seed) in view.parts.iter().zip(seeds) {
                    let part = view.reference::<Vec<Row>>(part.index()).unwrap();
                    assert_eq!(pool.get(&part).unwrap()[3].text, format!("row 3 of {seed}"));
                    seen.insert(part.id());
                }
            }
            assert_eq!(seen.len(), 20, "what was one value is one value");
        }
        // References that a codec decodes with the value: their types are asked for then.
        let plain_tree = plain.named::<Tree>("plain tree").unwrap();
        {
            let view = plain.get(&plain_tree).unwrap();
            assert_eq!(*plain.get(&view.parts[2]).unwrap(), rows(2));
        }
        // The parts live as long as what refers to them.
        drop(pool.unname("tree").unwrap());
        assert_eq!(pool.stats().values, 3 + 3 + 20 + 2 + 1);
        drop(tree);
        pool.quiesce();
        assert_eq!(pool.stats().values, 3 + 3);
        pool.forget_retained().unwrap();
        drop((row_list, plain_tree));
        pool.close().unwrap();
        assert_eq!(scratch.names(), Vec::<String>::new());
    }
}

#[test]
fn a_value_is_asked_for_as_what_it_is() {
    let scratch = Scratch::new("retain-types");
    in_another_process(&scratch.0);
    let pool = pool_of(options(&scratch.0).label("typed").restore().unwrap(), Rkyv::new());
    let plain = pool.with_codec(Bincode);
    let wrong = |error: Error, asked_for: &str| {
        assert_eq!(error.kind(), ErrorKind::Misuse);
        let Error::WrongCodec { stored, asked } = &error else { panic!("{error}") };
        assert!(stored.contains("retain::Row>, kept as bincode type "), "{stored}");
        assert!(asked.contains(asked_for), "{asked}");
    };
    wrong(pool.named::<Vec<Row>>("plain").unwrap_err(), "by mempool_codec::rkyv::Rkyv (rkyv type ");
    wrong(
        plain.named::<Vec<u64>>("plain").unwrap_err(),
        "Vec<u64> by mempool_codec::bincode::Bincode",
    );
    assert_eq!(pool.stats().loads, 0, "nothing was read");
    // What decodes its references with the value needs their types then.
    let tree = plain.named::<Tree>("plain tree").unwrap();
    let error = plain.get(&tree).unwrap_err();
    assert!(format!("{error:?}").contains("NotRegistered"), "{error:?}");
    let rows_again = plain.named::<Vec<Row>>("plain").unwrap();
    assert_eq!(plain.get(&tree).unwrap().parts.len(), 3, "a later get succeeds");
    // From now on the types are known: the error is that of any value.
    let error = pool.named::<Vec<Row>>("plain").unwrap_err();
    let Error::WrongCodec { stored, .. } = error else { panic!("{error}") };
    assert!(stored.ends_with("by mempool_codec::bincode::Bincode"), "{stored}");
    drop(rows_again);
}

#[test]
fn ten_thousand_names_come_back() {
    let scratch = Scratch::new("retain-many");
    let text = |n: u64| format!("{}/{n}", ["orders", "öäü", "a b\n", "🦀", ""][n as usize % 5]);
    let store = SpillOptions::new(&scratch.0).open().unwrap();
    let pool = PoolOptions::new().memory_limit(LIMIT).store(store).open(Blob);
    for n in 0..10_000 {
        name_it(&pool, &text(n), bytes(n, 20 + n as usize % 50));
    }
    pool.close_retaining().unwrap();
    let kept = session(&scratch.0);
    let retained = read_retained(&kept).unwrap();
    assert_eq!(retained.manifest.names.len(), 10_000);
    // Segments of 64 MiB are kept as far as something lives in them.
    assert!(disk_bytes(&kept) < 8 << 20, "{}", disk_bytes(&kept));
    let store = SpillOptions::new(&scratch.0).restore().unwrap();
    let pool = PoolOptions::new().memory_limit(LIMIT).store(store).restore(Blob).unwrap();
    assert!(pool.names().windows(2).all(|pair| pair[0].name < pair[1].name));
    for n in 0..10_000 {
        assert_eq!(read(&pool, &text(n)), bytes(n, 20 + n as usize % 50));
    }
}

#[test]
fn what_is_retained_again_has_the_old_and_the_new() {
    let scratch = Scratch::new("retain-again");
    let mut kept = fill(&scratch.0);
    for round in 0..4 {
        let pool = restored(&scratch.0);
        assert_eq!(pool.names().len(), kept.len());
        // Some go, some are replaced, some come; some are read before, some were never looked at.
        let (gone, _) = kept.remove(round);
        drop(pool.unname(&gone).unwrap());
        let value = bytes(1000 + round as u64, 3000);
        kept[round].1.clone_from(&value);
        name_it(&pool, &kept[round].0, value);
        for n in 0..5 {
            let value = bytes(2000 + n + 10 * round as u64, 9000);
            let name = format!("new {round} {n}");
            name_it(&pool, &name, value.clone());
            kept.push((name, value));
        }
        for (name, value) in kept.iter().step_by(3) {
            assert_eq!(read(&pool, name), *value, "{name}");
        }
        pool.close_retaining().unwrap();
    }
    let pool = restored(&scratch.0);
    for (name, value) in &kept {
        assert_eq!(read(&pool, name), *value, "{name}");
    }
    assert!(matches!(pool.named::<Vec<u8>>("value 0"), Err(Error::NoName { .. })));
}

#[test]
fn a_pool_that_retains_works_on_and_a_dead_one_leaves_what_it_retained() {
    let scratch = Scratch::new("retain-living");
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    for n in 0..30 {
        name_it(&pool, &format!("{n}"), bytes(n, 4000));
    }
    pool.retain().unwrap();
    for n in 30..60 {
        name_it(&pool, &format!("{n}"), bytes(n, 4000));
    }
    drop(pool.unname("3").unwrap());
    for n in (0..60).filter(|&n| n != 3) {
        assert_eq!(read(&pool, &format!("{n}")), bytes(n, 4000));
    }
    let living = options(&scratch.0).restore().unwrap_err();
    assert!(matches!(living, SpillError::InUse { .. }), "{living}");
    pool.quiesce();
    let copy = Scratch::new("retain-copy");
    let to = copy_session(&session(&scratch.0), &copy.0);
    fs::write(to.join("manifest-new"), "half").unwrap();
    let swept = sweep_directory(&copy.0).unwrap();
    assert_eq!((swept.sessions, swept.retained), (0, 1));
    assert!(swept.files >= 1 && !to.join("manifest-new").exists());
    let other = restored(&copy.0);
    assert_eq!(other.names().len(), 30);
    for n in 0..30 {
        assert_eq!(read(&other, &format!("{n}")), bytes(n, 4000));
    }
    other.close().unwrap();
    pool.retain().unwrap();
    drop(pool);
    let pool = restored(&scratch.0);
    assert_eq!(pool.names().len(), 59);
    for n in (0..60).filter(|&n| n != 3) {
        assert_eq!(read(&pool, &format!("{n}")), bytes(n, 4000));
    }
}

/// What a killed process would leave: the kernel ends its lock, and the copy of its directory has none.
fn copy_session(from: &Path, directory: &Path) -> PathBuf {
    let to = directory.join(".mempool/s-1-copy");
    fs::create_dir_all(&to).unwrap();
    for file in names(from) {
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
    to
}

#[test]
fn what_is_retained_is_not_written_over() {
    let scratch = Scratch::new("retain-over");
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    for n in 0..40 {
        name_it(&pool, &format!("{n}"), bytes(n, 4000));
    }
    pool.retain().unwrap();
    for n in 0..40 {
        drop(pool.unname(&format!("{n}")).unwrap());
    }
    pool.quiesce();
    // Nothing lives where these might go.
    for n in 0..80 {
        let one = pool.set(bytes(100 + n, 4000)).unwrap();
        pool.move_to_disk(&one).unwrap();
        pool.set_name(&format!("new {n}"), &one).unwrap();
    }
    let copy = Scratch::new("retain-over-copy");
    copy_session(&session(&scratch.0), &copy.0);
    let left = restored(&copy.0);
    for n in 0..40 {
        assert_eq!(read(&left, &format!("{n}")), bytes(n, 4000));
    }
    for n in 0..80 {
        assert_eq!(read(&pool, &format!("new {n}")), bytes(100 + n, 4000));
    }
}

#[test]
fn what_is_not_retained_any_more_frees_its_space() {
    let scratch = Scratch::new("retain-space");
    let store = options(&scratch.0).open().unwrap();
    let pool = workloads::pool(store);
    for n in 0..200 {
        name_it(&pool, &format!("small {n}"), bytes(n, 3000));
    }
    (0..4).for_each(|n| name_it(&pool, &format!("large {n}"), bytes(n, 80_000)));
    pool.close_retaining().unwrap();
    let kept = session(&scratch.0);
    let before = disk_bytes(&kept);
    assert!(before > 900_000);
    let pool = restored(&scratch.0);
    assert!(pool.stats().store.disk_bytes >= before);
    for n in (0..200).filter(|n| n % 20 != 0) {
        drop(pool.unname(&format!("small {n}")).unwrap());
    }
    (0..3).for_each(|n| drop(pool.unname(&format!("large {n}")).unwrap()));
    pool.quiesce();
    assert!(disk_bytes(&kept) >= before, "what is retained stays until something takes its place");
    pool.close_retaining().unwrap();
    let after = disk_bytes(&kept);
    assert!(after < before / 3, "{after} of {before}");
    let pool = restored(&scratch.0);
    for n in (0..200).filter(|n| n % 20 == 0) {
        assert_eq!(read(&pool, &format!("small {n}")), bytes(n, 3000));
        drop(pool.unname(&format!("small {n}")).unwrap());
    }
    drop(pool.unname("large 3").unwrap());
    pool.close_retaining().unwrap();
    assert_eq!(names(&kept), ["manifest"], "nothing is named any more");
    assert!(restored(&scratch.0).names().is_empty());
}

#[test]
fn only_one_store_has_a_retained_session_and_each_label_its_own() {
    let scratch = Scratch::new("retain-labels");
    for label in ["etl", "web", ""] {
        let pool = workloads::pool(options(&scratch.0).label(label).open().unwrap());
        name_it(&pool, "mine", label.as_bytes().to_vec());
        pool.close_retaining().unwrap();
    }
    let error = options(&scratch.0).label("other").restore().unwrap_err();
    assert!(matches!(&error, SpillError::NothingRetained { label, .. } if label == "other"));
    let long = options(&scratch.0).label("x".repeat(256));
    for error in [long.clone().open().unwrap_err(), long.restore().unwrap_err()] {
        assert!(matches!(error, SpillError::LabelTooLong { bytes: 256, limit: 255 }), "{error}");
    }
    for label in ["web", "", "etl"] {
        let first = options(&scratch.0).label(label).restore().unwrap();
        let second = options(&scratch.0).label(label).restore().unwrap_err();
        assert!(matches!(second, SpillError::InUse { .. }), "{second}");
        let pool = pool_of(first, Blob);
        assert_eq!(read(&pool, "mine"), label.as_bytes());
        pool.close().unwrap();
        // Closed, and not dropped: it is free.
        pool_of(options(&scratch.0).label(label).restore().unwrap(), Blob).close().unwrap();
        drop(pool);
    }
    let fresh = options(&scratch.0).label("new").restore_or_open().unwrap();
    assert_eq!(fresh.swept().retained, 3);
    let pool = pool_of(fresh, Blob);
    assert!(pool.names().is_empty());
    pool.close().unwrap();
    // Two of one label: neither is taken for the other.
    let pool = workloads::pool(options(&scratch.0).label("etl").open().unwrap());
    name_it(&pool, "mine", b"another".to_vec());
    pool.close_retaining().unwrap();
    let error = options(&scratch.0).label("etl").restore_or_open().unwrap_err();
    let SpillError::Ambiguous { sessions, .. } = &error else { panic!("{error}") };
    let mut found = Vec::new();
    for path in sessions {
        let name = path.file_name().unwrap().to_str().unwrap();
        let chosen = options(&scratch.0).label("etl").session(name).restore().unwrap();
        assert_eq!(chosen.session_path(), path);
        found.push(read(&pool_of(chosen, Blob), "mine"));
        let wrong = options(&scratch.0).label("web").session(name).restore().unwrap_err();
        assert!(matches!(wrong, SpillError::NothingRetained { .. }), "{wrong}");
    }
    found.sort();
    assert_eq!(found, [b"another".to_vec(), b"etl".to_vec()]);
    // Removed when it is asked for by name, and not while it is open.
    let name = sessions[0].file_name().unwrap().to_str().unwrap();
    let open = options(&scratch.0).label("etl").session(name).restore().unwrap();
    assert!(!remove_retained(&scratch.0, name).unwrap());
    drop(open);
    assert!(remove_retained(&scratch.0, name).unwrap() && !sessions[0].exists());
    assert!(
        !remove_retained(&scratch.0, name).unwrap() && !remove_retained(&scratch.0, "..").unwrap()
    );
    assert_eq!(survey(&scratch.0).unwrap().len(), 3);
}

#[test]
fn two_threads_restore_and_one_has_it() {
    let scratch = Scratch::new("retain-race");
    fill(&scratch.0);
    for _ in 0..20 {
        let barrier = Barrier::new(4);
        let results: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                barrier.wait();
                let store = options(&scratch.0).restore();
                // Nobody is given it before all have asked.
                barrier.wait();
                store.map(|store| pool_of(store, Blob).names().len()).map_err(|error| {
                    assert!(matches!(error, SpillError::InUse { .. }), "{error}");
                })
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().flatten().collect::<Vec<_>>(), [&21]);
    }
}

#[test]
fn what_a_store_was_opened_with_is_not_replaced_unseen() {
    let scratch = Scratch::new("retain-unseen");
    let kept = fill(&scratch.0);
    // Opened, where it should have been restored.
    let pool = workloads::pool(options(&scratch.0).restore().unwrap());
    assert!(pool.names().is_empty());
    name_it(&pool, "new", bytes(1, 100));
    let error = pool.close_retaining().unwrap_err();
    assert!(matches!(spill_error(&error), SpillError::NotRestored { .. }), "{error}");
    assert_eq!(read(&pool, "new"), bytes(1, 100));
    pool.close().unwrap();
    assert_eq!(restored(&scratch.0).names().len(), kept.len());
}

#[test]
fn a_value_that_is_gone_is_gone_for_those_who_refer_to_it() {
    let scratch = Scratch::new("retain-gone");
    let store = options(&scratch.0).open().unwrap();
    let pool = PoolOptions::new().memory_limit(LIMIT).store(store).open(Rkyv::new());
    let parts: Vec<_> = (0..3).map(|seed| pool.set(rows(seed)).unwrap()).collect();
    let tree = Tree { label: "tree".into(), parts: parts.clone(), below: Vec::new() };
    drop(pool.set_with(tree, SetOptions::new().name("tree")).unwrap());
    pool.set_name("part", &parts[1]).unwrap();
    pool.delete(&parts[1]).unwrap();
    pool.close_retaining().unwrap();
    let pool = pool_of(options(&scratch.0).restore().unwrap(), Rkyv::new());
    pool.register::<Vec<Row>>();
    assert_eq!(pool.names().len(), 1, "a name without a value is not kept");
    let tree = pool.named::<Tree>("tree").unwrap();
    let view = pool.get(&tree).unwrap();
    let part = |at: usize| view.reference::<Vec<Row>>(view.parts[at].index()).unwrap();
    assert_eq!(pool.get(&part(0)).unwrap()[1].text, "row 1 of 0");
    assert!(matches!(pool.get(&part(1)), Err(Error::Deleted { .. })));
    assert_eq!(pool.get(&part(2)).unwrap()[1].text, "row 1 of 2");
    drop(view);
    pool.close_retaining().unwrap();
    // Once more: what is gone stays so.
    let pool = pool_of(options(&scratch.0).restore().unwrap(), Rkyv::new());
    pool.register::<Vec<Row>>();
    let tree = pool.named::<Tree>("tree").unwrap();
    let view = pool.get(&tree).unwrap();
    let gone = view.reference::<Vec<Row>>(view.parts[1].index()).unwrap();
    assert!(matches!(pool.get(&gone), Err(Error::Deleted { .. })));
}

#[test]
fn restored_values_are_values_like_any_other() {
    let scratch = Scratch::new("retain-verbs");
    fill(&scratch.0);
    let store = options(&scratch.0).verify(Verify::Always).restore().unwrap();
    let pool = pool_of(store, Blob);
    let one = pool.named::<Vec<u8>>("value 30").unwrap();
    let expected = bytes(30, 15_100);
    // Saved, copied and moved, before it was ever read.
    let saved = pool.save_to_disk(&one, scratch.0.join("saved-1")).unwrap();
    assert_eq!(pool.get_file(&saved).unwrap()[..], expected[..]);
    let file = pool.move_to_disk(&one).unwrap();
    assert_eq!(pool.get_file(&file).unwrap()[..], expected[..]);
    pool.copy_to_disk(&one).unwrap();
    let pinned = pool.get(&one).unwrap();
    assert!(matches!(pool.move_to_disk(&one), Err(Error::Pinned { .. })));
    drop(pool.unname("value 30").unwrap());
    drop(file);
    assert_eq!(pinned[..], expected[..]);
    drop(pinned);
    pool.delete(&one).unwrap();
    assert!(matches!(pool.get(&one), Err(Error::Deleted { .. })));
    let live = pool.stats().live_disk_bytes;
    pool.close_retaining().unwrap();
    let pool = restored(&scratch.0);
    assert_eq!(pool.stats().live_disk_bytes, live);
    assert!(pool.names().iter().all(|info| info.name != "value 30"));
    // A view that is held outlives the pool, and what takes its place.
    let other = pool.named::<Vec<u8>>("value 33").unwrap();
    let pinned = pool.get(&other).unwrap();
    drop(pool.unname("value 33").unwrap());
    pool.close_retaining().unwrap();
    let next = restored(&scratch.0);
    for n in 0..40 {
        name_it(&next, &format!("{n}"), bytes(n, 3000));
    }
    next.close_retaining().unwrap();
    assert_eq!(pinned[..], bytes(33, 16_600)[..]);
}

#[test]
fn the_disk_limit_counts_what_is_retained() {
    let scratch = Scratch::new("retain-limit");
    fill(&scratch.0);
    let taken = disk_bytes(&session(&scratch.0));
    let error = options(&scratch.0).disk_limit(taken / 2).restore().unwrap_err();
    assert!(matches!(error, SpillError::Limit { .. }), "{error}");
    let store = options(&scratch.0).disk_limit(taken + 2 * SEGMENT).restore().unwrap();
    let pool = pool_of(store, Blob);
    let used = pool.stats().store.disk_bytes;
    assert!(used >= taken && used <= taken + SEGMENT, "{used}, {taken}");
    let error = pool.set(bytes(1, 400_000)).unwrap_err();
    let Error::Store(error) = error.error else { panic!("{error}") };
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert_eq!(read(&pool, "huge"), bytes(99, 3 * LIMIT as usize));
}

#[test]
fn values_are_retained_while_others_work() {
    let scratch = Scratch::new("retain-busy");
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (pool, done) = (&pool, &done);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                while !done.load(Ordering::Relaxed) {
                    let name = format!("{thread}/{}", random.below(12));
                    let value = bytes(random.next(), random.below(9000) as usize + 8);
                    // Two threads and their victims may fill the limit for a moment.
                    let set = pool.set_with(value, SetOptions::new().name(&*name));
                    match (set, random.below(4)) {
                        (Ok(one), 0) => drop(pool.move_to_disk(&one)),
                        (Ok(one), 1) => pool.delete(&one).unwrap(),
                        (Ok(_), 2) => drop(pool.unname(&name).unwrap()),
                        _ => {}
                    }
                }
            });
        }
        let retained = (0..20).map(|_| pool.retain()).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        retained.into_iter().for_each(|one| one.unwrap());
    });
    let mut named: Vec<_> = pool
        .names()
        .into_iter()
        .filter(|info| info.value.is_some())
        .map(|info| info.name)
        .collect();
    named.sort();
    pool.close_retaining().unwrap();
    let pool = restored(&scratch.0);
    assert_eq!(pool.names().into_iter().map(|info| info.name).collect::<Vec<_>>(), named);
    assert!(named.iter().all(|name| workloads::is_whole(&read(&pool, name))));
    pool.forget_retained().unwrap();
    pool.close().unwrap();
    assert_eq!(scratch.names(), Vec::<String>::new());
}

#[test]
fn a_close_beside_a_retain_leaves_all_or_nothing() {
    let scratch = Scratch::in_memory("retain-close");
    let mut won = [0; 2];
    for round in 0..100 {
        let pool = workloads::pool(options(&scratch.0).open().unwrap());
        (0..10).for_each(|n| name_it(&pool, &format!("{n}"), bytes(n, 3000)));
        let barrier = Barrier::new(2);
        let retained = std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..round * 2000 {
                    std::hint::spin_loop();
                }
                pool.close().unwrap();
            });
            barrier.wait();
            pool.retain()
        });
        drop(pool);
        match retained {
            Ok(()) => {
                let pool = restored(&scratch.0);
                assert!((0..10).all(|n| read(&pool, &format!("{n}")) == bytes(n, 3000)));
                pool.forget_retained().unwrap();
                pool.close().unwrap();
                won[0] += 1;
            }
            Err(error) => {
                let closed = match &error {
                    Error::Closed => true,
                    Error::Store(error) => error.kind == StoreErrorKind::Closed,
                    _ => false,
                };
                assert!(closed, "{error}");
                won[1] += 1;
            }
        }
        assert_eq!(scratch.names(), Vec::<String>::new(), "round {round}");
    }
    println!("{} retained, {} closed before", won[0], won[1]);
}

#[test]
fn a_pool_that_retains_often_takes_bounded_space() {
    let scratch = Scratch::in_memory("retain-often");
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    let mut most = 0;
    for round in 0..100 {
        name_it(&pool, &format!("{}", round % 40), bytes(round, 500));
        pool.retain().unwrap();
        pool.quiesce();
        most = most.max(pool.stats().store.disk_bytes);
    }
    // Each has begun a segment; what is sparse was moved together.
    assert!(most <= 4 * SEGMENT, "{most}");
    drop(pool);
    let pool = restored(&scratch.0);
    for round in 60..100 {
        assert_eq!(read(&pool, &format!("{}", round % 40)), bytes(round, 500));
    }
}

/// `Blob`, which notes what it is to believe.
struct Watching(Arc<Mutex<Vec<Trust>>>);

impl Codec<Vec<u8>> for Watching {
    type Resident = <Blob as Codec<Vec<u8>>>::Resident;
    type View = [u8];

    fn format(&self) -> Format {
        Blob.format()
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64, Error> {
        Blob.size_hint(value)
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Self::Resident, Rejected<Vec<u8>>> {
        Blob.admit(value, room)
    }

    fn view<'a>(&self, resident: &'a Self::Resident) -> &'a [u8] {
        Blob.view(resident)
    }

    fn mmwrite(&self, resident: &Self::Resident, sink: &mut Sink<'_>) -> Result<(), Error> {
        Blob.mmwrite(resident, sink)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<(), Error> {
        Blob.mmwrite_value(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Self::Resident, Error> {
        self.0.lock().unwrap().push(source.trust());
        Blob.mmread(source, room)
    }

    fn maps(&self) -> bool {
        Codec::<Vec<u8>>::maps(&Blob)
    }
}

#[test]
fn what_is_restored_is_checked_once_and_believed_from_then_on() {
    let scratch = Scratch::new("retain-trust");
    fill(&scratch.0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pool = pool_of(options(&scratch.0).restore().unwrap(), Watching(Arc::clone(&seen)));
    let one = pool.named::<Vec<u8>>("value 3").unwrap();
    for _ in 0..3 {
        assert_eq!(pool.get(&one).unwrap()[..], bytes(3, 1600)[..]);
        drop(pool.move_to_disk(&one).unwrap());
    }
    assert_eq!(*seen.lock().unwrap(), [Trust::Saved, Trust::Own, Trust::Own]);
}

#[test]
fn damage_of_a_value_without_a_name_says_who_refers_to_it() {
    let scratch = Scratch::new("retain-nested");
    in_another_process(&scratch.0);
    let store = options(&scratch.0).label("typed").restore().unwrap();
    let retained = read_retained(store.session_path()).unwrap();
    let known = retained.manifest.known_as();
    // A part that the tree alone refers to, by one of those below it.
    let (at, _) = retained
        .manifest
        .values
        .iter()
        .enumerate()
        .find(|(at, value)| known[*at] == Some("tree") && value.references.is_empty())
        .unwrap();
    let handle = retained.manifest.values[at].frame.unwrap();
    let segment = retained.segments.iter().find(|one| one.segment == handle.segment).unwrap();
    let path = retained.path.join(segment.file_name());
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"other bytes", handle.offset + handle.bytes - 11).unwrap();
    let pool = pool_of(store, Rkyv::new());
    pool.register::<Vec<Row>>();
    let tree = pool.named::<Tree>("tree").unwrap();
    let root = pool.get(&tree).unwrap();
    let (mut whole, mut damaged) = (0, 0);
    for side in root.below.iter() {
        let side = root.reference::<Tree>(side.index()).unwrap();
        let view = pool.get(&side).unwrap();
        for part in view.parts.iter() {
            let part = view.reference::<Vec<Row>>(part.index()).unwrap();
            match pool.get(&part) {
                Ok(rows) => whole += rows.len() / 40,
                Err(error) => {
                    let Error::Retained { name, .. } = &error else { panic!("{error}") };
                    assert_eq!(name, "tree");
                    let SpillError::Damaged { path: found, offset, .. } = spill_error(&error)
                    else {
                        panic!("{error}")
                    };
                    assert_eq!((found, *offset), (&path, handle.offset));
                    damaged += 1;
                }
            }
        }
    }
    // Twelve parts on each side, four of them on both.
    assert!((damaged == 1 || damaged == 2) && whole + damaged == 24, "{whole}, {damaged}");
}
