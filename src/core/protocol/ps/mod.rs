//! A parameter server, which holds one shard, receives gradients, and answers with versions.
//!
//! Ps 0 also issues the tokens, chooses the slots when R < N, and keeps the losses until they are
//! durable in the chief's file. The host computes the updates.

mod choice;
mod shard;
mod unrecorded;
mod waits;

use std::collections::BTreeMap;
use std::ops::Range;

use self::choice::Choice;
use self::shard::{Held, Judgement, Offer, Shard};
use self::unrecorded::Unrecorded;
use crate::floats::Floats;
use crate::ids::{Cut, Generation, Incarnation, Job, Slot, Step, TaskId};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::links::{Links, PeerEvent};
use crate::protocol::message::{Message, Recorded, ShardState, UpdateRecord, Verdict, Want};
use crate::protocol::wait_timer::WaitTimer;
use crate::protocol::window::Judged;
use crate::protocol::{Done, Effect, Input, Node, Outcome, Report, Standing, Status, Wait};
use crate::time::Moment;

/// A parameter server as a state machine.
#[derive(Debug)]
pub struct Ps {
    me: TaskId,
    config: ClusterConfig,
    links: Links,
    /// The incarnation of the newest chief that is known to have opened a generation in which a
    /// worker has computed (rule 8).
    newest_opener: Incarnation,
    /// The shard, or `None` until a chief restores it.
    shard: Option<Shard>,
    /// The parameters of the previous version. Another shard may still be at that version, because
    /// a worker died before it pushed to that shard. The worker's next incarnation must compute the
    /// gradient again, and needs the previous version of every shard. Older versions are not
    /// needed: no worker can compute the next gradients without the lagging shard, so no shard can
    /// be two steps ahead of another.
    previous: Option<(Cut, Floats)>,
    /// For each worker that waits for a version, the oldest version that the worker can use.
    waiting: BTreeMap<TaskId, Cut>,
    /// For each connected worker, the numbers of processed and of acknowledged pushes on the
    /// current link.
    judged: BTreeMap<TaskId, Judged>,
    /// The version that the chief has asked this ps to capture, or `None` without an unanswered
    /// request.
    capture: Option<Cut>,
    /// The choice of the slots that an update uses. `None` unless this is ps 0 and R < N.
    choice: Option<Choice>,
    /// The updates that may not be durable in the losses file. Only ps 0 keeps such updates.
    unrecorded: Unrecorded,
    /// The incarnation of each worker that has sent a goodbye. A goodbye may come before the chief
    /// announces the end of the run.
    goodbyes: BTreeMap<TaskId, Incarnation>,
    ending: Option<Ending>,
    wait_timer: WaitTimer,
}

/// The state of a ps after the end of the run. The ps stays until the other tasks know of the end
/// (rule 10).
#[derive(Clone, Copy, Debug)]
struct Ending {
    generation: Generation,
    /// The time at which this ps leaves even if a worker has not sent a goodbye.
    until: Moment,
}

impl Ps {
    /// Creates the ps with the number `index`.
    #[must_use]
    pub fn new(index: u32, incarnation: Incarnation, config: ClusterConfig) -> Self {
        let me = TaskId::ps(index);
        // If the order of arrival chooses the slots, all shards must agree on them. Ps 0 makes the
        // choice, so the other ps connect to ps 0.
        let calls =
            (config.has_backup_workers() && me != TaskId::PS_ZERO).then_some(TaskId::PS_ZERO);
        Self {
            me,
            links: Links::new(me, incarnation, config.clone(), calls),
            newest_opener: Incarnation::default(),
            shard: None,
            previous: None,
            waiting: BTreeMap::new(),
            judged: BTreeMap::new(),
            capture: None,
            choice: None,
            unrecorded: Unrecorded::default(),
            goodbyes: BTreeMap::new(),
            ending: None,
            wait_timer: WaitTimer::new(&config.limits),
            config,
        }
    }

    /// Returns the generation and the step of the shard, or `None` until a chief has restored the
    /// shard.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        self.shard.as_ref().map(Shard::cut)
    }

    /// Returns the shard's state, or `None` until a chief has restored the shard.
    #[must_use]
    pub fn state(&self) -> Option<&ShardState> {
        self.shard.as_ref().map(Shard::state)
    }
}

