//! The wish to stop, as signals bring it. The first one ends the job at its next chunk, so that it removes its files; a second one ends the process at once.

use std::{
    fs,
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
    low_level::pipe,
};

/// The signals that end a job, with their names.
const SIGNALS: [(i32, &str); 3] = [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM"), (SIGHUP, "SIGHUP")];

/// Whether somebody asked the job to stop; clones share the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// The signal's number, 0 before there is one.
    signal: Arc<AtomicUsize>,
}

/// The job was stopped by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {name} before there was an answer; what was spilled is removed")]
pub(crate) struct Stopped {
    name: &'static str,
    /// 128 and the signal's number, as a shell says it.
    pub(crate) exit_code: u8,
}

impl Stop {
    /// From now on signals are heard. Those that the process was started with ignored, as `nohup` does, stay ignored.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let again = Arc::new(AtomicBool::new(false));
        for signal in heard() {
            // In this order: the flag that the first signal sets is what makes the second one final.
            flag::register_conditional_default(signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&stop.signal), number)?;
        }
        // A file that grows beyond `ulimit -f` is then a failed write, and not the end of the process.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(stop)
    }

    /// Whether it is time to stop.
    pub(crate) fn is_asked(&self) -> bool {
        // Relaxed: nothing is read that the handler wrote before.
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// Returns when it is time to stop.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let (mut asked, asks) = UnixStream::pair()?;
        for signal in heard() {
            pipe::register(signal, asks.try_clone()?)?;
        }
        // What came before this is in the flag, and what comes from here on is in the pipe.
        match self.is_asked() {
            true => Ok(()),
            false => asked.read_exact(&mut [0]),
        }
    }

    /// Goes on unless it is time to stop.
    ///
    /// # Errors
    /// [`Stopped`] says by which signal.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        let asked = self.signal.load(Ordering::Relaxed);
        let Some((number, name)) =
            SIGNALS.into_iter().find(|(number, _)| usize::try_from(*number) == Ok(asked))
        else {
            return Ok(());
        };
        Err(Stopped { name, exit_code: 128 + u8::try_from(number).unwrap_or_default() })
    }

    #[cfg(test)]
    pub(crate) fn ask(&self) {
        self.signal.store(usize::try_from(SIGINT).unwrap(), Ordering::Relaxed);
    }
}

/// The signals that end this process's jobs.
fn heard() -> impl Iterator<Item = i32> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    SIGNALS.into_iter().map(|(signal, _)| signal).filter(move |signal| !is_in(ignored, *signal))
}

/// The set of ignored signals in the text of `/proc/self/status`; empty where it does not say.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether a set has `signal`; bit 0 stands for signal 1.
fn is_in(set: u64, signal: i32) -> bool {
    set >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_on_until_it_is_asked_to_stop() {
        let stop = Stop::default();
        let other = stop.clone();
        assert_eq!((stop.is_asked(), stop.check()), (false, Ok(())));
        other.ask();
        let stopped = stop.check().unwrap_err();
        assert!(stop.is_asked());
        stop.wait().unwrap();
        assert_eq!(stopped.exit_code, 130);
        assert!(stopped.to_string().starts_with("stopped by SIGINT"), "{stopped}");
    }

    #[test]
    fn ignored_signals_are_known() {
        let set = ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert!(is_in(set, SIGHUP) && !is_in(set, SIGINT));
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
