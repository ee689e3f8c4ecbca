//! Bytes of values over loopback beside raw sockets, a bare TLS stream and bare hyper, in one run.
//!
//! `cargo xtask bench net [PART...]`. Both ends are in one process, each with a runtime of its own. Every line is the median of
//! several rounds in which the sides take turns, and says beside its ratio the bar it is held against; a ratio is the median of
//! the rounds' own ratios, for what else the machine does lies on neighbours alike. Prints; judges nothing.

mod flight;
mod frames;
mod mapped;
mod measure;
mod raw;
mod small;
mod stream;
mod tls;

use std::env;
use std::error::Error;
use std::time::Instant;

use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Who gives, and who asks.
struct Ends {
    server: Runtime,
    client: Runtime,
}

/// Measures and prints one part.
type Part = fn(&Ends) -> Outcome<()>;

/// What is measured, by name.
const PARTS: [(&str, Part); 5] = [
    ("stream", stream::plain),
    ("tls", stream::tls),
    ("flight", flight::measure),
    ("small", small::measure),
    ("mapped", mapped::measure),
];

fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn main() -> Outcome<()> {
    let only: Vec<String> = env::args().skip(1).collect();
    let start = Instant::now();
    let ends = Ends { server: runtime()?, client: runtime()? };
    println!("medians of {} rounds, in turn", measure::ROUNDS);
    for (name, measure) in PARTS {
        if only.is_empty() || only.iter().any(|only| only == name) {
            measure(&ends)?;
        }
    }
    println!("\nThe whole run took {:.0} s.", start.elapsed().as_secs_f64());
    Ok(())
}
