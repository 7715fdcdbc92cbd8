mod harm;

use std::fs;
use unisono_core::ids::Cut;

use super::*;
use crate::disk::test_disk::{Bug, Fault, TestDisk};
use unisono_core::ids::Generation;

impl LossLog {
    /// Removes the rows of `step` and of later steps, as the first append does after a run has
    /// resumed at `step`.
    fn rewind(&mut self, step: Step) -> Result<(), LossesError> {
        self.forget_from(step);
        self.flush()
    }

    /// Makes all rows durable, as [`crate::RunFiles::persist`] does before it saves a checkpoint.
    fn sync(&mut self) -> Result<(), LossesError> {
        self.flush_closely()?;
        let synced = self.disk.sync(&self.path).map_err(DiskError::at("sync", &self.path));
        if synced.is_err() {
            self.sync_failed();
        }
        Ok(synced?)
    }
}

fn update(step: u64, losses: &[f32]) -> UpdateRecord {
    let losses = (0..).map(Slot).zip(losses.iter().copied()).collect();
    UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(step) }, losses }
}

fn open(path: &Path) -> LossLog {
    let (log, damage) = LossLog::open(Arc::new(RealDisk), path, 2).unwrap();
    assert_eq!(damage, None);
    log
}

/// Returns a logdir, and the path of a losses file in it with this content, if any.
fn file(content: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(LOSSES_FILE);
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    (dir, path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn rows_are_in_the_file_as_soon_as_they_are_appended() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    log.append(&update(0, &[2.25, 0.1])).unwrap();
    insta::assert_snapshot!(text(&path), @"
    step,slot,loss
    0,0,2.25
    0,1,0.100000001
    ");
    log.append(&update(1, &[1.0, 1e-9])).unwrap();
    let rows = [
        (Step(0), Slot(0), 2.25),
        (Step(0), Slot(1), 0.1),
        (Step(1), Slot(0), 1.0),
        (Step(1), Slot(1), 1e-9),
    ];
    assert_eq!(read(&path).unwrap(), rows);
}

#[test]
fn update_is_appended_with_exactly_one_operation() {
    let disk = TestDisk::new(Bug::None, None);
    let path = Path::new("/logdir/losses.csv");
    let (mut log, _) = LossLog::open(Arc::new(disk.clone()), path, 2).unwrap();
    log.append(&update(0, &[1.0, 2.0, 3.0])).unwrap(); // Also creates the file.
    disk.plan(None);
    for step in 1..4 {
        log.append(&update(step, &[1.0, 2.0, 3.0])).unwrap();
    }
    assert_eq!(disk.operations(), ["append losses.csv"; 3]);
}

#[test]
fn torn_last_line_is_cut_off_before_the_next_row() {
    for torn in ["1", "1,0", "1,0,", "1,0,0.5"] {
        let (_dir, path) = file(Some(&format!("step,slot,loss\n0,0,2\n{torn}")));
        open(&path).append(&update(1, &[0.25])).unwrap();
        assert_eq!(text(&path), "step,slot,loss\n0,0,2\n1,0,0.25\n", "{torn}");
    }
}

#[test]
fn torn_header_is_rewritten() {
    for torn in ["", "st", "step,slot,loss"] {
        let (_dir, path) = file(Some(torn));
        open(&path).append(&update(7, &[0.25])).unwrap();
        assert_eq!(text(&path), "step,slot,loss\n7,0,0.25\n", "{torn}");
    }
}

#[test]
fn file_of_another_format_is_refused_and_unchanged() {
    let (_dir, path) = file(Some("epoch,loss\n1,2\n"));
    let error = LossLog::open(Arc::new(RealDisk), &path, 2).unwrap_err();
    assert!(matches!(error, LossesError::Foreign { .. }), "{error}");
    assert_eq!(text(&path), "epoch,loss\n1,2\n");
}

#[test]
fn damaged_line_and_all_later_lines_are_cut_off_and_reported() {
    let (_dir, path) = file(Some("step,slot,loss\n0,0,2\n\0\0\0\n2,0,1\n"));
    let (mut log, damage) = LossLog::open(Arc::new(RealDisk), &path, 2).unwrap();
    assert_eq!(damage, Some(Damage { path: path.clone(), line: 3, n_bytes: 10 }));
    log.append(&update(1, &[0.25])).unwrap();
    assert_eq!(text(&path), "step,slot,loss\n0,0,2\n1,0,0.25\n");
}

#[test]
fn rewinding_removes_the_rows_of_that_step_and_later() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    for step in 0..12 {
        log.append(&update(step, &[step as f32, 0.5])).unwrap();
    }
    log.rewind(Step(12)).unwrap();
    assert_eq!(read(&path).unwrap().len(), 24);
    log.rewind(Step(2)).unwrap();
    assert_eq!(text(&path), "step,slot,loss\n0,0,0\n0,1,0.5\n1,0,1\n1,1,0.5\n");
    open(&path).rewind(Step(0)).unwrap();
    assert_eq!(text(&path), "step,slot,loss\n");
}

#[test]
fn recording_an_earlier_step_rewinds_even_after_a_restart() {
    let (_dir, path) = file(None);
    let mut log = open(&path);
    for step in [0, 1, 2, 1] {
        log.append(&update(step, &[step as f32 + 0.5])).unwrap();
    }
    assert_eq!(text(&path), "step,slot,loss\n0,0,0.5\n1,0,1.5\n");
    open(&path).append(&update(0, &[9.0])).unwrap();
    assert_eq!(text(&path), "step,slot,loss\n0,0,9\n");
}

#[test]
fn reader_error_names_the_damaged_line() {
    let (dir, path) = file(Some("step,slot,loss\n0,0,2\n0,x,2\n"));
    let error = read(&path).unwrap_err().to_string();
    let error = error.replace(&dir.path().display().to_string(), "LOGDIR");
    assert_eq!(error, r#"LOGDIR/losses.csv line 3: "0,x,2" is not a whole row of step,slot,loss"#);
    fs::write(&path, "step,slot,loss\n0,0,2").unwrap();
    assert!(matches!(read(&path), Err(LossesError::Row { line: 2, .. })));
    assert!(matches!(read(dir.path()), Err(LossesError::Disk(_))));
}

/// Steps 0 to 3, then a rollback to 2 and on to 4.
const STORY: [u64; 7] = [0, 1, 2, 3, 2, 3, 4];
const PATH: &str = "/logdir/losses.csv";

#[test]
fn disk_error_at_any_operation_loses_no_row() {
    let whole = TestDisk::new(Bug::None, None);
    let play = |disk: &Arc<TestDisk>| {
        let mut log = LossLog::open(Arc::new(disk.clone()), Path::new(PATH), 2)?.0;
        let mut errors = Vec::new();
        for (nth, &step) in (0_u16..).zip(&STORY) {
            errors.extend(log.append(&update(step, &[f32::from(nth), 0.5])).err());
        }
        log.flush()?;
        Ok::<_, LossesError>(errors)
    };
    assert_eq!(play(&whole).unwrap().len(), 0);
    let expected = whole.read(Path::new(PATH)).unwrap();
    assert_eq!(expected, b"step,slot,loss\n0,0,0\n0,1,0.5\n1,0,1\n1,1,0.5\n2,0,4\n2,1,0.5\n3,0,5\n3,1,0.5\n4,0,6\n4,1,0.5\n");
    for at in 0..whole.operations().len() {
        let disk = TestDisk::new(Bug::None, Some((at, Fault::FailOnce)));
        assert_eq!(play(&disk).unwrap().len(), 1, "the failure at {at} is told");
        let found = disk.read(Path::new(PATH)).unwrap();
        assert_eq!(found, expected, "fault at {at}: {}", String::from_utf8_lossy(&found));
    }
}

#[test]
fn after_a_crash_synced_rows_are_kept_and_the_file_can_grow() {
    for at in 0..16 {
        let disk = TestDisk::new(Bug::None, Some((at, Fault::Stop)));
        let mut n_synced = 0;
        if let Ok((mut log, _)) = LossLog::open(Arc::new(disk.clone()), Path::new(PATH), 2) {
            for step in 0..6 {
                let appended = log.append(&update(step, &[0.5, 0.25]));
                if appended.is_err() || step % 2 == 1 && log.sync().is_err() {
                    break;
                }
                n_synced = if step % 2 == 1 { step + 1 } else { n_synced };
            }
        }
        for after in disk.after_a_crash() {
            let (mut log, _) = LossLog::open(Arc::new(after.clone()), Path::new(PATH), 2).unwrap();
            log.append(&update(n_synced, &[8.0])).unwrap();
            let mut expected = String::from("step,slot,loss\n");
            for step in 0..n_synced {
                expected += &format!("{step},0,0.5\n{step},1,0.25\n");
            }
            expected += &format!("{n_synced},0,8\n");
            let found = String::from_utf8(after.read(Path::new(PATH)).unwrap()).unwrap();
            assert_eq!(found, expected, "crash at {at}");
        }
    }
}

#[test]
fn dropped_rows_are_an_error_until_they_are_recomputed() {
    let disk = TestDisk::new(Bug::None, None);
    let (mut log, _) = LossLog::open(Arc::new(disk.clone()), Path::new(PATH), 2).unwrap();
    disk.plan(Some((0, Fault::Stop)));
    let losses = vec![0.5; MAX_PENDING_BYTES / 40];
    for step in 0..6 {
        log.append(&update(step, &losses)).unwrap_err();
    }
    disk.plan(None);
    let Err(LossesError::Dropped { from, .. }) = log.sync() else { panic!("rows were dropped") };
    log.append(&update(6, &[1.0])).unwrap_err();
    log.append(&update(from.0, &[1.0])).unwrap();
    log.sync().unwrap();
    let bytes = disk.read(Path::new(PATH)).unwrap();
    let n_rows = rows::lines(&bytes).count() - 1;
    assert_eq!(n_rows as u64, from.0 * losses.len() as u64 + 1);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text in "[0-9,.e\n-]*") {
        for content in [bytes, text.into_bytes()] {
            let (_dir, path) = file(None);
            fs::write(&path, [rows::HEADER.as_bytes(), &content].concat()).unwrap();
            let _ = read(&path);
            let (mut log, _) = LossLog::open(Arc::new(RealDisk), &path, 2).unwrap();
            log.append(&update(1, &[0.5])).unwrap();
            assert!(text_of_rows_only(&path));
        }
    }
}

fn text_of_rows_only(path: &Path) -> bool {
    read(path).is_ok_and(|rows| rows.last() == Some(&(Step(1), Slot(0), 0.5)))
}