impl Node for Ps {
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.wait_timer.restart(now);
                self.links.start(now, out);
            }
            Input::Network(event) => {
                for event in self.links.on_network(now, event, self.reported_cut(), out) {
                    self.on_peer(now, event, out);
                }
            }
            Input::Computed(Done::Update { cut, state }) => {
                self.on_updated(now, *cut, state.clone(), out);
            }
            Input::Wake => self.on_wake(now, out),
            // A ps that is stopped while the run is ending has not finished. Another task may not
            // know of the end yet. The next incarnation of this ps informs that task.
            Input::Stop => out.push(Effect::Halt(Outcome::Stopped { saved: None })),
            Input::Computed(Done::Gradient { .. }) | Input::Stored(_) => {}
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let ending = self.ending.as_ref().map(|ending| ending.until);
        [Some(self.links.deadline()), ending, Some(self.wait_timer.deadline())]
            .into_iter()
            .flatten()
            .min()
    }

    fn status(&self, now: Moment) -> Status {
        Status {
            at: self.cut().map_or_else(|| "no state".to_owned(), |cut| cut.to_string()),
            does: format!("waits {}", self.awaited(now).what),
        }
    }

    fn standing(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Standing {
        let since = self.wait_timer.since();
        let wait = self.waits_for(each_awaited).map(|what| Wait { what, since });
        Standing { cut: self.cut(), wait }
    }
}

impl Ps {
    fn on_peer(&mut self, now: Moment, event: PeerEvent, out: &mut Vec<Effect>) {
        match event {
            PeerEvent::Up { peer, .. } if peer == TaskId::PS_ZERO => {
                // A `Received` may be lost with the previous link, so this ps reports all its slots
                // again.
                self.send_received(now, self.shard.as_ref().map(Shard::held_slots), out);
            }
            PeerEvent::Up { peer, .. } => {
                self.judged.insert(peer, Judged::default());
                self.tell_late_worker(now, peer, out);
            }
            PeerEvent::Down { peer } => {
                // The worker and the chief repeat their requests on the next link, and the counts
                // of pushes start again from 0.
                self.waiting.remove(&peer);
                self.judged.remove(&peer);
                if peer == TaskId::CHIEF {
                    self.capture = None;
                }
            }
            PeerEvent::Message { peer, message } => self.on_message(now, peer, message, out),
            // A peer that refuses this ps may already belong to the next run, and this ps then
            // needs nothing from it. But the peer may be a worker that knows a newer incarnation of
            // this ps, and does not know of the run's end. Only an incarnation that exceeds the
            // known one can inform such a worker. This ps may take a larger incarnation even though
            // it has joined the run, because the final state is durable (rule 10).
            PeerEvent::Refused { refusal, .. } if self.ending.is_some() => {
                if let Some(outcome @ Outcome::Outdated { .. }) =
                    self.links.outcome_of(now, refusal, false)
                {
                    out.push(Effect::Halt(outcome));
                }
            }
            PeerEvent::Refused { refusal, .. } => {
                let has_joined = self.has_joined();
                let outcome = self.links.outcome_of(now, refusal, has_joined);
                out.extend(outcome.map(Effect::Halt));
            }
        }
    }

    /// Returns whether this incarnation may have taken part in the run (rule 8). A ps can take part
    /// only if it has a state.
    const fn has_joined(&self) -> bool {
        self.shard.is_some()
    }

    /// Sends `Finished` to a worker that connects while the run is ending.
    ///
    /// The function sends no `Finished` to the chief, because the chief finds the final checkpoint
    /// in its files. The chief would take the message as an acknowledgement that all other workers
    /// have left.
    fn tell_late_worker(&mut self, now: Moment, peer: TaskId, out: &mut Vec<Effect>) {
        let is_told = peer.job == Job::Worker && peer != TaskId::CHIEF;
        if let (true, Some(ending)) = (is_told, &self.ending) {
            let generation = ending.generation;
            self.links.send(now, peer, Message::Finished { generation }, out);
        }
    }

