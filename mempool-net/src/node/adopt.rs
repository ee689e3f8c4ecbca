//! References that come from other nodes become references of this pool: first this node is registered with the owner, then
//! there is an entry. Whoever sent them holds them until that is done.

use std::collections::HashMap;
use std::sync::Arc;

use mempool_core::{RemoteFrame, RemoteValue, Untyped};

use crate::error::{NetError, Reason, Result};
use crate::identity::GlobalId;
use crate::node::describe::{Closure, Description};
use crate::node::inner::Inner;
use crate::node::remotes::Remote;
use crate::node::wire::PeerId;
use crate::protocol::{Hold, Reference};

/// A value of a closure on its way into the pool.
enum Coming {
    /// It is here: this node's own, or one that it refers to already.
    Here(Untyped),
    /// This node registers itself.
    New(Arc<Remote>, Arc<Description>),
}

impl Inner {
    /// Takes in the values of a closure; answers those that are meant. Of one of them this node may have a use already.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        closure: Closure,
        mut held: Option<(GlobalId, Hold)>,
    ) -> Result<Vec<Untyped>> {
        let Closure { values, roots } = closure;
        let mut coming = Vec::with_capacity(values.len());
        for described in values {
            let hold = held.take_if(|(value, _)| *value == described.value).map(|(_, hold)| hold);
            coming.push((described.value, self.begin_to_adopt(described, hold).await?));
        }
        if let Some((_, hold)) = held {
            self.drop_hold(hold);
        }
        let mut here: HashMap<GlobalId, Untyped> = HashMap::with_capacity(coming.len());
        for (value, one) in coming {
            let untyped = match one {
                Coming::Here(untyped) => untyped,
                Coming::New(remote, described) => {
                    self.stands(value).await.map_err(|error| named(error, &described))?;
                    self.enter(remote, &described, &here)?
                }
            };
            here.insert(value, untyped);
        }
        let root = |value| here.get(&value).cloned().ok_or_else(|| no_value(&self.me, value));
        roots.into_iter().map(root).collect()
    }

    async fn begin_to_adopt(
        self: &Arc<Self>,
        described: Description,
        hold: Option<Hold>,
    ) -> Result<Coming> {
        let Description { value, epoch, ref owner, .. } = described;
        if owner.incarnation == self.me.incarnation {
            hold.into_iter().for_each(|hold| self.drop_hold(hold));
            let own = self.own_value(value).ok_or_else(|| no_value(&self.me, value))?;
            return Ok(Coming::Here(own));
        }
        let known = self.remotes.entry(value).and_then(|entry| self.pool.find(entry));
        if let Some(known) = known {
            hold.into_iter().for_each(|hold| self.drop_hold(hold));
            return Ok(Coming::Here(known));
        }
        let owner = owner.clone();
        let described = Arc::new(described);
        let hold = hold.unwrap_or_else(|| {
            let reference = Reference { value, owner: owner.incarnation, epoch, version: 0 };
            self.at_once(|machine, now, keeper| machine.acquire(now, reference, keeper))
        });
        // From here on the use ends with it.
        let remote = Remote::new(self, Arc::clone(&described), hold);
        self.know(&owner).await?;
        Ok(Coming::New(remote, described))
    }

    fn enter(
        &self,
        remote: Arc<Remote>,
        described: &Description,
        here: &HashMap<GlobalId, Untyped>,
    ) -> Result<Untyped> {
        let reference = |value: &GlobalId| here.get(value).cloned();
        let references: Option<Vec<Untyped>> = described.references.iter().map(reference).collect();
        let (id, pool) = described.written;
        let entered = self.pool.adopt_remote(RemoteValue {
            format: described.format,
            type_name: described.type_name.clone(),
            charged_bytes: described.charged_bytes,
            references: references.ok_or_else(|| no_value(&described.owner, described.value))?,
            id,
            pool,
            frame: Arc::clone(&remote) as Arc<dyn RemoteFrame>,
        })?;
        remote.stands_as(entered.id());
        Ok(entered)
    }

    /// Comes to know a node that somebody else spoke of: it is asked itself.
    pub(crate) async fn know(self: &Arc<Self>, node: &PeerId) -> Result<()> {
        let known =
            self.peers.get(&node.name).ok().filter(|peer| peer.id.incarnation >= node.incarnation);
        if known.is_none() {
            let there = format!("{}@{}", node.name, node.address);
            let found = self.peers.hello(&there, self.settings.call_timeout).await?;
            self.peers.note(&found)?;
        }
        let known = self.peers.get(&node.name)?;
        if known.id.incarnation == node.incarnation {
            return known.check_alive();
        }
        let (name, meant) = (node.name.clone(), node.incarnation);
        let found = Some(known.id.incarnation).filter(|found| *found > meant);
        Err(NetError::Ended { node: name, meant, found })
    }
}

/// The error with the name of the owner, which nothing here has noted yet.
fn named(error: NetError, described: &Description) -> NetError {
    use crate::protocol::Refusal;
    match error {
        NetError::Claim(Refusal::OwnerDead { owner }) => {
            NetError::Ended { node: described.owner.name.clone(), meant: owner, found: None }
        }
        NetError::Claim(Refusal::Gone { value, .. }) => no_value(&described.owner, value),
        error => error,
    }
}

fn no_value(owner: &PeerId, value: GlobalId) -> NetError {
    NetError::Remote {
        node: owner.name.to_string(),
        call: "claim",
        kind: mempool_core::ErrorKind::Misuse,
        reason: Reason::NoValue,
        said: format!("{value} is not there any more"),
    }
}
