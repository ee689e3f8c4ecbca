//! A table on disk that may be larger than memory: a directory of saved tables that follow one another, and a manifest.
//!
//! ```text
//! trips.mempool/
//! ├─ table.json          how many rows each chunk has, and by which columns they are sorted
//! ├─ chunk-00000.frame   a table, as `save_to_disk` writes it: `mempool inspect` and `verify` read it, and any program with mempool-arrays
//! └─ chunk-00001.frame   its rows come behind those of the chunk before
//! ```

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// The file that says what the others are.
pub(crate) const MANIFEST: &str = "table.json";

/// The longest manifest that is read: of more than a million chunks.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What the manifest says that it is.
const FORMAT: &str = "mempool table";

/// What is in a directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    pub(crate) rows: u64,
    /// The columns by which rows are sorted, across all chunks.
    pub(crate) index: Vec<String>,
    /// The rows of each chunk, in order.
    pub(crate) chunks: Vec<u64>,
}

/// The file of a chunk.
pub(crate) fn chunk_name(number: usize) -> String {
    format!("chunk-{number:05}.frame")
}

impl Manifest {
    /// What says that a table has these chunks.
    pub(crate) fn new(index: Vec<String>, chunks: Vec<u64>) -> Self {
        Self { format: FORMAT.into(), version: 1, rows: chunks.iter().sum(), index, chunks }
    }

    /// Writes it into a directory, and makes both durable.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut file = File::create_new(directory.join(MANIFEST))?;
        file.write_all(&text)?;
        file.sync_all()?;
        File::open(directory)?.sync_all()
    }

    /// Reads it from a directory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(directory: &Path) -> io::Result<Result<Self, String>> {
        let mut text = Vec::new();
        let file = File::open(directory.join(MANIFEST))?;
        file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text)?;
        Ok(Self::decode(&text))
    }

    fn decode(text: &[u8]) -> Result<Self, String> {
        if text.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(format!("more than {MANIFEST_BYTES_MAX} bytes"));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let rows = manifest.chunks.iter().try_fold(0_u64, |rows, more| rows.checked_add(*more));
        match &manifest {
            Self { format, .. } if format != FORMAT => Err(format!("format {format:?}")),
            Self { version: version @ (0 | 2..), .. } => Err(format!("version {version}")),
            Self { rows: all, .. } if Some(*all) != rows => {
                Err(format!("{all} rows, and its chunks have others"))
            }
            Self { chunks, .. } if chunks.is_empty() => Err("no chunk".into()),
            _ => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let scratch = Scratch::new();
        let manifest = Manifest::new(vec!["a\"b".into()], vec![3, 4]);
        manifest.write(scratch.path()).unwrap();
        assert_eq!(Manifest::read(scratch.path()).unwrap(), Ok(manifest));
        assert!(Manifest::read(&scratch.path().join("none")).is_err());
    }

    #[test]
    fn another_text_is_none() {
        let whole = r#"{"format":"mempool table","version":1,"rows":7,"index":[],"chunks":[3,4]}"#;
        assert!(Manifest::decode(whole.as_bytes()).is_ok());
        let others = [
            ("mempool table", "table"),
            ("\"version\":1", "\"version\":2"),
            ("[3,4]", "[3]"),
            ("[3,4]", "[3,18446744073709551615]"),
            ("[3,4]", "[-1]"),
            ("[]", "[],\"more\":1"),
        ];
        for (from, to) in others {
            assert!(Manifest::decode(whole.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        let empty = r#"{"format":"mempool table","version":1,"rows":0,"index":[],"chunks":[]}"#;
        assert!(Manifest::decode(empty.as_bytes()).is_err());
    }
}
