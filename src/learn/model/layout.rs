//! The distribution of a model's variables over the parameter servers. The distribution does not
//! affect the results of training.

use std::ops::Range;

use ndarray::ArrayD;

use unisono_core::floats::{Buffer, Floats};
use unisono_core::train_config::Placement;

/// A variable of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// TensorFlow's name of the variable, such as `layer1/weights`. Each variable of a model has a
    /// different name.
    pub name: String,
    /// Dimensions, in row-major order. Empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether the L2 term covers this variable.
    pub regularized: bool,
}

impl Variable {
    /// Creates a variable that the L2 term does not cover.
    #[must_use]
    pub fn new(name: &str, shape: &[usize]) -> Self {
        Self { name: name.to_owned(), shape: shape.to_vec(), regularized: false }
    }

    /// Returns the variable, covered by the L2 term.
    #[must_use]
    pub fn regularized(self) -> Self {
        Self { regularized: true, ..self }
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns an array that has the variable's shape and contains `values` in row-major order.
    ///
    /// # Panics
    /// If the number of values is not [`Self::n_elements`].
    #[must_use]
    pub fn array(&self, values: Vec<f32>) -> ArrayD<f32> {
        let n_values = values.len();
        ArrayD::from_shape_vec(self.shape.clone(), values).unwrap_or_else(|_| {
            panic!("{} has {} elements, not {n_values}", self.name, self.n_elements())
        })
    }

    /// Returns the number of elements per row, which is the size of the last dimension. For a
    /// scalar, returns 1.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// A piece of a shard: a range of consecutive elements of one variable. A shard is a sequence of
/// pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the variable, in creation order.
    pub variable: usize,
    /// Index of the piece's first element within the variable, in row-major order.
    pub start: usize,
    /// Number of elements, at least 1.
    pub len: usize,
}

/// A part of a [`Piece`] that contains either whole rows of the variable, or a part of one row.
/// Only the first row and the last row of a piece can be incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowBlock {
    /// The ps whose shard holds the block.
    pub(crate) ps: usize,
    /// The block's elements within the shard.
    pub(crate) range: Range<usize>,
    /// The rows that the block contains. If the block does not contain all columns, this is a
    /// single row.
    pub(crate) rows: Range<usize>,
    /// The columns that the block contains. If the block contains whole rows, these are all columns
    /// of the variable.
    pub(crate) columns: Range<usize>,
}

/// The distribution of a model's variables over the parameter servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    variables: Vec<Variable>,
    /// For each ps, the pieces of its shard, in order.
    pieces: Vec<Vec<Piece>>,
    /// The row blocks of each variable, ascending by element.
    row_blocks: Vec<Vec<RowBlock>>,
}

impl Layout {
    /// Distributes variables over `n_ps` parameter servers. The variables must be in creation
    /// order. Some shards may be empty.
    ///
    /// - [`Placement::RoundRobin`] puts variable i on ps i mod `n_ps`, as TensorFlow's
    ///   `replica_device_setter` does.
    /// - [`Placement::Even`] cuts the sequence of all elements into `n_ps` shards whose lengths
    ///   differ by at most one. The longer shards come first.
    ///
    /// # Panics
    /// If `n_ps` is 0.
    #[must_use]
    pub fn new(variables: Vec<Variable>, n_ps: usize, placement: Placement) -> Self {
        assert!(n_ps > 0, "a layout needs a ps");
        let pieces = match placement {
            Placement::RoundRobin => round_robin(&variables, n_ps),
            Placement::Even => even(&variables, n_ps),
        };
        let row_blocks = row_blocks(&variables, &pieces);
        Self { variables, pieces, row_blocks }
    }

