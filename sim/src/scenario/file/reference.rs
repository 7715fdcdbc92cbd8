//! Generates the reference of scenario files in `docs/simulation.md` from the declarations of the
//! keys.

use unisono_config::file::{KeyText, KnownSection};

use super::distributions::DistributionForm;
use super::faults;
use crate::scenario::keys::units::{DURATIONS, RATES};
use crate::scenario::keys::{Choice, Form, Key, Known, REQUIRED, Table, Tagged};
use crate::scenario::{
    Chaos, Cluster, ComputeModel, EventPattern, Expect, ExpectedEvent, Family, Fault, FaultKind,
    LinkOverride, Liveness, NetworkModel, SimLimits, StorageModel, SyncKeys, TaskTime,
    WrongSetting, small_run,
};
use unisono_core::protocol::Limits;
use unisono_observe::trace::EventKind;

/// Returns all tables except `[train]` and the tables of the kinds of faults, in the order of the
/// reference documentation.
pub(super) fn tables() -> [&'static Known; 16] {
    macro_rules! known {
        ($($table:ident)+) => { [$($table::known()),+] };
    }
    known! {
        Cluster WrongSetting SyncKeys Limits ComputeModel TaskTime NetworkModel LinkOverride
        StorageModel SimLimits Fault EventPattern Chaos Expect ExpectedEvent Liveness
    }
}

/// Returns the tables of [`tables`], and the tables of all kinds of faults.
pub(super) fn all_tables() -> Vec<&'static Known> {
    tables().into_iter().chain(faults::tables()).collect()
}

/// Returns the reference of scenario files, as Markdown.
#[must_use]
pub fn reference() -> String {
    let about = "A key with a default is written as `key = default`. In parentheses are the \
                 values that a key takes, unless the default or the text shows them.\n";
    let mut parts = vec![about.to_owned(), train()];
    for known in tables() {
        let heading = match known.form {
            Form::Inline => format!("### `{}`, of a `[[fault]]`", known.heading()),
            Form::Section | Form::Tables => format!("### `{}`", known.heading()),
        };
        parts.push(keys(&heading, known.meaning, &known.keys));
    }
    let about = "Each kind has these keys and the keys of `[[fault]]`.";
    parts.push(format!("### Kinds of faults\n\n{about}\n"));
    for (family, name) in Family::NAMED {
        let heading = format!("#### `{name}`");
        parts.push(keys(&heading, family.meaning(), &FaultKind::own_keys(*family)));
    }
    parts.push(events());
    let forms = DistributionForm::NAMED.iter().map(|(form, example)| (*example, form.meaning()));
    parts.push(meanings("### Distributions", "", forms));
    parts.push(units());
    parts.join("\n")
}

/// Returns a part of the reference: a heading, the text `about`, and a list of `items`.
fn part(heading: &str, about: &str, items: impl Iterator<Item = String>) -> String {
    let about = if about.is_empty() { String::new() } else { format!("{about}\n\n") };
    let items: String = items.map(|item| format!("- {item}\n")).collect();
    format!("{heading}\n\n{about}{items}")
}

fn keys(heading: &str, about: &str, keys: &[Key]) -> String {
    part(heading, about, keys.iter().map(key))
}

/// Returns the reference entry of a key: the key with its default, the values that the key takes,
/// and the meaning of the key.
fn key(Key { name, takes, default, meaning }: &Key) -> String {
    let mut details = Vec::new();
    let is_value = is_toml(default);
    // If the meaning of a key explains every value that the key takes, the values need no list.
    let is_explained = takes.split(", ").all(|value| meaning.contains(&format!("{value}: ")));
    let is_shown = is_value && ["bool", "duration", "tables"].contains(&takes.as_str());
    if !is_explained && !is_shown {
        details.push(takes.replace("number from ", ""));
    }
    if !is_value {
        let is_required = default.starts_with(REQUIRED);
        details.push(if is_required { default.clone() } else { format!("default: {default}") });
    }
    let assignment = if is_value { format!(" = {default}") } else { String::new() };
    let details = match details.join("; ") {
        empty if empty.is_empty() => empty,
        details => format!(" ({details})"),
    };
    format!("`{name}{assignment}`{details}: {meaning}")
}

