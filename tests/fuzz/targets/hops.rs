//! `atoll_semantics::fuzzing::hops`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_semantics::fuzzing::hops(bytes));
