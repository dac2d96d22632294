//! `site::fuzzing::rules`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| site::fuzzing::rules(bytes));
