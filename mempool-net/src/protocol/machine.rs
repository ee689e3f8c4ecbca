//! One node's part of the protocol: its roles as an owner and as a holder, and the calls of its program.
//!
//! A step is: time passes, something happens (a message, a call of the program), what is due is sent. Nothing here waits,
//! reads a clock, or knows where messages go. Effects are to be done in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::holder::Holder;
use super::message::{Answer, BATCH_MAX, Message, NAME_BYTES_MAX, Reference, Ticket};
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
enum What {
    /// That a reference stands.
    Stand(GlobalId),
    /// That a share is accepted.
    Share,
    /// What a ticket or a name is answered with, by whom.
    Find { number: u64, owner: Incarnation, message: Message },
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

#[derive(Debug, Default)]
struct Roles {
    owner: Owner,
    holder: Holder,
    shares: Shares,
    outbox: Outbox,
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
            roles: Roles::default(),
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
        let Roles { owner, holder, shares, outbox, calls } = &self.roles;
        let roles = owner.is_empty() && holder.is_empty();
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
        let Roles { owner, holder, shares, outbox, calls } = &self.roles;
        let calls = calls.values().map(|call| call.until).min();
        let roles = [owner.next_deadline(&at), holder.next_deadline(&at)];
        let mail = [shares.next_deadline(), outbox.next_deadline(), calls];
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
        self.roles.holder.standing(&self.moment(now), value)
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
        self.step(now, keeper, |roles, step, _| {
            let again = roles.holder.use_again(step, reference.value);
            again.unwrap_or_else(|| roles.holder.arrive(step, reference))
        })
    }

    /// Ends a use. The last one releases the reference.
    pub fn drop_hold(&mut self, now: Duration, hold: Hold, keeper: &mut dyn Keeper) {
        self.step(now, keeper, |roles, _, _| roles.holder.drop_hold(hold));
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

    /// Calls a value of this node's by a name, which keeps it until the name is taken away.
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
        self.step(now, keeper, |roles, step, keeper| roles.owner.name(step, keeper, value, name))
    }

    /// Takes a name away, and says which value had it.
    pub fn unname(
        &mut self,
        now: Duration,
        name: &str,
        keeper: &mut dyn Keeper,
    ) -> Option<GlobalId> {
        self.step(now, keeper, |roles, _, keeper| roles.owner.unname(keeper, name))
    }
}

impl Roles {
    fn call(&mut self, step: &mut Step<'_>, until: Duration, what: What) -> Result<Call, Refusal> {
        let most = step.settings.limits.calls;
        if self.calls.len() >= most {
            return Err(limit(Bound::Calls, most));
        }
        let call = Call(step.number());
        self.calls.insert(call, Waiting { until, what });
        Ok(call)
    }

    fn end_call(
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
                for (value, hold) in self.shares.end(&mut self.outbox, call) {
                    self.holder.drop_hold(hold);
                    self.owner.end_use(keeper, value, hold);
                }
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
                    for (value, hold) in uses {
                        self.holder.drop_hold(hold);
                        self.owner.end_use(keeper, value, hold);
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
        if let Some(hold) = self.holder.use_again(step, value) {
            let owner = self.holder.owner_of(value).map_or(step.me, |(owner, _)| owner);
            if step.dead.contains(&owner) {
                self.holder.drop_hold(hold);
                return Err(Refusal::OwnerDead { owner });
            }
            return Ok((hold, Err(owner)));
        }
        let hold = Hold(step.number());
        self.owner.owned(step, keeper, value)?.uses.insert(hold);
        let owner = step.me;
        match self.owner.register(step, keeper, value, to) {
            Answer::Granted { version, epoch } => {
                Ok((hold, Ok(Reference { value, owner, epoch, version })))
            }
            Answer::Moved { owner, .. } => Ok((hold, Err(owner))),
            Answer::Refused(refusal) => {
                self.owner.end_use(keeper, value, hold);
                Err(refusal)
            }
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
                let (value, answer) = self.owner.redeem(step, keeper, &ticket, from);
                step.send(from, Message::Found { number, value, answer });
            }
            Message::Resolve { number, name } => {
                let (value, answer) = self.owner.resolve(step, keeper, &name, from);
                step.send(from, Message::Found { number, value, answer });
            }
            Message::Found { number, value, answer } => {
                self.found(step, keeper, from, number, value, answer);
            }
            Message::Share { number, base, context, references } => {
                self.arrived(step, from, (number, base, context), &references);
            }
            Message::Accepted { number, refusal } => {
                if let Some(call) = self.shares.accepted(from, number) {
                    let outcome = refusal.map_or(Ok(Outcome::Shared), Err);
                    self.end_call(step, keeper, call, outcome);
                }
            }
            Message::Leave => {}
        }
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
        // A node that only holds the value knows who owns it.
        if let Some((owner, epoch)) = self.holder.owner_of(value) {
            return if step.dead.contains(&owner) {
                Answer::Refused(Refusal::OwnerDead { owner })
            } else {
                Answer::Moved { owner, epoch }
            };
        }
        self.owner.register(step, keeper, value, holder)
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
        if !self.holder.registered(step, from, number, answers) {
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
        let outcome = match (value, answer) {
            (Some(value), Answer::Granted { version, epoch }) => {
                let reference = Reference { value, owner: from, epoch, version };
                let hold = self.holder.arrive(step, reference);
                Ok(Outcome::Found { reference, hold })
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
                    references.map(|one| (*one, self.holder.arrive(step, *one))).collect();
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
        let holder = &self.holder;
        self.shares.accept(step, |step, value| is_settled(&holder.standing(step, value)));
        let ended: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(call, one)| Some((*call, self.outcome(step, one)?)))
            .collect();
        for (call, outcome) in ended {
            self.end_call(step, keeper, call, outcome);
        }
        self.holder.flush(step, &mut self.outbox);
    }

    /// What ends a call that is not ended by a message.
    fn outcome(&self, step: &Moment<'_>, waiting: &Waiting) -> Option<Result<Outcome, Refusal>> {
        let owner = match &waiting.what {
            What::Share => None,
            What::Find { owner, .. } => Some(*owner),
            What::Stand(value) => {
                let standing = self.holder.standing(step, *value);
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
