//! Reads the files of a run: the losses, the newest checkpoint, and the ledgers.
//!
//! Each poll reads only the lines that were appended to the losses file and to the ledgers since
//! the previous poll.

use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::curve::Curve;
use super::model::{State, TaskRow};
use super::smoothed::Smoothed;
use unisono_files::checkpoint::file::read_description;
use unisono_files::checkpoint::state::{self, STATE_FILE};
use unisono_files::checkpoint::step_of;
use unisono_files::disk::{Disk as _, RealDisk};
use unisono_files::losses::error::LOSSES_FILE;
use unisono_observe::events::{Series, VALIDATION_ACCURACY};
use unisono_observe::ledger;

/// A watched logdir.
#[derive(Debug)]
pub(super) struct Logdir {
    folder: PathBuf,
    losses: Curve,
    tail: Tail,
    ledgers: Vec<Ledger>,
    accuracies: Series,
    newest: Option<NewestCheckpoint>,
    /// The time of the previous poll, and the chief's step at that time.
    before: Option<(Duration, u64)>,
    rate: Smoothed,
}

/// The newest checkpoint, according to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NewestCheckpoint {
    step: u64,
    /// The number of training steps of the run that wrote the checkpoint; `None` if the file cannot
    /// be read.
    training_steps: Option<u64>,
}

impl Logdir {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            losses: Curve::default(),
            tail: Tail::new(folder.join(LOSSES_FILE)),
            ledgers: Vec::new(),
            accuracies: Series::new(folder, VALIDATION_ACCURACY),
            newest: None,
            before: None,
            rate: Smoothed::default(),
        }
    }

    /// Returns the loss of each step.
    pub(super) fn losses(&self) -> Vec<(f64, f64)> {
        self.losses.points()
    }

    /// Returns the total number of updates of the run, according to the ledgers or the newest
    /// checkpoint. Returns `None` if neither contains this number, or if the losses file has later
    /// steps.
    pub(super) fn training_steps(&self) -> Option<u64> {
        // A ledger contains the `training_steps` of the newest start of the run. A checkpoint may
        // contain those of an earlier start.
        let of_ledgers = self.ledgers.iter().filter_map(|ledger| ledger.training_steps).max();
        let of_checkpoint = || self.newest?.training_steps;
        of_ledgers.or_else(of_checkpoint).filter(|steps| self.losses.next_step() <= Some(*steps))
    }

    /// Reads the new parts of the files, and returns a row for each task that has files in the
    /// logdir.
    pub(super) fn look(&mut self, now: Duration) -> Vec<TaskRow> {
        let Self { losses, tail, .. } = self;
        let _ = tail.lines(|line| losses.add(line));
        self.find_ledgers();
        let mut rows: Vec<_> = self.ledgers.iter_mut().map(Ledger::look).collect();
        self.find_newest();
        if let Some(step) = self.losses.next_step() {
            rows.push(TaskRow {
                name: "worker 0".to_owned(),
                state: State::File,
                step: Some(step),
                rate: self.rate(now, step),
                accuracy: self.accuracy(),
                checkpoint: self.newest.map(|newest| newest.step),
                ..TaskRow::default()
            });
        }
        if let Some(step) = self.done_at() {
            for row in rows.iter_mut().filter(|row| row.step == Some(step)) {
                row.state = State::Done;
                row.rate = None;
            }
        }
        rows
    }

    /// Returns the last step of a finished run; `None` if the run is not finished. A run is
    /// finished if its final checkpoint is durable and the losses file ends at the step of this
    /// checkpoint.
    fn done_at(&self) -> Option<u64> {
        let step = self.newest?.step;
        let is_final = self.training_steps() == Some(step);
        (is_final && self.losses.next_step() == Some(step)).then_some(step)
    }

    fn rate(&mut self, now: Duration, step: u64) -> Option<f64> {
        let before = self.before.replace((now, step));
        let (at, before) = before.filter(|(at, _)| *at < now)?;
        let Some(more) = step.checked_sub(before) else {
            // A rollback makes the step smaller, so a rate that includes a rollback would be
            // meaningless.
            self.rate = Smoothed::default();
            return None;
        };
        let elapsed = now - at;
        Some(self.rate.add(more as f64 / elapsed.as_secs_f64(), elapsed))
    }

    fn accuracy(&mut self) -> Option<f64> {
        // If event files are missing or unreadable, all other data are still shown.
        let _ = self.accuracies.read();
        self.accuracies.points().next_back().map(|(_, share)| share.into())
    }

    fn find_ledgers(&mut self) {
        while let Ok(ps) = u32::try_from(self.ledgers.len())
            && let path = self.folder.join(ledger::file_name(ps))
            && path.exists()
        {
            self.ledgers.push(Ledger::new(ps, path));
        }
    }

    fn find_newest(&mut self) {
        let Some((path, step)) = newest_checkpoint(&self.folder) else {
            self.newest = None;
            return;
        };
        // A checkpoint file never changes, so a file whose `training_steps` is known is not read
        // again.
        if self.newest.is_none_or(|newest| newest.step != step || newest.training_steps.is_none()) {
            let description = read_description(&path).ok();
            let text = description.as_ref().and_then(|file| file.settings.value("training_steps"));
            let training_steps = text.and_then(|text| text.parse().ok());
            self.newest = Some(NewestCheckpoint { step, training_steps });
        }
    }
}

