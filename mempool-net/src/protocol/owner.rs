//! The owner's side: who holds what of this node's values, and until when.
//!
//! ```text
//!  holder                         owner
//!    │  Register(values)            │  one registration a value, each with a new version
//!    │ ───────────────────────────▶ │  the holder's claim begins, if it had none
//!    │ ◀─────────────────────────── │
//!    │  Registered(versions)        │
//!    │                              │
//!    │  Renew                       │  lease + slack from now
//!    │ ───────────────────────────▶ │
//!    │ ◀─────────────────────────── │
//!    │  Renewed(era, latest,        │  registrations below `era` were ended with an earlier claim;
//!    │          unconfirmed)        │  the holder may never have heard of the unconfirmed ones
//!    │  Confirm or Release          │
//!    │ ───────────────────────────▶ │
//!    │                              │
//!    │  Release(value, version)     │  ends the registration if its version is not above that one
//!    │ ───────────────────────────▶ │
//!    │ ◀─────────────────────────── │
//!    │  Released                    │
//! ```
//!
//! A value is kept while somebody claims it: a holder, a ticket, a name, or a reference on its way. When the last claim
//! ends the value is let go, once. Nothing here counts; everything is a set.
//!
//! **What may happen to a message.** *Register*, lost or its answer lost: it is sent again, and makes a newer registration in
//! place of the older. Late, after the holder released: a registration that nobody knows of, so the owner asks about it and the
//! holder releases it. *Release*, late: an older version ends nothing. *Renew*, late: it has a lower number than one that was
//! heard, and lengthens nothing.
//!
//! **Who may crash.** A holder: its claim is not renewed and expires. A sender after it registered a receiver that never hears
//! of it: the owner asks the receiver, which releases. A receiver that was never there: its claim expires.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::message::{Answer, BATCH_MAX, Message, Registration};
use super::refusal::{Bound, Refusal};
use super::step::{Call, Hold, Keeper, Moment, Step};
use super::ticket::Tickets;
use crate::{GlobalId, Incarnation};

/// Values whose new owner is remembered although nobody claims them here any more.
const FORWARDS_MAX: usize = 65_536;

/// All that one holder has from this owner.
#[derive(Debug)]
struct Claim {
    /// The version that the owner had reached when this claim began. Registrations with lower versions belonged to an earlier claim.
    era: u64,
    /// When it ends unless it is renewed.
    expires_at: Duration,
    /// The highest number of a renewal that was heard.
    renewed: u64,
    values: BTreeSet<GlobalId>,
    /// Registrations that the holder has not confirmed, and since when.
    unconfirmed: BTreeMap<GlobalId, Duration>,
}

/// Who owns a value that this node keeps.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// This node.
    Here,
    /// This node; it was offered to another one.
    Offered { call: Call, to: Incarnation, epoch: u64, again_at: Duration },
    /// Another node, which has not said so yet.
    Committed {
        call: Call,
        to: Incarnation,
        epoch: u64,
        again_at: Duration,
        /// The holders that it was told of.
        told: BTreeSet<Incarnation>,
        commits: Vec<Message>,
    },
    /// Another node. This one keeps its copy for those who claim the value here.
    Forwarded {
        to: Incarnation,
        epoch: u64,
        /// Of the holders that it was told of, those whose claims here have not ended.
        told: BTreeSet<Incarnation>,
    },
}

/// Holders of a value that came from another owner, where they still claim it.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) source: Incarnation,
    pub(super) epoch: u64,
    pub(super) holders: BTreeSet<Incarnation>,
    /// When their claims have run out, if nobody is left to say so.
    pub(super) until: Option<Duration>,
    pub(super) tell_at: Duration,
}

/// A value that is kept for others.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    /// The holders, each with the version of its registration.
    holders: BTreeMap<Incarnation, u64>,
    /// Tickets, by who made them and number.
    pub(super) tickets: BTreeSet<(Incarnation, u64)>,
    pub(super) names: BTreeSet<String>,
    /// References on their way, which this node sent, and what it has of a value that came back.
    pub(super) uses: BTreeSet<Hold>,
    pub(super) place: Place,
    pub(super) inherited: Option<Inherited>,
    /// The owner before, which has not said yet that it knows.
    pub(super) unsettled: Option<Incarnation>,
    pub(super) again_at: Duration,
    /// Whether this node owns it because the owner before is dead.
    pub(super) is_successor: bool,
    /// Whether this node has references of its own, or names, and so claims the value where it moves.
    pub(super) stays: bool,
    /// Whether the copy is offered to own the value again.
    pub(super) is_copy: bool,
    /// What a count would be, which is what a planted bug goes by.
    #[cfg(feature = "mutants")]
    count: i64,
}

