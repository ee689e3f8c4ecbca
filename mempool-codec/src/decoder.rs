//! bincode's standard format to values, from bytes that may be anybody's.
//!
//! bincode's own decoder has no limit of depth, lets a claimed length allocate a megabyte at each level, and counts
//! elements that take no bytes up to 2^64. This one reads the same format and bounds all three for bytes that are not
//! our own: a value's memory is asked from the ledger before it is taken.

use std::fmt;

use mempool_core::{CodecError, Error, ReferenceList, Result};
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use crate::reference::{Way, within};

/// How deeply foreign bytes may be nested: sequences, maps, structs, enums, options and newtypes count.
pub(crate) const DEPTH_MAX: u32 = 256;
/// How many elements of foreign bytes may take no byte at all: they cost time, and nothing bounds their number.
pub(crate) const EMPTY_ELEMENTS_MAX: u64 = 65_536;
/// What a decoder of foreign bytes takes, beside as much as it is given, before it asks the ledger.
const UNASKED_BYTES: u64 = 32 << 10;
/// The least that is asked for at once.
const ASKED_BYTES_MIN: u64 = 16 << 10;

/// Where the memory of a decoded value comes from.
pub(crate) enum Memory<'a> {
    /// The bytes are our own: lengths are believed.
    Trusted,
    /// So many bytes are granted already; more are asked for.
    Metered { granted: u64, grow: &'a mut dyn FnMut(u64) -> Result<()> },
}

/// Decodes the whole of `bytes`.
///
/// # Errors
/// A [`CodecError`] of kind `Damage` for bytes that are no `T`; what the ledger says.
pub(crate) fn decode<T: DeserializeOwned>(
    codec: &'static str,
    bytes: &[u8],
    references: ReferenceList,
    memory: Memory<'_>,
) -> Result<T> {
    let mut decoder = Decoder::new(bytes, memory);
    let (value, _, refused) = within(Way::Decode(references), || decoder.whole::<T>());
    match (value, decoder.refused.take().or(refused)) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(error)) => Err(error),
        (Err(damage), None) => Err(CodecError::damage::<T>(codec, damage).into()),
    }
}

/// What is wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the bytes end where {wanted} more are due")]
    End { wanted: u64 },
    #[error("{bytes} bytes follow the value")]
    Rest { bytes: usize },
    #[error("{found} is no {what}")]
    Byte { what: &'static str, found: u8 },
    #[error("a number is larger than its type")]
    Number,
    #[error("text is no UTF-8")]
    Text,
    #[error("nested more than {DEPTH_MAX} deep")]
    Depth,
    #[error("more than {EMPTY_ELEMENTS_MAX} elements that take no bytes")]
    Empty,
    #[error("no memory for it")]
    Memory,
    #[error("the format does not say what follows, and the type asks for it")]
    Unsized,
    #[error("{0}")]
    Type(String),
}

impl serde::de::Error for Damage {
    fn custom<D: fmt::Display>(said: D) -> Self {
        Self::Type(said.to_string())
    }
}

/// Reads values from the front of its bytes.
struct Decoder<'b, 'm> {
    rest: &'b [u8],
    memory: Memory<'m>,
    /// What the decoded parts take, by the rules at [`Decoder::spend`].
    spent_bytes: u64,
    depth: u32,
    empty_elements: u64,
    refused: Option<Error>,
}

impl<'b, 'm> Decoder<'b, 'm> {
    fn new(bytes: &'b [u8], mut memory: Memory<'m>) -> Self {
        if let Memory::Metered { granted, .. } = &mut memory {
            *granted = granted.saturating_add(bytes.len() as u64).saturating_add(UNASKED_BYTES);
        }
        Self { rest: bytes, memory, spent_bytes: 0, depth: 0, empty_elements: 0, refused: None }
    }

    fn whole<T: DeserializeOwned>(&mut self) -> Result<T, Damage> {
        let value = T::deserialize(&mut *self)?;
        match self.rest.len() {
            0 => Ok(value),
            bytes => Err(Damage::Rest { bytes }),
        }
    }

    fn is_trusted(&self) -> bool {
        matches!(self.memory, Memory::Trusted)
    }

