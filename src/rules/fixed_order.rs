//! Rule 3: an update sums its gradients in ascending order of their slots, regardless of the order
//! in which the gradients arrive.

use unisono_core::protocol::{Effect, Job};

use crate::rule::At;
use crate::violation::Violation;
use unisono_core::slots::{WrongSlots, wrong_slots};

/// Checks every update that is begun.
pub(crate) fn fixed_order(at: &mut At<'_>) -> Result<(), Violation> {
    for effect in at.turn.effects {
        let Effect::Compute(Job::Update { cut, gradients, .. }) = effect else { continue };
        let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
        if wrong_slots(at.turn.config.sync, &slots) == Some(WrongSlots::NotAscending) {
            let what = format!("the update sums its slots in the order {slots:?}");
            return Err(at.violation(3, "not-in-order", cut.step, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, cut, gradients, ps, update};

    #[test]
    fn update_whose_slots_do_not_ascend_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        let job = |slots: &[u32]| vec![update(cut(0), 1.0, gradients(0, slots))];
        run.does(&mut fixed_order, ps(0), job(&[0, 1])).unwrap();
        let violation = run.does(&mut fixed_order, ps(0), job(&[1, 0])).unwrap_err();
        assert_eq!((violation.rule, violation.name), (3, "not-in-order"));
    }
}
