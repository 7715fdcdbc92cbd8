//! Keys and tables of a scenario file, for the reader and for the reference documentation.

/// A key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// The type and the limits of the values.
    pub(crate) takes: String,
    /// The default, as TOML or in words.
    pub(crate) default: String,
    pub(crate) meaning: String,
}

/// The syntax of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `[name]`
    Section,
    /// `[[name]]`
    Tables,
    /// `{ … }`
    Inline,
}

/// A kind of fault. A fault has the keys of all faults, followed by the keys of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) n_common_keys: usize,
    pub(crate) has_target: bool,
}

/// A table and its keys.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) meaning: &'static str,
    pub(crate) keys: Vec<Key>,
    /// The kind of fault that the table describes; `None` for every other table.
    pub(crate) kind: Option<Kind>,
}

impl Known {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Returns the message for a required key that is missing in a table.
    pub(crate) fn missing(&self, name: &str) -> String {
        let key = self.keys.iter().find(|key| key.name == name).expect("the key is known");
        let takes = key.takes.replace('`', "");
        format!("{name} is missing in {}; it takes: {takes}", self.heading())
    }

    /// Returns the heading of the table in a file.
    pub(crate) fn heading(&self) -> String {
        match self.form {
            Form::Section => format!("[{}]", self.name),
            Form::Tables => format!("[[{}]]", self.name),
            Form::Inline => format!("{} = {{ … }}", self.name),
        }
    }
}

/// The text that the reference documentation shows as the default of a required key.
pub(crate) const REQUIRED: &str = "required";
