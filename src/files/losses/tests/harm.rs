//! Damage to a losses file while a run writes it. The damage comes from another program or from the
//! disk.

use super::*;

/// Returns the text of a file with the rows of all updates below `step`.
fn rows_below(step: u64) -> String {
    let rows = (0..step).map(|step| format!("{step},0,0.5\n{step},1,{step}.25\n"));
    format!("step,slot,loss\n{}", rows.collect::<String>())
}

fn next(step: u64) -> UpdateRecord {
    update(step, &[0.5, step as f32 + 0.25])
}

fn append_below(log: &mut LossLog, step: u64) {
    (0..step).for_each(|step| log.append(&next(step)).unwrap());
}

/// Writes five updates, damages the file with `harm` and appends another update. Checks that all
/// rows are then present, and returns the notice.
fn told(harm: impl Fn(&Path)) -> String {
    let (dir, path) = file(None);
    let mut log = open(&path);
    append_below(&mut log, 5);
    assert_eq!(log.take_notice(), None);
    harm(&path);
    log.append(&next(5)).unwrap();
    assert_eq!(text(&path), rows_below(6));
    let notice = log.take_notice().expect("it is noticed").to_string();
    log.append(&next(6)).unwrap();
    assert_eq!(log.take_notice(), None, "it is told once");
    assert_eq!(text(&path), rows_below(7));
    notice.replace(&dir.path().display().to_string(), "LOGDIR")
}

#[test]
fn removed_truncated_replaced_or_changed_file_is_rewritten_with_the_next_row() {
    let ending = "while this run was writing it; all rows were rewritten";
    let removed = told(|path| fs::remove_file(path).unwrap());
    assert_eq!(removed, format!("LOGDIR/losses.csv was removed {ending}"));
    let len = rows_below(5).len();
    for left in 0..len {
        let cut = told(|path| fs::write(path, &rows_below(5)[..left]).unwrap());
        assert_eq!(cut, format!("LOGDIR/losses.csv was cut from {len} to {left} bytes {ending}"));
    }
    let replaced = told(|path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    });
    assert_eq!(replaced, format!("LOGDIR/losses.csv was replaced {ending}"));
    let changed = told(|path| fs::write(path, rows_below(9)).unwrap());
    assert_eq!(changed, format!("LOGDIR/losses.csv was changed by another program {ending}"));
}

#[test]
fn failed_sync_of_a_file_removed_meanwhile_is_reported_and_all_rows_are_rewritten() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    append_below(&mut log, 5);
    fs::remove_file(&path).unwrap();
    log.sync_failed();
    log.append(&next(5)).unwrap();
    assert_eq!(text(&path), rows_below(6));
    let harm = Harm::NotSynced;
    assert_eq!(log.take_notice(), Some(LossesNotice::WrittenAgain { path, harm }));
    log.append(&next(6)).unwrap();
    assert_eq!(log.take_notice(), None, "it is told once");
}

#[test]
fn changed_first_or_last_row_is_detected_before_a_checkpoint() {
    for (was, is) in [("0,0,0.5", "0,0,0.6"), ("4,1,4.25", "4,1,4.75"), ("step,", "stop,")] {
        let (_dir, path) = file(None);
        let mut log = open(&path);
        append_below(&mut log, 5);
        fs::write(&path, rows_below(5).replace(was, is)).unwrap();
        log.sync().unwrap();
        assert_eq!(text(&path), rows_below(5), "{is}");
        let notice = log.take_notice();
        let harm = Harm::Changed;
        assert_eq!(notice, Some(LossesNotice::WrittenAgain { path: path.clone(), harm }), "{is}");
    }
}

#[test]
fn damage_before_a_rollback_loses_no_row() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    append_below(&mut log, 5);
    fs::remove_file(&path).unwrap();
    log.append(&next(2)).unwrap();
    assert_eq!(text(&path), rows_below(3));
    assert!(log.take_notice().is_some());
}

#[test]
fn update_after_a_gap_is_reported() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    log.append(&next(3)).unwrap();
    log.append(&next(4)).unwrap();
    assert_eq!(log.complete_below(), Step(0));
    let told = log.take_notice().unwrap();
    assert_eq!(told, LossesNotice::Gap { path, from: Step(0), to: Step(2) });
}

/// Appends six updates, and syncs after every second update. If an operation fails, the next call
/// repeats it. Returns the step below which a sync has confirmed the rows.
fn play(disk: &Arc<TestDisk>) -> u64 {
    let (mut log, _) = LossLog::open(Arc::new(disk.clone()), Path::new(PATH), 2).unwrap();
    let mut promised = 0;
    for step in 0..6 {
        let _ = log.append(&next(step));
        if step % 2 == 1 && log.sync().is_ok() {
            promised = step + 1;
        }
    }
    promised
}

/// Returns whether all confirmed rows survive a power loss at the end. Tries each operation as the
/// one that fails.
fn promises_are_kept() -> bool {
    let whole = TestDisk::new(Bug::None, None);
    assert_eq!(play(&whole), 6);
    (0..whole.operations().len()).all(|at| {
        let disk = TestDisk::new(Bug::None, Some((at, Fault::FailOnce)));
        let promised = rows_below(play(&disk));
        disk.after_a_crash().into_iter().all(|after| {
            let found = after.read(Path::new(PATH)).unwrap_or_default();
            String::from_utf8(found).unwrap().starts_with(&promised) || promised == rows_below(0)
        })
    })
}

#[test]
fn rows_of_a_failed_sync_are_rewritten_before_the_next_sync_succeeds() {
    assert!(promises_are_kept());
}
