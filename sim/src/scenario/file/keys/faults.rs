//! The kinds of faults, and the keys of each.

use crate::scenario::Family;
use crate::scenario::file::keys::key::{Key, Known, REQUIRED, key, tables};

/// What every fault has.
pub(in crate::scenario::file) static FAULT: Known =
    tables("fault", "Something that goes wrong.", &[COMMON]);

const ONE_TRIGGER: &str = "one of these three";

const COMMON: &[Key] = &[
    key("id", "text", REQUIRED, "Its name in reports; no two of a scenario have the same."),
    key("kind", "fault kind", REQUIRED, "What it is."),
    key("at", "duration", ONE_TRIGGER, "It begins at this time."),
    key("at_step", "step", ONE_TRIGGER, "It begins when ps 0 first has this version."),
    key("on", "table", ONE_TRIGGER, "It begins when this happens."),
    key(
        "for",
        "duration",
        "for ever",
        "It ends so long after it began. For a crash or a stop: when the task is started again. What \
         is over in an instant has no end.",
    ),
    key("until_step", "step", "for ever", "It ends when ps 0 first has this version."),
    key("may_be_inert", "bool", "false", "It is no failure of the scenario if it never bit."),
];

const NODE: Key = key("node", "tasks", REQUIRED, "Who.");
const FROM: Key = key("from", "tasks", REQUIRED, "Who sends.");
const TO: Key = key("to", "tasks", REQUIRED, "Who receives.");
const ONE_END: Key = key("from", "tasks", REQUIRED, "One end.");
const OTHER_END: Key = key("to", "tasks", REQUIRED, "The other end.");

