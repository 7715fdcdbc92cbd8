//! Frames of every kind: round trips, the exact bytes in `fixtures/wire/`, and detected damage.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::ids::{Cut, Generation, Incarnation, Slot, Step, TaskId};
use crate::protocol::{
    Failure, Hello, NewerIncarnation, PROTOCOL_VERSION, Recorded, Settings, ShardState,
    UpdateRecord, Verdict, Want,
};

const LIMITS: Limits = Limits::with_tensor_bytes(1 << 20);

/// Returns one message of each kind, with small tensors. The integers in the messages have every
/// possible varint length.
fn one_of_each_kind() -> Vec<Message> {
    let generation = Generation { number: 3, opener: Incarnation(1_700_000_000_000) };
    let state = ShardState {
        parameters: vec![1.0, -2.5, f32::MIN_POSITIVE].into(),
        auxiliary: vec![vec![0.0, -0.0, 1e-40].into(), vec![f32::INFINITY, f32::MAX, 0.1].into()],
        regularized: vec![0..1, 2..3],
    };
    vec![
        Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            from: TaskId::worker(300),
            incarnation: Incarnation(7),
            to: TaskId::PS_ZERO,
            settings: Settings::default().with("seed", 42).with("batch_size", 100),
            data: Some("digest".to_owned()),
        }),
        Message::Welcome {
            incarnation: Incarnation(9),
            state: Some(Cut { generation, step: Step(70_000) }),
        },
        Message::Refused {
            reason: "incarnation 7 is older than incarnation 300".to_owned(),
            older_than: Some(NewerIncarnation {
                incarnation: Incarnation(300),
                is_connected: true,
            }),
        },
        Message::Heartbeat,
        Message::Pull {
            want: Want::AtLeast(Cut { generation, step: Step(251) }),
            recorded: Recorded { written: Step(250), durable: Step(200) },
        },
        Message::Push {
            cut: Cut { generation, step: Step(5_000_000_000) },
            slot: Slot(1),
            loss: 2.375,
            recorded: Recorded::default(),
            gradient: vec![0.5, -0.25, f32::NAN, 3.0].into(),
        },
        Message::PushReply {
            cut: Cut { generation, step: Step(4) },
            slot: Slot(2),
            verdict: Verdict::Stale,
        },
        Message::Version {
            cut: Cut { generation, step: Step(5) },
            tokens: vec![Slot(0), Slot(2)],
            received: vec![Slot(1)],
            updates: vec![UpdateRecord {
                cut: Cut { generation, step: Step(4) },
                losses: vec![(Slot(0), 0.5), (Slot(1), 0.75)],
            }],
            acknowledged: 2,
            parameters: vec![1.5; 5].into(),
        },
        Message::Received { cut: Cut { generation, step: Step(6) }, slots: vec![Slot(3), Slot(0)] },
        Message::Chosen { cut: Cut { generation, step: Step(6) }, slots: vec![Slot(0), Slot(3)] },
        Message::Restore { cut: Cut { generation, step: Step(10) }, state: state.clone() },
        Message::Restored { generation },
        Message::Capture { cut: Cut { generation, step: Step(600) } },
        Message::Captured { cut: Cut { generation, step: Step(600) }, state },
        Message::Missed { cut: Cut { generation, step: Step(600) }, current: Step(601) },
        Message::Finished { generation },
        Message::Goodbye,
        Message::Abort(Failure::NonFinite {
            step: Step(12),
            slot: Slot(1),
            loss: f32::NEG_INFINITY,
        }),
        Message::Acknowledged { pushes: 300 },
    ]
}

/// Compares two messages by their bytes, because a NaN is not `==` to itself.
fn same(a: &Message, b: &Message) -> bool {
    encode_to_vec(a) == encode_to_vec(b)
}

#[test]
fn message_of_every_kind_decodes_to_itself() {
    for message in one_of_each_kind() {
        let back = decode(&encode_to_vec(&message), &LIMITS).unwrap();
        assert!(same(&back, &message), "{back:?}");
        assert_eq!(back.tensors(), message.tensors());
    }
}