    fn on_message(&mut self, now: Moment, peer: TaskId, message: Message, out: &mut Vec<Effect>) {
        match (peer.job, message) {
            (Job::Worker, Message::Pull { want, recorded }) => {
                self.note_opener(now, want.cut().generation.opener, out);
                self.note_recorded(peer, recorded);
                self.on_pull(now, peer, want, out);
            }
            (Job::Worker, Message::Push { cut, slot, loss, recorded, gradient }) => {
                self.note_recorded(peer, recorded);
                self.on_push(now, cut, slot, Held { worker: peer, loss, gradient }, out);
            }
            (Job::Ps, Message::Received { cut, slots }) if self.me == TaskId::PS_ZERO => {
                self.on_received(now, peer, cut, &slots, out);
            }
            (Job::Ps, Message::Chosen { cut, slots }) if peer == TaskId::PS_ZERO => {
                self.on_chosen(now, cut, slots, out);
            }
            (Job::Worker, Message::Restore { cut, state }) if peer == TaskId::CHIEF => {
                self.on_restore(now, cut, state, out);
            }
            (Job::Worker, Message::Capture { cut }) if peer == TaskId::CHIEF => {
                self.capture = Some(cut);
                self.answer_capture(now, out);
            }
            (Job::Worker, Message::Finished { generation }) if peer == TaskId::CHIEF => {
                self.on_finished(now, generation, out);
            }
            (Job::Worker, Message::Goodbye) => self.on_goodbye(now, peer, out),
            // The run has already ended, so a worker's `Abort` only means that the worker is gone.
            (Job::Worker, Message::Abort(_)) if self.ending.is_some() => {
                self.on_goodbye(now, peer, out);
            }
            (Job::Ps, Message::Abort(_)) if self.ending.is_some() => {}
            (_, Message::Abort(failure)) => {
                self.links.abort(now, failure, out);
            }
            (_, message) => {
                let why = format!("it sent {}, which it may not send", message.kind());
                self.end_session(now, peer, why, out);
            }
        }
    }

    /// Ends the session with a peer that has broken the protocol.
    fn end_session(&mut self, now: Moment, peer: TaskId, why: String, out: &mut Vec<Effect>) {
        if let Some(event) = self.links.drop_peer(now, peer, why, out) {
            self.on_peer(now, event, out);
        }
    }

    fn on_pull(&mut self, now: Moment, worker: TaskId, want: Want, out: &mut Vec<Effect>) {
        match (want, &self.previous) {
            (Want::Exactly(cut), Some((at, parameters))) if cut == *at => {
                // This shard has made the update of that version, so it has used or dropped all the
                // worker's gradients. The worker still gets the tokens, because other shards lack
                // its gradients.
                let parameters = parameters.clone();
                let slots: Vec<_> = self.config.slots_of(worker).collect();
                self.send_version(now, worker, cut, [slots.clone(), slots], parameters, out);
            }
            _ => {
                self.waiting.insert(worker, want.cut());
                self.answer(now, worker, out);
            }
        }
    }

    /// Records the incarnation of the chief that opened the generation named in a worker's pull
    /// (rule 8).
    ///
    /// After a restart, this ps does not know the chiefs that its earlier incarnation knew, and may
    /// have accepted an older chief. A worker that has computed in the newer generation names the
    /// newer chief in its pull.
    fn note_opener(&mut self, now: Moment, opener: Incarnation, out: &mut Vec<Effect>) {
        // `Incarnation::LARGEST` fences no chief, so it must not replace the known chief.
        if opener <= self.newest_opener || opener >= Incarnation::LARGEST {
            return;
        }
        self.newest_opener = opener;
        if let Some(event) = self.links.note_incarnation(now, TaskId::CHIEF, opener, out) {
            self.on_peer(now, event, out);
        } else if self.cut().is_some() && self.reported_cut().is_none() {
            // The connected chief is newer than `opener`, but the state of this shard is older than
            // the worker's state. So this ps ends the chief's session. When the chief calls again,
            // this ps reports no state, and the chief opens a generation that is newer than the
            // worker's.
            let why = "the state of this ps is of an older generation than a worker's".to_owned();
            self.end_session(now, TaskId::CHIEF, why, out);
        }
    }

