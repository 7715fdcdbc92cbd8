//! What is going to happen, ordered by when, and by which was planned first.

use std::collections::BTreeMap;
use std::time::Duration;

/// Plans for moments since the beginning of the simulation.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    plans: BTreeMap<(Duration, u64), T>,
    n_planned: u64,
}

/// Names a plan, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanId(Duration, u64);

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { plans: BTreeMap::new(), n_planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Duration, what: T) -> PlanId {
        let id = PlanId(at, self.n_planned);
        self.n_planned += 1;
        self.plans.insert((id.0, id.1), what);
        id
    }

    /// Takes a plan back; nothing happens if it was carried out.
    pub(crate) fn cancel(&mut self, id: PlanId) {
        self.plans.remove(&(id.0, id.1));
    }

    /// The next plan, and when it is for.
    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        self.plans.pop_first().map(|((at, _), what)| (at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_one_moment_keep_their_order_and_cancelled_ones_are_gone() {
        let mut agenda = Agenda::default();
        let ms = Duration::from_millis;
        agenda.plan(ms(2), "c");
        agenda.plan(ms(1), "a");
        let cancelled = agenda.plan(ms(1), "x");
        agenda.plan(ms(1), "b");
        agenda.cancel(cancelled);
        let popped: Vec<_> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(popped, [(ms(1), "a"), (ms(1), "b"), (ms(2), "c")]);
    }
}
