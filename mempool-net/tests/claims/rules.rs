//! The rules, one by one, by messages to a machine.

use std::time::Duration;

use mempool_core::Id;
use mempool_net::protocol::{Answer, Effect, Machine, Message, Reference, Refusal, Registration};
use mempool_net::{GlobalId, Incarnation};

use super::world::{Kept, LEASE, Pool, World, settings};

const HOLDER: Incarnation = Incarnation(2);

fn owner() -> (Machine, Pool, GlobalId) {
    let machine = Machine::new(Incarnation(1), settings());
    let value = GlobalId { birth: Incarnation(1), id: Id { slot: 1, generation: 1 } };
    let mut pool = Pool::default();
    pool.values.insert(value, Kept { local: false, kept: false, epoch: 1 });
    (machine, pool, value)
}

fn register(machine: &mut Machine, pool: &mut Pool, now: Duration, value: GlobalId) -> Answer {
    let message = Message::Register { number: 1, holder: HOLDER, values: vec![value] };
    machine.on_message(now, HOLDER, message, pool);
    let mut answer = None;
    while let Some(effect) = machine.next_effect() {
        if let Effect::Send { message: Message::Registered { answers, .. }, .. } = effect {
            answer = answers.into_iter().next();
        }
    }
    answer.expect("an answer")
}

fn version(answer: &Answer) -> u64 {
    match answer {
        Answer::Granted { version, .. } => *version,
        other => panic!("not granted: {other:?}"),
    }
}

/// A release that comes after the holder was registered again ends what it names, and no more.
pub(crate) fn late_release() {
    let (mut machine, mut pool, value) = owner();
    let now = Duration::from_secs(1);
    let first = version(&register(&mut machine, &mut pool, now, value));
    let second = version(&register(&mut machine, &mut pool, now, value));
    assert!(second > first);
    for (released, kept) in [(first, true), (first, true), (second, false), (second, false)] {
        let registrations = vec![Registration { value, version: released }];
        let message = Message::Release { number: 2, registrations };
        machine.on_message(now, HOLDER, message, &mut pool);
        assert_eq!(pool.values.contains_key(&value), kept, "after the release of {released}");
        assert_eq!(machine.owner().holders(value).count(), usize::from(kept));
    }
    // It was freed: whoever asks now is told.
    let answer = register(&mut machine, &mut pool, now, value);
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
}

/// An owner that gave an offer up does not give its epoch to another node: the first may have prepared, and succeed it.
pub(crate) fn epoch_once() {
    let mut world = World::new(false);
    for offset in [11_000_000, 12_000_000, 13_000_000] {
        world.add_node(offset, 0);
    }
    let value = world.set(0);
    let mut clear = |world: &World, from, to| {
        let lost = world.cut.contains(&(from, to));
        if lost { Vec::new() } else { vec![1_000] }
    };
    let until = Duration::from_micros(LEASE / 4);
    let migrate = |world: &mut World, clear: &mut _, to: usize| {
        let to = world.me(to);
        let call = world.at(0, clear, |machine, now, pool| {
            machine.migrate(now, (value, to), true, now + until, pool)
        });
        call.expect("it may move");
    };
    let holder = world.me(2);
    world
        .at(0, &mut clear, |machine, now, pool| {
            machine.share(now, holder, &[value], 0, now + until, pool)
        })
        .expect("it may be shared");
    world.run_until(LEASE / 8, &mut clear).expect("all is well");
    // The first target prepares, and is not heard.
    world.cut.insert((1, 0));
    migrate(&mut world, &mut clear, 1);
    world.run_until(LEASE / 4, &mut clear).expect("all is well");
    world.cut.insert((0, 1));
    world.run_until(LEASE, &mut clear).expect("all is well");
    // The second gets the value. Then the source dies, and the first succeeds it, for all it knows.
    migrate(&mut world, &mut clear, 2);
    let end = world.now + LEASE / 2;
    world.run_until(end, &mut clear).expect("all is well");
    let dead = world.me(0);
    world.crash(0);
    world.at(1, &mut clear, |machine, now, pool| machine.proved_dead(now, dead, pool));
    world.check().expect("one owner in each epoch");
    let owns = |slot: usize| world.nodes[slot].machine.owner().epoch(value);
    assert!(owns(2).is_some());
    assert!(owns(1).is_some());
    assert_ne!(owns(1), owns(2));
}

fn sent(machine: &mut Machine) -> Vec<Message> {
    let mut sent = Vec::new();
    while let Some(effect) = machine.next_effect() {
        if let Effect::Send { message, .. } = effect {
            sent.push(message);
        }
    }
    sent
}

/// A reference that is lost claims nothing, however long its uses last: what the owner had registered is released.
pub(crate) fn lost_claims_nothing() {
    let (owner, now) = (Incarnation(1), Duration::from_secs(1));
    let mut machine = Machine::new(HOLDER, settings());
    let mut pool = Pool::default();
    let value = GlobalId { birth: owner, id: Id { slot: 1, generation: 1 } };
    machine.acquire(now, Reference { value, owner, epoch: 1, version: 0 }, &mut pool);
    let (mut renewal, mut question) = (0, 0);
    for message in sent(&mut machine) {
        match message {
            Message::Renew { number } => renewal = number,
            Message::Register { number, .. } => question = number,
            other => panic!("{other:?}"),
        }
    }
    // The owner asks about a registration that somebody else had made, before it says that the value is gone.
    let unconfirmed = vec![Registration { value, version: 1 }];
    let renewed = Message::Renewed { number: renewal, era: 1, latest: 1, unconfirmed };
    machine.on_message(now, owner, renewed, &mut pool);
    assert!(matches!(sent(&mut machine)[..], [Message::Confirm { .. }]));
    let gone = Refusal::Gone { value, owner };
    let answers = vec![Answer::Refused(gone.clone())];
    machine.on_message(now, owner, Message::Registered { number: question, answers }, &mut pool);
    let released = sent(&mut machine).into_iter().any(|message| match message {
        Message::Release { registrations, .. } => {
            registrations == [Registration { value, version: 1 }]
        }
        _ => false,
    });
    assert!(released);
    assert_eq!(machine.standing(now, value), Err(gone));
}
