//! The format of one line of a ledger: the order of the fields, and the text form of numbers. This
//! module reads and writes no files.
//!
//! Every number is printed without losing a bit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use unisono_core::floats::Floats;
use unisono_core::ids::{Cut, Generation, Incarnation, Slot, Step};
use unisono_core::protocol::{Difference, Settings, ShardState};
use unisono_core::train_config::{ClusterSize, Sync};
use unisono_files::losses::format_loss;

/// Version of the format. Every header contains it.
pub const FORMAT: u32 = 1;

/// A line of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// A new incarnation of the ps starts.
    Header(Header),
    /// A new incarnation of the chief connected.
    Chief(ChiefCame),
    /// The chief opened a generation and gave the shard its state.
    Restored(StateRestored),
    /// The shard made an update.
    Update(UpdateMade),
    /// A gradient arrived and was not used.
    Dropped(GradientDropped),
}

/// An incarnation of the ps, with the settings that apply to the following lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format, [`FORMAT`] for this program.
    pub format: u32,
    /// Number of the ps, and of its shard.
    pub ps: u32,
    /// Incarnation of the ps.
    pub incarnation: Incarnation,
    /// Number of parameter servers in the cluster.
    pub n_ps: u32,
    /// R, the number of gradients that an update uses.
    pub replicas_to_aggregate: u32,
    /// N, the number of workers.
    pub total_num_replicas: u32,
    /// Number of updates of the whole run.
    pub training_steps: Step,
    /// All settings that affect the trajectory.
    pub settings: Settings,
}

impl Header {
    /// Returns R and N.
    #[must_use]
    pub const fn sync(&self) -> Sync {
        let Self { replicas_to_aggregate, total_num_replicas, .. } = *self;
        Sync { replicas_to_aggregate, total_num_replicas }
    }

    /// Returns a description of an invalid field, for the user; `None` if all fields are valid.
    pub(super) fn mistake(&self) -> Option<String> {
        let largest = ClusterSize::LARGEST;
        let counts = [
            ("n_ps", self.n_ps),
            ("replicas_to_aggregate", self.replicas_to_aggregate),
            ("total_num_replicas", self.total_num_replicas),
        ];
        let wrong = counts.into_iter().find(|(_, count)| !(1..=largest).contains(count));
        wrong.map(|(key, count)| format!("{key} is {count}, but must be between 1 and {largest}"))
    }

    /// Returns the first setting that differs between two headers and affects the trajectory.
    /// `training_steps` is not compared, because the number of updates does not affect the
    /// trajectory up to any step.
    #[must_use]
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<Difference<'a>> {
        if self.settings == other.settings {
            // Incarnations of the same run nearly always have equal settings.
            return None;
        }
        let mut differences = self.settings.differences(&other.settings);
        differences.find(|difference| difference.key != "training_steps")
    }
}

/// A new incarnation of the chief connected to the ps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChiefCame {
    /// Incarnation of the ps that writes the line.
    pub incarnation: Incarnation,
    /// Incarnation of the chief.
    pub chief: Incarnation,
    /// Generation and step of the shard's state; `null` while the shard has no state.
    pub finds: Option<Cut>,
}

/// The shard took a state from the chief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRestored {
    /// Incarnation of the ps that writes the line.
    pub incarnation: Incarnation,
    /// Generation that the state opens.
    pub generation: Generation,
    /// Version of the state.
    pub step: Step,
    /// Incarnation of the chief that sent the state.
    pub chief: Option<Incarnation>,
    /// Digest of the chief's training data.
    pub data: Option<String>,
    /// Hash of the state.
    pub after: StateHash,
}

/// An update of the shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateMade {
    /// Incarnation of the ps that writes the line.
    pub incarnation: Incarnation,
    /// Generation of the update.
    pub generation: Generation,
    /// Step k of the update, which makes version k + 1 from version k.
    pub step: Step,
    /// Gradients that the update used, in the order in which the update summed them.
    pub slots: Vec<UsedSlot>,
    /// Hash of the shard's state at version k.
    pub before: StateHash,
    /// Hash of the shard's state at version k + 1.
    pub after: StateHash,
}

impl UpdateMade {
    /// Returns the version that the update was computed from.
    #[must_use]
    pub const fn cut(&self) -> Cut {
        Cut { generation: self.generation, step: self.step }
    }

    /// Returns the slots of the gradients, in order.
    pub fn slot_numbers(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().map(|used| used.slot)
    }
}

