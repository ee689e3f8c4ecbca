//! One node's part of the protocol: its roles as an owner and as a holder, and the calls of its program.
//!
//! A step is: time passes, something happens (a message, a call of the program), what is due is sent. Nothing here waits,
//! reads a clock, or knows where messages go. Effects are to be done in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::holder::Holder;
use super::message::{Answer, BATCH_MAX, Message, NAME_BYTES_MAX, Reference, Ticket};
use super::migration::Copies;
use super::outbox::Outbox;
use super::owner::{Owner, limit};
use super::refusal::{Bound, Refusal};
use super::share::{Arrival, Shares};
use super::step::{Call, Effect, Hold, Keeper, Moment, Out, Outcome, Settings, Step};
use super::ticket::Uses;
use crate::{GlobalId, Incarnation};

/// Dead incarnations that are remembered. One that is forgotten can still do no more than claim for one lease.
const DEAD_MAX: usize = 4096;

/// A call that has not ended.
#[derive(Debug)]
struct Waiting {
    until: Duration,
    what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// That a reference stands.
    Stand(GlobalId),
    /// That a share is accepted.
    Share,
    /// What a ticket or a name is answered with, by whom.
    Find { number: u64, owner: Incarnation, message: Message },
    /// That another node owns a value.
    Migrate(GlobalId),
}

/// The state machine of one node.
#[derive(Debug)]
pub struct Machine {
    me: Incarnation,
    settings: Settings,
    out: Out,
    dead: BTreeSet<Incarnation>,
    dead_order: VecDeque<Incarnation>,
    down: BTreeSet<Incarnation>,
    roles: Roles,
}

/// What one node is to others.
#[derive(Debug)]
pub(super) struct Roles {
    pub(super) owner: Owner,
    pub(super) holder: Holder,
    shares: Shares,
    pub(super) copies: Copies,
    /// Values that went elsewhere, and which this node claims as its own holder until it is registered there.
    pub(super) own_claims: BTreeSet<GlobalId>,
    pub(super) outbox: Outbox,
    calls: BTreeMap<Call, Waiting>,
}

impl Machine {
    /// The machine of that incarnation, which owns and holds nothing.
    #[must_use]
    pub fn new(me: Incarnation, settings: Settings) -> Self {
        Self {
            me,
            settings,
            out: Out::default(),
            dead: BTreeSet::new(),
            dead_order: VecDeque::new(),
            down: BTreeSet::new(),
            roles: Roles {
                owner: Owner::new(me),
                holder: Holder::default(),
                shares: Shares::default(),
                copies: Copies::default(),
                own_claims: BTreeSet::new(),
                outbox: Outbox::default(),
                calls: BTreeMap::new(),
            },
        }
    }

    /// Who this is.
    #[must_use]
    pub fn me(&self) -> Incarnation {
        self.me
    }

