//! `DRef` fields of serde types: `#[serde(with = "mempool_codec::reference")]`.
//!
//! serde hands a field its serializer and nothing else, so a codec of this crate lays the references of the value in a
//! place of its thread while it encodes or decodes: its scope. In a scope the bytes hold an index; outside of one both
//! directions are an error, because nothing would keep the other value alive.
//!
//! ```
//! use mempool_codec::{Bincode, ResidentBytes};
//! use mempool_core::{DRef, PoolOptions};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Page {
//!     text: String,
//!     #[serde(with = "mempool_codec::reference")]
//!     links: Vec<DRef<String>>,
//! }
//!
//! impl ResidentBytes for Page {
//!     fn resident_bytes(&self) -> u64 {
//!         self.text.resident_bytes() + self.links.resident_bytes()
//!     }
//! }
//!
//! let pool = PoolOptions::new().memory_limit(1 << 20).open(Bincode);
//! let links = vec![pool.set("the next page".to_owned())?];
//! let page = pool.set(Page { text: "one".into(), links })?;
//! pool.move_to_disk(&page)?;
//! // The page alone keeps the other value alive, and brings the reference back.
//! assert_eq!(*pool.get(&pool.get(&page)?.links[0])?, "the next page");
//! # Ok::<(), mempool_core::Error>(())
//! ```
//!
//! A value that [`Bincode`](crate::Bincode) keeps in memory holds its references itself; only its bytes hold indices, so
//! `reference(index)` of a guard answers for it after it was written, and its fields always do.

use std::any::type_name;
use std::cell::RefCell;

use mempool_core::{DRef, Error, ReferenceList, Result};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a codec of this crate does on this thread.
#[derive(Debug)]
pub(crate) enum Way {
    /// Only measures; the next index.
    Count(u32),
    Encode(ReferenceList),
    Decode(ReferenceList),
}

/// A way, and the first error that a reference met.
struct Scope {
    way: Way,
    failed: Option<Error>,
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Lays the scope around the call in which it was opened back when it is dropped, also by a panic.
struct Outer(Option<Scope>);

impl Drop for Outer {
    fn drop(&mut self) {
        // What is taken out is dropped after the cell is free again.
        drop(CURRENT.replace(self.0.take()));
    }
}

/// Runs `code` in a scope; answers what became of the scope, and the error that a reference met.
///
/// Scopes nest: `code` may come to another codec, as when a `Serialize` of the user's evicts another value.
pub(crate) fn within<R>(way: Way, code: impl FnOnce() -> R) -> (R, Way, Option<Error>) {
    let outer = Outer(CURRENT.replace(Some(Scope { way, failed: None })));
    let result = code();
    let scope = CURRENT.take().expect("every inner scope has laid this one back");
    drop(outer);
    (result, scope.way, scope.failed)
}

/// Why a reference is no part of any bytes.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "a DRef<{0}> is written and read by a codec of a pool alone: elsewhere nothing keeps its value alive"
    )]
    Outside(&'static str),
    #[error("{0}")]
    Pool(String),
}

/// Calls `use_it` with the way of the current scope, and keeps its error there.
fn in_scope<U, R>(use_it: impl FnOnce(&mut Way) -> Option<Result<R>>) -> Result<R, Refusal> {
    let outside = || Refusal::Outside(type_name::<U>());
    let found = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        let scope = current.as_mut().ok_or_else(outside)?;
        use_it(&mut scope.way).ok_or_else(outside)?.map_err(|error| {
            let said = Refusal::Pool(error.to_string());
            scope.failed.get_or_insert(error);
            said
        })
    });
    found.unwrap_or_else(|_| Err(outside()))
}

fn give<U>(reference: &DRef<U>) -> Result<u32, Refusal> {
    in_scope::<U, _>(|way| match way {
        Way::Count(next) => {
            let index = *next;
            *next = index.wrapping_add(1);
            Some(Ok(index))
        }
        Way::Encode(list) => Some(list.push(reference)),
        Way::Decode(_) => None,
    })
}

fn take<U: 'static>(index: u32) -> Result<DRef<U>, Refusal> {
    in_scope::<U, _>(|way| match way {
        Way::Decode(list) => Some(list.get(index)),
        Way::Count(_) | Way::Encode(_) => None,
    })
}

/// What can stand in a field of references: a [`DRef`], and options and vectors of them.
pub trait Referring: Sized {
    /// Writes indices.
    ///
    /// # Errors
    /// Outside of a codec of a pool, for a reference of another pool, and what the serializer says.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads indices, and resolves them.
    ///
    /// # Errors
    /// Outside of a codec of a pool, for an index that the value does not hold, and what the deserializer says.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl<U: 'static> Referring for DRef<U> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        give(self).map_err(S::Error::custom)?.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        take(u32::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<R: Referring> Referring for Option<R> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(Borrowed).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Owned<R>>::deserialize(deserializer)?.map(|owned| owned.0))
    }
}

impl<R: Referring> Referring for Vec<R> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Borrowed))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The same allocation: an owned reference is transparent over it.
        let owned = Vec::<Owned<R>>::deserialize(deserializer)?;
        Ok(owned.into_iter().map(|owned| owned.0).collect())
    }
}

struct Borrowed<'a, R>(&'a R);

impl<R: Referring> Serialize for Borrowed<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

#[repr(transparent)]
struct Owned<R>(R);

impl<'de, R: Referring> Deserialize<'de> for Owned<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        R::read(deserializer).map(Self)
    }
}

/// Writes a field of references; what `#[serde(with = "mempool_codec::reference")]` calls.
///
/// # Errors
/// As [`Referring::write`].
pub fn serialize<R: Referring, S: Serializer>(
    references: &R,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    references.write(serializer)
}

/// Reads a field of references; what `#[serde(with = "mempool_codec::reference")]` calls.
///
/// # Errors
/// As [`Referring::read`].
pub fn deserialize<'de, R: Referring, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<R, D::Error> {
    R::read(deserializer)
}
