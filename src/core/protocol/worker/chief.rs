//! The duties of worker 0 as the chief. The chief adopts or restores the cluster's state, saves
//! checkpoints, records losses, and ends the run.

use std::ops::Range;
use std::sync::Arc;

use super::ending::Ending;
use super::saver::Saver;
use crate::floats::Floats;
use crate::ids::{Cut, Generation, Incarnation, Step, TaskId};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::links::Links;
use crate::protocol::message::{Message, Recorded, ShardState, UpdateRecord};
use crate::protocol::wait_timer::Awaited;
use crate::protocol::{Effect, Outcome, Report, Restored, Snapshot, StorageEvent, WaitFor};
use crate::time::Moment;

/// The number of attempts to write the final checkpoint before the run fails.
const MAX_FINAL_SAVES: u32 = 10;

/// The part of worker 0 that acts as the chief.
#[derive(Debug)]
pub(super) struct Chief {
    incarnation: Incarnation,
    config: ClusterConfig,
    /// The generation of each ps's shard. `None` for a disconnected ps, `Some(None)` for a ps
    /// without a state.
    shards: Vec<Option<Option<Generation>>>,
    /// For each ps, whether the chief has sent a `Restore` on the current link and waits for the
    /// answer. A state is large, so the chief sends the next `Restore` only after the answer. A
    /// slow link thus carries one state at a time.
    is_restoring: Vec<bool>,
    /// The highest generation number that any ps has reported or that this chief has opened.
    highest_number: u64,
    phase: Phase,
    /// The newest version for which worker 0 has held every shard.
    at: Option<Cut>,
    /// The parameters of every shard at the version `at`.
    parameters: Vec<Floats>,
    /// For each shard, the elements that the L2 term covers. `None` if the storage has not read a
    /// state yet, or if the state of a shard also contains buffers of the optimizer or of the
    /// moving average.
    plain: Option<Vec<Vec<Range<usize>>>>,
    /// The first step whose update the chief has not given to the storage for the losses file.
    /// `None` while this step is unknown, for example after an adoption until the first updates
    /// arrive.
    recorded: Option<Step>,
    saver: Saver,
    /// The number of attempts to write the final checkpoint.
    n_final_saves: u32,
    ending: Option<Ending>,
    /// The time at which a requested stop ends even without a checkpoint. The stop usually ends
    /// earlier, with the next checkpoint.
    stop_by: Option<Moment>,
    /// The version at which the stop was requested. The stop is complete when a checkpoint of this
    /// version or of a later version is written.
    stop_at: Step,
}

#[derive(Debug)]
enum Phase {
    /// The storage is reading the newest checkpoint.
    Reading,
    /// The chief waits until every ps has reported the generation and the step of its shard.
    Gathering { restored: Restored },
    /// The ps are receiving the state of a new generation.
    Opening { generation: Generation, restored: Restored },
    /// All shards are of the same generation.
    Running { generation: Generation },
}

impl Chief {
    pub(super) fn new(incarnation: Incarnation, config: ClusterConfig) -> Self {
        Self {
            incarnation,
            shards: vec![None; config.n_ps as usize],
            is_restoring: vec![false; config.n_ps as usize],
            highest_number: 0,
            phase: Phase::Reading,
            at: None,
            parameters: Vec::new(),
            plain: None,
            recorded: None,
            saver: Saver::new(config.n_ps, config.limits.save_interval),
            n_final_saves: 0,
            ending: None,
            stop_by: None,
            stop_at: Step::default(),
            config,
        }
    }

