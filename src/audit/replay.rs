//! Recomputes the run of a cluster in one process, from the run's ledgers.
//!
//! The ledgers record the slots that each update used. These slots determine all other values. At
//! every step, the replay compares its result with the hashes that the ps recorded and with the
//! losses of the workers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::found::Audit;
use crate::shard::Made;
use crate::{FilePlace, Violation};
use unisono_config::RunConfig;
use unisono_core::host::Work;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{Failure, ShardState, Snapshot, UpdateRecord};
use unisono_files::checkpoint;
use unisono_files::checkpoint::Checkpoint;
use unisono_files::disk::{Disk as _, DiskError, RealDisk};
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::files::{InitError, snapshot_of};
use unisono_learn::training::plan::Plan;
use unisono_learn::training::reference::Reference;
use unisono_learn::{Workload, WorkloadError};
use unisono_observe::ledger::{Header, Loss, StateHash};

/// Inputs of a replay besides the ledgers.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Workload of the program that made the run.
    pub workload: Workload,
    /// Logdir of the run. If the ledgers do not begin with version 0, the replay starts from a
    /// checkpoint in the logdir.
    pub logdir: PathBuf,
    /// Directory of the run's training data; `None` for the embedded subset of MNIST.
    pub data_dir: Option<PathBuf>,
    /// File of initial values, if the run was started with such a file.
    pub init_from: Option<PathBuf>,
    /// SIMD level for the computation. The level has no effect on the bits of the result.
    pub level: SimdLevel,
}

/// Numbers of values that a replay compared and found equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// First version of the replay.
    pub from: Step,
    /// Last version of the replay.
    pub to: Step,
    /// Hashes of shards.
    pub n_hashes: u64,
    /// Losses of slots.
    pub n_losses: u64,
    /// Checkpoints, compared element by element.
    pub n_checkpoints: u64,
}

/// The first difference between a run and its replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Step of the update, or version of the checkpoint.
    pub step: Step,
    /// Kind of value that differs.
    pub of: Compared,
    /// Place of the recorded value.
    pub place: FilePlace,
    /// Recorded value.
    pub wanted: String,
    /// Recomputed value.
    pub found: String,
}

/// A kind of compared value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Version before an update, on this ps.
    Before(u32),
    /// Version after an update, on this ps.
    After(u32),
    /// Loss of a slot.
    Loss(Slot),
    /// An element of a checkpoint.
    Checkpoint,
}

/// The reason why a replay did not confirm a run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The replay differs from the run.
    #[error("{0}")]
    Diverges(Divergence),
    /// The ledgers violate a rule, so a replay makes no sense.
    #[error("{0}")]
    Broken(Violation),
    /// The ledgers contain no update.
    #[error("the ledgers have no update: there is nothing to replay")]
    Nothing,
    /// The ledgers begin after version 0, and there is no checkpoint to start from.
    #[error(
        "the ledgers begin with version {from}, but there is no checkpoint of version {from} to \
         {to} in {}: put one there", logdir.display()
    )]
    NoStart {
        /// First version in the ledgers.
        from: Step,
        /// Last version in the ledgers.
        to: Step,
        /// Folder that was searched for checkpoints.
        logdir: PathBuf,
    },
    /// Updates are missing between others.
    #[error(
        "updates {from} to {to} are in no ledger, so later updates cannot be computed: collect \
         the ledgers of all ps in one folder"
    )]
    Hole {
        /// First missing update.
        from: Step,
        /// Last missing update.
        to: Step,
    },
    /// A header does not describe a valid run.
    #[error("{place}: {why}")]
    Header {
        /// Place of the first update under the header.
        place: FilePlace,
        /// Reason why it is not valid.
        why: String,
    },
    /// The data differ from the training data.
    #[error(
        "the run trained on data with digest {wanted}, but the given data have digest {found}: \
         pass the run's --data-dir"
    )]
    Data {
        /// Digest in the ledgers.
        wanted: String,
        /// Digest of the given data.
        found: String,
    },
    /// The data or the model cannot be used.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The initial values cannot be used.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A loss is not finite, so there is no update.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// Recomputes the updates that no rollback undid, and compares the results with the run. Calls
