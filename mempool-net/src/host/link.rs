//! `HostLink`: gets frames from a node of the same user on the same host.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memmap2::Mmap;
use mempool_core::fork::Maker;
use mempool_core::{Buffer, ForeignMap, ForeignMaps};

use super::channel::{Channel, Patience};
use super::error::HostError;
use super::frame::{Stamp, check, check_mapped};
use super::hello::{BootId, HostHello, random, same};
use super::map::map;
use super::message::{BytesReason, Frame, Hello, Message, RELEASES_MAX, VERSION, Wrong};
use super::place::{RuntimeDir, own_uid};
use super::process::PeerProcess;
use super::server::PEER_CONNECTIONS_MAX;
use crate::identity::{GlobalId, Incarnation};

/// What an owner on the same host gives for a value.
#[derive(Debug)]
pub enum Given {
    /// Its frame, mapped: nothing was copied. Its length, its magic and whose it is were checked; its checksums were not.
    Mapped {
        /// The whole frame.
        frame: Buffer,
        /// What its header says.
        stamp: Stamp,
    },
    /// It is to be fetched as bytes, over the network.
    UseBytes(BytesReason),
}

/// A way to one node on the same host.
///
/// *Clone* costs one atomic addition. *Threads*: those that fetch at a time have a connection each, up to four; further ones
/// wait. Maps of its frames keep it alive, and tell the owner when they end.
#[derive(Clone)]
pub struct HostLink(Arc<Inner>);

struct Inner {
    dir: Arc<RuntimeDir>,
    own: Incarnation,
    peer: HostHello,
    process: PeerProcess,
    patience: Duration,
    channels: Mutex<Channels>,
    /// A connection is idle again, or there is one less.
    freed: Condvar,
    /// Exports that ended here and of which the owner was not told yet.
    ended: Mutex<Vec<u64>>,
    requests: AtomicU64,
    maker: Maker,
}

struct Channels {
    idle: Vec<Channel>,
    open: usize,
}

impl HostLink {
    /// Connects to the node of which `peer` was told over another connection. No answer takes longer than `patience`.
    ///
    /// # Errors
    /// [`HostError::OtherHost`], [`HostError::OtherUser`], [`HostError::NotListening`], [`HostError::Refused`]: its values
    /// are to be had over the network alone. [`HostError::Stranger`] when whoever listens there is not that node;
    /// [`HostError::Timeout`], [`HostError::Closed`], [`HostError::Message`], [`HostError::Io`].
    pub fn connect(
        dir: &Arc<RuntimeDir>,
        own: Incarnation,
        peer: HostHello,
        patience: Duration,
    ) -> Result<Self, HostError> {
        // Where the kernel does not say which start it is, no other can be the same.
        let expected = BootId::here().unwrap_or(BootId([0; 16]));
        if peer.boot != expected {
            let found = peer.boot;
            return Err(HostError::OtherHost { peer: peer.incarnation, expected, found });
        }
        check_user(peer.uid, 0)?;
        let (channel, process) = open(dir, own, &peer, patience)?;
        Ok(Self(Arc::new(Inner {
            dir: Arc::clone(dir),
            own,
            peer,
            process,
            patience,
            channels: Mutex::new(Channels { idle: vec![channel], open: 1 }),
            freed: Condvar::new(),
            ended: Mutex::default(),
            requests: AtomicU64::new(0),
            maker: Maker::here(),
        })))
    }

    /// The node at the other end.
    #[must_use]
    pub fn peer(&self) -> Incarnation {
        self.0.peer.incarnation
    }

    /// Its process, whose exit proves that the node has ended.
    #[must_use]
    pub fn process(&self) -> &PeerProcess {
        &self.0.process
    }

