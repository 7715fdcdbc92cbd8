//! A worker, which computes gradients when it has the same version of every shard, and pushes the
//! gradients. Worker 0 is also the chief.

mod chief;
mod ending;
mod saver;
mod version;
mod waits;
mod work;

use self::chief::Chief;
use self::ending::Ending;
use self::version::{ShardVersion, Versions};
use self::work::{Gradient, Work};
use crate::ids::{Cut, Incarnation, Slot, Step, TaskId};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::links::{Links, PeerEvent};
use crate::protocol::message::{Message, Recorded, Want};
use crate::protocol::wait_timer::WaitTimer;
use crate::protocol::window::{Pending, PushWindow};
use crate::protocol::{Done, Effect, Input, Node, Outcome, Report, Standing, Status, Wait};
use crate::time::Moment;

/// A worker as a state machine.
#[derive(Debug)]
pub struct Worker {
    me: TaskId,
    config: ClusterConfig,
    links: Links,
    /// For each ps, the incarnation of the ps in the last session. A stored version comes from this
    /// incarnation.
    incarnations: Vec<Option<Incarnation>>,
    versions: Versions,
    /// The unacknowledged pushes to each ps.
    windows: Vec<PushWindow>,
    work: Option<Work>,
    /// The chief's duties, if this is worker 0.
    chief: Option<Chief>,
    /// The ps that still wait for this worker's goodbye. `None` on worker 0, and until the run has
    /// ended.
    leaving: Option<Ending>,
    wait_timer: WaitTimer,
}

impl Worker {
    /// Creates the worker with the number `index`.
    #[must_use]
    pub fn new(index: u32, incarnation: Incarnation, config: ClusterConfig) -> Self {
        let me = TaskId::worker(index);
        Self {
            me,
            links: Links::new(me, incarnation, config.clone(), config.all_ps()),
            incarnations: vec![None; config.n_ps as usize],
            versions: Versions::new(config.n_ps),
            windows: config.all_ps().map(|_| PushWindow::default()).collect(),
            work: None,
            chief: (me == TaskId::CHIEF).then(|| Chief::new(incarnation, config.clone())),
            leaving: None,
            wait_timer: WaitTimer::new(&config.limits),
            config,
        }
    }

    /// Returns the version of the worker's current or last step.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        self.work.as_ref().map(Work::cut)
    }
}

impl Node for Worker {
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.wait_timer.restart(now);
                if let Some(chief) = &mut self.chief {
                    chief.start(out);
                }
                self.links.start(now, out);
            }
            Input::Network(event) => {
                if self.is_done() {
                    // Rule 10: a ps of any incarnation waits for a goodbye, or must be informed of
                    // the end. An older incarnation of a ps can do no harm here, because this
                    // worker sends it nothing else.
                    self.links.forget_incarnations();
                }
                for event in self.links.on_network(now, event, None, out) {
                    self.on_peer(now, event, out);
                }
            }
            Input::Computed(Done::Gradient { cut, slot, loss, gradient }) => {
                let gradient = Gradient { slot: *slot, loss: *loss, shards: gradient.clone() };
                self.on_gradient(now, *cut, gradient, out);
            }
            Input::Stored(event) => {
                if let Some(chief) = &mut self.chief {
                    chief.on_stored(now, event, &mut self.links, out);
                }
            }
            Input::Wake => self.on_wake(now, out),
            Input::Stop if self.leaving.is_some() => self.links.leave(now, out),
            Input::Stop => match &mut self.chief {
                Some(chief) => chief.stop(now, &mut self.links, out),
                None => out.push(Effect::Halt(Outcome::Stopped { saved: None })),
            },
            Input::Computed(Done::Update { .. }) => {}
        }
        self.pull_updates(now, out);
    }

    fn deadline(&self) -> Option<Moment> {
        let chief = self.chief.as_ref().and_then(Chief::deadline);
        let leaving = self.leaving.as_ref().map(Ending::until);
        let wait_timer = self.is_waiting().then(|| self.wait_timer.deadline());
        [Some(self.links.deadline()), chief, leaving, wait_timer].into_iter().flatten().min()
    }

    fn status(&self, now: Moment) -> Status {
        let waits = || format!("waits {}", self.awaited(now).what);
        Status {
            at: self.cut().map_or_else(|| "no whole version".to_owned(), |cut| cut.to_string()),
            does: if self.is_waiting() { waits() } else { "computes".to_owned() },
        }
    }

    fn standing(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Standing {
        let since = self.wait_timer.since();
        let wait = |what| Wait { what, since };
        let waits = self.is_waiting().then(|| self.waits_for(each_awaited));
        Standing { cut: self.cut(), wait: waits.map(wait) }
    }
}

