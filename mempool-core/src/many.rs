//! `get_many`: several values held at once, read in the order in which they lie on disk.

use std::panic::Location;

use crate::codec::Codec;
use crate::dref::DRef;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::pin::Pinned;
use crate::pool::Pool;
use crate::store::Handle;
use crate::sync;
use crate::word::State;

impl<C: Send + Sync + 'static> Pool<C> {
    /// Holds all these values readable, as [`get`](Self::get) does with one; the guards are in the order of the references.
    ///
    /// Those on disk are announced to the store first, so that it reads them ahead, and are brought back in the order in which
    /// they lie there. All of them or none: when one cannot be had, the others are let go of again. All share one
    /// patience: the whole call waits for room no longer than one `get` would, so two calls that hold what the other needs
    /// end, too. A reference may be given more than once.
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions};
    ///
    /// let pool = PoolOptions::new().open(Blob);
    /// let parts = [pool.set(vec![1; 10])?, pool.set(vec![2; 10])?];
    /// let held = pool.get_many(&parts)?;
    /// assert_eq!(held[0][0] + held[1][0], 3);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OneOfMany`] with the index of the reference that failed, and why: as [`get`](Self::get).
    #[track_caller]
    pub fn get_many<'a, T, R>(&self, references: R) -> Result<Vec<Pinned<'a, C, T>>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
        R: IntoIterator<Item = &'a DRef<T>>,
    {
        self.check_process()?;
        let references: Vec<&'a DRef<T>> = references.into_iter().collect();
        references.iter().for_each(|reference| reference.entry().prefetch());
        let site = Location::caller();
        let wait = self.patience().begun();
        let mut order: Vec<(Option<Handle>, usize)> = Vec::with_capacity(references.len());
        for (index, reference) in references.iter().enumerate() {
            let entry = self.own(*reference).map_err(|error| one_of_many(index, error))?;
            order.push((place_of(entry), index));
        }
        // What is in memory comes first: it is held before it can be evicted for the others.
        order.sort_by_key(|(handle, _)| handle.map(|handle| (handle.segment, handle.offset)));
        let handles: Vec<Handle> = order.iter().filter_map(|(handle, _)| *handle).collect();
        if !handles.is_empty() {
            self.shared().back.store.advise(&handles);
        }
        let mut held: Vec<Option<Pinned<'a, C, T>>> = references.iter().map(|_| None).collect();
        for (_, index) in order {
            let pinned = self.hold(references[index], site, wait);
            if mutant!("one_of_many_left_out") && pinned.is_err() {
                continue;
            }
            held[index] = Some(pinned.map_err(|error| one_of_many(index, error))?);
        }
        // Read in the order in which they were named, whatever the order on disk.
        references.iter().for_each(|reference| self.shared().note_get(reference.as_any()));
        Ok(held.into_iter().flatten().collect())
    }
}

fn one_of_many(index: usize, error: Error) -> Error {
    Error::OneOfMany { index, source: Box::new(error) }
}

/// Where a value lies that is not in memory.
pub(crate) fn place_of(entry: &Entry) -> Option<Handle> {
    let spilled = entry.word.load().state() == State::Spilled;
    if spilled { sync::lock(&entry.cold).kept.handle() } else { None }
}
