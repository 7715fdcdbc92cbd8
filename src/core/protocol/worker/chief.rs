//! What worker 0 does beside its work: takes up or restores the cluster's state, has checkpoints
//! and losses written, ends the run.

use std::ops::Range;
use std::sync::Arc;

use super::ending::Ending;
use super::saver::{Ask, Saver};
use crate::floats::Floats;
use crate::ids::{Cut, Generation, Incarnation, Step, TaskId};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::links::Links;
use crate::protocol::message::{Message, Recorded, ShardState, UpdateRecord};
use crate::protocol::wait_timer::Awaited;
use crate::protocol::{Effect, Outcome, Report, Restored, Snapshot, StorageEvent, WaitFor};
use crate::time::Moment;

/// Attempts to write the final checkpoint before the run is given up.
const MAX_FINAL_SAVES: u32 = 10;

/// The chief's part of worker 0.
#[derive(Debug)]
pub(super) struct Chief {
    incarnation: Incarnation,
    config: ClusterConfig,
    /// For each ps whose session is up, the generation of its shard.
    shards: Vec<Option<Option<Generation>>>,
    /// For each ps, whether it has a `Restore` on its link that it has not answered. A state is
    /// large, so the next one waits for the answer: a slow link carries one at a time.
    is_restoring: Vec<bool>,
    /// The highest number of a generation that was heard of.
    highest_number: u64,
    phase: Phase,
    /// Where the worker stands: its newest whole version.
    at: Option<Cut>,
    /// The parameters of every shard there.
    parameters: Vec<Floats>,
    /// For each shard the elements that the L2 term covers, if parameters are all that a shard
    /// holds. Known once the storage has given a state.
    plain: Option<Vec<Vec<Range<usize>>>>,
    /// Every update below this step was given to the storage; unknown after an adoption until the
    /// first update comes.
    recorded: Option<Step>,
    saver: Saver,
    n_final_saves: u32,
    ending: Option<Ending>,
    /// Asked to stop: leave after the next checkpoint, or at this moment.
    stop_by: Option<Moment>,
    /// Where it stood when it was asked to stop: a checkpoint from before will not do.
    stop_at: Step,
}

#[derive(Debug)]
enum Phase {
    /// The storage is reading the newest checkpoint.
    Reading,
    /// Waiting until all ps have said where they stand.
    Gathering { restored: Restored },
    /// The shards are being restored.
    Opening { generation: Generation, restored: Restored },
    /// All shards are of one generation.
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

    /// How far the losses file has come, as far as is known. A durable checkpoint has durable
    /// losses beside it.
    pub(super) fn recorded(&self) -> Recorded {
        let durable = self.saver.saved().unwrap_or_default();
        Recorded { written: self.recorded.unwrap_or_default(), durable }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let ending = self.ending.as_ref().map(Ending::until);
        // What is saved already can be saved again only when the step has changed.
        let unsaved = self.saveable().filter(|at| self.saver.saved() != Some(at.step));
        let save = unsaved.and_then(|_| self.saver.deadline());
        [ending, save, self.stop_by].into_iter().flatten().min()
    }

    /// Rule 9: what the chief waits for, if it is not what any worker does.
    pub(super) fn awaited(&self, now: Moment, links: &Links) -> Option<Awaited> {
        if let Some(ending) = &self.ending {
            return Some(ending.awaited(now, links));
        }
        let mut missing = Vec::new();
        self.waits_for(&mut |ps| missing.push(ps))?;
        let of_storage = |what: &str| Awaited { what: what.to_owned(), all_connected: false };
        Some(match &self.phase {
            Phase::Reading => of_storage("for the newest checkpoint to be read"),
            Phase::Gathering { .. } => links.awaited(now, "for word of their state from", missing),
            Phase::Opening { .. } => {
                links.awaited(now, "for the restored state to be taken by", missing)
            }
            Phase::Running { .. } => of_storage("for the final checkpoint to be written"),
        })
    }

