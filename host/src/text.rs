//! Words of others made fit for a terminal, a log and a message. It changes only what could act on who reads it, so doing
//! it twice is doing it once.

use std::{borrow::Cow, error::Error, fmt::Write as _, iter::successors};

/// The text with every character escaped that moves a cursor, hides text or turns its direction. Line feeds are such
/// characters too.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\t' => printable.push_str("    "),
            _ if acts(character) => write!(printable, "{}", character.escape_default()).expect("a string takes all"),
            _ => printable.push(character),
        }
    }
    Cow::Owned(printable)
}

/// A word in a message: printable, short, between backquotes.
pub fn quoted(word: &str) -> String {
    const LONGEST: usize = 80;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", printable(&word[..end])),
        None => format!("`{}`", printable(word)),
    }
}

/// An error and what is behind it, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    causes(successors(Some(error), |&error| error.source()).map(ToString::to_string))
}

/// What is wrong and why, the cause last. What an error has said of its cause already is not said again.
pub fn causes(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().fold(String::new(), |said, cause| match (said.is_empty(), said.contains(&cause)) {
        (true, _) => cause,
        (false, true) => said,
        (false, false) => format!("{said}: {cause}"),
    })
}

/// Of the words that are known, the one that was probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().min(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_reader_is_escaped() {
        for (text, expected) in [
            ("plain, ümlaut, 島", "plain, ümlaut, 島"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("a\r\nb", "a\\r\\nb"),
            ("a\tb", "a    b"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\\u{1b}", "\\u{1b}"),
            ("\0", "\\u{0}"),
        ] {
            assert_eq!(printable(text), expected);
            assert_eq!(printable(&printable(text)), expected, "twice is once");
        }
    }

    #[test]
    fn a_quoted_word_is_short() {
        assert_eq!(quoted("a\nb"), "`a\\nb`");
        assert_eq!(quoted(&"é".repeat(81)), format!("`{}…`", "é".repeat(80)));
    }

    #[test]
    fn a_cause_is_said_once() {
        for (words, expected) in
            [(&["a"][..], "a"), (&["a", "b", "c"], "a: b: c"), (&["c", "b: a", "a"], "c: b: a"), (&[], "")]
        {
            assert_eq!(causes(words.iter().map(ToString::to_string)), expected);
        }
        let error = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound)).context("x").context("y");
        assert_eq!(chain(error.as_ref()), "y: x: entity not found");
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["path", "git", "http", "env", "probe", "memory", "known_hosts", "raw-path"];
        for (word, expected) in [
            ("memroy", Some("memory")),
            ("htpp", Some("http")),
            ("known-hosts", Some("known_hosts")),
            ("raw_path", Some("raw-path")),
            ("Path", Some("path")),
            ("gti", Some("git")),
            ("upstream", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
