//! Nodes in one process, over plain loopback: who they are, whom they know, and what they answer.

use std::time::{Duration, Instant};

use mempool_core::{Blob, ErrorKind, Pool, PoolOptions, SetOptions};
use mempool_net::security::SecurityError;
use mempool_net::{Health, NetError, Node, NodeName, Reason};
use mempool_spill::SpillOptions;

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a label")
}

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(1 << 20).open(Blob)
}

fn known(node: &Node<Blob>) -> Vec<NodeName> {
    node.members().into_iter().map(|member| member.name).collect()
}

fn start(called: &str) -> Node<Blob> {
    Node::builder(pool()).name(name(called)).start().expect("a free port on loopback")
}

/// Waits until something is so; what never comes true is a failure that says what.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn nodes_that_met_know_each_other_and_their_figures() {
    let (a, b) = (start("a"), start("b"));
    assert_eq!(a.meet(b.address()).expect("b listens"), name("b"));
    assert_eq!((known(&a), known(&b)), (vec![name("b")], vec![name("a")]));
    assert_eq!(a.members()[0].health, Health::Alive);
    let kept = b.pool().set(vec![7; 1000]).expect("room");
    let stats = a.stats(&name("b")).expect("b answers");
    assert_eq!((stats.values, stats.sets, stats.limit_bytes), (1, 1, 1 << 20));
    let values = a.list(&name("b")).expect("b answers");
    assert_eq!(values.len(), 1);
    assert_eq!((values[0].id.birth, values[0].id.id), (b.incarnation(), kept.id()));
    assert_eq!(values[0].value_type, "alloc::vec::Vec<u8>");
}

#[test]
fn a_long_list_comes_whole() {
    let (a, b) = (start("a"), start("b"));
    let kept: Vec<_> = (0..1000).map(|n| b.pool().set(vec![1; n % 7]).expect("room")).collect();
    a.meet(b.address()).expect("b listens");
    let mut listed: Vec<_> =
        a.list(&name("b")).expect("b answers").iter().map(|value| value.id.id).collect();
    let mut expected: Vec<_> = kept.iter().map(|value| value.id()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_seed_makes_all_know_all_whenever_it_starts() {
    let a = start("a");
    let b = Node::builder(pool()).name(name("b")).join([a.address()]).start().expect("a port");
    until("b knows a", || known(&b) == [name("a")]);
    let c = Node::builder(pool()).name(name("c")).join([a.address()]).start().expect("a port");
    until("c knows all", || known(&c) == [name("a"), name("b")]);
    until("b knows all", || known(&b) == [name("a"), name("c")]);
    until("a knows all", || known(&a) == [name("b"), name("c")]);
    // A seed that is not there yet.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let later = port.expect("a free port").to_string();
    let d = Node::builder(pool()).name(name("d")).join([&later]).start().expect("a port");
    let e = Node::builder(pool()).name(name("e")).listen(&later).start().expect("the free port");
    until("d knows e", || known(&d) == [name("e")]);
    drop(e);
}

#[test]
fn names_are_listed_and_taken_away_at_a_distance() {
    let (a, b) = (start("a"), start("b"));
    a.meet(b.address()).expect("b listens");
    let named = b.pool().set_with(vec![1; 10], SetOptions::new().name("x")).expect("room");
    let id = named.id();
    drop(named);
    let names = a.names(&name("b")).expect("b answers");
    assert_eq!((names.len(), names[0].name.as_str(), names[0].id.id), (1, "x", id));
    a.unname_on(&name("b"), "x").expect("it is there");
    assert_eq!(b.pool().stats().values, 0);
    let error = a.unname_on(&name("b"), "x").expect_err("it is not there any more");
    assert!(matches!(&error, NetError::Remote { reason: Reason::NoName, .. }), "{error}");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Misuse, Some(Reason::NoName)));
}

