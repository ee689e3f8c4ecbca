//! The messages of the claims protocol as they travel, and back. One to one; what comes in is checked for what the protocol
//! relies on: that numbers are there, and lists bounded.

use crate::identity::{GlobalId, Incarnation};
use crate::node::wire::{Malformed, value_of};
use crate::proto;
use crate::proto::answer::Body as AnswerBody;
use crate::proto::message::Body;
use crate::protocol::{
    Answer, BATCH_MAX, Bound, Message, MovedTicket, NAME_BYTES_MAX, Reference, Refusal,
    Registration, Ticket,
};

/// The most messages of one delivery.
pub(crate) const DELIVERY_MAX: usize = 64;

impl From<Message> for proto::Message {
    fn from(message: Message) -> Self {
        Self { body: Some(body_of(message)) }
    }
}

fn body_of(message: Message) -> Body {
    match message {
        Message::Renew { number } => Body::Renew(proto::Renew { number }),
        Message::Renewed { number, era, latest, unconfirmed } => {
            let unconfirmed = all(unconfirmed);
            Body::Renewed(proto::Renewed { number, era, latest, unconfirmed })
        }
        Message::Register { number, holder, values } => {
            let (holder, values) = (Some(holder.into()), all(values));
            Body::Register(proto::Register { number, holder, values })
        }
        Message::Registered { number, answers } => {
            Body::Registered(proto::Registered { number, answers: all(answers) })
        }
        Message::Confirm { registrations } => {
            Body::Confirm(proto::Confirm { registrations: all(registrations) })
        }
        Message::Release { number, registrations } => {
            Body::Release(proto::Release { number, registrations: all(registrations) })
        }
        Message::Released { number } => Body::Released(proto::Released { number }),
        Message::Redeem { number, ticket } => {
            Body::Redeem(proto::Redeem { number, ticket: Some(ticket.into()) })
        }
        Message::Resolve { number, name } => Body::Resolve(proto::Resolve { number, name }),
        Message::Found { number, value, answer } => {
            let (value, answer) = (value.map(Into::into), Some(answer.into()));
            Body::Found(proto::Found { number, value, answer })
        }
        Message::Share { number, base, context, references } => {
            let references = all(references);
            Body::Share(proto::Share { number, base, context, references })
        }
        Message::Accepted { number, refusal } => {
            Body::Accepted(proto::Accepted { number, refusal: refusal.map(Into::into) })
        }
        Message::Leave => Body::Left(proto::Left {}),
        Message::Offer { value, epoch, holders } => {
            Body::Offer(proto::Offer { value: Some(value.into()), epoch, holders: all(holders) })
        }
        Message::Prepared { value, epoch, refusal } => {
            let refusal = refusal.map(Into::into);
            Body::Prepared(proto::Prepared { value: Some(value.into()), epoch, refusal })
        }
        Message::Commit { value, epoch, part, parts, holders, tickets } => {
            let (holders, tickets) = (all(holders), all(tickets));
            let value = Some(value.into());
            Body::Commit(proto::Commit { value, epoch, part, parts, holders, tickets })
        }
        Message::Activated { value, epoch } => {
            Body::Activated(proto::Activated { value: Some(value.into()), epoch })
        }
        Message::Settled { value, epoch } => {
            Body::Settled(proto::Settled { value: Some(value.into()), epoch })
        }
        Message::Abort { value, epoch } => {
            Body::Abort(proto::Abort { value: Some(value.into()), epoch })
        }
        Message::Moved { value, owner, epoch } => {
            let (value, owner) = (Some(value.into()), Some(owner.into()));
            Body::Repoint(proto::Repoint { value, owner, epoch })
        }
        Message::Ended { number, value, epoch, holders } => {
            let (value, holders) = (Some(value.into()), all(holders));
            Body::Ended(proto::Ended { number, value, epoch, holders })
        }
        Message::Heard { number } => Body::Heard(proto::Heard { number }),
    }
}

impl TryFrom<proto::Message> for Message {
    type Error = Malformed;

