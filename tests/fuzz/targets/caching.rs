//! `atoll_semantics::fuzzing::caching`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_semantics::fuzzing::caching(bytes));
