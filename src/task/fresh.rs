//! `--fresh`: moves the old run of a logdir into a subfolder, so that a new run starts.
//!
//! The move renames each file, and neither deletes nor copies data. If a crash interrupts the move,
//! the next start with `--fresh` completes the move into the same subfolder.

use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use unisono_config::RunConfig;
use unisono_core::ids::{Job, TaskId};
use unisono_files::checkpoint::state::STATE_FILE;
use unisono_files::checkpoint::{DATA_DIR_FILE, step_of};
use unisono_files::disk::{Disk as _, DiskError, RealDisk};
use unisono_files::losses::error::LOSSES_FILE;
use unisono_observe::events::file::FILE_PREFIX;
use unisono_observe::report::REPORT_FILE;
use unisono_observe::{ledger, trace};

/// The prefix of the names of folders for old runs. A number follows the prefix.
const PREVIOUS: &str = "previous-";

/// The tasks whose files are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The files of all tasks. All tasks write to this logdir, and no task is running.
    WholeRun,
    /// The files of one task. Other tasks may be running with the same logdir.
    Task(TaskId),
}

/// Moves the old run of a logdir into a subfolder, and returns this folder. Returns `None` without
/// `--fresh`, or if there is no old run.
///
/// A caller that moves the chief's files must hold the lock on the logdir.
///
/// # Errors
/// Returns an error if a task still writes to one of the files, if `--init-from` names one of the
/// files, or if the operating system refuses an operation.
pub fn move_aside(run: &RunConfig, scope: Scope) -> anyhow::Result<Option<PathBuf>> {
    if !run.fresh {
        return Ok(None);
    }
    let logdir = &run.logdir;
    let names = match RealDisk.list(logdir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        names => names.map_err(DiskError::at("list the logdir", logdir))?,
    };
    let files: Vec<_> = names.iter().filter(|name| scope.has(name)).collect();
    if files.is_empty() {
        return Ok(None);
    }
    if let Some(path) = &run.init_from
        && is_among(path, logdir, &files)
    {
        bail!(
            "--init-from {} is a file of the run that --fresh would move: copy it to another folder \
             first",
            path.display()
        );
    }
    for name in files.iter().filter(|name| is_appended(name)) {
        check_unused(&logdir.join(name))?;
    }
    let target = folder_for(logdir, &names, &files)?;
    RealDisk.create_dir(&target).map_err(DiskError::at("make the folder", &target))?;
    for name in in_order(&files) {
        let to = target.join(name);
        RealDisk
            .rename(&logdir.join(name), &to)
            .map_err(DiskError::at("move a file of the old run to", &to))?;
    }
    // The new folder is synced before the old folder. So after a crash each file is in at least one
    // of the two folders.
    for folder in [&target, logdir] {
        RealDisk.sync_dir(folder).map_err(DiskError::at("sync the directory", folder))?;
    }
    Ok(Some(target))
}

impl Scope {
    fn has(self, name: &str) -> bool {
        match self {
            Self::WholeRun => is_of_chief(name) || is_appended(name),
            Self::Task(task) => {
                let is_ledger = task.job == Job::Ps && name == ledger::file_name(task.index);
                let is_chiefs = task == TaskId::CHIEF && is_of_chief(name);
                is_chiefs || is_ledger || name == trace::file::file_name(task)
            }
        }
    }
}

fn is_of_chief(name: &str) -> bool {
    let names = [LOSSES_FILE, STATE_FILE, DATA_DIR_FILE, REPORT_FILE];
    names.contains(&name) || step_of(name).is_some() || name.starts_with(FILE_PREFIX)
}

/// Returns whether the file is a ledger or a trace, to which a task appends lines during its run.
fn is_appended(name: &str) -> bool {
    let is_of_task = |prefix| name.starts_with(prefix) && name.ends_with(".jsonl");
    is_of_task("ledger-ps") || is_of_task("trace-")
}

/// Returns the files in the order of the move: the losses first, and the files from which a run
/// would be restored last. If a run without `--fresh` starts during the move, this run finds
/// checkpoints without their losses, and reports an error. In the opposite order, this run would
/// start from the beginning and truncate the old losses.
fn in_order<'a>(files: &[&'a String]) -> Vec<&'a String> {
    let mut files = files.to_vec();
    files.sort_by_key(|name| {
        let rank = match name.as_str() {
            LOSSES_FILE => 0,
            STATE_FILE => 3,
            _ if step_of(name).is_some() => 2,
            _ => 1,
        };
        (rank, step_of(name))
    });
    files
}

/// Returns the subfolder for the old run: the subfolder with the largest number, if it contains
/// none of the files, and otherwise a new subfolder. The subfolder with the largest number contains
/// none of the files after an interrupted move, and after the move of another task.
fn folder_for(logdir: &Path, names: &[String], files: &[&String]) -> Result<PathBuf, DiskError> {
    let number = |name: &String| name.strip_prefix(PREVIOUS)?.parse::<u32>().ok();
    let newest = names.iter().filter_map(number).max();
    if let Some(newest) = newest {
        let folder = logdir.join(format!("{PREVIOUS}{newest}"));
        let there = RealDisk.list(&folder).map_err(DiskError::at("list the folder", &folder))?;
        let there: BTreeSet<_> = there.iter().collect();
        if files.iter().all(|name| !there.contains(name)) {
            return Ok(folder);
        }
    }
    Ok(logdir.join(format!("{PREVIOUS}{}", newest.unwrap_or(0).saturating_add(1))))
}