#[test]
fn samples_contain_every_kind_once() {
    // If a kind of message is added, this match fails to compile. The new kind then gets a sample
    // above, too.
    let number = |message: &Message| match message {
        Message::Hello(_) => 0,
        Message::Welcome { .. } => 1,
        Message::Refused { .. } => 2,
        Message::Heartbeat => 3,
        Message::Pull { .. } => 4,
        Message::Push { .. } => 5,
        Message::PushReply { .. } => 6,
        Message::Version { .. } => 7,
        Message::Received { .. } => 8,
        Message::Chosen { .. } => 9,
        Message::Restore { .. } => 10,
        Message::Restored { .. } => 11,
        Message::Capture { .. } => 12,
        Message::Captured { .. } => 13,
        Message::Missed { .. } => 14,
        Message::Finished { .. } => 15,
        Message::Goodbye => 16,
        Message::Abort(_) => 17,
        Message::Acknowledged { .. } => 18,
    };
    let numbers: Vec<_> = one_of_each_kind().iter().map(number).collect();
    assert_eq!(numbers, (0..19).collect::<Vec<_>>());
}

/// The fixtures contain a frame of every kind, which `fixtures/wire/check.py` decodes
/// independently. After a deliberate change of the layout, run `UPDATE_FIXTURES=1 cargo test -p
/// unisono-core --lib wire`.
#[test]
fn frames_equal_the_fixtures_byte_for_byte() {
    for message in one_of_each_kind() {
        assert_golden(message.kind(), &hex_lines(&Frame::new(&message)));
    }
}

/// Returns a note of each kind.
fn notes() -> [(&'static str, Note); 4] {
    let token = *b"0123456789abcdef";
    [
        ("note-offer", Note::Offer { buffer: 300, process: 70_000, file: 9, token }),
        ("note-taken", Note::Taken(vec![300])),
        ("note-read", Note::Read(vec![300, 7, 300])),
        ("note-gone", Note::Gone(vec![7, 8])),
    ]
}

/// Returns the frame of a message whose tensors are in shared memory.
fn placed_push() -> Vec<u8> {
    Frame::new(&one_of_each_kind()[5]).placed_head(&[4096])
}

#[test]
fn shared_memory_frames_equal_the_fixtures_byte_for_byte() {
    let assert_golden = |name, n_tensors, frame: &[u8]| {
        let (header, body) = frame.split_at(HEADER_BYTES);
        let (table, control) = body.split_at(n_tensors * ENTRY_BYTES);
        assert_golden(name, &hex([header, table, control].into_iter()));
    };
    assert_golden("placed-push", 1, &placed_push());
    for (name, note) in notes() {
        assert_golden(name, 0, &note.to_frame());
    }
}

/// Returns a line for the header, the table, the control part and each tensor.
fn hex_lines(frame: &Frame) -> String {
    let n_tensors = frame.tensors.len();
    let head = frame.head();
    let (header, body) = head.split_at(HEADER_BYTES);
    let (table, control) = body.split_at(n_tensors * ENTRY_BYTES);
    hex([header, table, control].into_iter().chain(frame.tensors()))
}

fn hex<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    parts
        .filter(|part| !part.is_empty())
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect()
}

fn assert_golden(name: &str, hex: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../fixtures/wire/{name}.hex"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, hex).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(hex, golden, "{name} differs from {}", path.display());
}

/// The result of reading a head as a link's reader does.
#[derive(Debug, PartialEq)]
enum Taken {
    Whole,
    In(Vec<u32>),
    Note(Note),
}

/// Parses a head as a link's reader does.
fn read_head(bytes: &[u8]) -> Result<Taken, WireError> {
    let header = Header::parse(bytes.first_chunk().unwrap(), &LIMITS)?;
    let body = &bytes[HEADER_BYTES..];
    if body.len() != header.body_bytes() {
        return Err(WireError::WrongLength { found: body.len(), wanted: header.body_bytes() });
    }
    if header.kind() == Kind::Note {
        return header.parse_note(body).map(Taken::Note);
    }
    let head = header.parse_body(body, &LIMITS)?;
    Ok(head.buffers().map_or(Taken::Whole, |buffers| Taken::In(buffers.collect())))
}

