//! Computes the row numbers of a batch, as a pure function of the seed, the slot and the step.
//!
//! This module computes row numbers only. It does not read examples.

use std::collections::BTreeMap;

use super::permutation::permutation;
use unisono_core::ids::{Slot, Step};
use unisono_core::train_config::{Order, Sync, TrainConfig};

/// Memory limit for cached permutations, in bytes: enough for 152 slots with 55,000 training
/// examples. If a process computes the batches of more slots, it recomputes a permutation for each
/// batch, which is slower but yields the same rows.
const MAX_CACHED_BYTES: usize = 32 << 20;

/// All parameters that determine the batches of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOrder {
    /// The kind of order: shuffled, partitioned or sequential.
    pub order: Order,
    /// The seed of the permutations.
    pub seed: u64,
    /// B: rows per batch, at least 1.
    pub batch_size: usize,
    /// S: slots per step, at least 1.
    pub slots_per_step: u32,
    /// n: number of training examples, at least 1.
    pub n_train: usize,
}

impl BatchOrder {
    /// Returns the order of a run on `n_train` training examples.
    #[must_use]
    pub const fn new(train: &TrainConfig, sync: Sync, n_train: usize) -> Self {
        Self {
            order: train.order,
            seed: train.seed,
            batch_size: train.batch_size,
            slots_per_step: sync.slots_per_step(),
            n_train,
        }
    }

    /// Returns the position in the slot's stream of rows at which the slot's batch of `step`
    /// starts.
    ///
    /// A stream is an endless sequence of epochs, each of `n_train` rows. With the order
    /// `shuffled`, every slot has its own stream, and takes `batch_size` rows per step. With the
    /// other orders, all slots share one stream. In each step, every slot takes `batch_size` rows
    /// of this stream, slot 0 first.
    fn start(&self, slot: Slot, step: Step) -> Position {
        assert!(slot.0 < self.slots_per_step, "slot {slot} of {}", self.slots_per_step);
        let batch = match self.order {
            Order::Shuffled => u128::from(step.0),
            Order::Partitioned | Order::Sequential => {
                u128::from(step.0) * u128::from(self.slots_per_step) + u128::from(slot.0)
            }
        };
        // The product is below 2^128: step < 2^64, S < 2^32, and `Batches::new` asserts B < 2^32.
        let position = batch * self.batch_size as u128;
        let n = self.n_train as u128;
        // Epochs are numbered modulo 2^64. No run is so long that this matters.
        Position { epoch: (position / n) as u64, index: (position % n) as usize }
    }

    /// Returns the parameter `entity` of [`permutation`] for the stream of `slot`. Returns `None`
    /// if the rows stay in file order.
    const fn entity(&self, slot: Slot) -> Option<u64> {
        match self.order {
            Order::Shuffled => Some(slot.0 as u64),
            Order::Partitioned => Some(0),
            Order::Sequential => None,
        }
    }
}

/// A position in a stream of rows: element `index` of the permutation of `epoch`.
struct Position {
    epoch: u64,
    index: usize,
}

/// Computes batches. Caches the permutations that the next batches will need.
#[derive(Clone, Debug)]
pub struct Batches {
    order: BatchOrder,
    /// The most recently used permutation of each entity.
    cache: BTreeMap<u64, Cached>,
    n_cached_max: usize,
    /// Number of cache uses so far. This number serves as a clock to find the least recently used
    /// entry.
    now: u64,
}

#[derive(Clone, Debug)]
struct Cached {
    epoch: u64,
    rows: Vec<u32>,
    /// The value of [`Batches::now`] at the last use.
    used: u64,
}