    pub(super) fn start(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Restore);
    }

    /// Returns the state of the losses file, as far as the chief knows it.
    pub(super) fn recorded(&self) -> Recorded {
        // A checkpoint is written only after the losses before it are durable.
        let durable = self.saver.saved().unwrap_or_default();
        Recorded { written: self.recorded.unwrap_or_default(), durable }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let ending = self.ending.as_ref().map(Ending::until);
        // The chief does not save a version that is already saved. So it needs a wake only if the
        // current version is unsaved.
        let unsaved = self.saveable().filter(|at| self.saver.saved() != Some(at.step));
        let save = unsaved.and_then(|_| self.saver.deadline());
        [ending, save, self.stop_by].into_iter().flatten().min()
    }

    /// Returns the current wait as text, or `None` if worker 0 waits like any other worker.
    pub(super) fn awaited(&self, now: Moment, links: &Links) -> Option<Awaited> {
        if let Some(ending) = &self.ending {
            return Some(ending.awaited(now, links));
        }
        let mut missing = Vec::new();
        self.waits_for(&mut |ps| missing.push(ps))?;
        let of_storage = |what: &str| Awaited { what: what.to_owned(), all_connected: false };
        Some(match &self.phase {
            Phase::Reading => of_storage("for the newest checkpoint to be read"),
            Phase::Gathering { .. } => {
                links.awaited(now, "for reports of their state from", missing)
            }
            Phase::Opening { .. } => {
                links.awaited(now, "for the restored state to be taken by", missing)
            }
            Phase::Running { .. } => of_storage("for the final checkpoint to be written"),
        })
    }

    /// Returns the kind of the current wait, or `None` if worker 0 waits like any other worker.
    /// Calls `each_awaited` with each task that the chief waits for.
    pub(super) fn waits_for(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Option<WaitFor> {
        let all = self.config.all_ps().zip(&self.shards);
        if let Some(ending) = &self.ending {
            ending.missing().for_each(each_awaited);
            return Some(WaitFor::Goodbye);
        }
        match &self.phase {
            Phase::Reading => Some(WaitFor::State),
            Phase::Gathering { .. } => {
                all.filter(|(_, shard)| shard.is_none()).for_each(|(ps, _)| each_awaited(ps));
                Some(WaitFor::State)
            }
            Phase::Opening { generation, .. } => {
                all.filter(|(_, shard)| **shard != Some(Some(*generation)))
                    .for_each(|(ps, _)| each_awaited(ps));
                Some(WaitFor::State)
            }
            Phase::Running { .. } => {
                let is_final = |at: Cut| self.config.is_last(at.step);
                self.saveable().is_some_and(is_final).then_some(WaitFor::Checkpoint)
            }
        }
    }

    pub(super) fn on_ps_up(
        &mut self,
        now: Moment,
        ps: TaskId,
        state: Option<Cut>,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        let of_shard = state.map(|cut| cut.generation);
        self.note_number(of_shard);
        self.shards[ps.index as usize] = Some(of_shard);
        // The answer to an earlier `Restore` was lost with the previous link, so a `Restore` may be
        // sent on the new link.
        self.is_restoring[ps.index as usize] = false;
        if self.ending.is_some() {
            self.tell_finished(now, ps, links, out);
            return;
        }
        match &self.phase {
            // The chief compares the shards after the checkpoint is read.
            Phase::Reading => {}
            Phase::Gathering { .. } => self.gather(now, links, out),
            Phase::Opening { generation, .. } if of_shard == Some(*generation) => {
                self.on_restored(now, ps, *generation, links, out);
            }
            // The ps may have received the state before it restarted, and workers may have
            // continued from that state. Only a new generation makes their work void.
            Phase::Opening { restored, .. } => {
                let restored = restored.clone();
                self.open(now, restored, links, out);
            }
            Phase::Running { generation } if of_shard == Some(*generation) => {
                // The request for a capture, or its answer, may be lost with the previous link.
                if let Some(cut) = self.saver.wanted_of(ps.index) {
                    send_capture(now, ps, cut, links, out);
                }
            }
            Phase::Running { .. } if self.stop_by.is_some() => self.stop_without_shard(ps, out),
            // The ps has lost its shard, or its state is of an older generation.
            Phase::Running { generation } => {
                let live = self.live_version(*generation);
                self.phase = Phase::Reading;
                out.push(Effect::Report(Report::ShardLost {
                    ps,
                    live: live.as_ref().map(|snapshot| snapshot.cut.step).map_err(|why| *why),
                }));
                // The storage works in order, so the restore reads the checkpoint that the persist
                // has written.
                out.extend(live.ok().map(Effect::Persist));
                out.push(Effect::Restore);
            }
        }
    }

    /// Returns the cluster's state at the newest version for which worker 0 has held every shard.
    /// All tasks can continue from this version, and no completed step is lost.
    ///
    /// # Errors
    /// Returns the reason why the tasks cannot continue from such a version.
    fn live_version(&self, generation: Generation) -> Result<Arc<Snapshot>, &'static str> {
        let Some(at) = self.at.filter(|at| at.generation == generation) else {
            return Err("the chief has not held a whole version of this generation yet");
        };
        let Some(plain) = &self.plain else {
            return Err("the workers do not hold the optimizer's buffers");
        };
        if self.recorded.is_none_or(|recorded| recorded < at.step) {
            return Err("the chief has not received all losses before its version");
        }
        if self.saver.newest().is_some_and(|newest| newest >= at.step) {
            return Err("the newest checkpoint is not older than the chief's version");
        }
        let shard = |(parameters, regularized): (&Floats, &Vec<Range<usize>>)| ShardState {
            parameters: parameters.clone(),
            auxiliary: Vec::new(),
            regularized: regularized.clone(),
        };
        let shards = self.parameters.iter().zip(plain).map(shard).collect();
        Ok(Arc::new(Snapshot { cut: Cut { generation, step: at.step }, shards }))
    }

    pub(super) fn on_ps_down(
        &mut self,
        now: Moment,
        ps: TaskId,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        self.shards[ps.index as usize] = None;
        // The disconnected ps can no longer send its state, so a requested stop may have to save
        // the version that worker 0 holds.
        if self.stop_by.is_some() {
            self.proceed(now, links, out);
        }
    }

    /// Saves the version that worker 0 holds, if a stop was requested and a ps is disconnected. The
    /// chief cannot capture the shard of the disconnected ps.
    fn save_live(&mut self, out: &mut Vec<Effect>) {
        let Phase::Running { generation } = self.phase else { return };
        let is_away = self.shards.iter().any(Option::is_none);
        if self.stop_by.is_none() || !is_away || self.saver.is_writing() {
            return;
        }
        if let Ok(live) = self.live_version(generation) {
            self.saver.begin_write(live.cut.step);
            out.push(Effect::Persist(live));
        }
    }

    /// Stops the run after a ps has lost its shard. The chief does not restore the shard, because a
    /// stop was requested.
    fn stop_without_shard(&mut self, ps: TaskId, out: &mut Vec<Effect>) {
        self.shards[ps.index as usize] = None;
        self.save_live(out);
        if self.saver.is_writing() {
            // No later version can be captured. So the stop is complete when the current write
            // ends, whatever version it saves.
            self.stop_at = Step(0);
        } else {
            out.push(Effect::Halt(Outcome::Stopped { saved: None }));
        }
    }

    fn note_number(&mut self, generation: Option<Generation>) {
        let number = generation.map_or(0, |generation| generation.number);
        self.highest_number = self.highest_number.max(number);
    }

    pub(super) fn on_stored(
        &mut self,
        now: Moment,
        event: &StorageEvent,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        match event {
            StorageEvent::Restored(Ok(restored)) => {
                self.on_read(now, restored.clone(), links, out);
            }
            StorageEvent::Restored(Err(why)) => {
                out.push(Effect::Halt(Outcome::Failed(Failure::Storage(why.clone()))));
            }
            StorageEvent::Persisted { step, result } => {
                self.on_persisted(now, *step, result.clone(), links, out);
            }
            StorageEvent::NotRepeated(why) => {
                links.abort(now, Failure::NotRepeated(*why), out);
            }
        }
    }

    fn on_read(
        &mut self,
        now: Moment,
        restored: Restored,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        let shards = &restored.snapshot.shards;
        let is_plain = |shard: &ShardState| shard.auxiliary.is_empty();
        self.plain = shards
            .iter()
            .all(is_plain)
            .then(|| shards.iter().map(|shard| shard.regularized.clone()).collect());
        if self.config.is_last(restored.snapshot.cut.step) {
            // Rule 10: an earlier incarnation wrote the final checkpoint, and may have died before
            // every task knew that the run had ended.
            self.end(now, links, out);
        } else if matches!(self.phase, Phase::Reading) {
            self.phase = Phase::Gathering { restored };
            self.gather(now, links, out);
        }
    }

    /// Does nothing until all ps are connected. Then adopts the state of the ps if all shards are
    /// of one generation, and otherwise opens a new generation.
    fn gather(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        let Phase::Gathering { restored } = &self.phase else { return };
        let all: Option<Vec<_>> = self.shards.iter().copied().collect();
        let Some(all) = all else { return };
        let is_alike = |of: &Option<Generation>| *of == all[0];
        if let Some(generation) = all[0].filter(|_| all.iter().all(is_alike)) {
            // The losses file may lack updates of the adopted state. The updates that ps 0 sends
            // show the chief how far the file reaches.
            self.recorded = None;
            self.run(now, generation, None, links, out);
            let step = self.at.map(|cut| cut.step);
            out.push(Effect::Report(Report::Adopted { generation, step, restored: None }));
            return;
        }
        let restored = restored.clone();
        self.open(now, restored, links, out);
    }

    /// Opens a generation that is larger than all known generations, and sends every ps a
    /// `Restore`.
    fn open(&mut self, now: Moment, restored: Restored, links: &mut Links, out: &mut Vec<Effect>) {
        self.highest_number += 1;
        let generation = Generation { opener: self.incarnation, number: self.highest_number };
        self.phase = Phase::Opening { generation, restored };
        // `recorded` is a position in the losses of the old generation, and is wrong in the new
        // one. Worker 0 may push in the new generation before this chief knows that all shards are
        // restored. With the old position in such a push, ps 0 would not send the first updates of
        // the new generation.
        self.recorded = None;
        for ps in self.config.all_ps() {
            self.send_restore(now, ps, links, out);
        }
    }

    fn send_restore(&mut self, now: Moment, ps: TaskId, links: &mut Links, out: &mut Vec<Effect>) {
        let Phase::Opening { generation, restored } = &self.phase else { return };
        let is_restoring = &mut self.is_restoring[ps.index as usize];
        if !*is_restoring {
            let snapshot = &restored.snapshot;
            let state: ShardState = snapshot.shards[ps.index as usize].clone();
            let cut = Cut { generation: *generation, ..snapshot.cut };
            *is_restoring = links.send(now, ps, Message::Restore { cut, state }, out);
        }
    }

    pub(super) fn on_restored(
        &mut self,
        now: Moment,
        ps: TaskId,
        generation: Generation,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        self.is_restoring[ps.index as usize] = false;
        let Phase::Opening { generation: opening, restored } = &self.phase else { return };
        if generation != *opening {
            // This is the answer to the `Restore` of an abandoned generation. The `Restore` of the
            // current generation can be sent now.
            self.send_restore(now, ps, links, out);
            return;
        }
        self.shards[ps.index as usize] = Some(Some(generation));
        if self.shards.iter().all(|of| *of == Some(Some(generation))) {
            let Restored { snapshot, from } = restored.clone();
            self.recorded = Some(snapshot.cut.step);
            let saved = from.is_some().then_some(snapshot.cut.step);
            self.run(now, generation, saved, links, out);
            let (step, restored) = (Some(snapshot.cut.step), Some(from));
            out.push(Effect::Report(Report::Adopted { generation, step, restored }));
        }
    }

    fn run(
        &mut self,
        now: Moment,
        generation: Generation,
        saved: Option<Step>,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        self.phase = Phase::Running { generation };
        self.n_final_saves = 0;
        self.saver.begin_generation(now, saved);
        self.proceed(now, links, out);
    }

    /// Handles the start of a step at the version `cut`. Must be called before the worker's first
    /// push of that step.
    pub(super) fn on_whole(
        &mut self,
        now: Moment,
        cut: Cut,
        parameters: Vec<Floats>,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        self.at = Some(cut);
        self.parameters = parameters;
        self.proceed(now, links, out);
    }

    /// Returns whether the run is ending, because the final checkpoint is durable (rule 10).
    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Returns whether the chief is at the last version and lacks the losses of some updates.
    pub(super) fn lacks_updates(&self) -> bool {
        let at_last = |cut: Cut| self.is_running(cut.generation) && self.config.is_last(cut.step);
        self.ending.is_none() && self.at.is_some_and(at_last) && !self.has_all_losses()
    }

    fn is_running(&self, generation: Generation) -> bool {
        matches!(self.phase, Phase::Running { generation: of } if of == generation)
    }

    /// Returns the version at which a save may start. The last version may be saved only once all
    /// losses are recorded.
    fn saveable(&self) -> Option<Cut> {
        self.at.filter(|at| {
            self.ending.is_none()
                && self.is_running(at.generation)
                && (!self.config.is_last(at.step) || self.has_all_losses())
        })
    }

    fn has_all_losses(&self) -> bool {
        self.recorded.is_some_and(|recorded| recorded >= self.config.training_steps)
    }

    /// Records the updates that came with a version from ps 0, in ascending order. Skips updates
    /// that are already recorded.
    pub(super) fn on_updates(
        &mut self,
        now: Moment,
        version: Cut,
        updates: Vec<UpdateRecord>,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_running(version.generation) {
            return;
        }
        if updates.is_empty() {
            // Ps 0 has no unwritten update, so every update before this version is recorded.
            self.recorded = self.recorded.max(Some(version.step));
        }
        for update in updates {
            if self.recorded.is_none_or(|recorded| update.cut.step >= recorded) {
                self.recorded = Some(update.cut.step.next());
                out.push(Effect::Record(update));
            }
        }
        self.proceed(now, links, out);
    }

    /// Starts a save if a save is due, lets the storage write a complete capture, and ends the run
    /// if the final checkpoint is durable.
    fn proceed(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        self.save_live(out);
        if let Some(at) = self.saveable() {
            if self.config.is_last(at.step) && self.saver.is_idle() {
                if self.saver.saved() == Some(at.step) {
                    self.end(now, links, out);
                    return;
                }
                // The final save starts at once instead of at its scheduled time, because the run
                // waits for it.
                if self.n_final_saves == 0 {
                    self.n_final_saves = 1;
                    self.saver.set_due(now);
                }
            }
            if let Some(cut) = self.saver.tick(now, at) {
                self.request_capture(now, cut, links, out);
            }
        }
        // No checkpoint may be written while the storage reads the newest one. The written
        // checkpoint would be newer than the restored one, but would belong to the history that is
        // rolled back. The losses of that history are removed from the losses file.
        if matches!(self.phase, Phase::Running { .. }) {
            self.saver.write(self.recorded, out);
        }
    }

    fn request_capture(&self, now: Moment, cut: Cut, links: &mut Links, out: &mut Vec<Effect>) {
        for ps in self.config.all_ps() {
            send_capture(now, ps, cut, links, out);
        }
    }

    pub(super) fn on_captured(
        &mut self,
        now: Moment,
        ps: TaskId,
        at: Cut,
        state: ShardState,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        self.saver.on_captured(ps.index, at, state);
        self.proceed(now, links, out);
    }

    pub(super) fn on_missed(
        &mut self,
        now: Moment,
        at: Cut,
        current: Step,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        // No shard has a version of a finished generation any more. Every later capture would miss,
        // too, and the requests would never end.
        if !self.is_running(at.generation) {
            return;
        }
        if let Some(cut) = self.saver.on_missed(at, current, self.config.training_steps) {
            self.request_capture(now, cut, links, out);
        }
    }

    fn on_persisted(
        &mut self,
        now: Moment,
        step: Step,
        result: Result<String, String>,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        let why = result.as_ref().err().cloned();
        self.saver.on_persisted(now, step, result, out);
        // A stop during the final save needs no special treatment, because the chief ends the run
        // anyway.
        let at_last = self.saveable().is_some_and(|at| self.config.is_last(at.step));
        if why.is_none() && self.config.is_last(step) && at_last {
            self.stop_by = None;
        }
        if self.stop_by.is_some() && step < self.stop_at {
            // This save began before the stop was requested, so its version is older than the
            // version that the stop must save. Whether the save succeeded or failed, the stop
            // continues.
            self.saver.set_due(now);
            self.proceed(now, links, out);
            return;
        }
        if self.stop_by.is_some() {
            let saved = why.is_none().then_some(step);
            out.push(Effect::Halt(Outcome::Stopped { saved }));
            return;
        }
        if let (Some(why), true) = (why, self.config.is_last(step)) {
            self.n_final_saves += 1;
            if self.n_final_saves > MAX_FINAL_SAVES {
                let failure = Failure::Storage(format!("cannot write the final checkpoint: {why}"));
                links.abort(now, failure, out);
                return;
            }
            self.saver.set_due(now + self.config.limits.final_save_retry);
        }
        self.proceed(now, links, out);
    }

    /// Ends the run: tells every ps that the final checkpoint is durable (rule 10).
    fn end(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        self.ending = Some(Ending::new(now, &self.config));
        for ps in self.config.all_ps() {
            self.tell_finished(now, ps, links, out);
        }
    }

    fn tell_finished(&self, now: Moment, ps: TaskId, links: &mut Links, out: &mut Vec<Effect>) {
        let generation = self.at.map(|cut| cut.generation).unwrap_or_default();
        links.send(now, ps, Message::Finished { generation }, out);
    }

    /// Records that a ps knows of the run's end, or need not know of the end. Leaves once no ps
    /// remains to be informed.
    pub(super) fn on_finished(
        &mut self,
        now: Moment,
        ps: TaskId,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        // Rule 10: before the final checkpoint is durable, a `Finished` breaks the protocol and is
        // ignored.
        let Some(ending) = &mut self.ending else { return };
        ending.mark_informed(ps);
        if ending.is_complete() {
            links.leave(now, out);
        }
    }

    pub(super) fn stop(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        if self.ending.is_some() || self.stop_by.is_some() {
            return;
        }
        let stopped = |saved| Effect::Halt(Outcome::Stopped { saved });
        let (Phase::Running { .. }, Some(at)) = (&self.phase, self.at) else {
            // Outside a running generation, the chief has no version to save.
            out.push(stopped(None));
            return;
        };
        let is_saved = self.saver.is_idle() && self.saver.saved() == Some(at.step);
        if is_saved {
            out.push(stopped(Some(at.step)));
            return;
        }
        // The newest version is not saved, so the stop waits until it is saved.
        self.stop_by = Some(now + self.config.limits.stop_timeout);
        self.stop_at = at.step;
        self.saver.set_due(now);
        self.proceed(now, links, out);
    }

    pub(super) fn on_wake(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        if self.ending.as_ref().is_some_and(|ending| ending.until() <= now) {
            links.leave(now, out);
        } else if self.stop_by.is_some_and(|by| by <= now) {
            out.push(Effect::Halt(Outcome::Stopped { saved: None }));
        } else {
            self.proceed(now, links, out);
        }
    }
}

fn send_capture(now: Moment, ps: TaskId, cut: Cut, links: &mut Links, out: &mut Vec<Effect>) {
    links.send(now, ps, Message::Capture { cut }, out);
}
