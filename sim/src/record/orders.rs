//! The order of the events of a run, without times. The number of different orders shows how many
//! different runs a set of seeds has played.
//!
//! Two runs have the same order if every task took the same inputs in the same sequence. The
//! relative order of events at different tasks does not count, because no task can observe that
//! order. A seed that changes only times repeats an earlier test.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use unisono_observe::trace::NamedEvent;
use unisono_rules::LifeId;

use crate::world::network::task_number;

/// Number of hashes that a counter stores. Below this number of orders, the count is exact.
pub(crate) const MAX_KEPT: usize = 1024;

/// A hash of all inputs of a run, in the order in which each task took its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventOrder(u64);

/// A hash of the inputs that one incarnation of a task has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifeOrder(u64);

impl LifeOrder {
    /// Returns the hash of an incarnation that has taken no input.
    pub(crate) const fn new(life: LifeId) -> Self {
        Self(mixed(life_word(life)))
    }

    /// Appends an input. `peer` is the incarnation at the other end of the input's link.
    pub(crate) fn append(&mut self, what: NamedEvent, peer: Option<LifeId>) {
        let words = [
            what.kind as u64,
            what.step.map_or(u64::MAX, |step| step.0),
            what.slot.map_or(u64::MAX, |slot| u64::from(slot.0)),
            peer.map_or(u64::MAX, life_word),
        ];
        self.0 = words.into_iter().fold(self.0, |hash, word| mixed(hash ^ word));
    }
}

impl EventOrder {
    /// Adds the hash of one incarnation after a new input. The order of a run is the sum of the
    /// hashes after each input of each incarnation. So the order does not depend on how the inputs
    /// of different incarnations interleave.
    pub(crate) const fn add(&mut self, life: LifeOrder) {
        self.0 = self.0.wrapping_add(mixed(life.0));
    }
}

impl fmt::Display for EventOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

const fn life_word(life: LifeId) -> u64 {
    // The incarnation is left out: its number comes from the clock, and would make the hash depend
    // on times.
    let LifeId { task, number, .. } = life;
    task_number(task) << 32 ^ number
}

/// Mixes the bits of a word, so that every bit of the word affects every bit of the result. The
/// operations are those of the random number generator `SplitMix64`.
const fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Counts different orders of events in bounded memory, by storing the 1,024 smallest hashes. The
/// counters of all shards of a `hunt` can be merged into one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OrdersNote", into = "OrdersNote")]
pub struct Orders {
    smallest: BTreeSet<u64>,
}

impl Orders {
    /// Counts an order, if it is new.
    pub fn add(&mut self, order: EventOrder) {
        // The estimate needs evenly spread values. An order is a sum of hashes, and such sums are
        // not evenly spread, so the bits of the sum are mixed.
        self.keep(mixed(order.0));
    }

    /// Adds the orders that another counter has counted.
    pub fn merge(&mut self, other: &Self) {
        other.smallest.iter().for_each(|hash| self.keep(*hash));
    }

    fn keep(&mut self, hash: u64) {
        self.smallest.insert(hash);
        if self.smallest.len() > MAX_KEPT {
            self.smallest.pop_last();
        }
    }

    /// Returns whether [`Orders::count`] is exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.smallest.len() < MAX_KEPT
    }

    /// Returns the number of different orders. From 1,024 orders on, the number is an estimate with
    /// a standard error of 3 %: the k-th smallest of `n` evenly spread hashes is near k / n of the
    /// range (Bar-Yossef et al., Counting distinct elements in a data stream, 2002).
    pub(crate) fn count(&self) -> u64 {
        let n_kept = self.smallest.len() as u64;
        match self.smallest.last() {
            Some(largest) if !self.is_exact() => {
                let share = (*largest as f64 + 1.0) / (u64::MAX as f64 + 1.0);
                ((n_kept - 1) as f64 / share) as u64
            }
            _ => n_kept,
        }
    }
}

