//! The commands that speak with nodes, as a user runs them: a node in a process of its own, and values that others put there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, Command, Output, Stdio},
};

use mempool_codec::Rkyv;
use mempool_core::PoolOptions;
use mempool_spill::SpillOptions;
use rustix::process::{Pid, Signal, kill_process};

/// A new directory, which goes with the test; each test has its own name.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("mempool-serve-{name}-{}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(path.join("disk")).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Runs a command in this directory.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mempool"));
        command.args(arguments).current_dir(&self.0).env_remove("MEMPOOL_DISK");
        command.output().unwrap()
    }

    /// Runs a command that must do what it is told; answers its JSON.
    fn must(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code; answers what it says.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        stderr(&output)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A node in a process of its own; killed when it is dropped.
struct Served {
    child: Child,
    ready: serde_json::Value,
}

impl Served {
    fn start(scratch: &Scratch, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mempool"))
            .args(["serve", "--listen", "127.0.0.1:0", "--name", "keeper", "--json"])
            .args(["--memory-limit", "1MiB", "--disk", &scratch.path("disk")])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn address(&self) -> String {
        self.ready["address"].as_str().unwrap().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that sessions in this directory have left.
fn sessions(directory: &Path) -> usize {
    let entries = fs::read_dir(directory.join(".mempool")).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

#[test]
fn what_is_put_stays_until_its_name_goes() {
    let scratch = Scratch::new("values");
    let mut served = Served::start(&scratch, &[]);
    let at = served.address();
    assert_eq!(
        (&served.ready["name"], &served.ready["memory_limit_bytes"]),
        (&"keeper".into(), &(1 << 20).into())
    );
    let small: Vec<u8> = (0..100).collect();
    let large: Vec<u8> = (0..8_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(scratch.path("small"), &small).unwrap();
    fs::write(scratch.path("large"), &large).unwrap();
    let put =
        |file: &str, name: &str| scratch.must(&["put", file, "--raw", "--to", &at, "--name", name]);
    assert_eq!(put("small", "a/small")["node"], "keeper");
    assert_eq!(put("large", "large")["file_bytes"], 8 << 20);
    // Larger than the node's whole memory, so it is on its disk.
    let listed = scratch.must(&["ls", "--from", &at]);
    let column = |name: &str| [0, 1].map(|row: usize| listed[row][name].clone());
    assert_eq!(column("name"), ["a/small", "large"]);
    assert_eq!(column("place"), ["memory", "disk"]);
    assert_eq!(column("value_type"), ["alloc::vec::Vec<u8>"; 2]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let stat = scratch.must(&["stat", "large", "--from", &at]);
    assert_eq!((&stat["codec"], &stat["place"]), (&"blob".into(), &"disk".into()));
    assert_eq!(stat["value_type"], "alloc::vec::Vec<u8>");
    assert!(stat["frame_bytes"].as_u64().unwrap() > 8 << 20);
    let get = |name: &str, out: &str| {
        scratch.must(&["get", name, "--raw", "--from", &at, "--out", out, "--force"]);
        fs::read(scratch.path(out)).unwrap()
    };
    assert_eq!(get("a/small", "small.back"), small);
    assert!(get("large", "large.back") == large);
    // Out of the node's memory, and got again.
    let moved = scratch.must(&["move-to-disk", "a/small", "--from", &at]);
    assert_eq!((&moved["place"], &moved["resident_bytes"]), (&"disk".into(), &0.into()));
    assert_eq!(get("a/small", "small.back"), small);
    // What is there stays.
    let there = ["get", "large", "--raw", "--from", &at];
    let said = scratch.refused(3, &there);
    assert!(said.contains("large is there already") && said.contains("--force"), "{said}");
    assert!(fs::read(scratch.path("large")).unwrap() == large);
    let said = scratch.refused(2, &["get", "a/small", "--raw", "--from", &at]);
    assert!(said.contains("\"a/small\" is no name of a file"), "{said}");
    scratch.must(&["rm", "a/small", "--from", &at]);
    for command in ["get", "stat", "rm", "move-to-disk"] {
        let mut line = vec![command, "a/small", "--from", &at];
        if command == "get" {
            line.extend(["--out", "x"]);
        }
        let said = scratch.refused(1, &line);
        assert!(said.contains("keeper") && said.contains("\"a/small\""), "{command}: {said}");
    }
    assert!(!Path::new(&scratch.path("x")).exists());
    assert_eq!(scratch.must(&["ls", "--from", &at])[0]["name"], "large");
    served.signal(Signal::TERM);
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    assert_eq!(sessions(&scratch.0.join("disk")), 0);
    assert_eq!(sessions(&scratch.0), 0, "those who put and got left nothing");
}

#[test]
fn a_saved_file_is_put_and_got_without_its_type() {
    let scratch = Scratch::new("frames");
    let served = Served::start(&scratch, &[]);
    let at = served.address();
    let storage = SpillOptions::new(scratch.0.join("disk")).open().unwrap();
    let pool = PoolOptions::new().store(storage).open(Rkyv::new());
    let words: Vec<String> = (0..1000).map(|n| format!("word {n}")).collect();
    let saved = pool.set(words).unwrap();
    pool.save_to_disk(&saved, scratch.path("words.frame")).unwrap();
    scratch.must(&["put", "words.frame", "--to", &at, "--name", "words"]);
    assert_eq!(scratch.must(&["stat", "words", "--from", &at])["codec"], "rkyv");
    scratch.must(&["get", "words", "--from", &at]);
    let got = pool.get_file(&pool.file::<Vec<String>>(scratch.path("words"))).unwrap();
    assert_eq!((got.len(), got[999].as_str()), (1000, "word 999"));
    let output = scratch.run(&["verify", "words"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // It is no value of bytes, and a text is no frame.
    let said = scratch.refused(1, &["get", "words", "--raw", "--from", &at, "--out", "raw"]);
    assert!(said.contains("rkyv"), "{said}");
    fs::write(scratch.path("text"), "no frame").unwrap();
    let said = scratch.refused(1, &["put", "text", "--to", &at, "--name", "text"]);
    assert!(said.contains("text at offset 0"), "{said}");
    let mut bytes = fs::read(scratch.path("words.frame")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(scratch.path("damaged"), bytes).unwrap();
    let said = scratch.refused(1, &["put", "damaged", "--to", &at, "--name", "damaged"]);
    assert!(said.contains("content"), "{said}");
    assert_eq!(scratch.must(&["ls", "--from", &at]).as_array().unwrap().len(), 1);
}

#[test]
fn a_node_that_was_killed_is_named() {
    let scratch = Scratch::new("killed");
    let mut served = Served::start(&scratch, &[]);
    let at = format!("keeper@{}", served.address());
    fs::write(scratch.path("file"), "bytes").unwrap();
    let put = ["put", "file", "--raw", "--to", &at, "--name", "file"];
    scratch.must(&put);
    let elsewhere = at.replace("keeper", "other");
    let said = scratch.refused(3, &["ls", "--from", &elsewhere]);
    assert!(said.contains("keeper answers there, and not other"), "{said}");
    served.signal(Signal::KILL);
    served.child.wait().unwrap();
    let said = scratch.refused(3, &put);
    assert!(said.contains(&served.address()) && said.contains("cannot be reached"), "{said}");
    // What it left is removed by the next one in its place.
    assert_eq!(sessions(&scratch.0.join("disk")), 1);
    let mut next = Served::start(&scratch, &[]);
    assert_eq!(scratch.must(&["ls", "--from", &next.address()]), serde_json::json!([]));
    // Not SIGINT, which a shell has jobs in the background ignore.
    next.signal(Signal::TERM);
    assert_eq!(next.child.wait().unwrap().code(), Some(0));
    assert_eq!(sessions(&scratch.0.join("disk")), 0);
}

#[test]
fn credentials_decide_who_may_do_what() {
    let scratch = Scratch::new("secured");
    scratch.must(&["certs", "--dir", "certs", "keeper", "visitor"]);
    let certs = scratch.path("certs");
    let served = Served::start(&scratch, &["--certs", &certs, "--allow", "read,write"]);
    let who = ["--certs", &certs, "--as", "visitor"];
    let asks = |command: &[&'static str]| [command, &who[..]].concat();
    fs::write(scratch.path("file"), "bytes").unwrap();
    let at = format!("keeper@{}", served.address());
    scratch
        .must(&[&asks(&["put", "file", "--raw", "--name", "file"])[..], &["--to", &at]].concat());
    let get = asks(&["get", "file", "--raw", "--out", "back"]);
    scratch.must(&[&get[..], &["--from", &at]].concat());
    assert_eq!(fs::read(scratch.path("back")).unwrap(), b"bytes");
    scratch.refused(3, &["ls", "--from", &at]);
    drop(served);
    // One that lets nobody write.
    let served = Served::start(&scratch, &["--certs", &certs, "--allow", "read"]);
    let at = format!("keeper@{}", served.address());
    let put = asks(&["put", "file", "--raw", "--name", "file"]);
    let said = scratch.refused(1, &[&put[..], &["--to", &at]].concat());
    assert!(said.contains("keeper") && said.contains("write"), "{said}");
    let listed = scratch.must(&[&asks(&["ls"])[..], &["--from", &at]].concat());
    assert_eq!(listed, serde_json::json!([]));
    // Without credentials nobody listens where others can reach him.
    let said = scratch.refused(2, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(said.contains("0.0.0.0"), "{said}");
    assert_eq!(sessions(&scratch.0), 0);
}
