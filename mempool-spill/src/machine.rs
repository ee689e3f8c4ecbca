//! How much memory this process may use: what the machine has, and what its control groups leave it. Reads `/proc` and `/sys/fs/cgroup`, changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The machine as its files describe it: what a service gives its pool a part of.
///
/// ```
/// use mempool_core::{Blob, PoolOptions};
/// use mempool_spill::Machine;
///
/// // Half of what the machine, its containers and `ulimit` leave this process.
/// let memory = Machine::this().memory()?;
/// let pool = PoolOptions::new().memory_limit(memory.bytes / 2).open(Blob);
/// println!("{} bytes, from {}", pool.stats().limit_bytes, memory.origin);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where `proc` and `sys` are found.
    root: PathBuf,
}

/// Why the memory of the machine is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("{} has no line `MemTotal: ... kB`", path.display())]
    NoTotal {
        /// The file.
        path: PathBuf,
    },
}

/// How much memory the process may use, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    /// How much.
    pub bytes: u64,
    /// What sets it, for people: `the machine`, `the control group /a/b (memory.max)` or `ulimit -d`.
    pub origin: String,
}

/// Files of a group in which v2 sets a limit: what it may have, and from where on it is slowed down until it has less.
const LIMITS_V2: [&str; 2] = ["memory.max", "memory.high"];

/// The same for v1.
const LIMITS_V1: [&str; 1] = ["memory.limit_in_bytes"];

/// What `ulimit` may have set, as `/proc/self/limits` names it.
const RLIMITS: [(&str, &str); 2] =
    [("Max data size", "`ulimit -d`"), ("Max address space", "`ulimit -v`")];

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        Self::at("/")
    }

    /// A machine whose `proc` and `sys` are under `root`: for tests, and for programs that see another machine's.
    #[must_use]
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_path_buf() }
    }

    /// The smallest of three: the machine's memory, the tightest limit among the process's control groups and all their ancestors (v1 and v2),
    /// and the process's own limits.
    ///
    /// # Errors
    /// [`MachineError::Read`] and [`MachineError::NoTotal`] for `/proc/meminfo`. A machine without control groups or limits is no error.
    pub fn memory(&self) -> Result<MachineMemory, MachineError> {
        let machine = MachineMemory { bytes: self.total_bytes()?, origin: "the machine".into() };
        let limits = self.cgroup_limits().into_iter().chain(self.rlimits());
        // The first of equals stands: a limit that is the machine's own size says nothing new.
        Ok(limits.fold(machine, |least, next| if next.bytes < least.bytes { next } else { least }))
    }

    fn total_bytes(&self) -> Result<u64, MachineError> {
        let path = self.root.join("proc/meminfo");
        let text = fs::read_to_string(&path)
            .map_err(|source| MachineError::Read { path: path.clone(), source })?;
        kib_field(&text, "MemTotal:").ok_or(MachineError::NoTotal { path })
    }

    /// What the process's own limits leave it.
    fn rlimits(&self) -> Vec<MachineMemory> {
        let text = self.read("proc/self/limits");
        let soft = |name| text.lines().find_map(|line| line.strip_prefix(name));
        // The first column is the limit that holds, in bytes or `unlimited`; the second is how far it may be raised.
        let bytes = |rest: &str| rest.split_whitespace().next()?.parse().ok();
        let limits = RLIMITS.into_iter().filter_map(|(name, origin)| {
            Some(MachineMemory { bytes: soft(name).and_then(bytes)?, origin: origin.into() })
        });
        limits.collect()
    }

    /// All limits of the process's control groups and their ancestors.
    fn cgroup_limits(&self) -> Vec<MachineMemory> {
        let mounts = self.mounts();
        let groups = self.read("proc/self/cgroup");
        let groups = groups.lines().filter_map(group);
        groups
            .flat_map(|(version, group)| {
                let mounts = mounts.iter().filter(move |mount| mount.version == version);
                mounts.flat_map(move |mount| self.limits_up(mount, group))
            })
            .collect()
    }

    /// Where the hierarchies that limit memory are mounted; their usual places where the system does not say.
    fn mounts(&self) -> Vec<Mount> {
        let text = self.read("proc/self/mountinfo");
        let said: Vec<_> = text.lines().filter_map(Mount::parse).collect();
        if !said.is_empty() {
            return said;
        }
        let usual = |version, point: &str| Mount { version, root: "/".into(), point: point.into() };
        vec![
            usual(Version::V2, "/sys/fs/cgroup"),
            usual(Version::V2, "/sys/fs/cgroup/unified"),
            usual(Version::V1, "/sys/fs/cgroup/memory"),
        ]
    }

    /// The limits of `group` and of each of its ancestors, the root of the hierarchy among them.
    fn limits_up(&self, mount: &Mount, group: &str) -> Vec<MachineMemory> {
        // A container may have mounted its own group as the root; a path from outside of it names directories that are not there, but its ancestors count.
        let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(group));
        let below = below.strip_prefix("/").unwrap_or(below);
        // An empty path has itself as its one ancestor, so the mount itself is read in each case.
        below.ancestors().flat_map(|group| self.limits_of(mount, group)).collect()
    }

    /// What one group says.
    fn limits_of(&self, mount: &Mount, group: &Path) -> Vec<MachineMemory> {
        let directory = mount.point.trim_start_matches('/');
        let read = |file: &str| self.read(Path::new(directory).join(group).join(file));
        let limit = |bytes, file: &str| MachineMemory {
            bytes,
            origin: format!("the control group /{} ({file})", group.display()),
        };
        // `max` (v2) is no limit, and so is v1's number near 2^63: the smaller of that and the machine is the machine.
        let files: &[&str] = match mount.version {
            Version::V1 => &LIMITS_V1,
            Version::V2 => &LIMITS_V2,
        };
        let own =
            files.iter().filter_map(|file| Some(limit(read(file).trim().parse().ok()?, file)));
        // v1 also says what the tightest ancestor sets, even one that a container cannot see.
        let field = "hierarchical_memory_limit";
        let stat = if mount.version == Version::V1 { read("memory.stat") } else { String::new() };
        let above = stat.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok());
        own.chain(above.map(|bytes| limit(bytes, "memory.stat"))).collect()
    }

    /// The text of a file under the root; empty where it cannot be read.
    fn read(&self, path: impl AsRef<Path>) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }
}

/// The two kinds of hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The hierarchy and the path of one line of `/proc/self/cgroup`, if it can limit memory:
/// `0::/path` is the one hierarchy of v2; `5:memory:/path` is v1's for memory, and its list of controllers may have commas.
fn group(line: &str) -> Option<(Version, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    if controllers.is_empty() {
        return Some((Version::V2, group));
    }
    let is_memory = controllers.split(',').any(|controller| controller == "memory");
    is_memory.then_some((Version::V1, group))
}

/// Where a hierarchy is mounted.
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: String,
    point: String,
}

impl Mount {
    /// A line of `/proc/self/mountinfo`: `36 35 0:25 /root /point options - cgroup2 source options`.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split_whitespace();
        let version = match kind.next()? {
            "cgroup2" => Version::V2,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        let mut place = place.split_whitespace().skip(3);
        Some(Self { version, root: place.next()?.into(), point: place.next()?.into() })
    }
}

/// The bytes of a line such as `MemTotal:  24684392 kB`.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}
