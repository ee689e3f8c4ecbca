//! Processes that are killed or stopped at random: what nobody holds any more is freed, what somebody holds is not, and the count
//! comes back to zero. A failure prints its seed.
//!
//! `CHAOS_CASES` says how many cases, `SEED` which one alone.

mod cluster;

use cluster::{LEASE, Other, Scratch, name, node_of, until};
use mempool_core::{Blob, DRef};
use mempool_net::Node;
use rustix::process::Signal;

#[test]
fn child_of_a_cluster() {
    cluster::child();
}

/// A generator of the splitmix family: good enough to choose by, and the same everywhere.
struct Choice(u64);

impl Choice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % count
    }

    fn either(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What happens to one of the two other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Killed,
    /// For longer than its lease.
    Stopped,
}

/// A value of ours, and which of the two others hold it.
struct Held {
    key: String,
    by: [bool; 2],
}

const OTHERS: [&str; 2] = ["b", "c"];

fn values(node: &Node<Blob>) -> u64 {
    node.pool().quiesce();
    node.pool().stats().values
}

fn one_case(seed: u64) {
    let mut choice = Choice(seed);
    let scratch = Scratch::new(&format!("chaos-{seed}"));
    // With the kernel's word for an exit, and with nothing but leases.
    let met = choice.either();
    let here = node_of("here", &scratch.0, met);
    let mut others = OTHERS.map(|called| Other::start_of(called, &scratch.0, met));
    for other in &mut others {
        here.meet(&other.address).expect("it listens");
    }
    let mut held = Vec::new();
    for n in 0..=choice.below(4) {
        let by = match choice.below(3) {
            0 => [true, false],
            1 => [false, true],
            _ => [true, true],
        };
        let key = format!("v{n}");
        let value = here.pool().set(vec![1; 1000]).expect("room");
        for (other, _) in others.iter_mut().zip(by).filter(|(_, holds)| *holds) {
            send(&here, other, &value, &key);
        }
        held.push(Held { key, by });
    }
    // A value of b's, which is held here.
    others[0].must("set_on here mirror 10 3");
    others[0].must("set own 500 9");
    others[0].must("name own own");
    let own: DRef<Vec<u8>> = here.named(&name("b"), "own").expect("it is named");
    let alive = |holders: [bool; 2]| {
        held.iter().filter(|one| one.by.iter().zip(holders).any(|(by, alive)| *by && alive)).count()
            as u64
    };
    // The mirror is b's alone, and the reference to its own is one more.
    assert_eq!(values(&here), alive([true, true]) + 2, "seed {seed}");

    let fates = OTHERS.map(|_| match choice.below(3) {
        0 => Fate::Lives,
        1 => Fate::Killed,
        _ => Fate::Stopped,
    });
    for (other, fate) in others.iter_mut().zip(fates) {
        match fate {
            Fate::Lives => {}
            Fate::Killed => other.kill(),
            Fate::Stopped => other.signal(Signal::STOP),
        }
    }
    let lives = fates.map(|fate| fate == Fate::Lives);
    let expected = alive(lives) + u64::from(lives[0]) + 1;
    until(&format!("seed {seed}: what {fates:?} leave is freed"), || values(&here) == expected);
    // None too many, for as long as a lease could still have been running.
    std::thread::sleep(LEASE / 2);
    assert_eq!(values(&here), expected, "seed {seed}");

    for (at, (other, fate)) in others.iter_mut().zip(fates).enumerate() {
        if fate == Fate::Stopped {
            other.signal(Signal::CONT);
        }
        if fate == Fate::Killed {
            continue;
        }
        for one in held.iter().filter(|one| one.by[at]) {
            let there =
                fate == Fate::Lives || one.by.iter().zip(lives).any(|(by, lives)| *by && lives);
            let answer = other.ask(&format!("get {}", one.key));
            match there {
                true => assert_eq!(answer, "1000 Some(1) true", "seed {seed}: {}", one.key),
                false => assert!(
                    answer.starts_with("error"),
                    "seed {seed}: {} is gone, and {answer}",
                    one.key
                ),
            }
        }
    }
    let got = here.pool().get(&own).map(|got| got.len());
    match fates[0] {
        Fate::Lives | Fate::Stopped => assert_eq!(got.expect("b is there"), 500, "seed {seed}"),
        Fate::Killed => assert!(got.is_err(), "seed {seed}: it went with b"),
    }
    drop(own);
    drop(others);
    until(&format!("seed {seed}: nothing is left"), || values(&here) == 0);
}

fn send(here: &Node<Blob>, other: &mut Other, value: &DRef<Vec<u8>>, key: &str) {
    here.send(&name(&other.called), value, key).expect("it takes it");
    other.must(&format!("receive {key} {key}"));
}

#[test]
fn what_nobody_holds_is_freed_and_what_somebody_holds_is_not() {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("SEED") {
        Some(seed) => one_case(seed),
        None => (0..number("CHAOS_CASES").unwrap_or(2)).for_each(one_case),
    }
}