    /// The claims on this node's values.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.roles.owner
    }

    /// This node's references.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.roles.holder
    }

    /// How many calls have not ended.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.roles.calls.len()
    }

    /// Whether nothing is claimed, held, on its way or waited for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let Roles { owner, holder, shares, copies, outbox, calls, .. } = &self.roles;
        let roles = owner.is_empty() && holder.is_empty() && copies.is_empty();
        roles && shares.is_empty() && outbox.is_empty() && calls.is_empty()
    }

    /// The next effect to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.out.effects.pop_front()
    }

    fn moment(&self, now: Duration) -> Moment<'_> {
        let (me, settings, dead, down) = (self.me, &self.settings, &self.dead, &self.down);
        Moment { now, me, settings, dead, down }
    }

    /// One step: time passes, `what` happens, what is due is sent.
    fn step<T>(
        &mut self,
        now: Duration,
        keeper: &mut dyn Keeper,
        what: impl FnOnce(&mut Roles, &mut Step<'_>, &mut dyn Keeper) -> T,
    ) -> T {
        let (me, settings, dead, down) = (self.me, &self.settings, &self.dead, &self.down);
        let at = Moment { now, me, settings, dead, down };
        let mut step = Step { at, out: &mut self.out };
        self.roles.owner.expire(&step, keeper);
        self.roles.holder.expire(&mut step);
        let result = what(&mut self.roles, &mut step, keeper);
        self.roles.work(&mut step, keeper);
        result
    }

    /// What another node says.
    pub fn on_message(
        &mut self,
        now: Duration,
        from: Incarnation,
        message: Message,
        keeper: &mut dyn Keeper,
    ) {
        if message == Message::Leave {
            return self.proved_dead(now, from, keeper);
        }
        if self.dead.contains(&from) {
            return;
        }
        self.down.remove(&from);
        self.step(now, keeper, |roles, step, keeper| roles.hear(step, keeper, from, message));
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, keeper: &mut dyn Keeper) {
        self.step(now, keeper, |_, _, _| ());
    }

    /// When [`tick`](Self::tick) is to be called at the latest.
    #[must_use]
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let at = self.moment(now);
        let Roles { owner, holder, shares, copies, outbox, calls, .. } = &self.roles;
        let calls = calls.values().map(|call| call.until).min();
        let roles = [owner.next_deadline(&at), holder.next_deadline(&at)];
        let mail = [shares.next_deadline(), outbox.next_deadline(), copies.next_deadline(), calls];
        roles.into_iter().chain(mail).flatten().min()
    }

    /// An incarnation is dead, by proof: it left, a newer one runs under its name, or the kernel reports its exit. All it
    /// claimed and owned ends at once. To say this of one that lives frees what it holds.
    pub fn proved_dead(&mut self, now: Duration, dead: Incarnation, keeper: &mut dyn Keeper) {
        if dead == self.me || !self.dead.insert(dead) {
            return;
        }
        self.dead_order.push_back(dead);
        if self.dead_order.len() > DEAD_MAX {
            self.dead_order.pop_front().map(|oldest| self.dead.remove(&oldest));
        }
        self.step(now, keeper, |roles, step, keeper| roles.bury(step, keeper, dead));
    }

    /// Membership says that a node does not answer. Whoever waits for it is told; nothing is freed.
    pub fn suspect(&mut self, now: Duration, node: Incarnation, keeper: &mut dyn Keeper) {
        self.down.insert(node);
        self.step(now, keeper, |roles, step, keeper| {
            for call in roles.shares.waiting_for(node) {
                roles.end_call(step, keeper, call, Err(Refusal::OwnerDown { owner: node }));
            }
        });
    }

    /// Membership says that a node answers again.
    pub fn trust(&mut self, node: Incarnation) {
        self.down.remove(&node);
    }

    /// This node stops: it tells everybody whose values it holds and who holds its own.
    pub fn leave(&mut self, now: Duration, peers: &[Incarnation], keeper: &mut dyn Keeper) {
        self.step(now, keeper, |_, step, _| {
            peers.iter().for_each(|peer| step.send(*peer, Message::Leave));
        });
    }

    /// Whether this node's reference to the value stands, now: to be asked before it is used, and not only when an effect said
    /// so, for this process may have been stopped in between.
    ///
    /// # Errors
    /// [`Refusal::NotHeld`], [`Refusal::Pending`], [`Refusal::Fenced`], or why the reference is lost.
    pub fn standing(&self, now: Duration, value: GlobalId) -> Result<Reference, Refusal> {
        self.roles.standing(&self.moment(now), value)
    }

    /// Holds a value that another node owns, by its name alone, or once more: this node registers itself, as it does for the
    /// references that are inside a value it holds.
    pub fn acquire(
        &mut self,
        now: Duration,
        reference: Reference,
        keeper: &mut dyn Keeper,
    ) -> Hold {
        let reference = Reference { version: 0, ..reference };
        self.step(now, keeper, |roles, step, keeper| {
            let again = roles.holder.use_again(step, reference.value);
            again.unwrap_or_else(|| roles.arrive(step, keeper, reference).1)
        })
    }

    /// Ends a use. The last one releases the reference.
    pub fn drop_hold(&mut self, now: Duration, hold: Hold, keeper: &mut dyn Keeper) {
        self.step(now, keeper, |roles, _, keeper| roles.drop_hold(keeper, hold));
    }

    /// Waits until the reference stands, which may be at once, or is lost.
    ///
    /// # Errors
    /// [`Refusal::Limit`] where too many calls wait already.
    pub fn stand(
        &mut self,
        now: Duration,
        value: GlobalId,
        until: Duration,
        keeper: &mut dyn Keeper,
    ) -> Result<Call, Refusal> {
        self.step(now, keeper, |roles, step, _| roles.call(step, until, What::Stand(value)))
    }

    /// Sends references to another node; this node may let go of its own when the call has ended.
    ///
    /// *Order*: the references arrive in the order of `values`. `context` is handed to the receiver's program.
    ///
    /// # Errors
    /// [`Refusal::NotHeld`] or [`Refusal::Gone`] for a value that this node neither owns nor holds; [`Refusal::HolderDead`];
    /// [`Refusal::Limit`] for more than [`BATCH_MAX`] values, and where too much is on its way already.
    pub fn share(
        &mut self,
        now: Duration,
        to: Incarnation,
        values: &[GlobalId],
        context: u64,
        until: Duration,
        keeper: &mut dyn Keeper,
    ) -> Result<Call, Refusal> {
        self.step(now, keeper, |roles, step, keeper| {
            roles.share(step, keeper, (to, context), values, until)
        })
    }

    /// Makes a ticket for a value of this node's: a claim that ends after `ttl`. `secret` are 128 bits that nobody can guess.
    ///
    /// # Errors
    /// [`Refusal::Gone`] for a value that this node does not have; [`Refusal::Limit`].
    pub fn ticket(
        &mut self,
        now: Duration,
        value: GlobalId,
        (ttl, uses): (Duration, Uses),
        secret: u128,
        keeper: &mut dyn Keeper,
    ) -> Result<Ticket, Refusal> {
        self.step(now, keeper, |roles, step, keeper| {
            roles.owner.issue(step, keeper, value, ttl, uses, secret)
        })
    }

    /// Shows a ticket to its owner.
    ///
    /// # Errors
    /// [`Refusal::OwnerDead`]; [`Refusal::Limit`] where too many calls wait already.
    pub fn redeem(
        &mut self,
        now: Duration,
        ticket: Ticket,
        until: Duration,
        keeper: &mut dyn Keeper,
    ) -> Result<Call, Refusal> {
        self.step(now, keeper, |roles, step, _| {
            let number = step.number();
            let message = Message::Redeem { number, ticket };
            roles.find(step, until, ticket.owner, (number, message))
        })
    }

    /// Asks a node for the value that it calls by a name.
    ///
    /// # Errors
    /// As [`redeem`](Self::redeem), and [`Refusal::Limit`] for a name that is too long.
    pub fn resolve(
        &mut self,
        now: Duration,
        owner: Incarnation,
        name: &str,
        until: Duration,
        keeper: &mut dyn Keeper,
    ) -> Result<Call, Refusal> {
        if name.len() > NAME_BYTES_MAX {
            return Err(limit(Bound::NameBytes, NAME_BYTES_MAX));
        }
        self.step(now, keeper, |roles, step, _| {
            let number = step.number();
            let message = Message::Resolve { number, name: name.to_owned() };
            roles.find(step, until, owner, (number, message))
        })
    }

    /// Calls a value by a name, which is a claim until it is taken away. It stays this node's name when the value moves.
    ///
    /// # Errors
    /// [`Refusal::Gone`], [`Refusal::NameTaken`], [`Refusal::Limit`].
    pub fn name(
        &mut self,
        now: Duration,
        value: GlobalId,
        name: &str,
        keeper: &mut dyn Keeper,
    ) -> Result<(), Refusal> {
        self.step(now, keeper, |roles, step, keeper| {
            if !roles.owner.may_name(step, value, name)? {
                return Ok(());
            }
            let hold = roles.holder.use_again(step, value);
            roles.owner.name(step, keeper, value, name, hold)
        })
    }

    /// The value that this node calls by that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<GlobalId> {
        self.roles.owner.named(name)
    }

    /// Takes a name away, and says which value had it.
    pub fn unname(
        &mut self,
        now: Duration,
        name: &str,
        keeper: &mut dyn Keeper,
    ) -> Option<GlobalId> {
        self.step(now, keeper, |roles, _, keeper| {
            let (value, hold) = roles.owner.unname(keeper, name)?;
            hold.into_iter().for_each(|hold| roles.holder.drop_hold(hold));
            Some(value)
        })
    }

    /// Makes another node the owner of a value of this node's. `stays` says that this node's program goes on to have references:
    /// [`Effect::Migrated`] then hands it a use.
    ///
    /// *Outcome*: [`Outcome::Migrated`]; [`Refusal::NotCopied`] and [`Refusal::TargetDead`], after which this node owns the
    /// value; [`Refusal::TimedOut`] if nothing was committed, and [`Refusal::OwnershipUnknown`] if it was: the target owns the
    /// value when it is reached, and until then this node serves it.
    ///
    /// # Errors
    /// [`Refusal::NotOwned`], [`Refusal::Gone`], [`Refusal::Moving`], [`Refusal::TargetDead`], [`Refusal::Limit`];
    /// [`Refusal::OwnershipUnknown`] for a value that came to this node by its owner's death.
    pub fn migrate(
        &mut self,
        now: Duration,
        (value, target): (GlobalId, Incarnation),
        stays: bool,
        until: Duration,
        keeper: &mut dyn Keeper,
    ) -> Result<Call, Refusal> {
        self.step(now, keeper, |roles, step, keeper| {
            roles.migrate(step, keeper, (value, target), stays, until)
        })
    }

    /// The copy that [`Effect::Fetch`] asked for is there, verified and kept, or cannot be made. Answers whether it is still
    /// wanted; a copy that is not is the node's to let go.
    pub fn fetched(
        &mut self,
        now: Duration,
        value: GlobalId,
        is_there: bool,
        keeper: &mut dyn Keeper,
    ) -> bool {
        self.step(now, keeper, |roles, step, _| roles.fetched(step, value, is_there))
    }

    /// Says what became of a copy whose ownership is not known: this node owns the value, or lets the copy go.
    ///
    /// # Errors
    /// [`Refusal::NotOwned`] where there is no such copy.
    pub fn decide(
        &mut self,
        now: Duration,
        value: GlobalId,
        owns: bool,
        keeper: &mut dyn Keeper,
    ) -> Result<(), Refusal> {
        self.step(now, keeper, |roles, step, keeper| roles.decide(step, keeper, value, owns))
    }
}