impl Owned {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            holders: BTreeMap::new(),
            tickets: BTreeSet::new(),
            names: BTreeSet::new(),
            uses: BTreeSet::new(),
            place: Place::Here,
            inherited: None,
            unsettled: None,
            again_at: Duration::ZERO,
            is_successor: false,
            stays: false,
            is_copy: false,
            #[cfg(feature = "mutants")]
            count: 0,
        }
    }

    /// Whether this node decides about the value.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.place, Place::Here | Place::Offered { .. })
    }

    /// Whether this node itself will claim the value where it moves.
    pub(super) fn claims_itself(&self) -> bool {
        self.stays || !self.names.is_empty() || !self.uses.is_empty()
    }

    /// All who claim the value through this node.
    pub(super) fn through(&self, me: Incarnation) -> BTreeSet<Incarnation> {
        let inherited = self.inherited.iter().flat_map(|one| one.holders.iter());
        let own = self.claims_itself().then_some(&me);
        self.holders.keys().chain(inherited).chain(own).copied().collect()
    }

    fn is_held(&self) -> bool {
        #[cfg(feature = "mutants")]
        if mutant!("counts_for_sets") {
            return self.count > 0;
        }
        !self.holders.is_empty()
    }

    fn is_claimed(&self) -> bool {
        let on_its_way = !self.uses.is_empty() || self.is_copy || self.inherited.is_some();
        let claimed = self.is_held() || on_its_way;
        match self.place {
            Place::Here => {
                let by_owner = !self.tickets.is_empty() || !self.names.is_empty();
                claimed || by_owner || self.unsettled.is_some()
            }
            Place::Offered { .. } | Place::Committed { .. } => true,
            Place::Forwarded { .. } => claimed || self.stays,
        }
    }

    /// When something of a migration is to be said again.
    pub(super) fn due_at(&self) -> Option<Duration> {
        let place = match &self.place {
            Place::Offered { again_at, .. } | Place::Committed { again_at, .. } => Some(*again_at),
            Place::Here | Place::Forwarded { .. } => None,
        };
        let inherited = self.inherited.as_ref().and_then(|one| {
            let tell_at = self.is_here().then_some(one.tell_at);
            [tell_at, one.until].into_iter().flatten().min()
        });
        let unsettled = self.unsettled.map(|_| self.again_at);
        [place, inherited, unsettled].into_iter().flatten().min()
    }
}

/// The claims on this node's values.
#[derive(Debug)]
pub struct Owner {
    me: Incarnation,
    /// The latest version that was given.
    latest: u64,
    /// The owner's clock at its last step.
    seen_at: Duration,
    claims: BTreeMap<Incarnation, Claim>,
    pub(super) values: BTreeMap<GlobalId, Owned>,
    pub(super) tickets: Tickets,
    /// This node's uses of values that it keeps.
    uses: BTreeMap<Hold, GlobalId>,
    /// Values of which something is to be said again.
    pub(super) active: BTreeSet<GlobalId>,
    /// Where values went that nobody claims here any more, and the order in which they went.
    forwards: BTreeMap<GlobalId, (Incarnation, u64)>,
    forwards_order: VecDeque<GlobalId>,
    /// Claims that ended here, for those to hear who own the values now.
    pub(super) ends: Vec<(Incarnation, GlobalId, u64, BTreeSet<Incarnation>)>,
    /// The highest epoch that was given or offered.
    epochs: u64,
}

impl Owner {
    pub(super) fn new(me: Incarnation) -> Self {
        Self {
            me,
            latest: 0,
            seen_at: Duration::ZERO,
            claims: BTreeMap::new(),
            values: BTreeMap::new(),
            tickets: Tickets::default(),
            uses: BTreeMap::new(),
            active: BTreeSet::new(),
            forwards: BTreeMap::new(),
            forwards_order: VecDeque::new(),
            ends: Vec::new(),
            epochs: 0,
        }
    }

    /// The epoch in which this node owns the value, if it does and somebody claims it.
    #[must_use]
    pub fn epoch(&self, value: GlobalId) -> Option<u64> {
        let owned = self.values.get(&value).filter(|owned| owned.is_here());
        owned.map(|owned| owned.epoch)
    }

