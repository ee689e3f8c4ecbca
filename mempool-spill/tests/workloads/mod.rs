//! Six things that programs do with a pool, each with a reference beside it: for tests that make the disk fail, the
//! process die, the machine full.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_core::{Blob, DRef, Error, Pool, PoolOptions};
use mempool_spill::{SpillOptions, SpillStorage};

/// The memory limit of every workload.
pub(crate) const LIMIT: u64 = 100_000;
/// The size of a shared segment.
pub(crate) const SEGMENT: u64 = 64 << 10;
/// What each file of a value that was saved is called, with a number behind it.
pub(crate) const SAVED: &str = "saved-";

/// A directory of its own for one test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self::below(&std::env::temp_dir(), name)
    }

    /// In memory where the system has such a place: for tests that sync a lot and never cut the power.
    pub(crate) fn in_memory(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let writable = memory.is_dir() && !memory.metadata().unwrap().permissions().readonly();
        if writable { Self::below(memory, name) } else { Self::new(name) }
    }

    fn below(directory: &Path, name: &str) -> Self {
        let name = format!("mempool-{name}-{}", std::process::id());
        let path = directory.canonicalize().unwrap().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The names of what is in it, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A number from the environment, which `cargo xtask` sets; or `usual`.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Segments so small that a few values fill them; frames of 16 KiB and more have one of their own.
pub(crate) fn options(directory: &Path) -> SpillOptions {
    SpillOptions::new(directory).segment_bytes(SEGMENT)
}

pub(crate) fn pool(store: SpillStorage) -> Pool<Blob> {
    pool_of(store, LIMIT)
}

pub(crate) fn pool_of(store: SpillStorage, limit: u64) -> Pool<Blob> {
    let options = PoolOptions::new().memory_limit(limit).room_timeout(Duration::ZERO);
    options.store(store).open(Blob)
}

/// Numbers that look random and come again with the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// Bytes that differ from place to place and from value to value; the first eight say which value it is.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&seed.to_le_bytes()[..len.min(8)]);
    while bytes.len() < len {
        let word = random.next().to_le_bytes();
        bytes.extend_from_slice(&word[..(len - bytes.len()).min(8)]);
    }
    bytes
}

/// Whether these are the bytes of some value, whole. An empty one does not say which.
pub(crate) fn is_whole(content: &[u8]) -> bool {
    if content.is_empty() {
        return true;
    }
    let seed = content.first_chunk().map(|seed| u64::from_le_bytes(*seed));
    seed.is_some_and(|seed| content == bytes(seed, content.len()))
}

/// What programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Small values are set and read.
    Small,
    /// Large values are set and read.
    Large,
    /// Values of all sizes are set, read, moved and dropped.
    Mixed,
    /// Values are copied, moved, saved and loaded.
    Files,
    /// Values larger than the limit, among others.
    Huge,
    /// Two threads at once.
    Threads,
}

impl Workload {
    pub(crate) const ALL: [Self; 6] =
        [Self::Small, Self::Large, Self::Mixed, Self::Files, Self::Huge, Self::Threads];

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| format!("{one:?}") == name)
    }

    /// Does it all; what is in the book afterwards was acknowledged.
    pub(crate) fn run(self, book: &mut Book<'_>, seed: u64) {
        let mut random = Random::new(seed.wrapping_add(1));
        match self {
            Self::Small => {
                (0..150).for_each(|_| book.set(16 + random.below(2000)));
                book.read_all();
                (0..50).for_each(|n| book.read(n * 37));
            }
            Self::Large => {
                (0..8).for_each(|_| book.set(20_000 + random.below(40_000)));
                book.read_all();
            }
            Self::Mixed => {
                (0..70).for_each(|_| book.something(&mut random));
                book.holes();
            }
            Self::Files => book.files(&mut random),
            Self::Huge => {
                for round in 0..3 {
                    book.set(150_000 + random.below(100_000));
                    book.set(1000 + round);
                    book.set(30_000);
                    book.read_all();
                }
                book.forget(0);
                book.set(200_000);
            }
            Self::Threads => book.threads(seed),
        }
        book.read_all();
    }
}