#[test]
fn frame_of_shared_memory_decodes_to_itself_and_any_flipped_bit_is_detected() {
    assert_eq!(read_head(&placed_push()), Ok(Taken::In(vec![4096])));
    let notes = notes().map(|(_, note)| {
        let frame = note.to_frame();
        assert_eq!(read_head(&frame), Ok(Taken::Note(note)));
        frame
    });
    for mut frame in notes.into_iter().chain([placed_push()]) {
        // `decode` is for frames outside a link, where there is no shared memory.
        assert_eq!(decode(&frame, &LIMITS), Err(WireError::NotShared));
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            let found = read_head(&frame);
            assert!(found.is_err(), "bit {bit}: {found:?}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn placed_tensors_count_towards_the_limits_and_a_note_has_its_own_limit() {
    let placed = placed_push();
    let header = Header::parse(placed.first_chunk().unwrap(), &LIMITS).unwrap();
    let found = header.parse_body(&placed[HEADER_BYTES..], &Limits::with_tensor_bytes(15));
    let what = "bytes of tensors";
    assert_eq!(found.unwrap_err(), WireError::TooLarge { what, found: 16, limit: 15 });
    let too_many = Header::parse(placed.first_chunk().unwrap(), &Limits::GREETING);
    assert_eq!(too_many.unwrap_err(), WireError::TooLarge { what: "tensors", found: 1, limit: 0 });

    let note = |n_bytes| fill_header(NOTE_MAGIC, 0, vec![0; HEADER_BYTES + n_bytes]);
    assert!(Header::parse(note(MAX_NOTE_BYTES).first_chunk().unwrap(), &LIMITS).is_ok());
    let longer = Header::parse(note(MAX_NOTE_BYTES + 1).first_chunk().unwrap(), &LIMITS);
    let what = "bytes of control";
    assert_eq!(longer.unwrap_err(), WireError::TooLarge { what, found: 65, limit: 64 });
}

#[test]
fn every_single_flipped_bit_is_detected() {
    for message in one_of_each_kind() {
        let mut bytes = encode_to_vec(&message);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&bytes, &LIMITS);
            assert!(found.is_err(), "{}, bit {bit}: {found:?}", message.kind());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn damaged_length_is_reported_as_damage_before_it_is_used() {
    let mut bytes = encode_to_vec(&Message::Heartbeat);
    bytes[7] ^= 0x80; // the control part's length: 2 GiB more
    assert_eq!(decode(&bytes, &LIMITS), Err(WireError::DamagedHeader));
}

#[test]
fn every_truncation_and_every_surplus_byte_is_detected() {
    for message in one_of_each_kind() {
        let mut bytes = encode_to_vec(&message);
        for length in 0..bytes.len() {
            let found = decode(&bytes[..length], &LIMITS);
            assert!(matches!(found, Err(WireError::WrongLength { .. })), "{length}: {found:?}");
        }
        bytes.push(0);
        let found = decode(&bytes, &LIMITS);
        assert!(matches!(found, Err(WireError::WrongLength { .. })), "{found:?}");
    }
}

#[test]
fn greeting_must_be_short_and_without_tensors() {
    let push = &one_of_each_kind()[5];
    let too_many = Err(WireError::TooLarge { what: "tensors", found: 1, limit: 0 });
    assert_eq!(decode(&encode_to_vec(push), &Limits::GREETING), too_many);

    let refused = |length| Message::Refused { reason: "x".repeat(length), older_than: None };
    let overhead = encode_to_vec(&refused(60_000)).len() - 60_000;
    let longest = encode_to_vec(&refused(MAX_GREETING_BYTES - overhead));
    assert_eq!(longest.len(), MAX_GREETING_BYTES);
    assert!(decode(&longest, &Limits::GREETING).is_ok());
    let longer = encode_to_vec(&refused(MAX_GREETING_BYTES - overhead + 1));
    assert!(matches!(decode(&longer, &Limits::GREETING), Err(WireError::TooLarge { .. })));
}

#[test]
fn tensors_over_the_limit_are_rejected_before_they_are_read() {
    let push = encode_to_vec(&one_of_each_kind()[5]);
    let without_tensors = &push[..push.len() - 16];
    let what = "bytes of tensors";
    assert_eq!(
        decode(without_tensors, &Limits::with_tensor_bytes(15)),
        Err(WireError::TooLarge { what, found: 16, limit: 15 })
    );
    assert!(decode(&push, &Limits::with_tensor_bytes(16)).is_ok());
}

#[test]
fn message_with_a_wrong_number_of_tensors_is_rejected() {
    let heartbeat_with_a_tensor = frame_of(&Message::Heartbeat, &[vec![1.0].into()]);
    assert_eq!(
        decode(&heartbeat_with_a_tensor, &LIMITS),
        Err(WireError::WrongTensors { kind: "heartbeat", n_tensors: 1 })
    );
    let push_without_one = frame_of(&one_of_each_kind()[5], &[]);
    assert_eq!(
        decode(&push_without_one, &LIMITS),
        Err(WireError::WrongTensors { kind: "push", n_tensors: 0 })
    );
    let push_with_two = frame_of(&one_of_each_kind()[5], &[vec![1.0].into(), vec![2.0].into()]);
    assert_eq!(
        decode(&push_with_two, &LIMITS),
        Err(WireError::WrongTensors { kind: "push", n_tensors: 2 })
    );
}

/// Returns a frame whose tensors do not fit the kind of its message. No honest peer sends it.
fn frame_of(message: &Message, tensors: &[Floats]) -> Vec<u8> {
    let mut control = Vec::new();
    encode_control(message, &mut control);
    sealed(&control, tensors)
}

/// Returns a frame with correct checksums and arbitrary content.
fn sealed(control: &[u8], tensors: &[Floats]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[4..8].copy_from_slice(&length_u32(control.len()).to_le_bytes());
    bytes[8..12].copy_from_slice(&length_u32(tensors.len()).to_le_bytes());
    for tensor in tensors {
        bytes.extend((tensor.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
    }
    bytes.extend(control);
    bytes.extend(tensors.iter().flat_map(|tensor| tensor.as_bytes()));
    reseal(&mut bytes);
    bytes
}

#[test]
fn control_part_with_surplus_bytes_is_rejected() {
    let mut control = Vec::new();
    encode_control(&Message::Heartbeat, &mut control);
    control.push(0);
    let found = decode(&sealed(&control, &[]), &LIMITS);
    assert_eq!(found, Err(WireError::NotAMessage("1 bytes are left over".to_owned())));
}

#[test]
fn the_longest_control_part_fits_the_limit_of_its_decoder() {
    // Bincode's limit counts a one-byte varint as eight bytes. So a message of such varints reaches
    // the limit first.
    let updates = UpdateRecord {
        cut: Cut { generation: Generation::default(), step: Step(0) },
        losses: vec![(Slot(0), 0.0); 100],
    };
    let mut version = Message::Version {
        cut: Cut { generation: Generation::default(), step: Step(0) },
        tokens: Vec::new(),
        received: Vec::new(),
        updates: vec![updates; 8_000],
        acknowledged: 0,
        parameters: Floats::default(),
    };
    let bytes = encode_to_vec(&version);
    assert!(bytes.len() > 4_000_000 && bytes.len() < MAX_CONTROL_BYTES);
    assert_eq!(decode(&bytes, &LIMITS).as_ref(), Ok(&version));

    if let Message::Version { updates, .. } = &mut version {
        updates.truncate(1);
        updates[0].losses.clear();
        *updates = vec![updates[0].clone(); 1_000_000];
    }
    let bytes = encode_to_vec(&version);
    assert!(bytes.len() > 4_000_000 && bytes.len() < MAX_CONTROL_BYTES);
    assert_eq!(decode(&bytes, &LIMITS).as_ref(), Ok(&version));
}

#[test]
fn encoding_copies_no_tensor() {
    let gradient = Floats::from(vec![1.0; 1000]);
    let push = &mut one_of_each_kind()[5];
    push.attach(vec![gradient.clone()]).unwrap();
    let frame = Frame::new(push);
    assert!(frame.tensors[0].same_buffer(&gradient));
    assert_eq!(frame.tensors().next().unwrap().as_ptr(), gradient.as_bytes().as_ptr());
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_260_101),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_are_rejected_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, &LIMITS).is_err());
    }

    /// A peer of another version or a malicious peer can send any bytes with correct checksums.
    #[test]
    fn random_control_bytes_with_valid_checksums_never_panic(
        mut control in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..20,
        n_tensors in 0usize..4,
    ) {
        control.insert(0, kind);
        let tensors = vec![Floats::from(vec![1.0, 2.0]); n_tensors];
        if let Ok(message) = decode(&sealed(&control, &tensors), &LIMITS) {
            prop_assert_eq!(message.tensors().len(), n_tensors);
        }
    }

    #[test]
    fn changed_bytes_are_detected(
        which in 0usize..18,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let message = one_of_each_kind().swap_remove(which);
        let whole = encode_to_vec(&message);
        let mut bytes = whole.clone();
        for (at, xor) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
        }
        prop_assert_eq!(decode(&bytes, &LIMITS).is_err(), bytes != whole);
    }

    #[test]
    fn any_push_decodes_to_itself(
        step: u64, slot: u32, number: u64, opener: u64,
        loss in any::<u32>().prop_map(f32::from_bits),
        values in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..50),
    ) {
        let push = Message::Push {
            cut: Cut { generation: Generation { number, opener: Incarnation(opener) }, step: Step(step) }, slot: Slot(slot), loss, recorded: Recorded::default(),
            gradient: values.into(),
        };
        prop_assert!(same(&decode(&encode_to_vec(&push), &LIMITS).unwrap(), &push));
    }
}