impl Worker {
    fn on_peer(&mut self, now: Moment, event: PeerEvent, out: &mut Vec<Effect>) {
        match event {
            PeerEvent::Up { peer, incarnation, state } => {
                self.on_ps_up(now, peer, incarnation, state, out);
            }
            PeerEvent::Down { peer } => {
                self.versions.link_lost(peer.index);
                if let Some(chief) = &mut self.chief {
                    chief.on_ps_down(now, peer, &mut self.links, out);
                }
            }
            PeerEvent::Message { peer, message } => self.on_message(now, peer, message, out),
            // The ps may already belong to the next run, and then needs no message. But if the ps
            // knows a newer incarnation of this worker, the ps still waits for a goodbye of that
            // incarnation. A worker that has not joined the run can send the goodbye after a
            // restart with a larger incarnation.
            PeerEvent::Refused { peer, refusal }
                if self.is_done() && (self.has_joined() || !refusal.names_newer_incarnation()) =>
            {
                self.mark_informed(now, peer, out);
            }
            PeerEvent::Refused { refusal, .. } => {
                let has_joined = self.has_joined();
                let outcome = self.links.outcome_of(now, refusal, has_joined);
                out.extend(outcome.map(Effect::Halt));
            }
        }
    }

    /// Returns whether this incarnation may have taken part in the run (rule 8). A worker computes
    /// only with a version of every shard, so every ps must have sent the worker a `Welcome`
    /// before.
    fn has_joined(&self) -> bool {
        self.links.all_have_welcomed()
    }

    /// Handles a new session with a ps. Repeats the messages that may have been lost with the
    /// previous link.
    fn on_ps_up(
        &mut self,
        now: Moment,
        ps: TaskId,
        incarnation: Incarnation,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) {
        let previous = self.incarnations[ps.index as usize].replace(incarnation);
        if previous != Some(incarnation) {
            self.versions.forget(ps.index);
        }
        if self.leaving.is_some() {
            self.say_goodbye(now, ps, out);
            return;
        }
        if let Some(chief) = &mut self.chief {
            chief.on_ps_up(now, ps, state, &mut self.links, out);
            if chief.is_ending() {
                // `on_ps_up` has informed the ps of the end. This worker sends the ps nothing else,
                // because the ps may be an older incarnation (rule 8).
                return;
            }
        }
        self.repeat_pushes(now, ps, out);
        // Another shard may have reached a newer generation. A pull for that generation was lost
        // with the previous link, or was not sent while this ps was disconnected.
        self.advance(now, out);
    }

