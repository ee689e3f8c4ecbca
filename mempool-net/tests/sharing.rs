//! Values of other nodes and references that travel, between nodes in one process.

use std::time::{Duration, Instant};

use mempool_core::{Blob, DRef, Error, ErrorKind, Place, Pool, PoolOptions, SetOptions};
use mempool_net::protocol::{Lease, Uses};
use mempool_net::{NetError, Node, NodeName, NotSet, Reason, SetOn, Ticket};

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a label")
}

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(1 << 20).room_timeout(Duration::from_millis(200)).open(Blob)
}

fn start(called: &str) -> Node<Blob> {
    start_with(called, pool())
}

fn start_with(called: &str, pool: Pool<Blob>) -> Node<Blob> {
    let lease = Lease::new(Duration::from_secs(2), Duration::from_millis(200)).expect("a lease");
    Node::builder(pool).name(name(called)).lease(lease).start().expect("a free port on loopback")
}

fn pair() -> (Node<Blob>, Node<Blob>) {
    let (a, b) = (start("a"), start("b"));
    a.meet(b.address()).expect("b listens");
    (a, b)
}

/// Waits until something is so; what never comes true is a failure that says what.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

fn idle(node: &Node<Blob>) -> bool {
    node.pool().quiesce();
    node.pool().stats().values == 0
}

#[test]
fn a_value_is_set_got_and_deleted_at_a_distance() {
    let (a, b) = pair();
    let there = a.set_on(&name("b"), vec![7; 1000]).expect("b has room");
    assert_eq!(a.owner(&there), Some(name("b")));
    assert_eq!(a.global_id(&there).birth, b.incarnation());
    assert_eq!(a.pool().info(&there).expect("a reference").place, Place::Remote);
    let stat = a.stat(&there).expect("b answers");
    assert_eq!((stat.place, stat.deleted, stat.id), (Place::Resident, false, a.global_id(&there)));
    assert_eq!(&a.pool().get(&there).expect("b has it")[..], &[7; 1000]);
    a.pool().delete(&there).expect("it is there");
    assert!(matches!(a.pool().get(&there), Err(Error::Deleted { .. })));
    until("b has freed it", || idle(&b));
    let error = a.stat(&there).expect_err("it is deleted");
    assert!(matches!(error, NetError::Pool(Error::Deleted { .. })), "{error}");
}

#[test]
fn the_last_drop_here_frees_the_value_there() {
    let (a, b) = pair();
    let there = a.set_on(&name("b"), vec![7; 1000]).expect("b has room");
    let again = there.clone();
    drop(there);
    assert_eq!(a.pool().get(&again).expect("b has it").len(), 1000);
    assert_eq!(b.pool().stats().values, 1);
    assert_eq!(a.stats(&name("b")).expect("b answers").claimed_values, 1);
    drop(again);
    until("b has freed it", || idle(&b));
    until("nothing is claimed", || a.stats(&name("b")).expect("b answers").claims == 0);
    assert_eq!(a.pool().stats().values, 0);
}

#[test]
fn an_evicted_copy_is_fetched_again_and_many_are_got_at_once() {
    let (a, b) = pair();
    let parts: Vec<DRef<Vec<u8>>> =
        (0..8).map(|n| a.set_on(&name("b"), vec![n; 300_000]).expect("b spills")).collect();
    for (n, part) in (0..).zip(&parts) {
        assert_eq!(a.pool().get(part).expect("b has it")[299_999], n);
    }
    // Three of them fit, so the first ones are not here any more.
    assert_eq!(a.pool().info(&parts[0]).expect("a reference").place, Place::Remote);
    assert_eq!(a.pool().get(&parts[0]).expect("b has it")[0], 0);
    let many = a.pool().get_many(&parts[..2]).expect("they fit");
    assert_eq!((many[0][0], many[1][0]), (0, 1));
    assert!(a.pool().stats().peak_bytes <= 1 << 20);
    assert!(b.pool().stats().peak_bytes <= 1 << 20);
    drop(many);
    drop(parts);
    until("b has freed them", || idle(&b));
}

#[test]
fn a_value_moves_to_its_owners_disk_and_is_read_from_there() {
    let (a, b) = pair();
    let there = a.set_on(&name("b"), vec![3; 100_000]).expect("b has room");
    a.pool().copy_to_disk(&there).expect("b writes it");
    assert_eq!(a.stat(&there).expect("b answers").place, Place::Resident);
    assert!(a.stat(&there).expect("b answers").frame_bytes.is_some());
    let file = a.pool().move_to_disk(&there).expect("b lets go of it");
    assert_eq!(a.stat(&there).expect("b answers").place, Place::Spilled);
    let used = b.pool().stats().used_bytes;
    assert_eq!(a.pool().get(&there).expect("from b's disk")[99_999], 3);
    assert_eq!(a.pool().get_file(&file).expect("the same")[0], 3);
    assert_eq!(b.pool().stats().used_bytes, used, "b has brought nothing back");
}

