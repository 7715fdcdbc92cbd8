//! Checks of the files of a run: training data, logdir, and free space on the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;

use super::finding::Finding;
use unisono_config::RunConfig;
use unisono_core::host::Clock as _;
use unisono_files::checkpoint::{Saver, Warning};
use unisono_files::disk::{DanglingLink, Disk as _, RealDisk, unsupported_sync};
use unisono_files::run_files::Restored;
use unisono_learn::Workload;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::Plan;
use unisono_net::tcp::RealClock;
use unisono_task::setup;

/// If writing and syncing a small file takes longer than this, the disk counts as slow. A slow disk
/// causes only a warning, because only the end of a run waits for the disk.
const SLOW: Duration = Duration::from_millis(500);

/// The approximate number of bytes of a line of `losses.csv`.
const BYTES_A_LOSS: u64 = 24;
/// The assumed number of bytes for the files of a run whose model is unknown.
const BYTES_OF_A_RUN: u64 = 64 << 20;

/// Checks the training data of a run, and returns the plan of the run.
pub(super) fn data(
    run: &RunConfig,
    workload: &Workload,
    level: SimdLevel,
) -> (Option<Plan>, Finding) {
    match workload.plan(run, level) {
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

/// Checks whether training can resume from the checkpoints in the logdir, if there are any.
pub(super) fn checkpoint(run: &RunConfig, plan: &Plan) -> Vec<Finding> {
    if run.fresh {
        let what = "none: --fresh moves the old run aside first";
        return vec![Finding::ok("checkpoint", what)];
    }
    let restored = setup::files(plan, run)
        .map_err(anyhow::Error::from)
        .and_then(|files| Ok(files.look(&RealDisk)?));
    match restored {
        Err(error) => vec![Finding::error("checkpoint", &error)],
        Ok(Restored { path: None, .. }) => {
            let from = if run.init_from.is_some() { "the given" } else { "random" };
            vec![Finding::ok("checkpoint", format!("none: a run starts with {from} values"))]
        }
        Ok(Restored { path: Some(path), warnings, .. }) => {
            let warning = |warning: &Warning| {
                let remedy = match warning {
                    Warning::Changed { .. } => "if that is not intended, give another --logdir",
                    Warning::State { .. } => "no remedy is needed: the files themselves are read",
                    Warning::LossesMissing { .. } => "restore losses.csv, if there is a copy",
                    _ => "restore a good copy, if there is one; the run continues without",
                };
                Finding::warn("checkpoint", warning.to_string(), remedy)
            };
            let what = format!("a run resumes from {}", path.display());
            let warnings = warnings.iter().map(warning);
            warnings.chain([Finding::ok("checkpoint", what)]).collect()
        }
    }
}

/// Checks that a run can create the logdir and write files to it, and measures the speed of the
/// disk.
///
/// The check performs the same operations as the start of a run. If the logdir does not exist, the
/// check uses a temporary folder. So a run would have the same result.
pub(super) fn logdir(run: &RunConfig) -> Finding {
    if let Some(file) = run.logdir.ancestors().find(|above| above.is_file()) {
        let what = format!("{} is a file", file.display());
        return Finding::fail("logdir", what, "give a folder with --logdir");
    }
    if let Some(link) = DanglingLink::above(&run.logdir) {
        let remedy = "create the missing folder, or give another --logdir";
        return Finding::fail("logdir", link.to_string(), remedy);
    }
    let (logdir, folder) = (&run.logdir, existing(&run.logdir));
    let (named, tried) = if folder == *logdir {
        (logdir.display().to_string(), try_out(&folder))
    } else {
        let named = format!("{}, where {} will be created", folder.display(), logdir.display());
        (named, try_out_below(&folder))
    };
    match tried {
        Ok(tried) => judge_folder(logdir, &named, tried),
        Err(error) => refuse_folder(&named, &error),
    }
}

fn refuse_folder(named: &str, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or give another --logdir"
        }
        _ => "give a --logdir on another disk",
    };
    Finding::fail("logdir", format!("cannot write files in {named}: {error}"), remedy)
}

fn judge_folder(logdir: &Path, named: &str, tried: Tried) -> Finding {
    let Tried { took, lock, unsupported_sync } = tried;
    let logdir = logdir.display();
    match (lock, unsupported_sync) {
        (Err(TryLockError::WouldBlock), _) => Finding::warn(
            "logdir",
            format!("a run is writing to {logdir}"),
            "wait for its end, or give another --logdir; a second chief would be refused",
        ),
        (Err(TryLockError::Error(error)), _) => Finding::warn(
            "logdir",
            format!("{logdir} cannot be locked: {error}"),
            "start one chief only: nothing prevents a second one from writing there",
        ),
        (Ok(()), Some(error)) => Finding::warn(
            "logdir",
            format!("{logdir} cannot be synced: {error}"),
            "a power failure may undo the newest checkpoints: give a --logdir on another file system \
             if that matters",
        ),
        (Ok(()), None) => judge_time(named, took),
    }
}

