//! What every store is asked for, and the list of them.

use std::error::Error;
use std::path::Path;

use crate::plan::Plan;
use crate::stores::{files, fjall, foyer, lmdb, mapped, mempool, redb};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Stores with transactions commit when they have taken so much: their docs advise against a commit for each value.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

/// A store under measurement.
pub(crate) trait Store {
    /// Takes the value; when this returns, the caller is rid of its bytes.
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()>;

    /// Makes everything that was set readable; part of the time of setting.
    fn finish(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Shows the bytes to `look`, and answers what it does; `None` where the store has lost them.
    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>>;
}

/// A kind of store.
pub(crate) struct Kind {
    /// On the command line and in the tables.
    pub(crate) name: &'static str,
    /// Its package, whose version is printed; none for what std does.
    pub(crate) package: &'static str,
    /// How it is set up.
    pub(crate) setup: &'static str,
    pub(crate) open: fn(&Path, &Plan) -> Outcome<Box<dyn Store>>,
}

/// All kinds; ours is the first.
pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "mempool", package: "mempool-spill", setup: mempool::SETUP, open: mempool::open },
    Kind { name: "foyer", package: "foyer", setup: foyer::SETUP, open: foyer::open },
    Kind {
        name: "foyer waited for",
        package: "foyer",
        setup: foyer::SETUP_WAITED_FOR,
        open: foyer::open_waited_for,
    },
    Kind { name: "redb", package: "redb", setup: redb::SETUP, open: redb::open },
    Kind { name: "LMDB", package: "heed", setup: lmdb::SETUP, open: lmdb::open },
    Kind { name: "fjall", package: "fjall", setup: fjall::SETUP, open: fjall::open },
    Kind { name: "files", package: "", setup: files::SETUP, open: files::open },
    Kind { name: "mapped files", package: "memmap2", setup: mapped::SETUP, open: mapped::open },
];

/// The version of `package` in this package's lock file.
pub(crate) fn version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_version() {
        for kind in KINDS.iter().filter(|kind| !kind.package.is_empty()) {
            assert!(!version(kind.package).is_empty(), "{}", kind.package);
        }
    }
}
