//! The configuration file, in TOML. The keys of the file are the names of the flags, with
//! underscores instead of dashes.
//!
//! Every error in the content of the file names the file, the line and the key. [`super::run`]
//! checks whether the values contradict each other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, Command};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::OwnFlag;
use super::keys::{
    CheckpointKeys, DataKeys, HostKeys, LimitKeys, LocalKeys, OutputKeys, PlacementKeys, RunKeys,
    SecurityKeys, SizeKeys, SyncKeys, TrainKeys,
};

/// The keys that a file sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileKeys {
    /// The settings of every command that trains.
    pub run: RunKeys,
    /// `[cluster]`: the addresses of the tasks.
    pub hosts: HostKeys,
    /// `[cluster]`: the number of tasks.
    pub size: SizeKeys,
    /// `[local]`: the restarts of tasks.
    pub local: LocalKeys,
    /// `[model]`: the flags of a workload that is not built in, each as the text of its value.
    pub own: BTreeMap<String, String>,
}

/// The error for a configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The content of the file is wrong.
    #[error("{}:{line}: {what}", path.display())]
    Wrong {
        /// The path of the file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The error, with the key and a remedy.
        what: String,
    },
}

impl FileKeys {
    /// Reads a file. If there are flags of a workload, the file may have a section `[model]` with
    /// their keys.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not TOML, or has an unknown key or a value
    /// out of range.
    pub fn read(path: &Path, flags: &[OwnFlag]) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, flags).map_err(|wrong| FileError::Wrong {
            path: path.to_owned(),
            line: line_of(&text, wrong.at),
            what: wrong.what,
        })
    }

    fn parse(text: &str, flags: &[OwnFlag]) -> Result<Self, Wrong> {
        let file = DeTable::parse(text).map_err(|error| Wrong::from_toml(&error, 0))?;
        let mut sections = Vec::from(sections());
        if !flags.is_empty() {
            sections.push(KnownSection::own(flags));
        }
        let mut keys = Self::default();
        for (name, value) in file.into_inner() {
            let known = find_section(&sections, &name)?;
            let DeValue::Table(table) = value.get_ref() else {
                let what = format!("{} is a section: write [{0}] on a line of its own", known.name);
                return Err(Wrong { at: name.span().start, what });
            };
            for (key, value) in table {
                check_key(&sections, known, key, value)?;
            }
            let section = Section { span: value.span(), table };
            match known.name {
                "train" => keys.run.train = section.keys()?,
                "sync" => keys.run.sync = section.keys()?,
                "data" => keys.run.data = section.keys()?,
                "checkpoint" => keys.run.checkpoint = section.keys()?,
                "security" => keys.run.security = section.keys()?,
                "limits" => keys.run.limits = section.keys()?,
                "output" => keys.run.output = section.keys()?,
                "local" => keys.local = section.keys()?,
                "cluster" => {
                    keys.run.placement = section.keys()?;
                    keys.hosts = section.keys()?;
                    keys.size = section.keys()?;
                }
                "model" => keys.own = own_values(flags, table)?,
                other => unreachable!("[{other}] is in the list of sections"),
            }
        }
        Ok(keys)
    }
}

/// A section of the configuration file, with the flags that correspond to its keys.
#[derive(Debug)]
pub struct KnownSection {
    pub(super) name: &'static str,
    pub(super) flags: Command,
}

/// The texts of a key for the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText {
    /// The name of the key.
    pub name: String,
    /// The meaning of the key, and its possible values.
    pub what: String,
    /// The default value, or a description of how the program determines the default.
    pub default: String,
}

/// Returns all sections, in the order of the documentation.
pub(super) fn sections() -> [KnownSection; 9] {
    fn flags<K: Args>(command: Command) -> Command {
        K::augment_args(command)
    }
    let empty = || Command::new("section");
    let cluster = flags::<PlacementKeys>(flags::<SizeKeys>(flags::<HostKeys>(empty())));
    [
        KnownSection { name: "train", flags: flags::<TrainKeys>(empty()) },
        KnownSection { name: "sync", flags: flags::<SyncKeys>(empty()) },
        KnownSection { name: "cluster", flags: cluster },
        KnownSection { name: "data", flags: flags::<DataKeys>(empty()) },
        KnownSection { name: "checkpoint", flags: flags::<CheckpointKeys>(empty()) },
        KnownSection { name: "security", flags: flags::<SecurityKeys>(empty()) },
        KnownSection { name: "limits", flags: flags::<LimitKeys>(empty()) },
        KnownSection { name: "output", flags: flags::<OutputKeys>(empty()) },
        KnownSection { name: "local", flags: flags::<LocalKeys>(empty()) },
    ]
}