    /// Returns the generation and the step that this ps reports to callers, or `None` if a newer
    /// generation has fenced the shard's state. While the chief that opened the newer generation is
    /// connected, the ps still reports its generation and step, because that chief is about to
    /// restore a new state.
    fn reported_cut(&self) -> Option<Cut> {
        let chief =
            self.links.incarnation_of(TaskId::CHIEF).filter(|_| self.links.is_up(TaskId::CHIEF));
        let is_current = |cut: &Cut| {
            cut.generation.opener >= self.newest_opener || chief == Some(self.newest_opener)
        };
        self.cut().filter(is_current)
    }

    fn note_recorded(&mut self, peer: TaskId, recorded: Recorded) {
        if peer == TaskId::CHIEF {
            self.unrecorded.note(recorded);
        }
    }

    fn on_push(&mut self, now: Moment, cut: Cut, slot: Slot, held: Held, out: &mut Vec<Effect>) {
        let worker = held.worker;
        // A push also requests the next version, whether or not its gradient is used, so that the
        // worker always gets an answer (rule 5). A worker of another generation can continue with
        // any version.
        self.judged.entry(worker).or_default().count();
        let Some(shard) = &mut self.shard else {
            self.waiting.insert(worker, Cut::default());
            self.decline(now, worker, cut, slot, Verdict::Fenced, out);
            self.acknowledge_push(now, worker, out);
            return;
        };
        let same_generation = cut.generation == shard.cut().generation;
        let at_least = if same_generation { cut.next() } else { Cut::default() };
        match shard.offer(Offer { cut, slot, held }) {
            Judgement::Accepted => {
                self.waiting.insert(worker, at_least);
                self.on_accepted(now, cut, slot, out);
                if self.lacks_slots_of(worker) {
                    self.acknowledge_push(now, worker, out);
                }
            }
            Judgement::Declined(verdict) => {
                self.waiting.insert(worker, at_least);
                self.decline(now, worker, cut, slot, verdict, out);
                self.answer(now, worker, out);
                self.acknowledge_push(now, worker, out);
            }
            Judgement::Surplus => {
                self.waiting.insert(worker, at_least);
                count_surplus(cut.step, slot, worker, out);
                if self.lacks_slots_of(worker) {
                    self.acknowledge_push(now, worker, out);
                }
            }
            Judgement::Diverged => {
                let failure = Failure::Diverged { step: cut.step, slot, worker };
                self.links.abort(now, failure, out);
            }
            Judgement::Violation(why) => self.end_session(now, worker, why, out),
        }
    }

    /// Returns whether the next update still needs a gradient of this worker. If the update needs
    /// none, the next version acknowledges the worker's last push. A worker with one slot therefore
    /// costs no additional message.
    fn lacks_slots_of(&self, worker: TaskId) -> bool {
        let lacks = |slot| self.shard.as_ref().is_some_and(|shard| shard.lacks(slot));
        // Workers push their slots in order, so the last slot is usually missing. If it is checked
        // first, one comparison per push usually suffices.
        self.config.slots_of(worker).rev().any(lacks)
    }

    /// Acknowledges the worker's processed pushes, unless a version has just acknowledged them.
    fn acknowledge_push(&mut self, now: Moment, worker: TaskId, out: &mut Vec<Effect>) {
        let judged = self.judged.entry(worker).or_default();
        if !judged.is_acknowledged() {
            let pushes = judged.acknowledge();
            self.links.send(now, worker, Message::Acknowledged { pushes }, out);
        }
    }

    /// Reports that a gradient is not used, and sends the verdict to the gradient's worker (rule
    /// 5).
    fn decline(
        &mut self,
        now: Moment,
        worker: TaskId,
        cut: Cut,
        slot: Slot,
        verdict: Verdict,
        out: &mut Vec<Effect>,
    ) {
        self.links.send(now, worker, Message::PushReply { cut, slot, verdict }, out);
        let (step, verdict) = (cut.step, Some(verdict));
        out.push(Effect::Report(Report::Dropped { step, slot, worker, verdict }));
    }

    fn on_accepted(&mut self, now: Moment, cut: Cut, slot: Slot, out: &mut Vec<Effect>) {
        if self.config.has_backup_workers() {
            if self.me == TaskId::PS_ZERO {
                self.note_whole(now, cut, self.me, slot, out);
            } else {
                self.send_received(now, Some(vec![slot]), out);
            }
        }
        self.try_update(out);
    }

