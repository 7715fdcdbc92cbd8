//! The convolution (rules 41 to 43), as a product whose left factor is read in place from the
//! padded image.

use super::operation::{Backward, Forward, Operation, Start};
use super::shape::{Axis, Windows};
use super::weights::{Weights, copy_rows, multiply};
use crate::model::matrix::Matrix;
use crate::model::product::Indexed;
use crate::model::{Gradient, Parameters, SimdLevel, Variable};

/// A convolution of images, and biases.
#[derive(Debug)]
pub(crate) struct Conv2d {
    n_channels: usize,
    n_filters: usize,
    windows: Windows,
    weights: Weights,
    /// The padded inputs of an example.
    image: Image,
    /// The deltas of an example's outputs, one row per window.
    deltas: Matrix,
    /// `None` until the deltas of inputs are computed first.
    back: Option<Back>,
    /// Whether `back` has the current kernel.
    is_rotated: bool,
}

/// The memory for the deltas of the inputs. These deltas are the convolution of the outputs' deltas,
/// `stride` apart and padded, with the rotated kernel.
#[derive(Debug)]
struct Back {
    image: Image,
    /// The kernel, rotated by half a turn, with the filters as inputs and the channels as outputs.
    rotated: Matrix,
}

/// A padded image, and the places of windows in it.
#[derive(Debug)]
struct Image {
    values: Vec<f32>,
    /// The place of the first element of each window.
    windows: Vec<u32>,
    /// The places of a window's elements, relative to the first.
    elements: Vec<u32>,
    /// The place of each row of the unpadded values.
    rows: Vec<usize>,
    /// The distance between the values of two neighbouring positions in a row.
    step: usize,
    n_channels: usize,
}

/// One axis of an [`Image`].
#[derive(Clone, Copy, Debug)]
struct Side {
    /// The size with the padding.
    padded: usize,
    /// The place of the first unpadded value.
    first: usize,
    /// The distance between two neighbouring unpadded values.
    step: usize,
    /// The number of unpadded values.
    n_values: usize,
    /// The size of a window.
    size: usize,
    n_windows: usize,
    /// The distance between two neighbouring windows.
    stride: usize,
}

impl Conv2d {
    /// Creates a convolution of images of `n_channels` channels.
    pub(crate) fn new(
        n_channels: usize,
        n_filters: usize,
        windows: Windows,
        regularized: bool,
    ) -> Self {
        let Windows { vertical, horizontal } = windows;
        let shape = [vertical.size, horizontal.size, n_channels, n_filters];
        Self {
            n_channels,
            n_filters,
            windows,
            weights: Weights::new(&shape, regularized),
            image: Image::new(forward_side(vertical), forward_side(horizontal), n_channels),
            deltas: Matrix::new(windows.len(), n_filters),
            back: None,
            is_rotated: false,
        }
    }

    fn rotate(&mut self) {
        let Windows { vertical, horizontal } = self.windows;
        let (n_channels, n_filters) = (self.n_channels, self.n_filters);
        let n_positions = vertical.size * horizontal.size;
        let weights = self.weights.values();
        let Back { rotated, .. } = self.back.get_or_insert_with(|| Back {
            image: Image::new(back_side(vertical), back_side(horizontal), n_filters),
            rotated: Matrix::new(n_positions * n_filters, n_channels),
        });
        for position in 0..n_positions {
            let opposite = n_positions - 1 - position;
            for channel in 0..n_channels {
                let row = weights.row(opposite * n_channels + channel);
                for (filter, weight) in row.iter().enumerate() {
                    rotated.row_mut(position * n_filters + filter)[channel] = *weight;
                }
            }
        }
        self.is_rotated = true;
    }
}

/// Returns the image of the inputs along one axis.
const fn forward_side(axis: Axis) -> Side {
    Side {
        padded: axis.padded(),
        first: axis.before,
        step: 1,
        n_values: axis.n_in,
        size: axis.size,
        n_windows: axis.n_out,
        stride: axis.stride,
    }
}

/// Returns the image of the outputs' deltas along one axis. Window i of this image has the outputs
/// that read input i.
const fn back_side(axis: Axis) -> Side {
    Side {
        padded: axis.n_in + axis.size - 1,
        first: axis.size - 1 - axis.before,
        step: axis.stride,
        n_values: axis.n_out,
        size: axis.size,
        n_windows: axis.n_in,
        stride: 1,
    }
}

