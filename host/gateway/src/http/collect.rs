//! Taking a body off an instance at once, so that the client's pace is not the guest's: up to a bound, and never more or
//! less than was declared.

use atoll_runtime::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::http::payload::Broken;

#[derive(Debug)]
pub(super) enum Collected {
    Whole(Bytes),
    /// More than the bound: what was read, and the rest.
    Larger(Bytes, Body),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LengthError {
    #[error("bad content-length")]
    Bad,
    #[error("content-length differs from the body's")]
    Differs,
}

/// The length that a message has by its head, or by a body that knows.
pub(super) fn declared(head: &HeaderMap, body: Option<&Body>) -> Result<Option<u64>, LengthError> {
    let mut declared = None;
    for value in head.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(LengthError::Bad)?;
        if declared.is_some_and(|declared| declared != length) {
            return Err(LengthError::Bad);
        }
        declared = Some(length);
    }
    match (declared, body.and_then(|body| body.size_hint().exact())) {
        (Some(declared), Some(known)) if declared != known => Err(LengthError::Differs),
        (declared, known) => Ok(declared.or(known)),
    }
}

/// Reads a body to its end, or to the bound. Its trailers go: they are for whoever reads it as it comes.
pub(super) async fn collect(mut body: Body, length: Option<u64>, most: u64) -> Result<Collected, BodyError> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        read += data.len() as u64;
        if length.is_some_and(|length| read > length) {
            return Err(Broken::Long.into());
        }
        // What comes in one piece is not copied.
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                let expected = length.unwrap_or(read).min(most);
                more.reserve(usize::try_from(expected).unwrap_or_default());
                more.extend_from_slice(&std::mem::take(&mut first));
            }
            more.extend_from_slice(&data);
        }
        if read > most {
            return Ok(Collected::Larger(if more.is_empty() { first } else { more.freeze() }, body));
        }
    }
    if length.is_some_and(|length| read < length) {
        return Err(Broken::Short.into());
    }
    Ok(Collected::Whole(if more.is_empty() { first } else { more.freeze() }))
}

#[cfg(test)]
mod tests {
    use atoll_runtime::{Body, BodyError};
    use bytes::Bytes;
    use futures_util::stream;
    use http::{HeaderMap, HeaderValue, header::CONTENT_LENGTH};
    use http_body::Frame;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::{Collected, collect, declared};

    fn body(chunks: &[&'static str]) -> Body {
        let chunk = |chunk: &&'static str| match *chunk {
            "!" => Err(BodyError::from("trapped")),
            "." => Ok(Frame::trailers(HeaderMap::new())),
            chunk => Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))),
        };
        let frames: Vec<_> = chunks.iter().map(chunk).collect();
        http_body_util::BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn bodies_up_to_four_bytes() {
        for (chunks, length, expected) in [
            (&["ab", "cd"][..], None, "whole abcd"),
            (&["abcd"], Some(4), "whole abcd"),
            (&["a", "b", "c", "."], Some(3), "whole abc"),
            (&[], None, "whole "),
            (&["", "ab"], None, "whole ab"),
            (&["ab", "cde", "f"], None, "abcde and f"),
            (&["abcde", "f"], None, "abcde and f"),
            (&["ab"], Some(3), "the body is shorter than its content-length"),
            (&["ab", "cd"], Some(3), "the body is longer than its content-length"),
            (&["ab", "!"], None, "trapped"),
        ] {
            let shown = match collect(body(chunks), length, 4).await {
                Ok(Collected::Whole(bytes)) => format!("whole {}", std::str::from_utf8(&bytes).unwrap()),
                Ok(Collected::Larger(first, rest)) => {
                    let rest = rest.collect().await.unwrap().to_bytes();
                    format!("{} and {}", std::str::from_utf8(&first).unwrap(), std::str::from_utf8(&rest).unwrap())
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected, "{chunks:?} {length:?}");
        }
    }

    #[test]
    fn declared_lengths() {
        let known: Body = Full::new(Bytes::from_static(b"abc")).map_err(|never| match never {}).boxed_unsync();
        let unknown = body(&["a", "b"]);
        for (values, body, expected) in [
            (&[][..], &unknown, Ok(None)),
            (&[], &known, Ok(Some(3))),
            (&["3"], &known, Ok(Some(3))),
            (&["4"], &known, Err("content-length differs from the body's")),
            (&["4"], &unknown, Ok(Some(4))),
            (&["4", "4"], &unknown, Ok(Some(4))),
            (&["4", "5"], &unknown, Err("bad content-length")),
            (&["4, 4"], &unknown, Err("bad content-length")),
            (&["-1"], &unknown, Err("bad content-length")),
            (&["+1"], &unknown, Err("bad content-length")),
            (&[""], &unknown, Err("bad content-length")),
            (&["99999999999999999999999"], &unknown, Err("bad content-length")),
        ] {
            let mut head = HeaderMap::new();
            for value in values {
                head.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            let found = declared(&head, Some(body)).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(Into::into), "{values:?}");
        }
    }
}
