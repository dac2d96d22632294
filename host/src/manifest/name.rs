//! Names that an operator gives: of bindings, upstreams and components. They end up in paths, references and log lines,
//! so what a name may be is decided here, once.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use crate::text::quoted;

/// Letters, digits, `-`, `_` and `.`, a letter or digit first: a segment of a path and of a Git reference as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// # Errors
    /// What is wrong with it, in words for the operator.
    #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "Git refuses this very ending of a reference")]
    pub fn parse(text: &str) -> Result<Self, String> {
        const LONGEST: usize = 64;
        let is_word = |b: u8| b.is_ascii_alphanumeric();
        let fits = text.len() <= LONGEST
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|b| is_word(b) || matches!(b, b'-' | b'_' | b'.'))
            && !text.contains("..")
            && !text.ends_with('.')
            && !text.ends_with(".lock");
        if !fits {
            return Err(format!(
                "{} is not a name: letters, digits, `-`, `_` and single `.`, at most {LONGEST}, a letter or digit first",
                quoted(text)
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_is_a_segment_of_a_path_and_of_a_reference() {
        for good in ["site", "a", "my_site-2", "hello-0.1.0", "Site", "9"] {
            assert_eq!(&*Name::parse(good).expect(good), good);
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", ".git", "-x", "a..b", "a.", "a.lock", "a/b", "a b", "é", "a\n", &long] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Name::parse("a b").unwrap_err(),
            "`a b` is not a name: letters, digits, `-`, `_` and single `.`, at most 64, a letter or digit first"
        );
    }
}
