//! Measures the parts of a step above the kernels: frames, the update of a shard, a whole step in
//! one process, and a cluster. `cargo bench --bench steps`
//!
//! The model is the original script's, with two gradients per update, on the built-in examples.

use std::process::{Command, Stdio};
use unisono_core::ids::Cut;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use unisono_config::RunConfig;
use unisono_core::protocol::{Message, Recorded};
use unisono_core::wire::{Frame, Limits, decode, encode_to_vec};
use unisono_core::{Floats, Generation, Slot, Step};
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::reference::Reference;
use unisono_learn::training::{Gradients, Plan, Updates};

fn main() {
    divan::main();
}

/// Returns the plan of the original script's model on two ps. Each ps holds half of the elements.
fn plan() -> Plan {
    Plan::new(&RunConfig::default(), Dataset::embedded(), SimdLevel::detect())
        .expect("the built-in examples are enough for a batch")
}

fn push() -> Message {
    Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(1) },
        slot: Slot(0),
        loss: 0.5,
        recorded: Recorded::default(),
        gradient: Floats::from(vec![0.25; plan().layout.shard_len(0)]),
    }
}

/// Encodes the head of a gradient's frame, including the checksum of its tensor.
#[divan::bench]
fn encode_a_gradient(bencher: Bencher<'_, '_>) {
    let push = push();
    let n_bytes = Frame::new(&push).tensor_bytes();
    let fresh = || match &push {
        // A new tensor each time, because a tensor remembers its checksum once it was sent.
        Message::Push { gradient, .. } => Floats::from(gradient.to_vec()),
        _ => unreachable!("it is a push"),
    };
    let with = |gradient| {
        let mut push = push.clone();
        push.attach(vec![gradient]).expect("a push has one tensor");
        push
    };
    bencher
        .counter(BytesCount::new(n_bytes))
        .with_inputs(|| with(fresh()))
        .bench_local_values(|push| Frame::new(&push).head());
}

/// Encodes the head of a gradient's frame whose tensor goes through shared memory.
#[divan::bench]
fn encode_a_placed_gradient(bencher: Bencher<'_, '_>) {
    let push = push();
    bencher.bench_local(|| Frame::new(&push).placed_head(&[3]));
}

/// Decodes a whole frame: copies its tensor and verifies its checksum.
#[divan::bench]
fn decode_a_gradient(bencher: Bencher<'_, '_>) {
    let bytes = encode_to_vec(&push());
    let limits = Limits::with_tensor_bytes(bytes.len());
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| decode(&bytes, &limits).expect("the frame is whole"));
}

/// Updates one shard from two gradients.
#[divan::bench]
fn update_a_shard(bencher: Bencher<'_, '_>) {
    let plan = plan();
    let initial = plan.initial(None).expect("nothing is read");
    let state = &initial.shards[0];
    let n_values = state.parameters.len();
    let gradients: Vec<_> =
        (0..2).map(|slot| (Slot(slot), Floats::from(vec![0.25; n_values]))).collect();
    let mut updates = Updates::new(plan.rule, 1);
    bencher
        .counter(ItemsCount::new(n_values))
        .bench_local(|| updates.compute(Step(0), state, &gradients));
}

/// Computes one slot's gradient, including reading its batch.
#[divan::bench]
fn gradient(bencher: Bencher<'_, '_>) {
    let plan = plan();
    let initial = plan.initial(None).expect("nothing is read");
    let parameters: Vec<_> = initial.shards.iter().map(|shard| shard.parameters.clone()).collect();
    let mut gradients = Gradients::new(&plan);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        gradients.compute(Step(step), Slot(0), &parameters)
    });
}

/// Computes two gradients and updates both shards, one after the other.
#[divan::bench]
fn step_in_one_process(bencher: Bencher<'_, '_>) {
    let plan = plan();
    let initial = plan.initial(None).expect("nothing is read");
    let mut reference = Reference::new(&plan, initial);
    bencher.bench_local(|| {
        let slots: Vec<_> = reference.default_slots().collect();
        reference.update(slots).expect("the losses are finite")
    });
}

/// Runs `unisono local` for 500 steps with 2 ps and 2 workers, from the start of its four processes
/// to their end.
#[divan::bench(args = [true, false], sample_count = 5)]
fn cluster_of_500_steps(bencher: Bencher<'_, '_>, shared_memory: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut n_runs = 0;
    bencher.counter(ItemsCount::new(500_usize)).bench_local(|| {
        n_runs += 1;
        let ended = Command::new(env!("CARGO_BIN_EXE_unisono"))
            .args(["local", "--training-steps=500", "--progress=none"])
            .arg(format!("--shared-memory={shared_memory}"))
            .arg(format!("--logdir={}", folder.path().join(n_runs.to_string()).display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(ended.expect("the program starts").success());
    });
}
