//! The peak of this process's memory, by looking every few milliseconds: the kernel keeps no peak of the anonymous part.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Peaks {
    anonymous: AtomicU64,
    file: AtomicU64,
    stop: AtomicBool,
}

/// A thread that looks.
pub(crate) struct Sampler {
    /// Anonymous bytes that were there before: the harness's own.
    before: u64,
    peaks: Arc<Peaks>,
    thread: JoinHandle<()>,
}

impl Sampler {
    pub(crate) fn start() -> Self {
        let peaks = Arc::new(Peaks::default());
        peaks.look();
        let before = peaks.anonymous.load(Ordering::Relaxed);
        let theirs = Arc::clone(&peaks);
        let thread = std::thread::spawn(move || {
            while !theirs.stop.load(Ordering::Relaxed) {
                theirs.look();
                std::thread::sleep(EVERY);
            }
        });
        Self { before, peaks, thread }
    }

    /// Peaks of anonymous and shared bytes beyond those at the start, and of mapped file bytes.
    pub(crate) fn stop(self) -> (u64, u64) {
        self.peaks.stop.store(true, Ordering::Relaxed);
        // A sampler that panicked leaves the peaks that it saw.
        let _ = self.thread.join();
        let anonymous = self.peaks.anonymous.load(Ordering::Relaxed) - self.before;
        (anonymous, self.peaks.file.load(Ordering::Relaxed))
    }
}

impl Peaks {
    fn look(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let anonymous = bytes(&status, "RssAnon:") + bytes(&status, "RssShmem:");
        self.anonymous.fetch_max(anonymous, Ordering::Relaxed);
        self.file.fetch_max(bytes(&status, "RssFile:"), Ordering::Relaxed);
    }
}

fn bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_become_bytes() {
        assert_eq!(bytes("RssAnon:\t    12 kB\nRssFile:\t3 kB\n", "RssFile:"), 3072);
        assert_eq!(bytes("", "RssFile:"), 0);
    }
}
