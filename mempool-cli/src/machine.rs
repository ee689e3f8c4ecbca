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

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        Self { root: "/".into() }
    }

    /// The smaller of the machine's memory and the tightest limit among the process's control groups and all their ancestors (v1 and v2), in bytes.
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read. A machine without control groups is no error.
    pub(crate) fn memory_bytes(&self) -> Result<u64, MachineError> {
        let total_bytes = self.total_bytes()?;
        Ok(self
            .cgroup_limit_bytes()
            .map_or(total_bytes, |limit_bytes| limit_bytes.min(total_bytes)))
    }

    fn total_bytes(&self) -> Result<u64, MachineError> {
        let path = self.root.join("proc/meminfo");
        let text = fs::read_to_string(&path)
            .map_err(|source| MachineError::Read { path: path.clone(), source })?;
        kib_field(&text, "MemTotal:").ok_or(MachineError::NoTotal { path })
    }

    /// The tightest limit that any of the process's control groups sets, if one does.
    fn cgroup_limit_bytes(&self) -> Option<u64> {
        let groups = fs::read_to_string(self.root.join("proc/self/cgroup")).ok()?;
        groups.lines().filter_map(|line| self.group_limit_bytes(line)).min()
    }

    /// The tightest limit on the way from one line of `/proc/self/cgroup` up to the root of its hierarchy.
    fn group_limit_bytes(&self, line: &str) -> Option<u64> {
        // `0::/path` is the one hierarchy of v2; `5:memory:/path` is v1's for memory; a controller list may have commas.
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let (mounts, file): (&[&str], _) = if controllers.is_empty() {
            (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
        } else {
            return None;
        };
        let group = group.trim_start_matches('/');
        mounts.iter().filter_map(|mount| limit_up(&self.root.join(mount), group, file)).min()
    }
}

/// The tightest limit of `group` under `mount` and of each of its ancestors, `mount` among them.
/// In a container the path may name a directory that is not there; its ancestors still count.
fn limit_up(mount: &Path, group: &str, file: &str) -> Option<u64> {
    // An empty path has itself as its one ancestor, so the mount is read in each case.
    Path::new(group)
        .ancestors()
        .filter_map(|group| fs::read_to_string(mount.join(group).join(file)).ok())
        // `max` (v2) is no limit, and so is v1's number near 2^63: the smaller of that and the machine is the machine.
        .filter_map(|text| text.trim().parse().ok())
        .min()
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
        machine.memory_bytes().unwrap()
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
    fn a_group_larger_than_the_machine_does_not_count() {
        let files = [("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "9999999999")];
        assert_eq!(memory_bytes(&files), 1000 * 1024);
    }

    #[test]
    fn a_machine_that_does_not_say_is_an_error_with_a_way_out() {
        let (scratch, machine) = machine(&[]);
        scratch.write("proc/meminfo", "MemFree: 5 kB\n");
        let error = machine.memory_bytes().unwrap_err();
        assert!(error.to_string().contains("give --memory-limit as a size"), "{error}");
        let nowhere = Machine { root: scratch.path().join("nowhere") };
        assert!(matches!(nowhere.memory_bytes(), Err(MachineError::Read { .. })));
    }
}