impl Roles {
    pub(super) fn call(
        &mut self,
        step: &mut Step<'_>,
        until: Duration,
        what: What,
    ) -> Result<Call, Refusal> {
        let most = step.settings.limits.calls;
        if self.calls.len() >= most {
            return Err(limit(Bound::Calls, most));
        }
        let call = Call(step.number());
        self.calls.insert(call, Waiting { until, what });
        Ok(call)
    }

    pub(super) fn end_call(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        call: Call,
        outcome: Result<Outcome, Refusal>,
    ) {
        let Some(waiting) = self.calls.remove(&call) else { return };
        match waiting.what {
            What::Stand(_) => {}
            What::Find { number, .. } => self.outbox.forget(number),
            What::Share => {
                for (_, hold) in self.shares.end(&mut self.outbox, call) {
                    self.drop_hold(keeper, hold);
                }
            }
            What::Migrate(value) => {
                self.abort(step, keeper, value);
            }
        }
        step.done(call, outcome);
    }

    fn find(
        &mut self,
        step: &mut Step<'_>,
        until: Duration,
        owner: Incarnation,
        (number, message): (u64, Message),
    ) -> Result<Call, Refusal> {
        if step.dead.contains(&owner) {
            return Err(Refusal::OwnerDead { owner });
        }
        let what = What::Find { number, owner, message: message.clone() };
        let call = self.call(step, until, what)?;
        self.outbox.send(step, number, owner, message);
        Ok(call)
    }

