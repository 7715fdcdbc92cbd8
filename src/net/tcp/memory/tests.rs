use super::*;
use unisono_core::ids::Cut;
use unisono_core::ids::{Generation, Step};
use unisono_core::protocol::{Message, ShardState};

const LARGE: usize = LEAST_BYTES / 4;

/// Of a peer whose frames may have tensors of that length.
const LIMITS: Limits = Limits::with_tensor_bytes(LEAST_BYTES);

/// A tensor of equal values, in a buffer that can be shared.
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

/// Passes on what each end has to tell the other.
fn talk(a: &mut Shared, b: &mut Shared) {
    for _ in 0..2 {
        a.outbox.notes().into_iter().for_each(|note| b.inbox.on_note(note, &LIMITS));
        b.outbox.notes().into_iter().for_each(|note| a.inbox.on_note(note, &LIMITS));
    }
}

/// Both ends of a link, of which the second can read these tensors of the first.
fn both(tensors: &[&Floats]) -> (Shared, Shared) {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    for tensor in tensors {
        assert_eq!(a.outbox.place(&frame(&[tensor])), None, "nobody can read it yet");
    }
    talk(&mut a, &mut b);
    (a, b)
}

fn place(end: &mut Shared, tensor: &Floats) -> Option<u32> {
    end.outbox.place(&frame(&[tensor])).map(|buffers| buffers[0])
}

#[test]
fn a_tensor_is_read_where_it_was_computed() {
    let tensors = [tensor(1.0), tensor(2.0)];
    let (mut a, b) = both(&[&tensors[0], &tensors[1]]);
    let buffers = a.outbox.place(&frame(&[&tensors[1], &tensors[0]])).expect("both were taken");
    let read: Vec<_> =
        buffers.iter().map(|it| b.inbox.tensor(*it, LARGE).expect("it is")).collect();
    assert_eq!(read, [tensor(2.0), tensor(1.0)]);
    let first = b.inbox.tensor(buffers[0], 2).expect("it is longer");
    assert_eq!(first[..], [2.0; 2]);
}

#[test]
fn a_buffer_is_kept_as_it_is_until_it_was_read() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = both(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("it was taken");
    let read = b.inbox.tensor(buffer, LARGE).expect("it is there");
    talk(&mut a, &mut b);
    assert!(!tensor.is_unshared(), "it has still to be read");
    drop(read);
    assert!(!tensor.is_unshared(), "that has still to be said");
    talk(&mut a, &mut b);
    assert!(tensor.is_unshared());
}

#[test]
fn a_tensor_that_was_sent_twice_has_to_be_read_twice() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = both(&[&tensor]);
    let twice = [(); 2].map(|()| place(&mut a, &tensor).expect("it was taken"));
    let [first, second] = twice.map(|it| b.inbox.tensor(it, LARGE).expect("it is there"));
    drop(first);
    talk(&mut a, &mut b);
    assert!(!tensor.is_unshared());
    drop(second);
    talk(&mut a, &mut b);
    assert!(tensor.is_unshared());
}

#[test]
fn tensors_are_read_in_any_order() {
    let tensors = [1.0, 2.0, 3.0].map(tensor);
    let (mut a, mut b) = both(&tensors.each_ref());
    let read = tensors.each_ref().map(|tensor| {
        let buffer = place(&mut a, tensor).expect("it was taken");
        Some(b.inbox.tensor(buffer, LARGE).expect("it is there"))
    });
    let [first, second, third] = read;
    for (number, read) in [(1, second), (2, third), (0, first)] {
        assert!(!tensors[number].is_unshared());
        drop(read);
        talk(&mut a, &mut b);
        assert!(tensors[number].is_unshared());
    }
}

#[test]
fn who_is_lost_may_still_read_so_the_buffer_is_never_written_again() {
    let mut pool = unisono_core::floats::Pool::new(4);
    pool.make_buffers(shareable);
    let mut lend = |value| {
        let mut buffer = pool.take(LARGE);
        buffer.fill(value);
        pool.lend(buffer)
    };
    let (lost, kept) = (lend(1.0), lend(2.0));
    let (mut a, b) = both(&[&lost, &kept]);
    let buffer = place(&mut a, &lost).expect("it was taken");
    let read = b.inbox.tensor(buffer, LARGE).expect("it is there");
    drop((a, lost, kept));
    // Of two buffers that nobody here holds, the one that was not lent is written again.
    let again = [lend(3.0), lend(4.0), lend(5.0)];
    assert!(again.iter().zip([3.0, 4.0, 5.0]).all(|(floats, value)| floats[0] == value));
    assert_eq!(read, tensor(1.0));
}

#[test]
fn what_the_socket_has_to_take() {
    let (private, small) = (Floats::from(vec![1.0; LARGE]), Floats::from(shareable(LARGE - 1)));
    let shared = tensor(1.0);
    let (mut a, mut b) = both(&[&private, &small, &shared]);
    assert_eq!((place(&mut a, &private), place(&mut a, &small)), (None, None));
    assert_eq!(a.outbox.place(&frame(&[&shared, &private])), None, "all or none of a frame");
    assert!(place(&mut a, &shared).is_some());
    let none = Frame::new(&Message::Heartbeat);
    assert_eq!(a.outbox.place(&none), None, "there is nothing to be placed");
    talk(&mut a, &mut b);
    assert_eq!(place(&mut b, &shared), None, "it is the other end's to offer");
}

