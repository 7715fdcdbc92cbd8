//! What a key and a section of a scenario file are.

/// A key.
#[derive(Debug)]
pub(in crate::scenario::file) struct Key {
    pub(in crate::scenario::file) name: &'static str,
    /// What it takes.
    pub(in crate::scenario::file) takes: &'static str,
    /// As TOML, or in words.
    pub(in crate::scenario::file) default: &'static str,
    pub(in crate::scenario::file) meaning: &'static str,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenario::file) enum Form {
    /// `[name]`
    Section,
    /// `[[name]]`
    Tables,
    /// `{ … }`
    Inline,
}

/// A table, and its keys.
#[derive(Debug)]
pub(in crate::scenario::file) struct Known {
    pub(in crate::scenario::file) name: &'static str,
    pub(in crate::scenario::file) form: Form,
    pub(in crate::scenario::file) meaning: &'static str,
    pub(in crate::scenario::file) keys: &'static [&'static [Key]],
}

impl Known {
    pub(in crate::scenario::file) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().copied().flatten()
    }

    pub(in crate::scenario::file) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys().map(|key| key.name)
    }

    pub(in crate::scenario::file) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// What to say where a key should be.
    pub(in crate::scenario::file) fn missing(&self, name: &str) -> String {
        let key = self.keys().find(|key| key.name == name).expect("only known keys are looked for");
        let takes = key.takes.replace('`', "");
        format!("{name} is missing in {}; it takes: {takes}", self.heading())
    }

    /// How it is written.
    pub(in crate::scenario::file) fn heading(&self) -> String {
        match self.form {
            Form::Section => format!("[{}]", self.name),
            Form::Tables => format!("[[{}]]", self.name),
            Form::Inline => format!("{} = {{ … }}", self.name),
        }
    }
}

/// For rates without a limit.
pub(in crate::scenario::file) const UNLIMITED: &str = "unlimited";

/// For losses that are compared with nothing.
pub(in crate::scenario::file) const NONE: &str = "none";

/// A key that must be there.
pub(in crate::scenario::file) const REQUIRED: &str = "required";

pub(in crate::scenario::file) const fn key(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, takes, default, meaning }
}

pub(in crate::scenario::file) const fn section(
    name: &'static str,
    meaning: &'static str,
    keys: &'static [&'static [Key]],
) -> Known {
    Known { name, form: Form::Section, meaning, keys }
}

pub(in crate::scenario::file) const fn tables(
    name: &'static str,
    meaning: &'static str,
    keys: &'static [&'static [Key]],
) -> Known {
    Known { name, form: Form::Tables, meaning, keys }
}

pub(in crate::scenario::file) const fn inline(
    name: &'static str,
    meaning: &'static str,
    keys: &'static [&'static [Key]],
) -> Known {
    Known { name, form: Form::Inline, meaning, keys }
}