    fn share(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        (to, context): (Incarnation, u64),
        values: &[GlobalId],
        until: Duration,
    ) -> Result<Call, Refusal> {
        if step.dead.contains(&to) {
            return Err(Refusal::HolderDead { holder: to });
        }
        if values.len() > BATCH_MAX {
            return Err(limit(Bound::Batch, BATCH_MAX));
        }
        self.shares.has_room(step, to)?;
        let call = self.call(step, until, What::Share)?;
        let mut uses = Vec::new();
        let mut known = Vec::new();
        for value in values {
            match self.share_one(step, keeper, *value, to) {
                Ok((hold, one)) => {
                    uses.push((*value, hold));
                    known.push(one);
                }
                Err(refusal) => {
                    for (_, hold) in uses {
                        self.drop_hold(keeper, hold);
                    }
                    self.calls.remove(&call);
                    return Err(refusal);
                }
            }
        }
        self.shares.begin(step, &mut self.outbox, call, (to, context), uses, known);
        Ok(call)
    }

    /// A use of one value, and either the receiver's reference to it, or the owner to ask for that.
    fn share_one(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        to: Incarnation,
    ) -> Result<(Hold, Result<Reference, Incarnation>), Refusal> {
        if let Some(refusal) = self.holder.lost(value) {
            return Err(refusal);
        }
        if let Some((owner, _)) = self.holder.owner_of(value) {
            if step.dead.contains(&owner) {
                return Err(Refusal::OwnerDead { owner });
            }
            let hold = self.holder.use_again(step, value);
            return hold.map(|hold| (hold, Err(owner))).ok_or(Refusal::NotHeld { value });
        }
        let owned = self.owner.owned(step, keeper, value)?;
        let may_share = owned.is_here() || owned.stays;
        let moved = self.owner.moved_to(value);
        if !may_share {
            return Err(Refusal::NotHeld { value });
        }
        let hold = Hold(step.number());
        self.owner.add_use(value, hold);
        if let Some((owner, _)) = moved {
            return Ok((hold, Err(owner)));
        }
        let owner = step.me;
        match self.owner.register(step, keeper, value, to) {
            Answer::Granted { version, epoch } => {
                Ok((hold, Ok(Reference { value, owner, epoch, version })))
            }
            Answer::Moved { owner, .. } => Ok((hold, Err(owner))),
            Answer::Refused(refusal) => {
                self.owner.end_use(keeper, hold);
                Err(refusal)
            }
        }
    }