#[test]
fn so_many_tensors_wait_and_no_more() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = both(&[&tensor]);
    let mut placed = || place(&mut a, &tensor);
    let buffers: Vec<_> = (0..MAX_LENT).map(|_| placed().expect("there is room")).collect();
    assert_eq!(placed(), None);
    let read = |buffer: &u32| b.inbox.tensor(*buffer, LARGE);
    let mut read: Vec<_> = buffers.iter().map(|buffer| read(buffer).expect("it is")).collect();
    assert_eq!(b.inbox.tensor(buffers[0], LARGE).unwrap_err(), InboxError::TooMany);
    read.pop();
    assert_eq!(b.inbox.tensor(buffers[0], LARGE).unwrap_err(), InboxError::TooMany, "not told yet");
    talk(&mut a, &mut b);
    let buffer = place(&mut a, &tensor).expect("there is room again");
    assert!(b.inbox.tensor(buffer, LARGE).is_ok());
}

#[test]
fn a_buffer_that_is_no_more_makes_room_for_others() {
    let (mut a, mut b) = (Shared::new(), Shared::new());
    for number in 0..3 * MAX_BUFFERS {
        let tensor = tensor(number as f32);
        assert_eq!(place(&mut a, &tensor), None);
        talk(&mut a, &mut b);
        let buffer = place(&mut a, &tensor).expect("it was taken");
        assert_eq!(b.inbox.tensor(buffer, LARGE).expect("it is there"), tensor);
        talk(&mut a, &mut b);
        assert!(b.inbox.views.len() <= 2, "the one before is gone");
    }
}

#[test]
fn what_comes_when_there_are_too_many_buffers_takes_the_socket() {
    let tensors: Vec<_> = (0..=MAX_BUFFERS).map(|number| tensor(number as f32)).collect();
    let (mut a, _b) = both(&tensors.iter().collect::<Vec<_>>());
    let placed = tensors.iter().filter(|tensor| place(&mut a, tensor).is_some());
    assert_eq!(placed.count(), MAX_LENT, "of those that were offered, as many as may wait");
    assert_eq!(place(&mut a, &tensors[MAX_BUFFERS]), None);
    assert_eq!(a.outbox.notes(), []);
}

#[test]
fn an_offer_that_leads_nowhere_is_not_taken() {
    let mut a = Shared::new();
    let token = [1; 16];
    for (process, file) in [(std::process::id(), 0), (0, 0), (u32::MAX, u32::MAX)] {
        a.inbox.on_note(Note::Offer { buffer: 7, process, file, token }, &LIMITS);
    }
    assert_eq!(a.outbox.notes(), []);
    assert_eq!(a.inbox.tensor(7, 1).unwrap_err(), InboxError::NotTaken);
}

#[test]
fn nothing_is_read_beyond_a_buffer() {
    let tensor = tensor(1.0);
    let (mut a, b) = both(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("it was taken");
    for n_values in [LARGE + 1, usize::MAX] {
        let error = b.inbox.tensor(buffer, n_values).unwrap_err();
        assert_eq!(error, InboxError::TooShort { n_values, n_bytes: LEAST_BYTES });
    }
}

#[test]
fn a_buffer_longer_than_frames_may_be_is_not_taken() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = (Shared::new(), Shared::new());
    place(&mut a, &tensor);
    let [offer] = &a.outbox.notes()[..] else { panic!("it is offered once") };
    b.inbox.on_note(offer.clone(), &Limits::with_tensor_bytes(LEAST_BYTES - 1));
    assert_eq!(b.outbox.notes(), []);
    b.inbox.on_note(offer.clone(), &LIMITS);
    assert_eq!(b.outbox.notes(), [Note::Taken(vec![0])]);
}

#[test]
fn who_says_what_is_not_so_changes_nothing_and_takes_no_memory() {
    let tensor = tensor(1.0);
    let (mut a, mut b) = both(&[&tensor]);
    let buffer = place(&mut a, &tensor).expect("it was taken");
    a.inbox.on_note(Note::Read(vec![buffer + 1]), &LIMITS);
    assert!(!tensor.is_unshared());
    for _ in 0..1000 {
        a.inbox.on_note(Note::Taken(vec![99; MAX_NOTED]), &LIMITS);
        place(&mut b, &tensor);
        for note in b.outbox.notes() {
            a.inbox.on_note(note.clone(), &LIMITS);
            a.inbox.on_note(note, &LIMITS);
        }
        a.inbox.on_note(Note::Gone(vec![0]), &LIMITS);
    }
    let common = lock(&a.inbox.common);
    assert!(common.taken.len() <= MAX_BUFFERS && common.opened.len() <= MAX_BUFFERS);
}
