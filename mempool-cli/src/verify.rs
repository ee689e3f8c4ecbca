//! `mempool verify`: whether saved files and the values of retained sessions are whole, each byte of them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use mempool_core::KeptValue;
use mempool_spill::{SpillError, SpillOptions, read_retained};
use serde::Serialize;

use crate::{
    containers::{self, ContainerInspection, Looked},
    saved::{SavedError, SavedFile},
    size::Bytes,
};

/// What was found, in the order in which the files were given.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Report {
    files: Vec<Checked>,
}

/// One file, or one value of a retained session.
#[derive(Debug, Serialize)]
struct Checked {
    path: PathBuf,
    /// The name of a retained value, or that of one which refers to it.
    name: Option<String>,
    passed: bool,
    frame_bytes: Option<u64>,
    /// What was not looked at, and why.
    note: Option<String>,
    /// File, offset and cause.
    error: Option<String>,
    /// Whether the file could not even be read.
    unreadable: bool,
}

impl Report {
    /// Reads all files, whatever is wrong with one of them.
    ///
    /// What went through filters is decoded where `readers` can.
    pub(crate) fn of(paths: &[PathBuf], readers: &SpillOptions) -> Self {
        let check = |path: &PathBuf| match path.is_dir() {
            true => Checked::retained(path),
            false if ContainerInspection::of(path).is_some() => {
                vec![Checked::container(path, containers::check(path, readers))]
            }
            false => {
                let found = SavedFile::open(path).and_then(SavedFile::check_content);
                vec![Checked::new(path, found)]
            }
        };
        Self { files: paths.iter().flat_map(check).collect() }
    }

    /// 0 if all are whole, 1 if one is damaged, 3 if one cannot be read.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.files.iter().any(|file| file.unreadable), self.damaged()) {
            (true, _) => 3,
            (false, 0) => 0,
            (false, _) => 1,
        }
    }

    fn damaged(&self) -> usize {
        self.files.iter().filter(|file| !file.passed).count()
    }
}

impl Checked {
    fn new(path: &Path, found: Result<mempool_core::Header, SavedError>) -> Self {
        let (frame_bytes, error) = match found {
            Ok(header) => (Some(header.frame_bytes), None),
            Err(error) => (None, Some(error)),
        };
        let unreadable =
            matches!(&error, Some(SavedError::Read { .. } | SavedError::NotRegular { .. }));
        let text = error.map(|error| match &error {
            SavedError::Read { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        });
        let (path, passed) = (path.into(), text.is_none());
        Self { path, name: None, passed, frame_bytes, note: None, error: text, unreadable }
    }

    fn container(path: &Path, found: Result<Looked, SpillError>) -> Self {
        let (frame_bytes, note, error) = match found {
            Ok(Looked::Decoded { frame_bytes }) => (Some(frame_bytes), None, None),
            Ok(Looked::Blocks { frame_bytes, why }) => (Some(frame_bytes), Some(why), None),
            Err(error) => (None, None, Some(error)),
        };
        let unreadable = error
            .as_ref()
            .is_some_and(|error| !is_damage(error) || containers::is_wrong_key(error));
        let (passed, error) = (error.is_none(), error.map(|error| error.to_string()));
        Self { path: path.into(), name: None, passed, frame_bytes, note, error, unreadable }
    }

    /// Each value of a retained session that is there.
    fn retained(path: &Path) -> Vec<Self> {
        let one = |name: Option<String>, found: Result<u64, SpillError>| {
            let (found, note) = match found {
                // Every block of it is whole.
                Err(SpillError::FilterMissing { filters, .. }) => (
                    Ok(None),
                    Some(format!(
                        "its blocks are whole; its content was not looked at, for that takes {filters}"
                    )),
                ),
                found => (found.map(Some), None),
            };
            let error = found.as_ref().err();
            Self {
                path: path.into(),
                name,
                note,
                passed: error.is_none(),
                frame_bytes: found.as_ref().ok().copied().flatten(),
                unreadable: error.is_some_and(|error| !is_damage(error)),
                error: error.map(ToString::to_string),
            }
        };
        let retained = match read_retained(path) {
            Ok(retained) => retained,
            Err(error) => return vec![one(None, Err(error))],
        };
        let names = retained.manifest.known_as();
        let check = |(value, name): (&KeptValue, &Option<&str>)| {
            let found = retained.check(value).transpose()?;
            Some(one(name.map(str::to_owned), found.map(|header| header.frame_bytes)))
        };
        retained.manifest.values.iter().zip(&names).filter_map(check).collect()
    }
}

/// Whether the bytes are there and wrong, or should be there.
fn is_damage(error: &SpillError) -> bool {
    match error {
        SpillError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        SpillError::NothingRetained { .. } => false,
        _ => true,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            let name = file.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
            match (&file.error, file.frame_bytes) {
                (Some(error), _) if name.is_empty() => writeln!(f, "FAILED  {error}")?,
                (Some(error), _) => writeln!(f, "FAILED {name}: {error}")?,
                (None, bytes) => {
                    let bytes = bytes.map_or_else(String::new, |bytes| Bytes(bytes).to_string());
                    let parts = [Some(bytes).filter(|bytes| !bytes.is_empty()), file.note.clone()];
                    let said: Vec<_> = parts.into_iter().flatten().collect();
                    writeln!(f, "ok      {}{name}: {}", file.path.display(), said.join("; "))?;
                }
            }
        }
        write!(f, "{} whole, {} not", self.files.len() - self.damaged(), self.damaged())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{saved::tests::saved, scratch::Scratch};

    #[test]
    fn each_file_is_judged_by_itself() {
        let scratch = Scratch::new();
        let whole = saved(&scratch);
        let damaged = scratch.path().join("damaged");
        fs::write(&damaged, fs::read(&whole).unwrap().split_last().unwrap().1).unwrap();
        let missing = scratch.path().join("missing");
        let report = |paths: &[&PathBuf]| {
            let paths: Vec<_> = paths.iter().map(|path| (*path).clone()).collect();
            Report::of(&paths, &SpillOptions::new(""))
        };
        assert_eq!(report(&[&whole]).exit_code(), 0);
        let both = report(&[&damaged, &whole]);
        assert_eq!(both.exit_code(), 1);
        let text = both.to_string();
        assert!(text.starts_with(&format!("FAILED  {} at offset", damaged.display())), "{text}");
        assert!(text.ends_with("1 whole, 1 not"), "{text}");
        let all = report(&[&damaged, &missing, &whole]);
        assert_eq!(all.exit_code(), 3);
        assert!(all.to_string().contains("No such file"), "{all}");
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!((&json[0]["passed"], &json[2]["passed"]), (&false.into(), &true.into()));
    }
}
