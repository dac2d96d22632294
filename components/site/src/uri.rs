//! Percent-encoding, RFC 3986 section 2.1.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// What a path or a part of it says, or nothing where its escapes are broken.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => decoded.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?),
            _ => decoded.push(byte),
        }
    }
    Some(Cow::Owned(decoded))
}

/// Appends `text` with everything encoded that can't stand in a path as it is.
pub(crate) fn push_path(out: &mut String, text: &str) {
    push(out, text, |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte));
}

/// Appends `text` as a part of a query's parameter, with everything encoded that would end it there, or mean something else to
/// a form (`+`).
pub(crate) fn push_query(out: &mut String, text: &str) {
    push(out, text, |byte| byte.is_ascii_alphanumeric() || b"-._~!$'()*,:@/".contains(&byte));
}

/// Appends `text`, which is encoded already, with everything encoded that can't stand in a URI at all.
pub(crate) fn push_reference(out: &mut String, text: &str) {
    push(out, text, |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?#[]%".contains(&byte));
}

fn push(out: &mut String, text: &str, plain: fn(u8) -> bool) {
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_or_refused() {
        for (text, expect) in [
            ("/a/b", Some(&b"/a/b"[..])),
            ("/caf%C3%a9", Some("/café".as_bytes())),
            ("%00%2f", Some(b"\0/")),
            ("%ff", Some(b"\xff")),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%é", None),
        ] {
            assert_eq!(decode(text).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn what_can_not_stand_in_a_uri_is_encoded() {
        let both = |text| {
            let (mut path, mut reference) = (String::new(), String::new());
            push_path(&mut path, text);
            push_reference(&mut reference, text);
            (path, reference)
        };
        for (text, path, reference) in [
            ("/a/b-c~", "/a/b-c~", "/a/b-c~"),
            ("/a b?c#d", "/a%20b%3Fc%23d", "/a%20b?c#d"),
            ("100%", "100%25", "100%"),
            ("é\r\n\\\"", "%C3%A9%0D%0A%5C%22", "%C3%A9%0D%0A%5C%22"),
        ] {
            assert_eq!(both(text), (path.into(), reference.into()), "{text}");
        }
    }
}
