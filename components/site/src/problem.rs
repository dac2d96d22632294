//! What is wrong with `_headers` or `_redirects`, and where.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What the host keeps of a proof; what is beyond it need not be looked for.
const ENOUGH: usize = 100;

/// One line that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Counted from 1; none where it is about the file as a whole.
    pub(crate) line: Option<u32>,
    pub(crate) message: String,
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

/// Problems of one file, a bounded number of them.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// `index` counts lines from 0.
    pub(crate) fn add(&mut self, index: usize, message: impl Into<String>) {
        match self.0.len() + 1 {
            ..ENOUGH => self.0.push(Problem { line: u32::try_from(index + 1).ok(), message: message.into() }),
            ENOUGH => self.0.push(Problem { line: None, message: format!("and more than these {}", ENOUGH - 1) }),
            _ => {}
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
