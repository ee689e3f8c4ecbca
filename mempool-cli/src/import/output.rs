//! The directory that an import makes: beside its place under another name, until all of it is there and durable.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use mempool_arrays::Table;

use super::{Job, build::Counted, error::ImportError};
use crate::{
    chunks::{Manifest, chunk_name},
    error::CliError,
};

/// A table under way. What is not finished is removed.
pub(crate) struct Output {
    target: PathBuf,
    temporary: PathBuf,
    /// Rows of each chunk.
    chunks: Vec<u64>,
    finished: bool,
}

impl Output {
    /// A new directory beside `target`.
    ///
    /// # Errors
    /// Something is at `target`, or the directory cannot be made.
    pub(crate) fn create(target: &Path) -> Result<Self, ImportError> {
        if target.symlink_metadata().is_ok() {
            return Err(ImportError::Exists { path: target.into() });
        }
        let invalid = || ImportError::writing(target)(io::ErrorKind::InvalidInput.into());
        let name = target.file_name().ok_or_else(invalid)?;
        let name = format!(".{}.import-{}", name.to_string_lossy(), process::id());
        let temporary = target.with_file_name(name);
        // As its files are: nobody else's to read.
        let made = fs::DirBuilder::new().mode(0o700).create(&temporary);
        made.map_err(ImportError::writing(&temporary))?;
        Ok(Self { target: target.into(), temporary, chunks: Vec::new(), finished: false })
    }

    /// How many chunks there are.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Saves the rows that come next; `room` has paid for them.
    ///
    /// # Errors
    /// The pool has no room, or the disk refuses.
    pub(crate) fn save(
        &mut self,
        job: &Job<'_>,
        table: Table,
        room: Counted,
    ) -> Result<(), CliError> {
        let rows = table.rows() as u64;
        // The pool pays for it from here on.
        drop(room);
        let value = job.pool.set(table).map_err(|rejected| rejected.error)?;
        job.pool.save_to_disk(&value, self.temporary.join(chunk_name(self.chunks.len())))?;
        self.chunks.push(rows);
        Ok(())
    }

    /// Puts the whole table in its place, durably.
    ///
    /// # Errors
    /// The disk refuses; nothing is left then, or all of it where only the directory above could not be made durable.
    pub(crate) fn finish(mut self, index: Vec<String>) -> Result<Manifest, ImportError> {
        let manifest = Manifest::new(index, std::mem::take(&mut self.chunks));
        manifest.write(&self.temporary).map_err(ImportError::writing(&self.temporary))?;
        fs::rename(&self.temporary, &self.target).map_err(ImportError::writing(&self.target))?;
        self.finished = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(ImportError::writing(parent))?;
        Ok(manifest)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            // Who gets the error that ends the import can do nothing about this one.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}
