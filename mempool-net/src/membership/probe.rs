//! Asks each peer now and then whether it is there: a few times without an answer, and it is suspected.

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
                let answers = peer.ask_whether_alive(ANSWER_WITHIN).await.is_ok();
                if peer.note_answer(answers) {
                    inner.note_suspected(peer.id.incarnation, !answers);
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
