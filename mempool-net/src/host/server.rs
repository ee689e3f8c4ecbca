//! `HostServer`: hands frames over to other processes of the same user on the same host.
//!
//! One thread accepts, and waits for the exit of whoever has connected; each connection has a thread of its own, which
//! sleeps in the kernel while nothing is asked. Both are few: a host has a few nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mempool_core::fork::Maker;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::channel::{Channel, Patience};
use super::error::HostError;
use super::exports::{ExportUsage, Exported, Exports};
use super::frame::SharedFrame;
use super::hello::{BootId, HostHello, Introductions, random};
use super::message::{BytesReason, Frame, Message, VERSION, Wrong};
use super::place::{RuntimeDir, own_uid};
use super::process::PeerProcess;
use crate::identity::{GlobalId, Incarnation};

/// What a node has to hand over. Called by the threads of the server, and may block.
pub trait Shelf: Send + Sync + 'static {
    /// The frame of `value` for `holder`, who may ask for it or not; the node says so.
    fn hand_over(&self, holder: Incarnation, value: GlobalId) -> HandOver;

    /// The process of `holder` has exited, which proves that it holds nothing any more; what it mapped has ended. Said once
    /// for each that has connected, at once, by a thread that serves others and must not wait.
    fn exited(&self, holder: Incarnation) {
        let _ = holder;
    }
}

/// What an owner answers.
#[derive(Clone, Debug)]
pub enum HandOver {
    /// Here it is.
    Frame(SharedFrame),
    /// It is to be fetched over the network.
    Bytes(BytesReason),
    /// There is no such value, or not for who asks.
    NoValue,
}

/// All connections together; a host has a few nodes.
const CONNECTIONS_MAX: usize = 64;
/// Of one peer.
pub(super) const PEER_CONNECTIONS_MAX: usize = 4;
/// How long an asker may take to say who it is, or to take in an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long no connection is accepted when the process has no descriptors left.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The socket of one node, at which other processes of its user get frames.
///
/// Dropping it stops it. What others have mapped stays good.
pub struct HostServer {
    inner: Arc<Inner>,
    accepting: Option<JoinHandle<()>>,
    maker: Maker,
}

struct Inner {
    dir: Arc<RuntimeDir>,
    own: Incarnation,
    boot: BootId,
    shelf: Arc<dyn Shelf>,
    listener: OwnedFd,
    /// Written to when the thread that accepts is to look up.
    wake: OwnedFd,
    stopped: AtomicBool,
    introductions: Introductions,
    exports: Exports,
    connections: Mutex<Connections>,
    /// A connection has ended.
    ended: Condvar,
    refused: AtomicU64,
}

#[derive(Default)]
struct Connections {
    last: u64,
    /// Each with the peer that it is known to be of.
    open: BTreeMap<u64, (Arc<Channel>, Option<Incarnation>)>,
}

impl HostServer {
    /// Listens in the place of `own` in `dir`, and hands over what `shelf` has.
    ///
    /// # Errors
    /// [`HostError::Io`] when the socket or a thread cannot be made, or the kernel does not say which start it is.
    pub fn start(
        dir: &Arc<RuntimeDir>,
        own: Incarnation,
        shelf: Arc<dyn Shelf>,
    ) -> Result<Self, HostError> {
        let io = |call| move |error: io::Error| HostError::io(call, &dir.socket_path(own), error);
        let unknown = || io("read the kernel's boot id for")(io::ErrorKind::NotFound.into());
        let boot = BootId::here().ok_or_else(unknown)?;
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let inner = Arc::new(Inner {
            dir: Arc::clone(dir),
            own,
            boot,
            shelf,
            wake: wake.map_err(|errno| io("wait at")(errno.into()))?,
            listener: dir.listen(own)?,
            stopped: AtomicBool::new(false),
            introductions: Introductions::default(),
            exports: Exports::default(),
            connections: Mutex::default(),
            ended: Condvar::new(),
            refused: AtomicU64::new(0),
        });
        let accepts = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("mempool-host".to_owned());
        let spawned = thread.spawn(move || accepts.accept_all());
        // Made before the thread is, so that a failure removes the socket.
        let mut server = Self { inner, accepting: None, maker: Maker::here() };
        server.accepting = Some(spawned.map_err(io("start a thread for"))?);
        Ok(server)
    }

    /// What `peer` is to be told, over a connection that has proved who it is. The same until the peer is forgotten.
    #[must_use]
    pub fn hello(&self, peer: Incarnation) -> HostHello {
        HostHello {
            boot: self.inner.boot,
            uid: own_uid(),
            incarnation: self.inner.own,
            introduction: self.inner.introductions.of(peer),
        }
    }

