//! A cluster in one thread: machines, their pools, a network that obeys, and the truth to hold them against.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mempool_core::Id;
use mempool_net::protocol::{
    Call, Effect, Hold, Keeper, Lease, Machine, Message, Outcome, Reference, Refusal, Settings,
};
use mempool_net::{GlobalId, Incarnation};

/// Microseconds of true time.
pub(crate) type Time = u64;

pub(crate) const LEASE: Time = 1_000_000;
pub(crate) const SLACK: Time = 20_000;
pub(crate) const TRANSFER: Time = 700_000;

pub(crate) fn settings() -> Settings {
    let us = Duration::from_micros;
    Settings {
        lease: Lease::new(us(LEASE), us(SLACK)).expect("a lease"),
        resend: us(60_000),
        transfer: us(TRANSFER),
        ..Settings::default()
    }
}

/// What a node's pool has of one value that it owns.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The node's program has a reference of its own.
    pub(crate) local: bool,
    /// The machine keeps it for others.
    pub(crate) kept: bool,
    pub(crate) epoch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) values: BTreeMap<GlobalId, Kept>,
    /// Broken use of the trait, if any.
    pub(crate) misuse: Option<String>,
}

impl Pool {
    /// The node's program drops its own reference.
    pub(crate) fn drop_local(&mut self, value: GlobalId) {
        if let Some(one) = self.values.get_mut(&value) {
            one.local = false;
        }
        self.settle(value);
    }

    fn settle(&mut self, value: GlobalId) {
        if self.values.get(&value).is_some_and(|one| !one.local && !one.kept) {
            self.values.remove(&value);
        }
    }
}

impl Keeper for Pool {
    fn keep(&mut self, value: GlobalId) -> Option<u64> {
        // A copy that owns nothing has no epoch.
        let one = self.values.get_mut(&value).filter(|one| one.epoch > 0)?;
        if one.kept {
            self.misuse = Some(format!("{value} is kept twice"));
        }
        one.kept = true;
        Some(one.epoch)
    }

    fn let_go(&mut self, value: GlobalId, epoch: Option<u64>) {
        match (self.values.get_mut(&value), epoch) {
            (Some(one), Some(epoch)) if one.kept => (one.kept, one.epoch) = (false, epoch),
            (Some(one), None) if one.kept => (one.kept, one.local) = (false, false),
            _ => self.misuse = Some(format!("{value} is let go, but was not kept")),
        }
        self.settle(value);
    }
}

/// A node, or what is left of it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) pool: Pool,
    pub(crate) alive: bool,
    /// Stopped until then; what arrives meanwhile waits.
    pub(crate) stopped_until: Time,
    waiting: Vec<(Incarnation, Message)>,
    offset_us: u64,
    rate_ppm: i64,
    /// The program's uses of references.
    pub(crate) holds: BTreeMap<Hold, GlobalId>,
    pub(crate) calls: BTreeMap<Call, Time>,
    pub(crate) names: BTreeSet<String>,
    born: u32,
    /// When its machine wants a tick, in true time.
    due: Time,
}

impl Node {
    fn clock(&self, now: Time) -> Duration {
        let drift = i128::from(now) * i128::from(self.rate_ppm) / 1_000_000;
        let local = i128::from(now) + drift + i128::from(self.offset_us);
        Duration::from_micros(u64::try_from(local).expect("after the start"))
    }

    /// The true time at which the node's clock shows that.
    fn when(&self, local: Duration) -> Time {
        let local = i128::try_from(local.as_nanos().div_ceil(1000)).expect("a time");
        let since = (local - i128::from(self.offset_us)).max(0);
        let rate = 1_000_000 + i128::from(self.rate_ppm);
        let mut when = u64::try_from(since * 1_000_000 / rate).unwrap_or(u64::MAX);
        while when < u64::MAX && self.clock(when).as_micros() < local.unsigned_abs() {
            when += 1;
        }
        when
    }
}

/// What the network does with one message: after how long each of its copies arrives.
pub(crate) type Weather<'a> = dyn FnMut(&World, usize, usize) -> Vec<Time> + 'a;

