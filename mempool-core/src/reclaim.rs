//! The reclaimer: does what the drop of a reference may not do itself.
//!
//! A drop may not do I/O, run code of the user's, or recurse through a chain of references; it queues such work
//! here. One thread drains the queue iteratively, under no lock, and catches and counts panics.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::claim::Back;
use crate::dref::AnyRef;
use crate::entry::{Destructor, Held};
use crate::events;
use crate::origin::RemoteFrame;
use crate::store::Handle;
use crate::sync::{self, Condvar, MODELLED, Mutex, MutexGuard};

/// One thing to be done.
pub(crate) enum Work {
    /// Give up a frame.
    Free(Arc<Back>, Handle),
    /// Drop a value whose drop runs code of the user's.
    Value(Box<dyn Held>),
    /// Drop the references that a value held; that may end further values.
    References(Arc<Vec<AnyRef>>),
    /// Call the user back.
    Destructor(Destructor),
    /// Drop the way to a frame of another pool's; that may tell the owner.
    Remote(Arc<dyn RemoteFrame>),
}

/// Room for so much work is kept.
const KEPT_CAPACITY: usize = 1024;

/// The queue of one pool.
#[derive(Clone)]
pub(crate) struct Reclaimer(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    /// Pieces that a thread has taken out and not finished.
    at_work: usize,
    panics: u64,
    thread: Thread,
    /// Threads that wait for a change.
    waiting: usize,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Thread {
    #[default]
    NotStarted,
    Running,
    Stopped,
}

impl Reclaimer {
    pub(crate) fn new() -> Self {
        let queue = Queue { state: Mutex::new(State::default()), changed: Condvar::new() };
        Self(Arc::new(queue))
    }

    /// Queues `work`. Takes one short lock.
    pub(crate) fn push(&self, work: Work) {
        let mut state = sync::lock(&self.0.state);
        let idle = state.work.is_empty();
        state.work.push_back(work);
        match state.thread {
            Thread::NotStarted if !MODELLED => {
                state.thread = Thread::Running;
                drop(state);
                self.start();
            }
            // The closing thread is gone or going; what still comes is done by whoever brings it.
            Thread::Stopped => {
                drop(state);
                self.drain();
            }
            // Who waits for work was told of the first piece, and finds the others.
            _ if idle => self.tell(&state),
            _ => {}
        }
    }

    /// Wakes those who wait. Nobody is told when nobody waits: that would cost a system call.
    fn tell(&self, state: &State) {
        if state.waiting > 0 {
            self.0.changed.notify_all();
        }
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        state = sync::wait(&self.0.changed, state);
        state.waiting -= 1;
        state
    }

    /// How many callbacks and drops of the user's have panicked.
    pub(crate) fn panics(&self) -> u64 {
        sync::lock(&self.0.state).panics
    }

    /// Counts a panic that was caught elsewhere.
    pub(crate) fn note_panic(&self) {
        sync::lock(&self.0.state).panics += 1;
        events::panicked();
    }

    /// Returns when nothing is queued or under way, helping with what is. Called from a callback or a drop of the
    /// user's, which is itself such work, it returns at once.
    pub(crate) fn quiesce(&self) {
        if INSIDE.with(std::cell::Cell::get) {
            return;
        }
        loop {
            self.drain();
            let mut state = sync::lock(&self.0.state);
            while state.work.is_empty() && state.at_work > 0 {
                state = self.wait(state);
            }
            if state.work.is_empty() {
                return;
            }
        }
    }

    /// Does what is left, then ends the thread.
    pub(crate) fn stop(&self) {
        self.quiesce();
        sync::lock(&self.0.state).thread = Thread::Stopped;
        self.0.changed.notify_all();
    }

    fn start(&self) {
        let queue = self.clone();
        let thread = std::thread::Builder::new().name("mempool-reclaim".into());
        if thread.spawn(move || queue.run()).is_err() {
            // Without a thread the work is done by whoever pushes or quiesces.
            sync::lock(&self.0.state).thread = Thread::Stopped;
            self.drain();
        }
    }

    fn run(&self) {
        loop {
            self.drain();
            let mut state = sync::lock(&self.0.state);
            while state.work.is_empty() {
                if state.thread == Thread::Stopped {
                    return;
                }
                state = self.wait(state);
            }
        }
    }

    fn drain(&self) {
        // A drop inside a piece of work pushes more work; only the outermost drain of a thread does it.
        if INSIDE.with(|inside| inside.replace(true)) {
            return;
        }
        while let Some(work) = self.take() {
            let outcome = catch_unwind(AssertUnwindSafe(|| work.run()));
            if outcome.is_err() {
                events::panicked();
            }
            let mut state = sync::lock(&self.0.state);
            state.at_work -= 1;
            if state.work.is_empty() {
                // What a large heap of values needed to go is not kept.
                state.work.shrink_to(KEPT_CAPACITY);
            }
            state.panics += u64::from(outcome.is_err());
            if state.at_work == 0 {
                self.tell(&state);
            }
        }
        INSIDE.with(|inside| inside.set(false));
    }

    fn take(&self) -> Option<Work> {
        let mut state = sync::lock(&self.0.state);
        let work = state.work.pop_front()?;
        state.at_work += 1;
        Some(work)
    }
}

sync::thread_local! {
    /// Whether this thread is draining.
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Work {
    fn run(self) {
        match self {
            Self::Free(back, handle) => back.free(&handle),
            Self::Value(held) => drop(held),
            Self::References(references) => drop(references),
            Self::Destructor(destructor) => destructor(),
            Self::Remote(frame) => drop(frame),
        }
    }
}
