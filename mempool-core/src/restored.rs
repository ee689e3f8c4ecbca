//! Values that an earlier pool has retained: formats whose types are not known yet, and frames that were not looked at.

use std::any::TypeId;
use std::sync::{Arc, OnceLock};

use crate::claim::{Back, FrameClaim, Kept, OwnFrame};
use crate::codec::{Format, Room};
use crate::dref::{AnyRef, references};
use crate::entry::{Cold, Contents, Entry, EntryRef, Held, Home};
use crate::error::{Error, FrameDamage, Result};
use crate::frame::Header;
use crate::id::Id;
use crate::manifest::{KeptFormat, KeptValue, Manifest};
use crate::origin::RemoteFrame;
use crate::receive::Received;
use crate::registration::{ReadBack, Registration};
use crate::shared::Shared;
use crate::sink::{Sink, Source, Trust};
use crate::store::Handle;
use crate::sync;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::word::{State, Word};

/// Where a frame comes from that this pool has not written for a value of its own, and whether it was believed already.
pub(crate) struct Origin {
    /// The value's id in the pool that wrote the frame.
    pub(crate) id: Id,
    pub(crate) pool: u64,
    whence: Whence,
    /// Whether every byte was checked, by its checksum and by the codec. Its bytes cannot change after that.
    checked: AtomicBool,
}

/// How a value came here.
pub(crate) enum Whence {
    /// An earlier pool has retained it; perhaps with a name by which people know it.
    Retained(Option<Arc<str>>),
    /// Another pool owns it, and has its frame.
    Remote(Arc<dyn RemoteFrame>),
    /// It was received, and no codec has looked at it.
    Received,
}

impl Origin {
    pub(crate) fn new(id: Id, pool: u64, whence: Whence) -> Self {
        Self { id, pool, whence, checked: AtomicBool::new(false) }
    }

    /// How much is to be checked.
    fn trust(&self) -> Trust {
        match self.whence {
            // Relaxed: whoever does not see it checks once more.
            _ if self.checked.load(Ordering::Relaxed) => Trust::Own,
            Whence::Retained(_) => Trust::Saved,
            Whence::Remote(_) | Whence::Received => Trust::Foreign,
        }
    }

    /// The frame was read, and every byte of it checked.
    pub(crate) fn note_checked(&self) {
        // What comes from another pool comes anew each time.
        let stays = !matches!(self.whence, Whence::Remote(_));
        self.checked.store(stays, Ordering::Relaxed);
    }

    /// Whether it was received from elsewhere.
    pub(crate) fn is_received(&self) -> bool {
        matches!(self.whence, Whence::Received)
    }

    /// The way to the frame, if another pool has it.
    pub(crate) fn remote(&self) -> Option<&Arc<dyn RemoteFrame>> {
        match &self.whence {
            Whence::Remote(frame) => Some(frame),
            Whence::Retained(_) | Whence::Received => None,
        }
    }

    pub(crate) fn into_remote(self) -> Option<Arc<dyn RemoteFrame>> {
        match self.whence {
            Whence::Remote(frame) => Some(frame),
            Whence::Retained(_) | Whence::Received => None,
        }
    }

    /// Names the value in an error that is about its bytes.
    pub(crate) fn explain(&self, id: Id, error: Error) -> Error {
        match (&self.whence, error) {
            (Whence::Remote(frame), error) => crate::origin::explain(&**frame, id, error),
            (
                Whence::Retained(known_as),
                error @ (Error::Store(_) | Error::Frame { .. } | Error::Codec(_)),
            ) => {
                let name = known_as.as_deref().unwrap_or_default().to_owned();
                Error::Retained { id, name, source: Box::new(error) }
            }
            (Whence::Retained(_) | Whence::Received, other) => other,
        }
    }
}

/// The registration of a format until somebody says which type it is of; from then on that type's.
pub(crate) struct Adopted {
    kept: KeptFormat,
    real: OnceLock<Arc<dyn Registration>>,
}

