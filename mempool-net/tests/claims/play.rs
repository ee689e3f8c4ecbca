//! Clusters from seeds: programs that share and drop, and a world that breaks things.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mempool_net::protocol::{Call, Refusal, Ticket, Uses};
use mempool_net::{GlobalId, Incarnation};

use super::dice::Dice;
use super::world::{LEASE, SLACK, TRANSFER, Time, World, name};

/// How bad the weather is; chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
struct Climate {
    lost: u64,
    repeated: u64,
    delay_max: Time,
    /// Some messages take this long.
    late: u64,
    late_max: Time,
    cuts: u64,
    stops: u64,
    crashes: u64,
    leaves: u64,
    suspicions: u64,
}

impl Climate {
    fn new(dice: &mut Dice) -> Self {
        let mut climate = Self { delay_max: 5_000, ..Self::default() };
        // Every third cluster has nothing worse than a bad network: there no reference may be lost.
        climate.lost = [0, 20, 100][dice.index(3)];
        climate.repeated = [0, 50, 300][dice.index(3)];
        climate.delay_max = [1_000, 5_000, 30_000][dice.index(3)];
        if dice.chance(333) {
            return climate;
        }
        climate.late = [0, 20, 100][dice.index(3)];
        climate.late_max = 3 * LEASE;
        climate.cuts = [0, 300, 600][dice.index(3)];
        climate.stops = [0, 150, 300][dice.index(3)];
        climate.crashes = [0, 100, 300][dice.index(3)];
        climate.leaves = [0, 50][dice.index(2)];
        climate.suspicions = [0, 100][dice.index(2)];
        climate
    }

    fn is_mild(&self) -> bool {
        self.cuts + self.stops + self.crashes + self.leaves + self.late + self.suspicions == 0
    }
}

struct Play {
    world: World,
    dice: Dice,
    climate: Climate,
    /// Tickets in the mail.
    mail: Vec<Ticket>,
    names: Vec<(Incarnation, String)>,
    /// Incarnations that are dead, and who does not know yet, and when he will.
    proofs: Vec<(Time, usize, Incarnation)>,
    restarts: Vec<(Time, usize)>,
    heals: Vec<(Time, (usize, usize))>,
    calls: u64,
    secret: u128,
    is_mild: bool,
}

/// What a run was like.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    clusters: AtomicU64,
    events: AtomicU64,
    messages: AtomicU64,
    calls: AtomicU64,
    fenced: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn add(&self, world: &World, calls: u64) {
        let add = |to: &AtomicU64, count: u64| to.fetch_add(count, Ordering::Relaxed);
        add(&self.clusters, 1);
        add(&self.events, world.events);
        add(&self.messages, world.sent);
        add(&self.calls, calls);
        add(&self.fenced, world.fenced);
        add(&self.lost, world.lost);
    }
}

