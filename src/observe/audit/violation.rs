//! Something that is against a rule, as a person needs to hear it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Rule;
use crate::ledger::StateHash;
use unisono_core::ids::{Generation, Slot, Step};

/// Where in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if the file has lines.
    pub line: Option<usize>,
}

/// Something that is against a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The step of the update that it is about, or the version of the state.
    pub step: Step,
    /// Where it is to be seen.
    pub place: Place,
    /// What should be there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

impl Place {
    pub(super) fn line(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), line: Some(line) }
    }

    pub(crate) fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), line: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, step, place, wanted, found } = self;
        write!(f, "{rule}, is broken at step {step}, {place}: wanted {wanted}; found {found}")
    }
}

/// A generation in full: people call it by its number, but only both tell one from another.
pub(super) fn full(generation: Generation) -> String {
    format!("{} (opened by the chief's life {})", generation.number, generation.opener)
}

/// The hashes that a version had in one history or another.
pub(super) fn any_of(known: &[(StateHash, Option<usize>)]) -> String {
    let hashes: BTreeSet<_> = known.iter().map(|(hash, _)| *hash).collect();
    hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

pub(super) fn listed(slots: &[Slot]) -> String {
    slots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
