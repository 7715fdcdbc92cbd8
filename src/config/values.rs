//! Types for the values of flags and configuration-file keys. Each type contains only values in its
//! range, so other code does not check ranges.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use unisono_core::train_config::{ClusterSize, Optimizer, Order, Placement, Portion};

/// The error for a value out of range. The text states which values are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct OutOfRange(&'static str);

/// Implements `FromStr` for a flag's text, and `Deserialize` for a TOML number. Both check the
/// range with the type's `TryFrom<f64>`.
macro_rules! read_as_number {
    ($name:ident, $what:expr) => {
        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                let number: f64 = text.trim().parse().map_err(|_| OutOfRange($what))?;
                number.try_into()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = deserializer.deserialize_f64(Number($what))?;
                value.try_into().map_err(|error| D::Error::custom(format!("{value} {error}")))
            }
        }
    };
}

/// Declares types for decimal numbers, which are read from a flag's text, or from a TOML integer or
/// float.
macro_rules! decimals {
    ($( $(#[$doc:meta])* $name:ident = $what:literal, if $holds:expr; )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(f64);

        impl $name {
            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;

            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                // Training uses f32, so the number must also be in range after it is rounded to
                // f32.
                let holds: fn(f64) -> bool = $holds;
                if holds(value) && holds(f64::from(value as f32)) && (value as f32).is_finite() {
                    Ok(Self(value + 0.0)) // -0 becomes 0, so that both have one text
                } else {
                    Err(OutOfRange($what))
                }
            }
        }

        read_as_number!($name, $what);
    )* };
}

