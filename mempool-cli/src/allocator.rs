//! Has glibc give large blocks back to the system when they are freed, as a program with a memory limit must.
//!
//! glibc takes blocks above a threshold straight from the system and gives them straight back; but it raises the threshold to the largest block that was
//! ever freed, up to 32 MiB. From then on chunks of 8 MiB come out of its heaps, beside each other's holes: with a limit of 256 MiB, exactly kept, the process
//! grew to 370 MiB, and to 262 MiB with a fixed threshold (which also was faster). The threshold can be fixed only by unsafe code or before the program
//! starts, so the program starts itself once more. Other C libraries are left alone.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

const VARIABLE: &str = "GLIBC_TUNABLES";

/// Blocks of this size and more are given back when freed: the smallest chunks that the job makes many of. Where chunks were smaller than the threshold,
/// a job with a limit of 64 MiB held 154 MiB; with this one it held 84 MiB, in no more time.
const THRESHOLD_BYTES: u32 = 32 << 10;

const SETTING: &str = "glibc.malloc.mmap_threshold";

/// Fixes the threshold, unless it is fixed already, by replacing this process by a new one of the same program: it does not return then.
/// To be called before there are threads or files.
///
/// # Errors
/// The program could not be started again; it may go on as it is and takes more memory than it should.
pub(crate) fn fix_threshold() -> io::Result<()> {
    if !cfg!(target_env = "gnu") || env::var_os("MALLOC_MMAP_THRESHOLD_").is_some() {
        return Ok(());
    }
    let Some(tunables) = with_threshold(env::var_os(VARIABLE).as_deref()) else { return Ok(()) };
    let mut arguments = env::args_os();
    let mut again = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(VARIABLE, tunables).exec())
}

/// `tunables` with the threshold added; nothing if they set it already.
fn with_threshold(tunables: Option<&OsStr>) -> Option<OsString> {
    let mut all = tunables.unwrap_or_default().to_owned();
    if all.as_bytes().windows(SETTING.len()).any(|part| part == SETTING.as_bytes()) {
        return None;
    }
    if !all.is_empty() {
        all.push(":");
    }
    all.push(format!("{SETTING}={THRESHOLD_BYTES}"));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_added_once() {
        let once = with_threshold(None).unwrap();
        assert_eq!(once, "glibc.malloc.mmap_threshold=32768");
        assert_eq!(with_threshold(Some(&once)), None);
    }

    #[test]
    fn settings_of_the_user_are_kept() {
        let both = with_threshold(Some(OsStr::new("glibc.malloc.check=1"))).unwrap();
        assert_eq!(both, "glibc.malloc.check=1:glibc.malloc.mmap_threshold=32768");
        assert_eq!(with_threshold(Some(OsStr::new("glibc.malloc.mmap_threshold=1"))), None);
    }
}
