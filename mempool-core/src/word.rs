//! The entry word: state, flags, generation and pins of one value in 64 bits, and every legal step between them.
//!
//! ```text
//!  63            32 31     28  27       26       25      24     23         0
//! ┌────────────────┬─────────┬────────┬────────┬───────┬───────┬────────────┐
//! │ generation     │ state   │ ON_DISK│READABLE│DOOMED │WANTED │ pins       │
//! └────────────────┴─────────┴────────┴────────┴───────┴───────┴────────────┘
//!
//!             begin_evict                end_spill            end_release
//!   Resident ─────────────▶ Spilling ───────────────▶ Releasing ─────────▶ Spilled
//!      ▲  │ (clean)            │ pinned meanwhile,       ▲  │                 │ begin_load
//!      │  └────────────────────┼──or failed──▶ Resident  │  └▶ Discarded      ▼
//!      │                       └─────────────────────────┘                 Loading
//!      └──────────────────────────── end_load ──────────────────────────────┘│
//!   Mapped ◀─────────────────────────────────────────────────────────────────┘
//!
//!   DOOMED, no pins, and Resident, Mapped or Spilled ──bury──▶ Deleted
//! ```
//!
//! Readers pin by one addition and look at what stood there before; everybody else moves the word by
//! compare-exchange and keeps the pins that it finds. A value may be taken out of its entry only between a step to
//! `Releasing` or `Deleted`, which needs a word without pins, and the next step. That is the whole protocol.

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum State {
    /// One thread brings the value back.
    Loading = 0,
    /// In memory, counted.
    Resident = 1,
    /// In memory, counted, readable, and being written.
    Spilling = 2,
    /// On disk alone.
    Spilled = 3,
    /// A view of its frame's map.
    Mapped = 4,
    /// One thread drops the memory.
    Releasing = 5,
    /// Gone: deleted, or its last reference was dropped.
    Deleted = 6,
    /// Gone: it was discardable.
    Discarded = 7,
}

const PINS: u64 = (1 << 24) - 1;
const WANTED: u64 = 1 << 24;
const DOOMED: u64 = 1 << 25;
const READABLE: u64 = 1 << 26;
const ON_DISK: u64 = 1 << 27;
const STATE_SHIFT: u32 = 28;
const STATE: u64 = 0xF << STATE_SHIFT;
const GENERATION_SHIFT: u32 = 32;

/// The most pins of one value. Twice as many can be counted, so that threads that meet the bound at once are safe.
pub(crate) const PINS_MAX: u32 = (1 << 23) - 1;

/// The word as it was at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    /// Where the value is.
    #[must_use]
    pub(crate) fn state(self) -> State {
        match (self.0 & STATE) >> STATE_SHIFT {
            0 => State::Loading,
            1 => State::Resident,
            2 => State::Spilling,
            3 => State::Spilled,
            4 => State::Mapped,
            5 => State::Releasing,
            6 => State::Deleted,
            _ => State::Discarded,
        }
    }

    /// How many readers hold it.
    #[must_use]
    pub(crate) fn pins(self) -> u32 {
        (self.0 & PINS) as u32
    }

    /// Whether a good copy is on disk.
    #[must_use]
    pub(crate) fn on_disk(self) -> bool {
        self.0 & ON_DISK != 0
    }

    /// Whether it was deleted or its last reference was dropped.
    #[must_use]
    pub(crate) fn doomed(self) -> bool {
        self.0 & DOOMED != 0
    }

    /// Whether a pin makes the value readable.
    #[must_use]
    pub(crate) fn readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Whether a request for room waits for the last unpin.
    #[must_use]
    pub(crate) fn wanted(self) -> bool {
        self.0 & WANTED != 0
    }

    /// The generation of the slot.
    #[must_use]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Whether an eviction of it can start.
    #[must_use]
    pub(crate) fn evictable(self) -> bool {
        self.state() == State::Resident && self.unpinned() && !self.doomed()
    }

    /// Whether one thread is at work on it and will take a further step by itself.
    #[must_use]
    pub(crate) fn busy(self) -> bool {
        matches!(self.state(), State::Loading | State::Spilling | State::Releasing)
    }

    fn to(self, state: State) -> Self {
        let readable = match state {
            State::Resident | State::Spilling | State::Mapped if !self.doomed() => READABLE,
            _ => 0,
        };
        Self(self.0 & !(STATE | READABLE) | (state as u64) << STATE_SHIFT | readable)
    }

    fn with_disk(self, on_disk: bool) -> Self {
        Self(self.0 & !ON_DISK | if on_disk { ON_DISK } else { 0 })
    }

    fn unpinned(self) -> bool {
        self.pins() == 0 || mutant!("pin_ignored")
    }
}

