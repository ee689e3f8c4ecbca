//! One file for each value, mapped to be read.
#![expect(unsafe_code, reason = "memmap2's constructors are promises about the file")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::plan::Plan;
use crate::store::{Outcome, Store};
use crate::stores::files;

pub(crate) const SETUP: &str = "written by std::fs::write (through a new map it would be slower), mapped for each read: the kernel allows 65,530 maps, and 4 KiB values are more";

struct Mapped {
    directory: PathBuf,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    files::make_directories(directory, plan)?;
    Ok(Box::new(Mapped { directory: directory.to_path_buf() }))
}

impl Store for Mapped {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        Ok(fs::write(files::path(&self.directory, id), value)?)
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        let file = File::open(files::path(&self.directory, id))?;
        // SAFETY: the file is in a directory that this process made, and it writes each file once, before it maps it.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Some(look(&map)))
    }
}
