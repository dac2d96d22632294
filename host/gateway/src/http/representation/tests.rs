//! One page, and what requests get of it.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;

use super::{Asked, Outcome, Representation, Twins, stream};
use crate::http::{
    clock::SystemClock,
    payload::{Payload, Stream},
    tests::fields,
};

fn page(length: usize) -> Representation {
    let head = fields(&[
        ("content-type", "text/html"),
        ("etag", "\"a\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("cache-control", "public, max-age=0"),
        ("x-own", "1"),
    ]);
    let body = Bytes::from("0123456789".repeat(length / 10));
    Representation::new(StatusCode::OK, head, body, true)
}

async fn get(page: &Representation, method: Method, request: &[(&'static str, &'static str)]) -> Outcome {
    let request = fields(request);
    let asked = Asked { method: &method, fields: &request, clock: &SystemClock };
    match page.answer(asked) {
        Outcome::Encode(coding) => {
            page.encode(coding, &Twins::default()).await;
            page.answer(asked)
        }
        outcome => outcome,
    }
}

/// Status, fields by name in order, and the body.
async fn shown(response: Response<Payload>) -> (u16, Vec<String>, Bytes) {
    let (parts, body) = response.into_parts();
    let mut head: Vec<_> =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    head.sort();
    (parts.status.as_u16(), head, body.collect().await.unwrap().to_bytes())
}

async fn response(outcome: Outcome) -> (u16, Vec<String>, Bytes) {
    match outcome {
        Outcome::Response(response) => shown(response).await,
        Outcome::Fault(fault) => (fault.status().as_u16(), vec![], Bytes::new()),
        Outcome::Encode(_) => panic!("asked for twice"),
    }
}

#[tokio::test]
async fn the_whole() {
    let page = page(2000);
    let head = [
        "accept-ranges: bytes",
        "cache-control: public, max-age=0",
        "content-length: 2000",
        "content-type: text/html",
        "etag: \"a\"",
        "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
        "vary: accept-encoding",
        "x-own: 1",
    ];
    let (status, fields, body) = response(get(&page, Method::GET, &[]).await).await;
    assert_eq!((status, &fields[..], body.len()), (200, &head.map(String::from)[..], 2000));
    let (status, fields, body) = response(get(&page, Method::HEAD, &[("range", "bytes=0-1")]).await).await;
    assert_eq!((status, &fields[..], body.len()), (200, &head.map(String::from)[..], 0));
}

#[tokio::test]
async fn not_modified_and_failed() {
    let page = page(2000);
    let head = ["cache-control: public, max-age=0", "etag: \"a\"", "vary: accept-encoding", "x-own: 1"];
    let (status, fields, body) = response(get(&page, Method::GET, &[("if-none-match", "\"a\"")]).await).await;
    assert_eq!((status, &fields[..], body.len()), (304, &head.map(String::from)[..], 0));
    let (status, ..) = response(get(&page, Method::GET, &[("if-match", "\"b\"")]).await).await;
    assert_eq!(status, 412);
    // Preconditions before ranges.
    let both = [("if-none-match", "\"a\""), ("range", "bytes=0-1")];
    assert_eq!(response(get(&page, Method::GET, &both).await).await.0, 304);
}

#[tokio::test]
async fn parts() {
    let page = page(2000);
    let (status, fields, body) = response(get(&page, Method::GET, &[("range", "bytes=3-5")]).await).await;
    assert_eq!((status, &body[..]), (206, &b"345"[..]));
    assert!(fields.contains(&"content-range: bytes 3-5/2000".into()), "{fields:?}");
    assert!(fields.contains(&"content-length: 3".into()) && fields.contains(&"etag: \"a\"".into()), "{fields:?}");
    let (status, ..) = response(get(&page, Method::GET, &[("range", "bytes=2000-")]).await).await;
    assert_eq!(status, 416);
    let of_another = [("range", "bytes=3-5"), ("if-range", "\"b\"")];
    assert_eq!(response(get(&page, Method::GET, &of_another).await).await.2.len(), 2000);

    let (status, fields, body) = response(get(&page, Method::GET, &[("range", "bytes=0-1,-1")]).await).await;
    let media = fields.iter().find(|field| field.starts_with("content-type")).unwrap();
    let boundary = media.strip_prefix("content-type: multipart/byteranges; boundary=").unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!((status, text.matches(boundary).count()), (206, 3));
    assert!(fields.contains(&format!("content-length: {}", text.len())));
    assert!(text.contains("content-range: bytes 1999-1999/2000\r\n\r\n9\r\n"));
}

#[tokio::test]
async fn encoded_forms_are_representations_of_their_own() {
    let page = page(20_000);
    let plain = page.weight();
    let (status, fields, brotli) = response(get(&page, Method::GET, &[("accept-encoding", "br, gzip")]).await).await;
    assert_eq!(status, 200);
    for field in ["content-encoding: br", "etag: \"a-br\"", "vary: accept-encoding", "content-type: text/html"] {
        assert!(fields.contains(&field.into()), "{field} in {fields:?}");
    }
    assert!(fields.contains(&format!("content-length: {}", brotli.len())) && brotli.len() < 1000);
    assert!(page.weight() > plain + brotli.len());
    let gzip = [("accept-encoding", "gzip"), ("if-none-match", "\"a-gzip\"")];
    let (status, fields, _) = response(get(&page, Method::GET, &gzip).await).await;
    assert_eq!(status, 304);
    assert!(fields.contains(&"etag: \"a-gzip\"".into()) && !fields.iter().any(|f| f.starts_with("content-encoding")));
    // The tag of one form is not that of another.
    let other = [("accept-encoding", "gzip"), ("if-none-match", "\"a\"")];
    assert_eq!(response(get(&page, Method::GET, &other).await).await.0, 200);
    // A range is of the bytes as they are, but where it goes on with an encoded form.
    let range = [("accept-encoding", "br"), ("range", "bytes=0-9")];
    assert_eq!(&response(get(&page, Method::GET, &range).await).await.2[..], b"0123456789");
    let resumed = [("accept-encoding", "br"), ("range", "bytes=4-9"), ("if-range", "\"a-br\"")];
    assert_eq!(response(get(&page, Method::GET, &resumed).await).await.2, brotli.slice(4..10));
}

#[tokio::test]
async fn other_statuses_are_given_as_they_are() {
    let head = fields(&[("etag", "\"a\""), ("content-type", "text/html")]);
    let gone = Representation::new(StatusCode::NOT_FOUND, head, Bytes::from(vec![b'x'; 5000]), true);
    let request = [("if-none-match", "\"a\""), ("range", "bytes=0-1"), ("accept-encoding", "br")];
    let (status, fields, body) = response(get(&gone, Method::GET, &request).await).await;
    assert_eq!((status, body.len()), (404, 5000));
    assert_eq!(fields, ["content-length: 5000", "content-type: text/html", "etag: \"a\""]);
}

#[tokio::test]
async fn what_passes_by_is_cut() {
    let body = || http_body_util::Full::new(Bytes::from_static(b"0123456789")).map_err(Into::into).boxed_unsync();
    let body = |length| Stream::whole(body(), length);
    for (length, request, status, text, head) in [
        (Some(10), &[][..], 200, "0123456789", &["accept-ranges: bytes", "content-length: 10", "etag: \"a\""][..]),
        (None, &[], 200, "0123456789", &["etag: \"a\""]),
        (
            Some(10),
            &[("range", "bytes=2-3")],
            206,
            "23",
            &["accept-ranges: bytes", "content-length: 2", "content-range: bytes 2-3/10", "etag: \"a\""],
        ),
        (None, &[("range", "bytes=2-3")], 200, "0123456789", &["etag: \"a\""]),
        (
            Some(10),
            &[("range", "bytes=0-1,4-5")],
            200,
            "0123456789",
            &["accept-ranges: bytes", "content-length: 10", "etag: \"a\""],
        ),
        (Some(10), &[("range", "bytes=10-")], 416, "", &[]),
        (Some(10), &[("if-none-match", "\"a\"")], 304, "", &["etag: \"a\""]),
        (Some(10), &[("if-match", "\"b\"")], 412, "", &[]),
    ] {
        let (request, method) = (fields(request), Method::GET);
        let asked = Asked { method: &method, fields: &request, clock: &SystemClock };
        let streamed = stream(fields(&[("etag", "\"a\"")]), body(length), length, asked);
        let shown = match streamed {
            Ok(response) => shown(response).await,
            Err(fault) => (fault.status().as_u16(), vec![], Bytes::new()),
        };
        let head: Vec<String> = head.iter().map(|field| (*field).into()).collect();
        assert_eq!(shown, (status, head, Bytes::from(text)), "{request:?}");
    }
}
