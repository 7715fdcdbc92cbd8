//! The reference in `docs/simulation.md`, out of the same texts that the reader knows keys by.

use std::fmt::Write as _;

use unisono_config::file::KnownSection;

use super::distributions::FORMS;
use super::keys;
use super::keys::FAULTS;
use super::units::{DURATIONS, RATES};
use crate::scenario::Scenario;
use crate::scenario::file::keys::key::{Form, Known, UNLIMITED};
use unisono_observe::trace::EventKind;

/// The reference of scenario files, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    train(&mut text);
    for known in keys::ALL {
        let place = match known.form {
            Form::Inline => format!("`{}`, of a `[[fault]]`", known.heading()),
            Form::Section | Form::Tables => format!("`{}`", known.heading()),
        };
        write!(text, "### {place}\n\n{}\n\n", known.meaning).expect(TAKES_ALL);
        table(&mut text, known, 0);
    }
    faults(&mut text);
    events(&mut text);
    distributions(&mut text);
    units(&mut text);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

const TAKES_ALL: &str = "a String takes all";

/// The groups of keys from `first` on.
fn table(text: &mut String, known: &Known, first: usize) {
    text.push_str("| key | takes | default | what it is |\n|---|---|---|---|\n");
    for key in known.keys.iter().skip(first).copied().flatten() {
        let default = if is_toml(key.default) {
            format!("`{}`", key.default)
        } else {
            key.default.to_owned()
        };
        writeln!(text, "| `{}` | {} | {default} | {} |", key.name, key.takes, key.meaning)
            .expect(TAKES_ALL);
    }
    text.push('\n');
}

/// Whether a default is a value, not words.
fn is_toml(default: &str) -> bool {
    toml::de::DeValue::parse(default).is_ok()
}

fn train(text: &mut String) {
    text.push_str(
        "### `[train]`\n\nThe keys of the production file, with defaults so small that a seed costs \
         little.\n\n| key | what it is | default |\n|---|---|---|\n",
    );
    let ours = Scenario::default().run.settings();
    for key in KnownSection::train().texts() {
        let ours = ours.iter().find(|(name, _)| *name == key.name);
        let default = match ours {
            Some(("hidden", sizes)) => format!("[{sizes}]"),
            Some((_, value)) => value.to_owned(),
            None => key.default,
        };
        let what = key.what.replace(", comma-separated; \"\" is", "; [] is");
        writeln!(text, "| `{}` | {what} | {default} |", key.name).expect(TAKES_ALL);
    }
    text.push('\n');
}

fn faults(text: &mut String) {
    text.push_str("### Kinds of faults\n\nWhat each has beside the keys above.\n\n");
    for (family, known) in &FAULTS {
        write!(text, "#### `kind = \"{}\"`\n\n{}\n\n", family.name(), known.meaning)
            .expect(TAKES_ALL);
        table(text, known, 1);
    }
}

fn events(text: &mut String) {
    text.push_str("### Events\n\n| event | what it means |\n|---|---|\n");
    for kind in EventKind::ALL {
        writeln!(text, "| `{}` | {} |", kind.name(), kind.meaning().trim()).expect(TAKES_ALL);
    }
    text.push('\n');
}

fn distributions(text: &mut String) {
    text.push_str("### Distributions\n\n| distribution | what it is |\n|---|---|\n");
    for form in FORMS {
        writeln!(text, "| `{}` | {} |", form.example, form.meaning).expect(TAKES_ALL);
    }
    text.push('\n');
}

fn units(text: &mut String) {
    let names = |units: &[(&'static str, u64)]| {
        let names: Vec<_> = units.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    };
    write!(
        text,
        "### Units, ranges, tasks\n\n\
         | value | how it is written |\n|---|---|\n\
         | duration | a number and one of {}: `\"200us\"`, `\"1.5s\"`; whole nanoseconds |\n\
         | rate | a number and one of {}, each a second: `\"1Gbit\"`, `\"50MB\"`; whole bytes; \
         `\"{UNLIMITED}\"` where a limit can be lifted |\n\
         | range | one value, or `{{ min = 1, max = 4 }}`, of which either may be left out |\n\
         | task | `\"worker 1\"`, `\"ps 0\"`, `\"chief\"`, which is worker 0 |\n\
         | tasks | a task, or `\"workers\"`, `\"ps\"`, `\"all\"` |\n\
         | step | a version, counted from 0; of an event at an update, that update |\n",
        names(&DURATIONS),
        names(&RATES),
    )
    .expect(TAKES_ALL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file::keys::key::{Key, REQUIRED};

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

    /// All tables, the kinds of faults among them.
    fn tables() -> Vec<(&'static Known, String)> {
        let kinds = FAULTS.iter().map(|(family, known)| (known, family.name().to_owned()));
        let others = keys::ALL.into_iter().filter(|known| known.name != keys::FAULT.name);
        others.map(|known| (known, String::new())).chain(kinds).collect()
    }

    /// A value that a key can have.
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

    /// What a table must have to be one, but for `without`.
    fn base(known: &Known, kind: &str, without: &str) -> String {
        let mut text = String::new();
        if !kind.is_empty() && without != "kind" {
            writeln!(text, "kind = \"{kind}\"").unwrap();
        }
        for key in known.keys().filter(|key| key.name != "kind" && key.name != without) {
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

    /// A file that has this table, with these keys.
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
        for (known, kind) in tables() {
            let base = base(known, &kind, "");
            let has =
                |key: &Key| base.lines().any(|line| line.starts_with(&format!("{} =", key.name)));
            for key in known.keys().filter(|key| is_toml(key.default) && !has(key)) {
                let given = format!("{base}{} = {}\n", key.name, key.default);
                let (with, without) = (parse(&file(known, &given)), parse(&file(known, &base)));
                assert_eq!(with, without, "{} of {}", key.name, known.name);
            }
        }
    }

    #[test]
    fn every_documented_key_is_read() {
        for (known, kind) in tables() {
            for key in known.keys() {
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
    fn every_default_in_words_is_one_that_a_person_can_find() {
        let words: std::collections::BTreeSet<_> = tables()
            .into_iter()
            .flat_map(|(known, _)| known.keys())
            .map(|key| key.default)
            .filter(|default| !is_toml(default))
            .collect();
        let words: Vec<_> = words.into_iter().collect();
        insta::assert_snapshot!(words.join("\n"), @r#"
        R
        `"serial"`; `"provenance"` if R may be below N; `"none"` if any outcome will do
        `training_steps` if the run finishes, else any
        all but `"gradient"`
        any
        anybody
        for ever
        none
        one of these three
        required
        required if the mode is `"slow"`
        required if the outcome is `"failed"`
        the network's
        the number of workers
        what `[cluster]` says
        what `[sync]` says
        "#);
    }
}
