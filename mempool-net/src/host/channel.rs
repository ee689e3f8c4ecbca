//! One end of a connection: packets with at most one descriptor, and no wait without an end.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::error::HostError;
use super::message::{BYTES_MAX, Message, Wrong};
use crate::identity::Incarnation;

/// Descriptors that are taken in with one message: more than any message has, so that too many are seen as such. What
/// comes beyond them the kernel closes.
const DESCRIPTORS_MAX: usize = 4;

/// One end of a connection to `peer`.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    peer: Incarnation,
}

/// A message and what came with it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether there were more descriptors than were taken in.
    pub(super) cut: bool,
}

/// What a channel waits for: a name for errors, and when it gives up. Without an end it waits for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    what: &'static str,
    end: Option<(Instant, Duration)>,
}

impl Patience {
    pub(super) fn until(what: &'static str, waits: Duration) -> Self {
        let now = Instant::now();
        Self { what, end: now.checked_add(waits).map(|end| (end, waits)) }
    }

    pub(super) fn endless(what: &'static str) -> Self {
        Self { what, end: None }
    }
}

impl Channel {
    /// A channel of a socket that does not block.
    pub(super) fn new(socket: OwnedFd, peer: Incarnation) -> Self {
        Self { socket, peer }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a message whole, with a descriptor or without.
    pub(super) fn send(
        &self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
        patience: Patience,
    ) -> Result<(), HostError> {
        loop {
            match self.send_now(message, descriptor) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, patience)?,
                Err(errno) => return Err(self.error("send to", errno)),
            }
        }
    }

    /// Sends a message if the other end takes it now; waits for nothing.
    pub(super) fn send_now(
        &self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|one| [one]);
        if let Some(one) = &descriptors {
            // There is space for one.
            control.push(SendAncillaryMessage::ScmRights(one));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let sent =
                rustix::net::sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags);
            match sent {
                Err(Errno::INTR) => {}
                // A packet goes as a whole.
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The next message. Descriptors that come with it are closed unless the caller keeps them.
    pub(super) fn receive(&self, patience: Patience) -> Result<Received, HostError> {
        loop {
            match self.receive_now() {
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, patience)?,
                Err(errno) => return Err(self.error("receive from", errno)),
                Ok(None) => return Err(HostError::Closed { peer: self.peer }),
                Ok(Some((packet, descriptors, cut))) => {
                    let message = packet.map_err(|wrong| self.wrong(wrong))?;
                    return Ok(Received { message, descriptors, cut });
                }
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "taken apart by its one caller")]
    fn receive_now(&self) -> Result<Option<(Result<Message, Wrong>, Vec<OwnedFd>, bool)>, Errno> {
        let mut bytes = [0; BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut into = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, &mut into, &mut control, flags) {
                Err(Errno::INTR) => {}
                done => break done?,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 && descriptors.is_empty() {
            return Ok(None);
        }
        let cut = received.flags.contains(ReturnFlags::CTRUNC);
        let packet = match received.flags.contains(ReturnFlags::TRUNC) {
            // How long it was the kernel does not say.
            true => Err(Wrong { part: "length", found: BYTES_MAX as u64 + 1 }),
            false => Message::decode(bytes.get(..received.bytes).unwrap_or_default()),
        };
        Ok(Some((packet, descriptors, cut)))
    }

    fn wait(&self, flags: PollFlags, patience: Patience) -> Result<(), HostError> {
        let timeout = match patience.end {
            None => None,
            Some((end, waited)) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(HostError::Timeout {
                        peer: self.peer,
                        what: patience.what,
                        waited,
                    });
                }
                Timespec::try_from(left).ok()
            }
        };
        let mut polled = [PollFd::new(&self.socket, flags)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(self.error("wait for", errno)),
        }
    }

    pub(super) fn wrong(&self, Wrong { part, found }: Wrong) -> HostError {
        HostError::Message { peer: self.peer, part, found }
    }

    fn error(&self, call: &'static str, errno: Errno) -> HostError {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => {
                HostError::Closed { peer: self.peer }
            }
            // The sender's descriptor table, or the process's, is full, and others: what the system says.
            other => HostError::io(call, std::path::Path::new("the socket"), other),
        }
    }

    /// Ends both directions, for whoever waits at either end.
    pub(super) fn shut_down(&self) {
        // One that has ended already is ended.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    fn pair() -> (Channel, Channel) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        (Channel::new(a, Incarnation(1)), Channel::new(b, Incarnation(2)))
    }

    #[test]
    fn a_message_comes_whole_with_its_descriptor() {
        let (a, b) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        let patience = Patience::until("answer", Duration::from_secs(10));
        for export in 0..3 {
            a.send(&Message::Taken { export }, Some(file.as_fd()), patience).unwrap();
        }
        a.send(&Message::Taken { export: 3 }, None, patience).unwrap();
        for export in 0..4 {
            let received = b.receive(patience).unwrap();
            assert_eq!(received.message, Message::Taken { export });
            assert_eq!(
                (received.descriptors.len(), received.cut),
                (usize::from(export < 3), false)
            );
        }
    }

    #[test]
    fn nobody_waits_for_ever_for_who_says_nothing() {
        let (a, b) = pair();
        let error = a.receive(Patience::until("answer", Duration::from_millis(1))).unwrap_err();
        assert!(matches!(error, HostError::Timeout { what: "answer", .. }), "{error}");
        let message = Message::Taken { export: 0 };
        let full = loop {
            let patience = Patience::until("take", Duration::from_millis(1));
            if let Err(error) = a.send(&message, None, patience) {
                break error;
            }
        };
        assert!(matches!(full, HostError::Timeout { what: "take", .. }), "{full}");
        drop(b);
        let error = a.send(&message, None, Patience::endless("take")).unwrap_err();
        assert!(matches!(error, HostError::Closed { .. }), "{error}");
    }

    #[test]
    fn a_packet_of_another_kind_or_length_is_an_error() {
        let (a, b) = pair();
        let patience = Patience::until("answer", Duration::from_secs(10));
        for (bytes, part) in [(&[0_u8; 3][..], "kind"), (&[6; 20], "length"), (&[6; 600], "length")]
        {
            rustix::net::send(&a.socket, bytes, SendFlags::empty()).unwrap();
            let error = b.receive(patience).unwrap_err();
            assert!(
                matches!(error, HostError::Message { part: found, .. } if found == part),
                "{error}"
            );
        }
    }
}