    /// Ends a use, of a reference or of a value that this node keeps.
    fn drop_hold(&mut self, keeper: &mut dyn Keeper, hold: Hold) {
        self.holder.drop_hold(hold);
        self.owner.end_use(keeper, hold);
    }

    /// A use of a reference, wherever its value is: it may be this node's own, or have been.
    fn arrive(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        reference: Reference,
    ) -> (Reference, Hold) {
        let value = reference.value;
        if let Some((owner, epoch)) = self.owner.moved_to(value)
            && (epoch > reference.epoch || reference.owner == step.me)
        {
            let reference = Reference { value, owner, epoch, version: 0 };
            return (reference, self.holder.arrive(step, reference));
        }
        // Whatever the sender believes, this node knows what it owns.
        if self.owner.owned_here(step, keeper, value).is_ok() {
            let hold = Hold(step.number());
            self.owner.add_use(value, hold);
            let reference = Reference { owner: step.me, version: 0, ..reference };
            return (reference, hold);
        }
        (reference, self.holder.arrive(step, reference))
    }

    /// Whether a reference of this node's stands; one to a value of its own does.
    fn standing(&self, step: &Moment<'_>, value: GlobalId) -> Result<Reference, Refusal> {
        match self.owner.epoch(value) {
            Some(epoch) => Ok(Reference { value, owner: step.me, epoch, version: 0 }),
            None => self.holder.standing(step, value),
        }
    }

