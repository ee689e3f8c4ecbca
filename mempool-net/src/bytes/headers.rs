//! The headers of an answer: what of a frame's head stands where, written and read.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mempool_core::{CodecName, Fingerprint, Format};

use super::frame::FrameHead;

/// Codec, type tag and pointer width: `rkyv/0123456789abcdef/32`.
pub(crate) const FORMAT: HeaderName = HeaderName::from_static("mempool-format");
/// The type's name, escaped to ASCII.
pub(crate) const TYPE: HeaderName = HeaderName::from_static("mempool-type");
/// What the decoded value is charged.
pub(crate) const RESIDENT: HeaderName = HeaderName::from_static("mempool-resident-bytes");
/// How many references it holds.
pub(crate) const REFERENCES: HeaderName = HeaderName::from_static("mempool-references");
/// The kind of a refusal.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("mempool-error");
/// The name of a new value.
pub(crate) const VALUE: HeaderName = HeaderName::from_static("mempool-value");

/// The entity tag of a frame: its header's checksum and its length, in hexadecimal.
pub(crate) fn etag(of: Fingerprint) -> String {
    format!("\"{:016x}-{:x}\"", of.header_checksum, of.bytes)
}

/// Reads an entity tag of ours.
pub(crate) fn fingerprint(etag: &str) -> Option<Fingerprint> {
    let (sum, bytes) = etag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let found = Fingerprint { bytes: hex(bytes)?, header_checksum: hex(sum)? };
    // One spelling alone, as a tag is compared byte by byte.
    (self::etag(found) == etag).then_some(found)
}

/// Writes what a frame is.
pub(crate) fn write_head(head: &FrameHead, headers: &mut HeaderMap) {
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.mempool.frame"));
    insert(headers, header::ETAG, etag(head.fingerprint));
    let Format { codec, type_tag, pointer_width } = head.format;
    insert(headers, FORMAT, format!("{codec}/{type_tag:016x}/{pointer_width}"));
    insert(headers, TYPE, escaped(&head.type_name));
    headers.insert(RESIDENT, head.resident_bytes.into());
    headers.insert(REFERENCES, head.references.into());
}

/// Reads what a frame is; `Err` names the header that is missing or bent.
pub(crate) fn read_head(headers: &HeaderMap) -> Result<FrameHead, HeaderName> {
    let tag = text(headers, &header::ETAG).and_then(fingerprint).ok_or(header::ETAG)?;
    let format = text(headers, &FORMAT).and_then(format_of).ok_or(FORMAT)?;
    let type_name = text(headers, &TYPE).ok_or(TYPE)?;
    if type_name.len() > ESCAPED_MAX {
        return Err(TYPE);
    }
    Ok(FrameHead {
        fingerprint: tag,
        format,
        type_name: type_name.to_owned(),
        resident_bytes: number(headers, &RESIDENT).ok_or(RESIDENT)?,
        references: number(headers, &REFERENCES)
            .and_then(|count| u32::try_from(count).ok())
            .ok_or(REFERENCES)?,
    })
}

/// The text of a header.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A header that is a number.
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Sets a header whose text is ASCII by its making.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    let value = HeaderValue::try_from(text).expect("printable ASCII");
    headers.insert(name, value);
}

/// The longest that an escaped name can be: `\u{10ffff}` for a character of four bytes is the longest a byte.
const ESCAPED_MAX: usize = FrameHead::TYPE_BYTES_MAX * 6;

/// As many bytes of `name` as are sent, with what is not printable ASCII escaped as Rust does it.
fn escaped(name: &str) -> String {
    let mut end = name.len().min(FrameHead::TYPE_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let (cut, _) = name.split_at(end);
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match cut.bytes().all(plain) {
        true => cut.to_owned(),
        false => cut.escape_default().to_string(),
    }
}

fn format_of(text: &str) -> Option<Format> {
    let mut parts = text.rsplitn(3, '/');
    let (width, tag, codec) = (parts.next()?, parts.next()?, parts.next()?);
    let mut name = [0; 16];
    let fits = !codec.is_empty() && codec.bytes().all(|byte| byte.is_ascii_graphic());
    name.get_mut(..codec.len()).filter(|_| fits)?.copy_from_slice(codec.as_bytes());
    Some(Format {
        codec: CodecName::from_bytes(name),
        type_tag: u64::from_str_radix(tag, 16).ok()?,
        pointer_width: width.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(type_name: &str) -> FrameHead {
        FrameHead {
            fingerprint: Fingerprint { bytes: 228, header_checksum: 0xab },
            format: Format { codec: CodecName::new("rkyv"), type_tag: 7, pointer_width: 32 },
            type_name: type_name.to_owned(),
            resident_bytes: 100,
            references: 3,
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut headers = HeaderMap::new();
        write_head(&head("Vec<u64>"), &mut headers);
        assert_eq!(headers[header::ETAG], "\"00000000000000ab-e4\"");
        assert_eq!(headers[FORMAT], "rkyv/0000000000000007/32");
        assert_eq!(read_head(&headers), Ok(head("Vec<u64>")));
    }

    #[test]
    fn a_missing_or_bent_header_is_named() {
        let mut headers = HeaderMap::new();
        write_head(&head("T"), &mut headers);
        for name in [header::ETAG, FORMAT, TYPE, RESIDENT, REFERENCES] {
            let mut without = headers.clone();
            without.remove(&name);
            assert_eq!(read_head(&without), Err(name.clone()));
            let mut bent = headers.clone();
            bent.insert(&name, HeaderValue::from_bytes(b"\xff").expect("opaque bytes"));
            assert_eq!(read_head(&bent), Err(name));
        }
    }

    proptest! {
        #[test]
        fn any_type_name_makes_a_bounded_header(name in ".{0,400}") {
            let mut headers = HeaderMap::new();
            write_head(&head(&name), &mut headers);
            prop_assert!(headers[TYPE].len() <= ESCAPED_MAX);
            prop_assert!(read_head(&headers).is_ok());
        }

        #[test]
        fn any_tag_is_read_or_refused(text in "\"?[0-9a-f+]{0,18}-[0-9a-f]{0,18}\"?") {
            if let Some(found) = fingerprint(&text) {
                prop_assert_eq!(etag(found), text);
            }
        }
    }
}
