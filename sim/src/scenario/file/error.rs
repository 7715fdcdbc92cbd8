//! Errors in scenario files, with file and line.

use std::path::{Path, PathBuf};

use unisono_config::file::{Wrong, line_of};

use crate::scenario::Place;

/// The reason why a scenario cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file, or a file that it extends, has a mistake.
    #[error("{}:{line}: {what}\n    {text}", path.display())]
    Wrong {
        /// The file that has the mistake.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line without leading and trailing spaces.
        text: String,
        /// The key, the mistake, and how to correct it.
        what: String,
    },
}

/// The texts of a file and of the files that it extends.
///
/// Each text begins with as many spaces as needed to start behind the end of the preceding text. So
/// no two texts share an offset, an offset also identifies the file, and the keys of the merged
/// table keep their offsets.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    path: PathBuf,
    begin: usize,
    padded: String,
}

impl Sources {
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        let begin = self.0.last().map_or(0, |source| source.padded.len() + 1);
        // `repeat` is used because the format `{:begin$}` panics above 65,535.
        let padded = " ".repeat(begin) + text;
        self.0.push(Source { path: path.to_owned(), begin, padded });
    }

    /// Returns the text that was added last, with its padding, for the TOML parser.
    pub(super) fn last(&self) -> &str {
        &self.0.last().expect("there is a text").padded
    }

    /// Returns all texts, in the order in which `add` was called.
    pub(super) fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().map(|source| &*source.padded)
    }

    /// Returns the folder of the file that contains this offset.
    pub(super) fn folder(&self, at: usize) -> &Path {
        self.of(at).path.parent().unwrap_or_else(|| Path::new(""))
    }

    pub(super) fn error(&self, wrong: Wrong) -> ScenarioError {
        let (path, line, text) = self.line(wrong.at);
        let (path, text) = (path.to_owned(), text.to_owned());
        ScenarioError::Wrong { path, line, text, what: wrong.what }
    }

    /// Returns the line that contains this offset.
    pub(super) fn place(&self, at: usize) -> Place {
        let (path, line, text) = self.line(at);
        Place { path: path.display().to_string(), line, text: text.to_owned() }
    }

    fn line(&self, at: usize) -> (&Path, usize, &str) {
        let Source { path, begin, padded } = self.of(at);
        let (text, at) = (&padded[*begin..], at.saturating_sub(*begin));
        let line = line_of(text, at);
        (path, line, text.lines().nth(line - 1).unwrap_or_default().trim())
    }

    fn of(&self, at: usize) -> &Source {
        self.0.iter().rfind(|source| source.begin <= at).expect("the first begins at 0")
    }
}
