//! `PoolOptions`: how a pool is opened, and `SetOptions`: how a value is set.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::budget::{Evictor, Ledger, Wait};
use crate::claim::Back;
use crate::entry::Destructor;
use crate::error::Result;
use crate::fork::Maker;
use crate::memory::MemoryStore;
use crate::pool::Pool;
use crate::recency::Policy;
use crate::reclaim::Reclaimer;
use crate::shared::Shared;
use crate::store::SpillStore;
use crate::sync::atomic::AtomicU64;
use crate::trim::MappedLimit;
use crate::writers::{WriteAhead, Writers};

/// The settings of a pool.
///
/// ```
/// use mempool_core::{Blob, PoolOptions};
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
/// let reference = pool.set(b"hello".to_vec())?;
/// assert_eq!(&pool.get(&reference)?[..], b"hello");
/// # Ok::<(), mempool_core::Error>(())
/// ```
pub struct PoolOptions {
    name: Option<String>,
    memory_limit: u64,
    mapped_limit: Option<u64>,
    policy: Policy,
    room_timeout: Duration,
    track_pins: bool,
    parallel_writers: usize,
    write_ahead: WriteAhead,
    store: Option<Box<dyn SpillStore>>,
}

impl PoolOptions {
    /// The memory limit unless another is set: 256 MiB.
    pub const MEMORY_LIMIT: u64 = 256 << 20;
    /// How long a request waits for pins to be dropped unless another time is set.
    pub const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
    /// How many threads write at once to make room unless another number is set.
    pub const PARALLEL_WRITERS: usize = 4;

    /// The defaults: 256 MiB, [`Policy::Lru`], five seconds of patience, and a [`MemoryStore`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: None,
            memory_limit: Self::MEMORY_LIMIT,
            mapped_limit: None,
            policy: Policy::default(),
            room_timeout: Self::ROOM_TIMEOUT,
            track_pins: false,
            parallel_writers: Self::PARALLEL_WRITERS,
            write_ahead: WriteAhead::threads(0),
            store: None,
        }
    }

    /// What the pool is called in statistics and events; `pool-1`, `pool-2` and so on unless it is told.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The most bytes that resident values and reservations may take together.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The most bytes of maps that may stand in the process's page tables; none unless it is set.
    ///
    /// The kernel takes mapped pages back as it needs, but schedulers and containers count them. A load beyond the
    /// limit first lets go of the views that nobody holds, the coldest first; when what is held is more than the limit
    /// alone, it goes through, and [`Stats::mapped_overruns`](crate::Stats::mapped_overruns) counts it. What is
    /// counted is what the store has given out since it was last trimmed: for small values whole blocks of 64 KiB, because
    /// that is what the kernel maps around a fault.
    #[must_use]
    pub fn mapped_limit(mut self, bytes: u64) -> Self {
        self.mapped_limit = Some(bytes);
        self
    }

    /// Which value is evicted first.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long a call waits for pins to be dropped before it answers `NoRoom`.
    #[must_use]
    pub fn room_timeout(mut self, timeout: Duration) -> Self {
        self.room_timeout = timeout;
        self
    }

    /// Whether `NoRoom` names the call site of every living pin, and not of the latest alone.
    ///
    /// Off unless it is asked for. When on, each `get` and each guard's drop take a short lock and
    /// search a list of sites: a get and its drop take 4.5 times as long on one thread, and 13 times on two (73 and 223 ns for
    /// 16 and 17; 2 cores of a Xeon, `cargo xtask bench core`).
    #[must_use]
    pub fn track_pins(mut self, track: bool) -> Self {
        self.track_pins = track;
        self
    }

    /// How many threads at most write to the store at once to make room; one at least.
    ///
    /// A `set` or load that needs the room of a value which has to be written, while so many write, waits until one of them is
    /// done, and then looks again: it may find its room. Room that needs no write, because it is free or a clean value's, waits
    /// for no turn. The order in which requests are served is the ledger's: first come, first served. When none of the
    /// writes has ended for [`room_timeout`](Self::room_timeout), one second at least, what waits answers
    /// [`NoRoom`](crate::Error::NoRoom), so a disk that hangs holds no more than so many threads. Moves, copies, saves and
    /// values larger than the limit are not counted.
    #[must_use]
    pub fn parallel_writers(mut self, count: usize) -> Self {
        self.parallel_writers = count;
        self
    }

    /// Whether threads of the pool's write the coldest values before their room is wanted, so that a `set` need not.
    ///
    /// Off unless it is asked for: it pays where single values are large and their maker does something else between two of them, and
    /// not for small ones (`docs/benchmarks.md`). Which values leave memory, and when, stays what it is without: what was written ahead stays
    /// until its turn comes, and goes for free then. A request that needs the room of a value which is just being written
    /// waits for that write. Values may be written that are dropped before their turn, where they would not have been.
    ///
    /// A thread starts when values come, use is above the mark and something may be left to write, and ends when nothing is;
    /// [`quiesce`](crate::Pool::quiesce) waits for that. Close waits for the writes that were begun. When the store refuses a
    /// write the value stays as it was, `failed_writes` counts it, and nothing is written ahead for a tenth of a second, twice
    /// as long after each further one; a value whose codec fails is left alone.
    #[must_use]
    pub fn write_ahead(mut self, ahead: WriteAhead) -> Self {
        self.write_ahead = ahead;
        self
    }

    /// Where evicted values go.
    #[must_use]
    pub fn store(mut self, store: impl SpillStore) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Opens the pool, with `codec` for its first front. It belongs to this process; see [`Pool`].
    ///
    /// What an earlier pool has retained in the store is left as it is; [`restore`](Self::restore) takes it over.
    pub fn open<C: Send + Sync + 'static>(self, codec: C) -> Pool<C> {
        let count = pools_opened();
        let id = new_pool_id(count);
        let back = Arc::new(Back {
            store: self.store.unwrap_or_else(|| Box::new(MemoryStore::new())),
            reclaimer: Reclaimer::new(),
            live_bytes: AtomicU64::new(0),
            pool: id,
            shared: OnceLock::new(),
            maker: Maker::here(),
        });
        let ledger = Ledger::new(self.memory_limit, self.room_timeout);
        ledger.set_turns(self.parallel_writers);
        let name = self.name.unwrap_or_else(|| format!("pool-{count}"));
        let shared = Shared::new(id, name, Arc::clone(&ledger), self.policy, back, self.track_pins);
        let mapped_limit = MappedLimit::new(self.mapped_limit, self.memory_limit);
        let writers = Writers::new(self.write_ahead);
        let shared = Arc::new(Shared { mapped_limit, writers, ..shared });
        let evictor: Weak<Shared> = Arc::downgrade(&shared);
        let _ = shared.back.shared.set(Weak::clone(&evictor));
        crate::events::opened(&shared, self.policy);
        ledger.set_evictor(evictor as Weak<dyn Evictor>);
        Pool::new(shared, codec)
    }
}

