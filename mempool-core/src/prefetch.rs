//! Prefetching: values that will be wanted are read from disk by a thread of the pool's.
//!
//! The thread takes the values window by window, in the order in which they were named, tells the store of the frames in a window
//! before it needs the first, and then brings back what a get would have to decode. What a get would map is left to the get: the
//! file's pages are in memory by then, and a map costs less than the thread's turn. Nothing is evicted for a value that is
//! prefetched, and its errors are left to the get that wants it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::budget::Wait;
use crate::codec::Codec;
use crate::dref::DRef;
use crate::entry::EntryRef;
use crate::error::Result;
use crate::fork::Maker;
use crate::many::place_of;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::store::Handle;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{self, Condvar, MODELLED, Mutex};

/// So many bytes of frames are announced to the store before the first of them is read.
const WINDOW_BYTES: u64 = 16 << 20;

/// So many values are looked at for one window.
const WINDOW_VALUES: usize = 1024;

/// So many values may be waiting; a call takes no more than fit.
const WAITING_MAX: usize = 1 << 20;

/// The values of one call.
struct Job {
    entries: Mutex<VecDeque<EntryRef>>,
    /// Values that are still to be looked at.
    left: AtomicUsize,
    taken: usize,
    cancelled: AtomicBool,
}

/// The prefetcher of one pool.
#[derive(Clone)]
pub(crate) struct Prefetcher(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    /// Values of all jobs that are not looked at yet.
    waiting: usize,
    running: bool,
    stopped: bool,
}

/// A prefetch that is under way; dropped, it goes on.
#[must_use = "a prefetch goes on by itself; this is for who wants to wait for it or cancel it"]
pub struct Prefetch {
    job: Arc<Job>,
    queue: Prefetcher,
    maker: Maker,
}

impl Prefetch {
    /// How many values were taken: all that were named, unless very many wait already.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.job.taken
    }

    /// How many of them are still to be looked at.
    #[must_use]
    pub fn left(&self) -> usize {
        self.job.left.load(Ordering::Acquire)
    }

    /// Returns when nothing of it is left to do: all was looked at, it was cancelled, or the pool is closed. At once in a
    /// forked child.
    pub fn wait(&self) {
        if !self.maker.is_here() {
            return;
        }
        let mut state = sync::lock(&self.queue.0.state);
        while self.left() > 0 && !state.stopped {
            state = sync::wait(&self.queue.0.changed, state);
        }
    }

    /// Leaves what was not begun. What is being read now is read to its end.
    pub fn cancel(&self) {
        if self.maker.is_here() {
            self.queue.cancel(&self.job);
        }
    }
}

impl std::fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch")
            .field("taken", &self.taken())
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// Has a thread of the pool's read these values from disk, in this order, while the caller does something else.
    ///
    /// The store is told of the frames, so that their bytes are in the page cache when they are wanted; values that a get
    /// would have to decode are brought back as long as there is free room, and nothing is evicted for them. What is in
    /// memory is passed over, as is what ends meanwhile. It is a hint: a value that cannot be read is met by its get, which
    /// says why. A get of a value that is being prefetched waits for that one read.
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions};
    ///
    /// let pool = PoolOptions::new().open(Blob);
    /// let parts: Vec<_> = (0..4).map(|n| pool.set(vec![n; 10])).collect::<Result<_, _>>()?;
    /// pool.prefetch(&parts)?.wait();
    /// assert_eq!(pool.get(&parts[3])?[0], 3);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Forked`](crate::Error::Forked),
    /// [`Error::WrongPool`](crate::Error::WrongPool).
    pub fn prefetch<'a, T, R>(&self, references: R) -> Result<Prefetch>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
        R: IntoIterator<Item = &'a DRef<T>>,
    {
        self.shared().check_open()?;
        let mut entries = VecDeque::new();
        for reference in references {
            if place_of(self.own(reference)?).is_some() {
                entries.push_back(reference.as_any().holder());
            }
        }
        Ok(self.shared().prefetcher.push(entries, self.shared()))
    }
}

impl Prefetcher {
    pub(crate) fn new() -> Self {
        let queue = Queue { state: Mutex::new(State::default()), changed: Condvar::new() };
        Self(Arc::new(queue))
    }

