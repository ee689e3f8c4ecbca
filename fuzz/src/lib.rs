//! The types that the targets read, and the way in: bytes as the one section of a foreign frame.

use std::time::Duration;

use mempool_codec::{Reference, ResidentBytes};
use mempool_core::testing::{decode, encode, frame_of, room};
use mempool_core::{Codec, DRef, Id, Ledger, Trust};

/// Reads `content` as a foreign frame of a `T` and looks at the value; all that was taken must be paid back.
pub fn look<T, C>(codec: &C, content: &[u8], walk: impl Fn(&C::View))
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let ledger = Ledger::new(16 << 20, Duration::ZERO);
    let frame = frame_of(Id { slot: 0, generation: 1 }, &[(64, content)]).expect("a frame");
    if let Ok(resident) = decode(codec, &frame, Trust::Foreign, &mut room(&ledger)) {
        walk(codec.view(&resident));
    }
    assert_eq!(ledger.usage().used_bytes, 0, "what was taken was paid back");
}

/// Reads these bytes as the sections of a foreign array and looks at it, and at what it is written as again.
///
/// The bytes are the number of sections less 1, the length of each in 16 bits, and the sections end to end, the last to the end.
pub fn look_at_array<A: mempool_arrays::Layout>(data: &[u8], walk: impl Fn(&A)) {
    use mempool_arrays::Raw;
    let Some((count, mut rest)) = choice(data) else { return };
    let mut lengths = Vec::new();
    for _ in 0..count % 8 {
        let Some((length, behind)) = rest.split_first_chunk::<2>() else { return };
        lengths.push(usize::from(u16::from_le_bytes(*length)));
        rest = behind;
    }
    let mut sections: Vec<(usize, &[u8])> = Vec::new();
    for length in lengths {
        let (section, behind) = rest.split_at(length.min(rest.len()));
        sections.push((64, section));
        rest = behind;
    }
    sections.push((64, rest));
    let ledger = Ledger::new(16 << 20, Duration::ZERO);
    let frame = frame_of(Id { slot: 0, generation: 1 }, &sections).expect("a frame");
    if let Ok(held) = decode::<A, Raw>(&Raw, &frame, Trust::Foreign, &mut room(&ledger)) {
        walk(<Raw as Codec<A>>::view(&Raw, &held));
        let again = encode::<A, Raw>(&Raw, &held, 0).expect("what was read is written");
        decode::<A, Raw>(&Raw, &again, Trust::Foreign, &mut room(&ledger)).expect("and read again");
    }
    assert_eq!(ledger.usage().used_bytes, 0, "nothing was taken");
}

/// The first byte, which chooses a type, and the rest.
pub fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(&first, rest)| (first, rest))
}

/// A bit of everything.
#[derive(
    Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
#[rkyv(derive(Debug))]
pub struct Record {
    pub key: u64,
    pub wide: i128,
    pub name: String,
    pub tags: Vec<Option<String>>,
    pub shapes: Vec<Shape>,
    pub flag: bool,
    pub letter: char,
}

/// Variants of each kind.
#[derive(
    Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
#[rkyv(derive(Debug))]
pub enum Shape {
    Point,
    Circle(f64),
    Named { label: String, inner: Option<Box<u32>> },
}

impl ResidentBytes for Shape {
    fn resident_bytes(&self) -> u64 {
        match self {
            Self::Named { label, inner } => label.resident_bytes() + inner.resident_bytes(),
            _ => 0,
        }
    }
}

impl ResidentBytes for Record {
    fn resident_bytes(&self) -> u64 {
        self.name.resident_bytes() + self.tags.resident_bytes() + self.shapes.resident_bytes()
    }
}

/// As deep as the bytes say.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
#[rkyv(serialize_bounds(
    __S: rkyv::ser::Writer,
    <__S as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
))]
#[rkyv(bytecheck(bounds(
    __C: rkyv::validation::ArchiveContext,
    <__C as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
)))]
pub struct Nested {
    #[rkyv(omit_bounds)]
    pub inner: Option<Box<Nested>>,
}

impl ResidentBytes for Nested {
    fn resident_bytes(&self) -> u64 {
        let own = size_of::<Self>() as u64;
        self.inner.as_ref().map_or(0, |inner| own + inner.resident_bytes())
    }
}

/// References, which no foreign frame has.
#[derive(rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
pub struct Linked {
    #[rkyv(with = rkyv::with::Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    pub links: Vec<DRef<u64>>,
    pub text: String,
}

impl ResidentBytes for Linked {
    fn resident_bytes(&self) -> u64 {
        self.links.resident_bytes() + self.text.resident_bytes()
    }
}
