//! Drives the machine of `src/protocol/` with real time and real messages. One lock around the machine; what a step leaves to
//! do is done after it was given back, and what a step lets go of is dropped then, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mempool_core::Untyped;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::error::{NetError, Result};
use crate::identity::{GlobalId, Incarnation};
use crate::node::inner::Inner;
use crate::node::letters::DELIVERY_MAX;
use crate::node::peers::Peer;
use crate::proto;
use crate::proto::claims_client::ClaimsClient;
use crate::protocol::{Call, Effect, Hold, Keeper, Machine, Message, Outcome, Refusal, Settings};

/// Messages that wait for a peer at most; the machine sends again what does not fit.
const WAITING_MAX: usize = 4096;
/// How long a delivery may take before the next one is tried.
const DELIVER_WITHIN: Duration = Duration::from_secs(2);
/// The machine is asked what is due no more often than so.
const TICK_LEAST: Duration = Duration::from_millis(10);

/// The machine and who waits for it.
#[derive(Debug)]
pub(crate) struct Claims {
    state: Mutex<State>,
    /// Something was done that may have changed when the next thing is due.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    calls: HashMap<Call, oneshot::Sender<Result<Outcome, Refusal>>>,
}

/// What is done within one step to the values that others hold.
struct Keeping<'a> {
    inner: &'a Inner,
    /// What is kept no more, to be dropped under no lock.
    let_go: Vec<Untyped>,
}

impl Keeper for Keeping<'_> {
    fn keep(&mut self, value: GlobalId) -> Option<u64> {
        let found = self.inner.own_value(value)?;
        let before = self.inner.kept.insert(value, found);
        self.let_go.extend(before);
        // From here on it is kept as long as it is claimed.
        self.let_go.extend(self.inner.offers.take(value));
        // Values that were born elsewhere are not taken over, so nobody ever owned this one before.
        Some(1)
    }

    fn let_go(&mut self, value: GlobalId, _epoch: Option<u64>) {
        self.let_go.extend(self.inner.kept.remove(value));
    }
}

/// Now, on a clock that counts while the machine sleeps and that nobody sets.
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

impl Claims {
    pub(crate) fn new(me: Incarnation, settings: Settings) -> Self {
        let state = State { machine: Machine::new(me, settings), calls: HashMap::new() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine is whole between its steps, and a step does not panic by what others say.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the machine.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut Machine) -> R) -> R {
        look(&mut self.lock().machine)
    }
}

