//! One line of a ledger: its fields in their order, and the texts of its numbers. No files here.
//!
//! No number is printed in a way that loses a bit of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use unisono_core::floats::Floats;
use unisono_core::ids::{Cut, Generation, Incarnation, Slot, Step};
use unisono_core::protocol::{Difference, Settings, ShardState};
use unisono_core::train_config::ClusterSize;
use unisono_files::losses::format_loss;

/// The version of the format, which every header says.
pub const FORMAT: u32 = 1;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// A life of the ps begins.
    Header(Header),
    /// A life of the chief came in.
    Chief(ChiefCame),
    /// The chief opened a generation: the shard has a state that it was given.
    Restored(StateRestored),
    /// The shard made a version.
    Update(UpdateMade),
    /// A gradient came that was not used.
    Dropped(GradientDropped),
}

/// A life of a ps: all that the lines after it are to be read with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`] of who wrote it.
    pub format: u32,
    /// The number of the ps, and so of the shard.
    pub ps: u32,
    /// Its life.
    pub incarnation: Incarnation,
    /// Parameter servers of the cluster.
    pub n_ps: u32,
    /// R.
    pub replicas_to_aggregate: u32,
    /// N.
    pub total_num_replicas: u32,
    /// Updates to make.
    pub training_steps: Step,
    /// Every setting that touches a number.
    pub settings: Settings,
}

impl Header {
    /// What is wrong with it by itself, for a person.
    pub(super) fn mistake(&self) -> Option<String> {
        let largest = ClusterSize::LARGEST;
        let counts = [
            ("n_ps", self.n_ps),
            ("replicas_to_aggregate", self.replicas_to_aggregate),
            ("total_num_replicas", self.total_num_replicas),
        ];
        let wrong = counts.into_iter().find(|(_, count)| !(1..=largest).contains(count));
        wrong.map(|(key, count)| format!("{key} is {count}, and not from 1 to {largest}"))
    }

    /// The first setting in which two lives differ, of those that the trajectory up to any step is a
    /// function of: all but its length.
    #[must_use]
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<Difference<'a>> {
        if self.settings == other.settings {
            // Nearly always, and quicker to see.
            return None;
        }
        let mut differences = self.settings.differences(&other.settings);
        differences.find(|difference| difference.key != "training_steps")
    }
}

/// A life of the chief came in, and found the shard as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChiefCame {
    /// The life of the ps that writes.
    pub incarnation: Incarnation,
    /// The life of the chief.
    pub chief: Incarnation,
    /// Where the shard stands; `null` while it has no state.
    pub finds: Option<Cut>,
}

/// The shard has a state that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRestored {
    /// The life of the ps that writes.
    pub incarnation: Incarnation,
    /// The generation that begins.
    pub generation: Generation,
    /// The state's version.
    pub step: Step,
    /// The life of the chief that gave it.
    pub chief: Option<Incarnation>,
    /// The digest of the chief's training data.
    pub data: Option<String>,
    /// The hash of the state.
    pub after: StateHash,
}

/// An update of the shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateMade {
    /// The life of the ps that writes.
    pub incarnation: Incarnation,
    /// The generation.
    pub generation: Generation,
    /// The update's step k: it made version k + 1 out of version k.
    pub step: Step,
    /// The gradients, in the order in which they were given to the update.
    pub slots: Vec<UsedSlot>,
    /// The hash of the shard's state at version k.
    pub before: StateHash,
    /// The hash of the shard's state at version k + 1.
    pub after: StateHash,
}

impl UpdateMade {
    /// The version that it was made of.
    #[must_use]
    pub const fn cut(&self) -> Cut {
        Cut { generation: self.generation, step: self.step }
    }

    /// The numbers of its slots, in their order.
    pub fn slot_numbers(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().map(|used| used.slot)
    }
}

/// A gradient that went into an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedSlot {
    /// The slot that it counted as.
    pub slot: Slot,
    /// What its worker said of it; `null` if no message was seen to bring it.
    pub push: Option<Push>,
    /// The CRC32C of this shard's part of it.
    pub checksum: Checksum,
}