fn meanings<'a>(
    heading: &str,
    about: &str,
    all: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    part(heading, about, all.map(|(name, meaning)| format!("`{name}`: {meaning}")))
}

fn events() -> String {
    let messages: Vec<_> = EventKind::ALL
        .iter()
        .filter_map(|kind| kind.name().strip_prefix("sends-"))
        .map(|kind| format!("`{kind}`"))
        .collect();
    let about = format!(
        "Each kind of [message](protocol.md#messages) has two events: `sends-KIND` at the sender \
         and `receives-KIND` at the receiver. The kinds are {}.\n\nThe other events are:",
        messages.join(", ")
    );
    let is_message =
        |kind: &EventKind| ["sends-", "receives-"].iter().any(|at| kind.name().starts_with(at));
    let others = EventKind::ALL.iter().filter(|kind| !is_message(kind));
    meanings("### Events", &about, others.map(|kind| (kind.name(), kind.meaning().trim())))
}

/// Returns whether a default is a TOML value. A default that is no TOML value is a description in
/// words.
fn is_toml(default: &str) -> bool {
    toml::de::DeValue::parse(default).is_ok()
}

fn train() -> String {
    let ours = small_run().settings();
    let changed = |key: KeyText| {
        let (name, value) = ours.iter().find(|(name, _)| *name == key.name)?;
        let value = if name == "hidden" { format!("[{value}]") } else { value.to_owned() };
        (value != key.default).then(|| format!("`{name} = {value}`"))
    };
    let about = "The keys of [`[train]` in the production file](configuration.md#train). Some \
                 defaults are smaller, so that a seed costs little:";
    part("### `[train]`", about, KnownSection::train().texts().filter_map(changed))
}