    /// Notes that the value takes `bytes` more, before it does; asks the ledger for what is not granted.
    fn spend(&mut self, bytes: u64) -> Result<(), Damage> {
        let Memory::Metered { granted, grow } = &mut self.memory else { return Ok(()) };
        self.spent_bytes = self.spent_bytes.saturating_add(bytes);
        let missing = self.spent_bytes.saturating_sub(*granted);
        if missing == 0 {
            return Ok(());
        }
        let asked = missing.max(ASKED_BYTES_MIN);
        *granted = granted.saturating_add(asked);
        grow(asked).map_err(|error| {
            self.refused.get_or_insert(error);
            Damage::Memory
        })
    }

    /// Runs `inner` one level deeper.
    fn deeper<R>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<R, Damage>,
    ) -> Result<R, Damage> {
        if self.depth >= DEPTH_MAX && !self.is_trusted() {
            return Err(Damage::Depth);
        }
        self.depth = self.depth.saturating_add(1);
        let result = inner(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// Notes an element that began where `before` bytes were left.
    fn note_element(&mut self, before: usize) -> Result<(), Damage> {
        if self.rest.len() != before || self.is_trusted() {
            return Ok(());
        }
        self.empty_elements = self.empty_elements.saturating_add(1);
        match self.empty_elements <= EMPTY_ELEMENTS_MAX {
            true => Ok(()),
            false => Err(Damage::Empty),
        }
    }

    fn bytes(&mut self, len: usize) -> Result<&'b [u8], Damage> {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(Damage::End { wanted: len as u64 });
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(Damage::End { wanted: N as u64 });
        };
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of at most `bytes` bytes: one byte up to 250, else a mark and 2, 4 or 8 bytes.
    #[inline]
    fn number(&mut self, bytes: usize) -> Result<u64, Damage> {
        match self.byte()? {
            small @ 0..=250 => Ok(u64::from(small)),
            251 => Ok(u64::from(u16::from_le_bytes(self.array()?))),
            252 if bytes >= 4 => Ok(u64::from(u32::from_le_bytes(self.array()?))),
            253 if bytes >= 8 => Ok(u64::from_le_bytes(self.array()?)),
            found => Err(Damage::Byte { what: "start of a number", found }),
        }
    }

    /// As [`number`](Self::number), of at most 16 bytes.
    fn wide(&mut self) -> Result<u128, Damage> {
        if self.rest.first() != Some(&254) {
            return self.number(8).map(u128::from);
        }
        self.byte()?;
        self.array().map(u128::from_le_bytes)
    }

    #[inline]
    fn unsigned<N: TryFrom<u64>>(&mut self) -> Result<N, Damage> {
        N::try_from(self.number(size_of::<N>())?).map_err(|_| Damage::Number)
    }

    /// A signed number, whose sign is the lowest bit.
    #[inline]
    fn signed<N: TryFrom<i64>>(&mut self) -> Result<N, Damage> {
        let folded = self.number(size_of::<N>())?;
        let half = (folded >> 1).cast_signed();
        let number = if folded & 1 == 0 { half } else { !half };
        N::try_from(number).map_err(|_| Damage::Number)
    }

    /// As [`signed`](Self::signed), of 16 bytes.
    fn wide_signed(&mut self) -> Result<i128, Damage> {
        let folded = self.wide()?;
        let half = (folded >> 1).cast_signed();
        Ok(if folded & 1 == 0 { half } else { !half })
    }

    /// A length, as it is claimed.
    fn len(&mut self) -> Result<usize, Damage> {
        usize::try_from(self.unsigned::<u64>()?).map_err(|_| Damage::Number)
    }

    fn counted_bytes(&mut self) -> Result<&'b [u8], Damage> {
        let len = self.len()?;
        let bytes = self.bytes(len)?;
        self.spend(len as u64)?;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'b str, Damage> {
        std::str::from_utf8(self.counted_bytes()?).map_err(|_| Damage::Text)
    }

    fn character(&mut self) -> Result<char, Damage> {
        let first = *self.rest.first().ok_or(Damage::End { wanted: 1 })?;
        let len = match first {
            0..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let text = std::str::from_utf8(self.bytes(len)?).map_err(|_| Damage::Text)?;
        text.chars().next().ok_or(Damage::Text)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, Damage> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Damage::Byte { what, found }),
        }
    }

    /// `len` values one after the other, which `visitor` makes one of. What they become is spent as if it were boxed;
    /// those that lie in an allocation of their own are spent by themselves.
    fn sequence<'de, V: Visitor<'de>>(
        &mut self,
        len: usize,
        grows: bool,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.spend(size_of::<V::Value>() as u64)?;
        self.deeper(|decoder| {
            visitor.visit_seq(Elements { decoder, left: len, grows, first: true })
        })
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $read:expr;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
            #[inline(always)]
            fn read<'b, T>(
                decoder: &mut Decoder<'b, '_>,
                how: impl FnOnce(&mut Decoder<'b, '_>) -> Result<T, Damage>,
            ) -> Result<T, Damage> {
                how(decoder)
            }
            visitor.$visit(read(self, $read)?)
        }
    )*};
}

