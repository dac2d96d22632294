//! How an upstream's response says where its body ends: in one way, or it is none that could be passed on. HTTP/1.1 is
//! followed by hyper, which takes what is wrong here for something else than the next reader may (RFC 9112, section 6.3).

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingError {
    #[error("it said a length and a transfer coding")]
    Both,
    #[error("it said a transfer coding that is not just chunked")]
    Coding,
    #[error("it said two lengths")]
    Lengths,
    #[error("it said a length that is no number")]
    Number,
}

/// Of a length that was said more than once, and always the same, one is left.
pub(super) fn settle(head: &mut HeaderMap) -> Result<(), FramingError> {
    let mut codings = head.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if head.contains_key(CONTENT_LENGTH) {
            return Err(FramingError::Both);
        }
        // Of a coding that we don't undo, a client would never learn.
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::Coding);
        }
    }
    let (mut said, mut times) = (None, 0);
    for length in head.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let length = number(length.trim_ascii()).ok_or(FramingError::Number)?;
        if said.is_some_and(|said| said != length) {
            return Err(FramingError::Lengths);
        }
        (said, times) = (Some(length), times + 1);
    }
    if let Some(length) = said.filter(|_| times > 1) {
        head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` takes a sign too.
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::settle;

    #[test]
    fn one_end_or_none() {
        let (length, coding) = ("content-length", "transfer-encoding");
        for (fields, expected) in [
            (&[][..], Ok(&[][..])),
            (&[(length, "5")], Ok(&["5"])),
            (&[(length, "5, 5")], Ok(&["5"])),
            (&[(length, "5,5 ,\t5")], Ok(&["5"])),
            (&[(length, "5"), (length, "5")], Ok(&["5"])),
            (&[(length, "05"), (length, "5")], Ok(&["5"])),
            (&[(length, "5, 6")], Err("it said two lengths")),
            (&[(length, "5"), (length, "6")], Err("it said two lengths")),
            (&[(length, "")], Err("it said a length that is no number")),
            (&[(length, "5,")], Err("it said a length that is no number")),
            (&[(length, "+5")], Err("it said a length that is no number")),
            (&[(length, "5x")], Err("it said a length that is no number")),
            (&[(length, "18446744073709551616")], Err("it said a length that is no number")),
            (&[(coding, "Chunked")], Ok(&[])),
            (&[(coding, "chunked"), (length, "5")], Err("it said a length and a transfer coding")),
            (&[(coding, "gzip"), (length, "5")], Err("it said a length and a transfer coding")),
            (&[(coding, "gzip")], Err("it said a transfer coding that is not just chunked")),
            (&[(coding, "")], Err("it said a transfer coding that is not just chunked")),
            (&[(coding, "gzip, chunked")], Err("it said a transfer coding that is not just chunked")),
            (&[(coding, "chunked, chunked")], Err("it said a transfer coding that is not just chunked")),
            (&[(coding, "chunked"), (coding, "chunked")], Err("it said a transfer coding that is not just chunked")),
        ] {
            let mut head = HeaderMap::new();
            for (name, value) in fields {
                head.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let settled = settle(&mut head).map_err(|error| error.to_string());
            let lengths: Vec<_> = head.get_all(length).iter().map(|value| value.to_str().unwrap()).collect();
            match expected {
                Ok(expected) => assert_eq!((settled, &*lengths), (Ok(()), expected), "{fields:?}"),
                Err(expected) => assert_eq!(settled, Err(expected.to_owned()), "{fields:?}"),
            }
        }
    }
}
