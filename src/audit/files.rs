//! Compares the losses and the checkpoints of a run with its ledgers.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::violation::{any_of, listed};
use super::{FilePlace, Rule, Violation, pass};
use crate::found::Audit;
use crate::shard::{Made, ShardHistory};
use unisono_config::RunConfig;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::Snapshot;
use unisono_files::checkpoint;
use unisono_files::checkpoint::Checkpoint;
use unisono_files::disk::{Disk as _, DiskError, RealDisk};
use unisono_files::losses;
use unisono_files::losses::error::{LOSSES_FILE, LossesError};
use unisono_learn::training::files::snapshot_of;
use unisono_observe::ledger::{Header, Loss, StateHash};

/// A row of the losses file.
pub type LossRow = (Step, Slot, f32);

/// Groups rows by update. The rows must ascend by step.
pub fn by_step(rows: &[LossRow]) -> impl Iterator<Item = (Step, &[LossRow])> {
    rows.chunk_by(|one, other| one.0 == other.0).map(|of_step| (of_step[0].0, of_step))
}

/// The reason why losses or checkpoints cannot be compared with the ledgers.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The losses file is not valid.
    #[error(transparent)]
    Losses(#[from] LossesError),
}

impl<'a> Audit<'a> {
    /// Compares the losses file and the checkpoints in a logdir, if these files exist, with the
    /// ledgers.
    ///
    /// # Errors
    /// Returns an error if an existing file cannot be read.
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

    /// Compares the rows of a losses file with the ledgers (rule 7). Every row must match the
    /// ledgers, and no row of a step before `newest` may be missing. `newest` is the step of the
    /// newest checkpoint.
    pub fn check_losses(&mut self, path: &Path, rows: &[LossRow], newest: Option<Step>) {
        self.seen.n_losses += rows.len() as u64;
        let standing = self.standing();
        // The map is computed lazily, because it is rarely needed: without a rollback, all updates
        // are in `standing`.
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
        // Line 1 is the header.
        let mut line = 2;
        for (step, of_step) in by_step(rows) {
            let place = FilePlace::line(path, line);
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
            // If no ledger has this step, there is nothing to compare the row with.
            let Some(ever) = ever.get(&step) else { continue };
            // After a rollback, old rows stay in the file until the chief records the recomputed
            // updates.
            let may_be_old = Some(step) >= last_opened;
            if !(may_be_old && ever.iter().any(|made| is_of(made, of_step))) {
                found.push(wrong_losses(place, of_step, stands.copied()));
            }
        }
        if let Some(missing) = next {
            found.push(missing_losses(FilePlace::file(path), missing));
        }
        self.violations.extend(found);
    }

    /// Compares every checkpoint with the ledgers. Returns the step of the newest checkpoint that
    /// is not damaged.
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

    /// Compares a checkpoint with the ledgers: the checkpoint must contain a version that every
    /// shard made (rule 7).
    ///
    /// The ledgers record how the tensors were distributed over the ps. A checkpoint does not
    /// record this layout. If the number of ps changed during the run, there are several layouts,
    /// and the checkpoint must match one of them.
    pub fn check_checkpoint(&mut self, path: &Path, checkpoint: &Checkpoint) {
        let mut found = None;
        for layout in self.layouts() {
            let compared = match hashes_of(checkpoint, layout) {
                Ok(hashes) => Ok(self.compare_checkpoint(path, checkpoint.step, &hashes)),
                Err(why) => Err(format!("{} was not compared: {why}", path.display())),
            };
            let is_right = matches!(&compared, Ok((violations, None)) if violations.is_empty());
            // The newest layout comes last. If no layout matches, the violations of the newest
            // layout are reported.
            found = Some(compared);
            if is_right {
                break;
            }
        }
        match found {
            Some(Ok(compared)) => self.take_compared(compared),
            Some(Err(note)) => self.notes.push(note),
            None => self
                .notes
                .push(format!("{} was not compared: its layout is in no ledger", path.display())),
        }
    }

