//! The texts of layers and of their values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Activation, Layer, LayerError, MAX_LAYERS, Network, Padding, Pair, PoolKind, Sizes};

impl Network {
    /// Returns the texts of all layers, separated by semicolons.
    #[must_use]
    pub fn layers_text(&self) -> String {
        self.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Reads the texts of layers, separated by semicolons.
    ///
    /// # Errors
    /// Returns an error if there is no layer, there are more than [`MAX_LAYERS`], or a text is not a
    /// layer.
    pub fn parse_layers(text: &str) -> Result<Vec<Layer>, LayerError> {
        if text.trim().is_empty() {
            return Err(LayerError("there is no layer: give at least one".to_owned()));
        }
        let texts: Vec<_> = text.split(';').collect();
        if texts.len() > MAX_LAYERS {
            let n_layers = texts.len();
            let what = format!("there are {n_layers} layers, but at most {MAX_LAYERS} are allowed");
            return Err(LayerError(what));
        }
        let layer = |(number, text): (usize, &&str)| {
            let wrong = |error| LayerError(format!("layer {}: {error}", number + 1));
            text.parse().map_err(wrong)
        };
        texts.iter().enumerate().map(layer).collect()
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense { units, regularized } => {
                f.write_str("dense")?;
                if let Some(units) = units {
                    write!(f, " units={units}")?;
                }
                write!(f, " regularized={regularized}")
            }
            Self::Conv2d { filters, kernel, stride, padding, regularized } => write!(
                f,
                "conv2d filters={filters} kernel={kernel} stride={stride} padding={padding} \
                 regularized={regularized}"
            ),
            Self::Pool { kind, size, stride, padding } => {
                let name = match kind {
                    PoolKind::Max => "max_pool",
                    PoolKind::Average => "average_pool",
                };
                write!(f, "{name} size={size} stride={stride} padding={padding}")
            }
            Self::Activation(activation) => f.write_str(match activation {
                Activation::Relu => "relu",
                Activation::Tanh => "tanh",
                Activation::Sigmoid => "sigmoid",
                Activation::Gelu => "gelu",
            }),
            Self::Dropout { rate } => write!(f, "dropout rate={rate}"),
            Self::LayerNorm { epsilon } => write!(f, "layer_norm epsilon={epsilon}"),
            Self::Flatten => f.write_str("flatten"),
        }
    }
}

impl FromStr for Layer {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        let mut keys = Keys::parse(text)?;
        const ONE: Pair = Pair { height: 1, width: 1 };
        let pool = |keys: &mut Keys<'_>, kind| {
            let size = keys.required("size")?;
            let stride = keys.get("stride")?.unwrap_or(size);
            let padding = keys.get("padding")?.unwrap_or(Padding::Valid);
            Ok(Self::Pool { kind, size, stride, padding })
        };
        let layer = match keys.kind {
            "dense" => Self::Dense {
                units: keys.get("units")?.map(|Size(units)| units),
                regularized: keys.get("regularized")?.is_none_or(|Switch(is_on)| is_on),
            },
            "conv2d" => Self::Conv2d {
                filters: keys.required::<Size>("filters")?.0,
                kernel: keys.required("kernel")?,
                stride: keys.get("stride")?.unwrap_or(ONE),
                padding: keys.get("padding")?.unwrap_or(Padding::Valid),
                regularized: keys.get("regularized")?.is_none_or(|Switch(is_on)| is_on),
            },
            "max_pool" => pool(&mut keys, PoolKind::Max)?,
            "average_pool" => pool(&mut keys, PoolKind::Average)?,
            "relu" => Self::Activation(Activation::Relu),
            "tanh" => Self::Activation(Activation::Tanh),
            "sigmoid" => Self::Activation(Activation::Sigmoid),
            "gelu" => Self::Activation(Activation::Gelu),
            "dropout" => Self::Dropout { rate: keys.required::<Rate>("rate")?.0 },
            "layer_norm" => {
                // PyTorch's default.
                let epsilon = keys.get("epsilon")?.map_or(1e-5, |Epsilon(epsilon)| epsilon);
                Self::LayerNorm { epsilon }
            }
            "flatten" => Self::Flatten,
            other => {
                return Err(LayerError(format!(
                    "there is no layer {other:?}; there are dense, conv2d, max_pool, average_pool, \
                     relu, tanh, sigmoid, gelu, dropout, layer_norm and flatten"
                )));
            }
        };
        keys.finish(layer)
    }
}

impl TryFrom<String> for Layer {
    type Error = LayerError;

    fn try_from(text: String) -> Result<Self, LayerError> {
        text.parse()
    }
}

impl From<Layer> for String {
    fn from(layer: Layer) -> Self {
        layer.to_string()
    }
}

/// The keys of a layer's text.
struct Keys<'a> {
    kind: &'a str,
    /// The texts of keys that were not read yet.
    unread: BTreeMap<&'a str, &'a str>,
    /// The keys that the layer has.
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    fn parse(text: &'a str) -> Result<Self, LayerError> {
        let mut words = text.split_whitespace();
        let kind = words.next().ok_or_else(|| {
            LayerError("the layer has no name: remove a semicolon, or name it".to_owned())
        })?;
        let mut unread = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                LayerError(format!("{word:?} must have the form key=value, such as units=512"))
            })?;
            if unread.insert(key, value).is_some() {
                return Err(LayerError(format!("{key} appears twice")));
            }
        }
        Ok(Self { kind, unread, known: Vec::new() })
    }

    fn get<T: FromStr<Err = &'static str>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, LayerError> {
        self.known.push(key);
        let read = |text: &str| {
            text.parse()
                .map_err(|what| LayerError(format!("{key} is {text:?}, but must be {what}")))
        };
        self.unread.remove(key).map(read).transpose()
    }

    fn required<T: FromStr<Err = &'static str>>(
        &mut self,
        key: &'static str,
    ) -> Result<T, LayerError> {
        let kind = self.kind;
        self.get(key)?.ok_or_else(|| LayerError(format!("{kind} needs {key}")))
    }

    fn finish(self, layer: Layer) -> Result<Layer, LayerError> {
        let Some(key) = self.unread.keys().next() else { return Ok(layer) };
        let known = match &self.known[..] {
            [] => "it has no keys".to_owned(),
            known => format!("it has {}", known.join(", ")),
        };
        Err(LayerError(format!("{} has no key {key}; {known}", self.kind)))
    }
}

