//! What happens to gradients. A wrong one makes a wrong run: it must be stopped, or be found.

use unisono_core::Step;
use unisono_core::protocol::Outcome;
use unisono_sim::run::failure::Failure;

use crate::support::{Told as _, passed, scenario, watch};

fn wrong(mode: &str, more: &str) -> unisono_sim::run::played::Played {
    let text = format!(
        "{more}\n[[fault]]\nid = \"wrong\"\nkind = \"gradient\"\nnode = \"worker 1\"\n\
         mode = \"{mode}\"\non = {{ event = \"computes\", node = \"worker 1\", step = 5, \
         when = \"before\" }}\nuntil_step = 6"
    );
    watch(&scenario(&text), 1)
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_says_where() {
    let played = passed(wrong("nan", "[expect]\noutcome = \"failed\"\nbecause = \"NaN\""));
    assert_eq!(played.outcomes.len(), 4);
    for (task, outcome) in &played.outcomes {
        let Outcome::Failed(why) = outcome else { panic!("{task}: {outcome:?}") };
        let why = why.to_string();
        assert!(why.contains("step 5") && why.contains("slot 1"), "{task}: {why}");
    }
    assert!(played.losses.iter().all(|(step, ..)| *step < Step(5)));
    let of_five =
        |checkpoint: &std::sync::Arc<unisono_core::protocol::Snapshot>| checkpoint.step <= Step(5);
    assert!(played.checkpoint.iter().all(of_five));
}

#[test]
fn one_bit_of_one_gradient_is_found_by_the_oracle() {
    let played = wrong("flipped-bit", "");
    assert_eq!(played.bites(), [1]);
    let Some(Failure::Violation(violation)) = &played.failure else {
        panic!("it is found: {:?}", played.failure)
    };
    // The ledgers tell it of the very update, before any loss is another.
    assert_eq!((violation.rule, violation.name), (0, "trajectory"), "{violation}");
    assert_eq!(violation.step, Some(Step(5)), "{violation}");
    assert_eq!(violation.subject.as_deref(), Some("the shard of ps 0"), "{violation}");
}
