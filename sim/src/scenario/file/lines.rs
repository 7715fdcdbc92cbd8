//! A scenario file while it is written.

use super::table::Table;

/// The lines of a table, and the tables that belong after it.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    keys: Vec<String>,
    tables: Vec<String>,
}

impl Lines {
    pub(crate) fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        self.keys.push(format!("{key} = {value}"));
    }

    /// Adds a table, even one without keys.
    pub(crate) fn table<T: Table>(&mut self, table: &T) {
        let Self { keys, tables } = Self::of(table, None);
        self.tables.push(block(&T::known().heading(), &keys));
        self.tables.extend(tables);
    }

    /// Adds a section, unless all of its keys have the default values.
    pub(super) fn section<T: Table>(&mut self, section: &T, default: Option<&T>) {
        let Self { keys, tables } = Self::of(section, default);
        self.text(&T::known().heading(), &keys);
        self.tables.extend(tables);
    }

    /// Adds these lines as a section, if there are any.
    pub(super) fn text(&mut self, heading: &str, keys: &[String]) {
        if !keys.is_empty() {
            self.tables.push(block(heading, keys));
        }
    }

    /// The file that consists of these tables.
    pub(super) fn into_file(self) -> String {
        self.tables.join("\n")
    }

    /// The keys of a table as an inline table.
    pub(crate) fn inline<T: Table>(table: &T) -> String {
        braced(&Self::of(table, None).keys)
    }

    fn of<T: Table>(table: &T, default: Option<&T>) -> Self {
        let mut lines = Self::default();
        <T as Table>::write(table, default, &mut lines);
        lines
    }
}

/// An inline table with these keys.
pub(super) fn braced(keys: &[String]) -> String {
    if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn block(heading: &str, keys: &[String]) -> String {
    let lines = std::iter::once(heading).chain(keys.iter().map(String::as_str));
    lines.flat_map(|line| [line, "\n"]).collect()
}
