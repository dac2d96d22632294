//! A journal that keeps what was said.

use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll_runtime::{Journal, Line, Source};

/// Lines kept for one call: a guest that says more is found by its first words.
const MOST: usize = 10_000;

#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Line>>);

impl Lines {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.lines().clear();
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().iter().map(|line| line.text.clone()).collect()
    }

    /// Something that the kit itself has to say.
    pub(crate) fn note(&self, text: String) {
        self.write(Line { level: atoll_runtime::Level::Warning, source: Source::Host, text });
    }
}

impl Journal for Lines {
    fn write(&self, line: Line) {
        let mut lines = self.lines();
        if lines.len() < MOST {
            lines.push(line);
        }
    }
}
