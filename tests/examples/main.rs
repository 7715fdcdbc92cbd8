//! The examples that take no arguments do what they say.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "their main functions")]

#[path = "../../examples/own_model.rs"]
mod own_model;

#[test]
fn a_model_of_ones_own_has_the_same_bits_on_nodes_and_in_the_loop() {
    let logdir = tempfile::tempdir().expect("a folder can be made");
    let found = own_model::run(logdir.path()).expect("it runs");
    assert_eq!(found.n_losses, 400);
    assert!(found.last_loss < 0.2, "{found:?}");
    assert!(found.accuracy > 0.9, "{found:?}");
}