/// `progress` after each update.
///
/// # Errors
/// Returns an error if a value differs, if the ledgers violate a rule, or if data that the replay
/// needs are missing.
pub fn replay(
    audit: &Audit<'_>,
    inputs: &Inputs,
    mut progress: impl FnMut(&UpdateRecord),
) -> Result<Replayed, ReplayError> {
    if let Some(violation) = audit.first_violation() {
        return Err(ReplayError::Broken(violation.clone()));
    }
    let standing = audit.standing();
    check_is_whole(&standing)?;
    let mut run = Run::start(audit, &standing, inputs)?;
    // Updates before the start are in the ledgers, but there is no state to recompute them from.
    for updates in standing.range(run.reference.step()..).map(|(_, updates)| updates) {
        run.follow(updates[0])?;
        let update = recompute(&mut run.reference, updates, &mut run.compared)?;
        run.compare_checkpoint(updates)?;
        progress(&update);
    }
    run.compared.to = run.reference.step();
    Ok(run.compared)
}

/// Recomputes one update, and compares the result with the ledger lines of all shards.
///
/// # Errors
/// Returns [`ReplayError::Diverges`] at the first difference, [`ReplayError::Failed`] if a loss is
/// not finite, and [`ReplayError::Header`] if an update comes from a ps that the cluster does not
/// have.
pub fn recompute<W: Work>(
    reference: &mut Reference<W>,
    updates: &[&Made<'_>],
    compared: &mut Replayed,
) -> Result<UpdateRecord, ReplayError> {
    let before = &reference.snapshot().shards;
    for made in updates {
        compare_hash(before, made, Compared::Before(made.ps()), made.update.before, compared)?;
    }
    let update = reference.update(updates[0].update.slot_numbers())?;
    let after = &reference.snapshot().shards;
    for made in updates {
        for (used, (slot, loss)) in made.update.slots.iter().zip(&update.losses) {
            let Some(push) = &used.push else { continue };
            compared.n_losses += 1;
            if push.loss != Loss(*loss) {
                let (wanted, found) = (push.loss.to_string(), Loss(*loss).to_string());
                return Err(divergence(made, Compared::Loss(*slot), wanted, found));
            }
        }
        compare_hash(after, made, Compared::After(made.ps()), made.update.after, compared)?;
    }
    Ok(update)
}

fn compare_hash(
    shards: &[ShardState],
    made: &Made<'_>,
    of: Compared,
    wanted: StateHash,
    compared: &mut Replayed,
) -> Result<(), ReplayError> {
    let Some(state) = shards.get(made.ps() as usize) else {
        let why = format!("ps {} is not one of the run's {} ps", made.ps(), made.header.n_ps);
        return Err(ReplayError::Header { place: made.place(), why });
    };
    let found = StateHash::of(state);
    compared.n_hashes += 1;
    if found == wanted {
        return Ok(());
    }
    Err(divergence(made, of, wanted.to_string(), found.to_string()))
}

type Standing<'b, 'a> = BTreeMap<Step, Vec<&'b Made<'a>>>;

fn check_is_whole(standing: &Standing<'_, '_>) -> Result<(), ReplayError> {
    let mut next = *standing.keys().next().ok_or(ReplayError::Nothing)?;
    for step in standing.keys() {
        if *step != next {
            return Err(ReplayError::Hole { from: next, to: Step(step.0 - 1) });
        }
        next = step.next();
    }
    Ok(())
}

struct Run<'b> {
    inputs: &'b Inputs,
    data: Arc<Dataset>,
    /// Header whose settings `reference` uses.
    header: Header,
    plan: Plan,
    reference: Reference,
    compared: Replayed,
}

