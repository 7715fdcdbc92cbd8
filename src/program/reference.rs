//! `unisono reference`: computes a run in one serial loop.

use std::process::ExitCode;
use std::sync::Arc;
use unisono_core::ids::{Cut, Slot};
use unisono_task::{data_note, setup};

use unisono_config::RunConfig;
use unisono_core::floats::Floats;
use unisono_core::host::Clock as _;
use unisono_core::protocol::{
    self, Done, Effect, Input, Job, Report, Snapshot, StorageEvent, UpdateRecord,
};
use unisono_core::time::Moment;
use unisono_core::train_config::Sync;
use unisono_files::disk::LockedBy;
use unisono_files::run_files::{Restored, RunFiles};
use unisono_learn::Workload;
use unisono_learn::training::Plan;
use unisono_learn::training::reference::Reference;
use unisono_net::tcp::RealClock;
use unisono_task::evaluation::{self, Evaluation};
use unisono_task::events::EventKeeper;
use unisono_task::fresh::Scope;
use unisono_task::process::Process;
use unisono_terminal::output::{ProgressView, TrainingLine};

/// Computes a run in one serial loop, and writes the same losses and the same checkpoint as a
/// cluster with R ≥ N. The run resumes from the latest checkpoint, if there is one, and saves a
/// checkpoint at the end.
///
/// # Errors
/// Returns an error if the data or the files cannot be used.
pub fn run_reference(
    config: RunConfig,
    workload: &Workload,
    process: Process,
) -> anyhow::Result<ExitCode> {
    let plan = workload.plan(&config, setup::simd_level()?)?;
    let files = setup::files(&plan, &config)?;
    setup::make_room(&config, Scope::WholeRun, &process)?;
    let (mut files, warnings) = RunFiles::open_alone(files, LockedBy::Nobody)?;
    let restored = files.restore()?;
    data_note::write(&config, process.incarnation);
    let restored_warnings = restored.warnings.iter().map(ToString::to_string);
    warnings.into_iter().chain(restored_warnings).for_each(|warning| tracing::warn!("{warning}"));
    if let Some(path) = &restored.path {
        process.screen.err(&format!("Restored from {}.", path.display()));
        if restored.snapshot.cut.step.0 >= config.train.training_steps {
            process.screen.err(&setup::already_finished(restored.snapshot.cut.step, &config));
        }
    }

    if !config.sync.is_determined() {
        let Sync { replicas_to_aggregate: r, total_num_replicas: n } = config.sync;
        process.screen.err(&format!(
            "With {r} gradients in each update of {n} workers, a cluster has many possible runs: \
             timing chooses the slots. This run uses the first {r} slots of each step."
        ));
    }

    let clock = RealClock::start();
    let (start, first) = (clock.now(), restored.snapshot.cut.step);
    let mut events = Narrator::start(&config, &process, &plan);
    events.begin(start, &restored);
    let mut progress =
        ProgressView::new(process.screen.clone(), config.progress, config.train.training_steps);
    let mut reference = Reference::new(&plan, Arc::unwrap_or_clone(restored.snapshot));
    while reference.step().0 < config.train.training_steps {
        let slots = reference.default_slots();
        events.compute(clock.now(), reference.snapshot());
        let update = reference.update(slots)?;
        if let Some(notice) = files.losses().record(&update)? {
            tracing::warn!("{notice}");
        }
        let now = clock.now();
        events.updated(now, &update, reference.last_gradients());
        let (elapsed, global_step) = (now - start, reference.step().0);
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
        events.persist(clock.now(), reference.snapshot());
        let saved = files.persist(reference.snapshot())?;
        saved.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let evaluation = Evaluation::of_latest(workload, &plan, &config.logdir)?;
    evaluation::print_closing_lines(&process.screen, &evaluation);
    Ok(ExitCode::SUCCESS)
}

/// Passes to the `EventKeeper` the inputs and effects that the chief of a cluster would pass, so
/// that `unisono reference` and a cluster write the same events.
struct Narrator(Option<EventKeeper>);

impl Narrator {
    fn start(config: &RunConfig, process: &Process, plan: &Plan) -> Self {
        Self(EventKeeper::start(config, process.incarnation, plan))
    }

    fn begin(&mut self, now: Moment, restored: &Restored) {
        let Some(keeper) = &mut self.0 else { return };
        let from = restored.path.as_ref().map(|path| path.display().to_string());
        let snapshot = Arc::clone(&restored.snapshot);
        let Snapshot { cut: Cut { generation, step }, .. } = *snapshot;
        let read = protocol::Restored { snapshot, from: from.clone() };
        let read = Input::Stored(StorageEvent::Restored(Ok(read)));
        let adopted = Report::Adopted { generation, step: Some(step), restored: Some(from) };
        keeper.note(now, &read, &[Effect::Report(adopted)]);
    }

    fn compute(&mut self, now: Moment, snapshot: &Snapshot) {
        let Some(keeper) = &mut self.0 else { return };
        let Snapshot { cut, shards } = snapshot;
        let parameters = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let job = Job::Gradient { cut: *cut, slot: Slot(0), parameters };
        keeper.note(now, &Input::Wake, &[Effect::Compute(job)]);
    }

    /// Notes an update with the gradient of slot 0, because slot 0 is the slot of the chief.
    fn updated(&mut self, now: Moment, update: &UpdateRecord, gradients: &[(Slot, Vec<Floats>)]) {
        let Some(keeper) = &mut self.0 else { return };
        let UpdateRecord { cut, ref losses } = *update;
        let (slot, loss) = losses[0];
        let gradient = gradients[0].1.clone();
        let computed = Input::Computed(Done::Gradient { cut, slot, loss, gradient });
        keeper.note(now, &computed, &[Effect::Record(update.clone())]);
    }

    fn persist(&mut self, now: Moment, snapshot: &Snapshot) {
        let Some(keeper) = &mut self.0 else { return };
        keeper.note(now, &Input::Wake, &[Effect::Persist(Arc::new(snapshot.clone()))]);
    }
}