    /// Sends ps 0 a list of slots whose gradients this ps holds (rule 2).
    fn send_received(&mut self, now: Moment, slots: Option<Vec<Slot>>, out: &mut Vec<Effect>) {
        if let (Some(cut), Some(slots)) = (self.cut(), slots) {
            self.links.send(now, TaskId::PS_ZERO, Message::Received { cut, slots }, out);
        }
    }

    fn on_received(
        &mut self,
        now: Moment,
        from: TaskId,
        cut: Cut,
        slots: &[Slot],
        out: &mut Vec<Effect>,
    ) {
        // The other ps may have lost the last `Chosen` with its link. Ps 0 keeps only its last
        // choice, because ps 0 is never more than one version ahead of another shard.
        let decided = self.choice.as_ref().and_then(|choice| choice.decided(cut));
        if let Some(slots) = decided.map(<[Slot]>::to_vec) {
            self.links.send(now, from, Message::Chosen { cut, slots }, out);
            return;
        }
        let n_slots = self.config.sync.slots_per_step();
        for &slot in slots.iter().filter(|slot| slot.0 < n_slots) {
            self.note_whole(now, cut, from, slot, out);
        }
        self.try_update(out);
    }

    fn note_whole(&mut self, now: Moment, cut: Cut, ps: TaskId, slot: Slot, out: &mut Vec<Effect>) {
        let Some(choice) = &mut self.choice else { return };
        let Some(slots) = choice.note(cut, ps.index, slot) else { return };
        for other in self.config.all_ps().skip(1) {
            let slots = slots.clone();
            self.links.send(now, other, Message::Chosen { cut, slots }, out);
        }
        self.choose(cut, slots, out);
    }

    fn on_chosen(&mut self, now: Moment, cut: Cut, slots: Vec<Slot>, out: &mut Vec<Effect>) {
        let is_at_cut = self.cut() == Some(cut);
        let n_slots = self.config.sync.slots_per_step();
        // Rule 1: R distinct slots.
        if slots.len() != self.config.sync.replicas_to_aggregate as usize
            || !slots.is_sorted_by(|a, b| a < b)
            || slots.iter().any(|slot| slot.0 >= n_slots)
        {
            let why = format!("it chose {} slots that no update can use", slots.len());
            self.end_session(now, TaskId::PS_ZERO, why, out);
        // Ps 0 may repeat its choice. A repeated choice must not restart an update that is being
        // computed.
        } else if is_at_cut && !self.shard.as_ref().is_some_and(Shard::is_updating) {
            self.choose(cut, slots, out);
            self.try_update(out);
        }
    }

    fn choose(&mut self, cut: Cut, slots: Vec<Slot>, out: &mut Vec<Effect>) {
        let Some(shard) = &mut self.shard else { return };
        // Rule 2: gradients of slots that were not chosen are dropped and counted.
        for (slot, held) in shard.choose(slots) {
            count_surplus(cut.step, slot, held.worker, out);
        }
    }

    fn try_update(&mut self, out: &mut Vec<Effect>) {
        let Some(shard) = &mut self.shard else { return };
        // Rule 10: exactly `training_steps` updates.
        if self.config.is_last(shard.cut().step) {
            return;
        }
        if let Some(gradients) = shard.begin_update() {
            let state = shard.state().clone();
            let job = crate::protocol::Job::Update { cut: shard.cut(), state, gradients };
            out.push(Effect::Compute(job));
        }
    }

    fn on_updated(&mut self, now: Moment, cut: Cut, state: ShardState, out: &mut Vec<Effect>) {
        let chosen = self.chosen_beforehand();
        let Some(shard) = &mut self.shard else { return };
        let parameters = shard.state().parameters.clone();
        // Rule 8: a restore during the computation makes this result void.
        let Some(losses) = shard.finish_update(cut, state, chosen) else { return };
        self.previous = Some((cut, parameters));
        let next = shard.cut();
        let slots = losses.iter().map(|(slot, _)| *slot).collect();
        out.push(Effect::Report(Report::Updated { cut, slots }));
        if self.me == TaskId::PS_ZERO {
            self.unrecorded.push(UpdateRecord { cut, losses });
        }
        if let Some(choice) = &mut self.choice {
            choice.advance(next);
        }
        self.wait_timer.restart(now);
        self.answer_capture(now, out);
        self.answer_all(now, out);
    }

