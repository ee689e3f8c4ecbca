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

use super::message::{Answer, NAME_BYTES_MAX, Ticket};
use super::owner::{Owner, limit};
use super::refusal::{Bound, Refusal};
use super::step::{Keeper, Moment, Step};
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
    issued: BTreeMap<u64, Issued>,
    names: BTreeMap<String, GlobalId>,
}

impl Tickets {
    pub(super) fn is_empty(&self) -> bool {
        self.issued.is_empty() && self.names.is_empty()
    }

    pub(super) fn next_end(&self) -> Option<Duration> {
        self.issued.values().map(|one| one.ends_at).min()
    }

    /// Takes out those whose time is over.
    pub(super) fn ended(&mut self, now: Duration) -> Vec<(u64, GlobalId)> {
        if mutant!("ticket_never_ends") {
            return Vec::new();
        }
        let over = self.issued.iter().filter(|(_, one)| one.ends_at <= now);
        let over: Vec<_> = over.map(|(number, one)| (*number, one.value)).collect();
        for (number, _) in &over {
            self.issued.remove(number);
        }
        over
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
        self.owned(step, keeper, value)?.tickets.insert(number);
        let ends_at = step.now.saturating_add(ttl);
        self.tickets.issued.insert(number, Issued { value, secret, ends_at, uses, used_by: None });
        Ok(Ticket { value, owner: step.me, number, secret })
    }

    /// Registers whoever shows a ticket.
    pub(super) fn redeem(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        shown: &Ticket,
        from: Incarnation,
    ) -> (Option<GlobalId>, Answer) {
        let unknown = Refusal::TicketUnknown { ticket: shown.number };
        let issued = self.tickets.issued.get_mut(&shown.number);
        // One comparison of 128 bits tells nothing about how much of a guess was right.
        let Some(issued) = issued.filter(|one| one.secret ^ shown.secret == 0) else {
            return (None, Answer::Refused(unknown));
        };
        let value = issued.value;
        if issued.used_by.is_some_and(|by| by != from) {
            let used = Refusal::TicketUsed { ticket: shown.number };
            return (Some(value), Answer::Refused(used));
        }
        let once = issued.uses == Uses::Once;
        let answer = self.register(step, keeper, value, from);
        if once && matches!(answer, Answer::Granted { .. }) {
            if let Some(issued) = self.tickets.issued.get_mut(&shown.number) {
                issued.used_by = Some(from);
            }
            self.end_ticket(keeper, value, shown.number);
        }
        (Some(value), answer)
    }

    fn end_ticket(&mut self, keeper: &mut dyn Keeper, value: GlobalId, number: u64) {
        if let Ok(owned) = self.known(value) {
            owned.tickets.remove(&number);
        }
        self.settle(keeper, value);
    }

    /// Calls the value by a name; the name is a claim until it is taken away.
    pub(super) fn name(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        value: GlobalId,
        name: &str,
    ) -> Result<(), Refusal> {
        let limits = &step.settings.limits;
        match self.tickets.names.get(name) {
            Some(other) if *other != value => {
                return Err(Refusal::NameTaken { name: name.to_owned() });
            }
            Some(_) => return Ok(()),
            None if name.len() > NAME_BYTES_MAX => {
                return Err(limit(Bound::NameBytes, NAME_BYTES_MAX));
            }
            None if self.tickets.names.len() >= limits.names => {
                return Err(limit(Bound::Names, limits.names));
            }
            None => {}
        }
        self.owned(step, keeper, value)?.names.insert(name.to_owned());
        self.tickets.names.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes a name away. Answers the value that had it.
    pub(super) fn unname(&mut self, keeper: &mut dyn Keeper, name: &str) -> Option<GlobalId> {
        let value = self.tickets.names.remove(name)?;
        if let Ok(owned) = self.known(value) {
            owned.names.remove(name);
        }
        self.settle(keeper, value);
        Some(value)
    }

    /// Registers whoever asks for a name.
    pub(super) fn resolve(
        &mut self,
        step: &Moment<'_>,
        keeper: &mut dyn Keeper,
        name: &str,
        from: Incarnation,
    ) -> (Option<GlobalId>, Answer) {
        let Some(value) = self.tickets.names.get(name).copied() else {
            let name = name.chars().take(NAME_BYTES_MAX).collect();
            return (None, Answer::Refused(Refusal::NameUnknown { name }));
        };
        (Some(value), self.register(step, keeper, value, from))
    }
}
