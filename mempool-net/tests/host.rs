//! Descriptors between real processes: who dies, who deletes, who is another user.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mempool_core::{ForeignMaps, Id};
use mempool_net::host::{BytesReason, Given, HostError, HostHello, Stamp};
use mempool_net::{GlobalId, Incarnation};
use mempool_spill::SpillOptions;

mod neighbours;
use neighbours::{ASKER, OWNER, Owner, Scratch, bytes, link, mapped, wait_until};

/// Large enough for a file to itself.
const LEN: usize = 5 << 20;
const NOBODY: u32 = 65_534;

/// Another process that does what it is told: a line each, answered by a line.
struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(job: &str, directory: &Path, uid: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "another_process", "--nocapture"])
            .env("MEMPOOL_HOST_JOB", job)
            .env("MEMPOOL_HOST_DIRECTORY", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    /// What it says next; the harness around it says things, too.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, said)) = line.trim_end().split_once("@ ") {
                return said.to_owned();
            }
        }
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").unwrap();
        self.hear()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn say(value: GlobalId) -> String {
    format!("{} {}", value.id.slot, value.id.generation)
}

fn value_of(line: &str) -> GlobalId {
    let mut parts = line.split(' ').map(|part| part.parse().unwrap());
    let (slot, generation) = (parts.next().unwrap(), parts.next().unwrap());
    GlobalId { birth: OWNER, id: Id { slot, generation } }
}

/// The child of the tests below.
#[test]
fn another_process() {
    let Ok(job) = std::env::var("MEMPOOL_HOST_JOB") else { return };
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_HOST_DIRECTORY").unwrap());
    let lines = std::io::stdin().lines().map(Result::unwrap);
    let answer = |line: &str| println!("@ {line}");
    match job.as_str() {
        "owner" => {
            let owner = Owner::start(&directory);
            let (value, _kept) = owner.put(3, LEN);
            let hello = owner.server.hello(ASKER);
            answer(&format!("{} {}", say(value), hex(&hello.to_bytes())));
            lines.for_each(|_| answer(""));
        }
        "asker" => {
            let maps = ForeignMaps::default();
            let mut held = Vec::new();
            let mut connected = None;
            for line in lines {
                let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
                match verb {
                    "connect" => {
                        let hello = HostHello::from_bytes(&unhex(rest)).unwrap();
                        connected = Some(link(&directory, hello).unwrap());
                    }
                    "map" => held.push(mapped(connected.as_ref().unwrap(), value_of(rest), &maps)),
                    "sum" => {
                        let view = &held.first().unwrap()[..];
                        answer(&hex(&view[view.len() - LEN..][..64]));
                        continue;
                    }
                    "drop" => held.clear(),
                    _ => panic!("{line}"),
                }
                answer(&format!("{} {}", maps.bytes(), std::process::id()));
            }
        }
        _ => panic!("{job}"),
    }
}

/// A process that has asked `owner` for `count` frames and holds them.
fn holder(owner: &Owner, value: GlobalId, directory: &Path, count: u32) -> (Other, u32) {
    let mut other = Other::start("asker", directory, None);
    other.tell(&format!("connect {}", hex(&owner.server.hello(ASKER).to_bytes())));
    let mut said = String::new();
    for _ in 0..count {
        said = other.tell(&format!("map {}", say(value)));
    }
    let (mapped, pid) = said.split_once(' ').unwrap();
    assert!(mapped.parse::<usize>().unwrap() > LEN * count as usize, "{said}");
    (other, pid.parse().unwrap())
}

#[test]
fn a_view_outlives_the_value_and_its_bytes_are_not_written_over() {
    let scratch = Scratch::new("deleted");
    let owner = Owner::start(&scratch.0);
    let (value, kept) = owner.put(1, LEN);
    let (mut other, pid) = holder(&owner, value, &scratch.0, 1);
    let [export] = owner.server.exports()[..] else { panic!("one") };
    assert_eq!((export.holder, export.pid, export.value), (ASKER, pid, value));
    assert_eq!(owner.server.usage().bytes, export.bytes);
    owner.pool.delete(&kept).unwrap();
    owner.table.clear();
    drop(kept);
    owner.pool.quiesce();
    assert_eq!(owner.pool.stats().store.live_bytes, 0);
    // Others of the same size would get its file, if it were recycled.
    for seed in 10..20 {
        owner.put(seed, LEN);
    }
    owner.table.clear();
    owner.pool.quiesce();
    assert_eq!(other.tell("sum"), hex(&bytes(1, 64)), "the same bytes as before");
    let Owner { pool, server, .. } = owner;
    pool.close().unwrap();
    assert_eq!(other.tell("sum"), hex(&bytes(1, 64)), "and after the owner's pool is closed");
    assert_eq!(server.usage().exports, 1);
    assert!(other.tell("drop").starts_with("0 "), "nothing is counted as mapped any more");
    wait_until("the end of the export", || server.usage().exports == 0);
}

