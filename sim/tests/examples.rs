//! The examples do what they say.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "their main functions")]

#[path = "../examples/own_protocol.rs"]
mod own_protocol;

use unisono_sim::run::failure::Failure;

#[test]
fn a_ps_that_says_every_version_twice_breaks_no_rule() {
    let found = own_protocol::first_failure(own_protocol::twice).expect("the scenario is good");
    assert_eq!(found, None);
}

#[test]
fn a_ps_that_does_not_tell_what_is_stale_is_caught_by_rule_5() {
    let found = own_protocol::first_failure(own_protocol::mute).expect("the scenario is good");
    let Some((_, Failure::Violation(violation))) = found else { panic!("{found:?}") };
    assert_eq!((violation.rule, violation.name), (5, "not-told"));
}
