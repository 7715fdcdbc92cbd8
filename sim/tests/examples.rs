//! The examples do what their documentation says.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "the main functions of the examples")]

#[path = "../examples/own_protocol.rs"]
mod own_protocol;

use unisono_core::protocol::{Effect, Message};
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

#[test]
fn panic_of_a_node_is_reported_with_the_input_that_it_was_handling() {
    let found = own_protocol::first_failure(|task, node| {
        own_protocol::changed_ps(task, node, |effects| {
            let is_version = |effect: &Effect| {
                matches!(effect, Effect::Send { message: Message::Version { .. }, .. })
            };
            assert!(!effects.iter().any(is_version), "no version today");
        })
    });
    let Some((_, failure)) = found.expect("the scenario is valid") else { panic!("no failure") };
    let text = failure.to_string();
    assert!(text.contains("no version today, while handling receives-"), "{text}");
    assert!(!failure.signature().contains("while handling"), "{}", failure.signature());
}
