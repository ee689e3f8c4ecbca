//! Two nodes of one host, as far as descriptors go: a pool whose values can be asked for, and a directory for the sockets.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mempool_core::{Blob, DRef, ForeignMaps, Pool, PoolOptions, Untyped};
use mempool_net::host::{
    Given, HandOver, HostError, HostHello, HostLink, HostServer, Promotions, RuntimeDir, Shelf,
};
use mempool_net::{GlobalId, Incarnation};
use mempool_spill::SpillOptions;

pub(crate) const OWNER: Incarnation = Incarnation(1 << 64 | 7);
pub(crate) const ASKER: Incarnation = Incarnation(2 << 64 | 9);
/// Nothing that is waited for takes so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A directory of its own for one test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("mempool-host-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn runtime(&self) -> Arc<RuntimeDir> {
        runtime(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn runtime(directory: &Path) -> Arc<RuntimeDir> {
    Arc::new(RuntimeDir::open(directory.join("run")).unwrap())
}

/// Bytes that differ from place to place and from value to value.
pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut word = u64::from(seed) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        out.extend(word.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// What others may ask for.
pub(crate) struct Table {
    pool: Pool<Blob>,
    values: Mutex<BTreeMap<u32, Untyped>>,
    pub(crate) promotions: Promotions,
    pub(crate) exited: Mutex<Vec<Incarnation>>,
}

impl Table {
    pub(crate) fn put(&self, value: Untyped) -> GlobalId {
        let id = value.id();
        self.values.lock().unwrap().insert(id.slot, value);
        GlobalId { birth: OWNER, id }
    }

    pub(crate) fn clear(&self) {
        self.values.lock().unwrap().clear();
    }
}

impl Shelf for Table {
    fn hand_over(&self, _: Incarnation, value: GlobalId) -> HandOver {
        let table = self.values.lock().unwrap();
        let found = table.get(&value.id.slot).filter(|found| found.id() == value.id).cloned();
        drop(table);
        let given = found.map(|found| self.promotions.hand_over(&self.pool, &found).unwrap());
        given.unwrap_or(HandOver::NoValue)
    }

    fn exited(&self, holder: Incarnation) {
        self.exited.lock().unwrap().push(holder);
    }
}

/// A pool whose values are on a shelf, and a server for it.
pub(crate) struct Owner {
    pub(crate) pool: Pool<Blob>,
    pub(crate) table: Arc<Table>,
    pub(crate) server: HostServer,
}

impl Owner {
    pub(crate) fn start(directory: &Path) -> Self {
        let store = SpillOptions::new(directory).open().unwrap();
        let pool = PoolOptions::new().memory_limit(64 << 20).store(store).open(Blob);
        let table = Arc::new(Table {
            pool: pool.with_codec(Blob),
            values: Mutex::default(),
            promotions: Promotions::default(),
            exited: Mutex::default(),
        });
        let shelf: Arc<dyn Shelf> = Arc::clone(&table) as _;
        let server = HostServer::start(&runtime(directory), OWNER, shelf).unwrap();
        Self { pool, table, server }
    }

    /// A value in memory that can be asked for.
    pub(crate) fn put_resident(&self, seed: u8, len: usize) -> (GlobalId, DRef<Vec<u8>>) {
        let value = self.pool.set(bytes(seed, len)).unwrap();
        (self.table.put(value.untyped()), value)
    }

    /// A value on disk that can be asked for.
    pub(crate) fn put(&self, seed: u8, len: usize) -> (GlobalId, DRef<Vec<u8>>) {
        let (id, value) = self.put_resident(seed, len);
        self.pool.move_to_disk(&value).unwrap();
        (id, value)
    }
}

pub(crate) fn link(directory: &Path, hello: HostHello) -> Result<HostLink, HostError> {
    HostLink::connect(&runtime(directory), ASKER, hello, DEADLINE)
}

/// The frame of a value that its owner gives; the value's bytes are its end.
pub(crate) fn mapped(link: &HostLink, value: GlobalId, maps: &ForeignMaps) -> mempool_core::Buffer {
    match link.fetch(value, None, maps).unwrap() {
        Given::Mapped { frame, .. } => frame,
        Given::UseBytes(reason) => panic!("{reason}"),
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}
