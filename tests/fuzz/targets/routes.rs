//! `router::fuzzing::routes`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| router::fuzzing::routes(bytes));
