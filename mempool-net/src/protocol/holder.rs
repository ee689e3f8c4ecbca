//! The holder's side: which references this node has, and whether they stand.
//!
//! ```text
//!             arrives, not trusted               Granted                  fence, newer era
//!  (nothing) ─────────────────────▶ asking ─────────────────▶ stands ─────────────────────▶ asking (fenced)
//!      │                              │ refused                 ▲                             │ Granted: stands again
//!      │ arrives, trusted             ▼                         │                             │ refused: lost
//!      └──────────────────────────── lost ◀─────────────────────┼─────────────────────────────┘
//!                                                               └── owner proved dead: lost
//! ```
//!
//! Beside the references there is one *tie* for each owner: the renewals under way, what the latest acknowledged one proved,
//! and what is to be asked and released. A reference is believed only while three things hold:
//!
//! 1. the tie is *proven*: a renewal that was sent less than `lease - slack` ago was acknowledged;
//! 2. the reference *stands*: the owner registered this node for it;
//! 3. its version is not below the *era* of that proof, so it belongs to the claim that was renewed, and to no earlier one.
//!
//! A reference that comes from another node names a registration that a third node had made. It may be late: this node may have
//! released that very registration meanwhile, because the owner asked about it. So it is trusted only where the tie is proven
//! and the version is above everything that this node can have released: above the latest version as of when the tie was proven
//! (`floor`), and above what was released since. Otherwise this node registers itself, while the sender still holds
//! the reference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::message::{Answer, BATCH_MAX, Message, Reference, Registration};
use super::outbox::Outbox;
use super::refusal::Refusal;
use super::step::{Effect, Hold, Moment, Step};
use crate::{GlobalId, Incarnation};

/// Renewals whose answers are waited for; older ones prove less than younger ones.
const RENEWALS_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Proof {
    /// When the renewal was sent that was acknowledged.
    sent_at: Duration,
    era: u64,
}

/// What this node has to do with one owner.
#[derive(Debug, Default)]
struct Tie {
    /// Renewals without an answer: number and when it was sent.
    renewals: VecDeque<(u64, Duration)>,
    renew_at: Duration,
    proof: Option<Proof>,
    floor: u64,
    released: u64,
    /// References that are this owner's, or are to become so.
    values: BTreeSet<GlobalId>,
    asks: BTreeSet<GlobalId>,
    ask_at: Duration,
    asked: Option<(u64, Vec<GlobalId>)>,
    releases: BTreeMap<GlobalId, u64>,
    releasing: Option<u64>,
}

impl Tie {
    fn fence(&self, step: &Moment<'_>) -> Option<Duration> {
        self.proof.map(|proof| step.settings.lease.fence(proof.sent_at))
    }

    /// Whether a registration of that version, of which another node tells, must still be there.
    fn trusts(&self, step: &Moment<'_>, version: u64) -> bool {
        let Some(proof) = self.proof else { return false };
        let in_time = self.fence(step).is_some_and(|at| step.now < at);
        let unreleased = version > self.floor.max(self.released) || mutant!("late_share_trusted");
        in_time && unreleased && version >= proof.era
    }

    fn release(&mut self, value: GlobalId, version: u64) {
        if version > 0 {
            let known = self.releases.entry(value).or_default();
            *known = version.max(*known);
            self.released = self.released.max(version);
        }
    }

    fn ask(&mut self, value: GlobalId) {
        self.values.insert(value);
        self.asks.insert(value);
    }

    fn forget(&mut self, value: GlobalId) {
        self.values.remove(&value);
        self.asks.remove(&value);
    }

    fn is_idle(&self) -> bool {
        self.values.is_empty()
            && self.asked.is_none()
            && self.releases.is_empty()
            && self.releasing.is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Asking { fenced: bool },
    Stands,
    Lost(Refusal),
}

#[derive(Debug)]
struct Held {
    owner: Incarnation,
    epoch: u64,
    /// The highest version of this node's registration that it heard of; 0 for none.
    version: u64,
    standing: Standing,
    /// The owner that the reference is to have, where the value has moved: this node is registering itself there, and is
    /// still registered here.
    next: Option<(Incarnation, u64)>,
    uses: BTreeSet<Hold>,
}

/// The references that this node has to values of others.
#[derive(Debug, Default)]
pub struct Holder {
    ties: BTreeMap<Incarnation, Tie>,
    held: BTreeMap<GlobalId, Held>,
    uses: BTreeMap<Hold, GlobalId>,
}

impl Holder {
    /// How many values this node has references to.
    #[must_use]
    pub fn values(&self) -> usize {
        self.held.len()
    }

