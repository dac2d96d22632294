//! Colours, where a person looks and has not said no (<https://no-color.org>).

use std::{ffi::OsStr, fmt};

/// Whether to use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours(bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Dim,
    Red,
    Yellow,
    Cyan,
}

impl Colours {
    pub const NEVER: Self = Self(false);

    /// `no_color` and `term` are the variables `NO_COLOR` and `TERM`.
    pub fn of(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        Self(is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb"))
    }

    pub fn paint<T: fmt::Display>(self, colour: Colour, text: T) -> Painted<T> {
        Painted { colour: self.0.then_some(colour), text }
    }
}

/// Text in its colour.
pub struct Painted<T> {
    colour: Option<Colour>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.colour {
            None => return self.text.fmt(f),
            Some(Colour::Dim) => 2,
            Some(Colour::Red) => 31,
            Some(Colour::Yellow) => 33,
            Some(Colour::Cyan) => 36,
        };
        write!(f, "\x1b[{code}m{}\x1b[0m", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (is_terminal, no_color, term, expected) in [
            (true, None, Some("xterm"), true),
            (true, Some(""), None, true),
            (true, Some("1"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            let colours = Colours::of(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(colours, Colours(expected), "{is_terminal} {no_color:?} {term:?}");
        }
        assert_eq!(Colours(true).paint(Colour::Red, "x").to_string(), "\x1b[31mx\x1b[0m");
        assert_eq!(Colours::NEVER.paint(Colour::Red, "x").to_string(), "x");
    }
}
