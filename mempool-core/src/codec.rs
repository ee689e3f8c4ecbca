//! What a codec is: how a value lives in memory, how large it is, and how it goes to disk and comes back.

use std::fmt;

use crate::budget::{Ledger, Reservation, Wait};
use crate::buffer::Buffer;
use crate::dref::{AnyRef, DRef, ReferenceList};
use crate::error::{Rejected, Result};
use crate::sink::{Sink, Source};
use crate::store::Summing;

/// The name of a codec, as it stands in the header of a frame: up to 16 bytes of ASCII, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecName([u8; 16]);

impl CodecName {
    /// A name.
    ///
    /// # Panics
    /// When it is longer than 16 bytes, empty, or not printable ASCII; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(!name.is_empty() && name.len() <= 16, "a codec's name has 1 to 16 bytes");
        let mut out = [0; 16];
        let mut at = 0;
        while at < name.len() {
            assert!(name[at].is_ascii_graphic(), "a codec's name is printable ASCII");
            out[at] = name[at];
            at += 1;
        }
        Self(out)
    }

    /// The name whose padded bytes these are; they may come from a damaged file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its padded bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        f.write_str(&self.0[..end].escape_ascii().to_string())
    }
}

impl fmt::Debug for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecName({self})")
    }
}

/// What must agree between the writer of a frame and its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: CodecName,
    /// The type, in a form that other builds of the program agree on; see [`type_tag`].
    pub type_tag: u64,
    /// The pointer width of archives in bits; 0 where the codec has none.
    pub pointer_width: u8,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} type {:016x}", self.codec, self.type_tag)?;
        match self.pointer_width {
            0 => Ok(()),
            width => write!(f, " with {width}-bit pointers"),
        }
    }
}

/// A tag for the type of that name: FNV-1a, 64 bits, of its bytes.
///
/// The usual argument is `std::any::type_name::<T>()`; a codec that knows its schema hashes that instead.
#[must_use]
pub const fn type_tag(name: &str) -> u64 {
    fnv1a(name.as_bytes())
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv).
pub(crate) const fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_on(FNV1A, bytes)
}