    /// Whether this node holds nothing and owes nobody a word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ties.is_empty()
    }

    /// Who owns the value, as far as this node knows; nobody, if the reference is lost.
    pub(super) fn owner_of(&self, value: GlobalId) -> Option<(Incarnation, u64)> {
        let held = self.held.get(&value);
        let held = held.filter(|held| !matches!(held.standing, Standing::Lost(_)));
        held.map(|held| held.next.unwrap_or((held.owner, held.epoch)))
    }

    /// Why the reference is lost, if it is.
    pub(super) fn lost(&self, value: GlobalId) -> Option<Refusal> {
        match &self.held.get(&value)?.standing {
            Standing::Lost(refusal) => Some(refusal.clone()),
            Standing::Asking { .. } | Standing::Stands => None,
        }
    }

    /// Whether the reference stands, now.
    pub(super) fn standing(
        &self,
        step: &Moment<'_>,
        value: GlobalId,
    ) -> Result<Reference, Refusal> {
        let held = self.held.get(&value).ok_or(Refusal::NotHeld { value })?;
        let owner = held.owner;
        let fenced = match &held.standing {
            Standing::Lost(refusal) => return Err(refusal.clone()),
            Standing::Asking { fenced } => *fenced,
            Standing::Stands => {
                let tie = self.ties.get(&owner);
                let proof = tie.and_then(|tie| tie.proof);
                let in_time = tie.and_then(|tie| tie.fence(step)).is_some_and(|at| step.now < at);
                if in_time && proof.is_some_and(|proof| held.version >= proof.era) {
                    let (epoch, version) = (held.epoch, held.version);
                    return Ok(Reference { value, owner, epoch, version });
                }
                proof.is_some()
            }
        };
        Err(if fenced {
            Refusal::Fenced { value, owner }
        } else {
            Refusal::Pending { value, owner }
        })
    }

    /// A use of a reference: by a share, a ticket, or the program.
    pub(super) fn arrive(&mut self, step: &mut Step<'_>, reference: Reference) -> Hold {
        let hold = Hold(step.number());
        if reference.owner != step.me {
            self.arrive_as(step, reference, hold);
        }
        hold
    }

    /// The same, for a use that there is already.
    pub(super) fn arrive_as(&mut self, step: &mut Step<'_>, reference: Reference, hold: Hold) {
        let Reference { value, owner, epoch, version } = reference;
        self.uses.insert(hold, value);
        let held = self.held.entry(value).or_insert_with(|| Held {
            owner,
            epoch,
            version: 0,
            standing: Standing::Asking { fenced: false },
            next: None,
            uses: BTreeSet::new(),
        });
        held.uses.insert(hold);
        if held.owner != owner {
            self.repoint(step, value, owner, epoch);
            return;
        }
        if step.dead.contains(&owner) {
            held.standing = Standing::Lost(Refusal::OwnerDead { owner });
            return;
        }
        let tie = self.ties.entry(owner).or_default();
        tie.values.insert(value);
        if tie.trusts(step, version) {
            held.version = held.version.max(version);
            held.epoch = held.epoch.max(epoch);
            held.standing = Standing::Stands;
            tie.asks.remove(&value);
        } else if held.standing != Standing::Stands {
            if let Standing::Lost(_) = held.standing {
                held.standing = Standing::Asking { fenced: false };
            }
            tie.ask(value);
        }
    }

    /// Another use of a reference that this node has.
    pub(super) fn use_again(&mut self, step: &mut Step<'_>, value: GlobalId) -> Option<Hold> {
        let held = self.held.get_mut(&value)?;
        let hold = Hold(step.number());
        held.uses.insert(hold);
        self.uses.insert(hold, value);
        Some(hold)
    }

