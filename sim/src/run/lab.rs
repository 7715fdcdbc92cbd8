//! The arithmetic of a run, remembered: what was computed once is not computed again.
//!
//! In synchronous training the gradients of a configuration do not depend on the schedule, so the
//! seeds of a hunt share them. A result is remembered under all that it depends on: the model, the
//! step, the slot, and every bit of the parameters. Now and then one is computed again and compared,
//! so that the memory itself is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use unisono_core::ids::Cut;

use unisono_config::RunConfig;
use unisono_core::host::Work as _;
use unisono_core::protocol::{Done, Failure, Job, ShardState, Snapshot, UpdateRecord};
use unisono_core::random::Stream;
use unisono_core::{Floats, Slot, Step};
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::reference::Reference;
use unisono_learn::training::{Gradients, Plan, Updates};
use unisono_observe::ledger::StateHash;

use crate::lock::lock;
use crate::streams::Purpose;

/// Labs that are kept; a swarm draws clusters of fewer shapes.
const MAX_LABS: usize = 4_096;
/// Bytes of results that all labs together remember; the next run then finds that all is forgotten.
const MAX_REMEMBERED: usize = 1 << 30;
/// One result in so many is computed again.
const RECHECK: u64 = 256;

/// Labs, one for each configuration, shared by all runs of a process.
#[derive(Debug, Default)]
pub struct Labs {
    labs: Mutex<BTreeMap<String, Arc<Lab>>>,
    data: OnceLock<Arc<Dataset>>,
    /// Bytes that all labs remember.
    n_bytes: Arc<AtomicUsize>,
}

/// Everything that a training configuration computes.
pub struct Lab {
    plan: Plan,
    initial: Arc<Snapshot>,
    idle_gradients: Mutex<Vec<Gradients>>,
    memory: Mutex<Memory>,
    serial: OnceLock<Serial>,
}

/// The run in one loop, with no protocol at all.
#[derive(Debug)]
pub struct Serial {
    /// Every update, ascending.
    pub updates: Vec<UpdateRecord>,
    /// The hash of each shard, after each of them.
    pub hashes: Vec<Vec<StateHash>>,
    /// Where it ends.
    pub end: Snapshot,
    /// Why it ends before the last step, if it does.
    pub failure: Option<Failure>,
}

impl Labs {
    /// The lab of a configuration.
    ///
    /// # Errors
    /// If the data does not do for it, for a person.
    pub fn of(&self, run: &RunConfig) -> Result<Arc<Lab>, String> {
        let key = key(run);
        let mut labs = lock(&self.labs);
        if self.n_bytes.load(Ordering::Relaxed) > MAX_REMEMBERED {
            labs.values().for_each(|lab| lock(&lab.memory).forget());
            self.n_bytes.store(0, Ordering::Relaxed);
        }
        if let Some(lab) = labs.get(&key) {
            return Ok(Arc::clone(lab));
        }
        let data = self.data.get_or_init(|| Arc::new(Dataset::embedded()));
        let plan = Plan::new(run, Arc::clone(data), SimdLevel::detect())
            .map_err(|error| error.to_string())?;
        let lab = Arc::new(Lab::new(plan, Arc::clone(&self.n_bytes))?);
        if labs.len() >= MAX_LABS {
            labs.clear();
        }
        labs.insert(key, Arc::clone(&lab));
        Ok(lab)
    }
}

/// All settings that touch a number, and how long the run is.
fn key(run: &RunConfig) -> String {
    let settings = run.settings();
    let texts = settings.iter().map(|(key, value)| format!("{key}={value}"));
    texts.collect::<Vec<_>>().join(" ")
}

impl Lab {
    fn new(plan: Plan, n_bytes: Arc<AtomicUsize>) -> Result<Self, String> {
        let initial = Arc::new(plan.initial(None).map_err(|error| error.to_string())?);
        Ok(Self {
            plan,
            initial,
            idle_gradients: Mutex::default(),
            memory: Mutex::new(Memory { n_bytes, ..Memory::default() }),
            serial: OnceLock::new(),
        })
    }

