//! The layers of a network, and its loss, as a configuration describes them.
//!
//! Each layer has one text, such as `conv2d filters=32 kernel=5x5 stride=1x1 padding=same
//! regularized=true`. Configuration files, settings and error messages have this text.

mod text;

use serde::{Deserialize, Serialize};

/// The largest number of layers of a network.
pub const MAX_LAYERS: usize = 256;
/// The largest size of a layer, a kernel, a window, a stride or an input.
pub const MAX_SIZE: usize = 1 << 16;

/// A network whose layers the configuration lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The shape of an example: height, width and channels, or the number of features. `None` for
    /// the shape of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Sizes>,
    /// The layers, from the examples to the outputs; at least one.
    pub layers: Vec<Layer>,
}

/// A layer of a network. Images have the order height, width, channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Layer {
    /// Weights from every input to every output, and biases.
    Dense {
        /// The number of outputs; `None` for the number of outputs that the data require.
        units: Option<usize>,
        /// Whether the L2 term covers the weights.
        regularized: bool,
    },
    /// A two-dimensional convolution, and biases.
    Conv2d {
        /// The number of output channels.
        filters: usize,
        /// The height and width of the kernel.
        kernel: Pair,
        /// The distances between neighbouring positions of the kernel.
        stride: Pair,
        /// The positions of the kernel at the borders.
        padding: Padding,
        /// Whether the L2 term covers the weights.
        regularized: bool,
    },
    /// The largest value, or the mean, of each window of each channel.
    Pool {
        /// The value that a window is reduced to.
        kind: PoolKind,
        /// The height and width of the window.
        size: Pair,
        /// The distances between neighbouring windows.
        stride: Pair,
        /// The positions of the windows at the borders.
        padding: Padding,
    },
    /// A function of each element.
    Activation(Activation),
    /// Replaces random elements by 0 during training, and scales the others up.
    Dropout {
        /// The share of elements that become 0, at least 0 and below 1.
        rate: f64,
    },
    /// Normalises the channels of each position, or the features of each example.
    LayerNorm {
        /// The constant that is added to the variance, above 0.
        epsilon: f64,
    },
    /// Turns images into features.
    Flatten,
}

/// The functions of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(z, 0)
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-z)
    Sigmoid,
    /// z·Φ(z), with the distribution function Φ of the standard normal distribution (Hendrycks and
    /// Gimpel, 2016).
    Gelu,
}

/// The value that a pooling layer computes for each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest element of a window.
    Max,
    /// The mean of the elements of a window.
    Average,
}

/// The positions of a kernel or window at the borders of an image, as TensorFlow defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Every stride-th position, also if a part of the window is outside the image.
    Same,
    /// Only positions at which the whole window is inside the image.
    Valid,
}

/// The loss of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The cross-entropy of the softmax of the outputs.
    #[default]
    SoftmaxCrossEntropy,
    /// The mean over the outputs of the cross-entropy of the sigmoid of each output.
    SigmoidCrossEntropy,
    /// The mean over the outputs of the squared difference from the target.
    MeanSquaredError,
}

/// A height and a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The height, at least 1.
    pub height: usize,
    /// The width, at least 1.
    pub width: usize,
}

/// One to three sizes, such as 28x28x1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sizes(Vec<usize>);

/// The error for the text of a layer. The text has the value and a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LayerError(String);

impl Network {
    /// Returns a multilayer perceptron with hidden layers of these sizes.
    #[must_use]
    pub fn perceptron(hidden: &[usize]) -> Self {
        let dense = |units| Layer::Dense { units, regularized: true };
        let relu = Layer::Activation(Activation::Relu);
        let hidden = hidden.iter().flat_map(|&size| [dense(Some(size)), relu.clone()]);
        let layers = [Layer::Flatten].into_iter().chain(hidden).chain([dense(None)]);
        Self { input: None, layers: layers.collect() }
    }

    /// Returns LeNet-5 as the book of the original script has it: two convolutions with pooling, a
    /// hidden layer of 512 units with dropout, and the L2 term over the dense weights alone.
    #[must_use]
    pub fn lenet5() -> Self {
        const LAYERS: [&str; 11] = [
            "conv2d filters=32 kernel=5 padding=same regularized=false",
            "relu",
            "max_pool size=2 padding=same",
            "conv2d filters=64 kernel=5 padding=same regularized=false",
            "relu",
            "max_pool size=2 padding=same",
            "flatten",
            "dense units=512",
            "relu",
            "dropout rate=0.5",
            "dense",
        ];
        let layer = |text: &str| text.parse().expect("a layer");
        Self { input: None, layers: LAYERS.into_iter().map(layer).collect() }
    }
}