impl KnownSection {
    /// Returns the section `[train]`, which scenario files of the simulator also have.
    #[must_use]
    pub fn train() -> Self {
        let [train, ..] = sections();
        train
    }

    /// Returns the section `[model]` with the keys of a workload's flags.
    fn own(flags: &[OwnFlag]) -> Self {
        let arguments = flags.iter().map(|flag| clap::Arg::new(flag.key().to_owned()));
        Self { name: "model", flags: Command::new("section").args(arguments) }
    }

    /// Reads a TOML table as the content of this section.
    ///
    /// # Errors
    /// Returns an error if the table has an unknown key or a value out of range.
    pub fn read<'de, K: Deserialize<'de>>(
        &self,
        span: Range<usize>,
        table: &'de DeTable<'de>,
    ) -> Result<K, Wrong> {
        for (key, value) in table {
            check_key(&[], self, key, value)?;
        }
        Section { span, table }.keys()
    }

    /// Returns all keys with their texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = KeyText> {
        self.flags.get_arguments().map(|flag| {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let (what, default) = help
                .split_once(" [default: ")
                .map_or((&*help, ""), |(what, default)| (what, default.trim_end_matches(']')));
            let choices = flag.get_possible_values();
            let names: Vec<_> =
                choices.iter().map(|choice| format!("`{}`", choice.get_name())).collect();
            let is_bool = names.iter().any(|name| name == "`true`");
            let what = if names.is_empty() || is_bool {
                what.to_owned()
            } else {
                format!("{what}: {}", names.join(", "))
            };
            KeyText { name: flag.get_id().to_string(), what, default: default.to_owned() }
        })
    }

    /// Returns the names of all keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.flags.get_arguments().map(|flag| flag.get_id().as_str())
    }

    /// Returns whether the section has this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys().any(|known| known == key)
    }
}

/// Returns whether every run has a flag and a key of this name.
#[must_use]
pub fn is_common_key(key: &str) -> bool {
    sections().iter().any(|section| section.has(key))
}

/// Reads the section `[model]`, whose keys are those of a workload's flags.
fn own_values(flags: &[OwnFlag], table: &DeTable<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let value = |flag: &OwnFlag| {
        let value = table.get(flag.key())?;
        let wrong = |why| Wrong { at: value.span().start, what: format!("{}: {why}", flag.key()) };
        let text =
            own_text(flag.key(), value).and_then(|text| flag.canonical(&text).map_err(wrong));
        Some(text.map(|text| (flag.key().to_owned(), text)))
    };
    flags.iter().filter_map(value).collect()
}

/// Returns the text that a flag of a workload has for a value in a file.
///
/// # Errors
/// If the value is a list, a table or a date.
pub fn own_text(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(is) => Ok(is.to_string()),
        _ => {
            let what = format!("{key}: the value must be a text, a number, or true or false");
            Err(Wrong { at: value.span().start, what })
        }
    }
}

struct Section<'a> {
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    fn keys<K: Deserialize<'a>>(&self) -> Result<K, Wrong> {
        let table = Spanned::new(self.span.clone(), self.table.clone());
        K::deserialize(table.into_deserializer()).map_err(|error| {
            let at = error.span().map_or(self.span.start, |span| span.start);
            let mut wrong = Wrong::from_toml(&error, at);
            let key = self.table.iter().find(|(_, value)| value.span().contains(&at));
            if let Some((key, _)) = key {
                wrong.what = format!("{}: {}", key.get_ref(), wrong.what);
            }
            wrong
        })
    }
}

fn find_section<'a>(
    sections: &'a [KnownSection],
    name: &Spanned<impl AsRef<str>>,
) -> Result<&'a KnownSection, Wrong> {
    let given = name.get_ref().as_ref();
    if let Some(section) = sections.iter().find(|section| section.name == given) {
        return Ok(section);
    }
    let what = if let Some(home) = sections.iter().find(|section| section.has(given)) {
        format!("the key {given} belongs in the section [{}]", home.name)
    } else if let Some(nearest) = nearest(given, sections.iter().map(|section| section.name)) {
        format!("there is no section [{given}]; did you mean [{nearest}]?")
    } else {
        let all: Vec<_> = sections.iter().map(|section| format!("[{}]", section.name)).collect();
        format!("there is no section [{given}]; there are {}", all.join(", "))
    };
    Err(Wrong { at: name.span().start, what })
}