impl Play {
    fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut world = World::new(trace);
        for _ in 0..3 + dice.below(5) {
            let rate = i64::try_from(dice.below(1001)).expect("a rate") - 500;
            let offset = 10_000_000 + dice.below(1_000_000_000);
            world.add_node(offset, rate);
        }
        let climate = Climate::new(&mut dice);
        world.say(|| format!("{climate:?}"));
        Self {
            world,
            dice,
            climate,
            mail: Vec::new(),
            names: Vec::new(),
            proofs: Vec::new(),
            restarts: Vec::new(),
            heals: Vec::new(),
            calls: 0,
            secret: 1,
            is_mild: climate.is_mild(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let end = LEASE * (4 + self.dice.below(6));
        let mut act_at = 1_000;
        let mut break_at = LEASE / 4;
        while self.world.now < end {
            let due = self.world.next_event().unwrap_or(end);
            let plans = self.next_plan().unwrap_or(end);
            let at = due.min(plans).min(act_at).min(break_at).min(end);
            self.world.now = at;
            if at == act_at {
                act_at += 1 + self.dice.below(60_000);
                self.act()?;
            } else if at == break_at {
                break_at += LEASE / 8;
                self.break_something();
            } else if at == plans {
                self.carry_out();
            } else if at == due {
                self.happen()?;
            }
            self.world.check()?;
        }
        self.heal_all()?;
        self.settle()?;
        self.drop_all()
    }

    fn happen(&mut self) -> Result<(), String> {
        let (climate, dice) = (self.climate, &mut self.dice);
        self.world.happen(&mut |world, from, to| delays(climate, dice, world, from, to))
    }

    fn at<T>(
        &mut self,
        slot: usize,
        what: impl FnOnce(&mut mempool_net::protocol::Machine, Duration, &mut super::world::Pool) -> T,
    ) -> T {
        let (climate, dice) = (self.climate, &mut self.dice);
        let mut weather = |world: &World, from, to| delays(climate, dice, world, from, to);
        self.world.at(slot, &mut weather, what)
    }

    fn next_plan(&self) -> Option<Time> {
        let proofs = self.proofs.iter().map(|one| one.0);
        let restarts = self.restarts.iter().map(|one| one.0);
        proofs.chain(restarts).chain(self.heals.iter().map(|one| one.0)).min()
    }

    fn carry_out(&mut self) {
        let now = self.world.now;
        for (_, way) in self.heals.extract_if(.., |one| one.0 <= now) {
            self.world.cut.remove(&way);
        }
        let restarts: Vec<_> = self.restarts.extract_if(.., |one| one.0 <= now).collect();
        for (_, slot) in restarts {
            let dead = self.world.me(slot);
            self.world.restart(slot);
            // A newer incarnation under the same name is the proof that the older one is dead.
            self.announce(dead, 2 * LEASE);
        }
        let due: Vec<_> = self.proofs.extract_if(.., |one| one.0 <= now).collect();
        for (_, slot, dead) in due {
            self.prove(slot, dead);
        }
    }

    fn announce(&mut self, dead: Incarnation, within: Time) {
        for slot in 0..self.world.nodes.len() {
            let at = self.world.now + 1 + self.dice.below(within);
            self.proofs.push((at, slot, dead));
        }
    }

    fn prove(&mut self, slot: usize, dead: Incarnation) {
        if self.can_act(slot) {
            self.world.say(|| format!("n{slot} knows that {} is dead", dead.0));
            self.at(slot, |machine, now, pool| machine.proved_dead(now, dead, pool));
        } else if self.world.nodes[slot].alive {
            self.proofs.push((self.world.nodes[slot].stopped_until + 1, slot, dead));
        }
    }

    fn can_act(&self, slot: usize) -> bool {
        let node = &self.world.nodes[slot];
        node.alive && node.stopped_until <= self.world.now
    }

    fn break_something(&mut self) {
        let (climate, count) = (self.climate, self.world.nodes.len());
        let slot = self.dice.index(count);
        if self.dice.chance(climate.cuts) {
            self.cut(slot);
        }
        if self.dice.chance(climate.stops) && self.can_act(slot) {
            let until = self.world.now + self.dice.below(2 * LEASE);
            self.world.say(|| format!("n{slot} is stopped until {}", until / 1000));
            self.world.nodes[slot].stopped_until = until;
        }
        if self.dice.chance(climate.crashes) && self.world.nodes[slot].alive {
            self.world.crash(slot);
            if self.dice.chance(300) {
                // A pidfd tells those on the same host.
                let dead = self.world.me(slot);
                self.announce(dead, LEASE / 10);
            }
            let back = self.world.now + 1 + self.dice.below(3 * LEASE);
            self.restarts.push((back, slot));
        }
        if self.dice.chance(climate.leaves) && self.can_act(slot) {
            let me = self.world.me(slot);
            let others = (0..count).map(|other| self.world.me(other));
            let others: Vec<Incarnation> = others.filter(|other| *other != me).collect();
            self.at(slot, |machine, now, pool| machine.leave(now, &others, pool));
            self.world.crash(slot);
            let back = self.world.now + 1 + self.dice.below(3 * LEASE);
            self.restarts.push((back, slot));
        }
        if self.dice.chance(climate.suspicions) && self.can_act(slot) {
            let other = self.world.me(self.dice.index(count));
            self.at(slot, |machine, now, pool| machine.suspect(now, other, pool));
        }
    }

    /// Cuts one way, both, or a node off from all.
    fn cut(&mut self, slot: usize) {
        let count = self.world.nodes.len();
        let other = self.dice.index(count);
        let until = self.world.now + self.dice.below(3 * LEASE);
        let ways: Vec<(usize, usize)> = match self.dice.below(4) {
            0 => vec![(slot, other)],
            1 => vec![(slot, other), (other, slot)],
            2 => (0..count).flat_map(|other| [(slot, other), (other, slot)]).collect(),
            _ => (0..count).map(|other| (slot, other)).collect(),
        };
        self.world.say(|| format!("cut {ways:?} until {}", until / 1000));
        for way in ways {
            if way.0 != way.1 {
                self.world.cut.insert(way);
                self.heals.push((until, way));
            }
        }
    }

    /// Programs do something.
    fn act(&mut self) -> Result<(), String> {
        let slot = self.dice.index(self.world.nodes.len());
        if !self.can_act(slot) {
            return Ok(());
        }
        match self.dice.below(22) {
            0..3 if self.world.nodes[slot].pool.values.len() < 6 => {
                self.world.set(slot);
            }
            3..9 => self.share(slot),
            9..13 => self.drop_one(slot),
            13 => self.drop_own(slot),
            14 => self.stand(slot),
            15 => self.make_ticket(slot),
            16 => self.use_ticket(slot),
            17 => self.use_name(slot),
            18 => self.acquire(slot),
            19 | 20 => self.migrate(slot),
            _ => self.change_name(slot),
        }
        Ok(())
    }

    fn own(&self, slot: usize) -> Vec<GlobalId> {
        let values = &self.world.nodes[slot].pool.values;
        values.iter().filter(|(_, one)| one.local).map(|(value, _)| *value).collect()
    }

    fn deadline(&mut self, slot: usize, call: Result<Call, Refusal>, length: Time) {
        match call {
            Ok(call) => {
                self.calls += 1;
                let until = self.world.now + length;
                // It may have ended at once.
                if !self.world.ended.iter().any(|(at, ended, _)| (*at, *ended) == (slot, call)) {
                    self.world.nodes[slot].calls.insert(call, until);
                }
            }
            Err(refusal) => self.world.say(|| format!("n{slot} refused: {refusal:?}")),
        }
        self.world.ended.clear();
    }

    fn length(&mut self) -> Time {
        LEASE / 10 + self.dice.below(3 * LEASE)
    }

    fn share(&mut self, slot: usize) {
        let count = self.world.nodes.len();
        let to = self.dice.index(count);
        if to == slot {
            return;
        }
        let mut some: Vec<GlobalId> = self.own(slot);
        some.extend(self.world.nodes[slot].holds.values());
        let mut values = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            values.extend(self.dice.pick(&some));
        }
        if values.is_empty() {
            return;
        }
        let (to, length) = (self.world.me(to), self.length());
        self.world.say(|| {
            format!("n{slot} shares {:?}", values.iter().map(|v| name(*v)).collect::<Vec<_>>())
        });
        let call = self.at(slot, |machine, now, pool| {
            let until = now + Duration::from_micros(length);
            machine.share(now, to, &values, 0, until, pool)
        });
        self.deadline(slot, call, length);
    }

