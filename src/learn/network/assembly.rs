//! Turns the layers of a configuration into layers that compute, and checks that each fits the
//! shape of its inputs.

use super::activation::Elementwise;
use super::conv2d::Conv2d;
use super::dense::Dense;
use super::dropout::Dropout;
use super::layer_norm::LayerNorm;
use super::operation::{Backward, Forward, Operation, Start};
use super::pool::Pool;
use super::shape::{Shape, Windows};
use crate::model::{Parameters, SimdLevel};
use unisono_core::network::{self, Layer, Padding, Pair, Sizes};

/// The largest number of values of a layer per example, and of a variable.
const MAX_VALUES: usize = 1 << 30;

/// The reason why the layers of a configuration do not fit each other or the data. The text has the
/// layer, both sizes and a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(String);

impl ShapeError {
    pub(crate) const fn new(what: String) -> Self {
        Self(what)
    }
}

/// A layer that computes.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) operation: Box<dyn Operation>,
    pub(crate) output: Shape,
}

/// Returns the shape of an example. `data` is the shape of the data.
///
/// # Errors
/// Returns an error if the configured shape has another number of values than the data.
pub(crate) fn input_shape(input: Option<&Sizes>, data: &[usize]) -> Result<Shape, ShapeError> {
    let n_features: usize = data.iter().product();
    let Some(input) = input else { return Ok(shape_of(data)) };
    let n_values = input.get().iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    if n_values != Some(n_features) {
        return Err(ShapeError(format!(
            "the input {input} does not have the {n_features} features of the data: correct it, or \
             leave it out"
        )));
    }
    Ok(shape_of(input.get()))
}

fn shape_of(sizes: &[usize]) -> Shape {
    match *sizes {
        [height, width] => Shape::Image { height, width, channels: 1 },
        [height, width, channels] => Shape::Image { height, width, channels },
        _ => Shape::Features(sizes.iter().product()),
    }
}

/// Returns the layers, for examples of the shape `input`. The last layer must have `n_outputs`
/// outputs.
///
/// # Errors
/// Returns an error if a layer does not fit its inputs.
pub(crate) fn assemble(
    network: &network::Network,
    input: Shape,
    n_outputs: usize,
) -> Result<Vec<Assembled>, ShapeError> {
    let mut shape = input;
    let mut layers = Vec::new();
    for (number, layer) in network.layers.iter().enumerate() {
        let place = || format!("layer {} ({layer})", number + 1);
        let wrong = |what: String| ShapeError(format!("{}: {what}", place()));
        let assembled = assembled(layer, number, shape, n_outputs).map_err(wrong)?;
        shape = assembled.output;
        layers.push(assembled);
    }
    if shape != Shape::Features(n_outputs) {
        return Err(ShapeError(format!(
            "the last layer gives {shape}, but the data need {n_outputs} outputs: end with the \
             layer dense, without units"
        )));
    }
    Ok(layers)
}

fn assembled(
    layer: &Layer,
    number: usize,
    input: Shape,
    n_outputs: usize,
) -> Result<Assembled, String> {
    let of = |operation: Box<dyn Operation>, output| Ok(Assembled { operation, output });
    match *layer {
        Layer::Dense { units, regularized } => {
            let Shape::Features(n_inputs) = input else {
                return Err(format!("its inputs are {input}: put the layer flatten before it"));
            };
            let units = units.unwrap_or(n_outputs);
            check_size(&[n_inputs, units])?;
            of(Box::new(Dense::new(n_inputs, units, regularized)), Shape::Features(units))
        }
        Layer::Conv2d { filters, kernel, stride, padding, regularized } => {
            let (windows, channels) = windows(input, kernel, stride, padding)?;
            let Windows { vertical, horizontal } = windows;
            check_size(&[kernel.height, kernel.width, channels, filters])?;
            check_size(&[vertical.padded(), horizontal.padded(), channels])?;
            let back = [vertical.n_in + kernel.height, horizontal.n_in + kernel.width, filters];
            check_size(&back)?;
            let conv = Conv2d::new(channels, filters, windows, regularized);
            of(Box::new(conv), output(windows, filters)?)
        }
        Layer::Pool { kind, size, stride, padding } => {
            let (windows, channels) = windows(input, size, stride, padding)?;
            check_size(&[windows.len(), size.height, size.width])?;
            let pool = Pool::new(kind, channels, windows);
            of(Box::new(pool), output(windows, channels)?)
        }
        Layer::Activation(activation) => of(Box::new(Elementwise(activation)), input),
        Layer::Dropout { rate } => {
            of(Box::new(Dropout::new(number as u64, input.len(), rate)), input)
        }
        Layer::LayerNorm { epsilon } => {
            of(Box::new(LayerNorm::new(input.n_positions(), input.n_channels(), epsilon)), input)
        }
        Layer::Flatten => of(Box::new(Flatten), Shape::Features(input.len())),
    }
}