/// Declares types for whole numbers, which are read from a flag's text or from a TOML integer.
macro_rules! wholes {
    ($( $(#[$doc:meta])* $name:ident: $type:ty = $what:literal, in $range:expr; )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name($type);

        impl $name {
            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> $type {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = OutOfRange;

            fn try_from(value: u64) -> Result<Self, OutOfRange> {
                let value = <$type>::try_from(value).map_err(|_| OutOfRange($what))?;
                if ($range).contains(&value) { Ok(Self(value)) } else { Err(OutOfRange($what)) }
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                text.trim().parse().map_err(|_| OutOfRange($what)).and_then(|value: u64| value.try_into())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = deserializer.deserialize_any(Whole($what))?;
                u64::try_from(value)
                    .map_err(|_| OutOfRange($what))
                    .and_then(Self::try_from)
                    .map_err(|error| D::Error::custom(format!("{value} {error}")))
            }
        }
    )* };
}

decimals! {
    /// A number above 0.
    Positive = "a number above 0", if |value| value > 0.0;
    /// A number of 0 or above.
    NotNegative = "a number of 0 or above", if |value| value >= 0.0;
    /// A number in (0, 1].
    DecayRate = "a number above 0 and at most 1", if |value| value > 0.0 && value <= 1.0;
    /// A number in [0, 1).
    Fraction = "a number of 0 or above and below 1", if |value| (0.0..1.0).contains(&value);
    /// A number in (0, 1).
    OpenFraction = "a number above 0 and below 1", if |value| value > 0.0 && value < 1.0;
}

wholes! {
    /// The number of examples in a batch; at least 1.
    BatchSize: usize = "a whole number of at least 1", in 1..=usize::MAX;
    /// The number of updates of a run; at least 1.
    Steps: u64 = "a whole number of at least 1", in 1..=u64::MAX;
    /// The number of gradients in an update. Each gradient comes from a separate batch, and
    /// occupies memory on every ps.
    Replicas: u32 = "a whole number from 1 to 4096", in 1..=4096;
    /// The number of tasks of one job (ps or worker) on one machine. Each task is a separate
    /// process.
    Tasks: u32 = "a whole number from 1 to 64", in 1..=64;
    /// The number of tasks of one job (ps or worker) of a cluster.
    ClusterTasks: u32 = "a whole number from 1 to 65536", in 1..=ClusterSize::LARGEST;
    /// The number of restarts of a task.
    Restarts: u32 = "a whole number from 1 to 1000000", in 1..=1_000_000;
    /// A seed of any 64 bits.
    Seed: u64 = "a whole number from 0 to 18446744073709551615", in 0..=u64::MAX;
}

/// A part of the examples: a number of examples, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(Portion);

impl Part {
    const WHAT: &'static str = "a whole number of examples, or a share above 0 and below 1";

    /// Returns the part.
    #[must_use]
    pub const fn get(self) -> Portion {
        self.0
    }

    fn share(share: f64) -> Result<Self, OutOfRange> {
        let is_share = share > 0.0 && share < 1.0;
        is_share.then_some(Self(Portion::Share(share))).ok_or(OutOfRange(Self::WHAT))
    }
}

impl FromStr for Part {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        match digits(text.trim()) {
            Some(count) => Ok(Self(Portion::Count(count))),
            None => text.trim().parse().map_err(|_| OutOfRange(Self::WHAT)).and_then(Self::share),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Portions;
        impl Visitor<'_> for Portions {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Part::WHAT)
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Part, E> {
                Part::share(share).map_err(|why| E::custom(format!("{share} {why}")))
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Part, E> {
                let count_of = usize::try_from(count).map_err(|_| OutOfRange(Part::WHAT));
                let part = count_of.map(|count| Part(Portion::Count(count)));
                part.map_err(|why| E::custom(format!("{count} {why}")))
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Part, E> {
                self.visit_i64(i64::try_from(count).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Portions)
    }
}

/// Reads a number that consists only of digits. `FromStr` would also accept a plus sign.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all_digits)
}

/// Sizes of the hidden layers. An empty list means softmax regression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden(Vec<usize>);

impl Hidden {
    const WHAT: &'static str = "sizes from 1 to 65536, at most 16 of them, such as 500 or 300,100";
    const WHAT_IN_A_FILE: &'static str =
        "an array of sizes from 1 to 65536, at most 16 of them, such as [500] or [300, 100]";
    /// Maximum number of units of a hidden layer. The limit bounds the memory that a typing error
    /// can demand.
    const LARGEST: usize = 65_536;
    /// Maximum number of hidden layers. The limit bounds the memory that a typing error can demand.
    const MOST: usize = 16;

    /// Returns the sizes of the hidden layers, starting with the layer next to the input.
    #[must_use]
    pub fn into_sizes(self) -> Vec<usize> {
        self.0
    }

    fn new(sizes: Vec<usize>) -> Option<Self> {
        let fits = sizes.len() <= Self::MOST
            && sizes.iter().all(|size| (1..=Self::LARGEST).contains(size));
        fits.then_some(Self(sizes))
    }
}

impl FromStr for Hidden {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let sizes = text.split(',').map(|size| size.trim().parse().ok()).collect::<Option<_>>();
        sizes.and_then(Self::new).ok_or(OutOfRange(Self::WHAT))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Hidden;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Hidden::WHAT_IN_A_FILE)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Hidden, A::Error> {
                let mut all = Vec::new();
                while let Some(size) = sizes.next_element::<WholeNumber>()? {
                    all.push(usize::try_from(size.0).unwrap_or(0));
                }
                Hidden::new(all).ok_or_else(|| A::Error::custom(OutOfRange(Hidden::WHAT_IN_A_FILE)))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// The interval in seconds between two repetitions of an action, such as a save. 0 means never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(Option<Duration>);

impl Seconds {
    const WHAT: &'static str = "a number of seconds, 0 (for never) to 1000000000";
    const MOST: f64 = 1e9;

    /// Returns the interval; `None` for never.
    #[must_use]
    pub const fn interval(self) -> Option<Duration> {
        self.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = OutOfRange;

    fn try_from(seconds: f64) -> Result<Self, OutOfRange> {
        if !(0.0..=Self::MOST).contains(&seconds) {
            return Err(OutOfRange(Self::WHAT));
        }
        Ok(Self(Some(Duration::from_secs_f64(seconds)).filter(|interval| !interval.is_zero())))
    }
}

/// A time limit or interval in seconds, at least 0.001 s. Unlike [`Seconds`], the value cannot mean
/// never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience(Duration);

impl Patience {
    const WHAT: &'static str = "a number of seconds, 0.001 to 1000000000";

    /// Returns the duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<f64> for Patience {
    type Error = OutOfRange;

    fn try_from(seconds: f64) -> Result<Self, OutOfRange> {
        if !(0.001..=Seconds::MOST).contains(&seconds) {
            return Err(OutOfRange(Self::WHAT));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

read_as_number!(Seconds, Seconds::WHAT);
read_as_number!(Patience, Patience::WHAT);

/// The name of an optimizer. The parameters of the optimizer have separate keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Plain gradient descent.
    Sgd,
    /// Gradient descent with an accumulated velocity.
    Momentum,
    /// Adaptive moments.
    Adam,
}

impl OptimizerName {
    /// Returns the name of an optimizer, as used in flags, configuration files and settings.
    #[must_use]
    pub const fn of(optimizer: &Optimizer) -> Self {
        match optimizer {
            Optimizer::Sgd => Self::Sgd,
            Optimizer::Momentum { .. } => Self::Momentum,
            Optimizer::Adam { .. } => Self::Adam,
        }
    }

    /// Returns the optimizer of this name, with the default values of its parameters.
    #[must_use]
    pub const fn with_defaults(self) -> Optimizer {
        match self {
            Self::Sgd => Optimizer::Sgd,
            Self::Momentum => Optimizer::Momentum { momentum: 0.9, nesterov: false },
            Self::Adam => Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        }
    }
}

/// How a run shows its progress.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ProgressMode {
    /// Text lines `After N training steps …`, and a progress bar if standard error is a terminal.
    #[default]
    Auto,
    /// Text lines `After N training steps …`, and always a progress bar.
    Bar,
    /// Text lines `After N training steps …`, and at most ten JSON objects per second on standard
    /// output, each on a separate line.
    Json,
    /// Neither text lines nor a progress bar.
    None,
}

/// The format of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Wraps a type of the core crate, so that this crate can give names to the type's values. The core
/// crate knows neither flags nor configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<T>(pub T);

/// A type whose values have names.
pub trait Names: Copy + Sized + 'static {
    /// All values.
    const ALL: &'static [Named<Self>];

    /// Returns the name and the meaning of a value.
    fn named(self) -> (&'static str, &'static str);
}

impl<T: Names> ValueEnum for Named<T> {
    fn value_variants<'a>() -> &'a [Self] {
        T::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, meaning) = self.0.named();
        Some(PossibleValue::new(name).help(meaning))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl Names for Order {
    const ALL: &'static [Named<Self>] =
        &[Named(Self::Shuffled), Named(Self::Partitioned), Named(Self::Sequential)];

    fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::Shuffled => (
                "shuffled",
                "Each slot has its own permutation of all examples for each epoch, as TensorFlow's \
                 workers",
            ),
            Self::Partitioned => {
                ("partitioned", "One permutation an epoch, shared out over the slots")
            }
            Self::Sequential => (
                "sequential",
                "Rows in file order: slot s of step k takes rows ((k·S + s)·B + j) mod n",
            ),
        }
    }
}

impl Names for Placement {
    const ALL: &'static [Named<Self>] = &[Named(Self::RoundRobin), Named(Self::Even)];

    fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::RoundRobin => {
                ("round-robin", "Whole variables in creation order, as `replica_device_setter`")
            }
            Self::Even => (
                "even",
                "Every ps an equal share of the elements, so that none has to move more than the \
                 others",
            ),
        }
    }
}

/// Returns the name of a value, as written on the command line and in the configuration file.
#[must_use]
pub fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is skipped").get_name().to_owned()
}

/// Reads a TOML number, whole or not.
struct Number(&'static str);

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    #[expect(clippy::cast_precision_loss, reason = "a decimal number is as near as f64 comes")]
    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a decimal number is as near as f64 comes")]
    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }
}

/// Reads a TOML integer. The parser uses the narrowest type that can represent the integer: `i64`
/// below 2^63, `u64` below 2^64, and `i128` beyond. The visitor accepts all three types, so that a
/// seed may use all 64 bits, and so that the error for an integer that is too large states the
/// allowed range.
struct Whole(&'static str);

impl Visitor<'_> for Whole {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<i128, E> {
        Ok(value)
    }
}