    /// A peer has ended, by other proof than its exit: what it held ends, and it is not let in again.
    pub fn forget(&self, peer: Incarnation) {
        self.inner.introductions.forget(peer);
        let of_peer = self.inner.channels(|known| known == Some(peer));
        of_peer.iter().for_each(|channel| channel.shut_down());
        self.inner.exports.forget(peer);
    }

    /// What others map now.
    #[must_use]
    pub fn exports(&self) -> Vec<Exported> {
        self.inner.exports.list()
    }

    /// The sums of that.
    #[must_use]
    pub fn usage(&self) -> ExportUsage {
        ExportUsage {
            connections: self.inner.lock().open.len() as u64,
            refused: self.inner.refused.load(Ordering::Relaxed),
            ..self.inner.exports.usage()
        }
    }

    /// Hands over nothing more: ends the threads and removes the socket. Called again it does nothing.
    pub fn stop(&mut self) {
        // In a forked child the socket and its connections are the parent's, and there are no threads.
        if !self.maker.is_here() || self.inner.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.dir.remove(self.inner.own);
        self.inner.wake();
        if let Some(accepting) = self.accepting.take() {
            // A panic there was reported where it happened.
            let _ = accepting.join();
        }
        self.inner.channels(|_| true).iter().for_each(|channel| channel.shut_down());
        let mut connections = self.inner.lock();
        while !connections.open.is_empty() {
            let waited = self.inner.ended.wait(connections);
            connections = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for HostServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for HostServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.inner.dir.socket_path(self.inner.own);
        f.debug_struct("HostServer").field("path", &path).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn channels(&self, of: impl Fn(Option<Incarnation>) -> bool) -> Vec<Arc<Channel>> {
        let connections = self.lock();
        let found = connections.open.values().filter(|(_, peer)| of(*peer));
        found.map(|(channel, _)| Arc::clone(channel)).collect()
    }

    fn accept_all(self: &Arc<Self>) {
        let mut pausing = false;
        while !self.stopped.load(Ordering::Acquire) {
            self.wait(pausing);
            self.note_exits();
            pausing = false;
            loop {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                match rustix::net::accept_with(&self.listener, flags) {
                    Ok(socket) => self.begin(socket),
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => {
                        pausing = true;
                        break;
                    }
                }
            }
        }
    }

    fn note_exits(&self) {
        for holder in self.exports.sweep() {
            self.shelf.exited(holder);
        }
    }

    /// Until somebody connects, a peer exits, or there is something new to look at.
    fn wait(&self, pausing: bool) {
        let processes = self.exports.processes();
        let mut polled = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if !pausing {
            polled.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let exits = processes.iter().map(|process| process.pidfd());
        polled.extend(exits.map(|pidfd| PollFd::from_borrowed_fd(pidfd, PollFlags::IN)));
        // Interrupted or not: it is looked at again.
        let _ = rustix::event::poll(&mut polled, pausing.then_some(&PAUSE));
        let mut count = [0; 8];
        // Empty when nobody called.
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    fn begin(self: &Arc<Self>, socket: OwnedFd) {
        let channel = Arc::new(Channel::new(socket, Incarnation(0)));
        let number = {
            let mut connections = self.lock();
            if connections.open.len() >= CONNECTIONS_MAX {
                drop(connections);
                return self.refuse(&channel, BytesReason::Busy);
            }
            connections.last = connections.last.wrapping_add(1);
            let number = connections.last;
            connections.open.insert(number, (Arc::clone(&channel), None));
            number
        };
        let connection = Connection { inner: Arc::clone(self), channel, number };
        let thread = std::thread::Builder::new().name("mempool-host-peer".to_owned());
        // Without a thread the connection ends, and its place is given back.
        let _ = thread.spawn(move || connection.run());
    }

    /// Says that whoever is there gets bytes, and counts it.
    fn refuse(&self, channel: &Channel, reason: BytesReason) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        // One who does not read it gets nothing, either.
        let _ = channel.send_now(&Message::UseBytes { request: 0, reason }, None);
    }

    /// Notes whose a connection is, unless that peer has as many as it may.
    fn note_peer(&self, number: u64, peer: Incarnation) -> bool {
        let mut connections = self.lock();
        let of_peer = connections.open.values().filter(|(_, known)| *known == Some(peer)).count();
        if of_peer >= PEER_CONNECTIONS_MAX {
            return false;
        }
        if let Some((_, known)) = connections.open.get_mut(&number) {
            *known = Some(peer);
        }
        true
    }
}

/// One connection, and its place among all.
struct Connection {
    inner: Arc<Inner>,
    channel: Arc<Channel>,
    number: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.lock().open.remove(&self.number);
        self.inner.ended.notify_all();
    }
}

/// Frames that were sent and of which the asker has not said that it has them.
struct Untaken<'a> {
    exports: &'a Exports,
    peer: Incarnation,
    numbers: BTreeSet<u64>,
}

impl Drop for Untaken<'_> {
    fn drop(&mut self) {
        let numbers: Vec<u64> = self.numbers.iter().copied().collect();
        self.exports.release(self.peer, &numbers);
    }
}

