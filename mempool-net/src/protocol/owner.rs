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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::{Answer, BATCH_MAX, Message, Registration};
use super::refusal::{Bound, Refusal};
use super::step::{Hold, Keeper, Moment, Step};
use super::ticket::Tickets;
use crate::{GlobalId, Incarnation};

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

/// A value that is kept for others.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    /// The holders, each with the version of its registration.
    holders: BTreeMap<Incarnation, u64>,
    /// Tickets, by number.
    pub(super) tickets: BTreeSet<u64>,
    pub(super) names: BTreeSet<String>,
    /// References on their way, which this node sent.
    pub(super) uses: BTreeSet<Hold>,
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
            #[cfg(feature = "mutants")]
            count: 0,
        }
    }

    fn is_held(&self) -> bool {
        #[cfg(feature = "mutants")]
        if mutant!("counts_for_sets") {
            return self.count > 0;
        }
        !self.holders.is_empty()
    }

    fn is_claimed(&self) -> bool {
        let by_owner = !(self.tickets.is_empty() && self.names.is_empty() && self.uses.is_empty());
        by_owner || self.is_held()
    }
}

/// The claims on this node's values.
#[derive(Debug, Default)]
pub struct Owner {
    /// The latest version that was given.
    latest: u64,
    /// The owner's clock at its last step.
    seen_at: Duration,
    claims: BTreeMap<Incarnation, Claim>,
    values: BTreeMap<GlobalId, Owned>,
    pub(super) tickets: Tickets,
}

impl Owner {
    /// How many values are kept for others.
    #[must_use]
    pub fn values(&self) -> usize {
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
            let epoch = self.owned(step, keeper, value)?.epoch;
            self.settle(keeper, value);
            return Ok((0, epoch));
        }
        self.has_room(step, holder)?;
        let version = self.latest + 1;
        let owned = self.owned(step, keeper, value)?;
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

    /// Lets the value go if nobody claims it.
    pub(super) fn settle(&mut self, keeper: &mut dyn Keeper, value: GlobalId) {
        if self.values.get(&value).is_some_and(|owned| !owned.is_claimed()) {
            self.values.remove(&value);
            keeper.let_go(value);
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

    /// Ends a use by a reference that was on its way.
    pub(super) fn end_use(&mut self, keeper: &mut dyn Keeper, value: GlobalId, hold: Hold) {
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
            let ends = claim.expires_at <= step.now && !mutant!("lease_never_expires");
            ends.then_some(*holder)
        };
        let over: Vec<Incarnation> = self.claims.iter().filter_map(over).collect();
        over.into_iter().for_each(|holder| self.end_claim(keeper, holder));
        for (number, value) in self.tickets.ended(step.now) {
            if let Some(owned) = self.values.get_mut(&value) {
                owned.tickets.remove(&number);
            }
            self.settle(keeper, value);
        }
    }

    /// When something ends next; soon enough that a pause of this node is told from silence of the holders.
    pub(super) fn next_deadline(&self, step: &Moment<'_>) -> Option<Duration> {
        let awake = self.seen_at + step.settings.lease.lease() / 8;
        let claims = self.claims.values().map(|claim| claim.expires_at.min(awake));
        claims.chain(self.tickets.next_end()).min()
    }
}

pub(super) fn limit(bound: Bound, most: usize) -> Refusal {
    Refusal::Limit { bound, most: u64::try_from(most).unwrap_or(u64::MAX) }
}