    /// The same for who counts: what the chief waits for, and `of` whom.
    pub(super) fn waits_for(&self, of: &mut dyn FnMut(TaskId)) -> Option<WaitFor> {
        let all = self.config.all_ps().zip(&self.shards);
        if let Some(ending) = &self.ending {
            ending.missing().for_each(of);
            return Some(WaitFor::Goodbye);
        }
        match &self.phase {
            Phase::Reading => Some(WaitFor::State),
            Phase::Gathering { .. } => {
                all.filter(|(_, shard)| shard.is_none()).for_each(|(ps, _)| of(ps));
                Some(WaitFor::State)
            }
            Phase::Opening { generation, .. } => {
                all.filter(|(_, shard)| **shard != Some(Some(*generation)))
                    .for_each(|(ps, _)| of(ps));
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
        self.is_restoring[ps.index as usize] = false;
        if self.ending.is_some() {
            self.tell_finished(now, ps, links, out);
            return;
        }
        match &self.phase {
            Phase::Reading => {}
            Phase::Gathering { .. } => self.gather(now, links, out),
            Phase::Opening { generation, .. } if of_shard == Some(*generation) => {
                self.on_restored(now, ps, *generation, links, out);
            }
            // It may have had the state, and workers may have gone on from it, before it was lost:
            // only a new generation fences what is left of that.
            Phase::Opening { restored, .. } => {
                let restored = restored.clone();
                self.open(now, restored, links, out);
            }
            Phase::Running { generation } if of_shard == Some(*generation) => {
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
                // What is written first is what is read then.
                out.extend(live.ok().map(Effect::Persist));
                out.push(Effect::Restore);
            }
        }
    }

    /// The version that the worker holds whole, if going back to it loses no step: all go on from
    /// there. Or why not.
    fn live_version(&self, generation: Generation) -> Result<Arc<Snapshot>, &'static str> {
        let Some(at) = self.at.filter(|at| at.generation == generation) else {
            return Err("the chief has held no whole version of it yet");
        };
        let Some(plain) = &self.plain else {
            return Err("the workers do not hold what the optimizer keeps beside the parameters");
        };
        if self.recorded.is_none_or(|recorded| recorded < at.step) {
            return Err("the losses of the updates before it have not come to the chief");
        }
        if self.saver.newest().is_some_and(|newest| newest >= at.step) {
            return Err("the newest checkpoint is no older than what the chief holds");
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
        if self.stop_by.is_some() {
            self.proceed(now, links, out);
        }
    }

    /// A chief that is to stop cannot ask a ps that is away for its shard: it saves what its worker
    /// holds, if that is the whole state.
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

    /// A shard that is lost while a stop is under way is not restored any more: what can be saved
    /// without it, or is being saved, is the last.
    fn stop_without_shard(&mut self, ps: TaskId, out: &mut Vec<Effect>) {
        self.shards[ps.index as usize] = None;
        self.save_live(out);
        if self.saver.is_writing() {
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
        event: StorageEvent,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        match event {
            StorageEvent::Restored(Ok(restored)) => {
                self.on_read(now, restored, links, out);
            }
            StorageEvent::Restored(Err(why)) => {
                out.push(Effect::Halt(Outcome::Failed(Failure::Storage(why))));
            }
            StorageEvent::Persisted { step, result } => {
                self.on_persisted(now, step, result, links, out);
            }
            StorageEvent::NotRepeated(why) => links.abort(now, Failure::NotRepeated(why), out),
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
            // Rule 10: an earlier life has made all durable, and may not have told everyone.
            self.end(now, links, out);
        } else if matches!(self.phase, Phase::Reading) {
            self.phase = Phase::Gathering { restored };
            self.gather(now, links, out);
        }
    }

    /// Once all ps are there: takes up their state if it is of one generation, or opens a new one.
    fn gather(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        let Phase::Gathering { restored } = &self.phase else { return };
        let all: Option<Vec<_>> = self.shards.iter().copied().collect();
        let Some(all) = all else { return };
        let is_alike = |of: &Option<Generation>| *of == all[0];
        if let Some(generation) = all[0].filter(|_| all.iter().all(is_alike)) {
            self.recorded = None;
            self.run(now, generation, None, links, out);
            let step = self.at.map(|cut| cut.step);
            out.push(Effect::Report(Report::Adopted { generation, step, restored: None }));
            return;
        }
        let restored = restored.clone();
        self.open(now, restored, links, out);
    }

    /// Opens a new generation, larger than any that was heard of.
    fn open(&mut self, now: Moment, restored: Restored, links: &mut Links, out: &mut Vec<Effect>) {
        self.highest_number += 1;
        let generation = Generation { opener: self.incarnation, number: self.highest_number };
        self.phase = Phase::Opening { generation, restored };
        // What was recorded of another generation says nothing about this one, in which others may
        // make updates before this chief hears that all shards are restored.
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
            let (generation, step) = (*generation, snapshot.cut.step);
            *is_restoring =
                links.send(now, ps, Message::Restore { cut: Cut { generation, step }, state }, out);
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
            // The state of a generation that is given up had to be taken first.
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

    /// The worker starts on a whole version, and has not pushed anything of it yet.
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

    /// Rule 10: whether the final checkpoint is durable.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether updates are made that this chief has yet to be told of.
    pub(super) fn lacks_updates(&self) -> bool {
        let at_last = |cut: Cut| self.is_running(cut.generation) && self.config.is_last(cut.step);
        self.ending.is_none() && self.at.is_some_and(at_last) && !self.has_all_losses()
    }

    fn is_running(&self, generation: Generation) -> bool {
        matches!(self.phase, Phase::Running { generation: of } if of == generation)
    }

    /// The version at which a save may begin: the last one is saved only with all of its losses.
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

    /// Updates came from ps 0 with a version, ascending; some may have come before.
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
            // Nothing is unrecorded: after an adoption, the chief before has recorded it all.
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

    /// Saves if it is time, writes if all is there, ends if all is done.
    fn proceed(&mut self, now: Moment, links: &mut Links, out: &mut Vec<Effect>) {
        self.save_live(out);
        if let Some(at) = self.saveable() {
            if self.config.is_last(at.step) && self.saver.is_idle() {
                if self.saver.saved() == Some(at.step) {
                    self.end(now, links, out);
                    return;
                }
                if self.n_final_saves == 0 {
                    self.n_final_saves = 1;
                    self.saver.set_due(now);
                }
            }
            let ask = self.saver.tick(now, at);
            self.request_capture(now, &ask, links, out);
        }
        // A checkpoint that is asked for after a restore would be newer than what was restored, and
        // of another history: its losses would not be beside it.
        if matches!(self.phase, Phase::Running { .. }) {
            self.saver.write(self.recorded, out);
        }
    }

    fn request_capture(&self, now: Moment, ask: &Ask, links: &mut Links, out: &mut Vec<Effect>) {
        if let Ask::CaptureAt(cut) = *ask {
            for ps in self.config.all_ps() {
                send_capture(now, ps, cut, links, out);
            }
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
        // A generation that is over has nothing to capture: every shard would say so, for ever.
        if !self.is_running(at.generation) {
            return;
        }
        let ask = self.saver.on_missed(at, current, self.config.training_steps);
        self.request_capture(now, &ask, links, out);
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
        // Asked to stop when all is done: what is left to do is to tell the others.
        let at_last = self.saveable().is_some_and(|at| self.config.is_last(at.step));
        if why.is_none() && self.config.is_last(step) && at_last {
            self.stop_by = None;
        }
        if self.stop_by.is_some() && step < self.stop_at {
            // It was under way when the request came, written or refused.
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
                let failure = Failure::Storage(format!("the final checkpoint: {why}"));
                links.abort(now, failure, out);
                return;
            }
            self.saver.set_due(now + self.config.limits.final_save_retry);
        }
        self.proceed(now, links, out);
    }

    /// Rule 10: everything is durable; every ps is told.
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

    /// A ps knows that all is done, and so do the workers that it has heard of.
    pub(super) fn on_finished(
        &mut self,
        now: Moment,
        ps: TaskId,
        links: &mut Links,
        out: &mut Vec<Effect>,
    ) {
        // Rule 10: whoever says so before the final checkpoint is durable is wrong.
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
            out.push(stopped(None));
            return;
        };
        let is_saved = self.saver.is_idle() && self.saver.saved() == Some(at.step);
        if is_saved {
            out.push(stopped(Some(at.step)));
            return;
        }
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
