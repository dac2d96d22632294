//! Conditional requests, RFC 9110 section 13: whether a GET or HEAD whose answer would be 200 gets it, in the order of
//! section 13.2.2.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED},
};

/// What the preconditions of a request leave to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Met,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions of a request against the head of the answer that it would get.
pub fn evaluate(request: &HeaderMap, answer: &HeaderMap) -> Condition {
    let tag = answer.get(ETAG).and_then(|value| Tag::parse(value.as_bytes()));
    if request.contains_key(IF_MATCH) {
        if !listed(request.get_all(IF_MATCH), |wanted| tag.is_some_and(|tag| tag.strongly(wanted))) {
            return Condition::Failed;
        }
    } else if let Some(since) = request.get(IF_UNMODIFIED_SINCE).and_then(date) {
        // Without a date of its own the answer can't have been modified since; RFC 9110 section 13.1.4.
        if answer.get(LAST_MODIFIED).and_then(date).is_some_and(|modified| modified > since) {
            return Condition::Failed;
        }
    }
    if request.contains_key(IF_NONE_MATCH) {
        if listed(request.get_all(IF_NONE_MATCH), |wanted| tag.is_some_and(|tag| tag.weakly(wanted))) {
            return Condition::NotModified;
        }
    } else if let Some(since) = request.get(IF_MODIFIED_SINCE) {
        // By equality: a branch that was turned back has an earlier date and other contents.
        if answer.get(LAST_MODIFIED).is_some_and(|modified| modified == since || same_date(modified, since)) {
            return Condition::NotModified;
        }
    }
    Condition::Met
}

/// Whether a `Range` is to be looked at: there is no `If-Range`, or it names exactly the answer that there is. A date
/// names it only where it is older than a second, RFC 9110 section 8.8.2.2.
pub fn range_applies(request: &HeaderMap, answer: &HeaderMap, now: SystemTime) -> bool {
    let Some(condition) = request.get(IF_RANGE) else { return true };
    if let Some(wanted) = Tag::parse(condition.as_bytes()) {
        return answer.get(ETAG).and_then(|value| Tag::parse(value.as_bytes())).is_some_and(|tag| tag.strongly(wanted));
    }
    let Some((wanted, modified)) = date(condition).zip(answer.get(LAST_MODIFIED).and_then(date)) else { return false };
    wanted == modified && now.duration_since(modified).is_ok_and(|age| age.as_secs() >= 1)
}

/// An entity tag, RFC 9110 section 8.8.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    pub weak: bool,
    /// Between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::next(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The tag at the head of a list, and what follows it.
    fn next(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, text) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let text = text.strip_prefix(b"\"")?;
        let end = text.iter().position(|byte| *byte == b'"')?;
        Some((Self { weak, opaque: &text[..end] }, &text[end + 1..]))
    }

    fn strongly(self, other: Tag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    fn weakly(self, other: Tag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// Whether a list of tags holds one that matches; `*` matches whatever there is. What can't be read matches nothing.
fn listed<'a>(values: impl IntoIterator<Item = &'a HeaderValue>, matches: impl Fn(Tag<'_>) -> bool) -> bool {
    values.into_iter().any(|value| value.as_bytes().trim_ascii() == b"*" || tags(value).any(&matches))
}

/// The tags of a list, up to what can't be read.
pub fn tags(list: &HeaderValue) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = list.as_bytes();
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', tail @ ..] = rest {
            rest = tail;
        }
        let (tag, tail) = Tag::next(rest)?;
        rest = tail;
        Some(tag)
    })
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

