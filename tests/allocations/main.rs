//! Limits the memory allocations of a step after the warm-up. This guards the speed of the code
//! without measuring time.
//!
//! Messages may allocate a fixed number of small blocks per step. Everything of the size of a
//! tensor must reuse memory.

#![allow(missing_docs, reason = "a test program")]

use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use unisono_config::RunConfig;
use unisono_core::floats::{Buffer, Pool};
use unisono_core::host::{Observer as _, Peers, Turn};
use unisono_core::network::{Loss, Network as NetworkLayers};
use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Input, Job, Message, NetworkEvent, Node, Report, Snapshot,
    Standing, Status, UpdateRecord, Wait, WaitFor,
};
use unisono_core::wire::Frame;
use unisono_core::{Cut, Floats, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};
use unisono_learn::data::Dataset;
use unisono_learn::model::{Batch, Draw, Gradient, Parameters, SimdLevel};
use unisono_learn::training::{Gradients, Plan, Updates};
use unisono_metrics::{Metrics, MetricsObserver};
use unisono_net::tcp::Traffic;
use unisono_observe::events::Recorder;

/// Number of steps before the measurement. Buffers grow in these steps, because batches differ in
/// their number of non-zero pixels.
const WARM_UP: u64 = 30;
const STEPS: u64 = 20;

fn plan() -> (Plan, Snapshot) {
    let plan = Plan::new(&RunConfig::default(), Dataset::embedded(), SimdLevel::detect())
        .expect("the built-in examples are enough for a batch");
    let initial = plan.initial(None).expect("no file is read");
    (plan, initial)
}

fn parameters(snapshot: &Snapshot) -> Vec<Floats> {
    snapshot.shards.iter().map(|shard| shard.parameters.clone()).collect()
}

/// Returns the allocations of all steps after the warm-up.
fn after_warm_up(mut step: impl FnMut(Step)) -> AllocationInfo {
    (0..WARM_UP).for_each(|k| step(Step(k)));
    measure(|| (WARM_UP..WARM_UP + STEPS).for_each(|k| step(Step(k))))
}

