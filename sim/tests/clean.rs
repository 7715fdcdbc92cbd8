//! A run that nothing happens to, in virtual time: the production nodes, the real arithmetic.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use unisono::config::{Placement, RunConfig, Sync, TrainConfig};
use unisono::data::Dataset;
use unisono::model::SimdLevel;
use unisono::protocol::{
    ClusterConfig, Done, Job, Limits, Outcome, Restored, Snapshot, StorageEvent, UpdateRecord,
};
use unisono::training::reference::Reference;
use unisono::training::{Gradients, Plan, Updates};
use unisono::{Step, TaskId};
use unisono_sim::host::Files;
use unisono_sim::{Cluster, Ended, LinkModel};

const STEPS: u64 = 6;
const LATENCY: Duration = Duration::from_micros(100);
const GRADIENT: Duration = Duration::from_micros(700);
const UPDATE: Duration = Duration::from_micros(50);

/// Files that are kept in memory and never fail.
struct Memory {
    initial: Arc<Snapshot>,
    saved: Vec<Snapshot>,
    updates: Vec<UpdateRecord>,
}

impl Files for Memory {
    fn restore(&mut self) -> StorageEvent {
        let (snapshot, from) = match self.saved.last() {
            Some(saved) => (Arc::new(saved.clone()), Some(saved.step.to_string())),
            None => (Arc::clone(&self.initial), None),
        };
        StorageEvent::Restored(Ok(Restored { snapshot, from }))
    }

    fn persist(&mut self, snapshot: &Snapshot) -> StorageEvent {
        self.saved.push(snapshot.clone());
        StorageEvent::Persisted { step: snapshot.step, result: Ok(String::new()) }
    }

    fn record(&mut self, update: &UpdateRecord) {
        self.updates.push(update.clone());
    }
}

fn plan(n_ps: u32, sync: Sync) -> Plan {
    let train = TrainConfig {
        batch_size: 20,
        hidden: vec![16],
        training_steps: STEPS,
        ..TrainConfig::default()
    };
    let run = RunConfig { train, sync, n_ps, placement: Placement::Even, ..RunConfig::default() };
    Plan::new(&run, Dataset::embedded(), SimdLevel::detect()).expect("the batch is small")
}

fn run(plan: &Plan, n_ps: u32, seed: u64) -> Ended<Memory> {
    let config = ClusterConfig {
        n_ps,
        sync: plan.sync,
        training_steps: Step(STEPS),
        settings: plan.settings.clone(),
        data: None,
        limits: Limits::default(),
    };
    let initial = Arc::new(plan.initial(None).expect("there is no file to be wrong"));
    // One at a time: a memory of what a run has computed would go here.
    let gradients = Arc::new(Mutex::new(Gradients::new(plan)));
    let rule = plan.rule.clone();
    let work = move |_: TaskId| {
        let (gradients, mut updates) = (Arc::clone(&gradients), Updates::new(rule.clone(), 1));
        let work = move |job: Job| match job {
            job @ Job::Update { .. } => updates.work(job),
            job @ Job::Gradient { .. } => {
                gradients.lock().unwrap_or_else(PoisonError::into_inner).work(job)
            }
        };
        Box::new(work) as Box<dyn FnMut(Job) -> Done>
    };
    let cluster = Cluster {
        config,
        links: LinkModel { latency: LATENCY },
        gradient_takes: GRADIENT,
        update_takes: UPDATE,
        checkpoint_takes: Duration::ZERO,
        work: Box::new(work),
        files: Memory { initial, saved: Vec::new(), updates: Vec::new() },
    };
    cluster.run(seed)
}

#[test]
fn a_simulated_run_is_the_serial_run_to_the_bit() {
    for (n_ps, n_workers, replicas_to_aggregate) in [(1, 1, 1), (2, 2, 2), (3, 2, 4)] {
        let sync = Sync { replicas_to_aggregate, total_num_replicas: n_workers };
        let plan = plan(n_ps, sync);
        let ended = run(&plan, n_ps, 7);
        assert_eq!(ended.outcomes.len() as u32, n_ps + n_workers);
        assert!(ended.outcomes.values().all(|outcome| *outcome == Outcome::Finished));

        let initial = plan.initial(None).expect("there is no file to be wrong");
        let mut serial = Reference::new(plan, initial);
        for update in &ended.files.updates {
            let slots = serial.default_slots();
            assert_eq!(update.losses, serial.update(slots).expect("finite").losses);
        }
        let last = ended.files.saved.last().expect("the run ends with a checkpoint");
        assert_eq!(last.step, Step(STEPS));
        assert_eq!(last.shards, serial.snapshot().shards);
    }
}

/// One task each, so that nobody waits for a second message of the same moment: a call (there and
/// back), hello and welcome, the restored state and its acknowledgement; meanwhile the worker's
/// pull and the first version. Then each step is a gradient, a push, an update and a version.
#[test]
fn with_constant_delays_the_virtual_time_is_a_closed_form() {
    let sync = Sync { replicas_to_aggregate: 1, total_num_replicas: 1 };
    let ended = run(&plan(1, sync), 1, 7);
    let greeting = 4 * LATENCY;
    let first_version = LATENCY + LATENCY;
    let step = GRADIENT + LATENCY + UPDATE + LATENCY;
    let last_capture = 2 * LATENCY;
    let finished = 2 * LATENCY;
    let goodbye = LATENCY;
    let expected = greeting
        + first_version
        + step * u32::try_from(STEPS).expect("a few")
        + last_capture
        + finished
        + goodbye;
    assert_eq!(ended.took, expected);
}

#[test]
fn the_order_in_which_ready_tasks_run_changes_nothing() {
    let sync = Sync { replicas_to_aggregate: 4, total_num_replicas: 3 };
    let plan = plan(2, sync);
    let first = run(&plan, 2, 0);
    for seed in 1..5 {
        let other = run(&plan, 2, seed);
        assert_eq!(first.files.updates, other.files.updates);
        assert_eq!(first.files.saved.last(), other.files.saved.last());
    }
}
