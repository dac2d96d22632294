//! What comes out of an encoder, piece by piece, and which answers go into one.

use std::{
    future::poll_fn,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::Poll,
};

use atoll_runtime::{Body, BodyError};
use atoll_semantics::coding::Coding;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::Semaphore;

use super::{Encoders, Encoding};
use crate::http::{
    limits::ENCODERS,
    payload::{Payload, Stream},
    shares::Shares,
    tests::fields,
};

const TEXT: &[(&str, &str)] = &[("content-type", "text/plain")];

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn encoding(coding: Coding) -> Encoding {
    let seat = Arc::<Shares>::default().free(CLIENT, 1).unwrap();
    Encoding { coding, place: (Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(), seat) }
}

/// `-` is a pause, `!` an error, `.` trailers.
fn payload(pieces: &[&str], coding: Coding) -> Payload {
    let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    let frames = stream::iter(pieces).filter_map(async |piece| match piece.as_str() {
        "-" => {
            // The first is for who gathers what is there, the second for who encodes it.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            None
        }
        "!" => Some(Err(BodyError::from("broken"))),
        "." => Some(Ok(Frame::trailers(HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())])))),
        piece => Some(Ok(Frame::data(Bytes::from(piece.to_owned())))),
    });
    let body: Body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(frames));
    Payload::stream(Stream::whole(body, None)).encoded(Some(encoding(coding)))
}

/// As much as can be read of what may break off, and whether it has its end.
fn decoded(bytes: &[u8], coding: Coding) -> (String, bool) {
    let mut text = Vec::new();
    let whole = match coding {
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text).is_ok(),
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).is_ok(),
        Coding::Identity => unreachable!(),
    };
    (String::from_utf8(text).unwrap(), whole)
}

/// What was decoded behind each frame, and how it ended.
async fn read(mut payload: Payload, coding: Coding) -> (Vec<String>, &'static str) {
    let (mut bytes, mut texts) = (Vec::new(), Vec::new());
    while let Some(frame) = payload.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                bytes.extend_from_slice(&data);
                let (text, _) = decoded(&bytes, coding);
                if texts.last() != Some(&text) {
                    texts.push(text);
                }
            }
            Ok(Err(frame)) => assert_eq!(frame.trailers_ref().unwrap()["x-end"], "1"),
            Err(error) => {
                assert!(!decoded(&bytes, coding).1, "it broke off before its end");
                assert_eq!(error.to_string(), "broken");
                return (texts, "broken");
            }
        }
        if payload.is_end_stream() {
            break;
        }
    }
    (texts, if decoded(&bytes, coding).1 { "whole" } else { "cut" })
}

#[tokio::test]
async fn what_has_come_goes_out_before_the_next_is_waited_for() {
    for coding in [Coding::Brotli, Coding::Gzip] {
        for (pieces, texts, end) in [
            (&["a", "b", "-", "c"][..], &["ab", "abc"][..], "whole"),
            (&["a", "-", "-", "b", "-", "c", "."], &["a", "ab", "abc"], "whole"),
            (&["a", "-", "b", "!"], &["a", "ab"], "broken"),
            (&["!"], &[""], "broken"),
            (&["a", "."], &["a"], "whole"),
            (&[], &[""], "whole"),
        ] {
            assert_eq!(read(payload(pieces, coding), coding).await, (texts.iter().map(|t| (*t).into()).collect(), end));
        }
    }
}