    /// Returns all slots of a step if R >= N, because every update then uses all slots (rule 2).
    /// Otherwise returns `None`.
    fn chosen_beforehand(&self) -> Option<Vec<Slot>> {
        (!self.config.has_backup_workers()).then(|| self.config.all_slots().collect())
    }

    fn answer_all(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        for worker in waiting {
            self.answer(now, worker, out);
        }
    }

    /// Sends the current version to a waiting worker if the worker can use it (rule 6).
    fn answer(&mut self, now: Moment, worker: TaskId, out: &mut Vec<Effect>) {
        let (Some(shard), Some(&at_least)) = (&self.shard, self.waiting.get(&worker)) else {
            return;
        };
        let cut = shard.cut();
        if cut < at_least {
            return;
        }
        // Rule 10: no gradient is computed at the last version.
        let is_final = self.config.is_last(cut.step);
        let tokens = if is_final { Vec::new() } else { self.config.slots_of(worker).collect() };
        let is_held = |slot: &Slot| shard.holds(*slot);
        let received = self.config.slots_of(worker).filter(is_held).collect();
        let parameters = shard.state().parameters.clone();
        self.waiting.remove(&worker);
        self.send_version(now, worker, cut, [tokens, received], parameters, out);
    }

    fn send_version(
        &mut self,
        now: Moment,
        worker: TaskId,
        cut: Cut,
        [tokens, received]: [Vec<Slot>; 2],
        parameters: Floats,
        out: &mut Vec<Effect>,
    ) {
        let tokens = if self.me == TaskId::PS_ZERO { tokens } else { Vec::new() };
        let updates = if (self.me, worker) == (TaskId::PS_ZERO, TaskId::CHIEF) {
            self.unrecorded.unwritten()
        } else {
            Vec::new()
        };
        let acknowledged = self.judged.entry(worker).or_default().acknowledge();
        let version = Message::Version { cut, tokens, received, updates, acknowledged, parameters };
        self.links.send(now, worker, version, out);
    }

    fn on_restore(&mut self, now: Moment, cut: Cut, state: ShardState, out: &mut Vec<Effect>) {
        let generation = cut.generation;
        let current = self.cut().map(|cut| cut.generation);
        if !is_sound(&state) {
            let why = "the parts of the state that it restored do not fit each other".to_owned();
            self.end_session(now, TaskId::CHIEF, why, out);
            return;
        }
        if current.is_some_and(|current| generation < current) {
            // Rule 8: a restore of an older generation changes nothing.
            return;
        }
        if current != Some(generation) {
            self.shard = Some(Shard::new(
                cut,
                state,
                self.config.sync.slots_per_step(),
                self.chosen_beforehand(),
            ));
            self.choice =
                (self.config.has_backup_workers() && self.me == TaskId::PS_ZERO).then(|| {
                    Choice::new(self.config.n_ps, self.config.sync.replicas_to_aggregate, cut)
                });
            // The previous version and the unrecorded updates belong to the history that is rolled
            // back.
            self.previous = None;
            self.unrecorded = Unrecorded::default();
            self.capture = None;
            self.wait_timer.restart(now);
            // The waiting workers wait for versions of the old generation, which will never be
            // made. Any version of the new generation shows them where to continue.
            for at_least in self.waiting.values_mut() {
                *at_least = Cut::default();
            }
        }
        // A repeated restore of the current generation changes nothing, but its answer may have
        // been lost.
        self.links.send(now, TaskId::CHIEF, Message::Restored { generation }, out);
        self.answer_all(now, out);
    }

    /// Answers the chief's request for a capture if the shard has exactly the requested version, or
    /// can no longer reach this version (rule 7).
    fn answer_capture(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let (Some(wanted), Some(shard)) = (self.capture, &self.shard) else { return };
        let cut = shard.cut();
        let message = if wanted.generation != cut.generation || wanted.step < cut.step {
            Message::Missed { cut: wanted, current: cut.step }
        } else if wanted == cut {
            Message::Captured { cut, state: shard.state().clone() }
        } else {
            return;
        };
        self.capture = None;
        self.links.send(now, TaskId::CHIEF, message, out);
    }

