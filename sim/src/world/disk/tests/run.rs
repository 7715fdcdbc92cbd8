//! The files of a run survive a crash at any operation, unless the disk lies.

use unisono_files::losses::error::LOSSES_FILE;
use unisono_files::run_files::{RunFiles, RunFilesConfig, RunFilesError};
use unisono_files::testing::{self, snapshot, update};

use super::*;

const STEPS: u64 = 6;
const STEPS_PER_CHECKPOINT: u64 = 2;
/// Number of seeds. For each seed, a crash is simulated at every operation.
const SEEDS: u64 = 40;

fn config() -> RunFilesConfig {
    RunFilesConfig { is_determined: false, ..testing::config(DIR.into()) }
}

fn open(disk: &SimDisk) -> Result<RunFiles, RunFilesError> {
    Ok(RunFiles::open(Arc::new(disk.clone()), config())?.0)
}

/// Plays one incarnation of the chief, from the newest checkpoint on. `persisted` becomes the last
/// step whose checkpoint the disk has reported as durable. Operations that the disk has refused are
/// retried at the next step or checkpoint.
fn play(
    disk: &SimDisk,
    persisted: &mut u64,
    before_step: impl Fn(u64),
) -> Result<(), RunFilesError> {
    let mut files = open(disk)?;
    let mut result = Ok(());
    for step in files.restore()?.snapshot.cut.step.0..STEPS {
        before_step(step);
        let _ = files.losses().record(&update(step));
        let next = step + 1;
        if next % STEPS_PER_CHECKPOINT == 0 {
            result = files.persist(&snapshot(next)).map(|_| *persisted = next);
        }
    }
    result
}

fn play_undisturbed(disk: &SimDisk) -> Result<(), RunFilesError> {
    play(disk, &mut 0, |_| {})
}

fn rows(disk: &SimDisk) -> String {
    disk.read(&path(LOSSES_FILE)).map_or_else(
        |error| error.to_string(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn rows_below(step: u64) -> String {
    let rows = (0..step).map(|step| format!("{step},0,0.5\n{step},1,0.25\n"));
    format!("step,slot,loss\n{}", rows.collect::<String>())
}

/// Checks the files after a crash, and that the run can continue to its last step.
fn check(disk: &SimDisk, persisted: u64) -> Result<(), String> {
    let restored = open(disk).and_then(|files| files.restore()).map_err(|err| err.to_string())?;
    let step = restored.snapshot.cut.step.0;
    if *restored.snapshot != snapshot(step) {
        return Err(format!("the checkpoint of step {step} has the state {:?}", restored.snapshot));
    }
    if step < persisted {
        return Err(format!(
            "the newest checkpoint is of step {step}, but {persisted} was durable"
        ));
    }
    // The losses file is created with the first update, so it may be missing at step 0.
    if step > 0 && !rows(disk).starts_with(&rows_below(step)) {
        return Err(format!("a checkpoint of {step}, but losses {}", rows(disk)));
    }
    play_undisturbed(disk).map_err(|err| err.to_string())?;
    if rows(disk) != rows_below(STEPS) {
        return Err(format!("at the end the losses {}", rows(disk)));
    }
    Ok(())
}

/// Returns the number of disk operations of a run without a crash.
fn n_operations() -> u64 {
    let disk = disk();
    play_undisturbed(&disk).unwrap();
    disk.n_operations()
}

/// Plays two incarnations of the chief, each of which is killed at some operation, and then calls
/// `crash`. During a few steps, the disk has the fault. The first incarnation is killed at each
/// operation in turn, with many seeds. Returns the number of effects of the fault, or a description
/// of the first crash that the files did not survive.
fn crash_everywhere(
    fault: Option<DiskMode>,
    crash: impl Fn(&SimDisk, &mut Stream),
) -> Result<u64, String> {
    const FAULT: FaultId = FaultId(0);
    let n_operations = n_operations();
    let mut n_effects = 0;
    for (seed, at) in (0..SEEDS).flat_map(|seed| (0..=n_operations).map(move |at| (seed, at))) {
        let mut stream = stream(seed, at);
        let disk = SimDisk::new(stream.clone());
        let broken_from = stream.below(STEPS);
        let broken_until = broken_from + 1 + stream.below(STEPS);
        let break_and_mend = |step| {
            let is_broken = (broken_from..broken_until).contains(&step);
            match fault.filter(|_| is_broken) {
                Some(fault) => disk.set_fault(FAULT, fault),
                None => disk.clear_fault(FAULT),
            }
        };
        let mut persisted = 0;
        for life in [at, stream.below(n_operations)] {
            disk.kill_after(Some(life));
            let _killed = play(&disk, &mut persisted, break_and_mend);
        }
        disk.kill_after(None);
        disk.clear_fault(FAULT);
        crash(&disk, &mut stream);
        n_effects += disk.n_effects(FAULT);
        check(&disk, persisted).map_err(|err| format!("seed {seed}, at {at}: {err}"))?;
    }
    Ok(n_effects)
}

fn power_loss(disk: &SimDisk, stream: &mut Stream) {
    disk.power_loss(stream);
}

fn lose_unsynced(disk: &SimDisk, _: &mut Stream) {
    disk.lose_unsynced();
}

fn process_crash(_: &SimDisk, _: &mut Stream) {}

#[test]
fn run_survives_a_power_loss_at_any_operation() {
    crash_everywhere(None, power_loss).unwrap();
    crash_everywhere(None, lose_unsynced).unwrap();
}

#[test]
fn run_survives_a_failing_disk_and_then_a_power_loss() {
    for fault in [DiskMode::NoSpace, DiskMode::Torn, DiskMode::Io, DiskMode::FailedSync] {
        let n_effects = crash_everywhere(Some(fault), power_loss).unwrap();
        assert!(n_effects > 0, "{fault:?}");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn losses_that_are_not_rewritten_after_a_failed_sync_are_missing_after_a_power_loss() {
    use unisono_core::planted::{Bug, plant};

    plant(Some(Bug::FailedSyncForgotten));
    let caught = crash_everywhere(Some(DiskMode::FailedSync), lose_unsynced);
    plant(None);
    assert!(caught.unwrap_err().contains("lacks losses"));
    crash_everywhere(Some(DiskMode::FailedSync), lose_unsynced).unwrap();
}

#[test]
fn disk_that_lies_about_syncs_loses_a_durable_checkpoint() {
    crash_everywhere(Some(DiskMode::LostUnsynced), power_loss).unwrap_err();
    crash_everywhere(Some(DiskMode::LostUnsynced), lose_unsynced).unwrap_err();
}

#[test]
fn written_data_outlive_the_process_without_a_sync() {
    let n_effects = crash_everywhere(Some(DiskMode::LostUnsynced), process_crash).unwrap();
    assert!(n_effects > 0);
}

#[test]
fn checkpoint_with_a_flipped_bit_is_refused() {
    let disk = disk();
    let mut files = open(&disk).unwrap();
    (0..2).for_each(|step| assert!(files.losses().record(&update(step)).is_ok()));
    files.persist(&snapshot(2)).unwrap();
    disk.set_fault(FaultId(0), DiskMode::BitFlip);
    for _ in 0..1_000 {
        files.restore().unwrap_err();
    }
    assert_eq!(disk.n_effects(FaultId(0)), 2_000, "the list and the checkpoint, each time");
}