impl Batches {
    /// Returns a generator of batches in this order, with an empty cache.
    ///
    /// # Panics
    /// If the batch size, the number of slots or the number of training examples is 0, or if the
    /// batch size or the number of training examples is not below 2^32.
    #[must_use]
    pub fn new(order: BatchOrder) -> Self {
        let counts = 1..=u32::MAX as usize;
        assert!(counts.contains(&order.batch_size), "batch size {}", order.batch_size);
        assert!(counts.contains(&order.n_train), "{} training examples", order.n_train);
        assert!(order.slots_per_step > 0, "no slots");
        let n_cached_max = (MAX_CACHED_BYTES / (order.n_train * size_of::<u32>())).max(1);
        Self { order, cache: BTreeMap::new(), n_cached_max, now: 0 }
    }

    /// Returns the parameters that determine the batches.
    #[must_use]
    pub const fn order(&self) -> BatchOrder {
        self.order
    }

    /// Returns the rows of the slot's batch of `step`: B indices into the n training examples,
    /// where B is the batch size.
    ///
    /// The result does not depend on earlier calls. Row j of the batch is at position p of the
    /// slot's stream. Position p is element p mod n of the permutation of epoch p / n, for n
    /// training examples. With a stream for each slot and the batch size B, p = step·B + j. With
    /// one stream for all S slots, p = (step·S + slot)·B + j.
    ///
    /// A batch that crosses the end of an epoch takes the rest of the old permutation and the head
    /// of the next permutation, as TensorFlow's `DataSet.next_batch` does
    /// (`contrib/learn/python/learn/datasets/mnist.py`, since tensorflow#7071).
    ///
    /// # Panics
    /// If `slot` is not below the number of slots per step.
    pub fn rows(&mut self, slot: Slot, step: Step) -> Vec<u32> {
        let mut rows = Vec::new();
        self.rows_into(slot, step, &mut rows);
        rows
    }

    /// Replaces the content of `rows` by the result of [`rows`](Self::rows).
    ///
    /// # Panics
    /// If `slot` is not below the number of slots per step.
    pub fn rows_into(&mut self, slot: Slot, step: Step, rows: &mut Vec<u32>) {
        let BatchOrder { batch_size, n_train, .. } = self.order;
        let entity = self.order.entity(slot);
        let Position { mut epoch, mut index } = self.order.start(slot, step);
        rows.clear();
        // A batch that is larger than an epoch spans several permutations.
        while rows.len() < batch_size {
            let end = n_train.min(index + batch_size - rows.len());
            match entity {
                Some(entity) => rows.extend_from_slice(&self.epoch(entity, epoch)[index..end]),
                None => rows.extend(index as u32..end as u32),
            }
            (epoch, index) = (epoch.wrapping_add(1), 0);
        }
    }

    /// Returns the permutation of one epoch, from the cache if possible.
    fn epoch(&mut self, entity: u64, epoch: u64) -> &[u32] {
        self.now += 1;
        let used = self.now;
        if self.cache.get(&entity).is_none_or(|cached| cached.epoch != epoch) {
            self.make_room(entity);
            let rows = permutation(self.order.seed, entity, epoch, self.order.n_train as u32);
            self.cache.insert(entity, Cached { epoch, rows, used });
        }
        let cached = self.cache.get_mut(&entity).expect("cached before, or inserted above");
        cached.used = used;
        &cached.rows
    }

