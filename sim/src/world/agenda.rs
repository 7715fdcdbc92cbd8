//! Future events, ordered by time. Events at the same time keep the order in which they were
//! planned.

use std::collections::BTreeMap;
use std::time::Duration;

/// A queue of future events. Times count from the start of the run. A planned event is never
/// cancelled: its handler checks whether the event is still needed.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    /// The planned events. The key is the time of an event, and the number of events that were
    /// planned earlier.
    events: BTreeMap<(Duration, u64), T>,
    n_planned: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), n_planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Duration, what: T) {
        self.events.insert((at, self.n_planned), what);
        self.n_planned += 1;
    }

    /// Takes the next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        self.events.pop_first().map(|((at, _), what)| (at, what))
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