impl PoolOptions {
    /// Opens the pool with the values that an earlier one has retained in the store: each under its name, and whole.
    ///
    /// They are on disk, take no memory, and are checked, every byte, when they are first read. A store that has nothing
    /// retained gives an empty pool.
    ///
    /// # Errors
    /// [`Error::Frame`](crate::Error::Frame) and [`Error::Store`](crate::Error::Store) for a manifest that is damaged. What
    /// was retained stays as it is.
    pub fn restore<C: Send + Sync + 'static>(self, codec: C) -> Result<Pool<C>> {
        let pool = self.open(codec);
        pool.take_over()?;
        Ok(pool)
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolOptions")
            .field("name", &self.name)
            .field("memory_limit", &self.memory_limit)
            .field("mapped_limit", &self.mapped_limit)
            .field("policy", &self.policy)
            .field("room_timeout", &self.room_timeout)
            .field("track_pins", &self.track_pins)
            .field("parallel_writers", &self.parallel_writers)
            .field("write_ahead", &self.write_ahead)
            .finish_non_exhaustive()
    }
}

/// How many pools this process has opened, this one included.
fn pools_opened() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static POOLS: AtomicU64 = AtomicU64::new(1);
    POOLS.fetch_add(1, Ordering::Relaxed)
}

/// A number that no other pool has: a frame of one is never taken for a frame of another.
fn new_pool_id(count: u64) -> u64 {
    RandomState::new().hash_one((std::process::id(), count))
}

/// How one value is set.
#[derive(Default)]
pub struct SetOptions {
    pub(crate) discardable: bool,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) wait: Option<Wait>,
    pub(crate) name: Option<String>,
}

impl SetOptions {
    /// An ordinary value: spilled when room is needed, waited for as the pool's options say.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value is dropped instead of spilled when room is needed; it then answers
    /// [`Discarded`](crate::Error::Discarded). (MemPool.jl: `destroyonevict`.)
    #[must_use]
    pub fn discardable(mut self) -> Self {
        self.discardable = true;
        self
    }

    /// Calls `destructor` once when the value is gone for good: deleted, discarded, without references, or at
    /// close. It runs in the pool's reclaimer, under no lock; a panic in it is caught and counted.
    #[must_use]
    pub fn destructor(mut self, destructor: impl FnOnce() + Send + 'static) -> Self {
        self.destructor = Some(Box::new(destructor));
        self
    }

    /// Names the value, as [`Pool::set_name`](crate::Pool::set_name) does, when it is set: a set that fails leaves the name
    /// to the value that has it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Waits for room as `wait` says.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }
}

impl std::fmt::Debug for SetOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetOptions")
            .field("discardable", &self.discardable)
            .field("destructor", &self.destructor.is_some())
            .field("wait", &self.wait)
            .field("name", &self.name)
            .finish()
    }
}