/// A gradient that an update used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedSlot {
    /// Slot in which the update counted the gradient.
    pub slot: Slot,
    /// Push message that contained the gradient; `null` if the recorder saw no such message.
    pub push: Option<Push>,
    /// CRC32C of this shard's part of the gradient.
    pub checksum: Checksum,
}

/// Content of a worker's push message, without the tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Number of the worker.
    pub worker: u32,
    /// Incarnation of the worker.
    pub incarnation: Incarnation,
    /// Slot in the push message; absent if the update counted the gradient in this slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Generation of the version from which the gradient was computed; absent if the update has the
    /// same generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Version that the gradient was computed from.
    pub version: Step,
    /// Loss of the worker's batch.
    pub loss: Loss,
}

/// A gradient that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientDropped {
    /// Incarnation of the ps that writes the line.
    pub incarnation: Incarnation,
    /// Generation of the version that the gradient was computed from.
    pub generation: Generation,
    /// Version that the gradient was computed from.
    pub step: Step,
    /// Slot of the gradient.
    pub slot: Slot,
    /// Number of the worker.
    pub worker: u32,
    /// Reason why the gradient was not used.
    pub why: DropReason,
    /// Whether the ps answered the worker at once.
    pub told: bool,
}

/// The reason why a gradient was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The shard already held a gradient of this slot and version.
    Duplicate,
    /// The version of the gradient is older than the version of the shard.
    Stale,
    /// The generation of the gradient differs from the generation of the shard.
    Fenced,
    /// In a run with R < N, the update used R other gradients.
    Surplus,
    /// The ps neither used the gradient nor reported it as dropped, which violates rule 5.
    Uncounted,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "a duplicate",
            Self::Stale => "stale",
            Self::Fenced => "fenced",
            Self::Surplus => "surplus",
            Self::Uncounted => "uncounted",
        })
    }
}

impl Line {
    /// Returns the incarnation of the ps that wrote the line.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        match self {
            Self::Header(header) => header.incarnation,
            Self::Chief(chief) => chief.incarnation,
            Self::Restored(restored) => restored.incarnation,
            Self::Update(update) => update.incarnation,
            Self::Dropped(dropped) => dropped.incarnation,
        }
    }

    /// Returns the line as text, without a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists are JSON")
    }
}

/// A loss. Losses are compared bit by bit, except that all NaNs are equal. In a line, a loss is a
/// string with the same text as in `losses.csv`.
#[derive(Clone, Copy, Debug)]
pub struct Loss(pub f32);

impl Loss {
    const fn bits(self) -> u32 {
        if self.0.is_nan() { f32::NAN.to_bits() } else { self.0.to_bits() }
    }
}

impl PartialEq for Loss {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Loss {}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_loss(self.0))
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is not a loss"))
    }
}

/// A hash of a shard's state at one version.
///
/// Each buffer has a CRC32C over its values as little-endian bytes. The hash is the CRC32C over
/// these checksums, as 4 little-endian bytes each: first the checksum of the parameters, then the
/// checksums of the buffers of the optimizer and of the moving average. The checksum of the
/// parameters costs no extra computation, because the wire protocol needs the same checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateHash(pub u32);

impl StateHash {
    /// Returns the hash of a state. Each buffer caches its checksum.
    #[must_use]
    pub fn of(state: &ShardState) -> Self {
        let buffers = std::iter::once(&state.parameters).chain(&state.auxiliary);
        let append =
            |hash, buffer: &Floats| crc32c::crc32c_append(hash, &buffer.checksum().to_le_bytes());
        Self(buffers.fold(0, append))
    }
}

/// The CRC32C of a gradient's values as little-endian bytes. The frame that contained the gradient
/// has the same checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum(pub u32);

/// Formats and parses 32-bit types as 8 hexadecimal digits.
macro_rules! as_digits {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                hexadecimal(text).map(Self)
            }
        }
    )*};
}

as_digits!(StateHash, Checksum);

fn hexadecimal(text: &str) -> Result<u32, String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let value = u32::from_str_radix(text, 16).ok();
    value
        .filter(|_| text.len() == 8 && text.bytes().all(is_digit))
        .ok_or_else(|| format!("{text:?} is not 8 hexadecimal digits"))
}

