//! Paths to scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use unisono_terminal::UsageError;

use crate::cli::common::CAPSULES;
use crate::many::case::Source;

/// Folders within folders: no more than this, so that a link to a folder above ends, too.
const DEEPEST: usize = 16;

/// The scenarios of all paths, folders with all that is in them. All that is wrong with any of
/// them is told at once, before anything is played.
pub(super) fn load_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = BTreeSet::new();
            collect(path, DEEPEST, &mut found).map_err(UsageError)?;
            if found.is_empty() {
                return Err(usage(format!("{} has no *.toml file", path.display())));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    let (mut sources, mut wrong) = (Vec::new(), Vec::new());
    for file in &files {
        match load(file) {
            Ok(source) => sources.push(source),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    if wrong.is_empty() { Ok(sources) } else { Err(usage(wrong.join("\nerror: "))) }
}

/// One scenario.
pub(super) fn load(path: &Path) -> anyhow::Result<Source> {
    Source::load(path).map_err(|error| UsageError(error.into()).into())
}

pub(super) fn usage(what: impl Into<String>) -> anyhow::Error {
    UsageError(anyhow::anyhow!("{}", what.into())).into()
}

fn collect(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if depth == 0 {
        bail!("{} is too deep; folders within folders end somewhere", folder.display());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            // Shrunk scenarios are beside their capsules. Each fails, and none tells a story.
            if path.file_name().is_some_and(|name| name == CAPSULES) {
                continue;
            }
            collect(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.insert(path);
        }
    }
    Ok(())
}

/// Whether a path is a scenario file's; otherwise it is a capsule's.
pub(super) fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}
