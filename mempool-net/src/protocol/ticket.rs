//! Claims of the owner's own: tickets, which end by themselves, and names, which are taken away.
//!
//! ```text
//!  program ── dref.ticket(ttl) ──▶ owner        the ticket is a claim from now to its end, on the owner's clock
//!     ┆ by mail, by a file, by hand
//!  another node                   owner
//!    │  Redeem(ticket)              │  registers the sender; a ticket for one use is over with that
//!    │ ───────────────────────────▶ │
//!    │ ◀─────────────────────────── │
//!    │  Found(value, version)       │
//! ```
//!
//! A ticket is for one use or for many, as its maker says. One that was used stays known to the end of its time, so that
//! whoever used it may ask again when the answer was lost; nobody else may. Its secret is compared whole, and a wrong one
//! answers as a ticket that never was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{MovedTicket, NAME_BYTES_MAX, Ticket};
use super::owner::{Owner, limit};
use super::refusal::{Bound, Refusal};
use super::step::{Hold, Keeper, Moment, Step};
use crate::{GlobalId, Incarnation};

/// How often a ticket is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// For the first who shows it.
    Once,
    /// For all who show it before its end.
    Many,
}

#[derive(Debug)]
struct Issued {
    value: GlobalId,
    secret: u128,
    ends_at: Duration,
    uses: Uses,
    used_by: Option<Incarnation>,
}

/// The tickets and names of an owner.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// By who made them and number.
    issued: BTreeMap<(Incarnation, u64), Issued>,
    names: BTreeMap<String, Named>,
}

/// What a name stands for. Where the value has moved the name is a use of a reference to it.
#[derive(Debug)]
struct Named {
    value: GlobalId,
    hold: Option<Hold>,
}

impl Tickets {
    pub(super) fn is_empty(&self) -> bool {
        self.issued.is_empty() && self.names.is_empty()
    }

    pub(super) fn next_end(&self) -> Option<Duration> {
        self.issued.values().map(|one| one.ends_at).min()
    }

    /// Takes out those whose time is over.
    pub(super) fn ended(&mut self, now: Duration) -> Vec<((Incarnation, u64), GlobalId)> {
        let mut over = Vec::new();
        self.issued.retain(|ticket, one| {
            let ends = one.ends_at <= now;
            if ends {
                over.push((*ticket, one.value));
            }
            !ends
        });
        over
    }

    /// The tickets of a value, as they move with it.
    pub(super) fn export(&self, now: Duration, value: GlobalId) -> Vec<MovedTicket> {
        let of_value = self.issued.iter().filter(|(_, one)| one.value == value);
        let moved = of_value.map(|((maker, number), one)| {
            let rest = one.ends_at.saturating_sub(now);
            MovedTicket {
                maker: *maker,
                number: *number,
                secret: one.secret,
                rest_us: u64::try_from(rest.as_micros()).unwrap_or(u64::MAX),
                once: one.uses == Uses::Once,
                used_by: one.used_by,
            }
        });
        moved.collect()
    }

    /// Forgets the tickets of a value that has moved.
    pub(super) fn forget(&mut self, value: GlobalId) {
        self.issued.retain(|_, one| one.value != value);
    }

    /// The name is a use of a reference from now on.
    pub(super) fn held(&mut self, name: &str, hold: Hold) {
        if let Some(named) = self.names.get_mut(name) {
            named.hold = Some(hold);
        }
    }
}

impl Owner {
    /// Makes a ticket for the value.
    pub(super) fn issue(
        &mut self,
        step: &mut Step<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        ttl: Duration,
        uses: Uses,
        secret: u128,
    ) -> Result<Ticket, Refusal> {
        let most = step.settings.limits.tickets;
        if self.tickets.issued.len() >= most {
            return Err(limit(Bound::Tickets, most));
        }
        let number = step.number();
        let ticket = (step.me, number);
        self.owned_here(step, keeper, value)?.tickets.insert(ticket);
        let mut ends_at = step.now.saturating_add(ttl);
        if mutant!("ticket_never_ends") {
            ends_at = Duration::MAX;
        }
        self.tickets.issued.insert(ticket, Issued { value, secret, ends_at, uses, used_by: None });
        Ok(Ticket { value, owner: step.me, number, secret })
    }

