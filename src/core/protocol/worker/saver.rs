//! Applies rule 7: the saver captures the states of all shards at the same version, and lets the
//! storage write these states as a checkpoint.
//!
//! A ps can capture its shard only at exactly the requested version. With R >= N, the chief sends
//! the request before its push, so no shard can be past that version. With R < N, the other workers
//! may push without the chief, so a shard may miss the version. The saver then requests a later
//! version, further ahead after each miss, until the request reaches all shards in time.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Cut, Step};
use crate::protocol::message::ShardState;
use crate::protocol::{Effect, Report, Snapshot};
use crate::time::Moment;

/// The schedule of the saves, and the progress of the current save.
#[derive(Debug)]
pub(super) struct Saver {
    n_ps: usize,
    interval: Duration,
    /// The time at which the next save is due.
    due: Moment,
    /// The step of the newest durable checkpoint of the current generation, or of the restored
    /// checkpoint.
    saved: Option<Step>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Capturing {
        cut: Cut,
        /// The difference between the version to capture and the version of the shard that missed
        /// the last capture. 0 before the first miss.
        margin: u64,
        shards: Vec<Option<ShardState>>,
    },
    /// All shards are captured. The write waits until all earlier updates are recorded.
    Captured(Arc<Snapshot>),
    /// The storage writes a checkpoint.
    Writing {
        step: Step,
        /// Whether the checkpoint is of the current generation.
        of_this_history: bool,
    },
}

impl Saver {
    pub(super) fn new(n_ps: u32, interval: Duration) -> Self {
        Self {
            n_ps: n_ps as usize,
            interval,
            due: Moment::default(),
            saved: None,
            phase: Phase::Idle,
        }
    }

    /// Starts a generation at `now`, and drops captures of the previous generation. `saved` is the
    /// step of the restored checkpoint, or `None` if no checkpoint was restored.
    pub(super) fn begin_generation(&mut self, now: Moment, saved: Option<Step>) {
        self.saved = saved;
        // If no checkpoint was restored, the first save is due at once, as with TensorFlow's
        // `Supervisor`.
        self.due = if saved.is_some() { now + self.interval } else { now };
        match &mut self.phase {
            // A write cannot be interrupted, and its result is still to come. The checkpoint that
            // is being written belongs to a history that was rolled back, so it must not count as
            // saved.
            Phase::Writing { of_this_history, .. } => *of_this_history = false,
            phase => *phase = Phase::Idle,
        }
    }

    pub(super) const fn saved(&self) -> Option<Step> {
        self.saved
    }

    /// Returns the step of the newest checkpoint of the current generation that is durable or being
    /// written.
    pub(super) const fn newest(&self) -> Option<Step> {
        match self.phase {
            Phase::Writing { step, of_this_history: true } => Some(step),
            _ => self.saved,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Returns whether the storage is writing a checkpoint.
    pub(super) const fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing { .. })
    }

    /// Records that the storage is writing the version that worker 0 holds. The shards were not
    /// captured for this version.
    pub(super) fn begin_write(&mut self, step: Step) {
        self.phase = Phase::Writing { step, of_this_history: true };
    }

