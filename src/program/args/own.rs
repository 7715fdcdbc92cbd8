//! The flags of the program's workload. The program adds them to the commands that train.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use unisono_config::{OwnFlag, OwnSettings};
use unisono_learn::Workload;

/// The prefix of the ids of own flags. No other id has it.
const PREFIX: &str = "model.";
/// The commands that train, as paths of names.
const TRAINING: [&[&str]; 8] = [
    &["local"],
    &["ps"],
    &["worker"],
    &["task"],
    &["reference"],
    &["doctor", "local"],
    &["doctor", "ps"],
    &["doctor", "worker"],
];

/// The values of own flags on the command line, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnArgs(BTreeMap<String, String>);

impl OwnArgs {
    /// Returns the settings of the workload's flags. Flags that are not on the command line are
    /// taken from `file`.
    pub(super) fn settings(
        self,
        file: BTreeMap<String, String>,
        workload: &Workload,
    ) -> anyhow::Result<OwnSettings> {
        let mut given = file;
        given.extend(self.0);
        workload.settings(&given).map_err(anyhow::Error::msg)
    }
}

impl FromArgMatches for OwnArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |id: &clap::Id| {
            let key = id.as_str().strip_prefix(PREFIX)?;
            Some((key.to_owned(), matches.get_one::<String>(id.as_str())?.clone()))
        };
        Ok(Self(matches.ids().filter_map(value).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

/// The grammar is declared before the workload is known, so it has no own flags. [`add_to`] adds
/// them.
impl Args for OwnArgs {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// Adds the workload's flags to all commands that train. In the examples of the help, the name of
/// the workload replaces that of this program.
pub(super) fn add_to(command: Command, workload: &Workload) -> Command {
    let Some(program) = workload.name() else { return command };
    let flags: Vec<_> = workload.flags().iter().map(argument).collect();
    let command = TRAINING.iter().fold(command, |command, path| add_below(command, path, &flags));
    rename_examples(command, program)
}

fn add_below(command: Command, path: &[&str], flags: &[Arg]) -> Command {
    match path {
        [] => command.args(flags),
        [name, rest @ ..] => command.mut_subcommand(name, |below| add_below(below, rest, flags)),
    }
}

fn argument(flag: &OwnFlag) -> Arg {
    let read = flag.clone();
    Arg::new(format!("{PREFIX}{}", flag.key()))
        .long(flag.key().replace('_', "-"))
        .value_name("VALUE")
        .help(format!("{} [default: {}]", flag.help(), flag.default_text()))
        .help_heading("Model")
        .value_parser(move |text: &str| read.canonical(text))
}

fn rename_examples(mut command: Command, program: &str) -> Command {
    if let Some(help) = command.get_after_help() {
        let help = help.to_string().replace("unisono ", &format!("{program} "));
        command = command.after_help(help);
    }
    let names: Vec<_> =
        command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| rename_examples(below, program))
    })
}