impl Image {
    fn new(vertical: Side, horizontal: Side, n_channels: usize) -> Self {
        let place = |y: usize, x: usize| (y * horizontal.padded + x) * n_channels;
        let short = |place: usize| u32::try_from(place).expect("the sizes were checked");
        let windows = (0..vertical.n_windows).flat_map(|y| {
            (0..horizontal.n_windows)
                .map(move |x| short(place(y * vertical.stride, x * horizontal.stride)))
        });
        let in_row = horizontal.size * n_channels;
        let elements =
            (0..vertical.size).flat_map(|y| (0..in_row).map(move |i| short(place(y, 0) + i)));
        let rows = (0..vertical.n_values)
            .map(|row| place(vertical.first + row * vertical.step, horizontal.first));
        Self {
            values: vec![0.0; place(vertical.padded, 0)],
            windows: windows.collect(),
            elements: elements.collect(),
            rows: rows.collect(),
            step: horizontal.step * n_channels,
            n_channels,
        }
    }

    /// Copies unpadded values into the image. The padding stays zero.
    fn load(&mut self, values: &[f32]) {
        let Self { values: places, rows, step, n_channels, .. } = self;
        for (row, values) in rows.iter().zip(values.chunks_exact(values.len() / rows.len())) {
            if step == n_channels {
                places[*row..][..values.len()].copy_from_slice(values);
                continue;
            }
            for (i, values) in values.chunks_exact(*n_channels).enumerate() {
                places[row + i * *step..][..*n_channels].copy_from_slice(values);
            }
        }
    }

    /// Returns the matrix with a row for each window and a column for each element of a window.
    fn patches(&self) -> Indexed<'_> {
        let Self { values, windows, elements, .. } = self;
        Indexed { values, rows: windows, terms: elements, span: last(elements) + 1 }
    }

    /// Returns the transpose of [`Self::patches`].
    fn transposed_patches(&self) -> Indexed<'_> {
        let Self { values, windows, elements, .. } = self;
        Indexed { values, rows: elements, terms: windows, span: last(windows) + 1 }
    }
}

fn last(places: &[u32]) -> usize {
    places.last().map_or(0, |place| *place as usize)
}

impl Operation for Conv2d {
    fn variables(&self) -> Vec<Variable> {
        self.weights.variables()
    }

    fn begin(&mut self, _: &Start, parameters: Parameters<'_>, first: usize) {
        self.weights.begin(parameters, first);
        self.is_rotated = false;
    }

    fn squares(&self, level: SimdLevel, before: f64) -> f64 {
        self.weights.squares(level, before)
    }

    fn forward(&mut self, level: SimdLevel, pass: Forward<'_>) {
        let n = pass.examples.len();
        let inputs = pass.inputs.chunks_exact(pass.inputs.len() / n);
        let outputs = pass.outputs.chunks_exact_mut(self.windows.len() * self.n_filters);
        for (inputs, outputs) in inputs.zip(outputs) {
            self.image.load(inputs);
            self.weights.multiply(level, self.image.patches(), outputs);
        }
    }

    fn backward(&mut self, level: SimdLevel, pass: Backward<'_>) {
        let n_inputs = pass.inputs.len() / pass.examples.len();
        let n_outputs = self.windows.len() * self.n_filters;
        let mut before = pass.before.map(|before| before.chunks_exact_mut(n_inputs));
        if before.is_some() && !self.is_rotated {
            self.rotate();
        }
        let examples = pass.inputs.chunks_exact(n_inputs).zip(pass.deltas.chunks_exact(n_outputs));
        for (inputs, deltas) in examples {
            self.image.load(inputs);
            copy_rows(deltas, &mut self.deltas);
            self.weights.add_gradient(level, self.image.transposed_patches(), &self.deltas);
            let before = before.as_mut().and_then(Iterator::next);
            if let (Some(before), Some(Back { image, rotated })) = (before, &mut self.back) {
                image.load(deltas);
                multiply(level, image.patches(), rotated, before);
            }
        }
    }

    fn write_gradient(&self, gradient: &mut Gradient<'_>, first: usize) {
        self.weights.write_gradient(gradient, first);
    }
}
