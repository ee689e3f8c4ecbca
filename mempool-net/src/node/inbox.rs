//! References that other nodes have sent and that the program has not taken yet. Each is held by this node from when its
//! sender was answered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mempool_core::Untyped;
use tokio::sync::Notify;

use crate::identity::NodeName;
use crate::node::wire::Malformed;

/// The most references that wait.
const MOST: usize = 65_536;
/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 256;

/// A reference that came.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: NodeName,
    pub(crate) label: String,
    pub(crate) value: Untyped,
}

impl Letter {
    /// A label that is short enough.
    pub(crate) fn label(label: String) -> Result<String, Malformed> {
        match label.len() {
            0..=LABEL_BYTES_MAX => Ok(label),
            more => Err(format!("a label of {more} bytes, and {LABEL_BYTES_MAX} are the most")),
        }
    }
}

/// What waits, in the order in which it came.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    letters: Mutex<VecDeque<Letter>>,
    came: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        // Nothing panics with the lock held.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more has room.
    pub(crate) fn check_room(&self) -> Result<(), ()> {
        if self.lock().len() < MOST { Ok(()) } else { Err(()) }
    }

    /// Adds one.
    ///
    /// # Errors
    /// Gives it back when there are too many.
    pub(crate) fn put(&self, letter: Letter) -> Result<(), Letter> {
        let mut letters = self.lock();
        if letters.len() >= MOST {
            return Err(letter);
        }
        letters.push_back(letter);
        drop(letters);
        self.came.notify_waiters();
        Ok(())
    }

    /// Takes all of them.
    pub(crate) fn take_all(&self) -> VecDeque<Letter> {
        std::mem::take(&mut *self.lock())
    }

    /// Takes the first one with that label.
    fn take(&self, label: &str) -> Option<Letter> {
        let mut letters = self.lock();
        let at = letters.iter().position(|letter| letter.label == label)?;
        letters.remove(at)
    }

    /// Takes the first one with that label, once there is one.
    pub(crate) async fn wait(&self, label: &str) -> Letter {
        loop {
            // Waiting before looking, so that none that comes in between is missed.
            let came = self.came.notified();
            let mut came = std::pin::pin!(came);
            came.as_mut().enable();
            if let Some(letter) = self.take(label) {
                return letter;
            }
            came.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mempool_core::{Blob, PoolOptions};

    use super::*;

    fn letter(label: &str, byte: u8) -> Letter {
        let pool = PoolOptions::new().open(Blob);
        let value = pool.set(vec![byte]).expect("room").untyped();
        let from = NodeName::new(&format!("node-{byte}")).expect("a label");
        Letter { from, label: label.to_owned(), value }
    }

    #[tokio::test]
    async fn letters_are_taken_in_their_order_by_their_label_and_waited_for() {
        let inbox = Arc::new(Inbox::default());
        for (label, byte) in [("a", 1), ("b", 2), ("a", 3)] {
            inbox.put(letter(label, byte)).expect("room");
        }
        assert_eq!(inbox.wait("a").await.from.as_str(), "node-1");
        assert_eq!(inbox.wait("b").await.from.as_str(), "node-2");
        assert_eq!(inbox.wait("a").await.from.as_str(), "node-3");
        let waiting = tokio::spawn({
            let inbox = Arc::clone(&inbox);
            async move { inbox.wait("c").await }
        });
        tokio::task::yield_now().await;
        inbox.put(letter("d", 4)).expect("room");
        inbox.put(letter("c", 5)).expect("room");
        assert_eq!(waiting.await.expect("no panic").from.as_str(), "node-5");
        assert_eq!(inbox.take_all().len(), 1);
    }

    #[test]
    fn a_label_is_bounded() {
        assert!(Letter::label("x".repeat(LABEL_BYTES_MAX)).is_ok());
        assert!(Letter::label("x".repeat(LABEL_BYTES_MAX + 1)).is_err());
    }
}
