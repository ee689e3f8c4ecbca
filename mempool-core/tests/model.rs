//! The reference model: plain lists say what a pool must do, and the pool does the same after every step.
//!
//! Random operations run on both, faults of the store among them, under limits so small that most of them meet pressure.
//! Compared after each: where every value is, which counters moved, what is used, what was answered. `MODEL_CASES`
//! says how many sequences; a failure prints the shortest sequence that shows it, and the seed for `MODEL_SEED`.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod remotes;

use std::sync::Arc;
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    ALIGNMENT, Blob, Buffer, DRef, Error, FileRef, Id, MemoryStore, PinnedOwned, Policy, Pool,
    PoolOptions, Reservation, SetOptions, StoreErrorKind, Untyped, WriteAhead,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// What is done. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    Set { percent: u32, discardable: bool },
    Receive { percent: u32, discardable: bool },
    Adopt { percent: u32 },
    Export(usize),
    Find(usize),
    Get(usize),
    GetMany(Vec<usize>),
    Pin(usize),
    Unpin(usize),
    Clone(usize),
    Drop(usize),
    Delete(usize),
    Move(usize),
    Copy(usize),
    Save(usize),
    Name(usize, usize),
    Named(usize),
    Unname(usize),
    ReadFile(usize),
    Limit { percent: u32 },
    Reserve { percent: u32 },
    Release(usize),
    FailWrites { skip: u64, times: u64 },
}

/// So many names there are.
const NAMES: usize = 4;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_u32..60, prop::bool::weighted(0.15))
            .prop_map(|(percent, discardable)| Op::Set { percent, discardable }),
        4 => (0_u32..6, prop::bool::weighted(0.15))
            .prop_map(|(percent, discardable)| Op::Set { percent, discardable }),
        1 => (60_u32..140, prop::bool::weighted(0.15))
            .prop_map(|(percent, discardable)| Op::Set { percent, discardable }),
        2 => (0_u32..120, prop::bool::weighted(0.15))
            .prop_map(|(percent, discardable)| Op::Receive { percent, discardable }),
        2 => (0_u32..110).prop_map(|percent| Op::Adopt { percent }),
        1 => any::<usize>().prop_map(Op::Export),
        1 => any::<usize>().prop_map(Op::Find),
        5 => any::<usize>().prop_map(Op::Get),
        1 => prop::collection::vec(any::<usize>(), 0..6).prop_map(Op::GetMany),
        2 => any::<usize>().prop_map(Op::Pin),
        2 => any::<usize>().prop_map(Op::Unpin),
        1 => any::<usize>().prop_map(Op::Clone),
        2 => any::<usize>().prop_map(Op::Drop),
        1 => any::<usize>().prop_map(Op::Delete),
        2 => any::<usize>().prop_map(Op::Move),
        2 => any::<usize>().prop_map(Op::Copy),
        1 => any::<usize>().prop_map(Op::Save),
        1 => (any::<usize>(), 0..NAMES).prop_map(|(value, name)| Op::Name(value, name)),
        1 => (0..NAMES).prop_map(Op::Named),
        1 => (0..NAMES).prop_map(Op::Unname),
        1 => any::<usize>().prop_map(Op::ReadFile),
        1 => (20_u32..150).prop_map(|percent| Op::Limit { percent }),
        1 => (0_u32..60).prop_map(|percent| Op::Reserve { percent }),
        1 => any::<usize>().prop_map(Op::Release),
        1 => (0_u64..4, 1_u64..4).prop_map(|(skip, times)| Op::FailWrites { skip, times }),
    ]
}

/// What a call answers, as far as the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Deleted,
    Discarded,
    Pinned,
    NoRoom,
    TooLarge,
    Spill,
    Store,
}

fn answer<T>(result: &Result<T, Error>) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(Error::Deleted { .. }) => Answer::Deleted,
        Err(Error::Discarded { .. }) => Answer::Discarded,
        Err(Error::Pinned { .. }) => Answer::Pinned,
        Err(Error::NoRoom(_)) => Answer::NoRoom,
        Err(Error::TooLarge { .. }) => Answer::TooLarge,
        Err(Error::Spill { .. }) => Answer::Spill,
        Err(Error::Store(_)) => Answer::Store,
        Err(other) => panic!("an answer that no model gives: {other}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Resident,
    Mapped,
    Spilled,
    Discarded,
}