struct Size(usize);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = text.parse().ok().filter(|size| (1..=super::MAX_SIZE).contains(size));
        size.map(Self).ok_or("a whole number from 1 to 65536")
    }
}

struct Switch(bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "true or false")
    }
}

/// The smallest number in the text of a layer. It bounds the number of digits.
const SMALLEST: f64 = 1e-12;

struct Rate(f64);

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_rate = |rate: &f64| *rate == 0.0 || (SMALLEST..1.0).contains(rate);
        let rate = text.parse().ok().filter(is_rate);
        // Adding 0 turns -0 into 0, so that both have one text.
        rate.map(|rate| Self(rate + 0.0)).ok_or("0, or at least 1e-12 and below 1")
    }
}

struct Epsilon(f64);

impl FromStr for Epsilon {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let epsilon = text.parse().ok().filter(|epsilon| (SMALLEST..1.0).contains(epsilon));
        epsilon.map(Self).ok_or("at least 1e-12 and below 1")
    }
}

impl FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a size, such as 5, or a height and a width, such as 5x3, from 1 to 65536";
        let size = |text: &str| text.parse().map(|Size(size)| size).map_err(|_| wrong);
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        Ok(Self { height: size(height)?, width: size(width)? })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Padding {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "same" => Ok(Self::Same),
            "valid" => Ok(Self::Valid),
            _ => Err("same or valid"),
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Valid => "valid",
        })
    }
}

impl Sizes {
    /// Returns the sizes.
    #[must_use]
    pub fn get(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Sizes {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        let sizes: Option<Vec<_>> =
            text.split('x').map(|size| size.parse().ok().map(|Size(size)| size)).collect();
        sizes.filter(|sizes| sizes.len() <= 3).map(Self).ok_or_else(|| {
            LayerError(format!(
                "{text:?} must be height x width x channels, such as 28x28x1, or the number of \
                 features"
            ))
        })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"))
    }
}

impl TryFrom<String> for Sizes {
    type Error = LayerError;

    fn try_from(text: String) -> Result<Self, LayerError> {
        text.parse()
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Result<String, String> {
        let layer = text.parse::<Layer>().map_err(|error| error.to_string())?;
        assert_eq!(layer.to_string().parse(), Ok(layer.clone()));
        Ok(layer.to_string())
    }

    #[test]
    fn text_of_a_layer_has_all_its_keys() {
        let texts = [
            "dense",
            "dense units=512 regularized=false",
            "conv2d filters=32 kernel=5",
            "conv2d kernel=5x3 filters=32 stride=2 padding=same",
            "max_pool size=2",
            "average_pool size=3x2 stride=1 padding=same",
            "gelu",
            "dropout rate=0.50",
            "layer_norm",
            "flatten",
        ]
        .map(|text| layer(text).unwrap());
        insta::assert_snapshot!(texts.join("\n"), @r"
        dense regularized=true
        dense units=512 regularized=false
        conv2d filters=32 kernel=5x5 stride=1x1 padding=valid regularized=true
        conv2d filters=32 kernel=5x3 stride=2x2 padding=same regularized=true
        max_pool size=2x2 stride=2x2 padding=valid
        average_pool size=3x2 stride=1x1 padding=same
        gelu
        dropout rate=0.5
        layer_norm epsilon=0.00001
        flatten
        ");
    }

    #[test]
    fn error_of_a_layer_names_the_key_and_the_possible_values() {
        let errors = [
            "",
            "conv",
            "dense 512",
            "dense units=0",
            "dense units=512 units=3",
            "dense filters=3",
            "relu slope=1",
            "conv2d filters=3",
            "conv2d filters=3 kernel=5x",
            "max_pool size=2 padding=full",
            "dropout rate=1",
            "layer_norm epsilon=0",
        ]
        .map(|text| layer(text).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"), @r#"
        the layer has no name: remove a semicolon, or name it
        there is no layer "conv"; there are dense, conv2d, max_pool, average_pool, relu, tanh, sigmoid, gelu, dropout, layer_norm and flatten
        "512" must have the form key=value, such as units=512
        units is "0", but must be a whole number from 1 to 65536
        units appears twice
        dense has no key filters; it has units, regularized
        relu has no key slope; it has no keys
        conv2d needs kernel
        kernel is "5x", but must be a size, such as 5, or a height and a width, such as 5x3, from 1 to 65536
        padding is "full", but must be same or valid
        rate is "1", but must be 0, or at least 1e-12 and below 1
        epsilon is "0", but must be at least 1e-12 and below 1
        "#);
    }

    #[test]
    fn layers_of_a_network_are_read_back_from_one_text() {
        let lenet = Network::lenet5();
        assert_eq!(Network::parse_layers(&lenet.layers_text()), Ok(lenet.layers));
        let error = Network::parse_layers("relu; conv").unwrap_err().to_string();
        assert!(error.starts_with("layer 2: there is no layer \"conv\""), "{error}");
        assert!(Network::parse_layers(&"relu;".repeat(MAX_LAYERS)).is_err());
    }
}
