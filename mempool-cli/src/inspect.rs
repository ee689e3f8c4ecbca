//! `mempool inspect`: what the header of a saved file says, for people and as JSON.

use std::fmt;

use indicatif::HumanCount;
use mempool_core::VERSION;
use serde::Serialize;

use crate::{saved::SavedFile, size::Bytes};

/// A header with names for all that is in it. Numbers that are names or sums are hexadecimal texts.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    path: String,
    file_bytes: u64,
    format_version: u32,
    codec: String,
    type_tag: String,
    /// 0 where the codec has no pointers.
    pointer_width_bits: u8,
    frame_bytes: u64,
    content_offset: u64,
    align: u32,
    resident_bytes: u64,
    slot: u32,
    generation: u32,
    pool: String,
    references: u32,
    content_checksum: String,
    sections: Vec<SectionPart>,
    /// Why the file is not as long as its header says.
    pub(crate) damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct SectionPart {
    offset: u64,
    bytes: u64,
}

impl Inspection {
    pub(crate) fn of(path: &str, file: &SavedFile) -> Self {
        let header = &file.header;
        let hex = |number: u64| format!("{number:016x}");
        let section = |section: &mempool_core::Section| SectionPart {
            offset: section.offset,
            bytes: section.bytes,
        };
        Self {
            path: path.into(),
            file_bytes: file.file_bytes,
            // A header of any other version is refused.
            format_version: VERSION,
            codec: header.format.codec.to_string(),
            type_tag: hex(header.format.type_tag),
            pointer_width_bits: header.format.pointer_width,
            frame_bytes: header.frame_bytes,
            content_offset: header.content_offset,
            align: header.align,
            resident_bytes: header.resident_bytes,
            slot: header.id.slot,
            generation: header.id.generation,
            pool: hex(header.pool),
            references: header.references,
            content_checksum: hex(header.content_checksum),
            sections: header.sections.iter().map(section).collect(),
            damage: file.check_length().err().map(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: a frame of format version {}\n", self.path, self.format_version)?;
        let pointers = match self.pointer_width_bits {
            0 => String::new(),
            width => format!(", {width}-bit pointers"),
        };
        line(f, "codec", format_args!("{}{pointers}", self.codec))?;
        line(f, "type tag", format_args!("{}", self.type_tag))?;
        let frame = Count(self.frame_bytes);
        match &self.damage {
            None => line(f, "frame", format_args!("{frame}, as long as the file"))?,
            Some(damage) => line(f, "frame", format_args!("{frame}; DAMAGED: {damage}"))?,
        }
        match self.resident_bytes {
            0 => line(f, "in memory", format_args!("nothing: it is read back as a view"))?,
            bytes => line(f, "in memory", format_args!("{}, where it is decoded", Count(bytes)))?,
        }
        let Self { slot, generation, pool, .. } = self;
        line(f, "value", format_args!("slot {slot}, generation {generation}, of pool {pool}"))?;
        line(f, "references", format_args!("{}", self.references))?;
        let (offset, align, sum) = (self.content_offset, self.align, &self.content_checksum);
        line(f, "content", format_args!("from {offset}, aligned to {align}, checksum {sum}"))?;
        writeln!(f, "\n  {:>7} {:>16} {:>16}", "section", "offset", "bytes")?;
        for (index, section) in self.sections.iter().enumerate() {
            let [offset, bytes] = [section.offset, section.bytes].map(HumanCount);
            writeln!(f, "  {index:>7} {:>16} {:>16}", offset.to_string(), bytes.to_string())?;
        }
        write!(f, "\nThe header is whole; `mempool verify` reads the content as well.")
    }
}

/// A size, and exactly where that is not the same.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..1024 => write!(f, "{}", Bytes(bytes)),
            bytes => write!(f, "{} ({} bytes)", Bytes(bytes), HumanCount(bytes)),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, about: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {about:<10} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{saved::tests::saved, scratch::Scratch};

    #[test]
    fn a_header_is_shown_whole() {
        let scratch = Scratch::new();
        let file = SavedFile::open(&saved(&scratch)).unwrap();
        let inspection = Inspection::of("x", &file);
        let text = inspection.to_string();
        for part in ["codec      rkyv, 32-bit pointers", "format version 1", "as long as the file"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = serde_json::to_value(&inspection).unwrap();
        assert_eq!(json["codec"], "rkyv");
        assert_eq!(json["sections"][0]["offset"], file.header.content_offset);
        assert_eq!(json["damage"], serde_json::Value::Null);
        let last = file.header.sections.last().unwrap();
        assert_eq!(json["frame_bytes"], last.offset + last.bytes);
    }
}
