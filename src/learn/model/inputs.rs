//! The non-zero elements of a batch, sorted for the two matrix products of the first layer.
//!
//! The product of the forward pass reads the elements example by example. The product for the
//! gradient reads the elements feature by feature.

use std::ops::Range;

use crate::data::Examples;

/// Number of features that the forward product processes at a time. The number is even, so that no
/// pair of features is split.
///
/// With fewer features per block, a strip of weights stays in the L1 cache better, but there are
/// more inner loops, and the CPU mispredicts the end of each loop. 160 features were the fastest
/// choice on AVX2.
pub(crate) const FEATURES_A_BLOCK: usize = 160;

/// A non-zero element of an example.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// The feature's index within its block.
    pub(crate) feature: u32,
    pub(crate) value: f32,
}

/// The features 2·p and 2·p + 1 of one example, where at least one of the two is not zero.
/// Neighbouring pixels are mostly both zero or both non-zero, so pairs save work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pair {
    /// The example's index in the batch.
    pub(crate) row: u32,
    pub(crate) values: [f32; 2],
}

/// The non-zero elements of a batch, both by example and by feature.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    n_features: usize,
    n_rows: usize,
    n_blocks: usize,
    /// All entries, sorted by example and then by feature.
    entries: Vec<Entry>,
    /// Index of the first entry of each (row, block), stored at index `row · n_blocks + block`. The
    /// last element is the number of all entries.
    starts: Vec<usize>,
    /// All pairs, sorted by the pair's number and then by example.
    pairs: Vec<Pair>,
    /// Element n is the index in `pairs` of the first pair with the number n. The last element is
    /// the total number of pairs.
    pair_starts: Vec<usize>,
    /// Scratch memory for the entries of one example.
    row: Vec<Entry>,
}

impl Inputs {
    /// Replaces the content of this value by the features of the examples `rows`.
    pub(crate) fn load(&mut self, examples: &Examples, rows: &[usize]) {
        self.n_features = examples.n_features();
        self.n_rows = rows.len();
        // There is at least one block, so that examples without features still have a product,
        // which is zero.
        self.n_blocks = self.n_features.div_ceil(FEATURES_A_BLOCK).max(1);
        self.entries.clear();
        self.starts.clear();
        self.pair_starts.clear();
        self.pair_starts.resize(self.n_pairs() + 1, 0);
        // The buffer has one element more than there are features, because `load_row` writes an
        // entry before it knows whether the entry is needed.
        self.row.resize(self.n_features + 1, Entry::default());
        examples.touch(rows);
        for (i, &row) in rows.iter().enumerate() {
            self.load_row(i, examples, row);
        }
        self.starts.push(self.entries.len());
        self.fill_pairs(examples, rows);
    }

    /// Appends the entries of one example. For each of its pairs, adds 1 to `pair_starts[p + 1]`,
    /// where p is the pair's number. [`Self::fill_pairs`] turns these counts into start indices.
    fn load_row(&mut self, i: usize, examples: &Examples, row: usize) {
        const PAIRS_A_BLOCK: u32 = FEATURES_A_BLOCK as u32 / 2;
        let Self { n_blocks, entries, starts, pair_starts, row: room, .. } = self;
        let (room, counts) = (&mut room[..], &mut pair_starts[1..]);
        let mut n = 0;
        // The number of the first pair after the current block.
        let mut end = 0;
        examples.for_each_pair(row, |pair, values| {
            while pair >= end {
                starts.push(entries.len() + n);
                end += PAIRS_A_BLOCK;
            }
            counts[pair as usize] += 1;
            let features = 2 * (pair + PAIRS_A_BLOCK - end)..;
            for (feature, value) in features.zip(values) {
                // The entry is always written, but is kept only if the value is not zero. A branch
                // would cost more, because the CPU could not predict it.
                room[n] = Entry { feature, value };
                n += usize::from(value != 0.0);
            }
        });
        entries.extend_from_slice(&room[..n]);
        starts.resize((i + 1) * *n_blocks, entries.len());
    }