    /// Who owns a value that this node gave away.
    pub(super) fn moved_to(&self, value: GlobalId) -> Option<(Incarnation, u64)> {
        match self.values.get(&value).map(|owned| &owned.place) {
            None => self.forwards.get(&value).copied(),
            Some(Place::Here | Place::Offered { .. }) => None,
            Some(Place::Committed { to, epoch, .. } | Place::Forwarded { to, epoch, .. }) => {
                Some((*to, *epoch))
            }
        }
    }

    /// How many values are kept for others.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The holders of a value.
    pub fn holders(&self, value: GlobalId) -> impl Iterator<Item = Incarnation> {
        self.values.get(&value).into_iter().flat_map(|owned| owned.holders.keys().copied())
    }

    /// Whether nobody claims anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.claims.is_empty() && self.tickets.is_empty()
    }

    /// What is kept of that value; it is kept from now on if the node owns it. Whoever calls adds a claim, or calls
    /// [`settle`](Self::settle).
    pub(super) fn owned(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
    ) -> Result<&mut Owned, Refusal> {
        if !self.values.contains_key(&value) {
            let most = step.settings.limits.values;
            if self.values.len() >= most {
                return Err(limit(Bound::Values, most));
            }
            let gone = Refusal::Gone { value, owner: step.me };
            let epoch = keeper.keep(value).ok_or(gone)?;
            self.values.insert(value, Owned::new(epoch));
        }
        self.known(value)
    }

    /// The same, for what only the owner of the value may do.
    pub(super) fn owned_here(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
    ) -> Result<&mut Owned, Refusal> {
        let owned = self.owned(step, keeper, value)?;
        if owned.is_here() { Ok(owned) } else { Err(Refusal::NotOwned { value }) }
    }

    /// What is kept of that value already.
    pub(super) fn known(&mut self, value: GlobalId) -> Result<&mut Owned, Refusal> {
        self.values.get_mut(&value).ok_or(Refusal::NotOwned { value })
    }

    /// Registers the holder, or again with a newer version.
    pub(super) fn register(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        holder: Incarnation,
    ) -> Answer {
        match self.try_register(step, keeper, value, holder) {
            Ok((version, epoch)) => Answer::Granted { version, epoch },
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn try_register(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        holder: Incarnation,
    ) -> Result<(u64, u64), Refusal> {
        if holder == step.me {
            // A node needs no lease on what is its own; the sender's claim keeps the value until the reference is back.
            let epoch = self.owned_here(step, keeper, value)?.epoch;
            self.settle(keeper, value);
            return Ok((0, epoch));
        }
        self.has_room(step, holder)?;
        let version = self.latest + 1;
        let owned = self.owned_here(step, keeper, value)?;
        owned.holders.insert(holder, version);
        #[cfg(feature = "mutants")]
        {
            owned.count += 1;
        }
        let epoch = owned.epoch;
        self.latest = version;
        let claim = self.claims.entry(holder).or_insert_with(|| Claim {
            era: version,
            expires_at: step.settings.lease.expiry(step.now),
            renewed: 0,
            values: BTreeSet::new(),
            unconfirmed: BTreeMap::new(),
        });
        claim.values.insert(value);
        claim.unconfirmed.insert(value, step.now);
        self.settle(keeper, value);
        Ok((version, epoch))
    }

    fn has_room(&self, step: &Moment<'_>, holder: Incarnation) -> Result<(), Refusal> {
        let limits = &step.settings.limits;
        match self.claims.get(&holder) {
            None if self.claims.len() >= limits.holders => {
                Err(limit(Bound::Holders, limits.holders))
            }
            Some(claim) if claim.values.len() >= limits.values_of_holder => {
                Err(limit(Bound::ValuesOfHolder, limits.values_of_holder))
            }
            _ => Ok(()),
        }
    }

    /// The holder lives, and is told what it may not know.
    pub(super) fn renew(&mut self, step: &mut Step<'_>, holder: Incarnation, number: u64) {
        let (now, settings) = (step.now, step.settings);
        let mut unconfirmed = Vec::new();
        // Without a claim nothing older than the next version stands.
        let mut era = self.latest + 1;
        if let Some(claim) = self.claims.get_mut(&holder) {
            era = claim.era;
            if number > claim.renewed {
                claim.renewed = number;
                claim.expires_at = settings.lease.expiry(now);
            }
            let old =
                claim.unconfirmed.iter().filter(|(_, since)| **since + settings.transfer <= now);
            unconfirmed.extend(old.take(BATCH_MAX).filter_map(|(value, _)| {
                let version = *self.values.get(value)?.holders.get(&holder)?;
                Some(Registration { value: *value, version })
            }));
        }
        step.send(holder, Message::Renewed { number, era, latest: self.latest, unconfirmed });
    }

    /// The holder knows of these registrations.
    pub(super) fn confirm(&mut self, holder: Incarnation, registrations: &[Registration]) {
        let Some(claim) = self.claims.get_mut(&holder) else { return };
        for one in registrations {
            let version = self.values.get(&one.value).and_then(|owned| owned.holders.get(&holder));
            if version == Some(&one.version) {
                claim.unconfirmed.remove(&one.value);
            }
        }
    }

    /// Ends the registrations that are not newer than the versions named.
    pub(super) fn release(
        &mut self,
        keeper: &mut dyn Keeper,
        holder: Incarnation,
        registrations: &[Registration],
    ) {
        for one in registrations {
            #[cfg(feature = "mutants")]
            if let Some(owned) = self.values.get_mut(&one.value) {
                owned.count -= 1;
                self.settle(keeper, one.value);
            }
            let version = self.values.get(&one.value).and_then(|owned| owned.holders.get(&holder));
            let newer = version.is_some_and(|version| *version > one.version);
            if version.is_some() && (!newer || mutant!("late_release_ends_newer")) {
                self.unregister(keeper, one.value, holder);
            }
        }
    }

    fn unregister(&mut self, keeper: &mut dyn Keeper, value: GlobalId, holder: Incarnation) {
        if let Some(claim) = self.claims.get_mut(&holder) {
            claim.values.remove(&value);
            claim.unconfirmed.remove(&value);
            if claim.values.is_empty() {
                self.claims.remove(&holder);
            }
        }
        if let Some(owned) = self.values.get_mut(&value) {
            owned.holders.remove(&holder);
        }
        self.settle(keeper, value);
    }

    /// To be called whenever a claim on the value may have ended: tells of that where the value has moved, and lets it
    /// go if nobody claims it.
    pub(super) fn settle(&mut self, keeper: &mut dyn Keeper, value: GlobalId) {
        let Some(owned) = self.values.get_mut(&value) else { return };
        owned.inherited.take_if(|one| one.holders.is_empty());
        let through = owned.through(self.me);
        if let Place::Forwarded { to, epoch, told } = &mut owned.place {
            let gone: BTreeSet<Incarnation> = told.difference(&through).copied().collect();
            if !gone.is_empty() {
                told.retain(|one| !gone.contains(one));
                self.ends.push((*to, value, *epoch, gone));
            }
        }
        if owned.due_at().is_none() {
            self.active.remove(&value);
        }
        if owned.is_claimed() {
            return;
        }
        let (here, epoch, place) = (owned.is_here(), owned.epoch, owned.place.clone());
        self.values.remove(&value);
        self.active.remove(&value);
        if let Place::Forwarded { to, epoch, .. } = place {
            self.remember(value, (to, epoch));
        }
        keeper.let_go(value, here.then_some(epoch));
    }

    fn remember(&mut self, value: GlobalId, went: (Incarnation, u64)) {
        if self.forwards.insert(value, went).is_none() {
            self.forwards_order.push_back(value);
        }
        if self.forwards_order.len() > FORWARDS_MAX {
            self.forwards_order.pop_front().map(|oldest| self.forwards.remove(&oldest));
        }
    }

    /// An epoch that this node neither owned the value in nor offered it for.
    pub(super) fn next_epoch(&mut self, value: GlobalId) -> u64 {
        let known = self.values.get(&value).map_or(0, |owned| match &owned.place {
            Place::Here => owned.epoch,
            Place::Offered { epoch, .. }
            | Place::Committed { epoch, .. }
            | Place::Forwarded { epoch, .. } => *epoch,
        });
        if mutant!("epoch_ignored") {
            return known + 1;
        }
        self.epochs = self.epochs.max(known) + 1;
        self.epochs
    }

    /// This node owns the value from now on; its copy is kept already.
    pub(super) fn adopt(&mut self, value: GlobalId, epoch: u64) -> &mut Owned {
        if let Some(at) = self
            .forwards
            .remove(&value)
            .and_then(|_| self.forwards_order.iter().position(|one| *one == value))
        {
            self.forwards_order.remove(at);
        }
        let owned = self.values.entry(value).or_insert_with(|| Owned::new(epoch));
        if let Place::Forwarded { to, epoch, told } = &mut owned.place {
            // Who claims the value here claims it from its owner again.
            self.ends.push((*to, value, *epoch, std::mem::take(told)));
        }
        owned.place = Place::Here;
        owned.epoch = epoch;
        (owned.is_copy, owned.stays) = (false, false);
        owned
    }

    /// The values that move, or have moved and are not all settled.
    pub(super) fn moving(&self) -> Vec<GlobalId> {
        let moves = |owned: &Owned| {
            let open = owned.inherited.is_some() || owned.unsettled.is_some();
            open || !matches!(owned.place, Place::Here)
        };
        let moving = self.values.iter().filter(|(_, owned)| moves(owned));
        moving.map(|(value, _)| *value).collect()
    }

    /// The values of which something is to be said again by now.
    pub(super) fn due(&self, now: Duration) -> Vec<GlobalId> {
        let due = |value: &&GlobalId| {
            self.values.get(value).and_then(Owned::due_at).is_some_and(|at| at <= now)
        };
        self.active.iter().filter(due).copied().collect()
    }

    /// A use of a value that this node keeps.
    pub(super) fn add_use(&mut self, value: GlobalId, hold: Hold) {
        if let Some(owned) = self.values.get_mut(&value) {
            owned.uses.insert(hold);
            self.uses.insert(hold, value);
        }
    }

    /// Ends all that the holder has: its time is over, or it is proved dead.
    pub(super) fn end_claim(&mut self, keeper: &mut dyn Keeper, holder: Incarnation) {
        let claim = self.claims.remove(&holder);
        for value in claim.into_iter().flat_map(|claim| claim.values) {
            if let Some(owned) = self.values.get_mut(&value) {
                #[cfg(feature = "mutants")]
                {
                    owned.count -= 1;
                }
                owned.holders.remove(&holder);
            }
            self.settle(keeper, value);
        }
    }

    /// The uses of a value that has moved: they are uses of a reference from now on.
    pub(super) fn take_uses(&mut self, value: GlobalId) -> BTreeSet<Hold> {
        let owned = self.values.get_mut(&value);
        let uses = owned.map(|owned| std::mem::take(&mut owned.uses)).unwrap_or_default();
        for hold in &uses {
            self.uses.remove(hold);
        }
        uses
    }

    /// Ends a use.
    pub(super) fn end_use(&mut self, keeper: &mut dyn Keeper, hold: Hold) {
        let Some(value) = self.uses.remove(&hold) else { return };
        if let Some(owned) = self.values.get_mut(&value) {
            owned.uses.remove(&hold);
        }
        self.settle(keeper, value);
    }

    /// Ends what is over. To be called before anything else in a step, so that nothing is renewed that has ended.
    pub(super) fn expire(&mut self, step: &Moment<'_>, keeper: &mut dyn Keeper) {
        let lease = step.settings.lease;
        if step.now.saturating_sub(self.seen_at) > lease.lease() / 4 {
            // This node was stopped, or its machine slept: renewals may wait to be heard. Claims last longer for that, never
            // shorter.
            for claim in self.claims.values_mut() {
                claim.expires_at = claim.expires_at.max(lease.expiry(step.now));
            }
        }
        self.seen_at = step.now;
        let over = |(holder, claim): (&Incarnation, &Claim)| {
            (claim.expires_at <= step.now).then_some(*holder)
        };
        let over: Vec<Incarnation> = self.claims.iter().filter_map(over).collect();
        over.into_iter().for_each(|holder| self.end_claim(keeper, holder));
        for (ticket, value) in self.tickets.ended(step.now) {
            if let Some(owned) = self.values.get_mut(&value) {
                owned.tickets.remove(&ticket);
            }
            self.settle(keeper, value);
        }
    }

    /// When something ends next; soon enough that a pause of this node is told from silence of the holders.
    pub(super) fn next_deadline(&self, step: &Moment<'_>) -> Option<Duration> {
        let awake = self.seen_at + step.settings.lease.lease() / 8;
        let claims = self.claims.values().map(|claim| claim.expires_at.min(awake));
        let due = |value: &GlobalId| self.values.get(value)?.due_at();
        let active = self.active.iter().filter_map(due);
        claims.chain(self.tickets.next_end()).chain(active).min()
    }
}

pub(super) fn limit(bound: Bound, most: usize) -> Refusal {
    Refusal::Limit { bound, most: u64::try_from(most).unwrap_or(u64::MAX) }
}
