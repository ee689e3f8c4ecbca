//! Our types as messages and back. What comes from others is checked here, before anything believes it.

use std::str::FromStr;

use mempool_core::{ErrorKind, Id, Place, ValueInfo};
use prost::Message;
use tonic::{Code, Status};

use crate::error::Reason;
use crate::identity::{GlobalId, Incarnation, NodeName};
use crate::proto;

/// A node as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerId {
    pub(crate) name: NodeName,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: String,
}

/// The longest address that is taken: a DNS name of 253 bytes, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 260;

/// What is wrong with a message.
pub(crate) type Malformed = String;

impl PeerId {
    /// The metadata key that says who calls.
    pub(crate) const FROM: &'static str = "mempool-from";
    /// The metadata key that says which start is meant.
    pub(crate) const TO: &'static str = "mempool-to";

    /// As the metadata has it.
    pub(crate) fn text(&self) -> String {
        format!("{}/{}@{}", self.name, self.incarnation, self.address)
    }
}

impl FromStr for PeerId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || format!("{:?} says no node", text.chars().take(80).collect::<String>());
        let (name, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (incarnation, address) = rest.split_once('@').ok_or_else(wrong)?;
        Ok(Self {
            name: name.parse().map_err(|_| wrong())?,
            incarnation: incarnation_of_text(incarnation).ok_or_else(wrong)?,
            address: checked_address(address)?,
        })
    }
}

/// An incarnation of 32 hexadecimal digits.
pub(crate) fn incarnation_of_text(text: &str) -> Option<Incarnation> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| digits).map(Incarnation)
}

fn checked_address(address: &str) -> Result<String, Malformed> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let graphic = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    match port.parse::<u16>() {
        Ok(port)
            if port > 0 && graphic && !host.is_empty() && address.len() <= ADDRESS_BYTES_MAX =>
        {
            Ok(address.to_owned())
        }
        _ => Err(format!("{:?} is no address", address.chars().take(80).collect::<String>())),
    }
}

impl From<Incarnation> for proto::Incarnation {
    fn from(Incarnation(bits): Incarnation) -> Self {
        let [high, low] = halves(bits);
        Self { started: high, random: low }
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| u64::from_be_bytes(half.try_into().expect("eight bytes")))
}

impl From<proto::Incarnation> for Incarnation {
    fn from(message: proto::Incarnation) -> Self {
        Self(u128::from(message.started) << 64 | u128::from(message.random))
    }
}

impl From<&PeerId> for proto::Peer {
    fn from(peer: &PeerId) -> Self {
        Self {
            name: peer.name.to_string(),
            incarnation: Some(peer.incarnation.into()),
            address: peer.address.clone(),
        }
    }
}

impl TryFrom<proto::Peer> for PeerId {
    type Error = Malformed;

    fn try_from(message: proto::Peer) -> Result<Self, Malformed> {
        Ok(Self {
            name: message.name.parse().map_err(|error| format!("{error}"))?,
            incarnation: message.incarnation.ok_or("a node without its start")?.into(),
            address: checked_address(&message.address)?,
        })
    }
}

impl From<GlobalId> for proto::ValueId {
    fn from(GlobalId { birth, id: Id { slot, generation } }: GlobalId) -> Self {
        Self { birth: Some(birth.into()), slot, generation }
    }
}

/// The value that a message means.
pub(crate) fn value_of(message: Option<proto::ValueId>) -> Result<GlobalId, Malformed> {
    let message = message.ok_or("no value is named")?;
    let birth = message.birth.ok_or("a value without its birth")?.into();
    if message.generation == 0 {
        return Err("no value has generation 0".to_owned());
    }
    Ok(GlobalId { birth, id: Id { slot: message.slot, generation: message.generation } })
}

/// What a node knows of a value of its own.
pub(crate) fn value_message(id: GlobalId, info: &ValueInfo) -> proto::Value {
    proto::Value {
        id: Some(id.into()),
        value_type: info.value_type.to_owned(),
        codec: info.codec.to_string(),
        place: place_message(info.place).into(),
        resident_bytes: info.resident_bytes,
        frame_bytes: info.frame_bytes,
        pins: info.pins,
        references: info.references,
        discardable: info.discardable,
        deleted: info.deleted,
    }
}

const PLACES: &[(Place, proto::Place)] = &[
    (Place::Resident, proto::Place::Resident),
    (Place::Mapped, proto::Place::Mapped),
    (Place::Spilled, proto::Place::Spilled),
    (Place::Remote, proto::Place::Remote),
];

fn place_message(place: Place) -> proto::Place {
    let found = PLACES.iter().find(|(ours, _)| *ours == place);
    found.map_or(proto::Place::Unspecified, |(_, message)| *message)
}

/// Where a value is; `None` for a place that this program does not know.
pub(crate) fn place_of(message: proto::Place) -> Option<Place> {
    PLACES.iter().find(|(_, theirs)| *theirs == message).map(|(ours, _)| *ours)
}

