//! Which bytes of a frame are asked for: the header `Range`, and `Content-Range` in the answer. (RFC 9110, section 14.)

use std::ops::Range;

/// The bytes of a frame that are wanted: from one offset on, up to another or to the end.
///
/// *Units*: bytes from the start of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub from: u64,
    /// The byte behind the last one; `None` for the end of the frame.
    pub to: Option<u64>,
}

impl ByteRange {
    /// The whole frame.
    pub const WHOLE: Self = Self { from: 0, to: None };

    /// Whether it has no bytes, whatever the frame has.
    pub(crate) fn is_empty(self) -> bool {
        self.to.is_some_and(|to| to <= self.from)
    }

    /// What the header `Range` says for it, which is not empty; `None` where none is needed.
    pub(crate) fn header(self) -> Option<String> {
        match (self.from, self.to) {
            (0, None) => None,
            (from, None) => Some(format!("bytes={from}-")),
            // The header names the last byte.
            (from, Some(to)) => Some(format!("bytes={from}-{}", to.saturating_sub(1))),
        }
    }
}

impl From<Range<u64>> for ByteRange {
    fn from(range: Range<u64>) -> Self {
        Self { from: range.start, to: Some(range.end) }
    }
}

/// What a header `Range` asks of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it: no header, several ranges, or a unit that is none of ours, which a server may ignore.
    Whole,
    /// A part, which is not empty and lies within it.
    Part(Range<u64>),
    /// Nothing that it has.
    Outside,
    /// The header is not what the RFC allows.
    Bent,
}

impl Selection {
    /// Reads the header for a frame of `bytes`. A number that is larger than any length counts as behind the end.
    pub(crate) fn of(header: &str, bytes: u64) -> Self {
        let Some((unit, set)) = header.split_once('=') else { return Self::Bent };
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return Self::Whole;
        }
        let Some((first, last)) = set.trim().split_once('-') else { return Self::Bent };
        match (number(first), number(last)) {
            (Digits::None, Digits::Number(0)) => Self::Outside,
            (Digits::None, Digits::Number(suffix)) => {
                Self::within(bytes.saturating_sub(suffix)..bytes)
            }
            (Digits::Number(first), Digits::None) => Self::within(first..bytes),
            (Digits::Number(first), Digits::Number(last)) if first <= last => {
                Self::within(first..last.saturating_add(1).min(bytes))
            }
            _ => Self::Bent,
        }
    }

    fn within(range: Range<u64>) -> Self {
        if range.is_empty() { Self::Outside } else { Self::Part(range) }
    }
}

enum Digits {
    None,
    Number(u64),
    Bent,
}

/// A number of any length; what does not fit is as large as can be.
fn number(text: &str) -> Digits {
    match text {
        "" => Digits::None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Digits::Number(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Digits::Bent,
    }
}

/// Reads `Content-Range: bytes first-last/whole`.
pub(crate) fn content_range(header: &str) -> Option<(Range<u64>, u64)> {
    let (part, whole) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, whole): (u64, u64, u64) =
        (first.parse().ok()?, last.parse().ok()?, whole.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && end <= whole).then_some((first..end, whole))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_ranges_and_suffixes_are_read_as_the_rfc_says() {
        let of = |header| Selection::of(header, 1000);
        assert_eq!(of("bytes=0-499"), Selection::Part(0..500));
        assert_eq!(of("bytes=500-999"), Selection::Part(500..1000));
        assert_eq!(of("bytes=-500"), Selection::Part(500..1000));
        assert_eq!(of("bytes=500-"), Selection::Part(500..1000));
        assert_eq!(of("bytes=0-0"), Selection::Part(0..1));
        assert_eq!(of("bytes=-1"), Selection::Part(999..1000));
        assert_eq!(of("Bytes= 0-0"), Selection::Part(0..1));
        assert_eq!(of("bytes=0-99999999999999999999999"), Selection::Part(0..1000));
        assert_eq!(of("bytes=0-18446744073709551615"), Selection::Part(0..1000));
        assert_eq!(of("bytes=-99999999999999999999999"), Selection::Part(0..1000));
    }

    #[test]
    fn what_the_frame_does_not_have_is_outside() {
        for header in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"]
        {
            assert_eq!(Selection::of(header, 1000), Selection::Outside, "{header}");
        }
        assert_eq!(Selection::of("bytes=0-", 0), Selection::Outside);
    }

    #[test]
    fn several_ranges_and_other_units_ask_for_the_whole() {
        for header in ["bytes=0-1,5-6", "lines=1-2", "none="] {
            assert_eq!(Selection::of(header, 1000), Selection::Whole, "{header}");
        }
    }

    #[test]
    fn what_is_no_range_is_bent() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=+1-2", "bytes=1--2"]
        {
            assert_eq!(Selection::of(header, 1000), Selection::Bent, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_frame(header in "bytes=[0-9]{0,25}-?[0-9]{0,25}", bytes: u64) {
            if let Selection::Part(part) = Selection::of(&header, bytes) {
                prop_assert!(part.start < part.end && part.end <= bytes);
            }
        }

        #[test]
        fn what_a_client_asks_is_what_a_server_reads(bytes in 1..u64::MAX, a: u64, b: u64) {
            let (from, to) = (a.min(b) % bytes, (a.max(b) % bytes).max(a.min(b) % bytes));
            let asked = ByteRange { from, to: Some(to.saturating_add(1)) };
            let header = asked.header().expect("a range with an end");
            prop_assert_eq!(Selection::of(&header, bytes), Selection::Part(from..to + 1));
        }

        #[test]
        fn a_content_range_that_is_read_is_within_the_whole(text in "bytes [0-9]{1,21}-[0-9]{1,21}/[0-9]{1,21}") {
            if let Some((part, whole)) = content_range(&text) {
                prop_assert!(part.start < part.end && part.end <= whole);
            }
        }
    }
}
