//! Values of other pools: an entry of ours whose frame lies with its owner. Knows no network: a [`RemoteFrame`] does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use crate::buffer::Buffer;
use crate::claim::{FrameClaim, Kept, OwnFrame};
use crate::codec::{Format, Room};
use crate::dref::{AnyRef, references};
use crate::entry::{Cold, Contents, Entry, EntryRef, Home};
use crate::error::{Error, Result, StoreError, StoreErrorKind};
use crate::frame::Header;
use crate::id::Id;
use crate::manifest::KeptFormat;
use crate::names::Untyped;
use crate::pool::Pool;
use crate::restored::{Adopted, Origin, Whence};
use crate::shared::Shared;
use crate::sink::Trust;
use crate::stats::count;
use crate::sync::{self, Mutex};
use crate::word::{State, Word};

/// Where the frame of a value lies that another pool owns.
///
/// One of them stands for one claim on the value at its owner. The pool drops it when nothing needs the frame any more:
/// the value's last reference here is gone, and the last [`FileRef`](crate::FileRef) to it. It does so on its own thread,
/// under no lock, so that the drop may tell the owner. The other methods block, and are called under no lock either; what
/// they wait for, and for how long, is theirs to bound.
pub trait RemoteFrame: Send + Sync + 'static {
    /// Brings the whole frame here: maps it, or copies it into memory that `room` pays for.
    ///
    /// Called by one thread for all that get the value at a time; again after the value was evicted, and for each
    /// [`get_file`](crate::Pool::get_file) of it.
    ///
    /// # Errors
    /// Those of the way to the owner. What `room` says is handed through, as a [`StoreError`].
    fn open(&self, room: &mut Room) -> Result<Fetched, StoreError>;

    /// Ends the value at its owner, whatever references there are.
    ///
    /// # Errors
    /// Those of the way to the owner, and what it says.
    fn delete(&self) -> Result<()>;

    /// Has the owner release its memory of the value, writing it first if it must.
    ///
    /// # Errors
    /// Those of the way to the owner, and what it says.
    fn move_to_disk(&self) -> Result<()>;

    /// Has the owner write the value if no good copy is on its disk, and keep it in memory.
    ///
    /// # Errors
    /// Those of the way to the owner, and what it says.
    fn copy_to_disk(&self) -> Result<()>;

    /// The owner and the value as it calls it, for errors.
    fn describe(&self) -> String;
}

/// A frame that a [`RemoteFrame`] has brought.
#[derive(Clone, Debug)]
pub struct Fetched {
    frame: Buffer,
    trust: Trust,
    writer: Option<(Id, u64)>,
}

impl Fetched {
    /// A frame of which every byte is to be checked: by its checksums, and by the codec.
    #[must_use]
    pub fn new(frame: Buffer) -> Self {
        Self { frame, trust: Trust::Foreign, writer: None }
    }

    /// How much is to be checked: [`Trust::Own`] says that the frame was mapped from the owner's own file or memory, that
    /// the owner is of the same trust domain, and that nobody can change the bytes.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Says that its header names this value of this pool, and not those that the [`RemoteValue`] had: the value has
    /// another owner now.
    #[must_use]
    pub fn written_as(mut self, id: Id, pool: u64) -> Self {
        self.writer = Some((id, pool));
        self
    }
}

/// What a pool is told of a value that another one owns; see [`Pool::adopt_remote`].
pub struct RemoteValue {
    /// Codec, type and layout of its frame.
    pub format: Format,
    /// Its type at the owner, for people.
    pub type_name: String,
    /// What the value takes when it is decoded, as the header of its frame says.
    pub charged_bytes: u64,
    /// The references that it holds, in the order of their indices; all of this pool.
    pub references: Vec<Untyped>,
    /// The value, as the header of its frame says.
    pub id: Id,
    /// The pool, as the header of its frame says.
    pub pool: u64,
    /// The way to it.
    pub frame: Arc<dyn RemoteFrame>,
}

impl fmt::Debug for RemoteValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteValue")
            .field("format", &self.format)
            .field("id", &self.id)
            .field("pool", &self.pool)
            .field("frame", &self.frame.describe())
            .finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// Takes in a value that another pool owns. Nothing of it is fetched before it is got.
    ///
    /// From then on it is a value like others: [`typed`](Self::typed) makes a reference of it, `get` brings it here
    /// through its [`RemoteFrame`], once for all that wait, and it is then resident or mapped. It is *clean*: an eviction
    /// frees its memory and writes nothing, and the next get fetches it again. What came is checked whole each time,
    /// unless it says of itself that it need not be. `delete`, `move_to_disk` and `copy_to_disk` act at the owner;
    /// `move_to_disk` releases the copy that is here first, and `save_to_disk` fetches the value and writes the file here.
    /// A value that is remote, or refers to one, is not retained.
    ///
    /// # Errors
    /// [`Error::WrongPool`] for references of another pool, [`Error::Closed`], [`Error::Forked`]. The frame is then dropped.
    pub fn adopt_remote(&self, value: RemoteValue) -> Result<Untyped> {
        self.shared().adopt_remote(value).map(Untyped::new)
    }
}

impl Shared {
    fn adopt_remote(self: &Arc<Self>, value: RemoteValue) -> Result<AnyRef> {
        self.check_open()?;
        let held = self.own_references(value.references)?;
        let home = self.home_of_format(value.format, value.type_name);
        let Id { slot, generation } = self.claim_slot()?.take();
        let whence = Whence::Remote(value.frame);
        let claim = FrameClaim {
            back: Arc::clone(&self.back),
            handle: None,
            charged_bytes: value.charged_bytes,
            id: Id { slot, generation },
            registration: Arc::clone(&home.registration),
            references: references(held.clone()),
            origin: Some(Origin::new(value.id, value.pool, whence)),
        };
        let contents = Contents {
            value: None,
            charged_bytes: value.charged_bytes,
            discardable: false,
            cold: Cold::new(Kept::Claimed(Arc::new(claim)), references(held), None),
        };
        let word = Word::new(generation, State::Spilled, true);
        let entry = EntryRef::new(Entry::new(home, slot, word, contents));
        Ok(self.publish_first(&entry, false))
    }

