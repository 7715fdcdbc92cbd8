//! A scenario as a file: what differs from the defaults, in the order of the documentation.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_config::file::KnownSection;
use unisono_config::keys::TrainKeys;
use unisono_config::values::{Named, OptimizerName, name_of};
use unisono_core::TaskId;

use super::expect::{COUNTS, ONCE, ORACLES, TIMES, default_oracle};
use super::faults::{CONNECTS, DISKS, GRADIENTS, PARTITIONS, PEERS, WHENS};
use super::sections::{
    MOST_PS, MOST_REPLICAS, MOST_SLOTS, MOST_TIMES_AS_LARGE, MOST_WORKERS, WIRES, limit_fields,
};
use super::tasks::{Shape, set_text};
use super::units::{duration_text, rate_text};
use super::{chaos, distributions, keys, ranges, train};
use crate::scenario::{
    Chaos, ComputeModel, ConnectMode, DiskMode, End, EventPattern, Expect, ExpectedEvent,
    ExpectedOutcome, Fault, FaultKind, LinkOverride, NetworkModel, PartitionMode, PeersSee, Range,
    Scenario, TaskSet, Trigger, When,
};

pub(super) fn text(scenario: &Scenario) -> String {
    let default = Scenario::default();
    let mut file = File::default();
    train(&mut file, &scenario.run);
    cluster(&mut file, scenario, &default);
    file.section("[sync]", |keys| {
        let replicas = scenario.run.sync.replicas_to_aggregate;
        let default = scenario.run.sync.total_num_replicas;
        keys.differing("replicas_to_aggregate", &replicas, &default, u32::to_string);
    });
    file.section("[limits]", |keys| {
        let (mut limits, mut default) = (scenario.limits, default.limits);
        let fields = limit_fields(&mut limits).into_iter().zip(limit_fields(&mut default));
        for ((key, given), (_, default)) in fields {
            keys.differing(key, given, default, duration);
        }
    });
    compute(&mut file, &scenario.compute, &default.compute);
    network(&mut file, &scenario.network, &default.network);
    file.section("[storage]", |keys| {
        let (given, default) = (&scenario.storage, &default.storage);
        keys.differing("write", &given.write, &default.write, duration);
        keys.differing("sync", &given.sync, &default.sync, duration);
        keys.differing("read", &given.read, &default.read, duration);
        keys.differing("bandwidth", &given.bandwidth, &default.bandwidth, rate);
    });
    file.section("[sim]", |keys| {
        let (given, default) = (&scenario.sim, &default.sim);
        keys.differing("seeds", &given.seeds, &default.seeds, u32::to_string);
        let (time, default_time) = (&given.max_virtual_time, &default.max_virtual_time);
        keys.differing("max_virtual_time", time, default_time, duration);
        keys.differing("max_events", &given.max_events, &default.max_events, u64::to_string);
        keys.differing("one_order", &given.one_order, &default.one_order, bool::to_string);
    });
    for given in &scenario.faults {
        file.table("[[fault]]", |keys| fault(keys, given));
    }
    if let Some(given) = &scenario.chaos {
        file.table("[chaos]", |keys| chaos(keys, given));
    }
    let shape = Shape::new(&scenario.run, scenario.chaos.as_ref(), &scenario.sim);
    expect(&mut file, &scenario.expect, &shape);
    file.section("[liveness]", |keys| {
        keys.differing("within", &scenario.liveness, &default.liveness, duration);
    });
    file.0
}

/// A file in the making.
#[derive(Default)]
struct File(String);

impl File {
    /// A table, even without keys.
    fn table(&mut self, heading: &str, write: impl FnOnce(&mut Keys)) {
        let mut keys = Keys::default();
        write(&mut keys);
        let space = if self.0.is_empty() { "" } else { "\n" };
        write!(self.0, "{space}{heading}\n{}", keys.0).expect("a String takes all");
    }

    /// A table, if it has keys.
    fn section(&mut self, heading: &str, write: impl FnOnce(&mut Keys)) {
        let mut keys = Keys::default();
        write(&mut keys);
        if !keys.0.is_empty() {
            self.table(heading, |all| *all = keys);
        }
    }
}

/// The lines of a table.
#[derive(Default)]
struct Keys(String);

