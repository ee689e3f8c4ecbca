//! `Reference`: how a `DRef` stands in an archive, as an index into the references that the pool keeps with the value.
//!
//! Nothing here keeps the other value alive: that is done by the entry or the frame of the value that is archived.

use std::fmt;
use std::marker::PhantomData;

use mempool_core::{DRef, Resolve, Result};
use rkyv::bytecheck::CheckBytes;
use rkyv::primitive::ArchivedU32;
use rkyv::rancor::{BoxedError, Fallible, Strategy};
use rkyv::ser::Serializer;
use rkyv::with::{ArchiveWith, SerializeWith};
use rkyv::{Place, Portable};

use crate::rkyv::Out;

/// Archives a field of type [`DRef`]: `#[rkyv(with = Reference)]`, and inside rkyv's `Map` for a vector or an option.
///
/// *Archived*: an [`ArchivedReference`], four bytes. The pool owns the reference as long as the value lives, wherever
/// the value is; a value that holds one cannot be saved to a file.
///
/// ```
/// use mempool_codec::{Reference, Rkyv};
/// use mempool_core::{DRef, PoolOptions};
///
/// #[derive(rkyv::Archive, rkyv::Serialize)]
/// struct Page {
///     text: String,
///     #[rkyv(with = Reference)]
///     next: DRef<String>,
///     #[rkyv(with = rkyv::with::Map<Reference>)]
///     links: Vec<DRef<String>>,
/// }
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Rkyv::new());
/// let next = pool.set("the next page".to_owned())?;
/// let page = pool.set(Page { text: "one".into(), links: vec![next.clone()], next })?;
/// let view = pool.get(&page)?;
/// assert_eq!(*pool.get(&view.next.resolve(&view)?)?, "the next page");
/// assert_eq!(*pool.get(&view.links[0].resolve(&view)?)?, "the next page");
/// # Ok::<(), mempool_core::Error>(())
/// ```
///
/// Only a pool can write one: elsewhere nothing would keep the other value alive.
///
/// ```compile_fail
/// # use mempool_codec::Reference;
/// # use mempool_core::DRef;
/// #[derive(rkyv::Archive, rkyv::Serialize)]
/// struct Page {
///     #[rkyv(with = Reference)]
///     next: DRef<String>,
/// }
///
/// fn bytes(page: &Page) {
///     let _ = rkyv::to_bytes::<rkyv::rancor::Error>(page);
/// }
/// ```
#[derive(Debug)]
pub struct Reference;

/// An index into the references of the value that it stands in, with the type of what it refers to.
///
/// *Shape*: four bytes, little-endian. Every index is valid as bytes; whether there is such a reference is said by
/// [`resolve`](Self::resolve).
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[rkyv(crate = rkyv)]
#[repr(transparent)]
pub struct ArchivedReference<U> {
    index: ArchivedU32,
    value: PhantomData<fn() -> U>,
}

impl<U: 'static> ArchivedReference<U> {
    /// The reference, counted once more. `guard` is what `get` has answered for the value that this stands in.
    ///
    /// # Errors
    /// [`NoReference`](mempool_core::Error::NoReference) when that value holds none of this index and type.
    pub fn resolve(&self, guard: &impl Resolve) -> Result<DRef<U>> {
        guard.reference(self.index())
    }
}

impl<U> ArchivedReference<U> {
    /// The index.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index.to_native()
    }
}

impl<U> fmt::Debug for ArchivedReference<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchivedReference<{}>({})", std::any::type_name::<U>(), self.index())
    }
}

/// A serializer that hands references over to a pool: the one that [`Rkyv`](crate::Rkyv) uses.
pub trait ReferenceSink: Fallible {
    /// Hands `reference` over; answers its index.
    ///
    /// # Errors
    /// For a reference of another pool.
    fn reference<U>(&mut self, reference: &DRef<U>) -> Result<u32, Self::Error>;
}

impl<A, S> ReferenceSink for Strategy<Serializer<Out<'_>, A, S>, BoxedError> {
    fn reference<U>(&mut self, reference: &DRef<U>) -> Result<u32, BoxedError> {
        self.writer.reference(reference)
    }
}

impl<U> ArchiveWith<DRef<U>> for Reference {
    type Archived = ArchivedReference<U>;
    type Resolver = u32;

    fn resolve_with(_: &DRef<U>, index: u32, out: Place<ArchivedReference<U>>) {
        let index = ArchivedU32::from_native(index);
        out.write(ArchivedReference { index, value: PhantomData });
    }
}

impl<U, S: ReferenceSink + ?Sized> SerializeWith<DRef<U>, S> for Reference {
    fn serialize_with(reference: &DRef<U>, serializer: &mut S) -> Result<u32, S::Error> {
        serializer.reference(reference)
    }
}