impl Adopted {
    pub(crate) fn new(kept: KeptFormat) -> Self {
        Self { kept, real: OnceLock::new() }
    }

    /// Whether it stands for values of that format and type name.
    pub(crate) fn is_of(&self, kept: &KeptFormat) -> bool {
        self.kept == *kept
    }

    pub(crate) fn type_name(&self) -> &str {
        &self.kept.type_name
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.real.get().is_some()
    }

    /// Takes `registration` for it, if that is of the same format and none was taken before.
    pub(crate) fn claim(&self, registration: &Arc<dyn Registration>) {
        if registration.format() == self.kept.format {
            // Another thread's may have come first; whose it is is compared by the caller.
            let _ = self.real.set(Arc::clone(registration));
        }
    }

    /// The registration that reads it; nobody has a reference by which to ask before there is one.
    fn real(&self) -> &dyn Registration {
        &**self.real.get().expect("a value is reached by a reference whose type was found")
    }
}

/// What an unclaimed value is said to be; nobody can ask for it.
struct Unclaimed;

impl Registration for Adopted {
    fn key(&self) -> TypeId {
        self.real.get().map_or_else(TypeId::of::<Unclaimed>, |real| real.key())
    }

    fn value_type(&self) -> TypeId {
        self.real.get().map_or_else(TypeId::of::<Unclaimed>, |real| real.value_type())
    }

    fn value_type_name(&self) -> &'static str {
        self.real.get().map_or("not asked for yet", |real| real.value_type_name())
    }

    fn name(&self) -> String {
        match self.real.get() {
            Some(real) => real.name(),
            None => format!("{}, kept as {}", self.kept.type_name, self.kept.format),
        }
    }

    fn format(&self) -> Format {
        self.kept.format
    }

    fn maps(&self) -> bool {
        self.real.get().is_some_and(|real| real.maps())
    }

    fn mmwrite(&self, held: &dyn Held, sink: &mut Sink<'_>) -> Result<()> {
        match Received::of(held) {
            Some(received) => received.mmwrite(self.real.get().map(|real| &**real), sink),
            None => self.real().mmwrite(held, sink),
        }
    }

    fn mmread(&self, source: &mut Source<'_>, room: Room) -> Result<ReadBack> {
        self.real().mmread(source, room)
    }

    fn adopted(&self) -> Option<&Self> {
        Some(self)
    }
}

impl Shared {
    /// Puts in what an earlier pool has retained in this pool's store, if there is anything.
    pub(crate) fn take_over(self: &Arc<Self>) -> Result<()> {
        let store = &self.back.store;
        let Some(bytes) = store.retained()? else { return Ok(()) };
        let damaged =
            |damage| Error::Frame { what: "the manifest of retained values".into(), damage };
        let manifest = Manifest::decode(&bytes, |bytes| store.checksum(bytes)).map_err(damaged)?;
        let frames: Vec<Handle> = manifest.values.iter().filter_map(|value| value.frame).collect();
        store.adopt(&frames)?;
        let home = |kept| Arc::new(Home { shared: Arc::clone(self), registration: adopted(kept) });
        let homes: Vec<Arc<Home>> = manifest.formats.iter().map(home).collect();
        let known_as = manifest.known_as();
        let names: Vec<Option<Arc<str>>> =
            known_as.iter().map(|name| name.map(Arc::from)).collect();
        let mut values: Vec<AnyRef> = Vec::with_capacity(manifest.values.len());
        for (value, known_as) in manifest.values.iter().zip(names) {
            let home = Arc::clone(&homes[value.format as usize]);
            let held = value.references.iter().map(|&at| values[at as usize].clone()).collect();
            values.push(self.take_over_one(value, home, held, known_as)?);
        }
        for (name, value) in &manifest.names {
            self.names.insert(name, values[*value as usize].clone())?;
        }
        // Values that nothing refers to end here.
        Ok(())
    }

