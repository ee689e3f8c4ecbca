//! What nodes say to each other. Every message is flat and bounded: no list is longer than [`BATCH_MAX`].
//!
//! Whoever carries a message says which incarnation sent it, and drops it when it was meant for another incarnation than the
//! one that runs. It may lose, repeat, delay and reorder messages.

use super::refusal::Refusal;
use crate::{GlobalId, Incarnation};

/// The most entries of a list in a message.
pub const BATCH_MAX: usize = 256;

/// The most bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;

/// Who keeps a value for whom, and since when in the order of its owner.
///
/// *Version*: an owner numbers registrations, of all values and all holders, in the order in which it makes them. A
/// registration that is made again has a new version, so a release that names an older one does not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The value.
    pub value: GlobalId,
    /// The owner's number.
    pub version: u64,
}

/// A reference on its way: what the receiver must know to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The value.
    pub value: GlobalId,
    /// Who owns it.
    pub owner: Incarnation,
    /// In which epoch.
    pub epoch: u64,
    /// The receiver's registration; 0 where there is none, and the receiver registers itself.
    pub version: u64,
}

/// A claim that its owner made to be redeemed by whoever knows the secret, until its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The value.
    pub value: GlobalId,
    /// Who made the ticket.
    pub owner: Incarnation,
    /// The ticket's number there.
    pub number: u64,
    /// 128 random bits.
    pub secret: u128,
}

/// A ticket as it moves with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedTicket {
    /// Who made it.
    pub maker: Incarnation,
    /// Its number there.
    pub number: u64,
    /// Its secret.
    pub secret: u128,
    /// How long it is still good for, in microseconds.
    pub rest_us: u64,
    /// Whether one use ends it.
    pub once: bool,
    /// Who used it, where one use ends it.
    pub used_by: Option<Incarnation>,
}

/// What an owner answers for one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The holder is registered.
    Granted {
        /// The registration's version.
        version: u64,
        /// The epoch of the ownership.
        epoch: u64,
    },
    /// Another node owns the value now.
    Moved {
        /// Who.
        owner: Incarnation,
        /// Since which epoch.
        epoch: u64,
    },
    /// The holder is not registered.
    Refused(Refusal),
}

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Holder to owner: this node lives. Renews its lease on all that it holds.
    Renew {
        /// The sender's number.
        number: u64,
    },
    /// Owner to holder: the renewal was heard.
    Renewed {
        /// The renewal's number.
        number: u64,
        /// Registrations of the holder with versions from here on stand; older ones were ended.
        era: u64,
        /// The latest version that the owner gave to anybody.
        latest: u64,
        /// Registrations of the holder which it has not confirmed for a while: perhaps it never heard of them.
        unconfirmed: Vec<Registration>,
    },
    /// To an owner: register `holder`, which may be the sender.
    Register {
        /// The sender's number.
        number: u64,
        /// Who will hold the values.
        holder: Incarnation,
        /// The values.
        values: Vec<GlobalId>,
    },
    /// Owner: an answer for each of the values, in their order.
    Registered {
        /// The request's number.
        number: u64,
        /// The answers.
        answers: Vec<Answer>,
    },
    /// Holder to owner: the holder knows of these registrations and holds the values.
    Confirm {
        /// The registrations.
        registrations: Vec<Registration>,
    },
    /// Holder to owner: ends registrations up to the versions named.
    Release {
        /// The sender's number.
        number: u64,
        /// The registrations.
        registrations: Vec<Registration>,
    },
    /// Owner: the release was heard.
    Released {
        /// Its number.
        number: u64,
    },
    /// To an owner: register the sender, who shows a ticket.
    Redeem {
        /// The sender's number.
        number: u64,
        /// The ticket.
        ticket: Ticket,
    },
    /// To an owner: register the sender for the value of that name.
    Resolve {
        /// The sender's number.
        number: u64,
        /// The name.
        name: String,
    },
    /// Owner: what became of a ticket or a name.
    Found {
        /// The request's number.
        number: u64,
        /// The value; `None` where it is not known.
        value: Option<GlobalId>,
        /// The answer.
        answer: Answer,
    },
    /// References from one node to another.
    Share {
        /// Counts the shares of this sender to this receiver, from 1.
        number: u64,
        /// Shares below this number are over: the sender has heard of them, or has given them up.
        base: u64,
        /// What the references are for, as the sender's program says.
        context: u64,
        /// The references.
        references: Vec<Reference>,
    },
    /// The receiver holds the references of a share, or says why not.
    Accepted {
        /// The share's number.
        number: u64,
        /// Why it takes none of them.
        refusal: Option<Refusal>,
    },
    /// Owner to a node that shall own the value: make a copy.
    Offer {
        /// The value.
        value: GlobalId,
        /// The epoch in which it shall.
        epoch: u64,
        /// Who holds the value now.
        holders: Vec<Incarnation>,
    },
    /// The target has a verified copy, or says why not.
    Prepared {
        /// The value.
        value: GlobalId,
        /// The epoch of the offer.
        epoch: u64,
        /// Why it has none.
        refusal: Option<Refusal>,
    },
    /// The target owns the value once it has heard all parts.
    Commit {
        /// The value.
        value: GlobalId,
        /// The epoch.
        epoch: u64,
        /// Which part this is, from 0.
        part: u32,
        /// How many there are.
        parts: u32,
        /// Who claims the value through the source.
        holders: Vec<Incarnation>,
        /// Its tickets.
        tickets: Vec<MovedTicket>,
    },
    /// The target owns the value.
    Activated {
        /// The value.
        value: GlobalId,
        /// The epoch.
        epoch: u64,
    },
    /// The source knows that the target owns the value.
    Settled {
        /// The value.
        value: GlobalId,
        /// The epoch.
        epoch: u64,
    },
    /// The source has taken its offer back.
    Abort {
        /// The value.
        value: GlobalId,
        /// The epoch of the offer.
        epoch: u64,
    },
    /// To a holder: the value has another owner.
    Moved {
        /// The value.
        value: GlobalId,
        /// Its owner.
        owner: Incarnation,
        /// Since which epoch.
        epoch: u64,
    },
    /// Source to target: these holders claim nothing through the source any more.
    Ended {
        /// The sender's number.
        number: u64,
        /// The value.
        value: GlobalId,
        /// The epoch of the target's ownership.
        epoch: u64,
        /// The holders.
        holders: Vec<Incarnation>,
    },
    /// The target heard that.
    Heard {
        /// Its number.
        number: u64,
    },
    /// The sender stops, and holds and owns nothing any more.
    Leave,
}