    /// Ends a use; with the last one the reference is released.
    pub(super) fn drop_hold(&mut self, hold: Hold) {
        let Some(value) = self.uses.remove(&hold) else { return };
        let Some(held) = self.held.get_mut(&value) else { return };
        held.uses.remove(&hold);
        if held.uses.is_empty() {
            self.forget(value);
        }
    }

    fn forget(&mut self, value: GlobalId) {
        let Some(held) = self.held.remove(&value) else { return };
        if let Some(tie) = self.ties.get_mut(&held.owner) {
            tie.forget(value);
            tie.release(value, held.version);
        }
        if let Some(tie) = held.next.and_then(|(owner, _)| self.ties.get_mut(&owner)) {
            tie.forget(value);
        }
    }

    /// This node owns the value now, and releases its reference. Answers the uses it had.
    pub(super) fn take_over(&mut self, value: GlobalId) -> BTreeSet<Hold> {
        let held = self.held.get_mut(&value);
        let uses = held.map(|held| std::mem::take(&mut held.uses)).unwrap_or_default();
        self.forget(value);
        for hold in &uses {
            self.uses.remove(hold);
        }
        uses
    }

    /// The value has another owner. While the reference stands with the old one it goes on to, until the new one has granted it.
    pub(super) fn repoint(
        &mut self,
        step: &mut Step<'_>,
        value: GlobalId,
        owner: Incarnation,
        epoch: u64,
    ) {
        let Some(held) = self.held.get_mut(&value) else { return };
        let (known_owner, known) = held.next.unwrap_or((held.owner, held.epoch));
        let useless = owner == known_owner || owner == step.me || step.dead.contains(&owner);
        if epoch <= known || useless {
            return;
        }
        if let Some(tie) = held.next.and_then(|(owner, _)| self.ties.get_mut(&owner)) {
            tie.forget(value);
        }
        if held.owner == owner {
            // It came back to where this node is registered still, or asks.
            (held.next, held.epoch) = (None, epoch);
            if let Standing::Lost(_) = held.standing {
                held.standing = Standing::Asking { fenced: true };
            }
            if held.standing != Standing::Stands {
                self.ties.entry(owner).or_default().ask(value);
            }
            return;
        }
        held.next = Some((owner, epoch));
        if held.standing != Standing::Stands {
            if let Standing::Lost(_) = held.standing {
                held.standing = Standing::Asking { fenced: true };
            }
            if let Some(tie) = self.ties.get_mut(&held.owner) {
                tie.asks.remove(&value);
            }
        }
        self.ties.entry(owner).or_default().ask(value);
    }

    /// The owner answered a renewal.
    pub(super) fn renewed(
        &mut self,
        step: &mut Step<'_>,
        owner: Incarnation,
        number: u64,
        (era, latest): (u64, u64),
        unconfirmed: &[Registration],
    ) {
        let Some(tie) = self.ties.get_mut(&owner) else { return };
        let Some(at) = tie.renewals.iter().position(|(sent, _)| *sent == number) else { return };
        let Some((_, sent_at)) = tie.renewals.drain(..=at).next_back() else { return };
        match &mut tie.proof {
            Some(proof) if era < proof.era => return,
            Some(proof) => *proof = Proof { sent_at: sent_at.max(proof.sent_at), era },
            None => {
                tie.floor = tie.floor.max(latest);
                tie.proof = Some(Proof { sent_at, era });
            }
        }
        for value in &tie.values {
            let Some(held) = self.held.get_mut(value).filter(|held| held.owner == owner) else {
                continue;
            };
            if held.standing == Standing::Stands && held.version < era {
                held.standing = Standing::Asking { fenced: true };
                tie.asks.insert(*value);
            }
        }
        self.confirm(step, owner, unconfirmed);
    }

    /// Tells the owner which of the registrations it asked about are known here, and releases the others.
    fn confirm(&mut self, step: &mut Step<'_>, owner: Incarnation, asked: &[Registration]) {
        let Some(tie) = self.ties.get_mut(&owner) else { return };
        let mut registrations = Vec::new();
        for one in asked.iter().take(BATCH_MAX) {
            let held = self.held.get_mut(&one.value);
            match held.filter(|held| !matches!(held.standing, Standing::Lost(_))) {
                Some(held) if held.owner == owner => {
                    held.version = held.version.max(one.version);
                    registrations.push(*one);
                }
                // The answer to this node's own question, which is on its way, brings a version to go by.
                Some(held) if held.next.is_some_and(|(next, _)| next == owner) => {}
                _ => tie.release(one.value, one.version),
            }
        }
        if !registrations.is_empty() {
            step.send(owner, Message::Confirm { registrations });
        }
    }

