//! Rounds in which several sides take turns, their medians, and the lines that show them.

use std::time::Duration;

use crate::Outcome;

/// How often each side is measured.
pub(crate) const ROUNDS: usize = 7;

/// What one side did in one round: how long it took, and what came out.
pub(crate) struct Lap {
    pub(crate) spent: Duration,
    /// The same for all sides, but for the order in which floats are summed.
    pub(crate) answer: f64,
}

/// One way to do the job.
pub(crate) struct Side<'a> {
    name: &'static str,
    lap: Box<dyn FnMut() -> Outcome<Lap> + 'a>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(name: &'static str, lap: impl FnMut() -> Outcome<Lap> + 'a) -> Self {
        Self { name, lap: Box::new(lap) }
    }
}

/// What the sides took.
pub(crate) struct Medians {
    sides: Vec<(&'static str, Vec<f64>)>,
}

/// Has the sides take turns, once to warm up and then [`ROUNDS`] times, another one first each time.
pub(crate) fn in_turn(mut sides: Vec<Side<'_>>) -> Outcome<Medians> {
    let mut seconds: Vec<_> = sides.iter().map(|side| (side.name, Vec::new())).collect();
    let mut expected = None;
    for round in 0..=ROUNDS {
        for turn in 0..sides.len() {
            // Backwards in every other round, so that none always comes behind the same one.
            let turn = if round.is_multiple_of(2) { turn } else { sides.len() - 1 - turn };
            let at = (turn + round) % sides.len();
            let Lap { spent, answer } = (sides[at].lap)()?;
            let expected = *expected.get_or_insert(answer);
            if (answer - expected).abs() > expected.abs() * 1e-9 {
                let name = sides[at].name;
                return Err(format!("{name} answers {answer}, others {expected}").into());
            }
            if round > 0 {
                seconds[at].1.push(spent.as_secs_f64());
            }
        }
    }
    Ok(Medians { sides: seconds })
}

impl Medians {
    pub(crate) fn seconds(&self, side: usize) -> f64 {
        median(&self.sides[side].1)
    }

    /// Shows the first side's time and the others', and what part of the first's time each of those takes.
    pub(crate) fn print(&self, what: &str, bar: Option<f64>) {
        let ours = self.seconds(0);
        print!("{what:<42} {:>9}", shown(ours));
        for (name, seconds) in &self.sides[1..] {
            let theirs = median(seconds);
            print!("; {name} {} ({:.2})", shown(theirs), theirs / ours);
        }
        println!("{}", bar.map_or_else(String::new, |bar| format!("; bar {bar:.2}")));
    }
}

fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Seconds as a person reads them.
pub(crate) fn shown(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1e-3 => format!("{:.1} us", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}