    fn on_message(&mut self, now: Moment, ps: TaskId, message: Message, out: &mut Vec<Effect>) {
        let is_done = self.is_done();
        match (message, &mut self.chief) {
            (Message::Version { cut, tokens, received, updates, acknowledged, parameters }, _) => {
                let n_slots = self.config.sync.slots_per_step();
                // A token permits the worker to compute one slot, and the host computes every slot
                // that a token names. So the worker checks the tokens, and ends the session if they
                // are wrong.
                if !tokens.is_sorted_by(|a, b| a < b) || tokens.iter().any(|s| s.0 >= n_slots) {
                    let why = format!(
                        "it issued the tokens {tokens:?}, which are not ascending slots below {n_slots}"
                    );
                    self.end_session(now, ps, why, out);
                    return;
                }
                if let Some(newest) = self.newer_generation_than(cut) {
                    self.pull(now, ps, Want::AtLeast(newest), out);
                    return;
                }
                if let (Some(chief), TaskId::PS_ZERO) = (&mut self.chief, ps) {
                    chief.on_updates(now, cut, updates, &mut self.links, out);
                }
                self.versions.insert(ps.index, ShardVersion { cut, tokens, received, parameters });
                if !self.acknowledge(now, ps, acknowledged, out) {
                    return;
                }
                // `advance` must precede `compute`. The acknowledgement may have made room in a
                // window, so `compute` would otherwise begin a slot of the old version for nothing.
                self.advance(now, out);
                self.compute(out);
            }
            (Message::Acknowledged { pushes }, _) => {
                // An acknowledgement is progress: the link works, even if it is slow.
                self.wait_timer.restart(now);
                if self.acknowledge(now, ps, pushes, out) {
                    self.compute(out);
                }
            }
            // The ps also sends the current version, with which the worker continues (rule 5).
            (Message::PushReply { .. }, _) => {}
            (Message::Restored { generation }, Some(chief)) => {
                chief.on_restored(now, ps, generation, &mut self.links, out);
            }
            (Message::Captured { cut, state }, Some(chief)) => {
                chief.on_captured(now, ps, cut, state, &mut self.links, out);
            }
            (Message::Missed { cut, current }, Some(chief)) => {
                chief.on_missed(now, cut, current, &mut self.links, out);
            }
            (Message::Finished { .. }, Some(_)) => self.mark_informed(now, ps, out),
            (Message::Finished { .. }, None) => self.leave(now, out),
            (Message::Abort(_), _) if is_done => self.mark_informed(now, ps, out),
            (Message::Abort(failure), _) => self.links.abort(now, failure, out),
            (message, _) => {
                let why = format!("it sent {}, which it may not send", message.kind());
                self.end_session(now, ps, why, out);
            }
        }
    }

    /// Returns the worker's current generation with step 0 if `version` belongs to an older
    /// generation (rule 8). Otherwise returns `None`.
    ///
    /// A version of an older generation may merely be late. But the chief and all ps may also have
    /// restarted and forgotten the newer generation. A pull for the returned generation then tells
    /// the ps which chief opened this generation.
    fn newer_generation_than(&self, version: Cut) -> Option<Cut> {
        let generation = self.cut()?.generation;
        (version.generation < generation).then_some(Cut { generation, step: Step(0) })
    }

    /// Starts leaving after the end of the run (rule 10).
    fn leave(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.leaving.is_some() {
            return;
        }
        // Every ps waits for a goodbye. A disconnected ps gets the goodbye in its next session.
        self.leaving = Some(Ending::new(now, &self.config));
        for ps in self.links.peers() {
            self.say_goodbye(now, ps, out);
        }
    }

    fn say_goodbye(&mut self, now: Moment, ps: TaskId, out: &mut Vec<Effect>) {
        self.links.send(now, ps, Message::Goodbye, out);
        self.mark_informed(now, ps, out);
    }

    /// Records that a ps knows of the run's end, has refused this task, or has failed.
    fn mark_informed(&mut self, now: Moment, ps: TaskId, out: &mut Vec<Effect>) {
        if let Some(leaving) = &mut self.leaving {
            leaving.mark_informed(ps);
            if leaving.is_complete() {
                out.push(Effect::Halt(Outcome::Finished));
            }
        } else if let Some(chief) = &mut self.chief {
            chief.on_finished(now, ps, &mut self.links, out);
        }
    }

    /// Ends the session with a ps that has broken the protocol.
    fn end_session(&mut self, now: Moment, ps: TaskId, why: String, out: &mut Vec<Effect>) {
        if let Some(event) = self.links.drop_peer(now, ps, why, out) {
            self.on_peer(now, event, out);
        }
    }

    /// Starts a step if the worker has a new version of every shard. Otherwise asks the lagging
    /// shards for that version.
    fn advance(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // Rule 6: a step starts only when the worker has the same version of every shard.
        if let Some(cut) = self.versions.whole_cut() {
            if self.work.as_ref().is_none_or(|work| work.cut() != cut) {
                self.begin_step(now, out);
            }
        } else if !self.mend(now, out) {
            let target = self.versions.newest().unwrap_or_default();
            for (ps, cut) in self.versions.pulls_due(target) {
                self.pull(now, TaskId::ps(ps), Want::AtLeast(cut), out);
            }
        }
    }