    fn drop_one(&mut self, slot: usize) {
        let holds: Vec<_> = self.world.nodes[slot].holds.keys().copied().collect();
        let Some(hold) = self.dice.pick(&holds).copied() else { return };
        self.drop_hold(slot, hold);
    }

    fn drop_hold(&mut self, slot: usize, hold: mempool_net::protocol::Hold) {
        let value = self.world.nodes[slot].holds.remove(&hold);
        self.world.say(|| format!("n{slot} drops {}", value.map(name).unwrap_or_default()));
        self.at(slot, |machine, now, pool| machine.drop_hold(now, hold, pool));
    }

    fn drop_own(&mut self, slot: usize) {
        let own = self.own(slot);
        if let Some(value) = self.dice.pick(&own).copied() {
            self.world.drop_local(slot, value);
        }
    }

    fn stand(&mut self, slot: usize) {
        let values: Vec<GlobalId> = self.world.nodes[slot].holds.values().copied().collect();
        let Some(value) = self.dice.pick(&values).copied() else { return };
        let length = self.length();
        let call = self.at(slot, |machine, now, pool| {
            machine.stand(now, value, now + Duration::from_micros(length), pool)
        });
        self.deadline(slot, call, length);
    }

    fn make_ticket(&mut self, slot: usize) {
        let own = self.own(slot);
        let Some(value) = self.dice.pick(&own).copied() else { return };
        let ttl = Duration::from_micros(self.dice.below(2 * LEASE));
        let uses = if self.dice.chance(500) { Uses::Once } else { Uses::Many };
        self.secret += 1;
        let secret = self.secret;
        let made = self
            .at(slot, |machine, now, pool| machine.ticket(now, value, (ttl, uses), secret, pool));
        self.world.say(|| format!("n{slot} ticket {made:?}"));
        self.mail.extend(made.ok());
    }

