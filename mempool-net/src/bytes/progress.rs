//! How slow a sender may be: so many bytes in so much time, again and again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How slow a sender may be: at least so many bytes in each span of time, or all that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many bytes.
    pub bytes: u64,
    /// In so much time.
    pub within: Duration,
}

/// Watches one transfer.
pub(crate) struct Progress {
    pace: Pace,
    /// What came since the span began.
    bytes: u64,
    ends: Pin<Box<Sleep>>,
}

/// The sender was slower than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Progress {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, bytes: 0, ends: Box::pin(sleep_until(end(pace.within))) }
    }

    /// Waits for `future` as long as the pace allows.
    pub(crate) async fn wait<F: Future>(&mut self, future: F) -> Result<F::Output, TooSlow> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.ends.as_mut().poll(cx).map(|()| Err(TooSlow))
        })
        .await
    }

    /// So many bytes came. When they are enough for a span, the next begins.
    pub(crate) fn note(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes >= self.pace.bytes {
            self.restart();
        }
    }

    /// A new span begins: what came before does not count, nor the time that the receiver took.
    pub(crate) fn restart(&mut self) {
        self.bytes = 0;
        self.ends.as_mut().reset(end(self.pace.within));
    }
}

/// The instant after so much time from now; a century, when it is longer.
fn end(within: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(within.min(CENTURY)).unwrap_or(now)
}