/// A large piece is cut, and where nothing comes out of so much, others are let.
#[tokio::test]
async fn a_long_body_comes_in_pieces() {
    for coding in [Coding::Brotli, Coding::Gzip] {
        let mut state = 1_u32;
        let long: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 28) as u8)
        })
        .take(1 << 20)
        .collect();
        let mut payload = payload(&[&long], coding);
        assert_eq!(payload.size_hint().exact(), None);
        let mut bytes = Vec::new();
        while let Some(frame) = payload.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= 64 * 1024, "{}", data.len());
            bytes.extend_from_slice(&data);
        }
        assert!(bytes.len() < long.len() * 2 / 3, "{}", bytes.len());
        assert_eq!(decoded(&bytes, coding), (long, true));

        let same = "a".repeat(1 << 20);
        let mut payload = self::payload(&[&same], coding);
        let mut pauses = 0;
        let mut bytes = Vec::new();
        loop {
            match poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut payload).poll_frame(cx))).await {
                Poll::Ready(None) => break,
                Poll::Ready(Some(frame)) => bytes.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                Poll::Pending => pauses += 1,
            }
        }
        assert!(pauses >= 4, "{pauses}");
        assert_eq!(decoded(&bytes, coding), (same, true));
    }
}

#[test]
fn which_answers_are_encoded() {
    let encoders = Encoders::default();
    let br = &[("accept-encoding", "br")][..];
    let ranged = &[("accept-encoding", "br"), ("range", "bytes=0-1")][..];
    let part = &[("content-type", "text/plain"), ("content-range", "bytes 0-1/2")][..];
    let kept = &[("content-type", "text/plain"), ("cache-control", "no-transform")][..];
    let done = &[("content-type", "text/plain"), ("content-encoding", "zstd")][..];
    for (request, status, answer, length, encoded, varies) in [
        (br, 200, TEXT, None, true, true),
        (br, 200, TEXT, Some(1024), true, true),
        (br, 200, TEXT, Some(1023), false, false),
        (br, 404, TEXT, None, true, true),
        (br, 201, TEXT, None, true, true),
        (br, 206, TEXT, None, false, false),
        (br, 206, part, None, false, false),
        (br, 416, part, None, false, false),
        (br, 204, TEXT, None, false, false),
        (br, 205, TEXT, None, false, false),
        (br, 200, kept, None, false, false),
        (br, 200, done, None, false, false),
        (br, 200, &[("content-type", "image/png")], None, false, false),
        (br, 200, &[("content-type", "text/event-stream")], None, true, true),
        (&[], 200, TEXT, None, false, true),
        (ranged, 200, TEXT, None, false, true),
    ] {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = status.try_into().unwrap();
        parts.headers = fields(answer);
        let about = [("etag", "\"a\""), ("content-length", "2000"), ("accept-ranges", "bytes")];
        parts.headers.extend(fields(&about));
        let before = parts.headers.clone();
        let settled = encoders.settle(CLIENT, &fields(request), &mut parts, length).is_some();
        assert_eq!((settled, parts.headers.contains_key("vary")), (encoded, varies), "{status} {answer:?} {request:?}");
        parts.headers.remove("vary");
        if encoded {
            let mut expected = fields(answer);
            expected.extend(fields(&[("etag", "\"a-br\""), ("content-encoding", "br")]));
            assert_eq!(parts.headers, expected);
        } else {
            assert_eq!(parts.headers, before);
        }
    }
}

#[test]
fn beyond_what_is_encoded_at_once_answers_pass_as_they_are() {
    let encoders = Encoders::default();
    let settle = |last: u8| {
        let client = [127, 0, 0, last].into();
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.headers = fields(TEXT);
        let encoding = encoders.settle(client, &fields(&[("accept-encoding", "gzip")]), &mut parts, None);
        (encoding, parts.headers)
    };
    // A client a quarter, and the next a quarter of the rest.
    let first: Vec<_> = std::iter::from_fn(|| settle(1).0).collect();
    let second: Vec<_> = std::iter::from_fn(|| settle(2).0).collect();
    assert_eq!((first.len(), second.len()), (ENCODERS / 4, ENCODERS / 4 * 3 / 4));
    drop((first, second));
    let mut held: Vec<_> = (0..=255).filter_map(|last| settle(last).0).collect();
    assert_eq!(held.len(), ENCODERS);
    let (none, head) = settle(1);
    assert!(none.is_none());
    assert_eq!(head, fields(&[("content-type", "text/plain"), ("vary", "accept-encoding")]));
    held.pop();
    assert!(settle(255).0.is_some());
}
