//! Services: what they are handed, what becomes of what they say, and what the log says of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use atoll_runtime::{Failure, Isolation};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::{Guest, Place, Setup, fields, get, logged, pieces, reply, request, streamed};
use crate::tls::Protocol;

#[tokio::test]
async fn what_a_guest_is_handed() {
    let handed = Arc::new(Mutex::new(None));
    let guest = Guest::service(1, {
        let handed = handed.clone();
        move |request| {
            let (parts, _) = request.into_parts();
            *handed.lock().unwrap() = Some((parts.method, parts.uri.to_string(), parts.headers));
            reply(204, &[], "")
        }
    });
    let world = Setup::only(&guest);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut asked = request(
            Method::POST,
            "/a/./%62?c=%64",
            &[
                ("x-own", "1"),
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-for", "1.2.3.4"),
                ("accept-encoding", "br"),
                ("expect", "100-continue"),
            ],
            "body",
        );
        *asked.uri_mut() = "https://A.test:8443/a/./%62?c=%64".parse().unwrap();
        if matches!(protocol, Protocol::Http1) {
            asked.headers_mut().extend(fields(&[("connection", "x-hop"), ("x-hop", "1"), ("te", "trailers")]));
        }
        let seen = world.client(protocol).await.see(asked).await;
        assert_eq!((seen.status, seen.text()), (204, ""));
        let (method, uri, mut head) = handed.lock().unwrap().take().unwrap();
        head.remove("content-length");
        assert_eq!((method, uri.as_str()), (Method::POST, "https://a.test:8443/a/b?c=%64"));
        let expected = fields(&[
            ("accept-encoding", "br"),
            ("host", "a.test:8443"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.test:8443"),
            ("x-forwarded-proto", "https"),
            ("x-own", "1"),
        ]);
        assert_eq!(head, expected);
    }
}

#[tokio::test]
async fn who_may_change_its_mind_is_asked_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let guest = Guest::asked(1, {
        let seen = seen.clone();
        move |_, isolation| {
            seen.lock().unwrap().push(isolation);
            std::future::ready(Ok(reply(200, &[], ""))).boxed()
        }
    });
    let world = Setup::only(&guest);
    let mut client = world.client(Protocol::Http1).await;
    for (method, credentials, isolation) in [
        (Method::GET, false, Isolation::Shared),
        (Method::HEAD, false, Isolation::Shared),
        (Method::OPTIONS, false, Isolation::Shared),
        (Method::GET, true, Isolation::Alone),
        (Method::POST, false, Isolation::Alone),
        (Method::DELETE, false, Isolation::Alone),
        (Method::from_bytes(b"PROPFIND").unwrap(), false, Isolation::Alone),
    ] {
        let head: &[_] = if credentials { &[("authorization", "Basic eA==")] } else { &[] };
        client.see(request(method.clone(), "/", head, "")).await;
        assert_eq!(seen.lock().unwrap().pop(), Some(isolation), "{method} {credentials}");
    }
}

