//! The byte ledger: what is in use, what the limit is, who waits for room.
//!
//! Used bytes change in this file alone, under one short lock, so that they equal the sum of live
//! [`Reservation`]s at every instant another thread can look. The lock is never held across I/O, an
//! eviction or user code.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::cancel::CancelId;
use crate::error::{Error, NoRoom, PinnedValue, Result};
use crate::fork::Maker;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{self, Condvar, Mutex};
use crate::turn::{Patience, Turns};

/// How long a request may wait for pins to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all, and nothing is evicted either: what is free now, or nothing.
    Free,
    /// Not at all: evict what can be evicted, else fail.
    No,
    /// For so long, counted from when a request begins to wait; a call that asks several times waits so long each time.
    For(Duration),
    /// Until this instant.
    Until(Instant),
    /// Until the [`Canceller`](crate::Canceller) of that name says otherwise, or until this instant if there is one.
    Cancellable {
        /// The canceller.
        id: CancelId,
        /// The end.
        until: Option<Instant>,
    },
}

impl Wait {
    /// Whether there is nothing left to wait for. Under a model checker there is no time.
    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::Free | Self::No => true,
            Self::For(_) | Self::Cancellable { until: None, .. } => false,
            Self::Until(deadline) | Self::Cancellable { until: Some(deadline), .. } => {
                !sync::MODELLED && Instant::now() >= deadline
            }
        }
    }

    /// When there will be nothing left to wait for; `None` when that is so now.
    fn deadline(self) -> Option<Instant> {
        match self {
            _ if self.is_over() => None,
            Self::Until(deadline) | Self::Cancellable { until: Some(deadline), .. } => {
                Some(deadline)
            }
            Self::For(timeout) => Self::for_at_most(timeout).deadline(),
            Self::Cancellable { until: None, .. } => Self::for_at_most(Duration::MAX).deadline(),
            Self::Free | Self::No => None,
        }
    }

    /// Until `timeout` from now.
    #[must_use]
    pub fn for_at_most(timeout: Duration) -> Self {
        let now = Instant::now();
        // A timeout beyond the clock's range is for ever; thirty years are.
        let far = Duration::from_secs(1_000_000_000);
        Self::Until(now.checked_add(timeout).or_else(|| now.checked_add(far)).unwrap_or(now))
    }

    /// The same with an end that is fixed: what is asked for now begins to wait.
    pub(crate) fn begun(self) -> Self {
        match self {
            Self::For(timeout) => Self::for_at_most(timeout),
            other => other,
        }
    }
}

/// A request whose thread has been evicting for so long is overtaken by those behind it: the disk that it writes to hangs.
const STALLED: Duration = Duration::from_secs(1);

/// How often a request whose time is over looks again when something has changed since its last look. A change may be
/// what it waits for; readers that come and go change something without end.
const LATE_LOOKS_MAX: u32 = 16;

/// What one pass of eviction came to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Something was freed, or another thread is about to; look again.
    Freed,
    /// Nothing can be evicted now.
    Stuck,
    /// What is next to go needs a write, and as many write as may, or is being written ahead of need. So many turns had
    /// ended then.
    Busy(u64),
    /// What could have been evicted could not be written.
    Failed(Error),
}

/// Who makes room when the limit is reached.
pub(crate) trait Evictor: Send + Sync {
    /// Tries to free at least as many bytes as are missing when it looks. Called without the ledger's lock.
    fn evict(&self, missing: &dyn Fn() -> u64, wait: Wait) -> Progress;
    /// The largest values that cannot be evicted now.
    fn largest_pinned(&self) -> Vec<PinnedValue>;
    /// A request ends with this report.
    fn note_no_room(&self, report: &NoRoom);
}

/// The ledger of one budget. Pools that share a budget share it.
pub struct Ledger {
    state: Mutex<State>,
    /// The length of the queue, for those who only want to know whether there is one.
    waiting: AtomicUsize,
    changed: Condvar,
    evictor: OnceLock<Weak<dyn Evictor>>,
    timeout: Duration,
    maker: Maker,
}

#[derive(Debug)]
struct State {
    limit: u64,
    used: u64,
    peak: u64,
    /// The requests that wait, oldest first. Only the first may take, but for those that are overtaken.
    queue: VecDeque<Waiter>,
    next_ticket: u64,
    /// The cancellers that have cancelled and are still there.
    cancelled: Vec<CancelId>,
    /// The pool is closed: nobody is let in any more.
    closed: bool,
    /// Moves with everything that may let a waiter go on.
    epoch: u64,
    turns: Turns,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    /// Since when its thread has been evicting, if it is.
    evicting_since: Option<Instant>,
}

