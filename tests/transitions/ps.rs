//! A ps: the outcome of each gradient, and the version that each worker gets.

use std::time::Duration;

use unisono_core::protocol::{
    Done, Effect, Failure, GaveUp, Input, Job, Message, NetworkEvent, Node, Outcome, Ps, Recorded,
    Report, ShardState, Verdict, Want,
};
use unisono_core::{Cut, Slot, Step, TaskId};

use crate::script::{
    Script, acknowledging, cluster, dropped, floats, generation, link, pull, push, push_reply,
    send, slots, state, update, version, with_received, with_updates,
};

fn cut(step: u64) -> Cut {
    Cut { generation: generation(1), step: Step(step) }
}

fn updated(step: u64, value: f32) -> Input {
    let (generation, step) = (generation(1), Step(step));
    Input::Computed(Done::Update { cut: Cut { generation, step }, state: state(value) })
}

fn compute(step: u64, value: f32, gradients: &[(u32, f32)]) -> Effect {
    let gradients = gradients.iter().map(|(slot, value)| (Slot(*slot), floats(*value))).collect();
    let (generation, step) = (generation(1), Step(step));
    Effect::Compute(Job::Update { cut: Cut { generation, step }, state: state(value), gradients })
}

fn report_updated(step: u64, of: &[u32]) -> Effect {
    let (generation, step) = (generation(1), Step(step));
    Effect::Report(Report::Updated { cut: Cut { generation, step }, slots: slots(of) })
}

#[test]
fn update_uses_slots_in_order_and_sends_the_new_version_to_every_worker() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    assert_eq!(ps.receives(1, push(0, 1, 10.0)), []);
    assert_eq!(ps.receives(0, push(0, 0, 20.0)), [compute(0, 0.0, &[(0, 20.0), (1, 10.0)])]);
    let records = vec![update(0, &[(0, 20.0), (1, 10.0)])];
    let expected = [
        report_updated(0, &[0, 1]),
        send(0, acknowledging(with_updates(version(1, 1, &[0], 7.0), records), 1)),
        send(1, acknowledging(version(1, 1, &[1], 7.0), 1)),
    ];
    assert_eq!(ps.feed(updated(0, 7.0)), expected);
}

#[test]
fn stale_gradient_is_answered_with_the_current_version() {
    let mut ps = Script::restored_ps(cluster(1, 1, 2), 1);
    let expected = [
        send(1, push_reply(0, 1, Verdict::Stale)),
        dropped(0, 1, 1, Some(Verdict::Stale)),
        send(1, acknowledging(version(1, 1, &[1], 0.0), 1)),
    ];
    assert_eq!(ps.receives(1, push(0, 1, 10.0)), expected);
}

#[test]
fn second_copy_of_a_gradient_is_acknowledged_and_ignored() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    assert_eq!(ps.receives(1, push(0, 1, 10.0)), []);
    let duplicate = [
        send(1, push_reply(0, 1, Verdict::Duplicate)),
        dropped(0, 1, 1, Some(Verdict::Duplicate)),
        send(1, Message::Acknowledged { pushes: 2 }),
    ];
    assert_eq!(ps.receives(1, push(0, 1, 10.0)), duplicate);
}

#[test]
fn gradient_of_an_older_generation_changes_nothing() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 0);
    let (generation, step) = (generation(2), Step(0));
    ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(5.0) });
    let expected = [
        send(0, push_reply(0, 0, Verdict::Fenced)),
        dropped(0, 0, 0, Some(Verdict::Fenced)),
        send(0, acknowledging(version(2, 0, &[0], 5.0), 1)),
    ];
    assert_eq!(ps.receives(0, push(0, 0, 10.0)), expected);
    assert_eq!(ps.node.cut(), Some(Cut { generation, step }));
}

