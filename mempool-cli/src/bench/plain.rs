//! The other side: one file that is reserved, written with plain calls, and mapped once. No limit, no header, nothing that could be freed by itself.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io,
    ops::Deref,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

use mempool_spill::{Disk, RealDisk};

use super::{
    Options, Times,
    side::{self, Reads, Side},
};
use crate::{error::CliError, stop::Stop};

/// Measures this side, as [`side::measure`] does; the file is gone afterwards, whatever happens.
///
/// # Errors
/// [`CliError::Disk`], or it is stopped.
pub(crate) fn measure(
    options: &Options,
    reads: &Reads,
    stop: &Stop,
) -> Result<(Times, u64), CliError> {
    let mut plain = Plain::create(&options.disk.path, reads)?;
    side::measure(&mut plain, options.threads, reads, stop)
}

/// The file, and its map once all is written.
struct Plain<'a> {
    path: PathBuf,
    file: File,
    map: Option<Map>,
    reads: &'a Reads,
}

type Map = Box<dyn Deref<Target = [u8]> + Send + Sync>;

impl<'a> Plain<'a> {
    fn create(directory: &Path, reads: &'a Reads) -> Result<Self, CliError> {
        let path = directory.join(format!(".mempool-bench-{}", process::id()));
        let file =
            OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| refused(&path, error))?;
        let plain = Self { path, file, map: None, reads };
        // All at once and not measured: a program that knows beforehand what will come can do so.
        let reserved = RealDisk.allocate(&plain.file, 0, reads.bytes());
        reserved.map_err(|error| refused(&plain.path, error))?;
        Ok(plain)
    }

    fn place(&self, number: u32) -> u64 {
        u64::from(number) * self.reads.value_bytes as u64
    }
}

impl Side for Plain<'_> {
    type Key = u32;

    fn set(&self, number: u32, value: Vec<u8>) -> Result<u32, CliError> {
        let place = self.place(number);
        self.file.write_all_at(&value, place).map_err(|error| refused(&self.path, error))?;
        Ok(number)
    }

    fn finish(&mut self) -> Result<(), CliError> {
        let map = RealDisk.map(&self.file, self.reads.bytes());
        self.map = Some(Box::new(map.map_err(|error| refused(&self.path, error))?));
        Ok(())
    }

    fn read(&self, key: &u32, look: impl FnOnce(&[u8])) -> Result<(), CliError> {
        let start = usize::try_from(self.place(*key)).unwrap_or(usize::MAX);
        let map = self.map.as_deref().map_or(&[][..], |map| &map[..]);
        look(map.get(start..start.saturating_add(self.reads.value_bytes)).unwrap_or_default());
        Ok(())
    }
}

impl Drop for Plain<'_> {
    fn drop(&mut self) {
        // A file that is left is seen by whoever looks at the directory, and can be removed by hand.
        let _ = fs::remove_file(&self.path);
    }
}

fn refused(path: &Path, error: io::Error) -> CliError {
    let source: Box<dyn Error + Send + Sync> = error.into();
    CliError::Disk { path: path.into(), source }
}
