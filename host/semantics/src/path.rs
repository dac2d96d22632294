//! The one form of a path, in which everybody behind this gets to see it: unreserved characters decoded, escapes in upper
//! case, no dot segments, no empty segments. Two spellings of one path must never reach two decisions.

use std::borrow::Cow;

/// A path in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneForm<'a> {
    /// Begins with one `/`.
    pub path: Cow<'a, str>,
    /// Whether an encoded slash or a backslash was taken for a separator. Whoever gets the path as a text would not see it
    /// as one.
    pub hidden_separator: bool,
}

/// Why a path has no such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("path without a leading slash")]
    NotAbsolute,
    #[error("nul in the path")]
    Nul,
    #[error("bad escape in the path")]
    BadEscape,
    #[error("path leaves the root")]
    AboveRoot,
    #[error("control character or space in the path")]
    Control,
}

/// Brings a path, without its query, to its one form. Allocates only where it isn't in it already.
pub fn one_form(path: &str) -> Result<OneForm<'_>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if in_form(path.as_bytes()) {
        return Ok(OneForm { path: Cow::Borrowed(path), hidden_separator: false });
    }
    let (flat, hidden_separator) = flatten(path.as_bytes())?;
    Ok(OneForm { path: Cow::Owned(resolve(&flat)?), hidden_separator })
}

/// What a byte is in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Unreserved in RFC 3986: the same encoded or not.
    Unreserved,
    /// Stands for itself, and for something else when it is encoded.
    Plain,
    Slash,
    Backslash,
    Percent,
    /// May not stand in a path as it is; some clients send it so, and mean the encoded one.
    Encoded,
    Control,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Encoded; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let class = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Unreserved,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => Class::Plain,
            b'/' => Class::Slash,
            b'\\' => Class::Backslash,
            b'%' => Class::Percent,
            0..=b' ' | 0x7f => Class::Control,
            _ => Class::Encoded,
        };
        classes[byte] = class;
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Whether the path, which begins with a slash, is in its one form. Says no where it can't be told at a glance.
fn in_form(path: &[u8]) -> bool {
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match class(*byte) {
            Class::Unreserved | Class::Plain => {}
            Class::Slash => {
                if let [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] = tail {
                    return false;
                }
            }
            Class::Percent => {
                let Some(decoded) = escape(tail) else { return false };
                let lower = tail[..2].iter().any(u8::is_ascii_lowercase);
                if lower
                    || decoded == 0
                    || matches!(class(decoded), Class::Unreserved | Class::Slash | Class::Backslash)
                {
                    return false;
                }
                rest = &tail[2..];
            }
            Class::Backslash | Class::Encoded | Class::Control => return false,
        }
    }
    true
}

/// Decodes what is the same encoded or not, encodes what has to be, and turns whatever separates into a slash. Says
/// whether one of those was hidden.
fn flatten(path: &[u8]) -> Result<(Vec<u8>, bool), PathError> {
    let mut flat = Vec::with_capacity(path.len() + 16);
    let mut hidden_separator = false;
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match class(*byte) {
            Class::Unreserved | Class::Plain | Class::Slash => flat.push(*byte),
            Class::Backslash => {
                hidden_separator = true;
                flat.push(b'/');
            }
            Class::Encoded => push_escape(&mut flat, *byte),
            Class::Control => return Err(PathError::Control),
            Class::Percent => {
                let decoded = escape(tail).ok_or(PathError::BadEscape)?;
                rest = &tail[2..];
                match class(decoded) {
                    _ if decoded == 0 => return Err(PathError::Nul),
                    Class::Unreserved => flat.push(decoded),
                    Class::Slash | Class::Backslash => {
                        hidden_separator = true;
                        flat.push(b'/');
                    }
                    _ => push_escape(&mut flat, decoded),
                }
            }
        }
    }
    Ok((flat, hidden_separator))
}