    fn use_ticket(&mut self, slot: usize) {
        let Some(mut ticket) = self.dice.pick(&self.mail).copied() else { return };
        if self.dice.chance(50) {
            ticket.secret ^= 1;
        }
        let length = self.length();
        let call = self.at(slot, |machine, now, pool| {
            machine.redeem(now, ticket, now + Duration::from_micros(length), pool)
        });
        self.deadline(slot, call, length);
    }

    fn change_name(&mut self, slot: usize) {
        let name = format!("name{}", self.dice.below(3));
        let own = self.own(slot);
        if self.dice.chance(500) {
            let Some(value) = self.dice.pick(&own).copied() else { return };
            let me = self.world.me(slot);
            let named = self.at(slot, |machine, now, pool| machine.name(now, value, &name, pool));
            if named.is_ok() {
                self.names.push((me, name));
            }
        } else {
            self.at(slot, |machine, now, pool| machine.unname(now, &name, pool));
        }
    }

    fn use_name(&mut self, slot: usize) {
        let Some((owner, name)) = self.dice.pick(&self.names).cloned() else { return };
        let length = self.length();
        let call = self.at(slot, |machine, now, pool| {
            machine.resolve(now, owner, &name, now + Duration::from_micros(length), pool)
        });
        self.deadline(slot, call, length);
    }

    fn migrate(&mut self, slot: usize) {
        let values: Vec<GlobalId> = self.world.nodes[slot].pool.values.keys().copied().collect();
        let Some(value) = self.dice.pick(&values).copied() else { return };
        let target = self.world.me(self.dice.index(self.world.nodes.len()));
        let stays = self.world.nodes[slot].pool.values.get(&value).is_some_and(|one| one.local);
        let length = self.length();
        self.world.say(|| format!("n{slot} moves {} to {}", name(value), target.0));
        let call = self.at(slot, |machine, now, pool| {
            let until = now + Duration::from_micros(length);
            machine.migrate(now, (value, target), stays, until, pool)
        });
        self.deadline(slot, call, length);
    }

