//! A worker that is not the chief: its computations, its pushes and its requests.

use std::time::Duration;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Failure, Input, Job, Limits, Message, NetworkEvent, Node, Outcome,
    Report, Want, Worker,
};
use unisono_core::{Cut, Slot, Step, TaskId};

use crate::script::{
    Script, cluster, floats, generation, link, pull, push, send, version, with_received,
};

fn cut(of: u64, step: u64) -> Cut {
    Cut { generation: generation(of), step: Step(step) }
}

fn at_least(of: u64, step: u64) -> Message {
    pull(Want::AtLeast(cut(of, step)))
}

fn pull_any_version() -> Message {
    pull(Want::AtLeast(Cut::default()))
}

fn compute(of: u64, step: u64, slot: u32, parameters: &[f32]) -> Effect {
    let parameters = parameters.iter().map(|value| floats(*value)).collect();
    let (generation, step, slot) = (generation(of), Step(step), Slot(slot));
    Effect::Compute(Job::Gradient { cut: Cut { generation, step }, slot, parameters })
}

fn computed(step: u64, slot: u32, loss: f32, n_ps: usize) -> Input {
    let gradient = vec![floats(loss); n_ps];
    let (generation, step, slot) = (generation(1), Step(step), Slot(slot));
    Input::Computed(Done::Gradient { cut: Cut { generation, step }, slot, loss, gradient })
}

fn report(step: u64, slot: u32, loss: f32) -> Effect {
    Effect::Report(Report::Computed { step: Step(step), slot: Slot(slot), loss })
}

fn peer_up(ps: u32) -> Effect {
    Effect::Report(Report::PeerUp { peer: TaskId::ps(ps) })
}

/// Worker 1, connected to the first incarnation of every ps.
fn connected_to_all_ps(config: ClusterConfig) -> Script<Worker> {
    let mut worker = Script::worker(1, config);
    for ps in 0..worker.config.n_ps {
        worker.connects_to(ps, 1, None);
    }
    worker
}

#[test]
fn worker_computes_only_once_all_shards_have_the_same_version() {
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    assert_eq!(worker.connects_to(0, 1, None), [peer_up(0), send(0, pull_any_version())]);
    assert_eq!(worker.connects_to(1, 1, None), [peer_up(1), send(1, pull_any_version())]);
    assert_eq!(worker.receives(0, version(1, 1, &[1], 0.5)), []);
    let older = version(1, 0, &[], 0.25);
    let asks = [send(1, at_least(1, 1))];
    assert_eq!(
        worker.receives(1, with_received(older, &[1])),
        asks,
        "ps 1 has an older version, so the version is incomplete"
    );
    let starts = [compute(1, 1, 1, &[0.5, 0.75])];
    assert_eq!(worker.receives(1, version(1, 1, &[], 0.75)), starts);
}

#[test]
fn gradient_is_pushed_to_every_shard_and_requests_the_next_version() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    worker.receives(0, version(1, 0, &[1], 0.5));
    worker.receives(1, version(1, 0, &[], 0.5));
    let expected = [send(0, push(0, 1, 2.0)), send(1, push(0, 1, 2.0)), report(0, 1, 2.0)];
    assert_eq!(worker.feed(computed(0, 1, 2.0, 2)), expected);
    assert_eq!(
        worker.receives(0, version(1, 1, &[1], 0.5)),
        [],
        "the push to ps 1 was also its request"
    );
}

#[test]
fn shard_is_asked_again_for_a_version_of_a_newer_generation() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    worker.receives(0, version(1, 0, &[1], 0.5));
    worker.receives(1, version(1, 0, &[], 0.5));
    worker.feed(computed(0, 1, 2.0, 2));
    // The push requested version 1 of generation 1, which ps 1 will never have after a rollback.
    let asks = [send(1, at_least(2, 0))];
    assert_eq!(worker.receives(0, version(2, 0, &[1], 0.5)), asks);
}

#[test]
fn slots_of_a_worker_are_computed_one_after_the_other() {
    let mut worker = connected_to_all_ps(cluster(1, 4, 2));
    assert_eq!(worker.receives(0, version(1, 0, &[1, 3], 0.5)), [compute(1, 0, 1, &[0.5])]);
    let expected = [compute(1, 0, 3, &[0.5]), send(0, push(0, 1, 2.0)), report(0, 1, 2.0)];
    assert_eq!(worker.feed(computed(0, 1, 2.0, 1)), expected);
}

