//! Rounds in which the sides take turns, their medians, and how they are printed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// How many rounds are measured, after one that is not.
pub(crate) const ROUNDS: usize = 11;

/// One side: its name, the bar for its ratio to the first side if it has one, and what it does once.
pub(crate) struct Side<'a> {
    pub(crate) name: &'a str,
    pub(crate) bar: Option<f64>,
    pub(crate) run: Box<dyn FnMut() -> Outcome<Duration> + 'a>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(
        name: &'a str,
        bar: Option<f64>,
        run: impl FnMut() -> Outcome<Duration> + 'a,
    ) -> Self {
        Self { name, bar, run: Box::new(run) }
    }
}

/// What a figure is printed as.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// So many bytes a run: a rate, and its ratio to the first side's; the bar is the least ratio.
    Rate(usize),
    /// Time a run, and its ratio to the first side's; the bar is the greatest ratio.
    Time,
}

/// Runs all sides in turn and prints them.
pub(crate) fn compare(title: &str, figure: Figure, sides: &mut [Side<'_>]) -> Outcome<()> {
    println!("\n{title}");
    for side in sides.iter_mut() {
        (side.run)()?;
    }
    let mut times = vec![Vec::new(); sides.len()];
    let mut processor = times.clone();
    for round in 0..ROUNDS {
        // Each side follows each of the others as often.
        let count = sides.len();
        for step in 0..count {
            let index = (step + round) % count;
            let before = processor_seconds();
            times[index].push((sides[index].run)()?.as_secs_f64());
            processor[index].push(processor_seconds() - before);
        }
    }
    for (index, (side, own)) in sides.iter().zip(&times).enumerate() {
        let cost = processor[index].iter().zip(&processor[0]).map(|(own, first)| own / first);
        let cost = median(cost.collect());
        let ratios = own.iter().zip(&times[0]).map(|(own, first)| match figure {
            Figure::Rate(_) => first / own,
            Figure::Time => own / first,
        });
        let (ratio, time) = (median(ratios.collect()), median(own.clone()));
        let shown = match figure {
            Figure::Rate(bytes) => {
                format!("{:7.2} GiB/s", bytes as f64 / time / (1u64 << 30) as f64)
            }
            Figure::Time => format!("{:7.1} µs   ", time * 1e6),
        };
        let bar = match (side.bar, figure) {
            (None, _) => String::new(),
            (Some(bar), Figure::Rate(_)) => format!("   bar {bar:.2}"),
            (Some(bar), Figure::Time) => format!("   bar {bar:.2} at most"),
        };
        println!(
            "  {:<58} {shown}   {ratio:5.2} of the first, processor time {cost:5.2}{bar}",
            side.name
        );
    }
    Ok(())
}

/// What both ends have cost together, which hangs less on what else the machine does.
fn processor_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