impl Waiter {
    /// From when on it is overtaken. Under a model checker there is no time.
    fn overtaken_from(&self) -> Option<Instant> {
        let since = self.evicting_since.filter(|_| !sync::MODELLED && !mutant!("never_overtaken"));
        since?.checked_add(STALLED)
    }
}

impl State {
    /// Whether it is this request's turn; if not, when it may be without anybody telling.
    fn turn(&self, ticket: u64) -> Result<(), Option<Instant>> {
        let before = self.queue.iter().take_while(|waiter| waiter.ticket != ticket);
        let now = Instant::now();
        let not_yet =
            before.map(Waiter::overtaken_from).filter(|from| from.is_none_or(|from| from > now));
        // All of those before it must be overtaken: the last one of them decides, and one that waits decides for all.
        match not_yet.reduce(|one, other| Some(one?.max(other?))) {
            None => Ok(()),
            Some(from) => Err(from),
        }
    }

    fn waiter(&mut self, ticket: u64) -> Option<&mut Waiter> {
        self.queue.iter_mut().find(|waiter| waiter.ticket == ticket)
    }

    fn is_cancelled(&self, wait: Wait) -> bool {
        matches!(wait, Wait::Cancellable { id, .. } if self.cancelled.contains(&id))
    }
}

/// A ledger's figures at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerUsage {
    /// The limit.
    pub limit_bytes: u64,
    /// The sum of live reservations.
    pub used_bytes: u64,
    /// The most that was ever used.
    pub peak_bytes: u64,
    /// How many requests wait for room.
    pub waiting: usize,
}