#[test]
fn gradient_of_the_model_allocates_nothing() {
    let (plan, initial) = plan();
    let parameters = parameters(&initial);
    let mut model = plan.model();
    let mut buffers: Vec<_> =
        parameters.iter().map(|shard| Buffer::from(vec![0.0; shard.len()])).collect();
    let mut batches = unisono_learn::data::Batches::new(plan.batch_order());
    let (mut drawn, mut rows) = (Vec::new(), Vec::new());
    let used = after_warm_up(|step| {
        batches.rows_into(Slot(0), step, &mut drawn);
        rows.clear();
        rows.extend(drawn.iter().map(|&row| row as usize));
        let batch = Batch::evaluation(&plan.data.train, &rows);
        model.prepare(batch);
        model.gradient(
            batch,
            Parameters::new(&plan.layout, &parameters),
            Gradient::new(&plan.layout, &mut buffers),
        );
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}

#[test]
fn gradient_of_a_network_with_every_kind_of_layer_allocates_nothing() {
    const LAYERS: &str = "conv2d filters=3 kernel=5 stride=2 padding=same; layer_norm; relu; \
                          max_pool size=2; conv2d filters=4 kernel=3; gelu; average_pool size=2; \
                          tanh; flatten; dropout rate=0.5; dense units=16; sigmoid; dense";
    let mut run = RunConfig::default();
    let layers = NetworkLayers::parse_layers(LAYERS).expect("layers");
    run.train.network = Some(NetworkLayers { input: None, layers });
    for loss in [Loss::SoftmaxCrossEntropy, Loss::SigmoidCrossEntropy, Loss::MeanSquaredError] {
        run.train.loss = loss;
        let plan = Plan::new(&run, Dataset::embedded(), SimdLevel::detect()).expect("they fit");
        let parameters = parameters(&plan.initial(None).expect("no file is read"));
        let mut model = plan.model();
        let mut buffers: Vec<_> =
            parameters.iter().map(|shard| Buffer::from(vec![0.0; shard.len()])).collect();
        let rows: Vec<_> = (0..20).collect();
        let used = after_warm_up(|step| {
            let draw = Some(Draw { seed: 1, slot: Slot(0), step });
            model.gradient(
                Batch { examples: &plan.data.train, rows: &rows, draw },
                Parameters::new(&plan.layout, &parameters),
                Gradient::new(&plan.layout, &mut buffers),
            );
        });
        assert_eq!(used.count_total, 0, "{loss:?}: {used:?}");
    }
}

#[test]
fn gradient_job_allocates_only_a_few_small_blocks() {
    let (plan, initial) = plan();
    let parameters = parameters(&initial);
    let mut gradients = Gradients::new(&plan);
    let used = after_warm_up(|step| drop(gradients.compute(step, Slot(1), &parameters)));
    // Two lists of shards, and a reference count for each of two buffers.
    assert!(used.count_total <= 4 * STEPS && used.bytes_total <= 320 * STEPS, "{used:?}");
}

#[test]
fn update_allocates_only_a_few_small_blocks() {
    let (plan, initial) = plan();
    let mut state = initial.shards[0].clone();
    let gradient = |value| Floats::from(vec![value; state.parameters.len()]);
    let gradients = [(Slot(0), gradient(0.25)), (Slot(1), gradient(-0.5))];
    let mut updates = Updates::new(plan.rule, 1);
    let used = after_warm_up(|step| state = updates.compute(step, &state, &gradients));
    assert!(used.count_total <= 8 * STEPS && used.bytes_total <= 512 * STEPS, "{used:?}");
}

#[test]
fn summary_recorder_allocates_nothing_between_two_summaries() {
    let slot = Slot(0);
    let generation = Generation::default();
    let step = |step| {
        let parameters = vec![Floats::from(vec![0.5; 10])];
        let gradient = parameters.clone();
        let compute = Job::Gradient { cut: Cut { generation, step }, slot, parameters };
        let record = UpdateRecord { cut: Cut { generation, step }, losses: vec![(slot, 0.5)] };
        let computed = Done::Gradient { cut: Cut { generation, step }, slot, loss: 0.5, gradient };
        (Input::Computed(computed), [Effect::Compute(compute), Effect::Record(record)])
    };
    let mut recorder = Recorder::new(Duration::from_secs(10), Step(1000));
    let mut see = |at| {
        // The first steps of a run, which have summaries more often, are over.
        let (input, [compute, record]) = step(Step(300 + at));
        let now = Moment::from_origin(Duration::from_secs(at));
        measure(|| {
            drop(recorder.turn(now, &Input::Wake, std::slice::from_ref(&compute)));
            drop(recorder.turn(now, &input, std::slice::from_ref(&record)));
        })
    };
    assert!(see(0).count_total > 0, "a summary is due");
    (1..10).for_each(|at| assert_eq!(see(at).count_total, 0, "at {at} s"));
    assert!(see(10).count_total > 0, "a summary is due");
}

#[test]
fn sending_a_frame_copies_no_tensor() {
    let push = |values: &Floats| Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(1) },
        slot: Slot(0),
        loss: 0.5,
        recorded: unisono_core::protocol::Recorded::default(),
        gradient: values.clone(),
    };
    let mut pool = Pool::new(1);
    let used = after_warm_up(|_| {
        let values = pool.take(100_000);
        let push = push(&pool.lend(values));
        let frame = Frame::new(&push);
        assert_eq!(frame.tensor_bytes(), 400_000);
        drop((frame.head(), frame.placed_head(&[3])));
    });
    assert!(used.count_total <= 10 * STEPS && used.bytes_total <= 1024 * STEPS, "{used:?}");
}

/// A node at a given version that waits for two ps.
struct WaitingNode(Step);

impl Node for WaitingNode {
    fn handle(&mut self, _now: Moment, _input: &Input, _out: &mut Vec<Effect>) {}

    fn deadline(&self) -> Option<Moment> {
        None
    }

    fn status(&self, _now: Moment) -> Status {
        unreachable!("metrics do not format a status")
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        (0..2).map(TaskId::ps).for_each(of);
        let wait = Some(Wait { what: WaitFor::Version, since: Moment::default() });
        let generation = Generation::default();
        Standing { cut: Some(Cut { generation, step: self.0 }), wait }
    }
}

#[test]
fn metrics_allocate_nothing() {
    let run = RunConfig::default();
    let cluster = ClusterConfig {
        n_ps: run.n_ps,
        sync: run.sync,
        training_steps: Step(run.train.training_steps),
        settings: run.settings(),
        data: None,
        limits: run.limits,
    };
    let metrics = Metrics::new(TaskId::CHIEF, Incarnation(1), &cluster, Traffic::default());
    let mut observer = MetricsObserver::new(metrics);
    let link = LinkId(0);
    let received = Input::Network(NetworkEvent::Received { link, message: Message::Heartbeat });
    let computed = Report::Computed { step: Step(1), slot: Slot(0), loss: 0.5 };
    let dropped =
        Report::Dropped { step: Step(1), slot: Slot(0), worker: TaskId::CHIEF, verdict: None };
    let effects = [
        Effect::Send { link, message: Message::Goodbye },
        Effect::Report(computed),
        Effect::Report(dropped),
    ];
    let peers = Peers::default();
    let used = after_warm_up(|step| {
        let now = Moment::from_origin(Duration::from_millis(step.0));
        let (input, effects, node) = (&received, &effects[..], &WaitingNode(step));
        observer.turn(&Turn { now, input, effects, node, peers: &peers });
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}
