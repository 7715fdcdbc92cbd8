//! Faults of messages: delay, partition, corrupt and narrow-link. The network card is not a fault,
//! but delays messages, too.

use std::collections::BTreeSet;
use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;
use unisono_sim::record::trace::TracedEvent;
use unisono_sim::run::played::Played;

use crate::support::{TraceQueries as _, run};
use crate::{LATENCY, PS_0, PS_1, WORKER_1, ms, s, us};

/// Returns how long messages from one task to another took: those that arrived while a fault from
/// step 5 to step 10 was active, and all others.
fn takes(played: &Played, from: TaskId, to: TaskId) -> [BTreeSet<Duration>; 2] {
    let updated = played.at(PS_0, E::Updated);
    let has_version = |step: u64| {
        let of_step = |event: &&&TracedEvent| event.what.step == Some(Step(step - 1));
        updated.iter().find(of_step).expect("the version exists").at
    };
    let active = has_version(5)..has_version(10);
    let mut takes = [BTreeSet::new(), BTreeSet::new()];
    for (event, sender) in played.heard(from, to) {
        let is_free = !active.contains(&(sender.at + LATENCY));
        takes[usize::from(is_free)].insert(event.at - sender.at);
    }
    takes
}

fn disturbed(fault: &str) -> Played {
    run(&format!(
        "[[fault]]\nid = \"network\"\nfrom = \"worker 1\"\nto = \"ps 0\"\nat_step = 5\n\
         until_step = 10\n{fault}"
    ))
}

#[test]
fn delay_adds_its_time_to_messages_of_its_direction_only() {
    let played = disturbed("kind = \"delay\"\nby = \"3ms\"");
    let usual = || BTreeSet::from([LATENCY]);
    assert_eq!(takes(&played, WORKER_1, PS_0), [[LATENCY + ms(3)].into(), usual()]);
    assert_eq!(
        takes(&played, WORKER_1, PS_1),
        [usual(), usual()],
        "messages to another receiver are not delayed"
    );
    assert_eq!(
        takes(&played, PS_0, WORKER_1),
        [usual(), usual()],
        "messages in the other direction are not delayed"
    );
    assert_eq!(played.effects(), [5], "the fault delays the pushes of five steps");
}

#[test]
fn slow_partition_multiplies_latencies_by_a_hundred() {
    let usual = || BTreeSet::from([LATENCY]);
    let slow = || BTreeSet::from([100 * LATENCY]);
    let played = disturbed("kind = \"partition\"\nmode = \"slow\"\nboth_ways = false");
    assert_eq!(takes(&played, WORKER_1, PS_0), [slow(), usual()]);
    assert_eq!(takes(&played, PS_0, WORKER_1), [usual(), usual()]);
    let played = disturbed("kind = \"partition\"\nmode = \"slow\"");
    assert_eq!(takes(&played, WORKER_1, PS_0)[0], slow());
    assert!(takes(&played, PS_0, WORKER_1)[0].contains(&(100 * LATENCY)));
}

