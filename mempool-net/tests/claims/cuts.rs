//! The network is cut at each message of each exchange, in each direction, and heals soon, late, or never.

use std::time::Duration;

use mempool_net::GlobalId;
use mempool_net::protocol::{Machine, Outcome, Reference, Refusal};

use super::world::{LEASE, Pool, SLACK, TRANSFER, Time, World, name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Get,
    Share,
    Drop,
    Migrate,
}

/// Which messages are lost.
#[derive(Clone, Copy, Debug)]
enum Shape {
    All,
    From(usize),
    To(usize),
    Between(usize, usize),
}

impl Shape {
    fn takes(self, from: usize, to: usize) -> bool {
        match self {
            Self::All => true,
            Self::From(node) => from == node,
            Self::To(node) => to == node,
            Self::Between(a, b) => (from, to) == (a, b) || (from, to) == (b, a),
        }
    }
}

const OWNER: usize = 0;
const HOLDER: usize = 1;
const OTHER: usize = 2;

const SHAPES: &[Shape] = &[
    Shape::All,
    Shape::From(OWNER),
    Shape::From(HOLDER),
    Shape::From(OTHER),
    Shape::To(OWNER),
    Shape::To(HOLDER),
    Shape::To(OTHER),
    Shape::Between(OWNER, HOLDER),
    Shape::Between(OWNER, OTHER),
    Shape::Between(HOLDER, OTHER),
];

/// One run: the cut takes messages from the `first`-th after the deed began, for `length`.
struct Case {
    deed: Deed,
    shape: Shape,
    first: u64,
    length: Option<Time>,
}

struct Run {
    world: World,
    case: Case,
    began: Option<u64>,
    cut_at: Option<Time>,
}

/// Every way but those that are cut takes a millisecond.
fn weather(
    world: &World,
    case: &Case,
    began: Option<u64>,
    cut_at: &mut Option<Time>,
    from: usize,
    to: usize,
) -> Vec<Time> {
    let reached = began.is_some_and(|began| world.sent > began + case.first);
    if reached && cut_at.is_none() {
        *cut_at = Some(world.now);
    }
    let healed =
        case.length.is_some_and(|length| cut_at.is_some_and(|at| world.now >= at + length));
    let lost = reached && !healed && case.shape.takes(from, to);
    if lost { Vec::new() } else { vec![1_000] }
}

impl Run {
    fn at<T>(
        &mut self,
        slot: usize,
        what: impl FnOnce(&mut Machine, Duration, &mut Pool) -> T,
    ) -> T {
        let (case, began, cut_at) = (&self.case, self.began, &mut self.cut_at);
        let mut weather = |world: &World, from, to| weather(world, case, began, cut_at, from, to);
        self.world.at(slot, &mut weather, what)
    }

    fn wait(&mut self, length: Time) -> Result<(), String> {
        let (case, began, cut_at) = (&self.case, self.began, &mut self.cut_at);
        let mut weather = |world: &World, from, to| weather(world, case, began, cut_at, from, to);
        self.world.run_until(self.world.now + length, &mut weather)
    }

    /// Owner, holder and another node; the holder has a reference that stands.
    fn begin(case: Case, trace: bool) -> Result<(Self, GlobalId), String> {
        let mut world = World::new(trace);
        for (offset, rate) in [(11_000_000, 500), (23_000_000, -500), (31_000_000, 0)] {
            world.add_node(offset, rate);
        }
        let mut run = Self { world, case, began: None, cut_at: None };
        let value = run.world.set(OWNER);
        run.share(OWNER, HOLDER, value)?;
        run.wait(LEASE / 2)?;
        run.world.belief(HOLDER, value).map_err(|refusal| refusal.to_string())?;
        Ok((run, value))
    }

    fn share(&mut self, from: usize, to: usize, value: GlobalId) -> Result<(), String> {
        let to = self.world.me(to);
        let call = self.at(from, |machine, now, pool| {
            let until = now + Duration::from_micros(LEASE);
            machine.share(now, to, &[value], 0, until, pool)
        });
        let call = call.map_err(|refusal| refusal.to_string())?;
        let until = self.world.now + LEASE;
        self.world.nodes[from].calls.insert(call, until);
        Ok(())
    }

    fn act(&mut self, value: GlobalId) -> Result<(), String> {
        self.began = Some(self.world.sent);
        let until = Duration::from_micros(LEASE);
        match self.case.deed {
            Deed::Share => self.share(HOLDER, OTHER, value)?,
            Deed::Drop => {
                self.world.drop_local(OWNER, value);
                let holds = std::mem::take(&mut self.world.nodes[HOLDER].holds);
                for hold in holds.into_keys() {
                    self.at(HOLDER, |machine, now, pool| machine.drop_hold(now, hold, pool));
                }
            }
            Deed::Get => {
                let owner = self.world.me(OWNER);
                let reference = Reference { value, owner, epoch: 1, version: 0 };
                let (hold, call) = self.at(OTHER, |machine, now, pool| {
                    let hold = machine.acquire(now, reference, pool);
                    (hold, machine.stand(now, value, now + until, pool))
                });
                let call = call.map_err(|refusal| refusal.to_string())?;
                self.world.nodes[OTHER].holds.insert(hold, value);
                let end = self.world.now + LEASE;
                self.world.nodes[OTHER].calls.insert(call, end);
            }
            Deed::Migrate => {
                let to = self.world.me(OTHER);
                let call = self.at(OWNER, |machine, now, pool| {
                    machine.migrate(now, (value, to), true, now + until, pool)
                });
                let call = call.map_err(|refusal| refusal.to_string())?;
                let end = self.world.now + LEASE;
                self.world.nodes[OWNER].calls.insert(call, end);
            }
        }
        Ok(())
    }

