//! The types that the targets read, and the way in: bytes as the one section of a foreign frame. [`arrays`] has the layouts, and
//! [`arrow`] the files.

pub mod arrays;
pub mod arrow;

use std::time::Duration;

use mempool_codec::{Reference, ResidentBytes};
use mempool_core::testing::{decode, frame_of, room};
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