#[test]
fn update_fenced_during_its_computation_changes_nothing() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 0);
    ps.receives(0, push(0, 0, 10.0));
    let (generation, step) = (generation(2), Step(0));
    ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(5.0) });
    assert_eq!(ps.feed(updated(0, 7.0)), []);
    // The old update is also ignored while the same step is computed in the new generation.
    let mut again = push(0, 0, 10.0);
    if let Message::Push { cut: Cut { generation: of, .. }, .. } = &mut again {
        *of = generation;
    }
    assert!(matches!(ps.receives(0, again)[..], [Effect::Compute(_)]));
    assert_eq!(ps.feed(updated(0, 7.0)), []);
    assert_eq!(ps.node.state(), Some(&state(5.0)));
}

#[test]
fn restore_of_an_older_generation_changes_nothing() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 2);
    let (generation, step) = (generation(0), Step(0));
    assert_eq!(
        ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(5.0) }),
        []
    );
    assert_eq!(ps.node.cut(), Some(cut(2)));
}

#[test]
fn repeated_restore_is_confirmed_again_and_changes_nothing() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 2);
    ps.receives(0, push(2, 0, 10.0));
    let (generation, step) = (generation(1), Step(2));
    let again =
        ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(5.0) });
    assert_eq!(again, [send(0, Message::Restored { generation })]);
    let duplicate = [
        send(0, push_reply(2, 0, Verdict::Duplicate)),
        dropped(2, 0, 0, Some(Verdict::Duplicate)),
        send(0, Message::Acknowledged { pushes: 2 }),
    ];
    assert_eq!(
        ps.receives(0, push(2, 0, 10.0)),
        duplicate,
        "the gradients received before are still held"
    );
}

#[test]
fn state_with_inconsistent_parts_is_refused() {
    let of = |n_auxiliary: usize, regularized: &[(usize, usize)]| ShardState {
        parameters: vec![0.0; 4].into(),
        auxiliary: vec![vec![0.0; n_auxiliary].into()],
        regularized: regularized.iter().map(|(start, end)| *start..*end).collect(),
    };
    let wrong = [
        of(3, &[]),
        of(5, &[]),
        of(4, &[(0, 5)]),
        of(4, &[(5, 5)]),
        of(4, &[(3, 1)]),
        of(4, &[(0, 2), (1, 3)]),
        of(4, &[(2, 3), (0, 1)]),
    ];
    for (sound, states) in [(false, &wrong[..]), (true, &[of(4, &[(0, 2), (2, 4)]), of(4, &[])])] {
        for state in states {
            let mut ps = Script::ps(0, cluster(1, 1, 1));
            ps.accepts_worker(0, 1);
            let (generation, step) = (generation(1), Step(0));
            let restore = Message::Restore { cut: Cut { generation, step }, state: state.clone() };
            let out = ps.receives(0, restore);
            let first = if sound {
                send(0, Message::Restored { generation })
            } else {
                Effect::Close { link: link(0) }
            };
            assert_eq!(out[0], first, "{state:?}");
            assert_eq!(ps.node.cut().is_some(), sound);
        }
    }
}

