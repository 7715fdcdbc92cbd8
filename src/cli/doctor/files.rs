//! The files: data, logdir, and room on the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;

use super::finding::Finding;
use crate::checkpoint::{RealDisk, Restored, Saver, Warning};
use crate::cli::{data, task};
use crate::config::RunConfig;
use crate::host::Clock as _;
use crate::model::SimdLevel;
use crate::tcp::RealClock;
use crate::training::Plan;

/// A disk that takes longer makes the end of a run, and nothing else, wait for it.
const SLOW: Duration = Duration::from_millis(500);

/// As a line of `losses.csv`, about.
const BYTES_A_LOSS: u64 = 24;
/// Room for a run of a model that is not known.
const BYTES_OF_A_RUN: u64 = 64 << 20;

/// The data of a run, and what it computes with.
pub(super) fn data(run: &RunConfig, level: SimdLevel) -> (Option<Plan>, Finding) {
    let plan = data::open(run).and_then(|data| Plan::new(run, data, level));
    match plan {
        Ok(plan) => {
            let data = &plan.data;
            let what = format!(
                "{}: {} examples to train on, of {} features and {} classes; digest {}…, the same \
                 on all workers",
                data.name(),
                data.train.len(),
                data.train.n_features(),
                data.train.n_classes(),
                &data.digest()[..16]
            );
            (Some(plan), Finding::ok("data", what))
        }
        Err(error) => (None, Finding::error("data", &error.into())),
    }
}

/// Whether training can go on from what is in the logdir, if anything is.
pub(super) fn checkpoint(run: &RunConfig, plan: &Plan) -> Vec<Finding> {
    let restored = task::files(plan, run)
        .map_err(anyhow::Error::from)
        .and_then(|files| Ok(files.look(&RealDisk)?));
    match restored {
        Err(error) => vec![Finding::error("checkpoint", &error)],
        Ok(Restored { path: None, .. }) => {
            let from = if run.init_from.is_some() { "the given" } else { "random" };
            vec![Finding::ok("checkpoint", format!("there is none: a run begins at {from} values"))]
        }
        Ok(Restored { path: Some(path), warnings, .. }) => {
            let warning = |warning: &Warning| {
                let remedy = match warning {
                    Warning::Changed { .. } => "if that is not meant, give another --logdir",
                    Warning::State { .. } => "nothing: the files themselves are looked at",
                    _ => "put a good copy back, if there is one; the run goes on without",
                };
                Finding::warn("checkpoint", warning.to_string(), remedy)
            };
            let what = format!("a run goes on from {}", path.display());
            let warnings = warnings.iter().map(warning);
            warnings.chain([Finding::ok("checkpoint", what)]).collect()
        }
    }
}

/// Whether files can be made in the logdir, and how long the disk takes to keep one.
pub(super) fn logdir(run: &RunConfig) -> Finding {
    if let Some(file) = run.logdir.ancestors().find(|above| above.is_file()) {
        return Finding::fail(
            "logdir",
            format!("{} is a file", file.display()),
            "give a folder with --logdir",
        );
    }
    let (logdir, folder) = (&run.logdir, existing(&run.logdir));
    let named = if folder == *logdir {
        logdir.display().to_string()
    } else {
        format!("{}, where {} will be made", folder.display(), logdir.display())
    };
    let took = match try_out(&folder) {
        Ok(took) => took,
        Err(error) => {
            return Finding::fail(
                "logdir",
                format!("no file can be kept in {named}: {error}"),
                "make it writable for this user, or give another --logdir",
            );
        }
    };
    if folder == *logdir && is_locked(logdir) {
        return Finding::warn(
            "logdir",
            format!("a run is writing to {}", logdir.display()),
            "let it end, or give another --logdir; a second chief would be refused",
        );
    }
    let took_ms = took.as_secs_f64() * 1e3;
    let what = format!("files can be kept in {named}; one is on the disk in {took_ms:.1} ms");
    if took > SLOW {
        return Finding::warn(
            "logdir",
            what,
            "the disk is slow: steps do not wait for it, but the end of the run does",
        );
    }
    Finding::ok("logdir", what)
}

