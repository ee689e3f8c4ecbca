//! Containers of every version are kept and read for ever; and encryption is what another implementation says it is.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mempool_core::testing::{room, with_frame};
use mempool_core::{Id, Ledger, SpillStore};
use mempool_spill::{Container, Encrypt, Lz4, SpillOptions, SpillStorage, Zstd};

mod filtered;
mod xchacha;
use filtered::{KEY, Scratch, mixed, with_chain};
use xchacha::{open_block, stream};

const PREFIX: [u8; 19] = *b"a prefix of 19 byte";

fn fixed(options: SpillOptions, chain: &str) -> SpillOptions {
    chain.chars().fold(options, |options, filter| match filter {
        'l' => options.filter(Lz4),
        'z' => options.filter(Zstd::level(3)),
        _ => options.filter(Encrypt::with_key(KEY).with_fixed_prefix(PREFIX)),
    })
}

fn save(store: &SpillStorage, sections: &[(usize, &[u8])], path: &Path) {
    let id = Id { slot: 3, generation: 7 };
    with_frame(id, sections, |frame| store.save(frame, path)).unwrap().unwrap();
}

#[test]
fn version_1_of_every_chain() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/containers");
    let scratch = Scratch::new("golden");
    let numbers: Vec<u8> = (0..=255).collect();
    let text = b"mempool format version 1 ".repeat(20);
    let sections: [(usize, &[u8]); 3] = [(64, &text), (8, b""), (256, &numbers)];
    let plain = scratch.0.join("plain");
    save(&scratch.options().open().unwrap(), &sections, &plain);
    let plain = fs::read(&plain).unwrap();
    for chain in ["l", "z", "e", "le", "ze", "lze"] {
        let today = scratch.0.join(chain);
        save(&fixed(scratch.options(), chain).open().unwrap(), &sections, &today);
        let kept = golden.join(format!("{chain}-1.container"));
        if std::env::var_os("WRITE_GOLDEN").is_some() {
            fs::create_dir_all(&golden).unwrap();
            fs::copy(&today, &kept).unwrap();
        }
        let store = with_chain(scratch.options(), chain).open().unwrap();
        let ledger = Ledger::new(1 << 20, Duration::ZERO);
        let read = store.load(&kept, &mut room(&ledger)).unwrap();
        assert!(read[..] == plain[..], "{chain}: the frame without filters");
        let (kept, today) = (fs::read(&kept).unwrap(), fs::read(&today).unwrap());
        let header = |bytes: &[u8]| {
            let container = Container::decode(bytes).unwrap();
            // A later compressor may make less of it.
            Container { container_bytes: 0, ..container }
        };
        assert_eq!(header(&kept), header(&today));
        if chain == "e" {
            assert_eq!(kept, today, "the bytes on disk changed: that is a new version");
        }
    }
}

#[test]
fn another_implementation_opens_what_encrypt_has_written() {
    let scratch = Scratch::new("kat");
    let path = scratch.0.join("saved");
    let content = mixed(1, 600_000);
    save(&fixed(scratch.options(), "e").open().unwrap(), &[(64, &content)], &path);
    let bytes = fs::read(&path).unwrap();
    let (header, mut rest) = bytes.split_at(128);
    assert_eq!(header[80..96], stream(&KEY, &[0xff; 24], 16)[..], "the key id");
    assert_eq!(header[96..115], PREFIX);
    let mut context = header.to_vec();
    context[16..24].fill(0);
    context[56..64].fill(0);
    let mut plain = Vec::new();
    for index in 0_u32.. {
        let len = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (block, behind) = rest[16..].split_at(len);
        let mut nonce = [0; 24];
        nonce[..19].copy_from_slice(&PREFIX);
        nonce[19..23].copy_from_slice(&index.to_be_bytes());
        nonce[23] = u8::from(behind.is_empty());
        plain.extend(open_block(&KEY, &nonce, &context, block).expect("the tag is right"));
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    // Content, with its padding in front, then the header of 144 bytes.
    assert_eq!(plain.len(), 600_192);
    assert!(plain[48..600_048] == content[..]);
    assert!(plain[600_048..].starts_with(b"MEMPOOL\0"));
}