fn check_key(
    sections: &[KnownSection],
    section: &KnownSection,
    key: &Spanned<impl AsRef<str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Wrong> {
    let given = key.get_ref().as_ref();
    let Some(flag) = section.flags.get_arguments().find(|flag| flag.get_id() == given) else {
        let hint = if let Some(home) = sections.iter().find(|other| other.has(given)) {
            format!("it belongs in [{}]", home.name)
        } else if let Some(nearest) = nearest(given, section.keys()) {
            format!("did you mean {nearest}?")
        } else {
            format!("it has {}", section.keys().collect::<Vec<_>>().join(", "))
        };
        let what = format!("unknown key {given} in [{}]; {hint}", section.name);
        return Err(Wrong { at: key.span().start, what });
    };
    let choices = flag.get_possible_values();
    check_choice(given, &choices, value.get_ref())
        .map_err(|what| Wrong { at: value.span().start, what })
}

/// Checks the value of a key that has only a few possible values. The error of serde would not
/// suggest the most similar value.
fn check_choice(key: &str, choices: &[PossibleValue], value: &DeValue<'_>) -> Result<(), String> {
    let names = || choices.iter().map(PossibleValue::get_name);
    let all = || names().collect::<Vec<_>>().join(", ");
    match value {
        _ if choices.is_empty() => Ok(()),
        DeValue::Boolean(_) if names().any(|name| name == "true") => Ok(()),
        DeValue::String(text) if names().any(|name| name == "true") => {
            Err(format!("{key}: \"{text}\" is none of {}, without quotes", all()))
        }
        DeValue::String(text) if names().any(|name| name == text) => Ok(()),
        DeValue::String(text) => {
            let hint = nearest(text, names())
                .map_or_else(String::new, |name| format!("; did you mean {name}?"));
            Err(format!("{key}: \"{text}\" is none of {}{hint}", all()))
        }
        _ => Err(format!("{key}: the value must be one of {}", all())),
    }
}

/// Returns the known name that is most similar to `given`. Returns `None` if no name is similar
/// enough to be suggested.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.8;
    let with_underscores = |name: &str| name.replace('-', "_");
    let given = with_underscores(given);
    let (_, name) = known
        .map(|name| (strsim::jaro_winkler(&given, &with_underscores(name)), name))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(name)
}

/// An error in the configuration file, and the position of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The offset in bytes from the start of the file.
    pub at: usize,
    /// The error, with the key and a remedy.
    pub what: String,
}

impl Wrong {
    /// Converts an error of the TOML parser. If the error has no position, the result has the
    /// position `otherwise`.
    #[must_use]
    pub fn from_toml(error: &toml::de::Error, otherwise: usize) -> Self {
        let at = error.span().map_or(otherwise, |span| span.start);
        Self { at, what: error.message().replace('\n', "; ").replace(" as i128", "") }
    }
}

