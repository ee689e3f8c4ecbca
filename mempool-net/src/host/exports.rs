//! What other processes map of ours: who, which values, how many bytes. An export ends when its holder says so, or exits.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::SharedFrame;
use super::process::PeerProcess;
use crate::identity::{GlobalId, Incarnation};

/// The most that one peer maps at a time: a process has room for 65,530 maps.
pub(super) const EXPORTS_MAX: usize = 32_768;

/// A frame that another process maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Who has it.
    pub holder: Incarnation,
    /// The holder's process; 0 where it cannot be seen from here.
    pub pid: u32,
    /// The value.
    pub value: GlobalId,
    /// How long its frame is.
    pub bytes: u64,
}

/// What a node hands over to others on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportUsage {
    /// Processes that have connected and have not exited.
    pub peers: u64,
    /// Their connections.
    pub connections: u64,
    /// Frames that they map, each as often as it was handed over.
    pub exports: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Frames that were ever handed over.
    pub handed_over: u64,
    /// Connections that were refused, or ended because the other end did not keep to the protocol.
    pub refused: u64,
}

/// The table of a node.
#[derive(Default)]
pub(super) struct Exports(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    peers: BTreeMap<Incarnation, Peer>,
}

struct Peer {
    process: Arc<PeerProcess>,
    held: BTreeMap<u64, Held>,
}

struct Held {
    value: GlobalId,
    bytes: u64,
    /// What lives as long as the export.
    _kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl Exports {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a peer that has shown who it is; `false` when another process is that node.
    pub(super) fn admit(&self, holder: Incarnation, process: PeerProcess) -> bool {
        let mut state = self.lock();
        match state.peers.entry(holder) {
            Entry::Occupied(known) => known.get().process.pid() == process.pid(),
            Entry::Vacant(place) => {
                place.insert(Peer { process: Arc::new(process), held: BTreeMap::new() });
                true
            }
        }
    }

    /// Counts a frame that is to be handed over; its number, or `None` when the peer has as many as it may or has exited.
    pub(super) fn add(
        &self,
        holder: Incarnation,
        value: GlobalId,
        frame: SharedFrame,
    ) -> Option<u64> {
        let mut state = self.lock();
        let number = state.last.checked_add(1)?;
        let peer = state.peers.get_mut(&holder)?;
        if peer.held.len() >= EXPORTS_MAX {
            return None;
        }
        let bytes = frame.bytes();
        peer.held.insert(number, Held { value, bytes, _kept: frame.take_kept() });
        state.last = number;
        Some(number)
    }

    /// Ends exports of a peer's. A number that is not one of them changes nothing, so a message may come twice.
    pub(super) fn release(&self, holder: Incarnation, exports: &[u64]) {
        let mut state = self.lock();
        let Some(peer) = state.peers.get_mut(&holder) else { return };
        let gone: Vec<_> = exports.iter().filter_map(|export| peer.held.remove(export)).collect();
        drop(state);
        // What was kept for them ends under no lock.
        drop(gone);
    }

    /// Ends all that a peer has.
    pub(super) fn forget(&self, holder: Incarnation) {
        let gone = self.lock().peers.remove(&holder);
        drop(gone);
    }

    /// Ends all that those peers have whose processes have exited; which they are.
    pub(super) fn sweep(&self) -> Vec<Incarnation> {
        let mut state = self.lock();
        let exited = state.peers.iter().filter(|(_, peer)| peer.process.has_exited());
        let exited = exited.filter(|_| !mutant!("exit_of_a_holder_unseen"));
        let exited: Vec<Incarnation> = exited.map(|(&holder, _)| holder).collect();
        let gone: Vec<_> = exited.iter().filter_map(|holder| state.peers.remove(holder)).collect();
        drop(state);
        // What was kept for them ends under no lock.
        drop(gone);
        exited
    }

    /// The processes of all peers.
    pub(super) fn processes(&self) -> Vec<Arc<PeerProcess>> {
        self.lock().peers.values().map(|peer| Arc::clone(&peer.process)).collect()
    }

    pub(super) fn list(&self) -> Vec<Exported> {
        let state = self.lock();
        let of_peer = |(&holder, peer): (&Incarnation, &Peer)| {
            let pid = peer.process.pid();
            let export =
                |held: &Held| Exported { holder, pid, value: held.value, bytes: held.bytes };
            peer.held.values().map(export).collect::<Vec<_>>()
        };
        state.peers.iter().flat_map(of_peer).collect()
    }

    /// The figures that the table knows.
    pub(super) fn usage(&self) -> ExportUsage {
        let state = self.lock();
        let held = || state.peers.values().flat_map(|peer| peer.held.values());
        ExportUsage {
            peers: state.peers.len() as u64,
            exports: held().count() as u64,
            bytes: held().map(|held| held.bytes).sum(),
            handed_over: state.last,
            ..ExportUsage::default()
        }
    }
}
