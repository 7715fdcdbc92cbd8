//! A shard: the part of the seeds of a `hunt` that one of several machines plays.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::sources::usage;

/// The environment variable that contains the index of a pod in an Indexed Job of Kubernetes.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The maximum number of shards. This limit exceeds the number of machines that anyone uses.
const MOST_SHARDS: u64 = 1 << 16;

/// Every `of`-th seed of a `hunt`, beginning with the seed at `index`. With this division all
/// shards take about equally long. With `--for`, all shards reach about the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Shard {
    pub(super) index: u64,
    pub(super) of: u64,
}

impl Shard {
    /// The shard with all seeds, for a `hunt` on one machine.
    pub(super) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Returns how many of the `n_seeds` seeds of a `hunt` belong to this shard.
    pub(super) const fn n_seeds(self, n_seeds: u64) -> u64 {
        n_seeds.saturating_sub(self.index).div_ceil(self.of)
    }

    /// Returns the seed at index `nth` of this shard, in a `hunt` that begins with the seed `from`.
    pub(super) const fn seed(self, from: u64, nth: u64) -> u64 {
        from + self.index + nth * self.of
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// A shard as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardArg {
    /// The index on the command line. `None` stands for `auto`: the index comes from the
    /// environment variable `JOB_COMPLETION_INDEX`.
    index: Option<u64>,
    of: u64,
}

impl FromStr for ShardArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be I/N, such as 0/8 for the first of eight shards, or auto/N";
        let (index, of) = text.split_once('/').ok_or(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong);
        let of = number(of)?;
        let index = if index == "auto" { None } else { Some(number(index)?) };
        match index {
            _ if !(1..=MOST_SHARDS).contains(&of) => Err("the number of shards is 1 to 65536"),
            Some(index) if index >= of => {
                Err("shards are counted from 0: the last of 8 shards is 7/8")
            }
            index => Ok(Self { index, of }),
        }
    }
}

impl ShardArg {
    /// Returns the shard. For `auto`, the index comes from an environment variable, whose value
    /// `variable` returns.
    pub(super) fn resolve(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Shard> {
        let Self { index, of } = self;
        if let Some(index) = index {
            return Ok(Shard { index, of });
        }
        let value = variable(INDEX_VARIABLE).with_context(|| {
            format!("{INDEX_VARIABLE} is not set: use --shard I/{of} instead of auto/{of}")
        });
        let value = value.map_err(|error| usage(error.to_string()))?;
        match value.parse() {
            Ok(index) if index < of => Ok(Shard { index, of }),
            _ => Err(usage(format!(
                "{INDEX_VARIABLE} is {value}, but must be a number from 0 to {} for --shard \
                 auto/{of}: set the job's completions to {of}",
                of - 1
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_a_hunt_play_each_seed_once() {
        for (n_seeds, of) in [(0, 1), (1, 3), (10, 1), (10, 3), (9, 3), (2, 5)] {
            let mut all: Vec<_> = (0..of)
                .map(|index| Shard { index, of })
                .flat_map(|shard| (0..shard.n_seeds(n_seeds)).map(move |nth| shard.seed(7, nth)))
                .collect();
            all.sort_unstable();
            assert_eq!(all, (7..7 + n_seeds).collect::<Vec<_>>(), "{n_seeds} in {of}");
        }
    }

    #[test]
    fn shard_is_read_from_its_flag_or_from_the_environment() {
        let none = |_: &str| None;
        let third = |name: &str| (name == INDEX_VARIABLE).then(|| "3".to_owned());
        let read = |text: &str| text.parse::<ShardArg>();
        assert_eq!(read("1/4").unwrap().resolve(none).unwrap(), Shard { index: 1, of: 4 });
        let auto = read("auto/4").unwrap();
        assert_eq!(auto.resolve(third).unwrap(), Shard { index: 3, of: 4 });
        let told = auto.resolve(none).unwrap_err().to_string();
        assert!(told.contains("--shard I/4"), "{told}");
        let told = read("auto/3").unwrap().resolve(third).unwrap_err().to_string();
        assert!(told.contains("is 3, but must be a number from 0 to 2"), "{told}");
        for text in ["", "1", "4/4", "0/0", "-1/2", "auto", "0/65537", "x/2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