/// The reasons of errors and their messages that a node answers: its reason, and the kind where that says nothing of it.
const REASONS: &[(Reason, proto::Reason)] = &[
    (Reason::Other, proto::Reason::Unspecified),
    (Reason::Deleted, proto::Reason::Deleted),
    (Reason::Discarded, proto::Reason::Discarded),
    (Reason::NoValue, proto::Reason::NoValue),
    (Reason::NoName, proto::Reason::NoName),
    (Reason::Pinned, proto::Reason::Pinned),
    (Reason::NoRoom, proto::Reason::NoRoom),
    (Reason::TooLarge, proto::Reason::TooLarge),
    (Reason::HoldsReferences, proto::Reason::HoldsReferences),
    (Reason::WrongCodec, proto::Reason::WrongCodec),
    (Reason::Full, proto::Reason::Full),
    (Reason::Closed, proto::Reason::Closed),
    (Reason::Leaving, proto::Reason::Leaving),
    (Reason::Forbidden, proto::Reason::Forbidden),
    (Reason::Malformed, proto::Reason::Malformed),
    (Reason::Fenced, proto::Reason::Fenced),
    (Reason::Export, proto::Reason::Export),
    (Reason::Ticket, proto::Reason::Ticket),
];

pub(crate) fn reason_message(reason: Reason) -> proto::Reason {
    let found = REASONS.iter().find(|(ours, _)| *ours == reason);
    found.map_or(proto::Reason::Unspecified, |(_, message)| *message)
}

pub(crate) fn reason_of(message: proto::Reason) -> Reason {
    let found = REASONS.iter().find(|(_, theirs)| *theirs == message);
    found.map_or(Reason::Other, |(ours, _)| *ours)
}

pub(crate) fn kind_message(kind: ErrorKind) -> proto::Kind {
    match kind {
        ErrorKind::Misuse => proto::Kind::Misuse,
        ErrorKind::Limit => proto::Kind::Limit,
        ErrorKind::Damage => proto::Kind::Damage,
        _ => proto::Kind::Environment,
    }
}

pub(crate) fn kind_of(message: proto::Kind) -> ErrorKind {
    match message {
        proto::Kind::Misuse => ErrorKind::Misuse,
        proto::Kind::Limit => ErrorKind::Limit,
        proto::Kind::Damage => ErrorKind::Damage,
        proto::Kind::Environment | proto::Kind::Unspecified => ErrorKind::Environment,
    }
}

/// The most characters of an error's text that a node sends.
const SAID_CHARS_MAX: usize = 1000;

/// A fault as a gRPC status, whose details it is.
pub(crate) fn status_of(mut fault: proto::Fault) -> Status {
    let code = match fault.reason() {
        proto::Reason::NoValue | proto::Reason::NoName | proto::Reason::Ticket => Code::NotFound,
        proto::Reason::Forbidden => Code::PermissionDenied,
        proto::Reason::Leaving | proto::Reason::Closed => Code::Unavailable,
        proto::Reason::Malformed | proto::Reason::Export => Code::InvalidArgument,
        _ => match fault.kind() {
            proto::Kind::Limit => Code::ResourceExhausted,
            proto::Kind::Damage => Code::DataLoss,
            proto::Kind::Misuse => Code::FailedPrecondition,
            proto::Kind::Environment | proto::Kind::Unspecified => Code::Internal,
        },
    };
    fault.said = fault.said.chars().take(SAID_CHARS_MAX).collect();
    Status::with_details(code, fault.said.clone(), fault.encode_to_vec().into())
}

/// The fault in a status; `None` where another program or the transport made it.
pub(crate) fn fault_of(status: &Status) -> Option<proto::Fault> {
    let details = status.details();
    if details.is_empty() { None } else { proto::Fault::decode(details).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_said_in_one_line_and_understood() {
        let peer = PeerId {
            name: NodeName::new("a").expect("a label"),
            incarnation: Incarnation(u128::MAX - 7),
            address: "[::1]:7000".to_owned(),
        };
        assert_eq!(peer.text().parse(), Ok(peer.clone()));
        assert_eq!(PeerId::try_from(proto::Peer::from(&peer)), Ok(peer));
        let start = "0".repeat(32);
        for bad in ["", "a", "a/0@h:1", "a/+", &format!("a/{start}@h"), &format!("a/{start}@h:0")] {
            assert!(bad.parse::<PeerId>().is_err(), "{bad}");
        }
        for bad in [format!("a/{start}@h x:1"), format!("a/{start}@:1"), format!("-/{start}@h:1")] {
            assert!(bad.parse::<PeerId>().is_err(), "{bad}");
        }
        let signed = format!("a/+{}@h:1", &start[1..]);
        assert!(signed.parse::<PeerId>().is_err(), "a sign is no digit");
    }

    #[test]
    fn a_value_goes_there_and_back() {
        let id = Id { slot: u32::MAX, generation: 1 };
        let value = GlobalId { birth: Incarnation(1 << 64 | 5), id };
        assert_eq!(value_of(Some(value.into())), Ok(value));
        let never = proto::ValueId { generation: 0, ..value.into() };
        assert!(value_of(Some(never)).is_err());
        assert!(value_of(Some(proto::ValueId::default())).is_err());
        assert!(value_of(None).is_err());
    }

    #[test]
    fn every_reason_has_a_message_of_its_own() {
        for (ours, theirs) in REASONS {
            assert_eq!((reason_message(*ours), reason_of(*theirs)), (*theirs, *ours));
        }
        assert_eq!(reason_of(proto::Reason::OtherIncarnation), Reason::Other);
    }

    #[test]
    fn a_fault_survives_its_status_and_is_cut() {
        let fault = proto::Fault { said: "x".repeat(5000), ..proto::Fault::default() };
        let back = fault_of(&status_of(fault)).expect("a fault");
        assert_eq!(back.said.len(), SAID_CHARS_MAX);
        assert_eq!(fault_of(&Status::unavailable("no fault")), None);
    }
}
