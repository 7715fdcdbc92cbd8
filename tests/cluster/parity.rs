//! The losses of a cluster agree with those of TensorFlow, up to differences between runs of
//! TensorFlow.

use std::fs;

use crate::support::{bits_of, fixture, rows};

/// Largest accepted relative difference of a loss (`fixtures/golden/README.md`).
///
/// In these runs, TensorFlow with oneDNN differs from TensorFlow without it by 2.3e-7. It differs
/// from the same runs in 64-bit floats by 1.8e-7. A wrong constant or a wrong row of data causes
/// 1e-3 or more.
const TOLERANCE: f64 = 1e-6;

/// The same for LeNet-5. In this run, TensorFlow with oneDNN differs from TensorFlow without it by
/// 9.4e-7.
const TOLERANCE_OF_LENET: f64 = 2e-6;

fn assert_parity(golden: &str, words: &str) {
    let init = fixture("golden/init.safetensors");
    let model = format!("--hidden 32 --order sequential --init-from {}", init.display());
    assert_close(golden, &format!("{model} {words}"), TOLERANCE);
}

fn assert_close(golden: &str, words: &str, tolerance: f64) {
    let path = fixture("golden").join(golden).join("losses.csv");
    let theirs = rows(&fs::read_to_string(path).expect("the golden losses are there"));
    let ours = bits_of(&format!("local --progress none {words}")).rows();
    assert_eq!(ours.len(), theirs.len(), "{golden}: rows");
    for ((step, slot, ours), (their_step, their_slot, theirs)) in ours.into_iter().zip(theirs) {
        assert_eq!((step, slot), (their_step, their_slot), "{golden}");
        let (ours, theirs) = (f64::from(ours), f64::from(theirs));
        let difference = (ours - theirs).abs() / theirs;
        assert!(
            difference <= tolerance,
            "{golden}, step {step}, slot {slot}: {ours} differs from {theirs} by {difference:e}"
        );
    }
}

#[test]
fn two_workers_agree_with_tensorflow() {
    assert_parity("r2", "--workers 2 --training-steps 200");
}

#[test]
fn four_workers_agree_with_tensorflow() {
    assert_parity("r4", "--workers 4 --training-steps 60 --ps 1");
}

#[test]
fn lenet_agrees_with_tensorflow() {
    let config = fixture("golden/lenet5/run.toml");
    let words = format!("--config {} --workers 2", config.display());
    assert_close("lenet5", &words, TOLERANCE_OF_LENET);
}

#[test]
fn two_workers_with_small_batches_agree_with_tensorflow() {
    assert_parity(
        "r2-batch32",
        "--workers 2 --training-steps 200 --batch-size 32 --decay-steps 1875",
    );
}
