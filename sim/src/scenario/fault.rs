//! What goes wrong: what, to whom, when, and until when.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::{Job, Step, TaskId};

use super::Distribution;
use unisono_observe::trace::EventKind;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Its name in reports; no two of a scenario have the same.
    pub id: String,
    /// When it begins.
    pub trigger: Trigger,
    /// When it ends; `None` is never, or at once for what is over in an instant.
    pub end: Option<End>,
    /// What it is.
    pub kind: FaultKind,
    /// It is no failure of the scenario if it never bit.
    pub may_be_inert: bool,
}

/// When a fault begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// At this time.
    At(Duration),
    /// When ps 0 first has this version.
    AtStep(Step),
    /// When this happens.
    On(EventPattern),
}

/// When a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So long after it began. For a crash: when the task is started again.
    For(Duration),
    /// When ps 0 first has this version.
    UntilStep(Step),
}

/// Something that happens to a node, or that it does. What is `None` may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPattern {
    /// What; `None` is any event at all, which is how `enumerate` counts.
    pub event: Option<EventKind>,
    /// To whom.
    pub node: Option<TaskId>,
    /// At which step, for events that have one.
    pub step: Option<Step>,
    /// The how-manieth that fits, from 1.
    pub nth: u64,
    /// At which side of it.
    pub when: When,
}

/// Before or after an event. What a node does is not done when something comes before it, and is
/// when something comes after it: a crash `Before` a push leaves it unsent, a reset `After` a push
/// meets it on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Before it.
    Before,
    /// After it.
    #[default]
    After,
}

/// Some tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSet {
    /// `"all"`.
    All,
    /// `"ps"` or `"workers"`.
    Job(Job),
    /// `"worker 1"`; `"chief"` is worker 0.
    Task(TaskId),
}

impl TaskSet {
    /// Whether a task is one of them.
    #[must_use]
    pub fn contains(&self, task: TaskId) -> bool {
        match *self {
            Self::All => true,
            Self::Job(job) => task.job == job,
            Self::Task(one) => task == one,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Tasks are killed, and started again at the fault's end.
    Crash {
        /// Who.
        node: TaskSet,
        /// What their peers notice.
        peers: PeersSee,
        /// The machine loses power: what its disk had not synced is gone, or torn.
        power_loss: bool,
    },
    /// Tasks stand still, and then go on as if nothing had been.
    Pause {
        /// Who.
        node: TaskSet,
    },
    /// Tasks are asked to stop, as by SIGTERM. One that stopped is started again at the fault's end.
    Stop {
        /// Who.
        node: TaskSet,
    },
    /// Whatever tasks compute takes longer.
    Slow {
        /// Who.
        node: TaskSet,
        /// How many times as long.
        factor: f64,
    },
    /// Messages take longer.
    Delay {
        /// Who sends.
        from: TaskSet,
        /// Who receives.
        to: TaskSet,
        /// On top, for each message.
        by: Distribution,
    },
    /// Messages do not come through.
    Partition {
        /// Who sends.
        from: TaskSet,
        /// Who receives.
        to: TaskSet,
        /// Not the other way either.
        both_ways: bool,
        /// What becomes of them.
        mode: PartitionMode,
    },
    /// Links break, and both ends are told; what was on its way is lost.
    Reset {
        /// One end.
        from: TaskSet,
        /// The other end.
        to: TaskSet,
    },
    /// Links break, and only the end at `from` is told; what was on its way is lost.
    HalfOpen {
        /// The end that is told.
        from: TaskSet,
        /// The end that believes that the link is up.
        to: TaskSet,
    },
    /// Links break right after all that was on its way has been delivered: their ends cannot know
    /// that, and say it again on the next link.
    Duplicate {
        /// One end.
        from: TaskSet,
        /// The other end.
        to: TaskSet,
    },
    /// Calls fail.
    Connect {
        /// Who calls.
        from: TaskSet,
        /// Who is called.
        to: TaskSet,
        /// How.
        mode: ConnectMode,
    },
    /// One bit of each message is flipped on its way, as encoded.
    Corrupt {
        /// Who sends.
        from: TaskSet,
        /// Who receives.
        to: TaskSet,
    },
    /// Links carry fewer bytes a second.
    NarrowLink {
        /// Who sends.
        from: TaskSet,
        /// Who receives.
        to: TaskSet,
        /// Bytes a second of each ordered pair.
        rate: NonZeroU64,
    },
    /// Tasks take what comes to them slowly: what they do not take waits at its senders.
    SlowReader {
        /// The tasks that read slowly.
        node: TaskSet,
        /// Bytes a second that each of them reads, of all its links together.
        rate: NonZeroU64,
    },
    /// The chief's disk misbehaves.
    Disk {
        /// How.
        mode: DiskMode,
    },
    /// Clocks of tasks go wrong.
    Clock {
        /// Whose.
        node: TaskSet,
        /// Parts per million that they go too fast; below 0, too slowly.
        skew_ppm: i32,
        /// How far they jump ahead when the fault begins.
        jump: Duration,
        /// How far the clocks on the wall are behind while the fault lasts. A task that starts then
        /// takes a smaller incarnation.
        set_back: Duration,
    },
    /// Gradients that tasks compute are wrong.
    Gradient {
        /// Whose.
        node: TaskSet,
        /// How.
        mode: GradientMode,
    },
}

/// What the peers of a crashed task notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeersSee {
    /// Nothing: the machine is gone.
    #[default]
    Silence,
    /// Their links are reset: only the process is gone.
    Reset,
}

/// What becomes of messages that do not come through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartitionMode {
    /// They are held, and come after the fault has ended: packets were lost, and sent again.
    #[default]
    Stop,
    /// They come a hundred times later.
    Slow,
    /// They are lost, and nothing comes on those links any more, not even after the fault has
    /// ended; neither end is told. New links work then.
    Jam,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectMode {
    /// At once.
    #[default]
    Refuse,
    /// With no answer, after the network's `connect_timeout`.
    Hang,
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMode {
    /// It is full.
    NoSpace,
    /// Every operation fails.
    Io,
    /// Writes are done by half, and fail.
    Torn,
    /// A sync of a file fails, and what it was to write is forgotten.
    FailedSync,
    /// A sync does nothing, and says that it did.
    LostUnsynced,
    /// A bit of whatever is read is flipped.
    BitFlip,
    /// Everything takes so many times as long.
    Slow(u32),
}

/// How a gradient is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientMode {
    /// Its loss and its first value are NaN.
    Nan,
    /// One bit of its largest value is flipped, as by a cosmic ray.
    FlippedBit,
}

/// What kind of fault it is, with nothing else: what chaos chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// [`FaultKind::Crash`].
    Crash,
    /// [`FaultKind::Pause`].
    Pause,
    /// [`FaultKind::Stop`].
    Stop,
    /// [`FaultKind::Slow`].
    Slow,
    /// [`FaultKind::Delay`].
    Delay,
    /// [`FaultKind::Partition`].
    Partition,
    /// [`FaultKind::Reset`].
    Reset,
    /// [`FaultKind::HalfOpen`].
    HalfOpen,
    /// [`FaultKind::Duplicate`].
    Duplicate,
    /// [`FaultKind::Connect`].
    Connect,
    /// [`FaultKind::Corrupt`].
    Corrupt,
    /// [`FaultKind::NarrowLink`].
    NarrowLink,
    /// [`FaultKind::SlowReader`].
    SlowReader,
    /// [`FaultKind::Disk`].
    Disk,
    /// [`FaultKind::Clock`].
    Clock,
    /// [`FaultKind::Gradient`].
    Gradient,
}

