//! Text with the names of captures in it, which stand for what a pattern captured.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use super::pattern::{Captures, Pattern};
use crate::uri;

/// A compiled template. A name that the pattern does not capture is plain text.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Capture(String),
}

impl Template {
    pub(crate) fn new(text: &str, pattern: &Pattern) -> Self {
        let mut parts = Vec::new();
        let mut from = 0;
        let mut at = 0;
        while let Some(colon) = text[at..].find(':').map(|index| at + index) {
            let length = name_length(&text[colon..]);
            at = colon + 1 + length;
            let name = &text[colon + 1..at];
            if pattern.names().any(|known| known == name) {
                parts.push(Part::Text(text[from..colon].to_owned()));
                parts.push(Part::Capture(name.to_owned()));
                from = at;
            }
        }
        parts.push(Part::Text(text[from..].to_owned()));
        Self(parts)
    }

    /// The text before the first capture.
    pub(crate) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Bytes that it has whatever was captured.
    pub(crate) fn least(&self) -> usize {
        let text = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
        self.0.iter().map(text).sum()
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// With the captures as they are.
    pub(crate) fn plain(&self, captures: &Captures<'_>) -> String {
        self.expand(captures, |out, value, _| out.push_str(value))
    }

    /// With the captures, which come from strangers, percent-encoded: behind a `?`, they stay in the parameter that they
    /// stand in.
    pub(crate) fn encoded(&self, captures: &Captures<'_>) -> String {
        self.expand(
            captures,
            |out, value, in_query| if in_query { uri::push_query(out, value) } else { uri::push_path(out, value) },
        )
    }

    fn expand(&self, captures: &Captures<'_>, push: fn(&mut String, &str, bool)) -> String {
        let (mut out, mut in_query) = (String::new(), false);
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    out.push_str(text);
                    in_query |= text.contains('?');
                }
                Part::Capture(name) => {
                    let value = captures.iter().find(|(captured, _)| captured == name).map_or("", |(_, value)| value);
                    push(&mut out, value, in_query);
                }
            }
        }
        out
    }
}

/// The length of the name behind the colon that `text` begins with, or 0: a letter, then letters, digits and underscores.
pub(crate) fn name_length(text: &str) -> usize {
    let name = text.strip_prefix(':').unwrap_or("");
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return 0;
    }
    name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_stand_in_for_their_names() {
        let pattern = Pattern::path("/:id/:identity/*").expect("a pattern");
        let captures = pattern.matches("", "/1/t w o/x/é\r\n").expect("a match");
        for (text, plain, encoded) in [
            ("/a", "/a", "/a"),
            ("/:splat?i=:identity#:id", "/x/é\r\n?i=t w o#1", "/x/%C3%A9%0D%0A?i=t%20w%20o#1"),
            (":id:id:", "11:", "11:"),
            ("/?u=:splat#:splat", "/?u=x/é\r\n#x/é\r\n", "/?u=x/%C3%A9%0D%0A#x/%C3%A9%0D%0A"),
            ("/:unknown::id", "/:unknown:1", "/:unknown:1"),
            ("https://b.test:8443/", "https://b.test:8443/", "https://b.test:8443/"),
        ] {
            let template = Template::new(text, &pattern);
            assert_eq!(
                (template.plain(&captures), template.encoded(&captures)),
                (plain.into(), encoded.into()),
                "{text}"
            );
        }
        let captures = pattern.matches("", "/a&b=c/C++/q?r;s").expect("a match");
        let template = Template::new("/:id/:identity?id=:id&lang=:identity&rest=:splat", &pattern);
        assert_eq!(template.encoded(&captures), "/a&b=c/C++?id=a%26b%3Dc&lang=C%2B%2B&rest=q%3Fr%3Bs");
        assert_eq!(Template::new("https://b.:id/", &pattern).beginning(), "https://b.");
        assert!(Template::new("/:other", &pattern).is_fixed() && !Template::new("/:id", &pattern).is_fixed());
    }
}
