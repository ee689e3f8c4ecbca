//! What a measurement was taken on: processor, memory, kernel, file system, date, commit. Reads `/proc`; what a system
//! does not tell is `unknown`.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::workspace::Workspace;

/// The facts, each as a person reads it.
pub(crate) struct Machine {
    processor: String,
    threads: String,
    memory: String,
    kernel: String,
    file_system: String,
    /// As it was named, for it goes into files that others read.
    directory: String,
    rustc: String,
    date: String,
    commit: String,
}

impl Machine {
    /// This machine, and the file system of `directory`, on which is measured.
    pub(crate) fn here(workspace: &Workspace, directory: &Path) -> Self {
        let unknown = || String::from("unknown");
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            threads: std::thread::available_parallelism()
                .map_or_else(|_| unknown(), |count| count.to_string()),
            memory: field(&read("/proc/meminfo"), "MemTotal")
                .map_or_else(unknown, |size| mebibytes(&size)),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned())
                .filter(|kernel| !kernel.is_empty())
                .unwrap_or_else(unknown),
            file_system: file_system(&read("/proc/self/mountinfo"), directory)
                .unwrap_or_else(unknown),
            directory: directory.display().to_string(),
            rustc: workspace
                .output("rustc", &["--version"])
                .map_or_else(|_| unknown(), |version| version.trim().to_owned()),
            date: date(seconds / 86_400),
            commit: workspace.commit(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor    {}, {} threads", self.processor, self.threads)?;
        writeln!(f, "memory       {}", self.memory)?;
        writeln!(f, "kernel       {}", self.kernel)?;
        writeln!(f, "file system  {} ({})", self.file_system, self.directory)?;
        writeln!(f, "compiler     {}", self.rustc)?;
        writeln!(f, "date         {}", self.date)?;
        write!(f, "commit       {}", self.commit)
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// `24689300 kB` in MiB.
fn mebibytes(size: &str) -> String {
    let kibibytes: Option<u64> =
        size.split_whitespace().next().and_then(|digits| digits.parse().ok());
    kibibytes.map_or_else(|| size.to_owned(), |kibibytes| format!("{} MiB", kibibytes / 1024))
}

/// The type of the file system whose mount point is the longest prefix of `path`.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split_whitespace().nth(4)?.replace("\\040", " ");
        path.starts_with(&point)
            .then(|| (point.len(), after.split_whitespace().next().unwrap_or_default().to_owned()))
    };
    // Of two mounts on one point the later hides the earlier.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// The day `days` after the first of January 1970, as `YYYY-MM-DD` (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn the_longest_mount_point_wins() {
        let mounts =
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /a/b rw shared:1 - tmpfs tmpfs rw\n";
        assert_eq!(file_system(mounts, Path::new("/a/b/c")).as_deref(), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/a/bc")).as_deref(), Some("ext4"));
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(
            field("a\t: 1\nmodel name\t: Some CPU: fast\n", "model name").as_deref(),
            Some("Some CPU: fast")
        );
        assert_eq!(mebibytes("2048 kB"), "2 MiB");
    }
}
