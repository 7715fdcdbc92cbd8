use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use memmap2::MmapOptions;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::*;

const TOKEN: [u8; 16] = [7; 16];

fn buffer(n_bytes: usize) -> Buffer {
    Buffer::new(n_bytes, TOKEN).expect("memory")
}

#[test]
fn what_the_owner_writes_is_what_a_view_copies() {
    let mut buffer = buffer(300);
    let view = View::open(&buffer.offer(), 300).expect("a view");
    assert_eq!(view.n_bytes(), 300);
    let bytes = || (0..300).map(|index| (index * 31 % 251) as u8);
    for (place, byte) in buffer.iter_mut().zip(bytes()) {
        *place = byte;
    }
    for (at, n_bytes) in [(0, 300), (0, 0), (7, 13), (299, 1), (300, 0)] {
        let mut copy = vec![0; n_bytes];
        view.read(at, &mut copy);
        assert!(copy.into_iter().eq(bytes().skip(at).take(n_bytes)), "{n_bytes} at {at}");
    }
}

#[test]
fn a_view_keeps_what_it_shows_after_the_buffer_has_gone() {
    let mut buffer = buffer(8);
    buffer.copy_from_slice(b"unisono!");
    let (view, life) = (View::open(&buffer.offer(), 8).expect("a view"), buffer.life());
    assert!(life.upgrade().is_some());
    drop(buffer);
    assert!(life.upgrade().is_none());
    let mut copy = [0; 8];
    view.read(0, &mut copy);
    assert_eq!(&copy, b"unisono!");
}

#[test]
#[should_panic(expected = "beyond the end of a view")]
fn nothing_is_read_beyond_the_end() {
    let buffer = buffer(64);
    View::open(&buffer.offer(), 64).expect("a view").read(60, &mut [0; 5]);
}

#[test]
#[should_panic(expected = "beyond the end of a view")]
fn nothing_is_read_before_the_beginning() {
    let buffer = buffer(64);
    View::open(&buffer.offer(), 64).expect("a view").read(usize::MAX, &mut [0; 5]);
}

#[test]
fn a_buffer_that_the_system_has_no_room_for_is_not_made() {
    assert!(Buffer::new(usize::MAX, TOKEN).is_err());
}

#[test]
fn nobody_but_the_owner_writes_a_buffer_or_changes_its_length() {
    let buffer = buffer(4096);
    let path = format!("/proc/self/fd/{}", buffer.offer().file);
    let mut other = OpenOptions::new().read(true).write(true).open(path).expect("it is our own");
    assert!(other.write(&[1]).is_err());
    assert!(other.set_len(1).is_err() && other.set_len(8192).is_err());
    assert!(MmapOptions::new().len(4096).map_raw(&other).is_err());
    assert!(MmapOptions::new().len(4096).map_raw_read_only(&other).is_ok());
    assert!(buffer.iter().all(|&byte| byte == 0));
}

#[test]
fn only_what_was_offered_is_opened() {
    let buffer = buffer(64);
    let offer = buffer.offer();
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
fn memory_that_could_get_shorter_or_be_written_by_others_is_not_opened() {
    let name = format!("unisono-{}", "07".repeat(16));
    let file = File::from(memfd_create(name, MemfdFlags::ALLOW_SEALING).expect("memory"));
    file.set_len(8192).expect("it can still be resized");
    let offer =
        Offer { process: std::process::id(), file: file.as_raw_fd().unsigned_abs(), token: TOKEN };
    for seals in [SealFlags::empty(), SealFlags::SHRINK | SealFlags::GROW] {
        fcntl_add_seals(&file, seals).expect("it can be sealed");
        let error = View::open(&offer, 1 << 16).expect_err("it is not sealed");
        assert!(error.to_string().ends_with("is not what was offered"), "{error}");
    }
    fcntl_add_seals(&file, SealFlags::FUTURE_WRITE | SealFlags::SEAL).expect("it can be sealed");
    assert!(View::open(&offer, 1 << 16).is_ok());
}
