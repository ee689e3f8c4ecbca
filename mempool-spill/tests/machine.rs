//! How much memory the process may use, as files of many kinds of machines say it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mempool_spill::{Machine, MachineError, MachineMemory};

/// A directory that looks like the root of a machine; gone when it is dropped.
struct Root(PathBuf);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("machine-{}-{number}", std::process::id());
        let root = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        files.iter().for_each(|(path, text)| root.write(path, text));
        root
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // A directory that stays behind harms no other test, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A machine of 1,000 KiB with the given files.
fn machine(files: &[(&str, &str)]) -> (Root, Machine) {
    let total = [("proc/meminfo", "MemFree: 5 kB\nMemTotal:     1000 kB\n")];
    let root = Root::new(&[&total, files].concat());
    let machine = Machine::at(&root.0);
    (root, machine)
}

fn memory_bytes(files: &[(&str, &str)]) -> u64 {
    let (_root, machine) = machine(files);
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
    let (_root, machine) = machine(&files);
    let origin = "the control group /a (memory.high)".into();
    assert_eq!(machine.memory().unwrap(), MachineMemory { bytes: 3000, origin });
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
    let (root, machine) = machine(&[("proc/self/limits", limits)]);
    let memory = machine.memory().unwrap();
    assert_eq!(memory, MachineMemory { bytes: 900_000, origin: "`ulimit -d`".into() });
    root.write("proc/self/cgroup", "0::/a\n");
    root.write("sys/fs/cgroup/a/memory.max", "800000");
    assert_eq!(machine.memory().unwrap().bytes, 800_000);
}

#[test]
fn a_group_larger_than_the_machine_does_not_count() {
    let files = [("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "9999999999")];
    assert_eq!(memory_bytes(&files), 1000 * 1024);
}

#[test]
fn a_machine_that_does_not_say_is_an_error() {
    let (root, machine) = machine(&[]);
    root.write("proc/meminfo", "MemFree: 5 kB\n");
    assert!(matches!(machine.memory(), Err(MachineError::NoTotal { .. })));
    let nowhere = Machine::at(root.0.join("nowhere")).memory();
    assert!(matches!(nowhere, Err(MachineError::Read { .. })), "{nowhere:?}");
}
