//! The laws that every codec must keep, as functions, and [`codec_laws!`](crate::codec_laws) that makes tests of them.
//!
//! Each function panics with what it found, as a test does.

#![expect(
    clippy::missing_panics_doc,
    reason = "each law panics with what it found, as a test does"
)]

use std::sync::Arc;
use std::time::Duration;

use mempool_core::testing::{decode, encode, encode_value, room};
use mempool_core::{Buffer, Codec, Header, Ledger, MemoryStore, Section, SpillStore, Trust};

/// More than any value of a test takes.
const LIMIT_BYTES: u64 = 1 << 32;

/// What a codec may take from the ledger for a frame that lies about its lengths, beside what its header says that the
/// value is charged: so much for each byte of the frame, and so much in all.
const GRANTED_BYTES_PER_BYTE: u64 = 256;
/// See [`GRANTED_BYTES_PER_BYTE`].
const GRANTED_BYTES: u64 = 64 << 10;

/// A codec with a way to compare: what [`codec_laws!`](crate::codec_laws) makes of its arguments.
pub struct Subject<'a, C, T, S> {
    /// The codec.
    pub codec: &'a C,
    /// Makes a fresh value of a number.
    pub make: &'a dyn Fn(u64) -> T,
    /// Whether a view shows a value.
    pub shows: S,
}

impl<C, T, S> Subject<'_, C, T, S>
where
    C: Codec<T>,
    T: Send + Sync + 'static,
    S: Fn(&C::View, &T) -> bool,
{
    /// `admit` gives a view that shows the value; so does reading back what `mmwrite` wrote, trusted or not.
    pub fn round_trip(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let (resident, charged) = self.admit(&ledger, number);
            assert!((self.shows)(self.codec.view(&resident), &(self.make)(number)), "{number}");
            let frame = encode(self.codec, &resident, charged).expect("a resident is written");
            for trust in [Trust::Own, Trust::Saved, Trust::Foreign] {
                let mut room = room(&ledger);
                let back = decode(self.codec, &frame, trust, &mut room).expect("it is read back");
                let shows = (self.shows)(self.codec.view(&back), &(self.make)(number));
                assert!(shows, "value {number} read back as {trust:?}");
            }
        }
    }

    /// What `admit` charges is at least the hint, and comes back to the last byte.
    pub fn exact_size(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let hint = self.codec.size_hint(&(self.make)(number)).expect("a value has a size");
            let mut room = room(&ledger);
            let resident = self.codec.admit((self.make)(number), &mut room);
            let Ok(resident) = resident else { panic!("value {number} is admitted") };
            assert!(ledger.usage().used_bytes >= hint, "a hint is a lower bound");
            drop((resident, room));
            assert_eq!(ledger.usage().used_bytes, 0, "value {number} pays back what it took");
        }
    }

    /// `mmwrite` writes the same bytes each time, and `mmwrite_value` the same as `mmwrite`.
    pub fn same_bytes(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let (resident, _) = self.admit(&ledger, number);
            let first = encode(self.codec, &resident, 0).expect("a resident is written");
            let again = encode(self.codec, &resident, 0).expect("a resident is written");
            assert_eq!(&first[..], &again[..], "value {number} written twice");
            let value = (self.make)(number);
            let straight = encode_value(self.codec, &value, 0).expect("a value is written");
            assert_eq!(&first[..], &straight[..], "value {number} written without being resident");
        }
    }

    /// A frame that ends early, or has bits flipped behind its header, gives an error or a value that can be looked
    /// at, and never a panic.
    pub fn damage(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let (resident, charged) = self.admit(&ledger, number);
            let frame = encode(self.codec, &resident, charged).expect("a resident is written");
            let header = 144.min(frame.len());
            let step = (frame.len() / 512).max(1);
            for end in (header..frame.len()).step_by(step) {
                self.look(&ledger, &frame[..end], number);
            }
            for at in (header..frame.len()).step_by(step) {
                for bit in 0..8 {
                    let mut bent = frame.to_vec();
                    bent[at] ^= 1 << bit;
                    self.look(&ledger, &bent, number);
                }
            }
        }
    }

    /// A frame that starts at an address with no more than the alignment that its header promises reads back; one at a
    /// worse address gives an error or the right value.
    pub fn alignment(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let (resident, charged) = self.admit(&ledger, number);
            let frame = encode(self.codec, &resident, charged).expect("a resident is written");
            let align = header_of(&frame).align as usize;
            for shift in (0..64).chain([align / 2, align]) {
                let placed = placed(&frame, align, shift);
                for trust in [Trust::Own, Trust::Foreign] {
                    let mut room = room(&ledger);
                    let back = decode(self.codec, &placed, trust, &mut room);
                    let kept = !shift.is_multiple_of(align);
                    assert!(back.is_ok() || kept, "value {number} at {shift}: {:?}", back.err());
                    let Ok(back) = back else { continue };
                    let shows = (self.shows)(self.codec.view(&back), &(self.make)(number));
                    assert!(shows, "value {number} read back from {shift} as {trust:?}");
                }
            }
        }
    }

    /// A frame whose content claims other lengths and offsets, or whose section table does, gives an error or a value
    /// that can be looked at; and what is taken from the ledger meanwhile has a bound that its claims do not move: what
    /// the header says that the value is charged, 256 bytes for each byte of the frame, and 64 KiB.
    pub fn hostile_lengths(&self, values: u64) {
        for number in 0..values {
            let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
            let (resident, charged) = self.admit(&ledger, number);
            let frame = encode(self.codec, &resident, charged).expect("a resident is written");
            let header = header_of(&frame);
            let content = usize::try_from(header.header_bytes()).expect("it is in memory");
            for_each_claim(&frame, content, &mut |bent| self.look_bounded(bent, charged, number));
            for bent in other_tables(&header, &frame) {
                self.look_bounded(&bent, charged, number);
            }
        }
    }

    fn look_bounded(&self, frame: &[u8], charged: u64, number: u64) {
        let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
        self.look(&ledger, frame, number);
        let usage = ledger.usage();
        let bound = (frame.len() as u64).saturating_mul(GRANTED_BYTES_PER_BYTE);
        let bound = bound.saturating_add(charged).saturating_add(GRANTED_BYTES);
        assert!(usage.peak_bytes <= bound, "{} bytes taken, {bound} allowed", usage.peak_bytes);
        assert_eq!(usage.used_bytes, 0, "what was taken was paid back");
    }

    fn look(&self, ledger: &Arc<Ledger>, frame: &[u8], number: u64) {
        let frame = Buffer::uncounted(frame).expect("memory for a frame");
        let mut room = room(ledger);
        if let Ok(resident) = decode(self.codec, &frame, Trust::Foreign, &mut room) {
            let _ = (self.shows)(self.codec.view(&resident), &(self.make)(number));
        }
    }

    fn admit(&self, ledger: &Arc<Ledger>, number: u64) -> (C::Resident, u64) {
        let mut room = room(ledger);
        let value = (self.make)(number);
        let charged = self.codec.size_hint(&value).expect("a value has a size");
        let Ok(resident) = self.codec.admit(value, &mut room) else {
            panic!("value {number} is admitted")
        };
        (resident, charged)
    }
}

