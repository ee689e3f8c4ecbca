//! A value changes its owner.
//!
//! ```text
//!  source (owner of e)                       target                          holders
//!    │  Offer(e+1)                             │                                │
//!    │ ──────────────────────────────────────▶ │  fetches a copy, verifies it   │
//!    │ ◀────────────────────────────────────── │                                │
//!    │  Prepared(e+1)                          │  owns nothing, frees nothing   │
//!    │                                         │                                │
//!    │  commits: answers `Moved` from here on  │                                │
//!    │  Commit(e+1, holders, tickets) 1..n     │                                │
//!    │ ──────────────────────────────────────▶ │  owner of e+1                  │
//!    │ ◀────────────────────────────────────── │                                │
//!    │  Activated(e+1)                         │  Moved(e+1)                    │
//!    │  Settled(e+1)                           │ ─────────────────────────────▶ │
//!    │ ──────────────────────────────────────▶ │  may move the value on         │
//!    │                                         │ ◀───────────────────────────── │
//!    │                                         │  Register                      │
//!    │ ◀──────────────────────────────────────────────────────────────────────  │
//!    │  Release                                │                                │
//!    │  Ended(holder)                          │                                │
//!    │ ──────────────────────────────────────▶ │  the source holds no claim     │
//!    ▼  lets its copy go                       ▼  of this holder any more       ▼
//! ```
//!
//! **One owner per epoch.** A source numbers its attempts: every offer has an epoch of its own, above all that the source has
//! offered or owned. It commits one that was prepared, once. Until it has heard *Activated* it alone may take the value
//! back, in a still higher epoch, and only when the target is proved dead; so the target moves the value on only after *Settled*.
//!
//! **Claims stay where they are.** The source goes on to renew and to release the claims that it has granted, and keeps its copy for
//! them; so a lease never depends on a second one. The target *inherits* the holders: it keeps the value for each of them until the
//! source says that the claim through it has ended, and tells each of them where the value is now. That a holder has registered itself with the target
//! is not enough: its claim through the source is another one, and either may be the one that it goes by.
//!
//! **What if a message is lost for ever.** *Offer*: the call ends, and the source stays owner. *Prepared*: the same, and
//! the target asks on; it is answered *Abort*. *Commit*: the target does not know whether it owns the value. It serves its copy, frees
//! nothing, and answers `OwnershipUnknown`, until the source answers, or is proved dead, or an operator decides. *Activated*:
//! the source sends *Commit* again. *Settled*: the target says *Activated* again.
//!
//! **Who may die.** The target before it was committed: the source stays owner of e. After that, before *Activated* was heard:
//! the source takes the value back. Later: holders that have registered there have lost it; those that still claim through the
//! source keep it there. The source before it committed, or after: the target that has prepared succeeds it, with the holders that the offer
//! named. It cannot know whether the source had moved the value elsewhere in a later epoch, so it does not move it on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::machine::{Roles, What};
use super::message::{BATCH_MAX, Message, MovedTicket, Reference};
use super::owner::{Inherited, Place, limit};
use super::refusal::{Bound, Refusal};
use super::step::{Call, Effect, Keeper, Outcome, Step};
use crate::{GlobalId, Incarnation};

/// A copy that this node makes to own the value, or has made.
#[derive(Debug)]
pub(super) struct Copy {
    source: Incarnation,
    epoch: u64,
    is_prepared: bool,
    /// Who held the value when it was offered.
    holders: Vec<Incarnation>,
    /// Parts of the commit that were heard.
    parts: BTreeMap<u32, (Vec<Incarnation>, Vec<MovedTicket>)>,
    again_at: Duration,
}

/// Copies, by value.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<GlobalId, Copy>);

impl Copies {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a copy answers whose ownership is not known.
    pub(super) fn unknown(&self, value: GlobalId) -> Option<Refusal> {
        let copy = self.0.get(&value)?;
        let (source_node, epoch) = (copy.source, copy.epoch);
        Some(Refusal::OwnershipUnknown { value, source_node, epoch })
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let prepared = self.0.values().filter(|copy| copy.is_prepared);
        prepared.map(|copy| copy.again_at).min()
    }
}

