//! What other nodes say of themselves and of their values, as users see it.

use mempool_core::{Place, ValueInfo};

use crate::identity::GlobalId;
use crate::node::wire::{self, Malformed};
use crate::proto;

/// The figures of a node and of its pool; see [`Stats`](mempool_core::Stats) for what each counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// The memory limit.
    pub limit_bytes: u64,
    /// Resident bytes and reservations.
    pub used_bytes: u64,
    /// The most that they have been.
    pub peak_bytes: u64,
    /// Values that are there, those of others that it refers to included.
    pub values: u64,
    /// Values that were set.
    pub sets: u64,
    /// Gets that answered.
    pub gets: u64,
    /// Of those, gets that found the value in memory.
    pub hits: u64,
    /// Values brought back from disk or from another node.
    pub loads: u64,
    /// Evictions that wrote a frame first.
    pub spills: u64,
    /// Bytes of frames on disk that some reference claims.
    pub live_disk_bytes: u64,
    /// Values of its own that others claim.
    pub claimed_values: u64,
    /// Pairs of a holder and a value that it claims there.
    pub claims: u64,
    /// Values of others that it claims.
    pub remote_references: u64,
}

impl From<proto::StatsResponse> for NodeStats {
    fn from(message: proto::StatsResponse) -> Self {
        Self {
            limit_bytes: message.limit_bytes,
            used_bytes: message.used_bytes,
            peak_bytes: message.peak_bytes,
            values: message.values,
            sets: message.sets,
            gets: message.gets,
            hits: message.hits,
            loads: message.loads,
            spills: message.spills,
            live_disk_bytes: message.live_disk_bytes,
            claimed_values: message.claimed_values,
            claims: message.claims,
            remote_references: message.remote_references,
        }
    }
}

impl From<NodeStats> for proto::StatsResponse {
    fn from(stats: NodeStats) -> Self {
        Self {
            limit_bytes: stats.limit_bytes,
            used_bytes: stats.used_bytes,
            peak_bytes: stats.peak_bytes,
            values: stats.values,
            sets: stats.sets,
            gets: stats.gets,
            hits: stats.hits,
            loads: stats.loads,
            spills: stats.spills,
            live_disk_bytes: stats.live_disk_bytes,
            claimed_values: stats.claimed_values,
            claims: stats.claims,
            remote_references: stats.remote_references,
        }
    }
}

/// What a node knows of one of its values, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueAt {
    /// Its name in the cluster.
    pub id: GlobalId,
    /// Its type, for people.
    pub value_type: String,
    /// Its codec, for people.
    pub codec: String,
    /// Where it is.
    pub place: Place,
    /// What it takes from the memory limit there.
    pub resident_bytes: u64,
    /// The length of its frame on disk there; `None` when no good copy is on it.
    pub frame_bytes: Option<u64>,
    /// How many readers hold it there.
    pub pins: u32,
    /// How many references to it are there, that for the claims of others included.
    pub references: u32,
    /// Whether it is dropped instead of spilled.
    pub discardable: bool,
    /// Whether it was deleted, and is there for its readers alone.
    pub deleted: bool,
}

impl ValueAt {
    /// A value of this node's own.
    pub(crate) fn of(id: GlobalId, info: &ValueInfo) -> Self {
        Self {
            id,
            value_type: info.value_type.to_owned(),
            codec: info.codec.to_string(),
            place: info.place,
            resident_bytes: info.resident_bytes,
            frame_bytes: info.frame_bytes,
            pins: info.pins,
            references: info.references,
            discardable: info.discardable,
            deleted: info.deleted,
        }
    }
}

impl TryFrom<proto::Value> for ValueAt {
    type Error = Malformed;

    fn try_from(message: proto::Value) -> Result<Self, Malformed> {
        let place = wire::place_of(message.place()).ok_or("a value that is nowhere")?;
        Ok(Self {
            id: wire::value_of(message.id)?,
            value_type: message.value_type,
            codec: message.codec,
            place,
            resident_bytes: message.resident_bytes,
            frame_bytes: message.frame_bytes,
            pins: message.pins,
            references: message.references,
            discardable: message.discardable,
            deleted: message.deleted,
        })
    }
}

/// A name at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedAt {
    /// The name.
    pub name: String,
    /// Its value.
    pub id: GlobalId,
    /// The value's type, for people.
    pub value_type: String,
}

impl TryFrom<proto::Named> for NamedAt {
    type Error = Malformed;

    fn try_from(message: proto::Named) -> Result<Self, Malformed> {
        let id = wire::value_of(message.value)?;
        Ok(Self { name: message.name, id, value_type: message.value_type })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_there_and_back() {
        let stats = NodeStats { limit_bytes: 1, claims: 2, loads: 3, ..NodeStats::default() };
        assert_eq!(NodeStats::from(proto::StatsResponse::from(stats)), stats);
    }

    #[test]
    fn a_value_that_is_nowhere_is_refused() {
        let id = Some(proto::ValueId {
            birth: Some(proto::Incarnation::default()),
            slot: 0,
            generation: 1,
        });
        let nowhere = proto::Value { id, ..proto::Value::default() };
        assert!(ValueAt::try_from(nowhere.clone()).is_err());
        let resident = proto::Value { place: proto::Place::Resident.into(), ..nowhere };
        assert_eq!(ValueAt::try_from(resident).map(|value| value.place), Ok(Place::Resident));
    }
}
