//! Values that outlive their pool: retained under names, and restored by another pool, store or process.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mempool_codec::{Bincode, Encoded, Reference, ResidentBytes, Rkyv};
use mempool_core::{
    Blob, Codec, DRef, Error, ErrorKind, FrameDamage, Place, Pool, PoolOptions, SetOptions,
    StoreErrorKind,
};
use mempool_spill::{
    DiskCall, DiskFault, FaultyDisk, ReadMode, SessionState, SpillError, SpillOptions, SpillStorage,
    Verify, read_retained, remove_retained, survey, sweep_directory,
};

#[allow(clippy::duplicate_mod, reason = "each test is a crate")]
mod workloads;
use workloads::{LIMIT, SEGMENT, Scratch, bytes, names, options};

fn pool_of<C: Send + Sync + 'static>(store: SpillStorage, codec: C) -> Pool<C> {
    PoolOptions::new().memory_limit(LIMIT).store(store).restore(codec).unwrap()
}

fn restored(directory: &Path) -> Pool<Blob> {
    pool_of(options(directory).restore().unwrap(), Blob)
}

fn read(pool: &Pool<Blob>, name: &str) -> Vec<u8> {
    pool.get(&pool.named(name).unwrap()).unwrap().to_vec()
}

/// The one retained session of a directory.
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

/// A pool with values of all sizes, of which those with a name are closed over.
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
    drop(pool.set_with(huge.clone(), SetOptions::new().name("huge")).unwrap());
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
    assert!(stats.store.disk_bytes >= kept.iter().map(|(_, value)| value.len() as u64).sum());
    let infos = pool.names();
    assert_eq!(infos.len(), kept.len());
    for info in &infos {
        assert_eq!(info.value_type, "alloc::vec::Vec<u8>");
        assert_eq!(info.value.unwrap().place, Place::Spilled);
    }
    for (name, value) in &kept {
        assert_eq!(read(&pool, name), *value, "{name}");
    }
    assert!(matches!(pool.named::<Vec<u8>>("value 1"), Err(Error::NoName { name }) if name == "value 1"));
    // A second look reads what was checked.
    for (name, value) in &kept {
        assert_eq!(read(&pool, name), *value, "{name}");
    }
    pool.close().unwrap();
    // A forgotten `retaining` loses nothing.
    let pool = restored(&scratch.0);
    assert_eq!(pool.names().len(), kept.len());
    pool.forget_retained().unwrap();
    assert_eq!(read(&pool, &kept[3].0), kept[3].1);
    pool.close().unwrap();
    assert_eq!(scratch.names(), Vec::<String>::new());
}
