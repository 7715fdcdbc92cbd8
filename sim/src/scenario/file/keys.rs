//! Every section and key once, with its one text: what the reader knows, and the documentation.
//!
//! `[train]` is not here: it is the production file's own.

mod faults;
pub(crate) mod key;

pub(super) use key::{Form, Known, NONE, REQUIRED, UNLIMITED};
use key::{inline, key, section, tables};

pub(super) use faults::{FAULT, FAULTS, foreign_to_fault, of_fault};

pub(super) const TRAIN: &str = "train";

pub(super) static CLUSTER: Known = section(
    "cluster",
    "Who takes part.",
    &[&[
        key("ps", "1 to 64", "2", "Parameter servers."),
        key("workers", "1 to 4096", "2", "Workers; worker 0 is the chief."),
        key(
            "placement",
            "`\"round-robin\"`, `\"even\"`",
            "\"even\"",
            "Whole variables by turns, or an equal share of all elements to each ps.",
        ),
        key(
            "start",
            "table: task = duration",
            "{}",
            "Who is not started at time zero, and when it is: `{ \"worker 2\" = \"3s\" }`.",
        ),
        key("wrong", "tables", "[]", "See `[[cluster.wrong]]`."),
    ]],
);

pub(super) static WRONG: Known = tables(
    "cluster.wrong",
    "A setting that a task is started with, against that of the run.",
    &[&[
        key("node", "task", REQUIRED, "The task."),
        key(
            "key",
            "a setting",
            REQUIRED,
            "A setting that tasks compare when they meet: a key of `[train]`, \
             `replicas_to_aggregate`, `workers`, `ps`, `placement`, `validation_size`; or `data`, \
             the digest of the training data.",
        ),
        key("value", "text", REQUIRED, "What the task has instead."),
    ]],
);

pub(super) static SYNC: Known = section(
    "sync",
    "How many gradients make an update.",
    &[&[key(
        "replicas_to_aggregate",
        "1 to 4096",
        "the number of workers",
        "R: gradients an update. More than the workers: each computes several batches; fewer: the \
         slowest are dropped.",
    )]],
);

pub(super) static LIMITS: Known = section(
    "limits",
    "How long nodes wait for what; the production nodes' own limits.",
    &[&[
        key(
            "heartbeat_interval",
            "duration",
            "\"2s\"",
            "A link with nothing to say says so this often.",
        ),
        key(
            "heartbeat_timeout",
            "duration",
            "\"10s\"",
            "A peer not heard of for this long is taken for lost, and its link closed.",
        ),
        key(
            "reconnect_min",
            "duration",
            "\"20ms\"",
            "The first pause before calling again; doubled at each failure.",
        ),
        key("reconnect_max", "duration", "\"1s\"", "The longest pause before calling again."),
        key(
            "report_after",
            "duration",
            "\"10s\"",
            "Who waits longer says so, and again at every doubling.",
        ),
        key("give_up_after", "duration", "none", "Who waits longer gives up, and with it the run."),
        key(
            "linger",
            "duration",
            "\"15s\"",
            "How long the end of a run waits for tasks that have not said goodbye.",
        ),
        key(
            "stop_timeout",
            "duration",
            "\"20s\"",
            "How long a chief that was asked to stop may take to save.",
        ),
        key("save_interval", "duration", "\"60s\"", "Between checkpoints."),
        key(
            "final_save_retry",
            "duration",
            "\"2s\"",
            "Between attempts to write the final checkpoint, when the disk refuses it.",
        ),
    ]],
);

pub(super) static COMPUTE: Known = section(
    "compute",
    "How long computations take.",
    &[&[
        key(
            "gradient",
            "distribution",
            "{ uniform = [\"600us\", \"800us\"] }",
            "A gradient, on any worker.",
        ),
        key(
            "update",
            "distribution",
            "{ uniform = [\"40us\", \"60us\"] }",
            "An update of one shard, on any ps.",
        ),
        key("task", "tables", "[]", "See `[[compute.task]]`."),
    ]],
);

