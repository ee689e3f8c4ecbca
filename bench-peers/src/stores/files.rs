//! One file for each value, written and read whole.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::store::{Outcome, Store};

pub(crate) const SETUP: &str = "std::fs::write and std::fs::read, 1024 files a directory, no fsync; no memory of its own, the page cache is all";

struct Files {
    directory: PathBuf,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    make_directories(directory, plan)?;
    Ok(Box::new(Files { directory: directory.to_path_buf() }))
}

/// Directories for all values, made ahead.
pub(crate) fn make_directories(directory: &Path, plan: &Plan) -> Outcome<()> {
    for thousand in 0..=(plan.count >> 10) {
        fs::create_dir(directory.join(thousand.to_string()))?;
    }
    Ok(())
}

pub(crate) fn path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{}/{id}", id >> 10))
}

impl Store for Files {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        Ok(fs::write(path(&self.directory, id), value)?)
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        match fs::read(path(&self.directory, id)) {
            Ok(bytes) => Ok(Some(look(&bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
