//! The names of a pool: each keeps its value alive, and finds it again. One short lock, under which nothing ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use crate::claim::FrameClaim;
use crate::codec::{Codec, Format};
use crate::dref::{AnyRef, DRef, References};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::manifest::Manifest;
use crate::pool::Pool;
use crate::registration::Registration;
use crate::sync::{self, Mutex};
use crate::values::ValueInfo;

/// The table of a pool.
#[derive(Default)]
pub(crate) struct Names(Mutex<Table>);

#[derive(Default)]
struct Table {
    named: BTreeMap<Arc<str>, AnyRef>,
    /// No name is given any more.
    closed: bool,
}

impl Names {
    /// Refuses a name that is too long.
    pub(crate) fn check(name: &str) -> Result<()> {
        let (bytes, limit) = (name.len(), Manifest::NAME_BYTES_MAX);
        if bytes > limit { Err(Error::NameTooLong { bytes, limit }) } else { Ok(()) }
    }

    /// Names a value; what had the name before comes back.
    pub(crate) fn insert(&self, name: &str, value: AnyRef) -> Result<Option<AnyRef>> {
        let name = Arc::from(name);
        let mut table = sync::lock(&self.0);
        if table.closed {
            // The value that was to be named may end here: not under the lock.
            drop(table);
            return Err(Error::Closed);
        }
        Ok(table.named.insert(name, value))
    }

    /// Takes a name away.
    pub(crate) fn remove(&self, name: &str) -> Option<AnyRef> {
        sync::lock(&self.0).named.remove(name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<AnyRef> {
        sync::lock(&self.0).named.get(name).cloned()
    }

    /// All of them in ascending order.
    pub(crate) fn list(&self) -> Vec<(Arc<str>, AnyRef)> {
        let table = sync::lock(&self.0);
        table.named.iter().map(|(name, value)| (Arc::clone(name), value.clone())).collect()
    }

    /// What is known of each: looked at under the lock, for a reference of our own would count.
    fn infos(&self) -> Vec<NameInfo> {
        let table = sync::lock(&self.0);
        table.named.iter().map(|(name, value)| NameInfo::of(name, value)).collect()
    }

    /// Takes every name away, and gives none any more.
    pub(crate) fn close(&self) -> Vec<AnyRef> {
        let mut table = sync::lock(&self.0);
        table.closed = true;
        std::mem::take(&mut table.named).into_values().collect()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// Names a value: it lives as long as it has the name, and [`named`](Self::named) finds it. What had the name before
    /// comes back, and ends if nobody else refers to it.
    ///
    /// A value may have many names. Names are any UTF-8 of at most [`Manifest::NAME_BYTES_MAX`] bytes, and belong to the
    /// pool: its fronts share them. A value that is named does not go with its last reference, but
    /// [`delete`](Self::delete) ends it, and a discardable one may be dropped for room; then its name answers as a
    /// reference to it does.
    ///
    /// ```
    /// # use mempool_core::{Blob, PoolOptions};
    /// let pool = PoolOptions::new().open(Blob);
    /// let orders = pool.set(vec![1; 1000])?;
    /// pool.set_name("orders/2024", &orders)?;
    /// drop(orders);
    /// let orders = pool.named::<Vec<u8>>("orders/2024")?;
    /// assert_eq!(pool.get(&orders)?.len(), 1000);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::Deleted`], [`Error::Discarded`], [`Error::Closed`], [`Error::WrongPool`],
    /// [`Error::Forked`]; the name is then as it was.
    pub fn set_name<T>(&self, name: &str, reference: &DRef<T>) -> Result<Option<Untyped>> {
        let entry = self.own(reference)?;
        Names::check(name)?;
        if let Some(error) = self.shared().refusal(entry) {
            return Err(error);
        }
        let before = self.shared().names.insert(name, reference.as_any().clone())?;
        Ok(before.map(Untyped::new))
    }

    /// The value of that name.
    ///
    /// Codec and type are compared before anything is read: for a value that was restored, by the format that its frame
    /// has. The first call with a format that fits decides how the restored values of it are read.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::WrongCodec`] naming what is stored and what was asked for, [`Error::Closed`],
    /// [`Error::Forked`]. A value that was deleted under its name answers so when it is got.
    pub fn named<T>(&self, name: &str) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.shared().check_open()?;
        let found = self.shared().names.find(name);
        let found = found.ok_or_else(|| Error::NoName { name: name.to_owned() })?;
        self.typed_any(found)
    }

    /// The reference, when the value is of type `T` and kept by this front's codec; as [`named`](Self::named), for a value
    /// that was restored or is another pool's.
    ///
    /// # Errors
    /// [`Error::WrongCodec`] naming what is stored and what was asked for, [`Error::WrongPool`], [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn typed<T>(&self, untyped: &Untyped) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.shared().check_open()?;
        match Arc::ptr_eq(untyped.0.shared(), self.shared()) {
            true => self.typed_any(untyped.0.clone()),
            false => Err(Error::WrongPool { id: untyped.id() }),
        }
    }

    fn typed_any<T>(&self, found: AnyRef) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let registration = self.registration::<T>();
        if let Some(adopted) = found.registration().adopted() {
            adopted.claim(&registration);
        }
        match found.registration().key() == registration.key() {
            true => Ok(DRef::new(found)),
            false => {
                let asked = format!("{} ({})", registration.name(), registration.format());
                Err(Error::WrongCodec { stored: found.registration().name(), asked })
            }
        }
    }

