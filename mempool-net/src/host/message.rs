//! The messages between an asker and an owner on one host: one packet of a `SOCK_SEQPACKET` socket each.
//!
//! ```text
//! byte 0   what follows; integers little-endian, no padding
//!  1  Challenge  version u16, nonce 16                                        owner → asker
//!  2  Hello      version u16, from u128, to u128, ask 16, nonces 16 + 16      asker → owner
//!  3  Welcome    answer 16, nonce 16                                          owner → asker
//!  4  Get        request u64, birth u128, slot u32, generation u32            asker → owner
//!  5  Frame      request u64, export u64, offset u64, bytes u64,              owner → asker, with one descriptor
//!                pool u64, slot u32, generation u32
//!  6  Taken      export u64                                                   asker → owner
//!  7  Release    export u64, at most 32 times                                 asker → owner
//!  8  UseBytes   request u64 (0: for all of them), reason u8                  owner → asker
//!  9  NoValue    request u64                                                  owner → asker
//! ```

use std::fmt;

use mempool_core::Id;

use super::frame::Stamp;
use crate::identity::{GlobalId, Incarnation};

/// The version of the protocol; another one is answered with [`BytesReason::Version`].
pub(super) const VERSION: u16 = 1;

/// No message is longer.
pub(super) const BYTES_MAX: usize = 512;

/// The most releases in one message.
pub(super) const RELEASES_MAX: usize = 32;

/// Why an owner hands over no descriptor: the value is to be fetched as bytes, over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BytesReason {
    /// The asker is another user.
    OtherUser,
    /// The asker was not introduced.
    Stranger,
    /// The asker, or all of them together, have too many connections.
    Busy,
    /// The owner speaks another version of the protocol.
    Version,
    /// The value is small: it has no file to itself, and its bytes cost less than a map.
    Small,
    /// The value cannot be made shareable, because the owner has no room for a second copy of it.
    NoRoom,
    /// The asker maps as much as one peer may.
    TooMany,
    /// A reason that this version does not know.
    Other(u8),
}

impl BytesReason {
    const KNOWN: [Self; 7] = [
        Self::OtherUser,
        Self::Stranger,
        Self::Busy,
        Self::Version,
        Self::Small,
        Self::NoRoom,
        Self::TooMany,
    ];

    fn to_byte(self) -> u8 {
        match self {
            Self::Other(byte) => byte,
            known => {
                (1..).zip(Self::KNOWN).find(|(_, it)| *it == known).map_or(0, |(byte, _)| byte)
            }
        }
    }

    fn from_byte(byte: u8) -> Self {
        (1..).zip(Self::KNOWN).find(|(it, _)| *it == byte).map_or(Self::Other(byte), |(_, it)| it)
    }
}

impl fmt::Display for BytesReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::OtherUser => "another user's process gets bytes",
            Self::Stranger => "the asker was not introduced",
            Self::Busy => "there are too many connections",
            Self::Version => "the owner speaks another version",
            Self::Small => "the value is small",
            Self::NoRoom => "there is no room for a copy that can be shared",
            Self::TooMany => "the asker maps as much as one peer may",
            Self::Other(reason) => return write!(f, "reason {reason}"),
        };
        f.write_str(text)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Challenge { version: u16, nonce: [u8; 16] },
    Hello(Hello),
    Welcome { answer: [u8; 16], nonce: [u8; 16] },
    Get { request: u64, value: GlobalId },
    Frame(Frame),
    Taken { export: u64 },
    Release { exports: Vec<u64> },
    UseBytes { request: u64, reason: BytesReason },
    NoValue { request: u64 },
}

/// Who asks, and what he knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) from: Incarnation,
    pub(super) to: Incarnation,
    /// The first half of the introduction.
    pub(super) ask: [u8; 16],
    /// The owner's nonce, which says that this is no older message.
    pub(super) theirs: [u8; 16],
    pub(super) ours: [u8; 16],
}

