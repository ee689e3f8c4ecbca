//! `Stored`: what the codec takes, and as which array it keeps it.

use bytemuck::cast_slice;
use mempool_core::{Rejected, Result, Room};

use crate::bits::{Bits, BitsBuilder};
use crate::description::{Kind, Node};
use crate::element::Element;
use crate::error::ArrayError;
use crate::layout::{Buildable, Builder, Layout, Meter};
use crate::nullable::Nullable;
use crate::part::{Parts, write_items};
use crate::raw::{Metered, charge};
use crate::string::Strings;
use crate::units::Units;
use crate::values::{Values, adoption_bytes};

/// A value that [`Raw`](crate::Raw) keeps as an array: these, and no others. A type of your own is a [`Layout`].
///
/// | value | kept as | view |
/// | --- | --- | --- |
/// | any [`Layout`] `A` | `A` | `A` |
/// | `Vec<T>` of plain data | [`Values<T>`], taken over without a copy | `[T]` |
/// | `Vec<bool>` | [`Bits`] | `Bits` |
/// | `Vec<()>` | [`Units`] | `Units` |
/// | `Vec<String>` | [`Strings`] | `Strings` |
/// | `Vec<Option<T>>` of plain data | [`Nullable<Values<T>>`](Nullable) | the same |
/// | `Vec<Option<String>>` | [`Nullable<Strings>`](Nullable) | the same |
pub trait Stored: private::Sealed + Sized + Send + Sync + 'static {
    /// The array.
    type Array: Layout;
    /// What a get shows.
    type View: ?Sized + 'static;

    /// The view of the array.
    fn view(array: &Self::Array) -> &Self::View;

    /// What [`admit`](Self::admit) will charge at least.
    fn size_hint(&self) -> u64;

    /// Makes the array, inside `room`.
    ///
    /// # Errors
    /// Gives the value back, whole.
    fn admit(self, room: &mut Room) -> Result<Self::Array, Rejected<Self>>;

    /// Takes the value apart as its array would be, without making that.
    ///
    /// # Errors
    /// When no array of the kind can hold it.
    fn take_apart<'a>(&'a self, parts: &mut Parts<'a>) -> Result<()>;
}

mod private {
    /// The vectors that there are; what takes itself apart as an array of ours is believed to be one.
    pub trait Sealed {}
}

impl<A: Layout> private::Sealed for A {}

impl<A: Layout> Stored for A {
    type Array = A;
    type View = A;

    fn view(array: &A) -> &A {
        array
    }

    fn size_hint(&self) -> u64 {
        // Buffers that are shared may be paid for already.
        0
    }

    fn admit(self, room: &mut Room) -> Result<A, Rejected<A>> {
        charge(self, room)
    }

    fn take_apart<'a>(&'a self, parts: &mut Parts<'a>) -> Result<()> {
        Layout::take_apart(self, parts);
        Ok(())
    }
}

impl<T: Element> private::Sealed for Vec<T> {}

impl<T: Element> Stored for Vec<T> {
    type Array = Values<T>;
    type View = [T];

    fn view(array: &Values<T>) -> &[T] {
        array
    }

    fn size_hint(&self) -> u64 {
        (self.capacity() as u64).saturating_mul(size_of::<T>() as u64) + adoption_bytes::<T>()
    }

    fn admit(self, room: &mut Room) -> Result<Values<T>, Rejected<Self>> {
        let missing = Stored::size_hint(&self).saturating_sub(room.reserved_bytes());
        if let Err(error) = room.grow(missing) {
            return Err(Rejected::new(self, error));
        }
        // What it takes is reserved, so this does not fail; and no array could give back the vector.
        charge(Values::from(self), room)
            .map_err(|Rejected { value, error }| Rejected::new(value.to_vec(), error))
    }

    fn take_apart<'a>(&'a self, parts: &mut Parts<'a>) -> Result<()> {
        parts.node(Node::new(Kind::Values(T::TYPE), self.len()));
        parts.bytes(cast_slice(self));
        Ok(())
    }
}

impl private::Sealed for Vec<()> {}

impl Stored for Vec<()> {
    type Array = Units;
    type View = Units;

    fn view(array: &Units) -> &Units {
        array
    }

    fn size_hint(&self) -> u64 {
        0
    }

    fn admit(self, _room: &mut Room) -> Result<Units, Rejected<Self>> {
        Ok(Units::new(self.len()))
    }

    fn take_apart<'a>(&'a self, parts: &mut Parts<'a>) -> Result<()> {
        parts.node(Node::new(Kind::Units, self.len()));
        Ok(())
    }
}

/// A vector of items that are built into an array: what its parts take is counted first, so that each is allocated once.
macro_rules! built {
    (
        $(#[$generics:meta])?
        impl [$($parameters:tt)*] $vector:ty => $array:ty,
        size: |$sized:ident| $size:expr,
        reserve: |$builder:ident, $items:ident, $meter:ident| $reserve:expr,
        item: |$item:ident| $as_item:expr,
        parts: |$of:ident, $parts:ident| $take_apart:expr,
    ) => {
        impl<$($parameters)*> private::Sealed for $vector {}

        impl<$($parameters)*> Stored for $vector {
            type Array = $array;
            type View = $array;

            fn view(array: &Self::Array) -> &Self::Array {
                array
            }

            fn size_hint(&self) -> u64 {
                let $sized = self;
                $size
            }

            fn admit(self, room: &mut Room) -> Result<Self::Array, Rejected<Self>> {
                let made = (|| {
                    let mut $builder = <$array as Buildable>::Builder::default();
                    let ($items, $meter) = (&self, &mut Metered(room));
                    $reserve?;
                    for $item in &self {
                        $builder.push_metered($as_item, $meter)?;
                    }
                    Ok($builder.finish())
                })();
                match made.and_then(|array| charge(array, room).map_err(|rejected| rejected.error)) {
                    Ok(array) => Ok(array),
                    Err(error) => Err(Rejected::new(self, error)),
                }
            }

            fn take_apart<'a>(&'a self, $parts: &mut Parts<'a>) -> Result<()> {
                let $of = self;
                $take_apart
            }
        }
    };
}

