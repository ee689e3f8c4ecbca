//! What goes to standard output: the answer alone, as text or as JSON.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

use crate::error::CliError;

/// Writes `text`. Who closed the other end has read all that he wanted, so that is no error.
///
/// # Errors
/// [`CliError::Output`].
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

/// Writes an answer in the form that was asked for.
///
/// # Errors
/// [`CliError::Output`]; [`CliError::Json`] is not known to happen.
pub(crate) fn either(answer: &(impl Display + Serialize), json: bool) -> Result<(), CliError> {
    match json {
        true => print(&serde_json::to_string_pretty(answer)?),
        false => print(&answer.to_string()),
    }
}