    /// Repairs a step in which an earlier incarnation of this worker died between its pushes. Some
    /// shards have then made the step's update, and the other shards still wait for the gradients.
    /// Requests the older version from the shards that have made the update. Returns whether such a
    /// step was found.
    ///
    /// This incarnation computes the missing gradients again at the older version. Meanwhile the
    /// worker requests the newer version from no shard, because the answer would replace the older
    /// version.
    fn mend(&mut self, now: Moment, out: &mut Vec<Effect>) -> bool {
        // With R < N, an update uses a gradient only if every shard holds its part of the gradient.
        // So if one shard has made an update, no shard lacks a gradient of that update.
        if self.config.has_backup_workers() {
            return false;
        }
        let slots = self.config.slots_of(self.me);
        let Some((older, past)) = self.versions.torn_update(slots) else { return false };
        // If the older version is the worker's current one, this incarnation is already pushing its
        // gradients, or will repeat them.
        if self.cut() == Some(older) || past.is_empty() {
            return false;
        }
        for ps in past {
            if !self.versions.is_asked(ps) {
                self.pull(now, TaskId::ps(ps), Want::Exactly(older), out);
            }
        }
        true
    }

    fn begin_step(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some((cut, shards)) = self.versions.whole() else { return };
        let everywhere = |slot: &Slot| shards.iter().all(|shard| shard.received.contains(slot));
        let slots: Vec<_> =
            shards[0].tokens.iter().copied().filter(|slot| !everywhere(slot)).collect();
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        self.work = Some(Work::new(cut, parameters.clone(), slots));
        // A disconnected ps acknowledges nothing. The pushes of the previous version would fill its
        // window, and the worker could compute nothing.
        for (ps, window) in self.config.all_ps().zip(&mut self.windows) {
            if !self.links.is_up(ps) {
                window.restart(None).for_each(drop);
            }
        }
        self.compute(out);
        self.wait_timer.restart(now);
        // The chief may request a capture of this version. The request must be sent before the
        // worker's push, so that no shard can be past the version (rule 7).
        if let Some(chief) = &mut self.chief {
            chief.on_whole(now, cut, parameters, &mut self.links, out);
        }
        self.pull_next(now, out);
    }

    /// Starts computing the next slot if the window of every ps has room for one more gradient.
    fn compute(&mut self, out: &mut Vec<Effect>) {
        if self.windows.iter().all(PushWindow::has_room) {
            let job = self.work.as_mut().and_then(Work::start);
            out.extend(job.map(Effect::Compute));
        }
    }

    /// Pulls the next version if no push of this worker will request that version. There is no such
    /// push if an earlier incarnation has pushed all slots, or if the last push was acknowledged on
    /// a link that is now lost.
    fn pull_next(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(work) = &self.work else { return };
        if work.is_complete() && !self.config.is_last(work.cut().step) {
            let next = work.cut().next();
            for (ps, cut) in self.versions.pulls_due(next) {
                self.pull(now, TaskId::ps(ps), Want::AtLeast(cut), out);
            }
        }
    }

    /// Pulls the remaining updates for the chief at the last version. Ps 0 may have more updates
    /// than fit in one message, and the worker sends no further push that would request them.
    fn pull_updates(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let lacks = self.chief.as_ref().is_some_and(Chief::lacks_updates);
        if let (true, Some(cut)) = (lacks && !self.versions.is_asked(0), self.cut()) {
            self.pull(now, TaskId::PS_ZERO, Want::AtLeast(cut), out);
        }
    }

    fn pull(&mut self, now: Moment, ps: TaskId, want: Want, out: &mut Vec<Effect>) {
        let recorded = self.recorded();
        if self.links.send(now, ps, Message::Pull { want, recorded }, out) {
            self.versions.mark_asked(ps.index, want.cut());
        }
    }

    fn recorded(&self) -> Recorded {
        self.chief.as_ref().map(Chief::recorded).unwrap_or_default()
    }

