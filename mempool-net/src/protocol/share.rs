//! A reference goes from one node to another.
//!
//! ```text
//!  sender                     owner                      receiver
//!    │  Register(receiver)      │                           │
//!    │ ───────────────────────▶ │  keeps the value for      │
//!    │ ◀─────────────────────── │  the receiver, too        │
//!    │  Registered(version)     │                           │
//!    │                          │                           │
//!    │  Share(references)       │                           │
//!    │ ───────────────────────────────────────────────────▶ │  holds them; registers itself for those
//!    │                          │ ◀─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─  │  that it cannot trust
//!    │ ◀─────────────────────────────────────────────────── │
//!    │  Accepted                │                           │
//!    ▼ may let go               │                           │
//! ```
//!
//! The sender's own claim protects the value until the receiver has accepted, so the sender's use ends no earlier. If the
//! sender dies on the way, the owner keeps the value for the receiver for the time of a transfer, then asks.
//!
//! A share is delivered once: the sender numbers its shares to each receiver and says below which number it waits for
//! none; the receiver remembers the numbers above that it has had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::{Answer, Message, Reference};
use super::outbox::Outbox;
use super::refusal::{Bound, Refusal};
use super::step::{Call, Hold, Moment, Step};
use crate::{GlobalId, Incarnation};

/// How far the numbers of shares that are on their way to one node may lie apart.
const SPREAD_MAX: u64 = 4096;

/// A share that this node sends.
#[derive(Debug)]
pub(super) struct Sharing {
    pub(super) to: Incarnation,
    pub(super) context: u64,
    /// This node's uses of the references while they are on their way.
    pub(super) uses: Vec<(GlobalId, Hold)>,
    /// What the owners granted so far, in the order of the call.
    pub(super) references: Vec<Option<Reference>>,
    /// Requests to owners that are not answered: whom, and for which of the references.
    requests: BTreeMap<u64, (Incarnation, Vec<usize>)>,
    /// Its number among those to the receiver, and in the outbox.
    sent: Option<(u64, u64)>,
}

/// What this node knows of one receiver.
#[derive(Debug, Default)]
struct Receiver {
    latest: u64,
    open: BTreeMap<u64, Call>,
}

/// What this node knows of one sender.
#[derive(Debug, Default)]
struct Sender {
    base: u64,
    taken: BTreeSet<u64>,
    /// Shares whose references do not all stand.
    open: BTreeMap<u64, BTreeSet<GlobalId>>,
}

/// Shares on their way, from this node and to it.
#[derive(Debug, Default)]
pub(super) struct Shares {
    sharing: BTreeMap<Call, Sharing>,
    requests: BTreeMap<u64, Call>,
    receivers: BTreeMap<Incarnation, Receiver>,
    senders: BTreeMap<Incarnation, Sender>,
    /// What is to be asked again, when, of whom.
    later: Vec<(Duration, Call, Incarnation, Vec<usize>)>,
}

/// What is to be done with a share that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    Again,
    Refused(Refusal),
}

impl Shares {
    pub(super) fn is_empty(&self) -> bool {
        self.sharing.is_empty() && self.senders.values().all(|sender| sender.open.is_empty())
    }

    /// Whether there is room for another share to that node.
    pub(super) fn has_room(&self, step: &Moment<'_>, to: Incarnation) -> Result<(), Refusal> {
        let most = step.settings.limits.shares;
        let open = self.sharing.values().filter(|one| one.to == to).count() as u64;
        let spread = self.receivers.get(&to).map_or(0, |receiver| {
            let first = receiver.open.keys().next().copied().unwrap_or(receiver.latest);
            receiver.latest - first
        });
        if open >= most || spread + open + 1 >= SPREAD_MAX {
            return Err(Refusal::Limit { bound: Bound::Shares, most });
        }
        Ok(())
    }

