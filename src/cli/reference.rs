//! `unisono reference`: the run in one plain loop.

use std::process::ExitCode;
use std::sync::Arc;

use super::evaluation::{self, Evaluation};
use super::output::{ProgressView, TrainingLine};
use super::{Process, data, task};
use crate::checkpoint::RunFiles;
use crate::config::RunConfig;
use crate::host::Clock as _;
use crate::tcp::RealClock;
use crate::training::Plan;
use crate::training::reference::Reference;

/// Computes the run, and writes the losses and the checkpoint that a cluster would.
/// It goes on from the latest checkpoint, if there is one, and writes one at the end.
///
/// # Errors
/// If the data or the files are not usable.
pub fn run_reference(config: RunConfig, process: Process) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&config, data::open(&config)?, task::simd_level()?)?;
    let files = plan.files(&config.logdir, config.init_from.as_deref())?;
    let (mut files, warnings) = RunFiles::open_alone(files)?;
    let restored = files.restore()?;
    let restored_warnings = restored.warnings.iter().map(ToString::to_string);
    warnings.into_iter().chain(restored_warnings).for_each(|warning| tracing::warn!("{warning}"));
    if let Some(path) = &restored.path {
        process.screen.err(&format!("Restored from {}.", path.display()));
    }

    let clock = RealClock::start();
    let (start, first) = (clock.now(), restored.snapshot.step);
    let mut progress =
        ProgressView::new(process.screen.clone(), config.progress, config.train.training_steps);
    let mut reference = Reference::new(plan.clone(), Arc::unwrap_or_clone(restored.snapshot));
    while reference.step().0 < config.train.training_steps {
        let slots = reference.default_slots();
        let update = reference.update(slots)?;
        files.losses().record(&update)?;
        let (elapsed, global_step) = (clock.now() - start, reference.step().0);
        let loss = update.losses[0].1;
        progress.update(global_step, loss, elapsed);
        let step = global_step - first.0;
        if step.is_multiple_of(TrainingLine::INTERVAL) {
            let sec_per_batch = elapsed.as_secs_f64() / step as f64;
            progress.line(&TrainingLine { step, global_step, loss, sec_per_batch });
        }
    }
    progress.finish();
    if reference.step() > first {
        let saved = files.persist(reference.snapshot())?;
        saved.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let evaluation = Evaluation::of_latest(&plan, &config.logdir)?;
    evaluation::print_closing_lines(&process.screen, &evaluation);
    Ok(ExitCode::SUCCESS)
}