/// One value of the model.
#[derive(Clone, Debug)]
struct Entry {
    charge: u64,
    place: Place,
    on_disk: bool,
    discardable: bool,
    /// Another pool has its frame: a get brings it into memory, and an eviction writes nothing.
    remote: bool,
    deleted: bool,
    pins: u32,
    /// References of the test's, guards and names included.
    held: u32,
    stamp: u64,
    visited: bool,
    arrival: u64,
    /// Read since the order was last looked at.
    touched: bool,
}

/// What a pool must do, in plain lists.
#[derive(Clone, Debug)]
struct Model {
    policy: Policy,
    /// What the store likes to write at once.
    batch: u64,
    limit: u64,
    reserved: u64,
    entries: Vec<Entry>,
    clock: u64,
    arrivals: u64,
    hand: u64,
    fail_skip: u64,
    fail_times: u64,
    spills: u64,
    ahead: u64,
    clean: u64,
    discards: u64,
    loads: u64,
    /// Frames that came from another pool.
    fetches: u64,
}

impl Model {
    fn used(&self) -> u64 {
        let resident = self.entries.iter().filter(|entry| entry.in_ledger());
        self.reserved + resident.map(|entry| entry.charge).sum::<u64>()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn write(&mut self) -> bool {
        if self.fail_skip > 0 {
            self.fail_skip -= 1;
            return true;
        }
        let fails = self.fail_times > 0;
        self.fail_times -= u64::from(fails);
        !fails
    }

    fn drain(&mut self) {
        for entry in &mut self.entries {
            entry.visited |= entry.touched && entry.place == Place::Resident;
            entry.touched = false;
        }
    }

    fn arrive(&mut self, at: usize) {
        self.entries[at].arrival = self.arrivals;
        self.entries[at].visited = false;
        self.arrivals += 1;
    }

    /// Values that can be evicted, in the order of the policy, until they make up `bytes`.
    fn victims(&mut self, bytes: u64, clean_alone: bool) -> Vec<usize> {
        self.drain();
        let free = |entry: &Entry| {
            let clean = entry.on_disk || entry.discardable;
            let alive = entry.held > 0 && !entry.deleted;
            entry.place == Place::Resident && alive && entry.pins == 0 && (clean || !clean_alone)
        };
        let mut found = 0;
        let mut victims = Vec::new();
        if self.policy == Policy::Sieve {
            let mut steps = 2 * self.entries.iter().filter(|entry| entry.ordered()).count();
            while steps > 0 && found < bytes {
                steps -= 1;
                let queue = |from: u64| {
                    let queued = self.entries.iter().enumerate().filter(|(at, entry)| {
                        entry.ordered() && !victims.contains(at) && entry.arrival >= from
                    });
                    queued.min_by_key(|(_, entry)| entry.arrival).map(|(at, _)| at)
                };
                let Some(at) = queue(self.hand).or_else(|| queue(0)) else { break };
                self.hand = self.entries[at].arrival + 1;
                if self.entries[at].visited {
                    self.entries[at].visited = false;
                } else if free(&self.entries[at]) {
                    found += self.entries[at].charge;
                    victims.push(at);
                }
            }
            return victims;
        }
        let mut order: Vec<usize> =
            (0..self.entries.len()).filter(|&at| free(&self.entries[at])).collect();
        order.sort_by_key(|&at| self.entries[at].stamp);
        if self.policy == Policy::Mru {
            order.reverse();
        }
        for at in order {
            if found >= bytes {
                break;
            }
            found += self.entries[at].charge;
            victims.push(at);
        }
        victims
    }

    /// Values that are written with these victims, because they are next: small ones, up to a batch.
    fn ahead_of(&self, victims: &[usize]) -> Vec<usize> {
        let batch = self.batch.min(self.limit / 4);
        let dirty = |&&at: &&usize| !self.entries[at].on_disk && !self.entries[at].discardable;
        let Some(&last) = victims.iter().rfind(dirty) else { return Vec::new() };
        let mut order: Vec<usize> = (0..self.entries.len())
            .filter(|&at| self.entries[at].ordered() && !victims.contains(&at))
            .filter(|&at| self.policy != Policy::Sieve || !self.entries[at].visited)
            .collect();
        match self.policy {
            Policy::Sieve => order.sort_by_key(|&at| {
                let arrival = self.entries[at].arrival;
                (arrival < self.hand, arrival)
            }),
            _ => order.sort_by_key(|&at| self.entries[at].stamp),
        }
        if self.policy == Policy::Mru {
            order.reverse();
        }
        let mut sum = self.entries[last].charge;
        let mut ahead = Vec::new();
        for at in order {
            let entry = &self.entries[at];
            if sum + entry.charge > batch {
                break;
            }
            let alive = entry.held > 0 && !entry.deleted;
            if entry.charge <= batch / 4 && alive && !entry.on_disk && !entry.discardable {
                sum += entry.charge;
                ahead.push(at);
            }
        }
        ahead
    }

    fn evict(&mut self, bytes: u64) -> Answer {
        let mut failed = false;
        loop {
            let mut victims = self.victims(bytes, failed);
            if victims.is_empty() && !failed {
                // The pool looks once more after it has marked the pinned ones.
                let resident = |entry: &Entry| {
                    entry.place == Place::Resident
                        && !entry.deleted
                        && entry.pins == 0
                        && entry.held > 0
                };
                if self.entries.iter().any(resident) {
                    victims = self.victims(bytes, failed);
                }
            }
            if victims.is_empty() {
                return if failed { Answer::Spill } else { Answer::NoRoom };
            }
            let mut freed = false;
            let ahead = self.ahead_of(&victims);
            for at in victims {
                let (on_disk, discardable) =
                    (self.entries[at].on_disk, self.entries[at].discardable);
                if on_disk {
                    self.clean += 1;
                    self.entries[at].place = Place::Spilled;
                    freed = true;
                } else if discardable {
                    self.discards += 1;
                    self.entries[at].place = Place::Discarded;
                    freed = true;
                } else if failed {
                    self.arrive(at);
                } else if self.write() {
                    self.spills += 1;
                    self.entries[at].on_disk = true;
                    self.entries[at].place = Place::Spilled;
                    freed = true;
                } else {
                    failed = true;
                    self.arrive(at);
                }
            }
            for at in ahead {
                if failed || !self.write() {
                    break;
                }
                self.ahead += 1;
                self.entries[at].on_disk = true;
            }
            if freed {
                return Answer::Done;
            }
        }
    }

    /// Makes room until `fits`, which says how many bytes are missing.
    fn make_room(&mut self, missing: impl Fn(&Self) -> u64) -> Answer {
        loop {
            match missing(self) {
                0 => return Answer::Done,
                bytes => match self.evict(bytes) {
                    Answer::Done => {}
                    other => return other,
                },
            }
        }
    }

    fn take(&mut self, bytes: u64) -> Answer {
        if bytes > self.limit {
            return Answer::TooLarge;
        }
        self.make_room(|model| (model.used() + bytes).saturating_sub(model.limit))
    }

    fn set(&mut self, charge: u64, discardable: bool) -> Answer {
        match self.take(charge) {
            Answer::Done => self.put(charge, Place::Resident, discardable),
            Answer::TooLarge if !discardable => self.put_on_disk(charge),
            other => other,
        }
    }

    /// A frame that comes from elsewhere: it goes to the store where there is no room.
    fn receive(&mut self, charge: u64, discardable: bool) -> Answer {
        match self.take(charge) {
            Answer::Done => self.put(charge, Place::Resident, discardable),
            Answer::TooLarge | Answer::NoRoom => self.put_on_disk(charge),
            other => other,
        }
    }

    fn adopt(&mut self, charge: u64) {
        self.put(charge, Place::Spilled, false);
        self.entries.last_mut().unwrap().remote = true;
    }

    fn put_on_disk(&mut self, charge: u64) -> Answer {
        match self.write() {
            true => self.put(charge, Place::Spilled, false),
            false => Answer::Store,
        }
    }

    fn put(&mut self, charge: u64, place: Place, discardable: bool) -> Answer {
        let on_disk = place == Place::Spilled;
        if !on_disk {
            self.drain();
        }
        let stamp = self.tick();
        self.entries.push(Entry {
            charge,
            place,
            on_disk,
            discardable,
            remote: false,
            deleted: false,
            pins: 0,
            held: 1,
            stamp,
            visited: false,
            arrival: 0,
            touched: false,
        });
        if !on_disk {
            self.arrive(self.entries.len() - 1);
        }
        Answer::Done
    }

    fn refusal(&self, at: usize) -> Option<Answer> {
        match &self.entries[at] {
            entry if entry.place == Place::Discarded => Some(Answer::Discarded),
            entry if entry.deleted => Some(Answer::Deleted),
            _ => None,
        }
    }

    fn get(&mut self, at: usize) -> Answer {
        if let Some(refusal) = self.refusal(at) {
            return refusal;
        }
        if self.entries[at].place == Place::Spilled && self.entries[at].remote {
            match self.take(self.entries[at].charge) {
                Answer::Done => self.drain(),
                other => return other,
            }
            self.entries[at].place = Place::Resident;
            self.entries[at].stamp = self.tick();
            self.arrive(at);
            self.loads += 1;
            self.fetches += 1;
        } else if self.entries[at].place == Place::Spilled {
            self.entries[at].place = Place::Mapped;
            self.loads += 1;
        }
        self.entries[at].stamp = self.tick();
        self.entries[at].touched = true;
        Answer::Done
    }

    fn move_to_disk(&mut self, at: usize) -> Answer {
        if let Some(refusal) = self.refusal(at) {
            return refusal;
        }
        match self.entries[at].place {
            Place::Spilled => return Answer::Done,
            _ if self.entries[at].pins > 0 => return Answer::Pinned,
            Place::Resident if self.entries[at].on_disk => self.clean += 1,
            Place::Resident => {
                if !self.write() {
                    self.arrive(at);
                    return Answer::Store;
                }
                self.spills += 1;
                self.entries[at].on_disk = true;
            }
            _ => {}
        }
        self.entries[at].place = Place::Spilled;
        Answer::Done
    }

    /// A frame that is not here is brought here for it, and does not stay.
    fn save(&mut self, at: usize) -> Answer {
        let (remote, place) = (self.entries[at].remote, self.entries[at].place);
        match self.refusal(at) {
            Some(refusal) => refusal,
            None if remote && place == Place::Spilled => {
                let taken = self.take(self.entries[at].charge);
                self.fetches += u64::from(taken == Answer::Done);
                taken
            }
            None => Answer::Done,
        }
    }

    fn copy_to_disk(&mut self, at: usize) -> Answer {
        if let Some(refusal) = self.refusal(at) {
            return refusal;
        }
        if !self.entries[at].on_disk {
            if !self.write() {
                return Answer::Store;
            }
            self.entries[at].on_disk = true;
        }
        Answer::Done
    }
}

impl Entry {
    /// Whether its bytes are in the ledger: a deleted value's until the last reader goes.
    fn in_ledger(&self) -> bool {
        let ended = self.deleted || self.held == 0;
        self.place == Place::Resident && (!ended || self.pins > 0)
    }

