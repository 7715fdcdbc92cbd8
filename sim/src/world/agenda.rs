//! Future events, ordered by time. Events of one time keep the order in which they were planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// A queue of future events; times count from the start of the run. A planned event is never
/// cancelled, because finding it in the heap would cost more: the handler of the event checks
/// whether the event still matters.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    n_planned: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Duration,
    /// Without it, the order of two events of one time would depend on the heap.
    number: u64,
    what: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), n_planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Duration, what: T) {
        let number = self.n_planned;
        self.n_planned += 1;
        self.entries.push(Reverse(Entry { at, number, what }));
    }

    /// Takes the next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        self.entries.pop().map(|Reverse(Entry { at, what, .. })| (at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_keep_the_order_in_which_they_were_planned() {
        let mut agenda = Agenda::default();
        let ms = Duration::from_millis;
        agenda.plan(ms(2), "c");
        agenda.plan(ms(1), "a");
        agenda.plan(ms(1), "b");
        let popped: Vec<_> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(popped, [(ms(1), "a"), (ms(1), "b"), (ms(2), "c")]);
    }
}