/// Takes out empty segments, then dot segments: `/a//../b` is `/b`, as a file system would see it.
fn resolve(flat: &[u8]) -> Result<String, PathError> {
    let mut resolved: Vec<u8> = Vec::with_capacity(flat.len());
    let mut directory = false;
    for segment in flat.split(|byte| *byte == b'/') {
        directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = resolved.iter().rposition(|byte| *byte == b'/').ok_or(PathError::AboveRoot)?;
                resolved.truncate(parent);
            }
            _ => {
                resolved.push(b'/');
                resolved.extend_from_slice(segment);
            }
        }
    }
    if directory || resolved.is_empty() {
        resolved.push(b'/');
    }
    Ok(String::from_utf8(resolved).expect("`flatten` leaves ASCII alone"))
}

/// The byte that the two digits at the head of `digits` stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn push_escape(flat: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    flat.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{PathError, one_form};

    #[test]
    fn what_is_in_the_form_is_not_copied() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.html",
            "/.well-known/x",
            "/a/.hidden",
            "/a/..b",
            "/a/...",
            "/a.",
            "/~me/-_.",
            "/caf%C3%A9",
            "/100%25",
            "/a%20b",
            "/a;v=1,2/(x)!$&'*+:@=",
            "/%21",
            "/a%0Ab",
        ] {
            let form = one_form(path).unwrap();
            assert!(matches!(form.path, Cow::Borrowed(_)), "{path}");
            assert_eq!((form.path.as_ref(), form.hidden_separator), (path, false));
        }
    }

    #[test]
    fn spellings_of_one_path() {
        for (path, form) in [
            ("/%70rivate", "/private"),
            ("/a/../private", "/private"),
            ("//private", "/private"),
            ("/./private", "/private"),
            ("/private/.", "/private/"),
            ("/private/x/..", "/private/"),
            ("/private//", "/private/"),
            ("/a/%2e%2E/private", "/private"),
            ("/a//../b", "/b"),
            ("/a/./b/../c//d", "/a/c/d"),
            ("/..a/b", "/..a/b"),
            ("//", "/"),
            ("/.", "/"),
            ("/a/..", "/"),
            ("/%7Eme", "/~me"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a|b", "/a%7Cb"),
            ("/a{b}", "/a%7Bb%7D"),
            ("/%2561", "/%2561"),
            ("/a%0Ab", "/a%0Ab"),
        ] {
            let formed = one_form(path).unwrap();
            assert_eq!((formed.path.as_ref(), formed.hidden_separator), (form, false), "{path}");
            let again = one_form(form).unwrap();
            assert_eq!((again.path.as_ref(), again.hidden_separator), (form, false), "{path}, twice");
        }
    }

    #[test]
    fn a_hidden_separator_is_one_for_the_decision() {
        for (path, form) in [
            ("/a%2fb", "/a/b"),
            ("/a%2Fb", "/a/b"),
            ("/a\\b", "/a/b"),
            ("/a%5cb", "/a/b"),
            ("/x%2f..%2fprivate", "/private"),
            ("/x/..\\private", "/private"),
            ("/%2Fprivate", "/private"),
        ] {
            let formed = one_form(path).unwrap();
            assert_eq!((formed.path.as_ref(), formed.hidden_separator), (form, true), "{path}");
        }
    }

    #[test]
    fn what_has_no_form() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/%00", PathError::Nul),
            ("/a%00b", PathError::Nul),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%4g", PathError::BadEscape),
            ("/%+1", PathError::BadEscape),
            ("/..", PathError::AboveRoot),
            ("/../a", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/a/../../a", PathError::AboveRoot),
            ("//..", PathError::AboveRoot),
            ("/%2e%2e/a", PathError::AboveRoot),
            ("/%2f..", PathError::AboveRoot),
            ("/..\\a", PathError::AboveRoot),
            ("/a b", PathError::Control),
            ("/a\tb", PathError::Control),
            ("/a\u{7f}b", PathError::Control),
        ] {
            assert_eq!(one_form(path), Err(error), "{path}");
        }
    }
}