impl Ledger {
    /// A ledger of `limit_bytes`, whose waiting requests give up after `timeout`.
    #[must_use]
    pub fn new(limit_bytes: u64, timeout: Duration) -> Arc<Self> {
        let state = State {
            limit: limit_bytes,
            used: 0,
            peak: 0,
            queue: VecDeque::new(),
            next_ticket: 0,
            cancelled: Vec::new(),
            closed: false,
            epoch: 0,
            turns: Turns::new(usize::MAX),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            evictor: OnceLock::new(),
            timeout,
            maker: Maker::here(),
        })
    }

    pub(crate) fn set_evictor(&self, evictor: Weak<dyn Evictor>) {
        // A second evictor would be a second pool on one ledger; the first one stays.
        let _ = self.evictor.set(evictor);
    }

    /// Whether this process made it. A forked child takes no lock of it: another thread may have held it at the fork.
    pub(crate) fn is_ours(&self) -> bool {
        self.maker.is_here()
    }

    /// Limit, use and peak at one instant; zeros in a forked child.
    #[must_use]
    pub fn usage(&self) -> LedgerUsage {
        if !self.is_ours() {
            return LedgerUsage::default();
        }
        let state = sync::lock(&self.state);
        LedgerUsage {
            limit_bytes: state.limit,
            used_bytes: state.used,
            peak_bytes: state.peak,
            waiting: state.queue.len(),
        }
    }

    /// The limit now.
    pub(crate) fn limit(&self) -> u64 {
        sync::lock(&self.state).limit
    }

    /// So many threads at most write at once to make room, one at least.
    pub(crate) fn set_turns(&self, most: usize) {
        sync::lock(&self.state).turns.set_most(most);
    }

    /// Takes a turn at writing; where there is none, how many have ended by now. [`Turn`](crate::turn::Turn) ends it.
    pub(crate) fn take_turn(&self) -> Result<(), u64> {
        sync::lock(&self.state).turns.try_take()
    }

    pub(crate) fn end_turn(&self) {
        let mut state = sync::lock(&self.state);
        state.turns.end();
        // Not a change for those who wait for pins: two of them would wake each other for ever.
        if !state.queue.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Work that somebody may have waited for, as for a turn, has ended.
    pub(crate) fn note_work_ended(&self) {
        let mut state = sync::lock(&self.state);
        state.turns.note_end();
        self.move_on(&mut state);
    }

    /// How many turns have ended.
    pub(crate) fn turns_ended(&self) -> u64 {
        sync::lock(&self.state).turns.ended()
    }

    /// How long a request of this ledger waits unless it says otherwise.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes `bytes`, making room as far as `wait` allows.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the whole limit, [`Error::NoRoom`] when pins fill it, [`Error::Spill`]
    /// when what could be evicted could not be written, [`Error::Closed`] with its pool, also for requests that
    /// wait when that is closed, [`Error::Forked`] in a forked child.
    pub fn reserve(self: &Arc<Self>, bytes: u64, wait: Wait) -> Result<Reservation> {
        self.take(bytes, wait)?;
        Ok(Reservation { ledger: Arc::clone(self), bytes })
    }

    /// An empty reservation, to be grown.
    #[must_use]
    pub fn nothing(self: &Arc<Self>) -> Reservation {
        Reservation { ledger: Arc::clone(self), bytes: 0 }
    }

    /// Changes the limit; when it falls, only after enough has been evicted, so that use never stands above it.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the limit then stays what it was.
    pub fn set_limit(&self, limit_bytes: u64, wait: Wait) -> Result<()> {
        self.acquire(Request::Limit(limit_bytes), wait)
    }

    /// Lets nobody in any more, and ends those who wait. What is taken is paid back as ever.
    pub(crate) fn close(&self) {
        let mut state = sync::lock(&self.state);
        state.closed = true;
        self.move_on(&mut state);
    }

    /// Ends those who wait by this canceller, and lets nobody wait by it any more.
    pub(crate) fn cancel(&self, id: CancelId) {
        let mut state = sync::lock(&self.state);
        if !state.cancelled.contains(&id) {
            state.cancelled.push(id);
        }
        if mutant!("cancelled_untold") {
            return;
        }
        self.move_on(&mut state);
    }

    /// The canceller is gone.
    pub(crate) fn forget_cancelled(&self, id: CancelId) {
        sync::lock(&self.state).cancelled.retain(|cancelled| *cancelled != id);
    }

    /// Whether who waits so was cancelled.
    pub(crate) fn is_cancelled(&self, wait: Wait) -> bool {
        matches!(wait, Wait::Cancellable { .. }) && sync::lock(&self.state).is_cancelled(wait)
    }

    /// Tells those who wait that something may have become evictable.
    pub(crate) fn nudge(&self) {
        if !self.is_ours() {
            return;
        }
        self.move_on(&mut sync::lock(&self.state));
    }

    /// As [`nudge`](Self::nudge), without the lock when nobody waits.
    ///
    /// For steps that were made under the lock of the index alone: a request joins the queue before it looks at the index.
    /// If its look came before the step, the step's thread took the lock after it and sees it in the queue.
    pub(crate) fn nudge_waiting(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.nudge();
        }
    }

    /// Lets those who wait look again. Nobody is told when nobody waits: that would cost a system call.
    fn move_on(&self, state: &mut State) {
        state.epoch = state.epoch.wrapping_add(1);
        if !state.queue.is_empty() {
            self.changed.notify_all();
        }
    }

    fn take(&self, bytes: u64, wait: Wait) -> Result<()> {
        if bytes == 0 && self.is_ours() {
            return Ok(());
        }
        self.acquire(Request::Take(bytes), wait)
    }

    fn acquire(&self, request: Request, wait: Wait) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        let mut state = sync::lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        if state.queue.is_empty() && request.grant(&mut state) {
            return Ok(());
        }
        if wait == Wait::Free {
            request.check(&state)?;
            return Err(request.report(&state).into());
        }
        if state.is_cancelled(wait) {
            return Err(Error::Cancelled);
        }
        let ticket = state.next_ticket;
        state.next_ticket = state.next_ticket.wrapping_add(1);
        state.queue.push_back(Waiter { ticket, evicting_since: None });
        // Release pairs with the Acquire in `nudge_waiting`: who does not see it did his step before we look for victims.
        self.waiting.store(state.queue.len(), Ordering::Release);
        drop(state);
        let outcome = self.acquire_in_turn(request, ticket, wait.begun());
        let mut state = sync::lock(&self.state);
        let had_its_turn = state.turn(ticket).is_ok();
        state.queue.retain(|waiter| waiter.ticket != ticket);
        self.waiting.store(state.queue.len(), Ordering::Release);
        // Who leaves from further behind changes nothing for the others.
        if had_its_turn {
            self.move_on(&mut state);
        }
        outcome
    }

    fn acquire_in_turn(&self, request: Request, ticket: u64, wait: Wait) -> Result<()> {
        let mut late_looks = 0;
        let mut patience = Patience::default();
        loop {
            let mut state = sync::lock(&self.state);
            if state.closed {
                return Err(Error::Closed);
            }
            if state.is_cancelled(wait) {
                return Err(Error::Cancelled);
            }
            let epoch = state.epoch;
            if state.turn(ticket).is_ok() && request.grant(&mut state) {
                return Ok(());
            }
            request.check(&state)?;
            let missing = request.missing(&state);
            if missing > 0 {
                self.note_evicting(&mut state, ticket, Some(Instant::now()));
            }
            drop(state);
            let progress = match missing {
                0 => Progress::Stuck,
                _ => {
                    let missing = || request.missing(&sync::lock(&self.state));
                    let progress = self.evict(&missing, wait);
                    self.note_evicting(&mut sync::lock(&self.state), ticket, None);
                    progress
                }
            };
            match progress {
                Progress::Freed => {}
                Progress::Failed(error) => return Err(error),
                Progress::Busy(ended) => {
                    let patience = patience.until(ended, self.timeout);
                    let until = wait.deadline().map_or(patience, |end| end.max(patience));
                    self.wait_for_turn(request, ticket, (epoch, ended), until, wait)?;
                }
                Progress::Stuck => {
                    late_looks += u32::from(wait.is_over());
                    let epoch = (late_looks <= LATE_LOOKS_MAX).then_some(epoch);
                    self.wait_for_change(request, ticket, epoch, wait)?;
                }
            }
        }
    }

    fn note_evicting(&self, state: &mut State, ticket: u64, since: Option<Instant>) {
        if let Some(waiter) = state.waiter(ticket) {
            waiter.evicting_since = since;
        }
    }

    fn evict(&self, missing: &dyn Fn() -> u64, wait: Wait) -> Progress {
        match self.evictor.get().and_then(Weak::upgrade) {
            Some(evictor) => evictor.evict(missing, wait),
            None => Progress::Stuck,
        }
    }

    /// Returns when the epoch has moved on from `epoch`, which was read before the look that found nothing, or when the
    /// request's turn has come because those before it hang; without an epoch, it was the last look.
    fn wait_for_change(
        &self,
        request: Request,
        ticket: u64,
        epoch: Option<u64>,
        wait: Wait,
    ) -> Result<()> {
        let mut state = sync::lock(&self.state);
        let had_its_turn = state.turn(ticket).is_ok();
        while epoch.is_none_or(|epoch| state.epoch == epoch) {
            let turn = state.turn(ticket);
            if epoch.is_some() && turn.is_ok() && !had_its_turn {
                break;
            }
            let Some(deadline) = wait.deadline().filter(|_| !state.is_cancelled(wait)) else {
                if state.is_cancelled(wait) {
                    return Err(Error::Cancelled);
                }
                let report = request.report(&state);
                drop(state);
                return Err(self.no_room(report));
            };
            let overtakes = turn.err().flatten();
            let deadline = overtakes.map_or(deadline, |from| from.min(deadline));
            state = sync::wait_until(&self.changed, state, deadline);
        }
        Ok(())
    }

    /// Returns when a turn has ended after `ended`, when the epoch has moved on from `epoch`, or when those before it hang. It
    /// waits for the work of others and not for pins, so even who waits for no pin waits here, at most until `until`.
    fn wait_for_turn(
        &self,
        request: Request,
        ticket: u64,
        (epoch, ended): (u64, u64),
        until: Instant,
        wait: Wait,
    ) -> Result<()> {
        let mut state = sync::lock(&self.state);
        let had_its_turn = state.turn(ticket).is_ok();
        loop {
            if state.is_cancelled(wait) {
                return Err(Error::Cancelled);
            }
            if !sync::MODELLED && Instant::now() >= until {
                let report = request.report(&state);
                drop(state);
                return Err(self.no_room(report));
            }
            let turn = state.turn(ticket);
            let overtakes = turn.is_ok() && !had_its_turn;
            if overtakes || state.epoch != epoch || state.turns.ended() != ended {
                return Ok(());
            }
            let wakes = turn.err().flatten().map_or(until, |from| from.min(until));
            state = sync::wait_until(&self.changed, state, wakes);
        }
    }

    fn no_room(&self, mut report: NoRoom) -> Error {
        if let Some(evictor) = self.evictor.get().and_then(Weak::upgrade) {
            report.largest = evictor.largest_pinned();
            evictor.note_no_room(&report);
        }
        report.into()
    }

    /// For a planted bug alone.
    #[cfg(feature = "mutants")]
    pub(crate) fn credit_planted(&self, bytes: u64) {
        self.credit(bytes);
    }

    fn credit(&self, bytes: u64) {
        if bytes == 0 || !self.is_ours() || mutant!("ledger_leak") {
            return;
        }
        let mut state = sync::lock(&self.state);
        state.used =
            state.used.checked_sub(bytes).expect("a reservation returns no more than was taken");
        self.move_on(&mut state);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

/// What a caller wants of the ledger.
#[derive(Clone, Copy)]
enum Request {
    Take(u64),
    Limit(u64),
}

impl Request {
    fn grant(self, state: &mut State) -> bool {
        match self {
            Self::Take(bytes) => {
                let Some(used) = state.used.checked_add(bytes) else { return false };
                if used > state.limit {
                    return false;
                }
                state.used = used;
                state.peak = state.peak.max(used);
            }
            Self::Limit(limit) => {
                if state.used > limit {
                    return false;
                }
                state.limit = limit;
                state.epoch = state.epoch.wrapping_add(1);
            }
        }
        true
    }

    /// Whether it can ever be granted.
    fn check(self, state: &State) -> Result<()> {
        match self {
            Self::Take(bytes) if bytes > state.limit => {
                Err(Error::TooLarge { asked_bytes: bytes, limit_bytes: state.limit })
            }
            _ => Ok(()),
        }
    }

    /// How many bytes must go before it fits; 0 when it fits and only waits for its turn.
    fn missing(self, state: &State) -> u64 {
        match self {
            Self::Take(bytes) => state.used.saturating_add(bytes).saturating_sub(state.limit),
            Self::Limit(limit) => state.used.saturating_sub(limit),
        }
    }

    fn report(self, state: &State) -> NoRoom {
        let (asked_bytes, limit_bytes) = match self {
            Self::Take(bytes) => (bytes, state.limit),
            Self::Limit(limit) => (0, limit),
        };
        NoRoom { asked_bytes, limit_bytes, used_bytes: state.used, largest: Vec::new() }
    }
}

/// Bytes taken from a budget; dropped, it pays them back.
///
/// Take it before you allocate, and drop it after you have freed.
pub struct Reservation {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) bytes: u64,
}