    /// Removes the entity's old permutation from the cache. If the cache is still full, removes the
    /// least recently used permutation.
    fn make_room(&mut self, entity: u64) {
        self.cache.remove(&entity);
        if self.cache.len() >= self.n_cached_max {
            let oldest = self.cache.iter().min_by_key(|(_, cached)| cached.used);
            let oldest = *oldest.expect("a full cache is not empty").0;
            self.cache.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn order(order: Order, batch_size: usize, slots_per_step: u32, n_train: usize) -> BatchOrder {
        BatchOrder { order, seed: 7, batch_size, slots_per_step, n_train }
    }

    /// `DataSet` of TensorFlow's mnist.py since tensorflow#7071, translated statement by statement.
    /// `shuffle` replaces numpy's global generator, and returns the order after each shuffle.
    struct TensorFlowDataSet<F> {
        rows: Vec<u32>,
        shuffle: F,
        epochs_completed: u64,
        index_in_epoch: usize,
    }

    impl<F: Fn(u64) -> Vec<u32>> TensorFlowDataSet<F> {
        fn new(num_examples: u32, shuffle: F) -> Self {
            let rows = (0..num_examples).collect();
            Self { rows, shuffle, epochs_completed: 0, index_in_epoch: 0 }
        }

        fn next_batch(&mut self, batch_size: usize) -> Vec<u32> {
            let num_examples = self.rows.len();
            let start = self.index_in_epoch;
            if self.epochs_completed == 0 && start == 0 {
                self.rows = (self.shuffle)(0);
            }
            if start + batch_size > num_examples {
                self.epochs_completed += 1;
                let rest_num_examples = num_examples - start;
                let rest_part = self.rows[start..num_examples].to_vec();
                self.rows = (self.shuffle)(self.epochs_completed);
                self.index_in_epoch = batch_size - rest_num_examples;
                let new_part = &self.rows[0..self.index_in_epoch];
                [&rest_part, new_part].concat()
            } else {
                self.index_in_epoch += batch_size;
                self.rows[start..self.index_in_epoch].to_vec()
            }
        }
    }

    #[test]
    fn shuffled_batches_equal_those_of_tensorflows_next_batch() {
        // The cases in order: B divides n; B does not divide n, so batches cross epochs; B = n; B =
        // 1; B just below n; B above n / 3.
        for (n, batch_size) in [(120, 8), (101, 10), (7, 7), (5, 1), (9, 8), (64, 24)] {
            for slot in [0, 1, 4] {
                let permute = |epoch| permutation(7, slot, epoch, n as u32);
                let mut tensorflow = TensorFlowDataSet::new(n as u32, permute);
                let mut batches = Batches::new(order(Order::Shuffled, batch_size, 5, n));
                for step in 0..2000 {
                    let wanted = tensorflow.next_batch(batch_size);
                    let found = batches.rows(Slot(slot as u32), Step(step));
                    assert_eq!(
                        found, wanted,
                        "n {n}, batch {batch_size}, slot {slot}, step {step}"
                    );
                }
                assert!(tensorflow.epochs_completed > 100);
            }
        }
    }

    #[test]
    fn partitioned_slots_together_draw_every_example_once_per_epoch() {
        // Three slots draw 4 rows each. An epoch of 96 rows takes 8 steps; an epoch of 35 rows ends
        // in the middle of a batch.
        for n in [96usize, 35] {
            let mut batches = Batches::new(order(Order::Partitioned, 4, 3, n));
            let stream: Vec<u32> = (0..n as u64)
                .flat_map(|step| (0..3).map(move |slot| (slot, step)))
                .flat_map(|(slot, step)| batches.rows(Slot(slot), Step(step)))
                .collect();
            let mut epochs = stream.chunks_exact(n);
            assert_eq!(epochs.len(), 12);
            for epoch in epochs.by_ref() {
                let mut rows = epoch.to_vec();
                rows.sort_unstable();
                assert_eq!(rows, (0..n as u32).collect::<Vec<_>>());
            }
            assert_ne!(stream[..n], stream[n..2 * n], "each epoch has its own permutation");
        }
    }

    #[test]
    fn sequential_batches_read_the_file_in_order_slot_by_slot() {
        let mut batches = Batches::new(order(Order::Sequential, 3, 2, 10));
        assert_eq!(batches.rows(Slot(0), Step(0)), [0, 1, 2]);
        assert_eq!(batches.rows(Slot(1), Step(0)), [3, 4, 5]);
        assert_eq!(batches.rows(Slot(0), Step(1)), [6, 7, 8]);
        assert_eq!(batches.rows(Slot(1), Step(1)), [9, 0, 1]);
        assert_eq!(batches.rows(Slot(1), Step(4)), [7, 8, 9]);
        assert!(batches.cache.is_empty());
    }

    #[test]
    fn largest_steps_neither_overflow_nor_exceed_the_data() {
        for kind in [Order::Shuffled, Order::Partitioned, Order::Sequential] {
            for (batch_size, n) in [(100, 55), (1, 1), (64, 1000)] {
                let mut batches = Batches::new(order(kind, batch_size, u32::MAX, n));
                for step in [u64::MAX, u64::MAX - 1, u64::MAX / 3, 1 << 63] {
                    let rows = batches.rows(Slot(u32::MAX - 1), Step(step));
                    assert_eq!(rows.len(), batch_size);
                    assert!(rows.iter().all(|&row| (row as usize) < n));
                }
            }
        }
        // ((2^64 - 1)·(2^32 - 1) + 2^32 - 2)·7 mod 10, in exact arithmetic.
        let mut batches = Batches::new(order(Order::Sequential, 7, u32::MAX, 10));
        assert_eq!(batches.rows(Slot(u32::MAX - 1), Step(u64::MAX))[0], 3);
    }

    #[test]
    fn cache_keeps_one_permutation_per_slot_up_to_its_limit() {
        let mut batches = Batches::new(order(Order::Shuffled, 5, 100, 1000));
        for step in 0..500 {
            let _ = batches.rows(Slot(3), Step(step));
        }
        assert_eq!(batches.cache.len(), 1);
        batches.n_cached_max = 10;
        for slot in 0..100 {
            let _ = batches.rows(Slot(slot), Step(0));
            assert!(batches.cache.len() <= 10);
        }
        let huge = Batches::new(order(Order::Shuffled, 5, 2, 1 << 30));
        assert_eq!(huge.n_cached_max, 1);
    }

    #[test]
    fn full_cache_evicts_the_least_recently_used_permutation() {
        let mut batches = Batches::new(order(Order::Shuffled, 5, 3, 1000));
        batches.n_cached_max = 2;
        for slot in [0, 1, 0, 2] {
            let _ = batches.rows(Slot(slot), Step(0));
        }
        assert_eq!(batches.cache.into_keys().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    #[should_panic(expected = "slot 2 of 2")]
    fn slot_outside_the_step_panics() {
        let _ = Batches::new(order(Order::Shuffled, 5, 2, 10)).rows(Slot(2), Step(0));
    }

    /// Computes each row by the definition, without a cache.
    fn rows_by_definition(order: BatchOrder, slot: Slot, step: Step) -> Vec<u32> {
        let BatchOrder { batch_size, slots_per_step, n_train, seed, .. } = order;
        let (b, n) = (batch_size as u64, n_train as u64);
        let (slot, slots_per_step) = (u64::from(slot.0), u64::from(slots_per_step));
        let shared = |j| (step.0 * slots_per_step + slot) * b + j;
        let row = |j| match order.order {
            Order::Sequential => (shared(j) % n) as u32,
            Order::Partitioned => {
                let p = shared(j);
                permutation(seed, 0, p / n, n as u32)[(p % n) as usize]
            }
            Order::Shuffled => {
                let p = step.0 * b + j;
                permutation(seed, slot, p / n, n as u32)[(p % n) as usize]
            }
        };
        (0..b).map(row).collect()
    }

    proptest! {
        #[test]
        fn batches_do_not_depend_on_earlier_calls(
            kind in prop::sample::select(vec![
                Order::Shuffled, Order::Partitioned, Order::Sequential,
            ]),
            batch_size in 1usize..12,
            n_train in 1usize..30,
            n_cached_max in 1usize..4,
            calls in vec((0u32..4, 0u64..40), 1..60),
        ) {
            let order = order(kind, batch_size, 4, n_train);
            let mut batches = Batches::new(order);
            batches.n_cached_max = n_cached_max;
            let mut rows = vec![99; 5];
            for (slot, step) in calls {
                let (slot, step) = (Slot(slot), Step(step));
                batches.rows_into(slot, step, &mut rows);
                prop_assert_eq!(&rows, &rows_by_definition(order, slot, step));
            }
        }
    }
}
