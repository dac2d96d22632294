//! `atoll_net::fuzzing::frames`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_net::fuzzing::frames(bytes));
