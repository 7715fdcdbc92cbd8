//! The arithmetic of simulated runs, with a cache that reuses computed results.
//!
//! In synchronous training the gradients of a configuration do not depend on the schedule, so all
//! seeds of a `hunt` share the computed gradients. The key of a cached result contains everything
//! that the result depends on: the configuration, the step, the slot, and every bit of the
//! parameters. One cached result in 256 is computed again and compared, to test the cache itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use unisono_config::RunConfig;
use unisono_core::host::Work;
use unisono_core::protocol::{Done, Failure, Job, ShardState, Snapshot, UpdateRecord};
use unisono_core::random::Stream;
use unisono_core::{Floats, Slot, Step};
use unisono_files::run_files::RunFiles;
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::reference::Reference;
use unisono_learn::training::{Gradients, Plan, Updates};
use unisono_learn::{Workload, WorkloadError};
use unisono_observe::ledger::StateHash;

use crate::lock::lock;
use crate::streams::Purpose;
use crate::world::disk::SimDisk;
use crate::world::files::ChiefFiles;

/// Maximum number of configurations with a cache. The swarm scenario draws fewer configurations
/// than this maximum.
const MAX_CACHES: usize = 4_096;
/// Maximum number of bytes of results in all caches together. A run that starts above this limit
/// clears all caches, because a `hunt` with a large model would otherwise fill the memory.
const MAX_BYTES: usize = 1 << 30;
/// One in this many cached results is computed again.
const RECHECK: u64 = 256;

/// The compute cache of each training configuration, shared by all runs of a process.
#[derive(Debug)]
pub struct ComputeCaches {
    workload: Workload,
    caches: Mutex<BTreeMap<String, Arc<ComputeCache>>>,
    /// The opened data by [`Workload::data_key`], because opening data takes longer than a run.
    data: Mutex<BTreeMap<String, Arc<Dataset>>>,
    /// Bytes of results in all caches.
    n_bytes: Arc<AtomicUsize>,
}

/// The compute cache of one training configuration.
#[derive(Debug)]
pub struct ComputeCache {
    plan: Plan,
    initial: Arc<Snapshot>,
    idle_gradients: Mutex<Vec<Gradients>>,
    results: Mutex<Results>,
    serial: OnceLock<Serial>,
}

/// The serial run: the same training in one loop without a protocol.
#[derive(Debug)]
pub struct Serial {
    /// All updates, in ascending order.
    pub updates: Vec<UpdateRecord>,
    /// The hash of each shard after each update.
    pub hashes: Vec<Vec<StateHash>>,
    /// The state after the last update.
    pub end: Snapshot,
    /// The failure that ended the run before its last step; `None` if the run reached the last
    /// step.
    pub failure: Option<Failure>,
}

impl Default for ComputeCaches {
    fn default() -> Self {
        Self::new(Workload::built_in())
    }
}

impl ComputeCaches {
    /// Creates caches for runs of a workload.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        let (caches, data) = (Mutex::default(), Mutex::default());
        Self { workload, caches, data, n_bytes: Arc::default() }
    }

    /// Returns the workload of all runs.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Returns the compute cache of a configuration.
    ///
    /// # Errors
    /// Returns a text for the user if the data or the model do not fit the configuration.
    pub fn for_run(&self, run: &RunConfig) -> Result<Arc<ComputeCache>, String> {
        let key = key(run);
        let mut caches = lock(&self.caches);
        // The limit is checked only when a run begins. If each result checked the limit, a run
        // could lose its own results, and would compute a gradient again for each task that needs
        // it.
        if self.n_bytes.load(Ordering::Relaxed) > MAX_BYTES {
            caches.values().for_each(|cache| lock(&cache.results).clear());
            self.n_bytes.store(0, Ordering::Relaxed);
        }
        if let Some(cache) = caches.get(&key) {
            return Ok(Arc::clone(cache));
        }
        let plan = self.plan(run).map_err(|error| error.to_string())?;
        let cache = Arc::new(ComputeCache::new(plan, Arc::clone(&self.n_bytes))?);
        if caches.len() >= MAX_CACHES {
            caches.clear();
        }
        caches.insert(key, Arc::clone(&cache));
        Ok(cache)
    }

    fn plan(&self, run: &RunConfig) -> Result<Plan, WorkloadError> {
        let key = self.workload.data_key(run)?;
        let mut all_data = lock(&self.data);
        let data = match all_data.get(&key) {
            Some(data) => Arc::clone(data),
            None => {
                let data = Arc::new(self.workload.open_data(run)?);
                all_data.insert(key, Arc::clone(&data));
                data
            }
        };
        self.workload.plan_on(run, data, SimdLevel::detect())
    }
}

