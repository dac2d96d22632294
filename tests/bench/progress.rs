//! What is being done, on a terminal alone: one line, written over by the next.

use std::io::{IsTerminal, stderr};

pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: stderr().is_terminal() }
    }

    pub(crate) fn show(&self, what: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