    /// What the run computes with.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the run begins.
    #[must_use]
    pub const fn initial(&self) -> &Arc<Snapshot> {
        &self.initial
    }

    /// The serial run, computed once.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        self.serial.get_or_init(|| {
            let mut reference = Reference::new(self.plan.clone(), (*self.initial).clone());
            let (mut updates, mut hashes) = (Vec::new(), Vec::new());
            let mut failure = None;
            while reference.step().0 < self.plan.train.training_steps && failure.is_none() {
                match reference.update(reference.default_slots()) {
                    Ok(update) => {
                        updates.push(update);
                        let shards = reference.snapshot().shards.iter();
                        hashes.push(shards.map(StateHash::of).collect());
                    }
                    Err(why) => failure = Some(why),
                }
            }
            Serial { updates, hashes, end: reference.snapshot().clone(), failure }
        })
    }

    /// Someone who does the jobs of tasks of this run.
    #[must_use]
    pub fn worker(self: &Arc<Self>, seed: u64) -> LabWorker {
        let lab = Arc::clone(self);
        LabWorker { lab, recheck: Stream::new(seed, Purpose::Recheck, 0, 0) }
    }

    fn compute(&self, job: Job) -> Done {
        match job {
            job @ Job::Gradient { .. } => {
                let idle = lock(&self.idle_gradients).pop();
                let mut gradients = idle.unwrap_or_else(|| Gradients::new(&self.plan));
                let done = gradients.work(job);
                lock(&self.idle_gradients).push(gradients);
                done
            }
            // Its pool would never get a buffer back.
            job @ Job::Update { .. } => Updates::new(self.plan.rule.clone(), 0).work(job),
        }
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("settings", &self.plan.settings).finish_non_exhaustive()
    }
}

/// Does jobs, from memory if it can.
#[derive(Debug)]
pub struct LabWorker {
    lab: Arc<Lab>,
    recheck: Stream,
}

impl LabWorker {
    /// Does a job.
    ///
    /// # Panics
    /// If a result that was remembered is not what is computed: nothing here can be believed then.
    pub fn work(&mut self, job: Job) -> Done {
        let known = lock(&self.lab.memory).recall(&job);
        match known {
            Some(known) if self.recheck.below(RECHECK) == 0 => {
                let again = self.lab.compute(job);
                assert_eq!(known, again, "a remembered result is not what is computed");
                // Whoever goes on from the very same buffers is recognised without a comparison.
                known
            }
            Some(known) => known,
            None => {
                let done = self.lab.compute(job.clone());
                let mut memory = lock(&self.lab.memory);
                // Another run may have been faster.
                match memory.recall(&job) {
                    Some(known) => known,
                    None => {
                        memory.keep(&job, &done);
                        done
                    }
                }
            }
        }
    }

    /// The loss and the gradient of a slot at a version.
    pub fn gradient(
        &mut self,
        step: Step,
        slot: Slot,
        shards: &[ShardState],
    ) -> (f32, Vec<Floats>) {
        let parameters = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let generation = unisono_core::Generation::default();
        match self.work(Job::Gradient { cut: Cut { generation, step }, slot, parameters }) {
            Done::Gradient { loss, gradient, .. } => (loss, gradient),
            Done::Update { .. } => unreachable!("a gradient was asked for"),
        }
    }

    /// A shard at the next version.
    pub fn update(
        &mut self,
        step: Step,
        state: &ShardState,
        gradients: Vec<(Slot, Floats)>,
    ) -> ShardState {
        let (generation, state) = (unisono_core::Generation::default(), state.clone());
        match self.work(Job::Update { cut: Cut { generation, step }, state, gradients }) {
            Done::Update { state, .. } => state,
            Done::Gradient { .. } => unreachable!("an update was asked for"),
        }
    }
}