    /// Starts the end of the run, after the final checkpoint has become durable (rule 10).
    fn on_finished(&mut self, now: Moment, generation: Generation, out: &mut Vec<Effect>) {
        if self.ending.is_none() {
            let until = now + self.config.limits.linger;
            self.ending = Some(Ending { generation, until });
            for worker in (1..self.config.sync.total_num_replicas).map(TaskId::worker) {
                self.links.send(now, worker, Message::Finished { generation }, out);
            }
        }
        self.acknowledge_end(now, out);
    }

    /// Answers the chief's `Finished` once all other workers have left, or the time limit has
    /// passed.
    ///
    /// The chief stays until it receives the answer. If this ps restarts before it answers, the
    /// ps's next incarnation learns from the chief that the run has ended, and informs the
    /// remaining workers.
    fn acknowledge_end(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(Ending { generation, until }) = self.ending else { return };
        let mut others = (1..self.config.sync.total_num_replicas).map(TaskId::worker);
        if until <= now || others.all(|worker| self.has_left(worker)) {
            self.links.send(now, TaskId::CHIEF, Message::Finished { generation }, out);
        }
    }

    /// Halts, even if some workers have not sent a goodbye.
    fn finish(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // The chief gets its answer even if not all workers have left.
        if let Some(ending) = &mut self.ending {
            ending.until = now;
        }
        self.acknowledge_end(now, out);
        out.push(Effect::Halt(Outcome::Finished));
    }

    fn has_left(&self, worker: TaskId) -> bool {
        // A goodbye of an earlier incarnation is ignored, because the worker's present incarnation
        // may not know of the end.
        let said = self.goodbyes.get(&worker);
        said.is_some_and(|said| self.links.incarnation_of(worker) == Some(*said))
    }

    /// Records that a worker leaves. If the shard is at the last version, the goodbye also shows
    /// that the run has ended.
    fn on_goodbye(&mut self, now: Moment, peer: TaskId, out: &mut Vec<Effect>) {
        self.goodbyes
            .extend(self.links.incarnation_of(peer).map(|incarnation| (peer, incarnation)));
        let is_final = |cut: &Cut| self.config.is_last(cut.step);
        if let (None, Some(cut)) = (&self.ending, self.cut().filter(is_final)) {
            self.on_finished(now, cut.generation, out);
            return;
        }
        if self.ending.is_none() {
            return;
        }
        let mut workers = (0..self.config.sync.total_num_replicas).map(TaskId::worker);
        if workers.all(|worker| self.has_left(worker)) {
            out.push(Effect::Halt(Outcome::Finished));
        } else if peer != TaskId::CHIEF {
            self.acknowledge_end(now, out);
        }
    }

    fn on_wake(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for event in self.links.on_wake(now, out) {
            self.on_peer(now, event, out);
        }
        // The timer is copied, because `awaited` borrows the whole node.
        let mut wait_timer = self.wait_timer;
        let wait = wait_timer.report_or_give_up(now, self.me, || self.awaited(now), out);
        self.wait_timer = wait_timer;
        match (&self.ending, wait) {
            // Rule 10: if a ps knows that the run has ended and gives up waiting, it has not
            // failed.
            (Some(ending), wait) if wait.is_err() || ending.until <= now => self.finish(now, out),
            (None, Err(why)) => self.links.abort(now, why, out),
            _ => {}
        }
    }
}

/// Reports a gradient of the current version whose slot the update does not use (rule 5).
fn count_surplus(step: Step, slot: Slot, worker: TaskId, out: &mut Vec<Effect>) {
    out.push(Effect::Report(Report::Dropped { step, slot, worker, verdict: None }));
}

/// Returns whether all buffers of a state have the same length, and the regularized ranges ascend
/// within that length.
fn is_sound(state: &ShardState) -> bool {
    let len = state.parameters.len();
    let mut end = 0;
    let in_place = |range: &Range<usize>| {
        let fits = end <= range.start && range.start <= range.end && range.end <= len;
        end = range.end;
        fits
    };
    state.auxiliary.iter().all(|buffer| buffer.len() == len)
        && state.regularized.iter().all(in_place)
}