/// The pool beside what it should hold.
pub(crate) struct Book<'a> {
    pub(crate) pool: &'a Pool<Blob>,
    /// Where values are saved.
    pub(crate) directory: &'a Path,
    /// Looks at each error, and panics at one that nothing explains.
    pub(crate) explain: &'a (dyn Fn(&Error) + Sync),
    /// Called after each operation.
    pub(crate) after: &'a (dyn Fn() + Sync),
    kept: Vec<(u64, usize, DRef<Vec<u8>>)>,
    /// The contents that a saved file may have: what was acknowledged last, and what failed since.
    saved: BTreeMap<String, Vec<(u64, usize)>>,
    next: u64,
    /// Errors so far.
    pub(crate) errors: u64,
}

impl<'a> Book<'a> {
    pub(crate) fn new(
        pool: &'a Pool<Blob>,
        directory: &'a Path,
        explain: &'a (dyn Fn(&Error) + Sync),
    ) -> Self {
        let (kept, saved) = (Vec::new(), BTreeMap::new());
        Self { pool, directory, explain, after: &|| {}, kept, saved, next: 0, errors: 0 }
    }

    /// Numbers its values from here on.
    pub(crate) fn from(mut self, next: u64) -> Self {
        self.next = next;
        self
    }

    fn failed(&mut self, error: &Error) {
        (self.explain)(error);
        self.errors += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// A value that was not taken is given back as it was.
    pub(crate) fn set(&mut self, len: u64) {
        let (seed, len) = (self.next, usize::try_from(len).unwrap());
        self.next += 1;
        match self.pool.set(bytes(seed, len)) {
            Ok(one) => self.kept.push((seed, len, one)),
            Err(rejected) => {
                assert!(rejected.value == bytes(seed, len), "a failed set gives the value back");
                self.failed(&rejected.error);
            }
        }
        (self.after)();
    }

    fn one(&self, n: usize) -> Option<(u64, usize, DRef<Vec<u8>>)> {
        let kept = n.checked_rem(self.kept.len()).and_then(|n| self.kept.get(n));
        kept.map(|(seed, len, one)| (*seed, *len, one.clone()))
    }

    pub(crate) fn read(&mut self, n: usize) {
        let Some((seed, len, one)) = self.one(n) else { return };
        let read = self.pool.get(&one).map(|view| view[..] == bytes(seed, len)[..]);
        match read {
            Ok(right) => assert!(right, "value {seed} of {len} bytes came back different"),
            Err(error) => self.failed(&error),
        }
        (self.after)();
    }

    pub(crate) fn read_all(&mut self) {
        (0..self.len()).for_each(|n| self.read(n));
    }

    pub(crate) fn forget(&mut self, n: usize) {
        if let Some(n) = n.checked_rem(self.kept.len()) {
            self.kept.swap_remove(n);
        }
        (self.after)();
    }

    fn move_out(&mut self, n: usize) {
        let Some((_, _, one)) = self.one(n) else { return };
        if let Err(error) = self.pool.move_to_disk(&one) {
            self.failed(&error);
        }
        (self.after)();
    }

    /// Copies a value to disk and reads the copy by itself.
    fn copy(&mut self, n: usize) {
        let Some((seed, len, one)) = self.one(n) else { return };
        let copied = self.pool.copy_to_disk(&one).and_then(|file| {
            let loaded = self.pool.get_file(&file)?;
            assert!(loaded[..] == bytes(seed, len)[..], "the copy of value {seed} is different");
            Ok(())
        });
        if let Err(error) = copied {
            self.failed(&error);
        }
        (self.after)();
    }

    /// Saves a value, over what was saved there before.
    pub(crate) fn save(&mut self, n: usize, place: u64) {
        let Some((seed, len, one)) = self.one(n) else { return };
        let name = format!("{SAVED}{place}");
        let may = self.saved.entry(name.clone()).or_default();
        match self.pool.save_to_disk(&one, self.directory.join(&name)) {
            Ok(_) => *may = vec![(seed, len)],
            Err(error) => {
                may.push((seed, len));
                self.failed(&error);
            }
        }
        (self.after)();
    }

    fn load(&mut self, place: u64) {
        let name = format!("{SAVED}{place}");
        let path = self.directory.join(&name);
        let file = self.pool.file::<Vec<u8>>(&path);
        match self.pool.get_file(&file).map(|loaded| loaded.to_vec()) {
            Ok(content) => self.check_saved(&name, &content),
            Err(error) if path.exists() => self.failed(&error),
            Err(_) => {}
        }
        (self.after)();
    }

    fn check_saved(&self, name: &str, content: &[u8]) {
        let may = self.saved.get(name).map(Vec::as_slice).unwrap_or_default();
        let right = may.iter().any(|(seed, len)| content == bytes(*seed, *len));
        assert!(right, "{name} holds what was never saved there");
    }

    fn something(&mut self, random: &mut Random) {
        let n = usize::try_from(random.below(1000)).unwrap();
        match random.below(10) {
            0..=4 => {
                let sizes = [0, 16, 100, 1000, 5000, 17_000, 30_000];
                self.set(sizes[n % sizes.len()]);
            }
            5 | 6 => self.read(n),
            7 => self.move_out(n),
            8 => self.copy(n),
            _ => self.forget(n),
        }
    }

    /// Fills shared segments, makes holes in them, and fills more: space of values that are gone is won back.
    fn holes(&mut self) {
        for _ in 0..3 {
            let start = self.len();
            (0..60).for_each(|n| self.set(1500 + n * 50));
            (start..self.len()).for_each(|n| self.move_out(n));
            // From behind, for the last takes the place of one that goes.
            (start..self.len()).rev().filter(|n| n % 8 != 0).for_each(|n| self.forget(n));
            self.pool.quiesce();
            self.read_all();
        }
    }

    fn files(&mut self, random: &mut Random) {
        for round in 0..3 {
            self.set(500 + random.below(500));
            self.set(20_000 + random.below(10_000));
            let n = 2 * round;
            self.copy(n);
            self.save(n, 0);
            self.move_out(n + 1);
            self.save(n + 1, 1);
            self.load(0);
            self.load(1);
            self.copy(n + 1);
        }
    }

    fn threads(&mut self, seed: u64) {
        for _ in 0..4 {
            self.set(9000);
        }
        let shared = self.kept.clone();
        let (pool, directory, explain, after) =
            (self.pool, self.directory, self.explain, self.after);
        let work = |thread: u64| {
            let mut book = Book::new(pool, directory, explain).from((thread + 1) * 1000);
            book.after = after;
            book.kept.clone_from(&shared);
            let mut random = Random::new(seed * 2 + thread);
            (0..40).for_each(|_| book.something(&mut random));
            book.read_all();
            (book.kept, book.errors)
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| work(1));
            let one = work(0);
            (one, other.join())
        });
        let two = two.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.errors += one.1 + two.1;
        self.kept.extend(one.0);
        self.kept.extend(two.0);
    }
}

