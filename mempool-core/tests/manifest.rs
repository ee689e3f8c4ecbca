//! The manifest of retained values: what is written is read, and what nobody wrote is refused.
//!
//! `MANIFESTS` says how many bent ones are read.
#![cfg(not(any(loom, shuttle)))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use mempool_core::{CodecName, Format, FrameDamage, Handle, Id, KeptFormat, KeptValue, Manifest};

/// Numbers that look random and come again with the same seed; xorshift (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

fn value(slot: u32, references: &[u32]) -> KeptValue {
    KeptValue {
        format: slot % 2,
        frame: Some(Handle { segment: 1, offset: 4096 * u64::from(slot), bytes: 300 }),
        id: Id { slot, generation: 3 },
        pool: 0x1234_5678_9abc_def0,
        charged_bytes: 1000,
        references: references.to_vec(),
    }
}

fn manifest() -> Manifest {
    let format =
        |name, tag| Format { codec: CodecName::new(name), type_tag: tag, pointer_width: 32 };
    let kept = |name, tag, of: &str| KeptFormat { format: format(name, tag), type_name: of.into() };
    let gone = KeptValue { frame: None, charged_bytes: 0, ..value(1, &[]) };
    Manifest {
        formats: vec![kept("rkyv", 7, "alloc::vec::Vec<u64>"), kept("bincode", 9, "")],
        values: vec![value(0, &[]), gone, value(2, &[0, 1, 0]), value(3, &[2])],
        names: [("", 3), ("a", 0), ("orders/2024", 2), ("öä\n", 3)]
            .map(|(n, v)| (n.into(), v))
            .into(),
    }
}

/// A checksum that sees every bit, as any store's does.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5, |sum: u64, &byte| {
        (sum.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

#[test]
fn what_is_written_is_read() {
    for manifest in [manifest(), Manifest::default()] {
        let bytes = manifest.encode(sum);
        assert_eq!(Manifest::decode(&bytes, sum).unwrap(), manifest);
    }
    let known = manifest();
    assert_eq!(known.known_as(), [Some("a"), Some("orders/2024"), Some("orders/2024"), Some("")]);
    let long = KeptFormat { type_name: "ä".repeat(2000), ..manifest().formats[0].clone() };
    let bytes = Manifest { formats: vec![long], ..Manifest::default() }.encode(sum);
    let read = Manifest::decode(&bytes, sum).unwrap();
    assert_eq!(read.formats[0].type_name, "ä".repeat(512), "a type's name is cut, between letters");
}

#[test]
fn what_no_writer_writes_is_refused() {
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        Manifest::decode(&manifest.encode(sum), sum).unwrap_err()
    };
    let field = |damage| match damage {
        FrameDamage::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(refused(&|m| m.values[2].references[0] = 2)), "values", "to itself");
    assert_eq!(field(refused(&|m| m.values[0].references.push(3))), "values", "a cycle");
    assert_eq!(
        field(refused(&|m| m.values[1].references.push(0))),
        "values",
        "of one that is gone"
    );
    assert_eq!(field(refused(&|m| m.values[0].format = 2)), "values");
    assert_eq!(field(refused(&|m| m.names[0].1 = 4)), "names");
    assert_eq!(field(refused(&|m| m.names.swap(0, 1))), "names");
    assert_eq!(field(refused(&|m| m.names[1].0 = String::new())), "names", "one name twice");
    assert_eq!(field(refused(&|m| m.names[3].0 = "ö".repeat(2049))), "names");
    let bytes = manifest().encode(sum);
    for end in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..end], sum).is_err(), "cut at {end}");
        assert!(Manifest::decode(&bytes[..end], |_| 0).is_err(), "cut at {end}");
    }
    let mut other = bytes.clone();
    other[8] = 2;
    let version = FrameDamage::Version { expected: 1, found: 2 };
    assert_eq!(Manifest::decode(&other, sum).unwrap_err(), version);
    let mut more = bytes;
    more.push(0);
    assert!(matches!(Manifest::decode(&more, sum), Err(FrameDamage::Length { .. })));
}

/// With its own checksum a bent manifest is refused. With one that fits, whatever it says, it is refused or is the manifest
/// that is written as the same bytes.
#[test]
fn bent_manifests_are_refused_or_are_what_they_say() {
    let cases = std::env::var("MANIFESTS").map_or(100_000, |text| text.parse::<u64>().unwrap());
    let bytes = manifest().encode(sum);
    let unsealed = manifest().encode(|_| 0);
    let (mut refused, mut read) = (0, 0);
    for seed in 1..=cases {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bend = |bytes: &[u8], random: &mut Random| {
            let mut bent = bytes.to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bent.len());
                match random.below(5) {
                    0 => bent[at] ^= 1 << random.below(8),
                    1 => bent[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                    2 => bent.truncate(at.max(1)),
                    3 => bent.insert(at, random.below(256) as u8),
                    _ => {
                        let from = random.below(bytes.len());
                        let count = random.below(bytes.len() - from).min(bent.len() - at);
                        bent[at..at + count].copy_from_slice(&bytes[from..from + count]);
                    }
                }
            }
            bent
        };
        let bent = bend(&bytes, &mut random);
        let found = Manifest::decode(&bent, sum);
        assert_eq!(found.is_ok(), bent == bytes, "seed {seed}");
        let mut bent = bend(&unsealed, &mut random);
        if random.below(2) == 0 && bent.len() >= 64 {
            // The field that is looked at first fits, so that more of them come further.
            let len = bent.len() as u64;
            bent[24..32].copy_from_slice(&len.to_le_bytes());
        }
        match Manifest::decode(&bent, |_| 0) {
            Ok(manifest) => {
                assert_eq!(manifest.encode(|_| 0), bent, "seed {seed}");
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{refused} refused, {read} read");
    assert!(refused > cases / 2 && read > cases / 20);
}
