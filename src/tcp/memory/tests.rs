use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::floats::Floats;
use crate::protocol::{Message, ShardState};

/// A frame with tensors of these lengths, in values.
fn frame(lengths: &[usize], value: f32) -> Frame {
    let mut tensors = lengths.iter().map(|&len| Floats::from(vec![value; len]));
    let parameters = tensors.next().expect("parameters");
    let state = ShardState { parameters, auxiliary: tensors.collect(), regularized: Vec::new() };
    let generation = crate::ids::Generation::default();
    Frame::new(&Message::Restore { generation, step: crate::ids::Step(0), state })
}

const LARGE: usize = LEAST_BYTES / 4;

/// Of a peer that may send frames of a few times that length.
const LIMITS: Limits = Limits::with_tensor_bytes(4 * 4 * LARGE);

/// What comes of a copy that is too short to be interrupted.
fn now<F: Future>(copy: F) -> F::Output {
    match pin!(copy).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is one chunk"),
    }
}

/// Places a frame's tensors.
fn place(outbox: &mut Outbox, frame: &Frame) -> Option<u64> {
    now(outbox.place(frame))
}

/// Passes on what each end has to tell the other.
fn talk(a: &mut Shared, b: &mut Shared) {
    for _ in 0..2 {
        a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note, &LIMITS));
        b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note, &LIMITS));
    }
}

/// Both ends of a link, after a large frame each way.
fn both() -> (Shared, Shared) {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    for end in [&mut a, &mut b] {
        assert_eq!(place(&mut end.outbox, &frame(&[LARGE], 0.0)), None, "nobody reads it yet");
    }
    talk(&mut a, &mut b);
    (a, b)
}

/// What the other end reads of a frame that was placed.
fn read(inbox: &Inbox, at: u64, lengths: &[usize]) -> Vec<f32> {
    let mut at = at as usize;
    let mut all = Vec::new();
    for &len in lengths {
        let mut values = vec![f32::NAN; len];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        now(inbox.read(at, bytes)).expect("it was placed");
        at = next(at, 4 * len);
        all.extend(values);
    }
    all
}

#[test]
fn tensors_of_any_length_are_read_where_they_were_placed() {
    let (mut a, mut b) = both();
    for lengths in [&[LARGE][..], &[LARGE + 1, 0, 1, 17], &[3, LARGE, 2]] {
        let at = place(&mut a.outbox, &frame(lengths, 1.5)).expect("there is room");
        assert_eq!(read(&b.inbox, at, lengths), vec![1.5; lengths.iter().sum()]);
        b.inbox.free();
        let back = place(&mut b.outbox, &frame(lengths, -2.5)).expect("there is room");
        assert_eq!(read(&a.inbox, back, lengths), vec![-2.5; lengths.iter().sum()]);
        a.inbox.free();
    }
}

#[test]
fn what_was_not_read_keeps_its_place_and_what_was_read_gives_it_back() {
    let (mut a, mut b) = both();
    let put = |a: &mut Shared, value: f32| place(&mut a.outbox, &frame(&[LARGE], value));
    let places: Vec<_> = (0..MAX_PLACED).map(|i| put(&mut a, i as f32).expect("room")).collect();
    assert_eq!(put(&mut a, 9.0), None, "so many wait that the socket has to make them wait");
    for (value, at) in places.iter().enumerate() {
        assert_eq!(read(&b.inbox, *at, &[LARGE]), [value as f32; LARGE]);
    }
    b.inbox.free();
    assert_eq!(put(&mut a, 9.0), Some(places[0]), "the first place is free again");
    for (value, at) in (1..).zip(&places[1..]) {
        assert_eq!(read(&b.inbox, *at, &[LARGE]), [value as f32; LARGE]);
    }
    (0..MAX_PLACED).for_each(|_| b.inbox.free());
    assert_eq!(put(&mut a, 10.0), Some(places[0]));
}

