//! A failure, so that a person can see what happened: what is wrong, what led there, where each
//! node stood, which faults bit, and the command that plays it again.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;
use unisono_core::TaskId;
use unisono_core::protocol::{Outcome, Status};

use crate::ComputeCaches;
use crate::invariants::Violation;
use crate::many::case::Case;
use crate::many::tally::Brief;
use crate::record::trace::{Trace, TracedEvent};
use crate::run::failure::Failure;
use crate::run::played::{PlayOptions, Played};
use crate::scenario::{Place, Scenario, nanos};
use crate::world::life::LifeId;
use unisono_observe::trace::EventKind;

/// The last links of the chain that are shown.
const LONGEST_CHAIN: usize = 15;
/// Counts that tell a story; the others are in the JSON.
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

/// All that is to be said of a failure. The names of its fields are those of the JSON output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// [`Failure::signature`].
    pub signature: String,
    /// The rule of `docs/protocol.md` that is broken; 0 if it is none of them.
    pub rule: u8,
    /// What is wrong, for a person.
    pub text: String,
    /// Every expectation of the scenario that is not met.
    pub expectations: Vec<ExpectationNote>,
    /// At which step, if it is about one.
    pub step: Option<u64>,
    /// Which variable, shard or file, if it is about one.
    pub subject: Option<String>,
    /// Where two tensors differ first, if it is about that.
    pub difference: Option<DifferenceNote>,
    /// The exit code that tells its kind.
    pub exit_code: u8,
    /// The event at which the chain ends.
    pub chain_ends_at: ChainEnd,
    /// What led there, oldest first.
    pub chain: Vec<ChainLink>,
    /// Events of the chain that are older, and left out.
    pub chain_left_out: usize,
    /// The present life of each task.
    pub nodes: Vec<NodeNote>,
    /// What each fault did.
    pub faults: Vec<FaultNote>,
    /// How often each kind of event happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Virtual time, in nanoseconds.
    pub virtual_time_ns: u64,
    /// Events of the universe.
    pub events: u64,
    /// The hash of everything that happened.
    pub audit: String,
    /// The hash of the order of events, without their times.
    pub order: String,
    /// What the second run of the same did, if that was something else: runs are not reproducible.
    pub not_reproducible: Option<String>,
    /// The file that keeps the run.
    pub capsule: Option<String>,
    /// The command that plays it again.
    pub replay: Option<String>,
}

/// An expectation of the scenario that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectationNote {
    /// Its name, as in a signature.
    pub name: &'static str,
    /// What happened, and what was expected.
    pub text: String,
    /// The line of the scenario file; `None` for a default.
    pub place: Option<Place>,
}

/// The event at which the chain of events ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainEnd {
    /// The event that failed.
    Failure,
    /// The event after which the first expectation could not be met any more.
    BrokenExpectation,
    /// The last event: something that was expected never happened.
    EndOfRun,
}

/// The first place at which two tensors differ. Numbers that are none are texts in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferenceNote {
    /// Which element.
    pub element: usize,
    /// What it should be.
    pub want: String,
    /// What it is.
    pub got: String,
    /// How many floats lie between the two.
    pub ulps: Option<u32>,
}

/// An event that led to a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// Who.
    pub node: String,
    /// What.
    pub text: String,
    /// What the node did.
    pub effects: Vec<String>,
}

/// Where a node stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeNote {
    /// Who.
    pub node: String,
    /// What it said of itself last.
    pub status: String,
    /// How it ended, if it did.
    pub outcome: Option<String>,
}

/// What a fault did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultNote {
    /// Its name in the scenario.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it began.
    pub began: bool,
    /// How often it changed what would have happened.
    pub bites: u64,
}

/// A failing run, played again with a trace.
#[derive(Debug)]
pub struct Explained {
    /// What is to be said of it.
    pub report: Report,
    /// The second run.
    pub played: Played,
}

