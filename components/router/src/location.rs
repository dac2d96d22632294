//! Where a redirect sends the client: what is written in the route, then the rest of the path and the query. Paths and
//! queries come from strangers, so nothing of them may end the field or name another host.

use alloc::string::String;

/// Checks the `to` of a redirect: a path, or an absolute `http` or `https` URL.
pub(crate) fn check(to: &str) -> Result<(), &'static str> {
    if !to.bytes().all(|b| allowed(b) || b == b'%') || to.contains('\\') {
        return Err("must be percent-encoded, as URLs are");
    }
    if to.contains(['?', '#']) {
        return Err("has no query or fragment of its own: the request's query is kept");
    }
    if let Some(rest) = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://")) {
        let host = rest.split('/').next().unwrap_or("");
        return match host {
            "" => Err("names no host"),
            _ if host.contains('@') => Err("names a user, which has no place in a redirect"),
            _ => match host.rsplit_once(':') {
                Some((_, port)) if !host.ends_with(']') && port.parse::<u16>().is_err() => {
                    Err("has a port that is none")
                }
                _ => Ok(()),
            },
        };
    }
    if !to.starts_with('/') {
        return Err("must be a path that begins with `/`, or begin with `https://` or `http://`");
    }
    if to.starts_with("//") {
        return Err("must not begin with `//`, which names a host");
    }
    Ok(())
}

/// `to` in place of the prefix, `rest` of the path behind it (empty, or from a `/` on), and the query.
pub(crate) fn build(to: &str, rest: &str, query: Option<&str>) -> String {
    let mut location = String::with_capacity(to.len() + rest.len() + query.map_or(0, |query| query.len() + 1));
    if rest.is_empty() {
        location.push_str(to);
    } else {
        location.push_str(to.trim_end_matches('/'));
        // Of several slashes, or backslashes, which browsers take for them, the first alone is meant: behind an empty `to`
        // two would name a host.
        location.push('/');
        push_encoded(&mut location, rest.trim_start_matches(['/', '\\']));
    }
    if let Some(query) = query {
        location.push('?');
        push_encoded(&mut location, query);
    }
    location
}

/// The path `to` as it is compared when a client comes back with it: without trailing slash, dot segments and empty ones,
/// and with nothing encoded that need not be.
pub(crate) fn resolved(to: &str) -> String {
    let mut path = String::with_capacity(to.len());
    for segment in plain(to).split('/') {
        match segment {
            "" | "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            _ => {
                path.push('/');
                path.push_str(segment);
            }
        }
    }
    path
}

fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte == b'%' || byte != b'#' && allowed(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
}

/// The characters of a URI (RFC 3986 section 2), less `%`.
fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte)
}

/// With letters, digits and `-._~` as they are (RFC 3986, section 6.2.2.2).
fn plain(path: &str) -> String {
    let mut parts = path.split('%');
    let mut plain = String::from(parts.next().unwrap_or(""));
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        if let Some(c) = byte.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')) {
            plain.push(c);
            plain.push_str(&part[2..]);
        } else {
            plain.push('%');
            plain.push_str(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_path_or_a_url() {
        let path = "must be a path that begins with `/`, or begin with `https://` or `http://`";
        for (to, expect) in [
            ("/new", Ok(())),
            ("/", Ok(())),
            ("/%C3%A9", Ok(())),
            ("https://example.org", Ok(())),
            ("https://example.org:8443/new/", Ok(())),
            ("http://[::1]/", Ok(())),
            ("http://[::1]:8080/", Ok(())),
            ("http://a.test:99999/", Err("has a port that is none")),
            ("http://a.test:", Err("has a port that is none")),
            ("", Err(path)),
            ("new", Err(path)),
            ("ftp://example.org", Err(path)),
            ("javascript:alert(1)", Err(path)),
            ("//example.org", Err("must not begin with `//`, which names a host")),
            ("https://", Err("names no host")),
            ("https:///a", Err("names no host")),
            ("https://example.org@evil.test/", Err("names a user, which has no place in a redirect")),
            ("/a?b=c", Err("has no query or fragment of its own: the request's query is kept")),
            ("/a#b", Err("has no query or fragment of its own: the request's query is kept")),
            ("/\\evil.test", Err("must be percent-encoded, as URLs are")),
            ("/a b", Err("must be percent-encoded, as URLs are")),
            ("/é", Err("must be percent-encoded, as URLs are")),
            ("/a\r\nSet-Cookie: x", Err("must be percent-encoded, as URLs are")),
        ] {
            assert_eq!(check(to), expect, "{to}");
        }
    }

    #[test]
    fn a_path_is_resolved_as_clients_do() {
        for (to, expect) in [
            ("/", ""),
            ("/a/", "/a"),
            ("/a//./b", "/a/b"),
            ("/a/../b/..", ""),
            ("/../a", "/a"),
            ("/%76/%2E%2e/%2f%", "/%2f%"),
        ] {
            assert_eq!(resolved(to), expect, "{to}");
        }
    }

    #[test]
    fn the_prefix_is_replaced_and_the_rest_is_kept() {
        for (to, rest, query, expect) in [
            ("/new", "", None, "/new"),
            ("/new", "/a/b", None, "/new/a/b"),
            ("/new/", "/a", Some("x=1"), "/new/a?x=1"),
            ("/new/", "", Some(""), "/new/?"),
            ("/", "", None, "/"),
            ("/", "/a", None, "/a"),
            ("/", "//evil.test", None, "/evil.test"),
            ("/", "/\\evil.test", None, "/evil.test"),
            ("/", "/\\/evil.test", None, "/evil.test"),
            ("https://example.org", "", None, "https://example.org"),
            ("https://example.org", "/a", Some("b"), "https://example.org/a?b"),
            ("https://example.org", "//a", None, "https://example.org/a"),
            ("https://example.org/", "/", None, "https://example.org/"),
            ("/n", "/a b\r\n", Some("c\r\nd#é"), "/n/a%20b%0D%0A?c%0D%0Ad%23%C3%A9"),
            ("/n", "/a%20\\b", Some("a?b=/c"), "/n/a%20%5Cb?a?b=/c"),
        ] {
            assert_eq!(build(to, rest, query), expect, "{to} {rest}");
        }
    }
}