    /// Whether it stands in the order of eviction.
    fn ordered(&self) -> bool {
        self.in_ledger()
    }
}

type Value = Vec<u8>;

/// The pool beside its model.
struct Pair {
    pool: Pool<Blob>,
    switch: Switch,
    /// Threads of the pool's write ahead: what leaves memory is the same, what is clean is not.
    background: bool,
    model: Model,
    base: u64,
    /// For each value the test's references to it.
    held: Vec<Vec<DRef<Value>>>,
    guards: Vec<(usize, PinnedOwned<Blob, Value>)>,
    files: Vec<(usize, FileRef<Value>)>,
    /// The value of each name.
    names: [Option<usize>; NAMES],
    ids: Vec<Id>,
    reservations: Vec<Reservation>,
    lens: Vec<usize>,
    owners: Vec<Arc<remotes::Owner>>,
    steps: u64,
    pressed: u64,
}

fn byte(at: usize, len: usize) -> u8 {
    (at.wrapping_mul(31) ^ len) as u8
}

impl Pair {
    fn new(policy: Policy, base: u64, batch: u64, background: bool) -> Self {
        let switch = Switch::new();
        let pool = PoolOptions::new()
            .memory_limit(base)
            .policy(policy)
            .room_timeout(Duration::ZERO)
            .store(FaultyStore::new(MemoryStore::new(), &switch).batching(batch))
            .write_ahead(WriteAhead::threads(2 * usize::from(background)).above(10).clean(60))
            .open(Blob);
        let model = Model {
            policy,
            batch,
            limit: base,
            reserved: 0,
            entries: Vec::new(),
            clock: 0,
            arrivals: 0,
            hand: 0,
            fail_skip: 0,
            fail_times: 0,
            spills: 0,
            ahead: 0,
            clean: 0,
            discards: 0,
            loads: 0,
            fetches: 0,
        };
        Self {
            pool,
            switch,
            background,
            model,
            base,
            held: Vec::new(),
            guards: Vec::new(),
            files: Vec::new(),
            names: [None; NAMES],
            ids: Vec::new(),
            reservations: Vec::new(),
            lens: Vec::new(),
            owners: Vec::new(),
            steps: 0,
            pressed: 0,
        }
    }

