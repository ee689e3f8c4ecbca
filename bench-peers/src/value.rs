//! What is stored: values whose every word counts, made fast, and told apart without keeping them.

/// Words of one page.
const PAGE_WORDS: usize = 512;

/// The next number of a sequence that looks random (Steele, Lea, Flood: SplitMix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Values of one size. All share their random bytes but for the first word of each page, which says value and page:
/// making one costs a copy, and the sum of its words is known.
pub(crate) struct Values {
    pattern: Vec<u8>,
    /// The sum of the words that all values share.
    shared: u64,
}

impl Values {
    pub(crate) fn new(bytes: usize) -> Self {
        let words = bytes / 8;
        let mut pattern = Vec::with_capacity(bytes);
        let mut shared = 0_u64;
        for at in 0..words {
            let word = if at.is_multiple_of(PAGE_WORDS) { 0 } else { mix(at as u64) };
            shared = shared.wrapping_add(word);
            pattern.extend_from_slice(&word.to_ne_bytes());
        }
        Self { pattern, shared }
    }

    pub(crate) fn make(&self, id: u64) -> Vec<u8> {
        let mut value = self.pattern.clone();
        for (page, bytes) in value.chunks_mut(PAGE_WORDS * 8).enumerate() {
            bytes[..8].copy_from_slice(&mark(id, page).to_ne_bytes());
        }
        value
    }

    /// Whether `bytes` are the value of `id`: sums every word, and looks at the first one of all.
    pub(crate) fn is(&self, id: u64, bytes: &[u8]) -> bool {
        let pages = self.pattern.len().div_ceil(PAGE_WORDS * 8);
        let marks = (0..pages).fold(0_u64, |sum, page| sum.wrapping_add(mark(id, page)));
        bytes.len() == self.pattern.len()
            && bytes[..8] == mark(id, 0).to_ne_bytes()
            && sum(bytes) == self.shared.wrapping_add(marks)
    }
}

fn mark(id: u64, page: usize) -> u64 {
    mix(id << 20 | page as u64)
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    words.fold(0, |sum, word| {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        sum.wrapping_add(u64::from_ne_bytes(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_itself_and_no_other() {
        let values = Values::new(3 * 4096);
        let value = values.make(7);
        assert!(values.is(7, &value));
        assert!(!values.is(8, &value));
        assert!(!values.is(7, &value[..4096]));
        for at in [0, 4096, 12_287] {
            let mut other = value.clone();
            other[at] ^= 1;
            assert!(!values.is(7, &other), "byte {at}");
        }
    }
}