/// Every kind of fault, with what it has beside [`FAULT`]'s keys, in the order of [`Family`].
pub(in crate::scenario::file) static FAULTS: [(Family, Known); 16] = [
    (
        Family::Crash,
        tables(
            "fault",
            "Tasks are killed, and started again at the fault's end.",
            &[
                COMMON,
                &[
                    NODE,
                    key(
                        "peers",
                        "`\"silence\"`, `\"reset\"`",
                        "\"silence\"",
                        "What their peers notice: nothing, as the machine is gone; or a reset, as \
                         only the process is.",
                    ),
                    key(
                        "power_loss",
                        "bool",
                        "false",
                        "The machine loses power: what its disk had not synced is gone, or torn.",
                    ),
                ],
            ],
        ),
    ),
    (
        Family::Pause,
        tables(
            "fault",
            "Tasks stand still, and then go on as if nothing had been.",
            &[COMMON, &[NODE]],
        ),
    ),
    (
        Family::Stop,
        tables(
            "fault",
            "Tasks are asked to stop, as by SIGTERM; one that stopped is started again at the \
             fault's end.",
            &[COMMON, &[NODE]],
        ),
    ),
    (
        Family::Slow,
        tables(
            "fault",
            "Whatever tasks compute takes longer.",
            &[
                COMMON,
                &[NODE, key("factor", "number above 0", REQUIRED, "How many times as long.")],
            ],
        ),
    ),
    (
        Family::Delay,
        tables(
            "fault",
            "Messages take longer.",
            &[
                COMMON,
                &[FROM, TO, key("by", "distribution", REQUIRED, "On top, for each message.")],
            ],
        ),
    ),
    (
        Family::Partition,
        tables(
            "fault",
            "Messages do not come through.",
            &[
                COMMON,
                &[
                    FROM,
                    TO,
                    key("both_ways", "bool", "true", "Not the other way either."),
                    key(
                        "mode",
                        "`\"stop\"`, `\"slow\"`, `\"jam\"`",
                        "\"stop\"",
                        "What becomes of them: held until the fault has ended; a hundred times \
                         later; or lost, with all that comes on those links ever after.",
                    ),
                ],
            ],
        ),
    ),
    (
        Family::Reset,
        tables(
            "fault",
            "Links break, and both ends are told; what was on its way is lost.",
            &[COMMON, &[ONE_END, OTHER_END]],
        ),
    ),
    (
        Family::HalfOpen,
        tables(
            "fault",
            "Links break, and only one end is told; what was on its way is lost.",
            &[
                COMMON,
                &[
                    key("from", "tasks", REQUIRED, "The end that is told."),
                    key("to", "tasks", REQUIRED, "The end that believes that the link is up."),
                ],
            ],
        ),
    ),
    (
        Family::Duplicate,
        tables(
            "fault",
            "Links break right after all that was on its way has been delivered: their ends cannot \
             know that, and say it again on the next link.",
            &[COMMON, &[ONE_END, OTHER_END]],
        ),
    ),
    (
        Family::Connect,
        tables(
            "fault",
            "Calls fail.",
            &[
                COMMON,
                &[
                    key("from", "tasks", REQUIRED, "Who calls."),
                    key("to", "tasks", REQUIRED, "Who is called."),
                    key(
                        "mode",
                        "`\"refuse\"`, `\"hang\"`",
                        "\"refuse\"",
                        "At once; or with no answer, after the network's `connect_timeout`.",
                    ),
                ],
            ],
        ),
    ),
    (
        Family::Corrupt,
        tables(
            "fault",
            "One bit of each message is flipped on its way, as encoded.",
            &[COMMON, &[FROM, TO]],
        ),
    ),
    (
        Family::NarrowLink,
        tables(
            "fault",
            "Links carry fewer bytes a second.",
            &[COMMON, &[FROM, TO, key("rate", "rate", REQUIRED, "Of each ordered pair.")]],
        ),
    ),
    (
        Family::SlowReader,
        tables(
            "fault",
            "Tasks take what comes to them slowly. What they do not take waits at its senders.",
            &[
                COMMON,
                &[
                    key("node", "tasks", REQUIRED, "The tasks that read slowly."),
                    key("rate", "rate", REQUIRED, "Of all links of each task together."),
                ],
            ],
        ),
    ),
    (
        Family::Disk,
        tables(
            "fault",
            "The chief's disk misbehaves. It needs no target.",
            &[
                COMMON,
                &[
                    key(
                        "mode",
                        "`\"enospc\"`, `\"eio\"`, `\"torn\"`, `\"failed-sync\"`, `\"lost-unsynced\"`, `\"bit-flip\"`, `\"slow\"`",
                        REQUIRED,
                        "It is full; every operation fails; writes are done by half, and fail; a \
                         sync of a file fails, and the next one reports success though what it was \
                         to write is lost; a sync does nothing, and says that it did; a bit of whatever is read is \
                         flipped; everything takes longer.",
                    ),
                    key(
                        "factor",
                        "2 to 1000000",
                        "required if the mode is `\"slow\"`",
                        "How many times as long.",
                    ),
                ],
            ],
        ),
    ),
    (
        Family::Clock,
        tables(
            "fault",
            "Clocks of tasks go wrong.",
            &[
                COMMON,
                &[
                    key("node", "tasks", REQUIRED, "Whose."),
                    key(
                        "skew_ppm",
                        "−500000 to 1000000",
                        "0",
                        "Parts per million that they go too fast; below 0, too slowly.",
                    ),
                    key(
                        "jump",
                        "duration",
                        "\"0s\"",
                        "How far they jump ahead when the fault begins.",
                    ),
                    key(
                        "set_back",
                        "duration",
                        "\"0s\"",
                        "How far the clocks on the wall are behind while the fault lasts. A task that \
                         starts then takes a smaller incarnation.",
                    ),
                ],
            ],
        ),
    ),
    (
        Family::Gradient,
        tables(
            "fault",
            "Gradients that workers compute are wrong.",
            &[
                COMMON,
                &[
                    key("node", "tasks", REQUIRED, "Whose."),
                    key(
                        "mode",
                        "`\"nan\"`, `\"flipped-bit\"`",
                        REQUIRED,
                        "The loss and the first value are NaN; or one bit of the largest value is \
                         flipped, as by a cosmic ray.",
                    ),
                ],
            ],
        ),
    ),
];

/// What a kind of fault has.
pub(in crate::scenario::file) fn of_fault(family: Family) -> &'static Known {
    let named = FAULTS.iter().find(|(other, _)| *other == family);
    &named.expect("all are in the list").1
}

/// What to say of a key that other kinds of faults have.
pub(in crate::scenario::file) fn foreign_to_fault(known: &Known, given: &str) -> Option<String> {
    let (family, known) = FAULTS.iter().find(|(_, kind)| std::ptr::eq(kind, known))?;
    if !FAULTS.iter().any(|(_, other)| other.has(given)) {
        return None;
    }
    let own: Vec<_> = known.keys.iter().skip(1).copied().flatten().map(|key| key.name).collect();
    let why = match family {
        Family::Disk => "it is the chief's disk, and needs no target; beside what all have, it has",
        _ => "beside what all have, it has",
    };
    Some(format!("a {} fault has no {given}; {why} {}", family.name(), own.join(", ")))
}
