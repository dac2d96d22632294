//! `atoll_send_pack::fuzzing::receive`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_send_pack::fuzzing::receive(bytes));