impl<'de, 'b, 'm> Deserializer<'de> for &mut Decoder<'b, 'm> {
    type Error = Damage;

    plain! {
        deserialize_bool visit_bool |d| d.flag("truth value");
        deserialize_u8 visit_u8 |d| d.byte();
        deserialize_u16 visit_u16 |d| d.unsigned();
        deserialize_u32 visit_u32 |d| d.unsigned();
        deserialize_u64 visit_u64 |d| d.unsigned();
        deserialize_u128 visit_u128 |d| d.wide();
        deserialize_i8 visit_i8 |d| d.byte().map(u8::cast_signed);
        deserialize_i16 visit_i16 |d| d.signed();
        deserialize_i32 visit_i32 |d| d.signed();
        deserialize_i64 visit_i64 |d| d.signed();
        deserialize_i128 visit_i128 |d| d.wide_signed();
        deserialize_f32 visit_f32 |d| d.array().map(f32::from_le_bytes);
        deserialize_f64 visit_f64 |d| d.array().map(f64::from_le_bytes);
        deserialize_char visit_char |d| d.character();
        deserialize_str visit_str |d| d.text();
        deserialize_string visit_str |d| d.text();
        deserialize_bytes visit_bytes |d| d.counted_bytes();
        deserialize_byte_buf visit_bytes |d| d.counted_bytes();
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        match self.flag("option's mark")? {
            true => self.deeper(|decoder| visitor.visit_some(decoder)),
            false => visitor.visit_none(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.spend(size_of::<V::Value>() as u64)?;
        self.deeper(|decoder| visitor.visit_newtype_struct(decoder))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        let len = self.len()?;
        self.sequence(len, true, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.sequence(len, false, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.sequence(len, false, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        let len = self.len()?;
        self.spend(size_of::<V::Value>() as u64)?;
        self.deeper(|decoder| {
            visitor.visit_map(Entries { decoder, left: len, first: true, key_bytes: 0, before: 0 })
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.sequence(fields.len(), false, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.spend(size_of::<V::Value>() as u64)?;
        self.deeper(|decoder| visitor.visit_enum(decoder))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Damage> {
        Err(Damage::Unsized)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Damage> {
        Err(Damage::Unsized)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Damage> {
        Err(Damage::Unsized)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence.
///
/// A vector that is not told its length doubles, so while it grows it takes up to three times its elements, and at
/// first room for eight.
struct Elements<'a, 'b, 'm> {
    decoder: &'a mut Decoder<'b, 'm>,
    left: usize,
    /// Whether the elements lie in an allocation of their own, as those of a vector do and the fields of a struct not.
    grows: bool,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_, '_> {
    type Error = Damage;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Damage> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if !self.grows || self.decoder.is_trusted() {
            return seed.deserialize(&mut *self.decoder).map(Some);
        }
        let times = if self.first { 8 } else { 3 };
        self.first = false;
        self.decoder.spend((size_of::<S::Value>() as u64).saturating_mul(times))?;
        let before = self.decoder.rest.len();
        let element = seed.deserialize(&mut *self.decoder)?;
        self.decoder.note_element(before)?;
        Ok(Some(element))
    }

    /// Told for our own bytes alone: whoever is told a length allocates for it.
    fn size_hint(&self) -> Option<usize> {
        self.decoder.is_trusted().then_some(self.left)
    }
}

/// The entries of a map.
///
/// A hash table that grows takes up to 3.5 times its entries, each with a byte of its own; a node of a B-tree has room
/// for eleven.
struct Entries<'a, 'b, 'm> {
    decoder: &'a mut Decoder<'b, 'm>,
    left: usize,
    first: bool,
    key_bytes: u64,
    before: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_, '_> {
    type Error = Damage;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Damage> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.key_bytes = size_of::<S::Value>() as u64;
        self.before = self.decoder.rest.len();
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Damage> {
        let entry = self.key_bytes.saturating_add(size_of::<S::Value>() as u64);
        let first = if self.first { entry.saturating_mul(12).saturating_add(64) } else { 0 };
        self.first = false;
        self.decoder.spend(entry.saturating_add(1).saturating_mul(4).saturating_add(first))?;
        let value = seed.deserialize(&mut *self.decoder)?;
        self.decoder.note_element(self.before)?;
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.decoder.is_trusted().then_some(self.left)
    }
}

impl<'de> EnumAccess<'de> for &mut Decoder<'_, '_> {
    type Error = Damage;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Damage> {
        let index: U32Deserializer<Damage> = self.unsigned::<u32>()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Decoder<'_, '_> {
    type Error = Damage;

    fn unit_variant(self) -> Result<(), Damage> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Damage> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Damage> {
        self.sequence(len, false, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.sequence(fields.len(), false, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use bincode::config::standard;
    use mempool_core::{ErrorKind, Ledger};
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Marker;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Wrapped(i64);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        One(Option<char>),
        Two(i16, u128),
        Named { text: String, deep: Option<Box<Kind>> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct All {
        unsigned: (u8, u16, u32, u64, u128, usize),
        signed: (i8, i16, i32, i64, i128),
        bits: (u32, u64),
        flag: bool,
        letter: char,
        text: String,
        kinds: Vec<Kind>,
        map: BTreeMap<String, Vec<u16>>,
        units: Vec<()>,
        array: [Wrapped; 3],
        marker: Marker,
    }

    fn kind() -> impl Strategy<Value = Kind> {
        let leaf = prop_oneof![
            Just(Kind::Unit),
            any::<Option<char>>().prop_map(Kind::One),
            any::<(i16, u128)>().prop_map(|(a, b)| Kind::Two(a, b)),
        ];
        leaf.prop_recursive(3, 8, 1, |inner| {
            (any::<String>(), proptest::option::of(inner.prop_map(Box::new)))
                .prop_map(|(text, deep)| Kind::Named { text, deep })
        })
    }

    fn all() -> impl Strategy<Value = All> {
        let numbers =
            (any::<(u8, u16, u32, u64, u128, usize)>(), any::<(i8, i16, i32, i64, i128)>());
        let plain = (any::<(u32, u64)>(), any::<bool>(), any::<char>(), any::<String>());
        let kinds = proptest::collection::vec(kind(), 0..5);
        let map = proptest::collection::btree_map(any::<String>(), any::<Vec<u16>>(), 0..4);
        (numbers, plain, kinds, map, 0..300_usize, any::<[i64; 3]>()).prop_map(
            |((unsigned, signed), (bits, flag, letter, text), kinds, map, units, array)| All {
                unsigned,
                signed,
                bits,
                flag,
                letter,
                text,
                kinds,
                map,
                units: vec![(); units],
                array: array.map(Wrapped),
                marker: Marker,
            },
        )
    }

    fn trusted<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        decode("test", bytes, ReferenceList::default(), Memory::Trusted)
    }

    /// Decodes with so much memory granted and a ledger of `limit` for more; answers what was asked for.
    fn metered<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> (Result<T>, u64) {
        let ledger = Ledger::new(limit, std::time::Duration::ZERO);
        let mut asked = ledger.nothing();
        let mut grow = |bytes| asked.try_grow(bytes);
        let memory = Memory::Metered { granted: 0, grow: &mut grow };
        let value = decode("test", bytes, ReferenceList::default(), memory);
        let bytes = asked.bytes();
        (value, bytes)
    }

    fn damaged<T>(result: Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::Damage)
    }

    proptest! {
        /// What bincode writes is read, whether it is believed or not.
        #[test]
        fn reads_what_bincode_writes(value in all()) {
            let bytes = bincode::serde::encode_to_vec(&value, standard()).unwrap();
            prop_assert_eq!(&trusted::<All>(&bytes).unwrap(), &value);
            prop_assert_eq!(&metered::<All>(&bytes, 1 << 20).0.unwrap(), &value);
        }

        /// On bytes that nobody wrote it answers what bincode's own decoder does.
        #[test]
        fn judges_as_bincode_does(value in all(), at: usize, bit in 0..8_u8, cut: Option<usize>) {
            let mut bytes = bincode::serde::encode_to_vec(&value, standard()).unwrap();
            let place = at % bytes.len();
            bytes[place] ^= 1 << bit;
            bytes.truncate(cut.map_or(usize::MAX, |cut| cut % bytes.len()));
            let limited = standard().with_limit::<{ 1 << 16 }>();
            let theirs = bincode::serde::decode_from_slice::<All, _>(&bytes, limited);
            let theirs = theirs.ok().filter(|(_, read)| *read == bytes.len()).map(|(value, _)| value);
            prop_assert_eq!(trusted::<All>(&bytes).ok(), theirs);
        }
    }

    fn list(depth: usize) -> Vec<u8> {
        // Named, with an empty text and a further one inside; at the end Unit.
        let mut bytes = [3, 0, 1].repeat(depth);
        bytes.push(0);
        bytes
    }

    #[test]
    fn depth_has_a_limit() {
        assert!(metered::<Kind>(&list(20), 1 << 20).0.is_ok());
        for depth in [100, 1000, 10_000, 100_000] {
            let (refused, asked) = metered::<Kind>(&list(depth), 1 << 30);
            assert!(damaged(refused), "{depth}");
            assert!(asked < 1 << 20);
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        for claim in [1_u64 << 16, 1 << 32, u64::MAX] {
            let bytes = bincode::serde::encode_to_vec((claim, 7_u8), standard()).unwrap();
            let (refused, asked) = metered::<Vec<[u64; 32]>>(&bytes, 1 << 40);
            assert!(damaged(refused) && asked == 0);
            assert!(damaged(metered::<Vec<Vec<Vec<u64>>>>(&bytes, 1 << 40).0));
            assert!(damaged(metered::<String>(&bytes, 1 << 40).0));
            assert!(damaged(metered::<HashMap<u64, u64>>(&bytes, 1 << 40).0));
        }
    }

    #[test]
    fn elements_without_bytes_have_a_limit() {
        let counted = |len: u64| bincode::serde::encode_to_vec(len, standard()).unwrap();
        assert!(metered::<Vec<()>>(&counted(EMPTY_ELEMENTS_MAX), 0).0.is_ok());
        assert!(damaged(metered::<Vec<()>>(&counted(u64::MAX), 0).0));
        assert!(damaged(metered::<Vec<Marker>>(&counted(1 << 40), 0).0));
        assert!(damaged(metered::<HashSet<()>>(&counted(1 << 40), 0).0));
        // Our own are believed.
        assert_eq!(trusted::<Vec<()>>(&counted(1 << 20)).unwrap().len(), 1 << 20);
    }

    /// A field that is not written takes memory and no bytes.
    #[derive(Default, Serialize, Deserialize)]
    struct Skipped {
        #[serde(skip)]
        large: [u64; 16],
    }

    #[test]
    fn what_a_value_takes_is_asked_for_before_it_is_taken() {
        let bytes = bincode::serde::encode_to_vec(30_000_u64, standard()).unwrap();
        let (refused, _) = metered::<Vec<Skipped>>(&bytes, 1 << 20);
        assert!(matches!(refused, Err(Error::TooLarge { .. } | Error::NoRoom(_))));
        let (read, asked) = metered::<Vec<Skipped>>(&bytes, 1 << 30);
        assert_eq!(read.unwrap().iter().filter(|it| it.large == [0; 16]).count(), 30_000);
        assert!(asked >= 30_000 * 128);
    }

    #[test]
    fn bytes_behind_the_value_are_damage() {
        assert!(damaged(trusted::<u8>(&[1, 2])));
        assert!(damaged(metered::<()>(&[0], 0).0));
    }
}