/// What a buffer of so many `T` takes that was built at once.
fn buffer_bytes<T>(items: usize) -> u64 {
    (items as u64).saturating_mul(size_of::<T>() as u64).saturating_add(adoption_bytes::<T>())
}

/// What the validity of `items` takes: nothing when none is missing.
fn validity_bytes<T>(items: &[Option<T>]) -> u64 {
    match items.iter().all(Option::is_some) {
        true => 0,
        false => buffer_bytes::<u8>(items.len().div_ceil(8)),
    }
}

/// Makes room for the validity of `items` at once, if any is missing.
fn reserve_validity<T>(
    bits: &mut BitsBuilder,
    items: &[Option<T>],
    meter: &mut dyn Meter,
) -> Result<()> {
    match items.iter().all(Option::is_some) {
        true => Ok(()),
        false => bits.reserve_slots(items.len(), meter),
    }
}

/// What strings take of `bytes` in all.
fn string_bytes(items: usize, bytes: usize) -> u64 {
    buffer_bytes::<i64>(items.saturating_add(1)).saturating_add(buffer_bytes::<u8>(bytes))
}

/// Adds the node of a nullable layout over `items` and its validity.
fn nullable_parts<'a, T>(items: &'a [Option<T>], parts: &mut Parts<'a>) {
    let nulls = items.iter().filter(|item| item.is_none()).count();
    let node = Node::new(Kind::Nullable, items.len());
    parts.node(Node { children: 1, figure: nulls as u64, ..node });
    match nulls {
        0 => parts.bytes(&[]),
        _ => parts.made(move |write| write_bits(items.iter().map(Option::is_some), write)),
    }
}

/// Writes booleans as bits.
fn write_bits(
    bits: impl ExactSizeIterator<Item = bool>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut bits = bits.peekable();
    let bytes = std::iter::from_fn(move || {
        bits.peek()?;
        let byte = bits.by_ref().take(8).enumerate();
        Some(byte.fold(0_u8, |byte, (at, bit)| byte | u8::from(bit) << at))
    });
    write_items(bytes, write)
}

/// Adds the node of strings, their offsets and their bytes.
fn string_parts<'a, S>(items: &'a [S], text: fn(&S) -> &str, parts: &mut Parts<'a>) -> Result<()> {
    let total: u64 = items.iter().map(|item| text(item).len() as u64).sum();
    if i64::try_from(total).is_err() {
        let most = i64::MAX.unsigned_abs();
        return Err(ArrayError::TooMany { layout: "strings", asked: total, most }.of::<Vec<S>>());
    }
    parts.node(Node::new(Kind::Strings(8), items.len()));
    parts.made(move |write| {
        let ends = items.iter().scan(0_u64, move |end, item| {
            *end += text(item).len() as u64;
            Some(*end)
        });
        write_items(std::iter::once(0).chain(ends), write)
    });
    parts.made(move |write| items.iter().try_for_each(|item| write(text(item).as_bytes())));
    Ok(())
}

built! {
    impl [] Vec<bool> => Bits,
    size: |items| buffer_bytes::<u8>(items.len().div_ceil(8)),
    reserve: |builder, items, meter| builder.reserve_slots(items.len(), meter),
    item: |item| *item,
    parts: |items, parts| {
        parts.node(Node::new(Kind::Bits, items.len()));
        parts.made(|write| write_bits(items.iter().copied(), write));
        Ok(())
    },
}

built! {
    impl [] Vec<String> => Strings,
    size: |items| string_bytes(items.len(), items.iter().map(String::len).sum()),
    reserve: |builder, items, meter| {
        builder.reserve_exact(items.len(), items.iter().map(String::len).sum(), meter)
    },
    item: |item| item,
    parts: |items, parts| string_parts(items, |item| item, parts),
}

built! {
    impl [T: Element] Vec<Option<T>> => Nullable<Values<T>>,
    size: |items| validity_bytes(items).saturating_add(buffer_bytes::<T>(items.len())),
    reserve: |builder, items, meter| {
        let (bits, values) = builder.parts();
        reserve_validity(bits, items, meter)
            .and_then(|()| values.reserve_slots(items.len(), meter))
    },
    item: |item| *item,
    parts: |items, parts| {
        nullable_parts(items, parts);
        parts.node(Node::new(Kind::Values(T::TYPE), items.len()));
        parts.made(|write| {
            write_items(items.iter().map(|item| item.unwrap_or_else(T::zeroed)), write)
        });
        Ok(())
    },
}

built! {
    impl [] Vec<Option<String>> => Nullable<Strings>,
    size: |items| {
        let bytes = items.iter().flatten().map(String::len).sum();
        validity_bytes(items).saturating_add(string_bytes(items.len(), bytes))
    },
    reserve: |builder, items, meter| {
        let bytes = items.iter().flatten().map(String::len).sum();
        let (bits, strings) = builder.parts();
        reserve_validity(bits, items, meter)
            .and_then(|()| strings.reserve_exact(items.len(), bytes, meter))
    },
    item: |item| item.as_deref(),
    parts: |items, parts| {
        nullable_parts(items, parts);
        string_parts(items, |item| item.as_deref().unwrap_or_default(), parts)
    },
}
