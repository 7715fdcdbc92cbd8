use std::fs::File;
use std::os::fd::AsRawFd as _;

use super::*;

const TOKEN: [u8; 16] = [7; 16];

fn bytes(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn what_is_written_anywhere_is_read_and_no_byte_beside_it_changes() {
    let (mut memory, _counter) = Memory::new(300, TOKEN).expect("memory");
    memory.reserve(START + 300).expect("there are pages");
    let view = View::open(&memory.offer(), 1 << 16).expect("a view");
    for at in START..START + 40 {
        for n_bytes in (0..100).chain([300 - (at - START)]) {
            memory.write(START, &[9; 300]).expect("it fits");
            let written = bytes(n_bytes);
            memory.write(at, &written).expect("it fits");
            let mut all = [0; 300];
            view.read(START, &mut all).expect("it is there");
            let (before, rest) = all.split_at(at - START);
            let (read, after) = rest.split_at(n_bytes);
            assert_eq!(read, written, "{n_bytes} at {at}");
            assert!(before.iter().chain(after).all(|&byte| byte == 9), "{n_bytes} at {at}");
        }
    }
}

#[test]
fn the_counter_is_seen_by_the_other_end_and_is_no_byte_of_the_memory() {
    let (memory, counter) = Memory::new(8, TOKEN).expect("memory");
    let view = View::open(&memory.offer(), 1 << 16).expect("a view");
    assert_eq!(view.count(), 0);
    for count in [1, 7, u32::MAX, 0] {
        counter.set(count);
        assert_eq!(view.count(), count);
    }
    drop(memory);
    counter.set(5);
    assert_eq!(view.count(), 5, "it lives as long as any of its parts");
}

#[test]
fn nothing_outside_of_the_memory_is_read_or_written() {
    let (mut memory, _counter) = Memory::new(64, TOKEN).expect("memory");
    let view = View::open(&memory.offer(), 1 << 16).expect("a view");
    let memory_bytes = START + 64;
    let unreserved = OutOfRange { at: START, n_bytes: 4, memory_bytes: START };
    assert_eq!(memory.write(START, &[0; 4]), Err(unreserved));
    assert!(memory.reserve(memory_bytes + 1).is_err());
    memory.reserve(memory_bytes).expect("there are pages");
    for (at, n_bytes) in
        [(START, 65), (START + 64, 1), (START - 1, 2), (0, 4), (usize::MAX, 1), (usize::MAX - 3, 9)]
    {
        let wrong = Err(OutOfRange { at, n_bytes, memory_bytes });
        assert_eq!(memory.write(at, &bytes(n_bytes)), wrong);
        assert_eq!(view.read(at, &mut vec![0; n_bytes]), wrong);
    }
    assert_eq!(memory.write(START + 64, &[]), Ok(()));
    let error = OutOfRange { at: 9, n_bytes: 4, memory_bytes: 100 };
    assert_eq!(error.to_string(), "the memory has 100 bytes, not 4 at 9");
    assert!(Memory::new(usize::MAX, TOKEN).is_err());
}

#[test]
fn only_what_was_offered_is_opened() {
    let (memory, _counter) = Memory::new(64, TOKEN).expect("memory");
    let offer = memory.offer();
    let elsewhere = File::open("/proc/self/maps").expect("it is there");
    let file = elsewhere.as_raw_fd().unsigned_abs();
    for wrong in [
        Offer { token: [8; 16], ..offer },
        Offer { file, ..offer },
        Offer { file: u32::MAX, ..offer },
        Offer { process: u32::MAX, ..offer },
    ] {
        let error = View::open(&wrong, 64).expect_err("it is something else");
        let is_known = error.to_string().ends_with("is not what was offered")
            || error.kind() == std::io::ErrorKind::NotFound;
        assert!(is_known, "{error}");
    }
    assert!(View::open(&offer, 64).is_ok());
    let error = View::open(&offer, 63).expect_err("it is longer than it may be");
    assert!(error.to_string().ends_with("is not what was offered"), "{error}");
}

#[test]
fn memory_that_could_get_shorter_is_not_opened() {
    use rustix::fs::{MemfdFlags, memfd_create};
    let name = format!("unisono-{}", "07".repeat(16));
    let file = File::from(memfd_create(name, MemfdFlags::ALLOW_SEALING).expect("memory"));
    file.set_len(8192).expect("it can still be resized");
    let offer =
        Offer { process: std::process::id(), file: file.as_raw_fd().unsigned_abs(), token: TOKEN };
    let error = View::open(&offer, 1 << 16).expect_err("it is not sealed");
    assert!(error.to_string().ends_with("is not what was offered"), "{error}");
}
