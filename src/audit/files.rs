//! The losses and the checkpoints of a run against its ledgers.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::violation::{any_of, listed};
use super::{Audit, Made, Place, Rule, Shard, Violation};
use crate::checkpoint::disk::{Disk as _, DiskError};
use crate::checkpoint::{self, Checkpoint, RealDisk};
use crate::config::RunConfig;
use crate::ids::{Slot, Step};
use crate::ledger::{Loss, StateHash};
use crate::losses::{self, LOSSES_FILE, LossesError};
use crate::protocol::Snapshot;
use crate::training::files::snapshot_of;

/// A row of the losses file.
pub type LossRow = (Step, Slot, f32);

/// The rows of each update, of rows that ascend by step.
pub fn by_step(rows: &[LossRow]) -> impl Iterator<Item = (Step, &[LossRow])> {
    rows.chunk_by(|one, other| one.0 == other.0).map(|of_step| (of_step[0].0, of_step))
}

/// Why the other files of a run cannot be held against its ledgers.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The losses are none.
    #[error(transparent)]
    Losses(#[from] LossesError),
}

impl Audit<'_> {
    /// Holds the losses and the checkpoints of a logdir against the ledgers, if there are any.
    ///
    /// # Errors
    /// If they are there and cannot be read.
    pub fn check_files(&mut self, logdir: &Path) -> Result<(), FilesError> {
        let newest = self.check_checkpoints(logdir)?;
        let path = logdir.join(LOSSES_FILE);
        match losses::read(&path) {
            Ok(rows) => self.check_losses(&path, &rows, newest),
            Err(LossesError::Disk(error)) if error.source.kind() == ErrorKind::NotFound => {
                self.notes.push(format!("there is no {LOSSES_FILE} in {}", logdir.display()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Rule 7: a row of losses is what a ledger says of that gradient, and those before the newest
    /// checkpoint are all there.
    pub fn check_losses(&mut self, path: &Path, rows: &[LossRow], newest: Option<Step>) {
        self.seen.n_losses += rows.len() as u64;
        let standing = self.standing();
        // Only a run that went back has more than what stands.
        let ever = LazyCell::new(|| {
            let mut ever: BTreeMap<Step, Vec<&Made<'_>>> = BTreeMap::new();
            for made in self.shards.iter().flat_map(|shard| &shard.made) {
                ever.entry(made.update.step).or_default().push(made);
            }
            ever
        });
        let last_opened = self.generations().last().map(|(_, step)| step);
        let mut found = Vec::new();
        let mut expected = standing.keys().copied().take_while(|step| Some(*step) < newest);
        let mut next = expected.next();
        let mut line = 2;
        for (step, of_step) in by_step(rows) {
            let place = Place::line(path, line);
            line += of_step.len();
            if let Some(missing) = next.filter(|next| *next < step) {
                found.push(missing_losses(place.clone(), missing));
            }
            while next.is_some_and(|next| next <= step) {
                next = expected.next();
            }
            let stands = standing.get(&step).and_then(|made| made.first());
            if stands.is_some_and(|made| is_of(made, of_step)) {
                continue;
            }
            let Some(ever) = ever.get(&step) else { continue };
            // After a rollback the old rows stay until the chief hears of the new updates.
            let may_be_old = Some(step) >= last_opened;
            if !(may_be_old && ever.iter().any(|made| is_of(made, of_step))) {
                found.push(wrong_losses(place, of_step, stands.copied()));
            }
        }
        if let Some(missing) = next {
            found.push(missing_losses(Place::file(path), missing));
        }
        self.violations.extend(found);
    }

    /// Holds every checkpoint that is there against the ledgers; returns the newest one's step.
    fn check_checkpoints(&mut self, logdir: &Path) -> Result<Option<Step>, FilesError> {
        let names = RealDisk.list(logdir).map_err(DiskError::at("list the logdir", logdir))?;
        let mut newest = None;
        for step in checkpoint::steps_among(&names) {
            let path = logdir.join(checkpoint::file::file_name(step));
            let bytes = RealDisk.read(&path).map_err(DiskError::at("read", &path))?;
            match checkpoint::decode(step, &bytes) {
                Ok(checkpoint) => {
                    self.check_checkpoint(&path, &checkpoint);
                    newest = Some(step);
                }
                Err(why) => {
                    let path = path.display();
                    self.notes.push(format!("{path} was not compared: it is damaged: {why}"));
                }
            }
        }
        Ok(newest)
    }

    /// Rule 7: a checkpoint is one version of every shard, and one that was made.
    pub fn check_checkpoint(&mut self, path: &Path, checkpoint: &Checkpoint) {
        let step = checkpoint.step;
        let note = match hashes_of(checkpoint) {
            Err(why) => Some(format!("{} was not compared: {why}", path.display())),
            Ok(hashes) => {
                self.seen.n_checkpoints += 1;
                self.compare_checkpoint(path, step, &hashes)
            }
        };
        self.notes.extend(note);
    }

    /// As [`Self::check_checkpoint`], of a state that is laid over the ps as it was when it was
    /// captured.
    pub fn check_snapshot(&mut self, path: &Path, snapshot: &Snapshot) {
        self.seen.n_checkpoints += 1;
        let hashes: Vec<_> = snapshot.shards.iter().map(StateHash::of).collect();
        let note = self.compare_checkpoint(path, snapshot.step, &hashes);
        self.notes.extend(note);
    }

    fn compare_checkpoint(
        &mut self,
        path: &Path,
        step: Step,
        hashes: &[StateHash],
    ) -> Option<String> {
        let mut note = None;
        for (ps, found) in (0..).zip(hashes) {
            let Some(shard) = self.shards.iter().find(|shard| shard.ps() == ps) else { continue };
            if shard.hash_of(step) == Some(*found) {
                continue;
            }
            let made = shard.hashes_of(step);
            let path_text = path.display();
            if made.is_empty() {
                note = Some(format!("{path_text} was not compared: no ledger has version {step}"));
            } else if made.iter().any(|(hash, _)| hash == found) {
                note = Some(format!(
                    "{path_text} is version {step} of a history that was rolled back since"
                ));
            } else {
                let wanted = format!("version {step} of ps {ps}, {}", any_of(&made));
                let (rule, place) = (Rule::CheckpointsAreCuts, Place::file(path));
                let found = what_is(shard, *found);
                self.violations.push(Violation { rule, step, place, wanted, found });
            }
        }
        note
    }
}

/// The hash of each shard of a checkpoint, as it was laid over the ps of its run.
fn hashes_of(checkpoint: &Checkpoint) -> Result<Vec<StateHash>, String> {
    let run = RunConfig::from_settings(&checkpoint.settings).map_err(|error| error.to_string())?;
    let snapshot = snapshot_of(&run, checkpoint)?;
    Ok(snapshot.shards.iter().map(StateHash::of).collect())
}

/// A state by its hash; and if it is another version, which.
fn what_is(shard: &Shard<'_>, hash: StateHash) -> String {
    match shard.made.iter().find(|made| made.update.after == hash) {
        Some(made) => format!("its version {}, {hash}", made.version()),
        None => hash.to_string(),
    }
}

fn missing_losses(place: Place, step: Step) -> Violation {
    let wanted = format!("the losses of update {step}, which a checkpoint is behind");
    let (rule, found) = (Rule::CheckpointsAreCuts, "none".to_owned());
    Violation { rule, step, place, wanted, found }
}

/// Whether these rows, of one step, are the losses of an update.
fn is_of(made: &Made<'_>, rows: &[LossRow]) -> bool {
    let rows = rows.iter().map(|(_, slot, loss)| (*slot, Some(Loss(*loss))));
    losses_of(made).eq(rows)
}

fn losses_of<'b>(made: &'b Made<'_>) -> impl Iterator<Item = (Slot, Option<Loss>)> + Clone + 'b {
    let slots = made.update.slots.iter();
    slots.map(|used| (used.slot, used.push.as_ref().map(|push| push.loss)))
}

fn wrong_losses(place: Place, rows: &[LossRow], stands: Option<&Made<'_>>) -> Violation {
    let wanted = stands.map_or_else(
        || "losses of an update that was made".to_owned(),
        |made| format!("{}, as in {}", described(losses_of(made)), made.place()),
    );
    let found = described(rows.iter().map(|(_, slot, loss)| (*slot, Some(Loss(*loss)))));
    Violation { rule: Rule::CheckpointsAreCuts, step: rows[0].0, place, wanted, found }
}

fn described(slots: impl Iterator<Item = (Slot, Option<Loss>)> + Clone) -> String {
    let numbers: Vec<_> = slots.clone().map(|(slot, _)| slot).collect();
    let losses: Vec<_> = slots
        .map(|(_, loss)| loss.map_or_else(|| "none".to_owned(), |loss| loss.to_string()))
        .collect();
    format!("slots {} with losses {}", listed(&numbers), losses.join(", "))
}
