//! What happens to messages on their way: delay, partition, corrupt, narrow-link, and the network
//! card, which is no fault and can do as much.

use std::collections::BTreeSet;
use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;
use unisono_sim::record::trace::TracedEvent;
use unisono_sim::run::played::Played;

use crate::support::{Told as _, run};
use crate::{LATENCY, PS_0, PS_1, WORKER_1, ms, s, us};

/// How long messages from one task to another took: those that came while a fault from step 5 to
/// step 10 was active, and the others.
fn takes(played: &Played, from: TaskId, to: TaskId) -> [BTreeSet<Duration>; 2] {
    let updated = played.at(PS_0, E::Updated);
    let has_version = |step: u64| {
        let of_step = |event: &&&TracedEvent| event.what.step == Some(Step(step - 1));
        updated.iter().find(of_step).expect("the version is made").at
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
fn a_delayed_message_takes_so_much_longer_and_others_do_not() {
    let played = disturbed("kind = \"delay\"\nby = \"3ms\"");
    let usual = || BTreeSet::from([LATENCY]);
    assert_eq!(takes(&played, WORKER_1, PS_0), [[LATENCY + ms(3)].into(), usual()]);
    assert_eq!(takes(&played, WORKER_1, PS_1), [usual(), usual()], "another receiver");
    assert_eq!(takes(&played, PS_0, WORKER_1), [usual(), usual()], "the other way");
    assert_eq!(played.bites(), [5], "the pushes of five steps");
}

#[test]
fn a_slow_partition_takes_a_hundred_times_as_long() {
    let usual = || BTreeSet::from([LATENCY]);
    let slow = || BTreeSet::from([100 * LATENCY]);
    let played = disturbed("kind = \"partition\"\nmode = \"slow\"\nboth_ways = false");
    assert_eq!(takes(&played, WORKER_1, PS_0), [slow(), usual()]);
    assert_eq!(takes(&played, PS_0, WORKER_1), [usual(), usual()]);
    let played = disturbed("kind = \"partition\"\nmode = \"slow\"");
    assert_eq!(takes(&played, WORKER_1, PS_0)[0], slow());
    assert!(takes(&played, PS_0, WORKER_1)[0].contains(&(100 * LATENCY)));
}

/// Worker 1 computes three slots of six, and pushes each when it is done: the delays of the three
/// would let a later one overtake.
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
    assert!(queued.count() > 5, "some would have overtaken, and were held back behind others");
    let longest = heard.iter().map(|(event, sender)| event.at - sender.at).max();
    assert!(longest <= Some(ms(5) + LATENCY), "one delay does not add to another: {longest:?}");
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

/// All that one task sent to another.
fn n_sent(played: &Played, from: TaskId, to: TaskId) -> usize {
    let of_sender = played.events().iter().filter(|event| event.life.task == from);
    let done = of_sender.flat_map(|event| &event.effects);
    done.filter(|done| done.to.is_some_and(|receiver| receiver.task == to)).count()
}

#[test]
fn a_partition_that_stops_messages_holds_them_until_it_is_over() {
    let (begin, end) = (ms(5), s(5) + ms(5));
    for both_ways in [false, true] {
        let played = partition(&format!("for = \"5s\"\nboth_ways = {both_ways}"));
        let n_heard = |pair, from, to| n_heard_between(&played, pair, from, to);
        let there = [WORKER_1, PS_0];
        assert_eq!(n_heard(there, begin, end), 0);
        assert!(n_heard(there, end, end + us(1)) >= 2, "a push and heartbeats come at once");
        let back = [PS_0, WORKER_1];
        assert_eq!(n_heard(back, begin, end) > 0, !both_ways);
        assert_eq!(n_heard(back, end, end + us(1)) > 0, both_ways);
        for [from, to] in [there, back] {
            assert_eq!(n_heard([from, to], ms(0), s(600)), n_sent(&played, from, to), "none lost");
        }
        assert!(played.at(PS_0, E::Closed).iter().all(|event| event.at > end), "links stay up");
    }
}

#[test]
fn a_jam_kills_the_links_for_good_and_new_ones_work_after_it() {
    for both_ways in [false, true] {
        let played = partition(&format!("mode = \"jam\"\nfor = \"1s\"\nboth_ways = {both_ways}"));
        let lost = played.times_done(PS_0, E::PeerDown)[0];
        assert!((s(10)..s(11) + ms(5)).contains(&lost), "found by heartbeat: {lost:?}");
        let there = [WORKER_1, PS_0];
        assert_eq!(n_heard_between(&played, there, ms(5), lost), 0, "not even after the fault");
        assert!(n_heard_between(&played, there, lost, s(600)) > 0);
        let back = n_heard_between(&played, [PS_0, WORKER_1], ms(6), lost);
        assert_eq!(back > 0, !both_ways);
        let told = played.times(WORKER_1, E::Closed).into_iter().any(|at| at == lost + LATENCY);
        assert_eq!(told, !both_ways, "whom nothing reaches is not told that the link is closed");
    }
}

#[test]
fn a_damaged_message_closes_its_link_and_is_never_taken_for_another() {
    for wire in ["shared", "bytes"] {
        let played = run(&format!(
            "[network]\nwire = \"{wire}\"\n[[fault]]\nid = \"switch\"\nkind = \"corrupt\"\n\
             from = \"worker 1\"\nto = \"ps 0\"\nat = \"5ms\"\nfor = \"200ms\""
        ));
        let (begin, end) = (ms(5), ms(205));
        assert_eq!(n_heard_between(&played, [WORKER_1, PS_0], begin, end), 0);
        let closed = played.at(PS_0, E::Closed);
        let closed: Vec<_> = closed.into_iter().filter(|event| event.at < end).collect();
        // Its push, and then its greetings, each on a link of its own.
        assert!(closed.len() > 2);
        assert_eq!(played.bites(), [closed.len() as u64]);
        for event in closed {
            assert!(event.text.contains("with worker 1: "), "{}", event.text);
            assert!(!event.text.contains("reset"), "{}: the checksum tells", event.text);
        }
        let told = played.at(WORKER_1, E::Closed);
        assert!(told[0].text.contains("reset by the other end"), "{}", told[0].text);
    }
}

/// How long a push of worker 1 to ps 0 takes beyond the latency, at so many bytes a second.
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
fn a_narrow_link_takes_its_bytes_at_its_rate() {
    let n_bytes = transfer(1_000_000).as_micros();
    // Half of 785 · 10 floats are on ps 0, and there is a frame around them.
    assert!((4 * 3925..4 * 3925 + 200).contains(&n_bytes), "{n_bytes}");
    assert_eq!(transfer(500_000).as_micros(), 2 * n_bytes);
    assert_eq!(transfer(2_000_000).as_nanos(), 500 * n_bytes);
}

/// Four workers that stood still push at one moment to one ps.
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
        let cause = event.cause.and_then(|cause| usize::try_from(cause).ok()).expect("it was sent");
        played.events()[cause].at
    };
    let times: Vec<_> = of_step.map(|event| (sent(event), event.at)).collect();
    assert!(times.iter().all(|(sent, _)| *sent == times[0].0), "at once");
    times.into_iter().map(|(sent, received)| received - sent).collect()
}

#[test]
fn k_workers_that_push_at_once_to_one_ps_are_done_after_k_transfers() {
    assert_eq!(push_at_once("unlimited"), [LATENCY; 4]);
    let taken = push_at_once("1GB");
    let transfer = taken[0] - LATENCY;
    // All variables are on the one ps: 784 · 10 weights and 10 biases.
    assert!((4 * 7850..4 * 7850 + 200).contains(&transfer.as_nanos()), "{transfer:?}");
    let expected: Vec<_> = (1..=4).map(|k| LATENCY + k * transfer).collect();
    assert_eq!(taken, expected);
}