impl<'b> Run<'b> {
    fn start(
        audit: &Audit<'_>,
        standing: &Standing<'_, '_>,
        inputs: &'b Inputs,
    ) -> Result<Self, ReplayError> {
        let first = *standing.keys().next().ok_or(ReplayError::Nothing)?;
        let checkpoint = match first {
            Step(0) => None,
            _ => Some(from_checkpoint(standing, &inputs.logdir)?),
        };
        let from = checkpoint.as_ref().map_or(first, |checkpoint| checkpoint.cut.step);
        let updates = &standing[&from];
        let config = config_of(updates[0])?;
        let on = RunConfig { data_dir: inputs.data_dir.clone(), ..config.clone() };
        let data = Arc::new(inputs.workload.open_data(&on)?);
        check_data(audit, &data)?;
        let plan = inputs.workload.plan_on(&config, Arc::clone(&data), inputs.level)?;
        let snapshot = match checkpoint {
            Some(checkpoint) => checkpoint,
            None => plan.initial(inputs.init_from.as_deref())?,
        };
        let reference = Reference::new(&plan, snapshot);
        let header = updates[0].header.clone();
        let compared = Replayed { from, to: from, ..Replayed::default() };
        Ok(Self { inputs, data, header, plan, reference, compared })
    }

    /// Switches to the settings of an update, if the run was restarted with changed settings before
    /// the update.
    fn follow(&mut self, made: &Made<'_>) -> Result<(), ReplayError> {
        if self.header.difference(made.header).is_none() {
            return Ok(());
        }
        let config = config_of(made)?;
        let wrong = |why| ReplayError::Header { place: made.place(), why };
        let snapshot = snapshot_of(&config, &self.checkpoint()).map_err(wrong)?;
        let Inputs { workload, level, .. } = self.inputs;
        self.plan = workload.plan_on(&config, Arc::clone(&self.data), *level)?;
        self.reference = Reference::new(&self.plan, snapshot);
        self.header = made.header.clone();
        Ok(())
    }

    /// Compares the recomputed version with the run's checkpoint of this version, if the checkpoint
    /// exists. Unlike a comparison of hashes, this comparison cannot miss a difference.
    fn compare_checkpoint(&mut self, updates: &[&Made<'_>]) -> Result<(), ReplayError> {
        let version = updates[0].version();
        let path = self.inputs.logdir.join(checkpoint::file::file_name(version));
        // A missing or damaged checkpoint is skipped here; the audit reports damage.
        let Ok(bytes) = RealDisk.read(&path) else { return Ok(()) };
        let Ok(theirs) = checkpoint::decode(version, &bytes) else { return Ok(()) };
        let Ok(snapshot) = snapshot_of(&config_of(updates[0])?, &theirs) else { return Ok(()) };
        let is_this = |made: &&Made<'_>| {
            let shard = snapshot.shards.get(made.ps() as usize);
            shard.is_some_and(|shard| StateHash::of(shard) == made.update.after)
        };
        if !updates.iter().all(is_this) {
            // Either the checkpoint belongs to a history that has since been rolled back, or it is
            // wrong. The audit reports a wrong checkpoint, so nothing is done here.
            return Ok(());
        }
        self.compared.n_checkpoints += 1;
        let Some((wanted, found)) = first_difference(&theirs, &self.checkpoint()) else {
            return Ok(());
        };
        let (step, of, place) = (version, Compared::Checkpoint, FilePlace::file(&path));
        Err(ReplayError::Diverges(Divergence { step, of, place, wanted, found }))
    }

    fn checkpoint(&self) -> Checkpoint {
        let snapshot = Arc::new(self.reference.snapshot().clone());
        let files = self.plan.files_from(&self.inputs.logdir, Arc::clone(&snapshot));
        (files.to_checkpoint)(&snapshot)
    }
}