/// Returns the key of a configuration: all settings that affect a result, and the length of the
/// run.
fn key(run: &RunConfig) -> String {
    let settings = run.settings();
    let texts = settings.iter().map(|(key, value)| format!("{key}={value}"));
    texts.collect::<Vec<_>>().join(" ")
}

impl ComputeCache {
    fn new(plan: Plan, n_bytes: Arc<AtomicUsize>) -> Result<Self, String> {
        let initial = Arc::new(plan.initial(None).map_err(|error| error.to_string())?);
        Ok(Self {
            plan,
            initial,
            idle_gradients: Mutex::default(),
            results: Mutex::new(Results { n_bytes, ..Results::default() }),
            serial: OnceLock::new(),
        })
    }

    /// The model, the training data and the update rule.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The state before the first update.
    #[must_use]
    pub const fn initial(&self) -> &Arc<Snapshot> {
        &self.initial
    }

    /// Opens the files of a run on the chief's simulated disk, with the production code.
    pub(crate) fn open_files(&self, disk: &SimDisk) -> Result<RunFiles, String> {
        let config = self.plan.files_from(&ChiefFiles::logdir(), Arc::clone(&self.initial));
        let opened = RunFiles::open(Arc::new(disk.clone()), config);
        opened.map(|(files, _)| files).map_err(|error| error.to_string())
    }

    /// Returns the serial run, which is computed at the first call. The computation does not use
    /// the cache: otherwise a wrong cached result would be compared with itself.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        self.serial.get_or_init(|| {
            let mut reference = Reference::new(&self.plan, (*self.initial).clone());
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

    /// Returns an object that computes the jobs of one task. `seed` selects the cached results that
    /// the object computes again.
    #[must_use]
    pub fn worker(self: &Arc<Self>, seed: u64) -> CachedCompute {
        let cache = Arc::clone(self);
        CachedCompute { cache, recheck: Stream::new(seed, Purpose::Recheck, 0, 0) }
    }

    fn compute(&self, job: Job) -> Done {
        match job {
            job @ Job::Gradient { .. } => {
                // A `Gradients` has large work buffers, so all tasks of all runs share a few
                // `Gradients`.
                let idle = lock(&self.idle_gradients).pop();
                let mut gradients = idle.unwrap_or_else(|| Gradients::new(&self.plan));
                let done = gradients.work(job);
                lock(&self.idle_gradients).push(gradients);
                done
            }
            // 0 means no pool of buffers: the cache keeps every result, so no buffer would ever
            // return to a pool.
            job @ Job::Update { .. } => Updates::new(self.plan.rule.clone(), 0).work(job),
        }
    }
}

/// Computes the jobs of one task, and takes their results from the cache if possible.
#[derive(Debug)]
pub struct CachedCompute {
    cache: Arc<ComputeCache>,
    recheck: Stream,
}

impl Work for CachedCompute {
    /// # Panics
    /// Panics if a cached result differs from the recomputed result, because no run can be trusted
    /// then.
    fn work(&mut self, job: Job) -> Done {
        let cached = lock(&self.cache.results).get(&job);
        match cached {
            Some(cached) if self.recheck.below(RECHECK) == 0 => {
                let again = self.cache.compute(job);
                assert_eq!(cached, again, "a cached result differs from the computed result");
                // `cached` is returned instead of `again`. A later lookup recognises the buffers of
                // `cached` by their address, but would have to compare every value of equal buffers
                // at another address.
                cached
            }
            Some(cached) => cached,
            None => {
                // The cache is not locked during the computation, because other runs would have to
                // wait.
                let done = self.cache.compute(job.clone());
                let mut results = lock(&self.cache.results);
                // Another run may have stored the result meanwhile. This run then returns the
                // stored result, because later lookups recognise the stored buffers by their
                // address.
                match results.get(&job) {
                    Some(cached) => cached,
                    None => {
                        results.keep(&job, &done);
                        done
                    }
                }
            }
        }
    }
}

