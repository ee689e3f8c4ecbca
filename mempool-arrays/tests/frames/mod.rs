//! Frames of arrays, taken apart into their sections and put together from what a test has written by hand.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use mempool_arrays::{ArrayError, Layout, Raw};
use mempool_core::testing::{decode, encode, frame_of, room};
use mempool_core::{Buffer, Codec, Error, Header, Id, Ledger, MemoryStore, SpillStore, Trust};

/// More than any test takes.
const LIMIT_BYTES: u64 = 1 << 30;

/// A node of a description, field by field, as `docs/format.md` draws it.
#[derive(Clone, Default)]
pub(crate) struct Node {
    pub(crate) kind: u8,
    pub(crate) width: u8,
    pub(crate) children: u32,
    pub(crate) slots: u64,
    pub(crate) figure: u64,
    pub(crate) tag: u64,
    pub(crate) logical: u64,
    pub(crate) name: String,
}

/// The description of these nodes.
pub(crate) fn describe(nodes: &[Node]) -> Vec<u8> {
    let names: usize = nodes.iter().map(|node| node.name.len()).sum();
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend(u32::try_from(nodes.len()).unwrap().to_le_bytes());
    bytes.extend((names as u64).to_le_bytes());
    for node in nodes {
        bytes.extend([node.kind, node.width, 0, 0]);
        bytes.extend(node.children.to_le_bytes());
        bytes.extend(node.slots.to_le_bytes());
        bytes.extend(node.figure.to_le_bytes());
        bytes.extend(node.tag.to_le_bytes());
        bytes.extend(node.logical.to_le_bytes());
        bytes.extend(u32::try_from(node.name.len()).unwrap().to_le_bytes());
        bytes.extend([0; 4]);
    }
    nodes.iter().for_each(|node| bytes.extend(node.name.as_bytes()));
    bytes
}

/// The frame of an array.
pub(crate) fn frame<A: Layout>(array: &A) -> Buffer {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let Ok(resident) = Raw.admit(array.clone(), &mut room(&ledger)) else {
        panic!("it is admitted")
    };
    encode::<A, Raw>(&Raw, &resident, 0).unwrap()
}

/// The header of a frame.
pub(crate) fn header(frame: &[u8]) -> Header {
    let store = MemoryStore::new();
    Header::decode(frame, |bytes| store.checksum(bytes)).unwrap()
}

/// The sections of an array's frame, the description first.
pub(crate) fn sections<A: Layout>(array: &A) -> Vec<Vec<u8>> {
    let frame = frame(array);
    let number = |bytes: u64| usize::try_from(bytes).unwrap();
    let sections = header(&frame).sections;
    let bytes = sections
        .iter()
        .map(|one| frame[number(one.offset)..number(one.offset + one.bytes)].to_vec());
    bytes.collect()
}

/// A frame of these sections, at an address that is `shift` behind a multiple of 64.
pub(crate) fn framed(sections: &[Vec<u8>], shift: usize) -> Buffer {
    let parts: Vec<(usize, &[u8])> = sections.iter().map(|bytes| (64, &bytes[..])).collect();
    let plain = frame_of(Id { slot: 0, generation: 1 }, &parts).unwrap();
    let mut bytes = vec![0; plain.len() + 128];
    let start = bytes.as_ptr().addr().next_multiple_of(64) + shift - bytes.as_ptr().addr();
    bytes[start..start + plain.len()].copy_from_slice(&plain);
    Buffer::adopt(bytes, None).slice(start..start + plain.len())
}

/// Reads an array of these sections, as somebody else's.
pub(crate) fn read<A: Layout>(sections: &[Vec<u8>]) -> Result<A, ArrayError> {
    read_as(sections, 0)
}

/// The same, at an address that is `shift` behind a multiple of 64.
pub(crate) fn read_as<A: Layout>(sections: &[Vec<u8>], shift: usize) -> Result<A, ArrayError> {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let frame = framed(sections, shift);
    let foreign = decode::<A, Raw>(&Raw, &frame, Trust::Foreign, &mut room(&ledger));
    let saved = decode::<A, Raw>(&Raw, &frame, Trust::Saved, &mut room(&ledger));
    assert_eq!(foreign.is_ok(), saved.is_ok(), "both are checked");
    match foreign {
        Ok(resident) => Ok(<Raw as Codec<A>>::view(&Raw, &resident).clone()),
        Err(Error::Codec(error)) => {
            Err(error.source.downcast_ref::<ArrayError>().expect("an array's own").clone())
        }
        Err(error) => panic!("{error:?}"),
    }
}
