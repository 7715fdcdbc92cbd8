//! A run that was made by a cluster, computed again in one loop from its ledgers.
//!
//! The ledgers say which slots each update used; all else follows. What comes out is compared, at
//! every step, with the hash that each ps wrote down and the losses that its workers told it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::found::Audit;
use crate::audit::shard::Made;
use crate::audit::{Place, Violation};
use crate::ledger::{Header, Loss, StateHash};
use unisono_config::RunConfig;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{Failure, Snapshot, UpdateRecord};
use unisono_files::checkpoint;
use unisono_files::checkpoint::Checkpoint;
use unisono_files::disk::{Disk as _, DiskError, RealDisk};
use unisono_learn::data::{Dataset, DatasetError, Source};
use unisono_learn::model::SimdLevel;
use unisono_learn::training::files::{InitError, snapshot_of};
use unisono_learn::training::plan::Plan;
use unisono_learn::training::reference::Reference;

/// What a replay needs beside the ledgers.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The folder of the run: a run whose ledgers begin later than it did starts from a checkpoint.
    pub logdir: PathBuf,
    /// The data that it trained on.
    pub data: Source,
    /// The initial values that it was given, if it was.
    pub init_from: Option<PathBuf>,
    /// At which SIMD level to compute, which changes no bit.
    pub level: SimdLevel,
}

/// What a replay compared, and found equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The version that it started from.
    pub from: Step,
    /// The version that it ended with.
    pub to: Step,
    /// Hashes of shards.
    pub n_hashes: u64,
    /// Losses of slots.
    pub n_losses: u64,
    /// Checkpoints, every element of them.
    pub n_checkpoints: u64,
}

/// The first place at which a run is not what its ledgers make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The step of the update.
    pub step: Step,
    /// What is not the same.
    pub of: Compared,
    /// Where the ledger says it.
    pub place: Place,
    /// What the ledger says.
    pub wanted: String,
    /// What was computed.
    pub found: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The version before an update, of the shard of this ps.
    Before(u32),
    /// The version that an update made, of the shard of this ps.
    After(u32),
    /// The loss of a slot.
    Loss(Slot),
    /// An element of a checkpoint.
    Checkpoint,
}

/// DropReason a run is not proved to be exact.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is not.
    #[error("{0}")]
    Diverges(Divergence),
    /// What the ledgers say is against a rule, by itself.
    #[error("{0}")]
    Broken(Violation),
    /// The ledgers have no update.
    #[error("the ledgers have no update: there is nothing to replay")]
    Nothing,
    /// Nobody knows where the ledgers begin.
    #[error(
        "the ledgers begin with version {from}, and no checkpoint of version {from} to {to} is in \
         {}: bring one there", logdir.display()
    )]
    NoStart {
        /// Their first version.
        from: Step,
        /// Their last.
        to: Step,
        /// Where it was looked for.
        logdir: PathBuf,
    },
    /// The ledgers have a hole.
    #[error(
        "updates {from} to {to} are in no ledger: what comes after cannot be computed; bring the \
         ledgers of all ps together in one folder"
    )]
    Hole {
        /// The first update that is missing.
        from: Step,
        /// The last one.
        to: Step,
    },
    /// A header does not describe a run.
    #[error("{place}: {why}")]
    Header {
        /// The first update that it is the header of.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// These are not the data.
    #[error(
        "the run trained on data with the digest {wanted}, and this is {found}: give its --data-dir"
    )]
    Data {
        /// As the ledger says.
        wanted: String,
        /// As it is.
        found: String,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The initial values cannot be used.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A loss is not finite: no update was made of it.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// Computes the updates that stand again, and compares; ledgers that are against a rule by
/// themselves are not computed. `progress` is told of each update.
///
/// # Errors
/// The first divergence, or why there can be no replay.
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
    for updates in standing.range(run.reference.step()..).map(|(_, updates)| updates) {
        run.follow(updates[0])?;
        let update = run.update(updates)?;
        run.compare_checkpoint(updates)?;
        progress(&update);
    }
    run.compared.to = run.reference.step();
    Ok(run.compared)
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
    /// What `reference` was made with.
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
        let from = checkpoint.as_ref().map_or(first, |checkpoint| checkpoint.step);
        let updates = &standing[&from];
        let config = config_of(updates[0])?;
        let data = Arc::new(Dataset::open(&inputs.data, config.validation_size)?);
        check_data(audit, &data)?;
        let plan = Plan::new(&config, Arc::clone(&data), inputs.level)?;
        let snapshot = match checkpoint {
            Some(checkpoint) => checkpoint,
            None => plan.initial(inputs.init_from.as_deref())?,
        };
        let reference = Reference::new(plan.clone(), snapshot);
        let header = updates[0].header.clone();
        let compared = Replayed { from, to: from, ..Replayed::default() };
        Ok(Self { inputs, data, header, plan, reference, compared })
    }

    /// Takes up the settings that an update was made with, if they are others: the run was started
    /// again with them.
    fn follow(&mut self, made: &Made<'_>) -> Result<(), ReplayError> {
        if self.header.difference(made.header).is_none() {
            return Ok(());
        }
        let config = config_of(made)?;
        let wrong = |why| ReplayError::Header { place: made.place(), why };
        let snapshot = snapshot_of(&config, &self.checkpoint()).map_err(wrong)?;
        self.plan = Plan::new(&config, Arc::clone(&self.data), self.inputs.level)?;
        self.reference = Reference::new(self.plan.clone(), snapshot);
        self.header = made.header.clone();
        Ok(())
    }

    /// Makes one update, and compares it with what the shards say of it.
    fn update(&mut self, updates: &[&Made<'_>]) -> Result<UpdateRecord, ReplayError> {
        for made in updates {
            self.compare_hash(made, Compared::Before(made.ps()), made.update.before)?;
        }
        let update = self.reference.update(updates[0].update.slot_numbers())?;
        for made in updates {
            for (used, (slot, loss)) in made.update.slots.iter().zip(&update.losses) {
                let Some(push) = &used.push else { continue };
                self.compared.n_losses += 1;
                if push.loss != Loss(*loss) {
                    let (wanted, found) = (push.loss.to_string(), Loss(*loss).to_string());
                    return Err(divergence(made, Compared::Loss(*slot), wanted, found));
                }
            }
            self.compare_hash(made, Compared::After(made.ps()), made.update.after)?;
        }
        Ok(update)
    }

    /// The run's own checkpoint of the version that an update made, if there is one: a hash could
    /// hide a difference, this cannot.
    fn compare_checkpoint(&mut self, updates: &[&Made<'_>]) -> Result<(), ReplayError> {
        let version = updates[0].version();
        let path = self.inputs.logdir.join(checkpoint::file::file_name(version));
        // One that is damaged is as one that is not there; the audit says so.
        let Ok(bytes) = RealDisk.read(&path) else { return Ok(()) };
        let Ok(theirs) = checkpoint::decode(version, &bytes) else { return Ok(()) };
        let Ok(snapshot) = snapshot_of(&config_of(updates[0])?, &theirs) else { return Ok(()) };
        let is_this = |made: &&Made<'_>| {
            let shard = snapshot.shards.get(made.ps() as usize);
            shard.is_some_and(|shard| StateHash::of(shard) == made.update.after)
        };
        if !updates.iter().all(is_this) {
            // Of a history that was rolled back since; what it is else, the audit says.
            return Ok(());
        }
        self.compared.n_checkpoints += 1;
        let Some((wanted, found)) = first_difference(&theirs, &self.checkpoint()) else {
            return Ok(());
        };
        let (step, of, place) = (version, Compared::Checkpoint, Place::file(&path));
        Err(ReplayError::Diverges(Divergence { step, of, place, wanted, found }))
    }

    fn checkpoint(&self) -> Checkpoint {
        let snapshot = Arc::new(self.reference.snapshot().clone());
        let files = self.plan.files_from(&self.inputs.logdir, Arc::clone(&snapshot));
        (files.to_checkpoint)(&snapshot)
    }

    fn compare_hash(
        &mut self,
        made: &Made<'_>,
        of: Compared,
        wanted: StateHash,
    ) -> Result<(), ReplayError> {
        let Some(state) = self.reference.snapshot().shards.get(made.ps() as usize) else {
            let why = format!("ps {} is none of the {}", made.ps(), made.header.n_ps);
            return Err(ReplayError::Header { place: made.place(), why });
        };
        let found = StateHash::of(state);
        self.compared.n_hashes += 1;
        if found == wanted {
            return Ok(());
        }
        Err(divergence(made, of, wanted.to_string(), found.to_string()))
    }
}