    /// Takes a name away, and gives back the reference that it was.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::Closed`], [`Error::Forked`].
    pub fn unname(&self, name: &str) -> Result<Untyped> {
        self.shared().check_open()?;
        let removed = self.shared().names.remove(name);
        removed.map(Untyped::new).ok_or_else(|| Error::NoName { name: name.to_owned() })
    }

    /// The names in ascending order, each with what is known of its value. Touches nothing; empty in a forked child and
    /// in a closed pool.
    #[must_use]
    pub fn names(&self) -> Vec<NameInfo> {
        if self.check_process().is_err() {
            return Vec::new();
        }
        self.shared().names.infos()
    }

    /// Tells the pool that `T` is kept by this front's codec, so that references to such values are found inside of
    /// others that were restored. [`set`](Self::set) and [`named`](Self::named) of a `T` tell it as well.
    pub fn register<T>(&self)
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        if self.check_process().is_ok() {
            self.registration::<T>();
        }
    }

    /// Has every value that has a name now, and all that those refer to, outlive this pool and its process:
    /// [`PoolOptions::restore`](crate::PoolOptions::restore) brings them back. What was retained before is replaced.
    ///
    /// Writes what is not on disk, makes it durable, and then puts the new manifest in the place of the one before, with
    /// one step: a process that is killed at any moment, or a power cut, leaves the state before or the new one, whole.
    /// The pool works on, other threads with it; what they name meanwhile may be in it or not. A name whose value was
    /// deleted or discarded is left out. Restored values have no destructor and are not discardable.
    ///
    /// # Errors
    /// What the store and the codec say; [`StoreErrorKind::Unsupported`](crate::StoreErrorKind::Unsupported) from a store
    /// that ends with its process; [`Error::Elsewhere`] when a value that has a name, or one that such a value refers to, is
    /// another pool's. Nothing is lost then: the pool is as it was, and so is what was retained before, unless
    /// the directory alone could not be made durable, when it may be either.
    pub fn retain(&self) -> Result<()> {
        self.shared().retain()
    }

    /// [`retain`](Self::retain)s, then closes the pool. Values without a name end as in any [`close`](Self::close).
    ///
    /// # Errors
    /// As [`retain`](Self::retain), when the pool stays open and usable; and as [`close`](Self::close).
    pub fn close_retaining(&self) -> Result<()> {
        self.shared().retain()?;
        self.close()
    }

    /// Gives up what was retained, by this pool or by the one that it was restored from. The values that are in the pool
    /// stay there, until it is closed.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], and what the store says; it is then still retained.
    pub fn forget_retained(&self) -> Result<()> {
        self.shared().check_open()?;
        let _turn = sync::lock(&self.shared().retaining);
        Ok(self.shared().back.store.forget()?)
    }

    pub(crate) fn take_over(&self) -> Result<()> {
        self.shared().take_over()
    }
}