impl Inner {
    /// Takes one step of the machine, and does what it leaves to do.
    fn step<R>(&self, step: impl FnOnce(&mut State, Duration, &mut Keeping<'_>) -> R) -> R {
        let result = self.step_in_time(step);
        self.claims.changed.notify_one();
        result
    }

    /// The same for whoever looks afterwards when the next thing is due.
    fn step_in_time<R>(&self, step: impl FnOnce(&mut State, Duration, &mut Keeping<'_>) -> R) -> R {
        let mut keeping = Keeping { inner: self, let_go: Vec::new() };
        let mut effects = Vec::new();
        let result = {
            let mut state = self.claims.lock();
            let result = step(&mut state, now(), &mut keeping);
            while let Some(effect) = state.machine.next_effect() {
                effects.push(match effect {
                    Effect::Done { call, outcome } => {
                        Doing::Tell(state.calls.remove(&call), outcome)
                    }
                    effect => Doing::Do(effect),
                });
            }
            result
        };
        drop(keeping.let_go);
        for effect in effects {
            self.perform(effect);
        }
        result
    }

    fn perform(&self, doing: Doing) {
        match doing {
            Doing::Do(Effect::Send { to, message }) => self.post(to, message),
            // Nothing is sent to this node by shares: what it is given it registers itself for.
            Doing::Do(Effect::Arrived { references, .. }) => {
                references.into_iter().for_each(|(_, hold)| self.drop_hold(hold));
            }
            // This node takes over no values of others, and says so.
            Doing::Do(Effect::Fetch { value, .. }) => {
                self.at_once(|machine, now, keeper| machine.fetched(now, value, false, keeper));
            }
            Doing::Do(Effect::Migrated { hold: Some(hold), .. }) => self.drop_hold(hold),
            // A reference that is fenced, lost or elsewhere says so when it is used.
            Doing::Do(_) => {}
            Doing::Tell(waiting, outcome) => {
                let unheard = match waiting {
                    Some(waiting) => waiting.send(outcome).err(),
                    None => Some(outcome),
                };
                if let Some(Ok(Outcome::Found { hold, .. })) = unheard {
                    self.drop_hold(hold);
                }
            }
        }
    }

    /// Another node says something.
    pub(crate) fn hear(&self, from: Incarnation, message: Message) {
        self.step(|state, now, keeping| state.machine.on_message(now, from, message, keeping));
    }

    /// A node does not answer, or does so again. Nothing is freed by that.
    pub(crate) fn note_suspected(&self, node: Incarnation, suspected: bool) {
        match suspected {
            true => self.at_once(|machine, now, keeper| machine.suspect(now, node, keeper)),
            false => self.claims.look(|machine| machine.trust(node)),
        }
    }

    /// A start of a node has ended, by proof.
    pub(crate) fn bury(&self, dead: Incarnation) {
        if let Some(here) = self.neighbourhood.get() {
            here.forget(dead);
        }
        self.step(|state, now, keeping| state.machine.proved_dead(now, dead, keeping));
    }

    pub(crate) fn drop_hold(&self, hold: Hold) {
        self.step(|state, now, keeping| state.machine.drop_hold(now, hold, keeping));
    }

    /// Takes a step that answers at once.
    pub(crate) fn at_once<R>(
        &self,
        act: impl FnOnce(&mut Machine, Duration, &mut dyn Keeper) -> R,
    ) -> R {
        self.step(|state, now, keeping| act(&mut state.machine, now, keeping))
    }

    /// Takes a step that begins a call, and waits for its end.
    pub(crate) async fn outcome(
        &self,
        begin: impl FnOnce(&mut Machine, Duration, &mut dyn Keeper) -> Result<Call, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let outcome = self.step(|state, now, keeping| {
            let call = begin(&mut state.machine, now, keeping)?;
            let (sender, receiver) = oneshot::channel();
            state.calls.insert(call, sender);
            Ok(receiver)
        })?;
        // A node that goes takes its calls with it.
        outcome.await.unwrap_or(Err(Refusal::TimedOut))
    }

    /// Sends a message to whoever runs as that incarnation, if that is known. Nothing waits for it.
    fn post(&self, to: Incarnation, message: Message) {
        let Some(peer) = self.peers.of_incarnation(to) else { return };
        let mailbox = peer.mailbox.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            self.handle.spawn(carry(Arc::clone(&peer), receiver, self.leaving()));
            sender
        });
        // A mailbox that is full loses it, as a network may.
        let _ = mailbox.try_send(message);
    }
}

/// What is left to do after a step.
enum Doing {
    Do(Effect),
    Tell(Option<oneshot::Sender<Result<Outcome, Refusal>>>, Result<Outcome, Refusal>),
}

/// Carries messages to a peer, in order, several at a time, until it has ended or this node goes.
async fn carry(
    peer: Arc<Peer>,
    mut mailbox: mpsc::Receiver<Message>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let mut messages = Vec::new();
        tokio::select! {
            count = mailbox.recv_many(&mut messages, DELIVERY_MAX) => if count == 0 { return },
            () = peer.ended() => return,
            _ = leaving.wait_for(|leaving| *leaving) => return,
        }
        let messages = messages.into_iter().map(proto::Message::from).collect();
        let deliver =
            |channel, request| async move { ClaimsClient::new(channel).deliver(request).await };
        let sent =
            peer.call("deliver", DELIVER_WITHIN, proto::DeliverRequest { messages }, deliver).await;
        // What was lost the machine sends again.
        if matches!(sent, Err(NetError::Ended { .. })) {
            return;
        }
    }
}

/// Lets time pass for the machine, tells it of the dead, and lets go of what was offered and not taken.
pub(crate) async fn keep_time(
    inner: Weak<Inner>,
    mut dead: mpsc::UnboundedReceiver<Incarnation>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let due = strong.step_in_time(|state, now, keeping| {
            state.machine.tick(now, keeping);
            let (untaken, offered) = strong.offers.over(now);
            keeping.let_go.extend(untaken);
            let (unused, announced) = strong.announced.over(now);
            drop(unused);
            let due = state.machine.next_deadline(now).into_iter();
            let due = due.chain(offered).chain(announced).min();
            due.map(|due| due.saturating_sub(now))
        });
        let claims = Arc::clone(&strong.claims);
        drop(strong);
        // However much happens, the machine is not asked all the time.
        tokio::time::sleep(TICK_LEAST).await;
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep(due.saturating_sub(TICK_LEAST)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = claims.changed.notified() => {}
            ended = dead.recv() => match (ended, inner.upgrade()) {
                (Some(ended), Some(inner)) => inner.bury(ended),
                _ => return,
            },
            _ = leaving.wait_for(|leaving| *leaving) => return,
        }
    }
}