#[test]
fn names_find_values_at_a_distance_and_types_are_compared() {
    let (a, b) = pair();
    let kept = b.pool().set_with(vec![1; 10], SetOptions::new().name("orders")).expect("room");
    let orders = a.named::<Vec<u8>>(&name("b"), "orders").expect("it is there");
    assert_eq!(a.pool().get(&orders).expect("b has it").len(), 10);
    assert_eq!(a.global_id(&orders).id, kept.id());
    let again = a.named::<Vec<u8>>(&name("b"), "orders").expect("it is there");
    assert_eq!(orders, again, "one value, one reference");
    let error = a.named::<Vec<u8>>(&name("b"), "nothing").expect_err("no such name");
    assert_eq!(error.reason(), Some(Reason::NoName));
    assert!(!a.set_name_on("more", &orders).expect("b answers"));
    drop((kept, orders, again));
    b.pool().unname("orders").expect("it is there");
    assert_eq!(
        b.pool().get(&b.pool().named::<Vec<u8>>("more").expect("named")).expect("kept").len(),
        10
    );
    let set = SetOn::new().name("set").discardable().wait(Duration::from_secs(1));
    a.set_on_with(&name("b"), vec![1; 10], set).expect("b has room");
    let named = b.pool().named::<Vec<u8>>("set").expect("it was named when it was set");
    assert!(b.pool().info(&named).expect("it is there").discardable);
}

#[test]
fn a_reference_is_sent_and_keeps_its_value_when_its_sender_drops_it() {
    let (a, b) = pair();
    let c = start("c");
    c.meet(a.address()).expect("a listens");
    until("all know all", || c.members().len() == 2 && b.members().len() == 2);
    // A value of a's, of which b is told, and which c gets from b.
    let value = a.pool().set(vec![9; 5000]).expect("room");
    let id = value.id();
    a.send(&name("b"), &value, "first").expect("b takes it");
    drop(value);
    let received = b.receive::<Vec<u8>>("first", Duration::from_secs(10)).expect("it came");
    assert_eq!((received.from, b.owner(&received.reference)), (name("a"), Some(name("a"))));
    b.send(&name("c"), &received.reference, "second").expect("c takes it");
    drop(received.reference);
    let received = c.receive::<Vec<u8>>("second", Duration::from_secs(10)).expect("it came");
    assert_eq!(c.pool().get(&received.reference).expect("a has it")[0], 9);
    // And back to where it is: there it is the value itself.
    c.send(&name("a"), &received.reference, "home").expect("a takes it");
    let home = a.receive::<Vec<u8>>("home", Duration::from_secs(10)).expect("it came");
    assert_eq!((home.reference.id(), a.owner(&home.reference)), (id, None));
    drop(received);
    until("c's claim is over", || {
        a.stats(&name("b")).is_ok() && c.stats(&name("a")).expect("a answers").claims == 0
    });
    assert_eq!(a.pool().get(&home.reference).expect("its own")[0], 9);
    drop(home);
    until("a has freed it", || idle(&a));
    let error = a.receive::<Vec<u8>>("first", Duration::ZERO).expect_err("nothing came");
    assert!(matches!(error, NetError::Deadline { call: "receive", .. }), "{error}");
}

