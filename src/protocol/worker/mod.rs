//! A worker: computes gradients at whole versions, and pushes them. Worker 0 is the chief, too.

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
use crate::ids::{Cut, Incarnation, Slot, TaskId};
use crate::planted::{self, Bug, is_planted};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::links::{Links, PeerEvent};
use crate::protocol::message::{Message, Recorded, Want};
use crate::protocol::patience::Patience;
use crate::protocol::{Done, Effect, Input, Node, Outcome, Report, Standing, Status, Wait};
use crate::time::Moment;

/// A worker.
#[derive(Debug)]
pub struct Worker {
    me: TaskId,
    config: ClusterConfig,
    links: Links,
    /// The life of each ps whose versions are kept.
    lives: Vec<Option<Incarnation>>,
    versions: Versions,
    work: Option<Work>,
    chief: Option<Chief>,
    /// Of a worker that is not the chief: each ps waits for its goodbye.
    leaving: Option<Ending>,
    patience: Patience,
}

impl Worker {
    /// Worker number `index`, in a life of its own.
    #[must_use]
    pub fn new(index: u32, incarnation: Incarnation, config: ClusterConfig) -> Self {
        let me = TaskId::worker(index);
        Self {
            me,
            links: Links::new(me, incarnation, config.clone(), config.all_ps()),
            lives: vec![None; config.n_ps as usize],
            versions: Versions::new(config.n_ps),
            work: None,
            chief: (me == TaskId::CHIEF).then(|| Chief::new(incarnation, config.clone())),
            leaving: None,
            patience: Patience::new(&config.limits),
            config,
        }
    }

    /// The whole version that it works on, or worked on last.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        self.work.as_ref().map(Work::cut)
    }
}

impl Node for Worker {
    fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.patience.restart(now);
                if let Some(chief) = &mut self.chief {
                    chief.start(out);
                }
                self.links.start(now, out);
            }
            Input::Network(event) => {
                for event in self.links.on_network(now, event, None, out) {
                    self.on_peer(now, event, out);
                }
            }
            Input::Computed(Done::Gradient { generation, step, slot, loss, gradient: shards }) => {
                let cut = Cut { generation, step };
                let meant = || self.work.as_ref().and_then(Work::job);
                let (cut, slot) = planted::result_taken(meant, self.me, (cut, slot));
                self.on_gradient(now, cut, Gradient { slot, loss, shards }, out);
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
        self.ask_for_updates(now, out);
    }

    fn deadline(&self) -> Option<Moment> {
        let chief = self.chief.as_ref().and_then(Chief::deadline);
        let leaving = self.leaving.as_ref().map(Ending::until);
        let patience = self.is_waiting().then(|| self.patience.deadline());
        [Some(self.links.deadline()), chief, leaving, patience].into_iter().flatten().min()
    }

    fn status(&self, now: Moment) -> Status {
        let waits = || format!("waits {}", self.awaited(now).what);
        Status {
            at: self.cut().map_or_else(|| "no whole version".to_owned(), |cut| cut.to_string()),
            does: if self.is_waiting() { waits() } else { "computes".to_owned() },
        }
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        let since = self.patience.since();
        let wait = |what| Wait { what, since };
        let waits = self.is_waiting().then(|| self.waits_for(of));
        Standing { cut: self.cut(), wait: waits.map(wait) }
    }
}

impl Worker {
    fn on_peer(&mut self, now: Moment, event: PeerEvent, out: &mut Vec<Effect>) {
        match event {
            PeerEvent::Up { peer, incarnation, state } => {
                self.on_up(now, peer, incarnation, state, out);
            }
            PeerEvent::Down { peer } => {
                self.versions.link_lost(peer.index);
                if let Some(chief) = &mut self.chief {
                    chief.on_ps_down(now, peer, &mut self.links, out);
                }
            }
            PeerEvent::Said { peer, message } => self.on_message(now, peer, message, out),
            // It may be of the next run already.
            PeerEvent::Refused { peer, .. } if self.is_done() => self.needs_no_word(now, peer, out),
            PeerEvent::Refused { reason, .. } => {
                out.push(Effect::Halt(Outcome::Failed(Failure::Refused(reason))));
            }
        }
    }