/// Returns the path and the step of the newest checkpoint, according to the file that lists the
/// checkpoints.
fn newest_checkpoint(folder: &Path) -> Option<(PathBuf, u64)> {
    let paths = state::decode(&RealDisk.read(&folder.join(STATE_FILE)).ok()?).ok()?;
    let name = Path::new(paths.last()?).file_name()?.to_str()?;
    Some((folder.join(name), step_of(name)?.0))
}

#[derive(Debug)]
struct Ledger {
    ps: u32,
    tail: Tail,
    incarnations: u64,
    dropped: u64,
    step: Option<u64>,
    /// The total number of updates of the run, according to the newest header in the ledger.
    training_steps: Option<u64>,
}

impl Ledger {
    const fn new(ps: u32, path: PathBuf) -> Self {
        let tail = Tail::new(path);
        Self { ps, tail, incarnations: 0, dropped: 0, step: None, training_steps: None }
    }

    fn look(&mut self) -> TaskRow {
        let Self { ps, tail, incarnations, dropped, step, training_steps } = self;
        let mut last = None;
        let _ = tail.lines(|line| {
            if line.starts_with("{\"header\"") {
                *incarnations += 1;
                *training_steps = number_in(line, "/header/training_steps");
            } else if line.starts_with("{\"dropped\"") {
                *dropped += 1;
            } else if line.starts_with("{\"update\"") {
                last = Some(line.to_owned());
            }
        });
        // Of the new update lines, only the last one is parsed.
        let newest = last.and_then(|line| number_in(&line, "/update/step"));
        *step = newest.map(|step| step + 1).or(*step);
        let mut faults = Vec::new();
        if *incarnations > 1 {
            faults.push(format!("{incarnations} incarnations in its ledger"));
        }
        if *dropped > 0 {
            faults.push(format!("dropped gradients in its ledger: {dropped}"));
        }
        TaskRow {
            name: format!("ps {ps}"),
            state: State::File,
            step: *step,
            faults,
            ..TaskRow::default()
        }
    }
}

/// Returns the number at the JSON pointer `pointer` in a line of JSON.
fn number_in(line: &str, pointer: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line.pointer(pointer)?.as_u64()
}

/// A file that grows.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    /// The number of bytes in the complete lines that were already read.
    read: u64,
}

impl Tail {
    const fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Passes the new lines to `take`. An incomplete line is read again at the next poll.
    fn lines(&mut self, mut take: impl FnMut(&str)) -> io::Result<()> {
        let mut file = RealDisk::open_to_read(&self.path)?;
        if file.metadata()?.len() < self.read {
            // The file has become shorter, because a rollback removed rows. It is read again from
            // its start.
            self.read = 0;
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            self.read += line.len() as u64;
            if let Ok(text) = std::str::from_utf8(&line) {
                take(text.trim_end());
            }
            line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_files::checkpoint::file;

    fn append(path: &Path, text: &str) {
        use std::fs::File;
        use std::io::Write as _;
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn each_poll_reads_only_the_new_part_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let losses = folder.path().join(LOSSES_FILE);
        let ledger = folder.path().join("ledger-ps0.jsonl");
        let mut logdir = Logdir::new(folder.path());
        assert!(logdir.look(Duration::ZERO).is_empty());

        append(&losses, "step,slot,loss\n0,0,2\n0,1,4\n1,0,1\n1,1,");
        append(&ledger, "{\"header\":{}}\n{\"update\":{\"step\":0}}\n{\"update\":{\"st");
        let rows = logdir.look(Duration::from_secs(1));
        assert_eq!(logdir.losses(), [(0.0, 3.0), (1.0, 1.0)]);
        let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.step)).collect();
        assert_eq!(seen, [("ps 0", Some(1)), ("worker 0", Some(2))]);

        append(&losses, "3\n2,0,1\n");
        append(&ledger, "ep\":1}}\n{\"dropped\":{}}\n{\"header\":{}}\n");
        append(
            &folder.path().join("checkpoint"),
            "model_checkpoint_path: \"model.ckpt-2.safetensors\"\n",
        );
        let rows = logdir.look(Duration::from_secs(3));
        assert_eq!(logdir.losses(), [(0.0, 3.0), (1.0, 2.0), (2.0, 1.0)]);
        assert_eq!(rows[0].step, Some(2));
        let faults = ["2 incarnations in its ledger", "dropped gradients in its ledger: 1"];
        assert_eq!(rows[0].faults, faults);
        assert_eq!(rows[1].rate, Some(0.5));
        assert_eq!(rows[1].checkpoint, Some(2));
    }