    /// Puts a new entry in its slot, and makes the first reference to it.
    pub(crate) fn publish_first(&self, entry: &EntryRef, resident: bool) -> AnyRef {
        let reference = AnyRef::first(entry);
        self.install(entry, resident);
        // A close that came between the slot and the table has not seen this entry.
        if self.is_closed() && !entry.word.doom().doomed() {
            self.bury(entry);
        }
        reference
    }

    /// The references behind `list`, all of this pool.
    pub(crate) fn own_references(self: &Arc<Self>, list: Vec<Untyped>) -> Result<Vec<AnyRef>> {
        let own = |one: Untyped| {
            let any = one.into_any();
            match Arc::ptr_eq(any.shared(), self) {
                true => Ok(any),
                false => Err(Error::WrongPool { id: any.id() }),
            }
        };
        list.into_iter().map(own).collect()
    }

    /// What the entries of a format have in common whose type is not known here, or not yet.
    pub(crate) fn home_of_format(self: &Arc<Self>, format: Format, type_name: String) -> Arc<Home> {
        let kept = KeptFormat { format, type_name };
        let mut homes = sync::lock(&self.formats.0);
        // A cluster has a few formats: they are looked through faster than they are hashed.
        let same = |home: &Home| home.registration.adopted().is_some_and(|one| one.is_of(&kept));
        let known = homes.iter().find_map(|home| home.upgrade().filter(|home| same(home)));
        known.unwrap_or_else(|| {
            homes.retain(|home| home.strong_count() > 0);
            let registration = Arc::new(Adopted::new(kept));
            let home = Arc::new(Home { shared: Arc::clone(self), registration });
            homes.push(Arc::downgrade(&home));
            home
        })
    }

    /// Brings a frame here that lies with another pool, and checks what it must.
    pub(crate) fn open_remote(
        &self,
        own: &OwnFrame<'_>,
        remote: &dyn RemoteFrame,
        room: &mut Room,
    ) -> Result<OpenedRemote> {
        let explain = |error| explain(remote, own.id, error);
        // Whoever waits for this value must not wait for ever.
        let Fetched { frame, trust, writer } = catch_unwind(AssertUnwindSafe(|| remote.open(room)))
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Io, "its way here panicked")))
            .map_err(|error| explain(error.into()))?;
        count(&self.counters.remote_loads, 1);
        count(&self.counters.remote_bytes, frame.len() as u64);
        let checksum = |bytes: &[u8]| self.back.store.checksum(bytes);
        let header = match trust {
            Trust::Own => Header::of_whole(&frame, checksum),
            _ if mutant!("remote_unchecked") => Header::of_whole(&frame, checksum),
            Trust::Saved | Trust::Foreign => Header::check_whole(&frame, checksum),
        };
        let header = header.map_err(|damage| {
            let what = format!("value {}", own.id);
            explain(Error::Frame { what, damage })
        })?;
        Ok(OpenedRemote { frame, header, trust, writer })
    }
}

/// A remote frame that is here, whole.
pub(crate) struct OpenedRemote {
    pub(crate) frame: Buffer,
    pub(crate) header: Header,
    pub(crate) trust: Trust,
    /// What the header must say, where that is not what the value was taken in with.
    pub(crate) writer: Option<(Id, u64)>,
}

/// The formats whose entries have no type of their own; see [`Shared::home_of_format`].
#[derive(Default)]
pub(crate) struct Formats(Mutex<Vec<Weak<Home>>>);

/// Names the value and its owner in an error of the way there. What this pool says of itself stays as it is.
pub(crate) fn explain(remote: &dyn RemoteFrame, id: Id, error: Error) -> Error {
    match error {
        Error::Deleted { .. } => Error::Deleted { id },
        Error::Discarded { .. } => Error::Discarded { id },
        Error::NoRoom(_)
        | Error::TooLarge { .. }
        | Error::Allocation { .. }
        | Error::Spill { .. }
        | Error::Cancelled
        | Error::Closed
        | Error::Forked
        | Error::Remote { .. } => error,
        other => Error::Remote { id, at: remote.describe(), source: Box::new(other) },
    }
}

impl FrameClaim {
    /// The way to the frame, where another pool owns its value.
    pub(crate) fn remote(&self) -> Option<&Arc<dyn RemoteFrame>> {
        self.origin.as_ref().and_then(Origin::remote)
    }

    /// Has the owner do something, if it is another pool.
    pub(crate) fn at_owner(&self, act: impl FnOnce(&dyn RemoteFrame) -> Result<()>) -> Result<()> {
        let Some(remote) = self.remote() else { return Ok(()) };
        act(&**remote).map_err(|error| explain(&**remote, self.id, error))
    }
}

impl Entry {
    /// The claim on the frame, where another pool owns the value.
    pub(crate) fn remote_claim(&self) -> Option<Arc<FrameClaim>> {
        // Such a value is clean for ever: where the word does not say so, no lock is needed.
        if !self.word.load().on_disk() {
            return None;
        }
        match &sync::lock(&self.cold).kept {
            Kept::Claimed(claim) if claim.remote().is_some() => Some(Arc::clone(claim)),
            _ => None,
        }
    }
}
