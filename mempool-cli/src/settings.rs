//! `mempool config`: each setting with its value, where that comes from, and what it means here. Reads the table that the commands are parsed with.

use std::{
    env,
    fmt::{self, Write},
};

use clap::{ArgMatches, Command, error::ContextKind, parser::ValueSource};
use mempool_spill::Machine;
use serde::Serialize;

use crate::{
    cli::TpchArgs,
    disk::{SpillDirectory, file_system, is_memory},
    size::{Bytes, Limit, Size},
};

/// How the name of each variable begins.
const PREFIX: &str = "MEMPOOL_";

/// All settings as they stand.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    settings: Vec<Setting>,
    /// Variables that begin like ours and are none: a typing error, perhaps.
    unknown_variables: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Setting {
    flag: String,
    variable: String,
    value: String,
    /// `flag`, `environment` or `default`.
    from: &'static str,
    default: String,
    /// What the value comes to on this machine, where it does not say so itself.
    means: Option<String>,
    about: String,
}

impl Settings {
    /// The settings that `matches`, of the command `config`, were parsed to.
    pub(crate) fn of(matches: &ArgMatches, args: &TpchArgs) -> Self {
        let table = table();
        let settings = table.get_arguments().filter_map(|arg| {
            let variable = arg.get_env()?.to_string_lossy().into_owned();
            let id = arg.get_id().as_str();
            let default: Vec<_> =
                arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
            Some(Setting {
                flag: format!("--{}", arg.get_long()?),
                variable,
                value: value(matches, id),
                from: match matches.value_source(id) {
                    Some(ValueSource::CommandLine) => "flag",
                    Some(ValueSource::EnvVariable) => "environment",
                    _ => "default",
                },
                default: if default.is_empty() { "false".into() } else { default.join(",") },
                means: means(id, args),
                about: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            })
        });
        let settings: Vec<_> = settings.collect();
        let is_known = |name: &String| settings.iter().any(|setting| setting.variable == *name);
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unknown = names.filter(|name| name.starts_with(PREFIX) && !is_known(name));
        let unknown_variables = unknown.collect();
        Self { settings, unknown_variables }
    }

