//! The async runtime under a node: a small one of its own, or the user's. How a blocking call waits for it.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime as Tokio};

use crate::error::{NetError, Result};

/// Where the tasks of a node run.
#[derive(Debug)]
pub(crate) struct Runtime {
    handle: Handle,
    own: Option<Tokio>,
}

impl Runtime {
    /// A runtime of the node's own, with so many worker threads.
    pub(crate) fn own(workers: usize) -> Result<Self> {
        let own = Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(Self::BLOCKING_THREADS)
            .thread_name("mempool-net")
            .enable_all()
            .build()
            .map_err(|source| NetError::Start { source })?;
        Ok(Self { handle: own.handle().clone(), own: Some(own) })
    }

    /// So many calls of others may wait for this node's disk at once; more of them queue.
    const BLOCKING_THREADS: usize = 16;

    /// The user's.
    pub(crate) fn of(handle: Handle) -> Self {
        Self { handle, own: None }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future to its end while this thread waits.
    ///
    /// Within a task of a runtime, where waiting is the caller's mistake and costs a worker thread, it is still no panic.
    pub(crate) fn wait<F>(&self, future: F) -> Result<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // A runtime that ends drops its tasks, and this one's sender with it.
        self.begin(future).recv().map_err(|_| NetError::Left)
    }

    /// The same, but no longer than so: the runtime may be this thread's own, where nothing runs while it waits.
    pub(crate) fn wait_for<F>(&self, future: F, within: Duration)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _ = self.begin(future).recv_timeout(within);
    }

    fn begin<F>(&self, future: F) -> mpsc::Receiver<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = sender.send(future.await);
        });
        receiver
    }
}

/// Runs a future to its end on this thread, with what it borrows. The runtime's threads do its I/O.
///
/// Within a task of a runtime another thread does it meanwhile, for there it would be a panic.
pub(crate) fn block<F>(handle: &Handle, future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    if Handle::try_current().is_err() {
        return handle.block_on(future);
    }
    let done = std::thread::scope(|scope| scope.spawn(|| handle.block_on(future)).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            // The last node may be dropped by a task of any runtime, where waiting for threads would panic.
            own.shutdown_background();
        }
    }
}