    fn hear(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        from: Incarnation,
        message: Message,
    ) {
        match message {
            Message::Renew { number } => self.owner.renew(step, from, number),
            Message::Renewed { number, era, latest, unconfirmed } => {
                self.holder.renewed(step, from, number, (era, latest), &unconfirmed);
            }
            Message::Register { number, holder, values } => {
                let values = values.iter().take(BATCH_MAX);
                let answers = values.map(|value| self.register(step, keeper, *value, holder));
                let answers = answers.collect();
                step.send(from, Message::Registered { number, answers });
            }
            Message::Registered { number, answers } => {
                self.registered(step, keeper, from, number, &answers);
            }
            Message::Confirm { registrations } => self.owner.confirm(from, &registrations),
            Message::Release { number, registrations } => {
                self.owner.release(keeper, from, &registrations);
                step.send(from, Message::Released { number });
            }
            Message::Released { number } => {
                if self.outbox.answered(number, from) {
                    self.holder.released(from, number);
                }
            }
            Message::Redeem { number, ticket } => {
                let answer = self.redeem(step, keeper, &ticket, from);
                step.send(from, Message::Found { number, value: Some(ticket.value), answer });
            }
            Message::Resolve { number, name } => {
                let value = self.owner.named(&name);
                let answer = match value {
                    Some(value) => self.register(step, keeper, value, from),
                    None => Answer::Refused(Refusal::NameUnknown { name }),
                };
                step.send(from, Message::Found { number, value, answer });
            }
            Message::Found { number, value, answer } => {
                self.found(step, keeper, from, number, value, answer);
            }
            Message::Share { number, base, context, references } => {
                self.arrived(step, keeper, from, (number, base, context), &references);
            }
            Message::Accepted { number, refusal } => {
                if let Some(call) = self.shares.accepted(from, number) {
                    let outcome = refusal.map_or(Ok(Outcome::Shared), Err);
                    self.end_call(step, keeper, call, outcome);
                }
            }
            Message::Offer { value, epoch, holders } => {
                self.offered(step, keeper, (value, from, epoch), holders);
            }
            Message::Prepared { value, epoch, refusal } => {
                self.prepared(step, keeper, (value, from, epoch), refusal);
            }
            Message::Commit { value, epoch, part, parts, holders, tickets } => {
                let claims = (holders, tickets);
                self.committed(step, keeper, (value, from, epoch), (part, parts), claims);
            }
            Message::Activated { value, epoch } => {
                self.activated(step, keeper, (value, from, epoch));
            }
            Message::Settled { value, epoch } => {
                self.settled(keeper, (value, from, epoch));
            }
            Message::Abort { value, epoch } => self.aborted(keeper, (value, from, epoch)),
            Message::Moved { value, owner, epoch } => {
                self.holder.repoint(step, value, owner, epoch);
            }
            Message::Ended { number, value, epoch, holders } => {
                if self.ended(keeper, (value, from, epoch), &holders) {
                    step.send(from, Message::Heard { number });
                }
            }
            Message::Heard { number } => {
                self.outbox.answered(number, from);
            }
            Message::Leave => {}
        }
    }

    fn redeem(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        ticket: &Ticket,
        from: Incarnation,
    ) -> Answer {
        if let Some((owner, epoch)) = self.moved_to(ticket.value) {
            return Answer::Moved { owner, epoch };
        }
        if let Err(refusal) = self.owner.check_ticket(ticket, from) {
            return Answer::Refused(self.copies.unknown(ticket.value).unwrap_or(refusal));
        }
        let answer = self.register(step, keeper, ticket.value, from);
        if let Answer::Granted { .. } = answer {
            self.owner.use_ticket(keeper, ticket, from);
        }
        answer
    }

