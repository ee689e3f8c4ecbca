//! `Entry`: the slot of one value in its pool, and the one place where a value is read without a lock.

#![expect(unsafe_code, reason = "a value is read under its pin without a lock")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use crate::claim::Kept;
use crate::counted::{Counted, Holders};
use crate::dref::References;
use crate::error::{Error, PinSite, Result};
use crate::export::Sealed;
use crate::id::Id;
use crate::registration::Registration;
use crate::shared::Shared;
use crate::sites::Site;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::word::{Pinning, Word};
use crate::young::Noted;

/// A resident of any codec and type, with what it is charged beside its buffers.
pub(crate) trait Held: Any + Send + Sync {
    /// Codec and type, for people.
    fn name(&self) -> String;
    /// Whether somebody outside the pool holds an allocation of it.
    fn held_outside(&self) -> bool;
    /// Whether dropping it runs code of the user's.
    fn drops_user_code(&self) -> bool;
    /// Pays back what it is charged beside its buffers.
    fn pay_back(&mut self);
    /// Whether it looks at a map and is charged nothing.
    fn is_view(&self) -> bool;
}

/// One value of a pool: 104 bytes, whatever it is.
///
/// ```text
///   0 ┌──────────────────────────┐ what a `get` touches
///     │ word, stamp, value, site │
///  40 ├──────────────────────────┤
///     │ home, charged bytes      │ what a slow path or an eviction looks at
///  56 ├──────────────────────────┤
///     │ slot, counts, flags      │
///  72 ├──────────────────────────┤
///     │ cold: lock, frame, rare  │ what most values never have stands in a box of its own
/// 104 └──────────────────────────┘
/// ```
///
/// Nothing that a `get` touches is written by the get of another entry.
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) word: Word,
    pub(crate) stamp: AtomicU64,
    value: UnsafeCell<Option<Box<dyn Held>>>,
    site: AtomicPtr<Location<'static>>,
    home: Arc<Home>,
    pub(crate) charged_bytes: AtomicU64,
    pub(crate) slot: u32,
    pub(crate) references_alive: AtomicU32,
    holders: AtomicU32,
    pub(crate) noted: Noted,
    pub(crate) discardable: bool,
    /// Whether the pool keeps where each living pin was taken.
    tracked: bool,
    pub(crate) cold: Mutex<Cold>,
}

/// A counted pointer to an entry.
pub(crate) type EntryRef = Counted<Entry>;

impl Holders for Entry {
    fn holders(&self) -> &AtomicU32 {
        &self.holders
    }

    fn references(&self) -> &AtomicU32 {
        &self.references_alive
    }

    fn last_reference_gone(&self) {
        self.home.shared.last_reference_gone(self);
    }
}

/// What all entries of one codec and type have in common.
pub(crate) struct Home {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registration: Arc<dyn Registration>,
}

/// What a new entry starts with.
pub(crate) struct Contents {
    pub(crate) value: Option<Box<dyn Held>>,
    pub(crate) charged_bytes: u64,
    pub(crate) discardable: bool,
    pub(crate) cold: Cold,
}

/// What only the slow paths of an entry look at.
#[derive(Default)]
pub(crate) struct Cold {
    /// The frame on disk, if there is one.
    pub(crate) kept: Kept,
    rare: Option<Box<Rare>>,
}

/// What most values never have.
#[derive(Default)]
pub(crate) struct Rare {
    /// The references that the value holds.
    references: References,
    /// The user's callback for the end of the value.
    destructor: Option<Destructor>,
    /// What the value is charged by itself, where a copy of its frame is charged now.
    value_bytes: Option<u64>,
    /// The header of its frame, where it was exported before it was written.
    sealed: Option<Arc<Sealed>>,
}

impl Cold {
    pub(crate) fn new(kept: Kept, references: References, destructor: Option<Destructor>) -> Self {
        let needed = references.is_some() || destructor.is_some();
        let rare = Rare { references, destructor, ..Rare::default() };
        let rare = needed.then(|| Box::new(rare));
        Self { kept, rare }
    }

    /// The references that the value holds.
    pub(crate) fn references(&self) -> References {
        self.rare.as_ref().and_then(|rare| rare.references.clone())
    }

    /// Gives the value these references; those that it had.
    pub(crate) fn replace_references(&mut self, references: References) -> References {
        match (&mut self.rare, references) {
            (None, None) => None,
            (rare, references) => {
                std::mem::replace(&mut rare.get_or_insert_default().references, references)
            }
        }
    }

    /// Takes out all references that the value holds, those among them that an export has found.
    pub(crate) fn take_references(&mut self) -> [References; 2] {
        let Some(rare) = &mut self.rare else { return [None, None] };
        [rare.references.take(), rare.sealed.take().and_then(|sealed| sealed.references())]
    }