/// What a pin came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// The value is readable until the unpin.
    Pinned,
    /// It is not readable now; nothing is held.
    NotReadable,
    /// It has [`PINS_MAX`] pins; nothing is held.
    TooMany,
}

/// What the evicting side has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Write the value, then [`Word::end_spill`]. The word is `Spilling`.
    Write,
    /// Drop the memory, then [`Word::end_release`]. The word is `Releasing`.
    Release,
}

/// State, flags, generation and pins of one value.
#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

impl Word {
    /// A word without pins.
    #[must_use]
    pub(crate) fn new(generation: u32, state: State, on_disk: bool) -> Self {
        let zero = Snapshot(u64::from(generation) << GENERATION_SHIFT);
        Self(AtomicU64::new(zero.to(state).with_disk(on_disk).0))
    }

    /// The word now.
    #[must_use]
    pub(crate) fn load(&self) -> Snapshot {
        // Acquire pairs with the AcqRel of every step: what the stepping thread wrote before it is seen.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Adds a pin if the value is readable; `undone` is what [`unpin`](Self::unpin) says if it had to be taken back.
    pub(crate) fn pin(&self, undone: impl FnOnce(Snapshot)) -> Pinning {
        // Acquire pairs with the release half of the step that made the value readable.
        let before = Snapshot(self.0.fetch_add(1, Ordering::Acquire));
        if before.readable() && before.pins() < PINS_MAX {
            return Pinning::Pinned;
        }
        if let Some(last) = self.unpin() {
            undone(last);
        }
        if before.readable() { Pinning::TooMany } else { Pinning::NotReadable }
    }

    /// Takes a pin back. `Some` to the last one when somebody waits for it: the caller then acts on the flags.
    pub(crate) fn unpin(&self) -> Option<Snapshot> {
        // Release: what was read under the pin was read before the value can be taken out.
        let before = Snapshot(self.0.fetch_sub(1, Ordering::Release));
        if before.pins() != 1 || before.0 & (WANTED | DOOMED) == 0 {
            return None;
        }
        fence(Ordering::Acquire);
        Some(before)
    }

    /// Starts an eviction of a resident value without pins. A clean or `discardable` one is released at once.
    pub(crate) fn begin_evict(&self, discardable: bool) -> Option<Eviction> {
        let before = self.step(|now| {
            let clean = now.on_disk() || discardable;
            now.evictable().then(|| now.to(if clean { State::Releasing } else { State::Spilling }))
        })?;
        let clean = before.on_disk() || discardable;
        Some(if clean { Eviction::Release } else { Eviction::Write })
    }

    /// Ends an eviction before anything was done: the value is resident again.
    pub(crate) fn cancel_evict(&self) {
        self.must_step(|now| now.to(State::Resident));
    }

    /// Starts to write a resident value that has no copy on disk, pinned or not; it stays readable.
    pub(crate) fn begin_write(&self) -> bool {
        self.step(|now| {
            let dirty = now.state() == State::Resident && !now.on_disk() && !now.doomed();
            dirty.then(|| now.to(State::Spilling))
        })
        .is_some()
    }

    /// Ends a writing; the value is resident, and on disk if it was `written`.
    pub(crate) fn end_write(&self, written: bool) {
        self.must_step(|now| now.to(State::Resident).with_disk(written));
    }

    /// Ends the writing of a victim: `true` when its memory is now to be released, `false` when somebody pinned or
    /// doomed it meanwhile, and it is resident and clean.
    pub(crate) fn end_spill(&self) -> bool {
        let next = |now: Snapshot| {
            let free = now.unpinned() && !now.doomed();
            now.to(if free { State::Releasing } else { State::Resident }).with_disk(true)
        };
        let before = self.must_step(next);
        next(before).state() == State::Releasing
    }

    /// Starts to release a value that is clean, has no pins and is resident or mapped.
    pub(crate) fn begin_release(&self) -> bool {
        self.step(|now| {
            let here = matches!(now.state(), State::Resident | State::Mapped);
            let free = here && now.on_disk() && now.unpinned() && !now.doomed();
            free.then(|| now.to(State::Releasing))
        })
        .is_some()
    }

    /// As [`begin_release`](Self::begin_release), of a value that is mapped.
    pub(crate) fn begin_release_view(&self) -> bool {
        self.step(|now| {
            let free = now.state() == State::Mapped && now.unpinned() && !now.doomed();
            free.then(|| now.to(State::Releasing))
        })
        .is_some()
    }

    /// Ends a release: the memory is gone.
    pub(crate) fn end_release(&self, discarded: bool) {
        let state = if discarded { State::Discarded } else { State::Spilled };
        self.must_step(|now| now.to(state));
    }

    /// Starts a load; one thread alone gets `true`.
    pub(crate) fn begin_load(&self) -> bool {
        self.step(|now| {
            (now.state() == State::Spilled && !now.doomed()).then(|| now.to(State::Loading))
        })
        .is_some()
    }

    /// Ends a load that brought the value back; the loading thread holds a pin on it.
    pub(crate) fn end_load(&self, mapped: bool) {
        let state = if mapped { State::Mapped } else { State::Resident };
        self.must_step(|now| Snapshot(now.to(state).0 + 1));
    }

    /// Ends a load that failed.
    pub(crate) fn fail_load(&self) {
        self.must_step(|now| now.to(State::Spilled));
    }

    /// Dooms the value: no further pin succeeds. The word before; only the first call finds it not doomed.
    pub(crate) fn doom(&self) -> Snapshot {
        self.must_step(|now| Snapshot((now.0 | DOOMED) & !READABLE))
    }

    /// Takes a doomed value that nobody holds or works on to its end; one caller alone gets `true`, and the value.
    pub(crate) fn bury(&self) -> bool {
        self.step(|now| {
            let still = matches!(now.state(), State::Resident | State::Mapped | State::Spilled);
            (now.doomed() && still && now.pins() == 0).then(|| now.to(State::Deleted))
        })
        .is_some()
    }

    /// Asks to be told of the last unpin. The word before.
    pub(crate) fn want(&self) -> Snapshot {
        self.must_step(|now| Snapshot(now.0 | WANTED))
    }

    /// Takes [`want`](Self::want) back.
    pub(crate) fn unwant(&self) {
        self.must_step(|now| Snapshot(now.0 & !WANTED));
    }

    fn must_step(&self, next: impl Fn(Snapshot) -> Snapshot) -> Snapshot {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            match self.exchange(now, next(Snapshot(now)).0) {
                Ok(()) => return Snapshot(now),
                Err(found) => now = found,
            }
        }
    }

    fn step(&self, next: impl Fn(Snapshot) -> Option<Snapshot>) -> Option<Snapshot> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let after = next(Snapshot(now))?;
            match self.exchange(now, after.0) {
                Ok(()) => return Some(Snapshot(now)),
                Err(found) => now = found,
            }
        }
    }

    fn exchange(&self, from: u64, to: u64) -> Result<(), u64> {
        // AcqRel: the stepping thread sees what readers and the step before did, and publishes what it did.
        self.0.compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Relaxed).map(|_| ())
    }
}
