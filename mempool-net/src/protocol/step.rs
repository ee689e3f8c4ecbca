//! What a step of the machine is given and what it leaves behind: effects, in the order in which they are to be done.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Deref;
use std::time::Duration;

use super::lease::Lease;
use super::message::{Message, Reference};
use super::refusal::Refusal;
use crate::{GlobalId, Incarnation};

/// One use of a reference by this node: an entry of its pool, or a reference on its way to another node. The reference is
/// held as long as it has uses. They are a set, so a use that is ended twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold(pub u64);

/// A call that was begun and will end with [`Effect::Done`], once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call(pub u64);

/// The values that this node owns: what the machine must know of the pool.
///
/// Both are called within a step, under whatever lock the machine is under; neither may block.
pub trait Keeper {
    /// Keeps the value alive for others, from now until [`let_go`](Self::let_go). Answers the epoch of the ownership (1 for a value
    /// that was born here), or `None` where this node does not own the value or it is gone.
    fn keep(&mut self, value: GlobalId) -> Option<u64>;

    /// Nobody else claims the value through this node any more. With an epoch this node still owns it, in that epoch: what
    /// its own program does with the value is its affair. Without one the value belongs to another node, and this was a copy.
    fn let_go(&mut self, value: GlobalId, epoch: Option<u64>);
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reference stands.
    Stands(Reference),
    /// The receiver holds the references.
    Shared,
    /// Another node owns the value.
    Migrated,
    /// A ticket or a name was answered with a reference, which this node now holds.
    Found {
        /// The reference.
        reference: Reference,
        /// This node's use of it.
        hold: Hold,
    },
}

/// What the node has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Send a message.
    Send {
        /// To whom; to nobody who runs under the same name later.
        to: Incarnation,
        /// What.
        message: Message,
    },
    /// A lease ran out: every reference to values of this owner answers [`Refusal::Fenced`] until it stands again.
    Fenced {
        /// The owner.
        owner: Incarnation,
    },
    /// A reference is lost: it answers this from now on.
    Lost {
        /// The value.
        value: GlobalId,
        /// Why.
        refusal: Refusal,
    },
    /// References came from another node. Each has a use, which the node ends with
    /// [`Machine::drop_hold`](super::Machine::drop_hold). A value that this node owns is in the list, too, and its use is to be ended likewise.
    Arrived {
        /// The sender.
        from: Incarnation,
        /// What they are for.
        context: u64,
        /// The references.
        references: Vec<(Reference, Hold)>,
    },
    /// A reference's value is owned by another node now.
    Repointed {
        /// The reference as it is now.
        reference: Reference,
    },
    /// Make a verified copy of the value, keep it as by [`Keeper::keep`], and say so by
    /// [`Machine::fetched`](super::Machine::fetched). It may be asked for again while it is being made; one copy is enough.
    Fetch {
        /// The value.
        value: GlobalId,
        /// Who has it.
        from: Incarnation,
    },
    /// This node owns the value, whose copy it keeps. What references it had are uses of its own value now, each to be ended
    /// with [`Machine::drop_hold`](super::Machine::drop_hold) when the program has the value by its own means.
    Owns {
        /// The value.
        value: GlobalId,
        /// Since which epoch.
        epoch: u64,
    },
    /// Another node owns a value that was this node's.
    Migrated {
        /// The reference to it.
        reference: Reference,
        /// This node's use of it, if its program has references.
        hold: Option<Hold>,
    },
    /// A call ended.
    Done {
        /// The call.
        call: Call,
        /// What came of it.
        outcome: Result<Outcome, Refusal>,
    },
}

/// How much a machine takes upon itself for others, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The lease. All nodes of a cluster have the same.
    pub lease: Lease,
    /// After how long a message that was not answered is sent again.
    pub resend: Duration,
    /// How long a registration may be unknown to its holder before the owner asks about it.
    pub transfer: Duration,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Lease::default(),
            resend: Duration::from_millis(500),
            transfer: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

/// What is bounded, whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Holders that an owner knows.
    pub holders: usize,
    /// Values that one holder has from one owner.
    pub values_of_holder: usize,
    /// Values that an owner keeps for others.
    pub values: usize,
    /// Tickets of one owner.
    pub tickets: usize,
    /// Names of one owner.
    pub names: usize,
    /// Calls that have not ended.
    pub calls: usize,
    /// Shares on their way to one node, or from one.
    pub shares: u64,
    /// Copies that a node prepares to own.
    pub migrations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            holders: 4096,
            values_of_holder: 1 << 20,
            values: 1 << 22,
            tickets: 65_536,
            names: 65_536,
            calls: 65_536,
            shares: 256,
            migrations: 4096,
        }
    }
}

/// Effects and numbers, which all roles of a machine share.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) effects: VecDeque<Effect>,
    /// Messages from this node to itself.
    pub(super) inner: VecDeque<Message>,
    number: u64,
}

/// When a step is, who takes it, under which settings, and what is known of others.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) now: Duration,
    pub(super) me: Incarnation,
    pub(super) settings: &'a Settings,
    /// Incarnations that are proved dead.
    pub(super) dead: &'a BTreeSet<Incarnation>,
    /// Incarnations that do not answer, as membership has it.
    pub(super) down: &'a BTreeSet<Incarnation>,
}

/// One step, and where its effects go.
pub(super) struct Step<'a> {
    pub(super) at: Moment<'a>,
    pub(super) out: &'a mut Out,
}

impl<'a> Deref for Step<'a> {
    type Target = Moment<'a>;

    fn deref(&self) -> &Moment<'a> {
        &self.at
    }
}

impl Step<'_> {
    /// A number that this machine never gave before.
    pub(super) fn number(&mut self) -> u64 {
        self.out.number += 1;
        self.out.number
    }

    pub(super) fn send(&mut self, to: Incarnation, message: Message) {
        if to == self.me {
            self.out.inner.push_back(message);
        } else {
            self.effect(Effect::Send { to, message });
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.out.effects.push_back(effect);
    }

    pub(super) fn done(&mut self, call: Call, outcome: Result<Outcome, Refusal>) {
        self.effect(Effect::Done { call, outcome });
    }
}
