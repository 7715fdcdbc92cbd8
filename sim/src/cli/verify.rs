//! `verify`: two processes, one history.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::sources;
use super::stage::{SCHEMA, Stage};
use crate::cli::common::CommonArgs;
use crate::counted::counted;
use crate::many::pool;
use crate::scenario::nanos;

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Scenario files, and folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The seed of all runs
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// What two runs have to have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    scenario: String,
    audit: String,
    /// A hash of the order of events, without their times.
    order: String,
    /// A hash of the losses.
    losses: String,
    virtual_time_ns: u64,
    events: u64,
    failure: Option<String>,
}

/// Plays each scenario once, and prints a fingerprint a line: one of the two processes.
pub(super) fn fingerprint(args: &VerifyArgs, stage: &Stage) -> anyhow::Result<u8> {
    let sources = sources::load_all(&args.paths)?;
    let play = |number: u64| {
        let source = &sources[number as usize];
        let played = source.case(args.seed).play(&stage.caches, stage.options);
        // Fowler, Noll and Vo's hash, 64 bits at a time.
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
    let mut result = Ok(());
    pool::in_order(
        stage.jobs,
        0..sources.len() as u64,
        play,
        |_, print| match serde_json::to_string(&print) {
            Ok(line) => {
                stage.screen.out(&line);
                ControlFlow::Continue(())
            }
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        },
    );
    result.context("a fingerprint is JSON")?;
    Ok(0)
}

/// Starts two processes, which play side by side, and compares what they say.
pub(super) fn verify(args: &VerifyArgs, stage: &Stage) -> anyhow::Result<u8> {
    // What is wrong with a file is told here, once.
    let n_sources = sources::load_all(&args.paths)?.len();
    // With other numbers of threads, so that these cannot matter, either.
    let n_jobs = [NonZeroUsize::MIN, stage.jobs.saturating_add(1)];
    let children = n_jobs.map(|n_jobs| start(args, n_jobs));
    let [first, second] = children.map(|child| child.and_then(read));
    let (first, second) = (first?, second?);
    ensure!(first.len() == n_sources && second.len() == n_sources, "a process said too little");
    let pairs: Vec<_> = first
        .into_iter()
        .zip(second)
        .map(|(first, second)| Pair { same: first == second, first, second })
        .collect();
    for pair in &pairs {
        stage.say(&pair.text());
    }
    let orders: BTreeSet<_> = pairs.iter().map(|pair| &*pair.first.order).collect();
    let n_orders = orders.len() as u64;
    stage.say(&format!("{} of events in {n_sources} scenarios", counted(n_orders, "order")));
    let n_same = pairs.iter().filter(|pair| pair.same).count();
    stage.say(&format!(
        "{n_same} of {n_sources} scenarios had one history in two processes, seed {}",
        args.seed
    ));
    let exit_code = u8::from(n_same < n_sources);
    let seed = args.seed;
    stage.print_json(&Document {
        schema: SCHEMA,
        command: "verify",
        seed,
        orders: n_orders,
        pairs,
        exit_code,
    })?;
    Ok(exit_code)
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    seed: u64,
    /// Different orders of events, of all scenarios.
    orders: u64,
    #[serde(rename = "scenarios")]
    pairs: Vec<Pair>,
    exit_code: u8,
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
    command.arg("fingerprint").arg("--seed").arg(args.seed.to_string());
    command.arg("--jobs").arg(n_jobs.to_string());
    command.args(args.common.plant.iter().flat_map(|bug| ["--plant", bug]));
    command.arg("--").args(&args.paths);
    command.stdout(Stdio::piped()).spawn().context("cannot start a second process")
}

fn read(child: Child) -> anyhow::Result<Vec<Fingerprint>> {
    let output = child.wait_with_output().context("cannot read from the second process")?;
    if !output.status.success() {
        bail!("a second process ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("a fingerprint is text")?;
    text.lines().map(|line| serde_json::from_str(line).context("a fingerprint is JSON")).collect()
}
