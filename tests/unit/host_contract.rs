//! The contract of every host: tests that each implementation of the host traits must pass.
//!
//! The functions use only the traits: no runtime, no sockets, and no time limit of their own. The
//! production host and the simulator pass the same functions, so a node runs alike on both.

use crate::Cut;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::limits::MAX_QUEUED_FRAMES;
use super::{Clock, Compute, Network};
use crate::floats::Floats;
use crate::ids::{Generation, Incarnation, LinkId, Slot, Step, TaskId};
use crate::protocol::{
    Done, Hello, Job, Message, NetworkEvent, PROTOCOL_VERSION, PUSH_WINDOW, Recorded, Settings,
};
use crate::time::Moment;

/// The number of values of the largest tensor that the contract sends. It exceeds the capacity of a
/// socket's buffers.
pub const MAX_VALUES: usize = 400_000;

/// Each end receives whole, unchanged messages, in the order in which the other end sent them.
pub async fn network_keeps_order_and_content(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    let messages: Vec<_> = (1..=40).map(|number| numbered(number, called_is)).collect();
    for message in &messages {
        caller.send(there, message.clone());
        called.send(here, message.clone());
    }
    tokio::join!(
        async {
            for message in &messages {
                assert_eq!(received(called, here).await, *message);
            }
        },
        async {
            for message in &messages {
                assert_eq!(received(caller, there).await, *message);
            }
        }
    );
}

/// A burst of messages of any size is delivered in order, or both ends are told that the link is
/// lost. The network drops nothing silently, even if nobody reads while the burst is sent.
pub async fn bursts_are_delivered_or_their_loss_is_reported(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    for n_messages in [PUSH_WINDOW, MAX_QUEUED_FRAMES, 20 * MAX_QUEUED_FRAMES] {
        let (there, here) = link(caller, called, called_is).await;
        for number in 0..n_messages {
            caller.send(there, large(number));
        }
        let mut n_came = 0;
        while n_came < n_messages {
            match called.next().await {
                NetworkEvent::Received { link, message } if link == here => {
                    assert_eq!(message, large(n_came));
                    n_came += 1;
                }
                NetworkEvent::Progress { link } if link == here => {}
                NetworkEvent::Closed { link, why } if link == here => {
                    assert!(n_messages > MAX_QUEUED_FRAMES, "a burst within the limit: {why}");
                    assert_ne!(closed(caller, there).await, "");
                    break;
                }
                other => panic!("a message or an end was due, not {other:?}"),
            }
        }
    }
}

/// Several links between the same tasks have different numbers, and each link keeps its own order.
pub async fn links_are_told_apart(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (first_there, first_here) = link(caller, called, called_is).await;
    let (second_there, second_here) = link(caller, called, called_is).await;
    assert_ne!(first_there, second_there);
    assert_ne!(first_here, second_here);
    called.send(second_here, refusal(2));
    called.send(first_here, refusal(1));
    for _ in 0..2 {
        match caller.next().await {
            NetworkEvent::Received { link, message } if link == first_there => {
                assert_eq!(message, refusal(1));
            }
            NetworkEvent::Received { link, message } if link == second_there => {
                assert_eq!(message, refusal(2));
            }
            other => panic!("a message on one of two links was due, not {other:?}"),
        }
    }
}

/// Messages that were sent before a link was closed are received. Then the other end gets one event
/// that the link is closed.
pub async fn close_delivers_what_was_sent_before(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    let messages: Vec<_> = (1..=10).map(|number| numbered(number, called_is)).collect();
    for message in &messages {
        caller.send(there, message.clone());
    }
    caller.close(there);
    for message in &messages {
        assert_eq!(received(called, here).await, *message);
    }
    closed(called, here).await;
}

/// The end that did not close the link gets one event, with a reason. If that end still sends on
/// the link or closes it, nothing happens, and no further event follows.
pub async fn closed_is_told_once_to_the_other_end(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    caller.close(there);
    assert_ne!(closed(called, here).await, "");
    called.send(here, refusal(1));
    called.close(here);
    called.close(here);
    nothing_more_is_told(caller, called, called_is).await;
}

