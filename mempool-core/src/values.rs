//! What is in a pool, value by value: for people who ask what takes their memory. Looks, and touches nothing.

use std::fmt;

use crate::codec::CodecName;
use crate::entry::Entry;
use crate::id::Id;
use crate::shared::Shared;
use crate::stats::read;
use crate::sync;
use crate::sync::atomic::Ordering;
use crate::word::State;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In memory, counted in the limit.
    Resident,
    /// A view of its frame's map, which takes nothing from the limit.
    Mapped,
    /// On disk alone.
    Spilled,
    /// With the pool that owns it alone; here it is resident or mapped while it is used.
    Remote,
}

/// What a pool knows of one value, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueInfo {
    /// Its name, as [`DRef::id`](crate::DRef::id) says it.
    pub id: Id,
    /// Its type, for people.
    pub value_type: &'static str,
    /// The codec that it was set through.
    pub codec: CodecName,
    /// Where it is; a value that is on its way is where it was.
    pub place: Place,
    /// What it takes from the memory limit.
    pub resident_bytes: u64,
    /// The length of its frame on disk; `None` when no good copy is there, or another pool has it.
    pub frame_bytes: Option<u64>,
    /// How many readers hold it.
    pub pins: u32,
    /// How many references to it there are, those inside other values included.
    pub references: u32,
    /// Whether it is dropped instead of spilled.
    pub discardable: bool,
    /// Whether it was deleted, and is here for its readers alone.
    pub deleted: bool,
}

impl ValueInfo {
    /// `None` for a value that is gone.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let now = entry.word.load();
        let place = match now.state() {
            State::Resident | State::Spilling | State::Releasing => Place::Resident,
            State::Mapped => Place::Mapped,
            State::Spilled | State::Loading => Place::Spilled,
            State::Deleted | State::Discarded => return None,
        };
        let place = match (place, entry.remote_claim()) {
            (Place::Spilled, Some(_)) => Place::Remote,
            (place, _) => place,
        };
        let handle = sync::lock(&entry.cold).kept.handle();
        Some(Self {
            id: Id { slot: entry.slot, generation: now.generation() },
            value_type: entry.registration().value_type_name(),
            codec: entry.registration().format().codec,
            place,
            resident_bytes: match place {
                Place::Resident => read(&entry.charged_bytes),
                Place::Mapped | Place::Spilled | Place::Remote => 0,
            },
            frame_bytes: handle.filter(|_| now.on_disk()).map(|handle| handle.bytes),
            pins: now.pins(),
            references: entry.references_alive.load(Ordering::Relaxed),
            discardable: entry.discardable,
            deleted: now.doomed(),
        })
    }
}

/// The values of a pool; see [`Pool::values`](crate::Pool::values).
pub struct Values<'a> {
    shared: &'a Shared,
    /// The first slot that was not looked at.
    next_slot: usize,
    looked_at: std::vec::IntoIter<ValueInfo>,
}

impl<'a> Values<'a> {
    /// How many slots are looked at under one lock.
    const SLOTS: usize = 1024;

    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, next_slot: 0, looked_at: Vec::new().into_iter() }
    }

    /// Looks at the next slots; `false` when there are none.
    fn look(&mut self) -> bool {
        if !self.shared.maker.is_here() {
            return false;
        }
        let entries = {
            let index = sync::lock(&self.shared.index);
            let Some(slots) = index.entries_of(self.next_slot..self.next_slot + Self::SLOTS) else {
                return false;
            };
            slots.cloned().collect::<Vec<_>>()
        };
        self.next_slot += Self::SLOTS;
        let infos: Vec<_> = entries.iter().filter_map(|entry| ValueInfo::of(entry)).collect();
        self.looked_at = infos.into_iter();
        true
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("next_slot", &self.next_slot).finish_non_exhaustive()
    }
}

impl Iterator for Values<'_> {
    type Item = ValueInfo;

    fn next(&mut self) -> Option<ValueInfo> {
        loop {
            if let Some(info) = self.looked_at.next() {
                return Some(info);
            }
            if !self.look() {
                return None;
            }
        }
    }
}
