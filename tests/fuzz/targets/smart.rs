//! `atoll_git::fuzzing::smart`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_git::fuzzing::smart(bytes));
