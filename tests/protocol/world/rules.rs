//! What must hold after every event, and at the end. Rule numbers are those of `docs/protocol.md`.

use unisono_core::protocol::{
    Effect, Failure, Input, Job, Message, NetworkEvent, Outcome, Report, ShardState, Standing,
    Verdict, WaitFor,
};
use unisono_core::{Cut, Floats, Incarnation, Slot, TaskId};

use super::{AnyNode, Gradients, Life, Waits, World};
use crate::arithmetic;

impl World {
    /// Rule 5: a stale gradient is answered at once, and with a version after it.
    pub(super) fn check_answers(&self, task: TaskId, out: &[Effect]) {
        for (n, effect) in out.iter().enumerate() {
            if let Effect::Send {
                link,
                message:
                    Message::PushReply {
                        cut: Cut { generation, step }, verdict: Verdict::Stale, ..
                    },
            } = effect
            {
                let stale = Cut { generation: *generation, step: *step };
                let answers = |effect: &Effect| match effect {
                    Effect::Send { link: on, message: Message::Version { cut, .. } } => {
                        on == link && *cut > stale
                    }
                    _ => false,
                };
                assert!(out[n..].iter().any(answers), "rule 5: {task} told of {stale}: {out:?}");
            }
        }
    }

    /// Rule 9: who has waited longer than the limit has said so.
    pub(super) fn check_waits(&self, task: TaskId) {
        let Some(life) = self.lives.get(&task) else { return };
        let Waits { n_jobs, since, said, .. } = life.waits;
        if n_jobs == 0 && self.now - since >= self.config.limits.report_after {
            assert!(said.is_some_and(|at| at >= since), "rule 9: {task} waits, and says nothing");
        }
    }

