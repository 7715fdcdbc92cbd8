//! Measures the speed of a run from the gradients of one worker.

use std::time::Duration;

use unisono_core::ids::Step;
use unisono_core::time::Moment;

/// Counts steps and time since the first gradient, and since the last rollback.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    start: Option<Moment>,
    /// The time and the step at which the current stretch began. A stretch contains no rollback, so
    /// steps never decrease within a stretch.
    stretch: Option<(Moment, Step)>,
    /// The step of the last gradient.
    last: Option<Step>,
    n_steps: u64,
}

/// The measurements at one computed gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Paced {
    /// The number of steps for which this worker has computed gradients. A step that is repeated
    /// after a rollback counts again.
    pub(crate) n_steps: u64,
    /// Whether the gradient is the worker's first gradient of this step.
    pub(crate) is_new_step: bool,
    /// The time since the first gradient.
    pub(crate) elapsed: Duration,
    /// The mean duration of a step since the first gradient or the last rollback, in seconds.
    pub(crate) sec_per_step: f64,
}

impl Pace {
    /// Records a computed gradient.
    pub(crate) fn on_computed(&mut self, now: Moment, step: Step) -> Paced {
        let start = *self.start.get_or_insert(now);
        let is_new_step = self.last != Some(step);
        let stretch = match self.stretch {
            Some(stretch) if self.last.is_none_or(|last| last <= step) => stretch,
            _ => (now, step),
        };
        self.stretch = Some(stretch);
        self.last = Some(step);
        self.n_steps += u64::from(is_new_step);
        let (since, first_step) = stretch;
        let n_steps = (step.next().0 - first_step.0) as f64;
        Paced {
            n_steps: self.n_steps,
            is_new_step,
            elapsed: now - start,
            sec_per_step: (now - since).as_secs_f64() / n_steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(pace: &mut Pace, secs: u64, step: u64) -> (u64, u64, f64) {
        let now = Moment::from_origin(Duration::from_secs(secs));
        let Paced { n_steps, elapsed, sec_per_step, .. } = pace.on_computed(now, Step(step));
        (n_steps, elapsed.as_secs(), sec_per_step)
    }

    #[test]
    fn several_gradients_of_a_step_count_as_one_step() {
        let mut pace = Pace::default();
        assert_eq!(paced(&mut pace, 10, 7), (1, 0, 0.0));
        assert_eq!(paced(&mut pace, 12, 7), (1, 2, 2.0));
        assert_eq!(paced(&mut pace, 14, 8), (2, 4, 2.0));
    }

    #[test]
    fn rollback_below_the_first_step_restarts_the_measurement() {
        let mut pace = Pace::default();
        paced(&mut pace, 0, 100);
        assert_eq!(paced(&mut pace, 3, 102), (2, 3, 1.0));
        assert_eq!(paced(&mut pace, 50, 20), (3, 50, 0.0));
        assert_eq!(paced(&mut pace, 58, 21), (4, 58, 4.0));
    }
}
