//! Each error of arrays, and what provokes it; what the hostile bytes find by chance is found here by intent.
#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_arrays::{
    ArrayError, Binary, BinaryBuilder, Bits, Builder, Codes, Element, Layout, List, Nullable,
    Pooled, Strings, Table, Units, Values,
};
use mempool_core::{Buffer, Error, ErrorKind};

mod frames;
use frames::{Node, describe, read, read_as};

fn words<T: Element>(words: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(words).to_vec()
}

/// The node of strings with 64-bit offsets.
fn strings(slots: u64) -> Node {
    Node { kind: 5, width: 8, slots, ..Node::default() }
}

/// Reads strings of these offsets and bytes.
fn read_strings(offsets: &[i64], bytes: &[u8]) -> Result<Strings, ArrayError> {
    let sections = [describe(&[strings(offsets.len() as u64 - 1)]), words(offsets), bytes.to_vec()];
    read::<Strings>(&sections)
}

#[test]
fn a_description_that_cannot_be_read_is_refused() {
    let refused = |description: Vec<u8>| {
        let error = read::<Values<u8>>(&[description, Vec::new()]).unwrap_err();
        assert!(matches!(error, ArrayError::Description { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Damage);
    };
    let good = || describe(&[Node { kind: 1, width: 6, ..Node::default() }]);
    assert!(read::<Values<u8>>(&[good(), Vec::new()]).is_ok());
    let with = |at: usize, byte: u8| {
        let mut description = good();
        description[at] = byte;
        description
    };
    refused(Vec::new());
    refused(good()[..63].to_vec());
    // Version, padding, nodes, bytes of names; kind, width, padding, children, tag, bytes of the name, padding.
    for at in [0, 2, 4, 7, 8, 15, 16, 17, 18, 20, 40, 56, 60] {
        refused(with(at, 0xee));
    }
    let mut named = good();
    (named[8], named[56]) = (2, 2);
    named.extend(b"\xff\xff");
    refused(named);
    let two = describe(&[Node { kind: 1, width: 6, ..Node::default() }, Node::default()]);
    refused(two);
    refused(describe(&[Node { slots: 1 << 63, ..Node { kind: 1, width: 6, ..Node::default() } }]));
    let error = read::<Values<u8>>(&[good()]).unwrap_err();
    assert!(matches!(error, ArrayError::Description { .. }), "a section is missing: {error:?}");
}

#[test]
fn another_array_is_refused_and_both_are_named() {
    let sections = [describe(&[strings(0)]), words(&[0_i64]), Vec::new()];
    let error = read::<Binary>(&sections).unwrap_err();
    assert!(matches!(error, ArrayError::Kind { .. }));
    let said = "an array of strings with 64-bit offsets, asked for as binary with 64-bit offsets";
    assert_eq!(error.to_string(), said);
    assert!(matches!(read::<Strings<i32>>(&sections), Err(ArrayError::Kind { .. })));
}

/// Two records of one size are two types, by themselves and in arrays.
#[test]
fn another_record_of_one_size_is_refused() {
    let sections = frames::sections(&Values::from(vec![[[1_u8; 2]; 4]]));
    assert!(read::<Values<[[u8; 2]; 4]>>(&sections).is_ok());
    assert!(matches!(read::<Values<[[i8; 2]; 4]>>(&sections), Err(ArrayError::Kind { .. })));
    assert!(matches!(read::<Values<[[u8; 4]; 2]>>(&sections), Err(ArrayError::Kind { .. })));
    assert!(matches!(read::<Values<[u8; 8]>>(&sections), Err(ArrayError::Kind { .. })));
    assert!(matches!(read::<Values<u64>>(&sections), Err(ArrayError::Kind { .. })));
    assert_ne!(<Values<[[u8; 2]; 4]>>::TAG, <Values<[[i8; 2]; 4]>>::TAG);
}

#[test]
fn a_part_of_another_length_is_refused() {
    let bits = |bytes: &[u8], slots| {
        read::<Bits>(&[describe(&[Node { kind: 3, slots, ..Node::default() }]), bytes.to_vec()])
    };
    assert!(bits(&[1], 8).is_ok());
    for (bytes, slots) in [(&[1][..], 9), (&[1], 0), (&[1], u64::MAX >> 1), (&[], 1)] {
        let error = bits(bytes, slots).unwrap_err();
        assert!(matches!(error, ArrayError::Length { part: "bits", .. }), "{error:?}");
    }
    let values = Node { kind: 1, width: 9, slots: u64::MAX >> 1, ..Node::default() };
    let error = read::<Values<u64>>(&[describe(&[values]), vec![0; 8]]).unwrap_err();
    assert!(matches!(error, ArrayError::Length { expected: u64::MAX, .. }), "{error:?}");
    let bytes = Buffer::adopt(vec![0_u8; 9], None);
    assert!(matches!(Values::<u32>::from_buffer(bytes), Err(ArrayError::Length { .. })));
    let none = Buffer::adopt(Vec::new(), None);
    assert!(matches!(
        Binary::<i64>::from_buffers(none.clone(), none),
        Err(ArrayError::Length { .. })
    ));
}

#[test]
fn a_misaligned_part_is_refused() {
    let bytes = Buffer::uncounted(&[0; 24]).unwrap().slice(4..20);
    let error = Values::<u64>::from_buffer(bytes.clone()).unwrap_err();
    assert!(matches!(error, ArrayError::Misaligned { align: 8, .. }), "{error:?}");
    assert!(Values::<u32>::from_buffer(bytes).is_ok());
    let sections = frames::sections(&Values::from(vec![1_u64, 2]));
    let error = read_as::<Values<u64>>(&sections, 4).unwrap_err();
    assert!(matches!(error, ArrayError::Misaligned { align: 8, .. }), "{error:?}");
}

/// Nothing lies nowhere: others hand over empty buffers of any address.
#[test]
fn an_empty_buffer_may_lie_anywhere() {
    let odd = Buffer::uncounted(&[0; 8]).unwrap().slice(3..3);
    let values = Values::<u128>::from_buffer(odd).unwrap();
    assert_eq!(values[..], []);
    assert_eq!(values.slice(0..0)[..], []);
}

#[test]
fn offsets_that_do_not_divide_are_refused() {
    assert!(read_strings(&[0, 1, 1, 3], b"abc").is_ok());
    let cases: [(&[i64], u64); 6] = [
        (&[-1, 1, 3], 0),
        (&[4, 4], 0),
        (&[0, 2, 1, 3], 2),
        (&[0, i64::MIN, 3], 1),
        (&[0, 9, 3], 2),
        (&[0, 1, 4], 2),
    ];
    for (offsets, at) in cases {
        let error = read_strings(offsets, b"abc").unwrap_err();
        let found = matches!(error, ArrayError::Offset { index, .. } if index == at);
        assert!(found, "{offsets:?}: {error:?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let bad: [(&[u8], u64); 6] = [
        (b"ab\xff", 2),
        (b"\xffab", 0),
        (b"a\xc0\x80", 1),
        (b"\xed\xa0\x80", 0),
        (b"ab\xc3", 2),
        (b"\x80bc", 0),
    ];
    for (bytes, at) in bad {
        let error = read_strings(&[0, 1, 2, 3], bytes).unwrap_err();
        assert!(matches!(error, ArrayError::Utf8 { index } if index == at), "{bytes:?}: {error:?}");
    }
}

/// All the bytes together are UTF-8, and no slot by itself is.
#[test]
fn a_string_that_starts_within_a_character_is_refused() {
    assert!(read_strings(&[0, 2, 4], "éé".as_bytes()).is_ok());
    for offsets in [[0, 1, 4], [0, 3, 4], [1, 2, 4]] {
        let error = read_strings(&offsets, "éé".as_bytes()).unwrap_err();
        assert!(matches!(error, ArrayError::Utf8 { .. }), "{offsets:?}: {error:?}");
    }
    let error = read_strings(&[0, 2, 3], "éé".as_bytes()).unwrap_err();
    assert!(matches!(error, ArrayError::Utf8 { index: 1 }), "its last ends there: {error:?}");
}

#[test]
fn nulls_that_are_miscounted_are_refused() {
    let sections = |nulls| {
        let nullable = Node { kind: 7, children: 1, slots: 3, figure: nulls, ..Node::default() };
        let values = Node { kind: 1, width: 6, slots: 3, ..Node::default() };
        [describe(&[nullable, values]), vec![0b101], vec![7; 3]]
    };
    let array = read::<Nullable<Values<u8>>>(&sections(1)).unwrap();
    assert_eq!(array.iter().collect::<Vec<_>>(), [Some(7), None, Some(7)]);
    for nulls in [2, 3, 4, u64::MAX] {
        let error = read::<Nullable<Values<u8>>>(&sections(nulls)).unwrap_err();
        assert!(matches!(error, ArrayError::Nulls { claimed, .. } if claimed == nulls));
    }
    // With none there is no bitmap.
    let error = read::<Nullable<Values<u8>>>(&sections(0)).unwrap_err();
    assert!(matches!(error, ArrayError::Length { part: "validity", .. }), "{error:?}");
}

#[test]
fn a_part_keeps_the_count_of_its_own_nulls() {
    let array: Nullable<Values<u8>> = [None, Some(1), Some(2), None].into_iter().collect();
    for (range, nulls) in [(0..4, 2), (0..2, 1), (1..3, 0), (3..4, 1), (2..2, 0)] {
        let part = array.slice(range.clone());
        assert_eq!(part.nulls(), nulls, "{range:?}");
        assert_eq!(part.validity().is_some(), nulls > 0);
        assert!(read::<Nullable<Values<u8>>>(&frames::sections(&part)).unwrap() == part);
    }
}

/// A part whose end is before its start is none, even right before it, where offsets would have been left without one.
#[test]
#[expect(clippy::reversed_empty_ranges, reason = "it is what is refused")]
fn a_part_that_ends_before_it_starts_is_refused() {
    fn refused<A: Layout>(array: &A) {
        let part = |range| std::panic::AssertUnwindSafe(move || drop(array.slice(range)));
        assert!(std::panic::catch_unwind(part(2..1)).is_err(), "{array:?}");
        assert!(std::panic::catch_unwind(part(1..4)).is_err(), "{array:?}");
    }
    let texts = ["a", "b", "c"];
    refused(&texts.iter().collect::<Strings>());
    refused(&texts.iter().collect::<Binary>());
    refused(&texts.into_iter().map(Some).collect::<Nullable<Strings>>());
    refused(&texts.into_iter().collect::<Pooled<Strings>>());
    refused(&List::new(vec![0_i64, 1, 2, 2].into(), Units::new(2)).unwrap());
    refused(&Values::from(vec![1_u8, 2, 3]));
    refused(&[true, false, true].into_iter().collect::<Bits>());
    refused(&Units::new(3));
}

#[test]
fn codes_behind_the_dictionary_are_refused() {
    let sections = |width: u8, codes: &[u8]| {
        let slots = (codes.len() / usize::from(width)) as u64;
        let pooled = Node { kind: 8, width, children: 1, slots, ..Node::default() };
        let values = Node { kind: 1, width: 6, slots: 3, ..Node::default() };
        [describe(&[pooled, values]), codes.to_vec(), b"abc".to_vec()]
    };
    let array = read::<Pooled<Values<u8>>>(&sections(1, &[2, 0])).unwrap();
    assert_eq!(array.iter().collect::<Vec<_>>(), b"ca");
    for (width, codes) in [(1, &[2, 3][..]), (2, &[1, 0, 0, 1]), (8, &[u8::MAX; 16])] {
        let error = read::<Pooled<Values<u8>>>(&sections(width, codes)).unwrap_err();
        assert!(matches!(error, ArrayError::Code { dictionary: 3, .. }), "{error:?}");
    }
    let error = Pooled::new(Codes::U8(vec![0].into()), Strings::<i64>::default()).unwrap_err();
    assert!(matches!(error, ArrayError::Code { index: 0, code: 0, dictionary: 0 }), "{error:?}");
}

#[test]
fn parts_of_different_lengths_are_refused() {
    let bits = Bits::repeated(false, 2);
    let error = Nullable::new(Values::from(vec![1, 2, 3]), Some(bits)).unwrap_err();
    assert!(matches!(error, ArrayError::Slots { expected: 3, found: 2, .. }), "{error:?}");
    let nullable = Node { kind: 7, children: 1, slots: 2, figure: 1, ..Node::default() };
    let values = Node { kind: 1, width: 6, slots: 3, ..Node::default() };
    let sections = [describe(&[nullable, values]), vec![0b10], vec![7; 3]];
    let error = read::<Nullable<Values<u8>>>(&sections).unwrap_err();
    assert!(matches!(error, ArrayError::Slots { .. }), "{error:?}");
}

#[test]
fn more_than_narrow_offsets_count_is_refused() {
    // Zeros that nobody touches take no memory.
    let huge = vec![0_u8; 1 << 31];
    let mut builder = BinaryBuilder::<i32>::default();
    builder.push(b"abc").unwrap();
    let error = builder.push(&huge).unwrap_err();
    let Error::Codec(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind, ErrorKind::Limit);
    let error = error.source.downcast_ref::<ArrayError>().unwrap();
    assert!(matches!(error, ArrayError::TooMany { .. }), "{error:?}");
    builder.push(b"d").unwrap();
    let array = builder.finish();
    assert_eq!(array.iter().collect::<Vec<_>>(), [&b"abc"[..], b"d"]);
}

/// A column `a` of bytes, sorted by nothing but what the description says.
fn table(index: u64, column: &[u8]) -> [Vec<u8>; 2] {
    let slots = column.len() as u64;
    let table = Node { kind: 11, children: 1, slots, figure: index, ..Node::default() };
    let a = Node { kind: 1, width: 6, slots, name: "a".to_owned(), ..Node::default() };
    [describe(&[table, a]), column.to_vec()]
}

#[test]
fn rows_out_of_order_are_refused() {
    assert_eq!(read::<Table>(&table(1, &[1, 2, 2])).unwrap().rows(), 3);
    assert!(read::<Table>(&table(0, &[2, 1])).is_ok(), "without an index any order will do");
    let error = read::<Table>(&table(1, &[1, 3, 2])).unwrap_err();
    assert!(matches!(error, ArrayError::Unsorted { row: 2 }), "{error:?}");
    let error = read::<Table>(&table(2, &[1])).unwrap_err();
    assert!(matches!(error, ArrayError::Index { expected: 1, found: 2 }), "{error:?}");
}

#[test]
fn a_column_that_is_not_there_is_named() {
    let error = read::<Table>(&table(1, &[1])).unwrap().column("b").unwrap_err();
    let Error::Codec(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind, ErrorKind::Misuse);
    let error = error.source.downcast_ref::<ArrayError>().unwrap();
    let known =
        matches!(error, ArrayError::NoColumn { name, columns } if name == "b" && columns == "a");
    assert!(known, "{error:?}");
}

/// A frame of a few bytes may claim 2^63 rows, of which nobody may look at each.
#[test]
fn rows_without_bytes_take_no_time() {
    let slots = u64::MAX >> 1;
    let table = Node { kind: 11, children: 1, slots, figure: 1, ..Node::default() };
    let units = Node { kind: 4, slots, name: "a".to_owned(), ..Node::default() };
    let table = read::<Table>(&[describe(&[table, units.clone()])]).unwrap();
    assert_eq!(table.rows() as u64, slots);
    let lists = Node { kind: 9, width: 8, children: 1, slots: 2, ..Node::default() };
    let units = Node { name: String::new(), ..units };
    let offsets = words(&[0, 1_i64 << 62, i64::MAX]);
    let lists = read::<List<Units>>(&[describe(&[lists, units]), offsets]).unwrap();
    assert!(lists == lists.clone() && lists.slice(0..1) != lists.slice(1..2));
}