    /// Gets the frame of a value and maps it; `maps` counts it until the last view of it is gone. With `expected` the frame
    /// must be of that value, and without of whichever the owner says.
    ///
    /// # Errors
    /// [`HostError::NoValue`]; [`HostError::Descriptor`], [`HostError::Frame`] and [`HostError::WrongFrame`] for what is no
    /// frame of that value; those of [`connect`](Self::connect). But for the first, all of them say no more than that the
    /// value is to be fetched over the network.
    pub fn fetch(
        &self,
        value: GlobalId,
        expected: Option<Stamp>,
        maps: &ForeignMaps,
    ) -> Result<Given, HostError> {
        let inner = &self.0;
        // In a forked child the connections are the parent's.
        if !inner.maker.is_here() {
            return Err(HostError::Closed { peer: self.peer() });
        }
        let channel = inner.take_channel()?;
        match inner.ask(&channel, value) {
            // What comes later on that connection would answer nobody's request: it ends.
            Err(error) => {
                drop(channel);
                inner.note_lost();
                Err(error)
            }
            Ok(Answer::NoValue) => {
                inner.give_back(channel);
                Err(HostError::NoValue { peer: self.peer(), value })
            }
            Ok(Answer::UseBytes(reason)) => {
                inner.give_back(channel);
                Ok(Given::UseBytes(reason))
            }
            Ok(Answer::Frame(frame, descriptors, cut)) => {
                let claim = Claim { link: self.clone(), export: frame.export };
                // Told to the owner before the connection is given to somebody else: or it takes the frame back.
                let taken = Message::Taken { export: frame.export };
                let told = channel.send(&taken, None, inner.until("take an answer"));
                match told {
                    Ok(()) => inner.give_back(channel),
                    Err(error) => {
                        drop(channel);
                        inner.note_lost();
                        return Err(error);
                    }
                }
                let file = check(value, &frame, descriptors, cut)?;
                let map = map(&file, frame.offset, frame.bytes)
                    .map_err(|error| HostError::io("map a frame from", &inner.place(), error))?;
                check_mapped(value, expected.unwrap_or(frame.stamp), &map)?;
                let view = View { map, _counted: maps.count(frame.bytes), _claim: claim };
                Ok(Given::Mapped { frame: Buffer::adopt(view, None), stamp: frame.stamp })
            }
        }
    }
}

impl fmt::Debug for HostLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostLink").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

/// A frame of another process, mapped. Its parts go in this order: unmapped, counted no more, and then the owner is told.
struct View {
    map: Mmap,
    _counted: ForeignMap,
    _claim: Claim,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// What the owner counts for us.
struct Claim {
    link: HostLink,
    export: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let inner = &self.link.0;
        // A forked child's copy is not the one that was counted.
        if inner.maker.is_here() || mutant!("export_ended_by_a_fork") {
            inner.lock_ended().push(self.export);
            inner.tell_ended();
        }
    }
}

enum Answer {
    Frame(Frame, Vec<std::os::fd::OwnedFd>, bool),
    UseBytes(BytesReason),
    NoValue,
}

impl Inner {
    fn place(&self) -> std::path::PathBuf {
        self.dir.socket_path(self.peer.incarnation)
    }