/// A value that has a name, at one instant; see [`Pool::names`](crate::Pool::names).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameInfo {
    /// The name.
    pub name: String,
    /// Its value, as [`DRef::id`] says it.
    pub id: Id,
    /// Its type, for people.
    pub value_type: String,
    /// Codec, type and layout of its frame.
    pub format: Format,
    /// Where it is and what it takes; `None` for a value that was deleted or discarded under its name.
    pub value: Option<ValueInfo>,
}

impl NameInfo {
    fn of(name: &str, value: &AnyRef) -> Self {
        let registration = &**value.registration();
        Self {
            name: name.to_owned(),
            id: value.id(),
            value_type: type_name_of(registration).to_owned(),
            format: registration.format(),
            value: ValueInfo::of(value).filter(|info| !info.deleted),
        }
    }
}

/// The value type of a registration for people, also of one that was only restored.
pub(crate) fn type_name_of(registration: &dyn Registration) -> &str {
    match registration.adopted() {
        Some(adopted) => adopted.type_name(),
        None => registration.value_type_name(),
    }
}

/// What a pool knows of a value whose type need not be known; see [`Untyped::info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UntypedInfo {
    /// The value, as [`DRef::id`] says it.
    pub id: Id,
    /// Its type, for people.
    pub value_type: String,
    /// Codec, type and layout of its frame.
    pub format: Format,
    /// How many references it holds, see [`Untyped::references`].
    pub references_held: usize,
    /// Where it is and what it takes; `None` for a value that was deleted or discarded, and in a forked child.
    pub value: Option<ValueInfo>,
}

/// A counted reference to a value whose type is not said: what a name gives back that is taken away, and what keeps a
/// value alive for others.
///
/// *Size*, *clone* and *drop* are those of a [`DRef`].
#[derive(Clone, Debug)]
pub struct Untyped(AnyRef);

impl Untyped {
    pub(crate) fn new(any: AnyRef) -> Self {
        Self(any)
    }

    /// The value.
    #[must_use]
    pub fn id(&self) -> Id {
        self.0.id()
    }

    /// What is known of the value, at one instant. Touches nothing.
    #[must_use]
    pub fn info(&self) -> UntypedInfo {
        let registration = &**self.0.registration();
        UntypedInfo {
            id: self.id(),
            value_type: type_name_of(registration).to_owned(),
            format: registration.format(),
            references_held: self.held().map_or(0, |held| held.len()),
            value: self.value(),
        }
    }

    /// The references that the value holds, in the order of their indices; of a value that was never written, those that
    /// its codec handed over when it was set. Empty in a forked child.
    #[must_use]
    pub fn references(&self) -> Vec<Self> {
        self.held().as_deref().map_or(&[][..], Vec::as_slice).iter().cloned().map(Self).collect()
    }

    /// As [`Export::share`](crate::Export::share), without an export: nothing of the value is mapped or read here. `None` also
    /// where the value is gone, or its frame does not name it as this pool does, because it was restored.
    #[must_use]
    pub fn share(&self) -> Option<(File, u64, u64)> {
        self.0.shared().check_open().ok()?;
        if self.0.shared().refusal(&self.0).is_some() {
            return None;
        }
        // Keeps the frame where it is.
        let claim = FrameClaim::on(&self.0)?;
        let handle = claim.handle.filter(|_| claim.origin.is_none())?;
        claim.back.store.share(&handle)
    }

    fn held(&self) -> References {
        // A forked child takes no lock of its parent's.
        self.0.shared().check_process().ok()?;
        sync::lock(&self.0.cold).references()
    }

    fn value(&self) -> Option<ValueInfo> {
        self.0.shared().check_process().ok()?;
        ValueInfo::of(&self.0).filter(|info| !info.deleted)
    }

    pub(crate) fn as_any(&self) -> &AnyRef {
        &self.0
    }

    pub(crate) fn into_any(self) -> AnyRef {
        self.0
    }

    /// The same reference, when the value is of type `T`; [`Pool::typed`] asks a codec as well.
    ///
    /// # Errors
    /// [`Error::NoReference`] when it is of another type; [`Error::NotRegistered`] when it was restored, or is another
    /// pool's, and the pool was not told of its type.
    pub fn typed<T: 'static>(&self) -> Result<DRef<T>> {
        crate::dref::reference_at(std::slice::from_ref(&self.0), 0)
    }
}
