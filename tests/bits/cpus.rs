//! Emulated CPUs with other vector instructions compute the same bits. `scripts/cross-cpu` tests
//! more CPUs.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::io::Write as _;
use std::process::Command;

use crate::{reference, unisono};

const QEMU: &str = "qemu-x86_64";

const FLAGS: [&str; 6] = ["--training-steps", "3", "--hidden", "16", "--batch-size", "20"];

/// Returns whether the emulator is installed. Panics in CI if it is not, because nobody would
/// notice that the test is skipped.
fn is_emulator_installed() -> bool {
    let found = Command::new(QEMU).arg("-version").output().is_ok_and(|it| it.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must install {QEMU}");
        // The test harness would capture the output of `eprintln`.
        let note = format!(
            "note: no other CPU was tested, because {QEMU} (Debian: qemu-user) is not installed\n"
        );
        let _ignored = std::io::stderr().write_all(note.as_bytes());
    }
    found
}

/// Returns the available SIMD levels, fastest first, from the error about an unknown level.
fn levels(launcher: &[&str]) -> String {
    let output = unisono(launcher).arg("reference").env("UNISONO_SIMD", "?").output();
    let error = String::from_utf8(output.expect("the program starts").stderr).expect("text");
    let (_, levels) = error.trim_end().rsplit_once("set one of: ").expect(&error);
    levels.to_owned()
}

#[test]
fn every_emulated_cpu_computes_the_same_bits() {
    if !is_emulator_installed() {
        return;
    }
    let native = reference(&[], &FLAGS);
    // Nehalem has neither AVX nor a fused multiply-add. Haswell has AVX2 and a fused multiply-add.
    for (cpu, expected_levels) in [("Nehalem", "portable"), ("Haswell", "avx2, portable")] {
        let launcher = [QEMU, "-cpu", cpu];
        assert_eq!(levels(&launcher), expected_levels, "{cpu}");
        let emulated = reference(&launcher, &FLAGS);
        assert_eq!(emulated.losses, native.losses, "{cpu}");
        assert!(emulated.checkpoint == native.checkpoint, "{cpu}: the checkpoints differ");
    }
}