#[derive(Debug)]
struct Packet {
    from: Incarnation,
    to: Incarnation,
    message: Message,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    packets: BTreeMap<(Time, u64), Packet>,
    packet_number: u64,
    /// Ways that are cut, from slot to slot.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Who runs, or ran, where.
    pub(crate) slots: BTreeMap<Incarnation, usize>,
    starts: u128,
    /// What happened, where it is wanted.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) sent: u64,
    pub(crate) events: u64,
    /// References that programs have seen.
    pub(crate) seen: Vec<Reference>,
    /// Calls that ended, and how.
    pub(crate) ended: Vec<(usize, Call, Result<Outcome, Refusal>)>,
    pub(crate) lost: u64,
    pub(crate) fenced: u64,
    /// Copies that are being made: when they are done, by whom, of what, from whom.
    fetches: Vec<(Time, Incarnation, GlobalId, Incarnation)>,
    /// Who owns what in which epoch.
    owners: BTreeMap<(GlobalId, u64), Incarnation>,
    broken: Option<String>,
    /// Who took a step since the last check, and whether anything was freed.
    touched: Option<usize>,
    freed: bool,
}

impl World {
    pub(crate) fn new(trace: bool) -> Self {
        Self {
            now: 0,
            nodes: Vec::new(),
            packets: BTreeMap::new(),
            packet_number: 0,
            cut: BTreeSet::new(),
            slots: BTreeMap::new(),
            starts: 0,
            trace: trace.then(Vec::new),
            sent: 0,
            events: 0,
            seen: Vec::new(),
            ended: Vec::new(),
            lost: 0,
            fenced: 0,
            fetches: Vec::new(),
            owners: BTreeMap::new(),
            broken: None,
            touched: None,
            freed: false,
        }
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.now as f64 / 1000.0, what()));
        }
    }

    fn machine(&mut self, slot: usize) -> Machine {
        self.starts += 1;
        let me = Incarnation(self.starts);
        self.slots.insert(me, slot);
        Machine::new(me, settings())
    }

    /// Adds a node whose clock started somewhere and runs so many millionths fast.
    pub(crate) fn add_node(&mut self, offset_us: u64, rate_ppm: i64) -> usize {
        let slot = self.nodes.len();
        let machine = self.machine(slot);
        self.nodes.push(Node {
            machine,
            pool: Pool::default(),
            alive: true,
            stopped_until: 0,
            waiting: Vec::new(),
            offset_us,
            rate_ppm,
            holds: BTreeMap::new(),
            calls: BTreeMap::new(),
            names: BTreeSet::new(),
            born: 0,
            due: 0,
        });
        slot
    }

    pub(crate) fn me(&self, slot: usize) -> Incarnation {
        self.nodes[slot].machine.me()
    }

    pub(crate) fn crash(&mut self, slot: usize) {
        self.say(|| format!("n{slot} crashes"));
        self.nodes[slot].alive = false;
        self.nodes[slot].waiting.clear();
        self.nodes[slot].calls.clear();
    }

    pub(crate) fn restart(&mut self, slot: usize) {
        let machine = self.machine(slot);
        self.say(|| format!("n{slot} starts as {}", machine.me().0));
        let node = &mut self.nodes[slot];
        node.machine = machine;
        node.pool = Pool::default();
        node.holds.clear();
        node.calls.clear();
        node.names.clear();
        (node.alive, node.stopped_until, node.born, node.due) = (true, 0, 0, 0);
    }

    /// Sets a new value in the node's pool.
    pub(crate) fn set(&mut self, slot: usize) -> GlobalId {
        let node = &mut self.nodes[slot];
        node.born += 1;
        let id = Id { slot: node.born, generation: 1 };
        let value = GlobalId { birth: node.machine.me(), id };
        node.pool.values.insert(value, Kept { local: true, kept: false, epoch: 1 });
        self.owners.insert((value, 1), value.birth);
        self.say(|| format!("n{slot} sets {}", name(value)));
        value
    }

    /// The node's program drops its own reference to a value that the node owns.
    pub(crate) fn drop_local(&mut self, slot: usize, value: GlobalId) {
        self.nodes[slot].pool.drop_local(value);
        self.freed = true;
        self.say(|| format!("n{slot} drops its own {}", name(value)));
    }

    /// Has the node's machine take a step, and does what it says.
    pub(crate) fn at<T>(
        &mut self,
        slot: usize,
        weather: &mut Weather<'_>,
        what: impl FnOnce(&mut Machine, Duration, &mut Pool) -> T,
    ) -> T {
        let node = &mut self.nodes[slot];
        let clock = node.clock(self.now);
        let values = node.pool.values.len();
        let result = what(&mut node.machine, clock, &mut node.pool);
        let due = node.machine.next_deadline(clock);
        node.due = due.map_or(Time::MAX, |due| node.when(due));
        self.freed |= node.pool.values.len() < values;
        self.touched = Some(slot);
        self.drain(slot, weather);
        result
    }

    fn drain(&mut self, slot: usize, weather: &mut Weather<'_>) {
        while let Some(effect) = self.nodes[slot].machine.next_effect() {
            self.effect(slot, effect, weather);
        }
    }

    fn effect(&mut self, slot: usize, effect: Effect, weather: &mut Weather<'_>) {
        match effect {
            Effect::Send { to, message } => {
                self.sent += 1;
                let from = self.me(slot);
                let Some(&there) = self.slots.get(&to) else { return };
                let delays = weather(self, slot, there);
                self.say(|| {
                    let fate = if delays.is_empty() { " LOST" } else { "" };
                    format!("n{slot}→n{there} {}{fate}", brief(&message))
                });
                for delay in delays {
                    self.packet_number += 1;
                    let packet = Packet { from, to, message: message.clone() };
                    self.packets.insert((self.now + delay, self.packet_number), packet);
                }
            }
            Effect::Arrived { references, .. } => {
                for (reference, hold) in references {
                    self.arrived(slot, reference, hold, weather);
                }
            }
            Effect::Done { call, outcome } => {
                self.say(|| format!("n{slot} call {} ends: {outcome:?}", call.0));
                self.nodes[slot].calls.remove(&call);
                if let Ok(Outcome::Found { reference, hold }) = &outcome {
                    self.arrived(slot, *reference, *hold, weather);
                }
                self.ended.push((slot, call, outcome));
            }
            Effect::Fenced { owner } => {
                self.fenced += 1;
                self.say(|| format!("n{slot} fences {}", owner.0));
            }
            Effect::Lost { value, refusal } => {
                self.lost += 1;
                self.say(|| format!("n{slot} loses {}: {refusal:?}", name(value)));
            }
            Effect::Fetch { value, from } => {
                self.say(|| format!("n{slot} fetches {}", name(value)));
                self.fetches.push((self.now + 2_000, self.me(slot), value, from));
            }
            Effect::Owns { value, epoch } => self.owns(slot, value, epoch, weather),
            Effect::Migrated { reference, hold } => self.migrated(slot, reference, hold, weather),
            other => self.say(|| format!("n{slot} {other:?}")),
        }
    }

    fn arrived(
        &mut self,
        slot: usize,
        reference: Reference,
        hold: Hold,
        weather: &mut Weather<'_>,
    ) {
        self.say(|| format!("n{slot} gets {} v{}", name(reference.value), reference.version));
        if reference.owner == self.me(slot) {
            // Back home: the program has a reference of its own again, if the value is there.
            self.come_home(slot, reference.value, hold, weather);
            return;
        }
        self.nodes[slot].holds.insert(hold, reference.value);
        self.seen.push(reference);
    }

    fn come_home(&mut self, slot: usize, value: GlobalId, hold: Hold, weather: &mut Weather<'_>) {
        if let Some(one) = self.nodes[slot].pool.values.get_mut(&value) {
            one.local = true;
        }
        self.nodes[slot].holds.remove(&hold);
        self.at(slot, weather, |machine, now, pool| machine.drop_hold(now, hold, pool));
    }

    fn owns(&mut self, slot: usize, value: GlobalId, epoch: u64, weather: &mut Weather<'_>) {
        let me = self.me(slot);
        self.say(|| format!("n{slot} owns {} in epoch {epoch}", name(value)));
        let owner = *self.owners.entry((value, epoch)).or_insert(me);
        if owner != me {
            let both = format!("{} and {} own {} in epoch {epoch}", owner.0, me.0, name(value));
            self.broken = Some(format!("TWO OWNERS: {both}"));
        }
        if let Some(one) = self.nodes[slot].pool.values.get_mut(&value) {
            one.epoch = epoch;
        } else {
            self.broken = Some(format!("NO COPY: n{slot} owns {} without a copy", name(value)));
        }
        let holds = self.nodes[slot].holds.iter().filter(|(_, held)| **held == value);
        for hold in holds.map(|(hold, _)| *hold).collect::<Vec<_>>() {
            self.come_home(slot, value, hold, weather);
        }
    }

    fn migrated(
        &mut self,
        slot: usize,
        reference: Reference,
        hold: Option<Hold>,
        weather: &mut Weather<'_>,
    ) {
        let value = reference.value;
        self.say(|| format!("n{slot} gave {} to {}", name(value), reference.owner.0));
        let own = self.nodes[slot].pool.values.get_mut(&value);
        let local = own.is_some_and(|one| std::mem::take(&mut one.local));
        match hold {
            Some(hold) if local => {
                self.nodes[slot].holds.insert(hold, value);
            }
            Some(hold) => {
                self.at(slot, weather, |machine, now, pool| machine.drop_hold(now, hold, pool));
            }
            None if local => {
                let hold = self
                    .at(slot, weather, |machine, now, pool| machine.acquire(now, reference, pool));
                self.nodes[slot].holds.insert(hold, value);
            }
            None => {}
        }
    }

    /// Copies that are made by now: of what the source still has, if it can be reached.
    fn fetch(&mut self, weather: &mut Weather<'_>) {
        let now = self.now;
        for (_, me, value, from) in
            self.fetches.extract_if(.., |one| one.0 <= now).collect::<Vec<_>>()
        {
            if self.living(me).is_none() {
                continue;
            }
            let slot = self.slots[&me];
            let way = self.cut.contains(&(self.slots[&from], slot));
            let source = self.living(from).filter(|_| !way);
            let is_there = source.is_some_and(|one| one.pool.values.contains_key(&value));
            let pool = &mut self.nodes[slot].pool;
            if pool.values.get(&value).is_some_and(|one| one.epoch == 0) {
                // An earlier fetch of the same copy.
                continue;
            }
            if pool.values.contains_key(&value) {
                self.broken = Some(format!("n{slot} has {} and fetches it", name(value)));
                continue;
            }
            if is_there {
                pool.values.insert(value, Kept { local: false, kept: true, epoch: 0 });
            }
            let wanted = self.at(slot, weather, |machine, now, pool| {
                machine.fetched(now, value, is_there, pool)
            });
            if is_there && !wanted {
                self.nodes[slot].pool.values.remove(&value);
            }
        }
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Time> {
        let packet = self.packets.keys().next().map(|(at, _)| *at);
        let nodes = self.nodes.iter().filter(|node| node.alive);
        let ticks = nodes.filter(|node| node.due < Time::MAX);
        let ticks = ticks.map(|node| node.due.max(node.stopped_until));
        let fetches = self.fetches.iter().map(|one| one.0);
        ticks.chain(packet).chain(fetches).min().map(|at| at.max(self.now))
    }

    /// Lets happen what is due now: one packet, or the ticks.
    pub(crate) fn happen(&mut self, weather: &mut Weather<'_>) -> Result<(), String> {
        self.events += 1;
        self.fetch(weather);
        if let Some(entry) = self.packets.first_entry().filter(|one| one.key().0 <= self.now) {
            let packet = entry.remove();
            self.deliver(packet, weather);
        } else {
            for slot in 0..self.nodes.len() {
                let node = &self.nodes[slot];
                if !node.alive || node.stopped_until > self.now {
                    continue;
                }
                if node.due <= self.now || !node.waiting.is_empty() {
                    self.wake(slot, weather);
                    self.at(slot, weather, |machine, now, pool| machine.tick(now, pool));
                    if self.nodes[slot].due <= self.now {
                        return Err(format!("n{slot} is due again at once"));
                    }
                }
            }
        }
        self.check()
    }

    /// A node that was stopped hears what waited; in what order is the socket's affair.
    fn wake(&mut self, slot: usize, weather: &mut Weather<'_>) {
        for (from, message) in std::mem::take(&mut self.nodes[slot].waiting) {
            self.at(slot, weather, |machine, now, pool| {
                machine.on_message(now, from, message, pool);
            });
        }
    }

    fn deliver(&mut self, packet: Packet, weather: &mut Weather<'_>) {
        let Packet { from, to, message } = packet;
        let (there, here) = (self.slots[&to], self.slots[&from]);
        // A cut takes what is on its way, too.
        if self.me(there) != to || !self.nodes[there].alive || self.cut.contains(&(here, there)) {
            return;
        }
        if self.nodes[there].stopped_until > self.now {
            self.nodes[there].waiting.push((from, message));
            return;
        }
        self.wake(there, weather);
        self.say(|| format!("n{there} hears {}", brief(&message)));
        self.at(there, weather, |machine, now, pool| {
            machine.on_message(now, from, message, pool);
        });
    }

    /// Lets time pass until then.
    pub(crate) fn run_until(&mut self, end: Time, weather: &mut Weather<'_>) -> Result<(), String> {
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = at;
            self.happen(weather)?;
        }
        self.now = end;
        self.check()
    }

    /// Whether the slot's program believes its reference, and who it thinks owns the value.
    pub(crate) fn belief(&self, slot: usize, value: GlobalId) -> Result<Reference, Refusal> {
        let node = &self.nodes[slot];
        node.machine.standing(node.clock(self.now), value)
    }

    /// The live node of that incarnation.
    pub(crate) fn living(&self, incarnation: Incarnation) -> Option<&Node> {
        let node = &self.nodes[*self.slots.get(&incarnation)?];
        (node.alive && node.machine.me() == incarnation).then_some(node)
    }

    /// What must be true at every instant. Time alone only ends beliefs, so it is enough to look where something happened:
    /// at the node that took a step, and at all when something was freed.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let touched = self.touched.take();
        let all = std::mem::take(&mut self.freed);
        for (slot, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            if !all && Some(slot) != touched {
                continue;
            }
            if let Some(misuse) = &node.pool.misuse {
                return Err(format!("n{slot}: {misuse}"));
            }
            self.check_beliefs(slot, node)?;
            for (call, until) in &node.calls {
                let until = until.max(&node.stopped_until);
                if node.stopped_until <= self.now && self.now > until + until / 500 + LEASE / 10 {
                    return Err(format!("HANG: n{slot} call {} waits past its deadline", call.0));
                }
            }
        }
        Ok(())
    }

    fn check_beliefs(&self, slot: usize, node: &Node) -> Result<(), String> {
        let mut last = None;
        for value in node.holds.values() {
            if last.replace(value) == Some(value) {
                continue;
            }
            let Ok(reference) = self.belief(slot, *value) else { continue };
            let Some(owner) = self.living(reference.owner) else { continue };
            if !owner.pool.values.contains_key(value) {
                return Err(format!("EARLY FREE: n{slot} believes in {}", name(*value)));
            }
        }
        Ok(())
    }
}

pub(crate) fn name(value: GlobalId) -> String {
    format!("v{}.{}", value.birth.0, value.id.slot)
}

fn brief(message: &Message) -> String {
    let text = format!("{message:?}");
    // `GlobalId { birth: Incarnation(1), id: Id { slot: 2, generation: 1 } }` is said as v1.2.
    let text =
        text.replace("GlobalId { birth: Incarnation(", "v").replace("), id: Id { slot: ", ".");
    text.replace(", generation: 1 } }", "").replace("Incarnation", "")
}
