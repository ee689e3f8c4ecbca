//! XChaCha20-Poly1305 written down from its specifications (RFC 8439, draft-irtf-cfrg-xchacha-03) for tests alone: slow,
//! plain, and sharing no line with what it is compared to.

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    std::array::from_fn(|at| u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap()))
}

fn quarter(s: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (x, y, z, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        s[x] = s[x].wrapping_add(s[y]);
        s[z] = (s[z] ^ s[x]).rotate_left(by);
    }
}

fn rounds(mut s: [u32; 16]) -> [u32; 16] {
    for _ in 0..10 {
        for at in 0..4 {
            quarter(&mut s, [at, at + 4, at + 8, at + 12]);
        }
        for at in 0..4 {
            quarter(&mut s, [at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4]);
        }
    }
    s
}

fn state(key: &[u8; 32], tail: [u32; 4]) -> [u32; 16] {
    let mut s = [0; 16];
    s[..4].copy_from_slice(&words::<4>(b"expand 32-byte k"));
    s[4..12].copy_from_slice(&words::<8>(key));
    s[12..].copy_from_slice(&tail);
    s
}

/// The stream from block `counter` on.
fn stream_from(key: &[u8; 32], nonce: &[u8; 24], counter: u32, len: usize) -> Vec<u8> {
    let hashed = rounds(state(key, words::<4>(&nonce[..16])));
    let subkey: Vec<u8> =
        hashed[..4].iter().chain(&hashed[12..]).flat_map(|word| word.to_le_bytes()).collect();
    let subkey: [u8; 32] = subkey.try_into().unwrap();
    let [low, high] = words::<2>(&nonce[16..]);
    let mut out = Vec::new();
    for counter in counter.. {
        if out.len() >= len {
            break;
        }
        let s = state(&subkey, [counter, 0, low, high]);
        let mixed = rounds(s).into_iter().zip(s);
        out.extend(mixed.flat_map(|(a, b)| a.wrapping_add(b).to_le_bytes()));
    }
    out.truncate(len);
    out
}

/// What is added to a message of so many bytes.
pub(crate) fn stream(key: &[u8; 32], nonce: &[u8; 24], len: usize) -> Vec<u8> {
    stream_from(key, nonce, 1, len)
}

/// Poly1305 with numbers of base 2^26, as in schoolbooks.
fn poly1305(key: &[u8], message: &[u8]) -> [u8; 16] {
    const MASK: u64 = (1 << 26) - 1;
    let limbs = |number: u128, top: u64| -> [u64; 5] {
        std::array::from_fn(|at| {
            let limb = (number >> (26 * at)) as u64 & MASK;
            if at == 4 { limb | top << 24 } else { limb }
        })
    };
    let number = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().unwrap());
    let r = limbs(number(&key[..16]) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff, 0);
    let mut h = [0_u64; 5];
    for chunk in message.chunks(16) {
        let mut padded = [0; 17];
        padded[..chunk.len()].copy_from_slice(chunk);
        padded[chunk.len()] = 1;
        let block = limbs(number(&padded[..16]), u64::from(padded[16]));
        h.iter_mut().zip(block).for_each(|(h, b)| *h += b);
        let mut product = [0_u128; 5];
        for (i, &a) in h.iter().enumerate() {
            for (j, &b) in r.iter().enumerate() {
                let wrap = if i + j >= 5 { 5 } else { 1 };
                product[(i + j) % 5] += u128::from(a) * u128::from(b) * wrap;
            }
        }
        let mut carry = 0_u128;
        for (h, p) in h.iter_mut().zip(product) {
            let sum = p + carry;
            *h = sum as u64 & MASK;
            carry = sum >> 26;
        }
        let mut carry = carry as u64 * 5;
        for h in &mut h {
            *h += carry;
            carry = *h >> 26;
            *h &= MASK;
        }
        h[0] += carry * 5;
    }
    // Carries once more, then what is left of 2^130 - 5.
    for _ in 0..2 {
        let mut carry = 0;
        for h in &mut h {
            *h += carry;
            carry = *h >> 26;
            *h &= MASK;
        }
        h[0] += carry * 5;
    }
    let mut less = h;
    less[0] += 5;
    let mut carry = 0;
    for l in &mut less {
        *l += carry;
        carry = *l >> 26;
        *l &= MASK;
    }
    let h = if carry > 0 { less } else { h };
    let low = h.iter().enumerate().fold(0_u128, |sum, (at, &limb)| {
        sum.wrapping_add(u128::from(limb).wrapping_shl(26 * at as u32))
    });
    low.wrapping_add(number(&key[16..32])).to_le_bytes()
}

fn tag(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], encrypted: &[u8]) -> [u8; 16] {
    let mut message = aad.to_vec();
    message.resize(message.len().next_multiple_of(16), 0);
    message.extend_from_slice(encrypted);
    message.resize(message.len().next_multiple_of(16), 0);
    message.extend_from_slice(&(aad.len() as u64).to_le_bytes());
    message.extend_from_slice(&(encrypted.len() as u64).to_le_bytes());
    poly1305(&stream_from(key, nonce, 0, 32), &message)
}

/// Decrypts what has its tag behind it.
pub(crate) fn open_block(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    block: &[u8],
) -> Option<Vec<u8>> {
    let (encrypted, found) = block.split_last_chunk::<16>()?;
    if tag(key, nonce, aad, encrypted) != *found {
        return None;
    }
    let stream = stream(key, nonce, encrypted.len());
    Some(encrypted.iter().zip(stream).map(|(a, b)| a ^ b).collect())
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// Section A.3.1 of the draft.
#[test]
fn it_is_what_the_draft_says() {
    let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
    let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let mut block = hex(concat!(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb",
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452",
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9",
        "21f9664c97637da9768812f615c68b13b52e",
        "c0875924c1c7987947deafd8780acf49",
    ));
    let plain = open_block(&key, &nonce, &aad, &block).unwrap();
    let said = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                 the future, sunscreen would be it.";
    assert_eq!(plain, said);
    block[3] ^= 1;
    assert!(open_block(&key, &nonce, &aad, &block).is_none());
}