    /// Who owns a value that this node has given away, or only holds.
    fn moved_to(&self, value: GlobalId) -> Option<(Incarnation, u64)> {
        if self.owner.epoch(value).is_some() {
            return None;
        }
        self.owner.moved_to(value).or_else(|| self.holder.owner_of(value))
    }

    fn register(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        holder: Incarnation,
    ) -> Answer {
        if step.dead.contains(&holder) {
            return Answer::Refused(Refusal::HolderDead { holder });
        }
        if let Some(refusal) = self.copies.unknown(value) {
            return Answer::Refused(refusal);
        }
        if let Some(Refusal::OwnerDead { owner }) = self.holder.lost(value) {
            return Answer::Refused(Refusal::OwnerDead { owner });
        }
        match self.moved_to(value) {
            Some((owner, _)) if step.dead.contains(&owner) => {
                Answer::Refused(Refusal::OwnerDead { owner })
            }
            Some((owner, epoch)) => Answer::Moved { owner, epoch },
            None => self.owner.register(step, keeper, value, holder),
        }
    }

    fn registered(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        from: Incarnation,
        number: u64,
        answers: &[Answer],
    ) {
        if !self.outbox.answered(number, from) {
            return;
        }
        let copies = &self.copies;
        let is_copy = |value| copies.unknown(value).is_some();
        if !self.holder.registered(step, from, number, answers, is_copy) {
            let failed = self.shares.registered(step, &mut self.outbox, from, number, answers);
            if let Some((call, refusal)) = failed {
                self.end_call(step, keeper, call, Err(refusal));
            }
        }
    }

    fn found(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        from: Incarnation,
        number: u64,
        value: Option<GlobalId>,
        answer: Answer,
    ) {
        if !self.outbox.answered(number, from) {
            return;
        }
        let is_it =
            |what: &What| matches!(what, What::Find { number: asked, .. } if *asked == number);
        let asked = self.calls.iter_mut().find(|(_, waiting)| is_it(&waiting.what));
        let Some((&call, waiting)) = asked else { return };
        let is_name = matches!(&waiting.what, What::Find { message: Message::Resolve { .. }, .. });
        let outcome = match (value, answer) {
            (Some(value), Answer::Granted { version, epoch }) => {
                let reference = Reference { value, owner: from, epoch, version };
                let (reference, hold) = self.arrive(step, keeper, reference);
                Ok(Outcome::Found { reference, hold })
            }
            // Who has the name has said which value it is; whoever owns that value need not know the name.
            (Some(value), Answer::Moved { owner, epoch }) if is_name => {
                let reference = Reference { value, owner, epoch, version: 0 };
                let (reference, hold) = self.arrive(step, keeper, reference);
                Ok(Outcome::Found { reference, hold })
            }
            (_, Answer::Refused(Refusal::OwnershipUnknown { .. })) => {
                if let What::Find { owner, message, .. } = &waiting.what {
                    self.outbox.send_later(step, number, *owner, message.clone());
                }
                return;
            }
            (_, Answer::Moved { owner, .. }) if !step.dead.contains(&owner) => {
                if let What::Find { owner: asked, message, .. } = &mut waiting.what {
                    *asked = owner;
                    self.outbox.send(step, number, owner, message.clone());
                }
                return;
            }
            (_, Answer::Moved { owner, .. }) => Err(Refusal::OwnerDead { owner }),
            (_, Answer::Refused(refusal)) => Err(refusal),
            (None, Answer::Granted { .. }) => return,
        };
        self.end_call(step, keeper, call, outcome);
    }