pub(super) static COMPUTE_TASK: Known = tables(
    "compute.task",
    "A task that takes its own time. Of two for one task the later one counts.",
    &[&[
        key("node", "task", REQUIRED, "The task."),
        key(
            "time",
            "distribution",
            REQUIRED,
            "A gradient of this worker, or an update of this ps.",
        ),
    ]],
);

pub(super) static NETWORK: Known = section(
    "network",
    "How long messages take. All of it is of each ordered pair of tasks.",
    &[&[
        key(
            "wire",
            "`\"shared\"`, `\"bytes\"`",
            "\"shared\"",
            "What messages travel as: themselves, which is fast, or frames that are encoded and \
             decoded as on TCP. It changes nothing that a node could see.",
        ),
        key(
            "latency",
            "distribution",
            "\"100us\"",
            "From end to end, for each message, whatever its size.",
        ),
        key(
            "jitter",
            "distribution",
            "{ uniform = [\"0s\", \"20us\"] }",
            "Added to it, for each message. Order is kept while a link is up.",
        ),
        key("bandwidth", "rate", "\"unlimited\"", "Of each ordered pair."),
        key(
            "nic",
            "rate",
            "\"unlimited\"",
            "Of each task's network card, shared by all its links, each way. Many workers that push \
             to one ps wait for its card.",
        ),
        key(
            "tensor_factor",
            "1 to 1000000",
            "1",
            "As how many bytes each byte of a tensor counts, as if the model were so much larger.",
        ),
        key(
            "connect_timeout",
            "duration",
            "\"3s\"",
            "After this time a call that nobody answers has failed.",
        ),
        key("link", "tables", "[]", "See `[[network.link]]`."),
    ]],
);

pub(super) static LINK: Known = tables(
    "network.link",
    "Pairs whose links are not like the others. A later one wins.",
    &[&[
        key("from", "tasks", REQUIRED, "Who sends."),
        key("to", "tasks", REQUIRED, "Who receives."),
        key("latency", "distribution", "the network's", "Instead of the network's."),
        key("jitter", "distribution", "the network's", "Instead of the network's."),
        key("bandwidth", "rate", "the network's", "Instead of the network's."),
    ]],
);

pub(super) static STORAGE: Known = section(
    "storage",
    "How long the chief's disk takes.",
    &[&[
        key("write", "duration", "\"20us\"", "An operation that writes."),
        key("sync", "duration", "\"500us\"", "A sync."),
        key("read", "duration", "\"20us\"", "An operation that reads."),
        key("bandwidth", "rate", "\"unlimited\"", "Read or written."),
    ]],
);

pub(super) static SIM: Known = section(
    "sim",
    "Where a run is given up: one that comes to a limit has failed.",
    &[&[
        key("seeds", "1 to 1000000", "64", "Seeds that `run` plays when it is not told how many."),
        key("max_virtual_time", "duration", "\"600s\"", "The longest virtual time."),
        key("max_events", "1 to 10^12", "1000000", "The most events."),
        key(
            "one_order",
            "bool",
            "false",
            "All seeds may play one order of events. Otherwise `run` fails a scenario whose eight or \
             more seeds all play the same order.",
        ),
    ]],
);

pub(super) static LIVENESS: Known = section(
    "liveness",
    "Progress, once all is well again.",
    &[&[key(
        "within",
        "duration",
        "\"60s\"",
        "Once the last fault has ended, the run ends within this time.",
    )]],
);

pub(super) static CHAOS: Known = section(
    "chaos",
    "Faults, and shapes of the cluster, that each seed draws for itself. Without this section, none.",
    &[&[
        key(
            "families",
            "array of fault kinds",
            "all but `\"gradient\"`",
            "Which kinds of faults there may be.",
        ),
        key(
            "swarm",
            "bool",
            "true",
            "Each seed takes a random half of them, or so: with fewer kinds at a time, each meets \
             situations that the others would prevent (Groce et al., Swarm testing, 2012).",
        ),
        key("faults", "range", "{ min = 1, max = 6 }", "How many faults."),
        key(
            "within",
            "duration",
            "\"20ms\"",
            "They begin before this time, or at a random event before it.",
        ),
        key("longest", "duration", "\"3s\"", "The longest that one lasts."),
        key("ps", "range", "what `[cluster]` says", "Parameter servers."),
        key("workers", "range", "what `[cluster]` says", "Workers."),
        key("replicas_to_aggregate", "range", "what `[sync]` says", "R: gradients an update."),
        key(
            "slots_per_worker",
            "range",
            "none",
            "Slots a worker, in one seed of sixteen instead of `replicas_to_aggregate`.",
        ),
        key(
            "tensor_factor",
            "range",
            "none",
            "How much larger the model counts on links, in one seed of four.",
        ),
        key("optimizer", "bool", "false", "The optimizer, too, with its default parameters."),
    ]],
);