fn judge_time(named: &str, took: Duration) -> Finding {
    let took_ms = took.as_secs_f64() * 1e3;
    let what = format!("can write files in {named}; writing and syncing one takes {took_ms:.1} ms");
    if took > SLOW {
        return Finding::warn(
            "logdir",
            what,
            "the disk is slow: steps do not wait for it, but the end of the run does",
        );
    }
    Finding::ok("logdir", what)
}

/// Returns the folder itself if it exists, otherwise its nearest ancestor that exists.
fn existing(path: &Path) -> PathBuf {
    let above = path.ancestors().find(|above| above.is_dir());
    let here = Path::new(".");
    above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(here).to_owned()
}

/// The results of writing a file to a folder.
struct Tried {
    /// The time for writing, syncing and publishing a small file.
    took: Duration,
    /// The result of an attempt to lock the folder in the same way as the chief locks the logdir.
    lock: Result<(), TryLockError>,
    /// The error of syncing the folder, if the file system cannot sync folders.
    unsupported_sync: Option<io::Error>,
}

/// Creates a temporary folder inside `folder`, in the same way as a run creates the logdir. Tests
/// the temporary folder, and removes it.
fn try_out_below(folder: &Path) -> io::Result<Tried> {
    let probe = probe_path(folder, "logdir");
    let tried = RealDisk.create_dir(&probe).and_then(|()| try_out(&probe));
    let removed = fs::remove_dir(&probe);
    tried.and_then(|tried| removed.map(|()| tried))
}

/// Replaces a file by a new file, in the same way as a run publishes the list of checkpoints. Then
/// removes the file, and tries to lock the folder.
fn try_out(folder: &Path) -> io::Result<Tried> {
    let [old, new] = ["old", "new"].map(|name| probe_path(folder, name));
    let clock = RealClock::start();
    let tried = write(&old).and_then(|()| {
        let start = clock.now();
        write(&new)?;
        fs::rename(&new, &old)?;
        RealDisk.sync_dir(folder)?;
        Ok(clock.now() - start)
    });
    // If the rename failed, the new file still exists.
    let _ = fs::remove_file(&new);
    let removed = fs::remove_file(&old);
    let took = tried.and_then(|took| removed.map(|()| took))?;
    let lock = File::open(folder)?.try_lock();
    Ok(Tried { took, lock, unsupported_sync: unsupported_sync(folder) })
}

fn probe_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".unisono-doctor-{}-{name}", std::process::id()))
}

/// Writes a new file and syncs it.
fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()
}

/// Checks that the disk has enough free space for the files of a run.
pub(super) fn space(run: &RunConfig, plan: Option<&Plan>) -> Finding {
    let folder = existing(&run.logdir);
    match statvfs(&folder) {
        Ok(there) => judge_space(there.f_bavail.saturating_mul(there.f_frsize), needed(run, plan)),
        Err(error) => Finding::warn(
            "space",
            format!("cannot read the free space in {}: {error}", folder.display()),
            "check that there is enough",
        ),
    }
}

/// Returns the number of bytes that the files of a run need. The files are the kept checkpoints,
/// another checkpoint that is being written, and the losses.
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
    let what = format!("{} are free, and a run needs up to {}", megabytes(free), megabytes(needed));
    if free < needed {
        return Finding::fail("space", what, "free some space, or give a --logdir on another disk");
    }
    Finding::ok("space", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::doctor::finding::tests::line;

    #[test]
    fn nearly_full_disk_is_a_failure() {
        assert_eq!(
            line(judge_space(9_999_999, 10_000_000)),
            "fail  space  10.0 MB are free, and a run needs up to 10.0 MB; free some space, or give a \
             --logdir on another disk"
        );
        assert!(line(judge_space(10_000_000, 10_000_000)).starts_with("ok"));
        let run = RunConfig::default();
        let plan = data(&run, &Workload::built_in(), SimdLevel::detect())
            .0
            .expect("the built-in digits are good");
        // The model has 397,510 parameters of 4 bytes. A run needs space for six checkpoints, and
        // for two losses of 24 bytes at each of 10,000 steps.
        assert_eq!(needed(&run, Some(&plan)), 4 * 397_510 * 6 + 24 * 20_000);
    }

    #[test]
    fn missing_folder_is_checked_at_its_closest_existing_parent() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let logdir = dir.path().join("a/b");
        assert_eq!(existing(&logdir), dir.path());
        assert_eq!(existing(Path::new("no-such-folder")), Path::new("."));
        let run = RunConfig { logdir, ..RunConfig::default() };
        assert!(!line(super::logdir(&run)).starts_with("fail"));
        assert_eq!(fs::read_dir(dir.path()).expect("it can be listed").count(), 0);
    }
}