#[test]
fn a_node_that_nobody_knows_is_an_error_at_once() {
    let a = start("a");
    let error = a.stats(&name("nobody")).expect_err("nobody is called so");
    assert!(matches!(&error, NetError::UnknownNode { node } if *node == name("nobody")), "{error}");
    assert_eq!(error.kind(), ErrorKind::Misuse);
    let error = a.meet("127.0.0.1:1").expect_err("nothing listens there");
    assert!(matches!(&error, NetError::Unreachable { call: "hello", .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Environment);
}

#[test]
fn a_node_that_left_is_known_to_have_ended() {
    let (a, b) = (start("a"), start("b"));
    let start = b.incarnation();
    a.meet(b.address()).expect("b listens");
    b.leave().expect("it is there");
    let error = a.stats(&name("b")).expect_err("it has left");
    assert!(
        matches!(&error, NetError::Ended { meant, found: None, .. } if *meant == start),
        "{error}"
    );
    assert!(matches!(b.stats(&name("a")), Err(NetError::Left)));
    b.leave().expect("a second time does nothing");
    // The pool is the user's still.
    b.pool().set(vec![1]).expect("room");
}

#[test]
fn a_node_that_started_again_is_another_one() {
    let a = start("a");
    let b = start("b");
    a.meet(b.address()).expect("b listens");
    let (address, first) = (b.address().to_owned(), b.incarnation());
    // It ends without a word.
    a.stats(&name("b")).expect("it is there");
    drop(b);
    let again = Node::builder(pool()).name(name("b")).listen(&address).start().expect("its port");
    assert!(again.incarnation() > first);
    let error = a.stats(&name("b")).expect_err("the first start has ended");
    assert!(matches!(&error, NetError::Ended { meant, .. } if *meant == first), "{error}");
    a.meet(&address).expect("it is there again");
    a.stats(&name("b")).expect("the second start answers");
}

#[test]
fn only_loopback_is_served_without_tls() {
    for open in ["0.0.0.0:0", "[::]:0"] {
        let error = Node::builder(pool()).listen(open).start().expect_err("anybody could come");
        let plain =
            NetError::Security(SecurityError::PlainText { address: open.parse().expect("one") });
        assert_eq!(error.to_string(), plain.to_string());
        assert_eq!(error.kind(), ErrorKind::Misuse);
    }
    let taken = start("a");
    let error = Node::builder(pool()).listen(taken.address()).start().expect_err("it is taken");
    assert!(
        matches!(&error, NetError::Listen { address, .. } if address == taken.address()),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(matches!(
        Node::builder(pool()).listen("nonsense").start(),
        Err(NetError::Listen { .. })
    ));
}

#[test]
fn who_does_not_answer_in_time_is_told_so() {
    // A socket that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound").to_string();
    let within = Duration::from_millis(200);
    let a = Node::builder(pool()).call_timeout(within).start().expect("a port");
    let error = a.meet(&address).expect_err("nobody answers");
    assert!(matches!(&error, NetError::Deadline { after, .. } if *after == within), "{error}");
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn a_node_runs_on_a_runtime_of_the_users_and_both_faces_answer() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let builder = Node::builder(pool()).name(name("a")).runtime(runtime.handle().clone());
    let (a, b) = (builder.start().expect("a port"), start("b"));
    runtime.block_on(async {
        assert_eq!(a.meet_async(b.address()).await.expect("b listens"), name("b"));
        assert_eq!(a.stats_async(&name("b")).await.expect("b answers").values, 0);
        assert!(a.list_async(&name("b")).await.expect("b answers").is_empty());
        assert!(a.names_async(&name("b")).await.expect("b answers").is_empty());
        a.unname_on_async(&name("b"), "x").await.expect_err("no such name");
    });
    assert_eq!(a.stats(&name("b")).expect("b answers").values, 0);
    // Dropped within a task, where waiting for threads would panic.
    let node = start("c");
    runtime.block_on(async move { drop(node) });
}

#[test]
fn nodes_that_could_not_read_each_others_frames_do_not_meet() {
    let path = std::env::temp_dir().join(format!("mempool-net-checksum-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a temporary directory");
    let disk = SpillOptions::new(&path).open().expect("a session");
    let with_disk = PoolOptions::new().store(disk).open(Blob);
    let (a, b) = (start("a"), Node::builder(with_disk).name(name("b")).start().expect("a port"));
    for (one, other) in [(&a, &b), (&b, &a)] {
        let error = one.meet(other.address()).expect_err("their checksums differ");
        assert!(
            matches!(&error, NetError::Checksum { ours, found, .. } if ours != found),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Misuse);
    }
    assert!(known(&a).is_empty() && known(&b).is_empty());
    drop((a, b));
    let _ = std::fs::remove_dir_all(path);
}
