//! The paths that a rule is for: text, placeholders (`:name`, one or more characters but `/`) and at most one splat (`*`,
//! anything). Matched in one pass, whatever a stranger's path is made of.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::template::name_length;
use crate::uri;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Of an absolute URL, its host's labels.
    host: Option<Vec<Segment>>,
    /// The segments up to the splat; all of them where there is none.
    head: Vec<Segment>,
    splat: Option<Splat>,
}

/// What a pattern's placeholders and its splat (as `splat`) stood for.
pub(crate) type Captures<'p> = Vec<(&'p str, &'p str)>;

#[derive(Debug)]
struct Splat {
    /// The text of its segment on either side.
    before: String,
    after: String,
    /// The segments behind it.
    tail: Vec<Segment>,
}

/// Text that begins it, then placeholders, each with the text behind it.
#[derive(Debug)]
struct Segment {
    text: String,
    placeholders: Vec<(String, String)>,
}

impl Pattern {
    /// A path, decoded as requests' paths are. The error says what is wrong with it.
    pub(crate) fn path(source: &str) -> Result<Self, String> {
        if !source.starts_with('/') {
            return Err("a path begins with `/`".to_owned());
        }
        let decoded = uri::decode(source).ok_or("`%` needs two hexadecimal digits behind it")?;
        let path = core::str::from_utf8(&decoded).map_err(|_| "not UTF-8 when it is decoded")?;
        if path.contains(['?', '#']) {
            return Err("a pattern is for paths alone, without query or fragment".to_owned());
        }
        let Some((before, after)) = path.split_once('*') else {
            return Self { host: None, head: segments(path, '/'), splat: None }.with_each_name_once();
        };
        if after.contains('*') {
            return Err("at most one `*`".to_owned());
        }
        let (head, before) = before.rsplit_once('/').unwrap_or(("", before));
        let (after, tail) = after.split_once('/').map_or((after, None), |(after, tail)| (after, Some(tail)));
        if !Segment::parse(before).placeholders.is_empty() || !Segment::parse(after).placeholders.is_empty() {
            return Err("a segment has either `*` or placeholders".to_owned());
        }
        let tail = tail.map_or_else(Vec::new, |tail| segments(tail, '/'));
        let splat = Splat { before: before.to_owned(), after: after.to_owned(), tail };
        Self { host: None, head: segments(head, '/'), splat: Some(splat) }.with_each_name_once()
    }

    /// A path, or an `https` URL whose port and scheme are not compared.
    pub(crate) fn path_or_url(source: &str) -> Result<Self, String> {
        let Some(rest) = source.strip_prefix("https://") else {
            if source.contains("://") {
                return Err("a URL begins with `https://`".to_owned());
            }
            return Self::path(source);
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.to_ascii_lowercase();
        if host.contains('*') {
            return Err("a host name has placeholders, but no `*`".to_owned());
        }
        let labels = segments(&host, '.');
        if labels.iter().any(Segment::has_colon) {
            return Err("a URL has no port here".to_owned());
        }
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) {
            return Err(format!("`{}` is not a host name", host.escape_debug()));
        }
        let path = Self::path(if path.is_empty() { "/" } else { path })?;
        Self { host: Some(labels), ..path }.with_each_name_once()
    }

