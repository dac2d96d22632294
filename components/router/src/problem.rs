//! What is wrong with a route file, and where.

use alloc::string::String;

/// What the host keeps of a proof; what is beyond it need not be looked for.
pub(crate) const ENOUGH: usize = 100;

/// One mistake; the file is known to whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Counted from 1; none where it is about the file as a whole.
    pub(crate) line: Option<u32>,
    pub(crate) message: String,
}
