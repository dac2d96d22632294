//! What must hold of words that a person gets to see at a terminal, whoever said them: for the fuzzing of more than one crate.

/// Ten names, each of 1,024 bytes with everything in it escaped, may be in one line.
const MAX_SAID: usize = 11 * 10 * 1024;

pub(crate) fn readable(words: &str) {
    assert!(words.len() <= MAX_SAID, "{} bytes", words.len());
    let obeyed = |character: char| {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character.is_control() || turns
    };
    assert!(!words.contains(obeyed), "{words:?}");
}