/// What it is of no bytes.
const FNV1A: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv1a_on(before: u64, bytes: &[u8]) -> u64 {
    let mut hash = before;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// [`fnv1a`] of bytes that come piece by piece.
pub(crate) struct Fnv1a(u64);

impl Fnv1a {
    pub(crate) fn new() -> Self {
        Self(FNV1A)
    }
}

impl Summing for Fnv1a {
    fn update(&mut self, bytes: &[u8]) {
        self.0 = fnv1a_on(self.0, bytes);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How values of type `T` live in a pool.
///
/// A codec is an *instance*: it may carry settings (a depth limit, a compression level), and the pool keeps the
/// instance that a value was set with. Its methods may be called by many threads at once, and a panic in one
/// fails that call alone.
///
/// What must hold is written as laws, and `mempool-codec`'s `codec_laws!` (feature `testing`) tests them:
/// reading back gives an equal view; what `admit` charges is what it allocates and what dropping the resident
/// pays back; `mmwrite` writes the same bytes each time; a frame reads back at no more than the alignment that it asked
/// for; damaged bytes give an error and never a panic, and a length that they claim takes no memory by itself.
pub trait Codec<T: Send + Sync + 'static>: Send + Sync + 'static {
    /// The form in which a value lives in the pool: an archive, an array, or the value itself.
    type Resident: Send + Sync + 'static;

    /// What `get` hands out a reference to.
    type View: ?Sized + 'static;

    /// Name, type and layout, for the header of a frame.
    fn format(&self) -> Format;

    /// The bytes that [`admit`](Self::admit) will charge for `value`.
    ///
    /// Exact where that is cheap, else a lower bound: the pool reserves as much before it calls `admit`.
    ///
    /// # Errors
    /// When the value cannot be stored at all.
    fn size_hint(&self, value: &T) -> Result<u64>;

    /// Turns `value` into its resident form.
    ///
    /// Grows `room` before each allocation and takes from it what a [`Buffer`] needs. What is left in
    /// `room` at the end is charged to the value beside its buffers, so it must be exactly what the resident
    /// owns outside of them; what was reserved too much is given back with [`Room::release_unused`].
    ///
    /// # Errors
    /// Gives the value back, whole.
    fn admit(&self, value: T, room: &mut Room) -> Result<Self::Resident, Rejected<T>>;

    /// The view of a resident. Cheap: it is made by each `get`.
    fn view<'a>(&self, resident: &'a Self::Resident) -> &'a Self::View;

    /// Writes a resident as sections; the same bytes each time.
    ///
    /// # Errors
    /// What the sink says, or a [`CodecError`](crate::CodecError).
    fn mmwrite(&self, resident: &Self::Resident, sink: &mut Sink<'_>) -> Result<()>;

    /// Writes a value that is too large to be resident; the same sections as its resident form would give.
    ///
    /// # Errors
    /// As [`mmwrite`](Self::mmwrite).
    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()>;

    /// Makes a resident of sections that were written before: a view of their bytes where it can be.
    ///
    /// A codec that decodes finds the bytes that [`admit`](Self::admit) left in `room` already reserved; bytes of
    /// other [`Trust`](crate::Trust) than `Own` are checked whole.
    ///
    /// # Errors
    /// A [`CodecError`](crate::CodecError) of kind `Damage` for bytes that it did not write. Never a panic.
    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Self::Resident>;

    /// Whether [`mmread`](Self::mmread) makes views of the bytes it is given and needs no memory of its own.
    fn maps(&self) -> bool {
        false
    }

    /// Whether somebody outside the pool holds an allocation of `resident`, so that evicting it would free nothing.
    ///
    /// A codec whose residents hold [`Buffer`]s that can be cloned through the view asks each of them with
    /// [`Buffer::watch_shared`].
    fn held_outside(&self, resident: &Self::Resident) -> bool {
        let _ = resident;
        false
    }

    /// Whether dropping a resident runs code of the user's; then the pool's reclaimer does it, and no other thread.
    fn drops_user_code(&self) -> bool {
        true
    }
}

/// A codec that can also take a value piece by piece: what `pool.builder()` is for.
pub trait Build<T: Send + Sync + 'static>: Codec<T> {
    /// One piece.
    type Piece: ?Sized;
    /// The value while it grows.
    type Partial: Send;

    /// An empty value.
    fn start(&self) -> Self::Partial;

    /// Adds `piece`, growing `room` before it allocates.
    ///
    /// # Errors
    /// What `room` says; `partial` is then as it was.
    fn push(&self, partial: &mut Self::Partial, piece: &Self::Piece, room: &mut Room)
    -> Result<()>;

    /// Ends the value; the same rules as for [`Codec::admit`].
    ///
    /// # Errors
    /// What `room` says, or a [`CodecError`](crate::CodecError).
    fn finish(&self, partial: Self::Partial, room: &mut Room) -> Result<Self::Resident>;
}

/// The bytes that a value may use while it is set or loaded, and the references that it hands over.
#[derive(Debug)]
pub struct Room {
    reservation: Reservation,
    taken: u64,
    wait: Wait,
    references: ReferenceList,
}

impl Room {
    pub(crate) fn new(reservation: Reservation, wait: Wait, pool: u64) -> Self {
        Self { reservation, taken: 0, wait, references: ReferenceList::new(pool, 0) }
    }

    /// Reserves `bytes` more, evicting other values as far as the call that made this room may wait.
    ///
    /// # Errors
    /// `NoRoom`, `TooLarge` or `Spill`; nothing is then reserved.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        self.reservation.grow_within(bytes, self.wait)
    }

    /// Takes a reservation of its own for one allocation, growing by what is missing.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    pub fn take(&mut self, bytes: u64) -> Result<Reservation> {
        let missing = bytes.saturating_sub(self.reservation.bytes());
        self.grow(missing)?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(self.reservation.split(bytes))
    }

    /// What is reserved and was not taken.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// Pays back what is reserved beyond `keep` bytes, which the resident owns outside of its buffers.
    pub fn release_unused(&mut self, keep: u64) {
        let unused = self.reservation.bytes().saturating_sub(keep);
        self.reservation.shrink(unused);
    }

    /// Says that a buffer of `bytes`, which was taken from this room, was dropped again.
    pub fn note_returned(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_sub(bytes);
    }

    /// Hands over a reference that the value holds, for a codec that encodes as it admits.
    ///
    /// # Errors
    /// [`WrongPool`](crate::Error::WrongPool) for a reference of another pool.
    pub fn reference<T>(&mut self, reference: &DRef<T>) -> Result<u32> {
        self.references.push(reference)
    }

    /// Takes out what was handed over so far, for an encoder that adds to it by itself; what it made of it comes back
    /// by [`put_references`](Self::put_references).
    pub fn take_references(&mut self) -> ReferenceList {
        let left = ReferenceList::new(self.references.pool(), 0);
        std::mem::replace(&mut self.references, left)
    }

    /// Puts back what [`take_references`](Self::take_references) has taken out, and what was added to it.
    pub fn put_references(&mut self, references: ReferenceList) {
        self.references = references;
    }

    /// The ledger behind it.
    #[must_use]
    pub fn ledger(&self) -> &std::sync::Arc<Ledger> {
        self.reservation.ledger()
    }

    /// All that the value is charged: what was taken and what is left.
    pub(crate) fn charged_bytes(&self) -> u64 {
        self.taken.saturating_add(self.reservation.bytes())
    }

    pub(crate) fn finish(self) -> (Reservation, Vec<AnyRef>) {
        (self.reservation, self.references.into_list())
    }
}

/// A buffer of `len` bytes at `align`, copied from `bytes` and paid from `room`.
///
/// # Errors
/// What `room` says, or [`Allocation`](crate::Error::Allocation).
pub fn copy_into(room: &mut Room, bytes: &[u8], align: usize) -> Result<Buffer> {
    let reservation = room.take(Buffer::allocation_bytes(bytes.len(), align)?)?;
    Buffer::copy_of(bytes, align, reservation)
}