#[test]
fn small_frames_take_the_socket_and_so_do_those_that_do_not_fit() {
    let (mut a, _b) = both();
    assert_eq!(place(&mut a.outbox, &frame(&[LARGE / 2], 1.0)), None);
    assert_eq!(place(&mut a.outbox, &frame(&[LARGE * MAX_PLACED + 1], 1.0)), None);
    assert!(place(&mut a.outbox, &frame(&[LARGE], 1.0)).is_some());
    let mut small = Shared::new();
    assert_eq!(place(&mut small.outbox, &frame(&[4], 1.0)), None);
    assert_eq!(small.outbox.notes(), [], "who sends nothing large has nothing to offer");
}

#[test]
fn nothing_is_placed_before_both_ends_have_taken_the_others_memory() {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    let large = frame(&[LARGE], 1.0);
    place(&mut a.outbox, &large);
    talk(&mut a, &mut b);
    assert_eq!(
        place(&mut a.outbox, &large),
        None,
        "the other end has nowhere to say what it has read"
    );
    place(&mut b.outbox, &large);
    b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note, &LIMITS));
    assert!(place(&mut a.outbox, &large).is_some());
    assert_eq!(place(&mut b.outbox, &large), None, "it has not heard that its own is taken");
    a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note, &LIMITS));
    assert!(place(&mut b.outbox, &large).is_some());
}

#[test]
fn an_offer_that_leads_nowhere_is_not_taken() {
    let mut a = Shared::new();
    let token = [1; 16];
    for (process, file) in [(std::process::id(), 0), (0, 0), (u32::MAX, u32::MAX)] {
        a.inbox.on_note(Note::Offer { process, file, token }, &LIMITS);
    }
    assert_eq!(a.outbox.notes(), []);
    let error = now(a.inbox.read(START, &mut [0; 4])).expect_err("there is no memory");
    assert_eq!(error, InboxError::NotTaken);
}

#[test]
fn a_peer_that_has_read_what_was_never_there_gets_no_more_of_it() {
    let (mut a, mut b) = both();
    b.inbox.free();
    assert_eq!(place(&mut a.outbox, &frame(&[LARGE], 1.0)), None);
}

#[test]
fn nothing_is_read_outside_of_the_memory() {
    let (a, _b) = both();
    for at in [0, START - 4, START + 2 * MAX_PLACED * LEAST_BYTES, usize::MAX] {
        let error = now(a.inbox.read(at, &mut [0; 8])).expect_err("it is outside");
        assert!(matches!(error, InboxError::OutOfRange(_)), "{at}: {error}");
    }
}

#[tokio::test]
async fn a_tensor_of_many_chunks_is_read_as_it_was_written_and_others_have_their_turn() {
    const LONG: usize = 3 * COPY_BYTES / 4 + 5;
    let limits = Limits::with_tensor_bytes(4 * LONG);
    let (mut a, mut b) = (Shared::new(), Shared::new());
    for end in [&mut a, &mut b] {
        assert_eq!(end.outbox.place(&frame(&[LONG], 0.0)).await, None);
    }
    a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note, &limits));
    b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note, &limits));
    a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note, &limits));
    b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note, &limits));
    let values: Vec<f32> = (0..LONG).map(|i| i as f32).collect();
    let state = ShardState { parameters: values.clone().into(), ..ShardState::default() };
    let generation = crate::ids::Generation::default();
    let step = crate::ids::Step(0);
    let long = Frame::new(&Message::Restore { generation, step, state });
    let mut place = pin!(a.outbox.place(&long));
    let first = place.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending(), "a megabyte is copied at a time");
    let at = place.await.expect("there is room");
    let mut read = vec![0.0_f32; LONG];
    b.inbox.read(at as usize, bytemuck::cast_slice_mut(&mut read)).await.expect("it is there");
    assert!(read == values);
}

#[test]
fn memory_longer_than_frames_may_be_is_not_taken() {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    place(&mut a.outbox, &frame(&[LARGE], 0.0));
    let [offer] = a.outbox.notes()[..] else { panic!("it is offered once") };
    let tight = Limits { tensors: 0, ..Limits::with_tensor_bytes(4 * LARGE - 1) };
    b.inbox.on_note(offer, &tight);
    assert_eq!(b.outbox.notes(), []);
    b.inbox.on_note(offer, &Limits { tensors: 0, ..Limits::with_tensor_bytes(4 * LARGE) });
    assert_eq!(b.outbox.notes(), [Note::Taken]);
}