/// Serialises types as text.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Loss, StateHash, Checksum);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an update of two slots, as written by ps 0.
    pub(crate) fn update(step: u64) -> UpdateMade {
        let used = |slot| UsedSlot {
            slot: Slot(slot),
            push: Some(Push {
                worker: slot,
                incarnation: Incarnation(7),
                slot: None,
                generation: None,
                version: Step(step),
                loss: Loss(0.1),
            }),
            checksum: Checksum(0x1a),
        };
        UpdateMade {
            incarnation: Incarnation(3),
            generation: Generation { opener: Incarnation(6), number: 1 },
            step: Step(step),
            slots: vec![used(0), used(1)],
            before: StateHash(step as u32),
            after: StateHash(step as u32 + 1),
        }
    }

    #[test]
    fn lines_have_their_documented_text_and_survive_a_round_trip() {
        let lines = [
            Line::Header(Header {
                format: FORMAT,
                ps: 0,
                incarnation: Incarnation(3),
                n_ps: 1,
                replicas_to_aggregate: 2,
                total_num_replicas: 2,
                training_steps: Step(10),
                settings: Settings::default().with("seed", 1),
            }),
            Line::Chief(ChiefCame {
                incarnation: Incarnation(3),
                chief: Incarnation(6),
                finds: None,
            }),
            Line::Restored(StateRestored {
                incarnation: Incarnation(3),
                generation: Generation { opener: Incarnation(6), number: 1 },
                step: Step(17),
                chief: Some(Incarnation(6)),
                data: Some("d0".to_owned()),
                after: StateHash(17),
            }),
            Line::Update(update(17)),
            Line::Dropped(GradientDropped {
                incarnation: Incarnation(3),
                generation: Generation { opener: Incarnation(6), number: 1 },
                step: Step(16),
                slot: Slot(1),
                worker: 1,
                why: DropReason::Stale,
                told: true,
            }),
        ];
        let texts = lines.each_ref().map(Line::to_text);
        insta::assert_snapshot!(texts.join("\n"), @r#"
        {"header":{"format":1,"ps":0,"incarnation":3,"n_ps":1,"replicas_to_aggregate":2,"total_num_replicas":2,"training_steps":10,"settings":[["seed","1"]]}}
        {"chief":{"incarnation":3,"chief":6,"finds":null}}
        {"restored":{"incarnation":3,"generation":{"opener":6,"number":1},"step":17,"chief":6,"data":"d0","after":"00000011"}}
        {"update":{"incarnation":3,"generation":{"opener":6,"number":1},"step":17,"slots":[{"slot":0,"push":{"worker":0,"incarnation":7,"version":17,"loss":"0.100000001"},"checksum":"0000001a"},{"slot":1,"push":{"worker":1,"incarnation":7,"version":17,"loss":"0.100000001"},"checksum":"0000001a"}],"before":"00000011","after":"00000012"}}
        {"dropped":{"incarnation":3,"generation":{"opener":6,"number":1},"step":16,"slot":1,"worker":1,"why":"stale","told":true}}
        "#);
        for (line, text) in lines.iter().zip(&texts) {
            assert_eq!(serde_json::from_str::<Line>(text).unwrap(), *line);
        }
    }

    #[test]
    fn losses_are_compared_bit_for_bit() {
        assert_ne!(Loss(0.0), Loss(-0.0));
        assert_eq!(Loss(f32::NAN), "nan".parse().unwrap());
        for bits in [1, 0x3dcc_cccd, 0x7f7f_ffff, 0x8000_0000] {
            let loss = Loss(f32::from_bits(bits));
            assert_eq!(loss.to_string().parse(), Ok(loss));
        }
    }

    /// A bitwise CRC32C in Python computed the expected values. If `c` is this CRC32C and `p` is
    /// `struct.pack`, the first value is `c(p('<I', c(p('<3f', 1, -.5, .25))))`. For the second
    /// value, the checksum `c(bytes(12))` follows the checksum of the parameters.
    #[test]
    fn state_hash_matches_the_documentation() {
        let parameters = Floats::from(vec![1.0, -0.5, 0.25]);
        let plain = ShardState { parameters, ..ShardState::default() };
        let with_more = ShardState { auxiliary: vec![vec![0.0; 3].into()], ..plain.clone() };
        let found = [StateHash::of(&plain).0, StateHash::of(&with_more).0];
        assert_eq!(found, [0x5770_02ab, 0x264a_9533]);
    }

    #[test]
    fn hash_is_exactly_8_lowercase_digits() {
        for text in ["", "1", "0000001A", "+000001a", "00000001a"] {
            assert!(text.parse::<StateHash>().is_err(), "{text}");
        }
        assert_eq!("0000001a".parse(), Ok(StateHash(26)));
    }
}
