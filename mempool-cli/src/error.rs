//! Why the program could not finish, in words that say what to do, and the exit code for it.

use std::{error::Error, io, path::PathBuf};

use mempool_core::ErrorKind;

use mempool_net::{NetError, security::SecurityError};
use mempool_spill::{MachineError, SpillError};

use crate::{
    bench::SizeOutOfRange,
    disk::DiskTooSmall,
    filters::KeyError,
    import::ImportError,
    saved::SavedError,
    show::ShowError,
    stop::Stopped,
    tpch::{NoQuery, plan::LimitTooSmall},
};

/// Anything that ends the program before there is an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The memory limit does not fit the other options.
    #[error(transparent)]
    Limit(#[from] LimitTooSmall),
    /// No query that the layout answers.
    #[error(transparent)]
    Query(#[from] NoQuery),
    /// Values of a size that the memory limit does not fit.
    #[error(transparent)]
    Size(#[from] SizeOutOfRange),
    /// A share of the memory was asked for, and the memory is not known.
    #[error("a share of the memory is not known; give --memory-limit as a size, such as 256MiB")]
    Machine(#[from] MachineError),
    /// The directory for spilled data cannot be used.
    #[error("cannot spill to {}; give a directory that exists and that you may write to with --disk DIR", path.display())]
    Disk {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The table would not fit on the disk.
    #[error(transparent)]
    DiskTooSmall(#[from] DiskTooSmall),
    /// A signal ended the job.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A saved file is not whole or cannot be read.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// A saved file that went through filters is not whole.
    #[error(transparent)]
    Container(SpillError),
    /// A directory is no retained session, or what is retained in it is not whole.
    #[error(
        "cannot read a retained session; give the directory of one: `mempool gc --dry-run DIR` lists those in DIR"
    )]
    Retained(#[source] SpillError),
    /// A directory of sessions cannot be opened.
    #[error(
        "cannot look for sessions; give the directory that `.mempool` is in, and that you may read"
    )]
    Sessions(#[from] SpillError),
    /// A file cannot become a table.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A saved table cannot be shown.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// There is no key.
    #[error(
        "cannot encrypt or decrypt; give a file with 32 random bytes, or 64 hexadecimal digits, with --key-file FILE"
    )]
    Key(#[from] KeyError),
    /// Certificates cannot be made.
    #[error("cannot make certificates; nothing that is there is overwritten")]
    Certificates(#[from] SecurityError),
    /// Another node refused or does not answer, or this one cannot start.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A file went through filters, which a value on its way does not.
    #[error("{} went through filters; save the value without them", path.display())]
    Filtered {
        /// The file.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("{} is there already; give another --out FILE, or --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name of a value is no name of a file.
    #[error("{name:?} is no name of a file; give one with --out FILE")]
    NoFileName {
        /// The name.
        name: String,
    },
    /// The pool failed.
    #[error("the job cannot go on: {}", hint(.0))]
    Pool(#[from] mempool_core::Error),
    /// The system refused a thread.
    #[error("cannot start a thread; try fewer --threads, or a higher `ulimit -d` and `ulimit -u`")]
    Thread(#[from] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The manual pages cannot be written.
    #[error("cannot write manual pages to {}; give a directory that exists with --out DIR", path.display())]
    Pages {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An answer has no form as JSON.
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// 1 for a file that is damaged, 2 for a command line that asks for what cannot be, 3 for a machine that refused, and what a shell says of a signal.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Saved(SavedError::Damaged { .. })
            | Self::Container(_)
            | Self::Filtered { .. }
            | Self::Retained(SpillError::Damaged { .. }) => 1,
            Self::Limit(_)
            | Self::Query(_)
            | Self::Size(_)
            | Self::NoFileName { .. }
            | Self::Net(NetError::Security(SecurityError::PlainText { .. }))
            | Self::Certificates(SecurityError::Issue { .. }) => 2,
            // A name that is not there, a right that is not given, bytes that are damaged.
            Self::Net(error) if matches!(error.kind(), ErrorKind::Misuse | ErrorKind::Damage) => 1,
            Self::Import(error) => error.exit_code(),
            Self::Show(error) => error.exit_code(),
            Self::Stopped(stopped) => stopped.exit_code,
            _ => 3,
        }
    }

    /// The message with all its causes, one a line.
    pub(crate) fn report(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        let mut report = format!("error: {self}");
        let mut last = self.to_string();
        for cause in causes {
            let text = cause.to_string();
            // A message may end with its cause's own.
            if !last.ends_with(&text) {
                report.push_str("\n  cause: ");
                report.push_str(&text);
            }
            last = text;
        }
        report
    }
}

/// What an error of the pool means for the job, and what may help.
fn hint(error: &mempool_core::Error) -> &'static str {
    match error.kind() {
        ErrorKind::Limit if is_about_the_disk(error) => {
            "the disk is full, or `ulimit -f` is reached; free some space, or give another --disk DIR or a higher --memory-limit"
        }
        ErrorKind::Limit => {
            "its memory limit leaves no room; give a higher --memory-limit or fewer --threads"
        }
        ErrorKind::Environment if matches!(error, mempool_core::Error::Allocation { .. }) => {
            "the system refused memory; give a lower --memory-limit, or raise `ulimit -d` and `ulimit -v`"
        }
        ErrorKind::Environment => {
            "the system refused; see whether the disk is well, or give another --disk DIR"
        }
        ErrorKind::Damage => {
            "spilled data are not what was written, so this disk or memory is not to be trusted"
        }
        ErrorKind::Misuse => "this is a bug in mempool, please report it",
        // The enum may grow; the cause below says what there is to say.
        _ => "the pool failed",
    }
}

/// Whether the error comes from the disk and not from the ledger.
fn is_about_the_disk(error: &mempool_core::Error) -> bool {
    match error {
        mempool_core::Error::Spill { source, .. } => is_about_the_disk(source),
        mempool_core::Error::Store(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_each_cause_once() {
        let source = io::Error::from_raw_os_error(13).into();
        let error = CliError::Disk { path: "/x".into(), source };
        let report = error.report();
        assert!(report.starts_with("error: cannot spill to /x; give a directory"), "{report}");
        assert_eq!(report.matches("Permission denied").count(), 1, "{report}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn a_full_disk_is_named_with_a_way_out() {
        let cause = mempool_core::StoreError::new(
            mempool_core::StoreErrorKind::Full,
            io::Error::from_raw_os_error(28),
        );
        let report = CliError::Pool(cause.into()).report();
        assert!(
            report.contains("the disk is full, or `ulimit -f` is reached; free some space"),
            "{report}"
        );
        assert_eq!(report.matches("No space left").count(), 1, "{report}");
    }

    #[test]
    fn memory_that_is_refused_is_no_matter_of_the_disk() {
        let report = CliError::Pool(mempool_core::Error::Allocation { bytes: 5 }).report();
        assert!(
            report.contains("give a lower --memory-limit") && !report.contains("disk"),
            "{report}"
        );
    }
}
