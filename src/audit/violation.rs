//! A violation of a rule, described for the user.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Rule;
use unisono_core::ids::{Generation, Slot, Step};
use unisono_observe::ledger::StateHash;

/// A place in the files of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// Path of the file.
    pub path: PathBuf,
    /// Line number, from 1; `None` if the file has no lines.
    pub line: Option<usize>,
}

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Violated rule.
    pub rule: Rule,
    /// Step of the update, or version of the state.
    pub step: Step,
    /// Place of the violation in the files.
    pub place: FilePlace,
    /// Description of the expected content.
    pub wanted: String,
    /// Description of the actual content.
    pub found: String,
}

impl FilePlace {
    pub(super) fn line(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), line: Some(line) }
    }

    pub(crate) fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), line: None }
    }
}

impl fmt::Display for FilePlace {
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

/// Describes a generation by its number, and by the incarnation of the chief that opened it. The
/// number alone is not unique.
pub(super) fn full(generation: Generation) -> String {
    format!("{} (opened by the chief's incarnation {})", generation.number, generation.opener)
}

/// Lists the distinct hashes that a version has had, separated by `or`.
pub(super) fn any_of(known: &[(StateHash, Option<usize>)]) -> String {
    let hashes: BTreeSet<_> = known.iter().map(|(hash, _)| *hash).collect();
    hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

pub(super) fn listed(slots: &[Slot]) -> String {
    slots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
