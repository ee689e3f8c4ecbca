//! `DRef`: what a user holds of a value. A value lives as long as one of its references does.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::counted::Reference;
use crate::entry::{Entry, EntryRef};
use crate::error::{Error, Result, StoreError, StoreErrorKind};
use crate::id::Id;
use crate::names::Untyped;

/// A counted reference to a value of type `T` in a pool.
///
/// *Size*: one pointer. *Clone*: one atomic addition. *Drop*: the last one ends the value: its bytes are back in
/// the ledgers when the drop returns, and what needs I/O or runs code of the user's is left to the pool's reclaimer.
/// A drop takes no lock that is held across I/O. *Equality and hash*: by which value it means, wherever that is, so it
/// may be the key of a map.
pub struct DRef<T> {
    any: AnyRef,
    value: PhantomData<fn() -> T>,
}

impl<T> DRef<T> {
    pub(crate) fn new(any: AnyRef) -> Self {
        Self { any, value: PhantomData }
    }

    /// The name of the value.
    #[must_use]
    pub fn id(&self) -> Id {
        self.any.id()
    }

    /// The same reference, its type not said.
    #[must_use]
    pub fn untyped(&self) -> Untyped {
        Untyped::new(self.any.clone())
    }

    pub(crate) fn pool_id(&self) -> u64 {
        self.any.shared().id
    }

    pub(crate) fn as_any(&self) -> &AnyRef {
        &self.any
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.any
    }
}

impl<T> Clone for DRef<T> {
    fn clone(&self) -> Self {
        Self::new(self.any.clone())
    }
}

impl<T> PartialEq for DRef<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.any.as_ptr(), other.any.as_ptr())
    }
}

impl<T> Eq for DRef<T> {}

impl<T> std::hash::Hash for DRef<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.any.as_ptr().hash(state);
    }
}

impl<T> fmt::Debug for DRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DRef<{}>({})", std::any::type_name::<T>(), self.id())
    }
}

/// A counted reference to a value of any type.
#[derive(Clone)]
pub(crate) struct AnyRef(Reference<Entry>);

impl AnyRef {
    /// The first reference to a new entry.
    pub(crate) fn first(entry: &EntryRef) -> Self {
        Self(entry.first_reference())
    }

    /// One more reference to an entry that has some; `None` when the last one is gone.
    pub(crate) fn again(entry: &EntryRef) -> Option<Self> {
        entry.another_reference().map(Self)
    }

    /// A holder of the entry, which is no reference to its value.
    pub(crate) fn holder(&self) -> EntryRef {
        self.0.holder()
    }

    /// Names the value.
    pub(crate) fn as_ptr(&self) -> *const Entry {
        self.0.as_ptr()
    }

    pub(crate) fn typed<T: 'static>(&self) -> Option<DRef<T>> {
        let same = self.registration().value_type() == TypeId::of::<T>();
        same.then(|| DRef::new(self.clone()))
    }
}

impl Deref for AnyRef {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

impl fmt::Debug for AnyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyRef({})", self.id())
    }
}

/// The references that a value holds; shared by its entry and its frame.
pub(crate) type References = Option<Arc<Vec<AnyRef>>>;

pub(crate) fn references(list: Vec<AnyRef>) -> References {
    (!list.is_empty()).then(|| Arc::new(list))
}

/// The references of `held`, then those that a sink has `found`: the order in which their indices were given.
pub(crate) fn joined(held: &References, found: Vec<AnyRef>) -> References {
    match held {
        Some(held) if !found.is_empty() => references(held.iter().cloned().chain(found).collect()),
        Some(held) => Some(Arc::clone(held)),
        None => references(found),
    }
}

/// The references of a value on their way in or out, for an encoder that reaches its codec by a thread's own storage
/// and so cannot borrow a [`Sink`](crate::Sink), a [`Room`](crate::Room) or a [`Source`](crate::Source).
///
/// *Shape*: one counted reference for each index, behind those that the value has already. *Clone*: one count for each.
#[derive(Clone, Debug, Default)]
pub struct ReferenceList {
    pool: u64,
    /// How many the value has already; their indices come first.
    before: usize,
    list: Vec<AnyRef>,
}

impl ReferenceList {
    pub(crate) fn new(pool: u64, before: usize) -> Self {
        Self { pool, before, list: Vec::new() }
    }

    pub(crate) fn of(list: &[AnyRef]) -> Self {
        Self { pool: 0, before: 0, list: list.to_vec() }
    }

    pub(crate) fn pool(&self) -> u64 {
        self.pool
    }

    pub(crate) fn before(&self) -> usize {
        self.before
    }

    pub(crate) fn into_list(self) -> Vec<AnyRef> {
        self.list
    }

    /// How many indices are given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.saturating_add(self.list.len())
    }

    /// Whether no index is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a reference; answers its index.
    ///
    /// # Errors
    /// [`Error::WrongPool`] for a reference of another pool.
    pub fn push<T>(&mut self, reference: &DRef<T>) -> Result<u32> {
        if reference.pool_id() != self.pool {
            return Err(Error::WrongPool { id: reference.id() });
        }
        let index = u32::try_from(self.len())
            .map_err(|_| StoreError::new(StoreErrorKind::Codec, "more than 2^32 references"))?;
        self.list.push(reference.as_any().clone());
        Ok(index)
    }

    /// The reference of that index and type.
    ///
    /// # Errors
    /// [`Error::NoReference`] when there is none, or it was there before this list.
    pub fn get<T: 'static>(&self, index: u32) -> Result<DRef<T>> {
        match (index as usize).checked_sub(self.before).and_then(|at| u32::try_from(at).ok()) {
            Some(at) => reference_at(&self.list, at),
            None => reference_at(&[], index),
        }
    }
}

/// The reference of that index and type.
pub(crate) fn reference_at<T: 'static>(references: &[AnyRef], index: u32) -> Result<DRef<T>> {
    let found = references.get(index as usize);
    if let Some(any) = found
        && let Some(adopted) = any.registration().adopted()
        && !adopted.is_claimed()
    {
        any.shared().find_type(adopted, TypeId::of::<T>());
        if !adopted.is_claimed() {
            let (id, stored) = (any.id(), any.registration().name());
            return Err(Error::NotRegistered { id, stored, asked: std::any::type_name::<T>() });
        }
    }
    found.and_then(AnyRef::typed).ok_or_else(|| Error::NoReference {
        index,
        references: references.len(),
        asked: std::any::type_name::<T>(),
    })
}
