//! What the kernel says this process and its children have in memory, sampled while the job runs. Knows nothing of pools: it is the witness from outside.

use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::Serialize;

/// Time between two samples. One costs some tens of microseconds.
const INTERVAL: Duration = Duration::from_millis(5);

/// Resident memory of one process or of several together, in bytes, as `/proc/PID/status` splits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Resident {
    /// `RssAnon`: heap, stacks.
    anonymous_bytes: u64,
    /// `RssShmem`: tmpfs, memfd and shared anonymous maps.
    shared_bytes: u64,
    /// `RssFile`: pages of mapped files, which the kernel takes back as it needs them.
    mapped_bytes: u64,
}

impl Resident {
    fn parse(status: &str) -> Self {
        let field = |name| kib_field(status, name).unwrap_or(0);
        Self {
            anonymous_bytes: field("RssAnon:"),
            shared_bytes: field("RssShmem:"),
            mapped_bytes: field("RssFile:"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            anonymous_bytes: self.anonymous_bytes + other.anonymous_bytes,
            shared_bytes: self.shared_bytes + other.shared_bytes,
            mapped_bytes: self.mapped_bytes + other.mapped_bytes,
        }
    }
}

/// The bytes of a line such as `RssAnon:  24684392 kB`.
fn kib_field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// The highest figures among all samples. Each is a peak by itself: they need not belong to one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Peaks {
    /// Peak of `RssAnon` over the process tree.
    pub(crate) anonymous_bytes: u64,
    /// Peak of `RssShmem` over the process tree.
    pub(crate) shared_bytes: u64,
    /// Peak of `RssFile` over the process tree.
    pub(crate) mapped_bytes: u64,
    /// Peak of `RssAnon` and `RssShmem` taken together at one instant: what the limit is held against.
    pub(crate) unreclaimable_bytes: u64,
    /// Peak of all three taken together at one instant: the whole RSS, which schedulers look at.
    pub(crate) rss_bytes: u64,
    /// How often it was looked.
    pub(crate) samples: u64,
}

impl Peaks {
    fn add(&mut self, now: Resident) {
        self.anonymous_bytes = self.anonymous_bytes.max(now.anonymous_bytes);
        self.shared_bytes = self.shared_bytes.max(now.shared_bytes);
        self.mapped_bytes = self.mapped_bytes.max(now.mapped_bytes);
        self.unreclaimable_bytes =
            self.unreclaimable_bytes.max(now.anonymous_bytes + now.shared_bytes);
        let rss_bytes = now.anonymous_bytes + now.shared_bytes + now.mapped_bytes;
        self.rss_bytes = self.rss_bytes.max(rss_bytes);
        self.samples += 1;
    }
}

/// The `proc` file system, or a directory that a test made to look like it.
struct Proc {
    root: PathBuf,
}

impl Proc {
    /// What `pid` and all its descendants have in memory. A process that ends meanwhile counts as nothing.
    fn tree(&self, pid: u32) -> Resident {
        let mut all = Resident::default();
        let mut seen = BTreeSet::from([pid]);
        let mut open = vec![pid];
        while let Some(pid) = open.pop() {
            all = all.plus(self.resident(pid));
            open.extend(self.children(pid).into_iter().filter(|child| seen.insert(*child)));
        }
        all
    }

    fn resident(&self, pid: u32) -> Resident {
        let status = fs::read_to_string(self.root.join(pid.to_string()).join("status"));
        status.map_or(Resident::default(), |status| Resident::parse(&status))
    }

    /// The children that any thread of `pid` started; none where the kernel does not list them.
    fn children(&self, pid: u32) -> Vec<u32> {
        let Ok(tasks) = fs::read_dir(self.root.join(pid.to_string()).join("task")) else {
            return Vec::new();
        };
        let lists =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        lists
            .flat_map(|list| {
                list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// A thread that samples until it is told to stop.
pub(crate) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Peaks>>,
}

#[derive(Default)]
struct Shared {
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    fn stop(&self) -> MutexGuard<'_, bool> {
        // The flag is whole whoever panicked while holding it.
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler {
    /// Starts to sample this process and its children.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let proc = Proc { root: "/proc".into() };
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("mempool-memory".into())
            .stack_size(256 << 10)
            .spawn(move || sample(&proc, process::id(), &watched))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes a last sample, stops, and says what was seen.
    pub(crate) fn finish(mut self) -> Peaks {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Peaks> {
        *self.shared.stop() = true;
        self.shared.stopped.notify_all();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // A job that ended early leaves no thread behind.
        self.end();
    }
}

fn sample(proc: &Proc, pid: u32, shared: &Shared) -> Peaks {
    let mut peaks = Peaks::default();
    let mut stop = shared.stop();
    loop {
        peaks.add(proc.tree(pid));
        if *stop {
            return peaks;
        }
        stop =
            shared.stopped.wait_timeout(stop, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const STATUS: &str =
        "Name:\tx\nVmHWM:\t  9 kB\nRssAnon:\t  100 kB\nRssFile:\t  20 kB\nRssShmem:\t  3 kB\n";

    fn resident(anonymous_kib: u64, mapped_kib: u64, shared_kib: u64) -> Resident {
        Resident {
            anonymous_bytes: anonymous_kib << 10,
            mapped_bytes: mapped_kib << 10,
            shared_bytes: shared_kib << 10,
        }
    }

    #[test]
    fn a_status_is_read() {
        assert_eq!(Resident::parse(STATUS), resident(100, 20, 3));
        assert_eq!(Resident::parse("Name: kthread\n"), Resident::default());
    }

    #[test]
    fn a_tree_is_added_up_once() {
        let scratch = Scratch::new();
        for (path, text) in [
            ("1/status", STATUS),
            ("1/task/1/children", "2 3 "),
            ("1/task/9/children", "4 2"),
            ("2/status", "RssAnon: 1000 kB\n"),
            ("2/task/2/children", "5"),
            ("3/task/3/children", ""),
            ("4/status", "RssShmem: 7 kB\n"),
            ("5/status", "RssFile: 1 kB\n"),
            ("6/status", STATUS),
        ] {
            scratch.write(path, text);
        }
        let proc = Proc { root: scratch.path().to_owned() };
        assert_eq!(proc.tree(1), resident(1100, 21, 10));
        assert_eq!(proc.tree(77), Resident::default());
    }

    #[test]
    fn peaks_are_held_one_by_one_and_together() {
        let mut peaks = Peaks::default();
        peaks.add(resident(10, 1, 1));
        peaks.add(resident(8, 5, 6));
        peaks.add(resident(1, 1, 1));
        let expected = Peaks {
            anonymous_bytes: 10 << 10,
            shared_bytes: 6 << 10,
            mapped_bytes: 5 << 10,
            unreclaimable_bytes: 14 << 10,
            rss_bytes: 19 << 10,
            samples: 3,
        };
        assert_eq!(peaks, expected);
    }

    #[test]
    fn this_process_is_seen() {
        let sampler = Sampler::start().unwrap();
        let held = std::hint::black_box(vec![1_u8; 8 << 20]);
        let peaks = sampler.finish();
        assert!(peaks.samples >= 1);
        assert!(peaks.unreclaimable_bytes >= held.len() as u64, "{peaks:?}");
    }
}
