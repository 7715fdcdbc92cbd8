//! The faults of a seed, their order and their distances. `cluster` injects them.

use std::time::Duration;

use unisono_core::random::Stream;

use crate::support::Role;

pub(crate) const N_PS: usize = 2;
pub(crate) const N_WORKERS: usize = 3;

/// Purpose of the random stream for flags. The purposes of a run are below 2^32.
const FLAGS: u64 = 1 << 40;
const FAULTS: u64 = FLAGS + 1;

/// Training steps per fault: more than [`MOST_STEPS_BETWEEN`], so that the run outlasts all faults.
const STEPS_A_FAULT: u64 = 100;
/// Upper bound of the steps between two faults.
const MOST_STEPS_BETWEEN: u64 = 40;
/// Flags that shorten the heartbeat timeout from ten seconds to three, so that a half-open
/// connection costs less time.
const HEARTBEATS: &str = "--heartbeat-interval 0.5 --heartbeat-timeout 3";
/// One in this many interruptions is longer than the heartbeat timeout.
const ONE_LONG_IN: u64 = 5;

/// The flags of a run, and its faults.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Flags of the program: the model, the optimizer, the seed and so on.
    pub(crate) flags: String,
    pub(crate) faults: Vec<Planned>,
}

/// A fault and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    /// Number of training steps after the fault before.
    pub(crate) steps: u64,
    /// Time after the fault before at which this fault occurs if the run does not reach the steps.
    /// Both faults are then active together.
    pub(crate) at_the_latest: Duration,
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

/// A bit of the next chunk that passes. Chunks have some 10 to 60,000 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flip {
    /// Index of the byte, modulo the length of the chunk.
    pub(crate) at: usize,
    pub(crate) bit: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Kills a task, and starts it again after `away`.
    Kill { task: Role, away: Duration },
    /// Pauses a task for some time.
    Pause { task: Role, for_: Duration },
    /// Pauses a worker's process and starts another one at once. The paused process continues after
    /// `woken_after` and has to end.
    Replace { worker: usize, woken_after: Duration },
    /// Holds all bytes of a link for some time, and then lets them pass.
    Silence { link: LinkId, for_: Duration },
    /// Delays all bytes of a link for some time.
    Delay { link: LinkId, by: Duration, for_: Duration },
    /// Resets the connection. Both ends notice.
    Reset { link: LinkId },
    /// Resets the connection, and refuses new connections for some time.
    Cut { link: LinkId, for_: Duration },
    /// Resets the connection for the end `notified` only. The other end never hears of it.
    HalfOpen { link: LinkId, notified: Side },
    /// Flips a bit in transit.
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
        // Half of the seeds send all tensors through sockets, where the proxy can damage them.
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

    /// Draws the length of an interruption, which is mostly short.
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
        Planned { steps, at_the_latest: self.millis(100, 1_500), fault: self.fault() }
    }

    fn fault(&mut self) -> Fault {
        match self.0.below(26) {
            0..7 => Fault::Kill { task: self.task(), away: self.millis(1, 600) },
            7..11 => Fault::Pause { task: self.task(), for_: self.interruption() },
            11..13 => {
                // The chief is never replaced, because a second chief is refused while the first
                // one holds the logdir. `cluster/kills.rs` tests that.
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
            21 => Fault::HalfOpen { link: self.link(), notified: Side::Ps },
            22 => Fault::HalfOpen { link: self.link(), notified: Side::Worker },
            _ => {
                // Half of the flips hit the header of a frame.
                let within = self.one_of([20, 1 << 16]);
                let flip = Flip { at: self.0.below(within) as usize, bit: self.0.below(8) as u8 };
                Fault::Flip { link: self.link(), towards: self.side(), flip }
            }
        }
    }
}

#[test]
fn plan_depends_only_on_the_seed_and_twenty_seeds_cover_every_kind_of_fault() {
    let plan = |seed| format!("{:?}", Plan::new(seed, 30));
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let plans: Vec<_> = (1..=20).map(|seed| Plan::new(seed, 30)).collect();
    let kinds = plans.iter().flat_map(|plan| &plan.faults).map(|planned| planned.fault.kind());
    let kinds: std::collections::BTreeSet<_> = kinds.collect();
    assert_eq!(kinds, Fault::KINDS.into());
}