#[test]
fn status_of_a_ps_names_what_it_waits_for() {
    let does = |ps: &Script<Ps>| ps.node.status(ps.now()).does;
    let ps = Script::ps(0, cluster(2, 1, 2));
    insta::assert_snapshot!(does(&ps), @"waits for this shard's state from worker 0, never heard from");
    let mut ps = Script::restored_ps(cluster(2, 1, 2), 2);
    insta::assert_snapshot!(does(&ps), @"waits in step 2 for a gradient of worker 0, heard from 0.0 s ago; worker 1, heard from 0.0 s ago");
    ps.receives(0, push(2, 0, 1.0));
    ps.receives(1, push(2, 1, 1.0));
    insta::assert_snapshot!(does(&ps), @"waits in step 2 for the choice of its slots, which involves ps 1, never heard from");
    ps.accepts_on(9, TaskId::ps(1), 1);
    let (generation, step) = (generation(1), Step(2));
    ps.receives(9, Message::Received { cut: Cut { generation, step }, slots: slots(&[1]) });
    insta::assert_snapshot!(does(&ps), @"waits in step 2 for the update to be computed here");
    ps.feed(updated(2, 7.0));
    insta::assert_snapshot!(does(&ps), @"waits for the final checkpoint of worker 0, heard from 0.0 s ago");
    ps.receives(0, Message::Finished { generation });
    ps.receives(1, Message::Goodbye);
    insta::assert_snapshot!(does(&ps), @"waits for the goodbye of worker 0, heard from 0.0 s ago");

    let mut one = Script::ps(1, cluster(2, 1, 2));
    one.accepts_worker(0, 1);
    one.accepts_worker(1, 1);
    let (generation, step) = (generation, Step(0));
    one.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(0.5) });
    one.receives(0, push(0, 0, 1.0));
    one.receives(1, push(0, 1, 1.0));
    insta::assert_snapshot!(does(&one), @"waits in step 0 for the choice of its slots, which involves ps 0, never heard from");
}

#[test]
fn only_ps_0_sends_tokens() {
    let mut ps = Script::ps(1, cluster(2, 1, 1));
    ps.accepts_worker(0, 1);
    let (generation, step) = (generation(1), Step(0));
    ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(0.5) });
    assert_eq!(ps.receives(0, pull(Want::AtLeast(cut(0)))), [send(0, version(1, 0, &[], 0.5))]);
}

#[test]
fn gradient_before_the_first_restore_is_fenced_and_answered_after_the_restore() {
    let mut ps = Script::ps(0, cluster(1, 1, 1));
    ps.accepts_worker(0, 1);
    let expected = [
        send(0, push_reply(4, 0, Verdict::Fenced)),
        dropped(4, 0, 0, Some(Verdict::Fenced)),
        send(0, Message::Acknowledged { pushes: 1 }),
    ];
    assert_eq!(ps.receives(0, push(4, 0, 10.0)), expected);
    let generation = generation(1);
    let restore = Message::Restore { cut: Cut { generation, step: Step(0) }, state: state(5.0) };
    let first = acknowledging(version(1, 0, &[0], 5.0), 1);
    let expected = [send(0, Message::Restored { generation }), send(0, first)];
    assert_eq!(ps.receives(0, restore), expected);
}

#[test]
fn two_different_gradients_of_one_slot_fail_the_run() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    ps.receives(1, push(0, 1, 10.0));
    let worker = TaskId::worker(1);
    let failure = Failure::Diverged { step: Step(0), slot: Slot(1), worker };
    let expected = [
        send(0, Message::Abort(failure.clone())),
        send(1, Message::Abort(failure.clone())),
        Effect::Halt(Outcome::Failed(failure)),
    ];
    assert_eq!(ps.receives(1, push(0, 1, 11.0)), expected);
}

#[test]
fn push_of_an_unknown_slot_or_a_future_step_disconnects_the_worker() {
    for absurd in [push(0, 2, 1.0), push(1, 1, 1.0), push(u64::MAX, 1, 1.0)] {
        let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
        let out = ps.receives(1, absurd);
        let down = |effect: &Effect| matches!(effect, Effect::Report(Report::PeerDown { peer, .. }) if peer.index == 1);
        assert_eq!(out[0], Effect::Close { link: link(1) });
        assert!(out.len() == 2 && down(&out[1]), "{out:?}");
    }
}