/// Returns the number of the line that contains the byte `at`, counted from 1.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = FileKeys::read(file.path(), &[]).expect_err(text).to_string();
        error.replace(&file.path().display().to_string(), "run.toml")
    }

    #[test]
    fn every_mistake_is_reported_with_file_line_key_and_remedy() {
        let all = [
            "[train]\nbatch_sise = 100",
            "[train]\nbatch-size = 100",
            "[train]\nlogdir = \"x\"",
            "[train]\nzzz = 1",
            "[trian]\nseed = 1",
            "[zzz]\nseed = 1",
            "batch_size = 1",
            "train = 1",
            "[train]\nseed = 1\n\nbatch_size = \"many\"",
            "[train]\nbatch_size = 1.5",
            "[train]\nbatch_size = 0",
            "[train]\nbatch_size = -3",
            "[train]\nlearning_rate = -0.5",
            "[train]\nlearning_rate = nan",
            "[train]\nhidden = [500, 0]",
            "[train]\nhidden = \"500\"",
            "[train]\noptimizer = \"adaam\"",
            "[train]\noptimizer = 3",
            "[train]\nnesterov = \"yes\"",
            "[train]\nseed = 1\nseed = 2",
            "[train]\nseed = ",
            "[train]\nseed = 99999999999999999999",
            "[train.deeper]\nseed = 1",
            "[sync]\nreplicas_to_aggregate = 0",
            "[checkpoint]\nsave_model_secs = -1",
            "[checkpoint]\nlogdir = 7",
            "[cluster]\nps = 0",
            "[cluster]\nplacement = \"evenly\"",
            "[cluster]\nps_hosts = [\"a:1\",\n  \"b\"]",
            "[cluster]\nps_hosts = []",
            "[cluster]\nps_hosts = \"a:1\"",
        ]
        .map(error)
        .join("\n");
        insta::assert_snapshot!(all, @r#"
        run.toml:2: unknown key batch_sise in [train]; did you mean batch_size?
        run.toml:2: unknown key batch-size in [train]; did you mean batch_size?
        run.toml:2: unknown key logdir in [train]; it belongs in [checkpoint]
        run.toml:2: unknown key zzz in [train]; it has batch_size, learning_rate, learning_rate_decay, decay_steps, regularization_rate, moving_average_decay, training_steps, model, hidden, layers, input, loss, optimizer, momentum, nesterov, beta1, beta2, epsilon, seed, order
        run.toml:1: there is no section [trian]; did you mean [train]?
        run.toml:1: there is no section [zzz]; there are [train], [sync], [cluster], [data], [checkpoint], [security], [limits], [output], [local]
        run.toml:1: the key batch_size belongs in the section [train]
        run.toml:1: train is a section: write [train] on a line of its own
        run.toml:4: batch_size: invalid type: string "many", expected a whole number of at least 1
        run.toml:2: batch_size: invalid type: floating point `1.5`, expected a whole number of at least 1
        run.toml:2: batch_size: 0 must be a whole number of at least 1
        run.toml:2: batch_size: -3 must be a whole number of at least 1
        run.toml:2: learning_rate: -0.5 must be a number above 0
        run.toml:2: learning_rate: NaN must be a number above 0
        run.toml:2: hidden: must be an array of sizes from 1 to 65536, at most 16 of them, such as [500] or [300, 100]
        run.toml:2: hidden: invalid type: string "500", expected an array of sizes from 1 to 65536, at most 16 of them, such as [500] or [300, 100]
        run.toml:2: optimizer: "adaam" is none of sgd, momentum, adam; did you mean adam?
        run.toml:2: optimizer: the value must be one of sgd, momentum, adam
        run.toml:2: nesterov: "yes" is none of true, false, without quotes
        run.toml:3: duplicate key
        run.toml:2: string values must be quoted, expected literal string
        run.toml:2: seed: 99999999999999999999 must be a whole number from 0 to 18446744073709551615
        run.toml:1: unknown key deeper in [train]; it has batch_size, learning_rate, learning_rate_decay, decay_steps, regularization_rate, moving_average_decay, training_steps, model, hidden, layers, input, loss, optimizer, momentum, nesterov, beta1, beta2, epsilon, seed, order
        run.toml:2: replicas_to_aggregate: 0 must be a whole number from 1 to 4096
        run.toml:2: save_model_secs: -1 must be a number of seconds, 0 (for never) to 1000000000
        run.toml:2: logdir: invalid type: integer `7`, expected path string
        run.toml:2: ps: 0 must be a whole number from 1 to 64
        run.toml:2: placement: "evenly" is none of round-robin, even; did you mean even?
        run.toml:2: ps_hosts: "b": the port is missing; write host:port, like localhost:20000
        run.toml:2: ps_hosts: there are no hosts; name at least one host:port, like localhost:20000
        run.toml:2: ps_hosts: invalid type: string "a:1", expected an array of hosts, like ["localhost:20000", "localhost:20001"]
        "#);
    }

    #[test]
    fn missing_file_is_named() {
        let error = anyhow::Error::new(FileKeys::read(Path::new("no/such.toml"), &[]).unwrap_err());
        assert_eq!(
            format!("{error:#}"),
            "cannot read the configuration file no/such.toml: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn seed_in_a_file_may_have_all_64_bits() {
        for seed in [0, (1 << 63) - 1, 1 << 63, u64::MAX] {
            let keys = FileKeys::parse(&format!("[train]\nseed = {seed}"), &[]).unwrap();
            assert_eq!(keys.run.train.seed.map(|seed| seed.get()), Some(seed));
        }
        assert_eq!(
            error("[train]\nseed = 18446744073709551616"),
            "run.toml:2: seed: 18446744073709551616 must be a whole number from 0 to \
             18446744073709551615"
        );
    }

    #[test]
    fn whole_number_is_accepted_for_a_decimal_key() {
        let keys = FileKeys::parse("[train]\nlearning_rate = 1", &[]).unwrap();
        assert_eq!(keys.run.train.learning_rate.map(|rate| rate.get()), Some(1.0));
    }
}