#[test]
fn slot_that_every_shard_has_received_is_not_computed_again() {
    let mut worker = connected_to_all_ps(cluster(1, 4, 2));
    let held = with_received(version(1, 0, &[1, 3], 0.5), &[1]);
    assert_eq!(worker.receives(0, held), [compute(1, 0, 3, &[0.5])]);
    let mut worker = connected_to_all_ps(cluster(1, 4, 2));
    let held = with_received(version(1, 0, &[1, 3], 0.5), &[1, 3]);
    assert_eq!(worker.receives(0, held), [send(0, at_least(1, 1))], "no slot is left to compute");
}

#[test]
fn gradient_is_pushed_again_on_a_new_link_with_the_same_identity() {
    let mut worker = connected_to_all_ps(cluster(1, 2, 2));
    worker.receives(0, version(1, 0, &[1], 0.5));
    worker.feed(computed(0, 1, 2.0, 1));
    worker.loses_link(0);
    assert_eq!(worker.connects_to(0, 1, Some(cut(1, 0))), [peer_up(0), send(0, push(0, 1, 2.0))]);
}

#[test]
fn restarted_ps_is_asked_for_a_version_again() {
    let mut worker = connected_to_all_ps(cluster(1, 2, 2));
    worker.receives(0, version(1, 0, &[1], 0.5));
    worker.loses_link(0);
    assert_eq!(worker.connects_to(0, 2, None), [peer_up(0), send(0, pull_any_version())]);
}

#[test]
fn previous_version_is_requested_after_an_earlier_incarnation_died_while_pushing() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    worker.receives(0, version(1, 1, &[1], 0.5));
    // Ps 1 waits for slot 1 of step 0, which ps 0 has used already.
    let asks = [send(0, pull(Want::Exactly(cut(1, 0))))];
    assert_eq!(worker.receives(1, version(1, 0, &[], 0.25)), asks);
    let older = with_received(version(1, 0, &[1], 0.125), &[1]);
    assert_eq!(worker.receives(0, older), [compute(1, 0, 1, &[0.125, 0.25])]);
}

#[test]
fn shard_that_sent_the_previous_version_is_not_asked_again_while_another_shard_is_awaited() {
    let mut worker = connected_to_all_ps(cluster(3, 2, 2));
    worker.receives(0, version(1, 1, &[1], 0.5));
    worker.receives(2, version(1, 1, &[], 0.5));
    worker.receives(1, version(1, 0, &[], 0.25));
    let older = |tokens: &[u32]| with_received(version(1, 0, tokens, 0.125), &[1]);
    assert_eq!(
        worker.receives(0, older(&[1])),
        [],
        "ps 2 has been asked for its previous version, too"
    );
    assert_eq!(worker.receives(2, older(&[])), [compute(1, 0, 1, &[0.125, 0.25, 0.125])]);
}

#[test]
fn rolled_back_shard_is_asked_again_on_a_new_link_after_the_last_version() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    worker.receives(0, version(1, 3, &[], 0.5));
    worker.receives(1, version(1, 3, &[], 0.5));
    worker.loses_link(1);
    worker.connects_to(1, 2, None);
    assert_eq!(worker.receives(1, version(2, 0, &[], 0.0)), [send(0, at_least(2, 0))]);
    worker.loses_link(0);
    assert_eq!(worker.connects_to(0, 1, Some(cut(2, 0))), [peer_up(0), send(0, at_least(2, 0))]);
}

#[test]
fn gradient_of_an_abandoned_version_is_discarded() {
    let mut worker = connected_to_all_ps(cluster(1, 2, 2));
    worker.receives(0, version(1, 0, &[1], 0.5));
    worker.receives(0, version(2, 0, &[1], 0.25));
    assert_eq!(worker.feed(computed(0, 1, 2.0, 1)), []);
}

#[test]
fn non_finite_loss_aborts_the_run() {
    for loss in [f32::INFINITY, f32::NEG_INFINITY] {
        let mut worker = connected_to_all_ps(cluster(2, 2, 2));
        worker.receives(0, version(1, 0, &[1], 0.5));
        worker.receives(1, version(1, 0, &[], 0.5));
        let failure = Failure::NonFinite { step: Step(0), slot: Slot(1), loss };
        let expected = [
            send(0, Message::Abort(failure.clone())),
            send(1, Message::Abort(failure.clone())),
            Effect::Halt(Outcome::Failed(failure)),
        ];
        assert_eq!(worker.feed(computed(0, 1, loss, 2)), expected);
    }
}

#[test]
fn invalid_tokens_disconnect_the_ps() {
    for tokens in [&[2][..], &[1, 1], &[1, 0]] {
        let mut worker = connected_to_all_ps(cluster(1, 2, 2));
        let out = worker.receives(0, version(1, 0, tokens, 0.5));
        assert_eq!(out[0], Effect::Close { link: link(0) });
        assert!(!out.iter().any(|effect| matches!(effect, Effect::Compute(_))));
    }
}

