//! `HostHello`: what a node tells a peer over the network, so that the peer finds it on the same host and knows it there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::identity::Incarnation;

/// Which start of which kernel a process runs under.
///
/// *Source*: `/proc/sys/kernel/random/boot_id`, 16 random bytes that the kernel draws when it starts. Containers of one host
/// have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// The kernel's that runs us; `None` where it does not say.
    #[must_use]
    pub fn here() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|&char| char != '-').collect();
        let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok());
        Some(Self(number??.to_be_bytes()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A secret in two halves, drawn by a node for one peer. The peer shows the first half over the socket, and gets the second:
/// so each knows that the other is the node of the connection over which the introduction came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    pub(super) ask: [u8; 16],
    pub(super) answer: [u8; 16],
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret.
        f.write_str("Introduction(..)")
    }
}

/// What a node tells one peer of itself, over a connection that has proved who both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostHello {
    /// The kernel that runs it.
    pub boot: BootId,
    /// The user that it runs as.
    pub uid: u32,
    /// The node.
    pub incarnation: Incarnation,
    /// For this peer alone.
    pub introduction: Introduction,
}

impl HostHello {
    /// How long it is as bytes.
    pub const BYTES: usize = 68;

    /// As bytes for the wire: boot, uid, incarnation (both little-endian), the two halves.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let parts: [&[u8]; 5] = [
            &self.boot.0,
            &self.uid.to_le_bytes(),
            &self.incarnation.0.to_le_bytes(),
            &self.introduction.ask,
            &self.introduction.answer,
        ];
        out.iter_mut().zip(parts.into_iter().flatten()).for_each(|(out, byte)| *out = *byte);
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (boot, rest) = bytes.split_first_chunk()?;
        let (uid, rest) = rest.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (ask, rest) = rest.split_first_chunk()?;
        let answer = rest.try_into().ok()?;
        Some(Self {
            boot: BootId(*boot),
            uid: u32::from_le_bytes(*uid),
            incarnation: Incarnation(u128::from_le_bytes(*incarnation)),
            introduction: Introduction { ask: *ask, answer },
        })
    }
}

/// The introductions that a node has given.
#[derive(Debug, Default)]
pub(super) struct Introductions(Mutex<BTreeMap<Incarnation, Introduction>>);

/// More peers than a cluster has; when there are more, the one that was started first is forgotten.
const INTRODUCTIONS_MAX: usize = 4096;

impl Introductions {
    /// The introduction of `peer`: the same one until it is forgotten.
    pub(super) fn of(&self, peer: Incarnation) -> Introduction {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.get(&peer) {
            return *known;
        }
        if table.len() >= INTRODUCTIONS_MAX {
            table.pop_first();
        }
        let new = Introduction { ask: random(), answer: random() };
        table.insert(peer, new);
        new
    }

    /// What answers `ask`, if that is what `peer` was told.
    pub(super) fn answer(&self, peer: Incarnation, ask: &[u8; 16]) -> Option<[u8; 16]> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&peer).filter(|known| same(&known.ask, ask)).map(|known| known.answer)
    }

    pub(super) fn forget(&self, peer: Incarnation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }
}

/// Whether two secrets are the same, in a time that does not say where they differ.
pub(super) fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b) == 0
}

/// Random bytes of the kernel's.
///
/// # Panics
/// Where the kernel gives none: it does once it has started.
pub(super) fn random() -> [u8; 16] {
    let mut out = [0; 16];
    let filled = rustix::rand::getrandom(&mut out[..], rustix::rand::GetRandomFlags::empty());
    // So few bytes come whole.
    assert_eq!(filled, Ok(16), "the kernel has random bytes");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_read() {
        let text = "01234567-89ab-cdef-0123-456789abcdef\n";
        let id = BootId::parse(text).expect("one");
        assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef");
        for bad in ["", "0123", "0123456789abcdef0123456789abcdeg", &"0".repeat(33)] {
            assert_eq!(BootId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hello_crosses_the_wire() {
        let introductions = Introductions::default();
        let hello = HostHello {
            boot: BootId([3; 16]),
            uid: 1000,
            incarnation: Incarnation(7 << 64 | 9),
            introduction: introductions.of(Incarnation(1)),
        };
        let bytes = hello.to_bytes();
        assert_eq!(HostHello::from_bytes(&bytes), Some(hello));
        for len in 0..bytes.len() {
            assert_eq!(HostHello::from_bytes(&bytes[..len]), None);
        }
        assert_eq!(HostHello::from_bytes(&[0; HostHello::BYTES + 1]), None);
    }

    #[test]
    fn an_introduction_is_for_one_peer_until_it_is_forgotten() {
        let introductions = Introductions::default();
        let (a, b) = (Incarnation(1), Incarnation(2));
        let known = introductions.of(a);
        assert_eq!(introductions.of(a), known);
        assert_eq!(introductions.answer(a, &known.ask), Some(known.answer));
        assert_eq!(introductions.answer(a, &known.answer), None);
        assert_eq!(introductions.answer(b, &known.ask), None, "nobody has introduced it");
        assert_ne!(introductions.of(b), known);
        assert_eq!(introductions.answer(b, &known.ask), None, "it has one of its own");
        introductions.forget(a);
        assert_eq!(introductions.answer(a, &known.ask), None);
        assert_eq!(format!("{known:?}"), "Introduction(..)", "no secret in a log");
    }

    #[test]
    fn the_table_of_introductions_is_bounded() {
        let introductions = Introductions::default();
        let first = introductions.of(Incarnation(0));
        for peer in 1..=INTRODUCTIONS_MAX as u128 {
            introductions.of(Incarnation(peer));
        }
        assert_eq!(introductions.answer(Incarnation(0), &first.ask), None);
    }
}
