//! Nodes that prove who they are: what they may do for each other, and what others are told.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mempool_core::{Blob, Error, ErrorKind, Pool, PoolOptions};
use mempool_net::security::{Authority, Policy, Rights, RightsTable, SecurityError, Tls, Validity};
use mempool_net::{NetError, Node, NodeName, NotSet, Reason, SetOn};

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a label")
}

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(1 << 20).open(Blob)
}

fn tls(authority: &Authority, called: &str) -> Tls {
    let days = Validity::days(1).expect("one day");
    let issued = authority
        .issue(&name(called), &[IpAddr::from([127, 0, 0, 1])], days)
        .expect("a certificate");
    Tls::from_pem(authority.certificate_pem(), issued.certificate_pem(), issued.key_pem())
        .expect("good credentials")
}

fn start(authority: &Authority, called: &str, rights: RightsTable) -> Node<Blob> {
    let mut policy = Policy::default();
    policy.rights = rights;
    Node::builder(pool()).tls(tls(authority, called)).policy(policy).start().expect("a free port")
}

#[test]
fn nodes_with_certificates_share_values_as_far_as_their_rights_go() {
    let authority = Authority::new("a cluster").expect("a key");
    let all = || RightsTable::default().other_nodes(Rights::ALL);
    let a = start(&authority, "a", all());
    let b = start(&authority, "b", RightsTable::default().node(name("a"), Rights::READ_WRITE));
    let c = start(&authority, "c", all());
    assert_eq!((a.name(), b.name()), (&name("a"), &name("b")));
    assert_eq!(a.meet(b.address()).expect("it proves who it is"), name("b"));
    a.meet(&format!("b@{}", b.address())).expect("and that it is b");
    let error = a.meet(&format!("c@{}", b.address())).expect_err("it is not c");
    assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
    let there = a.set_on(&name("b"), vec![7; 100_000]).expect("a may write");
    assert_eq!(&a.pool().get(&there).expect("a may read")[..], &[7; 100_000]);
    let error = a.save_on(&there, "x").expect_err("a is no admin of b's");
    assert_eq!(error.reason(), Some(Reason::Forbidden));
    // b does not know c, but for its name.
    let error = c.meet(b.address()).expect_err("c may not even ask whom b knows");
    assert_eq!((error.reason(), error.kind()), (Some(Reason::Forbidden), ErrorKind::Misuse));
    match c.set_on(&name("b"), vec![1; 10]).expect_err("c may not") {
        NotSet::Kept { error, .. } => assert_eq!(error.reason(), Some(Reason::Forbidden)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        c.find::<Vec<u8>>(&name("b"), a.global_id(&there)),
        Err(NetError::Remote { reason: Reason::Forbidden, .. })
    ));
    drop(there);
    let deadline = Instant::now() + Duration::from_secs(30);
    while b.pool().stats().values > 0 {
        assert!(Instant::now() < deadline, "b never freed it");
        std::thread::yield_now();
        a.pool().quiesce();
    }
}

#[test]
fn who_proves_nothing_or_something_else_gets_nothing() {
    let (authority, other) =
        (Authority::new("a").expect("a key"), Authority::new("b").expect("a key"));
    let all = || RightsTable::default().other_nodes(Rights::ALL);
    let a = start(&authority, "a", all());
    let stranger = start(&other, "stranger", all());
    let error = stranger.meet(a.address()).expect_err("it is of another authority");
    assert!(matches!(error, NetError::Unreachable { .. } | NetError::Deadline { .. }), "{error}");
    let plain = Node::builder(pool()).name(name("plain")).start().expect("a free port");
    let error = plain.meet(a.address()).expect_err("it shows no certificate");
    assert!(matches!(error, NetError::Unreachable { .. } | NetError::Deadline { .. }), "{error}");
    assert!(a.members().is_empty(), "nobody was believed");
    // A certificate says one name.
    let error = Node::builder(pool()).name(name("b")).tls(tls(&authority, "a")).start();
    let error = error.expect_err("another name");
    assert!(matches!(error, NetError::Security(SecurityError::OtherNode { .. })), "{error}");
}

#[test]
fn a_value_larger_than_the_memory_goes_there_over_tls_and_comes_in_parts_that_are_whole() {
    let authority = Authority::new("a").expect("a key");
    let all = || RightsTable::default().other_nodes(Rights::ALL);
    let (a, b) = (start(&authority, "a", all()), start(&authority, "b", all()));
    a.meet(b.address()).expect("it proves who it is");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let kept = a.pool().set(large).expect("it goes to the store");
    let there = a.copy_on(&name("b"), &kept, SetOn::new()).expect("to b's store");
    assert_eq!(b.pool().stats().used_bytes, 0);
    // It does not fit in a's memory at once, and says so.
    let error = a.pool().get(&there).expect_err("larger than the whole limit");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}