    /// By name alone: the value may be gone.
    fn acquire(&mut self, slot: usize) {
        let Some(reference) = self.dice.pick(&self.world.seen).copied() else { return };
        if reference.owner == self.world.me(slot) || self.is_mild {
            return;
        }
        self.world.say(|| format!("n{slot} asks for {}", name(reference.value)));
        let hold = self.at(slot, |machine, now, pool| machine.acquire(now, reference, pool));
        self.world.nodes[slot].holds.insert(hold, reference.value);
    }

    /// Everything works from now on, and everybody learns who is dead.
    fn heal_all(&mut self) -> Result<(), String> {
        self.world.say(|| String::from("all is healed"));
        self.climate = Climate { delay_max: 1_000, ..Climate::default() };
        self.world.cut.clear();
        self.heals.clear();
        self.restarts.clear();
        let gone = |one: &&Incarnation| self.world.living(**one).is_none();
        for dead in self.world.slots.keys().filter(gone).copied().collect::<Vec<_>>() {
            self.announce(dead, 1);
        }
        for node in &mut self.world.nodes {
            node.stopped_until = node.stopped_until.min(self.world.now);
        }
        for one in &mut self.proofs {
            one.0 = self.world.now;
        }
        self.carry_out();
        let known: Vec<Incarnation> = self.world.slots.keys().copied().collect();
        for slot in 0..self.world.nodes.len() {
            for other in &known {
                self.world.nodes[slot].machine.trust(*other);
            }
        }
        Ok(())
    }

    fn run_for(&mut self, length: Time) -> Result<(), String> {
        let end = self.world.now + length;
        let (climate, dice) = (self.climate, &mut self.dice);
        let mut weather = |world: &World, from, to| delays(climate, dice, world, from, to);
        self.world.run_until(end, &mut weather)
    }