    fn try_from(message: proto::Message) -> Result<Self, Malformed> {
        Ok(match message.body.ok_or("a message of nothing")? {
            Body::Renew(proto::Renew { number }) => Self::Renew { number },
            Body::Renewed(proto::Renewed { number, era, latest, unconfirmed }) => {
                Self::Renewed { number, era, latest, unconfirmed: some(unconfirmed)? }
            }
            Body::Register(proto::Register { number, holder, values }) => {
                let values = bounded(values)?.into_iter().map(|value| value_of(Some(value)));
                let values = values.collect::<Result<_, _>>()?;
                Self::Register { number, holder: node(holder)?, values }
            }
            Body::Registered(proto::Registered { number, answers }) => {
                Self::Registered { number, answers: some(answers)? }
            }
            Body::Confirm(proto::Confirm { registrations }) => {
                Self::Confirm { registrations: some(registrations)? }
            }
            Body::Release(proto::Release { number, registrations }) => {
                Self::Release { number, registrations: some(registrations)? }
            }
            Body::Released(proto::Released { number }) => Self::Released { number },
            Body::Redeem(proto::Redeem { number, ticket }) => {
                let ticket = ticket.ok_or("no ticket")?.try_into()?;
                Self::Redeem { number, ticket }
            }
            Body::Resolve(proto::Resolve { number, name }) => {
                Self::Resolve { number, name: named(name)? }
            }
            Body::Found(proto::Found { number, value, answer }) => {
                let value = value.map(|value| value_of(Some(value))).transpose()?;
                let answer = answer.ok_or("no answer")?.try_into()?;
                Self::Found { number, value, answer }
            }
            Body::Share(proto::Share { number, base, context, references }) => {
                Self::Share { number, base, context, references: some(references)? }
            }
            Body::Accepted(proto::Accepted { number, refusal }) => {
                let refusal = refusal.map(Refusal::try_from).transpose()?;
                Self::Accepted { number, refusal }
            }
            Body::Left(proto::Left {}) => Self::Leave,
            Body::Offer(proto::Offer { value, epoch, holders }) => {
                Self::Offer { value: value_of(value)?, epoch, holders: nodes(holders)? }
            }
            Body::Prepared(proto::Prepared { value, epoch, refusal }) => {
                let refusal = refusal.map(Refusal::try_from).transpose()?;
                Self::Prepared { value: value_of(value)?, epoch, refusal }
            }
            Body::Commit(proto::Commit { value, epoch, part, parts, holders, tickets }) => {
                let (value, holders, tickets) = (value_of(value)?, nodes(holders)?, some(tickets)?);
                Self::Commit { value, epoch, part, parts, holders, tickets }
            }
            Body::Activated(proto::Activated { value, epoch }) => {
                Self::Activated { value: value_of(value)?, epoch }
            }
            Body::Settled(proto::Settled { value, epoch }) => {
                Self::Settled { value: value_of(value)?, epoch }
            }
            Body::Abort(proto::Abort { value, epoch }) => {
                Self::Abort { value: value_of(value)?, epoch }
            }
            Body::Repoint(proto::Repoint { value, owner, epoch }) => {
                Self::Moved { value: value_of(value)?, owner: node(owner)?, epoch }
            }
            Body::Ended(proto::Ended { number, value, epoch, holders }) => {
                Self::Ended { number, value: value_of(value)?, epoch, holders: nodes(holders)? }
            }
            Body::Heard(proto::Heard { number }) => Self::Heard { number },
        })
    }
}

fn nodes(list: Vec<proto::Incarnation>) -> Result<Vec<Incarnation>, Malformed> {
    Ok(bounded(list)?.into_iter().map(Into::into).collect())
}

impl From<MovedTicket> for proto::MovedTicket {
    fn from(ticket: MovedTicket) -> Self {
        let MovedTicket { maker, number, secret, rest_us, once, used_by } = ticket;
        let secret = secret.to_be_bytes().to_vec().into();
        let (maker, used_by) = (Some(maker.into()), used_by.map(Into::into));
        Self { maker, number, secret, rest_us, once, used_by }
    }
}

impl TryFrom<proto::MovedTicket> for MovedTicket {
    type Error = Malformed;

