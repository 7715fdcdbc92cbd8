use super::*;
use unisono_core::ids::{Cut, Generation, Step};
use unisono_core::protocol::{Message, ShardState};

const LARGE: usize = LEAST_BYTES / 4;

/// Limits of a peer whose frames may have tensors of `LARGE` values.
const LIMITS: Limits = Limits::with_tensor_bytes(LEAST_BYTES);

/// Returns a tensor of equal values in shared memory.
fn tensor(value: f32) -> Floats {
    let mut buffer = shareable(LARGE);
    buffer.fill(value);
    buffer.into()
}

fn frame(tensors: &[&Floats]) -> Frame {
    let mut tensors = tensors.iter().copied().cloned();
    let parameters = tensors.next().expect("parameters");
    let state = ShardState { parameters, auxiliary: tensors.collect(), regularized: Vec::new() };
    Frame::new(&Message::Restore {
        cut: Cut { generation: Generation::default(), step: Step(0) },
        state,
    })
}

/// Delivers the notes of both ends, and the answers to these notes.
fn exchange_notes(a: &mut SharedTensors, b: &mut SharedTensors) {
    for _ in 0..2 {
        a.outbox.take_notes().into_iter().for_each(|note| b.inbox.on_note(note, &LIMITS));
        b.outbox.take_notes().into_iter().for_each(|note| a.inbox.on_note(note, &LIMITS));
    }
}

/// Returns both ends of a link. The second end has opened the buffers of `tensors`, which belong to
/// the first end.
fn connected(tensors: &[&Floats]) -> (SharedTensors, SharedTensors) {
    let (mut a, mut b) = (SharedTensors::new(), SharedTensors::new());
    for tensor in tensors {
        assert_eq!(a.outbox.place(&frame(&[tensor])), None, "the peer has not opened it");
    }
    exchange_notes(&mut a, &mut b);
    (a, b)
}

fn place(end: &mut SharedTensors, tensor: &Floats) -> Option<u32> {
    end.outbox.place(&frame(&[tensor])).map(|buffers| buffers[0])
}

#[test]
fn peer_reads_tensors_in_place() {
    let tensors = [tensor(1.0), tensor(2.0)];
    let (mut a, b) = connected(&[&tensors[0], &tensors[1]]);
    let buffers =
        a.outbox.place(&frame(&[&tensors[1], &tensors[0]])).expect("the peer has taken both");
    let read: Vec<_> =
        buffers.iter().map(|buffer| b.inbox.tensor(*buffer, LARGE).expect("placed")).collect();
    assert_eq!(read, [tensor(2.0), tensor(1.0)]);
    let first = b.inbox.tensor(buffers[0], 2).expect("the buffer is longer");
    assert_eq!(first[..], [2.0; 2]);
}

#[test]
fn buffer_stays_shared_until_its_tensor_is_reported_as_read() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = connected(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("the peer has taken it");
    let read = b.inbox.tensor(buffer, LARGE).expect("placed");
    exchange_notes(&mut a, &mut b);
    assert!(!tensor.is_unshared(), "the peer has not read it");
    drop(read);
    assert!(!tensor.is_unshared(), "the peer has not reported it");
    exchange_notes(&mut a, &mut b);
    assert!(tensor.is_unshared());
}

#[test]
fn tensor_that_was_sent_twice_must_be_reported_twice() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = connected(&[&tensor]);
    let twice = [(); 2].map(|()| place(&mut a, &tensor).expect("the peer has taken it"));
    let [first, second] = twice.map(|buffer| b.inbox.tensor(buffer, LARGE).expect("placed"));
    drop(first);
    exchange_notes(&mut a, &mut b);
    assert!(!tensor.is_unshared());
    drop(second);
    exchange_notes(&mut a, &mut b);
    assert!(tensor.is_unshared());
}

#[test]
fn tensors_may_be_released_in_any_order() {
    let tensors = [1.0, 2.0, 3.0].map(tensor);
    let (mut a, mut b) = connected(&tensors.each_ref());
    let read = tensors.each_ref().map(|tensor| {
        let buffer = place(&mut a, tensor).expect("the peer has taken it");
        Some(b.inbox.tensor(buffer, LARGE).expect("placed"))
    });
    let [first, second, third] = read;
    for (number, read) in [(1, second), (2, third), (0, first)] {
        assert!(!tensors[number].is_unshared());
        drop(read);
        exchange_notes(&mut a, &mut b);
        assert!(tensors[number].is_unshared());
    }
}

#[test]
fn buffer_that_a_lost_peer_may_still_read_is_never_written_again() {
    let mut pool = unisono_core::floats::Pool::new(4);
    pool.make_buffers(shareable);
    let mut lend = |value| {
        let mut buffer = pool.take(LARGE);
        buffer.fill(value);
        pool.lend(buffer)
    };
    let (lost, kept) = (lend(1.0), lend(2.0));
    let (mut a, b) = connected(&[&lost, &kept]);
    let buffer = place(&mut a, &lost).expect("the peer has taken it");
    let read = b.inbox.tensor(buffer, LARGE).expect("placed");
    drop((a, lost, kept));
    // Both tensors were dropped here. Only the buffer that was not placed for the peer is reused.
    let again = [lend(3.0), lend(4.0), lend(5.0)];
    assert!(again.iter().zip([3.0, 4.0, 5.0]).all(|(floats, value)| floats[0] == value));
    assert_eq!(read, tensor(1.0));
}