    /// Takes over the tickets of a value that moved here.
    pub(super) fn take_tickets(
        &mut self,
        step: &Moment<'_>,
        value: GlobalId,
        moved: &[MovedTicket],
    ) {
        for one in moved {
            if self.tickets.issued.len() >= step.settings.limits.tickets {
                break;
            }
            let ticket = (one.maker, one.number);
            let ends_at = step.now.saturating_add(Duration::from_micros(one.rest_us));
            let uses = if one.once { Uses::Once } else { Uses::Many };
            let (secret, used_by) = (one.secret, one.used_by);
            self.tickets.issued.insert(ticket, Issued { value, secret, ends_at, uses, used_by });
            if let Ok(owned) = self.known(value)
                && (!one.once || used_by.is_none())
            {
                owned.tickets.insert(ticket);
            }
        }
    }

    /// This node owns the value again, so its names are claims and no uses.
    pub(super) fn claim_by_names(&mut self, keeper: &mut dyn Keeper, value: GlobalId) {
        let mut uses = Vec::new();
        for (name, named) in self.tickets.names.iter_mut().filter(|(_, one)| one.value == value) {
            uses.extend(named.hold.take());
            if let Some(owned) = self.values.get_mut(&value) {
                owned.names.insert(name.clone());
            }
        }
        uses.into_iter().for_each(|hold| self.end_use(keeper, hold));
    }

    /// Whether a ticket is good for that node.
    pub(super) fn check_ticket(&self, shown: &Ticket, from: Incarnation) -> Result<(), Refusal> {
        let (maker, number) = (shown.owner, shown.number);
        let issued = self.tickets.issued.get(&(maker, number));
        // One comparison of 128 bits tells nothing about how much of a guess was right.
        let issued =
            issued.filter(|one| one.secret ^ shown.secret == 0 && one.value == shown.value);
        let issued = issued.ok_or(Refusal::TicketUnknown { ticket: number })?;
        match issued.used_by {
            Some(by) if by != from => Err(Refusal::TicketUsed { ticket: number }),
            _ => Ok(()),
        }
    }

    /// A ticket was used, by a node that is registered now.
    pub(super) fn use_ticket(&mut self, keeper: &mut dyn Keeper, shown: &Ticket, by: Incarnation) {
        let ticket = (shown.owner, shown.number);
        let issued = self.tickets.issued.get_mut(&ticket);
        let Some(issued) = issued.filter(|one| one.uses == Uses::Once) else { return };
        issued.used_by = Some(by);
        if let Ok(owned) = self.known(shown.value) {
            owned.tickets.remove(&ticket);
        }
        self.settle(keeper, shown.value);
    }

    /// The value that has that name.
    pub(super) fn named(&self, name: &str) -> Option<GlobalId> {
        self.tickets.names.get(name).map(|named| named.value)
    }

    /// Whether the value may have that name; `Ok(false)` where it has it already.
    pub(super) fn may_name(
        &self,
        step: &Moment<'_>,
        value: GlobalId,
        name: &str,
    ) -> Result<bool, Refusal> {
        let most = step.settings.limits.names;
        match self.named(name) {
            Some(other) if other != value => Err(Refusal::NameTaken { name: name.to_owned() }),
            Some(_) => Ok(false),
            None if name.len() > NAME_BYTES_MAX => Err(limit(Bound::NameBytes, NAME_BYTES_MAX)),
            None if self.tickets.names.len() >= most => Err(limit(Bound::Names, most)),
            None => Ok(true),
        }
    }

    /// Calls the value by a name: a claim until it is taken away. A value of another node is claimed by `hold`.
    pub(super) fn name(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        name: &str,
        hold: Option<Hold>,
    ) -> Result<(), Refusal> {
        if hold.is_none() {
            self.owned_here(step, keeper, value)?.names.insert(name.to_owned());
        }
        self.tickets.names.insert(name.to_owned(), Named { value, hold });
        Ok(())
    }

    /// Takes a name away. Answers the value that had it, and the use that it was.
    pub(super) fn unname(
        &mut self,
        keeper: &mut dyn Keeper,
        name: &str,
    ) -> Option<(GlobalId, Option<Hold>)> {
        let Named { value, hold } = self.tickets.names.remove(name)?;
        if let Ok(owned) = self.known(value) {
            owned.names.remove(name);
        }
        self.settle(keeper, value);
        Some((value, hold))
    }
}