    /// A session with a ps is up: what was said on the one before may be lost, so it is said again.
    fn on_up(
        &mut self,
        now: Moment,
        ps: TaskId,
        incarnation: Incarnation,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) {
        let life = self.lives[ps.index as usize].replace(incarnation);
        if life != Some(incarnation) {
            self.versions.forget(ps.index);
        }
        if self.leaving.is_some() {
            self.say_goodbye(now, ps, out);
            return;
        }
        if let Some(chief) = &mut self.chief {
            chief.on_ps_up(now, ps, state, &mut self.links, out);
        }
        if let Some(work) = &self.work
            && self.versions.cut_of(ps.index) == Some(work.cut())
            && !is_planted(Bug::PushNotRepeated)
        {
            let before = out.len();
            // The same life of the ps, and it may lack what was pushed.
            for done in 0..work.done().len() {
                self.push(now, done, ps, out);
            }
            if is_planted(Bug::RetryWithoutIdentity) {
                planted::restamp_pushes(&mut out[before..], state);
            }
            self.ask_for_next(now, out);
        }
        // Another shard may be at a newer generation, of which this one was asked in vain.
        self.advance(now, out);
    }

    fn on_message(&mut self, now: Moment, ps: TaskId, message: Message, out: &mut Vec<Effect>) {
        let is_done = self.is_done();
        match (message, &mut self.chief) {
            (
                Message::Version { generation, step, tokens, received, updates, parameters },
                chief,
            ) => {
                let cut = Cut { generation, step };
                let n_slots = self.config.sync.slots_per_step();
                if !tokens.is_sorted_by(|a, b| a < b) || tokens.iter().any(|s| s.0 >= n_slots) {
                    let why = format!("it issued tokens for {tokens:?}, of {n_slots} slots a step");
                    self.end_session(now, ps, why, out);
                    return;
                }
                if let (Some(chief), TaskId::PS_ZERO) = (chief, ps) {
                    chief.on_updates(now, cut, updates, &mut self.links, out);
                }
                self.versions.put(ps.index, ShardVersion { cut, tokens, received, parameters });
                self.advance(now, out);
            }
            // What follows is a version; there is nothing to do but to have been told (rule 5).
            (Message::PushReply { .. }, _) => {}
            (Message::Restored { generation }, Some(chief)) => {
                chief.on_restored(now, ps, generation, &mut self.links, out);
            }
            (Message::Captured { generation, step, state }, Some(chief)) => {
                let at = Cut { generation, step };
                chief.on_captured(now, ps, at, state, &mut self.links, out);
            }
            (Message::Missed { generation, at, current }, Some(chief)) => {
                let at = Cut { generation, step: at };
                chief.on_missed(now, at, current, &mut self.links, out);
            }
            (Message::Finished { .. }, Some(_)) => self.needs_no_word(now, ps, out),
            (Message::Finished { .. }, None) => self.leave(now, out),
            (Message::Abort(_), _) if is_done => self.needs_no_word(now, ps, out),
            (Message::Abort(failure), _) => self.links.abort(now, failure, out),
            (message, _) => {
                let why = format!("it said {}, which is not for it to say", message.kind());
                self.end_session(now, ps, why, out);
            }
        }
    }