    /// Rule 9: what a task tells those who count is what it tells a person.
    pub(super) fn check_standing(&mut self, task: TaskId) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(&task) else { return };
        let node = life.node.as_node();
        let does = node.status(now).does;
        let mut of = Vec::new();
        let Standing { cut, wait } = node.standing(&mut |whom| of.push(whom));
        assert_eq!(cut, life.node.cut(), "{task}");
        let waits = does.starts_with("waits") && !does.ends_with("to be computed here");
        assert_eq!(wait.is_some(), waits, "{task} {does}");
        // At the end a worker waits for the chief, and hears of it through the ps.
        if wait.is_some_and(|wait| wait.what != WaitFor::Checkpoint) {
            assert_eq!(does.matches("heard of").count(), of.len(), "{task} {does}: {of:?}");
            let is_named = |whom: &TaskId| does.contains(&format!("{whom}, "));
            assert!(of.iter().all(is_named), "{task} {does}: {of:?}");
        }
    }

    /// Rule 8: whether a message is of an older life than the one that was let in last, comes on a
    /// link that was closed, or is of an older generation than the shard it is for.
    pub(super) fn fence(
        &self,
        task: TaskId,
        (peer, incarnation): (TaskId, Incarnation),
        open: bool,
        message: &Message,
    ) -> bool {
        let newest = self.let_in.get(&(task, peer));
        let generation = match message {
            Message::Push { cut: Cut { generation, .. }, .. }
            | Message::Received { cut: Cut { generation, .. }, .. }
            | Message::Chosen { cut: Cut { generation, .. }, .. }
            | Message::Restore { cut: Cut { generation, .. }, .. }
            | Message::Capture { cut: Cut { generation, .. }, .. } => Some(*generation),
            _ => None,
        };
        let stands = match &self.lives[&task].node {
            AnyNode::Ps(ps) => ps.cut().map(|cut| cut.generation),
            AnyNode::Worker(_) => None,
        };
        !open
            || newest.is_some_and(|newest| incarnation < *newest)
            || generation.zip(stands).is_some_and(|(of, stands)| of < stands)
    }

    pub(super) fn note_arrival(
        &mut self,
        task: TaskId,
        (peer, incarnation): (TaskId, Incarnation),
        open: bool,
        message: &Message,
    ) {
        match message {
            Message::Hello(_) if open => {
                let newest = self.let_in.entry((task, peer)).or_default();
                *newest = incarnation.max(*newest);
            }
            Message::Push { .. } if open => {
                self.gradients.entry(task.index).or_default().came += 1;
            }
            _ => {}
        }
    }

    pub(super) fn check_input(&mut self, input: &Input) {
        if let Input::Network(NetworkEvent::Received {
            message: Message::PushReply { verdict, .. },
            ..
        }) = input
        {
            match verdict {
                Verdict::Stale => self.n_stale += 1,
                Verdict::Duplicate => self.n_duplicates += 1,
                Verdict::Fenced => {}
            }
        }
    }

    pub(super) fn check_effect(&mut self, task: TaskId, effect: &Effect) {
        match effect {
            Effect::Compute(Job::Update { cut, state, gradients }) => {
                let cut = *cut;
                self.check_update(task.index, cut, state, gradients);
            }
            Effect::Compute(Job::Gradient { cut, parameters, .. }) => {
                // Rule 6: a whole version, of every shard.
                let cut = *cut;
                for (ps, shard) in (0..).zip(parameters) {
                    let made = self.history.get(&(cut, ps)).map(|state| &state.parameters);
                    assert_eq!(made, Some(shard), "rule 6: {task} works on what is not {cut}");
                }
            }
            Effect::Restore => self.is_restoring = true,
            Effect::Report(Report::Adopted { .. }) => self.is_restoring = false,
            Effect::Persist(snapshot) => {
                // It would be newer than what is being restored, and of another history.
                assert!(!self.is_restoring, "rule 7: a checkpoint while the state is restored");
                // Rule 7: all shards of one version.
                let cut = snapshot.cut;
                assert_eq!(snapshot.shards.len(), self.shape.n_ps as usize);
                for (ps, shard) in (0..).zip(&snapshot.shards) {
                    assert_eq!(self.history.get(&(cut, ps)), Some(shard), "rule 7: {cut}, ps {ps}");
                }
                let recorded = self.losses.keys().take_while(|step| **step < cut.step).count();
                assert_eq!(recorded as u64, cut.step.0, "a checkpoint has its losses beside it");
            }
            Effect::Send {
                message: Message::Restore { cut: Cut { generation, step }, state },
                link,
            } => {
                // A generation's first version; whoever sends it twice sends the same.
                let ends = &self.links[link];
                let ps = ends.iter().find(|end| end.task != task).expect("two ends").task.index;
                self.n_generations.insert(*generation);
                self.remember(Cut { generation: *generation, step: *step }, ps, state);
            }
            Effect::Halt(Outcome::Stopped { saved }) => {
                assert!(task == TaskId::CHIEF && self.asked_to_stop, "{task} stopped");
                let is_saved = saved.is_none_or(|step| self.checkpoints.contains_key(&step));
                assert!(is_saved, "{saved:?} is said to be saved");
            }
            Effect::Halt(Outcome::Outdated { .. } | Outcome::Failed(Failure::Fenced(_))) => {
                assert!(self.shape.clocks_go_back, "rule 8: {task} is the newest life");
            }
            Effect::Halt(outcome) => {
                assert_eq!(*outcome, Outcome::Finished, "{task} halted");
                // Rule 10: nobody leaves before the final checkpoint is durable.
                assert!(self.checkpoints.contains_key(&self.config.training_steps), "rule 10");
            }
            Effect::Report(Report::Dropped { .. }) => {
                self.gradients.entry(task.index).or_default().dropped += 1;
            }
            Effect::Report(Report::Updated { slots, .. }) => {
                self.gradients.entry(task.index).or_default().used += slots.len() as u64;
            }
            _ => {}
        }
    }

    /// Rules 1 and 3, and rule 8: what an update is made of.
    fn check_update(
        &mut self,
        ps: u32,
        cut: Cut,
        state: &ShardState,
        gradients: &[(Slot, Floats)],
    ) {
        assert!(cut.step < self.config.training_steps, "rule 10: no update after the last");
        assert_eq!(
            gradients.len(),
            self.shape.replicas_to_aggregate as usize,
            "rule 1: exactly R gradients"
        );
        let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
        assert!(slots.is_sorted_by(|a, b| a < b), "rules 1 and 3: distinct, ascending: {slots:?}");
        let used = self.used.entry(cut).or_insert_with(|| slots.clone());
        assert_eq!(*used, slots, "rule 1: the same slots on every shard, at {cut}");
        assert_eq!(self.history.get(&(cut, ps)), Some(state), "an update of another state");
        let whole: Vec<_> =
            (0..self.shape.n_ps).map(|ps| self.history[&(cut, ps)].parameters.clone()).collect();
        for (slot, gradient) in gradients {
            let (_, expected) = arithmetic::gradient(&whole, cut.step, *slot);
            assert_eq!(&expected[ps as usize], gradient, "rule 1: computed from {cut} of all");
        }
        self.n_updates += 1;
    }

    /// A ps holds what its last update made.
    pub(super) fn check_ps(&mut self, task: TaskId) {
        if let Some(Life { node: AnyNode::Ps(ps), .. }) = self.lives.get(&task)
            && let (Some(cut), Some(state)) = (ps.cut(), ps.state())
        {
            let state = state.clone();
            self.remember(cut, task.index, &state);
        }
    }

    fn remember(&mut self, cut: Cut, ps: u32, state: &ShardState) {
        let known = self.history.entry((cut, ps)).or_insert_with(|| state.clone());
        assert_eq!(known, state, "two states at {cut} of ps {ps}");
    }

    /// What became of the gradients that came to each ps; sensible while no ps has crashed.
    pub(crate) fn gradients(&self) -> impl Iterator<Item = (u32, Gradients)> {
        self.gradients.iter().map(|(ps, gradients)| (*ps, *gradients))
    }

    /// Rule 10, and the oracle: the run computed serially, with the slots that were used.
    pub(crate) fn check_end(&self) {
        let last = self.config.training_steps;
        for task in self.shape.tasks() {
            assert!(self.ended.contains_key(&task) || self.late.contains(&task), "{task} ends");
        }
        let snapshot = self.checkpoints.get(&last).expect("rule 10: a final checkpoint");
        let steps: Vec<_> = self.losses.keys().map(|step| step.0).collect();
        let all: Vec<_> = (0..last.0).collect();
        assert_eq!(steps, all, "every step is in the losses, once");
        let mut state = arithmetic::initial(self.shape.n_ps);
        for (step, losses) in &self.losses {
            let whole: Vec<_> = state.iter().map(|shard| shard.parameters.clone()).collect();
            let computed: Vec<_> = losses
                .iter()
                .map(|(slot, _)| (*slot, arithmetic::gradient(&whole, *step, *slot)))
                .collect();
            let expected: Vec<_> =
                computed.iter().map(|(slot, (loss, _))| (*slot, loss.to_bits())).collect();
            let recorded: Vec<_> =
                losses.iter().map(|(slot, loss)| (*slot, loss.to_bits())).collect();
            assert_eq!(recorded, expected, "the losses of step {step}");
            if !self.shape.has_backup_workers() {
                let all: Vec<_> = (0..self.shape.replicas_to_aggregate).map(Slot).collect();
                assert_eq!(losses.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), all);
            }
            let shards = (0..).zip(&state).map(|(ps, shard): (usize, _)| {
                let gradients: Vec<_> = computed
                    .iter()
                    .map(|(slot, (_, gradient))| (*slot, gradient[ps].clone()))
                    .collect();
                arithmetic::update(shard, &gradients)
            });
            state = shards.collect();
        }
        assert_eq!(snapshot.shards, state, "the final checkpoint is the serial run's");
    }
}