/// Plays a run that failed again, to tell why. Runs are deterministic: if the second one is
/// another, the report says that before all.
#[must_use]
pub fn explain(
    name: &str,
    case: &Case,
    first: &Brief,
    caches: &ComputeCaches,
    options: PlayOptions,
) -> Explained {
    let failure = first.failure.as_ref().expect("only a failure is explained");
    // A run that never comes back tells nothing the second time, either.
    let is_stuck = matches!(failure, Failure::Stuck(_));
    let played = case.play(caches, PlayOptions { trace: !is_stuck, ..options });
    let mut report = Report::of(name, &case.scenario, failure, &played);
    report.not_reproducible = difference(first, failure, &played).filter(|_| !is_stuck);
    Explained { report, played }
}

fn difference(first: &Brief, failure: &Failure, second: &Played) -> Option<String> {
    let signature = |failure: &Failure| failure.signature();
    let second_signature = second.failure.as_ref().map(signature);
    if second_signature.as_deref() == Some(&signature(failure)) && first.audit == second.audit {
        return None;
    }
    let second_signature = second_signature.unwrap_or_else(|| "no failure".to_owned());
    let (first_audit, second_audit) = (first.audit, second.audit);
    Some(format!(
        "the first run: {}, audit {first_audit}; the second: {second_signature}, audit \
         {second_audit}",
        signature(failure)
    ))
}

impl Report {
    /// Of a run that failed so; `played` has a trace, unless there is none.
    #[must_use]
    pub fn of(name: &str, scenario: &Scenario, failure: &Failure, played: &Played) -> Self {
        let violation = match failure {
            Failure::Violation(violation) => Some(violation),
            _ => None,
        };
        let trace = played.trace.as_ref();
        // A run that was broken off has no end of its own.
        let end = trace.and_then(|trace| trace.events.last()).map(|event| event.at);
        let last = trace.and_then(|trace| last_of_chain(trace, failure));
        let links = trace.zip(last).map_or_else(Vec::new, |(trace, last)| trace.chain(last));
        let mut chain: Vec<_> = links.into_iter().map(|(_, event)| ChainLink::of(event)).collect();
        let chain_left_out = chain.len().saturating_sub(LONGEST_CHAIN);
        chain.drain(..chain_left_out);
        Self {
            scenario: name.to_owned(),
            seed: played.seed,
            signature: failure.signature(),
            rule: violation.map_or(0, |violation| violation.rule),
            text: failure.to_string(),
            expectations: played.unmet.iter().map(ExpectationNote::of).collect(),
            step: violation.and_then(|violation| violation.step).map(|step| step.0),
            subject: violation.and_then(|violation| violation.subject.clone()),
            difference: violation.and_then(DifferenceNote::of),
            exit_code: failure.exit_code(),
            chain_ends_at: ChainEnd::of(failure),
            chain,
            chain_left_out,
            nodes: trace.map_or_else(Vec::new, |trace| nodes(trace, played)),
            faults: fault_notes(scenario, played),
            counts: played.counts.iter().map(|(kind, n)| (kind.name(), *n)).collect(),
            virtual_time_ns: nanos(end.unwrap_or_default().max(played.took)),
            events: played.n_events,
            audit: played.audit.to_string(),
            order: played.order.to_string(),
            not_reproducible: None,
            capsule: None,
            replay: None,
        }
    }

    /// With the file that keeps the run, and the command that plays it.
    #[must_use]
    pub fn kept_in(mut self, capsule: &str) -> Self {
        self.replay = Some(format!("unisono-sim replay {}", quoted(capsule)));
        self.capsule = Some(capsule.to_owned());
        self
    }

    /// With the command that plays it from its scenario file.
    #[must_use]
    pub fn played_from(mut self, path: &str) -> Self {
        let seed = self.seed;
        self.replay = Some(format!("unisono-sim replay {} --seed {seed}", quoted(path)));
        self
    }
}

/// A path, as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Returns the number of the event that a failure is about: the event that broke an expectation, the
/// update of a step whose result was found to be wrong at the end, or else the last event. A fault
/// without effect is about no event.
pub(crate) fn last_of_chain(trace: &Trace, failure: &Failure) -> Option<usize> {
    let of_step = |step| {
        move |event: &TracedEvent| {
            event.what.kind == EventKind::Updated && event.what.step == Some(step)
        }
    };
    let found = match failure {
        Failure::FaultWithoutEffect { .. } => return None,
        Failure::Violation(Violation { unmet: Some(unmet), .. }) => {
            unmet.broken_by.as_ref().and_then(|breaker| breaker.find(trace))
        }
        Failure::Violation(Violation { rule: 0, step: Some(step), .. }) => {
            trace.events.iter().rposition(of_step(*step))
        }
        _ => None,
    };
    found.or_else(|| trace.events.len().checked_sub(1))
}

