//! How far a phase is and how fast: a bar on a terminal, plain lines elsewhere. Writes to standard error only, so that standard output is the card alone.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::{card::Phase, size::Bytes};

/// Where there is no terminal, a phase that goes on says so this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// Bars that are drawn over.
    Bars,
    /// Lines, for logs.
    Lines,
}

impl Progress {
    /// Bars if standard error is a terminal.
    pub(crate) fn detect() -> Self {
        if io::stderr().is_terminal() { Self::Bars } else { Self::Lines }
    }

    /// Starts a phase of about `rows_expected` rows.
    pub(crate) fn start(self, name: &'static str, rows_expected: u64) -> Running {
        let started = Instant::now();
        let display = match self {
            Self::Bars => Display::Bar(bar(name, rows_expected)),
            Self::Lines => {
                Display::Lines { next: Mutex::new(started + LINE_INTERVAL), rows_expected }
            }
        };
        Running { name, started, rows: AtomicU64::new(0), bytes: AtomicU64::new(0), display }
    }
}

fn bar(name: &'static str, rows_expected: u64) -> ProgressBar {
    let template = "{prefix:>9} [{bar:30}] {human_pos}/{human_len} rows {msg}";
    // The template is a constant; should indicatif no longer read it, its plain bar does as well.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rows_expected).with_style(style.progress_chars("=> ")).with_prefix(name)
}

/// A phase under way; threads share it.
pub(crate) struct Running {
    name: &'static str,
    started: Instant,
    rows: AtomicU64,
    bytes: AtomicU64,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines { next: Mutex<Instant>, rows_expected: u64 },
}

impl Running {
    /// So many rows and bytes more are done.
    pub(crate) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match &self.display {
            Display::Bar(bar) => {
                bar.inc(rows);
                bar.set_message(rates(&self.so_far()));
            }
            Display::Lines { next, rows_expected } => {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                if Instant::now() >= *next {
                    *next = Instant::now() + LINE_INTERVAL;
                    let so_far = self.so_far();
                    let of = format!(
                        "{} of about {}",
                        HumanCount(so_far.rows),
                        HumanCount(*rows_expected)
                    );
                    line(&format!("{}: {of} rows {}", self.name, rates(&so_far)));
                }
            }
        }
    }

    /// Ends the phase and says what it came to.
    pub(crate) fn finish(self) -> Phase {
        let phase = self.so_far();
        if let Display::Bar(bar) = &self.display {
            // The line below stays in the bar's place.
            bar.finish_and_clear();
        }
        line(&format!(
            "{}: {} rows in {:.2} s {}",
            self.name,
            HumanCount(phase.rows),
            phase.seconds,
            rates(&phase)
        ));
        phase
    }

    fn so_far(&self) -> Phase {
        let rows = self.rows.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        Phase::new(self.name, self.started.elapsed(), rows, bytes)
    }
}

/// `(1.9 M rows/s, 285.0 MiB/s)`; without bytes where a phase has none.
fn rates(phase: &Phase) -> String {
    let rows = format!("{:.2} M rows/s", phase.rows_per_second / 1e6);
    if phase.bytes == 0 {
        return format!("({rows})");
    }
    format!("({rows}, {}/s)", Bytes(phase.bytes_per_second))
}

/// Writes a line about the job to standard error.
pub(crate) fn line(text: &str) {
    // Progress that nobody can read is no reason to stop the job.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_adds_up_what_threads_did() {
        for progress in [Progress::Bars, Progress::Lines] {
            let running = progress.start("test", 30);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| running.add(10, 100));
                }
            });
            let phase = running.finish();
            assert_eq!((phase.name, phase.rows, phase.bytes), ("test", 30, 300));
        }
    }

    #[test]
    fn rates_without_bytes_name_rows_only() {
        let second = Duration::from_secs(1);
        assert_eq!(rates(&Phase::new("x", second, 2_500_000, 0)), "(2.50 M rows/s)");
        assert_eq!(
            rates(&Phase::new("x", second, 2_500_000, 3 << 20)),
            "(2.50 M rows/s, 3.0 MiB/s)"
        );
    }
}