    fn take_over_one(
        self: &Arc<Self>,
        value: &KeptValue,
        home: Arc<Home>,
        held: Vec<AnyRef>,
        known_as: Option<Arc<str>>,
    ) -> Result<AnyRef> {
        let vacancy = self.claim_slot()?;
        let charged_bytes = value.charged_bytes;
        let held = references(held);
        let Some(handle) = value.frame else {
            // Its slot is free again, and the generation is its own.
            let Id { slot, generation } = vacancy.id();
            let gone = contents(charged_bytes, Cold::default());
            let word = Word::new(generation, State::Deleted, false);
            let entry = EntryRef::new(Entry::new(home, slot, word, gone));
            return Ok(AnyRef::first(&entry));
        };
        let Id { slot, generation } = vacancy.take();
        let claim = FrameClaim {
            back: Arc::clone(&self.back),
            handle: Some(handle),
            charged_bytes,
            id: Id { slot, generation },
            registration: Arc::clone(&home.registration),
            references: held.clone(),
            origin: Some(Origin::new(value.id, value.pool, Whence::Retained(known_as))),
        };
        self.back.note_written(&handle);
        let cold = Cold::new(Kept::Claimed(Arc::new(claim)), held, None);
        let word = Word::new(generation, State::Spilled, true);
        let entry = EntryRef::new(Entry::new(home, slot, word, contents(charged_bytes, cold)));
        self.install(&entry, false);
        Ok(AnyRef::first(&entry))
    }

    /// Finds the type of a restored value among those that the pool knows; `value_type` comes first where several
    /// have the format.
    pub(crate) fn find_type(&self, adopted: &Adopted, value_type: TypeId) {
        let found = {
            let registrations = sync::lock(&self.registrations);
            let mut fits: Vec<_> = registrations
                .iter()
                .map(|known| &known.registration)
                .filter(|known| known.format() == adopted.kept.format)
                .collect();
            fits.sort_by_key(|known| known.value_type() != value_type);
            fits.first().map(|known| Arc::clone(known))
        };
        if let Some(registration) = found {
            adopted.claim(&registration);
        }
    }
}

fn adopted(kept: &KeptFormat) -> Arc<dyn Registration> {
    Arc::new(Adopted::new(kept.clone()))
}

fn contents(charged_bytes: u64, cold: Cold) -> Contents {
    Contents { value: None, charged_bytes, discardable: false, cold }
}

/// What a frame must say that its writer was, and a restored one that it holds as many references as the manifest says.
pub(crate) fn check_origin(
    (id, pool): (Id, u64),
    own: &OwnFrame<'_>,
    header: &Header,
) -> Result<(), FrameDamage> {
    if header.pool != pool {
        return Err(FrameDamage::Field { field: "pool", found: header.pool });
    }
    if header.id != id && !mutant!("generation_ignored") {
        return Err(FrameDamage::Id { expected: id, found: header.id });
    }
    if own.origin.is_some() && header.references as usize != own.references.len() {
        let found = u64::from(header.references);
        return Err(FrameDamage::Field { field: "references", found });
    }
    Ok(())
}

impl OwnFrame<'_> {
    /// How much is to be checked.
    pub(crate) fn trust(&self) -> Trust {
        self.origin.map_or(Trust::Own, Origin::trust)
    }
}

impl Kept {
    /// The claim on a frame that this pool has not written for a value of its own.
    pub(crate) fn with_origin(&self) -> Option<Arc<FrameClaim>> {
        match self {
            Self::Claimed(claim) if claim.origin.is_some() => Some(Arc::clone(claim)),
            _ => None,
        }
    }
}

impl Back {
    /// A frame of this pool's own, or of the one that it was restored from.
    pub(crate) fn writer(&self, id: Id, origin: Option<&Origin>) -> (Id, u64) {
        origin.map_or((id, self.pool), |origin| (origin.id, origin.pool))
    }
}