pub(super) static EXPECT: Known = section(
    "expect",
    "What must come of a run. The rules of the protocol hold whatever is expected.",
    &[&[
        key(
            "outcome",
            "`\"finished\"`, `\"failed\"`, `\"any\"`",
            "\"finished\"",
            "How the run ends: every task that is alive has finished; some task halts with a \
             failure; or either.",
        ),
        key(
            "because",
            "text",
            "required if the outcome is `\"failed\"`",
            "A part of the failure's text.",
        ),
        key(
            "final_step",
            "step",
            "`training_steps` if the run finishes, else any",
            "The version of the last checkpoint.",
        ),
        key(
            "oracle",
            "`\"serial\"`, `\"provenance\"`, `\"none\"`",
            "`\"serial\"`; `\"provenance\"` if R may be below N; `\"none\"` if any outcome will do",
            "What losses and checkpoints are compared with, to the bit: the same run in one loop \
             with no protocol at all; the same, with the slots that the run chose; nothing.",
        ),
        key(
            "golden",
            "path",
            "none",
            "A `losses.csv` made elsewhere, that the run's must equal; relative to this file.",
        ),
        key(
            "gradients_per_update",
            "number",
            "R",
            "Gradients of every update. Here to be read: it must be R.",
        ),
        key("duplicates", "range", "any", "Gradients answered as duplicates."),
        key("stale", "range", "any", "Gradients answered as stale."),
        key("fenced", "range", "any", "Gradients answered as fenced."),
        key("rollbacks", "range", "any", "Generations opened after the first."),
        key(
            "left_behind",
            "range",
            "any",
            "Tasks that wait for the others when these have left for good. Only one that was away \
             at the end may.",
        ),
        key("virtual_time", "range of durations", "any", "The virtual time of the whole run."),
        key("event", "tables", "[]", "See `[[expect.event]]`."),
    ]],
);

pub(super) static EXPECT_EVENT: Known = tables(
    "expect.event",
    "An event that must happen, or must not.",
    &[&[
        key("event", "event", REQUIRED, "What."),
        key("node", "task", "anybody", "To whom."),
        key("step", "step", "any", "At which step."),
        key("times", "range", "{ min = 1 }", "How often; 0 is never."),
    ]],
);

pub(super) static ON: Known = inline(
    "on",
    "The event that a fault waits for.",
    &[&[
        key("event", "event", "any", "What happens; without, anything does."),
        key("node", "task", "anybody", "To whom."),
        key("step", "step", "any", "At which step, for events that have one."),
        key("nth", "number from 1", "1", "The how-manieth that fits."),
        key(
            "when",
            "`\"before\"`, `\"after\"`",
            "\"after\"",
            "At which side of it. What a node does is not done when a fault comes before it: a crash \
             before a push leaves it unsent.",
        ),
    ]],
);

/// All tables but `[train]` and the kinds of faults, in the order of the documentation.
pub(super) static ALL: [&Known; 16] = [
    &CLUSTER,
    &WRONG,
    &SYNC,
    &LIMITS,
    &COMPUTE,
    &COMPUTE_TASK,
    &NETWORK,
    &LINK,
    &STORAGE,
    &SIM,
    &FAULT,
    &ON,
    &CHAOS,
    &EXPECT,
    &EXPECT_EVENT,
    &LIVENESS,
];

/// The names of the sections of a file.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let others = ALL.iter().filter(|known| known.form != Form::Inline && !known.name.contains('.'));
    std::iter::once(TRAIN).chain(others.map(|known| known.name))
}
