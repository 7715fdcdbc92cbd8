//! Faults of gradients. A wrong gradient makes the run wrong, so the run must stop or be found
//! wrong.

use unisono_core::Step;
use unisono_core::protocol::Outcome;
use unisono_sim::run::failure::Failure;

use crate::support::{TraceQueries as _, passed, scenario, watch};

fn wrong(mode: &str, more: &str) -> unisono_sim::run::played::Played {
    let text = format!(
        "{more}\n[[fault]]\nid = \"wrong\"\nkind = \"gradient\"\nnode = \"worker 1\"\n\
         mode = \"{mode}\"\non = {{ event = \"computes\", node = \"worker 1\", step = 5, \
         when = \"before\" }}\nuntil_step = 6"
    );
    watch(&scenario(&text), 1)
}

#[test]
fn nan_loss_stops_the_run_and_names_the_step_and_the_slot() {
    let played = passed(wrong("nan", "[expect]\noutcome = \"failed\"\nbecause = \"NaN\""));
    assert_eq!(played.outcomes.len(), 4);
    for (task, outcome) in &played.outcomes {
        let Outcome::Failed(why) = outcome else { panic!("{task}: {outcome:?}") };
        let why = why.to_string();
        assert!(why.contains("step 5") && why.contains("slot 1"), "{task}: {why}");
    }
    assert!(played.losses.iter().all(|(step, ..)| *step < Step(5)));
    let of_five = |checkpoint: &std::sync::Arc<unisono_core::protocol::Snapshot>| {
        checkpoint.cut.step <= Step(5)
    };
    assert!(played.checkpoint.iter().all(of_five));
}

#[test]
fn oracle_finds_one_flipped_bit_of_one_gradient() {
    let played = wrong("flipped-bit", "");
    assert_eq!(played.effects(), [1]);
    let Some(Failure::Violation(violation)) = &played.failure else {
        panic!("the flipped bit is not found: {:?}", played.failure)
    };
    // The ledgers show it in the same update, before any loss differs.
    assert_eq!((violation.rule, violation.name), (0, "trajectory"), "{violation}");
    assert_eq!(violation.step, Some(Step(5)), "{violation}");
    assert_eq!(violation.subject.as_deref(), Some("the shard of ps 0"), "{violation}");
}