/// The first element in which two checkpoints differ, in words: theirs, and ours.
fn first_difference(theirs: &Checkpoint, ours: &Checkpoint) -> Option<(String, String)> {
    let names = theirs.tensors.keys().chain(ours.tensors.keys());
    names.into_iter().find_map(|name| {
        let (Some(theirs), Some(ours)) = (theirs.tensors.get(name), ours.tensors.get(name)) else {
            return Some((format!("the tensors of this run's model, {name} or not"), name.clone()));
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

/// The run that an update was part of, as the header of its ledger describes it.
fn config_of(made: &Made<'_>) -> Result<RunConfig, ReplayError> {
    let wrong = |why| ReplayError::Header { place: made.place(), why };
    let Header { n_ps, replicas_to_aggregate, total_num_replicas, settings, .. } = made.header;
    let config = RunConfig::from_settings(settings).map_err(|error| wrong(error.to_string()))?;
    let sync = config.sync;
    let said = (config.n_ps, sync.replicas_to_aggregate, sync.total_num_replicas);
    if said != (*n_ps, *replicas_to_aggregate, *total_num_replicas) {
        return Err(wrong("the header's cluster is not that of its settings".to_owned()));
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

/// The earliest version of which there is a checkpoint.
fn from_checkpoint(standing: &Standing<'_, '_>, logdir: &Path) -> Result<Snapshot, ReplayError> {
    let names = RealDisk.list(logdir).map_err(DiskError::at("list the logdir", logdir))?;
    for step in checkpoint::steps_among(&names) {
        let Some(updates) = standing.get(&step) else { continue };
        let path = logdir.join(checkpoint::file::file_name(step));
        let bytes = RealDisk.read(&path).map_err(DiskError::at("read", &path))?;
        // One that is damaged is as one that is not there.
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
                write!(f, "version {step} of ps {ps} is not the one of the run")?;
            }
            Compared::After(ps) => {
                write!(f, "update {step} makes another version of ps {ps} than in the run")?;
            }
            Compared::Checkpoint => {
                write!(f, "the checkpoint of version {step} is not what the run makes")?;
            }
            Compared::Loss(slot) => {
                write!(f, "the loss of slot {slot} at step {step} is not the one of the run")?;
            }
        }
        write!(f, ", {place}: wanted {wanted}, computed {found}")?;
        if matches!(of, Compared::Before(_)) && *step == Step(0) {
            write!(f, "; if the run was given initial values, give them with --init-from")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
