//! Many saves in one logdir: on the real disk, and on a disk that crashes or fails at every single
//! operation.

use std::fs;

use super::super::directory::{Newest, newest_valid};
use super::*;
use crate::disk::RealDisk;
use crate::testing::{Bug, Fault, TestDisk, checkpoint_of};

const LOGDIR: &str = "/logdir";
const WRITER: &str = "g1-17";

fn keep(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("at least one")
}

fn open(logdir: &Path) -> Saver {
    Saver::open(Arc::new(RealDisk), logdir, keep(3)).unwrap().0
}

/// Saves checkpoints of these steps, and keeps three.
fn save_all(logdir: &Path, steps: &[u64]) -> Saver {
    let mut saver = open(logdir);
    for &step in steps {
        let saved = saver.save(&checkpoint_of(Step(step), 1), WRITER).unwrap();
        assert!(saved.warnings.is_empty(), "{:?}", saved.warnings);
    }
    saver
}

fn state(logdir: &Path) -> String {
    fs::read_to_string(logdir.join(STATE_FILE)).unwrap()
}

/// Returns the newest valid checkpoint's step, and the warnings without the logdir's path.
fn newest(logdir: &Path) -> (Option<u64>, Vec<String>) {
    let Newest { found, warnings } = newest_valid(&RealDisk, logdir).unwrap();
    let here = format!("{}/", logdir.display());
    let warnings = warnings.iter().map(|w| w.to_string().replace(&here, "")).collect();
    (found.map(|(_, checkpoint)| checkpoint.step.0), warnings)
}

fn error(logdir: &Path) -> String {
    let error = newest_valid(&RealDisk, logdir).unwrap_err().to_string();
    error.replace(&logdir.display().to_string(), "LOGDIR")
}

#[test]
fn empty_or_missing_logdir_has_no_checkpoint_and_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(newest(dir.path()), (None, vec![]));
    assert_eq!(newest(&dir.path().join("missing")), (None, vec![]));
}

#[test]
fn newest_checkpoints_are_kept_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[0, 100, 200, 300, 1000]);
    insta::assert_snapshot!(state(dir.path()), @r#"
    model_checkpoint_path: "model.ckpt-1000.safetensors"
    all_model_checkpoint_paths: "model.ckpt-200.safetensors"
    all_model_checkpoint_paths: "model.ckpt-300.safetensors"
    all_model_checkpoint_paths: "model.ckpt-1000.safetensors"
    "#);
    assert_eq!(
        RealDisk.list(dir.path()).unwrap(),
        [
            "checkpoint",
            "model.ckpt-1000.safetensors",
            "model.ckpt-200.safetensors",
            "model.ckpt-300.safetensors"
        ]
    );
    assert_eq!(newest(dir.path()), (Some(1000), vec![]));
}

#[test]
fn restart_continues_the_list_and_removes_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[1, 2, 3]);
    fs::write(dir.path().join("model.ckpt-7.safetensors.g1-17.tmp"), "half").unwrap();
    fs::write(dir.path().join("notes.tmp"), "the user's").unwrap();
    save_all(dir.path(), &[4]);
    assert_eq!(
        RealDisk.list(dir.path()).unwrap(),
        [
            "checkpoint",
            "model.ckpt-2.safetensors",
            "model.ckpt-3.safetensors",
            "model.ckpt-4.safetensors",
            "notes.tmp"
        ]
    );
}

#[test]
fn old_checkpoint_removed_by_the_user_causes_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let mut saver = save_all(dir.path(), &[1, 2, 3]);
    fs::remove_file(dir.path().join(file_name(Step(1)))).unwrap();
    let warnings = saver.save(&checkpoint_of(Step(4), 1), WRITER).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn saving_a_step_again_replaces_its_file_and_makes_it_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let mut saver = save_all(dir.path(), &[1, 2, 3]);
    saver.save(&checkpoint_of(Step(1), 9), WRITER).unwrap();
    insta::assert_snapshot!(state(dir.path()), @r#"
    model_checkpoint_path: "model.ckpt-1.safetensors"
    all_model_checkpoint_paths: "model.ckpt-2.safetensors"
    all_model_checkpoint_paths: "model.ckpt-3.safetensors"
    all_model_checkpoint_paths: "model.ckpt-1.safetensors"
    "#);
    let found = newest_valid(&RealDisk, dir.path()).unwrap().found.unwrap();
    assert_eq!(found.1, checkpoint_of(Step(1), 9));
}

