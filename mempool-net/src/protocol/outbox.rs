//! Messages that are sent again until they are answered. What they do at the other end changes nothing when it is done
//! twice, so nobody there has to remember them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::Message;
use super::step::{Moment, Step};
use crate::Incarnation;

#[derive(Debug)]
struct Unanswered {
    to: Incarnation,
    message: Message,
    again_at: Duration,
    /// How long to wait after that; doubles, up to half a lease.
    wait: Duration,
}

/// The messages, by the sender's numbers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    unanswered: BTreeMap<u64, Unanswered>,
}

impl Outbox {
    /// Sends the message, now and again.
    pub(super) fn send(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        to: Incarnation,
        message: Message,
    ) {
        step.send(to, message.clone());
        self.send_later(step, number, to, message);
    }

    /// Sends the message after a while, and again.
    pub(super) fn send_later(
        &mut self,
        step: &Moment<'_>,
        number: u64,
        to: Incarnation,
        message: Message,
    ) {
        let wait = step.settings.resend;
        let again_at = step.now + wait;
        self.unanswered.insert(number, Unanswered { to, message, again_at, wait });
    }

    /// The message of that number was answered by `from`. Says whether it was still waited for.
    pub(super) fn answered(&mut self, number: u64, from: Incarnation) -> bool {
        let awaited = self.unanswered.get(&number).is_some_and(|one| one.to == from);
        if awaited {
            self.unanswered.remove(&number);
        }
        awaited
    }

    /// Nobody waits for an answer to that number any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }

    /// Nothing will be answered by `to` any more.
    pub(super) fn forget_all_to(&mut self, to: Incarnation) {
        self.unanswered.retain(|_, one| one.to != to);
    }

    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        let (now, most) = (step.now, step.settings.lease.lease() / 2);
        for one in self.unanswered.values_mut().filter(|one| one.again_at <= now) {
            one.wait = (one.wait * 2).min(most);
            one.again_at = now + one.wait;
            step.send(one.to, one.message.clone());
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.unanswered.values().map(|one| one.again_at).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }
}
