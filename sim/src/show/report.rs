//! The report of a failure: the description of the failure, the events that led to the failure, the
//! last state of each node, the effects of the faults, and the command that replays the run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unisono_core::TaskId;
use unisono_core::protocol::{Outcome, Status};
use unisono_rules::{LifeId, Violation};

use crate::ComputeCaches;
use crate::many::case::Case;
use crate::record::trace::{Trace, TracedEvent};
use crate::run::failure::Failure;
use crate::run::played::{PlayOptions, Played};
use crate::run::unmet::Unmet;
use crate::scenario::{Family, Place, nanos};
use crate::world::active_faults::FaultEffects;
use unisono_observe::counted::counted;
use unisono_observe::trace::EventKind;

/// The maximum number of events in the chain that a report shows. A report leaves out the oldest
/// events of a longer chain.
const LONGEST_CHAIN: usize = 15;
/// The kinds of events that the text of a report counts. The JSON output has the counts of all
/// kinds.
const OF_NOTE: [EventKind; 16] = [
    EventKind::Starts,
    EventKind::ConnectFailed,
    EventKind::PeerDown,
    EventKind::TurnedAway,
    EventKind::Waits,
    EventKind::DropsStale,
    EventKind::DropsDuplicate,
    EventKind::DropsFenced,
    EventKind::DropsSurplus,
    EventKind::Adopts,
    EventKind::Restores,
    EventKind::Saved,
    EventKind::SaveFailed,
    EventKind::ReadFailed,
    EventKind::Fails,
    EventKind::Finishes,
];

/// The report of a failure. The field names are those of the JSON output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// [`Failure::signature`].
    pub signature: String,
    /// The number of the violated rule in `docs/protocol.md`; 0 if the failure violates no rule.
    pub rule: u8,
    /// The failure as text for the user.
    pub text: String,
    /// The expectations of the scenario that are not met.
    pub expectations: Vec<ExpectationNote>,
    /// The step of the failure; `None` if the failure belongs to no step.
    pub step: Option<u64>,
    /// The variable, shard or file in which the failure was found; `None` if the failure names
    /// none.
    pub subject: Option<String>,
    /// The first element in which two tensors differ, if the failure compares tensors.
    pub difference: Option<DifferenceNote>,
    /// The exit code for this kind of failure.
    pub exit_code: u8,
    /// The kind of event at which the chain of events ends.
    pub chain_ends_at: ChainEnd,
    /// The chain of events that led to the failure, oldest first.
    pub chain: Vec<ChainLink>,
    /// Number of events at the beginning of the chain that the report leaves out.
    pub chain_left_out: usize,
    /// The state of the last incarnation of each task.
    pub nodes: Vec<NodeNote>,
    /// The effects of each fault.
    pub faults: Vec<FaultNote>,
    /// Number of events of each kind.
    pub counts: BTreeMap<EventKind, u64>,
    /// Virtual time of the run, in nanoseconds.
    pub virtual_time_ns: u64,
    /// Number of events of the simulated world.
    pub events: u64,
    /// The hash of all events.
    pub audit: String,
    /// The hash of the order of events, without the times of the events.
    pub order: String,
    /// The difference between the first run and the run that was played for this report. `None` if
    /// the two runs are equal, which is the normal case.
    pub not_reproducible: Option<String>,
    /// The path of the failure capsule.
    pub capsule: Option<String>,
    /// The command that replays the run.
    pub replay: Option<String>,
}

/// An expectation of the scenario that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationNote {
    /// The name of the expectation, as in signatures.
    pub name: String,
    /// The actual value and the expected value.
    pub text: String,
    /// The line of the scenario file that states the expectation; `None` for a default expectation.
    pub place: Option<Place>,
}

/// The event at which the chain of events ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainEnd {
    /// The event at which the failure was found.
    Failure,
    /// The event after which the first unmet expectation could no longer be met.
    BrokenExpectation,
    /// The last event of the run, because an expected event never happened.
    EndOfRun,
}

/// The first element in which two tensors differ. The values are texts, because JSON has no NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferenceNote {
    /// The index of the element.
    pub element: usize,
    /// The expected value.
    pub want: String,
    /// The actual value.
    pub got: String,
    /// The distance between the two values in ulps (steps from one float to the next); `None` if
    /// one of the values is NaN.
    pub ulps: Option<u32>,
}