    /// The owner answered what this node asked for itself. Says whether the number was such a request's.
    pub(super) fn registered(
        &mut self,
        step: &mut Step<'_>,
        owner: Incarnation,
        number: u64,
        answers: &[Answer],
        is_copy: impl Fn(GlobalId) -> bool,
    ) -> bool {
        let Some(tie) = self.ties.get_mut(&owner) else { return false };
        let Some((_, values)) = tie.asked.take_if(|(asked, _)| *asked == number) else {
            return false;
        };
        let mut answers = answers.iter();
        for value in values {
            match answers.next() {
                Some(Answer::Granted { version, epoch }) => {
                    self.granted(step, owner, value, (*version, *epoch));
                }
                // This node had it, and let it go.
                Some(Answer::Moved { owner: next, .. }) if *next == step.me && !is_copy(value) => {
                    self.refused(step, owner, value, &Refusal::Gone { value, owner: *next });
                }
                Some(Answer::Moved { owner: next, epoch }) => {
                    self.repoint(step, value, *next, *epoch);
                    self.ask_later(step, owner, value);
                }
                Some(Answer::Refused(Refusal::OwnershipUnknown { .. })) | None => {
                    self.ask_later(step, owner, value);
                }
                Some(Answer::Refused(refusal)) => self.refused(step, owner, value, refusal),
            }
        }
        true
    }

    /// Asks the owner again after a while, if the reference still depends on its answer.
    fn ask_later(&mut self, step: &Moment<'_>, owner: Incarnation, value: GlobalId) {
        let Some(held) = self.held.get(&value) else { return };
        let here = held.next.map_or(held.owner, |(next, _)| next) == owner;
        if let Some(tie) = self.ties.get_mut(&owner).filter(|_| here) {
            tie.asks.insert(value);
            tie.ask_at = step.now + step.settings.resend;
        }
    }

    fn granted(
        &mut self,
        step: &mut Step<'_>,
        owner: Incarnation,
        value: GlobalId,
        (version, epoch): (u64, u64),
    ) {
        let Some(tie) = self.ties.get_mut(&owner) else { return };
        let Some(held) = self.held.get_mut(&value) else { return tie.release(value, version) };
        let next = held.next.is_some_and(|(next, _)| next == owner);
        if held.owner != owner && !next {
            return tie.release(value, version);
        }
        // It may have been released since it was granted, when the owner asked about it; and a claim of an earlier era is over.
        if version <= tie.released || tie.proof.is_some_and(|proof| version < proof.era) {
            return tie.ask(value);
        }
        let (old, old_version) = (held.owner, held.version);
        (held.owner, held.epoch) = (owner, epoch);
        held.standing = Standing::Stands;
        held.version = if next { version } else { version.max(old_version) };
        if next {
            held.next = None;
            if let Some(tie) = self.ties.get_mut(&old) {
                tie.forget(value);
                tie.release(value, old_version);
            }
            let reference = Reference { value, owner, epoch, version };
            step.effect(Effect::Repointed { reference });
        }
    }

    fn refused(
        &mut self,
        step: &mut Step<'_>,
        owner: Incarnation,
        value: GlobalId,
        refusal: &Refusal,
    ) {
        let Some(held) = self.held.get_mut(&value) else { return };
        if held.next.is_some_and(|(next, _)| next == owner) {
            held.next = None;
        } else if held.owner != owner || held.next.is_some() {
            return;
        }
        if let Some(tie) = self.ties.get_mut(&owner).filter(|_| held.owner != owner) {
            tie.forget(value);
        }
        if held.standing != Standing::Stands {
            held.standing = Standing::Lost(refusal.clone());
            // A lost reference claims nothing, however long its uses last.
            if let Some(tie) = self.ties.get_mut(&held.owner) {
                tie.forget(value);
                tie.release(value, std::mem::take(&mut held.version));
            }
            step.effect(Effect::Lost { value, refusal: refusal.clone() });
        }
    }