/// Returns the windows of a layer on images, and the number of channels.
fn windows(
    input: Shape,
    size: Pair,
    stride: Pair,
    padding: Padding,
) -> Result<(Windows, usize), String> {
    let Shape::Image { height, width, channels } = input else {
        return Err(format!(
            "its inputs are {input}, not images: give the shape of the images as input, such as \
             28x28x1"
        ));
    };
    let windows = Windows::new((height, width), size, stride, padding).ok_or_else(|| {
        format!("a window of {size} does not fit into {input}: use a smaller one, or padding=same")
    })?;
    Ok((windows, channels))
}

fn output(windows: Windows, channels: usize) -> Result<Shape, String> {
    let (height, width) = (windows.vertical.n_out, windows.horizontal.n_out);
    check_size(&[height, width, channels])?;
    Ok(Shape::Image { height, width, channels })
}

fn check_size(sizes: &[usize]) -> Result<(), String> {
    let n_values = sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    if n_values.is_some_and(|n_values| n_values <= MAX_VALUES) {
        return Ok(());
    }
    let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
    Err(format!("{} values are more than 2^30: use smaller sizes", sizes.join("x")))
}

/// Turns images into features, whose order is that of the image.
#[derive(Debug)]
struct Flatten;

impl Operation for Flatten {
    fn begin(&mut self, _: &Start, _: Parameters<'_>, _: usize) {}

    fn forward(&mut self, _: SimdLevel, pass: Forward<'_>) {
        pass.outputs.copy_from_slice(pass.inputs);
    }

    fn backward(&mut self, _: SimdLevel, pass: Backward<'_>) {
        if let Some(before) = pass.before {
            before.copy_from_slice(pass.deltas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(layers: &str, data: &[usize]) -> Result<Vec<String>, String> {
        let layers = network::Network::parse_layers(layers).unwrap();
        let input = shape_of(data);
        let network = network::Network { input: None, layers };
        let layers = assemble(&network, input, 10).map_err(|error| error.to_string())?;
        Ok(layers.iter().map(|layer| layer.output.to_string()).collect())
    }

    #[test]
    fn lenet_has_the_shapes_of_the_book() {
        let lenet = network::Network::lenet5().layers_text();
        assert_eq!(
            shapes(&lenet, &[28, 28]).unwrap(),
            [
                "images of 28x28x32",
                "images of 28x28x32",
                "images of 14x14x32",
                "images of 14x14x64",
                "images of 14x14x64",
                "images of 7x7x64",
                "3136 features",
                "512 features",
                "512 features",
                "512 features",
                "10 features",
            ]
        );
    }

    #[test]
    fn layers_that_do_not_fit_are_refused_with_a_remedy() {
        let conv = "conv2d filters=4 kernel=5";
        let errors = [
            (conv, &[784][..]),
            (conv, &[4, 28]),
            ("max_pool size=9", &[8, 8, 3]),
            ("dense", &[8, 8]),
            ("flatten; dense units=12", &[8, 8]),
            ("relu", &[8, 8]),
            ("dense units=60000; dense units=60000; dense", &[3]),
        ]
        .map(|(layers, data)| shapes(layers, data).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"), @r"
        layer 1 (conv2d filters=4 kernel=5x5 stride=1x1 padding=valid regularized=true): its inputs are 784 features, not images: give the shape of the images as input, such as 28x28x1
        layer 1 (conv2d filters=4 kernel=5x5 stride=1x1 padding=valid regularized=true): a window of 5x5 does not fit into images of 4x28x1: use a smaller one, or padding=same
        layer 1 (max_pool size=9x9 stride=9x9 padding=valid): a window of 9x9 does not fit into images of 8x8x3: use a smaller one, or padding=same
        layer 1 (dense regularized=true): its inputs are images of 8x8x1: put the layer flatten before it
        the last layer gives 12 features, but the data need 10 outputs: end with the layer dense, without units
        the last layer gives images of 8x8x1, but the data need 10 outputs: end with the layer dense, without units
        layer 2 (dense units=60000 regularized=true): 60000x60000 values are more than 2^30: use smaller sizes
        ");
        let input = |text: &str| input_shape(Some(&text.parse().unwrap()), &[784]);
        assert_eq!(input("28x28x1").map(Shape::len), Ok(784));
        insta::assert_snapshot!(
            input("28x28x3").unwrap_err(),
            @"the input 28x28x3 does not have the 784 features of the data: correct it, or leave it out"
        );
    }
}
