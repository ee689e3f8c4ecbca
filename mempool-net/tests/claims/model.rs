//! What an owner should do, as plain maps: each step is done to both, and both are compared after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mempool_core::Id;
use mempool_net::protocol::{Answer, Effect, Machine, Message, Registration};
use mempool_net::{GlobalId, Incarnation};

use super::dice::Dice;
use super::world::{Kept, LEASE, Pool, SLACK, Time, settings};

const OWNER: Incarnation = Incarnation(1);
const HOLDERS: u64 = 4;
const VALUES: u32 = 4;

#[derive(Default)]
struct Claim {
    expires_at: Time,
    renewed: u64,
}

#[derive(Default)]
struct Model {
    now: Time,
    /// Values that live, and whether the owner's program has references of its own.
    living: BTreeMap<GlobalId, bool>,
    holders: BTreeMap<GlobalId, BTreeMap<Incarnation, u64>>,
    claims: BTreeMap<Incarnation, Claim>,
    dead: BTreeSet<Incarnation>,
}

impl Model {
    /// Forgets claims without values, and values without claims.
    fn settle(&mut self) {
        self.holders.retain(|_, holders| !holders.is_empty());
        let holders = &self.holders;
        let holds = |one: &Incarnation| holders.values().any(|held| held.contains_key(one));
        self.claims.retain(|one, _| holds(one));
        self.living.retain(|value, local| *local || holders.contains_key(value));
    }

    fn end(&mut self, holder: Incarnation) {
        self.holders.values_mut().for_each(|holders| {
            holders.remove(&holder);
        });
        self.settle();
    }

    fn expire(&mut self) {
        let over = self.claims.iter().filter(|(_, claim)| claim.expires_at <= self.now);
        for holder in over.map(|(holder, _)| *holder).collect::<Vec<_>>() {
            self.end(holder);
        }
    }

    fn register(&mut self, holder: Incarnation, value: GlobalId, answer: &Answer) {
        let may = self.living.contains_key(&value) && !self.dead.contains(&holder);
        match answer {
            Answer::Granted { version, epoch: 1 } if may => {
                let expires_at = self.now + LEASE + SLACK;
                self.claims.entry(holder).or_insert(Claim { expires_at, renewed: 0 });
                let before = self.holders.entry(value).or_default().insert(holder, *version);
                assert!(before < Some(*version), "a version that is not new");
            }
            Answer::Refused(_) if !may => {}
            other => panic!("{other:?}, where it may be registered: {may}"),
        }
    }

    fn release(&mut self, holder: Incarnation, value: GlobalId, version: u64) {
        if let Some(holders) = self.holders.get_mut(&value) {
            holders.retain(|one, registered| *one != holder || *registered > version);
        }
        self.settle();
    }

    fn renew(&mut self, holder: Incarnation, number: u64) {
        let expires_at = self.now + LEASE + SLACK;
        if let Some(claim) = self.claims.get_mut(&holder).filter(|claim| claim.renewed < number) {
            *claim = Claim { expires_at, renewed: number };
        }
    }
}

fn replies(machine: &mut Machine) -> Vec<Message> {
    let mut replies = Vec::new();
    while let Some(effect) = machine.next_effect() {
        if let Effect::Send { message, .. } = effect {
            replies.push(message);
        }
    }
    replies
}

/// One sequence of steps.
fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut machine = Machine::new(OWNER, settings());
    let mut pool = Pool::default();
    let mut model = Model::default();
    let mut versions = vec![0];
    for slot in 1..=VALUES {
        let value = GlobalId { birth: OWNER, id: Id { slot, generation: 1 } };
        pool.values.insert(value, Kept { local: true, kept: false, epoch: 1 });
        model.living.insert(value, true);
    }
    let values: Vec<GlobalId> = model.living.keys().copied().collect();
    for _ in 0..120 {
        // Never so long that the owner thinks it was asleep.
        model.now += dice.below(LEASE / 8);
        model.expire();
        let now = Duration::from_micros(model.now);
        let holder = Incarnation(2 + u128::from(dice.below(HOLDERS)));
        let value = values[dice.index(values.len())];
        machine.tick(now, &mut pool);
        let number = 1 + dice.below(60);
        match dice.below(12) {
            0..4 => {
                let message = Message::Register { number, holder, values: vec![value] };
                machine.on_message(now, OWNER_OF_NOTHING, message, &mut pool);
                let mut replies = replies(&mut machine);
                let Some(Message::Registered { answers, .. }) = replies.pop() else {
                    panic!("no answer")
                };
                model.register(holder, value, &answers[0]);
                if let Answer::Granted { version, .. } = answers[0] {
                    versions.push(version);
                }
            }
            4..7 => {
                let version = versions[dice.index(versions.len())];
                let registrations = vec![Registration { value, version }];
                let message = Message::Release { number, registrations };
                if !model.dead.contains(&holder) {
                    model.release(holder, value, version);
                }
                machine.on_message(now, holder, message, &mut pool);
            }
            7..10 => {
                if !model.dead.contains(&holder) {
                    model.renew(holder, number);
                }
                machine.on_message(now, holder, Message::Renew { number }, &mut pool);
            }
            10 if dice.chance(200) => {
                model.dead.insert(holder);
                model.end(holder);
                machine.proved_dead(now, holder, &mut pool);
            }
            11 if dice.chance(300) => {
                if let Some(local) = model.living.get_mut(&value) {
                    *local = false;
                }
                model.settle();
                pool.drop_local(value);
            }
            _ => {}
        }
        replies(&mut machine);
        compare(&model, &machine, &pool, &values);
    }
}

/// Who registers others, and holds nothing itself.
const OWNER_OF_NOTHING: Incarnation = Incarnation(99);

fn compare(model: &Model, machine: &Machine, pool: &Pool, values: &[GlobalId]) {
    assert_eq!(pool.misuse, None);
    for value in values {
        let holders: BTreeSet<Incarnation> = machine.owner().holders(*value).collect();
        let expected = model.holders.get(value).into_iter().flat_map(|all| all.keys().copied());
        assert_eq!(holders, expected.collect(), "who holds {value}");
        assert_eq!(pool.values.contains_key(value), model.living.contains_key(value), "{value}");
    }
    assert_eq!(machine.owner().len(), model.holders.len());
    assert_eq!(machine.owner().is_empty(), model.holders.is_empty());
}

/// Runs so many sequences; a failure names its seed.
pub(crate) fn run_sequences(count: u64) {
    for seed in 0..count {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "the sequence of seed {seed} differs from the model");
    }
}