    /// The owner heard a release.
    pub(super) fn released(&mut self, owner: Incarnation, number: u64) {
        if let Some(tie) = self.ties.get_mut(&owner) {
            tie.releasing.take_if(|sent| *sent == number);
        }
    }

    /// Nothing that this owner had is left.
    pub(super) fn owner_dead(&mut self, step: &mut Step<'_>, owner: Incarnation) {
        let Some(tie) = self.ties.remove(&owner) else { return };
        for value in tie.values {
            let Some(held) = self.held.get_mut(&value) else { continue };
            if held.owner == owner {
                held.version = 0;
                if let Some(next) = held.next.take() {
                    (held.owner, held.epoch) = next;
                    held.standing = Standing::Asking { fenced: true };
                    continue;
                }
            } else {
                held.next = None;
                if held.standing == Standing::Stands {
                    continue;
                }
                if let Some(tie) = self.ties.get_mut(&held.owner) {
                    tie.ask(value);
                    continue;
                }
            }
            let refusal = Refusal::OwnerDead { owner };
            held.standing = Standing::Lost(refusal.clone());
            step.effect(Effect::Lost { value, refusal });
        }
    }

    /// Fences what could not be renewed. To be called before anything else in a step.
    pub(super) fn expire(&mut self, step: &mut Step<'_>) {
        for (owner, tie) in &mut self.ties {
            if tie.fence(step).is_none_or(|at| step.now < at) {
                continue;
            }
            tie.proof = None;
            tie.renewals.clear();
            tie.renew_at = step.now;
            for value in &tie.values {
                let held = self.held.get_mut(value).filter(|held| held.owner == *owner);
                if let Some(held) = held.filter(|held| held.standing == Standing::Stands) {
                    held.standing = Standing::Asking { fenced: true };
                    if held.next.is_none() {
                        tie.asks.insert(*value);
                    }
                }
            }
            if !tie.values.is_empty() {
                step.effect(Effect::Fenced { owner: *owner });
            }
        }
    }

    /// Sends what is due: renewals, questions, releases.
    pub(super) fn flush(&mut self, step: &mut Step<'_>, outbox: &mut Outbox) {
        for (&owner, tie) in &mut self.ties {
            if !tie.values.is_empty() && tie.renew_at <= step.now {
                let number = step.number();
                if tie.renewals.len() >= RENEWALS_MAX {
                    tie.renewals.pop_front();
                }
                tie.renewals.push_back((number, step.now));
                let proven = tie.proof.is_some();
                let wait =
                    if proven { step.settings.lease.renewal() } else { step.settings.resend };
                tie.renew_at = step.now + wait;
                step.send(owner, Message::Renew { number });
            }
            if tie.asked.is_none() && !tie.asks.is_empty() && tie.ask_at <= step.now {
                let number = step.number();
                let values: Vec<GlobalId> = tie.asks.iter().take(BATCH_MAX).copied().collect();
                values.iter().for_each(|value| {
                    tie.asks.remove(value);
                });
                tie.asked = Some((number, values.clone()));
                let message = Message::Register { number, holder: step.me, values };
                outbox.send(step, number, owner, message);
            }
            if tie.releasing.is_none() && !tie.releases.is_empty() {
                let number = step.number();
                let some = tie.releases.iter().take(BATCH_MAX);
                let registrations: Vec<Registration> = some
                    .map(|(value, version)| Registration { value: *value, version: *version })
                    .collect();
                for one in &registrations {
                    tie.releases.remove(&one.value);
                }
                tie.releasing = Some(number);
                outbox.send(step, number, owner, Message::Release { number, registrations });
            }
        }
        self.ties.retain(|_, tie| !tie.is_idle());
    }

    /// When something is due next.
    pub(super) fn next_deadline(&self, step: &Moment<'_>) -> Option<Duration> {
        let due = |tie: &Tie| {
            let renew = (!tie.values.is_empty()).then_some(tie.renew_at);
            let ask = (tie.asked.is_none() && !tie.asks.is_empty()).then_some(tie.ask_at);
            [renew, ask, tie.fence(step)].into_iter().flatten().min()
        };
        self.ties.values().filter_map(due).min()
    }
}
