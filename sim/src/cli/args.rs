//! The flags of every command.

use clap::{ArgAction, Parser, Subcommand};

use unisono_terminal::manual::{CompletionsArgs, ManArgs};

use super::{bugs, diff, enumerate, hunt, merge, replay, report, run, shrink, trace, verify};

/// Plays Unisono's own nodes in a world of its own time, links and disks, where everything goes
/// wrong that can, and checks that not one bit of the result moves.
#[derive(Debug, Parser)]
#[command(
    name = "unisono-sim",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Examples:
  unisono-sim run scenarios/                     Every scenario, with its seeds
  unisono-sim hunt scenarios/swarm.toml --for 60s
  unisono-sim replay scenarios/capsules/….capsule.json

Exit codes:
  0  all is well
  1  a wrong result: a rule is broken, or the scenario expects something else
  2  bad usage, or a bad scenario file or capsule
  3  a hang
  4  a panic of a node
  5  a scenario that tries nothing: a fault without effect, or many seeds that
     all play one order of events
Of several failures the worst one counts: 1, then 4, 3, 5.

`unisono-sim COMMAND --help` has the flags of a command."
)]
pub(super) struct Cli {
    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Help")]
    help: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Play scenarios, each with its seeds
    #[command(after_help = "\
Examples:
  unisono-sim run scenarios/
  unisono-sim run scenarios/ps-crash.toml --seed 7
  unisono-sim run scenarios/ --seeds 1000 --json

A folder stands for all *.toml files in it and below, sorted, but for those in
folders named `capsules`. Each plays the seeds from 0 up to its `[sim] seeds`.
`64 seeds, 60 orders` means that 64 seeds played 60 different orders of events.")]
    Run(run::RunArgs),
    /// Play one scenario with many seeds, and keep one capsule of each kind of failure
    #[command(after_help = "\
Examples:
  unisono-sim hunt scenarios/swarm.toml
  unisono-sim hunt scenarios/swarm.toml --seeds 100000
  unisono-sim hunt scenarios/swarm.toml --from 5000 --for 60s --stop-after 1
  unisono-sim hunt scenarios/swarm.toml --shard 0/8 --out 0.json

Failures with the same signature are taken for the same. What is found does not
depend on --jobs, unless --for ends the hunt.")]
    Hunt(hunt::HuntArgs),
    /// Put the results of all shards of a hunt together
    #[command(after_help = "\
Example, on two machines, and then on one that has both files:
  unisono-sim hunt scenarios/swarm.toml --seeds 1000000 --shard 0/2 --out 0.json
  unisono-sim hunt scenarios/swarm.toml --seeds 1000000 --shard 1/2 --out 1.json
  unisono-sim merge 0.json 1.json

The result is that of the same hunt on one machine. The exit code is, too.")]
    Merge(merge::MergeArgs),
    /// Play a failure again; or compute the run of a real cluster again, from its ledgers
    #[command(after_help = "\
Examples:
  unisono-sim replay scenarios/capsules/swarm-rule-5-not-told-42.capsule.json
  unisono-sim replay scenarios/ps-crash.toml --seed 7
  unisono-sim replay --ledger ./mnist_model/

A capsule needs nothing but itself. The exit code is that of the failure, and 0
if there is none any more.

With --ledger the run is computed again in one loop, of the slots that it used,
and every version of every shard compared with the hash in the ledger. Exits with
1, and names the step, if they differ or a rule is broken.")]
    Replay(replay::ReplayArgs),
    /// Make a failure small: a scenario with the few faults and steps that matter
    #[command(after_help = "\
Examples:
  unisono-sim shrink scenarios/capsules/swarm-rule-5-not-told-42.capsule.json
  unisono-sim shrink 42.capsule.json -o scenarios/stale-is-told.toml

The first writes swarm-rule-5-not-told-42-small.toml, which fails the same way,
and its capsule, both beside the capsule. The result does not depend on --jobs.")]
    Shrink(shrink::ShrinkArgs),
    /// Crash every node before and after everything that happens to it, and between any two things
    /// that it does
    #[command(after_help = "\
Examples:
  unisono-sim enumerate scenarios/crashes/
  unisono-sim enumerate scenarios/crashes/fewer.toml --pairs 2000 --restart-after 1s

How the run ends and its trajectory must be as ever; counts and times that the
scenario expects are not looked at.")]
    Enumerate(enumerate::EnumerateArgs),
    /// Play scenarios in two processes, and compare all that happened
    #[command(after_help = "\
Examples:
  unisono-sim verify scenarios/
  unisono-sim verify scenarios/swarm.toml --seed 42

Exits with 1 if a hash of the history, of the losses, or the time differs.")]
    Verify(verify::VerifyArgs),
    /// Play scenarios, and print one line of hashes each
    #[command(hide = true)]
    Fingerprint(verify::VerifyArgs),
    /// Show where two runs part
    #[command(after_help = "\
Examples:
  unisono-sim diff scenarios/straggler.toml --seed 1 --seed 2
  unisono-sim diff scenarios/clean.toml scenarios/straggler.toml --seed 1
  unisono-sim diff old.capsule.json new.capsule.json

Exits with 1 if they do.")]
    Diff(diff::DiffArgs),
    /// Write everything that happened in a run, for ui.perfetto.dev
    #[command(after_help = "\
Examples:
  unisono-sim trace scenarios/ps-crash.toml --seed 7 -o ps-crash.json
  unisono-sim trace scenarios/ps-crash.toml --text | less

Times are virtual. Each task is a process there; arrows are messages.")]
    Trace(trace::TraceArgs),
    /// Write one page that shows a run: losses, timeline, critical path, updates
    #[command(after_help = "\
Examples:
  unisono-sim report scenarios/ps-crash.toml --seed 7
  unisono-sim report 42.capsule.json
  unisono-sim report 42.capsule.json -o /tmp/run.html

The first writes scenarios/ps-crash-7.html, the second 42.html.

The page needs nothing but itself. docs/report.md explains it; `unisono report`
shows a real run.")]
    Report(report::ReportArgs),
    /// Plant every bug of the catalogue, and see what catches it
    #[command(after_help = "\
Examples, in a clone of the project:
  unisono-sim bugs
  unisono-sim bugs --bug stale-applied --bug no-mending scenarios/swarm.toml
  unisono-sim bugs --markdown

The bugs are patches in sim/bugs. They are woven into a copy of the tree,
target/bugs/tree, which is built first.
Scenarios with chaos and the others take turns, seed by seed. A run counts only
if it passes without the bug; its capsule is kept. Exits with 1 if a bug is not
caught.")]
    Bugs(bugs::BugsArgs),
    /// Print a script that completes commands and flags in a shell
    #[command(after_help = "\
Examples:
  source <(unisono-sim completions bash)
  unisono-sim completions zsh > ~/.zfunc/_unisono-sim")]
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(after_help = "\
Examples:
  unisono-sim man | man -l -
  unisono-sim man /usr/local/share/man/man1")]
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_fits_eighty_columns_and_says_this() {
        let mut cli = Cli::command().term_width(80);
        cli.build();
        let mut all = vec![("unisono-sim".to_owned(), cli.render_help().to_string())];
        for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let name = command.get_name().to_owned();
            *command = command.clone().term_width(80);
            all.push((name, command.render_help().to_string()));
        }
        for (name, help) in all {
            let is_wide = |line: &&str| line.chars().count() > 84;
            assert_eq!(help.lines().find(is_wide), None, "{name}");
            insta::assert_snapshot!(format!("help-{name}"), help);
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
