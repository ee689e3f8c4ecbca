//! The project's own tasks: `cargo xtask TASK`. Lists them and starts the one asked for; owns no task itself.
//!
//! Everything here is std alone: a cold `cargo xtask` compiles one crate and starts at once. Faults are sentences for
//! the person at the terminal, so an error is a `String` and nothing matches on it.

#![forbid(unsafe_code)]

mod bench;
mod columns;
mod crashpoints;
mod deep;
mod duckdb;
mod errcover;
mod fuzz;
mod invocation;
mod jl;
mod json;
mod machine;
mod metadata;
mod mutants;
mod proof;
mod python;
mod source;
mod step;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

/// What a task answers: whether it passed, or why it could not even be carried out.
type Verdict = Result<bool, String>;

/// One task of `cargo xtask`.
struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[String]) -> Verdict,
}

/// Every task there is. `tidy` holds the README's commands against this list.
const TASKS: &[Task] = &[
    Task {
        name: "test",
        arguments: "[--list] [STEP...]",
        about: "all that CI runs; with words, only the steps whose names contain one of them",
        run: test::run,
    },
    Task {
        name: "tidy",
        arguments: "",
        about: "the rules that neither rustfmt nor clippy knows",
        run: tidy::run,
    },
    Task {
        name: "errcover",
        arguments: "",
        about: "every variant of our errors, and the test that provokes it",
        run: errcover::run,
    },
    Task {
        name: "mutants",
        arguments: "[--list] [NAME...]",
        about: "plant each known bug and see that its test catches it",
        run: mutants::run,
    },
    Task {
        name: "crashpoints",
        arguments: "[--mode kill|random] [--limit N] [--seed S]",
        about: "kill a process that spills at so many points, and look at what it leaves",
        run: crashpoints::run,
    },
    Task {
        name: "bench",
        arguments: "core|spill|small|arrays|columns|peers|duckdb [ARGUMENT...]",
        about: "measure, with the machine printed above the figures",
        run: bench::run,
    },
    Task {
        name: "deep",
        arguments: "[--list] [STEP...]",
        about: "the same properties as `test` with far larger counts: hours, not minutes",
        run: deep::run,
    },
    Task {
        name: "fuzz",
        arguments: "[--list] [--seconds N] [TARGET...]",
        about: "look for inputs that no decoder expects, for a minute each or as long as is said",
        run: fuzz::run,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        print!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("no task is called `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    let rest: Vec<String> = arguments.collect();
    match Workspace::find().and_then(|workspace| (task.run)(&workspace, &rest)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("cargo xtask {name}: {why}");
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    let mut text = String::from("Usage: cargo xtask TASK [ARGUMENT...]\n\n");
    for task in TASKS {
        let call = format!("{} {}", task.name, task.arguments);
        text.push_str(&format!("  {call:<34} {}\n", task.about));
    }
    text
}
