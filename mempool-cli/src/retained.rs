//! A retained session as `mempool inspect` shows it: its label, its names with formats and sizes, its files. Reads no frame.

use std::fmt;

use indicatif::HumanCount;
use mempool_spill::Retained;
use serde::Serialize;

use crate::size::Bytes;

/// What is retained in a session.
#[derive(Debug, Serialize)]
pub(crate) struct Retention {
    path: String,
    label: String,
    /// Values that are named, and those that they refer to.
    values: usize,
    frame_bytes: u64,
    files: Vec<RetainedFile>,
    names: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct RetainedFile {
    name: String,
    shared: bool,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    codec: String,
    type_tag: String,
    value_type: String,
    frame_bytes: u64,
    references: usize,
}

impl Retention {
    pub(crate) fn of(retained: &Retained) -> Self {
        let manifest = &retained.manifest;
        let bytes = |at: usize| {
            let frame = manifest.values.get(at).and_then(|value| value.frame);
            frame.map_or(0, |frame| frame.bytes)
        };
        let named = |(name, at): &(String, u32)| {
            // A manifest that was read has a value for each name and a format for each value.
            let value = manifest.values.get(*at as usize)?;
            let kept = manifest.formats.get(value.format as usize)?;
            Some(Named {
                name: name.clone(),
                codec: kept.format.codec.to_string(),
                type_tag: format!("{:016x}", kept.format.type_tag),
                value_type: kept.type_name.clone(),
                frame_bytes: bytes(*at as usize),
                references: value.references.len(),
            })
        };
        let file = |segment: &mempool_spill::RetainedSegment| RetainedFile {
            name: segment.file_name(),
            shared: segment.shared,
        };
        Self {
            path: retained.path.display().to_string(),
            label: retained.label.clone(),
            values: manifest.values.len(),
            frame_bytes: (0..manifest.values.len()).map(bytes).sum(),
            files: retained.segments.iter().map(file).collect(),
            names: manifest.names.iter().filter_map(named).collect(),
        }
    }

    /// `label "etl", 3 names, 1.2 MiB`.
    pub(crate) fn summary(&self) -> String {
        let names = HumanCount(self.names.len() as u64);
        format!("label {:?}, {names} names, {}", self.label, Bytes(self.frame_bytes))
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: a retained session, {}\n", self.path, self.summary())?;
        writeln!(f, "  {:>16} {:<8} {:<16} name, type", "bytes", "codec", "type tag")?;
        for one in &self.names {
            let bytes = HumanCount(one.frame_bytes).to_string();
            let Named { name, codec, type_tag, value_type, .. } = one;
            writeln!(f, "  {bytes:>16} {codec:<8} {type_tag:<16} {name:?}, {value_type}")?;
        }
        let (values, files) = (HumanCount(self.values as u64), self.files.len());
        writeln!(f, "\n{values} values with those that others refer to, in {files} files.")?;
        write!(f, "The manifest is whole; `mempool verify` reads the values as well.")
    }
}
