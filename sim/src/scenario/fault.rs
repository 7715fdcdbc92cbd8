//! Faults: each kind with its keys, the tasks that it affects, its beginning and its end.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind;

use super::dice::{Dice, SET_BACK, Targets};
use super::distribution::Distribution;
use super::keys::*;
use super::task_set::TaskSet;

table! {
    /// Something that goes wrong.
    Tables "fault" Check; pub struct Fault {
        /// The name in reports. All faults of a scenario have different names.
        id: String,
        /// The kind of the fault.
        kind: FaultKind,
        /// The beginning of the fault.
        trigger: Trigger,
        /// The end of the fault; `None` if the fault lasts for ever or is instant.
        end: Option<End> = None,
        /// The scenario passes even if the fault has no effect.
        may_be_inert: bool = false,
    }
}

one_of! {
    /// The beginning of a fault.
    pub enum Trigger: "required: one of these three", "the start of the fault is given by" {
        /// The fault begins at this time.
        At(Duration) = "at",
        /// The fault begins when ps 0 first has this version.
        AtStep(Step) = "at_step",
        /// The fault begins when this event happens.
        On(EventPattern) = "on",
    }
}

one_of! {
    /// The end of a fault.
    #[derive(Copy, Eq)]
    pub enum End: "for ever", "the end of the fault is given by" {
        /// The fault ends this long after its beginning. The end of a crash or a stop restarts the
        /// task. An instant fault has no end.
        For(Duration)[ABOVE_ZERO] = "for",
        /// The fault ends when ps 0 first has this version.
        UntilStep(Step) = "until_step",
    }
}

table! {
    /// The event that a fault waits for.
    #[derive(Eq)]
    Inline "on" Check; pub struct EventPattern {
        /// The kind of event. Without this key, every input of a node matches.
        event: Option<EventKind> = None; "any",
        /// The task of the event.
        node: Option<TaskId> = None; "any task",
        /// The step of the event, for events with a step.
        step: Option<Step> = None; "any",
        /// The number of the matching event, counted from 1.
        nth: u64[1..=i128::MAX] = 1,
        /// Whether the fault begins before or after the event.
        when: When = When::default(),
    }
}

choices! {
    /// Whether a fault begins before or after its event.
    pub enum When: "side" = After {
        /// A crash before a push leaves the push unsent.
        Before = "before",
        /// A reset after a push loses the push in transit.
        After = "after",
    }
}

