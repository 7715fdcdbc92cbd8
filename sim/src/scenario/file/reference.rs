//! The reference in `docs/simulation.md`, out of the same texts that the reader knows keys by.

use std::fmt::Write as _;

use unisono::config::file::KnownSection;

use super::distributions::FORMS;
use super::keys::{self, FAULTS, Form, Known, UNLIMITED};
use super::units::{DURATIONS, RATES};
use crate::happening::EventKind;
use crate::scenario::Scenario;

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
