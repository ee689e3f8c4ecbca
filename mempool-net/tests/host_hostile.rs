//! Owners and askers that do not keep to the protocol: typed errors, nothing mapped, no descriptor left.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io::{IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mempool_core::{ErrorKind, ForeignMaps, Id};
use mempool_net::GlobalId;
use mempool_net::host::{BytesReason, DescriptorFault, HostError, HostHello, HostLink, Stamp};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

mod neighbours;
use neighbours::{ASKER, DEADLINE, OWNER, Owner, Scratch, link, mapped, wait_until};

const BYTES: u64 = 64 << 10;
const ID: Id = Id { slot: 3, generation: 5 };
const VALUE: GlobalId = GlobalId { birth: OWNER, id: ID };
const STAMP: Stamp = Stamp { pool: 77, id: ID };

/// One test at a time: they count the descriptors of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn socket() -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn address(directory: &Path) -> SocketAddrUnix {
    SocketAddrUnix::new(directory.join("run").join(format!("{OWNER}.sock"))).unwrap()
}

fn send(socket: &OwnedFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    // Whoever hangs up first has seen enough.
    let _ =
        rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL);
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut bytes = [0; 1024];
    match rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) {
        Ok((_, len)) => bytes[..len].to_vec(),
        Err(_) => Vec::new(),
    }
}

// Messages by hand, as src/host/message.rs draws them.

fn challenge() -> Vec<u8> {
    [&[1][..], &1_u16.to_le_bytes(), &[9; 16]].concat()
}

fn welcome(hello: &HostHello, theirs: &[u8]) -> Vec<u8> {
    let answer = &hello.to_bytes()[52..68];
    [&[3][..], answer, &theirs[theirs.len() - 16..]].concat()
}

fn frame(request: u64, offset: u64, bytes: u64, stamp: Stamp) -> Vec<u8> {
    let numbers = [request, 1, offset, bytes, stamp.pool].map(u64::to_le_bytes).concat();
    let id = [stamp.id.slot.to_le_bytes(), stamp.id.generation.to_le_bytes()].concat();
    [&[5][..], &numbers, &id].concat()
}

fn header(stamp: Stamp, bytes: u64) -> Vec<u8> {
    let mut fixed = vec![0; 128];
    fixed[..8].copy_from_slice(b"MEMPOOL\0");
    fixed[48..56].copy_from_slice(&bytes.to_le_bytes());
    fixed[72..76].copy_from_slice(&stamp.id.slot.to_le_bytes());
    fixed[76..80].copy_from_slice(&stamp.id.generation.to_le_bytes());
    fixed[80..88].copy_from_slice(&stamp.pool.to_le_bytes());
    fixed
}

/// What a bad owner answers.
struct Answer {
    message: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Answer {
    fn of(descriptors: Vec<OwnedFd>) -> Self {
        Self { message: frame(1, 0, BYTES, STAMP), descriptors }
    }

    fn saying(message: Vec<u8>) -> Self {
        Self { message, descriptors: vec![good_file(STAMP)] }
    }
}

/// An owner that answers the first question in its own way; what the asker makes of it.
fn ask(answer: Answer) -> Result<(), HostError> {
    ask_within(answer, DEADLINE)
}

fn ask_within(answer: Answer, patience: Duration) -> Result<(), HostError> {
    let scratch = Scratch::new("hostile");
    let dir = scratch.runtime();
    let hello = HostHello::from_bytes(&{
        let mut bytes = [7; HostHello::BYTES];
        let boot = mempool_net::host::BootId::here().unwrap();
        bytes[..16].copy_from_slice(&boot.0);
        bytes[16..20].copy_from_slice(&rustix::process::geteuid().as_raw().to_le_bytes());
        bytes[20..36].copy_from_slice(&OWNER.0.to_le_bytes());
        bytes
    })
    .unwrap();
    let listener = socket();
    rustix::net::bind(&listener, &address(&scratch.0)).unwrap();
    rustix::net::listen(&listener, 4).unwrap();
    let maps = ForeignMaps::default();
    let asked = std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = rustix::net::accept(&listener).unwrap();
            send(&socket, &challenge(), &[]);
            let said = receive(&socket);
            send(&socket, &welcome(&hello, &said), &[]);
            receive(&socket);
            let descriptors: Vec<_> = answer.descriptors.iter().map(OwnedFd::as_fd).collect();
            if !answer.message.is_empty() {
                send(&socket, &answer.message, &descriptors);
            }
            // Until the asker hangs up.
            while !receive(&socket).is_empty() {}
        });
        let link = HostLink::connect(&dir, ASKER, hello, patience)?;
        link.fetch(VALUE, Some(STAMP), &maps).map(drop)
    });
    assert_eq!(maps.bytes(), 0, "nothing stays mapped");
    asked
}