    /// Returns the variables, in creation order.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns the number of parameter servers, which is the number of shards.
    #[must_use]
    pub fn n_ps(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the pieces of a ps's shard, in order.
    #[must_use]
    pub fn pieces(&self, ps: usize) -> &[Piece] {
        &self.pieces[ps]
    }

    /// Returns the number of elements in the shard of a ps.
    #[must_use]
    pub fn shard_len(&self, ps: usize) -> usize {
        self.pieces[ps].iter().map(|piece| piece.len).sum()
    }

    /// Returns the ranges of elements that the L2 term covers, within the shard of a ps and in
    /// ascending order.
    #[must_use]
    pub fn regularized(&self, ps: usize) -> Vec<Range<usize>> {
        let mut end = 0;
        let range = |piece: &Piece| {
            let start = end;
            end += piece.len;
            self.variables[piece.variable].regularized.then_some(start..end)
        };
        self.pieces[ps].iter().filter_map(range).collect()
    }

    /// Finds element `at` of the shard of a ps. Returns the variable that contains the element, and
    /// the element's row-major index in that variable. Returns `None` if the shard has no such
    /// element.
    #[must_use]
    pub fn variable_at(&self, ps: usize, at: usize) -> Option<(&Variable, usize)> {
        let mut left = at;
        for piece in self.pieces.get(ps)? {
            if left < piece.len {
                return Some((&self.variables[piece.variable], piece.start + left));
            }
            left -= piece.len;
        }
        None
    }

    /// Splits the values of all variables into shards. The variables must be in creation order.
    ///
    /// # Panics
    /// If the values do not have the shapes of the variables.
    #[must_use]
    pub fn split(&self, variables: &[ArrayD<f32>]) -> Vec<Floats> {
        assert_eq!(variables.len(), self.variables.len(), "number of variables");
        for (variable, values) in self.variables.iter().zip(variables) {
            assert_eq!(values.shape(), variable.shape, "shape of {}", variable.name);
        }
        let flat: Vec<_> = variables.iter().map(|values| values.as_standard_layout()).collect();
        let flat: Vec<&[f32]> =
            flat.iter().map(|values| values.as_slice().expect("in standard layout")).collect();
        let values = |piece: &Piece| &flat[piece.variable][piece.start..][..piece.len];
        let shard = |pieces: &Vec<Piece>| pieces.iter().map(values).collect::<Vec<_>>().concat();
        self.pieces.iter().map(|pieces| shard(pieces).into()).collect()
    }

    /// Gathers the values of all variables from the shards. Returns the variables in creation
    /// order.
    ///
    /// # Panics
    /// If the number of shards or the length of a shard differs from this layout.
    #[must_use]
    pub fn gather(&self, shards: &[Floats]) -> Vec<ArrayD<f32>> {
        self.assert_shards(shards.iter().map(|shard| shard.len()));
        (0..self.variables.len()).map(|variable| self.read(variable, shards)).collect()
    }

    /// Returns the values of one variable from the shards.
    pub(crate) fn read(&self, variable: usize, shards: &[Floats]) -> ArrayD<f32> {
        let blocks = self.row_blocks[variable].iter();
        let parts: Vec<_> = blocks.map(|block| &shards[block.ps][block.range.clone()]).collect();
        self.variables[variable].array(parts.concat())
    }

    /// Writes the values of one variable into the shards.
    pub(crate) fn write(&self, variable: usize, values: &[f32], shards: &mut [Buffer]) {
        assert_eq!(values.len(), self.variables[variable].n_elements(), "elements written");
        let mut values = values;
        for block in &self.row_blocks[variable] {
            let (here, rest) = values.split_at(block.range.len());
            shards[block.ps][block.range.clone()].copy_from_slice(here);
            values = rest;
        }
    }

    /// Returns the row blocks of a variable, in ascending order of their elements. Therefore,
    /// blocks of the same row are consecutive.
    pub(crate) fn row_blocks(&self, variable: usize) -> &[RowBlock] {
        &self.row_blocks[variable]
    }

    /// Asserts that `lens` are the lengths of this layout's shards.
    ///
    /// # Panics
    /// If a length or the number of shards differs.
    pub(crate) fn assert_shards(&self, lens: impl Iterator<Item = usize> + Clone) {
        let want = (0..self.n_ps()).map(|ps| self.shard_len(ps));
        if !lens.clone().eq(want.clone()) {
            let (lens, want): (Vec<_>, Vec<_>) = (lens.collect(), want.collect());
            panic!("the shards have the lengths {lens:?}, but should have {want:?}");
        }
    }
}

fn round_robin(variables: &[Variable], n_ps: usize) -> Vec<Vec<Piece>> {
    let mut pieces = vec![Vec::new(); n_ps];
    for (i, variable) in variables.iter().enumerate() {
        let len = variable.n_elements();
        if len > 0 {
            pieces[i % n_ps].push(Piece { variable: i, start: 0, len });
        }
    }
    pieces
}

fn even(variables: &[Variable], n_ps: usize) -> Vec<Vec<Piece>> {
    let total: usize = variables.iter().map(Variable::n_elements).sum();
    let (share, n_longer) = (total / n_ps, total % n_ps);
    let mut pieces = vec![Vec::new(); n_ps];
    let mut shares = (0..n_ps).map(|ps| (ps, share + usize::from(ps < n_longer)));
    let (mut ps, mut room) = (0, 0);
    for (i, variable) in variables.iter().enumerate() {
        let mut start = 0;
        while start < variable.n_elements() {
            if room == 0 {
                (ps, room) = shares.next().expect("the shares hold all elements");
                continue;
            }
            let len = room.min(variable.n_elements() - start);
            pieces[ps].push(Piece { variable: i, start, len });
            start += len;
            room -= len;
        }
    }
    pieces
}

/// Cuts the pieces into row blocks, grouped by variable. The loop visits the ps in order. Both
/// placements assign the pieces of a variable to ps in ascending order, so the row blocks of a
/// variable are in ascending order, too.
fn row_blocks(variables: &[Variable], pieces: &[Vec<Piece>]) -> Vec<Vec<RowBlock>> {
    let mut blocks = vec![Vec::new(); variables.len()];
    for (ps, pieces) in pieces.iter().enumerate() {
        let mut place = 0;
        for piece in pieces {
            let n_columns = variables[piece.variable].n_columns();
            let end = piece.start + piece.len;
            let mut start = piece.start;
            while start < end {
                let (row, column) = (start / n_columns, start % n_columns);
                let n_whole = if column == 0 { (end - start) / n_columns } else { 0 };
                let (rows, columns) = if n_whole > 0 {
                    (row..row + n_whole, 0..n_columns)
                } else {
                    (row..row + 1, column..n_columns.min(column + end - start))
                };
                let len = rows.len() * columns.len();
                blocks[piece.variable].push(RowBlock {
                    ps,
                    range: place..place + len,
                    rows,
                    columns,
                });
                start += len;
                place += len;
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::testing::{gather, split};

    fn variable(name: &str, shape: &[usize]) -> Variable {
        Variable { name: name.into(), shape: shape.into(), regularized: shape.len() > 1 }
    }

    fn original() -> Vec<Variable> {
        vec![
            variable("layer1/weights", &[784, 500]),
            variable("layer1/biases", &[500]),
            variable("layer2/weights", &[500, 10]),
            variable("layer2/biases", &[10]),
        ]
    }

    fn lens(placement: Placement, n_ps: usize) -> Vec<usize> {
        let layout = Layout::new(original(), n_ps, placement);
        (0..n_ps).map(|ps| layout.shard_len(ps)).collect()
    }

    #[test]
    fn round_robin_places_whole_variables_in_creation_order() {
        assert_eq!(lens(Placement::RoundRobin, 2), [392_000 + 5_000, 500 + 10]);
        assert_eq!(lens(Placement::RoundRobin, 3), [392_000 + 10, 500, 5_000]);
        assert_eq!(lens(Placement::RoundRobin, 6), [392_000, 500, 5_000, 10, 0, 0]);
    }

    #[test]
    fn even_shards_differ_by_at_most_one_element() {
        assert_eq!(lens(Placement::Even, 2), [198_755, 198_755]);
        assert_eq!(lens(Placement::Even, 3), [132_504, 132_503, 132_503]);
    }

    #[test]
    fn some_shards_are_empty_if_there_are_more_ps_than_elements() {
        let layout = Layout::new(vec![variable("w", &[3])], 5, Placement::Even);
        let values = layout.variables()[0].array(vec![1.0, 2.0, 3.0]);
        let shards = layout.split(std::slice::from_ref(&values));
        assert_eq!(shards.iter().map(|shard| shard.len()).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
        assert_eq!(layout.gather(&shards), [values]);
    }

    #[test]
    fn piece_is_cut_into_whole_rows_and_partial_rows_at_its_ends() {
        let layout = Layout::new(vec![variable("w", &[5, 3])], 2, Placement::Even);
        let block = |ps, range, rows, columns| RowBlock { ps, range, rows, columns };
        let want = [
            block(0, 0..6, 0..2, 0..3),
            block(0, 6..8, 2..3, 0..2),
            block(1, 0..1, 2..3, 2..3),
            block(1, 1..7, 3..5, 0..3),
        ];
        assert_eq!(layout.row_blocks(0), want);
    }

    proptest! {
        #[test]
        fn gather_and_write_invert_split_and_shards_hold_every_element_once(
            shapes in prop::collection::vec(prop::collection::vec(0usize..6, 0..3), 0..6),
            n_ps in 1usize..=7,
            placement in prop::sample::select(vec![Placement::RoundRobin, Placement::Even]),
        ) {
            let variables: Vec<_> = shapes.iter().map(|shape| variable("v", shape)).collect();
            let mut next = 0.0;
            let values: Vec<Vec<f32>> = variables
                .iter()
                .map(|v| (0..v.n_elements()).map(|_| { next += 1.0; next }).collect())
                .collect();
            let layout = Layout::new(variables, n_ps, placement);
            let shards = split(&layout, &values);
            prop_assert_eq!(&gather(&layout, &shards), &values);
            let mut all: Vec<f32> = shards.iter().flat_map(|shard| shard.to_vec()).collect();
            all.sort_by(f32::total_cmp);
            prop_assert_eq!(all, values.concat());

            let mut written: Vec<_> =
                shards.iter().map(|shard| Buffer::from(vec![0.0; shard.len()])).collect();
            for (i, values) in values.iter().enumerate() {
                layout.write(i, values, &mut written);
            }
            prop_assert_eq!(written.into_iter().map(Floats::from).collect::<Vec<_>>(), shards);
        }
    }
}