    /// The names of what it captures.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let tail = self.splat.iter().flat_map(|splat| &splat.tail);
        let segments = self.host.iter().flatten().chain(&self.head).chain(tail);
        let placeholders = segments.flat_map(|segment| &segment.placeholders).map(|(name, _)| name.as_str());
        placeholders.chain(self.splat.is_some().then_some("splat"))
    }

    /// The one path that it is for, if it has neither host, placeholder nor splat.
    pub(crate) fn fixed(&self) -> Option<String> {
        let plain = self.host.is_none() && self.splat.is_none() && self.head.iter().all(|s| s.placeholders.is_empty());
        plain.then(|| self.head.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join("/"))
    }

    /// Whether it is `/*`.
    pub(crate) fn is_everything(&self) -> bool {
        let root = self.head.len() == 1 && self.head[0].text.is_empty() && self.head[0].placeholders.is_empty();
        let bare = |splat: &Splat| splat.before.is_empty() && splat.after.is_empty() && splat.tail.is_empty();
        self.host.is_none() && root && self.splat.as_ref().is_some_and(bare)
    }

    fn with_each_name_once(self) -> Result<Self, String> {
        let twice =
            self.names().enumerate().find(|(index, name)| self.names().take(*index).any(|other| other == *name));
        match twice {
            Some((_, name)) => Err(format!("`:{name}` stands there twice")),
            None => Ok(self),
        }
    }

    /// What it captures of `path` (decoded) and of `host` (lower case, without port), if it is for them.
    pub(crate) fn matches<'p>(&'p self, host: &'p str, path: &'p str) -> Option<Captures<'p>> {
        let mut captures = Vec::new();
        if let Some(labels) = &self.host {
            match_all(labels, host, '.', &mut captures)?;
        }
        let Some(splat) = &self.splat else {
            match_all(&self.head, path, '/', &mut captures)?;
            return Some(captures);
        };
        let mut rest = path;
        for segment in &self.head {
            let (first, behind) = rest.split_once('/')?;
            segment.matches(first, &mut captures)?;
            rest = behind;
        }
        for segment in splat.tail.iter().rev() {
            let (before, last) = rest.rsplit_once('/')?;
            segment.matches(last, &mut captures)?;
            rest = before;
        }
        let splat = rest.strip_prefix(splat.before.as_str())?.strip_suffix(splat.after.as_str())?;
        captures.push(("splat", splat));
        Some(captures)
    }
}

impl Segment {
    fn parse(segment: &str) -> Self {
        let mut texts = Vec::new();
        let mut names = Vec::new();
        let mut text = String::new();
        let mut rest = segment;
        while let Some(first) = rest.chars().next() {
            let length = name_length(rest);
            if length == 0 {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            } else {
                texts.push(core::mem::take(&mut text));
                names.push(rest[1..=length].to_owned());
                rest = &rest[1 + length..];
            }
        }
        texts.push(text);
        let mut texts = texts.into_iter();
        let text = texts.next().unwrap_or_default();
        Self { text, placeholders: names.into_iter().zip(texts).collect() }
    }

    /// Placeholders take as much as they can, the first ones first: so the texts between them are looked for from the end.
    fn matches<'p>(&'p self, segment: &'p str, captures: &mut Captures<'p>) -> Option<()> {
        let mut rest = segment.strip_prefix(self.text.as_str())?;
        let Some((_, last)) = self.placeholders.last() else { return rest.is_empty().then_some(()) };
        rest = rest.strip_suffix(last.as_str())?;
        for pair in self.placeholders.windows(2).rev() {
            let [(_, text), (name, _)] = pair else { continue };
            // At least one character is left for the placeholder behind the text.
            let (end, _) = rest.char_indices().next_back()?;
            let at = rest[..end].rfind(text.as_str())?;
            captures.push((name, &rest[at + text.len()..]));
            rest = &rest[..at];
        }
        captures.extend(self.placeholders.first().map(|(name, _)| (name.as_str(), rest)));
        (!rest.is_empty()).then_some(())
    }

    fn has_colon(&self) -> bool {
        self.text.contains(':') || self.placeholders.iter().any(|(_, text)| text.contains(':'))
    }
}

fn segments(text: &str, separator: char) -> Vec<Segment> {
    text.split(separator).map(Segment::parse).collect()
}