    /// Begins a share. `known` are the references that this node's own owner granted.
    pub(super) fn begin(
        &mut self,
        step: &mut Step<'_>,
        outbox: &mut Outbox,
        call: Call,
        (to, context): (Incarnation, u64),
        uses: Vec<(GlobalId, Hold)>,
        known: Vec<Result<Reference, Incarnation>>,
    ) {
        let mut asks: BTreeMap<Incarnation, Vec<usize>> = BTreeMap::new();
        for (index, one) in known.iter().enumerate() {
            if let Err(owner) = one {
                asks.entry(*owner).or_default().push(index);
            }
        }
        let references = known.into_iter().map(Result::ok).collect();
        let requests = BTreeMap::new();
        let sharing = Sharing { to, context, uses, references, requests, sent: None };
        self.sharing.insert(call, sharing);
        for (owner, indices) in asks {
            self.ask(step, outbox, call, owner, indices);
        }
        self.send_if_ready(step, outbox, call);
    }

    /// Asks an owner to register the receiver.
    fn ask(
        &mut self,
        step: &mut Step<'_>,
        outbox: &mut Outbox,
        call: Call,
        owner: Incarnation,
        indices: Vec<usize>,
    ) {
        let Some(sharing) = self.sharing.get_mut(&call) else { return };
        let number = step.number();
        let value = |index: &usize| sharing.uses.get(*index).map(|(value, _)| *value);
        let values = indices.iter().filter_map(value).collect();
        sharing.requests.insert(number, (owner, indices));
        self.requests.insert(number, call);
        let message = Message::Register { number, holder: sharing.to, values };
        outbox.send(step, number, owner, message);
    }

    /// An owner answered. Says which call fails by that, if one does.
    pub(super) fn registered(
        &mut self,
        step: &mut Step<'_>,
        outbox: &mut Outbox,
        owner: Incarnation,
        number: u64,
        answers: &[Answer],
    ) -> Option<(Call, Refusal)> {
        let call = self.requests.remove(&number)?;
        let sharing = self.sharing.get_mut(&call)?;
        let (_, indices) = sharing.requests.remove(&number)?;
        let mut moved: BTreeMap<Incarnation, Vec<usize>> = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut answers = answers.iter();
        for index in indices {
            let value = sharing.uses.get(index)?.0;
            match answers.next() {
                Some(Answer::Granted { version, epoch }) => {
                    let (version, epoch) = (*version, *epoch);
                    let reference = Reference { value, owner, epoch, version };
                    *sharing.references.get_mut(index)? = Some(reference);
                }
                Some(Answer::Moved { owner, .. }) if step.dead.contains(owner) => {
                    return Some((call, Refusal::OwnerDead { owner: *owner }));
                }
                Some(Answer::Refused(Refusal::OwnershipUnknown { .. })) => unknown.push(index),
                Some(Answer::Moved { owner, .. }) => {
                    moved.entry(*owner).or_default().push(index);
                }
                Some(Answer::Refused(refusal)) => return Some((call, refusal.clone())),
                None => return Some((call, Refusal::Gone { value, owner })),
            }
        }
        for (owner, indices) in moved {
            self.ask(step, outbox, call, owner, indices);
        }
        if !unknown.is_empty() {
            self.later.push((step.now + step.settings.resend, call, owner, unknown));
        }
        self.send_if_ready(step, outbox, call);
        None
    }