#[test]
fn missing_or_torn_state_file_is_a_warning_and_checkpoints_are_ordered_by_step() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[9, 10, 100]);
    fs::write(dir.path().join(STATE_FILE), "model_checkpoint_path: \"mod").unwrap();
    let (step, warnings) = newest(dir.path());
    assert_eq!(step, Some(100));
    assert_eq!(
        warnings,
        ["checkpoint: line 1 is not a whole `field: value`; ordering the checkpoints in the \
          directory by step"]
    );
    fs::remove_file(dir.path().join(STATE_FILE)).unwrap();
    assert_eq!(newest(dir.path()).1.len(), 1);
    save_all(dir.path(), &[101]);
    assert_eq!(newest(dir.path()), (Some(101), vec![]));
    assert!(!dir.path().join("model.ckpt-9.safetensors").exists(), "the oldest by step");
}

#[test]
fn state_file_edited_to_an_older_checkpoint_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[1, 2, 3]);
    let edited = state(dir.path()).replacen("ckpt-3", "ckpt-1", 1);
    fs::write(dir.path().join(STATE_FILE), edited).unwrap();
    assert_eq!(newest(dir.path()), (Some(1), vec![]));
}

#[test]
fn corrupt_latest_checkpoint_is_skipped_with_a_warning_that_names_both_files() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[1, 2, 3]);
    let truncated = dir.path().join("model.ckpt-3.safetensors");
    let bytes = fs::read(&truncated).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() - 1]).unwrap();
    fs::remove_file(dir.path().join("model.ckpt-2.safetensors")).unwrap();
    let (step, warnings) = newest(dir.path());
    assert_eq!(step, Some(1));
    let n_bytes = bytes.len();
    assert_eq!(
        warnings,
        [
            format!(
                "checkpoint model.ckpt-3.safetensors is skipped: it has {} bytes where its header \
                 announces {n_bytes}: it is torn; model.ckpt-1.safetensors is used instead",
                n_bytes - 1
            ),
            "checkpoint model.ckpt-2.safetensors is skipped: it cannot be read: No such file or \
             directory (os error 2); model.ckpt-1.safetensors is used instead"
                .to_owned()
        ]
    );
}

#[test]
fn logdir_without_a_valid_checkpoint_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    save_all(dir.path(), &[1, 2]);
    for step in [1, 2] {
        fs::write(dir.path().join(file_name(Step(step))), "").unwrap();
    }
    insta::assert_snapshot!(error(dir.path()), @"no checkpoint in LOGDIR is valid: model.ckpt-2.safetensors: it is truncated or not a safetensors file: 0 bytes do not contain its header; model.ckpt-1.safetensors: it is truncated or not a safetensors file: 0 bytes do not contain its header; nothing was changed there: restore a good copy, or choose another --logdir to start a new run");
}

#[test]
fn logdir_written_by_tensorflow_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let theirs =
        "model_checkpoint_path: \"model.ckpt-7\"\nall_model_checkpoint_paths: \"model.ckpt-7\"\n";
    fs::write(dir.path().join(STATE_FILE), theirs).unwrap();
    insta::assert_snapshot!(error(dir.path()), @r#"no checkpoint in LOGDIR is valid: checkpoint: it names "model.ckpt-7", which is not a checkpoint of this program in this directory; nothing was changed there: restore a good copy, or choose another --logdir to start a new run"#);
}

