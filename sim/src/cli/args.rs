//! The commands of `unisono-sim`, with their help.

use clap::{ArgAction, Parser, Subcommand};

use unisono_terminal::manual::{CompletionsArgs, ManArgs};

use super::{bugs, diff, enumerate, hunt, merge, replay, report, run, shrink, trace, verify};

/// Plays the production nodes in virtual time, over a simulated network and disk, injects faults,
/// and checks every rule of the protocol and every bit of the result
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
  0  all runs passed
  1  a wrong result: a rule is broken, or an expectation is not met
  2  bad usage, or an invalid scenario file or capsule
  3  a hang
  4  a panic of a node
  5  a scenario that tests nothing: a fault without effect, or many seeds that
     all play one order of events
With several failures, the exit code is that of the worst: 1, then 4, 3, 5.

`unisono-sim COMMAND --help` lists the flags of a command."
)]
pub(super) struct Cli {
    /// Print help
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

A folder stands for all *.toml files in it and below it, sorted, except those in
folders named `capsules`. Each scenario plays the seeds from 0 up to its `seeds`
in [sim]. `64 seeds, 60 orders` means that 64 seeds played 60 different orders
of events.")]
    Run(run::RunArgs),
    /// Play one scenario with many seeds, and keep one failure capsule per kind of failure
    #[command(after_help = "\
Examples:
  unisono-sim hunt scenarios/swarm.toml
  unisono-sim hunt scenarios/swarm.toml --seeds 100000
  unisono-sim hunt scenarios/swarm.toml --from 5000 --for 60s --stop-after 1
  unisono-sim hunt scenarios/swarm.toml --shard 0/8 --out 0.json

Failures with one signature count as one kind of failure. The result does not
depend on --jobs, unless --for ends the hunt.")]
    Hunt(hunt::HuntArgs),
    /// Combine the results of all shards of a hunt
    #[command(after_help = "\
Example with two machines. The last command runs where both files are:
  unisono-sim hunt scenarios/swarm.toml --seeds 1000000 --shard 0/2 --out 0.json
  unisono-sim hunt scenarios/swarm.toml --seeds 1000000 --shard 1/2 --out 1.json
  unisono-sim merge 0.json 1.json

The result and the exit code are those of the same hunt on one machine.")]
    Merge(merge::MergeArgs),
    /// Play a failure again, or recompute the run of a real cluster from its ledgers
    #[command(after_help = "\
Examples:
  unisono-sim replay scenarios/capsules/swarm-rule-5-not-told-42.capsule.json
  unisono-sim replay scenarios/ps-crash.toml --seed 7
  unisono-sim replay --ledger ./mnist_model/

A capsule contains all that its run needs. The exit code is that of the failure,
or 0 if the run passes.

With --ledger, the run is recomputed in one loop with the slots that it used,
and every version of every shard is compared with the hash in the ledger. If
one differs or a rule is broken, the command names the step and exits with 1.")]
    Replay(replay::ReplayArgs),
    /// Shrink a failure to a scenario with only the faults and steps that matter
    #[command(after_help = "\
Examples:
  unisono-sim shrink scenarios/capsules/swarm-rule-5-not-told-42.capsule.json
  unisono-sim shrink 42.capsule.json -o scenarios/stale-is-told.toml

The first command writes swarm-rule-5-not-told-42-small.toml, which fails with
the same signature, and its capsule, both beside the given capsule. The result
does not depend on --jobs.")]
    Shrink(shrink::ShrinkArgs),
    /// Play a run for each moment at which a node can crash: before and after each input, and
    /// between any two effects of an input
    #[command(after_help = "\
Examples:
  unisono-sim enumerate scenarios/crashes/
  unisono-sim enumerate scenarios/crashes/fewer.toml --pairs 2000

The outcome and the trajectory of each run are checked. The counts and times
that the scenario expects are not, because a crash may change them.")]
    Enumerate(enumerate::EnumerateArgs),
    /// Play scenarios in two processes, and compare their events
    #[command(after_help = "\
Examples:
  unisono-sim verify scenarios/
  unisono-sim verify scenarios/swarm.toml --seed 42

Exits with 1 if the hash of all events, the hash of the losses or the virtual
time differs.")]
    Verify(verify::VerifyArgs),
    /// Play scenarios, and print one line of hashes for each scenario
    #[command(hide = true)]
    Fingerprint(verify::VerifyArgs),
    /// Show where two runs begin to differ
    #[command(after_help = "\
Examples:
  unisono-sim diff scenarios/straggler.toml --seed 1 --seed 2
  unisono-sim diff scenarios/clean.toml scenarios/straggler.toml --seed 1
  unisono-sim diff old.capsule.json new.capsule.json

Exits with 1 if the runs differ.")]
    Diff(diff::DiffArgs),
    /// Write every event of a run, for ui.perfetto.dev
    #[command(after_help = "\
Examples:
  unisono-sim trace scenarios/ps-crash.toml --seed 7 -o ps-crash.json
  unisono-sim trace scenarios/ps-crash.toml --text | less

Times are virtual. In Perfetto, each task is a process; arrows are messages.")]
    Trace(trace::TraceArgs),
    /// Write one HTML page that shows a run: losses, timeline, critical path, updates
    #[command(after_help = "\
Examples:
  unisono-sim report scenarios/ps-crash.toml --seed 7
  unisono-sim report 42.capsule.json
  unisono-sim report 42.capsule.json -o /tmp/run.html

The first command writes scenarios/ps-crash-7.html, the second one 42.html.

The page needs no other file. docs/report.md explains it. `unisono report`
shows a real run.")]
    Report(report::ReportArgs),
    /// Search for each planted bug of the catalogue, and show which check catches the bug
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
    fn help_fits_eighty_columns_and_matches_the_snapshots() {
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
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