impl Roles {
    /// Offers the value to another node.
    pub(super) fn migrate(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (value, target): (GlobalId, Incarnation),
        stays: bool,
        until: Duration,
    ) -> Result<Call, Refusal> {
        if step.dead.contains(&target) {
            return Err(Refusal::TargetDead { value, target });
        }
        if let Some(refusal) = self.copies.unknown(value) {
            return Err(refusal);
        }
        if self.holder.owner_of(value).is_some() || target == step.me {
            return Err(Refusal::NotOwned { value });
        }
        let owned = self.owner.owned(step, keeper, value)?;
        let refusal = match owned.place {
            Place::Here if owned.unsettled.is_some() => {
                Some(Refusal::Moving { value, target: step.me })
            }
            Place::Here if owned.is_successor => {
                let (source_node, epoch) = (step.me, owned.epoch);
                Some(Refusal::OwnershipUnknown { value, source_node, epoch })
            }
            Place::Here => None,
            Place::Offered { to: target, .. } | Place::Committed { to: target, .. } => {
                Some(Refusal::Moving { value, target })
            }
            Place::Forwarded { .. } => Some(Refusal::NotOwned { value }),
        };
        if let Some(refusal) = refusal {
            self.owner.settle(keeper, value);
            return Err(refusal);
        }
        let call = match self.call(step, until, What::Migrate(value)) {
            Ok(call) => call,
            Err(refusal) => {
                self.owner.settle(keeper, value);
                return Err(refusal);
            }
        };
        let epoch = self.owner.next_epoch(value);
        if let Ok(owned) = self.owner.known(value) {
            owned.stays = stays;
            owned.place = Place::Offered {
                call,
                to: target,
                epoch,
                again_at: step.now + step.settings.resend,
            };
        }
        self.owner.active.insert(value);
        self.send_offer(step, value, target, epoch);
        if mutant!("commit_unprepared") {
            self.commit(step, value, target, epoch);
        }
        Ok(call)
    }

    fn send_offer(&mut self, step: &mut Step<'_>, value: GlobalId, to: Incarnation, epoch: u64) {
        let holders = self.owner.known(value).map(|owned| owned.through(step.me));
        let holders = holders.unwrap_or_default().into_iter().take(BATCH_MAX).collect();
        step.send(to, Message::Offer { value, epoch, holders });
    }

    /// Gives an offer up; the value stays.
    pub(super) fn abort(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
    ) -> bool {
        let Ok(owned) = self.owner.known(value) else { return false };
        let Place::Offered { to, epoch, .. } = owned.place else { return false };
        owned.place = Place::Here;
        step.send(to, Message::Abort { value, epoch });
        self.owner.settle(keeper, value);
        true
    }

    /// The source's side of what the target says.
    pub(super) fn prepared(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (value, from, epoch): (GlobalId, Incarnation, u64),
        refusal: Option<Refusal>,
    ) {
        let place = self.owner.known(value).map(|owned| owned.place.clone());
        match place {
            Ok(Place::Offered { call, to, epoch: offered, .. })
                if to == from && (offered == epoch || mutant!("epoch_ignored")) =>
            {
                if let Some(refusal) = refusal {
                    self.abort(step, keeper, value);
                    self.end_call(step, keeper, call, Err(refusal));
                } else {
                    self.commit(step, value, to, offered);
                }
            }
            // It is answered by the commit, which is sent again.
            Ok(Place::Committed { to, epoch: committed, .. })
                if (to, committed) == (from, epoch) => {}
            _ if refusal.is_some() => {}
            _ => step.send(from, Message::Abort { value, epoch }),
        }
    }

