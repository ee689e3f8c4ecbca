//! A codec instance with one type, behind a trait object: what the untyped side of a pool calls.

use std::any::{Any, TypeId, type_name};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::budget::Reservation;
use crate::codec::{Codec, Format, Room};
use crate::entry::Held;
use crate::error::{Error, Result};
use crate::restored::Adopted;
use crate::sink::{Sink, Source};

/// What an entry keeps of the front that its value was set through.
pub(crate) trait Registration: Send + Sync {
    /// The pair of codec and value type.
    fn key(&self) -> TypeId;
    /// The value type alone.
    fn value_type(&self) -> TypeId;
    /// The value type, for people.
    fn value_type_name(&self) -> &'static str;
    /// Codec and type, for people.
    fn name(&self) -> String;
    fn format(&self) -> Format;
    fn maps(&self) -> bool;
    fn mmwrite(&self, held: &dyn Held, sink: &mut Sink<'_>) -> Result<()>;
    fn mmread(&self, source: &mut Source<'_>, room: Room) -> Result<ReadBack>;
    /// Itself, when it stands for the format of restored values alone.
    fn adopted(&self) -> Option<&Adopted> {
        None
    }
}

/// A value that was read from its frame.
pub(crate) struct ReadBack {
    pub(crate) held: Box<dyn Held>,
    /// What it takes from the ledger: nothing for a view of a map.
    pub(crate) charged_bytes: u64,
}

/// The registration of `T` with one instance of `C`.
pub(crate) struct Registered<C, T> {
    codec: Arc<C>,
    /// Asked for once: each load compares it, and a codec may hash a name for it.
    format: Format,
    value: PhantomData<fn() -> T>,
}

impl<C: Codec<T>, T: Send + Sync + 'static> Registered<C, T> {
    pub(crate) fn new(codec: Arc<C>) -> Self {
        let format = codec.format();
        Self { codec, format, value: PhantomData }
    }
}

/// Names the pair of codec and value type.
pub(crate) fn key_of<C: 'static, T: 'static>() -> TypeId {
    TypeId::of::<(PhantomData<C>, PhantomData<T>)>()
}

pub(crate) fn name_of<C, T>() -> String {
    format!("{} by {}", type_name::<T>(), type_name::<C>())
}

impl<C: Codec<T>, T: Send + Sync + 'static> Registration for Registered<C, T> {
    fn key(&self) -> TypeId {
        key_of::<C, T>()
    }

    fn value_type(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn value_type_name(&self) -> &'static str {
        type_name::<T>()
    }

    fn name(&self) -> String {
        name_of::<C, T>()
    }

    fn format(&self) -> Format {
        self.format
    }

    fn maps(&self) -> bool {
        self.codec.maps()
    }

    fn mmwrite(&self, held: &dyn Held, sink: &mut Sink<'_>) -> Result<()> {
        let holder = Holder::<C, T>::of(held).expect("an entry holds what its registration made");
        self.codec.mmwrite(&holder.resident, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, mut room: Room) -> Result<ReadBack> {
        let resident = self.codec.mmread(source, &mut room)?;
        // A view keeps the frame; where that is a copy of a store that could not map, the copy counts.
        let frame_bytes = if self.codec.maps() { source.reserved_bytes() } else { 0 };
        let charged_bytes = room.charged_bytes().saturating_add(frame_bytes);
        let (rest, _) = room.finish();
        let mut holder = Holder::<C, T>::new(&self.codec, resident, rest);
        if self.codec.maps() && charged_bytes == 0 {
            holder.rest = Rest::View;
        }
        Ok(ReadBack { held: Box::new(holder), charged_bytes })
    }
}

/// A resident and what it is charged beside its buffers.
pub(crate) struct Holder<C: Codec<T>, T: Send + Sync + 'static> {
    pub(crate) resident: C::Resident,
    codec: Arc<C>,
    rest: Rest,
}

/// What a resident is charged beside its buffers.
enum Rest {
    Nothing,
    /// Nothing at all, for it looks at a map.
    View,
    /// Dropped, it is paid back.
    Charged {
        _reservation: Reservation,
    },
}

impl<C: Codec<T>, T: Send + Sync + 'static> Holder<C, T> {
    pub(crate) fn new(codec: &Arc<C>, resident: C::Resident, rest: Reservation) -> Self {
        let rest = match rest.bytes() {
            0 => Rest::Nothing,
            _ => Rest::Charged { _reservation: rest },
        };
        Self { resident, codec: Arc::clone(codec), rest }
    }

    /// The holder behind `held`, if it is of this codec and type.
    pub(crate) fn of(held: &dyn Held) -> Option<&Self> {
        (held as &dyn Any).downcast_ref()
    }

    /// As [`of`](Self::of), owned.
    pub(crate) fn from_held(held: Box<dyn Held>) -> Option<Box<Self>> {
        (held as Box<dyn Any>).downcast().ok()
    }

    pub(crate) fn view(&self) -> &C::View {
        self.codec.view(&self.resident)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Held for Holder<C, T> {
    fn name(&self) -> String {
        name_of::<C, T>()
    }

    fn held_outside(&self) -> bool {
        self.codec.held_outside(&self.resident)
    }

    fn drops_user_code(&self) -> bool {
        self.codec.drops_user_code()
    }

    fn pay_back(&mut self) {
        self.rest = Rest::Nothing;
    }

    fn is_view(&self) -> bool {
        matches!(self.rest, Rest::View)
    }
}

/// The error of a value that was stored otherwise than it is asked for.
pub(crate) fn wrong_codec<C, T>(stored: &dyn Registration) -> Error {
    Error::WrongCodec { stored: stored.name(), asked: name_of::<C, T>() }
}
