//! The loop at the door: it takes sockets, lets each prove who he is beside the others, and hands out those who did.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

use crate::security::accept::Acceptor;
use crate::security::error::SecurityError;
use crate::security::lobby::{Lobby, Source};
use crate::security::stream::Stream;

/// How long the loop rests when the system has no more descriptors: what is open must end first.
const REST: Duration = Duration::from_millis(20);

/// Who came.
#[derive(Debug)]
pub enum Arrival {
    /// One who proved who he is.
    Peer(Stream),
    /// One who did not; his socket is closed. It concerns nobody else, so a server goes on.
    Refused(SecurityError),
}

/// A place where a node listens. Those who are silent or slow keep nobody waiting: each handshake goes on beside the others,
/// has its deadline, and when there are too many the oldest of the address with the most of them goes.
#[derive(Debug)]
pub struct Listener {
    door: Door,
    acceptor: Acceptor,
    lobby: Lobby<oneshot::Sender<()>>,
    handshakes: JoinSet<Result<Stream, SecurityError>>,
    numbers: HashMap<Id, u64>,
}

#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

enum Knock {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// The file of a Unix socket, which goes with its listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // One that stays refuses connections; nobody is told by a destructor.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on a TCP address.
    ///
    /// # Errors
    /// [`SecurityError::PlainText`] before the socket is made, [`SecurityError::Connection`] where the system refuses.
    pub async fn bind_tcp(address: SocketAddr, acceptor: Acceptor) -> Result<Self, SecurityError> {
        acceptor.check_address(address)?;
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|source| cannot_listen(address.to_string(), source))?;
        Ok(Self::new(Door::Tcp(socket), acceptor))
    }

    /// Listens on a Unix socket, which nothing may be at yet, with mode 0600 so that other users cannot connect; whoever wants
    /// them to changes the mode. The file goes when the listener is dropped.
    ///
    /// # Errors
    /// [`SecurityError::Connection`] where the system refuses.
    pub fn bind_unix(path: &Path, acceptor: Acceptor) -> Result<Self, SecurityError> {
        let fail = |source| cannot_listen(path.display().to_string(), source);
        let socket = UnixListener::bind(path).map_err(fail)?;
        let file = SocketFile(path.to_owned());
        // Who connected before this has his credentials looked at like everybody else.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        Ok(Self::new(Door::Unix(socket, file), acceptor))
    }

    fn new(door: Door, acceptor: Acceptor) -> Self {
        let lobby = Lobby::new(acceptor.guard().policy().bounds.handshakes_max);
        Self { door, acceptor, lobby, handshakes: JoinSet::new(), numbers: HashMap::new() }
    }

    /// Where it listens; a Unix socket has no address.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Tcp(socket) => socket.local_addr().ok(),
            Door::Unix(..) => None,
        }
    }

    /// How many sockets have not yet proved who they are.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.lobby.len()
    }

    /// The next who came. It may be dropped while it waits: nobody is lost.
    pub async fn next(&mut self) -> Arrival {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next_with_id() => {
                    return self.done(done);
                }
                knock = knock(&self.door) => match knock {
                    Ok(knock) => self.begin(knock),
                    Err(source) => {
                        tokio::time::sleep(REST).await;
                        return Arrival::Refused(cannot_listen("a new socket".to_owned(), source));
                    }
                },
            }
        }
    }

    fn begin(&mut self, knock: Knock) {
        let (source, peer): (Source, _) = match &knock {
            Knock::Tcp(_, address) => (Some(address.ip().to_canonical()), address.to_string()),
            Knock::Unix(_) => (None, "a process of this host".to_owned()),
        };
        let (stay, sent_away) = oneshot::channel();
        // Dropping what `stay` of another one was tells his task to end.
        let (number, _) = self.lobby.enter(source, stay);
        let (acceptor, limit) = (self.acceptor.clone(), self.lobby.limit());
        let task = self.handshakes.spawn(async move {
            let accepting = async {
                match knock {
                    Knock::Tcp(socket, _) => acceptor.accept_tcp(socket).await,
                    Knock::Unix(socket) => acceptor.accept_unix(socket).await,
                }
            };
            tokio::select! {
                done = accepting => done,
                _ = sent_away => Err(SecurityError::Crowded { peer, limit }),
            }
        });
        self.numbers.insert(task.id(), number);
    }

    fn done(&mut self, done: Result<(Id, Result<Stream, SecurityError>), JoinError>) -> Arrival {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some(number) = self.numbers.remove(&id) {
            self.lobby.leave(number);
        }
        match done {
            Ok((_, Ok(stream))) => Arrival::Peer(stream),
            Ok((_, Err(error))) => Arrival::Refused(error),
            // A handshake that panicked, or whose runtime ends.
            Err(error) => Arrival::Refused(cannot_listen("a handshake".to_owned(), error.into())),
        }
    }
}

async fn knock(door: &Door) -> io::Result<Knock> {
    match door {
        Door::Tcp(socket) => {
            socket.accept().await.map(|(socket, address)| Knock::Tcp(socket, address))
        }
        Door::Unix(socket, _) => socket.accept().await.map(|(socket, _)| Knock::Unix(socket)),
    }
}

fn cannot_listen(peer: String, source: io::Error) -> SecurityError {
    let phase = crate::security::Phase::Connect;
    SecurityError::Connection { peer, phase, source }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.door, self.local_address()) {
            (_, Some(address)) => write!(f, "{address}"),
            (Door::Unix(_, file), None) => write!(f, "{}", file.0.display()),
            (Door::Tcp(_), None) => f.write_str("an address that the system does not tell"),
        }
    }
}