    /// From here on the target owns the value, whenever it hears of it.
    fn commit(&mut self, step: &mut Step<'_>, value: GlobalId, to: Incarnation, epoch: u64) {
        let (now, me) = (step.now, step.me);
        let tickets = self.owner.tickets.export(now, value);
        let Ok(owned) = self.owner.known(value) else { return };
        let Place::Offered { call, .. } = owned.place else { return };
        let told = owned.through(me);
        let holders: Vec<Incarnation> = told.iter().copied().collect();
        let holders: Vec<&[Incarnation]> = holders.chunks(BATCH_MAX).collect();
        let tickets: Vec<&[MovedTicket]> = tickets.chunks(BATCH_MAX).collect();
        let count = holders.len().max(tickets.len()).max(1);
        let parts = u32::try_from(count).unwrap_or(u32::MAX);
        let commit = |part: u32| {
            let index = part as usize;
            let holders = holders.get(index).map_or_else(Vec::new, |some| some.to_vec());
            let tickets = tickets.get(index).map_or_else(Vec::new, |some| some.to_vec());
            Message::Commit { value, epoch, part, parts, holders, tickets }
        };
        let commits: Vec<Message> = (0..parts).map(commit).collect();
        for message in &commits {
            step.send(to, message.clone());
        }
        let again_at = now + step.settings.resend;
        owned.place = Place::Committed { call, to, epoch, again_at, told, commits };
    }

    /// The target has the value now: this node forwards, and keeps its copy for those who claim it here.
    pub(super) fn activated(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (value, from, epoch): (GlobalId, Incarnation, u64),
    ) {
        let place = self.owner.known(value).map(|owned| owned.place.clone());
        match place {
            Ok(Place::Committed { call, to, epoch: committed, told, .. })
                if (to, committed) == (from, epoch) =>
            {
                step.send(from, Message::Settled { value, epoch });
                self.forward(step, keeper, value, (to, epoch), told);
                self.end_call(step, keeper, call, Ok(Outcome::Migrated));
            }
            // The value went on, or came back and went again; what the sender settles is over.
            _ => step.send(from, Message::Settled { value, epoch }),
        }
    }

    fn forward(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        (to, epoch): (Incarnation, u64),
        told: BTreeSet<Incarnation>,
    ) {
        let Ok(owned) = self.owner.known(value) else { return };
        owned.place = Place::Forwarded { to, epoch, told };
        owned.tickets.clear();
        let (stays, names) = (owned.stays, std::mem::take(&mut owned.names));
        owned.stays = stays || !names.is_empty() || !owned.uses.is_empty();
        self.owner.tickets.forget(value);
        let reference = Reference { value, owner: to, epoch, version: 0 };
        for name in names {
            let hold = self.holder.arrive(step, reference);
            self.owner.tickets.held(&name, hold);
        }
        for hold in self.owner.take_uses(value) {
            self.holder.arrive_as(step, reference, hold);
        }
        let hold = stays.then(|| self.holder.arrive(step, reference));
        step.effect(Effect::Migrated { reference, hold });
        self.own_claims.insert(value);
        self.owner.settle(keeper, value);
    }

    /// An owner offers this node a value.
    pub(super) fn offered(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (value, source, epoch): (GlobalId, Incarnation, u64),
        holders: Vec<Incarnation>,
    ) {
        let again_at = step.now + step.settings.resend;
        // An offer that comes late, for what this node owns by now, or has owned.
        let owns = self.owner.owned(step, keeper, value).ok().filter(|owned| owned.is_here());
        let known = owns.map(|owned| owned.epoch);
        self.owner.settle(keeper, value);
        let known = known.or(self.owner.moved_to(value).map(|(_, epoch)| epoch));
        if known.is_some_and(|known| known >= epoch) {
            return;
        }
        if let Some(copy) = self.copies.0.get_mut(&value) {
            if epoch > copy.epoch {
                (copy.source, copy.epoch, copy.holders) = (source, epoch, holders);
                copy.parts.clear();
            }
            if copy.is_prepared && copy.source == source {
                step.send(source, Message::Prepared { value, epoch: copy.epoch, refusal: None });
            }
            return;
        }
        let most = step.settings.limits.migrations;
        if self.copies.len() >= most {
            let refusal = Some(limit(Bound::Migrations, most));
            return step.send(source, Message::Prepared { value, epoch, refusal });
        }
        // A node that still has its copy from when it owned the value needs no other.
        let own = self.owner.known(value).map(|owned| owned.is_copy = true);
        let is_prepared = own.is_ok();
        let parts = BTreeMap::new();
        let copy = Copy { source, epoch, is_prepared, holders, parts, again_at };
        self.copies.0.insert(value, copy);
        if is_prepared {
            step.send(source, Message::Prepared { value, epoch, refusal: None });
        } else {
            step.effect(Effect::Fetch { value, from: source });
        }
    }