/// What comes with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) request: u64,
    /// Under which number the owner counts it.
    pub(super) export: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) stamp: Stamp,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) part: &'static str,
    pub(super) found: u64,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        match self {
            Self::Challenge { version, nonce } => {
                out.push(1);
                out.extend(version.to_le_bytes());
                out.extend(nonce);
            }
            Self::Hello(hello) => {
                out.push(2);
                out.extend(hello.version.to_le_bytes());
                out.extend(hello.from.0.to_le_bytes());
                out.extend(hello.to.0.to_le_bytes());
                [hello.ask, hello.theirs, hello.ours].iter().for_each(|part| out.extend(part));
            }
            Self::Welcome { answer, nonce } => {
                out.push(3);
                out.extend(answer);
                out.extend(nonce);
            }
            Self::Get { request, value } => {
                out.push(4);
                out.extend(request.to_le_bytes());
                out.extend(value.birth.0.to_le_bytes());
                put_id(&mut out, value.id);
            }
            Self::Frame(frame) => {
                out.push(5);
                let Stamp { pool, id } = frame.stamp;
                for number in [frame.request, frame.export, frame.offset, frame.bytes, pool] {
                    out.extend(number.to_le_bytes());
                }
                put_id(&mut out, id);
            }
            Self::Taken { export } => {
                out.push(6);
                out.extend(export.to_le_bytes());
            }
            Self::Release { exports } => {
                out.push(7);
                let listed = exports.iter().take(RELEASES_MAX);
                listed.for_each(|export| out.extend(export.to_le_bytes()));
            }
            Self::UseBytes { request, reason } => {
                out.push(8);
                out.extend(request.to_le_bytes());
                out.push(reason.to_byte());
            }
            Self::NoValue { request } => {
                out.push(9);
                out.extend(request.to_le_bytes());
            }
        }
        out
    }

    /// Reads a message; what has another length than its kind says is none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut reader = Reader { rest: bytes, whole: bytes.len() };
        let message = match reader.take::<1>()? {
            [1] => Self::Challenge { version: reader.u16()?, nonce: reader.take()? },
            [2] => Self::Hello(Hello {
                version: reader.u16()?,
                from: Incarnation(reader.u128()?),
                to: Incarnation(reader.u128()?),
                ask: reader.take()?,
                theirs: reader.take()?,
                ours: reader.take()?,
            }),
            [3] => Self::Welcome { answer: reader.take()?, nonce: reader.take()? },
            [4] => Self::Get {
                request: reader.u64()?,
                value: GlobalId { birth: Incarnation(reader.u128()?), id: reader.id()? },
            },
            [5] => Self::Frame(Frame {
                request: reader.u64()?,
                export: reader.u64()?,
                offset: reader.u64()?,
                bytes: reader.u64()?,
                stamp: Stamp { pool: reader.u64()?, id: reader.id()? },
            }),
            [6] => Self::Taken { export: reader.u64()? },
            [7] => Self::Release { exports: reader.list()? },
            [8] => {
                let request = reader.u64()?;
                let [reason] = reader.take()?;
                Self::UseBytes { request, reason: BytesReason::from_byte(reason) }
            }
            [9] => Self::NoValue { request: reader.u64()? },
            [kind] => return Err(Wrong { part: "kind", found: u64::from(kind) }),
        };
        if reader.rest.is_empty() { Ok(message) } else { Err(reader.wrong_length()) }
    }
}

fn put_id(out: &mut Vec<u8>, id: Id) {
    out.extend(id.slot.to_le_bytes());
    out.extend(id.generation.to_le_bytes());
}

struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl Reader<'_> {
    fn wrong_length(&self) -> Wrong {
        Wrong { part: "length", found: self.whole as u64 }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong_length())?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Wrong> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Wrong> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn u128(&mut self) -> Result<u128, Wrong> {
        Ok(u128::from_le_bytes(self.take()?))
    }

    fn id(&mut self) -> Result<Id, Wrong> {
        let slot = u32::from_le_bytes(self.take()?);
        Ok(Id { slot, generation: u32::from_le_bytes(self.take()?) })
    }

    fn list(&mut self) -> Result<Vec<u64>, Wrong> {
        let mut out = Vec::new();
        while !self.rest.is_empty() && out.len() < RELEASES_MAX {
            out.push(self.u64()?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_kind() -> Vec<Message> {
        let id = Id { slot: 7, generation: 9 };
        let hello = Hello {
            version: VERSION,
            from: Incarnation(1 << 100 | 3),
            to: Incarnation(2),
            ask: [3; 16],
            theirs: [4; 16],
            ours: [5; 16],
        };
        let stamp = Stamp { pool: 5, id };
        let frame = Frame { request: 1, export: 2, offset: 3, bytes: 1 << 40, stamp };
        vec![
            Message::Challenge { version: VERSION, nonce: [1; 16] },
            Message::Hello(hello),
            Message::Welcome { answer: [1; 16], nonce: [2; 16] },
            Message::Get { request: 3, value: GlobalId { birth: Incarnation(1 << 90), id } },
            Message::Frame(frame),
            Message::Taken { export: 4 },
            Message::Release { exports: (0..RELEASES_MAX as u64).collect() },
            Message::Release { exports: Vec::new() },
            Message::UseBytes { request: 0, reason: BytesReason::NoRoom },
            Message::NoValue { request: u64::MAX },
        ]
    }

    #[test]
    fn every_message_is_read_back_and_none_of_another_length() {
        for message in every_kind() {
            let bytes = message.encode();
            assert!(bytes.len() <= BYTES_MAX, "{message:?}");
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
            let longer = [&bytes[..], &[0]].concat();
            assert!(Message::decode(&longer).is_err(), "{message:?}");
            for len in (0..bytes.len()).filter(|len| bytes[0] != 7 || len % 8 != 1) {
                assert!(Message::decode(&bytes[..len]).is_err(), "{message:?} cut to {len}");
            }
        }
    }

    #[test]
    fn every_reason_has_a_byte_of_its_own() {
        for byte in 0..=u8::MAX {
            let reason = BytesReason::from_byte(byte);
            assert_eq!(reason.to_byte(), byte, "{reason}");
        }
        assert_eq!(BytesReason::KNOWN.map(BytesReason::to_byte), [1, 2, 3, 4, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }

        #[test]
        fn bent_messages_are_messages_or_errors(kind in 0_usize..10, at: prop::sample::Index, to: u8) {
            let mut bytes = every_kind().swap_remove(kind).encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }
    }
}