#[test]
fn exports_end_with_the_process_that_holds_them() {
    let scratch = Scratch::new("killed");
    let owner = Owner::start(&scratch.0);
    let (value, _kept) = owner.put(1, LEN);
    let (mut other, _) = holder(&owner, value, &scratch.0, 3);
    let usage = owner.server.usage();
    assert_eq!((usage.exports, usage.peers, usage.handed_over), (3, 1, 3));
    other.kill();
    wait_until("the end of the exports", || owner.server.usage().exports == 0);
    wait_until("the end of the peer", || owner.server.usage().peers == 0);
    assert_eq!(owner.server.usage().bytes, 0);
    let exited = || owner.table.exited.lock().unwrap().clone();
    wait_until("the word of it", || !exited().is_empty());
    assert_eq!(exited(), [ASKER], "said once");
    // A node that was started again under another incarnation, or the same one, is let in.
    holder(&owner, value, &scratch.0, 1);
}

#[test]
fn a_view_outlives_its_owner() {
    let scratch = Scratch::new("owner-killed");
    let mut other = Other::start("owner", &scratch.0, None);
    let said = other.hear();
    let (value, hello) = said.rsplit_once(' ').unwrap();
    let (value, hello) = (value_of(value), HostHello::from_bytes(&unhex(hello)).unwrap());
    let (link, maps) = (link(&scratch.0, hello).unwrap(), ForeignMaps::default());
    assert_eq!(link.process().pid(), other.child.id());
    let view = mapped(&link, value, &maps);
    assert!(!link.process().has_exited());
    other.kill();
    wait_until("the owner's exit", || link.process().has_exited());
    // The next node sweeps what it has left, and the socket.
    let swept = SpillOptions::new(&scratch.0).open().unwrap().swept();
    assert_eq!(swept.sessions, 1);
    assert_eq!(view[view.len() - LEN..], bytes(3, LEN));
    let error = link.fetch(value, None, &maps).unwrap_err();
    assert!(matches!(error, HostError::Closed { peer: OWNER }), "{error}");
    let error = link.fetch(value, None, &maps).unwrap_err();
    assert!(matches!(error, HostError::NotListening { peer: OWNER, .. }), "{error}");
    drop(view);
    assert_eq!(maps.bytes(), 0);
}

#[test]
fn a_value_in_memory_is_copied_once_for_all_who_map_it() {
    let scratch = Scratch::new("promoted");
    let owner = Owner::start(&scratch.0);
    let (value, kept) = owner.put_resident(4, LEN);
    let resident = owner.pool.stats().used_bytes;
    let (mut other, _) = holder(&owner, value, &scratch.0, 2);
    let frame = owner.table.promotions.bytes();
    assert!(frame > LEN as u64 && owner.server.usage().bytes == 2 * frame, "one copy, two maps");
    assert_eq!(owner.pool.stats().used_bytes, resident + frame, "and both are counted");
    assert_eq!(other.tell("sum"), hex(&bytes(4, 64)));
    owner.pool.delete(&kept).unwrap();
    owner.pool.quiesce();
    assert_eq!(owner.pool.stats().used_bytes, frame, "the value is gone, its copy is mapped");
    assert_eq!(other.tell("sum"), hex(&bytes(4, 64)));
    other.tell("drop");
    wait_until("the end of the copy", || owner.pool.stats().used_bytes == 0);
    assert_eq!(owner.table.promotions.bytes(), 0);
    drop(other);
    // And of one whose holder dies.
    let (value, _kept) = owner.put_resident(5, LEN);
    let (mut other, _) = holder(&owner, value, &scratch.0, 1);
    assert_eq!(owner.table.promotions.bytes(), frame);
    other.kill();
    wait_until("the end of the copy", || owner.table.promotions.bytes() == 0);
}

