//! `FileRef`: a value on disk that can be read by itself.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::claim::FrameClaim;
use crate::store::Fingerprint;

/// A value on disk.
///
/// From `move_to_disk` and `copy_to_disk` it is a counted claim on the pool's own frame, which stays readable while
/// the claim or the value lives. From `save_to_disk` and `Pool::file` it is a path, and nothing in the pool
/// ever deletes that file.
pub struct FileRef<T> {
    pub(crate) on: On,
    value: PhantomData<fn() -> T>,
}

#[derive(Clone)]
pub(crate) enum On {
    Claimed(Arc<FrameClaim>),
    Saved(Arc<Saved>),
}

/// A file of the user's.
pub(crate) struct Saved {
    pub(crate) path: PathBuf,
    /// What was written there; `None` for a file that this pool did not write.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl<T> FileRef<T> {
    pub(crate) fn claimed(claim: Arc<FrameClaim>) -> Self {
        Self { on: On::Claimed(claim), value: PhantomData }
    }

    pub(crate) fn saved(path: &Path, fingerprint: Option<Fingerprint>) -> Self {
        let saved = Saved { path: path.to_path_buf(), fingerprint };
        Self { on: On::Saved(Arc::new(saved)), value: PhantomData }
    }

    /// The file, if it is one of the user's; frames of the pool have no path of their own.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.on {
            On::Saved(saved) => Some(&saved.path),
            On::Claimed(_) => None,
        }
    }
}

impl<T> Clone for FileRef<T> {
    fn clone(&self) -> Self {
        Self { on: self.on.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for FileRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on {
            On::Claimed(claim) => {
                write!(f, "FileRef(value {}, ", claim.id)?;
                match (claim.handle, claim.remote()) {
                    (None, Some(remote)) => write!(f, "{})", remote.describe()),
                    (handle, _) => write!(f, "{handle:?})"),
                }
            }
            On::Saved(saved) => write!(f, "FileRef({})", saved.path.display()),
        }
    }
}
