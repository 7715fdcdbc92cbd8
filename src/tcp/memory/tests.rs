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

/// Passes on what each end has to tell the other.
fn talk(a: &mut Shared, b: &mut Shared) {
    for _ in 0..2 {
        a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note));
        b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note));
    }
}

/// Both ends of a link, after a large frame each way.
fn both() -> (Shared, Shared) {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    for end in [&mut a, &mut b] {
        assert_eq!(end.outbox.place(&frame(&[LARGE], 0.0)), None, "nobody reads it yet");
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
        inbox.read(at, bytemuck::cast_slice_mut(&mut values)).expect("it was placed");
        at = next(at, 4 * len);
        all.extend(values);
    }
    all
}

#[test]
fn tensors_of_any_length_are_read_where_they_were_placed() {
    let (mut a, mut b) = both();
    for lengths in [&[LARGE][..], &[LARGE + 1, 0, 1, 17], &[3, LARGE, 2]] {
        let at = a.outbox.place(&frame(lengths, 1.5)).expect("there is room");
        assert_eq!(read(&b.inbox, at, lengths), vec![1.5; lengths.iter().sum()]);
        b.inbox.free();
        let back = b.outbox.place(&frame(lengths, -2.5)).expect("there is room");
        assert_eq!(read(&a.inbox, back, lengths), vec![-2.5; lengths.iter().sum()]);
        a.inbox.free();
    }
}

#[test]
fn what_was_not_read_keeps_its_place_and_what_was_read_gives_it_back() {
    let (mut a, mut b) = both();
    let place = |a: &mut Shared, value: f32| a.outbox.place(&frame(&[LARGE], value));
    let places: Vec<_> = (0..MAX_PLACED).map(|i| place(&mut a, i as f32).expect("room")).collect();
    assert_eq!(place(&mut a, 9.0), None, "so many wait that the socket has to make them wait");
    for (value, at) in places.iter().enumerate() {
        assert_eq!(read(&b.inbox, *at, &[LARGE]), [value as f32; LARGE]);
    }
    b.inbox.free();
    assert_eq!(place(&mut a, 9.0), Some(places[0]), "the first place is free again");
    for (value, at) in (1..).zip(&places[1..]) {
        assert_eq!(read(&b.inbox, *at, &[LARGE]), [value as f32; LARGE]);
    }
    (0..MAX_PLACED).for_each(|_| b.inbox.free());
    assert_eq!(place(&mut a, 10.0), Some(places[0]));
}

#[test]
fn small_frames_take_the_socket_and_so_do_those_that_do_not_fit() {
    let (mut a, _b) = both();
    assert_eq!(a.outbox.place(&frame(&[LARGE / 2], 1.0)), None);
    assert_eq!(a.outbox.place(&frame(&[LARGE * MAX_PLACED + 1], 1.0)), None);
    assert!(a.outbox.place(&frame(&[LARGE], 1.0)).is_some());
    let mut small = Shared::new();
    assert_eq!(small.outbox.place(&frame(&[4], 1.0)), None);
    assert_eq!(small.outbox.notes(), [], "who sends nothing large has nothing to offer");
}

#[test]
fn nothing_is_placed_before_both_ends_have_taken_the_others_memory() {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    let large = frame(&[LARGE], 1.0);
    a.outbox.place(&large);
    talk(&mut a, &mut b);
    assert_eq!(a.outbox.place(&large), None, "the other end has nowhere to say what it has read");
    b.outbox.place(&large);
    b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note));
    assert!(a.outbox.place(&large).is_some());
    assert_eq!(b.outbox.place(&large), None, "it has not heard that its own is taken");
    a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note));
    assert!(b.outbox.place(&large).is_some());
}

#[test]
fn an_offer_that_leads_nowhere_is_not_taken() {
    let mut a = Shared::new();
    let token = [1; 16];
    for (process, file) in [(std::process::id(), 0), (0, 0), (u32::MAX, u32::MAX)] {
        a.inbox.on_note(Note::Offer { process, file, token });
    }
    assert_eq!(a.outbox.notes(), []);
    let error = a.inbox.read(START, &mut [0; 4]).expect_err("there is no memory");
    assert_eq!(error, InboxError::NotTaken);
}

#[test]
fn a_peer_that_has_read_what_was_never_there_gets_no_more_of_it() {
    let (mut a, mut b) = both();
    b.inbox.free();
    assert_eq!(a.outbox.place(&frame(&[LARGE], 1.0)), None);
}

#[test]
fn nothing_is_read_outside_of_the_memory() {
    let (a, _b) = both();
    for at in [0, START - 4, START + 2 * MAX_PLACED * LEAST_BYTES, usize::MAX] {
        let error = a.inbox.read(at, &mut [0; 8]).expect_err("it is outside");
        assert!(matches!(error, InboxError::OutOfRange(_)), "{at}: {error}");
    }
}
