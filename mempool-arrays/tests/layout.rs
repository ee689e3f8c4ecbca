//! The bytes of each layout at rest, against the drawings in `docs/format.md`.
#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_arrays::{
    Binary, Bits, Column, Element, Field, Layout, List, Logical, NdArray, Nullable, Pooled,
    Strings, Table, Units, Values,
};

mod frames;
use frames::{Node, describe, frame, header, sections};

/// Compares the sections of an array with its nodes and these bytes.
fn drawn<A: Layout>(array: &A, nodes: &[Node], bytes: &[&[u8]]) {
    let sections = sections(array);
    assert_eq!(sections[0], describe(nodes), "the description");
    assert_eq!(sections[1..], *bytes, "the buffers");
    let frame = frame(array);
    let places = header(&frame).sections;
    assert!(places.iter().all(|section| section.offset.is_multiple_of(64)));
}

fn node(kind: u8, width: u8, children: u32, slots: u64) -> Node {
    Node { kind, width, children, slots, ..Node::default() }
}

fn words<T: Element>(words: &[T]) -> &[u8] {
    bytemuck::cast_slice(words)
}

#[test]
fn numbers_lie_end_to_end() {
    let values = Values::from(vec![1_u16, 0x0203, 0xffff]);
    drawn(&values, &[node(1, 7, 0, 3)], &[&[1, 0, 3, 2, 0xff, 0xff]]);
    drawn(&values.slice(1..2), &[node(1, 7, 0, 1)], &[&[3, 2]]);
    drawn(&Values::<f64>::default(), &[node(1, 13, 0, 0)], &[&[]]);
}

#[test]
fn bits_begin_with_the_least_significant_and_end_with_zeros() {
    let bits: Bits = (0..11).map(|slot| slot % 3 == 0).collect();
    drawn(&bits, &[node(3, 0, 0, 11)], &[&[0b0100_1001, 0b0000_0010]]);
    // Slots 3 to 9 of it, moved to the front.
    drawn(&bits.slice(3..10), &[node(3, 0, 0, 7)], &[&[0b0100_1001]]);
    drawn(&bits.slice(9..11), &[node(3, 0, 0, 2)], &[&[0b01]]);
}

#[test]
fn units_have_no_section() {
    drawn(&Units::new(1 << 40), &[node(4, 0, 0, 1 << 40)], &[]);
}

#[test]
fn strings_are_offsets_and_bytes() {
    let strings: Strings = ["cat", "", "é"].into_iter().collect();
    drawn(&strings, &[node(5, 8, 0, 3)], &[words(&[0_i64, 3, 3, 5]), "caté".as_bytes()]);
    let binary: Binary = [b"\xff".as_slice(), b"ab"].into_iter().collect();
    drawn(&binary, &[node(6, 8, 0, 2)], &[words(&[0_i64, 1, 3]), b"\xffab"]);
    drawn(&Strings::<i32>::default(), &[node(5, 4, 0, 0)], &[words(&[0_i32]), &[]]);
}

#[test]
fn a_part_is_written_from_its_own_start() {
    let strings: Strings = ["cat", "", "é", "dog"].into_iter().collect();
    let part = strings.slice(1..3);
    drawn(&part, &[node(5, 8, 0, 2)], &[words(&[0_i64, 0, 2]), "é".as_bytes()]);
    let lists = List::<_, i64>::new(vec![1_i64, 2, 4].into(), Values::from(b"wxyz".to_vec()));
    let lists = lists.unwrap();
    drawn(&lists, &[node(9, 8, 1, 2), node(1, 6, 0, 3)], &[words(&[0_i64, 1, 3]), b"xyz"]);
}

#[test]
fn validity_is_there_when_a_slot_is_missing() {
    let nullable: Nullable<Values<u8>> = [Some(7), None, Some(9)].into_iter().collect();
    let nodes = [Node { figure: 1, ..node(7, 0, 1, 3) }, node(1, 6, 0, 3)];
    drawn(&nullable, &nodes, &[&[0b101], &[7, 0, 9]]);
    let nodes = [node(7, 0, 1, 1), node(1, 6, 0, 1)];
    drawn(&nullable.slice(2..3), &nodes, &[&[], &[9]]);
}

#[test]
fn codes_are_as_wide_as_the_dictionary_needs() {
    let pooled: Pooled<Strings> = ["AIR", "RAIL", "AIR"].into_iter().collect();
    let bytes: [&[u8]; 3] = [&[0, 1, 0], words(&[0_i64, 3, 7]), b"AIRRAIL"];
    drawn(&pooled, &[node(8, 1, 1, 3), node(5, 8, 0, 2)], &bytes);
    let pooled: Pooled<Values<u16>> = (0..300).collect();
    assert_eq!(sections(&pooled)[0], describe(&[node(8, 2, 1, 300), node(1, 7, 0, 300)]));
    assert_eq!(sections(&pooled)[1].len(), 600);
}

#[test]
fn a_table_is_its_columns_under_their_names() {
    let price = Field::new("price").with_logical(Logical::Decimal { precision: 15, scale: 2 });
    let days = Column::of(&Values::from(vec![2_i32, 1]));
    let prices = Column::of(&Values::from(vec![20_i64, 10]));
    let table = Table::new([(Field::new("день"), days), (price, prices)]).unwrap();
    let nodes = [
        Node { figure: 1, ..node(11, 0, 2, 2) },
        Node { name: "день".to_owned(), ..node(1, 3, 0, 2) },
        Node { name: "price".to_owned(), logical: 6 | 15 << 8 | 2 << 16, ..node(1, 4, 0, 2) },
    ];
    let table = table.sort_by(&["день"]).unwrap();
    drawn(&table, &nodes, &[words(&[1_i32, 2]), words(&[10_i64, 20])]);
    let rows =
        [Node { figure: 0, kind: 10, ..nodes[0].clone() }, nodes[1].clone(), nodes[2].clone()];
    drawn(table.as_struct(), &rows, &[words(&[1_i32, 2]), words(&[10_i64, 20])]);
}

#[test]
fn dimensions_are_extents_and_strides() {
    let array = NdArray::new(vec![1_u8, 2, 3, 4, 5, 6], &[2, 3]).unwrap();
    let nodes = [Node { figure: 2, ..node(12, 0, 1, 2) }, node(1, 6, 0, 6)];
    drawn(&array, &nodes, &[words(&[2_i64, 3, 3, 1]), &[1, 2, 3, 4, 5, 6]]);
}
