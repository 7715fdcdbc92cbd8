//! Loads the scenarios that the command line names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use unisono_learn::Workload;
use unisono_terminal::UsageError;

use crate::cli::common::CAPSULES;
use crate::many::case::Source;
use crate::run::play::configured;

/// The maximum nesting of folders. The limit ends the search if a symbolic link leads to a parent
/// folder.
const DEEPEST: usize = 16;

/// Loads the given scenario files, and all scenario files in the given folders. Reports the
/// mistakes of all files together, before any run is played.
pub(super) fn load_all(paths: &[PathBuf], workload: &Workload) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = BTreeSet::new();
            collect(path, DEEPEST, &mut found).map_err(UsageError)?;
            if found.is_empty() {
                return Err(usage(format!("{} contains no *.toml file", path.display())));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    let (mut sources, mut wrong) = (Vec::new(), Vec::new());
    for file in &files {
        match load(file, workload) {
            Ok(source) => sources.push(source),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    if wrong.is_empty() { Ok(sources) } else { Err(usage(wrong.join("\nerror: "))) }
}

/// Loads one scenario file, and adds the settings of the workload.
pub(super) fn load(path: &Path, workload: &Workload) -> anyhow::Result<Source> {
    let source = Source::load(path).map_err(|error| UsageError(error.into()))?;
    let scenario = configured(&source.scenario, workload);
    let scenario = scenario.map_err(|why| usage(format!("{}: {why}", path.display())))?;
    Ok(Source { scenario, ..source })
}

/// Returns a usage error. The program then exits with the code `EXIT_USAGE`.
pub(super) fn usage(what: impl Into<String>) -> anyhow::Error {
    UsageError(anyhow::anyhow!("{}", what.into())).into()
}

fn collect(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if depth == 0 {
        bail!("{}: folders are nested more than {DEEPEST} deep", folder.display());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            // This folder contains shrunk scenarios beside their failure capsules. All of these
            // scenarios fail.
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

/// Returns whether a path names a scenario file. All other files are read as failure capsules.
pub(super) fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}