    /// Takes the user's callback out.
    pub(crate) fn take_destructor(&mut self) -> Option<Destructor> {
        self.rare.as_mut().and_then(|rare| rare.destructor.take())
    }

    /// Has the user called back at the end of the value.
    pub(crate) fn set_destructor(&mut self, destructor: Option<Destructor>) {
        if destructor.is_some() {
            self.rare.get_or_insert_default().destructor = destructor;
        }
    }

    /// What the value is charged by itself, where that is not what its entry is charged.
    pub(crate) fn value_bytes(&self) -> Option<u64> {
        self.rare.as_ref().and_then(|rare| rare.value_bytes)
    }

    /// The header of its frame, where it was exported before it was written.
    pub(crate) fn sealed(&self) -> Option<Arc<Sealed>> {
        self.rare.as_ref().and_then(|rare| rare.sealed.clone())
    }

    /// Takes out the header of its frame: the value is another one in memory now, and may be written otherwise.
    pub(crate) fn take_sealed(&mut self) -> Option<Arc<Sealed>> {
        self.rare.as_mut().and_then(|rare| rare.sealed.take())
    }

    /// Keeps the header of its frame, unless there is one.
    pub(crate) fn note_sealed(&mut self, sealed: &Arc<Sealed>) {
        self.rare.get_or_insert_default().sealed.get_or_insert_with(|| Arc::clone(sealed));
    }

    /// Notes what the value is charged by itself, unless that was noted before.
    pub(crate) fn note_value_bytes(&mut self, bytes: u64) {
        self.rare.get_or_insert_default().value_bytes.get_or_insert(bytes);
    }
}

/// A callback that runs once, when a value is gone for good.
pub(crate) type Destructor = Box<dyn FnOnce() + Send>;

// SAFETY: all fields but `value` are Send and Sync by themselves. `value` is Send and Sync as a type; it is
// written by the thread that holds an exclusive step of `word` (Loading, Releasing, Deleted) and read by threads
// that hold a pin or the step Spilling, which the word's protocol keeps apart (word.rs).
unsafe impl Sync for Entry {}
// SAFETY: as for Sync; nothing in it belongs to a thread.
unsafe impl Send for Entry {}

impl Entry {
    /// Has the processor bring it into its cache, without waiting: whoever needs many entries, which lie anywhere, then waits
    /// for all of them at once.
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        for at in [0, 64, size_of::<Self>() - 1] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = std::ptr::from_ref(self).cast::<i8>().wrapping_add(at);
            // SAFETY: a hint that reads nothing and faults on no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
    }

    pub(crate) fn new(home: Arc<Home>, slot: u32, word: Word, contents: Contents) -> Self {
        let tracked = home.shared.pin_sites.is_some();
        Self {
            word,
            stamp: AtomicU64::new(0),
            value: UnsafeCell::new(contents.value),
            site: AtomicPtr::new(std::ptr::null_mut()),
            home,
            charged_bytes: AtomicU64::new(contents.charged_bytes),
            slot,
            references_alive: AtomicU32::new(0),
            holders: AtomicU32::new(1),
            noted: Noted::new(),
            discardable: contents.discardable,
            tracked,
            cold: Mutex::new(contents.cold),
        }
    }

    pub(crate) fn id(&self) -> Id {
        Id { slot: self.slot, generation: self.word.load().generation() }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.home.shared
    }

    #[inline]
    pub(crate) fn registration(&self) -> &Arc<dyn Registration> {
        &self.home.registration
    }

    /// Where the latest pin was taken.
    pub(crate) fn site(&self) -> Option<Site> {
        let site = self.site.load(Ordering::Relaxed);
        // SAFETY: the pointer is null or was made from a `&'static Location` in `note_site`.
        unsafe { site.as_ref() }
    }

    /// Notes where a pin was taken; answers the site if the pin has to be taken off the list again.
    #[inline]
    fn note_site(&self, site: Site) -> Option<Site> {
        self.site.store(std::ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
        if self.tracked { self.add_site(site) } else { None }
    }

    /// Puts a pin on the list.
    #[cold]
    fn add_site(&self, site: Site) -> Option<Site> {
        let sites = self.shared().pin_sites.as_ref()?;
        sites.add(self.key(), site);
        Some(site)
    }

    /// Names the entry while it lives.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Takes a pin off the list.
    #[cold]
    fn forget_site(&self, site: Site) {
        let ours = self.shared().maker.is_here();
        if let Some(sites) = self.shared().pin_sites.as_ref().filter(|_| ours) {
            sites.remove(self.key(), site);
        }
    }

    /// Where the living pins were taken; empty unless the pool keeps that.
    pub(crate) fn sites(&self) -> Vec<PinSite> {
        self.shared().pin_sites.as_ref().map_or_else(Vec::new, |sites| sites.list(self.key()))
    }

    /// The value, for the thread that writes it: the word is `Spilling`, or `Releasing`, by that thread's step.
    pub(crate) fn value_of_worker(&self) -> &dyn Held {
        debug_assert!(self.word.load().busy(), "only the thread that works on an entry calls this");
        // SAFETY: the caller made the step to a busy state. From there the value is taken out by the same thread
        // alone (`take`), which cannot happen while this borrow of `self` is used by it.
        let value = unsafe { &*self.value.get() };
        value.as_deref().expect("a spilling entry has its value")
    }

    /// Gives a pin back that the calling thread holds and has no guard for.
    pub(crate) fn unpin(&self) {
        drop(Unpin(self));
    }

    /// Takes the value out: the word is `Releasing` or `Deleted`, by the calling thread's step.
    pub(crate) fn take(&self) -> Option<Box<dyn Held>> {
        // SAFETY: the step to Releasing or Deleted found no pins and is made by one thread; until the next step no
        // other thread touches the cell.
        let value = unsafe { &mut *self.value.get() };
        value.take()
    }

    /// Puts a value in: the word is `Loading`, by the calling thread's step.
    pub(crate) fn put(&self, value: Box<dyn Held>) {
        // SAFETY: the step to Loading is made by one thread, and nobody reads the cell before the next step.
        let cell = unsafe { &mut *self.value.get() };
        *cell = Some(value);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.home.shared.maker.is_here() {
            // What is behind it is the parent's to end: the pool with its store, and a value that may run a destructor.
            std::mem::forget(Arc::clone(&self.home));
            std::mem::forget(self.value.get_mut().take());
            // Without its lock: nobody else has a way to an entry that is dropped.
            let cold = self.cold.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(cold));
        }
    }
}