fn header_of(frame: &[u8]) -> Header {
    let store = MemoryStore::new();
    Header::decode(frame, |bytes| store.checksum(bytes)).expect("a frame that was just written")
}

/// The frame at an address that is `shift` behind a multiple of `align` and of nothing more.
fn placed(frame: &[u8], align: usize, shift: usize) -> Buffer {
    let mut bytes = vec![0; align * 4 + shift + frame.len()];
    let address = bytes.as_ptr().addr();
    let start = address.next_multiple_of(2 * align) + align + shift - address;
    bytes[start..start + frame.len()].copy_from_slice(frame);
    Buffer::adopt(bytes, None).slice(start..start + frame.len())
}

/// Calls `with` with `frame` after each of its aligned words of 4 and of 8 bytes, and each number of a format that marks
/// the width of its numbers, was set to each of a few lengths that are likely to be wrong.
fn for_each_claim(frame: &[u8], content: usize, with: &mut dyn FnMut(&[u8])) {
    let len = (frame.len() - content) as u64;
    let claims = [
        0,
        1,
        len,
        len + 1,
        len.wrapping_sub(1),
        1 << 20,
        1 << 31,
        1 << 40,
        u64::MAX / 2,
        u64::MAX,
    ];
    let mut bent = frame.to_vec();
    let mut set = |at: usize, word: &[u8]| {
        if let Some(place) = bent.get_mut(at..at + word.len()) {
            place.copy_from_slice(word);
            with(&bent);
            bent[at..at + word.len()].copy_from_slice(&frame[at..at + word.len()]);
        }
    };
    let step = (frame.len() - content).div_ceil(512).max(1);
    for at in (content..frame.len()).step_by(step) {
        for claim in claims {
            if at.is_multiple_of(4) {
                let low = u32::try_from(claim).unwrap_or(u32::MAX);
                set(at, &low.to_le_bytes());
            }
            if at.is_multiple_of(8) {
                set(at, &claim.to_le_bytes());
            }
            let mut marked = [253; 9];
            marked[1..].copy_from_slice(&claim.to_le_bytes());
            set(at, &marked);
        }
    }
}

