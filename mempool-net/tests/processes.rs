//! What MemPool.jl tests over several processes, and what a process does that is killed or stopped.

mod cluster;

use std::time::Duration;

use cluster::{Other, Scratch, name, node, until};
use mempool_core::{Error, Place};
use mempool_net::{NetError, Reason};
use rustix::process::Signal;

#[test]
fn child_of_a_cluster() {
    cluster::child();
}

#[test]
fn values_are_set_got_and_deleted_in_another_process() {
    let scratch = Scratch::new("set");
    let here = node("here", &scratch.0);
    let mut other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    // Set there from here, got here; of all sizes, larger than the memory there, too.
    for (len, byte) in [(0, 1), (100, 2), (100_000, 3), (3_000_000, 4)] {
        let there = here.set_on(&name("there"), vec![byte; len]).expect("it has room on disk");
        assert_eq!(other.ask("values"), "1");
        let got = here.pool().get(&there);
        match len {
            // What does not fit in the memory here cannot be held here.
            3_000_000 => assert!(
                matches!(got, Err(Error::TooLarge { .. } | Error::Remote { .. })),
                "{got:?}"
            ),
            _ => assert_eq!(&got.expect("it is there")[..], &vec![byte; len]),
        }
        here.pool().delete(&there).expect("it is there");
        assert!(matches!(here.pool().get(&there), Err(Error::Deleted { .. })));
        until("it is freed there", || other.ask("values") == "0");
    }
    // Set here from there, and the other way round.
    other.must("set_on here a 5000 7");
    assert_eq!(other.ask("get a"), "5000 Some(7) true");
    assert_eq!(here.list(&name("there")).expect("it answers").len(), 1);
    assert_eq!(here.pool().stats().values, 1);
    other.must("delete a");
    assert!(other.ask("get a").contains("was deleted"));
    until("it is freed here", || here.pool().stats().values == 0);
}

#[test]
fn values_move_and_are_saved_and_are_read_on_the_callers_side() {
    let scratch = Scratch::new("move");
    let here = node("here", &scratch.0);
    let other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    let there = here.set_on(&name("there"), vec![5; 200_000]).expect("it has room");
    here.pool().copy_to_disk(&there).expect("it has disk");
    let stat = here.stat(&there).expect("it answers");
    assert_eq!((stat.place, stat.frame_bytes.is_some()), (Place::Resident, true));
    let file = here.pool().move_to_disk(&there).expect("nobody holds it");
    assert_eq!(here.stat(&there).expect("it answers").place, Place::Spilled);
    let before = here.stats(&name("there")).expect("it answers").used_bytes;
    assert_eq!(&here.pool().get(&there).expect("from its disk")[..], &[5; 200_000]);
    assert_eq!(here.pool().get_file(&file).expect("the same")[199_999], 5);
    let after = here.stats(&name("there")).expect("it answers").used_bytes;
    assert_eq!(before, after, "it has brought nothing back into its memory");
    // Saved there under a name, and read by path.
    let bytes = here.save_on(&there, "five").expect("it exports");
    let saved = scratch.0.join("there-exports").join("five");
    assert_eq!(std::fs::metadata(&saved).expect("it is there").len(), bytes);
    let file = here.pool().file::<Vec<u8>>(&saved);
    assert_eq!(&here.pool().get_file(&file).expect("whole")[..], &[5; 200_000]);
    let again = here.save_on(&there, "five").expect_err("it stays as it is");
    assert_eq!(again.reason(), Some(Reason::Export));
    for evil in ["../five", "/tmp/five", ".five", "a/b", ""] {
        assert_eq!(here.save_on(&there, evil).expect_err("evil").reason(), Some(Reason::Export));
    }
    drop(there);
    assert!(saved.exists(), "what was saved is the user's");
}

