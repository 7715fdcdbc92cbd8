//! The checks of the World that are not rules of `unisono-rules`: the outcome of each node, the wait
//! that a node reports, and the result of the run.

use unisono_core::protocol::{
    Effect, Failure, Input, Job, Message, NetworkEvent, Outcome, Standing, Verdict, WaitFor,
};
use unisono_core::{Slot, TaskId};
use unisono_rules::End;

use super::World;
use crate::arithmetic;

impl World {
    pub(super) fn count_verdict(&mut self, input: &Input) {
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
            Effect::Compute(Job::Update { .. }) => self.n_updates += 1,
            Effect::Halt(Outcome::Stopped { .. }) => assert_eq!(task, TaskId::CHIEF),
            Effect::Halt(Outcome::Outdated { .. } | Outcome::Failed(Failure::Fenced(_))) => {
                assert!(self.shape.clocks_go_back, "rule 8: {task} is the newest life");
            }
            Effect::Halt(outcome) => assert_eq!(*outcome, Outcome::Finished, "{task} halted"),
            _ => {}
        }
    }

    /// Rule 9: the wait that a task reports to metrics is the one that it reports to people.
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
        // At the end, a worker waits for the chief, and hears of the chief through the ps.
        if wait.is_some_and(|wait| wait.what != WaitFor::Checkpoint) {
            assert_eq!(does.matches("heard from").count(), of.len(), "{task} {does}: {of:?}");
            let is_named = |whom: &TaskId| does.contains(&format!("{whom}, "));
            assert!(of.iter().all(is_named), "{task} {does}: {of:?}");
        }
    }

    /// The number of generations that were opened.
    pub(crate) fn n_generations(&self) -> usize {
        self.rules.n_generations()
    }

    /// Checks the rules at the end of the run, and compares the run with one that is computed
    /// serially, with the same slots.
    pub(crate) fn check_end(&mut self) {
        let last = self.config.training_steps;
        for task in self.shape.tasks() {
            assert!(self.ended.contains_key(&task) || self.late.contains(&task), "{task} ends");
        }
        let rows = self
            .losses
            .iter()
            .flat_map(|(step, losses)| losses.iter().map(|(slot, loss)| (*step, *slot, *loss)));
        let rows: Vec<_> = rows.collect();
        let snapshot = self.checkpoints.get(&last).expect("rule 10: a final checkpoint");
        let end = End {
            config: &self.config,
            outcomes: &self.ended,
            losses: &rows,
            checkpoint: Some(snapshot),
        };
        if let Err(violation) = self.rules.end(&end) {
            panic!("{violation}");
        }
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
        assert_eq!(self.losses.len() as u64, last.0, "every step is in the losses");
        assert_eq!(snapshot.shards, state, "the final checkpoint is the serial run's");
    }
}