    /// This node has a verified copy, kept, or could not make one.
    pub(super) fn fetched(&mut self, step: &mut Step<'_>, value: GlobalId, is_there: bool) -> bool {
        let Some(copy) = self.copies.0.get_mut(&value).filter(|copy| !copy.is_prepared) else {
            return false;
        };
        copy.is_prepared = is_there;
        copy.again_at = step.now + step.settings.resend;
        let (source, epoch) = (copy.source, copy.epoch);
        let target = step.me;
        let refusal = (!is_there).then_some(Refusal::NotCopied { value, target });
        if !is_there {
            self.copies.0.remove(&value);
        }
        step.send(source, Message::Prepared { value, epoch, refusal });
        is_there
    }

    /// The source keeps the value.
    pub(super) fn aborted(
        &mut self,
        keeper: &mut dyn Keeper,
        (value, source, epoch): (GlobalId, Incarnation, u64),
    ) {
        let copy = self.copies.0.get(&value);
        if copy.is_some_and(|copy| copy.source == source && copy.epoch == epoch) {
            self.discard(keeper, value);
        }
    }

    /// Lets a copy go that will own nothing.
    pub(super) fn discard(&mut self, keeper: &mut dyn Keeper, value: GlobalId) {
        let Some(copy) = self.copies.0.remove(&value) else { return };
        if let Ok(owned) = self.owner.known(value) {
            owned.is_copy = false;
            self.owner.settle(keeper, value);
        } else if copy.is_prepared {
            keeper.let_go(value, None);
        }
    }

    /// The source committed this node's copy, a part at a time.
    pub(super) fn committed(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (value, source, epoch): (GlobalId, Incarnation, u64),
        (part, parts): (u32, u32),
        claims: (Vec<Incarnation>, Vec<MovedTicket>),
    ) {
        let Some(copy) = self.copies.0.get_mut(&value) else {
            if self.owner.known(value).is_ok_and(|owned| owned.epoch >= epoch) {
                step.send(source, Message::Activated { value, epoch });
            }
            return;
        };
        let is_it = copy.source == source && (copy.epoch == epoch || mutant!("epoch_ignored"));
        let is_ready = copy.is_prepared || mutant!("commit_unprepared");
        if !is_it || !is_ready || parts > PARTS_MAX || part >= parts {
            return;
        }
        copy.parts.insert(part, claims);
        if copy.parts.len() < parts as usize {
            return;
        }
        let all = std::mem::take(&mut copy.parts);
        let (mut holders, mut tickets) = (BTreeSet::new(), Vec::new());
        for (some, more) in all.into_values() {
            holders.extend(some);
            tickets.extend(more);
        }
        self.activate(step, keeper, value, holders, &tickets, Some(source));
        step.send(source, Message::Activated { value, epoch });
    }