/// Results, each with all that it was made of.
#[derive(Debug, Default)]
struct Memory {
    gradients: BTreeMap<(Step, Slot, u32), Vec<KnownGradient>>,
    updates: BTreeMap<(Step, u32), Vec<KnownUpdate>>,
    /// Bytes that all labs remember.
    n_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct KnownGradient {
    parameters: Vec<Floats>,
    loss: f32,
    gradient: Vec<Floats>,
}

#[derive(Debug)]
struct KnownUpdate {
    state: ShardState,
    gradients: Vec<(Slot, Floats)>,
    next: ShardState,
}

impl Memory {
    fn recall(&self, job: &Job) -> Option<Done> {
        match job {
            Job::Gradient { cut: Cut { generation, step }, slot, parameters } => {
                let known = self.gradients.get(&(*step, *slot, checksum(parameters)))?;
                let known = known.iter().find(|known| known.parameters == *parameters)?;
                Some(Done::Gradient {
                    cut: Cut { generation: *generation, step: *step },
                    slot: *slot,
                    loss: known.loss,
                    gradient: known.gradient.clone(),
                })
            }
            Job::Update { cut: Cut { generation, step }, state, gradients } => {
                let known = self.updates.get(&(*step, state.parameters.checksum()))?;
                let is_it =
                    |known: &&KnownUpdate| known.gradients == *gradients && known.state == *state;
                let state = known.iter().find(is_it)?.next.clone();
                Some(Done::Update { cut: Cut { generation: *generation, step: *step }, state })
            }
        }
    }

    fn forget(&mut self) {
        self.gradients.clear();
        self.updates.clear();
    }

    fn count(&self, n_bytes: usize) {
        self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    fn keep(&mut self, job: &Job, done: &Done) {
        match (job, done) {
            (
                Job::Gradient { cut: Cut { step, .. }, slot, parameters, .. },
                Done::Gradient { loss, gradient, .. },
            ) => {
                self.count(bytes(gradient));
                let (parameters, gradient) = (parameters.clone(), gradient.clone());
                let known = KnownGradient { loss: *loss, gradient, parameters };
                let key = (*step, *slot, checksum(&known.parameters));
                self.gradients.entry(key).or_default().push(known);
            }
            (
                Job::Update { cut: Cut { step, .. }, state, gradients, .. },
                Done::Update { state: next, .. },
            ) => {
                self.count(4 * next.parameters.len() + bytes(&next.auxiliary));
                let (state, gradients) = (state.clone(), gradients.clone());
                let key = (*step, state.parameters.checksum());
                let known = KnownUpdate { state, gradients, next: next.clone() };
                self.updates.entry(key).or_default().push(known);
            }
            _ => unreachable!("a job is answered in kind"),
        }
    }
}

fn checksum(buffers: &[Floats]) -> u32 {
    buffers.iter().fold(0, |sum, buffer| sum.rotate_left(1) ^ buffer.checksum())
}

fn bytes(buffers: &[Floats]) -> usize {
    buffers.iter().map(|buffer| 4 * buffer.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_result_is_computed_once_and_is_that_of_the_serial_run() {
        let lab = Labs::default().of(&Scenario::default().run).unwrap();
        let mut worker = lab.worker(1);
        let initial = Arc::clone(lab.initial());
        let first = worker.gradient(Step(0), Slot(1), &initial.shards);
        let again = worker.gradient(Step(0), Slot(1), &initial.shards);
        assert!(first.1[0].same_buffer(&again.1[0]));
        let expected = lab.serial().updates[0].losses[1];
        assert_eq!((Slot(1), first.0.to_bits()), (expected.0, expected.1.to_bits()));
    }

    #[test]
    fn other_parameters_are_another_result() {
        let lab = Labs::default().of(&Scenario::default().run).unwrap();
        let mut worker = lab.worker(1);
        let mut shards = lab.initial().shards.clone();
        let first = worker.gradient(Step(0), Slot(0), &shards);
        // A bias: the weight of a pixel that is never lit would change nothing.
        let mut values = shards[1].parameters.to_vec();
        *values.last_mut().unwrap() += 1.0;
        shards[1].parameters = values.into();
        assert_ne!(first.1, worker.gradient(Step(0), Slot(0), &shards).1);
    }
}
