//! `atoll_git::fuzzing::pack`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_git::fuzzing::pack(bytes));