    /// This node owns the value from here on.
    fn activate(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        mut holders: BTreeSet<Incarnation>,
        tickets: &[MovedTicket],
        unsettled: Option<Incarnation>,
    ) {
        let Some(copy) = self.copies.0.remove(&value) else { return };
        let (now, epoch, source) = (step.now, copy.epoch, copy.source);
        let uses = self.holder.take_over(value);
        let owned = self.owner.adopt(value, epoch);
        owned.unsettled = unsettled;
        owned.is_successor = unsettled.is_none();
        holders.retain(|one| *one != step.me && !step.dead.contains(one));
        // After its source's death a holder has fenced itself within a lease.
        let until = unsettled.is_none().then(|| step.settings.lease.expiry(now));
        let tell_at = now + step.settings.resend;
        for holder in &holders {
            step.send(*holder, Message::Moved { value, owner: step.me, epoch });
        }
        owned.inherited = Some(Inherited { source, epoch, holders, until, tell_at });
        owned.again_at = now + step.settings.resend;
        uses.into_iter().for_each(|hold| self.owner.add_use(value, hold));
        self.owner.claim_by_names(keeper, value);
        self.owner.active.insert(value);
        self.owner.take_tickets(step, value, tickets);
        self.owner.settle(keeper, value);
        // Where nobody is left who claims the value, the copy is gone again.
        if self.owner.epoch(value).is_some() {
            step.effect(Effect::Owns { value, epoch });
        }
    }

    /// The source says which of the claims that this node inherited have ended. Says whether this is heard.
    pub(super) fn ended(
        &mut self,
        keeper: &mut dyn Keeper,
        (value, source, epoch): (GlobalId, Incarnation, u64),
        holders: &[Incarnation],
    ) -> bool {
        if self.copies.0.get(&value).is_some_and(|copy| copy.epoch == epoch) {
            return false;
        }
        if let Ok(owned) = self.owner.known(value)
            && let Some(inherited) = &mut owned.inherited
            && inherited.source == source
            && inherited.epoch == epoch
        {
            holders.iter().for_each(|holder| {
                inherited.holders.remove(holder);
            });
        }
        self.owner.settle(keeper, value);
        true
    }

    /// The source knows that this node owns the value.
    pub(super) fn settled(
        &mut self,
        keeper: &mut dyn Keeper,
        (value, source, epoch): (GlobalId, Incarnation, u64),
    ) {
        if let Ok(owned) = self.owner.known(value)
            && owned.epoch == epoch
            && owned.unsettled == Some(source)
        {
            owned.unsettled = None;
        }
        self.owner.settle(keeper, value);
    }

    /// Whoever runs the cluster knows what became of the source: the copy owns the value, or goes.
    pub(super) fn decide(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        owns: bool,
    ) -> Result<(), Refusal> {
        let copy = self.copies.0.get(&value).ok_or(Refusal::NotOwned { value })?;
        if owns && copy.is_prepared {
            let holders = copy.holders.iter().copied().collect();
            self.activate(step, keeper, value, holders, &[], None);
        } else {
            self.discard(keeper, value);
        }
        Ok(())
    }

    /// What a death means for values that move.
    pub(super) fn bury_migrations(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        dead: Incarnation,
    ) {
        let of_dead = |(value, copy): (&GlobalId, &Copy)| (copy.source == dead).then_some(*value);
        for value in self.copies.0.iter().filter_map(of_dead).collect::<Vec<_>>() {
            let _ = self.decide(step, keeper, value, true);
        }
        let expiry = step.settings.lease.expiry(step.now);
        let mut lost = Vec::new();
        for value in self.owner.moving() {
            self.owner.active.insert(value);
            let Ok(owned) = self.owner.known(value) else { continue };
            if owned.unsettled == Some(dead) {
                owned.unsettled = None;
            }
            if let Some(inherited) = &mut owned.inherited {
                inherited.holders.remove(&dead);
                if inherited.source == dead {
                    inherited.until.get_or_insert(expiry);
                }
            }
            match &owned.place {
                Place::Offered { call, to, .. } if *to == dead => lost.push((value, *call)),
                Place::Committed { call, to, .. } if *to == dead => lost.push((value, *call)),
                _ => self.owner.settle(keeper, value),
            }
        }
        for (value, call) in lost {
            let refusal = Refusal::TargetDead { value, target: dead };
            self.take_back(step, keeper, value);
            self.owner.active.insert(value);
            self.end_call(step, keeper, call, Err(refusal));
        }
    }

