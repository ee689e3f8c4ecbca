//! Other processes for tests: each runs a node, and does what it is told line by line.
//!
//! A test binary has a test `child_of_a_cluster` which calls [`child`]; run again with `MEMPOOL_NODE` set, it is a node.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mempool_core::{Blob, DRef, Pool, PoolOptions};
use mempool_net::protocol::Lease;
use mempool_net::security::Exports;
use mempool_net::{Node, NodeName, SetOn};
use mempool_spill::SpillOptions;
use rustix::process::{Pid, Signal, kill_process};

/// The lease of all nodes: short, and long enough for a busy machine to renew it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a label")
}

/// A directory of a test's own, which goes with it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mempool-net-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node of that name with a pool of 1 MiB over a store in `directory`, where it exports to, too.
pub(crate) fn node(called: &str, directory: &Path) -> Node<Blob> {
    node_of(called, directory, true)
}

/// The same, which meets others of this host there, or does not.
pub(crate) fn node_of(called: &str, directory: &Path, met: bool) -> Node<Blob> {
    let exports = directory.join(format!("{called}-exports"));
    std::fs::create_dir_all(&exports).expect("a directory");
    let lease = Lease::new(LEASE, LEASE / 10).expect("a lease");
    let builder = Node::builder(pool(directory))
        .name(name(called))
        .lease(lease)
        .exports(Exports::open(exports).expect("a directory"));
    let builder = if met { builder } else { builder.without_same_host() };
    builder.start().expect("a free port on loopback")
}

fn pool(directory: &Path) -> Pool<Blob> {
    let store = SpillOptions::new(directory).open().expect("a session");
    PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob)
}

/// Waits until something is so; what never comes true is a failure that says what.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A node in a process of its own; killed when it is dropped.
pub(crate) struct Other {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) called: String,
    pub(crate) address: String,
}

impl Other {
    /// Starts a node of that name over a store in `directory`.
    pub(crate) fn start(called: &str, directory: &Path) -> Self {
        Self::start_of(called, directory, true)
    }

    /// The same, which meets others of this host there, or does not.
    pub(crate) fn start_of(called: &str, directory: &Path, met: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_of_a_cluster", "--nocapture", "--test-threads=1"])
            .env("MEMPOOL_NODE", called)
            .env("MEMPOOL_NODE_DIRECTORY", directory)
            .env("MEMPOOL_NODE_MET", met.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let orders = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let called = called.to_owned();
        let mut other = Self { child, orders, answers, called, address: String::new() };
        other.address = other.answer();
        other
    }

    /// Gives an order; the answer comes by [`answer`](Self::answer).
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it listens");
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("it answers");
            assert!(read > 0, "the process has ended");
            // The test harness prints lines of its own.
            if let Some((_, answer)) = line.split_once("> ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    /// As [`ask`](Self::ask), for what must be done.
    pub(crate) fn must(&mut self, order: &str) {
        let answer = self.ask(order);
        assert!(!answer.starts_with("error"), "{order}: {answer}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("it is ours");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child process does: runs its node until nobody gives orders any more.
pub(crate) fn child() {
    let Some(called) = std::env::var_os("MEMPOOL_NODE") else { return };
    let called = called.to_str().expect("a label").to_owned();
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_NODE_DIRECTORY").expect("a directory"));
    let met = std::env::var("MEMPOOL_NODE_MET").is_ok_and(|met| met == "true");
    let node = node_of(&called, &directory, met);
    println!("> {}", node.address());
    let mut values = BTreeMap::new();
    for order in std::io::stdin().lock().lines() {
        let order = order.expect("text");
        let words: Vec<&str> = order.split(' ').collect();
        match obey(&node, &mut values, &words) {
            Ok(answer) => println!("> {answer}"),
            Err(error) => println!("> error {error}"),
        }
    }
}

type Values = BTreeMap<String, DRef<Vec<u8>>>;

fn obey(
    node: &Node<Blob>,
    values: &mut Values,
    words: &[&str],
) -> Result<String, Box<dyn std::error::Error>> {
    let of = |values: &Values, key: &str| values.get(key).cloned().ok_or("no such key");
    let keep = |values: &mut Values, key: &str, value: DRef<Vec<u8>>| {
        values.insert(key.to_owned(), value);
        Ok("done".to_owned())
    };
    match *words {
        ["meet", address] => Ok(node.meet(address)?.to_string()),
        ["set", key, len, byte] => {
            let value = node.pool().set(vec![byte.parse()?; len.parse()?])?;
            keep(values, key, value)
        }
        ["name", key, name] => {
            node.pool().set_name(name, &of(values, key)?)?;
            Ok("done".to_owned())
        }
        ["set_on", peer, key, len, byte] => {
            let value = node.pool().set(vec![byte.parse()?; len.parse()?])?;
            let there = node.copy_on(&name(peer), &value, SetOn::new())?;
            keep(values, key, there)
        }
        ["send", peer, key, label] => {
            node.send(&name(peer), &of(values, key)?, label)?;
            Ok("done".to_owned())
        }
        ["receive", key, label] => {
            let received = node.receive::<Vec<u8>>(label, Duration::from_secs(30))?;
            keep(values, key, received.reference)
        }
        ["get", key] => {
            let value = of(values, key)?;
            let got = node.pool().get(&value)?;
            let same = got.iter().all(|byte| Some(byte) == got.first());
            Ok(format!("{} {:?} {same}", got.len(), got.first()))
        }
        ["drop", key] => {
            values.remove(key).ok_or("no such key")?;
            node.pool().quiesce();
            Ok("done".to_owned())
        }
        ["delete", key] => {
            node.pool().delete(&of(values, key)?)?;
            Ok("done".to_owned())
        }
        ["values"] => {
            node.pool().quiesce();
            Ok(node.pool().stats().values.to_string())
        }
        _ => Err("no such order".into()),
    }
}
