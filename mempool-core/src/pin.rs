//! What `get` hands out: a view, held in place until the guard is dropped.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::claim::FrameClaim;
use crate::codec::Codec;
use crate::dref::{AnyRef, DRef, reference_at};
use crate::entry::{Entry, Pin};
use crate::error::{Error, Result};
use crate::fork::Maker;
use crate::registration::Holder;
use crate::sync;

/// A value that is held readable; dereferences to its view. While it lives the value is not evicted.
///
/// Borrows the [`DRef`], so that it costs no count of its own; [`PinnedOwned`] is for tasks and threads.
pub struct Pinned<'a, C: Codec<T>, T: Send + Sync + 'static> {
    pin: Pin<&'a Entry, C::View>,
}

/// A value that is held readable, with a reference of its own: `'static`, and `Send` where the view is `Sync`.
pub struct PinnedOwned<C: Codec<T>, T: Send + Sync + 'static> {
    pin: Pin<AnyRef, C::View>,
}

/// A value that was read from a [`FileRef`](crate::FileRef): the guard owns it.
pub struct Loaded<C: Codec<T>, T: Send + Sync + 'static> {
    /// `None` only on the way out.
    holder: Option<Box<Holder<C, T>>>,
    claim: Option<Arc<FrameClaim>>,
    maker: Maker,
}

/// What can turn an index in a value's bytes into the reference that the value holds: each guard.
pub trait Resolve {
    /// The reference that the value's bytes hold as `index`.
    ///
    /// # Errors
    /// [`NoReference`](crate::Error::NoReference) when the value holds none of that index and type.
    fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>>;
}

impl<C: Codec<T>, T: Send + Sync + 'static> Resolve for Pinned<'_, C, T> {
    fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        Self::reference(self, index)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Resolve for PinnedOwned<C, T> {
    fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        Self::reference(self, index)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Resolve for Loaded<C, T> {
    fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        Self::reference(self, index)
    }
}

impl<'a, C: Codec<T>, T: Send + Sync + 'static> Pinned<'a, C, T> {
    pub(crate) fn new(pin: Pin<&'a Entry, C::View>) -> Self {
        Self { pin }
    }

    /// The reference that the value's bytes hold as `index`.
    ///
    /// # Errors
    /// [`NoReference`](crate::Error::NoReference) when the value holds none of that index and type,
    /// [`Forked`](crate::Error::Forked) in a forked child.
    pub fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        reference_of(self.pin.entry(), index)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> PinnedOwned<C, T> {
    pub(crate) fn new(pin: Pin<AnyRef, C::View>) -> Self {
        Self { pin }
    }

    /// The reference that the value's bytes hold as `index`.
    ///
    /// # Errors
    /// [`NoReference`](crate::Error::NoReference) when the value holds none of that index and type,
    /// [`Forked`](crate::Error::Forked) in a forked child.
    pub fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        reference_of(self.pin.entry(), index)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Loaded<C, T> {
    pub(crate) fn new(holder: Box<Holder<C, T>>, claim: Option<Arc<FrameClaim>>) -> Self {
        Self { holder: Some(holder), claim, maker: Maker::here() }
    }

    /// The reference that the value's bytes hold as `index`.
    ///
    /// # Errors
    /// [`NoReference`](crate::Error::NoReference) when the value holds none of that index and type,
    /// [`Forked`](crate::Error::Forked) in a forked child.
    pub fn reference<U: 'static>(&self, index: u32) -> Result<DRef<U>> {
        if !self.maker.is_here() {
            return Err(Error::Forked);
        }
        let references = self.claim.as_ref().and_then(|claim| claim.references.as_deref());
        reference_at(references.map_or(&[][..], Vec::as_slice), index)
    }
}

fn reference_of<U: 'static>(entry: &Entry, index: u32) -> Result<DRef<U>> {
    entry.shared().check_process()?;
    let references = sync::lock(&entry.cold).references();
    reference_at(references.as_deref().map_or(&[][..], Vec::as_slice), index)
}

impl<C: Codec<T>, T: Send + Sync + 'static> Deref for Pinned<'_, C, T> {
    type Target = C::View;

    fn deref(&self) -> &C::View {
        self.pin.view()
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Deref for PinnedOwned<C, T> {
    type Target = C::View;

    fn deref(&self) -> &C::View {
        self.pin.view()
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Deref for Loaded<C, T> {
    type Target = C::View;

    fn deref(&self) -> &C::View {
        self.holder.as_ref().expect("a guard has its value until it is dropped").view()
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> Drop for Loaded<C, T> {
    fn drop(&mut self) {
        // In a forked child the value's drop may run code of the user's that the parent will run.
        if !self.maker.is_here() {
            std::mem::forget(self.holder.take());
        }
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> fmt::Debug for Pinned<'_, C, T>
where
    C::View: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> fmt::Debug for PinnedOwned<C, T>
where
    C::View: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<C: Codec<T>, T: Send + Sync + 'static> fmt::Debug for Loaded<C, T>
where
    C::View: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
