//! The examples do what their documentation says.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "the main functions of the examples")]

#[path = "../examples/own_protocol.rs"]
mod own_protocol;

use unisono_sim::run::failure::Failure;

#[test]
fn ps_that_sends_every_version_twice_breaks_no_rule() {
    let found = own_protocol::first_failure(own_protocol::twice).expect("the scenario is valid");
    assert_eq!(found, None);
}

#[test]
fn ps_that_drops_stale_gradients_silently_is_caught_by_rule_5() {
    let found = own_protocol::first_failure(own_protocol::mute).expect("the scenario is valid");
    let Some((_, Failure::Violation(violation))) = found else { panic!("{found:?}") };
    assert_eq!((violation.rule, violation.name), (5, "not-told"));
}
