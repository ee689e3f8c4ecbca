//! The laws that every codec must keep, as functions, and [`codec_laws!`](crate::codec_laws) that makes tests of them.
//!
//! Each function panics with what it found, as a test does.

#![expect(
    clippy::missing_panics_doc,
    reason = "each law panics with what it found, as a test does"
)]

use std::time::Duration;

use mempool_core::testing::{decode, encode, encode_value, room};
use mempool_core::{Buffer, Codec, Ledger, Trust};

/// More than any value of a test takes.
const LIMIT_BYTES: u64 = 1 << 32;

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

    fn look(&self, ledger: &std::sync::Arc<Ledger>, frame: &[u8], number: u64) {
        let frame = Buffer::uncounted(frame).expect("memory for a frame");
        let mut room = room(ledger);
        if let Ok(resident) = decode(self.codec, &frame, Trust::Foreign, &mut room) {
            let _ = (self.shows)(self.codec.view(&resident), &(self.make)(number));
        }
    }

    fn admit(&self, ledger: &std::sync::Arc<Ledger>, number: u64) -> (C::Resident, u64) {
        let mut room = room(ledger);
        let value = (self.make)(number);
        let charged = self.codec.size_hint(&value).expect("a value has a size");
        let Ok(resident) = self.codec.admit(value, &mut room) else {
            panic!("value {number} is admitted")
        };
        (resident, charged)
    }
}

/// Makes a module of tests of a codec: round trip, exact size, same bytes, damage.
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
        }
    };
}