impl Reservation {
    /// What was taken apart before: `bytes` that were taken from `ledger` and not paid back.
    pub(crate) fn from_parts(ledger: Arc<Ledger>, bytes: u64) -> Self {
        Self { ledger, bytes }
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `bytes` more, evicting values and waiting as `set` does.
    ///
    /// # Errors
    /// As [`Ledger::reserve`]; the reservation is then as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        self.grow_within(bytes, Wait::For(self.ledger.timeout))
    }

    /// Takes `bytes` more, evicting values but not waiting.
    ///
    /// # Errors
    /// As [`Ledger::reserve`]; the reservation is then as it was.
    pub fn try_grow(&mut self, bytes: u64) -> Result<()> {
        self.grow_within(bytes, Wait::No)
    }

    /// Takes `bytes` more, waiting as `wait` says.
    ///
    /// # Errors
    /// As [`Ledger::reserve`]; the reservation is then as it was.
    pub fn grow_within(&mut self, bytes: u64, wait: Wait) -> Result<()> {
        let Some(grown) = self.bytes.checked_add(bytes) else {
            let limit_bytes = self.ledger.usage().limit_bytes;
            return Err(Error::TooLarge { asked_bytes: u64::MAX, limit_bytes });
        };
        self.ledger.take(bytes, wait)?;
        self.bytes = grown;
        Ok(())
    }

    /// Pays back `bytes`, or all it has if that is less.
    pub fn shrink(&mut self, bytes: u64) {
        drop(self.split(bytes.min(self.bytes)));
    }

    /// Moves `bytes` into a reservation of their own.
    ///
    /// # Panics
    /// When it holds fewer.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.checked_sub(bytes).expect("a split takes no more than there is");
        Self { ledger: Arc::clone(&self.ledger), bytes }
    }

    /// Takes over what `other` holds.
    ///
    /// # Panics
    /// When `other` is of another ledger.
    pub fn absorb(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.ledger, &other.ledger), "reservations of one ledger");
        self.bytes = self.bytes.checked_add(other.bytes).expect("a ledger's bytes fit in 64 bits");
        other.bytes = 0;
    }

    /// The ledger that it is taken from.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.credit(self.bytes);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