fn match_all<'p>(segments: &'p [Segment], text: &'p str, separator: char, captures: &mut Captures<'p>) -> Option<()> {
    let mut parts = text.split(separator);
    for segment in segments {
        segment.matches(parts.next()?, captures)?;
    }
    parts.next().is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_and_capture() {
        for (pattern, path, expect) in [
            ("/a", "/a", Some(&[][..])),
            ("/a", "/a/", None),
            ("/a", "/ab", None),
            ("/", "/", Some(&[])),
            ("/caf%C3%A9", "/café", Some(&[])),
            ("/café", "/café", Some(&[])),
            ("/*", "/", Some(&[("splat", "")])),
            ("/*", "/a/b", Some(&[("splat", "a/b")])),
            ("/a/*", "/a/", Some(&[("splat", "")])),
            ("/a/*", "/a", None),
            ("/a*", "/a", Some(&[("splat", "")])),
            ("/a*", "/abc/d", Some(&[("splat", "bc/d")])),
            ("/*.jpg", "/x/y.jpg", Some(&[("splat", "x/y")])),
            ("/*.jpg", "/x/y.jpeg", None),
            ("/a/*/b", "/a/x/y/b", Some(&[("splat", "x/y")])),
            ("/a/*/b", "/a/b", None),
            ("/a*a", "/a", None),
            ("/a/*/:last", "/a/x/y/z", Some(&[("last", "z"), ("splat", "x/y")])),
            ("/blog/:year/:slug", "/blog/2024/x", Some(&[("year", "2024"), ("slug", "x")])),
            ("/blog/:year/:slug", "/blog/2024/", None),
            ("/blog/:year/:slug", "/blog/2024/x/y", None),
            ("/:a-:b", "/x-y-z", Some(&[("b", "z"), ("a", "x-y")])),
            ("/:a-:b", "/x-", None),
            ("/:a-:b", "/-x", None),
            ("/:a--:b", "/x---y", Some(&[("b", "y"), ("a", "x-")])),
            ("/:a:b", "/xé", Some(&[("b", "é"), ("a", "x")])),
            ("/:a:b", "/x", None),
            ("/v:n.html", "/v12.html", Some(&[("n", "12")])),
            ("/v:n.html", "/v.html", None),
            ("/a:1", "/a:1", Some(&[])),
            ("/a:", "/a:", Some(&[])),
        ] {
            let pattern = Pattern::path(pattern).expect(pattern);
            assert_eq!(pattern.matches("a.test", path).as_deref(), expect, "{path}");
        }
    }

    #[test]
    fn urls_match_by_host() {
        for (pattern, host, path, expect) in [
            ("https://a.test/*", "a.test", "/x", Some(&[("splat", "x")][..])),
            ("https://A.test/*", "a.test", "/x", Some(&[("splat", "x")])),
            ("https://a.test/*", "b.test", "/x", None),
            ("https://a.test", "a.test", "/", Some(&[])),
            ("https://:sub.a.test/*", "x.a.test", "/", Some(&[("sub", "x"), ("splat", "")])),
            ("https://:sub.a.test/*", "x.y.a.test", "/", None),
            ("https://:sub.a.test/*", "a.test", "/", None),
            ("/x", "anything", "/x", Some(&[])),
        ] {
            let pattern = Pattern::path_or_url(pattern).expect(pattern);
            assert_eq!(pattern.matches(host, path).as_deref(), expect, "{host}{path}");
        }
    }

    #[test]
    fn broken_patterns_are_told() {
        for (pattern, expect) in [
            ("a", "a path begins with `/`"),
            ("*", "a path begins with `/`"),
            ("http://a.test/", "a URL begins with `https://`"),
            ("/%", "`%` needs two hexadecimal digits behind it"),
            ("/%ff", "not UTF-8 when it is decoded"),
            ("/a?b=:c", "a pattern is for paths alone, without query or fragment"),
            ("/*/*", "at most one `*`"),
            ("/:a*", "a segment has either `*` or placeholders"),
            ("/*:a", "a segment has either `*` or placeholders"),
            ("/:a/:a", "`:a` stands there twice"),
            ("/:splat/*", "`:splat` stands there twice"),
            ("https://:a.test/:a", "`:a` stands there twice"),
            ("https://a.test:8443/", "a URL has no port here"),
            ("https:///", "`` is not a host name"),
            ("https://a b/", "`a b` is not a host name"),
            ("https://*.a.test/", "a host name has placeholders, but no `*`"),
        ] {
            assert_eq!(Pattern::path_or_url(pattern).map(|_| ()), Err(expect.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn a_path_can_not_make_matching_slow() {
        let pattern = Pattern::path("/:a-:b-:c-:d-:e-:f/*/x").expect("a pattern");
        assert_eq!(pattern.matches("a.test", &format!("/{}", "-".repeat(1 << 20))), None);
        assert_eq!(pattern.matches("a.test", &"/a-b-c-d-e-f".repeat(1 << 16)), None);
    }
}