/// An integer whose range the caller checks.
struct WholeNumber(i128);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole("a whole number")).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_the_documented_ends() {
        fn taken<T: FromStr>(texts: &[&str]) -> String {
            let take = |text: &&str| if text.parse::<T>().is_ok() { '1' } else { '0' };
            texts.iter().map(take).collect()
        }
        let numbers = ["-1", "-0", "0", "1e-9", "0.5", "1", "1.5", "inf", "nan", "", "x"];
        assert_eq!(taken::<Positive>(&numbers), "00011110000");
        assert_eq!(taken::<NotNegative>(&numbers), "01111110000");
        assert_eq!(taken::<DecayRate>(&numbers), "00011100000");
        assert_eq!(taken::<Fraction>(&numbers), "01111000000");
        assert_eq!(taken::<OpenFraction>(&numbers), "00011000000");
        let wholes = ["-1", "0", "1", "64", "65", "4096", "4097", "1.0", "", "x"];
        assert_eq!(taken::<BatchSize>(&wholes), "0011111000");
        assert_eq!(taken::<Replicas>(&wholes), "0011110000");
        assert_eq!(taken::<Tasks>(&wholes), "0011000000");
        assert_eq!(taken::<Part>(&wholes), "0111111000");
        assert_eq!(taken::<Part>(&["0.5", "1e-3", "1.5", "-0.5", "nan"]), "11000");
        let layers = ["", "500", "300, 100", "0", "1,,2", "-1", "65537", "a"];
        assert_eq!(taken::<Hidden>(&layers), "11100000");
        let seconds = ["0", "60", "0.5", "-1", "1e9", "1e10", "nan", "x"];
        assert_eq!(taken::<Seconds>(&seconds), "11101000");
        assert_eq!(taken::<Patience>(&seconds), "01101000");
    }

    #[test]
    fn number_that_f32_rounds_out_of_range_is_refused() {
        assert!("1e-60".parse::<Positive>().is_err(), "0 in f32");
        assert!("1e39".parse::<Positive>().is_err(), "infinite in f32");
        assert!("0.999999999999".parse::<Fraction>().is_err(), "1 in f32");
    }

    #[test]
    fn zero_seconds_mean_never() {
        assert_eq!("0".parse::<Seconds>().map(Seconds::interval), Ok(None));
        let half = Some(Duration::from_millis(500));
        assert_eq!("0.5".parse::<Seconds>().map(Seconds::interval), Ok(half));
    }
}
