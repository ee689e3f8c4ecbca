//! Completions and manual pages, made from the definition of the command line.

use std::{io, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// What `shell` reads to complete our command lines.
pub(crate) fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "mempool", &mut text);
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// The page `mempool(1)`.
///
/// # Errors
/// None is known: it is written to memory.
pub(crate) fn page() -> io::Result<String> {
    let mut text = Vec::new();
    Man::new(command()).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Writes `mempool.1` and a page for each command.
///
/// # Errors
/// The directory is not there or cannot be written.
pub(crate) fn pages(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command(), directory)
}

fn command() -> Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn each_shell_learns_each_command() {
        for shell in Shell::value_variants() {
            let text = completions(*shell);
            for name in [
                "tpch",
                "import",
                "show",
                "config",
                "inspect",
                "verify",
                "gc",
                "certs",
                "serve",
                "move-to-disk",
                "memory-limit",
            ] {
                assert!(text.contains(name), "{name} for {shell}");
            }
        }
    }

    #[test]
    fn each_command_has_a_page() {
        assert!(page().unwrap().contains("mempool"));
        let scratch = Scratch::new();
        pages(scratch.path()).unwrap();
        for name in ["mempool.1", "mempool-tpch.1", "mempool-import.1", "mempool-gc.1"] {
            assert!(scratch.path().join(name).is_file(), "{name}");
        }
        assert!(pages(&scratch.path().join("none")).is_err());
    }
}