    /// Rule 10: all is done. A ps that is not there yet is called until it has been told.
    fn leave(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Ending::new(now, &self.config));
        for ps in self.links.peers() {
            self.say_goodbye(now, ps, out);
        }
    }

    fn say_goodbye(&mut self, now: Moment, ps: TaskId, out: &mut Vec<Effect>) {
        self.links.send(now, ps, Message::Goodbye, out);
        self.needs_no_word(now, ps, out);
    }

    /// All is done, and the ps knows it, or has itself ended.
    fn needs_no_word(&mut self, now: Moment, ps: TaskId, out: &mut Vec<Effect>) {
        if let Some(leaving) = &mut self.leaving {
            leaving.told(ps);
            if leaving.is_complete() {
                out.push(Effect::Halt(Outcome::Finished));
            }
        } else if let Some(chief) = &mut self.chief {
            chief.on_finished(now, ps, &mut self.links, out);
        }
    }

    /// The ps did what no honest task does: the session ends.
    fn end_session(&mut self, now: Moment, ps: TaskId, why: String, out: &mut Vec<Effect>) {
        if let Some(event) = self.links.drop_peer(now, ps, why, out) {
            self.on_peer(now, event, out);
        }
    }

    /// Starts on a new whole version, or asks the shards that lag for theirs.
    fn advance(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // Rule 6: whole versions only.
        if let Some(cut) = self.versions.whole_cut() {
            if self.work.as_ref().is_none_or(|work| work.cut() != cut) {
                self.begin(now, out);
            }
        } else if !self.mend(now, out) {
            let target = self.versions.newest().unwrap_or_default();
            for (ps, cut) in self.versions.to_ask(target) {
                self.pull(now, TaskId::ps(ps), Want::AtLeast(cut), out);
            }
        }
    }

    /// If an earlier life of this worker died while it pushed, some shards are past the step and
    /// others wait for it. This life computes it again, at the older version, which the shards that
    /// are past it still have. (With R < N no shard is past what another lacks.)
    ///
    /// While it does, nobody is asked for the newer version: the answer would undo it.
    fn mend(&mut self, now: Moment, out: &mut Vec<Effect>) -> bool {
        if self.config.has_backup_workers() || is_planted(Bug::NoMending) {
            return false;
        }
        let slots = self.config.slots_of(self.me);
        let Some((older, past)) = self.versions.torn(slots) else { return false };
        // What this life pushed itself is on its way, or will be pushed again.
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

    fn begin(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some((cut, shards)) = self.versions.whole() else { return };
        let everywhere = |slot: &Slot| shards.iter().all(|shard| shard.received.contains(slot));
        let slots: Vec<_> =
            shards[0].tokens.iter().copied().filter(|slot| !everywhere(slot)).collect();
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let work = Work::new(cut, parameters.clone(), slots);
        self.work = Some(work);
        self.compute(out);
        self.patience.restart(now);
        if let Some(chief) = &mut self.chief {
            chief.on_whole(now, cut, parameters, &mut self.links, out);
        }
        self.ask_for_next(now, out);
    }

    /// Gives the next slot's job.
    fn compute(&self, out: &mut Vec<Effect>) {
        let job = self.work.as_ref().and_then(Work::job);
        out.extend(job.map(|job| planted::job_given(job, self.me)).map(Effect::Compute));
    }

    /// When every slot was pushed in an earlier life, nothing that is pushed will ask.
    fn ask_for_next(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(work) = &self.work else { return };
        if work.is_complete() && work.done().is_empty() && !self.config.is_last(work.cut().step) {
            let next = work.cut().next();
            for (ps, cut) in self.versions.to_ask(next) {
                self.pull(now, TaskId::ps(ps), Want::AtLeast(cut), out);
            }
        }
    }

    /// At the end, ps 0 may hold more updates for the chief than one message takes.
    fn ask_for_updates(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let lacks = self.chief.as_ref().is_some_and(Chief::lacks_updates);
        if let (true, Some(cut)) = (lacks && !self.versions.is_asked(0), self.cut()) {
            self.pull(now, TaskId::PS_ZERO, Want::AtLeast(cut), out);
        }
    }

    fn pull(&mut self, now: Moment, ps: TaskId, want: Want, out: &mut Vec<Effect>) {
        let recorded = self.recorded();
        if self.links.send(now, ps, Message::Pull { want, recorded }, out) {
            self.versions.asked(ps.index, want.cut());
        }
    }

    fn recorded(&self) -> Recorded {
        self.chief.as_ref().map(Chief::recorded).unwrap_or_default()
    }

    fn on_gradient(&mut self, now: Moment, cut: Cut, gradient: Gradient, out: &mut Vec<Effect>) {
        assert_eq!(gradient.shards.len(), self.config.n_ps as usize, "one buffer a shard");
        let (step, slot, loss) = (cut.step, gradient.slot, gradient.loss);
        let Some(work) = self.work.as_mut().filter(|_| self.leaving.is_none()) else { return };
        // A result of a version that was left meanwhile is of no use.
        if !work.finish(cut, gradient) {
            return;
        }
        if !loss.is_finite() {
            let failure = Failure::NonFinite { step, slot, loss };
            self.links.abort(now, failure, out);
            return;
        }
        let newest = work.done().len() - 1;
        self.compute(out);
        for ps in self.config.all_ps() {
            self.push(now, newest, ps, out);
        }
        self.patience.restart(now);
        out.push(Effect::Report(Report::Computed { step, slot, loss }));
    }

    /// Pushes one shard's part of a gradient that was computed. It asks for the next version.
    fn push(&mut self, now: Moment, done: usize, ps: TaskId, out: &mut Vec<Effect>) {
        let recorded = self.recorded();
        let Some(work) = &self.work else { return };
        let Cut { generation, step } = work.cut();
        let Gradient { slot, loss, shards } = &work.done()[done];
        let (slot, loss, gradient) = (*slot, *loss, shards[ps.index as usize].clone());
        let next = work.cut().next();
        let push = Message::Push { generation, step, slot, loss, recorded, gradient };
        if self.links.send(now, ps, push, out) {
            self.versions.asked(ps.index, next);
        }
    }

    /// Rule 10: whether nothing is left but to tell the others.
    fn is_done(&self) -> bool {
        self.leaving.is_some() || self.chief.as_ref().is_some_and(Chief::is_ending)
    }

    fn is_waiting(&self) -> bool {
        self.leaving.is_some() || self.work.as_ref().is_none_or(Work::is_complete)
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
            let mut patience = self.patience;
            let spent = patience.spend(now, self.me, || self.awaited(now), out);
            self.patience = patience;
            match spent {
                Ok(()) => {}
                Err(_) if self.is_done() => self.links.leave(now, out),
                Err(why) => self.links.abort(now, why, out),
            }
        }
    }
}
