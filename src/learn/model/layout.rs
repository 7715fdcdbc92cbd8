//! Which part of which variable each ps holds. No number depends on it.

use std::ops::Range;

use ndarray::ArrayD;

use unisono_core::floats::{Buffer, Floats};
use unisono_core::train_config::Placement;

/// A variable of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As TensorFlow names it, such as `layer1/weights`; unique in its model.
    pub name: String,
    /// Its dimensions, row-major; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether the L2 term covers it.
    pub regularized: bool,
}

impl Variable {
    /// The number of its elements.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// An array of its shape.
    ///
    /// # Panics
    /// If there are not as many values as it has elements.
    #[must_use]
    pub fn array(&self, values: Vec<f32>) -> ArrayD<f32> {
        let n_values = values.len();
        ArrayD::from_shape_vec(self.shape.clone(), values).unwrap_or_else(|_| {
            panic!("{} has {} elements, not {n_values}", self.name, self.n_elements())
        })
    }

    /// The size of its last dimension: elements a row.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// Consecutive elements of a variable. A shard is a sequence of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The variable's number, in creation order.
    pub variable: usize,
    /// The first element, counted in the variable, row-major.
    pub start: usize,
    /// The number of elements, at least 1.
    pub len: usize,
}

/// A piece cut into whole rows and the parts of rows at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowBlock {
    /// The shard that holds it.
    pub(crate) ps: usize,
    /// Where it is in the shard.
    pub(crate) range: Range<usize>,
    /// Its rows; just one, unless they are whole.
    pub(crate) rows: Range<usize>,
    /// Its columns; all of them, if the rows are whole.
    pub(crate) columns: Range<usize>,
}

/// How a model's variables are laid over the parameter servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    variables: Vec<Variable>,
    /// By ps, in the order in which the shard holds them.
    pieces: Vec<Vec<Piece>>,
    /// By variable, ascending by element.
    row_blocks: Vec<Vec<RowBlock>>,
}

impl Layout {
    /// Lays variables, in creation order, over `n_ps` parameter servers, some of which may stay
    /// empty.
    ///
    /// - [`Placement::RoundRobin`]: variable i is on ps i mod P, as `replica_device_setter` has it.
    /// - [`Placement::Even`]: all variables, one after the other, are cut into P runs whose lengths
    ///   differ by at most one, longer ones first.
    ///
    /// # Panics
    /// If there is no ps.
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

    /// The variables, in creation order.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The number of parameter servers, and so of shards.
    #[must_use]
    pub fn n_ps(&self) -> usize {
        self.pieces.len()
    }

    /// What the shard of a ps holds, in order.
    #[must_use]
    pub fn pieces(&self, ps: usize) -> &[Piece] {
        &self.pieces[ps]
    }

    /// The number of elements in the shard of a ps.
    #[must_use]
    pub fn shard_len(&self, ps: usize) -> usize {
        self.pieces[ps].iter().map(|piece| piece.len).sum()
    }

    /// The elements of the shard of a ps that the L2 term covers, ascending.
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

    /// The variable that element `at` of a shard is of, and its place there, row-major; `None` if
    /// the shard is not so long.
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

    /// Splits the values of all variables, in creation order, into shards.
    ///
    /// # Panics
    /// If they are not of the variables' shapes.
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

    /// Puts the values of all variables, in creation order, together again.
    ///
    /// # Panics
    /// If the shards are not of this layout.
    #[must_use]
    pub fn gather(&self, shards: &[Floats]) -> Vec<ArrayD<f32>> {
        self.assert_shards(shards.iter().map(|shard| shard.len()));
        (0..self.variables.len()).map(|variable| self.read(variable, shards)).collect()
    }

    /// The values of one variable.
    pub(crate) fn read(&self, variable: usize, shards: &[Floats]) -> ArrayD<f32> {
        let blocks = self.row_blocks[variable].iter();
        let parts: Vec<_> = blocks.map(|block| &shards[block.ps][block.range.clone()]).collect();
        self.variables[variable].array(parts.concat())
    }

    /// Puts the values of one variable into their places.
    pub(crate) fn write(&self, variable: usize, values: &[f32], shards: &mut [Buffer]) {
        assert_eq!(values.len(), self.variables[variable].n_elements(), "elements written");
        let mut values = values;
        for block in &self.row_blocks[variable] {
            let (here, rest) = values.split_at(block.range.len());
            shards[block.ps][block.range.clone()].copy_from_slice(here);
            values = rest;
        }
    }

    /// Where the rows of a variable are, ascending. A row's parts follow each other.
    pub(crate) fn row_blocks(&self, variable: usize) -> &[RowBlock] {
        &self.row_blocks[variable]
    }

    /// # Panics
    /// If these are not the lengths of the shards.
    pub(crate) fn assert_shards(&self, lens: impl Iterator<Item = usize> + Clone) {
        let want = (0..self.n_ps()).map(|ps| self.shard_len(ps));
        if !lens.clone().eq(want.clone()) {
            let (lens, want): (Vec<_>, Vec<_>) = (lens.collect(), want.collect());
            panic!("lengths of the shards: {lens:?}, and should be {want:?}");
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

/// By variable, ascending: pieces of one variable lie on the ps in ascending order.
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
    fn more_ps_than_elements_leave_some_empty() {
        let layout = Layout::new(vec![variable("w", &[3])], 5, Placement::Even);
        let values = layout.variables()[0].array(vec![1.0, 2.0, 3.0]);
        let shards = layout.split(std::slice::from_ref(&values));
        assert_eq!(shards.iter().map(|shard| shard.len()).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
        assert_eq!(layout.gather(&shards), [values]);
    }

    #[test]
    fn a_piece_is_cut_into_whole_rows_and_the_ends_of_rows() {
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
        fn split_and_gather_are_inverse_and_shards_hold_every_element_once(
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
