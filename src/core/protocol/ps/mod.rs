//! A parameter server: holds one shard, takes gradients, answers with versions.
//!
//! Ps 0 also issues the tokens, chooses the slots when R < N, and keeps the losses until the chief
//! has written them. Nothing here computes: an update is an effect.

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

/// A parameter server.
#[derive(Debug)]
pub struct Ps {
    me: TaskId,
    config: ClusterConfig,
    links: Links,
    /// The newest life of a chief in whose generation a worker has worked (rule 8).
    newest_opener: Incarnation,
    /// Empty until a chief restores it.
    shard: Option<Shard>,
    /// The parameters of the version before. Another shard may be at it still, for want of a
    /// gradient whose worker has died: its next life computes it again, and needs them whole.
    /// No shard is further behind, since nobody can compute the next gradients without it.
    previous: Option<(Cut, Floats)>,
    /// Workers that wait for a version, and the oldest that is of use to them.
    waiting: BTreeMap<TaskId, Cut>,
    /// What was made of each worker's pushes on its present link.
    judged: BTreeMap<TaskId, Judged>,
    /// The version that the chief wants the whole state of.
    capture: Option<Cut>,
    /// Ps 0, R < N.
    choice: Option<Choice>,
    /// Ps 0.
    unrecorded: Unrecorded,
    /// Lives of workers that know that all is done. One may say so before the chief does.
    goodbyes: BTreeMap<TaskId, Incarnation>,
    ending: Option<Ending>,
    wait_timer: WaitTimer,
}

/// Rule 10: the run is over, and everyone is being told.
#[derive(Clone, Copy, Debug)]
struct Ending {
    generation: Generation,
    /// When to leave, even if somebody has not said goodbye.
    until: Moment,
}

impl Ps {
    /// Ps number `index`, in a life of its own.
    #[must_use]
    pub fn new(index: u32, incarnation: Incarnation, config: ClusterConfig) -> Self {
        let me = TaskId::ps(index);
        // Shards need to agree only when arrival chooses the slots, and then they ask ps 0.
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

    /// Where its shard stands; `None` until a chief has restored it.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        self.shard.as_ref().map(Shard::cut)
    }

    /// Its shard's state; `None` until a chief has restored it.
    #[must_use]
    pub fn state(&self) -> Option<&ShardState> {
        self.shard.as_ref().map(Shard::state)
    }
}

impl Node for Ps {
    fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>) {
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
                self.on_updated(now, cut, state, out);
            }
            Input::Wake => self.on_wake(now, out),
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

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        let since = self.wait_timer.since();
        Standing { cut: self.cut(), wait: self.waits_for(of).map(|what| Wait { what, since }) }
    }
}

impl Ps {
    fn on_peer(&mut self, now: Moment, event: PeerEvent, out: &mut Vec<Effect>) {
        match event {
            PeerEvent::Up { peer, .. } if peer == TaskId::PS_ZERO => {
                // What was said on the link before may be lost.
                self.send_received(now, self.shard.as_ref().map(Shard::held_slots), out);
            }
            PeerEvent::Up { peer, .. } => {
                self.judged.insert(peer, Judged::default());
                self.tell_late_worker(now, peer, out);
            }
            PeerEvent::Down { peer } => {
                self.waiting.remove(&peer);
                self.judged.remove(&peer);
                if peer == TaskId::CHIEF {
                    self.capture = None;
                }
            }
            PeerEvent::Message { peer, message } => self.on_message(now, peer, message, out),
            // The peer may be of the next run already, and nothing is asked of it any more. But a
            // worker that knows a newer life cannot be told of the end until this ps exceeds that
            // life. The state is durable (rule 10), so that even a ps that holds one may do so.
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

    /// Rule 8: whether this life may have taken part in the run. A ps does so only with a state.
    const fn has_joined(&self) -> bool {
        self.shard.is_some()
    }

    /// A worker that comes late to the end is told of it at once. The chief finds the final
    /// checkpoint; what it hears of a ps is an acknowledgement.
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
            // Whoever ends needs no word of the end any more.
            (Job::Worker, Message::Abort(_)) if self.ending.is_some() => {
                self.on_goodbye(now, peer, out);
            }
            (Job::Ps, Message::Abort(_)) if self.ending.is_some() => {}
            (_, Message::Abort(failure)) => {
                self.links.abort(now, failure, out);
            }
            (_, message) => {
                let why = format!("it said {}, which is not for it to say", message.kind());
                self.end_session(now, peer, why, out);
            }
        }
    }

