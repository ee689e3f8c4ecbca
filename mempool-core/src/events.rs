//! What a pool tells the program's `tracing` subscriber. Without the feature `tracing` every function here is empty.
//!
//! The table of targets and levels stands in `lib.rs`, for users.
//!
//! An error that goes to the caller is `debug`, for he has it already; one that the pool may get over by itself, so that
//! nobody is told, is `warn`. Nothing is said where a lock is held, nor in the get of a value that is in memory.
//! A subscriber runs here as a store does: it may be slow and may look at the pool, must not ask it for room, which it may
//! be about to make, and must not panic.
#![cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nobody is told"))]

use std::path::Path;

use crate::budget::Progress;
use crate::entry::Entry;
use crate::error::{Error, NoRoom};
use crate::id::Id;
use crate::shared::Shared;

/// A span that lasts until it is dropped.
#[cfg(feature = "tracing")]
pub(crate) type Span = tracing::span::EnteredSpan;

/// A span that nobody sees.
#[cfg(not(feature = "tracing"))]
#[must_use = "a span lasts until it is dropped"]
pub(crate) struct Span;

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $target:literal, $($rest:tt)*) => {
        tracing::event!(target: concat!("mempool_core::", $target), tracing::Level::$level, $($rest)*)
    };
}

/// Its arguments are not even looked at.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($rest:tt)*) => {
        ()
    };
}

#[cfg(feature = "tracing")]
macro_rules! span {
    ($target:literal, $name:literal, $($rest:tt)*) => {
        tracing::debug_span!(target: concat!("mempool_core::", $target), $name, $($rest)*).entered()
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($($rest:tt)*) => {
        Span
    };
}

pub(crate) fn opened(shared: &Shared, policy: crate::Policy) {
    event!(
        DEBUG,
        "pool",
        pool = shared.name,
        limit_bytes = shared.ledger.limit(),
        ?policy,
        "a pool was opened"
    );
}

pub(crate) fn closing(shared: &Shared) -> Span {
    span!("pool", "close", pool = shared.name)
}

pub(crate) fn closed(shared: &Shared, values: usize) {
    event!(DEBUG, "pool", pool = shared.name, values, "a pool was closed, and its values ended");
}

/// Around one pass, which says how it ended.
pub(crate) fn evicting(
    shared: &Shared,
    asked_bytes: u64,
    pass: impl FnOnce() -> Progress,
) -> Progress {
    let span = span!("evict", "evict", pool = shared.name, asked_bytes);
    let progress = pass();
    match &progress {
        Progress::Freed => {
            event!(DEBUG, "evict", pool = shared.name, asked_bytes, "a pass has made room")
        }
        Progress::Stuck => {
            event!(DEBUG, "evict", pool = shared.name, asked_bytes, "a pass found nothing to evict")
        }
        Progress::Busy(_) => {
            event!(
                DEBUG,
                "evict",
                pool = shared.name,
                asked_bytes,
                "a pass must wait for its turn to write"
            )
        }
        Progress::Failed(error) => {
            event!(DEBUG, "evict", pool = shared.name, asked_bytes, %error, "a pass could not make room");
        }
    }
    drop(span);
    progress
}

pub(crate) fn spilled(shared: &Shared, entry: &Entry) {
    event!(
        DEBUG,
        "evict",
        pool = shared.name,
        value = %entry.id(),
        resident_bytes = crate::stats::read(&entry.charged_bytes),
        "a value was spilled"
    );
}

pub(crate) fn wrote_ahead(shared: &Shared, values: usize, resident_bytes: u64) {
    event!(
        DEBUG,
        "evict",
        pool = shared.name,
        values,
        resident_bytes,
        "values were written ahead of need"
    );
}

pub(crate) fn released(shared: &Shared, entry: &Entry) {
    event!(TRACE, "evict", pool = shared.name, value = %entry.id(), "a value's memory was released");
}

pub(crate) fn discarded(shared: &Shared, entry: &Entry) {
    event!(DEBUG, "evict", pool = shared.name, value = %entry.id(), "a discardable value was dropped");
}

pub(crate) fn writing(shared: &Shared, frames: usize) -> Span {
    span!("write", "write", pool = shared.name, frames)
}

pub(crate) fn saving(shared: &Shared, value: Id, path: &Path) -> Span {
    span!("write", "save", pool = shared.name, %value, path = %path.display())
}

pub(crate) fn write_failed(shared: &Shared, written: usize, frames: usize, error: Option<&Error>) {
    if let Some(error) = error {
        event!(
            WARN,
            "write",
            pool = shared.name,
            written,
            frames,
            %error,
            "a frame could not be written; its value stays in memory"
        );
    }
}

pub(crate) fn reading(shared: &Shared, value: Id, frame_bytes: u64) -> Span {
    span!("load", "read", pool = shared.name, %value, frame_bytes)
}

/// Around the way to another pool.
pub(crate) fn fetching(shared: &Shared, value: Id) -> Span {
    span!("load", "fetch", pool = shared.name, %value)
}

pub(crate) fn reading_file(shared: &Shared, path: &Path) -> Span {
    span!("load", "read", pool = shared.name, path = %path.display())
}

pub(crate) fn loaded(shared: &Shared, entry: &Entry, mapped: bool) {
    event!(DEBUG, "load", pool = shared.name, value = %entry.id(), mapped, "a value came back");
}

pub(crate) fn load_failed(shared: &Shared, entry: &Entry, error: &Error) {
    event!(DEBUG, "load", pool = shared.name, value = %entry.id(), %error, "a value could not come back");
}

pub(crate) fn no_room(shared: &Shared, report: &NoRoom) {
    event!(DEBUG, "room", pool = shared.name, %report, "a request found no room");
}

pub(crate) fn panicked() {
    event!(WARN, "reclaim", "a destructor or a drop of the user's panicked");
}