    /// A value that the test holds, if there is one.
    fn pick(&self, index: usize) -> Option<(usize, DRef<Value>)> {
        let alive: Vec<usize> =
            (0..self.held.len()).filter(|&at| !self.held[at].is_empty()).collect();
        let at = *alive.get(index.checked_rem(alive.len())?)?;
        Some((at, self.held[at][0].clone()))
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let share = |percent: u32| self.base * u64::from(percent) / 100;
        match *op {
            Op::Set { percent, discardable } => self.set(share(percent) as usize, discardable)?,
            Op::Receive { percent, discardable } => {
                self.receive(share(percent) as usize, discardable)?;
            }
            Op::Adopt { percent } => self.adopt(share(percent) as usize),
            Op::Find(index) => self.find(index)?,
            Op::FailWrites { .. } if self.background => {}
            Op::FailWrites { skip, times } => {
                self.switch.heal();
                self.switch.fail(Call::Write, skip, times, StoreErrorKind::Full);
                (self.model.fail_skip, self.model.fail_times) = (skip, times);
            }
            Op::Limit { percent } => {
                let bytes = share(percent);
                let found = answer(&self.pool.set_memory_limit(bytes));
                let expected = self.model.make_room(|model| model.used().saturating_sub(bytes));
                if expected == Answer::Done {
                    self.model.limit = bytes;
                }
                prop_assert_eq!(found, expected);
            }
            Op::Reserve { percent } => {
                let bytes = share(percent);
                let reserved = self.pool.reserve(bytes);
                let expected = if bytes == 0 { Answer::Done } else { self.model.take(bytes) };
                prop_assert_eq!(answer(&reserved), expected);
                if let Ok(reservation) = reserved {
                    self.model.reserved += bytes;
                    self.reservations.push(reservation);
                }
            }
            Op::Release(index) => {
                if let Some(at) = index.checked_rem(self.reservations.len()) {
                    self.model.reserved -= self.reservations.swap_remove(at).bytes();
                }
            }
            Op::Unpin(index) => {
                if let Some(guard) = index.checked_rem(self.guards.len()) {
                    let (at, guard) = self.guards.swap_remove(guard);
                    prop_assert!(guard.iter().all(|&found| found == byte(at, self.lens[at])));
                    drop(guard);
                    self.model.entries[at].pins -= 1;
                    self.model.entries[at].held -= 1;
                }
            }
            Op::ReadFile(index) => {
                if let Some(file) = index.checked_rem(self.files.len()) {
                    let (at, file) = &self.files[file];
                    let loaded = self.pool.get_file(file).expect("a file outlives its value");
                    prop_assert_eq!(loaded.len(), self.lens[*at]);
                    prop_assert!(loaded.iter().all(|&found| found == byte(*at, self.lens[*at])));
                }
            }
            Op::Named(name) => self.named(name)?,
            Op::Unname(name) => {
                let removed = self.pool.unname(&name.to_string());
                self.end_name(name, removed.ok())?;
            }
            Op::GetMany(ref picks) => self.get_many(picks)?,
            Op::Get(i)
            | Op::Name(i, _)
            | Op::Export(i)
            | Op::Pin(i)
            | Op::Clone(i)
            | Op::Drop(i)
            | Op::Delete(i)
            | Op::Move(i)
            | Op::Copy(i)
            | Op::Save(i) => {
                if let Some((at, reference)) = self.pick(i) {
                    self.step_on(op, at, &reference)?;
                }
            }
        }
        self.compare()
    }