/// The folder itself, or the nearest one above that is there.
fn existing(path: &Path) -> PathBuf {
    let above = path.ancestors().find(|above| above.is_dir());
    let here = Path::new(".");
    above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(here).to_owned()
}

/// Makes a file, has it on the disk, and takes it away again.
fn try_out(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".unisono-doctor-{}", std::process::id()));
    let clock = RealClock::start();
    let mut options = OpenOptions::new();
    let tried = options.write(true).create_new(true).open(&path).and_then(|mut file| {
        let start = clock.now();
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        Ok(clock.now() - start)
    });
    let removed = fs::remove_file(&path);
    tried.and_then(|took| removed.map(|()| took))
}

fn is_locked(logdir: &Path) -> bool {
    File::open(logdir).is_ok_and(|dir| matches!(dir.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Whether there is room for what a run leaves.
pub(super) fn space(run: &RunConfig, plan: Option<&Plan>) -> Finding {
    let folder = existing(&run.logdir);
    match statvfs(&folder) {
        Ok(there) => judge_space(there.f_bavail.saturating_mul(there.f_frsize), needed(run, plan)),
        Err(error) => Finding::warn(
            "space",
            format!("how much room there is in {} cannot be told: {error}", folder.display()),
            "see that there is enough",
        ),
    }
}

/// Bytes that the files of a run take: the checkpoints that are kept, one more while it is written,
/// and the losses.
fn needed(run: &RunConfig, plan: Option<&Plan>) -> u64 {
    let Some(plan) = plan else { return BYTES_OF_A_RUN };
    let n_values: usize =
        plan.layout.variables().iter().map(|v| v.shape.iter().product::<usize>()).sum();
    let n_tensors = 1 + plan.rule.auxiliary_names().len();
    let checkpoint = 4 * (n_values * n_tensors) as u64;
    let losses = run.train.training_steps.saturating_mul(run.sync.slots_per_step().into());
    (checkpoint * (Saver::MAX_TO_KEEP.get() as u64 + 1))
        .saturating_add(losses.saturating_mul(BYTES_A_LOSS))
}

fn judge_space(free: u64, needed: u64) -> Finding {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let what = format!("{} are free, and a run takes up to {}", megabytes(free), megabytes(needed));
    if free < needed {
        return Finding::fail("space", what, "make room, or give a --logdir on another disk");
    }
    Finding::ok("space", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::tests::line;

    #[test]
    fn a_disk_that_is_nearly_full_is_a_failure() {
        assert_eq!(
            line(judge_space(9_999_999, 10_000_000)),
            "fail  space  10.0 MB are free, and a run takes up to 10.0 MB; make room, or give a \
             --logdir on another disk"
        );
        assert!(line(judge_space(10_000_000, 10_000_000)).starts_with("ok"));
        let run = RunConfig::default();
        let plan = data(&run, SimdLevel::detect()).0.expect("the built-in digits are good");
        // 397,510 parameters, six times, and two losses for each of 10,000 steps.
        assert_eq!(needed(&run, Some(&plan)), 4 * 397_510 * 6 + 24 * 20_000);
    }

    #[test]
    fn a_folder_that_is_not_there_is_tried_where_it_will_be_made() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let logdir = dir.path().join("a/b");
        assert_eq!(existing(&logdir), dir.path());
        assert_eq!(existing(Path::new("no-such-folder")), Path::new("."));
        let run = RunConfig { logdir, ..RunConfig::default() };
        assert!(!line(super::logdir(&run)).starts_with("fail"));
        assert_eq!(fs::read_dir(dir.path()).expect("it can be listed").count(), 0);
    }
}