#[test]
fn a_large_value_is_mapped_from_its_owners_file_and_counted_until_it_is_let_go() {
    let scratch = Scratch::new("mapped");
    let here = node("here", &scratch.0);
    let mut other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    // Five times the memory of either: a file to itself there.
    other.must("set big 5000000 6");
    other.must("name big big");
    let there = here.named::<Vec<u8>>(&name("there"), "big").expect("it is named");
    {
        let got = here.pool().get(&there).expect("it is mapped");
        assert_eq!((got.len(), got[0], got[4_999_999]), (5_000_000, 6, 6));
        let stats = here.pool().stats();
        assert!(stats.foreign_mapped_bytes >= 5_000_000, "{stats:?}");
        assert!(stats.peak_bytes <= 1 << 20, "{stats:?}");
    }
    // What is mapped stays readable when its owner is gone.
    let got = here.pool().get(&there).expect("it is mapped");
    other.kill();
    assert_eq!(got.iter().filter(|&&byte| byte == 6).count(), 5_000_000);
    drop(got);
    drop(there);
    here.pool().quiesce();
    assert_eq!(here.pool().stats().foreign_mapped_bytes, 0);
}

#[test]
fn what_came_to_its_owner_as_bytes_goes_on_as_bytes_and_is_checked() {
    let scratch = Scratch::new("received");
    let here = node("here", &scratch.0);
    let mut other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    // No codec of the owner's has looked at it, so nobody may believe it as the owner's own.
    let there = here.set_on(&name("there"), vec![6; 600_000]).expect("it has room");
    assert_eq!(&here.pool().get(&there).expect("it is there")[..], &[6; 600_000]);
    assert_eq!(here.pool().stats().foreign_mapped_bytes, 0);
    drop(there);
    until("it is freed there", || other.ask("values") == "0");
}

#[test]
fn references_are_counted_here_and_there_sent_and_dropped() {
    let scratch = Scratch::new("count");
    let here = node("here", &scratch.0);
    let (mut b, mut c) = (Other::start("b", &scratch.0), Other::start("c", &scratch.0));
    here.meet(&b.address).expect("it listens");
    here.meet(&c.address).expect("it listens");
    b.must(&format!("meet {}", here.address()));
    until("they know each other", || {
        c.ask(&format!("meet {}", here.address())) == "here" && here.members().len() == 2
    });
    // Owned here: sent to b, from b to c, dropped here and at b; c alone keeps it.
    let value = here.pool().set(vec![1; 1000]).expect("room");
    here.send(&name("b"), &value, "one").expect("b takes it");
    b.must("receive one one");
    drop(value);
    here.pool().quiesce();
    assert_eq!(here.pool().stats().values, 1, "b holds it");
    b.must("send c one two");
    b.must("drop one");
    c.must("receive two two");
    assert_eq!(c.ask("get two"), "1000 Some(1) true");
    until("b has let go", || b.ask("values") == "0");
    assert_eq!(here.pool().stats().values, 1, "c holds it");
    // Back here, where it is no remote one.
    c.must("send here two three");
    let home = here.receive::<Vec<u8>>("three", Duration::from_secs(30)).expect("it came");
    assert_eq!((home.from, here.owner(&home.reference)), (name("c"), None));
    c.must("drop two");
    assert_eq!(here.pool().get(&home.reference).expect("it is here").len(), 1000);
    drop(home.reference);
    until("nobody holds it", || here.pool().stats().values == 0);
    // Owned there: held here and by c.
    b.must("set four 500 4");
    b.must("name four four");
    let four = here.named::<Vec<u8>>(&name("b"), "four").expect("it is named");
    here.send(&name("c"), &four, "four").expect("c takes it");
    c.must("receive four four");
    b.must("drop four");
    here.unname_on(&name("b"), "four").expect("it is named");
    drop(four);
    here.pool().quiesce();
    assert_eq!(c.ask("get four"), "500 Some(4) true");
    assert_eq!(b.ask("values"), "1");
    c.must("drop four");
    until("b has freed it", || b.ask("values") == "0");
}

#[test]
fn errors_of_another_process_come_back() {
    let scratch = Scratch::new("errors");
    let here = node("here", &scratch.0);
    let mut other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    let error = here.named::<Vec<u8>>(&name("there"), "nothing").expect_err("no such name");
    assert!(
        matches!(&error, NetError::Remote { reason: Reason::NoName, node, .. } if node == "there"),
        "{error}"
    );
    other.must("set a 10 1");
    other.must("name a a");
    let a = here.named::<Vec<u8>>(&name("there"), "a").expect("it is there");
    other.must("delete a");
    let error = here.pool().get(&a).expect_err("it was deleted there");
    assert!(error.to_string().contains("deleted"), "{error}");
    let error = here.pool().move_to_disk(&a).expect_err("it was deleted there");
    assert!(error.to_string().contains("deleted"), "{error}");
}