#[test]
fn another_user_gets_bytes() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can start a process of another user");
    }
    let scratch = Scratch::new("user");
    chown(&scratch.0, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut other = Other::start("owner", &scratch.0, Some(NOBODY));
    let said = other.hear();
    let (_, hello) = said.rsplit_once(' ').unwrap();
    let hello = HostHello::from_bytes(&unhex(hello)).unwrap();
    let run = scratch.0.join("run");
    assert_eq!(fs::metadata(&run).unwrap().uid(), NOBODY);
    // Our side: neither its directory nor its word is taken.
    let error = mempool_net::host::RuntimeDir::open(&run).unwrap_err();
    assert!(matches!(error, HostError::Directory { found_uid: NOBODY, .. }), "{error}");
    let ours = Scratch::new("user-ours");
    let error = link(&ours.0, hello).unwrap_err();
    let HostError::OtherUser { expected: 0, found: NOBODY, .. } = error else { panic!("{error}") };
    // Its side: whoever connects all the same, as root can, is told to use bytes.
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.unwrap();
    let path = run.join(format!("{OWNER}.sock"));
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path).unwrap()).unwrap();
    let mut answer = [0; 64];
    let (_, len) =
        rustix::net::recv(&socket, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(
        answer[..len],
        [8, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        "UseBytes, for all of them, another user"
    );
    let (_, len) =
        rustix::net::recv(&socket, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(len, 0, "and is hung up on");
}

#[test]
fn a_small_value_goes_as_bytes_and_one_that_is_not_there_is_an_error() {
    let scratch = Scratch::new("small");
    let owner = Owner::start(&scratch.0);
    let (small, _kept) = owner.put(1, 1000);
    let (large, _kept) = owner.put(2, LEN);
    let (link, maps) =
        (link(&scratch.0, owner.server.hello(ASKER)).unwrap(), ForeignMaps::default());
    let given = link.fetch(small, None, &maps).unwrap();
    assert!(matches!(given, Given::UseBytes(BytesReason::Small)), "{given:?}");
    let stale = GlobalId { id: Id { generation: large.id.generation + 1, ..large.id }, ..large };
    let error = link.fetch(stale, None, &maps).unwrap_err();
    assert!(
        matches!(error, HostError::NoValue { peer: OWNER, value } if value == stale),
        "{error}"
    );
    let Given::Mapped { stamp, .. } = link.fetch(large, None, &maps).unwrap() else {
        panic!("mapped")
    };
    assert_eq!(stamp.id, large.id);
    assert!(link.fetch(large, Some(stamp), &maps).is_ok());
    let other = Stamp { pool: stamp.pool ^ 1, ..stamp };
    let error = link.fetch(large, Some(other), &maps).unwrap_err();
    let HostError::WrongFrame { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, stamp);
    wait_until("the end of the exports", || owner.server.usage().exports == 0);
}

#[test]
fn who_was_not_introduced_is_not_let_in() {
    let scratch = Scratch::new("stranger");
    let mut owner = Owner::start(&scratch.0);
    let hello = owner.server.hello(ASKER);
    let refused = |hello: HostHello, reason| {
        let error = link(&scratch.0, hello).unwrap_err();
        assert!(
            matches!(error, HostError::Refused { reason: found, .. } if found == reason),
            "{error}"
        );
    };
    refused(owner.server.hello(Incarnation(5)), BytesReason::Stranger);
    let mut bent = hello.to_bytes();
    bent[40] ^= 1;
    refused(HostHello::from_bytes(&bent).unwrap(), BytesReason::Stranger);
    // The other half: an owner who does not know it is not the one we were told of.
    let mut bent = hello.to_bytes();
    bent[60] ^= 1;
    let error = link(&scratch.0, HostHello::from_bytes(&bent).unwrap()).unwrap_err();
    assert!(matches!(error, HostError::Stranger { peer: OWNER, .. }), "{error}");
    let other = HostHello { boot: mempool_net::host::BootId([1; 16]), ..hello };
    let error = link(&scratch.0, other).unwrap_err();
    assert!(matches!(error, HostError::OtherHost { peer: OWNER, .. }), "{error}");
    let link = link(&scratch.0, hello).unwrap();
    owner.server.forget(ASKER);
    let value = GlobalId { birth: OWNER, id: Id { slot: 0, generation: 0 } };
    let maps = ForeignMaps::default();
    let error = link.fetch(value, None, &maps).unwrap_err();
    assert!(matches!(error, HostError::Closed { .. }), "{error}");
    let error = link.fetch(value, None, &maps).unwrap_err();
    let HostError::Refused { reason: BytesReason::Stranger, .. } = error else { panic!("{error}") };
    owner.server.stop();
    assert_eq!(fs::read_dir(scratch.runtime().path()).unwrap().count(), 0, "no socket is left");
}

#[test]
fn many_threads_share_a_link() {
    let scratch = Scratch::new("threads");
    let owner = Owner::start(&scratch.0);
    let values: Vec<_> = (0..4).map(|seed| owner.put(seed, LEN)).collect();
    let (link, maps) =
        (link(&scratch.0, owner.server.hello(ASKER)).unwrap(), ForeignMaps::default());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (link, maps, values) = (&link, &maps, &values);
            scope.spawn(move || {
                for round in 0..50 {
                    let seed = (thread + round) % values.len();
                    let view = mapped(link, values[seed].0, maps);
                    let seed = u8::try_from(seed).unwrap();
                    assert_eq!(view[view.len() - LEN..][..64], bytes(seed, 64));
                }
            });
        }
    });
    assert_eq!((maps.bytes(), owner.server.usage().handed_over), (0, 400));
    assert!(owner.server.usage().connections <= 4);
    wait_until("the end of the exports", || owner.server.usage().exports == 0);
}