/// Opens every file that was saved in the directory: each must be whole. How many there were.
pub(crate) fn check_saved_files(pool: &Pool<Blob>, directory: &Path) -> usize {
    let names = names(directory);
    let saved: Vec<_> = names.iter().filter(|name| name.starts_with(SAVED)).collect();
    for name in &saved {
        let loaded = pool.get_file(&pool.file::<Vec<u8>>(directory.join(name)));
        let content = loaded.unwrap_or_else(|error| panic!("{name} is not whole: {error}"));
        assert!(is_whole(&content), "{name} is not what was saved");
    }
    saved.len()
}

/// Asserts that a pool without references holds nothing, closes it, and asserts that nothing of it is left in the
/// directory, nor open or mapped in this process.
pub(crate) fn close_empty(pool: Pool<Blob>, directory: &Path) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.panics), (0, 0, 0));
    assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
    // As the design says: at most 1.3 times what is live, and two segments.
    assert!(stats.store.disk_bytes <= 2 * SEGMENT, "places were lost: {:?}", stats.store);
    pool.close().unwrap();
    assert_eq!(pool.stats().store.disk_bytes, 0, "the disk's ledger ends at zero");
    drop(pool);
    let left: Vec<_> =
        names(directory).into_iter().filter(|name| !name.starts_with(SAVED)).collect();
    assert_eq!(left, Vec::<String>::new(), "a clean close leaves nothing");
    assert_eq!(open_below(directory), Vec::<String>::new(), "nothing is open or mapped");
}

/// The files below a directory that this process has open or mapped.
pub(crate) fn open_below(directory: &Path) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut found: Vec<String> = links
        .filter(|path| path.starts_with(directory))
        .map(|path| path.display().to_string())
        .collect();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let below = format!("{}/", directory.display());
    found.extend(maps.lines().filter(|line| line.contains(&below)).map(str::to_owned));
    found
}
