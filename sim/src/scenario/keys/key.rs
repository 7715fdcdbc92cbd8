//! Keys and tables of a scenario file, as the reader checks them and the reference shows them.

/// A key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// The type and the limits of the values.
    pub(crate) takes: String,
    /// The default as TOML, or in words.
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

/// A kind of fault. Its own keys follow the keys of all faults.
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
    /// For a `[[fault]]` of a known kind.
    pub(crate) kind: Option<Kind>,
}

impl Known {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The message for a required key that a table does not have.
    pub(crate) fn missing(&self, name: &str) -> String {
        let key = self.keys.iter().find(|key| key.name == name).expect("the key is known");
        let takes = key.takes.replace('`', "");
        format!("{name} is missing in {}; it takes: {takes}", self.heading())
    }

    /// The table's heading in a file.
    pub(crate) fn heading(&self) -> String {
        match self.form {
            Form::Section => format!("[{}]", self.name),
            Form::Tables => format!("[[{}]]", self.name),
            Form::Inline => format!("{} = {{ … }}", self.name),
        }
    }
}

/// The default of a key that has none.
pub(crate) const REQUIRED: &str = "required";