impl Connection {
    fn run(&self) {
        let served = self.greet().and_then(|peer| self.serve(peer));
        if !matches!(served, Err(HostError::Closed { .. })) {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Finds out who is there. Whoever is no peer of ours is told so, where that is known, and nothing else.
    fn greet(&self) -> Result<Incarnation, HostError> {
        let socket_path = || self.inner.dir.socket_path(self.inner.own);
        let refuse = |reason| {
            let _ = self.channel.send_now(&Message::UseBytes { request: 0, reason }, None);
            HostError::Refused { peer: self.inner.own, reason }
        };
        let process = PeerProcess::of(self.channel.socket())
            .map_err(|error| HostError::io("ask who is at", &socket_path(), error))?;
        if process.uid() != own_uid() {
            return Err(refuse(BytesReason::OtherUser));
        }
        let patience = Patience::until("say who it is", PATIENCE);
        let nonce = random();
        self.channel.send(&Message::Challenge { version: VERSION, nonce }, None, patience)?;
        let hello = match self.channel.receive(patience)? {
            received if !received.descriptors.is_empty() || received.cut => {
                return Err(self.unasked(received.descriptors.len()));
            }
            received => match received.message {
                Message::Hello(hello) => hello,
                _ => return Err(self.channel.wrong(Wrong { part: "order", found: 0 })),
            },
        };
        if hello.version != VERSION {
            return Err(refuse(BytesReason::Version));
        }
        let answer = self.inner.introductions.answer(hello.from, &hello.ask);
        let meant = hello.to == self.inner.own && hello.theirs == nonce;
        // A planted bug: whoever comes is answered.
        let answer = answer.or_else(|| mutant!("stranger_let_in").then(random));
        let answer = answer.filter(|_| meant).ok_or_else(|| refuse(BytesReason::Stranger))?;
        self.inner.note_exits();
        if !self.inner.exports.admit(hello.from, process) {
            return Err(refuse(BytesReason::Stranger));
        }
        if !self.inner.note_peer(self.number, hello.from) {
            return Err(refuse(BytesReason::Busy));
        }
        // Its exit is waited for from now on.
        self.inner.wake();
        self.channel.send(&Message::Welcome { answer, nonce: hello.ours }, None, patience)?;
        Ok(hello.from)
    }

    fn serve(&self, peer: Incarnation) -> Result<(), HostError> {
        let exports = &self.inner.exports;
        let mut untaken = Untaken { exports, peer, numbers: BTreeSet::new() };
        loop {
            let received = self.channel.receive(Patience::endless("ask"))?;
            if !received.descriptors.is_empty() || received.cut {
                return Err(self.unasked(received.descriptors.len()));
            }
            match received.message {
                Message::Get { request, value } => {
                    self.answer(peer, request, value, &mut untaken.numbers)?;
                }
                Message::Taken { export } => {
                    untaken.numbers.remove(&export);
                }
                Message::Release { exports: gone } => {
                    untaken.numbers.retain(|export| !gone.contains(export));
                    exports.release(peer, &gone);
                }
                _ => return Err(self.channel.wrong(Wrong { part: "order", found: 1 })),
            }
        }
    }

    fn answer(
        &self,
        peer: Incarnation,
        request: u64,
        value: GlobalId,
        untaken: &mut BTreeSet<u64>,
    ) -> Result<(), HostError> {
        let patience = Patience::until("take an answer", PATIENCE);
        let say = |message: &Message| self.channel.send(message, None, patience);
        let frame = match self.inner.shelf.hand_over(peer, value) {
            HandOver::Frame(frame) => frame,
            HandOver::Bytes(reason) => return say(&Message::UseBytes { request, reason }),
            HandOver::NoValue => return say(&Message::NoValue { request }),
        };
        let Some(export) = self.inner.exports.add(peer, value, frame.clone()) else {
            return say(&Message::UseBytes { request, reason: BytesReason::TooMany });
        };
        untaken.insert(export);
        let (offset, bytes, stamp) = (frame.offset(), frame.bytes(), frame.stamp());
        let message = Message::Frame(Frame { request, export, offset, bytes, stamp });
        self.channel.send(&message, Some(std::os::fd::AsFd::as_fd(frame.file())), patience)
    }

    /// An asker has sent descriptors: they are closed, and so is its connection.
    fn unasked(&self, found: usize) -> HostError {
        self.channel.wrong(Wrong { part: "descriptors", found: found as u64 })
    }
}