    /// All or none: where one is gone, nothing was read.
    fn get_many(&mut self, picks: &[usize]) -> Result<(), TestCaseError> {
        let picked = picks.iter().filter_map(|&pick| self.pick(pick));
        // Room for what is brought here makes it a matter of which comes first.
        let picked: Vec<_> = picked.filter(|&(at, _)| !self.model.entries[at].remote).collect();
        let got = self.pool.get_many(picked.iter().map(|(_, reference)| reference));
        let refused = picked.iter().position(|&(at, _)| self.model.refusal(at).is_some());
        match (got, refused) {
            (Err(Error::OneOfMany { index, source }), Some(refused)) => {
                prop_assert_eq!(index, refused);
                let expected = self.model.refusal(picked[refused].0).unwrap();
                prop_assert_eq!(answer::<()>(&Err(*source)), expected);
            }
            (got, refused) => {
                prop_assert_eq!(refused, None);
                let views = got.unwrap();
                prop_assert_eq!(views.len(), picked.len());
                for (view, &(at, _)) in views.iter().zip(&picked) {
                    prop_assert_eq!(view.len(), self.lens[at]);
                    prop_assert!(view.iter().all(|&found| found == byte(at, self.lens[at])));
                    prop_assert_eq!(self.model.get(at), Answer::Done);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, len: usize, discardable: bool) -> Result<(), TestCaseError> {
        let at = self.lens.len();
        let charge = len as u64 + Buffer::adoption_bytes::<Value>();
        let options = if discardable { SetOptions::new().discardable() } else { SetOptions::new() };
        let set = self.pool.set_with(vec![byte(at, len); len], options);
        if let Err(rejected) = &set {
            prop_assert_eq!(&rejected.value, &vec![byte(at, len); len]);
        }
        let set = set.map_err(Error::from);
        prop_assert_eq!(answer(&set), self.model.set(charge, discardable));
        if let Ok(reference) = set {
            self.hold(reference, len);
        }
        Ok(())
    }

    fn receive(&mut self, len: usize, discardable: bool) -> Result<(), TestCaseError> {
        let at = self.lens.len();
        let frame = remotes::frame_of(&vec![byte(at, len); len], 0);
        let charge = Buffer::allocation_bytes(frame.len(), ALIGNMENT).unwrap();
        let options = if discardable { SetOptions::new().discardable() } else { SetOptions::new() };
        let received = self.pool.receive(frame.len() as u64).and_then(|mut receiving| {
            receiving.write(&frame)?;
            receiving.finish("bytes", Vec::new(), options)
        });
        prop_assert_eq!(answer(&received), self.model.receive(charge, discardable));
        if let Ok(received) = received {
            self.hold(self.pool.typed(&received).unwrap(), len);
        }
        Ok(())
    }

    fn adopt(&mut self, len: usize) {
        let at = self.lens.len();
        let frame = remotes::frame_of(&vec![byte(at, len); len], 0);
        self.model.adopt(Buffer::allocation_bytes(frame.len(), ALIGNMENT).unwrap());
        let owner = remotes::Owner::new(frame);
        let adopted = self.pool.adopt_remote(owner.value(Vec::new())).unwrap();
        self.owners.push(owner);
        self.hold(self.pool.typed(&adopted).unwrap(), len);
    }

    fn hold(&mut self, reference: DRef<Value>, len: usize) {
        self.lens.push(len);
        self.ids.push(reference.id());
        self.held.push(vec![reference]);
    }

    /// A value is found by its id while somebody refers to it and it is not gone.
    fn find(&self, index: usize) -> Result<(), TestCaseError> {
        if let Some(at) = index.checked_rem(self.ids.len()) {
            let there = self.model.entries[at].held > 0 && self.model.refusal(at).is_none();
            let found = self.pool.find(self.ids[at]);
            prop_assert_eq!(found.map(|found| found.id()), there.then_some(self.ids[at]));
        }
        Ok(())
    }

    /// The frame of a value shows its bytes, wherever they are, and nothing becomes of it.
    fn export(&self, at: usize, reference: &DRef<Value>) -> Result<(), TestCaseError> {
        let entry = &self.model.entries[at];
        let exported = self.pool.export(&reference.untyped());
        if let (Some(refusal), exported) = (self.model.refusal(at), &exported) {
            prop_assert_eq!(answer(exported), refusal);
            return Ok(());
        }
        if entry.remote && entry.place == Place::Spilled {
            let elsewhere = matches!(exported, Err(Error::Elsewhere { .. }));
            prop_assert!(elsewhere, "value {}", at);
            return Ok(());
        }
        let exported = exported.unwrap();
        let mut whole = vec![0; exported.frame_bytes() as usize + 1];
        prop_assert_eq!(exported.read_at(0, &mut whole).unwrap(), whole.len() - 1);
        let content = &whole[192..whole.len() - 1];
        prop_assert_eq!(content.len(), self.lens[at]);
        prop_assert!(content.iter().all(|&found| found == byte(at, self.lens[at])));
        Ok(())
    }

    /// A name finds its value, whatever became of that, and gives one reference more to it.
    fn named(&mut self, name: usize) -> Result<(), TestCaseError> {
        let found = self.pool.named::<Value>(&name.to_string());
        match self.names[name] {
            None => {
                let absent = matches!(found, Err(Error::NoName { .. }));
                prop_assert!(absent, "name {}", name);
            }
            Some(at) => {
                let found = found.expect("a name that was given");
                prop_assert_eq!(found.id(), self.ids[at]);
                self.held[at].push(found);
                self.model.entries[at].held += 1;
            }
        }
        Ok(())
    }

    /// The value that a name has lost is the one that it had.
    fn end_name(&mut self, name: usize, found: Option<Untyped>) -> Result<(), TestCaseError> {
        let before = self.names[name].take();
        prop_assert_eq!(found.as_ref().map(Untyped::id), before.map(|at| self.ids[at]));
        if let Some(at) = before {
            self.model.entries[at].held -= 1;
        }
        Ok(())
    }

    /// A file that can be read without room: that of a remote value is brought here each time.
    fn keep(&mut self, at: usize, file: Option<FileRef<Value>>) {
        let file = file.filter(|_| !self.model.entries[at].remote);
        self.files.extend(file.map(|file| (at, file)));
    }

    fn step_on(
        &mut self,
        op: &Op,
        at: usize,
        reference: &DRef<Value>,
    ) -> Result<(), TestCaseError> {
        match op {
            Op::Get(_) => {
                let got = self.pool.get(reference);
                if let Ok(view) = &got {
                    prop_assert_eq!(view.len(), self.lens[at]);
                    prop_assert!(view.iter().all(|&found| found == byte(at, self.lens[at])));
                }
                let found = answer(&got);
                drop(got);
                prop_assert_eq!(found, self.model.get(at));
            }
            Op::Pin(_) => {
                let got = self.pool.get_owned(reference);
                prop_assert_eq!(answer(&got), self.model.get(at));
                if let Ok(guard) = got {
                    self.model.entries[at].pins += 1;
                    self.model.entries[at].held += 1;
                    self.guards.push((at, guard));
                }
            }
            Op::Export(_) => self.export(at, reference)?,
            Op::Clone(_) => {
                self.held[at].push(reference.clone());
                self.model.entries[at].held += 1;
            }
            Op::Drop(_) => {
                self.held[at].pop();
                self.model.entries[at].held -= 1;
            }
            Op::Delete(_) => {
                let expected = self.model.refusal(at).unwrap_or(Answer::Done);
                prop_assert_eq!(answer(&self.pool.delete(reference)), expected);
                self.model.entries[at].deleted = true;
            }
            Op::Move(_) => {
                let moved = self.pool.move_to_disk(reference);
                prop_assert_eq!(answer(&moved), self.model.move_to_disk(at));
                self.keep(at, moved.ok());
            }
            Op::Copy(_) => {
                let copied = self.pool.copy_to_disk(reference);
                prop_assert_eq!(answer(&copied), self.model.copy_to_disk(at));
                self.keep(at, copied.ok());
            }
            Op::Name(_, name) => {
                let named = self.pool.set_name(&name.to_string(), reference);
                let expected = self.model.refusal(at).unwrap_or(Answer::Done);
                prop_assert_eq!(answer(&named), expected);
                if let Ok(before) = named {
                    self.end_name(*name, before)?;
                    self.names[*name] = Some(at);
                    self.model.entries[at].held += 1;
                }
            }
            Op::Save(_) => {
                let saved = self.pool.save_to_disk(reference, format!("value {at}"));
                prop_assert_eq!(answer(&saved), self.model.save(at));
                self.files.extend(saved.ok().map(|file| (at, file)));
            }
            _ => unreachable!("the other operations need no value"),
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        if self.background && self.pool.stats().used_bytes != self.model.used() {
            // The room of a value that was dropped while it was written comes with the end of the write.
            self.pool.quiesce();
        }
        let (stats, model) = (self.pool.stats(), &self.model);
        prop_assert_eq!(stats.limit_bytes, model.limit);
        prop_assert_eq!(stats.used_bytes, model.used());
        prop_assert!(stats.used_bytes <= stats.limit_bytes);
        if self.background {
            prop_assert_eq!(stats.spills + stats.clean_evictions, model.spills + model.clean);
        } else {
            prop_assert_eq!((stats.spills, stats.written_ahead), (model.spills, model.ahead));
            prop_assert_eq!(stats.clean_evictions, model.clean);
            prop_assert_eq!(stats.background_writes, 0);
        }
        prop_assert_eq!((stats.discards, stats.loads), (model.discards, model.loads));
        prop_assert_eq!(stats.remote_loads, model.fetches);
        let mut whole = model.reserved;
        for (at, references) in self.held.iter().enumerate() {
            let (Some(reference), entry) = (references.first(), &model.entries[at]) else {
                continue;
            };
            whole += entry.charge;
            let gone = entry.deleted || entry.place == Place::Discarded;
            let in_memory = !gone && matches!(entry.place, Place::Resident | Place::Mapped);
            prop_assert_eq!(self.pool.is_in_memory(reference), in_memory, "value {}", at);
            // What is in memory is clean or not, as the threads that write ahead had the time.
            if !(self.background && entry.place == Place::Resident) {
                let on_disk = self.pool.is_on_disk(reference);
                prop_assert_eq!(on_disk, !gone && entry.on_disk, "value {}", at);
            }
        }
        self.steps += 1;
        self.pressed += u64::from(whole > stats.limit_bytes);
        Ok(())
    }

    /// Operations, how many of them under pressure, and values that were written ahead: with victims, and by threads.
    fn finish(mut self) -> Result<[u64; 4], TestCaseError> {
        self.guards.clear();
        self.held.clear();
        self.files.clear();
        self.reservations.clear();
        for info in self.pool.names() {
            drop(self.pool.unname(&info.name));
        }
        self.pool.quiesce();
        let stats = self.pool.stats();
        prop_assert_eq!((stats.used_bytes, stats.values), (0, 0));
        prop_assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
        prop_assert!(self.owners.iter().all(|owner| owner.releases() == 1));
        Ok([self.steps, self.pressed, self.model.ahead, stats.background_writes])
    }
}

fn seed() -> [u8; 32] {
    let given = std::env::var("MODEL_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let random = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8);
    let number = given.unwrap_or_else(random);
    println!("MODEL_SEED={number}");
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

#[test]
fn conformance() {
    check(false);
}

/// Which values are in memory does not depend on who writes them when.
#[test]
fn conformance_with_threads_that_write_ahead() {
    check(true);
}

fn check(background: bool) {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed());
    let mut runner = TestRunner::new_with_rng(config, rng);
    let policy = prop_oneof![Just(Policy::Lru), Just(Policy::Mru), Just(Policy::Sieve)];
    let batch = prop_oneof![Just(0_u64), 1_u64..20_000];
    let sequence = (policy, 4096_u64..65_536, batch, prop::collection::vec(op(), 10..60));
    let totals = std::cell::Cell::new([0; 4]);
    let outcome = runner.run(&sequence, |(policy, base, batch, ops)| {
        let mut pair = Pair::new(policy, base, batch, background);
        ops.iter().try_for_each(|op| pair.step(op))?;
        let (sums, more) = (totals.get(), pair.finish()?);
        totals.set(std::array::from_fn(|at| sums[at] + more[at]));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let [steps, pressed, ahead, background_writes] = totals.get();
    println!(
        "{cases} sequences, {steps} operations, {pressed} under pressure; {ahead} values written ahead, {background_writes} by threads"
    );
    assert!(ahead > 0, "some stores write in batches");
    assert_eq!(background_writes > 0, background);
    assert!(pressed * 2 > steps, "more than half of the operations meet pressure");
}