/// An event that led to a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The virtual time of the event, in nanoseconds.
    pub at_ns: u64,
    /// The name of the task. From the second incarnation on, the name includes the number of the
    /// incarnation.
    pub node: String,
    /// A description of the input.
    pub text: String,
    /// Descriptions of the node's effects.
    pub effects: Vec<String>,
}

/// The state of a node at the end of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNote {
    /// The name of the task. From the second incarnation on, the name includes the number of the
    /// incarnation.
    pub node: String,
    /// The last status that the node reported.
    pub status: String,
    /// The outcome of the task, if it ended.
    pub outcome: Option<String>,
}

/// The effects of a fault, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultNote {
    /// The id of the fault in the scenario.
    pub id: String,
    /// The kind of the fault.
    pub kind: Family,
    /// Whether the fault began.
    pub began: bool,
    /// The number of times that the fault changed the course of the run. The JSON output calls this
    /// field `bites`.
    #[serde(rename = "bites")]
    pub effects: u64,
}

/// The report of a failing run, and the replay from which the report was made.
#[derive(Debug)]
pub struct Explained {
    /// The report of the failure.
    pub report: Report,
    /// The result of the run that was played for the report.
    pub played: Played,
}

/// Replays a failed run with a trace, and explains the failure. Runs are deterministic, so the
/// replay should equal the first run. If the replay differs, the report begins with the difference.
pub(crate) fn explain(
    name: &str,
    case: &Case,
    first: &Played,
    caches: &ComputeCaches,
    options: PlayOptions,
) -> Explained {
    let failure = first.failure.as_ref().expect("only failures are explained");
    // A run that never returns would also not return a trace when it is played again.
    let is_stuck = matches!(failure, Failure::Stuck(_));
    let played = case.play(caches, PlayOptions { trace: !is_stuck, ..options });
    let mut report = Report::new(name, failure, &played);
    report.not_reproducible = difference(first, failure, &played).filter(|_| !is_stuck);
    Explained { report, played }
}

fn difference(first: &Played, failure: &Failure, second: &Played) -> Option<String> {
    let signature = |failure: &Failure| failure.signature();
    let second_signature = second.failure.as_ref().map(signature);
    if second_signature.as_deref() == Some(&signature(failure)) && first.audit == second.audit {
        return None;
    }
    let second_signature = second_signature.unwrap_or_else(|| "no failure".to_owned());
    let (first_audit, second_audit) = (first.audit, second.audit);
    Some(format!(
        "first run: {}, audit {first_audit}; second run: {second_signature}, audit {second_audit}",
        signature(failure)
    ))
}

impl Report {
    /// Returns the report of a failure. The report has no chain of events if `played` has no trace.
    pub(crate) fn new(name: &str, failure: &Failure, played: &Played) -> Self {
        let (rule, step) = match failure {
            Failure::Violation(Violation { rule, step, .. })
            | Failure::Unmet(Unmet { rule, step, .. }) => (*rule, *step),
            _ => (0, None),
        };
        let violation = match failure {
            Failure::Violation(violation) => Some(violation),
            _ => None,
        };
        let trace = played.trace.as_ref();
        // The time of the last event is the end of the run. A run that a violation stopped may have
        // no task that ended.
        let end = trace.and_then(|trace| trace.events.last()).map(|event| event.at);
        let last = trace.and_then(|trace| last_of_chain(trace, failure));
        let links = trace.zip(last).map_or_else(Vec::new, |(trace, last)| trace.chain(last));
        let mut chain: Vec<_> =
            links.into_iter().map(|(_, event)| ChainLink::from_event(event)).collect();
        let chain_left_out = chain.len().saturating_sub(LONGEST_CHAIN);
        chain.drain(..chain_left_out);
        Self {
            scenario: name.to_owned(),
            seed: played.seed,
            signature: failure.signature(),
            rule,
            text: failure.to_string(),
            expectations: played.unmet.iter().map(ExpectationNote::from_unmet).collect(),
            step: step.map(|step| step.0),
            subject: violation.and_then(|violation| violation.subject.clone()),
            difference: violation.and_then(DifferenceNote::from_violation),
            exit_code: failure.exit_code(),
            chain_ends_at: ChainEnd::for_failure(failure),
            chain,
            chain_left_out,
            nodes: trace.map_or_else(Vec::new, |trace| nodes(trace, played)),
            faults: played.faults.iter().map(fault_note).collect(),
            counts: played.counts.iter().copied().collect(),
            virtual_time_ns: nanos(end.unwrap_or_default().max(played.took)),
            events: played.n_events,
            audit: played.audit.to_string(),
            order: played.order.to_string(),
            not_reproducible: None,
            capsule: None,
            replay: None,
        }
    }