/// Declares the kinds of faults as `tagged!` does. The parentheses contain the tasks that a kind
/// affects. Each further field is followed by the expression that draws its value for `[chaos]`.
/// The expressions are evaluated in the order of the fields, and this order decides what each seed
/// draws. A `let` is evaluated before the fields. A fault marked `instant` ends as soon as it has
/// begun.
macro_rules! fault_kinds {
    (|$draw:ident| $(
        $(#[doc = $about:literal])+
        $kind:ident = $name:literal $(, $instant:ident)?
        ($( $target:ident $target_doc:literal ),*) {
            $( let $local:ident = $value:expr; )*
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $([$bounds:expr])? $(= $default:expr)? => $drawn:expr,
            )*
        }
    )+) => {
        tagged! {
            /// The kind of a fault.
            pub enum FaultKind by pub Family: "kind of fault" {
                $(
                    $(#[doc = $about])+
                    $kind = $name {
                        $( #[doc = $target_doc] $target: TaskSet, )*
                        $( $(#[doc = $doc])+ $field: $type $([$bounds])? $(= $default)?, )*
                    }
                )+
            }
        }

        impl FaultKind {
            /// Returns the kind without the values of its keys.
            #[must_use]
            pub fn family(&self) -> Family {
                self.tag()
            }

            /// Returns whether the fault ends as soon as it has begun.
            pub(crate) fn is_instant(&self) -> bool {
                match self {
                    $( Self::$kind { .. } => !stringify!($($instant)?).is_empty(), )+
                }
            }

            pub(super) fn draw(family: Family, $draw: &mut Dice, targets: &Targets) -> Self {
                match family {
                    $( Family::$kind => {
                        $( let $local = $value; )*
                        $( let $field = $drawn; )*
                        Self::$kind { $( $target: targets.$target, )* $($field),* }
                    } )+
                }
            }
        }
    };
}

fault_kinds! { |draw|
    /// Kills tasks. The end of the fault restarts them.
    Crash = "crash" (node "The tasks.") {
        /// The way in which the other tasks notice the crash.
        peers: PeersSee = PeersSee::default() => draw.choice(),
        /// The machine loses power. Data that its disk has not synced is lost or torn.
        power_loss: bool = false => draw.coin(),
    }
    /// Suspends tasks. The tasks continue at the end of the fault, as if nothing had happened.
    Pause = "pause" (node "The tasks.") {}
    /// Asks tasks to stop, as SIGTERM does. The end of the fault restarts each task that stopped.
    Stop = "stop" (node "The tasks.") {}
    /// Makes all computations of tasks slower.
    Slow = "slow" (node "The tasks.") {
        /// The factor by which computations take longer.
        factor: f64 => (2 + draw.below(500)) as f64,
    }
    /// Delays messages.
    Delay = "delay" (from "The senders.", to "The receivers.") {
        /// The delay of each message, in addition to its latency.
        by: Distribution => draw.delay(),
    }
    /// Holds messages back, slows them down or loses them.
    Partition = "partition" (from "The senders.", to "The receivers.") {
        /// The fault also affects the other direction.
        both_ways: bool = true => draw.coin(),
        /// The effect on messages.
        mode: PartitionMode = PartitionMode::default() => draw.choice(),
    }
    /// Breaks links, and both ends notice. Messages on their way are lost.
    Reset = "reset", instant (from "One end.", to "The other end.") {}
    /// Breaks links, and only one end notices. Messages on their way are lost.
    HalfOpen = "half-open", instant (from "The end that notices.", to "The other end.") {}
    /// Breaks links as soon as all messages on their way have arrived. The senders cannot know that
    /// the messages arrived, and repeat the messages on the next link.
    Duplicate = "duplicate", instant (from "One end.", to "The other end.") {}
    /// Makes calls fail.
    Connect = "connect" (from "The callers.", to "The called tasks.") {
        /// The way in which a call fails.
        mode: ConnectMode = ConnectMode::default() => draw.choice(),
    }
    /// Flips one bit of each message in transit, in the encoded form of the message.
    Corrupt = "corrupt" (from "The senders.", to "The receivers.") {}
    /// Reduces the bandwidth of links.
    NarrowLink = "narrow-link" (from "The senders.", to "The receivers.") {
        /// Bytes per second of each ordered pair of tasks.
        rate: NonZeroU64 => draw.rate(10_000, 10),
    }
    /// Makes tasks read slowly. Data that a task has not yet read waits at the senders.
    SlowReader = "slow-reader" (node "The tasks that read slowly.") {
        /// Bytes per second that each task reads, from all its links together.
        rate: NonZeroU64 => draw.rate(100_000, 7),
    }
    /// Makes the chief's disk fail. The fault has no target.
    Disk = "disk" () {
        /// The failure.
        mode: DiskMode => disk_mode(draw),
    }
    /// Makes the clocks of tasks wrong.
    Clock = "clock" (node "The tasks.") {
        // Half of the faults only set the wall clock back. Such a fault has an effect only if the
        // task restarts later.
        let sets_back = draw.coin();
        /// The error of a clock's rate, in parts per million. A clock with a value above 0 is too
        /// fast, and a clock with a value below 0 is too slow.
        skew_ppm: i32[-500_000..=1_000_000] = 0 => if sets_back { 0 } else { draw.skew_ppm() },
        /// The jump ahead at the beginning of the fault.
        jump: Duration = Duration::ZERO => if sets_back { Duration::ZERO } else { draw.jump() },
        /// The time by which wall clocks are behind during the fault. A task that starts during the
        /// fault takes a smaller incarnation.
        set_back: Duration = Duration::ZERO => if sets_back { SET_BACK } else { Duration::ZERO },
    }
    /// Makes the gradients of workers wrong.
    Gradient = "gradient" (node "The workers.") {
        /// The error of a gradient.
        mode: GradientMode => GradientMode::FlippedBit,
    }
}

/// Draws a failure of the disk. The modes `lost-unsynced` and `bit-flip` are never drawn, because
/// no task can survive these failures.
fn disk_mode(draw: &mut Dice) -> DiskMode {
    let factor = 2 + u32::try_from(draw.below(100)).expect("below 100");
    draw.pick(&[
        DiskMode::NoSpace,
        DiskMode::Io,
        DiskMode::Torn,
        DiskMode::FailedSync,
        DiskMode::Slow { factor },
    ])
}

impl Family {
    /// Returns the name in scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED[self as usize].1
    }
}

choices! {
    /// How the peers of a crashed task notice the crash.
    pub enum PeersSee: "way to notice" = Silence {
        /// The peers notice nothing, as if the machine were lost.
        Silence = "silence",
        /// The links of the peers are reset, as if only the process had died.
        Reset = "reset",
    }
}

choices! {
    /// The effect of a partition on messages.
    pub enum PartitionMode: "mode of partitions" = Stop {
        /// The messages arrive after the end of the fault.
        Stop = "stop",
        /// The messages take a hundred times as long.
        Slow = "slow",
        /// The messages are lost. Every later message on the same links is also lost, even after
        /// the end of the fault. Neither end notices the loss. New links work after the end of the
        /// fault.
        Jam = "jam",
    }
}

choices! {
    /// The way in which a call fails.
    pub enum ConnectMode: "way to fail" = Refuse {
        /// Calls fail at once.
        Refuse = "refuse",
        /// Calls get no answer, and fail after the network's `connect_timeout`.
        Hang = "hang",
    }
}

tagged! {
    /// The failure of a disk.
    #[derive(Copy, Eq)]
    pub enum DiskMode by pub(crate) DiskModeName: "mode of disks" {
        /// The disk is full.
        NoSpace = "enospc"
        /// Every operation fails.
        Io = "eio"
        /// Each write writes a random part of its data, and fails.
        Torn = "torn"
        /// A sync of a file fails and makes no data durable, but the next sync reports success.
        FailedSync = "failed-sync"
        /// A sync does nothing, and reports success.
        LostUnsynced = "lost-unsynced"
        /// Each read flips a bit.
        BitFlip = "bit-flip"
        /// Every operation takes longer.
        Slow = "slow" {
            /// The factor by which an operation takes longer.
            factor: u32[2..=1_000_000],
        }
    }
}

choices! {
    /// The error of a gradient.
    pub enum GradientMode: "wrong gradient" {
        /// The loss and the first value are NaN.
        Nan = "nan",
        /// One bit of the gradient's largest value is flipped, as a cosmic ray might do.
        FlippedBit = "flipped-bit",
    }
}

tagged_field!(DiskMode);

/// The key `kind`, and the keys of the named kind of fault.
impl FieldType for FaultKind {
    fn keys(field: &Field<Self>) -> Vec<Key> {
        vec![field.known("fault kind".to_owned(), REQUIRED, "")]
    }

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
        Self::read_as(ValueType::read(section.need(field.key)?, Bounds::ANY)?, section)
    }

    fn write(&self, field: &Field<Self>, lines: &mut Lines) {
        tagged::write(self, field, lines);
    }
}

/// The trigger of a fault. A fault must have exactly one of the trigger's keys.
impl FieldType for Trigger {
    fn keys(field: &Field<Self>) -> Vec<Key> {
        FieldType::keys(&field.with::<Option<Self>>(None))
    }

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
        let missing = || section.wrong("the fault has no beginning; give at, at_step or on");
        <Option<Self> as FieldType>::read(field.with(None), section)?.ok_or_else(missing)
    }

    fn write(&self, field: &Field<Self>, lines: &mut Lines) {
        FieldType::write(&Some(self.clone()), &field.with(None), lines);
    }
}

/// The inline table `on = { … }`.
impl ValueType for EventPattern {
    fn takes(_: Bounds) -> String {
        "table".to_owned()
    }

    fn read(value: Value<'_>, _: Bounds) -> Result<Self, Wrong> {
        <Self as Table>::read(Section::open(Self::known(), value)?, None)
    }

    fn text(&self, _: Bounds) -> String {
        lines_of(self, None).into_inline()
    }
}
