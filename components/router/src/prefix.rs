//! Prefixes of paths. They are compared with paths in the one form that the gateway brings every target to (RFC 3986
//! section 6.2.2: unreserved characters decoded, dot and empty segments gone), so one that is in another form would never
//! match.

/// `written` without trailing slashes; the root is empty. The error says what is wrong with it.
pub(crate) fn parse(written: &str) -> Result<&str, &'static str> {
    if !written.starts_with('/') {
        return Err("must begin with `/`");
    }
    let prefix = written.trim_end_matches('/');
    let mut rest = prefix.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => decoded(high << 4 | low)?,
                _ => return Err("`%` needs two hexadecimal digits behind it"),
            },
            b'?' | b'#' => return Err("a prefix is of the path alone, without query or fragment"),
            b'\\' => return Err("separate segments with `/`"),
            b'!'..=b'~' if !b"\"<>^`{|}".contains(&byte) => {}
            _ => return Err("must be percent-encoded, as paths are"),
        }
    }
    for segment in prefix.split('/').skip(1) {
        if matches!(segment, "" | "." | "..") {
            return Err("has an empty segment, `.` or `..`, which no path has when it is compared");
        }
    }
    Ok(prefix)
}

/// Whether `path` is `prefix`, without its trailing slash, or below it, by whole segments.
pub(crate) fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an encoded `byte` can stand in a path in its one form.
fn decoded(byte: u8) -> Result<(), &'static str> {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Err("write letters, digits and `-._~` plainly, paths are compared so")
        }
        b'/' | b'\\' | 0 => Err("an encoded slash, backslash or NUL matches nothing"),
        _ => Ok(()),
    }
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_whole_segments() {
        for (prefix, path, expect) in [
            ("", "/", true),
            ("", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(covers(prefix, path), expect, "{prefix} {path}");
        }
    }

    #[test]
    fn prefixes_are_in_the_one_form_of_a_path() {
        let segment = "has an empty segment, `.` or `..`, which no path has when it is compared";
        let plain = "write letters, digits and `-._~` plainly, paths are compared so";
        let digits = "`%` needs two hexadecimal digits behind it";
        for (written, expect) in [
            ("/", Ok("")),
            ("/api", Ok("/api")),
            ("/api/", Ok("/api")),
            ("/a/b.c/~d", Ok("/a/b.c/~d")),
            ("/%C3%A9", Ok("/%C3%A9")),
            ("/a%20b", Ok("/a%20b")),
            ("/...", Ok("/...")),
            ("", Err("must begin with `/`")),
            ("api", Err("must begin with `/`")),
            ("*", Err("must begin with `/`")),
            ("/a//b", Err(segment)),
            ("//a", Err(segment)),
            ("/a/../b", Err(segment)),
            ("/./a", Err(segment)),
            ("/%61pi", Err(plain)),
            ("/a%2eb", Err(plain)),
            ("/a%2Fb", Err("an encoded slash, backslash or NUL matches nothing")),
            ("/a%5cb", Err("an encoded slash, backslash or NUL matches nothing")),
            ("/a%00", Err("an encoded slash, backslash or NUL matches nothing")),
            ("/a%", Err(digits)),
            ("/a%2", Err(digits)),
            ("/a%zz", Err(digits)),
            ("/a?b", Err("a prefix is of the path alone, without query or fragment")),
            ("/a#b", Err("a prefix is of the path alone, without query or fragment")),
            ("/a\\b", Err("separate segments with `/`")),
            ("/é", Err("must be percent-encoded, as paths are")),
            ("/a b", Err("must be percent-encoded, as paths are")),
            ("/a\n", Err("must be percent-encoded, as paths are")),
            ("/a\"b", Err("must be percent-encoded, as paths are")),
        ] {
            assert_eq!(parse(written), expect, "{written}");
        }
    }
}
