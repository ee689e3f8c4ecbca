//! Values that are made and checked as fast as memory allows: each word is its value's own, and all of them count.

/// Added from word to word. Odd, so that no two words of a value below 2^64 words are equal.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The next number of a sequence that looks random (Steele, Lea, Flood: SplitMix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(STEP);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The value of that number; `bytes` is a multiple of 8.
pub(crate) fn make(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes);
    let mut word = mix(number);
    while value.len() < bytes {
        value.extend_from_slice(&word.to_ne_bytes());
        word = word.wrapping_add(STEP);
    }
    value
}

/// Whether these are the bytes of that value. Looks at each of them, whatever it finds on the way.
pub(crate) fn is(number: u64, bytes: usize, found: &[u8]) -> bool {
    let mut word = mix(number);
    let mut difference = 0;
    for chunk in found.chunks_exact(8) {
        let mut here = [0; 8];
        here.copy_from_slice(chunk);
        difference |= word ^ u64::from_ne_bytes(here);
        word = word.wrapping_add(STEP);
    }
    found.len() == bytes && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_itself_and_no_other() {
        let value = make(7, 4096);
        assert_eq!(value.len(), 4096);
        assert!(is(7, 4096, &value));
        assert!(!is(8, 4096, &value) && !is(7, 4096, &value[..4088]) && !is(7, 4088, &value));
        for at in [0, 9, 4095] {
            let mut other = value.clone();
            other[at] ^= 1;
            assert!(!is(7, 4096, &other), "byte {at}");
        }
    }
}
