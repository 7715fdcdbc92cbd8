//! Computes the mean of gradients over slots. The gradients are added in the order of a binary tree
//! over the slot numbers, and the sum is then divided once.
//!
//! The tree depends only on the slot numbers. So neither the worker nor the arrival time of a
//! gradient affects the bits of the mean.

use unisono_core::floats::Floats;
use unisono_core::ids::Slot;

/// Number of values that are processed at a time. With this number, the operands and results of two
/// levels of the tree stay in the L1 cache.
pub(crate) const CHUNK: usize = 1024;

/// The mean of R gradients, ascending by slot.
#[derive(Clone, Debug)]
pub(crate) struct Mean<'a> {
    gradients: Vec<Leaf<'a>>,
    /// Height of the tree: the smallest j such that all slots are below 2^j.
    height: u32,
    divisor: Divisor,
}

#[derive(Clone, Copy, Debug)]
struct Leaf<'a> {
    slot: u32,
    values: &'a Floats,
}

impl Leaf<'_> {
    fn chunk<'a>(&'a self, start: usize, room: &'a mut [f32]) -> &'a [f32] {
        self.values.chunk(start..start + room.len(), room)
    }

    fn read(&self, start: usize, values: &mut [f32]) {
        self.values.read(start, values);
    }
}

/// The way to divide a sum by the number of gradients, R. If R is a power of two, multiplying by
/// the reciprocal is faster and yields the same bits.
#[derive(Clone, Copy, Debug)]
enum Divisor {
    Reciprocal(f32),
    Quotient(f32),
}

impl<'a> Mean<'a> {
    /// Creates the mean of gradients of equal length.
    ///
    /// # Panics
    /// If there is no gradient, or if the gradients are not strictly ascending by slot.
    pub(crate) fn new(gradients: impl Iterator<Item = (Slot, &'a Floats)>) -> Self {
        let gradients: Vec<_> =
            gradients.map(|(Slot(slot), values)| Leaf { slot, values }).collect();
        assert!(gradients.is_sorted_by(|a, b| a.slot < b.slot), "slots ascend strictly");
        let last = gradients.last().expect("a mean needs a gradient");
        let height = u32::BITS - last.slot.leading_zeros();
        let n = gradients.len() as f32;
        let divisor = if gradients.len().is_power_of_two() {
            Divisor::Reciprocal(1.0 / n)
        } else {
            Divisor::Quotient(n)
        };
        Self { gradients, height, divisor }
    }

    /// Writes the elements `start..start + mean.len()` of the mean into `mean`. `mean` must have at
    /// most [`CHUNK`] values.
    ///
    /// `room` is scratch memory. If the gradient of a slot is in the memory of another process, its
    /// values are copied to `room`.
    #[inline(always)]
    pub(crate) fn chunk(&self, start: usize, mean: &mut [f32], room: &mut [f32; CHUNK]) {
        match (&self.gradients[..], self.divisor) {
            ([leaf], _) => leaf.read(start, mean),
            // Two slots are the most common case, and need only one pass over the values.
            ([a, b], Divisor::Reciprocal(reciprocal)) => {
                a.read(start, mean);
                let b = b.chunk(start, &mut room[..mean.len()]);
                mean.iter_mut().zip(b).for_each(|(m, b)| *m = (*m + b) * reciprocal);
            }
            (leaves, divisor) => {
                sum(leaves, self.height, start, mean);
                match divisor {
                    Divisor::Reciprocal(reciprocal) => {
                        mean.iter_mut().for_each(|m| *m *= reciprocal)
                    }
                    Divisor::Quotient(n) => mean.iter_mut().for_each(|m| *m /= n),
                }
            }
        }
    }
}

#[inline(always)]
fn add(sum: &mut [f32], other: &[f32]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += other;
    }
}

/// Writes the sum of `leaves` into `out`, beginning with element `start` of the gradients. `leaves`
/// are all gradients below one node of the tree, at least one.
///
/// The node covers 2^height slots. If only one half of these slots has gradients, the sum is the
/// sum of that half, unchanged.
fn sum(leaves: &[Leaf<'_>], height: u32, start: usize, out: &mut [f32]) {
    if let [leaf] = leaves {
        return leaf.read(start, out);
    }
    let half = height - 1;
    let (left, right) = leaves.split_at(leaves.partition_point(|leaf| leaf.slot >> half & 1 == 0));
    if left.is_empty() || right.is_empty() {
        return sum(leaves, half, start, out);
    }
    let mut buffer = [0.0; CHUNK];
    let room = &mut buffer[..out.len()];
    sum(left, half, start, out);
    if let [leaf] = right {
        return add(out, leaf.chunk(start, room));
    }
    sum(right, half, start, room);
    add(out, room);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes one node of the summation tree directly from the tree's definition. Node `index` at
    /// height `height` covers the slots [index · 2^height, (index + 1) · 2^height).
    fn naive(gradients: &[Option<f32>], height: u32, index: usize) -> Option<f32> {
        if height == 0 {
            return gradients.get(index).copied().flatten();
        }
        let left = naive(gradients, height - 1, 2 * index);
        let right = naive(gradients, height - 1, 2 * index + 1);
        match (left, right) {
            (Some(left), Some(right)) => Some(left + right),
            (one, other) => one.or(other),
        }
    }

    fn mean_of(gradients: &[Option<f32>]) -> f32 {
        let values: Vec<_> = gradients.iter().map(|g| g.map(|g| vec![g; 3].into())).collect();
        let present = values.iter().enumerate();
        let mean =
            Mean::new(present.filter_map(|(slot, g)| g.as_ref().map(|g| (Slot(slot as u32), g))));
        let mut out = [0.0; 2];
        mean.chunk(1, &mut out, &mut [0.0; CHUNK]);
        assert_eq!(out[0].to_bits(), out[1].to_bits());
        out[0]
    }

    #[test]
    fn slots_are_paired_by_number_even_if_one_is_absent() {
        let (tiny, one) = (f32::EPSILON / 2.0, 1.0);
        // (1 + tiny) + tiny rounds to 1, whereas 1 + (tiny + tiny) does not.
        assert_eq!(mean_of(&[Some(one), Some(tiny), Some(tiny)]), 1.0 / 3.0);
        let kept = mean_of(&[Some(one), None, Some(tiny), Some(tiny)]);
        assert_eq!(kept, (1.0 + f32::EPSILON) / 3.0);
    }

    #[test]
    #[should_panic(expected = "slots ascend strictly")]
    fn repeated_slot_panics() {
        let gradient = vec![1.0].into();
        let _ = Mean::new([(Slot(1), &gradient), (Slot(1), &gradient)].into_iter());
    }

    proptest! {
        #[test]
        fn mean_equals_the_summation_tree_of_its_definition(
            gradients in prop::collection::vec(prop::option::of(-1e3f32..1e3), 1..40)
        ) {
            let n = gradients.iter().flatten().count();
            prop_assume!(n > 0);
            let want = naive(&gradients, 6, 0).expect("n > 0") / n as f32;
            prop_assert_eq!(mean_of(&gradients).to_bits(), want.to_bits());
        }

        #[test]
        fn dividing_by_a_power_of_two_equals_multiplying_by_its_reciprocal(bits: u32, power in 0u32..24) {
            let (x, n) = (f32::from_bits(bits), (1u64 << power) as f32);
            prop_assume!(!x.is_nan());
            prop_assert_eq!((x / n).to_bits(), (x * (1.0 / n)).to_bits());
        }
    }
}
