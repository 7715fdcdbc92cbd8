//! The random choices that define a fault.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::random::Stream;
use unisono_core::{Job, TaskId};

use super::distribution::{Distribution, nanos};
use super::keys::Choice;
use super::task_set::TaskSet;

/// The duration of the shortest fault. This duration is shorter than the latency of a message.
const SHORTEST: Duration = Duration::from_micros(50);
/// The time by which a fault sets a wall clock back. This time exceeds the length of any run, so
/// that the next incarnation of a task is smaller than all its earlier incarnations.
pub(super) const SET_BACK: Duration = Duration::from_secs(3600);

/// The tasks that were drawn for a fault. A kind of fault uses only the fields that are also its
/// keys.
pub(super) struct Targets {
    pub(super) node: TaskSet,
    pub(super) from: TaskSet,
    pub(super) to: TaskSet,
}

/// The random stream of one fault, and the limits for the values that are drawn.
pub(super) struct Dice {
    pub(super) stream: Stream,
    /// The longest duration of a fault.
    pub(super) longest: Duration,
    /// The factor by which the size of each tensor is multiplied on simulated links, so that a
    /// small model loads links like a large one.
    pub(super) tensor_factor: u32,
    pub(super) n_ps: u32,
    pub(super) n_workers: u32,
}

impl Dice {
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Returns a random variant of the enum `T`.
    pub(super) fn choice<T: Choice>(&mut self) -> T {
        self.pick(T::NAMED).0
    }

    pub(super) fn coin(&mut self) -> bool {
        self.stream.below(2) == 0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.stream.below(bound)
    }

    /// Returns a random duration from [`SHORTEST`] to `longest`. Each doubling is equally likely:
    /// 50 to 100 µs is as likely as 100 to 200 µs.
    pub(super) fn duration(&mut self, longest: Duration) -> Duration {
        let (shortest, longest) = (nanos(SHORTEST), nanos(longest).max(nanos(SHORTEST) + 1));
        let n_doublings = (longest / shortest).ilog2() + 1;
        let scale = shortest << self.below(u64::from(n_doublings));
        Duration::from_nanos((scale + self.below(scale)).min(longest))
    }

    /// Returns a random delay of messages.
    pub(super) fn delay(&mut self) -> Distribution {
        Distribution::Uniform { min: Duration::ZERO, max: self.duration(self.longest) }
    }

    /// Returns a random rate: `base` bytes per second, doubled up to `n_doublings - 1` times, and
    /// multiplied by `tensor_factor`. The factor is needed because messages that are in transit at
    /// the end of a fault keep their slow rate. Without the factor, the messages of a model that is
    /// a thousand times as large would take hours.
    pub(super) fn rate(&mut self, base: u64, n_doublings: u64) -> NonZeroU64 {
        let factor = u64::from(self.tensor_factor);
        NonZeroU64::MIN.saturating_add((base << self.below(n_doublings)) * factor)
    }

    pub(super) fn skew_ppm(&mut self) -> i32 {
        i32::try_from(self.below(400_000)).expect("below 400,000") - 200_000
    }

    /// Returns a random time by which a clock jumps ahead. With probability 1/2, the time is 0.
    pub(super) fn jump(&mut self) -> Duration {
        if self.coin() { self.duration(self.longest) } else { Duration::ZERO }
    }

    pub(super) fn task(&mut self) -> TaskId {
        let n_ps = u64::from(self.n_ps);
        let number = self.below(n_ps + u64::from(self.n_workers));
        let index = |number| u32::try_from(number).expect("a task's number is one of 32 bits");
        if number < n_ps { TaskId::ps(index(number)) } else { TaskId::worker(index(number - n_ps)) }
    }

    /// Returns random tasks for a fault. In 8 of 10 cases, the result is a single task.
    pub(super) fn tasks(&mut self) -> TaskSet {
        match self.below(10) {
            0 => TaskSet::All,
            1 => TaskSet::Job(self.pick(&[Job::Ps, Job::Worker])),
            _ => TaskSet::Task(self.task()),
        }
    }

    /// Returns random tasks for the two ends of the affected links.
    pub(super) fn pair(&mut self) -> (TaskSet, TaskSet) {
        match self.below(6) {
            0 => (TaskSet::Job(Job::Worker), TaskSet::Job(Job::Ps)),
            1 => (TaskSet::All, TaskSet::Task(self.task())),
            2 => (TaskSet::Task(self.task()), TaskSet::All),
            _ => (TaskSet::Task(self.task()), TaskSet::Task(self.task())),
        }
    }
}