impl Keys {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{key} = {value}").expect("a String takes all");
    }

    fn differing<T: PartialEq>(
        &mut self,
        key: &str,
        given: &T,
        default: &T,
        text: impl Fn(&T) -> String,
    ) {
        if given != default {
            self.put(key, text(given));
        }
    }

    fn given<T>(&mut self, key: &str, given: Option<&T>, text: impl Fn(&T) -> String) {
        if let Some(given) = given {
            self.put(key, text(given));
        }
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn duration(duration: &Duration) -> String {
    quoted(&duration_text(*duration))
}

fn rate(rate: &Option<NonZeroU64>) -> String {
    quoted(&rate.map_or_else(|| keys::UNLIMITED.to_owned(), rate_text))
}

fn tasks(set: &TaskSet) -> String {
    quoted(&set_text(*set))
}

fn task(task: &TaskId) -> String {
    tasks(&TaskSet::Task(*task))
}

fn name<T: PartialEq>(value: &T, named: &[(T, &'static str)]) -> String {
    let named = named.iter().find(|(other, _)| other == value);
    quoted(named.expect("every value has a name").1)
}

fn train(file: &mut File, run: &RunConfig) {
    // The parameters of an optimizer have defaults of their own.
    let optimizer = TrainKeys {
        optimizer: Some(OptimizerName::of(&run.train.optimizer)),
        ..TrainKeys::default()
    };
    let mut default = Scenario::default().run;
    let settings = default.settings();
    let default_optimizer = settings.iter().find(|(key, _)| *key == "optimizer");
    default.train.optimizer =
        train::resolve(optimizer).expect("a name contradicts nothing").optimizer;
    let default = default.settings();
    let known = KnownSection::train();
    file.section("[train]", |keys| {
        for (key, value) in run.settings().iter().filter(|(key, _)| known.has(key)) {
            let is_default = if key == "optimizer" {
                default_optimizer == Some((key, value))
            } else {
                default.iter().any(|setting| setting == (key, value))
            };
            if !is_default {
                keys.put(key, setting(key, value));
            }
        }
    });
}

/// A setting's canonical text as TOML.
fn setting(key: &str, value: &str) -> String {
    match key {
        "hidden" => format!("[{}]", value.replace(',', ", ")),
        "optimizer" | "order" => quoted(value),
        _ => value.to_owned(),
    }
}

fn cluster(file: &mut File, scenario: &Scenario, default: &Scenario) {
    file.section("[cluster]", |keys| {
        let (given, default) = (&scenario.run, &default.run);
        keys.differing("ps", &given.n_ps, &default.n_ps, u32::to_string);
        let workers = |run: &RunConfig| run.sync.total_num_replicas;
        keys.differing("workers", &workers(given), &workers(default), u32::to_string);
        let placement = |placement: &_| quoted(&name_of(&Named(*placement)));
        keys.differing("placement", &given.placement, &default.placement, placement);
        if !scenario.start.is_empty() {
            let start = scenario.start.iter();
            let start: Vec<_> =
                start.map(|(node, time)| format!("{} = {}", task(node), duration(time))).collect();
            keys.put("start", format!("{{ {} }}", start.join(", ")));
        }
    });
    for wrong in &scenario.wrong {
        file.table("[[cluster.wrong]]", |keys| {
            keys.put("node", task(&wrong.node));
            keys.put("key", quoted(&wrong.key));
            keys.put("value", quoted(&wrong.value));
        });
    }
}

fn compute(file: &mut File, given: &ComputeModel, default: &ComputeModel) {
    file.section("[compute]", |keys| {
        keys.differing("gradient", &given.gradient, &default.gradient, distributions::text);
        keys.differing("update", &given.update, &default.update, distributions::text);
    });
    for (node, time) in &given.tasks {
        file.table("[[compute.task]]", |keys| {
            keys.put("node", task(node));
            keys.put("time", distributions::text(time));
        });
    }
}

fn network(file: &mut File, given: &NetworkModel, default: &NetworkModel) {
    file.section("[network]", |keys| {
        keys.differing("wire", &given.wire, &default.wire, |wire| name(wire, &WIRES));
        keys.differing("latency", &given.latency, &default.latency, distributions::text);
        keys.differing("jitter", &given.jitter, &default.jitter, distributions::text);
        keys.differing("bandwidth", &given.bandwidth, &default.bandwidth, rate);
        keys.differing("nic", &given.nic, &default.nic, rate);
        let (factor, default_factor) = (&given.tensor_factor, &default.tensor_factor);
        keys.differing("tensor_factor", factor, default_factor, u32::to_string);
        let (timeout, default_timeout) = (&given.connect_timeout, &default.connect_timeout);
        keys.differing("connect_timeout", timeout, default_timeout, duration);
    });
    for LinkOverride { from, to, latency, jitter, bandwidth } in &given.links {
        file.table("[[network.link]]", |keys| {
            keys.put("from", tasks(from));
            keys.put("to", tasks(to));
            keys.given("latency", latency.as_ref(), distributions::text);
            keys.given("jitter", jitter.as_ref(), distributions::text);
            keys.given("bandwidth", bandwidth.as_ref(), |bytes| rate(&Some(*bytes)));
        });
    }
}

fn fault(keys: &mut Keys, fault: &Fault) {
    keys.put("id", quoted(&fault.id));
    keys.put("kind", quoted(fault.kind.family().name()));
    kind(keys, &fault.kind);
    match &fault.trigger {
        Trigger::At(time) => keys.put("at", duration(time)),
        Trigger::AtStep(step) => keys.put("at_step", step),
        Trigger::On(on) => keys.put("on", pattern(on)),
    }
    match &fault.end {
        None => {}
        Some(End::For(time)) => keys.put("for", duration(time)),
        Some(End::UntilStep(step)) => keys.put("until_step", step),
    }
    keys.differing("may_be_inert", &fault.may_be_inert, &false, bool::to_string);
}

fn pattern(on: &EventPattern) -> String {
    let mut parts = Vec::new();
    parts.extend(on.event.map(|event| format!("event = {}", quoted(event.name()))));
    parts.extend(on.node.map(|node| format!("node = {}", task(&node))));
    parts.extend(on.step.map(|step| format!("step = {step}")));
    if on.nth != 1 {
        parts.push(format!("nth = {}", on.nth));
    }
    if on.when != When::After {
        parts.push(format!("when = {}", name(&on.when, &WHENS)));
    }
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

fn kind(keys: &mut Keys, kind: &FaultKind) {
    if let Some((from, to)) = ends(kind) {
        keys.put("from", tasks(from));
        keys.put("to", tasks(to));
    }
    match kind {
        FaultKind::Crash { node, peers, power_loss } => {
            keys.put("node", tasks(node));
            keys.differing("peers", peers, &PeersSee::Silence, |peers| name(peers, &PEERS));
            keys.differing("power_loss", power_loss, &false, bool::to_string);
        }
        FaultKind::Pause { node } | FaultKind::Stop { node } => keys.put("node", tasks(node)),
        FaultKind::Slow { node, factor } => {
            keys.put("node", tasks(node));
            keys.put("factor", format!("{factor:?}"));
        }
        FaultKind::Delay { by, .. } => keys.put("by", distributions::text(by)),
        FaultKind::Partition { both_ways, mode, .. } => {
            keys.differing("both_ways", both_ways, &true, bool::to_string);
            keys.differing("mode", mode, &PartitionMode::Stop, |mode| name(mode, &PARTITIONS));
        }
        FaultKind::Connect { mode, .. } => {
            keys.differing("mode", mode, &ConnectMode::Refuse, |mode| name(mode, &CONNECTS));
        }
        FaultKind::NarrowLink { rate: bytes, .. } => keys.put("rate", rate(&Some(*bytes))),
        FaultKind::SlowReader { node, rate: bytes } => {
            keys.put("node", tasks(node));
            keys.put("rate", rate(&Some(*bytes)));
        }
        FaultKind::Disk { mode: DiskMode::Slow(factor) } => {
            keys.put("mode", quoted("slow"));
            keys.put("factor", factor);
        }
        FaultKind::Disk { mode } => keys.put("mode", name(mode, &DISKS)),
        FaultKind::Clock { node, skew_ppm, jump, set_back } => {
            keys.put("node", tasks(node));
            keys.differing("skew_ppm", skew_ppm, &0, i32::to_string);
            keys.differing("jump", jump, &Duration::ZERO, duration);
            keys.differing("set_back", set_back, &Duration::ZERO, duration);
        }
        FaultKind::Gradient { node, mode } => {
            keys.put("node", tasks(node));
            keys.put("mode", name(mode, &GRADIENTS));
        }
        FaultKind::Reset { .. }
        | FaultKind::HalfOpen { .. }
        | FaultKind::Duplicate { .. }
        | FaultKind::Corrupt { .. } => {}
    }
}

const fn ends(kind: &FaultKind) -> Option<(&TaskSet, &TaskSet)> {
    match kind {
        FaultKind::Delay { from, to, .. }
        | FaultKind::Partition { from, to, .. }
        | FaultKind::Reset { from, to }
        | FaultKind::HalfOpen { from, to }
        | FaultKind::Duplicate { from, to }
        | FaultKind::Connect { from, to, .. }
        | FaultKind::Corrupt { from, to }
        | FaultKind::NarrowLink { from, to, .. } => Some((from, to)),
        _ => None,
    }
}

fn chaos(keys: &mut Keys, given: &Chaos) {
    let default = Chaos::default();
    keys.differing("families", &given.families, &default.families, |families| {
        let names: Vec<_> = families.iter().map(|family| quoted(family.name())).collect();
        format!("[{}]", names.join(", "))
    });
    let counts = |least, most| {
        move |range: &Range<u32>| {
            ranges::text(range, Range { min: least, max: most }, |end: u32| end.to_string())
        }
    };
    keys.differing("swarm", &given.swarm, &default.swarm, bool::to_string);
    keys.differing("faults", &given.faults, &default.faults, counts(0, chaos::MOST_FAULTS));
    keys.differing("within", &given.within, &default.within, duration);
    keys.differing("longest", &given.longest, &default.longest, duration);
    keys.given("ps", given.ps.as_ref(), counts(1, MOST_PS));
    keys.given("workers", given.workers.as_ref(), counts(1, MOST_WORKERS));
    let replicas = given.replicas_to_aggregate.as_ref();
    keys.given("replicas_to_aggregate", replicas, counts(1, MOST_REPLICAS));
    keys.given("slots_per_worker", given.slots_per_worker.as_ref(), counts(1, MOST_SLOTS));
    let factor = given.tensor_factor.as_ref();
    keys.given("tensor_factor", factor, counts(1, MOST_TIMES_AS_LARGE));
    keys.differing("optimizer", &given.optimizer, &default.optimizer, bool::to_string);
}

fn expect(file: &mut File, given: &Expect, shape: &Shape) {
    let count = |range: &Range<u64>| ranges::text(range, COUNTS, |end: u64| end.to_string());
    file.section("[expect]", |keys| {
        match &given.outcome {
            ExpectedOutcome::Finished => {}
            ExpectedOutcome::Failed { because } => {
                keys.put("outcome", quoted("failed"));
                keys.put("because", quoted(because));
            }
            ExpectedOutcome::Any => keys.put("outcome", quoted("any")),
        }
        keys.given("final_step", given.final_step.as_ref(), ToString::to_string);
        let oracle = default_oracle(&given.outcome, shape);
        keys.differing("oracle", &given.oracle, &oracle, |oracle| name(oracle, &ORACLES));
        keys.given("golden", given.golden.as_ref(), |path| quoted(&path.to_string_lossy()));
        let gradients = given.gradients_per_update.as_ref();
        keys.given("gradients_per_update", gradients, ToString::to_string);
        keys.given("duplicates", given.duplicates.as_ref(), count);
        keys.given("stale", given.stale.as_ref(), count);
        keys.given("fenced", given.fenced.as_ref(), count);
        keys.given("rollbacks", given.rollbacks.as_ref(), count);
        keys.given("left_behind", given.left_behind.as_ref(), count);
        keys.given("virtual_time", given.virtual_time.as_ref(), |range| {
            ranges::text(range, TIMES, |end: Duration| duration(&end))
        });
    });
    for ExpectedEvent { event, node, step, times } in &given.events {
        file.table("[[expect.event]]", |keys| {
            keys.put("event", quoted(event.name()));
            keys.given("node", node.as_ref(), task);
            keys.given("step", step.as_ref(), ToString::to_string);
            keys.differing("times", times, &ONCE, count);
        });
    }
}