#[test]
fn ps_0_chooses_the_first_slots_that_every_shard_holds() {
    let mut ps = Script::restored_ps(cluster(2, 1, 2), 0);
    ps.accepts_on(9, TaskId::ps(1), 1);
    let (generation, step) = (generation(1), Step(0));
    let received =
        |of: &[u32]| Message::Received { cut: Cut { generation, step }, slots: slots(of) };
    let chosen = |of: &[u32]| Message::Chosen { cut: Cut { generation, step }, slots: slots(of) };
    assert_eq!(ps.receives(0, push(0, 0, 20.0)), [], "ps 1 has not received slot 0");
    assert_eq!(ps.receives(1, push(0, 1, 10.0)), []);
    let expected = [send(9, chosen(&[1])), dropped(0, 0, 0, None), compute(0, 0.0, &[(1, 10.0)])];
    assert_eq!(ps.receives(9, received(&[1])), expected);
    // Ps 1 missed the choice and called again.
    assert_eq!(ps.receives(9, received(&[0, 1])), [send(9, chosen(&[1]))]);
}

#[test]
fn invalid_choice_of_slots_disconnects_ps_0() {
    for (r, n, wrong) in
        [(1, 2, &[][..]), (1, 2, &[0, 1]), (1, 2, &[2]), (2, 3, &[1, 1]), (2, 3, &[1, 0])]
    {
        let mut ps = Script::ps(1, cluster(2, r, n));
        ps.connects_to_ps_zero();
        let (generation, step) = (generation(1), Step(0));
        let out =
            ps.receives(9, Message::Chosen { cut: Cut { generation, step }, slots: slots(wrong) });
        assert_eq!(out[0], Effect::Close { link: link(9) }, "{wrong:?}");
    }
}

#[test]
fn pull_waits_for_the_first_version_that_satisfies_the_request() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 1);
    assert_eq!(ps.receives(1, pull(Want::AtLeast(cut(2)))), []);
    assert_eq!(ps.receives(1, pull(Want::AtLeast(cut(1)))), [send(1, version(1, 1, &[1], 0.0))]);
}

#[test]
fn previous_version_is_kept_for_a_worker_that_died_while_pushing() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 0);
    ps.receives(0, push(0, 0, 10.0));
    ps.feed(updated(0, 7.0));
    let records = vec![update(0, &[(0, 10.0)])];
    let older = with_received(with_updates(version(1, 0, &[0], 0.0), records), &[0]);
    let older = acknowledging(older, 1);
    assert_eq!(ps.receives(0, pull(Want::Exactly(cut(0)))), [send(0, older)]);

    ps.receives(0, push(1, 0, 10.0));
    ps.feed(updated(1, 8.0));
    let records = vec![update(0, &[(0, 10.0)]), update(1, &[(0, 10.0)])];
    let newest = acknowledging(with_updates(version(1, 2, &[0], 8.0), records), 2);
    assert_eq!(
        ps.receives(0, pull(Want::Exactly(cut(0)))),
        [send(0, newest)],
        "the previous version is not kept any longer"
    );
}

#[test]
fn losses_recorded_by_the_chief_are_not_sent_again() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 0);
    ps.receives(0, push(0, 0, 10.0));
    ps.feed(updated(0, 7.0));
    let want = Want::AtLeast(cut(0));
    let records = vec![update(0, &[(0, 10.0)])];
    let again = acknowledging(with_updates(version(1, 1, &[0], 7.0), records), 1);
    let pull = |written, durable| {
        let recorded = Recorded { written: Step(written), durable: Step(durable) };
        Message::Pull { want, recorded }
    };
    assert_eq!(ps.receives(0, pull(0, 0)), [send(0, again.clone())]);
    let without = acknowledging(version(1, 1, &[0], 7.0), 1);
    assert_eq!(ps.receives(0, pull(1, 0)), [send(0, without.clone())]);
    // A chief whose machine lost written losses needs the records again, until they are durable.
    assert_eq!(ps.receives(0, pull(0, 0)), [send(0, again)]);
    assert_eq!(ps.receives(0, pull(1, 1)), [send(0, without.clone())]);
    assert_eq!(ps.receives(0, pull(0, 0)), [send(0, without)]);
}

