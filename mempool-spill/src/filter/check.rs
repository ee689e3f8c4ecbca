//! What must hold of every filter, for whoever writes one.

use super::{Block, Filter};

/// Tries `filter` with blocks of many sizes, and with bytes that it never made.
///
/// # Panics
/// When a block does not come back, when one grows beyond what was said, or when damaged bytes give more than there may
/// be, or other ones from a filter that [authenticates](Filter::authenticates).
pub fn check_filter(filter: &impl Filter) {
    let parameters = filter.begin().expect("the filter begins");
    filter.accepts(&parameters).expect("the filter accepts what it has begun");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (index, len) in (0..).zip([0_usize, 1, 2, 15, 16, 17, 100, 4095, 4096, 70_000, 262_144]) {
        for repeats in [false, true] {
            let byte = |at: usize| if repeats { at / 100 } else { 0 }.to_le_bytes()[0];
            let noise = |byte: u8| if repeats { byte } else { next().to_le_bytes()[3] };
            let plain: Vec<u8> = (0..len).map(byte).map(noise).collect();
            let header = &[7; 128][..];
            let block = Block { parameters: &parameters, header, index, last: repeats };
            let mut encoded = b"before".to_vec();
            filter.encode(&block, &plain, &mut encoded).expect("the filter encodes");
            let encoded = encoded.strip_prefix(b"before").expect("it appends");
            assert!(encoded.len() <= filter.encoded_bytes_max(len), "{len}: {}", encoded.len());
            let decode = |block: &Block<'_>, bytes: &[u8]| {
                let mut decoded = b"before".to_vec();
                filter.decode(block, bytes, len, &mut decoded).ok()?;
                Some(decoded.strip_prefix(b"before").expect("it appends").to_vec())
            };
            assert!(decode(&block, encoded).as_deref() == Some(&plain[..]), "{len} come back");
            for _ in 0..50 {
                let mut damaged = encoded.to_vec();
                let at = usize::try_from(next()).unwrap_or(usize::MAX) % damaged.len().max(1);
                match damaged.get_mut(at) {
                    Some(byte) if next() % 2 == 0 => *byte ^= next().to_le_bytes()[2] | 1,
                    _ => damaged.truncate(at),
                }
                let got = decode(&block, &damaged);
                assert!(got.iter().all(|got| got.len() <= len), "no more than there may be");
                let refused = damaged == encoded || got.is_none();
                assert!(refused || !filter.authenticates(), "damage is refused");
            }
            if filter.authenticates() {
                let other = Block { index: index.wrapping_add(1), ..block };
                assert!(decode(&other, encoded).is_none(), "another place");
                assert!(
                    decode(&Block { last: !block.last, ..block }, encoded).is_none(),
                    "the last"
                );
                assert!(
                    decode(&Block { header: &[8; 128], ..block }, encoded).is_none(),
                    "a header"
                );
            }
        }
    }
}
