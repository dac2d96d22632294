//! Where words go: the host's log, or a test's list. Handed to whatever speaks; there is no global one.

use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// Who is speaking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Host,
    /// The host, about a component.
    Component(Arc<str>),
    /// A component's standard output or error: bytes of a stranger's, already made printable.
    Guest(Arc<str>),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub source: Source,
    /// Without a line feed at its end; a trap's backtrace has several lines.
    pub text: String,
}

/// Takes lines, and never blocks.
pub trait Journal: Send + Sync + 'static {
    fn write(&self, line: Line);
}

impl dyn Journal {
    pub fn host(&self, level: Level, text: impl Into<String>) {
        self.write(Line { level, source: Source::Host, text: text.into() });
    }

    pub fn about(&self, component: &Arc<str>, level: Level, text: impl Into<String>) {
        self.write(Line { level, source: Source::Component(component.clone()), text: text.into() });
    }
}