#[test]
fn a_ticket_is_redeemed_by_whoever_has_its_text() {
    let (a, b) = pair();
    let value = a.pool().set(vec![4; 100]).expect("room");
    let ticket = a.ticket(&value, Duration::from_secs(60), Uses::Once).expect("room for one");
    drop(value);
    let text = ticket.to_string();
    // c knows nobody.
    let c = start("c");
    let redeemed: DRef<Vec<u8>> =
        c.redeem(&text.parse::<Ticket>().expect("a ticket")).expect("it is good");
    assert_eq!(c.pool().get(&redeemed).expect("a has it").len(), 100);
    let error = b.redeem::<Vec<u8>>(&ticket).expect_err("it was for one use");
    assert!(matches!(error, NetError::Claim(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Misuse);
    // For a value of another node's, the owner makes it.
    let many = c.ticket(&redeemed, Duration::from_secs(60), Uses::Many).expect("a makes it");
    drop(redeemed);
    let again: DRef<Vec<u8>> = b.redeem(&many).expect("it is good");
    assert_eq!(b.pool().get(&again).expect("a has it").len(), 100);
    let own: DRef<Vec<u8>> = a.redeem(&many).expect("it is good");
    assert_eq!(a.owner(&own), None);
}

#[test]
fn errors_of_the_other_side_come_back_typed_and_the_value_is_kept() {
    let (a, b) = pair();
    let held = b.pool().set(vec![0; 900_000]).expect("room");
    let pin = b.pool().get(&held).expect("it is there");
    // b's store takes what its memory has no room for, so a discardable one is set there all the same.
    let there = a.set_on(&name("b"), vec![1; 500_000]).expect("it goes to b's store");
    assert_eq!(a.stat(&there).expect("b answers").place, Place::Spilled);
    drop(pin);
    let nobody = a.set_on(&name("nobody"), vec![1; 10]).expect_err("nobody is called so");
    match nobody {
        NotSet::Kept { reference, error: NetError::UnknownNode { .. } } => {
            assert_eq!(a.pool().get(&reference).expect("it is here").len(), 10);
        }
        other => panic!("{other:?}"),
    }
    let found = a.find::<Vec<u8>>(&name("b"), b.global_id(&held)).expect("it is there");
    b.pool().delete(&held).expect("it is there");
    assert!(matches!(a.pool().get(&found), Err(Error::Deleted { .. } | Error::Remote { .. })));
    let error = a.find::<Vec<u8>>(&name("b"), b.global_id(&held)).expect_err("it is deleted");
    assert_eq!(error.reason(), Some(Reason::Deleted));
    let error = a.save_on(&there, "x").expect_err("b saves nothing");
    assert_eq!(error.reason(), Some(Reason::Export));
    assert!(matches!(
        a.redeem::<Vec<u8>>(&a.ticket(&there, Duration::ZERO, Uses::Many).expect("a ticket")),
        Err(NetError::Claim(_))
    ));
}

#[test]
fn a_node_that_leaves_frees_what_it_held_and_ends_what_it_owned() {
    let (a, b) = pair();
    let there = a.set_on(&name("b"), vec![1; 1000]).expect("b has room");
    let here = a.pool().set(vec![2; 1000]).expect("room");
    a.send(&name("b"), &here, "x").expect("b takes it");
    drop(here);
    let of_a = b.receive::<Vec<u8>>("x", Duration::from_secs(10)).expect("it came");
    a.leave().expect("it is there");
    until("a keeps nothing for others", || {
        a.pool().quiesce();
        a.pool().stats().values == 1
    });
    until("b has freed what a held", || {
        b.pool().quiesce();
        b.pool().stats().values == 1
    });
    let error = b.pool().get(&of_a.reference).expect_err("a has left");
    assert!(matches!(error, Error::Remote { .. }), "{error}");
    assert!(matches!(a.pool().get(&there), Err(Error::Remote { .. })));
}

#[test]
fn every_verb_that_waits_has_a_face_for_tasks() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    let (a, b) = pair();
    runtime.block_on(async {
        let set = SetOn::new().name("x");
        let there = a.set_on_async(&name("b"), vec![7; 1000], set).await.expect("b has room");
        assert_eq!(a.get_async(&there).await.expect("b has it").len(), 1000);
        assert_eq!(a.stat_async(&there).await.expect("b answers").place, Place::Resident);
        assert!(!a.set_name_on_async("y", &there).await.expect("b answers"));
        let error = a.save_on_async(&there, "x").await.expect_err("b saves nothing");
        assert_eq!(error.reason(), Some(Reason::Export));
        let named: DRef<Vec<u8>> = a.named_async(&name("b"), "y").await.expect("named");
        let found = a.find_async(&name("b"), a.global_id(&there)).await.expect("it is there");
        assert_eq!((&named, &found), (&there, &there));
        a.send_async(&name("b"), &there, "home").await.expect("b takes it");
        let home =
            b.receive_async::<Vec<u8>>("home", Duration::from_secs(10)).await.expect("it came");
        assert_eq!(b.owner(&home.reference), None);
        let ticket =
            a.ticket_async(&there, Duration::from_secs(10), Uses::Once).await.expect("b makes it");
        let redeemed: DRef<Vec<u8>> = b.redeem_async(&ticket).await.expect("it is good");
        assert_eq!(redeemed, home.reference);
        // The pool's own verbs wait on the thread that calls them, and within a task that is no panic.
        assert_eq!(a.pool().get(&there).expect("b has it").len(), 1000);
        a.pool().move_to_disk(&there).expect("nobody holds it");
        a.leave_async().await.expect("it is there");
        drop((a, b));
    });
}
