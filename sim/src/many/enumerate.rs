//! All moments at which a node can crash: before and after each input, and between any two effects
//! of an input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use unisono_core::TaskId;
use unisono_core::random::Stream;

use crate::many::case::Case;
use crate::record::trace::Trace;
use crate::scenario::{
    End, EventPattern, Expect, Fault, FaultKind, PeersSee, Scenario, TaskSet, Trigger, When,
};
use crate::streams::Purpose;
use unisono_observe::trace::EventKind;

/// A moment at which a node crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// The task that crashes.
    pub node: TaskId,
    /// The kind of effect at which the node crashes; `None` if the node crashes at an input.
    pub at: Option<EventKind>,
    /// The number of the effect among the node's effects of the same kind, or of the input among
    /// all inputs of the node. Counted from 1.
    pub nth: u64,
    /// Whether the node crashes before the effect or input, or after it.
    pub when: When,
}

/// Returns all moments at which a node of a traced run can crash.
pub(crate) fn crash_points(trace: &Trace) -> Vec<CrashPoint> {
    let mut counts: BTreeMap<(TaskId, Option<EventKind>), u64> = BTreeMap::new();
    let mut points = Vec::new();
    for event in &trace.events {
        let node = event.life.task;
        let mut count = |at| {
            let nth = counts.entry((node, at)).or_default();
            *nth += 1;
            *nth
        };
        let nth = count(None);
        points.push(CrashPoint { node, at: None, nth, when: When::Before });
        // No crash is planned before the first effect, because its result equals that of a crash
        // before the input.
        let mut is_first = true;
        for effect in &event.effects {
            let at = Some(effect.what.kind);
            let nth = count(at);
            // A report changes no state, so a crash beside a report is the same as a crash beside
            // the next effect that is not a report.
            if effect.is_report {
                continue;
            }
            if !is_first {
                points.push(CrashPoint { node, at, nth, when: When::Before });
            }
            is_first = false;
        }
        points.push(CrashPoint { node, at: None, nth, when: When::After });
    }
    points
}

/// Draws pairs of crash points with a seed.
pub(crate) fn pairs(points: &[CrashPoint], n_pairs: u64, seed: u64) -> Vec<[CrashPoint; 2]> {
    let mut stream = Stream::new(seed, Purpose::CrashPairs, 0, 0);
    let mut pick = || points[stream.below(points.len() as u64) as usize];
    if points.is_empty() { Vec::new() } else { (0..n_pairs).map(|_| [pick(), pick()]).collect() }
}

/// Returns a case with additional crashes. The expected events, the expected virtual time, and the
/// expected numbers of dropped gradients and rollbacks are removed, because a crash may change
/// them.
pub(crate) fn with_crashes(case: &Case, points: &[CrashPoint], restart_after: Duration) -> Case {
    let scenario = &*case.scenario;
    let crash = |(number, point): (usize, &CrashPoint)| {
        let CrashPoint { node, at, nth, when } = *point;
        let side = if when == When::Before { "before" } else { "after" };
        let what = at.map_or("input", EventKind::name);
        let pattern = EventPattern { event: at, node: Some(node), step: None, nth, when };
        let crash = FaultKind::Crash {
            node: TaskSet::Task(node),
            peers: PeersSee::default(),
            power_loss: false,
        };
        Fault {
            id: format!("crash {} of {node} {side} its {what} {nth}", number + 1),
            trigger: Trigger::On(pattern),
            end: Some(End::For(restart_after)),
            kind: crash,
            // If an earlier crash prevents the event, this crash never happens.
            may_be_inert: true,
        }
    };
    let inherited =
        scenario.faults.iter().map(|fault| Fault { may_be_inert: true, ..fault.clone() });
    let crashes = points.iter().enumerate().map(crash);
    let expect = Expect {
        duplicates: None,
        stale: None,
        fenced: None,
        rollbacks: None,
        virtual_time: None,
        events: Vec::new(),
        ..scenario.expect.clone()
    };
    let faults = inherited.chain(crashes).collect();
    let scenario = Scenario { faults, expect, ..scenario.clone() };
    Case { scenario: Arc::new(scenario), seed: case.seed }
}
