//! `Counted` and `Reference`: pointers that are counted in what they point to. As `Arc`s, with two counts of four bytes
//! where those would have three of eight: it matters where there are millions of values.
//!
//! ```text
//! index ────────────┐
//! touched queue ────┼──▶ entry: holders 3
//! all references ───┘           references 2
//!    ▲      ▲
//!    a      b                   the last of them tells the entry, then lets go of their holder
//! ```

#![expect(unsafe_code, reason = "counts inside of what is counted")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// What can be pointed to. Both counts start at 1 and 0, and nobody but this file changes them.
pub(crate) trait Holders {
    /// How many [`Counted`] there are, and one more while there are [`Reference`]s.
    fn holders(&self) -> &AtomicU32;
    /// How many [`Reference`]s there are.
    fn references(&self) -> &AtomicU32;
    /// The last [`Reference`] is gone; there will be no other one.
    fn last_reference_gone(&self);
}

/// A holder: what it points to stays where it is.
pub(crate) struct Counted<T: Holders>(NonNull<T>);

// SAFETY: it gives out `&T` to whoever holds it and drops the `T` on the thread that lets go last.
unsafe impl<T: Holders + Send + Sync> Send for Counted<T> {}
// SAFETY: as for Send.
unsafe impl<T: Holders + Send + Sync> Sync for Counted<T> {}

impl<T: Holders> Counted<T> {
    /// The first holder of `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// The first reference, which has a holder of its own.
    ///
    /// # Panics
    /// When there was one before.
    pub(crate) fn first_reference(&self) -> Reference<T> {
        // Relaxed: other threads come to it by what this thread hands them.
        let before = self.references().swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "references come from each other");
        Reference(ManuallyDrop::new(self.clone()))
    }

    /// One more reference beside others; `None` when there is none any more, for what was told that the last is gone
    /// stays told so.
    pub(crate) fn another_reference(&self) -> Option<Reference<T>> {
        let mut before = self.references().load(Ordering::Relaxed);
        while before > 0 {
            assert!(before < u32::MAX / 2, "too many references to one value");
            // Relaxed as in a clone: while the count is not zero, the references' holder is alive.
            let step = self.references().compare_exchange_weak(
                before,
                before + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match step {
                Ok(_) => return Some(Reference(ManuallyDrop::new(Counted(self.0)))),
                Err(now) => before = now,
            }
        }
        None
    }

    /// Names it while somebody holds it.
    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T: Holders> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the box is freed by the last holder alone, and `self` is a holder.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Holders> Clone for Counted<T> {
    fn clone(&self) -> Self {
        // Relaxed: the new holder is made from one that already keeps it alive.
        let before = self.holders().fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "too many holders of one value");
        Self(self.0)
    }
}

impl<T: Holders> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        // Release: all that was done by this holder is done before it is freed.
        if self.holders().fetch_sub(1, Ordering::Release) == 1 {
            // Acquire pairs with the Release of the other holders' drops.
            fence(Ordering::Acquire);
            // SAFETY: the count fell to zero, so this is the only pointer to the box that `new` has leaked.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// One of the references that are a holder together.
pub(crate) struct Reference<T: Holders>(ManuallyDrop<Counted<T>>);

impl<T: Holders> Reference<T> {
    /// A holder of what it refers to.
    pub(crate) fn holder(&self) -> Counted<T> {
        Counted::clone(&self.0)
    }

    /// Names what it refers to.
    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T: Holders> Deref for Reference<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Holders> Clone for Reference<T> {
    fn clone(&self) -> Self {
        // Relaxed: the count cannot fall to zero while `self` is counted.
        let before = self.references().fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "too many references to one value");
        Self(ManuallyDrop::new(Counted(self.0.0)))
    }
}

impl<T: Holders> Drop for Reference<T> {
    fn drop(&mut self) {
        // Release: all that was done through this reference is done before the value ends.
        if self.references().fetch_sub(1, Ordering::Release) == 1 {
            // Acquire pairs with the Release of the other references' drops.
            fence(Ordering::Acquire);
            self.last_reference_gone();
            // SAFETY: the references' one holder is let go of by the last of them alone, and none is made from it.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