#[tokio::test]
async fn what_a_guest_gets_wrong() {
    for (target, status, error) in [
        ("/trap", 502, "\"trapped: wasm backtrace\""),
        ("/silent", 502, "\"no response: nothing\""),
        ("/bad", 502, "\"bad answer: x\""),
        ("/slow", 504, "\"timed out\""),
        ("/busy", 503, "\"overloaded\""),
        ("/early", 502, "\"bad answer: status 103\""),
        ("/lengths", 502, "\"bad answer: bad content-length\""),
        ("/length", 502, "\"bad answer: content-length differs from the body's\""),
        ("/short", 502, "\"the body broke off: the body is shorter than its content-length\""),
        ("/long", 502, "\"the body broke off: the body is longer than its content-length\""),
        ("/broken", 502, "\"the body broke off: trapped in its middle\""),
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let guest = Guest::asked(1, |request, _| {
                let answer = match request.uri().path() {
                    "/trap" => Err(Failure::Trapped("wasm backtrace".into())),
                    "/silent" => Err(Failure::NoResponse("nothing".into())),
                    "/bad" => Err(Failure::BadAnswer("x".into())),
                    "/slow" => Err(Failure::TimedOut),
                    "/busy" => Err(Failure::Overloaded),
                    "/early" => Ok(reply(103, &[], "")),
                    "/lengths" => Ok(reply(200, &[("content-length", "1"), ("content-length", "2")], "x")),
                    "/length" => Ok(reply(200, &[("content-length", "2")], "x")),
                    "/short" => Ok(streamed(200, &[("content-length", "5")], pieces(vec![Ok("ab"), Ok("cd")]))),
                    "/long" => Ok(streamed(200, &[("content-length", "3")], pieces(vec![Ok("ab"), Ok("cd")]))),
                    "/broken" => {
                        let body = pieces(vec![Ok("ab"), Err("trapped in its middle")]);
                        Ok(streamed(200, &[("content-length", "4")], body))
                    }
                    path => panic!("{path}"),
                };
                std::future::ready(answer).boxed()
            });
            let world = Setup::only(&guest);
            let seen = world.client(protocol).await.get(target, &[]).await;
            assert_eq!(seen.status, status, "{target}");
            assert!(!seen.text().contains("wasm") && !seen.text().contains("middle"), "{}", seen.text());
            let line = &world.log(1).await[0];
            assert_eq!(logged(line, "error"), Some(error), "{line}");
            assert_eq!(logged(line, "upstream"), Some("\"site\""));
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_whole() {
    let guest = Guest::service(1, |request| match request.uri().path() {
        "/chunked" => streamed(200, &[], pieces(vec![Ok("first"), Err("trapped")])),
        _ => streamed(200, &[("content-length", "2000000")], pieces(vec![Ok("first"), Err("trapped")])),
    });
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for target in ["/chunked", "/declared"] {
            let world = Setup::only(&guest);
            let seen = world.client(protocol).await.get(target, &[]).await;
            assert_eq!((seen.status, seen.body.as_ref()), (200, None), "{target} {protocol:?}");
            let line = &world.log(1).await[0];
            assert_eq!((logged(line, "error"), logged(line, "bytes")), (Some("\"trapped\""), Some("5")), "{line}");
        }
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let guest = Guest::service(1, |request| streamed(200, &[], request.into_body()));
    let world = Setup::only(&guest);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
        let body = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|part| (part, receiver)));
        let body = body.map(|part| Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))));
        let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(body));
        sender.send("one").await.unwrap();
        let asked = get("/", &[]);
        let (mut parts, _) = asked.into_parts();
        parts.method = Method::POST;
        let response = client.send(Request::from_parts(parts, body)).await.unwrap();
        let mut answer = response.into_body();
        for part in ["one", "two", "three"] {
            if part != "one" {
                sender.send(part).await.unwrap();
            }
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part, "before the next was sent");
        }
        drop(sender);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let guest = Guest::service(1, |_| {
        let first = stream::iter([Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from_static(b"data: 1\n\n")))]);
        let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(first.chain(stream::pending())));
        streamed(200, &[("content-type", "text/event-stream"), ("cache-control", "public")], body)
    });
    let world = Setup::only(&guest);
    let mut client = world.client(Protocol::Http1).await;
    let mut body = client.send(get("/", &[])).await.unwrap().into_body();
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap();
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    drop(body);
    drop(client);
    assert_eq!(logged(&world.log(1).await[0], "error"), Some("\"the client left\""));
}

