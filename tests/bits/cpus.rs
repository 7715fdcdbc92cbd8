//! The same bits on CPUs with other vector instructions, emulated. `scripts/cross-cpu` does more.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::io::Write as _;
use std::process::Command;

use crate::{reference, unisono};

const QEMU: &str = "qemu-x86_64";

const FLAGS: [&str; 6] = ["--training-steps", "3", "--hidden", "16", "--batch-size", "20"];

/// Whether the emulator is there. In CI it has to be: nobody would notice a test that skips itself.
fn emulator_is_there() -> bool {
    let found = Command::new(QEMU).arg("-version").output().is_ok_and(|it| it.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must install {QEMU}");
        // Not `eprintln`, which a passing test keeps to itself.
        let note = format!("note: no {QEMU} (Debian: qemu-user), so no other CPU was tried\n");
        let _nobody_reads = std::io::stderr().write_all(note.as_bytes());
    }
    found
}

/// Fastest first, in the words of the error about a level that does not exist.
fn levels(launcher: &[&str]) -> String {
    let output = unisono(launcher).arg("reference").env("UNISONO_SIMD", "?").output();
    let error = String::from_utf8(output.expect("the program starts").stderr).expect("text");
    let (_, levels) = error.trim_end().rsplit_once("set one of: ").expect(&error);
    levels.to_owned()
}

#[test]
fn every_cpu_computes_the_same_bits() {
    if !emulator_is_there() {
        return;
    }
    let native = reference(&[], &FLAGS);
    // Nehalem: no AVX, no fused multiply-add. Haswell: AVX2 with it.
    for (cpu, expected_levels) in [("Nehalem", "portable"), ("Haswell", "avx2, portable")] {
        let launcher = [QEMU, "-cpu", cpu];
        assert_eq!(levels(&launcher), expected_levels, "{cpu}");
        let emulated = reference(&launcher, &FLAGS);
        assert_eq!(emulated.losses, native.losses, "{cpu}");
        assert!(emulated.checkpoint == native.checkpoint, "{cpu}: the checkpoints differ");
    }
}
