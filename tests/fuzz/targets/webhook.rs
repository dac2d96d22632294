//! `atoll_git::fuzzing::webhook`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_git::fuzzing::webhook(bytes));