    /// Adds to the report the path of the failure capsule, and the command that replays the
    /// capsule.
    pub(crate) fn kept_in(mut self, capsule: &str) -> Self {
        self.replay = Some(format!("unisono-sim replay {}", quoted(capsule)));
        self.capsule = Some(capsule.to_owned());
        self
    }

    /// Adds to the report the command that replays the run from its scenario file.
    pub(crate) fn played_from(mut self, path: &str) -> Self {
        let seed = self.seed;
        self.replay = Some(format!("unisono-sim replay {} --seed {seed}", quoted(path)));
        self
    }
}

/// Quotes a path for a shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Returns the index of the last event in the chain of events that led to a failure. The chain of
/// an unmet expectation ends at the event that broke the expectation. The chain of a wrong result
/// that was found after the run ends at the update of the wrong step. All other chains end at the
/// last event of the run. Returns `None` if the failure is that a fault had no effect.
pub(crate) fn last_of_chain(trace: &Trace, failure: &Failure) -> Option<usize> {
    let of_step = |step| {
        move |event: &TracedEvent| {
            event.what.kind == EventKind::Updated && event.what.step == Some(step)
        }
    };
    let found = match failure {
        Failure::FaultWithoutEffect { .. } => return None,
        Failure::Unmet(unmet) => unmet.broken_by.as_ref().and_then(|breaker| breaker.find(trace)),
        Failure::Violation(Violation { rule: 0, step: Some(step), .. }) => {
            trace.events.iter().rposition(of_step(*step))
        }
        _ => None,
    };
    found.or_else(|| trace.events.len().checked_sub(1))
}

impl ChainEnd {
    const fn for_failure(failure: &Failure) -> Self {
        match failure {
            Failure::Unmet(Unmet { broken_by: Some(_), .. }) => Self::BrokenExpectation,
            Failure::Unmet(_) => Self::EndOfRun,
            _ => Self::Failure,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Failure => "events that led to the failure",
            Self::BrokenExpectation => "events that led to the broken expectation",
            Self::EndOfRun => "events that led to the end of the run",
        }
    }
}

impl ExpectationNote {
    fn from_unmet(unmet: &Unmet) -> Self {
        Self { name: unmet.name.to_owned(), text: unmet.what.clone(), place: unmet.place.clone() }
    }
}

impl ChainLink {
    /// Describes an event of a trace.
    pub(crate) fn from_event(event: &TracedEvent) -> Self {
        Self {
            at_ns: nanos(event.at),
            node: event.life.to_string(),
            text: event.text.clone(),
            effects: event.effects.iter().map(|effect| effect.text.clone()).collect(),
        }
    }
}

impl DifferenceNote {
    fn from_violation(violation: &Violation) -> Option<Self> {
        violation.difference.map(|difference| Self {
            element: difference.index,
            want: difference.want.to_string(),
            got: difference.got.to_string(),
            ulps: difference.ulps,
        })
    }
}

/// Returns the state of the last incarnation of each task.
fn nodes(trace: &Trace, played: &Played) -> Vec<NodeNote> {
    // The incarnations of a task are in ascending order, so the last one replaces the others in the
    // map.
    let last: BTreeMap<TaskId, (LifeId, &Status)> =
        trace.statuses.iter().map(|(life, status)| (life.task, (*life, status))).collect();
    let note = |(life, status): (LifeId, &Status)| {
        let outcome = played.outcomes.get(&life.task).map(outcome_text);
        let Status { at, does } = status;
        NodeNote {
            node: life.to_string(),
            status: if outcome.is_some() { at.clone() } else { format!("{at}; {does}") },
            outcome,
        }
    };
    last.into_values().map(note).collect()
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "finished".to_owned(),
        Outcome::Stopped { saved: None } => "stopped".to_owned(),
        Outcome::Stopped { saved: Some(step) } => format!("stopped, with step {step} saved"),
        Outcome::Failed(failure) => format!("failed: {failure}"),
        Outcome::Outdated { exceed, .. } => format!("refused as older than incarnation {exceed}"),
    }
}