/// Worker 1 computes three of six slots, and pushes each when it is computed. Without a queue,
/// the random delays would let a later push overtake an earlier one.
#[test]
fn delays_keep_the_order_of_a_link() {
    let played = run(r#"
        [sync]
        replicas_to_aggregate = 6

        [[fault]]
        id = "delay"
        kind = "delay"
        from = "worker 1"
        to = "ps 0"
        by = { uniform = ["0s", "5ms"] }
        at_step = 2
        until_step = 18
    "#);
    let heard = played.heard(WORKER_1, PS_0);
    let sent: Vec<_> = heard.iter().map(|(_, sender)| (sender.at, sender.what.slot)).collect();
    assert!(sent.is_sorted_by_key(|(at, _)| at), "{sent:?}");
    let queued = heard.windows(2).filter(|pair| pair[0].0.at == pair[1].0.at);
    assert!(queued.count() > 5, "too few pushes were held back behind an earlier one");
    let longest = heard.iter().map(|(event, sender)| event.at - sender.at).max();
    assert!(longest <= Some(ms(5) + LATENCY), "two delays added up: {longest:?}");
}

fn partition(more: &str) -> Played {
    run(&format!(
        "[[fault]]\nid = \"partition\"\nkind = \"partition\"\nfrom = \"worker 1\"\nto = \"ps 0\"\n\
         at = \"5ms\"\n{more}"
    ))
}

fn n_heard_between(
    played: &Played,
    [from, to]: [TaskId; 2],
    begin: Duration,
    end: Duration,
) -> usize {
    let heard = played.heard(from, to);
    heard.iter().filter(|(event, _)| event.at >= begin && event.at < end).count()
}

/// Returns the number of messages that one task sent to another.
fn n_sent(played: &Played, from: TaskId, to: TaskId) -> usize {
    let of_sender = played.events().iter().filter(|event| event.life.task == from);
    let done = of_sender.flat_map(|event| &event.effects);
    done.filter(|done| done.to.is_some_and(|receiver| receiver.task == to)).count()
}

#[test]
fn partition_holds_messages_until_it_ends() {
    let (begin, end) = (ms(5), s(5) + ms(5));
    for both_ways in [false, true] {
        let played = partition(&format!("for = \"5s\"\nboth_ways = {both_ways}"));
        let n_heard = |pair, from, to| n_heard_between(&played, pair, from, to);
        let there = [WORKER_1, PS_0];
        assert_eq!(n_heard(there, begin, end), 0);
        assert!(n_heard(there, end, end + us(1)) >= 2, "a push and heartbeats arrive together");
        let back = [PS_0, WORKER_1];
        assert_eq!(n_heard(back, begin, end) > 0, !both_ways);
        assert_eq!(n_heard(back, end, end + us(1)) > 0, both_ways);
        for [from, to] in [there, back] {
            assert_eq!(
                n_heard([from, to], ms(0), s(600)),
                n_sent(&played, from, to),
                "no message is lost"
            );
        }
        assert!(played.at(PS_0, E::Closed).iter().all(|event| event.at > end), "links stay open");
    }
}

#[test]
fn jam_breaks_links_for_good_and_new_links_work_after_it() {
    for both_ways in [false, true] {
        let played = partition(&format!("mode = \"jam\"\nfor = \"1s\"\nboth_ways = {both_ways}"));
        let lost = played.times_done(PS_0, E::PeerDown)[0];
        assert!((s(10)..s(11) + ms(5)).contains(&lost), "noticed by heartbeat: {lost:?}");
        let there = [WORKER_1, PS_0];
        assert_eq!(
            n_heard_between(&played, there, ms(5), lost),
            0,
            "a jammed link stays broken after the fault"
        );
        assert!(n_heard_between(&played, there, lost, s(600)) > 0);
        let back = n_heard_between(&played, [PS_0, WORKER_1], ms(6), lost);
        assert_eq!(back > 0, !both_ways);
        let told = played.times(WORKER_1, E::Closed).into_iter().any(|at| at == lost + LATENCY);
        assert_eq!(told, !both_ways, "a close does not pass a jam either");
    }
}

#[test]
fn corrupted_message_closes_its_link_and_is_never_taken_for_a_valid_one() {
    for wire in ["shared", "bytes"] {
        let played = run(&format!(
            "[network]\nwire = \"{wire}\"\n[[fault]]\nid = \"switch\"\nkind = \"corrupt\"\n\
             from = \"worker 1\"\nto = \"ps 0\"\nat = \"5ms\"\nfor = \"200ms\""
        ));
        let (begin, end) = (ms(5), ms(205));
        assert_eq!(n_heard_between(&played, [WORKER_1, PS_0], begin, end), 0);
        let closed = played.at(PS_0, E::Closed);
        let closed: Vec<_> = closed.into_iter().filter(|event| event.at < end).collect();
        // First the push was corrupted, and then each hello on a new link.
        assert!(closed.len() > 2);
        assert_eq!(played.effects(), [closed.len() as u64]);
        for event in closed {
            assert!(event.text.contains("with worker 1: "), "{}", event.text);
            assert!(
                !event.text.contains("reset"),
                "{}: the link was not closed because of a checksum",
                event.text
            );
        }
        let told = played.at(WORKER_1, E::Closed);
        assert!(told[0].text.contains("reset by the other end"), "{}", told[0].text);
    }
}

/// Returns the time of a push from worker 1 to ps 0 beyond its latency, at a rate in bytes per
/// second.
fn transfer(rate: u64) -> Duration {
    let played = disturbed(&format!("kind = \"narrow-link\"\nrate = \"{rate}B\""));
    let pushes = played.heard(WORKER_1, PS_0);
    let is_it = |(event, _): &&(&TracedEvent, &TracedEvent)| {
        (event.what.kind, event.what.step) == (E::ReceivesPush, Some(Step(7)))
    };
    let (event, sender) = pushes.iter().find(is_it).expect("step 7 is pushed");
    event.at - sender.at - LATENCY
}

#[test]
fn narrow_link_transfers_bytes_at_its_rate() {
    let n_bytes = transfer(1_000_000).as_micros();
    // Ps 0 has half of the 785 · 10 floats. The frame adds a header.
    assert!((4 * 3925..4 * 3925 + 200).contains(&n_bytes), "{n_bytes}");
    assert_eq!(transfer(500_000).as_micros(), 2 * n_bytes);
    assert_eq!(transfer(2_000_000).as_nanos(), 500 * n_bytes);
}

/// Lets four workers that were paused push at the same time to one ps.
fn push_at_once(nic: &str) -> Vec<Duration> {
    let played = run(&format!(
        r#"
        [cluster]
        ps = 1
        workers = 4

        [network]
        nic = "{nic}"

        [[fault]]
        id = "pause"
        kind = "pause"
        node = "workers"
        on = {{ event = "computes", step = 5, nth = 4 }}
        for = "10ms"
    "#
    ));
    let pushes = played.at(PS_0, E::ReceivesPush);
    let of_step = pushes.into_iter().filter(|event| event.what.step == Some(Step(5)));
    let sent = |event: &TracedEvent| {
        let cause = event.cause.and_then(|cause| usize::try_from(cause).ok()).expect("a cause");
        played.events()[cause].at
    };
    let times: Vec<_> = of_step.map(|event| (sent(event), event.at)).collect();
    assert!(
        times.iter().all(|(sent, _)| *sent == times[0].0),
        "the pushes were not sent at the same time"
    );
    times.into_iter().map(|(sent, received)| received - sent).collect()
}

#[test]
fn k_simultaneous_pushes_to_one_ps_take_k_transfers() {
    assert_eq!(push_at_once("unlimited"), [LATENCY; 4]);
    let taken = push_at_once("1GB");
    let transfer = taken[0] - LATENCY;
    // The ps has all variables: 784 · 10 weights and 10 biases.
    assert!((4 * 7850..4 * 7850 + 200).contains(&transfer.as_nanos()), "{transfer:?}");
    let expected: Vec<_> = (1..=4).map(|k| LATENCY + k * transfer).collect();
    assert_eq!(taken, expected);
}