/// The frame with other section tables: sections that are missing, empty, too short, split or one too many, and lengths
/// and offsets that point out of it; and with other claims of what the value is charged.
fn other_tables(header: &Header, frame: &[u8]) -> Vec<Vec<u8>> {
    let content: Vec<Vec<u8>> = header.sections.iter().map(|it| part(frame, it).to_vec()).collect();
    let mut tables = vec![Vec::new(), [content.clone(), vec![Vec::new()]].concat()];
    tables.push(vec![content.concat()]);
    for at in 0..content.len() {
        let len = content[at].len();
        for end in [0, 1, len / 2, len.saturating_sub(1)] {
            let mut shorter = content.clone();
            shorter[at].truncate(end);
            tables.push(shorter.clone());
            shorter.insert(at + 1, content[at][end.min(len)..].to_vec());
            tables.push(shorter);
        }
        let mut fewer = content.clone();
        fewer.remove(at);
        tables.push(fewer);
        let mut longer = content.clone();
        longer[at].extend_from_slice(&[0; 9]);
        tables.push(longer);
    }
    let mut frames: Vec<Vec<u8>> = tables.iter().map(|table| framed(header, table)).collect();
    for wrong in [0, 1, header.frame_bytes, u64::MAX / 2, u64::MAX] {
        for at in 0..header.sections.len() {
            let (mut offset, mut bytes) = (header.clone(), header.clone());
            offset.sections[at].offset = wrong;
            bytes.sections[at].bytes = wrong;
            frames.extend([resealed(&offset, frame), resealed(&bytes, frame)]);
        }
    }
    frames.push(resealed(&Header { resident_bytes: 0, ..header.clone() }, frame));
    frames
}

fn part<'a>(frame: &'a [u8], section: &Section) -> &'a [u8] {
    let start = usize::try_from(section.offset).expect("it is in memory");
    &frame[start..start + usize::try_from(section.bytes).expect("it is in memory")]
}

/// A whole frame of these sections, each at the content's alignment.
fn framed(header: &Header, sections: &[Vec<u8>]) -> Vec<u8> {
    let align = u64::from(header.align);
    let empty = vec![Section { offset: 0, bytes: 0 }; sections.len()];
    let mut header = Header { sections: empty, ..header.clone() };
    header.content_offset = header.header_bytes().next_multiple_of(align);
    let mut end = header.content_offset;
    for (place, bytes) in header.sections.iter_mut().zip(sections) {
        *place = Section { offset: end.next_multiple_of(align), bytes: bytes.len() as u64 };
        end = place.offset + place.bytes;
    }
    header.frame_bytes = end;
    let store = MemoryStore::new();
    let mut frame = header.encode(|bytes| store.checksum(bytes));
    for (place, bytes) in header.sections.iter().zip(sections) {
        frame.resize(usize::try_from(place.offset).expect("it is in memory"), 0);
        frame.extend_from_slice(bytes);
    }
    frame.resize(usize::try_from(end).expect("it is in memory"), 0);
    frame
}

/// `frame` behind another header of the same length.
fn resealed(header: &Header, frame: &[u8]) -> Vec<u8> {
    let store = MemoryStore::new();
    let mut bent = header.encode(|bytes| store.checksum(bytes));
    bent.extend_from_slice(&frame[bent.len()..]);
    bent
}

/// Makes a module of tests of a codec: round trip, exact size, same bytes, damage, alignment, hostile lengths.
///
/// The arguments: a name for the module, the codec, a function that makes the n-th value, and one that says whether a
/// view shows a value.
///
/// ```
/// mempool_codec::codec_laws!(
///     blob,
///     mempool_core::Blob,
///     |n: u64| vec![n as u8; n as usize * 7],
///     |view: &mempool_core::Buffer, value: &Vec<u8>| view[..] == value[..]
/// );
/// ```
#[macro_export]
macro_rules! codec_laws {
    ($name:ident, $codec:expr, $make:expr, $shows:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            macro_rules! subject {
                () => {
                    $crate::laws::Subject { codec: &$codec, make: &$make, shows: $shows }
                };
            }

            #[test]
            fn round_trip() {
                subject!().round_trip(64);
            }

            #[test]
            fn exact_size() {
                subject!().exact_size(64);
            }

            #[test]
            fn same_bytes() {
                subject!().same_bytes(64);
            }

            #[test]
            fn damage() {
                subject!().damage(12);
            }

            #[test]
            fn alignment() {
                subject!().alignment(12);
            }

            #[test]
            fn hostile_lengths() {
                subject!().hostile_lengths(12);
            }
        }
    };
}
