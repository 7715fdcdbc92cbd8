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
fn view_copies_the_bytes_that_the_owner_wrote() {
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
fn view_keeps_its_bytes_after_the_buffer_is_dropped() {
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
fn read_beyond_the_end_panics() {
    let buffer = buffer(64);
    View::open(&buffer.offer(), 64).expect("a view").read(60, &mut [0; 5]);
}

#[test]
#[should_panic(expected = "beyond the end of a view")]
fn read_with_an_overflowing_offset_panics() {
    let buffer = buffer(64);
    View::open(&buffer.offer(), 64).expect("a view").read(usize::MAX, &mut [0; 5]);
}

#[test]
fn buffer_larger_than_the_available_memory_is_an_error() {
    assert!(Buffer::new(usize::MAX, TOKEN).is_err());
}

#[test]
fn only_the_owners_mapping_can_write_a_sealed_buffer() {
    let buffer = buffer(4096);
    let path = format!("/proc/self/fd/{}", buffer.offer().file);
    let mut other =
        OpenOptions::new().read(true).write(true).open(path).expect("the file is our own");
    assert!(other.write(&[1]).is_err());
    assert!(other.set_len(1).is_err() && other.set_len(8192).is_err());
    assert!(MmapOptions::new().len(4096).map_raw(&other).is_err());
    assert!(MmapOptions::new().len(4096).map_raw_read_only(&other).is_ok());
    assert!(buffer.iter().all(|&byte| byte == 0));
}

#[test]
fn open_refuses_any_file_but_the_offered_buffer() {
    let buffer = buffer(64);
    let offer = buffer.offer();
    let other_file = File::open("/proc/self/maps").expect("the file exists");
    let file = other_file.as_raw_fd().unsigned_abs();
    for wrong in [
        Offer { token: [8; 16], ..offer },
        Offer { file, ..offer },
        Offer { file: u32::MAX, ..offer },
        Offer { process: u32::MAX, ..offer },
    ] {
        let error = View::open(&wrong, 64).expect_err("another file");
        let is_expected = error.to_string().ends_with("is not the offered buffer")
            || error.kind() == std::io::ErrorKind::NotFound;
        assert!(is_expected, "{error}");
    }
    assert!(View::open(&offer, 64).is_ok());
    let error = View::open(&offer, 63).expect_err("the buffer is too long");
    assert!(error.to_string().ends_with("is not the offered buffer"), "{error}");
}

#[test]
fn memory_without_all_seals_is_not_opened() {
    let name = format!("unisono-{}", "07".repeat(16));
    let file = File::from(memfd_create(name, MemfdFlags::ALLOW_SEALING).expect("memory"));
    file.set_len(8192).expect("the file is not sealed yet");
    let offer =
        Offer { process: std::process::id(), file: file.as_raw_fd().unsigned_abs(), token: TOKEN };
    for seals in [SealFlags::empty(), SealFlags::SHRINK | SealFlags::GROW] {
        fcntl_add_seals(&file, seals).expect("the file allows seals");
        let error = View::open(&offer, 1 << 16).expect_err("seals are missing");
        assert!(error.to_string().ends_with("is not the offered buffer"), "{error}");
    }
    let missing = SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, missing).expect("the file allows seals");
    assert!(View::open(&offer, 1 << 16).is_ok());
}