    /// After two leases and a transfer every call has ended, what can stand stands, and owners know who holds what.
    fn settle(&mut self) -> Result<(), String> {
        // What was late in the network is later than two leases; it must do no harm, and leave nothing.
        self.run_for(4 * LEASE + 2 * (LEASE + SLACK) + TRANSFER + LEASE)?;
        let world = &self.world;
        for (slot, node) in world.nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            if !node.calls.is_empty() {
                return Err(format!("HANG: n{slot} waits for {:?}", node.calls));
            }
            for value in node.holds.values() {
                let belief = world.belief(slot, *value);
                let exists =
                    world.nodes.iter().any(|one| one.alive && one.pool.values.contains_key(value));
                match belief {
                    Ok(_) => {}
                    Err(Refusal::Pending { .. } | Refusal::Fenced { .. }) => {
                        return Err(format!("n{slot} still waits for {}", name(*value)));
                    }
                    Err(refusal) if self.was_mild() => {
                        return Err(format!("n{slot} lost {}: {refusal}", name(*value)));
                    }
                    Err(Refusal::Gone { .. }) if !exists => {}
                    Err(Refusal::OwnerDead { .. }) => {}
                    Err(other) => return Err(format!("n{slot} {}: {other}", name(*value))),
                }
            }
            for value in node.pool.values.keys() {
                let holders: BTreeSet<Incarnation> = node.machine.owner().holders(*value).collect();
                let names = ["name0", "name1", "name2"];
                let holds = |holder: &Incarnation| {
                    world.living(*holder).is_some_and(|one| {
                        let named =
                            names.iter().any(|name| one.machine.named(name) == Some(*value));
                        named || one.holds.values().any(|held| held == value)
                    })
                };
                if let Some(holder) = holders.iter().find(|holder| !holds(holder)) {
                    return Err(format!("LEAK: {} is said to hold {}", holder.0, name(*value)));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing happened by which a reference may be lost.
    fn was_mild(&self) -> bool {
        self.is_mild && self.world.fenced == 0
    }

    /// Everybody drops everything: nothing is left.
    fn drop_all(&mut self) -> Result<(), String> {
        for slot in 0..self.world.nodes.len() {
            if !self.world.nodes[slot].alive {
                continue;
            }
            for hold in self.world.nodes[slot].holds.keys().copied().collect::<Vec<_>>() {
                self.drop_hold(slot, hold);
            }
            for value in self.own(slot) {
                self.world.drop_local(slot, value);
            }
            for name in ["name0", "name1", "name2"] {
                self.at(slot, |machine, now, pool| machine.unname(now, name, pool));
            }
        }
        self.run_for(2 * (LEASE + SLACK) + TRANSFER)?;
        for slot in 0..self.world.nodes.len() {
            let node = &self.world.nodes[slot];
            if !node.alive {
                continue;
            }
            if !node.machine.is_idle() || !node.pool.values.is_empty() {
                let values: Vec<String> = node.pool.values.keys().map(|one| name(*one)).collect();
                let machine = format!("{:?}", node.machine);
                self.world.say(|| machine);
                return Err(format!("LEAK: n{slot} is not idle, and keeps {}", values.join(" ")));
            }
        }
        Ok(())
    }
}

/// After how long each copy of a message arrives.
fn delays(climate: Climate, dice: &mut Dice, world: &World, from: usize, to: usize) -> Vec<Time> {
    if world.cut.contains(&(from, to)) || dice.chance(climate.lost) {
        return Vec::new();
    }
    let copies = if dice.chance(climate.repeated) { 2 } else { 1 };
    let mut delays = Vec::new();
    for _ in 0..copies {
        let most = if dice.chance(climate.late) { climate.late_max } else { climate.delay_max };
        delays.push(1 + dice.below(most));
    }
    delays
}

fn play(seed: u64, trace: bool, tally: &Tally) -> Result<(), (String, Vec<String>)> {
    let mut play = Play::new(seed, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| play.run()));
    tally.add(&play.world, play.calls);
    let outcome = outcome.unwrap_or_else(|_| Err(String::from("a panic")));
    outcome.map_err(|error| (error, play.world.trace.unwrap_or_default()))
}

/// Runs the seeds that `SEED` or `SEEDS` names, or those given.
pub(crate) fn run_seeds(ordinary: Range<u64>) {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number in SEED or SEEDS");
    let one = std::env::var("SEED").ok().map(|seed| number(&seed));
    let many = std::env::var("SEEDS").ok().map(|seeds| {
        let (first, end) = seeds.split_once("..").expect("SEEDS is first..end");
        number(first)..number(end)
    });
    let seeds = one.map(|seed| seed..seed + 1).or(many).unwrap_or(ordinary);
    let (tally, began) = (Tally::default(), Instant::now());
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.load(Ordering::Relaxed) != u64::MAX {
                        break;
                    }
                    if play(seed, false, &tally).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("{tally:?} in {:.1} s", began.elapsed().as_secs_f64());
    let failed = failed.load(Ordering::Relaxed);
    if failed != u64::MAX || one.is_some() {
        let seed = one.unwrap_or(failed);
        if let Err((error, trace)) = play(seed, true, &tally) {
            print_trace(&error, &trace);
            panic!("SEED={seed} {error}");
        }
    }
}

/// The lines that name the value which the error names, or the last ones.
fn print_trace(error: &str, trace: &[String]) {
    let value = error.split(|c: char| c.is_whitespace() || c == ':').rfind(|word| {
        word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    let telling = [
        "answers: [Moved",
        "cut",
        "crash",
        "starts",
        "stopped",
        "fences",
        "dead",
        "healed",
        "Leave",
    ];
    let wanted = |line: &&String| {
        let about = value.is_none_or(|value| has_name(line, value));
        about || telling.iter().any(|word| line.contains(word))
    };
    let lines: Vec<&String> = trace.iter().filter(wanted).collect();
    for line in &lines[lines.len().saturating_sub(6000)..] {
        println!("{}", line.chars().take(30_000).collect::<String>());
    }
}

fn has_name(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let rest = &line[at + name.len()..];
        !rest.starts_with(|c: char| c.is_ascii_digit())
    })
}
