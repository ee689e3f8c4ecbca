//! Asks each peer now and then whether it is there: a few times without an answer, and it is suspected. One on the same host is
//! looked for there, and once its process has exited, that is a proof.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::Inner;

/// How often each peer is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks all peers, round by round, until the node leaves.
pub(crate) async fn keep_asking(inner: Weak<Inner>, mut leaving: watch::Receiver<bool>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let mut asked = JoinSet::new();
        for peer in strong.peers.list().into_iter().filter(|peer| peer.check_alive().is_ok()) {
            let inner = Arc::clone(&strong);
            asked.spawn(async move {
                if peer.has_exited() {
                    return peer.end(None);
                }
                let answer = peer.ask_whether_alive(ANSWER_WITHIN).await;
                let answers = answer.is_ok();
                if peer.note_answer(answers) {
                    inner.note_suspected(peer.id.incarnation, !answers);
                }
                if let Ok(Some(hello)) = answer
                    && peer.neighbour.get().is_none()
                {
                    let looked = tokio::task::spawn_blocking(move || inner.look_for(&peer, &hello));
                    let _ = looked.await;
                }
            });
        }
        drop(strong);
        while asked.join_next().await.is_some() {}
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = leaving.wait_for(|leaving| *leaving) => return,
        }
    }
}