    /// Asks again where the answer was that ownership is not known yet.
    pub(super) fn tick(&mut self, step: &mut Step<'_>, outbox: &mut Outbox) {
        let due = self.later.extract_if(.., |(at, ..)| *at <= step.now);
        for (_, call, owner, indices) in due.collect::<Vec<_>>() {
            self.ask(step, outbox, call, owner, indices);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.later.iter().map(|(at, ..)| *at).min()
    }

    fn send_if_ready(&mut self, step: &mut Step<'_>, outbox: &mut Outbox, call: Call) {
        let Some(sharing) = self.sharing.get_mut(&call) else { return };
        let references: Vec<Reference> = sharing.references.iter().copied().flatten().collect();
        if sharing.sent.is_some() || references.len() < sharing.references.len() {
            return;
        }
        let (to, context) = (sharing.to, sharing.context);
        let receiver = self.receivers.entry(to).or_default();
        receiver.latest += 1;
        let number = receiver.latest;
        receiver.open.insert(number, call);
        let base = receiver.open.keys().next().copied().unwrap_or(number);
        let mail = step.number();
        sharing.sent = Some((number, mail));
        outbox.send(step, mail, to, Message::Share { number, base, context, references });
    }

    /// The receiver answered: the call that this ends.
    pub(super) fn accepted(&mut self, from: Incarnation, number: u64) -> Option<Call> {
        self.receivers.get_mut(&from)?.open.get(&number).copied()
    }

    /// Ends a share, however it ended. Answers this node's uses, which are over.
    pub(super) fn end(&mut self, outbox: &mut Outbox, call: Call) -> Vec<(GlobalId, Hold)> {
        let Some(sharing) = self.sharing.remove(&call) else { return Vec::new() };
        self.later.retain(|(_, later, ..)| *later != call);
        for number in sharing.requests.keys() {
            self.requests.remove(number);
            outbox.forget(*number);
        }
        if let Some((number, mail)) = sharing.sent {
            outbox.forget(mail);
            if let Some(receiver) = self.receivers.get_mut(&sharing.to) {
                receiver.open.remove(&number);
            }
        }
        sharing.uses
    }

    /// The calls that a dead node ends, each with why.
    pub(super) fn ended_by(&self, dead: Incarnation) -> Vec<(Call, Refusal)> {
        let why = |sharing: &Sharing| {
            if sharing.to == dead {
                return Some(Refusal::HolderDead { holder: dead });
            }
            let asked = sharing.requests.values().any(|(owner, _)| *owner == dead);
            asked.then_some(Refusal::OwnerDead { owner: dead })
        };
        self.sharing.iter().filter_map(|(call, one)| Some((*call, why(one)?))).collect()
    }

    /// The calls that wait for a node.
    pub(super) fn waiting_for(&self, node: Incarnation) -> Vec<Call> {
        let waits = |one: &Sharing| {
            let asked = one.requests.values().any(|(owner, _)| *owner == node);
            asked || one.to == node && one.sent.is_some()
        };
        self.sharing.iter().filter(|(_, one)| waits(one)).map(|(call, _)| *call).collect()
    }

    /// Forgets a dead node.
    pub(super) fn forget(&mut self, dead: Incarnation) {
        self.receivers.remove(&dead);
        self.senders.remove(&dead);
    }

    /// A share arrived: whether it is new.
    pub(super) fn arrived(
        &mut self,
        step: &Moment<'_>,
        from: Incarnation,
        (number, base): (u64, u64),
    ) -> Arrival {
        let limits = &step.settings.limits;
        if !self.senders.contains_key(&from) && self.senders.len() >= limits.holders {
            let most = limits.holders as u64;
            return Arrival::Refused(Refusal::Limit { bound: Bound::Holders, most });
        }
        let sender = self.senders.entry(from).or_default();
        sender.base = sender.base.max(base.min(number));
        sender.taken = sender.taken.split_off(&sender.base);
        sender.open = sender.open.split_off(&sender.base);
        if number < sender.base || sender.taken.contains(&number) {
            return Arrival::Again;
        }
        // An honest sender has so many on their way at most.
        if number - sender.base >= SPREAD_MAX {
            return Arrival::Refused(Refusal::Limit { bound: Bound::Shares, most: limits.shares });
        }
        Arrival::New
    }

    /// A new share was taken; it is accepted when these references stand.
    pub(super) fn take(&mut self, from: Incarnation, number: u64, pending: BTreeSet<GlobalId>) {
        let sender = self.senders.entry(from).or_default();
        sender.taken.insert(number);
        sender.open.insert(number, pending);
    }

    /// Accepts what stands, or never will.
    pub(super) fn accept(
        &mut self,
        step: &mut Step<'_>,
        is_settled: impl Fn(&Moment<'_>, GlobalId) -> bool,
    ) {
        for (from, sender) in &mut self.senders {
            sender.open.retain(|number, pending| {
                pending.retain(|value| !is_settled(step, *value));
                if pending.is_empty() {
                    step.send(*from, Message::Accepted { number: *number, refusal: None });
                }
                !pending.is_empty()
            });
        }
    }

    /// A share that was taken is asked about again: answers unless it is still open.
    pub(super) fn answer_again(&self, step: &mut Step<'_>, from: Incarnation, number: u64) {
        let open = self.senders.get(&from).is_some_and(|one| one.open.contains_key(&number));
        if !open {
            step.send(from, Message::Accepted { number, refusal: None });
        }
    }
}