/// Holds an entry's value readable, and a view of it at hand.
///
/// `E` is what keeps the entry alive: a borrow, or a counted reference.
pub(crate) struct Pin<E: Deref<Target = Entry>, V: ?Sized> {
    entry: E,
    view: NonNull<V>,
    /// Where it was taken, if the entry has that on its list.
    listed: Option<Site>,
}

// SAFETY: the view is only read, so handing it to another thread needs `V: Sync`.
unsafe impl<E: Deref<Target = Entry> + Send, V: ?Sized + Sync> Send for Pin<E, V> {}
// SAFETY: as for Send.
unsafe impl<E: Deref<Target = Entry> + Sync, V: ?Sized + Sync> Sync for Pin<E, V> {}

impl<E: Deref<Target = Entry>, V: ?Sized> Pin<E, V> {
    /// Pins `entry` if its value is in memory, and makes the view; gives `entry` back when it is not in memory.
    // A get that calls out of line for its pin costs a third more (`cargo xtask bench core`).
    #[inline(always)]
    pub(crate) fn try_new(
        entry: E,
        site: Site,
        view: impl FnOnce(&dyn Held) -> Result<&V>,
    ) -> Result<Result<Self, E>> {
        match entry.word.pin(|last| entry.shared().after_last_unpin(&entry, last)) {
            Pinning::Pinned => Self::of_pinned(entry, site, view).map(Ok),
            Pinning::NotReadable => Ok(Err(entry)),
            Pinning::TooMany => {
                let (id, pins) = (entry.id(), crate::word::PINS_MAX);
                Err(Error::TooManyPins { id, pins })
            }
        }
    }

    /// Takes over a pin that the calling thread holds already.
    #[inline(always)]
    pub(crate) fn of_pinned(
        entry: E,
        site: Site,
        view: impl FnOnce(&dyn Held) -> Result<&V>,
    ) -> Result<Self> {
        // From here on the pin is given back on every way out.
        let guard = Unpin(&*entry);
        // SAFETY: the pin is held and was taken while the word was readable (or by the loader itself), so the value
        // is there and nobody takes it out before the unpin.
        let value = unsafe { &*guard.0.value.get() };
        let held = value.as_deref().expect("a pinned entry has its value");
        let view = NonNull::from(view(held)?);
        std::mem::forget(guard);
        let listed = entry.note_site(site);
        Ok(Self { entry, view, listed })
    }

    pub(crate) fn entry(&self) -> &E {
        &self.entry
    }

    pub(crate) fn view(&self) -> &V {
        // SAFETY: `view` borrows from the boxed value, which stays where it is until the unpin in `drop`.
        unsafe { self.view.as_ref() }
    }
}

impl<E: Deref<Target = Entry>, V: ?Sized> Drop for Pin<E, V> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(site) = self.listed {
            self.entry.forget_site(site);
        }
        drop(Unpin(&*self.entry));
    }
}

/// Gives a pin back when it is dropped.
struct Unpin<E: Deref<Target = Entry>>(E);

impl<E: Deref<Target = Entry>> Drop for Unpin<E> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(last) = self.0.word.unpin() {
            self.0.shared().after_last_unpin(&self.0, last);
        }
    }
}