/// The JSON of [`Orders`]. The hashes are strings, because many readers of JSON round large
/// numbers.
#[derive(Serialize, Deserialize)]
struct OrdersNote {
    different: u64,
    /// Whether `different` is exact, or an estimate.
    is_exact: bool,
    /// The smallest hashes of orders. From these hashes, `merge` computes the number of different
    /// orders in all shards.
    kept: Vec<String>,
}

impl From<Orders> for OrdersNote {
    fn from(orders: Orders) -> Self {
        let kept = orders.smallest.iter().map(|hash| format!("{hash:016x}")).collect();
        Self { different: orders.count(), is_exact: orders.is_exact(), kept }
    }
}

impl TryFrom<OrdersNote> for Orders {
    type Error = String;

    fn try_from(note: OrdersNote) -> Result<Self, String> {
        let mut orders = Self::default();
        for text in note.kept {
            let hash = u64::from_str_radix(&text, 16);
            orders.keep(hash.map_err(|_| format!("{text:?} is not the hash of an order"))?);
        }
        Ok(orders)
    }
}

/// Formats as `1 order`, `64 orders` or `about 98,000 orders`.
impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.is_exact() { "" } else { "about " };
        write!(f, "{about}{}", unisono_observe::counted::counted(self.count(), "order"))
    }
}

#[cfg(test)]
mod tests {
    use unisono_core::{Incarnation, Slot, Step, TaskId};
    use unisono_observe::trace::EventKind;

    use super::*;

    fn life(task: TaskId) -> LifeId {
        LifeId { task, number: 1, incarnation: Incarnation(1) }
    }

    fn push(step: u64, slot: u32) -> NamedEvent {
        NamedEvent { kind: EventKind::ReceivesPush, step: Some(Step(step)), slot: Some(Slot(slot)) }
    }

    /// Returns the order of a run in which the tasks take these inputs in this sequence.
    fn order(inputs: &[(TaskId, NamedEvent)]) -> EventOrder {
        let mut lives = std::collections::BTreeMap::new();
        let mut order = EventOrder::default();
        for (task, what) in inputs {
            let inputs = lives.entry(*task).or_insert_with(|| LifeOrder::new(life(*task)));
            inputs.append(*what, Some(life(TaskId::CHIEF)));
            order.add(*inputs);
        }
        order
    }

    #[test]
    fn order_depends_on_the_sequence_within_a_task_and_not_between_tasks() {
        let (a, b) = (TaskId::ps(0), TaskId::ps(1));
        let first = order(&[(a, push(1, 0)), (a, push(1, 1)), (b, push(1, 0))]);
        let interleaved = order(&[(a, push(1, 0)), (b, push(1, 0)), (a, push(1, 1))]);
        let swapped = order(&[(a, push(1, 1)), (a, push(1, 0)), (b, push(1, 0))]);
        let other_task = order(&[(b, push(1, 0)), (b, push(1, 1)), (a, push(1, 0))]);
        assert_eq!(first, interleaved);
        assert_ne!(first, swapped);
        assert_ne!(first, other_task);
    }

    #[test]
    fn count_is_exact_while_all_hashes_are_kept_and_an_estimate_beyond() {
        let counted = |n: u64| {
            let mut orders = Orders::default();
            for _ in 0..2 {
                (0..n).for_each(|number| orders.add(EventOrder(number)));
            }
            orders
        };
        assert_eq!((counted(0).count(), counted(1).count(), counted(1000).count()), (0, 1, 1000));
        assert_eq!(counted(1).to_string(), "1 order");
        let many = counted(100_000);
        assert!(!many.is_exact());
        // The tolerance is four standard errors.
        assert!(many.count().abs_diff(100_000) < 12_500, "{}", many.count());
    }

    #[test]
    fn merged_parts_equal_the_counter_of_the_whole() {
        let part = |numbers: std::ops::Range<u64>| {
            let mut orders = Orders::default();
            numbers.for_each(|number| orders.add(EventOrder(number)));
            orders
        };
        let mut merged = part(0..1_500);
        merged.merge(&part(1_000..3_000));
        assert_eq!(merged, part(0..3_000));
        assert_eq!(Orders::try_from(OrdersNote::from(merged.clone())).unwrap(), merged);
    }
}