    /// The target is dead before it said that it owns the value: this node has it.
    fn take_back(&mut self, step: &mut Step<'_>, keeper: &mut dyn Keeper, value: GlobalId) {
        let next = self.owner.next_epoch(value);
        let lease = step.settings.lease;
        let Ok(owned) = self.owner.known(value) else { return };
        let place = std::mem::replace(&mut owned.place, Place::Here);
        if let Place::Committed { to, mut told, .. } = place {
            owned.epoch = next;
            told.retain(|one| *one != step.me && !step.dead.contains(one));
            for holder in &told {
                step.send(*holder, Message::Moved { value, owner: step.me, epoch: next });
            }
            let (until, tell_at) = (Some(lease.expiry(step.now)), step.now + step.settings.resend);
            owned.inherited =
                Some(Inherited { source: to, epoch: next, holders: told, until, tell_at });
        }
        self.owner.settle(keeper, value);
        if let Some(epoch) = self.owner.epoch(value).filter(|epoch| *epoch == next) {
            step.effect(Effect::Owns { value, epoch });
        }
    }

    /// Says again what was not answered.
    pub(super) fn tick_migrations(&mut self, step: &mut Step<'_>, keeper: &mut dyn Keeper) {
        let (now, again) = (step.now, step.now + step.settings.resend);
        for (value, copy) in &mut self.copies.0 {
            if copy.is_prepared && copy.again_at <= now {
                copy.again_at = again;
                let (value, epoch) = (*value, copy.epoch);
                step.send(copy.source, Message::Prepared { value, epoch, refusal: None });
            }
        }
        for value in self.owner.due(now) {
            let mut offer = None;
            let Ok(owned) = self.owner.known(value) else { continue };
            match &mut owned.place {
                Place::Offered { to, epoch, again_at, .. } if *again_at <= now => {
                    *again_at = again;
                    offer = Some((*to, *epoch));
                }
                Place::Committed { to, again_at, commits, .. } if *again_at <= now => {
                    *again_at = again;
                    commits.iter().for_each(|message| step.send(*to, message.clone()));
                }
                _ => {}
            }
            if let Some(source) = owned.unsettled.filter(|_| owned.again_at <= now) {
                owned.again_at = again;
                step.send(source, Message::Activated { value, epoch: owned.epoch });
            }
            let epoch = owned.epoch;
            let is_here = owned.is_here();
            if let Some(inherited) = &mut owned.inherited {
                if inherited.until.is_some_and(|until| until <= now) {
                    inherited.holders.clear();
                } else if inherited.tell_at <= now && is_here {
                    inherited.tell_at = again;
                    for holder in &inherited.holders {
                        step.send(*holder, Message::Moved { value, owner: step.me, epoch });
                    }
                }
            }
            if let Some((to, epoch)) = offer {
                self.send_offer(step, value, to, epoch);
            }
            self.owner.settle(keeper, value);
        }
        self.tell_ended(step, keeper);
    }

    /// Tells the new owner which claims through this node have ended.
    pub(super) fn tell_ended(&mut self, step: &mut Step<'_>, keeper: &mut dyn Keeper) {
        // This node's own reference counts as a claim through itself until it stands with the new owner, or is dropped.
        let settled = |value: &GlobalId| {
            let standing = self.holder.standing(step, *value);
            !matches!(standing, Err(Refusal::Pending { .. } | Refusal::Fenced { .. }))
        };
        for value in self.own_claims.iter().copied().filter(settled).collect::<Vec<_>>() {
            self.own_claims.remove(&value);
            if let Ok(owned) = self.owner.known(value) {
                owned.stays = false;
            }
            self.owner.settle(keeper, value);
        }
        for (to, value, epoch, holders) in std::mem::take(&mut self.owner.ends) {
            if step.dead.contains(&to) {
                continue;
            }
            let holders: Vec<Incarnation> = holders.into_iter().collect();
            for some in holders.chunks(BATCH_MAX) {
                let number = step.number();
                let holders = some.to_vec();
                let message = Message::Ended { number, value, epoch, holders };
                self.outbox.send(step, number, to, message);
            }
        }
    }
}

/// The most parts of a commit: beyond any set of holders or tickets that the limits allow.
const PARTS_MAX: u32 = 4096;
