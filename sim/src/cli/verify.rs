//! `verify`: plays each scenario in two processes, and checks that the two runs are identical.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::context::CommandContext;
use super::sources;
use crate::cli::common::CommonArgs;
use crate::many::pool;
use crate::scenario::nanos;
use unisono_observe::counted::counted;

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Scenario files and folders
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Seed of all runs
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// The values of a run that must be equal in both processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    scenario: String,
    audit: String,
    /// The hash of the order of events, without the times of the events.
    order: String,
    /// The hash of the losses.
    losses: String,
    virtual_time_ns: u64,
    events: u64,
    failure: Option<String>,
}

/// Plays each scenario once, and prints one fingerprint per line. `verify` starts two processes
/// with this command.
pub(super) fn fingerprint(args: &VerifyArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let sources = sources::load_all(&args.paths, context.caches.workload())?;
    let play = |number: u64| {
        let source = &sources[number as usize];
        let played = source.case(args.seed).play(&context.caches, context.options);
        // The hash function FNV-1a (Fowler, Noll and Vo), applied to words of 64 bits.
        let add = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        let losses =
            played.losses.iter().fold(0xcbf2_9ce4_8422_2325, |hash, (step, slot, loss)| {
                add(add(hash, step.0), u64::from(slot.0) << 32 | u64::from(loss.to_bits()))
            });
        Fingerprint {
            scenario: source.path.display().to_string(),
            audit: played.audit.to_string(),
            order: played.order.to_string(),
            losses: format!("{losses:016x}"),
            virtual_time_ns: nanos(played.took),
            events: played.n_events,
            failure: played.failure.map(|failure| failure.to_string()),
        }
    };
    let numbers = 0..sources.len() as u64;
    let failed =
        pool::in_order(context.jobs, numbers, play, |_, print| {
            match serde_json::to_string(&print) {
                Ok(line) => {
                    context.screen.out(&line);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
    failed.map_or(Ok(0), Err).context("cannot write a fingerprint as JSON")
}

/// Starts two processes that play at the same time, and compares their fingerprints.
pub(super) fn verify(args: &VerifyArgs, context: &CommandContext) -> anyhow::Result<u8> {
    // This process loads the files, too, so that mistakes in the files are reported once and not
    // twice.
    let n_sources = sources::load_all(&args.paths, context.caches.workload())?.len();
    // The two processes use different numbers of threads, so that a result that depends on the
    // number of threads is found.
    let n_jobs = [NonZeroUsize::MIN, context.jobs.saturating_add(1)];
    let children = n_jobs.map(|n_jobs| start(args, n_jobs));
    let [first, second] = children.map(|child| child.and_then(read));
    let (first, second) = (first?, second?);
    ensure!(
        first.len() == n_sources && second.len() == n_sources,
        "a process printed too few fingerprints"
    );
    let pairs: Vec<_> = first
        .into_iter()
        .zip(second)
        .map(|(first, second)| Pair { same: first == second, first, second })
        .collect();
    for pair in &pairs {
        context.print_text(&pair.text());
    }
    let orders: BTreeSet<_> = pairs.iter().map(|pair| &*pair.first.order).collect();
    let n_orders = orders.len() as u64;
    context
        .print_text(&format!("{} of events in {n_sources} scenarios", counted(n_orders, "order")));
    let n_same = pairs.iter().filter(|pair| pair.same).count();
    context.print_text(&format!(
        "{n_same} of {n_sources} scenarios gave identical runs in two processes, seed {}",
        args.seed
    ));
    let document = Document { seed: args.seed, orders: n_orders, pairs };
    context.conclude("verify", document, u8::from(n_same < n_sources))
}

#[derive(Serialize)]
struct Document {
    seed: u64,
    orders: u64,
    #[serde(rename = "scenarios")]
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
struct Pair {
    same: bool,
    first: Fingerprint,
    second: Fingerprint,
}

impl Pair {
    fn text(&self) -> String {
        let Self { same, first, second } = self;
        if *same {
            let failed = if first.failure.is_some() { ", and both fail" } else { "" };
            let Fingerprint { scenario, audit, order, .. } = first;
            return format!("✓ {scenario}: audit {audit}, order {order}{failed}");
        }
        let show = |it: &Fingerprint| {
            let Fingerprint { audit, order, losses, virtual_time_ns, events, .. } = it;
            let failure = it.failure.as_deref().unwrap_or("no failure");
            format!(
                "audit {audit}, order {order}, losses {losses}, {virtual_time_ns} ns, {events} \
                 events, {failure}"
            )
        };
        format!("✗ {}\n  {}\n  {}", first.scenario, show(first), show(second))
    }
}

fn start(args: &VerifyArgs, n_jobs: NonZeroUsize) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    // In a program with its own workload, `verify` may be a subcommand of another command. The
    // arguments before `verify` name that command, so the new process gets these arguments, too.
    command.args(std::env::args_os().skip(1).take_while(|argument| argument != "verify"));
    command.arg("fingerprint").arg("--seed").arg(args.seed.to_string());
    command.arg("--jobs").arg(n_jobs.to_string());
    command.args(args.common.plant.iter().flat_map(|bug| ["--plant", bug]));
    command.arg("--").args(&args.paths);
    command.stdout(Stdio::piped()).spawn().context("cannot start this program again")
}

fn read(child: Child) -> anyhow::Result<Vec<Fingerprint>> {
    let output = child.wait_with_output().context("cannot read from a started process")?;
    if !output.status.success() {
        bail!("a process that ran the scenarios ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("a fingerprint is not UTF-8")?;
    let parse = |line| serde_json::from_str(line).context("a fingerprint is not valid JSON");
    text.lines().map(parse).collect()
}