    /// One line for each, as the environment would say it.
    pub(crate) fn lines(&self) -> String {
        let line = |setting: &Setting| format!("{}={}", setting.variable, setting.value);
        self.settings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The command that has all settings.
fn table() -> Command {
    <TpchArgs as clap::Args>::augment_args(Command::new("settings"))
}

/// The value as it was written.
fn value(matches: &ArgMatches, id: &str) -> String {
    // A flag without a value has none that was written.
    if let Ok(Some(is_set)) = matches.try_get_one::<bool>(id) {
        return is_set.to_string();
    }
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
}

fn means(id: &str, args: &TpchArgs) -> Option<String> {
    match id {
        "memory_limit" => memory(args.memory_limit),
        "mapped_limit" => match args.mapped_limit {
            Limit::None => None,
            Limit::Of(size) => memory(size),
        },
        "threads" => Some(args.threads.count().to_string()),
        "disk" => Some(args.disk.iter().map(place).collect::<Vec<_>>().join("; ")),
        _ => None,
    }
}

/// `/mnt/fast (ext4), at most 10.0 GiB`.
fn place(directory: &SpillDirectory) -> String {
    let SpillDirectory { path, limit_bytes } = directory;
    let limit = limit_bytes.map_or_else(String::new, |limit| format!(", at most {}", Bytes(limit)));
    match (path.canonicalize(), file_system(path)) {
        (Ok(place), Ok(system)) => {
            let memory = if is_memory(&system) { ", which stays in memory" } else { "" };
            format!("{} ({system}){memory}{limit}", place.display())
        }
        _ => format!("there is no directory {}", path.display()),
    }
}

/// `11.8 GiB: 50 % of 23.5 GiB (the machine)`.
fn memory(size: Size) -> Option<String> {
    let share = match size {
        Size::Bytes(bytes) => return Some(Bytes(bytes).to_string()),
        Size::Percent(percent) => percent,
        Size::Auto => Size::AUTO_PERCENT,
    };
    Some(match Machine::this().memory() {
        Ok(memory) => {
            let bytes = size.resolve(|| Ok::<_, ()>(memory.bytes)).unwrap_or_default();
            let (bytes, all) = (Bytes(bytes), Bytes(memory.bytes));
            format!("{bytes}: {share} % of {all} ({})", memory.origin)
        }
        Err(error) => error.to_string(),
    })
}

/// The variable that a value comes from which was refused, for an error that names the flag alone.
pub(crate) fn refused_variable(error: &clap::Error) -> Option<String> {
    let text = |kind| error.get(kind).map(ToString::to_string);
    let (flag, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let table = table();
    let is_named =
        |arg: &&clap::Arg| arg.get_long().is_some_and(|long| flag.contains(&format!("--{long}")));
    let name = table.get_arguments().find(is_named)?.get_env()?;
    let found = env::var(name).ok()?;
    found
        .split(',')
        .any(|part| part == value)
        .then(|| format!("{}={found}", name.to_string_lossy()))
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.settings.iter().fold([0; 3], |widths, setting| {
            let texts = [&setting.flag, &setting.variable, &setting.value];
            std::array::from_fn(|index| widths[index].max(texts[index].len()))
        });
        let [flag, variable, value] = widths;
        writeln!(
            f,
            "{:flag$}  {:variable$}  {:value$}  {:<11}  default",
            "flag", "variable", "value", "from"
        )?;
        for setting in &self.settings {
            let Setting { flag: name, variable: env, value: now, from, default, .. } = setting;
            writeln!(f, "{name:flag$}  {env:variable$}  {now:value$}  {from:<11}  {default}")?;
        }
        f.write_char('\n')?;
        for setting in &self.settings {
            write!(f, "{:flag$}  {}", setting.flag, setting.about)?;
            if let Some(means) = &setting.means {
                write!(f, "\n{:flag$}  here: {means}", "")?;
            }
            f.write_char('\n')?;
        }
        for name in &self.unknown_variables {
            writeln!(f, "\nnote: {name} is set in the environment, and is no setting")?;
        }
        write!(f, "\nA flag goes before a variable, and a variable before the default.")
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::Cli;

    fn settings(arguments: &[&str]) -> Settings {
        let line = [&["mempool", "config"], arguments].concat();
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let matches = matches.subcommand_matches("config").unwrap();
        Settings::of(matches, &TpchArgs::from_arg_matches(matches).unwrap())
    }

    #[test]
    fn each_setting_has_flag_variable_and_default() {
        let all = settings(&[]).settings;
        let flags = [
            "--scale",
            "--query",
            "--layout",
            "--sort",
            "--memory-limit",
            "--mapped-limit",
            "--disk",
            "--placement",
            "--filter",
            "--threads",
            "--json",
        ];
        assert!(all.iter().map(|setting| &setting.flag).eq(flags.iter()), "{all:?}");
        for setting in &all {
            let variable = setting.flag.trim_start_matches('-').replace('-', "_").to_uppercase();
            assert_eq!(setting.variable, format!("{PREFIX}{variable}"));
            assert_eq!(setting.value, setting.default, "{setting:?}");
            assert!(!setting.about.is_empty());
        }
    }

    #[test]
    fn a_flag_is_told_from_a_default() {
        let all = settings(&["--memory-limit", "1GiB", "--query", "1,6", "--sort"]);
        let from = |flag: &str| {
            let setting = all.settings.iter().find(|setting| setting.flag == flag).unwrap();
            (setting.value.clone(), setting.from)
        };
        assert_eq!(from("--memory-limit"), ("1GiB".into(), "flag"));
        assert_eq!(from("--query"), ("1,6".into(), "flag"));
        assert_eq!(from("--sort"), ("true".into(), "flag"));
        assert_eq!(from("--scale"), ("1".into(), "default"));
        assert!(all.lines().contains("MEMPOOL_MEMORY_LIMIT=1GiB\n"), "{}", all.lines());
        assert!(all.to_string().contains("here: 1.0 GiB"), "{all}");
    }
}