fn same_date(one: &HeaderValue, other: &HeaderValue) -> bool {
    date(one).is_some_and(|one| date(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::HeaderMap;

    use super::{Condition, Tag, evaluate, range_applies};
    use crate::testing::fields;

    const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_DAY: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const EARLIER: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn in_the_order_of_the_standard() {
        use Condition::{Failed, Met, NotModified};
        let strong = fields(&[("etag", "\"a\""), ("last-modified", DAY)]);
        let weak = fields(&[("etag", "W/\"a\""), ("last-modified", DAY)]);
        let bare = HeaderMap::new();
        for (answer, request, expected) in [
            (&strong, &[][..], Met),
            (&strong, &[("if-match", "\"a\"")], Met),
            (&strong, &[("if-match", "\"b\", \"a\"")], Met),
            (&strong, &[("if-match", "\"b\""), ("if-match", "\"a\"")], Met),
            (&strong, &[("if-match", "\"b\"")], Failed),
            (&strong, &[("if-match", "W/\"a\"")], Failed),
            (&weak, &[("if-match", "\"a\"")], Failed),
            (&weak, &[("if-match", "*")], Met),
            (&bare, &[("if-match", "*")], Met),
            (&bare, &[("if-match", "\"a\"")], Failed),
            (&strong, &[("if-match", "a")], Failed),
            (&strong, &[("if-match", "")], Failed),
            (&strong, &[("if-unmodified-since", DAY)], Met),
            (&strong, &[("if-unmodified-since", LATER)], Met),
            (&strong, &[("if-unmodified-since", EARLIER)], Failed),
            (&bare, &[("if-unmodified-since", EARLIER)], Met),
            (&strong, &[("if-unmodified-since", "yesterday")], Met),
            // `If-Match` alone counts where both are there.
            (&strong, &[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)], Met),
            (&strong, &[("if-none-match", "\"a\"")], NotModified),
            (&strong, &[("if-none-match", "W/\"a\"")], NotModified),
            (&weak, &[("if-none-match", "\"a\"")], NotModified),
            (&strong, &[("if-none-match", "\"b\",,\t\"a\"")], NotModified),
            (&strong, &[("if-none-match", "\"b\"")], Met),
            (&strong, &[("if-none-match", "*")], NotModified),
            (&strong, &[("if-none-match", "a")], Met),
            (&strong, &[("if-none-match", "\"a")], Met),
            (&strong, &[("if-none-match", "\"b\" x \"a\"")], Met),
            (&strong, &[("if-modified-since", DAY)], NotModified),
            (&strong, &[("if-modified-since", SAME_DAY)], NotModified),
            // Equality: neither an earlier nor a later date is this one.
            (&strong, &[("if-modified-since", LATER)], Met),
            (&strong, &[("if-modified-since", EARLIER)], Met),
            (&strong, &[("if-modified-since", "")], Met),
            (&bare, &[("if-modified-since", DAY)], Met),
            // `If-None-Match` before `If-Modified-Since`.
            (&strong, &[("if-none-match", "\"b\""), ("if-modified-since", DAY)], Met),
            (&strong, &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], NotModified),
            // A failed `If-Match` before anything else.
            (&strong, &[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Failed),
            (&strong, &[("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified),
        ] {
            assert_eq!(evaluate(&fields(request), answer), expected, "{request:?} to {answer:?}");
        }
    }

    #[test]
    fn a_range_of_something_else_is_not_looked_at() {
        let strong = fields(&[("etag", "\"a\""), ("last-modified", DAY)]);
        let weak = fields(&[("etag", "W/\"a\""), ("last-modified", DAY)]);
        let modified = httpdate::parse_http_date(DAY).unwrap();
        let now = modified + Duration::from_mins(1);
        for (answer, request, now, expected) in [
            (&strong, &[][..], now, true),
            (&strong, &[("if-range", "\"a\"")], now, true),
            (&strong, &[("if-range", "\"b\"")], now, false),
            (&strong, &[("if-range", "W/\"a\"")], now, false),
            (&weak, &[("if-range", "\"a\"")], now, false),
            (&weak, &[("if-range", "W/\"a\"")], now, false),
            (&strong, &[("if-range", DAY)], now, true),
            (&strong, &[("if-range", LATER)], now, false),
            (&strong, &[("if-range", EARLIER)], now, false),
            (&strong, &[("if-range", DAY)], modified, false),
            (&strong, &[("if-range", DAY)], SystemTime::UNIX_EPOCH, false),
            (&strong, &[("if-range", "a")], now, false),
            (&HeaderMap::new(), &[("if-range", DAY)], now, false),
        ] {
            assert_eq!(range_applies(&fields(request), answer, now), expected, "{request:?} to {answer:?}");
        }
    }

    #[test]
    fn entity_tags() {
        for (text, tag) in [
            (&b"\"\""[..], Some((false, &b""[..]))),
            (b"\"a,b\"", Some((false, b"a,b"))),
            (b"W/\"a\"", Some((true, b"a"))),
            (b"w/\"a\"", None),
            (b"\"a\"b", None),
            (b"a", None),
            (b"", None),
        ] {
            assert_eq!(Tag::parse(text), tag.map(|(weak, opaque)| Tag { weak, opaque }));
        }
    }
}