#[tokio::test]
async fn semantics_are_for_every_services_answer() {
    let whole = Guest::service(1, |_| reply(200, &[("etag", "\"a\""), ("content-type", "text/plain")], "0123456789"));
    let own = Guest::service(1, |_| reply(206, &[("etag", "\"a\""), ("content-range", "bytes 0-1/2")], "01"));
    let streaming = Guest::service(1, |_| {
        streamed(200, &[("etag", "\"a\""), ("content-length", "3000000")], pieces(vec![Ok("0123456789"); 300_000]))
    });
    for (guest, head, status, text, field) in [
        (&whole, &[("if-none-match", "\"a\"")][..], 304, "", ("etag", Some("\"a\""))),
        (&whole, &[("if-match", "\"b\"")], 412, "412 Precondition Failed\n", ("etag", None)),
        (&whole, &[("range", "bytes=2-3")], 206, "23", ("content-range", Some("bytes 2-3/10"))),
        (&whole, &[("range", "bytes=10-")], 416, "416 Range Not Satisfiable\n", ("content-range", Some("bytes */10"))),
        (&whole, &[], 200, "0123456789", ("accept-ranges", Some("bytes"))),
        // Its own business.
        (&own, &[("if-none-match", "\"a\""), ("range", "bytes=5-")], 206, "01", ("content-range", Some("bytes 0-1/2"))),
        (&streaming, &[("if-none-match", "\"a\"")], 304, "", ("content-length", None)),
        (
            &streaming,
            &[("range", "bytes=2999998-")],
            206,
            "89",
            ("content-range", Some("bytes 2999998-2999999/3000000")),
        ),
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let seen = Setup::only(guest).client(protocol).await.get("/", head).await;
            assert_eq!((seen.status, seen.text(), seen.field(field.0)), (status, text, field.1), "{head:?}");
        }
    }
}

#[tokio::test]
async fn a_head_has_no_body() {
    let guest = Guest::service(1, |request| match (request.uri().path(), request.method()) {
        ("/declared", &Method::HEAD) => reply(200, &[("content-length", "10"), ("etag", "\"a\"")], ""),
        // What it sends all the same goes nowhere.
        ("/sent", _) => reply(200, &[("content-length", "4")], "body"),
        ("/gone", _) => reply(410, &[("content-length", "4")], "body"),
        other => panic!("{other:?}"),
    });
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let world = Setup::only(&guest);
        let mut client = world.client(protocol).await;
        for (target, head, status, length) in [
            ("/declared", &[][..], 200, Some("10")),
            ("/declared", &[("if-none-match", "\"a\"")], 304, None),
            ("/sent", &[], 200, Some("4")),
            ("/gone", &[], 410, Some("4")),
        ] {
            let seen = client.see(request(Method::HEAD, target, head, "")).await;
            assert_eq!((seen.status, seen.text(), seen.field("content-length")), (status, "", length), "{target}");
        }
    }
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let guest = Guest::service(1, |_| {
        reply(200, &[("connection", "x-hop, close"), ("x-hop", "1"), ("keep-alive", "5"), ("x-own", "1")], "x")
    });
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let seen = Setup::only(&guest).client(protocol).await.get("/", &[]).await;
        assert_eq!(seen.head, ["accept-ranges: bytes", "content-length: 1", "x-own: 1"]);
    }
}

#[tokio::test]
async fn a_line_a_request() {
    let guest = Guest::service(7, |_| reply(200, &[], "12345"));
    let world = Setup { services: vec![Place::new("app", &guest)], ..Setup::default() }.open();
    world.client(Protocol::Http2).await.get("/x?y=%22", &[]).await;
    let line = &world.log(1).await[0];
    for (name, value) in [
        ("client", Some("\"192.0.2.1\"")),
        ("method", Some("\"GET\"")),
        ("authority", Some("\"a.test\"")),
        ("target", Some("\"/x?y=%22\"")),
        ("protocol", Some("\"HTTP/2.0\"")),
        ("status", Some("200")),
        ("bytes", Some("5")),
        ("upstream", Some("\"app\"")),
        ("revision", Some("\"revision 7\"")),
        ("remembered", Some("false")),
        ("error", None),
    ] {
        assert_eq!(logged(line, name), value, "{line}");
    }
}

#[tokio::test]
async fn trailers_of_a_stream_are_carried() {
    let guest = Guest::service(1, |_| {
        let frames = [
            Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from_static(b"x"))),
            Ok(Frame::trailers(fields(&[("x-sum", "9")]))),
        ];
        streamed(
            200,
            &[("trailer", "x-sum")],
            http_body_util::BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames))),
        )
    });
    let world = Setup::only(&guest);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let response = world.client(protocol).await.send(get("/", &[("te", "trailers")])).await.unwrap();
        let trailers: Option<HeaderMap> = response.into_body().collect().await.unwrap().trailers().cloned();
        assert_eq!(trailers, Some(fields(&[("x-sum", "9")])), "{protocol:?}");
    }
}
