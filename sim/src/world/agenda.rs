//! What is going to happen, ordered by when, and by which was planned first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Plans for moments since the beginning of the simulation. What was planned is not taken back:
/// whoever carries it out looks whether it still matters.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    plans: BinaryHeap<Reverse<Planned<T>>>,
    n_planned: u64,
}

#[derive(Debug)]
struct Planned<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Planned<T> {}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { plans: BinaryHeap::new(), n_planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Duration, what: T) {
        let number = self.n_planned;
        self.n_planned += 1;
        self.plans.push(Reverse(Planned { at, number, what }));
    }

    /// The next plan, and when it is for.
    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        self.plans.pop().map(|Reverse(Planned { at, what, .. })| (at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_one_moment_keep_their_order() {
        let mut agenda = Agenda::default();
        let ms = Duration::from_millis;
        agenda.plan(ms(2), "c");
        agenda.plan(ms(1), "a");
        agenda.plan(ms(1), "b");
        let popped: Vec<_> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(popped, [(ms(1), "a"), (ms(1), "b"), (ms(2), "c")]);
    }
}