/// Cached results. Each result is stored with all inputs of its job.
#[derive(Debug, Default)]
struct Results {
    gradients: BTreeMap<(Step, Slot, u32), Vec<CachedGradient>>,
    updates: BTreeMap<(Step, u32), Vec<CachedUpdate>>,
    /// Bytes of results in all caches.
    n_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct CachedGradient {
    parameters: Vec<Floats>,
    loss: f32,
    gradient: Vec<Floats>,
}

#[derive(Debug)]
struct CachedUpdate {
    state: ShardState,
    gradients: Vec<(Slot, Floats)>,
    next: ShardState,
}

impl Results {
    fn get(&self, job: &Job) -> Option<Done> {
        // The checksum only finds the bucket. Every bit of the inputs is compared, because two
        // inputs with the same checksum would otherwise silently share a result.
        match job {
            Job::Gradient { cut, slot, parameters } => {
                let bucket = self.gradients.get(&(cut.step, *slot, checksum(parameters)))?;
                let cached = bucket.iter().find(|cached| cached.parameters == *parameters)?;
                Some(Done::Gradient {
                    cut: *cut,
                    slot: *slot,
                    loss: cached.loss,
                    gradient: cached.gradient.clone(),
                })
            }
            Job::Update { cut, state, gradients } => {
                let bucket = self.updates.get(&(cut.step, state.parameters.checksum()))?;
                let is_same = |cached: &&CachedUpdate| {
                    cached.gradients == *gradients && cached.state == *state
                };
                let state = bucket.iter().find(is_same)?.next.clone();
                Some(Done::Update { cut: *cut, state })
            }
        }
    }

    fn clear(&mut self) {
        self.gradients.clear();
        self.updates.clear();
    }

    fn count(&self, n_bytes: usize) {
        self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    fn keep(&mut self, job: &Job, done: &Done) {
        match (job, done) {
            (Job::Gradient { cut, slot, parameters }, Done::Gradient { loss, gradient, .. }) => {
                self.count(bytes(gradient));
                let (parameters, gradient) = (parameters.clone(), gradient.clone());
                let cached = CachedGradient { loss: *loss, gradient, parameters };
                let key = (cut.step, *slot, checksum(&cached.parameters));
                self.gradients.entry(key).or_default().push(cached);
            }
            (Job::Update { cut, state, gradients }, Done::Update { state: next, .. }) => {
                // Only the bytes of results are counted, because the inputs share the buffers of
                // earlier results.
                self.count(4 * next.parameters.len() + bytes(&next.auxiliary));
                let (state, gradients) = (state.clone(), gradients.clone());
                let key = (cut.step, state.parameters.checksum());
                let cached = CachedUpdate { state, gradients, next: next.clone() };
                self.updates.entry(key).or_default().push(cached);
            }
            _ => unreachable!("a job and its result are of one kind"),
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
    use unisono_core::Cut;

    fn gradient(
        worker: &mut CachedCompute,
        slot: Slot,
        shards: &[ShardState],
    ) -> (f32, Vec<Floats>) {
        let parameters = shards.iter().map(|shard| shard.parameters.clone()).collect();
        match worker.work(Job::Gradient { cut: Cut::default(), slot, parameters }) {
            Done::Gradient { loss, gradient, .. } => (loss, gradient),
            Done::Update { .. } => unreachable!("a gradient job returns a gradient"),
        }
    }

    #[test]
    fn result_is_computed_once_and_equals_the_serial_run() {
        let cache = ComputeCaches::default().for_run(&Scenario::default().run).unwrap();
        let mut worker = cache.worker(1);
        let initial = Arc::clone(cache.initial());
        let first = gradient(&mut worker, Slot(1), &initial.shards);
        let again = gradient(&mut worker, Slot(1), &initial.shards);
        assert!(first.1[0].same_buffer(&again.1[0]));
        let expected = cache.serial().updates[0].losses[1];
        assert_eq!((Slot(1), first.0.to_bits()), (expected.0, expected.1.to_bits()));
    }

    #[test]
    fn different_parameters_do_not_share_a_result() {
        let cache = ComputeCaches::default().for_run(&Scenario::default().run).unwrap();
        let mut worker = cache.worker(1);
        let mut shards = cache.initial().shards.clone();
        let first = gradient(&mut worker, Slot(0), &shards);
        // The last parameter is a bias. The weight of a pixel that is 0 in all images would not
        // influence the gradient.
        let mut values = shards[1].parameters.to_vec();
        *values.last_mut().unwrap() += 1.0;
        shards[1].parameters = values.into();
        assert_ne!(first.1, gradient(&mut worker, Slot(0), &shards).1);
    }
}