    fn arrived(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        from: Incarnation,
        (number, base, context): (u64, u64, u64),
        references: &[Reference],
    ) {
        let most = step.settings.limits.values;
        match self.shares.arrived(step, from, (number, base)) {
            Arrival::Again => self.shares.answer_again(step, from, number),
            Arrival::Refused(refusal) => {
                step.send(from, Message::Accepted { number, refusal: Some(refusal) });
            }
            Arrival::New if self.holder.values() + references.len() > most => {
                let refusal = Some(limit(Bound::Values, most));
                step.send(from, Message::Accepted { number, refusal });
            }
            Arrival::New => {
                let references = references.iter().take(BATCH_MAX);
                let held: Vec<(Reference, Hold)> =
                    references.map(|one| self.arrive(step, keeper, *one)).collect();
                let foreign = held.iter().filter(|(one, _)| one.owner != step.me);
                let pending = foreign.map(|(one, _)| one.value).collect();
                self.shares.take(from, number, pending);
                step.effect(Effect::Arrived { from, context, references: held });
            }
        }
    }

    /// Ends all that a dead node had to do with this one.
    fn bury(&mut self, step: &mut Step<'_>, keeper: &mut dyn Keeper, dead: Incarnation) {
        for (call, refusal) in self.shares.ended_by(dead) {
            self.end_call(step, keeper, call, Err(refusal));
        }
        self.outbox.forget_all_to(dead);
        self.shares.forget(dead);
        self.holder.owner_dead(step, dead);
        self.owner.end_claim(keeper, dead);
        self.bury_migrations(step, keeper, dead);
    }

    /// Does what is due: delivers what this node says to itself, sends, accepts, and ends calls.
    fn work(&mut self, step: &mut Step<'_>, keeper: &mut dyn Keeper) {
        self.outbox.tick(step);
        self.shares.tick(step, &mut self.outbox);
        self.holder.flush(step, &mut self.outbox);
        while let Some(message) = step.out.inner.pop_front() {
            self.hear(step, keeper, step.me, message);
            self.holder.flush(step, &mut self.outbox);
        }
        self.tick_migrations(step, keeper);
        let (owner, holder) = (&self.owner, &self.holder);
        self.shares.accept(step, |step, value| {
            owner.epoch(value).is_some() || is_settled(&holder.standing(step, value))
        });
        let ended: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(call, one)| Some((*call, self.outcome(step, one)?)))
            .collect();
        for (call, outcome) in ended {
            self.end_call(step, keeper, call, outcome);
        }
        self.tell_ended(step, keeper);
        self.holder.flush(step, &mut self.outbox);
    }

    /// What ends a call that is not ended by a message.
    fn outcome(&self, step: &Moment<'_>, waiting: &Waiting) -> Option<Result<Outcome, Refusal>> {
        let owner = match &waiting.what {
            What::Share => None,
            What::Migrate(value) => {
                let committed = self.owner.epoch(*value).is_none();
                let over = waiting.until <= step.now;
                let moved = self.owner.moved_to(*value).filter(|_| over && committed);
                if let Some((_, epoch)) = moved {
                    let (value, source_node) = (*value, step.me);
                    return Some(Err(Refusal::OwnershipUnknown { value, source_node, epoch }));
                }
                None
            }
            What::Find { owner, .. } => Some(*owner),
            What::Stand(value) => {
                let standing = self.standing(step, *value);
                if is_settled(&standing) {
                    return Some(standing.map(Outcome::Stands));
                }
                self.holder.owner_of(*value).map(|(owner, _)| owner)
            }
        };
        match owner {
            Some(owner) if step.dead.contains(&owner) => Some(Err(Refusal::OwnerDead { owner })),
            Some(owner) if step.down.contains(&owner) => Some(Err(Refusal::OwnerDown { owner })),
            _ => (waiting.until <= step.now).then_some(Err(Refusal::TimedOut)),
        }
    }
}

/// Whether time alone will not change it.
fn is_settled(standing: &Result<Reference, Refusal>) -> bool {
    !matches!(standing, Err(Refusal::Pending { .. } | Refusal::Fenced { .. }))
}
