//! `atoll_net::fuzzing::settings`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_net::fuzzing::settings(bytes));