    /// Returns the time at which the next save is due, or `None` while a save is under way.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.is_idle().then_some(self.due)
    }

    /// Sets the time at which the next save is due.
    pub(super) const fn set_due(&mut self, at: Moment) {
        self.due = at;
    }

    /// Starts a save at the chief's version `at` if a save is due. Returns the generation and the
    /// step that every ps must capture, or `None` if no save was started.
    pub(super) fn tick(&mut self, now: Moment, at: Cut) -> Option<Cut> {
        if !self.is_idle() || now < self.due {
            return None;
        }
        // If no update was made since the last checkpoint, a new checkpoint would equal the last
        // one.
        if self.saved == Some(at.step) {
            self.due = now + self.interval;
            return None;
        }
        self.capture(at, 0)
    }

    fn capture(&mut self, cut: Cut, margin: u64) -> Option<Cut> {
        let shards = vec![None; self.n_ps];
        self.phase = Phase::Capturing { cut, margin, shards };
        Some(cut)
    }

    /// Returns the generation and the step to request again from a ps that has reconnected, or
    /// `None` if no request to this ps is unanswered.
    pub(super) fn wanted_of(&self, ps: u32) -> Option<Cut> {
        match &self.phase {
            Phase::Capturing { cut, shards, .. } if shards[ps as usize].is_none() => Some(*cut),
            _ => None,
        }
    }

    /// Stores a captured state of a shard.
    pub(super) fn on_captured(&mut self, ps: u32, at: Cut, state: ShardState) {
        let Phase::Capturing { cut, shards, .. } = &mut self.phase else { return };
        // Rule 7: a state of another version answers an earlier request, which another shard has
        // missed.
        if at != *cut {
            return;
        }
        shards[ps as usize] = Some(state);
        if shards.iter().all(Option::is_some) {
            let shards = shards.iter_mut().filter_map(Option::take).collect();
            self.phase = Phase::Captured(Arc::new(Snapshot { cut: *cut, shards }));
        }
    }

    /// Chooses a later version to capture, because a shard is already past the version `at`.
    /// `current` is the version of that shard, and `last` is the last version of the run. Returns
    /// the later version, or `None` if `at` is not the version that is being captured.
    pub(super) fn on_missed(&mut self, at: Cut, current: Step, last: Step) -> Option<Cut> {
        match self.phase {
            // Several shards may miss the same version, but only the first miss starts a new
            // capture.
            Phase::Capturing { cut, margin, .. } if at == cut => {
                let margin = margin.saturating_mul(2).max(1);
                let step = Step(current.0.saturating_add(margin)).min(last);
                self.capture(Cut { step, ..cut }, margin)
            }
            _ => None,
        }
    }

    /// Lets the storage write the captured states, once every update before these states is
    /// recorded. The losses file therefore has the losses of every visible checkpoint.
    pub(super) fn write(&mut self, recorded: Option<Step>, out: &mut Vec<Effect>) {
        if let Phase::Captured(snapshot) = &self.phase
            && recorded.is_some_and(|recorded| recorded >= snapshot.cut.step)
        {
            out.push(Effect::Persist(Arc::clone(snapshot)));
            self.phase = Phase::Writing { step: snapshot.cut.step, of_this_history: true };
        }
    }

    /// Handles the answer of the storage: the checkpoint of `step` was written, or could not be
    /// written.
    pub(super) fn on_persisted(
        &mut self,
        now: Moment,
        step: Step,
        result: Result<String, String>,
        out: &mut Vec<Effect>,
    ) {
        let of_this_history = matches!(self.phase, Phase::Writing { of_this_history: true, .. });
        self.phase = Phase::Idle;
        // If the write took longer than the interval, only one save is due now.
        self.due = (self.due + self.interval).max(now);
        match result {
            Ok(path) => {
                if of_this_history {
                    self.saved = Some(step);
                }
                out.push(Effect::Report(Report::Saved { step, path }));
            }
            Err(why) => {
                out.push(Effect::Report(Report::SaveFailed { step, why }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;

    fn at(secs: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(secs))
    }

    fn cut(step: u64) -> Cut {
        Cut { generation: Generation::default(), step: Step(step) }
    }

    fn saver() -> Saver {
        let mut saver = Saver::new(2, Duration::from_secs(60));
        saver.begin_generation(at(100), None);
        saver
    }

    #[test]
    fn first_save_is_due_at_once_and_the_next_an_interval_later() {
        let mut saver = saver();
        assert_eq!(saver.tick(at(100), cut(0)), Some(cut(0)));
        saver.on_captured(0, cut(0), ShardState::default());
        saver.on_captured(1, cut(0), ShardState::default());
        let mut out = Vec::new();
        saver.write(Some(Step(0)), &mut out);
        assert!(matches!(out[..], [Effect::Persist(_)]));
        saver.on_persisted(at(101), Step(0), Ok("a".into()), &mut out);
        assert_eq!(saver.deadline(), Some(at(160)));
        assert_eq!(saver.tick(at(159), cut(7)), None);
        assert_eq!(saver.tick(at(160), cut(8)), Some(cut(8)));
    }

    #[test]
    fn restored_step_is_not_saved_again() {
        let mut saver = Saver::new(1, Duration::from_secs(60));
        saver.begin_generation(at(0), Some(Step(500)));
        assert_eq!(saver.tick(at(0), cut(500)), None);
        assert_eq!(saver.deadline(), Some(at(60)));
    }

    #[test]
    fn miss_asks_all_shards_for_a_later_version_with_a_growing_margin() {
        let mut saver = saver();
        saver.tick(at(100), cut(4));
        assert_eq!(saver.wanted_of(0), Some(cut(4)));
        saver.on_captured(0, cut(4), ShardState::default());
        assert_eq!(saver.wanted_of(0), None, "it has come");
        assert_eq!(saver.on_missed(cut(4), Step(6), Step(100)), Some(cut(7)));
        assert_eq!(saver.wanted_of(0), Some(cut(7)), "what was captured at 4 is void");
        assert_eq!(saver.on_missed(cut(4), Step(6), Step(100)), None, "an old answer");
        assert_eq!(saver.on_missed(cut(7), Step(9), Step(100)), Some(cut(11)));
        assert_eq!(saver.on_missed(cut(11), Step(99), Step(100)), Some(cut(100)));
    }

    #[test]
    fn checkpoint_is_written_only_after_its_losses_are_recorded() {
        let mut saver = saver();
        saver.tick(at(100), cut(9));
        for ps in 0..2 {
            saver.on_captured(ps, cut(9), ShardState::default());
        }
        let mut out = Vec::new();
        saver.write(None, &mut out);
        saver.write(Some(Step(8)), &mut out);
        assert_eq!(out, []);
        saver.write(Some(Step(9)), &mut out);
        assert_eq!(out.len(), 1);
        saver.write(Some(Step(9)), &mut out);
        assert_eq!(out.len(), 1, "once");
    }
}