/// What a worker said of a gradient that it pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The number of the worker.
    pub worker: u32,
    /// Its life.
    pub incarnation: Incarnation,
    /// The slot that it was pushed as, if it counted as another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The generation of the version that it was computed from, if it is not that of the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The version that it was computed from.
    pub version: Step,
    /// The loss of its batch.
    pub loss: Loss,
}

/// A gradient that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientDropped {
    /// The life of the ps that writes.
    pub incarnation: Incarnation,
    /// The generation of the version that it was computed from.
    pub generation: Generation,
    /// That version.
    pub step: Step,
    /// Its slot.
    pub slot: Slot,
    /// The number of its worker.
    pub worker: u32,
    /// Why it was not used.
    pub why: Why,
    /// Whether the worker was told so in the same breath.
    pub told: bool,
}

/// Why a gradient was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The shard held this identity already.
    Duplicate,
    /// It is of an older version than the shard's.
    Stale,
    /// It is of another generation than the shard's.
    Fenced,
    /// R < N, and it was not among the first R.
    Surplus,
    /// The ps did not say.
    Uncounted,
}

impl fmt::Display for Why {
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
    /// The life of the ps that wrote it.
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

    /// Its text, without the end of the line.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists are JSON")
    }

    /// Appends its text, without the end of the line.
    pub fn write_to(&self, text: &mut Vec<u8>) {
        serde_json::to_writer(text, self).expect("numbers, texts and lists are JSON");
    }
}

/// A loss, compared and printed to the bit: as in `losses.csv`, in quotes. One NaN is as another.
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

/// A hash of a shard's state: what it holds at one version.
///
/// It is the CRC32C over the 4 little-endian bytes of each buffer's own CRC32C in turn: first the
/// parameters, then what the optimizer and the moving average keep beside them. A buffer's own is
/// over its values as little-endian bytes: that of the parameters is on the wire anyway, and costs
/// nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateHash(pub u32);

impl StateHash {
    /// Of a state. Buffers that were hashed before are not hashed again.
    #[must_use]
    pub fn of(state: &ShardState) -> Self {
        let buffers = std::iter::once(&state.parameters).chain(&state.auxiliary);
        let append =
            |hash, buffer: &Floats| crc32c::crc32c_append(hash, &buffer.checksum().to_le_bytes());
        Self(buffers.fold(0, append))
    }
}

/// The CRC32C of a gradient's values as little-endian bytes: what its frame had on the wire, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum(pub u32);

/// Makes types of 32 bits print and parse as 8 hexadecimal digits.
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

/// Makes types serialise as the text that they print.
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

    /// An update of two slots, as ps 0 writes it.
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
    fn a_line_is_this_text_and_comes_back() {
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
                why: Why::Stale,
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
    fn losses_are_equal_by_their_bits() {
        assert_ne!(Loss(0.0), Loss(-0.0));
        assert_eq!(Loss(f32::NAN), "nan".parse().unwrap());
        for bits in [1, 0x3dcc_cccd, 0x7f7f_ffff, 0x8000_0000] {
            let loss = Loss(f32::from_bits(bits));
            assert_eq!(loss.to_string().parse(), Ok(loss));
        }
    }

    /// The values are those of a bitwise CRC32C in Python: with `c` for it and `p` for
    /// `struct.pack`, `c(p('<I', c(p('<3f', 1, -.5, .25))))`, and with `c(bytes(12))` behind it.
    #[test]
    fn a_states_hash_is_that_of_the_documentation() {
        let parameters = Floats::from(vec![1.0, -0.5, 0.25]);
        let plain = ShardState { parameters, ..ShardState::default() };
        let with_more = ShardState { auxiliary: vec![vec![0.0; 3].into()], ..plain.clone() };
        let found = [StateHash::of(&plain).0, StateHash::of(&with_more).0];
        assert_eq!(found, [0x5770_02ab, 0x264a_9533]);
    }

    #[test]
    fn a_hash_is_so_many_small_digits() {
        for text in ["", "1", "0000001A", "+000001a", "00000001a"] {
            assert!(text.parse::<StateHash>().is_err(), "{text}");
        }
        assert_eq!("0000001a".parse(), Ok(StateHash(26)));
    }
}
