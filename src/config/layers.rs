//! The values of the keys that describe a network: the model, the layers and the loss.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use crate::config_error::ConfigError;
use crate::keys::TrainKeys;
use crate::values::{Hidden, Named, Names};
use unisono_core::network::{Layer, LayerError, Loss, Network};
use unisono_core::train_config::TrainConfig;

/// The name of a built-in model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ModelName {
    /// Multilayer perceptron with the layers of --hidden
    Mlp,
    /// Softmax regression: no hidden layer
    Softmax,
    /// LeNet-5 of the original script's book: two convolutions with pooling, a hidden layer of 512
    /// units, and dropout
    Lenet5,
}

/// The layers of a network. A file has an array with one text per layer. On the command line,
/// semicolons separate the layers.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerList(Vec<Layer>);

impl LayerList {
    /// Returns the layers.
    #[must_use]
    pub fn into_layers(self) -> Vec<Layer> {
        self.0
    }
}

impl FromStr for LayerList {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        Network::parse_layers(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for LayerList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = LayerList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an array of layers, such as [\"dense units=300\", \"relu\", \"dense\"]",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<LayerList, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = texts.next_element::<String>()? {
                    if text.contains(';') {
                        let what =
                            format!("{text:?} has a semicolon: write one text for each layer");
                        return Err(A::Error::custom(what));
                    }
                    all.push(text);
                }
                all.join(";").parse().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_seq(Texts)
    }
}

impl Names for Loss {
    const ALL: &'static [Named<Self>] = &[
        Named(Self::SoftmaxCrossEntropy),
        Named(Self::SigmoidCrossEntropy),
        Named(Self::MeanSquaredError),
    ];

    fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::SoftmaxCrossEntropy => {
                ("softmax-cross-entropy", "Cross-entropy of the softmax of the outputs")
            }
            Self::SigmoidCrossEntropy => (
                "sigmoid-cross-entropy",
                "Mean over the outputs of the cross-entropy of each output's sigmoid",
            ),
            Self::MeanSquaredError => (
                "mean-squared-error",
                "Mean over the outputs of (output - target)²; the target is 1 for the label, and 0 for all \
                 others",
            ),
        }
    }
}

impl TrainKeys {
    /// Drops the description of the model if `flags` describe a model. `self` is from a file.
    pub(super) fn drop_model_if_in(&mut self, flags: &Self) {
        if flags.model.is_some() || flags.layers.is_some() || flags.hidden.is_some() {
            (self.model, self.layers, self.hidden) = (None, None, None);
        }
        let is_perceptron = matches!(flags.model, Some(ModelName::Mlp | ModelName::Softmax));
        if flags.hidden.is_some() || is_perceptron {
            self.input = None;
        }
    }

    /// Returns the sizes of the hidden layers, and the network if the model is no multilayer
    /// perceptron.
    pub(super) fn network(&mut self) -> Result<(Vec<usize>, Option<Network>), ConfigError> {
        let (input, layers) = (self.input.take(), self.layers.take());
        let (model, hidden) = (self.model.unwrap_or(ModelName::Mlp), self.hidden.take());
        let exclude = |one: &str, other: &str| {
            ConfigError::Contradiction(format!(
                "{one} and {other} exclude each other: leave one of them out"
            ))
        };
        if let Some(layers) = layers {
            if self.model.is_some() {
                return Err(exclude("--model", "--layers"));
            }
            if hidden.is_some() {
                return Err(exclude("--hidden", "--layers"));
            }
            return Ok((Vec::new(), Some(Network { input, layers: layers.into_layers() })));
        }
        match model {
            ModelName::Softmax if hidden.is_some() => {
                return Err(exclude("--hidden", "--model softmax"));
            }
            ModelName::Lenet5 if hidden.is_some() => {
                return Err(exclude("--hidden", "--model lenet5"));
            }
            ModelName::Lenet5 => {
                return Ok((Vec::new(), Some(Network { input, ..Network::lenet5() })));
            }
            ModelName::Softmax | ModelName::Mlp => {}
        }
        if let Some(input) = input {
            return Err(ConfigError::Contradiction(format!(
                "--input {input} has no effect, because a multilayer perceptron has no images: \
                 leave it out, or give --model lenet5 or --layers"
            )));
        }
        let default =
            if model == ModelName::Softmax { Vec::new() } else { TrainConfig::default().hidden };
        Ok((hidden.map_or(default, Hidden::into_sizes), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(keys: TrainKeys) -> Result<(Vec<usize>, Option<String>), String> {
        let mut keys = keys;
        let (hidden, network) = keys.network().map_err(|error| error.to_string())?;
        Ok((hidden, network.map(|network| network.layers_text())))
    }

    #[test]
    fn model_is_a_perceptron_unless_layers_or_another_model_is_given() {
        let keys = TrainKeys::default;
        assert_eq!(resolved(keys()), Ok((vec![500], None)));
        let softmax = TrainKeys { model: Some(ModelName::Softmax), ..keys() };
        assert_eq!(resolved(softmax), Ok((vec![], None)));
        let lenet = TrainKeys { model: Some(ModelName::Lenet5), ..keys() };
        assert_eq!(resolved(lenet), Ok((vec![], Some(Network::lenet5().layers_text()))));
        let layers = TrainKeys { layers: Some("flatten; dense".parse().unwrap()), ..keys() };
        let text = "flatten; dense regularized=true".to_owned();
        assert_eq!(resolved(layers), Ok((vec![], Some(text))));
    }

    #[test]
    fn descriptions_that_exclude_each_other_are_refused() {
        let hidden: Option<Hidden> = Some("30".parse().unwrap());
        let layers: Option<LayerList> = Some("dense".parse().unwrap());
        let (lenet, softmax) = (Some(ModelName::Lenet5), Some(ModelName::Softmax));
        let keys = TrainKeys::default;
        let errors = [
            TrainKeys { hidden: hidden.clone(), layers: layers.clone(), ..keys() },
            TrainKeys { model: lenet, layers, ..keys() },
            TrainKeys { model: lenet, hidden: hidden.clone(), ..keys() },
            TrainKeys { model: softmax, hidden, ..keys() },
            TrainKeys { input: Some("28x28".parse().unwrap()), ..keys() },
        ]
        .map(|keys| resolved(keys).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"), @"
        --hidden and --layers exclude each other: leave one of them out
        --model and --layers exclude each other: leave one of them out
        --hidden and --model lenet5 exclude each other: leave one of them out
        --hidden and --model softmax exclude each other: leave one of them out
        --input 28x28 has no effect, because a multilayer perceptron has no images: leave it out, or give --model lenet5 or --layers
        ");
    }

    #[test]
    fn flag_for_the_model_replaces_the_model_of_the_file() {
        let file = || TrainKeys {
            layers: Some("dense".parse().unwrap()),
            input: Some("28x28".parse().unwrap()),
            ..TrainKeys::default()
        };
        let replaced = |flags: &TrainKeys| {
            let mut file = file();
            file.drop_model_if_in(flags);
            (file.layers.is_some(), file.input.is_some())
        };
        assert_eq!(replaced(&TrainKeys::default()), (true, true));
        let lenet = TrainKeys { model: Some(ModelName::Lenet5), ..TrainKeys::default() };
        assert_eq!(replaced(&lenet), (false, true));
        let hidden = TrainKeys { hidden: Some("3".parse().unwrap()), ..TrainKeys::default() };
        assert_eq!(replaced(&hidden), (false, false));
        let softmax = TrainKeys { model: Some(ModelName::Softmax), ..TrainKeys::default() };
        assert_eq!(replaced(&softmax), (false, false));
    }
}