fn is_among(path: &Path, logdir: &Path, files: &[&String]) -> bool {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let same_folder = parent
        .canonicalize()
        .is_ok_and(|parent| logdir.canonicalize().is_ok_and(|logdir| logdir == parent));
    let name = path.file_name().and_then(|name| name.to_str());
    same_folder && name.is_some_and(|name| files.iter().any(|file| *file == name))
}

/// Checks that no task has locked the file. A task locks every file to which it appends.
fn check_unused(path: &Path) -> anyhow::Result<()> {
    let file =
        RealDisk::open_to_read(path).with_context(|| format!("cannot open {}", path.display()))?;
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!(
            "another process writes {}: end it before --fresh, or choose another --logdir",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_RUN: [&str; 8] = [
        "losses.csv",
        "checkpoint",
        "data_dir",
        "model.ckpt-20.safetensors",
        "events.out.tfevents.0000000001.host.000000",
        "ledger-ps0.jsonl",
        "trace-worker0.jsonl",
        "trace-ps0.jsonl",
    ];

    fn logdir_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(folder.path().join(name), name).unwrap());
        folder
    }

    fn fresh(logdir: &Path) -> RunConfig {
        RunConfig { fresh: true, logdir: logdir.to_owned(), ..RunConfig::default() }
    }

    fn names(folder: &Path) -> Vec<String> {
        RealDisk.list(folder).unwrap()
    }

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_run_moves_and_files_of_the_user_stay() {
        let folder = logdir_with(&OLD_RUN);
        let logdir = folder.path();
        std::fs::write(logdir.join("notes.txt"), "mine").unwrap();
        let target = move_aside(&fresh(logdir), Scope::WholeRun).unwrap().expect("there is a run");
        assert_eq!(target, logdir.join("previous-1"));
        assert_eq!(names(logdir), ["notes.txt", "previous-1"]);
        assert_eq!(names(&target), sorted(&OLD_RUN));
        for name in OLD_RUN {
            assert_eq!(std::fs::read_to_string(target.join(name)).unwrap(), name);
        }
        assert_eq!(move_aside(&fresh(logdir), Scope::WholeRun).unwrap(), None, "there is none now");

        std::fs::write(logdir.join("losses.csv"), "second").unwrap();
        move_aside(&fresh(logdir), Scope::WholeRun).unwrap();
        assert_eq!(names(logdir), ["notes.txt", "previous-1", "previous-2"]);
        assert_eq!(names(&logdir.join("previous-2")), ["losses.csv"]);
    }

    #[test]
    fn interrupted_move_is_completed_in_the_same_folder() {
        let folder = logdir_with(&OLD_RUN[1..]);
        let logdir = folder.path();
        std::fs::create_dir(logdir.join("previous-1")).unwrap();
        std::fs::write(logdir.join("previous-1/losses.csv"), "moved").unwrap();
        move_aside(&fresh(logdir), Scope::WholeRun).unwrap();
        assert_eq!(names(logdir), ["previous-1"]);
        assert_eq!(names(&logdir.join("previous-1")), sorted(&OLD_RUN));
    }

    #[test]
    fn losses_move_first_and_the_list_of_checkpoints_last() {
        let all = OLD_RUN.map(str::to_owned);
        let order = in_order(&all.iter().collect::<Vec<_>>());
        assert_eq!((order[0].as_str(), order[7].as_str()), ("losses.csv", "checkpoint"));
        assert_eq!(order[6], "model.ckpt-20.safetensors");
    }

    #[test]
    fn task_moves_its_own_files_only() {
        let folder = logdir_with(&OLD_RUN);
        let logdir = folder.path();
        move_aside(&fresh(logdir), Scope::Task(TaskId::CHIEF)).unwrap();
        assert_eq!(names(logdir), ["ledger-ps0.jsonl", "previous-1", "trace-ps0.jsonl"]);
        move_aside(&fresh(logdir), Scope::Task(TaskId::worker(1))).unwrap();
        assert_eq!(names(logdir), ["ledger-ps0.jsonl", "previous-1", "trace-ps0.jsonl"]);
        move_aside(&fresh(logdir), Scope::Task(TaskId::ps(0))).unwrap();
        assert_eq!(names(logdir), ["previous-1"], "one folder for one old run");
    }

    #[test]
    fn run_is_not_moved_while_a_task_writes_or_the_new_run_starts_from_it() {
        let folder = logdir_with(&OLD_RUN);
        let logdir = folder.path();
        let ledger = std::fs::File::open(logdir.join("ledger-ps0.jsonl")).unwrap();
        ledger.lock().unwrap();
        let error = move_aside(&fresh(logdir), Scope::WholeRun).unwrap_err().to_string();
        assert!(error.contains("another process writes"), "{error}");
        drop(ledger);
        let init_from = Some(logdir.join("model.ckpt-20.safetensors"));
        let run = RunConfig { init_from, ..fresh(logdir) };
        let error = move_aside(&run, Scope::WholeRun).unwrap_err().to_string();
        assert!(error.contains("copy it to another folder"), "{error}");
        assert_eq!(names(logdir), sorted(&OLD_RUN));
    }

    #[test]
    fn run_without_the_fresh_flag_moves_no_file() {
        let folder = logdir_with(&OLD_RUN);
        let run = RunConfig { fresh: false, ..fresh(folder.path()) };
        assert_eq!(move_aside(&run, Scope::WholeRun).unwrap(), None);
        assert_eq!(names(folder.path()), sorted(&OLD_RUN));
    }
}