fn fault_note(fault: &FaultEffects) -> FaultNote {
    let FaultEffects { id, kind, began, n_effects, .. } = fault;
    FaultNote { id: id.clone(), kind: *kind, began: began.is_some(), effects: *n_effects }
}

/// The maximum number of nodes in the text of a report. All nodes of a large cluster would hide the
/// other parts of the report.
const MOST_NODES: usize = 32;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(difference) = &self.not_reproducible {
            writeln!(f, "THIS RUN IS NOT REPRODUCIBLE, which is worse than its failure:")?;
            writeln!(f, "  {difference}")?;
        }
        writeln!(f, "✗ {}, seed {}: {}", self.scenario, self.seed, self.signature)?;
        self.write_text(f)?;
        self.write_chain(f)?;
        if !self.nodes.is_empty() {
            writeln!(f, "\n  state of each node")?;
        }
        for NodeNote { node, status, outcome } in self.nodes.iter().take(MOST_NODES) {
            let ended = outcome.as_ref().map_or_else(String::new, |how| format!(" ({how})"));
            writeln!(f, "    {node:<19} {status}{ended}")?;
        }
        if let Some(more @ 1..) = self.nodes.len().checked_sub(MOST_NODES) {
            writeln!(f, "    and {more} more nodes; --json lists all")?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "\n  faults")?;
        }
        for FaultNote { id, kind, began, effects } in &self.faults {
            let did = match (began, effects) {
                (false, _) => "never began".to_owned(),
                (true, 0) => "began, no effect".to_owned(),
                (true, n) => counted(*n, "effect"),
            };
            writeln!(f, "    {id:<19} {}: {did}", kind.name())?;
        }
        let counts =
            OF_NOTE.iter().filter_map(|kind| self.counts.get(kind).map(|n| format!("{kind} {n}")));
        let counts: Vec<_> = counts.collect();
        if !counts.is_empty() {
            writeln!(f, "\n  counts: {}", counts.join(", "))?;
        }
        let took = Duration::from_nanos(self.virtual_time_ns);
        let (events, audit, order) = (self.events, &self.audit, &self.order);
        writeln!(
            f,
            "  run: {took:?} of virtual time, {events} events, audit {audit}, order {order}"
        )?;
        match &self.replay {
            Some(command) => writeln!(f, "  replay: {command}"),
            None => Ok(()),
        }
    }
}

impl Report {
    /// Writes the failure, and the unmet expectations with their lines in the scenario file.
    fn write_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chain_ends_at == ChainEnd::Failure {
            writeln!(f, "  {}", self.text)?;
            if !self.expectations.is_empty() {
                writeln!(f, "  expectations that are not met:")?;
            }
        }
        for ExpectationNote { text, place, .. } in &self.expectations {
            writeln!(f, "  {text}")?;
            if let Some(place) = place {
                writeln!(f, "    {place}")?;
            }
        }
        Ok(())
    }

    fn write_chain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chain.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  {}", self.chain_ends_at.heading())?;
        if self.chain_left_out > 0 {
            writeln!(f, "    … {} earlier", self.chain_left_out)?;
        }
        self.chain.iter().try_for_each(|link| write!(f, "{}", link.lines("    ")))
    }
}

impl ChainLink {
    /// Returns the event as lines of text, each with the prefix `before`.
    pub(crate) fn lines(&self, before: &str) -> String {
        let Self { at_ns, node, text, effects } = self;
        let at = format!("{:?}", Duration::from_nanos(*at_ns));
        let effect = |effect| format!("{before}{:>14}  {:<19} → {effect}\n", "", "");
        let effects: String = effects.iter().map(effect).collect();
        format!("{before}{at:>14}  {node:<19} {text}\n{effects}")
    }
}