/// The end that closes a link gets no further event of that link: neither the close nor messages
/// that the other end had sent before.
pub async fn who_closes_a_link_hears_no_more_of_it(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    for number in 1..=10 {
        called.send(here, numbered(number, called_is));
    }
    caller.close(there);
    closed(called, here).await;
    caller.send(there, refusal(1));
    caller.close(there);
    nothing_more_is_told(caller, called, called_is).await;
}

/// Each link has its own number. A later link never gets the number of an earlier one, even if the
/// earlier link is closed.
pub async fn link_numbers_are_never_used_again(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (mut all_there, mut all_here) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (there, here) = link(caller, called, called_is).await;
        assert!(!all_there.contains(&there) && !all_here.contains(&here));
        all_there.push(there);
        all_here.push(here);
        caller.close(there);
        closed(called, here).await;
    }
}

/// A call to a task that does not run fails. The reason names the task that was called.
pub async fn connect_to_nobody_fails_with_a_reason(caller: &mut impl Network, nobody: TaskId) {
    caller.connect(nobody);
    match caller.next().await {
        NetworkEvent::ConnectFailed { to, why } => {
            assert_eq!(to, nobody);
            assert!(why.contains(&nobody.to_string()), "{why:?} does not name {nobody}");
        }
        other => panic!("a failed call was due, not {other:?}"),
    }
}

/// A caller may drop the future of `next` and ask again, as often as it likes. No event is lost.
pub async fn network_next_is_cancel_safe(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    for number in 1..=100 {
        caller.send(there, refusal(number));
    }
    for number in 1..=100 {
        let event = match poll_once(called.next()).await {
            Some(event) => event,
            None => called.next().await,
        };
        assert_eq!(event, NetworkEvent::Received { link: here, message: refusal(number) });
    }
}

/// A flush sends all queued messages on every link, and then closes the links. The caller cannot
/// use the network afterwards.
pub async fn flush_delivers_everything(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let first = link(caller, called, called_is).await;
    let second = link(caller, called, called_is).await;
    let messages: Vec<_> = (1..=20).map(|number| numbered(number, called_is)).collect();
    for message in &messages {
        caller.send(first.0, message.clone());
        caller.send(second.0, message.clone());
    }
    // The caller's socket now has unread data. Closing such a socket resets the connection, and a
    // reset could discard the caller's last messages. The flush must deliver them nevertheless.
    called.send(first.1, numbered(1, called_is));
    let receive = async {
        let mut due = [(first.1, messages.iter()), (second.1, messages.iter())];
        let mut n_closed = 0;
        while n_closed < 2 {
            match called.next().await {
                NetworkEvent::Received { link, message } => {
                    let (_, due) = due.iter_mut().find(|(of, _)| *of == link).expect("a link");
                    assert_eq!(Some(&message), due.next());
                }
                NetworkEvent::Closed { link, why } => {
                    let (_, due) = due.iter_mut().find(|(of, _)| *of == link).expect("a link");
                    assert_eq!(due.len(), 0, "closed before all came: {why}");
                    n_closed += 1;
                }
                NetworkEvent::Progress { .. } => {}
                other => panic!("a message or an end was due, not {other:?}"),
            }
        }
    };
    tokio::join!(caller.flush(), receive);
}

/// The clock never goes back, and a wait never ends before its moment.
pub async fn clock_never_goes_back(clock: &impl Clock) {
    let mut last = clock.now();
    for wait in [0, 1, 0, 2, 5].map(Duration::from_millis) {
        let until = clock.now() + wait;
        clock.sleep_until(until).await;
        let now = clock.now();
        assert!(now >= until && now >= last, "{now:?} after {last:?}, waited until {until:?}");
        last = now;
    }
}

/// A wait for a moment in the past ends at once. A wait for a moment that never comes does not end.
pub async fn any_moment_can_be_waited_for(clock: &impl Clock) {
    clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
    clock.sleep_until(Moment::from_origin(Duration::ZERO)).await;
    let never = Moment::from_origin(Duration::MAX);
    assert_eq!(poll_once(clock.sleep_until(never)).await, None);
}

/// Results come in the order in which their jobs were started. `compute` must run jobs with
/// [`echo`].
pub async fn compute_keeps_order(compute: &mut impl Compute) {
    for step in 0..50 {
        compute.start(job(step));
    }
    for step in 0..50 {
        assert_eq!(compute.next().await, echo(job(step)));
    }
}