impl Family {
    /// All of them, in order, each with its name in scenario files.
    pub const NAMED: [(Self, &'static str); 16] = [
        (Self::Crash, "crash"),
        (Self::Pause, "pause"),
        (Self::Stop, "stop"),
        (Self::Slow, "slow"),
        (Self::Delay, "delay"),
        (Self::Partition, "partition"),
        (Self::Reset, "reset"),
        (Self::HalfOpen, "half-open"),
        (Self::Duplicate, "duplicate"),
        (Self::Connect, "connect"),
        (Self::Corrupt, "corrupt"),
        (Self::NarrowLink, "narrow-link"),
        (Self::SlowReader, "slow-reader"),
        (Self::Disk, "disk"),
        (Self::Clock, "clock"),
        (Self::Gradient, "gradient"),
    ];

    /// Its name in scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(family, _)| *family == self);
        named.expect("all are in the list").1
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = Self::NAMED.iter().find(|(_, known)| *known == name);
        named.map(|(family, _)| *family)
    }
}

impl FaultKind {
    /// Whether it is over as soon as it has begun.
    #[must_use]
    pub const fn is_instant(&self) -> bool {
        matches!(self, Self::Reset { .. } | Self::HalfOpen { .. } | Self::Duplicate { .. })
    }

    /// What kind it is.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Crash { .. } => Family::Crash,
            Self::Pause { .. } => Family::Pause,
            Self::Stop { .. } => Family::Stop,
            Self::Slow { .. } => Family::Slow,
            Self::Delay { .. } => Family::Delay,
            Self::Partition { .. } => Family::Partition,
            Self::Reset { .. } => Family::Reset,
            Self::HalfOpen { .. } => Family::HalfOpen,
            Self::Duplicate { .. } => Family::Duplicate,
            Self::Connect { .. } => Family::Connect,
            Self::Corrupt { .. } => Family::Corrupt,
            Self::NarrowLink { .. } => Family::NarrowLink,
            Self::SlowReader { .. } => Family::SlowReader,
            Self::Disk { .. } => Family::Disk,
            Self::Clock { .. } => Family::Clock,
            Self::Gradient { .. } => Family::Gradient,
        }
    }
}