    fn on_gradient(&mut self, now: Moment, cut: Cut, gradient: Gradient, out: &mut Vec<Effect>) {
        assert_eq!(gradient.shards.len(), self.config.n_ps as usize, "one buffer a shard");
        let Gradient { slot, loss, shards } = gradient;
        let step = cut.step;
        let Some(work) = self.work.as_mut().filter(|_| self.leaving.is_none()) else { return };
        // The worker may have started another version after it gave the job to the host.
        if !work.finish(cut, slot) {
            return;
        }
        if !loss.is_finite() {
            let failure = Failure::NonFinite { step, slot, loss };
            self.links.abort(now, failure, out);
            return;
        }
        let pushes = shards.into_iter().map(|gradient| Pending { cut, slot, loss, gradient });
        let pushes: Vec<_> = pushes.collect();
        for (window, push) in self.windows.iter_mut().zip(&pushes) {
            window.add(push.clone());
        }
        self.compute(out);
        for (ps, push) in self.config.all_ps().zip(pushes) {
            self.push(now, ps, push, out);
        }
        self.wait_timer.restart(now);
        out.push(Effect::Report(Report::Computed { step, slot, loss }));
    }

    fn push(&mut self, now: Moment, ps: TaskId, push: Pending, out: &mut Vec<Effect>) {
        let recorded = self.recorded();
        let Pending { cut, slot, loss, gradient } = push;
        let push = Message::Push { cut, slot, loss, recorded, gradient };
        if self.links.send(now, ps, push, out) {
            // A push also asks for the next version, so no pull is necessary.
            self.versions.mark_asked(ps.index, cut.next());
        }
    }

    /// Repeats the unacknowledged pushes on a new link to a ps.
    fn repeat_pushes(&mut self, now: Moment, ps: TaskId, out: &mut Vec<Effect>) {
        // Only a ps of the same incarnation, at the same version, can still use the pushes. For a
        // new incarnation, `on_ps_up` has forgotten the version.
        let cut = self.work.as_ref().map(Work::cut);
        let cut = cut.filter(|cut| self.versions.cut_of(ps.index) == Some(*cut));
        let pushes: Vec<_> = self.windows[ps.index as usize].restart(cut).cloned().collect();
        if cut.is_some() {
            for push in pushes {
                self.push(now, ps, push, out);
            }
            self.pull_next(now, out);
        }
        self.compute(out);
    }

    /// Drops the first `pushes` pushes of a ps's link, because the ps has processed these pushes.
    /// If the worker has sent fewer pushes, ends the session and returns `false`.
    fn acknowledge(&mut self, now: Moment, ps: TaskId, pushes: u64, out: &mut Vec<Effect>) -> bool {
        match self.windows[ps.index as usize].acknowledge(pushes) {
            Ok(()) => true,
            Err(why) => {
                self.end_session(now, ps, why.to_string(), out);
                false
            }
        }
    }

    /// Returns whether the run has ended. The worker then only waits for other tasks that may not
    /// know of the end (rule 10).
    fn is_done(&self) -> bool {
        self.leaving.is_some() || self.chief.as_ref().is_some_and(Chief::is_ending)
    }

    fn is_waiting(&self) -> bool {
        self.leaving.is_some() || !self.work.as_ref().is_some_and(Work::is_computing)
    }

    fn on_wake(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for event in self.links.on_wake(now, out) {
            self.on_peer(now, event, out);
        }
        if let Some(chief) = &mut self.chief {
            chief.on_wake(now, &mut self.links, out);
        }
        if self.leaving.as_ref().is_some_and(|leaving| leaving.until() <= now) {
            out.push(Effect::Halt(Outcome::Finished));
        } else if self.is_waiting() {
            // The timer is copied, because `awaited` borrows the whole node.
            let mut wait_timer = self.wait_timer;
            let wait = wait_timer.report_or_give_up(now, self.me, || self.awaited(now), out);
            self.wait_timer = wait_timer;
            match wait {
                Ok(()) => {}
                // Rule 10: if a worker knows that the run has ended and gives up waiting, it has
                // not failed.
                Err(_) if self.is_done() => self.links.leave(now, out),
                Err(why) => self.links.abort(now, why, out),
            }
        }
    }
}
