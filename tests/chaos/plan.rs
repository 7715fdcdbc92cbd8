//! What a seed does to a cluster: faults in their order, and how far apart. Nothing here does them.

use std::time::Duration;

use unisono_core::random::Stream;

use crate::support::Role;

pub(crate) const N_PS: usize = 2;
pub(crate) const N_WORKERS: usize = 3;

/// Streams of our own, beside those of a run.
const FLAGS: u64 = 1 << 40;
const FAULTS: u64 = FLAGS + 1;

/// Steps of the run for each fault: so many more than lie between two that the run outlasts them.
const STEPS_A_FAULT: u64 = 100;
const MOST_STEPS_BETWEEN: u64 = 40;
/// So that a half-open connection costs a run seconds, not the default of ten.
const HEARTBEATS: &str = "--heartbeat-interval 0.5 --heartbeat-timeout 3";
/// One interruption in so many is longer than that.
const ONE_LONG_IN: u64 = 5;

/// A run and what is done to it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is trained, and how.
    pub(crate) flags: String,
    pub(crate) faults: Vec<Planned>,
}

/// A fault, and when it is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    /// Steps after the fault before.
    pub(crate) steps: u64,
    /// Or this long after it, if the steps do not come: then two faults meet.
    pub(crate) patience: Duration,
    pub(crate) fault: Fault,
}

/// The connections between a worker and a ps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId {
    pub(crate) worker: usize,
    pub(crate) ps: usize,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Worker,
    Ps,
}

/// A bit of the next bytes that pass, which are some 10 to 60,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flip {
    /// The byte, modulo their number.
    pub(crate) at: usize,
    pub(crate) bit: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// SIGKILL, and started again later.
    Kill { task: Role, away: Duration },
    /// SIGSTOP, and SIGCONT later.
    Pause { task: Role, for_: Duration },
    /// SIGSTOP, and another life is started at once. SIGCONT later: the first has to go.
    Replace { worker: usize, woken_after: Duration },
    /// No byte passes, and then all do.
    Silence { link: LinkId, for_: Duration },
    /// All bytes come later.
    Delay { link: LinkId, by: Duration, for_: Duration },
    /// Both ends see a reset.
    Reset { link: LinkId },
    /// Both ends see a reset, and new connections are refused.
    Cut { link: LinkId, for_: Duration },
    /// One end sees a reset, and the other nothing, for ever.
    HalfOpen { link: LinkId, told: Side },
    /// A bit is flipped on its way.
    Flip { link: LinkId, towards: Side, flip: Flip },
}

impl Fault {
    /// The names of all kinds.
    pub(crate) const KINDS: [&str; 9] =
        ["kill", "pause", "replace", "silence", "delay", "reset", "cut", "half-open", "flip"];

    pub(crate) const fn kind(&self) -> &'static str {
        let kind = match self {
            Self::Kill { .. } => 0,
            Self::Pause { .. } => 1,
            Self::Replace { .. } => 2,
            Self::Silence { .. } => 3,
            Self::Delay { .. } => 4,
            Self::Reset { .. } => 5,
            Self::Cut { .. } => 6,
            Self::HalfOpen { .. } => 7,
            Self::Flip { .. } => 8,
        };
        Self::KINDS[kind]
    }
}

impl Plan {
    pub(crate) fn new(seed: u64, n_faults: u64) -> Self {
        let mut faults = Draw(Stream::new(seed, FAULTS, 0, 0));
        let faults = (0..n_faults).map(|_| faults.planned()).collect();
        let mut draw = Draw(Stream::new(seed, FLAGS, 0, 0));
        let optimizer = draw.one_of([
            "sgd",
            "momentum --momentum 0.9",
            "adam --learning-rate 0.001 --moving-average-decay 0.99",
        ]);
        let replicas = draw.one_of([N_WORKERS, 2 * N_WORKERS]);
        let steps = n_faults * STEPS_A_FAULT;
        // Both ways that tensors can take: with memory, there is less for the proxy to damage.
        let shared_memory = seed.is_multiple_of(2);
        let flags = format!(
            "--hidden 32 --batch-size 20 --progress none --save-model-secs 0.3 --seed {seed} \
             --training-steps {steps} --replicas-to-aggregate {replicas} --optimizer {optimizer} \
             --shared-memory={shared_memory} {HEARTBEATS}"
        );
        Self { flags, faults }
    }
}

struct Draw(Stream);

impl Draw {
    fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[self.0.below(N as u64) as usize]
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.0.below(to - from))
    }

    /// Mostly short.
    fn interruption(&mut self) -> Duration {
        match self.0.below(ONE_LONG_IN) {
            0 => self.millis(3_200, 5_000),
            _ => self.millis(20, 1_500),
        }
    }

    fn task(&mut self) -> Role {
        match self.0.below((N_PS + N_WORKERS) as u64) as usize {
            index if index < N_PS => Role::Ps(index),
            index => Role::Worker(index - N_PS),
        }
    }

    fn link(&mut self) -> LinkId {
        let (worker, ps) = (self.0.below(N_WORKERS as u64), self.0.below(N_PS as u64));
        LinkId { worker: worker as usize, ps: ps as usize }
    }

    fn side(&mut self) -> Side {
        self.one_of([Side::Worker, Side::Ps])
    }

    fn planned(&mut self) -> Planned {
        let steps = self.0.below(MOST_STEPS_BETWEEN);
        Planned { steps, patience: self.millis(100, 1_500), fault: self.fault() }
    }

    fn fault(&mut self) -> Fault {
        match self.0.below(26) {
            0..7 => Fault::Kill { task: self.task(), away: self.millis(1, 600) },
            7..11 => Fault::Pause { task: self.task(), for_: self.interruption() },
            11..13 => {
                // A second chief is not let in while the first has the logdir: `cluster/kills.rs`.
                let worker = 1 + self.0.below(N_WORKERS as u64 - 1) as usize;
                Fault::Replace { worker, woken_after: self.millis(50, 2_000) }
            }
            13..15 => Fault::Silence { link: self.link(), for_: self.interruption() },
            15..17 => {
                let (by, for_) = (self.millis(1, 60), self.millis(100, 2_000));
                Fault::Delay { link: self.link(), by, for_ }
            }
            17..19 => Fault::Reset { link: self.link() },
            19..21 => Fault::Cut { link: self.link(), for_: self.millis(20, 1_500) },
            21 => Fault::HalfOpen { link: self.link(), told: Side::Ps },
            22 => Fault::HalfOpen { link: self.link(), told: Side::Worker },
            _ => {
                // Half of them within a frame's header.
                let within = self.one_of([20, 1 << 16]);
                let flip = Flip { at: self.0.below(within) as usize, bit: self.0.below(8) as u8 };
                Fault::Flip { link: self.link(), towards: self.side(), flip }
            }
        }
    }
}

#[test]
fn a_seed_always_plans_the_same_and_twenty_seeds_plan_every_kind() {
    let plan = |seed| format!("{:?}", Plan::new(seed, 30));
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let plans: Vec<_> = (1..=20).map(|seed| Plan::new(seed, 30)).collect();
    let kinds = plans.iter().flat_map(|plan| &plan.faults).map(|planned| planned.fault.kind());
    let kinds: std::collections::BTreeSet<_> = kinds.collect();
    assert_eq!(kinds, Fault::KINDS.into());
}
