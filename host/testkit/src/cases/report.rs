//! How the cases went, for whoever prints it.

use std::{fmt, time::Duration};

/// All cases of one file.
#[derive(Clone, Debug)]
pub struct Report {
    pub component: String,
    /// In the order of the file.
    pub outcomes: Vec<Outcome>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    /// Where it begins in the file.
    pub line: usize,
    /// With a fresh guest, linked and started.
    pub took: Duration,
    /// None: it passed.
    pub differences: Vec<Difference>,
    /// What the guest said, and the host about it.
    pub log: Vec<String>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub expected: String,
    pub got: String,
}

impl Difference {
    pub(super) fn new(what: &str, expected: &str, got: &str) -> Self {
        Self { what: what.into(), expected: expected.into(), got: got.into() }
    }
}

impl Report {
    /// Whether all of them did; a file without cases has not failed.
    pub fn passed(&self) -> bool {
        self.outcomes.iter().all(Outcome::passed)
    }
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Lines of the log that are shown of a case that failed.
const LINES: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            writeln!(f, "{outcome}")?;
        }
        let failed = self.outcomes.iter().filter(|outcome| !outcome.passed()).count();
        write!(f, "{}: {} passed, {failed} failed", self.component, self.outcomes.len() - failed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.took.as_secs_f64() * 1000.0;
        let name = self.name.escape_debug();
        if self.passed() {
            return write!(f, "ok    {milliseconds:7.1} ms  {name}");
        }
        write!(f, "FAILED {milliseconds:6.1} ms  {name} (line {})", self.line)?;
        for Difference { what, expected, got } in &self.differences {
            write!(f, "\n    {what}: expected {expected}, got {}", got.replace('\n', "\n    "))?;
        }
        for line in self.log.iter().take(LINES) {
            write!(f, "\n    log: {}", line.replace('\n', "\n    "))?;
        }
        if self.log.len() > LINES {
            write!(f, "\n    log: and {} lines more", self.log.len() - LINES)?;
        }
        Ok(())
    }
}
