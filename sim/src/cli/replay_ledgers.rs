//! `replay --ledger`: recomputes the run of a real cluster in a single process.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use unisono_audit::found::Audit;
use unisono_audit::replay::{Inputs, ReplayError, Replayed, replay};
use unisono_config::ProgressMode;
use unisono_core::Step;
use unisono_learn::model::SimdLevel;
use unisono_observe::ledger;
use unisono_terminal::UsageError;
use unisono_terminal::output::ProgressView;

use super::context::CommandContext;
use super::progress::Stopwatch;

#[derive(Args, Debug)]
#[command(next_help_heading = "A run of a real cluster")]
pub(super) struct LedgerArgs {
    /// Folder with all ledgers of the run
    #[arg(long, value_name = "LOGDIR", conflicts_with = "path")]
    ledger: Option<PathBuf>,
    /// Training data of the run [default: the built-in data]
    #[arg(long, value_name = "DIR", requires = "ledger")]
    data_dir: Option<PathBuf>,
    /// Initial values of the run, if it had --init-from
    #[arg(long, value_name = "FILE.safetensors", requires = "ledger")]
    init_from: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    outcome: Outcome,
    /// The first version that was recomputed.
    from: Option<Step>,
    /// The last version that was recomputed.
    to: Option<Step>,
    /// Number of hashes that were compared and are equal.
    n_hashes: Option<u64>,
    /// Number of losses that were compared and are equal.
    n_losses: Option<u64>,
    /// Number of checkpoints that were compared and are equal.
    n_checkpoints: Option<u64>,
    /// The first difference or broken rule, with its step.
    failure: Option<String>,
    step: Option<Step>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// All compared bits are equal.
    Same,
    /// The recomputed run differs from the ledgers.
    Diverges,
    /// The ledgers break a rule.
    Broken,
}

/// Recomputes a run from its ledgers, and reports whether the result agrees with the ledgers.
pub(super) fn replay_ledgers(args: &LedgerArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let logdir = args.ledger.clone().expect("clap requires a path or --ledger");
    let ledgers = ledger::read_all(&logdir).map_err(|error| UsageError(error.into()))?;
    let audit = Audit::of(&ledgers);
    let level = std::env::var("UNISONO_SIMD").ok();
    let inputs = Inputs {
        workload: context.caches.workload().clone(),
        logdir,
        data_dir: args.data_dir.clone(),
        init_from: args.init_from.clone(),
        level: SimdLevel::from_env_value(level.as_deref())
            .map_err(|error| UsageError(error.into()))?,
    };
    let end = audit.standing().into_keys().next_back().map_or(Step(0), Step::next);
    let mode = if context.json { ProgressMode::None } else { ProgressMode::Auto };
    let mut view = ProgressView::new(context.screen.clone(), mode, end.0);
    let stopwatch = Stopwatch::start();
    let replayed = replay(&audit, &inputs, |update| {
        view.update(update.cut.step.next().0, update.losses[0].1, stopwatch.elapsed());
    });
    view.finish();
    judge(replayed, context)
}

fn judge(replayed: Result<Replayed, ReplayError>, context: &CommandContext) -> anyhow::Result<u8> {
    let (replayed, outcome, step, line) = match replayed {
        Ok(replayed) => (Some(replayed), Outcome::Same, None, described(replayed)),
        Err(ReplayError::Diverges(divergence)) => {
            let line = format!("DIVERGES: {divergence}");
            (None, Outcome::Diverges, Some(divergence.step), line)
        }
        Err(ReplayError::Broken(violation)) => {
            (None, Outcome::Broken, Some(violation.step), format!("BROKEN: {violation}"))
        }
        // The computation itself failed, for example because a loss is not a number.
        Err(ReplayError::Failed(failure)) => return Err(failure.into()),
        Err(error) => return Err(UsageError(error.into()).into()),
    };
    let exit_code = u8::from(step.is_some());
    context.print_text(&line);
    let document = Document {
        outcome,
        from: replayed.map(|replayed| replayed.from),
        to: replayed.map(|replayed| replayed.to),
        n_hashes: replayed.map(|replayed| replayed.n_hashes),
        n_losses: replayed.map(|replayed| replayed.n_losses),
        n_checkpoints: replayed.map(|replayed| replayed.n_checkpoints),
        failure: step.map(|_| line),
        step,
    };
    context.conclude("replay", document, exit_code)
}

fn described(replayed: Replayed) -> String {
    let Replayed { from, to, n_hashes, n_losses, n_checkpoints } = replayed;
    format!(
        "The same to the bit: versions {from} to {to}, recomputed in one loop and compared with \
         {n_hashes} hashes and {n_losses} losses of the ledgers, and {n_checkpoints} checkpoints."
    )
}
