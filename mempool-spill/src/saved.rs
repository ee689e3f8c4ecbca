//! Files of the user's: a frame saved durably and whole, and a file brought into the session before it is believed.

use std::fs::File;
use std::path::{Path, PathBuf};

use mempool_core::{Fingerprint, Frame, FrameDamage, StoreError};
use rustix::fs::{Mode, OFlags};

use crate::chain::Chain;
use crate::disk::write_all_at;
use crate::error::SpillError;
use crate::files::Files;
use crate::quota::FileBytes;
use crate::save;
use crate::session::open_user_file;

/// Opens a file of the user's that is long enough for a frame; answers how long it is.
pub(crate) fn open_user_frame(path: &Path) -> Result<(File, u64), SpillError> {
    let (file, len) = open_user_file(path)?;
    if len < mempool_core::HEADER_BYTES {
        let damage = FrameDamage::Length { expected: mempool_core::HEADER_BYTES, found: len };
        return Err(SpillError::Damaged { path: path.to_path_buf(), offset: 0, damage });
    }
    Ok((file, len))
}

impl Files {
    /// Brings a file of the user's into the session, under no name: nobody else can change it there.
    pub(crate) fn bring_in(&self, path: &Path) -> Result<(File, FileBytes), SpillError> {
        let (file, len) = open_user_frame(path)?;
        let bytes = self.with_room(|| self.quota().take(len))?;
        let _open = self.pass_gate()?;
        let name = format!("load-{}", self.next_number()?);
        let own_path = self.session().path().join(&name);
        let own = self.disk().create(self.session().dir(), &name);
        let own = own.map_err(|e| SpillError::io("create", &own_path, e))?;
        let unnamed = self.disk().unlink(self.session().dir(), &name);
        unnamed.map_err(|e| SpillError::io("unlink", &own_path, e))?;
        if rustix::fs::ioctl_ficlone(&own, &file).is_err() {
            self.copy(&file, path, &own, &own_path, len)?;
        }
        Ok((own, bytes))
    }

    fn copy(
        &self,
        from: &File,
        from_path: &Path,
        to: &File,
        to_path: &Path,
        len: u64,
    ) -> Result<(), SpillError> {
        self.with_room(|| self.allocate(to, to_path, &(0..len), len))?;
        let mut chunk = vec![0; 256 << 10];
        let mut at = 0;
        while at < len {
            let count = usize::try_from(len - at).map_or(chunk.len(), |left| left.min(chunk.len()));
            let part = chunk.get_mut(..count).unwrap_or_default();
            self.disk()
                .read_exact_at(from, part, at)
                .map_err(|e| SpillError::io_at("read", from_path, at, e))?;
            write_all_at(self.disk(), to, part, at)
                .map_err(|e| SpillError::io_at("write", to_path, at, e))?;
            at += count as u64;
        }
        Ok(())
    }

    /// Writes a frame to a new file beside `path`, makes it durable, then puts it in the place of what is there.
    pub(crate) fn save_frame(
        &self,
        frame: &Frame<'_>,
        path: &Path,
        chain: &Chain,
    ) -> Result<Fingerprint, StoreError> {
        let (directory, name) = self.parent_of(path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&directory, flags, Mode::empty());
        let dir = File::from(dir.map_err(|e| SpillError::io("open", &directory, e))?);
        self.session().sweep_saves(&dir);
        save::save(self.disk(), &dir, path, &name, frame, chain)
    }

    /// The directory of a file of the user's, and its name there.
    ///
    /// # Errors
    /// Where that lies among the sessions of this one's directory.
    pub(crate) fn parent_of(&self, path: &Path) -> Result<(PathBuf, PathBuf), SpillError> {
        let invalid = || SpillError::NotRegular { path: path.to_path_buf() };
        let name = path.file_name().map(PathBuf::from).ok_or_else(invalid)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if self.session().contains(&parent) {
            return Err(SpillError::InsideSession { path: path.to_path_buf() });
        }
        Ok((parent, name))
    }
}