#[test]
fn an_owner_that_is_killed_is_an_error_for_everybody_who_waits() {
    let scratch = Scratch::new("owner");
    let here = node("here", &scratch.0);
    let mut other = Other::start("there", &scratch.0);
    here.meet(&other.address).expect("it listens");
    let values: Vec<_> = (0..4)
        .map(|n| here.set_on(&name("there"), vec![n; 50_000]).expect("it has room"))
        .collect();
    // It answers nobody, so whoever gets a value waits.
    other.signal(Signal::STOP);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = values
            .iter()
            .map(|value| scope.spawn(|| here.pool().get(value).map(|got| got.len())))
            .collect();
        other.kill();
        for waiter in waiting {
            let error = waiter.join().expect("no panic").expect_err("it is gone");
            assert!(matches!(error, Error::Remote { .. }), "{error}");
            assert!(error.to_string().contains("there"), "it names the node: {error}");
        }
    });
    // Another one under its name proves that it has ended.
    let again = Other::start("there", &scratch.0);
    here.meet(&again.address).expect("it listens");
    let error = here.pool().get(&values[0]).expect_err("it is gone for good");
    assert!(error.to_string().contains("has ended"), "{error}");
    assert!(matches!(here.stat(&values[0]), Err(NetError::Ended { found: Some(_), .. })));
    let there = here.set_on(&name("there"), vec![9; 10]).expect("the new one has room");
    assert_eq!(here.pool().get(&there).expect("it is there").len(), 10);
}

#[test]
fn what_a_killed_holder_held_is_freed() {
    let scratch = Scratch::new("holder");
    let here = node("here", &scratch.0);
    let (mut dies, mut lives) =
        (Other::start("dies", &scratch.0), Other::start("lives", &scratch.0));
    here.meet(&dies.address).expect("it listens");
    here.meet(&lives.address).expect("it listens");
    let both = here.pool().set(vec![1; 1000]).expect("room");
    let one = here.pool().set(vec![2; 1000]).expect("room");
    here.send(&name("dies"), &both, "both").expect("it takes it");
    here.send(&name("dies"), &one, "one").expect("it takes it");
    here.send(&name("lives"), &both, "both").expect("it takes it");
    dies.must("receive both both");
    dies.must("receive one one");
    lives.must("receive both both");
    drop((both, one));
    here.pool().quiesce();
    assert_eq!(here.pool().stats().values, 2);
    dies.kill();
    until("what it alone held is freed", || here.pool().stats().values == 1);
    // What another one holds stays, for longer than a lease.
    std::thread::sleep(cluster::LEASE + cluster::LEASE / 2);
    assert_eq!(lives.ask("get both"), "1000 Some(1) true");
    assert_eq!(here.pool().stats().values, 1);
    lives.must("drop both");
    until("nobody holds anything", || here.pool().stats().values == 0);
}

#[test]
fn a_holder_that_was_stopped_for_longer_than_its_lease_is_fenced() {
    let scratch = Scratch::new("stopped");
    let here = node("here", &scratch.0);
    let mut other = Other::start("stops", &scratch.0);
    here.meet(&other.address).expect("it listens");
    let kept = here.pool().set(vec![1; 1000]).expect("room");
    let lost = here.pool().set(vec![2; 1000]).expect("room");
    here.send(&name("stops"), &kept, "kept").expect("it takes it");
    here.send(&name("stops"), &lost, "lost").expect("it takes it");
    other.must("receive kept kept");
    other.must("receive lost lost");
    drop(lost);
    here.pool().quiesce();
    assert_eq!(here.pool().stats().values, 2, "it is held");
    other.signal(Signal::STOP);
    until("its claim has ended", || here.pool().stats().values == 1);
    other.order("get lost");
    other.signal(Signal::CONT);
    let answer = other.answer();
    assert!(answer.starts_with("error"), "a value that is gone was read: {answer}");
    // What is there still, it has again.
    assert_eq!(other.ask("get kept"), "1000 Some(1) true");
    drop(kept);
    other.must("drop kept");
    until("nobody holds anything", || here.pool().stats().values == 0);
}
