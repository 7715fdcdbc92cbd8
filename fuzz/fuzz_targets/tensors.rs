#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unisono_fuzz::run(unisono::fuzzing::tensors, bytes));