    fn try_from(message: proto::MovedTicket) -> Result<Self, Malformed> {
        let proto::MovedTicket { maker, number, secret, rest_us, once, used_by } = message;
        let (maker, secret) = (node(maker)?, secret_of(&secret)?);
        Ok(Self { maker, number, secret, rest_us, once, used_by: used_by.map(Into::into) })
    }
}

fn secret_of(bytes: &[u8]) -> Result<u128, Malformed> {
    let secret = bytes.try_into().map_err(|_| "a secret is 16 bytes")?;
    Ok(u128::from_be_bytes(secret))
}

fn all<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(Into::into).collect()
}

fn bounded<A>(list: Vec<A>) -> Result<Vec<A>, Malformed> {
    match list.len() {
        0..=BATCH_MAX => Ok(list),
        more => Err(format!("a list of {more}, and {BATCH_MAX} are the most")),
    }
}

fn some<A, B: TryFrom<A, Error = Malformed>>(list: Vec<A>) -> Result<Vec<B>, Malformed> {
    bounded(list)?.into_iter().map(B::try_from).collect()
}

fn node(message: Option<proto::Incarnation>) -> Result<Incarnation, Malformed> {
    Ok(message.ok_or("a node that is not named")?.into())
}

fn named(name: String) -> Result<String, Malformed> {
    match name.len() {
        0..=NAME_BYTES_MAX => Ok(name),
        more => Err(format!("a name of {more} bytes, and {NAME_BYTES_MAX} are the most")),
    }
}

impl From<Registration> for proto::Registration {
    fn from(Registration { value, version }: Registration) -> Self {
        Self { value: Some(value.into()), version }
    }
}

impl TryFrom<proto::Registration> for Registration {
    type Error = Malformed;

    fn try_from(message: proto::Registration) -> Result<Self, Malformed> {
        Ok(Self { value: value_of(message.value)?, version: message.version })
    }
}

impl From<Reference> for proto::Reference {
    fn from(Reference { value, owner, epoch, version }: Reference) -> Self {
        Self { value: Some(value.into()), owner: Some(owner.into()), epoch, version }
    }
}

impl TryFrom<proto::Reference> for Reference {
    type Error = Malformed;

    fn try_from(message: proto::Reference) -> Result<Self, Malformed> {
        let proto::Reference { value, owner, epoch, version } = message;
        Ok(Self { value: value_of(value)?, owner: node(owner)?, epoch, version })
    }
}

impl From<Ticket> for proto::Ticket {
    fn from(Ticket { value, owner, number, secret }: Ticket) -> Self {
        let secret = secret.to_be_bytes().to_vec().into();
        Self { value: Some(value.into()), owner: Some(owner.into()), number, secret }
    }
}

impl TryFrom<proto::Ticket> for Ticket {
    type Error = Malformed;

    fn try_from(message: proto::Ticket) -> Result<Self, Malformed> {
        let proto::Ticket { value, owner, number, secret } = message;
        let secret = secret_of(&secret)?;
        Ok(Self { value: value_of(value)?, owner: node(owner)?, number, secret })
    }
}

