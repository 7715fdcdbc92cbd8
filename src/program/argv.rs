//! Prepares the argument list for the parser: converts flags in the style of `tf.app.flags` into
//! flags with dashes.
//!
//! This module changes only the names of flags, never their values.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use unisono_terminal::manual::SIM;

/// The hidden command that is inserted if the command line has no command. The original script has
/// no commands.
pub(super) const NO_COMMAND: &str = "task";

/// A command line in which the names of flags contain dashes. If the first argument is a flag of a
/// task, the hidden command `task` stands before the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    arguments: Vec<OsString>,
}

impl CommandLine {
    /// Normalises the program's name and its arguments.
    #[must_use]
    pub fn read(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let mut given = arguments.into_iter().map(Into::into);
        let mut arguments = vec![given.next().unwrap_or_else(|| "unisono".into())];
        let mut rest: Vec<_> = given.collect();
        if rest.first().is_none_or(|first| first != SIM) {
            normalise(&mut rest);
            if rest.first().is_some_and(|first| is_flag_of_a_task(first)) {
                arguments.push(NO_COMMAND.into());
            }
        }
        arguments.append(&mut rest);
        Self { arguments }
    }

    /// Returns the program's name and its arguments.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Returns the arguments after `sim`, if the command is `sim`.
    pub(super) fn for_the_simulator(&self) -> Option<&[OsString]> {
        match &self.arguments[1..] {
            [first, rest @ ..] if first == SIM => Some(rest),
            _ => None,
        }
    }

    /// Returns whether the program was started without arguments.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.arguments.len() == 1
    }

    /// Returns the command line with the hidden command that runs a task. The program uses this
    /// command line if a cluster engine, such as Kubeflow, starts the program without arguments.
    pub(super) fn as_task(&self) -> Vec<OsString> {
        let task = std::iter::once(OsString::from(NO_COMMAND));
        self.arguments.iter().cloned().chain(task).collect()
    }
}

fn normalise(arguments: &mut [OsString]) {
    for argument in arguments.iter_mut().take_while(|argument| *argument != "--") {
        if let Some(normal) = normal_flag(argument.as_bytes()) {
            *argument = OsString::from_vec(normal);
        }
    }
}

/// Returns `--a-b=v_w` for `--a_b=v_w`, and also for `-a_b=v_w`, which `tf.app.flags` accepted.
/// Returns `None` if the argument is not a flag.
fn normal_flag(argument: &[u8]) -> Option<Vec<u8>> {
    let name_and_value = match argument {
        [b'-', b'-', rest @ ..] => rest,
        // A dash with a single letter is a short flag. An argument without a letter after the dash
        // may be a negative number.
        [b'-', letter, _, ..] if letter.is_ascii_alphabetic() => &argument[1..],
        _ => return None,
    };
    let end = name_and_value.iter().position(|byte| *byte == b'=');
    let (name, value) = name_and_value.split_at(end.unwrap_or(name_and_value.len()));
    let name = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
    Some(b"--".iter().copied().chain(name).chain(value.iter().copied()).collect())
}

fn is_flag_of_a_task(first: &OsStr) -> bool {
    let is_flag = first.as_bytes().starts_with(b"-");
    is_flag && !["-h", "--help", "-V", "--version"].iter().any(|of_all| first == *of_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let line = CommandLine::read(line.split(' ').filter(|word| !word.is_empty()));
        let words: Vec<_> = line.arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn command_line_of_the_original_script_is_read_as_a_task() {
        for line in [
            "unisono --job_name=ps --task_id=0 --ps_hosts=a_b:1",
            "unisono -job_name=ps -task_id=0 -ps_hosts=a_b:1",
            "unisono --job-name=ps --task-id=0 --ps-hosts=a_b:1",
        ] {
            assert_eq!(read(line), "unisono task --job-name=ps --task-id=0 --ps-hosts=a_b:1");
        }
        assert_eq!(read("unisono --job_name ps"), "unisono task --job-name ps");
        assert_eq!(read("unisono"), "unisono");
        assert!(CommandLine::read(["unisono"]).is_bare());
        assert!(!CommandLine::read(["unisono", "--task_id=0"]).is_bare());
    }

    #[test]
    fn underscores_are_replaced_only_in_names_of_flags() {
        for same in [
            "unisono local --logdir a_b x_y",
            "unisono local --logdir=a_b",
            "unisono local -1_0 -h -",
            "unisono local -- --a_b",
            "unisono --help",
            "unisono -V",
            "unisono sim run a_b --trace_out x",
        ] {
            assert_eq!(read(same), same);
        }
        assert_eq!(read("u local --batch_size 1"), "u local --batch-size 1");
    }
}
