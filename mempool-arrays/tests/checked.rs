//! Buffers that somebody else has made: what is found in them, wherever it stands.
#![allow(clippy::unwrap_used, reason = "a test")]

mod frames;

use mempool_arrays::{ArrayError, Binary, Layout, Raw, Strings, Values};
use mempool_core::{Buffer, Error, FrameDamage, MemoryStore, Pool, PoolOptions, SpillStore};

use frames::{frame, header};

/// Text is checked in pieces of so many bytes, cut where characters meet.
const PIECE: usize = 16 << 10;

fn binary(text: &[u8], offsets: &[usize]) -> Binary {
    let offsets: Values<i64> = offsets.iter().map(|&at| i64::try_from(at).unwrap()).collect();
    Binary::from_buffers(offsets.buffer().clone(), Buffer::uncounted(text).unwrap()).unwrap()
}

/// Holds the check against the standard library's, slot by slot.
fn hold_against_std(text: &[u8], offsets: &[usize]) {
    let is_text = |pair: &[usize]| std::str::from_utf8(&text[pair[0]..pair[1]]).is_ok();
    let wrong = offsets.windows(2).position(|pair| !is_text(pair));
    match (wrong, Strings::from_binary(binary(text, offsets))) {
        (None, Ok(strings)) => {
            let expected = offsets.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            assert!(strings.iter().map(str::as_bytes).eq(expected));
        }
        // Where a string starts within a character, the one before it ends there.
        (Some(wrong), Err(ArrayError::Utf8 { index })) => {
            let index = usize::try_from(index).unwrap();
            assert!(index == wrong || index == wrong + 1, "string {index}, and {wrong} is wrong");
        }
        (wrong, found) => panic!("{wrong:?} is wrong, and {:?}", found.map(drop)),
    }
}

#[test]
fn text_is_checked_as_slot_by_slot_wherever_pieces_meet() {
    let middle = "é東🦀é".as_bytes();
    for before in PIECE - 12..=PIECE + 2 {
        let text = [&vec![b'a'; before], middle, &vec![b'b'; PIECE + 100]].concat();
        let ends = [0, before, before + 2, before + 5, before + 9, before + 11, text.len()];
        hold_against_std(&text, &ends);
        for at in 0..=middle.len() {
            hold_against_std(&text, &[0, before + at, text.len()]);
            for byte in [0x80, 0xff, b'c', 0xf0] {
                let mut bent = text.clone();
                bent[before + at] = byte;
                hold_against_std(&bent, &ends);
            }
        }
        // An end within a character.
        let cut = &text[..before + 7];
        hold_against_std(cut, &[0, before, cut.len()]);
    }
    let all_wrong = vec![0x80; 3 * PIECE];
    hold_against_std(&all_wrong, &[0, 1, all_wrong.len()]);
    hold_against_std(&[], &[0, 0, 0]);
}

#[test]
fn a_slot_that_starts_behind_the_first_byte_is_checked_from_there_on() {
    let text = "\u{80}é".as_bytes();
    let strings = Strings::from_binary(binary(&[&[0xff], text].concat(), &[1, 3, 5])).unwrap();
    assert_eq!(strings.iter().rev().collect::<Vec<_>>(), ["é", "\u{80}"]);
}

#[test]
fn offsets_that_fall_are_found_wherever_they_do() {
    let check = |offsets: Vec<i64>| {
        let offsets = Values::from(offsets).buffer().clone();
        Binary::<i64>::from_buffers(offsets, Buffer::uncounted(&[0; 2000]).unwrap()).map(drop)
    };
    let rising: Vec<i64> = (0..=2000).collect();
    assert_eq!(check(rising.clone()), Ok(()));
    for at in [1, 2, 999, 1998, 1999] {
        for found in [i64::MIN, -1, i64::try_from(at).unwrap() - 2] {
            let mut falling = rising.clone();
            falling[at] = found;
            let (index, least) = (at as u64, rising[at - 1]);
            assert_eq!(check(falling), Err(ArrayError::Offset { index, found, least, most: 2000 }));
        }
        let mut jumping = rising.clone();
        jumping[at] = i64::MAX;
        let (index, found) = (at as u64 + 1, rising[at + 1]);
        let error = ArrayError::Offset { index, found, least: i64::MAX, most: 2000 };
        assert_eq!(check(jumping), Err(error));
    }
}

/// What reading a frame as `A` says that is wrong.
fn refused<A: Layout>(pool: &Pool<Raw>, frame: &[u8]) -> Error {
    let frame = Buffer::uncounted(frame).unwrap();
    pool.read_frame::<A>(&frame).map(drop).unwrap_err()
}

/// A frame of 8 MiB and more has its checksum computed by another thread while the codec looks at it.
#[test]
fn a_large_frame_is_believed_when_checksum_and_codec_both_agree() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let array: Strings = std::iter::repeat_n("a".repeat(100_000), 90).collect();
    let whole = frame(&array);
    assert!(whole.len() > 8 << 20);
    assert_eq!(*pool.read_frame::<Strings>(&whole).unwrap(), array);
    assert_eq!(pool.stats().used_bytes, 0, "a view of what the caller has");

    let content_is_bent = |error: Error| match error {
        Error::Frame { damage: FrameDamage::Checksum { part, .. }, .. } => {
            assert_eq!(part, "content")
        }
        other => panic!("{other:?}"),
    };
    for byte in [b'b', 0xff] {
        let mut bent = whole.to_vec();
        bent[5_000_000] = byte;
        content_is_bent(refused::<Strings>(&pool, &bent));
        // It is of another type as well, and nobody looks at that.
        content_is_bent(refused::<Values<u8>>(&pool, &bent));
    }
    let error = refused::<Values<u8>>(&pool, &whole);
    assert!(matches!(error, Error::Frame { damage: FrameDamage::Format { .. }, .. }), "{error:?}");
    let error = refused::<Strings>(&pool, &whole[..whole.len() - 1]);
    assert!(matches!(error, Error::Frame { damage: FrameDamage::Length { .. }, .. }), "{error:?}");

    // Somebody who seals what is no text.
    let mut forged = whole.to_vec();
    forged[5_000_000] = 0xff;
    let store = MemoryStore::new();
    let mut header = header(&whole);
    let content = usize::try_from(header.header_bytes()).unwrap();
    header.content_checksum = store.checksum(&forged[content..]);
    forged[..content].copy_from_slice(&header.encode(|bytes| store.checksum(bytes)));
    let Error::Codec(error) = refused::<Strings>(&pool, &forged) else { panic!("the codec's own") };
    let found = error.source.downcast_ref::<ArrayError>();
    assert!(matches!(found, Some(ArrayError::Utf8 { .. })), "{found:?}");
}