    fn until(&self, what: &'static str) -> Patience {
        Patience::until(what, self.patience)
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_ended(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, channel: &Channel, value: GlobalId) -> Result<Answer, HostError> {
        // Relaxed: numbers need only differ.
        let ours = self.requests.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let patience = self.until("answer");
        channel.send(&Message::Get { request: ours, value }, None, patience)?;
        let received = channel.receive(patience)?;
        let (request, answer) = match received.message {
            Message::Frame(frame) => {
                (frame.request, Answer::Frame(frame, received.descriptors, received.cut))
            }
            Message::UseBytes { request, reason } => (request, Answer::UseBytes(reason)),
            Message::NoValue { request } => (request, Answer::NoValue),
            _ => return Err(channel.wrong(Wrong { part: "order", found: ours })),
        };
        match request == ours {
            true => Ok(answer),
            false => Err(channel.wrong(Wrong { part: "request", found: request })),
        }
    }

    /// An idle connection, a new one, or one that somebody gives back in time.
    fn take_channel(&self) -> Result<Channel, HostError> {
        let begun = Instant::now();
        let mut channels = self.lock();
        loop {
            if let Some(channel) = channels.idle.pop() {
                return Ok(channel);
            }
            if channels.open < PEER_CONNECTIONS_MAX {
                channels.open = channels.open.saturating_add(1);
                drop(channels);
                return self.reconnect().inspect_err(|_| self.note_lost());
            }
            let left = self.patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let (peer, what) = (self.peer.incarnation, "have an idle connection");
                return Err(HostError::Timeout { peer, what, waited: self.patience });
            }
            let waited = self.freed.wait_timeout(channels, left);
            channels = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn reconnect(&self) -> Result<Channel, HostError> {
        let peer = self.peer.incarnation;
        let (channel, process) = open(&self.dir, self.own, &self.peer, self.patience)?;
        if self.process.has_exited() || process.pid() != self.process.pid() {
            return Err(HostError::Stranger { peer, what: "that it is the process that it was" });
        }
        Ok(channel)
    }

    fn give_back(&self, channel: Channel) {
        self.lock().idle.push(channel);
        self.freed.notify_one();
        self.tell_ended();
    }

    fn note_lost(&self) {
        let mut channels = self.lock();
        channels.open = channels.open.saturating_sub(1);
        drop(channels);
        self.freed.notify_one();
    }

    /// Tells the owner what has ended, if a connection is idle: otherwise who gives one back does. Waits for nothing.
    fn tell_ended(&self) {
        while !self.lock_ended().is_empty() {
            let Some(channel) = self.lock().idle.pop() else { return };
            let told = self.tell_all(&channel);
            self.lock().idle.push(channel);
            self.freed.notify_one();
            if !told {
                return;
            }
        }
    }

    fn tell_all(&self, channel: &Channel) -> bool {
        loop {
            let exports: Vec<u64> = {
                let mut ended = self.lock_ended();
                let kept = ended.len().saturating_sub(RELEASES_MAX);
                ended.split_off(kept)
            };
            if exports.is_empty() {
                return true;
            }
            let message = Message::Release { exports: exports.clone() };
            if channel.send_now(&message, None).is_err() {
                // The next one to use a connection tells it, or the owner sees that this process has exited.
                self.lock_ended().extend(exports);
                return false;
            }
        }
    }
}

fn check_user(found: u32, pid: u32) -> Result<(), HostError> {
    let expected = own_uid();
    match found == expected {
        true => Ok(()),
        false => Err(HostError::OtherUser { expected, found, pid }),
    }
}

/// Connects, and finds out that the node there is the one that `peer` speaks of.
fn open(
    dir: &RuntimeDir,
    own: Incarnation,
    peer: &HostHello,
    patience: Duration,
) -> Result<(Channel, PeerProcess), HostError> {
    let to = peer.incarnation;
    let channel = Channel::new(dir.connect(to)?, to);
    let process = PeerProcess::of(channel.socket())
        .map_err(|error| HostError::io("ask who is at", &dir.socket_path(to), error))?;
    check_user(process.uid(), process.pid())?;
    let patience = Patience::until("say who it is", patience);
    let receive = || -> Result<Message, HostError> {
        let received = channel.receive(patience)?;
        let found = received.descriptors.len() as u64;
        match received.message {
            _ if found > 0 || received.cut => {
                Err(channel.wrong(Wrong { part: "descriptors", found }))
            }
            Message::UseBytes { reason, .. } => Err(HostError::Refused { peer: to, reason }),
            message => Ok(message),
        }
    };
    let order = || channel.wrong(Wrong { part: "order", found: 0 });
    let Message::Challenge { version, nonce: theirs } = receive()? else { return Err(order()) };
    if version != VERSION {
        return Err(channel.wrong(Wrong { part: "version", found: u64::from(version) }));
    }
    let (ours, ask) = (random(), peer.introduction.ask);
    let hello = Hello { version, from: own, to, ask, theirs, ours };
    channel.send(&Message::Hello(hello), None, patience)?;
    let Message::Welcome { answer, nonce } = receive()? else { return Err(order()) };
    if !same(&answer, &peer.introduction.answer) || nonce != ours {
        return Err(HostError::Stranger { peer: to, what: "what the node has told us" });
    }
    Ok((channel, process))
}
