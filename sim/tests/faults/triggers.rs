//! When faults begin.

use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;

use crate::support::{Told as _, run};
use crate::{LATENCY, PS_0, WORKER_1};

/// Worker 1 pauses, so that where it stands is where the fault began.
fn pause(trigger: &str) -> (Duration, unisono_sim::run::played::Played) {
    let played = run(&format!(
        "[[fault]]\nid = \"pause\"\nkind = \"pause\"\nnode = \"worker 1\"\nfor = \"1s\"\n{trigger}"
    ));
    let of_worker = played.events().iter().filter(|event| event.life.task == WORKER_1);
    let times: Vec<_> = of_worker.map(|event| event.at).collect();
    let gap = times.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("it does something");
    // What woke it came while it stood still, and was taken when it went on.
    (gap[1] - Duration::from_secs(1), played)
}

fn of_step(times: Vec<(Duration, Option<Step>)>, step: u64) -> Duration {
    times.into_iter().find(|(_, of)| *of == Some(Step(step))).expect("the step is made").0
}

#[test]
fn at_a_step_is_when_ps_0_first_has_that_version() {
    let (began, played) = pause("at_step = 7");
    let updated = played.at(PS_0, E::Updated);
    let times = updated.iter().map(|event| (event.at, event.what.step)).collect();
    assert_eq!(began, of_step(times, 6));
}

#[test]
fn on_an_event_is_when_the_nth_that_fits_happens() {
    let (began, played) = pause("on = { event = \"receives-push\", node = \"ps 0\", nth = 9 }");
    assert_eq!(began, played.times(PS_0, E::ReceivesPush)[8]);
    let (began, played) = pause("on = { event = \"computes\", node = \"worker 1\", step = 7 }");
    let computes = played.done(WORKER_1, E::Computes);
    let times = computes.iter().map(|(event, done)| (event.at, done.what.step)).collect();
    assert_eq!(began, of_step(times, 7));
}

/// What a node does is carried out after it is known. A fault after it must find it done: here the
/// push is on its way when the network slows down, or has not even left.
#[test]
fn before_and_after_what_a_node_does_are_two_sides_of_it() {
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
        let (event, sender) = push.expect("it arrives");
        event.at - sender.at - LATENCY
    };
    assert_eq!(transfer("after"), Duration::ZERO);
    assert!(transfer("before") > Duration::from_millis(15));
}