fn read_only(file: &File) -> OwnedFd {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap().into()
}

/// A file with no name.
fn file_of(bytes: u64, header: &[u8]) -> File {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).unwrap();
    let mut file = File::from(file);
    file.set_len(bytes).unwrap();
    file.write_all(header).unwrap();
    file
}

fn good_file(stamp: Stamp) -> OwnedFd {
    read_only(&file_of(BYTES, &header(stamp, BYTES)))
}

fn memory(seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("hostile", flags).unwrap());
    file.set_len(BYTES).unwrap();
    file.write_all(&header(STAMP, BYTES)).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    read_only(&file)
}

fn fault(answer: Answer) -> DescriptorFault {
    match ask(answer).unwrap_err() {
        HostError::Descriptor { value: VALUE, fault } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn a_descriptor_that_is_no_frame_of_an_owner_is_refused_and_closed() {
    let _alone = alone();
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    ask(Answer::of(vec![good_file(STAMP)])).unwrap();
    ask(Answer::of(vec![memory(seals)])).unwrap();
    let before = descriptors();

    let nothing = ask(Answer::of(Vec::new())).unwrap_err();
    assert!(matches!(nothing, HostError::Descriptor { value: VALUE, .. }), "{nothing}");
    let writable = file_of(BYTES, &header(STAMP, BYTES));
    let found = fault(Answer::of(vec![writable.into()]));
    assert!(matches!(found, DescriptorFault::Access { .. }), "{found}");
    let path =
        rustix::fs::open(std::env::temp_dir(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let found = fault(Answer::of(vec![path.unwrap()]));
    assert!(matches!(found, DescriptorFault::Access { .. }), "{found}");

    let (reader, _writer) = std::io::pipe().unwrap();
    for other in
        [reader.into(), File::open("/").unwrap().into(), File::open("/dev/null").unwrap().into()]
    {
        let found = fault(Answer::of(vec![other]));
        assert!(matches!(found, DescriptorFault::Type { .. }), "{found}");
    }
    drop(_writer);
    let short = read_only(&file_of(BYTES - 1, &header(STAMP, BYTES)));
    let found = fault(Answer::of(vec![short]));
    assert_eq!(found, DescriptorFault::Short { expected: BYTES, found: BYTES - 1 });

    for missing in seals.iter() {
        let found = fault(Answer::of(vec![memory(seals - missing)]));
        let DescriptorFault::Unsealed { seals: has } = found else { panic!("{found}") };
        assert_eq!(has, (seals - missing).bits());
    }

    let count = |descriptors| fault(Answer::of(descriptors));
    assert_eq!(count(Vec::new()), DescriptorFault::Count { found: 0, cut: false });
    let two = vec![good_file(STAMP), good_file(STAMP)];
    assert_eq!(count(two), DescriptorFault::Count { found: 2, cut: false });
    let flood = (0..200).map(|_| good_file(STAMP)).collect();
    let DescriptorFault::Count { found, cut: true } = count(flood) else { panic!("cut") };
    assert!((2..10).contains(&found), "{found} of them were taken in and closed");

    for (offset, bytes) in
        [(1, BYTES), (64, 128), (0, 127), (0, 0), (0, u64::MAX), (u64::MAX - 4095, BYTES)]
    {
        let found = fault(Answer::saying(frame(1, offset, bytes, STAMP)));
        assert_eq!(found, DescriptorFault::Place { offset, bytes });
    }
    let found = fault(Answer::saying(frame(1, 4096, BYTES, STAMP)));
    assert_eq!(found, DescriptorFault::Short { expected: 4096 + BYTES, found: BYTES });
    assert_eq!(descriptors(), before, "all of them are closed");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give a file away");
    }
    let scratch = Scratch::new("gift");
    let path = scratch.0.join("file");
    fs::write(&path, [&header(STAMP, BYTES)[..], &vec![0; 64 << 10]].concat()).unwrap();
    chown(&path, Some(65_534), None).unwrap();
    let found = fault(Answer::of(vec![File::open(&path).unwrap().into()]));
    assert_eq!(found, DescriptorFault::Owner { expected: 0, found: 65_534 });
}

#[test]
fn a_frame_that_is_none_or_another_values_is_refused() {
    let _alone = alone();
    let before = descriptors();
    let file = |header: &[u8]| Answer::of(vec![read_only(&file_of(BYTES, header))]);
    let error = ask(file(&[0; 128])).unwrap_err();
    assert!(matches!(error, HostError::Frame { value: VALUE, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Damage);
    let error = ask(file(&header(STAMP, BYTES - 64))).unwrap_err();
    assert!(matches!(error, HostError::Frame { value: VALUE, .. }), "{error}");
    let other = Stamp { id: Id { generation: 6, ..ID }, ..STAMP };
    let error = ask(file(&header(other, BYTES))).unwrap_err();
    assert!(
        matches!(error, HostError::WrongFrame { expected: STAMP, found, .. } if found == other),
        "{error}"
    );
    assert_eq!(descriptors(), before);
}

#[test]
fn an_owner_that_answers_something_else_is_hung_up_on() {
    let _alone = alone();
    let before = descriptors();
    let part = |message: Vec<u8>| match ask(Answer::saying(message)).unwrap_err() {
        HostError::Message { peer: OWNER, part, .. } => part,
        other => panic!("{other}"),
    };
    assert_eq!(part(frame(2, 0, BYTES, STAMP)), "request");
    assert_eq!(part(challenge()), "order");
    assert_eq!(part(vec![0; 10]), "kind");
    assert_eq!(part(vec![5; 600]), "length");
    let good = frame(1, 0, BYTES, STAMP);
    for len in 1..good.len() {
        assert_eq!(part(good[..len].to_vec()), "length");
    }
    let silent = Answer { message: Vec::new(), descriptors: Vec::new() };
    let error = ask_within(silent, Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, HostError::Timeout { peer: OWNER, what: "answer", .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert_eq!(descriptors(), before);
}

/// A connection of the asker's that has come as far as it may, or was hung up on.
fn introduced(
    directory: &Path,
    hello: &HostHello,
    bend: impl FnOnce(&mut Vec<u8>),
) -> (OwnedFd, Vec<u8>) {
    let socket = socket();
    rustix::net::connect(&socket, &address(directory)).unwrap();
    let challenge = receive(&socket);
    let from = ASKER.0.to_le_bytes();
    let to = OWNER.0.to_le_bytes();
    let ask = &hello.to_bytes()[36..52];
    let nonce = challenge.get(3..).unwrap_or_default();
    let mut said = [&[2][..], &1_u16.to_le_bytes(), &from, &to, ask, nonce, &[8; 16]].concat();
    bend(&mut said);
    send(&socket, &said, &[]);
    let answer = receive(&socket);
    (socket, answer)
}

#[test]
fn an_asker_that_does_not_keep_to_the_protocol_is_hung_up_on() {
    let _alone = alone();
    let scratch = Scratch::new("askers");
    let owner = Owner::start(&scratch.0);
    let (value, _kept) = owner.put(1, 5 << 20);
    let hello = owner.server.hello(ASKER);
    let quiet =
        || wait_until("the end of all connections", || owner.server.usage().connections == 0);
    let before = descriptors();

    let (socket, answer) = introduced(&scratch.0, &hello, |_| {});
    assert_eq!(answer.first(), Some(&3), "as it should be");
    drop(socket);
    let use_bytes = |reason: u8| [&[8][..], &[0; 8], &[reason]].concat();
    for (at, reason) in [(1, 4), (3, 2), (19, 2), (35, 2), (51, 2)] {
        let (socket, answer) = introduced(&scratch.0, &hello, |said| said[at] ^= 1);
        assert_eq!(answer, use_bytes(reason), "byte {at} is bent");
        assert!(receive(&socket).is_empty(), "and then the owner hangs up");
    }
    for bad in [vec![], vec![2], vec![4; 33], vec![0; 99], vec![2; 500], vec![2; 600]] {
        let (_socket, answer) = introduced(&scratch.0, &hello, |said| *said = bad.clone());
        assert!(answer.is_empty(), "{bad:?} is answered with nothing");
    }
    quiet();

    let get = [
        &[4][..],
        &1_u64.to_le_bytes(),
        &OWNER.0.to_le_bytes(),
        &value.id.slot.to_le_bytes(),
        &value.id.generation.to_le_bytes(),
    ]
    .concat();
    let null = File::open("/dev/null").unwrap();
    for count in [1, 4, 5, 200] {
        let (socket, _) = introduced(&scratch.0, &hello, |_| {});
        send(&socket, &get, &vec![null.as_fd(); count]);
        assert!(receive(&socket).is_empty(), "{count} descriptors are not taken");
    }
    for bad in [vec![1; 20], vec![4; 3], vec![7; 9 * 40], welcome(&hello, &[0; 16])] {
        let (socket, _) = introduced(&scratch.0, &hello, |_| {});
        send(&socket, &bad, &[]);
        assert!(receive(&socket).is_empty());
    }
    quiet();

    // A frame that was sent and not taken is counted for nobody once its asker has gone.
    let (socket, _) = introduced(&scratch.0, &hello, |_| {});
    send(&socket, &get, &[]);
    assert_eq!(receive(&socket).first(), Some(&5));
    assert_eq!(owner.server.usage().exports, 1);
    drop(socket);
    quiet();
    assert_eq!(owner.server.usage().exports, 0);
    // Another one's number ends nothing.
    let (link, maps) = (link(&scratch.0, hello).unwrap(), ForeignMaps::default());
    let view = mapped(&link, value, &maps);
    let (socket, _) = introduced(&scratch.0, &hello, |_| {});
    send(&socket, &[&[7][..], &u64::MAX.to_le_bytes(), &0_u64.to_le_bytes()].concat(), &[]);
    send(&socket, &get, &[]);
    assert_eq!(receive(&socket).first(), Some(&5));
    drop(socket);
    wait_until("the end of what was not taken", || owner.server.usage().exports == 1);
    drop(null);
    drop((view, link));
    quiet();
    // The owner keeps the one by which it would see this process exit.
    wait_until("the end of all other descriptors", || descriptors() == before + 1);
    assert!(owner.server.usage().refused >= 18);
}

#[test]
fn there_are_only_so_many_connections() {
    let _alone = alone();
    let scratch = Scratch::new("crowd");
    let owner = Owner::start(&scratch.0);
    let hello = owner.server.hello(ASKER);
    let before = descriptors();
    let held: Vec<_> = (0..4).map(|_| introduced(&scratch.0, &hello, |_| {})).collect();
    assert!(held.iter().all(|(_, answer)| answer.first() == Some(&3)));
    let (_fifth, answer) = introduced(&scratch.0, &hello, |_| {});
    assert_eq!(answer, [&[8][..], &[0; 8], &[3]].concat(), "busy");
    let error = link(&scratch.0, hello).unwrap_err();
    assert!(matches!(error, HostError::Refused { reason: BytesReason::Busy, .. }), "{error}");
    // Silent ones of nobody that we know.
    let silent: Vec<_> = (0..80)
        .filter_map(|_| {
            let socket = socket();
            rustix::net::connect(&socket, &address(&scratch.0)).ok().map(|()| socket)
        })
        .collect();
    wait_until("the refusal of some", || owner.server.usage().refused >= 3);
    assert!(owner.server.usage().connections <= 64);
    drop((held, silent, _fifth));
    wait_until("the end of all connections", || owner.server.usage().connections == 0);
    // The owner keeps the one by which it would see this process exit.
    wait_until("the end of all other descriptors", || descriptors() == before + 1);
    assert!(link(&scratch.0, hello).is_ok(), "and then it serves again");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let error = mempool_net::host::RuntimeDir::open("/dev/null/run").unwrap_err();
    let HostError::Io { call: "make", path, .. } = error else { panic!("{error}") };
    assert_eq!(path, Path::new("/dev/null/run"));
}
