//! `replay --ledger`: the run of a real cluster again, in one loop.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use unisono_config::ProgressMode;
use unisono_core::Step;
use unisono_learn::data::Source;
use unisono_learn::model::SimdLevel;
use unisono_observe::audit::found::Audit;
use unisono_observe::audit::replay::{Inputs, ReplayError, Replayed, replay};
use unisono_observe::ledger;
use unisono_terminal::UsageError;
use unisono_terminal::output::ProgressView;

use super::progress::Stopwatch;
use super::stage::{SCHEMA, Stage};

#[derive(Args, Debug)]
#[command(next_help_heading = "A run of a real cluster")]
pub(super) struct LedgerArgs {
    /// Folder in which all ledgers of the run are
    #[arg(long, value_name = "LOGDIR", conflicts_with = "path")]
    ledger: Option<PathBuf>,
    /// The data that it trained on [default: those that are built in]
    #[arg(long, value_name = "DIR", requires = "ledger")]
    data_dir: Option<PathBuf>,
    /// The initial values that it was given, if it was
    #[arg(long, value_name = "FILE.safetensors", requires = "ledger")]
    init_from: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    outcome: Outcome,
    /// The versions, and how much of each kind was compared and is the same.
    from: Option<Step>,
    to: Option<Step>,
    n_hashes: Option<u64>,
    n_losses: Option<u64>,
    n_checkpoints: Option<u64>,
    /// What is not the same, or against a rule, and at which step.
    failure: Option<String>,
    step: Option<Step>,
    exit_code: u8,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// Every bit that was compared is the same.
    Same,
    /// The run is not what its ledgers make of it.
    Diverges,
    /// The ledgers are against a rule by themselves.
    Broken,
}

/// Computes the run again, and says whether it is the same.
pub(super) fn replay_ledgers(args: &LedgerArgs, stage: &Stage) -> anyhow::Result<u8> {
    let logdir = args.ledger.clone().expect("clap asks for it, or for a path");
    let ledgers = ledger::read_all(&logdir).map_err(|error| UsageError(error.into()))?;
    let audit = Audit::of(&ledgers);
    let level = std::env::var("UNISONO_SIMD").ok();
    let inputs = Inputs {
        logdir,
        data: args.data_dir.clone().map_or(Source::Embedded, Source::Directory),
        init_from: args.init_from.clone(),
        level: SimdLevel::from_env_value(level.as_deref())
            .map_err(|error| UsageError(error.into()))?,
    };
    let end = audit.standing().into_keys().next_back().map_or(Step(0), Step::next);
    let mode = if stage.json { ProgressMode::None } else { ProgressMode::Auto };
    let mut view = ProgressView::new(stage.screen.clone(), mode, end.0);
    let stopwatch = Stopwatch::start();
    let replayed = replay(&audit, &inputs, |update| {
        view.update(update.cut.step.next().0, update.losses[0].1, stopwatch.elapsed());
    });
    view.finish();
    judge(replayed, stage)
}

fn judge(replayed: Result<Replayed, ReplayError>, stage: &Stage) -> anyhow::Result<u8> {
    let (replayed, outcome, step, line) = match replayed {
        Ok(replayed) => (Some(replayed), Outcome::Same, None, described(replayed)),
        Err(ReplayError::Diverges(divergence)) => {
            let line = format!("DIVERGES: {divergence}");
            (None, Outcome::Diverges, Some(divergence.step), line)
        }
        Err(ReplayError::Broken(violation)) => {
            (None, Outcome::Broken, Some(violation.step), format!("BROKEN: {violation}"))
        }
        // The ledgers have an update of a loss of which none can be made.
        Err(ReplayError::Failed(failure)) => return Err(failure.into()),
        Err(error) => return Err(UsageError(error.into()).into()),
    };
    let exit_code = u8::from(step.is_some());
    stage.say(&line);
    stage.print_json(&Document {
        schema: SCHEMA,
        command: "replay",
        outcome,
        from: replayed.map(|replayed| replayed.from),
        to: replayed.map(|replayed| replayed.to),
        n_hashes: replayed.map(|replayed| replayed.n_hashes),
        n_losses: replayed.map(|replayed| replayed.n_losses),
        n_checkpoints: replayed.map(|replayed| replayed.n_checkpoints),
        failure: step.map(|_| line),
        step,
        exit_code,
    })?;
    Ok(exit_code)
}

fn described(replayed: Replayed) -> String {
    let Replayed { from, to, n_hashes, n_losses, n_checkpoints } = replayed;
    format!(
        "The same to the bit: versions {from} to {to}, computed again in one loop; compared were \
         {n_hashes} hashes and {n_losses} losses of the ledgers, and {n_checkpoints} checkpoints."
    )
}