impl From<Answer> for proto::Answer {
    fn from(answer: Answer) -> Self {
        let body = match answer {
            Answer::Granted { version, epoch } => {
                AnswerBody::Granted(proto::Granted { version, epoch })
            }
            Answer::Moved { owner, epoch } => {
                AnswerBody::Moved(proto::Moved { owner: Some(owner.into()), epoch })
            }
            Answer::Refused(refusal) => AnswerBody::Refused(refusal.into()),
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<proto::Answer> for Answer {
    type Error = Malformed;

    fn try_from(message: proto::Answer) -> Result<Self, Malformed> {
        Ok(match message.body.ok_or("an answer of nothing")? {
            AnswerBody::Granted(proto::Granted { version, epoch }) => {
                Self::Granted { version, epoch }
            }
            AnswerBody::Moved(proto::Moved { owner, epoch }) => {
                Self::Moved { owner: node(owner)?, epoch }
            }
            AnswerBody::Refused(refusal) => Self::Refused(refusal.try_into()?),
        })
    }
}

/// The fields of a refusal, all of which the message has and each variant some.
#[derive(Default)]
struct Fields {
    value: Option<GlobalId>,
    node: Option<Incarnation>,
    number: u64,
    name: String,
    bound: proto::Bound,
}

impl From<Refusal> for proto::Refusal {
    fn from(refusal: Refusal) -> Self {
        use proto::RefusalReason as Why;
        let about =
            |value, node| Fields { value: Some(value), node: Some(node), ..Fields::default() };
        let of = |value| Fields { value: Some(value), ..Fields::default() };
        let by = |node| Fields { node: Some(node), ..Fields::default() };
        let count = |number| Fields { number, ..Fields::default() };
        let called = |name| Fields { name, ..Fields::default() };
        let (reason, fields) = match refusal {
            Refusal::NotHeld { value } => (Why::NotHeld, of(value)),
            Refusal::Pending { value, owner } => (Why::Pending, about(value, owner)),
            Refusal::Fenced { value, owner } => (Why::Fenced, about(value, owner)),
            Refusal::Gone { value, owner } => (Why::Gone, about(value, owner)),
            Refusal::OwnerDead { owner } => (Why::OwnerDead, by(owner)),
            Refusal::OwnerDown { owner } => (Why::OwnerDown, by(owner)),
            Refusal::HolderDead { holder } => (Why::HolderDead, by(holder)),
            Refusal::OwnershipUnknown { value, source_node, epoch } => {
                (Why::OwnershipUnknown, Fields { number: epoch, ..about(value, source_node) })
            }
            Refusal::TicketUnknown { ticket } => (Why::TicketUnknown, count(ticket)),
            Refusal::TicketUsed { ticket } => (Why::TicketUsed, count(ticket)),
            Refusal::NameUnknown { name } => (Why::NameUnknown, called(name)),
            Refusal::NameTaken { name } => (Why::NameTaken, called(name)),
            Refusal::Limit { bound, most } => {
                (Why::Limit, Fields { bound: bound_message(bound), ..count(most) })
            }
            Refusal::TimedOut => (Why::TimedOut, Fields::default()),
            Refusal::NotOwned { value } => (Why::NotOwned, of(value)),
            Refusal::Moving { value, target } => (Why::Moving, about(value, target)),
            Refusal::NotCopied { value, target } => (Why::NotCopied, about(value, target)),
            Refusal::TargetDead { value, target } => (Why::TargetDead, about(value, target)),
        };
        let Fields { value, node, number, name, bound } = fields;
        let (value, node) = (value.map(Into::into), node.map(Into::into));
        Self { reason: reason.into(), value, node, number, name, bound: bound.into() }
    }
}

impl TryFrom<proto::Refusal> for Refusal {
    type Error = Malformed;

    fn try_from(message: proto::Refusal) -> Result<Self, Malformed> {
        use proto::RefusalReason as Why;
        let (why, bound) = (message.reason(), message.bound());
        let proto::Refusal { value, node: said, number, name, .. } = message;
        let value = || value_of(value);
        let node = || node(said);
        Ok(match why {
            Why::NotHeld => Self::NotHeld { value: value()? },
            Why::Pending => Self::Pending { value: value()?, owner: node()? },
            Why::Fenced => Self::Fenced { value: value()?, owner: node()? },
            Why::Gone => Self::Gone { value: value()?, owner: node()? },
            Why::OwnerDead => Self::OwnerDead { owner: node()? },
            Why::OwnerDown => Self::OwnerDown { owner: node()? },
            Why::HolderDead => Self::HolderDead { holder: node()? },
            Why::OwnershipUnknown => {
                Self::OwnershipUnknown { value: value()?, source_node: node()?, epoch: number }
            }
            Why::TicketUnknown => Self::TicketUnknown { ticket: number },
            Why::TicketUsed => Self::TicketUsed { ticket: number },
            Why::NameUnknown => Self::NameUnknown { name: named(name)? },
            Why::NameTaken => Self::NameTaken { name: named(name)? },
            Why::Limit => {
                let bound = bound_of(bound).ok_or("a limit of nothing")?;
                Self::Limit { bound, most: number }
            }
            Why::TimedOut => Self::TimedOut,
            Why::NotOwned => Self::NotOwned { value: value()? },
            Why::Moving => Self::Moving { value: value()?, target: node()? },
            Why::NotCopied => Self::NotCopied { value: value()?, target: node()? },
            Why::TargetDead => Self::TargetDead { value: value()?, target: node()? },
            Why::Unspecified => return Err("a refusal without a reason".to_owned()),
        })
    }
}

const BOUNDS: &[(Bound, proto::Bound)] = &[
    (Bound::Holders, proto::Bound::Holders),
    (Bound::ValuesOfHolder, proto::Bound::ValuesOfHolder),
    (Bound::Values, proto::Bound::Values),
    (Bound::Tickets, proto::Bound::Tickets),
    (Bound::Names, proto::Bound::Names),
    (Bound::NameBytes, proto::Bound::NameBytes),
    (Bound::Batch, proto::Bound::Batch),
    (Bound::Calls, proto::Bound::Calls),
    (Bound::Shares, proto::Bound::Shares),
    (Bound::Migrations, proto::Bound::Migrations),
];

fn bound_message(bound: Bound) -> proto::Bound {
    let found = BOUNDS.iter().find(|(ours, _)| *ours == bound);
    found.map_or(proto::Bound::Unspecified, |(_, message)| *message)
}

fn bound_of(message: proto::Bound) -> Option<Bound> {
    BOUNDS.iter().find(|(_, theirs)| *theirs == message).map(|(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use mempool_core::Id;
    use prost::Message as _;

    use super::*;

    fn value(slot: u32) -> GlobalId {
        GlobalId { birth: Incarnation(7 << 64 | 9), id: Id { slot, generation: 2 } }
    }

    fn refusals() -> Vec<Refusal> {
        let (owner, value) = (Incarnation(u128::MAX), value(3));
        let (holder, target, source_node) = (owner, owner, owner);
        let bounds = BOUNDS.iter().map(|(bound, _)| Refusal::Limit { bound: *bound, most: 5 });
        let mut all = vec![
            Refusal::NotHeld { value },
            Refusal::Pending { value, owner },
            Refusal::Fenced { value, owner },
            Refusal::Gone { value, owner },
            Refusal::OwnerDead { owner },
            Refusal::OwnerDown { owner },
            Refusal::HolderDead { holder },
            Refusal::OwnershipUnknown { value, source_node, epoch: 4 },
            Refusal::TicketUnknown { ticket: 1 },
            Refusal::TicketUsed { ticket: 2 },
            Refusal::NameUnknown { name: "x".into() },
            Refusal::NameTaken { name: "y".into() },
            Refusal::TimedOut,
            Refusal::NotOwned { value },
            Refusal::Moving { value, target },
            Refusal::NotCopied { value, target },
            Refusal::TargetDead { value, target },
        ];
        all.extend(bounds);
        all
    }

    fn messages() -> Vec<Message> {
        let registrations = vec![Registration { value: value(1), version: 9 }];
        let owner = Incarnation(1);
        let ticket = Ticket { value: value(1), owner, number: 3, secret: u128::MAX - 1 };
        let reference = Reference { value: value(4), owner, epoch: 1, version: 0 };
        let mut answers =
            vec![Answer::Granted { version: 1, epoch: 2 }, Answer::Moved { owner, epoch: 3 }];
        answers.extend(refusals().into_iter().map(Answer::Refused));
        let mut all = vec![
            Message::Renew { number: 1 },
            Message::Renewed { number: 1, era: 2, latest: 3, unconfirmed: registrations.clone() },
            Message::Register { number: 1, holder: owner, values: vec![value(1), value(2)] },
            Message::Registered { number: 1, answers: answers.clone() },
            Message::Confirm { registrations: registrations.clone() },
            Message::Release { number: u64::MAX, registrations },
            Message::Released { number: 4 },
            Message::Redeem { number: 5, ticket },
            Message::Resolve { number: 6, name: "n".repeat(NAME_BYTES_MAX) },
            Message::Found { number: 7, value: None, answer: answers[1].clone() },
            Message::Found { number: 7, value: Some(value(1)), answer: answers[0].clone() },
            Message::Share { number: 1, base: 1, context: 2, references: vec![reference] },
            Message::Accepted { number: 1, refusal: None },
            Message::Leave,
        ];
        all.extend(moving(owner));
        let refused = |refusal| Message::Accepted { number: 1, refusal: Some(refusal) };
        all.extend(refusals().into_iter().map(refused));
        all
    }

    fn moving(owner: Incarnation) -> Vec<Message> {
        let (value, epoch, number) = (value(8), 3, 5);
        let holders = vec![owner, Incarnation(u128::MAX)];
        let (maker, secret) = (owner, u128::MAX - 5);
        let ticket = MovedTicket { maker, number, secret, rest_us: 7, once: true, used_by: None };
        let tickets = vec![ticket, MovedTicket { once: false, used_by: Some(owner), ..ticket }];
        vec![
            Message::Offer { value, epoch, holders: holders.clone() },
            Message::Prepared { value, epoch, refusal: None },
            Message::Prepared { value, epoch, refusal: Some(Refusal::TimedOut) },
            Message::Commit { value, epoch, part: 1, parts: 2, holders: holders.clone(), tickets },
            Message::Activated { value, epoch },
            Message::Settled { value, epoch },
            Message::Abort { value, epoch },
            Message::Moved { value, owner, epoch },
            Message::Ended { number, value, epoch, holders },
            Message::Heard { number },
        ]
    }

    #[test]
    fn every_message_goes_there_and_back() {
        for message in messages() {
            let sent = proto::Message::from(message.clone()).encode_to_vec();
            let came = proto::Message::decode(sent.as_slice()).expect("it was encoded");
            assert_eq!(Message::try_from(came), Ok(message));
        }
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        let long =
            vec![proto::Registration::from(Registration { value: value(1), version: 1 }); 257];
        let nowhere = proto::Registration { value: None, version: 1 };
        let body = |body| proto::Message { body: Some(body) };
        let refusal = proto::Refusal::default();
        let no_limit = proto::Refusal {
            reason: proto::RefusalReason::Limit.into(),
            ..proto::Refusal::default()
        };
        for bad in [
            proto::Message { body: None },
            body(Body::Confirm(proto::Confirm { registrations: long })),
            body(Body::Confirm(proto::Confirm { registrations: vec![nowhere] })),
            body(Body::Register(proto::Register { number: 1, holder: None, values: vec![] })),
            body(Body::Resolve(proto::Resolve { number: 1, name: "n".repeat(257) })),
            body(Body::Redeem(proto::Redeem { number: 1, ticket: None })),
            body(Body::Found(proto::Found { number: 1, value: None, answer: None })),
            body(Body::Accepted(proto::Accepted { number: 1, refusal: Some(refusal) })),
            body(Body::Accepted(proto::Accepted { number: 1, refusal: Some(no_limit) })),
        ] {
            assert!(Message::try_from(bad.clone()).is_err(), "{bad:?}");
        }
        let ticket = Ticket { value: value(1), owner: Incarnation(1), number: 1, secret: 1 };
        let short = proto::Ticket { secret: vec![0; 15].into(), ..ticket.into() };
        assert!(Ticket::try_from(short).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_message_of_the_protocol_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            if let Ok(message) = proto::Message::decode(bytes.as_slice())
                && let Ok(message) = Message::try_from(message)
            {
                let again = proto::Message::from(message.clone());
                proptest::prop_assert_eq!(Message::try_from(again), Ok(message));
            }
        }

        #[test]
        fn a_bent_message_is_one_of_the_protocol_or_refused(
            which in proptest::num::usize::ANY,
            at in proptest::num::usize::ANY,
            byte in proptest::num::u8::ANY,
        ) {
            let all = messages();
            let message = all[which % all.len()].clone();
            let mut bytes = proto::Message::from(message).encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(message) = proto::Message::decode(bytes.as_slice())
                && let Ok(message) = Message::try_from(message)
            {
                let again = proto::Message::from(message.clone());
                proptest::prop_assert_eq!(Message::try_from(again), Ok(message));
            }
        }
    }
}
