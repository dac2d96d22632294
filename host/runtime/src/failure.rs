//! Failures of guests in words: for the log, with the wasm backtrace; never for a client.

use crate::{Failure, capability::stdio::printable};

/// A trap, as wasmtime tells it: bounded, and safe to print.
const WORDS: usize = 8 << 10;

/// What went wrong inside a call. The words are a stranger's in part (function names), so they are made printable.
pub(crate) fn trap(error: &wasmtime::Error) -> Failure {
    let mut words = format!("{error:?}");
    if words.len() > WORDS {
        let mut end = WORDS;
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words.truncate(end);
    }
    let lines: Vec<String> = words.lines().map(|line| printable(line.as_bytes())).collect();
    Failure::Trapped(lines.join("\n"))
}
