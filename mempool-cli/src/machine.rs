//! How much memory this process may use: what the machine has, and what its control groups leave it. Reads `/proc` and `/sys/fs/cgroup`, changes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The machine as its files describe it.
pub(crate) struct Machine {
    /// Where `proc` and `sys` are found: `/`, or a directory that a test made.
    root: PathBuf,
}

/// Why the memory of the machine is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    /// The file could not be read.
    #[error("cannot read {}, so a share of the memory is not known; give --memory-limit as a size, such as 256MiB", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("{} has no line `MemTotal: ... kB`; give --memory-limit as a size, such as 256MiB", path.display())]
    NoTotal {
        /// The file.
        path: PathBuf,
    },
}

/// How much memory the process may use, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) bytes: u64,
    /// For messages: `the machine`, `the control group /a/b (memory.max)` or `ulimit -d`.
    pub(crate) origin: String,
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
    pub(crate) fn this() -> Self {
        Self { root: "/".into() }
    }

    /// The smallest of three: the machine's memory, the tightest limit among the process's control groups and all their ancestors (v1 and v2),
    /// and the process's own limits.
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read. A machine without control groups or limits is no error.
    pub(crate) fn memory(&self) -> Result<Memory, MachineError> {
        let machine = Memory { bytes: self.total_bytes()?, origin: "the machine".into() };
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
    fn rlimits(&self) -> Vec<Memory> {
        let text = self.read("proc/self/limits");
        let soft = |name| text.lines().find_map(|line| line.strip_prefix(name));
        // The first column is the limit that holds, in bytes or `unlimited`; the second is how far it may be raised.
        let bytes = |rest: &str| rest.split_whitespace().next()?.parse().ok();
        let limits = RLIMITS.into_iter().filter_map(|(name, origin)| {
            Some(Memory { bytes: soft(name).and_then(bytes)?, origin: origin.into() })
        });
        limits.collect()
    }

    /// All limits of the process's control groups and their ancestors.
    fn cgroup_limits(&self) -> Vec<Memory> {
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
    fn limits_up(&self, mount: &Mount, group: &str) -> Vec<Memory> {
        // A container may have mounted its own group as the root; a path from outside of it names directories that are not there, but its ancestors count.
        let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(group));
        let below = below.strip_prefix("/").unwrap_or(below);
        // An empty path has itself as its one ancestor, so the mount itself is read in each case.
        below.ancestors().flat_map(|group| self.limits_of(mount, group)).collect()
    }

    /// What one group says.
    fn limits_of(&self, mount: &Mount, group: &Path) -> Vec<Memory> {
        let directory = mount.point.trim_start_matches('/');
        let read = |file: &str| self.read(Path::new(directory).join(group).join(file));
        let limit = |bytes, file: &str| Memory {
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
pub(crate) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A machine of 1,000 KiB with the given files.
    fn machine(files: &[(&str, &str)]) -> (Scratch, Machine) {
        let scratch = Scratch::new();
        let all = [("proc/meminfo", "MemFree: 5 kB\nMemTotal:     1000 kB\n")];
        for (path, text) in all.iter().chain(files) {
            scratch.write(path, text);
        }
        let root = scratch.path().to_owned();
        (scratch, Machine { root })
    }

    fn memory_bytes(files: &[(&str, &str)]) -> u64 {
        let (_scratch, machine) = machine(files);
        machine.memory().unwrap().bytes
    }

    #[test]
    fn without_groups_the_machine_counts() {
        assert_eq!(memory_bytes(&[]), 1000 * 1024);
    }

    #[test]
    fn the_tightest_ancestor_of_v2_counts() {
        let base =
            [("proc/self/cgroup", "0::/a/b/c\n"), ("sys/fs/cgroup/a/b/c/memory.max", "900000\n")];
        assert_eq!(memory_bytes(&base), 900_000);
        let mut files = base.to_vec();
        files.push(("sys/fs/cgroup/a/memory.max", "5000"));
        files.push(("sys/fs/cgroup/a/b/memory.max", "max\n"));
        assert_eq!(memory_bytes(&files), 5000);
        files.push(("sys/fs/cgroup/memory.max", "4000"));
        assert_eq!(memory_bytes(&files), 4000);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_root() {
        let files = [("proc/self/cgroup", "0::/host/only\n"), ("sys/fs/cgroup/memory.max", "7000")];
        assert_eq!(memory_bytes(&files), 7000);
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "7001")];
        assert_eq!(memory_bytes(&files), 7001);
    }

    #[test]
    fn the_tightest_ancestor_of_v1_counts() {
        let groups = "12:cpu,cpuacct:/x\n5:hugetlb,memory:/x/y\n0::/\n";
        let files = [
            ("proc/self/cgroup", groups),
            ("sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "6000"),
            ("sys/fs/cgroup/cpu,cpuacct/x/memory.limit_in_bytes", "1"),
        ];
        assert_eq!(memory_bytes(&files), 6000);
    }

    #[test]
    fn a_soft_limit_of_v2_counts_and_is_named() {
        let files = [("proc/self/cgroup", "0::/a/b\n"), ("sys/fs/cgroup/a/memory.high", "3000\n")];
        let (_scratch, machine) = machine(&files);
        let origin = "the control group /a (memory.high)".into();
        assert_eq!(machine.memory().unwrap(), Memory { bytes: 3000, origin });
    }

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let mounts = "\
            30 23 0:26 /slice /cg/two rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
            31 23 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu\n\
            32 23 0:28 / /cg/mem rw - cgroup cgroup rw,memory\n";
        let files = [
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "3:memory:/m/n\n0::/slice/job\n"),
            ("cg/two/job/memory.max", "8000"),
            ("cg/two/memory.max", "7500"),
            ("cg/mem/m/memory.limit_in_bytes", "7600"),
            ("cg/cpu/m/memory.limit_in_bytes", "1"),
            ("sys/fs/cgroup/memory.max", "2"),
        ];
        assert_eq!(memory_bytes(&files), 7500);
    }

    #[test]
    fn an_ancestor_that_a_container_cannot_see_counts_in_v1() {
        let files = [
            ("proc/self/cgroup", "5:memory:/docker/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 5\nhierarchical_memory_limit 6500\n"),
        ];
        assert_eq!(memory_bytes(&files), 6500);
    }

    #[test]
    fn the_limits_of_the_process_count() {
        let limits = "\
            Limit                     Soft Limit           Hard Limit           Units     \n\
            Max data size             900000               unlimited            bytes     \n\
            Max address space         unlimited            unlimited            bytes     \n";
        let (scratch, machine) = machine(&[("proc/self/limits", limits)]);
        let memory = machine.memory().unwrap();
        assert_eq!(memory, Memory { bytes: 900_000, origin: "`ulimit -d`".into() });
        scratch.write("proc/self/cgroup", "0::/a\n");
        scratch.write("sys/fs/cgroup/a/memory.max", "800000");
        assert_eq!(machine.memory().unwrap().bytes, 800_000);
    }

    #[test]
    fn a_group_larger_than_the_machine_does_not_count() {
        let files = [("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "9999999999")];
        assert_eq!(memory_bytes(&files), 1000 * 1024);
    }

    #[test]
    fn a_machine_that_does_not_say_is_an_error_with_a_way_out() {
        let (scratch, machine) = machine(&[]);
        scratch.write("proc/meminfo", "MemFree: 5 kB\n");
        let error = machine.memory().unwrap_err();
        assert!(error.to_string().contains("give --memory-limit as a size"), "{error}");
        let nowhere = Machine { root: scratch.path().join("nowhere") };
        assert!(matches!(nowhere.memory(), Err(MachineError::Read { .. })));
    }
}