    /// Returns one ledger header for each different layout of the tensors on the ps, in the order
    /// of the ledgers.
    fn layouts(&self) -> Vec<&'a Header> {
        let mut layouts: Vec<&Header> = Vec::new();
        for shard in &self.shards {
            let made = shard.made.iter().map(|made| made.header);
            let mut headers: Vec<_> =
                shard.restored.iter().map(|restored| restored.header).chain(made).collect();
            // Skip repeated headers by address: thousands of updates share one header, and
            // comparing settings is slow.
            headers.dedup_by(|one, other| std::ptr::eq(*one, *other));
            for header in headers {
                if !layouts.iter().any(|known| pass::has_layout_of(known, header)) {
                    layouts.push(header);
                }
            }
        }
        layouts
    }

    fn take_compared(&mut self, (violations, note): (Vec<Violation>, Option<String>)) {
        self.seen.n_checkpoints += 1;
        self.violations.extend(violations);
        self.notes.extend(note);
    }

    /// Compares a captured state with the ledgers, as [`Self::check_checkpoint`] does. The state is
    /// already divided into the shards of the run.
    pub fn check_snapshot(&mut self, path: &Path, snapshot: &Snapshot) {
        let hashes: Vec<_> = snapshot.shards.iter().map(StateHash::of).collect();
        let compared = self.compare_checkpoint(path, snapshot.cut.step, &hashes);
        self.take_compared(compared);
    }

    fn compare_checkpoint(
        &self,
        path: &Path,
        step: Step,
        hashes: &[StateHash],
    ) -> (Vec<Violation>, Option<String>) {
        let (mut violations, mut note) = (Vec::new(), None);
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
                    "{path_text} has version {step} of a history that was rolled back later"
                ));
            } else {
                let wanted = format!("version {step} of ps {ps}, {}", any_of(&made));
                let (rule, place) = (Rule::CheckpointsAreCuts, FilePlace::file(path));
                let found = what_is(shard, *found);
                violations.push(Violation { rule, step, place, wanted, found });
            }
        }
        (violations, note)
    }
}

/// Divides a checkpoint into shards by the layout in a ledger's header, and returns the hash of
/// each shard.
fn hashes_of(checkpoint: &Checkpoint, layout: &Header) -> Result<Vec<StateHash>, String> {
    // A checkpoint of an earlier program version names its layout in the settings. That layout
    // takes precedence over the layout in the header.
    let of_layout = ["ps", "placement", "workers"];
    let settings = of_layout.iter().fold(checkpoint.settings.clone(), |settings, key| {
        match (settings.value(key), layout.settings.value(key)) {
            (None, Some(value)) => settings.with(key, value),
            _ => settings,
        }
    });
    let run = RunConfig::from_settings(&settings).map_err(|error| error.to_string())?;
    let snapshot = snapshot_of(&run, checkpoint)?;
    Ok(snapshot.shards.iter().map(StateHash::of).collect())
}

/// Describes a state by its hash. If the shard made the same state at another version, the
/// description also has that version.
fn what_is(shard: &ShardHistory<'_>, hash: StateHash) -> String {
    match shard.made.iter().find(|made| made.update.after == hash) {
        Some(made) => format!("{hash}, the hash of version {}", made.version()),
        None => hash.to_string(),
    }
}

fn missing_losses(place: FilePlace, step: Step) -> Violation {
    let wanted = format!("the losses of update {step}, because there is a later checkpoint");
    let (rule, found) = (Rule::CheckpointsAreCuts, "none".to_owned());
    Violation { rule, step, place, wanted, found }
}

/// Returns whether the rows of one step are the losses of an update.
fn is_of(made: &Made<'_>, rows: &[LossRow]) -> bool {
    let rows = rows.iter().map(|(_, slot, loss)| (*slot, Some(Loss(*loss))));
    losses_of(made).eq(rows)
}

fn losses_of<'b>(made: &'b Made<'_>) -> impl Iterator<Item = (Slot, Option<Loss>)> + Clone + 'b {
    let slots = made.update.slots.iter();
    slots.map(|used| (used.slot, used.push.as_ref().map(|push| push.loss)))
}

fn wrong_losses(place: FilePlace, rows: &[LossRow], stands: Option<&Made<'_>>) -> Violation {
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
