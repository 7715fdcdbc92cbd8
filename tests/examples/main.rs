//! Runs the examples that take no arguments.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "the main functions of the examples")]

#[path = "../../examples/own_model.rs"]
mod own_model;

#[test]
fn own_model_has_the_same_bits_on_nodes_and_in_the_serial_run() {
    let logdir = tempfile::tempdir().expect("a folder can be made");
    let found = own_model::run(logdir.path()).expect("the example runs");
    assert_eq!(found.losses.len(), 400);
    assert!(found.losses.last().expect("400 losses").2 < 0.2);
    assert!(found.accuracy(&found.plan.data.test) > 0.9);
}

#[test]
fn own_model_follows_the_contract_of_models() {
    let mut run = unisono::config::RunConfig::default();
    run.train.batch_size = 20;
    run.train.regularization_rate = 0.0;
    assert_eq!(unisono::check_model(&own_model::bright_rows(), &run), Ok(()));
}
