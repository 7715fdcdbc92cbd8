//! What the files of a run tell: its losses, its newest checkpoint, its ledgers.
//!
//! Files are read on from where they ended at the look before.

use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::model::{State, TaskRow};
use crate::checkpoint::state::{self, STATE_FILE};
use crate::checkpoint::{Disk as _, RealDisk, step_of};
use crate::events::{Series, VALIDATION_ACCURACY};
use crate::ledger;
use crate::losses::LOSSES_FILE;

/// Points of the curve; with more, each two become one.
const MOST_POINTS: usize = 4096;

/// A logdir that is watched.
#[derive(Debug)]
pub(super) struct Logdir {
    folder: PathBuf,
    losses: Curve,
    tail: Tail,
    ledgers: Vec<Ledger>,
    accuracies: Series,
    /// The chief's step at the look before.
    before: Option<(Duration, u64)>,
}

impl Logdir {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            losses: Curve::default(),
            tail: Tail::new(folder.join(LOSSES_FILE)),
            ledgers: Vec::new(),
            accuracies: Series::new(folder, VALIDATION_ACCURACY),
            before: None,
        }
    }

    /// The loss of each step.
    pub(super) fn losses(&self) -> Vec<(f64, f64)> {
        self.losses.points()
    }

    /// The rows of what is there.
    pub(super) fn look(&mut self, now: Duration) -> Vec<TaskRow> {
        let Self { losses, tail, .. } = self;
        let _ = tail.lines(|line| losses.add(line));
        let mut rows = Vec::new();
        self.find_ledgers();
        for ledger in &mut self.ledgers {
            rows.push(ledger.look());
        }
        if let Some(step) = self.losses.next_step() {
            let rate = self
                .before
                .filter(|(at, _)| *at < now)
                .map(|(at, before)| step.saturating_sub(before) as f64 / (now - at).as_secs_f64());
            self.before = Some((now, step));
            rows.push(TaskRow {
                name: "worker 0".to_owned(),
                state: State::File,
                step: Some(step),
                rate,
                accuracy: self.accuracy(),
                checkpoint: newest_checkpoint(&self.folder),
                ..TaskRow::default()
            });
        }
        rows
    }

    fn accuracy(&mut self) -> Option<f64> {
        // A folder without event files, or with one that cannot be read, shows the rest.
        let _ = self.accuracies.read();
        self.accuracies.points().next_back().map(|(_, share)| share.into())
    }

    fn find_ledgers(&mut self) {
        while let Ok(ps) = u32::try_from(self.ledgers.len())
            && let path = self.folder.join(ledger::file_name(ps))
            && path.exists()
        {
            self.ledgers.push(Ledger {
                ps,
                tail: Tail::new(path),
                lives: 0,
                dropped: 0,
                step: None,
            });
        }
    }
}

/// The step of the newest checkpoint, as the list of them says.
fn newest_checkpoint(folder: &Path) -> Option<u64> {
    let paths = state::decode(&RealDisk.read(&folder.join(STATE_FILE)).ok()?).ok()?;
    let step = step_of(Path::new(paths.last()?).file_name()?.to_str()?)?;
    Some(step.0)
}

#[derive(Debug)]
struct Ledger {
    ps: u32,
    tail: Tail,
    lives: u64,
    dropped: u64,
    step: Option<u64>,
}

impl Ledger {
    fn look(&mut self) -> TaskRow {
        let Self { ps, tail, lives, dropped, step } = self;
        let mut last = None;
        let _ = tail.lines(|line| {
            if line.starts_with("{\"header\"") {
                *lives += 1;
            } else if line.starts_with("{\"dropped\"") {
                *dropped += 1;
            } else if line.starts_with("{\"update\"") {
                last = Some(line.to_owned());
            }
        });
        let of_line = |line: String| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line["update"]["step"].as_u64()
        };
        *step = last.and_then(of_line).map(|step| step + 1).or(*step);
        let mut faults = Vec::new();
        if *lives > 1 {
            faults.push(format!("{lives} lives in its ledger"));
        }
        if *dropped > 0 {
            faults.push(format!("gradients dropped, in its ledger: {dropped}"));
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

/// A file that grows.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    const fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Takes the whole lines that are new.
    fn lines(&mut self, mut take: impl FnMut(&str)) -> io::Result<()> {
        let mut file = RealDisk::open_to_read(&self.path)?;
        if file.metadata()?.len() < self.read {
            // Rows of an older life went.
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

/// Losses by step, thinned as there come more.
#[derive(Debug, Default)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    /// The step whose rows come in now, with their sum and number.
    open: Option<(u64, f64, f64)>,
}

impl Curve {
    /// Takes a row of `losses.csv`; what is none is passed over.
    fn add(&mut self, line: &str) {
        let mut cells = line.split(',');
        let mut cell = || cells.next();
        if let (Some(Ok(step)), Some(_), Some(Ok(loss))) =
            (cell().map(str::parse::<u64>), cell(), cell().map(str::parse::<f64>))
        {
            match &mut self.open {
                Some((open, sum, n)) if *open == step => {
                    *sum += loss;
                    *n += 1.0;
                }
                _ => {
                    self.close();
                    self.open = Some((step, loss, 1.0));
                }
            }
        }
    }

    /// Takes the mean loss of a step.
    pub(super) fn put(&mut self, step: f64, loss: f64) {
        // What was made again replaces what was made before.
        while self.points.last().is_some_and(|(known, _)| *known >= step) {
            self.points.pop();
        }
        self.points.push((step, loss));
        if self.points.len() > MOST_POINTS {
            let mean = |pair: &[(f64, f64)]| {
                let n = pair.len() as f64;
                let sum =
                    pair.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
                (sum.0 / n, sum.1 / n)
            };
            self.points = self.points.chunks(2).map(mean).collect();
        }
    }

    fn close(&mut self) {
        if let Some((step, sum, n)) = self.open.take() {
            self.put(step as f64, sum / n);
        }
    }

    fn next_step(&self) -> Option<u64> {
        self.open.map(|(step, ..)| step + 1)
    }

    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let open = self.open.map(|(step, sum, n)| (step as f64, sum / n));
        self.points.iter().copied().chain(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(path: &Path, text: &str) {
        use std::fs::File;
        use std::io::Write as _;
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn files_are_read_on_from_where_they_ended() {
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
        let faults = ["2 lives in its ledger", "gradients dropped, in its ledger: 1"];
        assert_eq!(rows[0].faults, faults);
        assert_eq!(rows[1].rate, Some(0.5));
        assert_eq!(rows[1].checkpoint, Some(2));
    }

    #[test]
    fn a_step_that_was_made_again_replaces_what_came_after_it() {
        let mut curve = Curve::default();
        ["5,0,1", "6,0,2", "7,0,3", "6,0,9", "7,0,8"].iter().for_each(|row| curve.add(row));
        assert_eq!(curve.points(), [(5.0, 1.0), (6.0, 9.0), (7.0, 8.0)]);
    }

    #[test]
    fn a_long_run_is_thinned() {
        let mut curve = Curve::default();
        (0..20_000).for_each(|step| curve.put(f64::from(step), f64::from(step)));
        let points = curve.points();
        assert!(points.len() > MOST_POINTS / 4 && points.len() <= MOST_POINTS, "{}", points.len());
        assert!(points.iter().all(|(step, loss)| step == loss));
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }
}