fn units() -> String {
    let names = |units: &[(&'static str, u64)]| {
        let names: Vec<_> = units.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    };
    let (durations, rates) = (names(&DURATIONS), names(&RATES));
    let items = [
        format!(
            "duration: a number and one of {durations}: `\"200us\"`, `\"1.5s\"`; a whole number \
             of nanoseconds"
        ),
        format!(
            "rate: a number and one of {rates}, per second: `\"1Gbit\"`, `\"50MB\"`; a whole \
             number of bytes"
        ),
        "range: one value, or `{ min = 1, max = 4 }`, where either may be absent".to_owned(),
        "task: `\"worker 1\"`, `\"ps 0\"`, `\"chief\"`, which is worker 0".to_owned(),
        "tasks: a task, or `\"workers\"`, `\"ps\"`, `\"all\"`".to_owned(),
        "step: a version, counted from 0; for an event of an update, that update".to_owned(),
    ];
    part("### Units, ranges, tasks", "", items.into_iter())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::scenario::Scenario;

    const BEGIN: &str = "<!-- begin of the generated reference: \
                         UPDATE_DOCS=1 cargo test -p unisono-sim the_documentation -->\n";
    const END: &str = "<!-- end of the generated reference -->\n";

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/simulation.md");
        let there = std::fs::read_to_string(path).unwrap();
        let (before, rest) = there.split_once(BEGIN).expect("the reference has a beginning");
        let (_, after) = rest.split_once(END).expect("the reference has an end");
        let fresh = format!("{before}{BEGIN}\n{}\n{END}{after}", reference());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &fresh).unwrap();
        } else {
            let remedy = "UPDATE_DOCS=1 cargo test -p unisono-sim the_documentation makes it so";
            assert!(there == fresh, "{remedy}");
        }
    }

    fn parse(text: &str) -> Scenario {
        Scenario::parse(text, "a.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Returns all tables of a scenario file. The table of a kind of fault comes with the name of
    /// the kind.
    fn named_tables() -> Vec<(&'static Known, String)> {
        let kinds = faults::tables().iter().zip(Family::NAMED);
        let kinds = kinds.map(|(known, (_, name))| (known, (*name).to_owned()));
        let others = tables().into_iter().filter(|known| known.name != Fault::known().name);
        others.map(|known| (known, String::new())).chain(kinds).collect()
    }

    /// Returns a valid value of a required key.
    fn sample(key: &Key, kind: &str) -> &'static str {
        match (key.name, kind) {
            ("id", _) => "\"f\"",
            ("node" | "from", _) => "\"worker 1\"",
            ("to", _) => "\"ps 0\"",
            ("key", _) => "\"batch_size\"",
            ("factor", _) => "3",
            ("time" | "by" | "at" | "latency", _) => "\"1ms\"",
            ("rate", _) => "\"1MB\"",
            ("event", _) => "\"computes\"",
            ("value", _) => "\"other\"",
            ("mode", "disk") => "\"eio\"",
            ("mode", "gradient") => "\"nan\"",
            ("skew_ppm", _) => "1",
            (name, _) => panic!("there is no sample for {name}"),
        }
    }

    /// Returns the lines of a table's required keys, except the key `without`.
    fn base(known: &Known, kind: &str, without: &str) -> String {
        let mut text = String::new();
        if !kind.is_empty() && without != "kind" {
            writeln!(text, "kind = \"{kind}\"").unwrap();
        }
        for key in known.keys.iter().filter(|key| key.name != "kind" && key.name != without) {
            let is_needed = key.default == REQUIRED
                || (known.name, key.name) == ("network.link", "latency")
                || (kind, key.name) == ("clock", "skew_ppm")
                || (key.name == "at" && !["at_step", "on"].contains(&without));
            if is_needed {
                writeln!(text, "{} = {}", key.name, sample(key, kind)).unwrap();
            }
        }
        text
    }

    /// Returns a file that contains this table with these keys.
    fn file(known: &Known, keys: &str) -> String {
        match known.form {
            Form::Section | Form::Tables => format!("{}\n{keys}", known.heading()),
            Form::Inline => {
                let keys: Vec<_> = keys.lines().collect();
                let fault = "[[fault]]\nid = \"f\"\nkind = \"pause\"\nnode = \"chief\"";
                format!("{fault}\n{} = {{ {} }}", known.name, keys.join(", "))
            }
        }
    }

    #[test]
    fn every_documented_default_is_the_real_one() {
        for (known, kind) in named_tables() {
            let base = base(known, &kind, "");
            let has =
                |key: &Key| base.lines().any(|line| line.starts_with(&format!("{} =", key.name)));
            for key in known.keys.iter().filter(|key| is_toml(&key.default) && !has(key)) {
                let given = format!("{base}{} = {}\n", key.name, key.default);
                let (with, without) = (parse(&file(known, &given)), parse(&file(known, &base)));
                assert_eq!(with, without, "{} of {}", key.name, known.name);
            }
        }
    }

    #[test]
    fn every_documented_key_is_read() {
        for (known, kind) in named_tables() {
            for key in &known.keys {
                let keys = format!("{}{} = 1979-05-27\n", base(known, &kind, key.name), key.name);
                let text = file(known, &keys);
                let error = Scenario::parse(&text, "a.toml").expect_err(&text).to_string();
                let (place, what) = error.split_once(": ").unwrap();
                assert!(place.starts_with("a.toml:"), "{error}");
                let names_it = what.starts_with(key.name)
                    || what.starts_with(&format!("{} is a table", key.name));
                assert!(names_it, "{} of {}: {error}", key.name, known.name);
            }
        }
    }

    #[test]
    fn defaults_that_are_not_toml_are_listed_here() {
        let words: std::collections::BTreeSet<_> = named_tables()
            .into_iter()
            .flat_map(|(known, _)| &known.keys)
            .map(|key| key.default.as_str())
            .filter(|default| !is_toml(default))
            .collect();
        let words: Vec<_> = words.into_iter().collect();
        insta::assert_snapshot!(words.join("\n"), @r#"
        R
        `"serial"`; `"provenance"` if R may be below N; `"none"` if any outcome will do
        `training_steps` if the run finishes, else any
        all but `"gradient"`
        any
        any task
        for ever
        none
        required
        required if `mode` is `"slow"`
        required if `outcome` is `"failed"`
        required: one of these three
        the network's
        the number of workers
        the value in `[cluster]`
        the value in `[sync]`
        "#);
    }
}