    /// Who says that it owns the value.
    fn owners(&self, value: GlobalId) -> Vec<usize> {
        let nodes = self.world.nodes.iter().enumerate();
        let owners = nodes.filter(|(_, node)| {
            node.pool.values.get(&value).is_some_and(|one| one.local)
                || node.machine.owner().epoch(value).is_some()
        });
        owners.map(|(slot, _)| slot).collect()
    }

    /// Everything got through for long enough.
    fn check_healed(&mut self, value: GlobalId) -> Result<(), String> {
        self.wait(2 * (LEASE + SLACK) + TRANSFER)?;
        let values = self.world.nodes.iter().filter(|node| !node.pool.values.is_empty()).count();
        if self.case.deed == Deed::Drop {
            return match values {
                0 => Ok(()),
                _ => Err(format!("LEAK: {} is kept", name(value))),
            };
        }
        let owners = self.owners(value);
        // Who was cut off for longer than its lease from a new owner without references of its own has lost the value.
        let expired = self.case.deed == Deed::Migrate && self.case.length > Some(LEASE);
        if owners.is_empty() && expired && values == 0 {
            let lost = |slot| matches!(self.world.belief(slot, value), Err(Refusal::Gone { .. }));
            let held = |slot: &usize| !self.world.nodes[*slot].holds.is_empty();
            let all = (0..3).filter(held).all(lost);
            return if all { Ok(()) } else { Err(format!("{} is freed untold", name(value))) };
        }
        if owners.len() != 1 {
            return Err(format!("{owners:?} own {}", name(value)));
        }
        for slot in 0..3 {
            if self.world.nodes[slot].holds.is_empty() || owners == [slot] {
                continue;
            }
            let belief = self.world.belief(slot, value);
            belief.map_err(|refusal| format!("n{slot} lost {}: {refusal}", name(value)))?;
        }
        self.drop_all(value)
    }

    fn drop_all(&mut self, value: GlobalId) -> Result<(), String> {
        for slot in 0..3 {
            for hold in std::mem::take(&mut self.world.nodes[slot].holds).into_keys() {
                self.at(slot, |machine, now, pool| machine.drop_hold(now, hold, pool));
            }
            self.world.drop_local(slot, value);
        }
        self.wait(2 * (LEASE + SLACK) + TRANSFER)?;
        for (slot, node) in self.world.nodes.iter().enumerate() {
            if !node.machine.is_idle() || !node.pool.values.is_empty() {
                return Err(format!("LEAK: n{slot} keeps {}", name(value)));
            }
        }
        Ok(())
    }

    /// Whether an outcome is one that a cut may have.
    fn outcomes(&self) -> Result<(), String> {
        for (slot, call, outcome) in &self.world.ended {
            match outcome {
                Ok(Outcome::Shared | Outcome::Stands(_) | Outcome::Migrated) => {}
                Err(Refusal::TimedOut | Refusal::OwnershipUnknown { .. }) => {}
                Err(Refusal::NotCopied { .. }) if self.case.deed == Deed::Migrate => {}
                other => return Err(format!("n{slot} call {} ended with {other:?}", call.0)),
            }
        }
        Ok(())
    }

    fn run(&mut self, value: GlobalId) -> Result<(), String> {
        self.act(value)?;
        self.wait(self.case.length.unwrap_or(LEASE) + 2 * LEASE)?;
        self.outcomes()?;
        let waiting = self.world.nodes.iter().any(|node| !node.calls.is_empty());
        if waiting {
            return Err(String::from("HANG: a call has not ended"));
        }
        match self.case.length {
            Some(_) => self.check_healed(value),
            None => self.wait(4 * LEASE),
        }
    }
}

/// Runs one case, and says how many messages the deed took.
fn try_case(case: Case, trace: bool) -> Result<u64, (String, Vec<String>)> {
    let (mut run, value) = Run::begin(case, trace).map_err(|error| (error, Vec::new()))?;
    let before = run.world.sent;
    let outcome = run.run(value);
    let messages = run.world.sent - before;
    outcome.map(|()| messages).map_err(|error| (error, run.world.trace.unwrap_or_default()))
}

/// Cuts each message of a deed, and answers how many cases that were.
pub(crate) fn cut_everywhere(deed: Deed, boundaries: u64) -> u64 {
    let mut cases = 0;
    let lengths = [Some(LEASE / 2), Some(3 * LEASE), None];
    for shape in SHAPES {
        for first in 0..boundaries {
            for length in lengths {
                let case = || Case { deed, shape: *shape, first, length };
                cases += 1;
                if try_case(case(), false).is_err() {
                    let (error, trace) = try_case(case(), true).expect_err("it failed before");
                    trace.iter().for_each(|line| println!("{line}"));
                    panic!("{deed:?}, {shape:?} from message {first} for {length:?}: {error}");
                }
            }
        }
    }
    cases
}