    /// The peer did what no honest task does: the session ends.
    fn end_session(&mut self, now: Moment, peer: TaskId, why: String, out: &mut Vec<Effect>) {
        if let Some(event) = self.links.drop_peer(now, peer, why, out) {
            self.on_peer(now, event, out);
        }
    }

    fn on_pull(&mut self, now: Moment, worker: TaskId, want: Want, out: &mut Vec<Effect>) {
        match (want, &self.previous) {
            (Want::Exactly(cut), Some((at, parameters))) if cut == *at => {
                // Its update is made: all of the worker's slots are in it.
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

    /// Rule 8: a worker that has worked in a generation knows the life of the chief that opened it.
    /// This ps may have forgotten that life with its own earlier life, and let in an older chief.
    fn note_opener(&mut self, now: Moment, opener: Incarnation, out: &mut Vec<Effect>) {
        if opener <= self.newest_opener || opener >= Incarnation::LARGEST {
            return;
        }
        self.newest_opener = opener;
        if let Some(event) = self.links.note_incarnation(now, TaskId::CHIEF, opener, out) {
            self.on_peer(now, event, out);
        } else if self.cut().is_some() && self.reported_cut().is_none() {
            // A chief that is newer than all took up a state that is older. It finds none when it
            // calls again, and opens a generation that is newer than all, too.
            let why = "the state of this ps is of an older generation than a worker's".to_owned();
            self.end_session(now, TaskId::CHIEF, why, out);
        }
    }

    /// Where the shard stands, for callers: a state that a newer generation has fenced is none. While
    /// the chief that opens that generation is connected, its state is on the way.
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
        // A push asks for the next version, whatever becomes of it (rule 5: nobody waits for
        // nothing). Of another generation, any version will tell the worker where it stands.
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

    /// Whether the worker has more to push before the next version. Its last push is acknowledged
    /// by that version, so that one slot a worker costs no message more.
    fn lacks_slots_of(&self, worker: TaskId) -> bool {
        let lacks = |slot| self.shard.as_ref().is_some_and(|shard| shard.lacks(slot));
        // The last slot comes last: looking at it first makes this one look a push.
        self.config.slots_of(worker).rev().any(lacks)
    }

    /// Tells the worker that its pushes are judged, unless a version has just said so.
    fn acknowledge_push(&mut self, now: Moment, worker: TaskId, out: &mut Vec<Effect>) {
        let judged = self.judged.entry(worker).or_default();
        if !judged.is_acknowledged() {
            let pushes = judged.acknowledge();
            self.links.send(now, worker, Message::Acknowledged { pushes }, out);
        }
    }

    /// Rule 5: what is not used is counted, and its worker told.
    fn decline(
        &mut self,
        now: Moment,
        worker: TaskId,
        cut: Cut,
        slot: Slot,
        verdict: Verdict,
        out: &mut Vec<Effect>,
    ) {
        let Cut { generation, step } = cut;
        let verdict_told = Message::PushReply { cut: Cut { generation, step }, slot, verdict };
        self.links.send(now, worker, verdict_told, out);
        let verdict = Some(verdict);
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

    /// Ps i tells ps 0 which slots it holds (rule 2).
    fn send_received(&mut self, now: Moment, slots: Option<Vec<Slot>>, out: &mut Vec<Effect>) {
        if let (Some(Cut { generation, step }), Some(slots)) = (self.cut(), slots) {
            let message = Message::Received { cut: Cut { generation, step }, slots };
            self.links.send(now, TaskId::PS_ZERO, message, out);
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
        // It may not have heard the last choice: ps 0 is never more than one version ahead.
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
        } else if is_at_cut && !self.shard.as_ref().is_some_and(Shard::is_updating) {
            self.choose(cut, slots, out);
            self.try_update(out);
        }
    }

    fn choose(&mut self, cut: Cut, slots: Vec<Slot>, out: &mut Vec<Effect>) {
        let Some(shard) = &mut self.shard else { return };
        // Rule 2: the rest is dropped and counted.
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
        // Rule 8: a result of a generation that was fenced meanwhile is nobody's.
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

    /// Rule 2: with R >= N the slots of every update are known beforehand.
    fn chosen_beforehand(&self) -> Option<Vec<Slot>> {
        (!self.config.has_backup_workers()).then(|| self.config.all_slots().collect())
    }

    fn answer_all(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        for worker in waiting {
            self.answer(now, worker, out);
        }
    }

    /// Rule 6: a worker that waits gets the first version of use to it, and then waits no more.
    fn answer(&mut self, now: Moment, worker: TaskId, out: &mut Vec<Effect>) {
        let (Some(shard), Some(&at_least)) = (&self.shard, self.waiting.get(&worker)) else {
            return;
        };
        let cut = shard.cut();
        if cut < at_least {
            return;
        }
        // Rule 10: nothing is left to compute at the last version.
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
            let why = "it restored a state whose parts do not fit each other".to_owned();
            self.end_session(now, TaskId::CHIEF, why, out);
            return;
        }
        if current.is_some_and(|current| generation < current) {
            // Rule 8: an order of an older generation changes nothing.
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
            self.previous = None;
            self.unrecorded = Unrecorded::default();
            self.capture = None;
            self.wait_timer.restart(now);
            // Whoever waits, waits for a version that will never be: this one is of more use.
            for at_least in self.waiting.values_mut() {
                *at_least = Cut::default();
            }
        }
        self.links.send(now, TaskId::CHIEF, Message::Restored { generation }, out);
        self.answer_all(now, out);
    }

    /// Rule 7: the state at exactly the version that was asked for, or word that it is past.
    fn answer_capture(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let (Some(wanted), Some(shard)) = (self.capture, &self.shard) else { return };
        let Cut { generation, step: current } = shard.cut();
        let message = if wanted.generation != generation || wanted.step < current {
            Message::Missed { cut: wanted, current }
        } else if wanted.step == current {
            Message::Captured {
                cut: Cut { generation, step: current },
                state: shard.state().clone(),
            }
        } else {
            return;
        };
        self.capture = None;
        self.links.send(now, TaskId::CHIEF, message, out);
    }

    /// Rule 10: the final checkpoint is durable. Everybody is told, and leaves.
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

    /// Tells the chief, as often as it asks, once all other workers have left: until then a new
    /// life of this ps would have to hear from the chief that all is done.
    fn acknowledge_end(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(Ending { generation, until }) = self.ending else { return };
        let mut others = (1..self.config.sync.total_num_replicas).map(TaskId::worker);
        if until <= now || others.all(|worker| self.has_left(worker)) {
            self.links.send(now, TaskId::CHIEF, Message::Finished { generation }, out);
        }
    }

    /// Whoever has not said goodbye is not waited for any more.
    fn finish(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if let Some(ending) = &mut self.ending {
            ending.until = now;
        }
        self.acknowledge_end(now, out);
        out.push(Effect::Halt(Outcome::Finished));
    }

    /// Another life of a worker that said goodbye has to be told again.
    fn has_left(&self, worker: TaskId) -> bool {
        let said = self.goodbyes.get(&worker);
        said.is_some_and(|life| self.links.incarnation_of(worker) == Some(*life))
    }

    /// A worker that leaves knows that all is done, and so does this ps now.
    fn on_goodbye(&mut self, now: Moment, peer: TaskId, out: &mut Vec<Effect>) {
        self.goodbyes.extend(self.links.incarnation_of(peer).map(|life| (peer, life)));
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
        let mut wait_timer = self.wait_timer;
        let wait = wait_timer.report_or_give_up(now, self.me, || self.awaited(now), out);
        self.wait_timer = wait_timer;
        match (&self.ending, wait) {
            (Some(ending), wait) if wait.is_err() || ending.until <= now => self.finish(now, out),
            (None, Err(why)) => self.links.abort(now, why, out),
            _ => {}
        }
    }
}

/// Rule 5: a gradient that came in time, but not among the first R.
fn count_surplus(step: Step, slot: Slot, worker: TaskId, out: &mut Vec<Effect>) {
    out.push(Effect::Report(Report::Dropped { step, slot, worker, verdict: None }));
}

/// Whether all buffers are of one length, and the regularized ranges ascend within it.
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