#[test]
fn capture_is_answered_at_exactly_its_version_or_reported_as_missed() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 1);
    let generation = generation(1);
    let capture = |at: u64| Message::Capture { cut: Cut { generation, step: Step(at) } };
    let captured = |step: u64, value: f32| {
        send(
            0,
            Message::Captured { cut: Cut { generation, step: Step(step) }, state: state(value) },
        )
    };
    let missed = Message::Missed { cut: Cut { generation, step: Step(0) }, current: Step(1) };
    assert_eq!(ps.receives(0, capture(0)), [send(0, missed)]);
    assert_eq!(ps.receives(0, capture(1)), [captured(1, 0.0)]);
    assert_eq!(ps.receives(0, capture(2)), []);
    ps.receives(0, push(1, 0, 10.0));
    assert_eq!(ps.feed(updated(1, 7.0))[1], captured(2, 7.0));
}

#[test]
fn no_update_starts_after_the_last_step() {
    let mut ps = Script::restored_ps(cluster(1, 1, 1), 3);
    assert_eq!(ps.receives(0, push(3, 0, 10.0)), []);
    let tokens = acknowledging(version(1, 3, &[], 0.0), 1);
    let last = ps.receives(0, pull(Want::AtLeast(cut(3))));
    assert_eq!(last, [send(0, with_received(tokens, &[0]))], "the last version has no tokens");
}

#[test]
fn ps_confirms_the_end_to_the_chief_once_every_other_worker_has_left() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    let generation = generation(1);
    let finished = || Message::Finished { generation };
    assert_eq!(ps.receives(0, finished()), [send(1, finished())]);
    assert_eq!(ps.receives(1, Message::Goodbye), [send(0, finished())]);
    assert_eq!(ps.receives(0, Message::Goodbye), [Effect::Halt(Outcome::Finished)]);
}

#[test]
fn end_is_announced_to_a_reconnecting_worker_but_not_to_the_chief() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    let generation = generation(1);
    ps.receives(0, Message::Finished { generation });
    let (incarnation, state) = (unisono_core::Incarnation(1), Some(cut(3)));
    let welcome = |on: u32| send(on, Message::Welcome { incarnation, state });
    ps.loses_link(1);
    let told = ps.accepts_on(7, TaskId::worker(1), 2);
    assert_eq!(told[0], welcome(7));
    assert_eq!(told.last(), Some(&send(7, Message::Finished { generation })));
    ps.loses_link(0);
    let greeted = ps.accepts_on(8, TaskId::CHIEF, 2);
    let up = Effect::Report(Report::PeerUp { peer: TaskId::CHIEF });
    assert_eq!(greeted, [welcome(8), up], "the chief would mistake the message for a confirmation");
}

#[test]
fn goodbye_before_the_last_version_is_ignored() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 2);
    assert_eq!(ps.receives(1, Message::Goodbye), []);
}

/// Ps 0, connected to the first incarnations of both workers.
fn connected_to_both_workers() -> Script<Ps> {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    for worker in [0, 1] {
        ps.accepts_worker(worker, 1);
    }
    ps
}

#[test]
fn goodbye_before_the_finished_message_of_the_chief_counts() {
    let mut ps = connected_to_both_workers();
    assert_eq!(ps.receives(1, Message::Goodbye), []);
    let finished = || Message::Finished { generation: generation(1) };
    assert_eq!(ps.receives(0, finished()), [send(1, finished()), send(0, finished())]);
    assert_eq!(ps.receives(0, Message::Goodbye), [Effect::Halt(Outcome::Finished)]);
}

#[test]
fn worker_that_restarts_after_its_goodbye_is_awaited_again() {
    let finished = || Message::Finished { generation: generation(1) };
    // Incarnation 2 is a restart. Incarnation 1 is the same process after a lost link.
    for (incarnation, to_chief) in [(2, vec![]), (1, vec![send(0, finished())])] {
        let mut ps = connected_to_both_workers();
        ps.receives(1, Message::Goodbye);
        ps.loses_link(1);
        ps.accepts_on(7, TaskId::worker(1), incarnation);
        let told = [vec![send(7, finished())], to_chief].concat();
        assert_eq!(ps.receives(0, finished()), told, "incarnation {incarnation}");
    }
}

