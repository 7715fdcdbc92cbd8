//! The lines of a scenario file that is being written.

/// The keys of a table, and the tables that must follow these keys.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    keys: Vec<String>,
    tables: Vec<String>,
}

impl Lines {
    pub(crate) fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        self.keys.push(format!("{key} = {value}"));
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, heading: &str, Self { keys, tables }: Self) {
        self.tables.push(
            std::iter::once(heading.to_owned()).chain(keys).map(|line| line + "\n").collect(),
        );
        self.tables.extend(tables);
    }

    /// Adds a section, unless it has no keys.
    pub(crate) fn section(&mut self, heading: &str, mut section: Self) {
        if section.keys.is_empty() {
            self.tables.append(&mut section.tables);
        } else {
            self.table(heading, section);
        }
    }

    /// Returns the file that consists of these tables.
    pub(crate) fn into_file(self) -> String {
        self.tables.join("\n")
    }

    /// Returns the keys as an inline table.
    pub(crate) fn into_inline(self) -> String {
        braced(&self.keys)
    }
}

/// Returns an inline table with these keys.
pub(crate) fn braced(keys: &[String]) -> String {
    if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
}

/// Returns a text as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