    /// Fills `pairs` with the pairs of all examples, sorted by the pair's number.
    /// [`Self::load_row`] must have counted the pairs before.
    fn fill_pairs(&mut self, examples: &Examples, rows: &[usize]) {
        let Self { pairs, pair_starts, .. } = self;
        for pair in 1..pair_starts.len() {
            pair_starts[pair] += pair_starts[pair - 1];
        }
        pairs.resize(pair_starts[pair_starts.len() - 1], Pair::default());
        let (places, nexts) = (&mut pairs[..], &mut pair_starts[..]);
        for (i, &row) in rows.iter().enumerate() {
            examples.for_each_pair(row, |pair, values| {
                let next = &mut nexts[pair as usize];
                places[*next] = Pair { row: i as u32, values };
                *next += 1;
            });
        }
        // The loop has moved each start index to the start of the next number's pairs. One rotation
        // restores all start indices.
        pair_starts.rotate_right(1);
        pair_starts[0] = 0;
    }

    /// Returns the number of examples.
    pub(crate) const fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Returns the number of blocks of features, at least 1.
    pub(crate) const fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// Returns the number of pairs of features. If the number of features is odd, the second
    /// feature of the last pair counts as 0.
    pub(crate) const fn n_pairs(&self) -> usize {
        self.n_features.div_ceil(2)
    }

    /// Returns the non-zero elements of an example in one block, ascending by feature.
    #[inline(always)]
    pub(crate) fn entries(&self, row: usize, block: usize) -> &[Entry] {
        let at = row * self.n_blocks + block;
        &self.entries[self.starts[at]..self.starts[at + 1]]
    }

    /// Returns the pairs with the number `pair` that are not (0, 0), ascending by example.
    #[inline(always)]
    pub(crate) fn pairs(&self, pair: usize) -> &[Pair] {
        &self.pairs[self.pair_starts[pair]..self.pair_starts[pair + 1]]
    }

    /// Returns the range of features of a block.
    pub(crate) fn features(&self, block: usize) -> Range<usize> {
        let start = block * FEATURES_A_BLOCK;
        start..self.n_features.min(start + FEATURES_A_BLOCK)
    }

    /// Returns whether a feature and the other feature of its pair are zero in every example.
    #[inline(always)]
    pub(crate) fn is_unused(&self, feature: usize) -> bool {
        self.pairs(feature / 2).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_and_column_order_contain_every_non_zero_element_once(
            n_features in prop_oneof![1usize..12, 220usize..230],
            densities in prop::collection::vec(0u32..4, 1..6),
            order in prop::collection::vec(0usize..6, 0..6),
        ) {
            let n_examples = densities.len();
            let value = |i: usize, j: usize| {
                let hash = ((i * 7919 + j + 1) as u32).wrapping_mul(0x9e37_79b9) >> 16;
                if hash % 4 < densities[i] { (1 + hash) as f32 } else { 0.0 }
            };
            let mut examples = Examples::new(n_features, 1);
            for i in 0..n_examples {
                examples.push((0..n_features).map(|j| value(i, j)), 0);
            }
            let rows: Vec<_> = order.into_iter().map(|row| row % n_examples).collect();
            let mut inputs = Inputs::default();
            // Values that are left from an earlier batch must not affect the result.
            inputs.load(&examples, &[0; 9]);
            inputs.load(&examples, &rows);

            prop_assert_eq!(inputs.n_rows(), rows.len());
            let blocks: Vec<_> = (0..inputs.n_blocks()).flat_map(|b| inputs.features(b)).collect();
            prop_assert_eq!(blocks, (0..n_features).collect::<Vec<_>>());
            for (row, &example) in rows.iter().enumerate() {
                for block in 0..inputs.n_blocks() {
                    let non_zero = inputs.features(block).filter(|&j| value(example, j) != 0.0);
                    let feature = |j: usize| (j - inputs.features(block).start) as u32;
                    let want: Vec<_> = non_zero
                        .map(|j| Entry { feature: feature(j), value: value(example, j) })
                        .collect();
                    prop_assert_eq!(inputs.entries(row, block), &want[..]);
                }
            }
            for pair in 0..inputs.n_pairs() {
                let of = |row: usize, j: usize| if j < n_features { value(rows[row], j) } else { 0.0 };
                let both = (0..rows.len())
                    .map(|row| Pair { row: row as u32, values: [0, 1].map(|k| of(row, 2 * pair + k)) });
                let want: Vec<_> = both.filter(|pair| pair.values != [0.0; 2]).collect();
                prop_assert_eq!(inputs.pairs(pair), &want[..]);
                prop_assert_eq!(inputs.is_unused(2 * pair), want.is_empty());
            }
        }
    }
}
