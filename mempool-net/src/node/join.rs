//! How nodes come to know each other without gossip: each asks the seeds that it was given, and those for whom they know,
//! until every one has answered; whoever is asked knows the asker from then on.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Result;
use crate::node::inner::Inner;
use crate::node::wire::PeerId;
use crate::proto;
use crate::proto::node_client::NodeClient;

/// A seed that did not answer is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Asks each seed until it has answered.
pub(crate) async fn keep_joining(inner: Weak<Inner>, mut leaving: watch::Receiver<bool>) {
    let seeds = inner.upgrade().map(|inner| inner.settings.seeds.clone());
    let mut missing: BTreeSet<String> = seeds.into_iter().flatten().collect();
    loop {
        for seed in missing.clone() {
            let Some(inner) = inner.upgrade() else { return };
            if meet(&inner, &seed).await.is_ok() {
                missing.remove(&seed);
            }
        }
        if missing.is_empty() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN) => {}
            _ = leaving.wait_for(|leaving| *leaving) => return,
        }
    }
}

/// Comes to know who answers at an address, and whom that node knows.
pub(crate) async fn meet(inner: &Arc<Inner>, address: &str) -> Result<PeerId> {
    let within = inner.settings.call_timeout;
    let found = inner.peers.hello(address, within).await?;
    inner.peers.note(&found)?;
    if found.name == inner.me.name {
        return Ok(found);
    }
    let peer = inner.peers.get(&found.name)?;
    let ask = |channel, request| async move { NodeClient::new(channel).peers(request).await };
    let others = peer.call("peers", within, proto::PeersRequest {}, ask).await?;
    for other in others.peers.into_iter().filter_map(|other| PeerId::try_from(other).ok()) {
        let known = inner.peers.get(&other.name).is_ok_and(|peer| peer.id == other);
        if known || other.name == inner.me.name {
            continue;
        }
        // What others say of third nodes is no proof: each is asked itself, and hears of this one that way. One that does
        // not answer is no reason not to know the rest.
        let there = format!("{}@{}", other.name, other.address);
        if let Ok(other) = inner.peers.hello(&there, within).await {
            inner.peers.note(&other)?;
        }
    }
    Ok(found)
}