/// A caller may drop the future of `next` and ask again. No result is lost. `compute` must run jobs
/// with [`echo`].
pub async fn compute_next_is_cancel_safe(compute: &mut impl Compute) {
    assert_eq!(poll_once(compute.next()).await, None);
    for step in 0..50 {
        compute.start(job(step));
        let done = match poll_once(compute.next()).await {
            Some(done) => done,
            None => compute.next().await,
        };
        assert_eq!(done, echo(job(step)));
    }
}

/// The computation that these tests expect from `compute`: it returns the job's own data as the
/// result.
#[must_use]
pub fn echo(job: Job) -> Done {
    match job {
        Job::Gradient { cut, slot, parameters } => {
            Done::Gradient { cut, slot, loss: 0.5, gradient: parameters }
        }
        Job::Update { cut, state, .. } => Done::Update { cut, state },
    }
}

fn job(step: u64) -> Job {
    let parameters = vec![vec![step as f32; 3].into()];
    Job::Gradient {
        cut: Cut { generation: Generation::default(), step: Step(step) },
        slot: Slot(1),
        parameters,
    }
}

/// Connects `caller` to `called`, and sends the first greeting. Returns the link's number at each
/// end.
async fn link(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) -> (LinkId, LinkId) {
    caller.connect(called_is);
    let there = match caller.next().await {
        NetworkEvent::Connected { link, to } if to == called_is => link,
        other => panic!("a link to {called_is} was due, not {other:?}"),
    };
    caller.send(there, hello(called_is));
    let here = match called.next().await {
        NetworkEvent::Accepted { link } => link,
        other => panic!("somebody calling was due, not {other:?}"),
    };
    assert_eq!(received(called, here).await, hello(called_is));
    (there, here)
}

/// Returns the next message on a link. Before the message, only `Progress` events may come.
async fn received(network: &mut impl Network, on: LinkId) -> Message {
    loop {
        match network.next().await {
            NetworkEvent::Received { link, message } if link == on => return message,
            NetworkEvent::Progress { link } if link == on => {}
            other => panic!("a message on {on:?} was due, not {other:?}"),
        }
    }
}

/// Waits until a link is closed, and returns the reason.
async fn closed(network: &mut impl Network, which: LinkId) -> String {
    match network.next().await {
        NetworkEvent::Closed { link, why } if link == which => why,
        other => panic!("the end of {which:?} was due, not {other:?}"),
    }
}

/// Checks that no event of an earlier link is left at either end: the first event must belong to a
/// new link.
async fn nothing_more_is_told(
    caller: &mut impl Network,
    called: &mut impl Network,
    called_is: TaskId,
) {
    let (there, here) = link(caller, called, called_is).await;
    called.send(here, refusal(99));
    assert_eq!(received(caller, there).await, refusal(99));
}

/// The first message of every link, sent by the chief.
#[must_use]
pub fn hello(to: TaskId) -> Message {
    Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        from: TaskId::CHIEF,
        incarnation: Incarnation(1),
        to,
        settings: Settings::default().with("seed", 1),
        data: None,
    })
}

fn refusal(number: u32) -> Message {
    Message::Refused { reason: format!("number {number}"), older_than: None }
}

/// Returns messages whose sizes vary with `number`: no tensor, an empty tensor, small and large
/// tensors.
fn numbered(number: u32, to: TaskId) -> Message {
    let n_values = match number % 5 {
        0 => return refusal(number),
        1 => return hello(to),
        2 => 0,
        3 => number as usize,
        _ => MAX_VALUES / 40 * (number as usize).min(40),
    };
    let gradient: Floats =
        (0..n_values).map(|at| (at as f32) + number as f32).collect::<Vec<_>>().into();
    Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(u64::from(number)) },
        slot: Slot(number),
        loss: 0.5,
        recorded: Recorded::default(),
        gradient,
    }
}

/// Returns a push with a tensor of [`MAX_VALUES`] values.
fn large(number: usize) -> Message {
    Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(number as u64) },
        slot: Slot(0),
        loss: 0.5,
        recorded: Recorded::default(),
        gradient: vec![number as f32; MAX_VALUES].into(),
    }
}

/// Polls a future once and drops it. Returns the future's value if it was ready.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}
