//! Header fields that a route may change.

use alloc::format;
use alloc::string::String;

/// A change to the fields of a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'t> {
    Set(&'t str, &'t str),
    Add(&'t str, &'t str),
    Remove(&'t str),
}

/// What frames a message or belongs to one connection is the host's (RFC 9110 section 7.6.1); so is the name that the
/// request was made to, by which certificates and routes are chosen, and what it says of the client and of itself: a decision
/// that changes one of these is none.
const HOSTS: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// RFC 9110 section 5.1: a token, and none of the host's own.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Err(format!("`{}` is not the name of a field", name.escape_default()));
    }
    if HOSTS.iter().any(|host| name.eq_ignore_ascii_case(host)) {
        return Err(format!("`{name}` is the host's own, and can't be changed here"));
    }
    Ok(())
}

/// RFC 9110 section 5.5, in ASCII alone: what is beyond it means something else to each reader.
pub(crate) fn check_value(value: &str) -> Result<(), &'static str> {
    if !value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')) {
        return Err("a field's value is printable ASCII");
    }
    if value.trim_matches([' ', '\t']).len() != value.len() {
        return Err("a field's value does not begin or end with a blank");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_not_the_hosts() {
        for (name, expect) in [
            ("X-A", Ok(())),
            ("x_y!", Ok(())),
            ("", Err("`` is not the name of a field".into())),
            ("X A", Err("`X A` is not the name of a field".into())),
            (":path", Err("`:path` is not the name of a field".into())),
            ("X\r\nY", Err("`X\\r\\nY` is not the name of a field".into())),
            ("Grün", Err("`Gr\\u{fc}n` is not the name of a field".into())),
            ("Host", Err("`Host` is the host's own, and can't be changed here".into())),
            ("Content-Length", Err("`Content-Length` is the host's own, and can't be changed here".into())),
            ("transfer-encoding", Err("`transfer-encoding` is the host's own, and can't be changed here".into())),
        ] {
            assert_eq!(check_name(name), expect, "{name}");
        }
    }

    #[test]
    fn values_are_printable_ascii() {
        for (value, expect) in [
            ("", Ok(())),
            ("a b\tc", Ok(())),
            (" a", Err("a field's value does not begin or end with a blank")),
            ("a\t", Err("a field's value does not begin or end with a blank")),
            ("a\r\nX-B: c", Err("a field's value is printable ASCII")),
            ("é", Err("a field's value is printable ASCII")),
            ("\u{7f}", Err("a field's value is printable ASCII")),
        ] {
            assert_eq!(check_value(value), expect, "{value}");
        }
    }
}