#[test]
fn private_and_small_tensors_take_the_socket() {
    let (private, small) = (Floats::from(vec![1.0; LARGE]), Floats::from(shareable(LARGE - 1)));
    let shared = tensor(1.0);
    let (mut a, mut b) = connected(&[&private, &small, &shared]);
    assert_eq!((place(&mut a, &private), place(&mut a, &small)), (None, None));
    assert_eq!(
        a.outbox.place(&frame(&[&shared, &private])),
        None,
        "a frame is placed whole or not at all"
    );
    assert!(place(&mut a, &shared).is_some());
    let none = Frame::new(&Message::Heartbeat);
    assert_eq!(a.outbox.place(&none), None, "the frame has no tensor");
    exchange_notes(&mut a, &mut b);
    assert_eq!(place(&mut b, &shared), None, "only the maker of a buffer offers it");
}

#[test]
fn number_of_unread_tensors_is_limited_at_both_ends() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = connected(&[&tensor]);
    let mut placed = || place(&mut a, &tensor);
    let buffers: Vec<_> = (0..MAX_LENT).map(|_| placed().expect("there is room")).collect();
    assert_eq!(placed(), None);
    let read = |buffer: &u32| b.inbox.tensor(*buffer, LARGE);
    let mut read: Vec<_> = buffers.iter().map(|buffer| read(buffer).expect("placed")).collect();
    assert_eq!(b.inbox.tensor(buffers[0], LARGE).unwrap_err(), InboxError::TooMany);
    read.pop();
    assert_eq!(
        b.inbox.tensor(buffers[0], LARGE).unwrap_err(),
        InboxError::TooMany,
        "not reported yet"
    );
    exchange_notes(&mut a, &mut b);
    let buffer = place(&mut a, &tensor).expect("there is room again");
    assert!(b.inbox.tensor(buffer, LARGE).is_ok());
}

#[test]
fn dropped_buffer_makes_room_for_others() {
    let (mut a, mut b) = (SharedTensors::new(), SharedTensors::new());
    for number in 0..3 * MAX_BUFFERS {
        let tensor = tensor(number as f32);
        assert_eq!(place(&mut a, &tensor), None);
        exchange_notes(&mut a, &mut b);
        let buffer = place(&mut a, &tensor).expect("the peer has taken it");
        assert_eq!(b.inbox.tensor(buffer, LARGE).expect("placed"), tensor);
        exchange_notes(&mut a, &mut b);
        assert!(b.inbox.views.len() <= 2, "older buffers were unmapped");
    }
}

#[test]
fn tensors_beyond_the_limit_of_buffers_take_the_socket() {
    let tensors: Vec<_> = (0..=MAX_BUFFERS).map(|number| tensor(number as f32)).collect();
    let (mut a, _b) = connected(&tensors.iter().collect::<Vec<_>>());
    let placed = tensors.iter().filter(|tensor| place(&mut a, tensor).is_some());
    assert_eq!(placed.count(), MAX_LENT, "as many as may be unread");
    assert_eq!(place(&mut a, &tensors[MAX_BUFFERS]), None);
    assert_eq!(a.outbox.take_notes(), []);
}

#[test]
fn offer_that_cannot_be_opened_is_not_taken() {
    let mut a = SharedTensors::new();
    let token = [1; 16];
    for (process, file) in [(std::process::id(), 0), (0, 0), (u32::MAX, u32::MAX)] {
        a.inbox.on_note(Note::Offer { buffer: 7, process, file, token }, &LIMITS);
    }
    assert_eq!(a.outbox.take_notes(), []);
    assert_eq!(a.inbox.tensor(7, 1).unwrap_err(), InboxError::NotTaken);
}

#[test]
fn tensor_longer_than_its_buffer_is_refused() {
    let tensor = tensor(1.0);
    let (mut a, b) = connected(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("the peer has taken it");
    for n_values in [LARGE + 1, usize::MAX] {
        let error = b.inbox.tensor(buffer, n_values).unwrap_err();
        assert_eq!(error, InboxError::TooShort { n_values, n_bytes: LEAST_BYTES });
    }
}

#[test]
fn buffer_longer_than_the_tensors_of_a_frame_is_not_taken() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = (SharedTensors::new(), SharedTensors::new());
    place(&mut a, &tensor);
    let [offer] = &a.outbox.take_notes()[..] else { panic!("expected one offer") };
    b.inbox.on_note(offer.clone(), &Limits::with_tensor_bytes(LEAST_BYTES - 1));
    assert_eq!(b.outbox.take_notes(), []);
    b.inbox.on_note(offer.clone(), &LIMITS);
    assert_eq!(b.outbox.take_notes(), [Note::Taken(vec![0])]);
}

#[test]
fn false_notes_have_no_effect_and_take_no_memory() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = connected(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("the peer has taken it");
    a.inbox.on_note(Note::Read(vec![buffer + 1]), &LIMITS);
    assert!(!tensor.is_unshared());
    for _ in 0..1000 {
        a.inbox.on_note(Note::Taken(vec![99; MAX_NOTED]), &LIMITS);
        place(&mut b, &tensor);
        for note in b.outbox.take_notes() {
            a.inbox.on_note(note.clone(), &LIMITS);
            a.inbox.on_note(note, &LIMITS);
        }
        a.inbox.on_note(Note::Gone(vec![0]), &LIMITS);
    }
    let common = lock(&a.inbox.common);
    assert!(common.taken.len() <= MAX_BUFFERS && common.opened.len() <= MAX_BUFFERS);
}