#[test]
fn version_beyond_the_last_step_causes_no_panic() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    worker.receives(0, version(1, u64::MAX, &[], 0.5));
    assert_eq!(worker.receives(1, version(1, u64::MAX, &[], 0.5)), []);
}

#[test]
fn worker_says_goodbye_to_every_ps_and_halts_at_the_end() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    let expected =
        [send(0, Message::Goodbye), send(1, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    assert_eq!(worker.receives(0, Message::Finished { generation: generation(1) }), expected);
}

#[test]
fn leaving_worker_says_goodbye_to_a_ps_that_connects_later() {
    let finished = || Message::Finished { generation: generation(1) };
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    worker.connects_to(0, 1, None);
    assert_eq!(worker.receives(0, finished()), [send(0, Message::Goodbye)]);
    assert_eq!(worker.receives(0, finished()), [], "ps 0 already has a goodbye");
    let left = [peer_up(1), send(1, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    assert_eq!(worker.connects_to(1, 1, None), left);
}

#[test]
fn no_later_event_makes_a_leaving_worker_fail() {
    let leaving = || {
        let mut worker = Script::worker(1, cluster(2, 2, 2));
        worker.connects_to(0, 1, None);
        worker.receives(0, Message::Finished { generation: generation(1) });
        worker
    };
    let left = [send(0, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    assert_eq!(leaving().feed(Input::Stop), left);
    let failure = Failure::Storage("full".to_owned());
    assert_eq!(leaving().receives(0, Message::Abort(failure)), [], "ps 0 already has a goodbye");
    assert_eq!(leaving().feed(computed(0, 1, f32::NAN, 2)), []);
    // A ps of another run answers at the address of ps 1.
    let mut last = leaving();
    last.network(NetworkEvent::Connected { link: link(1), to: TaskId::ps(1) });
    let refused = Message::Refused { reason: "seed is 2 and 1".into(), older_than: None };
    let left = [Effect::Close { link: link(1) }, Effect::Halt(Outcome::Finished)];
    assert_eq!(last.receives(1, refused), left);
}

#[test]
fn leaving_worker_waits_a_limited_time_and_then_succeeds() {
    for (give_up_after, left_at) in [(Limits::NEVER, 15), (Duration::from_secs(5), 5)] {
        let mut config = cluster(2, 2, 2);
        config.limits.give_up_after = give_up_after;
        let mut worker = Script::worker(1, config);
        worker.connects_to(0, 1, None);
        worker.receives(0, Message::Finished { generation: generation(1) });
        for secs in (1..left_at).step_by(4) {
            let out = worker.advances_to(secs);
            assert!(!out.iter().any(|effect| matches!(effect, Effect::Halt(_))), "{secs} s");
            worker.receives(0, Message::Heartbeat);
        }
        let out = worker.advances_to(left_at);
        assert_eq!(out.last(), Some(&Effect::Halt(Outcome::Finished)), "{left_at} s");
    }
}

#[test]
fn waiting_worker_reports_the_ps_that_it_waits_for() {
    let mut worker = connected_to_all_ps(cluster(1, 2, 2));
    worker.loses_link(0);
    let out = worker.advances_to(10);
    let what =
        "for a first version of ps 0, disconnected, last heard from 10.0 s ago: reset".to_owned();
    let waited = Duration::from_secs(10);
    assert!(out.contains(&Effect::Report(Report::Waiting { what, waited })), "{out:?}");
}

#[test]
fn status_of_a_worker_names_what_it_waits_for() {
    let mut worker = connected_to_all_ps(cluster(2, 2, 2));
    let does = |worker: &Script<Worker>| worker.node.status(worker.now()).does;
    worker.receives(0, version(1, 2, &[1], 0.5));
    insta::assert_snapshot!(does(&worker), @"waits for a first version of ps 1, heard from 0.0 s ago");
    worker.receives(1, version(1, 2, &[], 0.5));
    assert_eq!(does(&worker), "computes");
    worker.feed(computed(2, 1, 0.5, 2));
    worker.receives(0, version(1, 3, &[], 0.25));
    insta::assert_snapshot!(does(&worker), @"waits for version 3 of ps 1, heard from 0.0 s ago");
    worker.receives(1, version(1, 3, &[], 0.25));
    insta::assert_snapshot!(does(&worker), @"waits for news of the chief's final checkpoint from ps 0, heard from 0.0 s ago; ps 1, heard from 0.0 s ago");
}

#[test]
fn worker_gives_up_while_it_waits_but_not_while_it_computes() {
    let mut config = cluster(1, 2, 2);
    config.limits.give_up_after = Duration::from_secs(3);
    let ends = |out: &[Effect]| {
        let gives_up = |effect: &Effect| match effect {
            Effect::Halt(Outcome::Failed(why)) => matches!(why, Failure::GaveUp(_)),
            _ => false,
        };
        out.iter().any(gives_up)
    };
    let mut worker = connected_to_all_ps(config);
    worker.receives(0, version(1, 0, &[1], 0.25));
    worker.receives(0, Message::Heartbeat);
    assert!(!ends(&worker.advances_to(9)), "a computing worker does not give up");
    worker.feed(computed(0, 1, 0.5, 1));
    assert!(!ends(&worker.advances_to(11)));
    worker.loses_link(0);
    assert!(ends(&worker.advances_to(12)));
}

/// Worker 1 of 2, with `n` slots to compute at version 0. The first slot is being computed.
fn computing_slots(n_ps: u32, n: u32) -> Script<Worker> {
    let mut worker = Script::worker(1, cluster(n_ps, 2 * n, 2));
    for ps in 0..n_ps {
        worker.connects_to(ps, 1, None);
    }
    let tokens: Vec<_> = (0..n).map(|slot| 2 * slot + 1).collect();
    for ps in 0..n_ps {
        worker.receives(ps, version(1, 0, if ps == 0 { &tokens } else { &[] }, 0.5));
    }
    worker
}

fn starts_a_job(out: &[Effect]) -> bool {
    out.iter().any(|effect| matches!(effect, Effect::Compute(_)))
}

fn acknowledged(pushes: u64) -> Message {
    Message::Acknowledged { pushes }
}

#[test]
fn worker_starts_no_slot_beyond_the_window_until_every_ps_has_acknowledged() {
    let mut worker = computing_slots(2, 6);
    for slot in [1, 3, 5] {
        assert!(starts_a_job(&worker.feed(computed(0, slot, 2.0, 2))), "slot {slot}");
    }
    assert!(!starts_a_job(&worker.feed(computed(0, 7, 2.0, 2))), "four pushes are on each link");
    let does = worker.node.status(worker.now()).does;
    insta::assert_snapshot!(does, @"waits for its last 4 gradients to reach ps 0, heard from 0.0 s ago; ps 1, heard from 0.0 s ago");
    assert_eq!(worker.receives(0, acknowledged(2)), [], "the link to ps 1 is full");
    let does = worker.node.status(worker.now()).does;
    insta::assert_snapshot!(does, @"waits for its last 4 gradients to reach ps 1, heard from 0.0 s ago");
    assert_eq!(worker.receives(1, acknowledged(1)), [compute(1, 0, 9, &[0.5, 0.5])]);
}

#[test]
fn acknowledgement_in_a_new_version_starts_no_slot_of_the_previous_version() {
    let mut worker = computing_slots(1, 6);
    for slot in [1, 3, 5, 7] {
        worker.feed(computed(0, slot, 2.0, 1));
    }
    // A rollback leaves slots of the previous version that have not been computed.
    let mut restored = version(2, 0, &[1, 3], 0.25);
    if let Message::Version { acknowledged, .. } = &mut restored {
        *acknowledged = 4;
    }
    assert_eq!(worker.receives(0, restored), [compute(2, 0, 1, &[0.25])]);
}

#[test]
fn only_unacknowledged_pushes_are_repeated_on_a_new_link() {
    let mut worker = computing_slots(1, 6);
    for slot in [1, 3, 5, 7] {
        worker.feed(computed(0, slot, 2.0, 1));
    }
    worker.receives(0, acknowledged(2));
    worker.loses_link(0);
    let expected = [peer_up(0), send(0, push(0, 5, 2.0)), send(0, push(0, 7, 2.0))];
    assert_eq!(worker.connects_to(0, 1, Some(cut(1, 0))), expected);
}

#[test]
fn worker_whose_pushes_are_all_acknowledged_asks_for_the_next_version_on_a_new_link() {
    let mut worker = computing_slots(1, 1);
    worker.feed(computed(0, 1, 2.0, 1));
    worker.receives(0, acknowledged(1));
    worker.loses_link(0);
    assert_eq!(worker.connects_to(0, 1, Some(cut(1, 0))), [peer_up(0), send(0, at_least(1, 1))]);
}

#[test]
fn acknowledgement_of_more_pushes_than_were_sent_disconnects_the_ps() {
    let mut worker = computing_slots(1, 6);
    worker.feed(computed(0, 1, 2.0, 1));
    assert_eq!(worker.receives(0, acknowledged(2))[0], Effect::Close { link: link(0) });
}