impl ChainEnd {
    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Violation(Violation { unmet: Some(unmet), .. }) => {
                if unmet.broken_by.is_some() { Self::BrokenExpectation } else { Self::EndOfRun }
            }
            _ => Self::Failure,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Failure => "what led there",
            Self::BrokenExpectation => "what led to the event that broke the expectation",
            Self::EndOfRun => "what led to the end of the run",
        }
    }
}

impl ExpectationNote {
    fn of(violation: &Violation) -> Self {
        let place = violation.unmet.as_ref().and_then(|unmet| unmet.place.clone());
        Self { name: violation.name, text: violation.what.clone(), place }
    }
}

impl fmt::Display for ExpectationNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.text)?;
        match &self.place {
            Some(place) => writeln!(f, "    {place}"),
            None => Ok(()),
        }
    }
}

impl ChainLink {
    /// An event of a trace.
    #[must_use]
    pub fn of(event: &TracedEvent) -> Self {
        Self {
            at_ns: nanos(event.at),
            node: event.life.to_string(),
            text: event.text.clone(),
            effects: event.effects.iter().map(|effect| effect.text.clone()).collect(),
        }
    }
}

impl DifferenceNote {
    fn of(violation: &Violation) -> Option<Self> {
        violation.difference.map(|difference| Self {
            element: difference.index,
            want: difference.want.to_string(),
            got: difference.got.to_string(),
            ulps: difference.ulps,
        })
    }
}

/// The last life of each task, with where it stood.
fn nodes(trace: &Trace, played: &Played) -> Vec<NodeNote> {
    // Lives of a task are in order: the last one is kept.
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

fn fault_notes(scenario: &Scenario, played: &Played) -> Vec<FaultNote> {
    let faults = scenario.faults.iter().zip(&played.faults);
    let note = |(fault, bites): (&crate::scenario::Fault, &crate::FaultEffects)| FaultNote {
        id: fault.id.clone(),
        kind: fault.kind.family().name(),
        began: bites.has_begun,
        bites: bites.n_effects,
    };
    faults.map(note).collect()
}

/// Nodes that the text of a report lists: a cluster of a thousand must not hide the rest of it.
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
            writeln!(f, "\n  where each node stood")?;
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
        for FaultNote { id, kind, began, bites } in &self.faults {
            let did = match (began, bites) {
                (false, _) => "never began".to_owned(),
                (true, 0) => "began, and never bit".to_owned(),
                (true, 1) => "bit once".to_owned(),
                (true, n) => format!("bit {n} times"),
            };
            writeln!(f, "    {id:<19} {kind}: {did}")?;
        }
        let counts = OF_NOTE.iter().filter_map(|kind| {
            self.counts.get(kind.name()).map(|n| format!("{} {n}", kind.name()))
        });
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
    /// All that is wrong. An expectation has its line below it.
    fn write_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chain_ends_at == ChainEnd::Failure {
            writeln!(f, "  {}", self.text)?;
            if !self.expectations.is_empty() {
                writeln!(f, "  and not as the scenario expects:")?;
            }
        }
        self.expectations.iter().try_for_each(|note| write!(f, "{note}"))
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
    /// Its lines, each with something before it.
    #[must_use]
    pub fn lines(&self, before: &str) -> String {
        let Self { at_ns, node, text, effects } = self;
        let mut lines = String::new();
        let at = format!("{:?}", Duration::from_nanos(*at_ns));
        writeln!(lines, "{before}{at:>14}  {node:<19} {text}").expect("a String takes all");
        for effect in effects {
            writeln!(lines, "{before}{:>14}  {:<19} → {effect}", "", "").expect("as above");
        }
        lines
    }
}
