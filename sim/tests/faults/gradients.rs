//! What happens to gradients. A wrong one makes a wrong run: it must be stopped, or be found.

use unisono::protocol::Outcome;
use unisono::{Slot, Step};
use unisono_sim::Failure;
use unisono_sim::invariants::Violation;

use crate::support::{Told as _, passed, scenario, watch};

fn wrong(mode: &str, more: &str) -> unisono_sim::Played {
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
        |checkpoint: &std::sync::Arc<unisono::protocol::Snapshot>| checkpoint.step <= Step(5);
    assert!(played.checkpoint.iter().all(of_five));
}

#[test]
fn one_bit_of_one_gradient_is_found_by_the_oracle() {
    let played = wrong("flipped-bit", "");
    assert_eq!(played.bites(), [1]);
    let Some(Failure::Violation(violation)) = &played.failure else {
        panic!("it is found: {:?}", played.failure)
    };
    let Violation { rule: 0, name: "trajectory", step, difference, .. } = violation else {
        panic!("{violation}")
    };
    // The gradient of step 5 is in version 6: the losses there are the first that are others.
    assert_eq!(*step, Some(Step(6)), "{violation}");
    let difference = difference.expect("an element is named");
    assert_ne!(difference.want.to_bits(), difference.got.to_bits());
    let row = |slot| played.losses.iter().find(|row| (row.0, row.1) == (Step(6), slot)).unwrap().2;
    assert_eq!(difference.got.to_bits(), row(Slot(difference.index as u32)).to_bits());
}
