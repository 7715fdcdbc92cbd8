//! Rule 3: an update is given its gradients ascending by slot, whatever the order of arrival.

use unisono_core::Slot;
use unisono_core::ids::Cut;
use unisono_core::protocol::{Effect, Input, Job};

use super::Violation;
use crate::invariant::{At, Invariant};

/// Looks at every update that is begun.
#[derive(Debug, Default)]
pub(super) struct FixedOrder;

impl Invariant for FixedOrder {
    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            if let Effect::Compute(Job::Update { cut: Cut { step, .. }, gradients, .. }) = effect
                && !gradients.is_sorted_by(|(a, _), (b, _)| a <= b)
            {
                let slots: Vec<Slot> = gradients.iter().map(|(slot, _)| *slot).collect();
                let what = format!("an update of slots {slots:?}, in this order");
                return Err(Violation::new(3, "not-in-order", what).at(*step).of(at.life.task));
            }
        }
        Ok(())
    }
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
        run.does(&mut FixedOrder, ps(0), job(&[0, 1])).unwrap();
        let violation = run.does(&mut FixedOrder, ps(0), job(&[1, 0])).unwrap_err();
        assert_eq!((violation.rule, violation.name), (3, "not-in-order"));
    }
}