/// Describes the first element in which two checkpoints differ. Returns the element of the run's
/// checkpoint, then the element of the recomputed checkpoint.
fn first_difference(theirs: &Checkpoint, ours: &Checkpoint) -> Option<(String, String)> {
    let names = theirs.tensors.keys().chain(ours.tensors.keys());
    names.into_iter().find_map(|name| {
        let (Some(theirs), Some(ours)) = (theirs.tensors.get(name), ours.tensors.get(name)) else {
            return Some((
                format!("tensor {name} in both checkpoints"),
                "the tensor in only one of them".to_owned(),
            ));
        };
        let mut pairs = theirs.values().iter().zip(ours.values().iter()).enumerate();
        let differs =
            |(_, (theirs, ours)): &(usize, (&f32, &f32))| theirs.to_bits() != ours.to_bits();
        let (at, (theirs, ours)) = pairs.find(differs)?;
        Some((format!("{theirs:?} in element {at} of {name}"), format!("{ours:?}")))
    })
}

fn divergence(made: &Made<'_>, of: Compared, wanted: String, found: String) -> ReplayError {
    let (step, place) = (made.update.step, made.place());
    ReplayError::Diverges(Divergence { step, of, place, wanted, found })
}

/// Returns the configuration of the run from the ledger header above an update.
fn config_of(made: &Made<'_>) -> Result<RunConfig, ReplayError> {
    let wrong = |why| ReplayError::Header { place: made.place(), why };
    let header = made.header;
    let config = RunConfig::from_settings(&header.settings);
    let config = config.map_err(|error| wrong(error.to_string()))?;
    if (config.n_ps, config.sync) != (header.n_ps, header.sync()) {
        return Err(wrong(
            "the header's cluster size differs from that in its settings".to_owned(),
        ));
    }
    Ok(config)
}

fn check_data(audit: &Audit<'_>, data: &Dataset) -> Result<(), ReplayError> {
    let restored = audit.shards.iter().flat_map(|shard| &shard.restored);
    let digests = restored.filter_map(|restored| restored.line.data.as_deref());
    let mut others = digests.filter(|digest| *digest != data.digest());
    match others.next() {
        None => Ok(()),
        Some(wanted) => {
            let (wanted, found) = (wanted.to_owned(), data.digest().to_owned());
            Err(ReplayError::Data { wanted, found })
        }
    }
}

/// Loads the earliest undamaged checkpoint whose version has an update in the ledgers.
fn from_checkpoint(standing: &Standing<'_, '_>, logdir: &Path) -> Result<Snapshot, ReplayError> {
    let names = RealDisk.list(logdir).map_err(DiskError::at("list the logdir", logdir))?;
    for step in checkpoint::steps_among(&names) {
        let Some(updates) = standing.get(&step) else { continue };
        let path = logdir.join(checkpoint::file::file_name(step));
        let bytes = RealDisk.read(&path).map_err(DiskError::at("read", &path))?;
        // Skip damaged checkpoints, and try a later one.
        let Ok(checkpoint) = checkpoint::decode(step, &bytes) else { continue };
        let wrong = |why| ReplayError::Header { place: updates[0].place(), why };
        return snapshot_of(&config_of(updates[0])?, &checkpoint).map_err(wrong);
    }
    let (from, to) = (standing.keys().next(), standing.keys().next_back());
    let (from, to) = (from.copied().unwrap_or_default(), to.copied().unwrap_or_default());
    Err(ReplayError::NoStart { from, to, logdir: logdir.to_owned() })
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, of, place, wanted, found } = self;
        match of {
            Compared::Before(ps) => {
                write!(f, "version {step} of ps {ps} differs from the run's")?;
            }
            Compared::After(ps) => {
                write!(f, "update {step} of ps {ps} makes a version that differs from the run's")?;
            }
            Compared::Checkpoint => {
                write!(f, "the checkpoint of version {step} differs from the recomputed one")?;
            }
            Compared::Loss(slot) => {
                write!(f, "the loss of slot {slot} at step {step} differs from the run's")?;
            }
        }
        write!(f, ", {place}: wanted {wanted}, computed {found}")?;
        if matches!(of, Compared::Before(_)) && *step == Step(0) {
            write!(
                f,
                "; if the run started from given initial values, pass them with \
                       --init-from"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
