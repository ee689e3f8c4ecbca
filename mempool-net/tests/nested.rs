//! References inside values, which travel with them.

use std::time::{Duration, Instant};

use mempool_codec::{Bincode, ResidentBytes};
use mempool_core::{DRef, PoolOptions};
use mempool_net::{Node, NodeName};

#[derive(serde::Serialize, serde::Deserialize)]
struct Page {
    text: String,
    #[serde(with = "mempool_codec::reference")]
    links: Vec<DRef<Page>>,
}

impl ResidentBytes for Page {
    fn resident_bytes(&self) -> u64 {
        self.text.resident_bytes() + self.links.resident_bytes()
    }
}

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a label")
}

fn start(called: &str) -> Node<Bincode> {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Bincode);
    // Whoever reads references inside of values has told the pool of their types.
    pool.register::<Page>();
    Node::builder(pool).name(name(called)).start().expect("a free port on loopback")
}

fn page(text: &str, links: &[&DRef<Page>]) -> Page {
    Page { text: text.into(), links: links.iter().map(|link| (*link).clone()).collect() }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

fn values(node: &Node<Bincode>) -> u64 {
    node.pool().quiesce();
    node.pool().stats().values
}

#[test]
fn a_value_takes_what_it_refers_to_with_it_and_keeps_it_alive() {
    let (a, b) = (start("a"), start("b"));
    a.meet(b.address()).expect("b listens");
    let last = a.pool().set(page("last", &[])).expect("room");
    let middle = a.pool().set(page("middle", &[&last])).expect("room");
    // Set on b, it refers to two values of a's.
    let first = a.set_on(&name("b"), page("first", &[&middle, &last, &middle])).expect("room");
    drop((last, middle));
    a.pool().quiesce();
    let links: Vec<DRef<Page>> = {
        let got = a.pool().get(&first).expect("b has it");
        assert_eq!((got.text.as_str(), got.links.len()), ("first", 3));
        got.links.clone()
    };
    // What was a's own comes back as that.
    assert_eq!(a.owner(&links[0]), None);
    assert_eq!((links[0] == links[2], links[0] == links[1]), (true, false));
    assert_eq!(a.pool().get(&links[0]).expect("it is here").text, "middle");
    assert_eq!(a.pool().get(&links[1]).expect("it is here").text, "last");
    drop(links);
    assert_eq!(values(&a), 3, "two of its own, which b's value keeps, and the reference to that");
    drop(first);
    until("nothing is left there", || values(&b) == 0);
    until("nothing is left here", || values(&a) == 0);
}

#[test]
fn a_list_that_is_sent_on_comes_whole_and_its_sender_may_go() {
    let (a, b, c) = (start("a"), start("b"), start("c"));
    a.meet(b.address()).expect("b listens");
    b.meet(c.address()).expect("c listens");
    let mut head = a.pool().set(page("0", &[])).expect("room");
    for n in 1..50 {
        head = a.pool().set(page(&n.to_string(), &[&head])).expect("room");
    }
    a.send(&name("b"), &head, "list").expect("b takes it");
    drop(head);
    let at_b = b.receive::<Page>("list", Duration::from_secs(30)).expect("it came").reference;
    b.send(&name("c"), &at_b, "list").expect("c takes it");
    drop(at_b);
    until("b has let go of all", || values(&b) == 0);
    let mut here = c.receive::<Page>("list", Duration::from_secs(30)).expect("it came").reference;
    for n in (0..50).rev() {
        assert_eq!(c.owner(&here), Some(name("a")));
        let next = {
            let got = c.pool().get(&here).expect("a has it");
            assert_eq!(got.text, n.to_string());
            got.links.first().cloned()
        };
        match next {
            Some(next) => here = next,
            None => assert_eq!(n, 0),
        }
    }
    drop(here);
    until("nobody holds any of it", || values(&c) == 0 && values(&a) == 0);
}
