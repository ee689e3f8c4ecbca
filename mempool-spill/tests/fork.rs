//! A forked child beside a store: it touches neither the directory nor the lock, and the parent's files are all there.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mempool_core::testing::{ChildEnd, in_child};
use mempool_core::{Blob, Buffer, Error, Pool, PoolOptions, SpillStore, StoreUsage};
use mempool_spill::{Placement, SpillOptions, SpillStorage};

const PASSED: ChildEnd = ChildEnd::Exited(0);

/// A directory of its own for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mempool-fork-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> SpillStorage {
        SpillOptions::new(&self.0).segment_bytes(256 << 10).open().unwrap()
    }

    fn pool(&self) -> Pool<Blob> {
        open_pool(self.store())
    }

    /// A store of two directories, both of which are filled.
    fn store_of_two(&self) -> SpillStorage {
        let [one, two] = ["one", "two"].map(|name| self.0.join(name));
        [&one, &two].iter().for_each(|path| fs::create_dir(path).unwrap());
        let options = SpillOptions::new(one).directory(two).placement(Placement::Spread);
        options.disk_limit(1 << 30).segment_bytes(256 << 10).open().unwrap()
    }

    /// Every file and directory below it, by name.
    fn tree(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.0.clone()];
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()) {
                found.push(entry.path());
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open_pool(store: SpillStorage) -> Pool<Blob> {
    let options = PoolOptions::new().memory_limit(200_000);
    options.room_timeout(Duration::from_secs(60)).store(store).open(Blob)
}

/// Fewer than half of these fit into memory at once; some have a file of their own.
fn value(n: u8) -> Vec<u8> {
    vec![n; 1000 + usize::from(n % 4) * 23_000]
}

#[test]
fn a_child_leaves_the_parents_files_and_lock_alone() {
    let scratch = Scratch::new("alone");
    let pool = scratch.pool();
    let all: Vec<_> = (0..20).map(|n| pool.set(value(n)).unwrap()).collect();
    let away = pool.set(value(77)).unwrap();
    let file = pool.move_to_disk(&away).unwrap();
    let view = pool.get_owned(&away).unwrap();
    let before = scratch.tree();
    for how in 0..4 {
        let front = pool.clone();
        let (file, orphan) = (file.clone(), pool.copy_to_disk(&all[3]).unwrap());
        let (view, all) = (Buffer::clone(&view), all.clone());
        let end = in_child(move || {
            let refused = matches!(front.get_file(&file), Err(Error::Forked))
                && matches!(front.close(), Err(Error::Forked))
                && view[..] == value(77)[..];
            if !refused {
                return 1;
            }
            match how {
                0 => drop((front, file, orphan, view, all)),
                1 => std::process::exit(0),
                2 => return std::process::Command::new("/bin/true").exec().raw_os_error().unwrap(),
                _ => {}
            }
            0
        });
        assert_eq!(end.unwrap(), PASSED, "child {how}");
        assert_eq!(scratch.tree(), before, "child {how}");
        let sweeper = scratch.store();
        assert_eq!((sweeper.swept().sessions, sweeper.swept().living), (0, 1), "child {how}");
    }
    for (n, one) in (0..).zip(&all) {
        assert_eq!(pool.get(one).unwrap()[..], value(n)[..]);
    }
    drop((all, away, file, view));
    pool.quiesce();
    assert_eq!(pool.stats().store.live_bytes, 0);
    pool.close().unwrap();
    assert_eq!(scratch.tree(), Vec::<PathBuf>::new(), "a clean close leaves nothing");
}

#[test]
fn a_store_by_itself_refuses_a_child() {
    let scratch = Scratch::new("store");
    refuse(scratch.store());
    assert_eq!(scratch.tree(), Vec::<PathBuf>::new(), "the parent's drop removes the session");
    refuse(scratch.store_of_two());
    assert_eq!(scratch.tree().len(), 2, "those of both directories");
}

fn refuse(store: SpillStorage) {
    let session = store.session_path().to_path_buf();
    let end = in_child(move || {
        let refused = store.close().is_err() && store.usage() == StoreUsage::default();
        drop(store);
        i32::from(!(refused && session.is_dir()))
    });
    assert_eq!(end.unwrap(), PASSED);
}

#[test]
fn a_child_of_a_busy_parent_never_hangs() {
    let scratch = Scratch::new("busy");
    fork_while_busy(&scratch, scratch.pool());
    assert_eq!(scratch.tree(), Vec::<PathBuf>::new(), "a clean close leaves nothing");
}

#[test]
fn a_child_of_a_parent_with_two_directories_never_hangs() {
    let scratch = Scratch::new("busy-two");
    let store = scratch.store_of_two();
    let directories = store.directories();
    fork_while_busy(&scratch, open_pool(store));
    assert!(directories.usage().is_empty(), "the store is gone");
    let left = ["one", "two"].map(|name| scratch.0.join(name));
    assert_eq!(scratch.tree(), left, "a clean close leaves nothing");
}

fn fork_while_busy(scratch: &Scratch, pool: Pool<Blob>) {
    let forks = std::env::var("FORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (pool, done) = (&pool, &done);
            scope.spawn(move || {
                let mut kept = Vec::new();
                for n in (0..=255).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                    kept.push((n, pool.set(value(n)).unwrap()));
                    let (n, one) = &kept[kept.len() / 2];
                    assert_eq!(pool.get(one).unwrap()[..], value(*n)[..], "worker {worker}");
                    let _ = pool.stats();
                    if kept.len() > 12 {
                        kept.swap_remove(0);
                    }
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for fork in 0..forks {
                let (front, one) = (pool.clone(), pool.set(value(3)).unwrap());
                let file = pool.copy_to_disk(&pool.set(value(2)).unwrap()).unwrap();
                let loaded = front.get_file(&file).unwrap();
                let saved = scratch.0.join("saved");
                pool.save_to_disk(&one, &saved).unwrap();
                let adopted = pool.get_file(&pool.file::<Vec<u8>>(&saved)).unwrap();
                let end = in_child(move || {
                    let refused = matches!(front.get(&one), Err(Error::Forked));
                    drop((adopted, loaded, file, one, front));
                    i32::from(!refused)
                });
                assert_eq!(end.unwrap(), PASSED, "fork {fork}; killed by signal 14: it hung");
                fs::remove_file(saved).unwrap();
            }
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.store.live_bytes), (0, 0, 0));
    pool.close().unwrap();
}

fn wait_for(path: &std::path::Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The parent's files are written anew and given back, but never what a child may have mapped.
#[test]
fn what_a_child_looks_at_never_changes() {
    let scratch = Scratch::new("seen");
    let pool = scratch.pool();
    let bytes = |n: u32, len: usize| vec![n as u8; len];
    let lens = [500, 5_000, 90_000];
    let all: Vec<_> = (0..300).map(|n| pool.set(bytes(n, lens[n as usize % 3])).unwrap()).collect();
    let mut views = Vec::new();
    for one in all.iter().step_by(7) {
        let _ = pool.move_to_disk(one).unwrap();
        views.push(Buffer::clone(&pool.get(one).unwrap()));
    }
    let (started, done) = (scratch.0.join("started"), scratch.0.join("done"));
    // After the fork there are two of it: the parent lets go of its views, the child looks at its own.
    let views = Mutex::new(views);
    std::thread::scope(|scope| {
        let (pool, views, begin, end) = (&pool, &views, started.clone(), done.clone());
        scope.spawn(move || {
            wait_for(&begin);
            views.lock().unwrap().clear();
            drop(all);
            for round in 0..20 {
                let more: Vec<_> = (0..200)
                    .map(|n| pool.set(bytes(n ^ 0xff, lens[n as usize % 3])).unwrap())
                    .collect();
                let kept: Vec<_> = more.into_iter().skip(round % 5).step_by(9).collect();
                pool.quiesce();
                drop(kept);
            }
            pool.quiesce();
            fs::write(end, "").unwrap();
        });
        let child = in_child(move || {
            fs::write(&started, "").unwrap();
            wait_for(&done);
            let same = |(at, view): (usize, &Buffer)| {
                let n = at * 7;
                view[..] == vec![n as u8; [500, 5_000, 90_000][n % 3]][..]
            };
            i32::from(!views.lock().unwrap().iter().enumerate().all(same))
        });
        assert_eq!(child.unwrap(), PASSED, "the child's views have changed");
    });
    pool.close().unwrap();
}