/// The next incarnation of the ps learns of the end from the chief, and informs the workers that
/// have not left.
#[test]
fn ps_that_stops_before_all_workers_have_left_has_not_finished() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    ps.receives(0, Message::Finished { generation: generation(1) });
    assert_eq!(ps.feed(Input::Stop), [Effect::Halt(Outcome::Stopped { saved: None })]);
}

#[test]
fn ps_forwards_an_abort_to_every_worker() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 2);
    let failure = Failure::Storage("full".to_owned());
    let abort = || Message::Abort(failure.clone());
    let halt = Effect::Halt(Outcome::Failed(failure.clone()));
    assert_eq!(ps.receives(1, abort()), [send(0, abort()), send(1, abort()), halt]);
}

#[test]
fn ps_refused_by_ps_0_halts_unless_the_run_is_finished() {
    for is_done in [true, false] {
        let mut ps = Script::ps(1, cluster(2, 1, 2));
        ps.accepts_worker(0, 1);
        if is_done {
            ps.receives(0, Message::Finished { generation: generation(1) });
        }
        ps.network(NetworkEvent::Connected { link: link(9), to: TaskId::PS_ZERO });
        let refused = Message::Refused { reason: "seed is 2 and 1".into(), older_than: None };
        let halts = ps.receives(9, refused).iter().any(|effect| matches!(effect, Effect::Halt(_)));
        assert_eq!(halts, !is_done);
    }
}

#[test]
fn abort_of_a_worker_after_the_end_counts_as_its_goodbye() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    let finished = Message::Finished { generation: generation(1) };
    ps.receives(0, finished.clone());
    let failure = Failure::Storage("full".to_owned());
    assert_eq!(ps.receives(1, Message::Abort(failure)), [send(0, finished)]);
    assert_eq!(ps.receives(0, Message::Goodbye), [Effect::Halt(Outcome::Finished)]);
}

#[test]
fn ps_of_a_finished_run_succeeds_even_if_it_gives_up_waiting() {
    let mut config = cluster(1, 2, 2);
    config.limits.give_up_after = Duration::from_secs(3);
    let mut ps = Script::restored_ps(config, 3);
    ps.loses_link(1);
    let finished = Message::Finished { generation: generation(1) };
    ps.receives(0, finished.clone());
    let out = ps.advances_to(3);
    assert_eq!(out[out.len() - 2..], [send(0, finished), Effect::Halt(Outcome::Finished)]);
}

#[test]
fn ps_of_a_finished_run_waits_a_limited_time_for_goodbyes() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    ps.loses_link(1);
    let finished = Message::Finished { generation: generation(1) };
    ps.receives(0, finished.clone());
    for secs in [5, 10] {
        ps.advances_to(secs);
        ps.receives(0, Message::Heartbeat);
    }
    let out = ps.advances_to(15);
    assert_eq!(out[out.len() - 2..], [send(0, finished), Effect::Halt(Outcome::Finished)]);
}

#[test]
fn report_of_a_wait_names_the_awaited_task_and_the_duration() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    ps.receives(0, push(0, 0, 10.0));
    ps.loses_link(1);
    for secs in 1..=10 {
        ps.receives(0, Message::Heartbeat);
        let out = ps.advances_to(secs);
        let waiting = Report::Waiting {
            what: "in step 0 for a gradient of worker 1, disconnected, last heard from 10.0 s ago"
                .into(),
            waited: Duration::from_secs(10),
        };
        assert_eq!(out.contains(&Effect::Report(waiting)), secs == 10, "{secs}: {out:?}");
    }
}