    /// The steps of a run, according to its files.
    struct Files {
        losses_until: u64,
        checkpoint: u64,
        /// The number of training steps in the newest checkpoint.
        training_steps: u64,
        /// The number of training steps in each header of the ledger, oldest header first. An empty
        /// list means that there is no ledger.
        ledger: &'static [u64],
    }

    /// The files of a run that has finished at step 3.
    const FINISHED: Files =
        Files { losses_until: 3, checkpoint: 3, training_steps: 3, ledger: &[3] };

    impl Files {
        fn write(&self, folder: &Path) {
            use unisono_core::ids::Step;
            use unisono_files::testing::checkpoint_of;
            let rows = (0..self.losses_until).map(|step| format!("{step},0,0.5\n"));
            append(&folder.join(LOSSES_FILE), &rows.collect::<String>());
            let mut checkpoint = checkpoint_of(Step(self.checkpoint), 1);
            let settings = std::mem::take(&mut checkpoint.settings).without(&["training_steps"]);
            checkpoint.settings = settings.with("training_steps", self.training_steps);
            let name = file::file_name(checkpoint.step);
            std::fs::write(folder.join(&name), file::encode(&checkpoint)).unwrap();
            std::fs::write(folder.join(STATE_FILE), format!("model_checkpoint_path: \"{name}\"\n"))
                .unwrap();
            let last = self.losses_until.max(self.checkpoint) - 1;
            for steps in self.ledger {
                let header = format!("{{\"header\":{{\"training_steps\":{steps}}}}}\n");
                let update = format!("{{\"update\":{{\"step\":{}}}}}\n", last);
                append(&folder.join("ledger-ps0.jsonl"), &(header + &update));
            }
        }

        /// Returns the states, steps and rates of the tasks at the second poll.
        fn seen(&self) -> Vec<(State, Option<u64>, Option<f64>)> {
            let folder = tempfile::tempdir().unwrap();
            self.write(folder.path());
            let mut logdir = Logdir::new(folder.path());
            logdir.look(Duration::ZERO);
            let rows = logdir.look(Duration::from_secs(1));
            rows.into_iter().map(|row| (row.state, row.step, row.rate)).collect()
        }
    }

    #[test]
    fn finished_run_is_done_at_its_last_step_and_has_no_rate() {
        let done = (State::Done, Some(3), None);
        assert_eq!(FINISHED.seen(), [done.clone(), done.clone()]);
        assert_eq!(Files { ledger: &[], ..FINISHED }.seen(), [done]);
    }

    #[test]
    fn run_that_may_continue_is_not_done() {
        let file = |step, rate| (State::File, Some(step), rate);
        let goes_on = |step| [file(step, None), file(step, Some(0.0))];
        assert_eq!(Files { training_steps: 9, ledger: &[9], ..FINISHED }.seen(), goes_on(3));
        let longer = "a start with more steps has opened its ledger";
        assert_eq!(Files { ledger: &[3, 9], ..FINISHED }.seen(), goes_on(3), "{longer}");
        let more = Files { losses_until: 4, ledger: &[], ..FINISHED };
        assert_eq!(more.seen(), [file(4, Some(0.0))], "losses behind the checkpoint");
        let fewer = Files { losses_until: 2, ..FINISHED };
        let states = [file(3, None), file(2, Some(0.0))];
        assert_eq!(fewer.seen(), states, "losses are missing");
    }

    #[test]
    fn number_of_updates_is_that_of_the_newest_start() {
        let updates_to_make = |files: Files| {
            let folder = tempfile::tempdir().unwrap();
            files.write(folder.path());
            let mut logdir = Logdir::new(folder.path());
            logdir.look(Duration::ZERO);
            logdir.training_steps()
        };
        assert_eq!(updates_to_make(Files { ledger: &[], ..FINISHED }), Some(3));
        assert_eq!(updates_to_make(Files { ledger: &[9], ..FINISHED }), Some(9));
        let beyond = Files { losses_until: 4, ledger: &[], ..FINISHED };
        assert_eq!(updates_to_make(beyond), None, "only an earlier start ended at 3");
    }

    #[test]
    fn run_becomes_done_with_its_final_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut logdir = Logdir::new(folder.path());
        Files { checkpoint: 1, ..FINISHED }.write(folder.path());
        assert_eq!(logdir.look(Duration::ZERO)[0].state, State::File);
        assert_eq!(logdir.training_steps(), Some(3));
        Files { losses_until: 0, ledger: &[], ..FINISHED }.write(folder.path());
        assert_eq!(logdir.look(Duration::from_secs(1))[0].state, State::Done);
    }

    #[test]
    fn rollback_has_no_rate() {
        let mut logdir = Logdir::new(Path::new("nowhere"));
        let mut rate = |second, step| logdir.rate(Duration::from_secs(second), step);
        assert_eq!((rate(0, 100), rate(1, 150)), (None, Some(50.0)));
        assert_eq!(rate(2, 40), None);
        assert_eq!(rate(3, 47), Some(7.0));
    }
}
