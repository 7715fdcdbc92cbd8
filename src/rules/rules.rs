//! All rules, and their order.

use crate::bounded::bounded;
use crate::checkpoints_are_cuts::CheckpointsAreCuts;
use crate::clean_end::CleanEnd;
use crate::exactly_r::exactly_r;
use crate::fencing::Fencing;
use crate::fixed_order::fixed_order;
use crate::history::History;
use crate::idempotent::idempotent;
use crate::life_id::LifeId;
use crate::life_turn::LifeTurn;
use crate::nobody_waits_unseen::NobodyWaitsUnseen;
use crate::rule::{At, Before, End, Rule};
use crate::stale_is_told::stale_is_told;
use crate::suspicions::Suspicions;
use crate::violation::Violation;
use crate::which_r::which_r;
use crate::whole_versions::whole_versions;

/// Checks a run against the rules of the protocol.
#[derive(Debug)]
pub struct Rules {
    seen: Seen,
    rules: Vec<Box<dyn Rule>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            seen: Seen::default(),
            rules: vec![
                Box::new(exactly_r),
                Box::new(which_r),
                Box::new(fixed_order),
                Box::new(idempotent),
                Box::new(stale_is_told),
                Box::new(whole_versions),
                Box::<CheckpointsAreCuts>::default(),
                Box::<Fencing>::default(),
                Box::<NobodyWaitsUnseen>::default(),
                Box::new(CleanEnd),
                Box::new(bounded),
            ],
        }
    }
}

impl Rules {
    /// Checks the next turn of a run: one handled input with its effects.
    ///
    /// # Errors
    /// Returns an error if the turn breaks a rule.
    pub fn turn(&mut self, turn: LifeTurn<'_>) -> Result<(), Violation> {
        let Self { seen, rules } = self;
        seen.turn(turn, |at| rules.iter_mut().try_for_each(|rule| rule.turn(at)))
    }

    /// Notes that a process was killed. Effects that the process has not carried out are no
    /// violation.
    pub fn killed(&mut self, life: LifeId) {
        self.seen.suspicions.acquit(life);
    }

    /// Notes that a fault has damaged durable files, or that a sync has falsely reported success.
    /// From now on, a restore may find an older checkpoint than the newest, and losses may be
    /// missing.
    pub const fn files_are_damaged(&mut self) {
        self.seen.history.files.is_damaged = true;
    }

    /// Returns the number of generations that were opened.
    #[must_use]
    pub fn n_generations(&self) -> usize {
        self.seen.history.generations.len()
    }

    /// Checks a run that has ended.
    ///
    /// # Errors
    /// Returns an error if the run breaks a rule.
    pub fn end(&mut self, end: &End<'_>) -> Result<(), Violation> {
        let Self { seen, rules } = self;
        seen.suspicions.confirm_all()?;
        rules.iter_mut().try_for_each(|rule| rule.end(end, &seen.history))
    }
}

/// The history of a run, and the violations that are only suspected.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) history: History,
    pub(crate) suspicions: Suspicions,
}

impl Seen {
    /// Adds a turn to the history, and lets `check` compare the turn with the history.
    pub(crate) fn turn(
        &mut self,
        turn: LifeTurn<'_>,
        check: impl FnOnce(&mut At<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let Self { history, suspicions } = self;
        suspicions.confirm(turn.life)?;
        let durable = history.files.newest_durable();
        history.note_input(&turn)?;
        let before = history.lives.of(turn.life).map_or_else(Before::default, |life| Before {
            stood: life.shard.cut,
            fate: life.pushed(turn.input).map(|pushed| life.shard.fate(turn.config, &pushed)),
            old: life.old(turn.input),
            durable,
        });
        history.note_effects(&turn);
        check(&mut At { turn, history, suspicions, before })
    }
}
