//! Triggers of faults.

use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;

use crate::support::{TraceQueries as _, run};
use crate::{LATENCY, PS_0, WORKER_1};

/// Plays a pause of worker 1 and returns when it began: the longest gap between two of the worker's
/// events ends with the pause.
fn pause(trigger: &str) -> (Duration, unisono_sim::run::played::Played) {
    let played = run(&format!(
        "[[fault]]\nid = \"pause\"\nkind = \"pause\"\nnode = \"worker 1\"\nfor = \"1s\"\n{trigger}"
    ));
    let of_worker = played.events().iter().filter(|event| event.life.task == WORKER_1);
    let times: Vec<_> = of_worker.map(|event| event.at).collect();
    let gap = times.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("two events or more");
    // An input that came during the pause is taken at its end.
    (gap[1] - Duration::from_secs(1), played)
}

fn of_step(times: Vec<(Duration, Option<Step>)>, step: u64) -> Duration {
    times.into_iter().find(|(_, of)| *of == Some(Step(step))).expect("an event of the step").0
}

#[test]
fn at_step_trigger_fires_when_ps_0_first_has_the_version() {
    let (began, played) = pause("at_step = 7");
    let updated = played.at(PS_0, E::Updated);
    let times = updated.iter().map(|event| (event.at, event.what.step)).collect();
    assert_eq!(began, of_step(times, 6));
}

#[test]
fn on_trigger_fires_at_the_nth_matching_event() {
    let (began, played) = pause("on = { event = \"receives-push\", node = \"ps 0\", nth = 9 }");
    assert_eq!(began, played.times(PS_0, E::ReceivesPush)[8]);
    let (began, played) = pause("on = { event = \"computes\", node = \"worker 1\", step = 7 }");
    let computes = played.done(WORKER_1, E::Computes);
    let times = computes.iter().map(|(event, done)| (event.at, done.what.step)).collect();
    assert_eq!(began, of_step(times, 7));
}

/// The effects of a node are carried out after the observer has seen them. A fault after an effect
/// therefore begins after the effect is carried out: the link becomes narrow once the push has left.
/// A fault before the effect makes the link narrow while the push is still here.
#[test]
fn fault_can_begin_before_or_after_an_effect() {
    let transfer = |when: &str| {
        let played = run(&format!(
            "[[fault]]\nid = \"narrow\"\nkind = \"narrow-link\"\nfrom = \"worker 1\"\nto = \"ps 0\"\n\
             rate = \"1MB\"\nuntil_step = 10\non = {{ event = \"sends-push\", node = \"worker 1\", \
             step = 5, nth = 1, when = \"{when}\" }}"
        ));
        let heard = played.heard(WORKER_1, TaskId::PS_ZERO);
        let push = heard.into_iter().find(|(event, _)| {
            (event.what.kind, event.what.step) == (E::ReceivesPush, Some(Step(5)))
        });
        let (event, sender) = push.expect("the push arrives");
        event.at - sender.at - LATENCY
    };
    assert_eq!(transfer("after"), Duration::ZERO);
    assert!(transfer("before") > Duration::from_millis(15));
}