/// Checks the order of a save's operations. A name becomes visible only after its content is
/// durable, and the old list is replaced only after the new list is durable.
#[test]
fn checkpoint_is_written_synced_and_renamed_before_it_is_listed() {
    let disk = TestDisk::new(Bug::None, None);
    let mut saver = Saver::open(Arc::new(disk.clone()), Path::new(LOGDIR), keep(1)).unwrap().0;
    saver.save(&checkpoint_of(Step(1), 1), WRITER).unwrap();
    disk.plan(None);
    saver.save(&checkpoint_of(Step(2), 1), WRITER).unwrap();
    insta::assert_snapshot!(disk.operations().join("\n"), @"
    write model.ckpt-2.safetensors.g1-17.tmp
    sync model.ckpt-2.safetensors.g1-17.tmp
    rename to model.ckpt-2.safetensors
    sync_dir logdir
    write checkpoint.g1-17.tmp
    sync checkpoint.g1-17.tmp
    rename to checkpoint
    sync_dir logdir
    remove model.ckpt-1.safetensors
    ");
}

/// The saves that the tests interrupt at every operation, as (step, life). `life` distinguishes two
/// checkpoints of the same step. The saves remove old checkpoints, repeat a step, and continue
/// after a restart of the chief.
const STORY: [(u64, u64); 6] = [(0, 1), (10, 1), (20, 1), (10, 2), (20, 2), (30, 2)];

/// Saves the checkpoints of the story up to the first error. Returns the number of completed saves.
fn play(disk: &Arc<TestDisk>, from: usize, max_to_keep: NonZeroUsize) -> usize {
    let saver = Saver::open(Arc::new(disk.clone()), Path::new(LOGDIR), max_to_keep);
    let Ok((mut saver, _)) = saver else { return from };
    let checkpoints = STORY[from..].iter().map(|&(step, life)| checkpoint_of(Step(step), life));
    from + checkpoints.take_while(|checkpoint| saver.save(checkpoint, WRITER).is_ok()).count()
}

/// Returns the index in the story of the newest checkpoint. Fails if the newest checkpoint is not
/// of the story.
fn found_in(disk: &Arc<TestDisk>) -> Result<Option<usize>, String> {
    let found = newest_valid(disk, Path::new(LOGDIR)).map_err(|error| error.to_string())?;
    let Some((_, checkpoint)) = found.found else { return Ok(None) };
    let is_it = |&(step, life): &(u64, u64)| checkpoint == checkpoint_of(Step(step), life);
    let place = STORY.iter().position(is_it);
    place.map(Some).ok_or_else(|| format!("{checkpoint:?} was never saved"))
}

/// After a crash, checks that the last successful save or a later one is found, and that the rest
/// of the story succeeds.
fn check(disk: &Arc<TestDisk>, n_saved: usize, max_to_keep: NonZeroUsize) -> Result<(), String> {
    let place = found_in(disk)?;
    if place.map_or(0, |place| place + 1) < n_saved {
        return Err(format!("{n_saved} saves came back, and place {place:?} is found"));
    }
    let n_saved = play(disk, n_saved, max_to_keep);
    if n_saved < STORY.len() || found_in(disk)? != Some(STORY.len() - 1) {
        return Err("the story does not go on after the crash".to_owned());
    }
    let leftovers = disk.list(Path::new(LOGDIR)).map_err(|error| error.to_string())?;
    match leftovers.iter().find(|name| name.ends_with(TEMPORARY)) {
        Some(name) => Err(format!("{name} was left behind")),
        None => Ok(()),
    }
}

/// Stops the process before every operation of the story, and tries all ways in which unsynced data
/// can be lost. Returns the number of crashes, or the first crash that lost a saved checkpoint.
fn crash_everywhere(bug: Bug, max_to_keep: NonZeroUsize) -> Result<usize, String> {
    let whole = TestDisk::new(bug, None);
    assert_eq!(play(&whole, 0, max_to_keep), STORY.len());
    let mut n_crashes = 0;
    for at in 0..=whole.operations().len() {
        let disk = TestDisk::new(bug, Some((at, Fault::Stop)));
        let n_saved = play(&disk, 0, max_to_keep);
        for after in disk.after_a_crash() {
            check(&after, n_saved, max_to_keep).map_err(|why| format!("crash at {at}: {why}"))?;
            n_crashes += 1;
        }
    }
    Ok(n_crashes)
}

#[test]
fn after_a_crash_anywhere_the_newest_saved_checkpoint_is_found_and_valid() {
    for max_to_keep in [1, 2, 5] {
        let n_crashes = crash_everywhere(Bug::None, keep(max_to_keep)).unwrap();
        assert!(n_crashes > 100, "{n_crashes}");
    }
}

#[test]
fn crash_enumeration_catches_bytes_renamed_before_they_are_durable() {
    crash_everywhere(Bug::NoSync, keep(2)).unwrap_err();
}

#[test]
fn crash_enumeration_catches_names_that_are_not_durable() {
    crash_everywhere(Bug::NoSyncDir, keep(2)).unwrap_err();
}

#[test]
fn disk_error_at_any_operation_loses_nothing_and_the_next_save_succeeds() {
    let whole = TestDisk::new(Bug::None, None);
    play(&whole, 0, keep(2));
    for at in 0..whole.operations().len() {
        let disk = TestDisk::new(Bug::None, Some((at, Fault::FailOnce)));
        let mut saver = Saver::open(Arc::new(disk.clone()), Path::new(LOGDIR), keep(2)).unwrap().0;
        let mut n_warnings = 0;
        for (place, &(step, generation)) in STORY.iter().enumerate() {
            let checkpoint = checkpoint_of(Step(step), generation);
            let saved = saver.save(&checkpoint, WRITER).or_else(|error| {
                assert!(error.to_string().contains("free some space"), "{error}");
                let found = found_in(&disk).unwrap();
                assert!(found.map_or(0, |found| found + 1) >= place, "fault at {at}: {found:?}");
                saver.save(&checkpoint, WRITER)
            });
            n_warnings += saved.unwrap().warnings.len();
            assert_eq!(found_in(&disk), Ok(Some(place)), "fault at {at}");
        }
        // A checkpoint that could not be removed is removed after the next save. A temporary file
        // is removed by the next saver.
        saver.save(&checkpoint_of(Step(30), 2), WRITER).unwrap();
        let _ = Saver::open(Arc::new(disk.clone()), Path::new(LOGDIR), keep(2)).unwrap();
        let names = disk.list(Path::new(LOGDIR)).unwrap();
        assert_eq!(names, ["checkpoint", "model.ckpt-20.safetensors", "model.ckpt-30.safetensors"]);
        assert!(n_warnings <= 1, "fault at {at}");
    }
}
