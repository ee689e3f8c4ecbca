//! The main job's five queries over arrays of arrow-rs that are all in memory, without a limit: the same tables from the same
//! generator, the same steps, the same number of threads, as plain loops over slices.
//!
//! `bench-columns SCALE THREADS` prints the seconds of each query as JSON, and an answer by which it can be seen that it ran.
//! Each runs once over arrays that nobody has read since they were made, as in the main job. Judges nothing.

mod groups;
mod queries;
mod tables;

use std::{env, error::Error, process::ExitCode, time::Instant};

use tables::Tables;

/// A query, and what it answers in short.
type Query = fn(&Tables) -> String;

fn main() -> ExitCode {
    match run() {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-columns: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [scale, threads] = words.as_slice() else { return Err("give SCALE and THREADS".into()) };
    let (scale, threads): (f64, usize) = (scale.parse()?, threads.parse()?);
    if !(0.001..=100.0).contains(&scale) || !(1..=1024).contains(&threads) {
        return Err("the scale goes from 0.001 to 100, threads from 1 to 1024".into());
    }
    let tables = Tables::generate(scale, threads);
    let queries: [(&str, Query); 5] = [
        ("1", queries::pricing),
        ("6", queries::revenue),
        ("3", queries::shipping),
        ("13", queries::distribution),
        ("18", queries::large_orders),
    ];
    let measured = queries.map(|(number, query)| {
        let start = Instant::now();
        let answer = query(&tables);
        let seconds = start.elapsed().as_secs_f64();
        format!("{{\"query\": {number}, \"seconds\": {seconds}, \"answer\": \"{answer}\"}}")
    });
    Ok(format!("{{\"queries\": [{}]}}", measured.join(", ")))
}