    fn push(&self, mut entries: VecDeque<EntryRef>, shared: &Arc<Shared>) -> Prefetch {
        let mut state = sync::lock(&self.0.state);
        let room = if state.stopped { 0 } else { WAITING_MAX - state.waiting };
        let refused = entries.split_off(room.min(entries.len()));
        let job = Arc::new(Job {
            left: AtomicUsize::new(entries.len()),
            taken: entries.len(),
            entries: Mutex::new(entries),
            cancelled: AtomicBool::new(false),
        });
        let handle = Prefetch { job: Arc::clone(&job), queue: self.clone(), maker: Maker::here() };
        let mut start = false;
        if job.taken > 0 {
            state.waiting += job.taken;
            state.jobs.push_back(job);
            start = !state.running;
            state.running = true;
        }
        drop(state);
        // The last holder of an entry frees it, under no lock.
        drop(refused);
        if start {
            self.start(Arc::downgrade(shared));
        }
        handle
    }

    fn start(&self, shared: Weak<Shared>) {
        let prefetcher = self.clone();
        let run = move || prefetcher.run(&shared);
        if MODELLED {
            return run();
        }
        let thread = std::thread::Builder::new().name("mempool-prefetch".into());
        if let Err(_refused) = thread.spawn(run) {
            // A hint that nobody can take is dropped.
            self.stop_jobs(false);
        }
    }

    /// Ends what waits, and lets nothing in any more. What is being read is read to its end, and not waited for.
    pub(crate) fn stop(&self) {
        self.stop_jobs(true);
    }

    fn stop_jobs(&self, for_ever: bool) {
        let jobs = {
            let mut state = sync::lock(&self.0.state);
            state.stopped |= for_ever;
            state.running &= for_ever;
            // Who waits for what is being read need not wait for that.
            self.0.changed.notify_all();
            std::mem::take(&mut state.jobs)
        };
        jobs.iter().for_each(|job| self.cancel(job));
    }

    fn cancel(&self, job: &Job) {
        job.cancelled.store(true, Ordering::Release);
        let entries = std::mem::take(&mut *sync::lock(&job.entries));
        self.done(job, entries.len());
    }

    /// So many values of a job need no look any more.
    fn done(&self, job: &Job, count: usize) {
        let mut state = sync::lock(&self.0.state);
        state.waiting -= count;
        // Release: what was brought back is seen by whoever sees that nothing is left.
        if job.left.fetch_sub(count, Ordering::Release) == count && count > 0 {
            self.0.changed.notify_all();
        }
    }

    /// Works through the jobs, then ends: the next call starts another thread.
    fn run(&self, shared: &Weak<Shared>) {
        while let Some(job) = self.next_job() {
            // The pool may go while its prefetcher works.
            while let Some(shared) = shared.upgrade()
                && self.window(&job, &shared)
            {}
            self.cancel(&job);
        }
    }

    fn next_job(&self) -> Option<Arc<Job>> {
        let mut state = sync::lock(&self.0.state);
        let job = state.jobs.pop_front();
        state.running = job.is_some();
        job
    }

    /// Announces and brings back the next few values; whether there may be more.
    fn window(&self, job: &Job, shared: &Shared) -> bool {
        let mut taken = Vec::new();
        let mut found: Vec<(Handle, EntryRef)> = Vec::new();
        let mut bytes = 0_u64;
        {
            let mut entries = sync::lock(&job.entries);
            while bytes < WINDOW_BYTES && taken.len() + found.len() < WINDOW_VALUES {
                let Some(entry) = entries.pop_front() else { break };
                match place_of(&entry) {
                    Some(handle) => {
                        bytes = bytes.saturating_add(handle.bytes);
                        found.push((handle, entry));
                    }
                    None => taken.push(entry),
                }
            }
        }
        self.done(job, taken.len());
        if found.is_empty() {
            return !taken.is_empty();
        }
        found.sort_by_key(|(handle, _)| (handle.segment, handle.offset));
        let handles: Vec<Handle> = found.iter().map(|(handle, _)| *handle).collect();
        shared.back.store.advise(&handles);
        for (_, entry) in found {
            // Acquire pairs with the Release of a cancel; one that comes later stops at the next value.
            let goes_on = !job.cancelled.load(Ordering::Acquire) && !shared.is_closed();
            if goes_on && !entry.registration().maps() && entry.word.begin_load() {
                // Its error is met by whoever gets the value.
                if shared.load(&entry, Wait::Free).is_ok() {
                    entry.unpin();
                }
            }
            self.done(job, 1);
        }
        true
    }
}