#[test]
fn message_that_its_sender_may_not_send_closes_the_link() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    let ends = |ps: &mut Script<Ps>, on: u32, peer: TaskId, message: Message| {
        let why = format!("it sent {}, which it may not send", message.kind());
        let down = Effect::Report(Report::PeerDown { peer, why });
        assert_eq!(ps.receives(on, message), [Effect::Close { link: link(on) }, down]);
    };
    let generation = generation(9);
    ps.loses_link(1);
    for message in [
        Message::Restore { cut: Cut { generation, step: Step(0) }, state: state(1.0) },
        Message::Capture { cut: Cut { generation, step: Step(0) } },
        Message::Finished { generation },
        Message::Received { cut: Cut { generation, step: Step(0) }, slots: slots(&[0]) },
        Message::Chosen { cut: Cut { generation, step: Step(0) }, slots: slots(&[0]) },
        Message::Restored { generation },
    ] {
        ps.accepts_worker(1, 2);
        ends(&mut ps, 1, TaskId::worker(1), message);
    }
    assert_eq!(ps.node.cut(), Some(cut(0)));

    // Only ps 0 sends choices, and only the other ps send it their received slots.
    let mut zero = Script::ps(0, cluster(3, 1, 2));
    zero.accepts_on(9, TaskId::ps(1), 1);
    let chosen = Message::Chosen { cut: Cut { generation, step: Step(0) }, slots: slots(&[0]) };
    ends(&mut zero, 9, TaskId::ps(1), chosen);
    let mut one = Script::ps(1, cluster(3, 1, 2));
    one.connects_to_ps_zero();
    let received = Message::Received { cut: Cut { generation, step: Step(0) }, slots: slots(&[0]) };
    ends(&mut one, 9, TaskId::PS_ZERO, received);
}

#[test]
fn ps_that_gives_up_waiting_aborts_the_run_of_every_worker() {
    let mut config = cluster(1, 2, 2);
    config.limits.give_up_after = Duration::from_secs(3);
    let mut ps = Script::restored_ps(config, 0);
    ps.receives(0, push(0, 0, 10.0));
    ps.loses_link(1);
    assert!(!ps.advances_to(2).iter().any(|effect| matches!(effect, Effect::Halt(_))));
    let failure = Failure::GaveUp(GaveUp {
        task: TaskId::PS_ZERO,
        what: "in step 0 for a gradient of worker 1, disconnected, last heard from 3.0 s ago"
            .into(),
        waited: Duration::from_secs(3),
    });
    insta::assert_snapshot!(failure, @"ps 0 gave up (--give-up-after) after it had waited 3 s in step 0 for a gradient of worker 1, disconnected, last heard from 3.0 s ago; the newest checkpoint is kept, and the same commands continue from it");
    let told = [send(0, Message::Abort(failure.clone())), Effect::Halt(Outcome::Failed(failure))];
    let out = ps.advances_to(3);
    assert_eq!(out[out.len() - 2..], told);
}

#[test]
fn accepted_push_is_acknowledged_at_once_while_its_worker_has_more_to_push() {
    let mut ps = Script::restored_ps(cluster(1, 6, 2), 0);
    for (slot, pushes) in [(1, 1), (3, 2)] {
        let expected = [send(1, Message::Acknowledged { pushes })];
        assert_eq!(ps.receives(1, push(0, slot, 10.0)), expected);
    }
    assert_eq!(ps.receives(1, push(0, 5, 10.0)), [], "the next version acknowledges the last push");
}

#[test]
fn count_of_pushes_restarts_on_a_new_link() {
    let mut ps = Script::restored_ps(cluster(1, 6, 2), 0);
    ps.receives(1, push(0, 1, 10.0));
    ps.loses_link(1);
    ps.accepts_worker(1, 1);
    let expected = [send(1, Message::Acknowledged { pushes: 1 })];
    assert_eq!(ps.receives(1, push(0, 3, 10.0)), expected);
}
