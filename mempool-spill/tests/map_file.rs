//! A saved file that is mapped where it is, and read through the codec.
#![allow(clippy::unwrap_used, reason = "a test")]
#![expect(unsafe_code, reason = "the contract of map_file is made here")]

use std::fs;

use mempool_core::{Blob, Error, PoolOptions};
use mempool_spill::{Lz4, SpillError, SpillOptions, map_file};

#[test]
fn a_file_is_mapped_in_place_and_checked_whole() {
    let scratch = std::env::temp_dir().join(format!("mempool-map-file-{}", std::process::id()));
    fs::create_dir(&scratch).unwrap();
    let store = SpillOptions::new(&scratch).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    let path = scratch.join("saved");
    let one = pool.set(vec![7; 300_000]).unwrap();
    pool.save_to_disk(&one, &path).unwrap();
    drop(one);
    pool.quiesce();
    // SAFETY: nobody else has the file, and it is only replaced by another.
    let frame = unsafe { map_file(&path) }.unwrap();
    let loaded = pool.read_frame::<Vec<u8>>(&frame).unwrap();
    assert_eq!(loaded[..], [7; 300_000][..]);
    let stats = pool.stats();
    assert_eq!((stats.used_bytes, stats.store.disk_bytes), (0, 0), "no copy anywhere");
    let mut bent = frame.to_vec();
    bent[200_000] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bent).unwrap();
    // SAFETY: as above.
    let frame = unsafe { map_file(&path) }.unwrap();
    let refused = pool.read_frame::<Vec<u8>>(&frame).map(drop);
    assert!(matches!(refused, Err(Error::Frame { .. })), "{refused:?}");
    // SAFETY: a directory is not mapped.
    let refused = unsafe { map_file(&scratch) }.map(drop);
    assert!(matches!(refused, Err(SpillError::NotRegular { .. })));
    pool.close().unwrap();
    fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn a_file_that_went_through_filters_is_refused() {
    let directory =
        std::env::temp_dir().join(format!("mempool-map-filtered-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let store = SpillOptions::new(&directory).filter(Lz4).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    let path = directory.join("filtered");
    pool.save_to_disk(&pool.set(vec![7; 1000]).unwrap(), &path).unwrap();
    // SAFETY: nobody else knows the file.
    let mapped = unsafe { map_file(&path) };
    assert!(
        matches!(&mapped, Err(SpillError::FilterMissing { filters, .. }) if filters == "lz4"),
        "{mapped:?}"
    );
    drop(pool);
    std::fs::remove_dir_all(&directory).unwrap();
}
