//! A request's target. The host brings it to one form before; what would matter if it did not is checked again.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::string::String;

use crate::uri;

/// A path and a query, RFC 9112 section 3.2.1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'r> {
    /// Decoded; begins with `/`.
    pub(crate) path: Cow<'r, str>,
    /// As it came.
    pub(crate) query: Option<&'r str>,
}

/// Why there is nothing at a target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No target at all: 400.
    Malformed,
    /// A path that no file has: 404.
    Nowhere,
}

pub(crate) fn parse(target: &str) -> Result<Target<'_>, Refused> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        return Err(Refused::Malformed);
    }
    let decoded = uri::decode(path).ok_or(Refused::Malformed)?;
    // A slash that was encoded is not the separator that it would become.
    if path.contains("%2F") || path.contains("%2f") || decoded.iter().any(|byte| matches!(byte, 0 | b'\\')) {
        return Err(Refused::Malformed);
    }
    let path = match decoded {
        Cow::Borrowed(_) => Cow::Borrowed(path),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|_| Refused::Nowhere)?),
    };
    if path.contains("//") {
        return Err(Refused::Nowhere);
    }
    Ok(Target { path, query })
}

/// Whether a path of the tree may be served: nothing hidden, but what is meant to be found (RFC 8615), and not the rules.
pub(crate) fn is_public(path: &str) -> bool {
    let hidden = |(depth, segment): (usize, &str)| segment.starts_with('.') && (depth > 0 || segment != ".well-known");
    !matches!(path, "_headers" | "_redirects") && !path.split('/').enumerate().any(hidden)
}

/// `location` with the query that the request had, behind the path and before a fragment.
pub(crate) fn with_query(location: &str, query: Option<&str>) -> String {
    let Some(query) = query.filter(|_| !location.contains('?')) else { return location.to_owned() };
    let (path, fragment) = location.split_at(location.find('#').unwrap_or(location.len()));
    let mut out = String::with_capacity(location.len() + query.len() + 1);
    out.push_str(path);
    out.push('?');
    uri::push_reference(&mut out, &query.replace('#', "%23"));
    out.push_str(fragment);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_decoded_or_refused() {
        for (target, expect) in [
            ("/", Ok(("/", None))),
            ("/a/b.html?x=%zz", Ok(("/a/b.html", Some("x=%zz")))),
            ("/caf%C3%A9/", Ok(("/café/", None))),
            ("/a?b?c", Ok(("/a", Some("b?c")))),
            ("/?", Ok(("/", Some("")))),
            ("", Err(Refused::Malformed)),
            ("*", Err(Refused::Malformed)),
            ("a", Err(Refused::Malformed)),
            ("http://a.test/", Err(Refused::Malformed)),
            ("/%", Err(Refused::Malformed)),
            ("/%4", Err(Refused::Malformed)),
            ("/a%00b", Err(Refused::Malformed)),
            ("/a%2Fb", Err(Refused::Malformed)),
            ("/a%5cb", Err(Refused::Malformed)),
            ("/a\\b", Err(Refused::Malformed)),
            ("/%ff", Err(Refused::Nowhere)),
            ("//a", Err(Refused::Nowhere)),
            ("/a//b", Err(Refused::Nowhere)),
        ] {
            let expect = expect.map(|(path, query)| Target { path: path.into(), query });
            assert_eq!(parse(target), expect, "{target}");
        }
    }

    #[test]
    fn what_is_hidden_is_not_public() {
        for (path, expect) in [
            ("", true),
            ("index.html", true),
            ("a/b", true),
            ("a.b/c.", true),
            (".well-known/security.txt", true),
            ("sub/_headers", true),
            ("_headers", false),
            ("_redirects", false),
            (".git", false),
            (".env", false),
            ("a/.env", false),
            ("a/.well-known/b", false),
            (".well-known/.hidden", false),
            (".well-knownish", false),
            ("a/../b", false),
            (".", false),
        ] {
            assert_eq!(is_public(path), expect, "{path}");
        }
    }

    #[test]
    fn the_query_goes_before_the_fragment_unless_there_is_one() {
        for (location, query, expect) in [
            ("/a", None, "/a"),
            ("/a", Some("b=c"), "/a?b=c"),
            ("/a?x", Some("b=c"), "/a?x"),
            ("/a#f", Some("b=c"), "/a?b=c#f"),
            ("https://b.test/", Some("é#\r\n"), "https://b.test/?%C3%A9%23%0D%0A"),
        ] {
            assert_eq!(with_query(location, query), expect, "{location}");
        }
    }
}
