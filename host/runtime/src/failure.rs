//! Failures of guests in words: for the log, with the wasm backtrace; never for a client.

use std::fmt::Write as _;

use crate::{Failure, capability::stdio::printable};

/// A trap, as wasmtime tells it: bounded, and safe to print.
const WORDS: usize = 8 << 10;

/// What went wrong inside a call. The words are a stranger's in part (function names), so they are made printable. The
/// host's own stack is no part of them: what it is, is not the guest's fault.
pub(crate) fn trap(error: &wasmtime::Error) -> Failure {
    let mut words = String::new();
    for (at, cause) in error.chain().enumerate() {
        let _ = write!(words, "{}{cause}", if at > 0 { "\ncaused by: " } else { "" });
    }
    let mut end = words.len().min(WORDS);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let lines: Vec<String> = words[..end].lines().map(|line| printable(line.as_bytes())).collect();
    Failure::Trapped(lines.join("\n"))
}
