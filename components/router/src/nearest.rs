//! The known word that a mistyped one was meant to be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// `; did you mean …?` with the nearest of `known`, or nothing where none is near.
pub(crate) fn hint<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    // A word of any length may come from a file; what is far longer than any key is near none.
    let far = word.len() / 3 + 1;
    known
        .into_iter()
        .filter(|known| known.len().abs_diff(word.len()) <= far)
        .map(|known| (distance(word, known), known))
        .filter(|&(distance, _)| distance <= far)
        .min()
        .map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
}

/// Levenshtein's, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_if_it_is_near() {
        let known = ["upstream", "redirect", "refuse", "path", "add"];
        for (word, expect) in [
            ("upsteam", "; did you mean `upstream`?"),
            ("redirekt", "; did you mean `redirect`?"),
            ("Path", "; did you mean `path`?"),
            ("paths", "; did you mean `path`?"),
            ("refuze", "; did you mean `refuse`?"),
            ("ad", "; did you mean `add`?"),
            ("strip", ""),
            ("listen", ""),
            ("", ""),
        ] {
            assert_eq!(hint(word, known), expect, "{word}");
        }
    }
}
