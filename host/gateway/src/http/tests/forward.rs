//! URLs: real sockets on the loopback, and servers that misbehave.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use atoll_net::{Client, Dialler, Egress, HTTP, Options, Origin, SystemRoots, Tls};
use atoll_runtime::{Decision, FieldChange, Forwarding};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{Guest, Place, Setup, World, fields, forward, get, logged, request};
use crate::{http::UrlUpstream, tls::Protocol};

fn upstream(ports: &[u16], protocol: atoll_net::Protocol) -> UrlUpstream {
    within(Duration::from_secs(10), ports, protocol)
}

/// Of URLs that are not waited for.
fn hasty(ports: &[u16], protocol: atoll_net::Protocol) -> UrlUpstream {
    within(Duration::from_millis(300), ports, protocol)
}

fn within(patience: Duration, ports: &[u16], protocol: atoll_net::Protocol) -> UrlUpstream {
    let tls = Tls::system(&SystemRoots::default(), HTTP);
    let origin = |port: &u16| {
        let uri = format!("http://127.0.0.1:{port}").parse().unwrap();
        Origin::new(&uri, protocol, &tls, Egress::Any).unwrap()
    };
    let options = Options { connect: patience, head: patience, ..Options::default() };
    UrlUpstream {
        client: Client::new(Dialler::system(), options),
        places: ports.iter().map(|port| crate::http::Place::new(origin(port), origin(port))).collect(),
        raw_path: false,
        patience,
    }
}

/// A world whose every name goes to one URL.
fn only(upstream: UrlUpstream) -> World {
    world(upstream, || forward("app"))
}

fn world(upstream: UrlUpstream, forwarding: impl Fn() -> Forwarding + Send + Sync + 'static) -> World {
    let router = Guest::router(true, move |_| Ok(Decision::Forward(forwarding())));
    Setup { router: Some(Place::new("router", &router)), urls: vec![("app", upstream)], ..Setup::default() }.open()
}

/// A server that answers by this function; its port.
async fn server<F, A>(protocol: atoll_net::Protocol, answer: F) -> u16
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<atoll_runtime::Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let io = TokioIo::new(socket);
            match protocol {
                atoll_net::Protocol::Http1 => drop(tokio::spawn(http1::Builder::new().serve_connection(io, service))),
                atoll_net::Protocol::H2c => {
                    drop(tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service)));
                }
            }
        }
    });
    port
}

/// A server that says these bytes to each connection's first request, and closes it; its port.
async fn raw(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let (head, rest) = answer.split_at(answer.find("first").map_or(answer.len(), |at| at + 5));
                let _ = socket.write_all(head.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = socket.write_all(rest.as_bytes()).await;
                if answer.is_empty() {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
        }
    });
    port
}

async fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn full(body: impl Into<Bytes>) -> atoll_runtime::Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Says what it was sent.
async fn echo(request: Request<Incoming>) -> Response<atoll_runtime::Body> {
    let mut lines = vec![format!("{} {}", request.method(), request.uri().path_and_query().unwrap())];
    let authority = request.uri().authority().map(ToString::to_string);
    let mut head: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .chain(authority.map(|authority| format!("host: {authority}")))
        .collect();
    head.sort();
    lines.extend(head);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    lines.push(String::from_utf8(body.to_vec()).unwrap());
    let mut response = Response::new(full(lines.join("\n")));
    response.headers_mut().extend(fields(&[
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("x-own", "1"),
        ("server", "echo"),
    ]));
    response
}

#[tokio::test]
async fn what_an_upstream_is_sent() {
    for spoken in [atoll_net::Protocol::Http1, atoll_net::Protocol::H2c] {
        let port = server(spoken, |request: Request<Incoming>| async {
            let mut response = echo(request).await;
            if response.version() == http::Version::HTTP_2 {
                response.headers_mut().remove("connection");
            }
            response
        })
        .await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let world = only(upstream(&[port], spoken));
            let asked = request(
                Method::PUT,
                "/a/%2e/b%63?q=%64",
                &[
                    ("x-own", "1"),
                    ("forwarded", "for=1.2.3.4"),
                    ("x-forwarded-for", "1.2.3.4"),
                    ("proxy-authorization", "Basic eA=="),
                    ("expect", "100-continue"),
                ],
                "body",
            );
            let seen = world.client(protocol).await.see(asked).await;
            assert_eq!(seen.status, 200);
            assert_eq!(
                seen.text(),
                "PUT /a/bc?q=%64\ncontent-length: 4\nhost: a.test\nx-forwarded-for: 192.0.2.1\nx-forwarded-host: a.test\n\
                 x-forwarded-proto: https\nx-own: 1\nbody"
            );
            let kept: Vec<_> = seen.head.iter().filter(|field| !field.starts_with("content-length")).collect();
            assert_eq!(kept, ["server: echo", "x-own: 1"]);
            let line = &world.log(1).await[0];
            assert_eq!((logged(line, "upstream"), logged(line, "revision")), (Some("\"app\""), None), "{line}");
        }
    }
}

#[tokio::test]
async fn a_decision_changes_what_is_sent() {
    let port = server(atoll_net::Protocol::Http1, echo).await;
    let world = world(upstream(&[port], atoll_net::Protocol::Http1), || Forwarding {
        strip: Some("/api".into()),
        add: Some("/v1".into()),
        request_fields: vec![FieldChange::Set(HeaderName::from_static("x-a"), HeaderValue::from_static("set"))],
        response_fields: vec![FieldChange::Remove(HeaderName::from_static("server"))],
        ..forward("app")
    });
    let seen = world.get("/api/x?y", &[("x-a", "sent")]).await;
    assert!(seen.text().starts_with("GET /v1/x?y\n") && seen.text().contains("\nx-a: set\n"), "{}", seen.text());
    assert_eq!(seen.field("server"), None);
}

#[tokio::test]
async fn a_path_as_it_was_sent() {
    let port = server(atoll_net::Protocol::Http1, echo).await;
    for (raw_path, strip, target, expected) in [
        (false, None, "/a%2fb", Err(400)),
        (false, None, "/%61//b/../c", Ok("GET /a/c")),
        (true, None, "/a%2fb", Ok("GET /a%2fb")),
        (true, None, "/%61//b/../c?%64", Ok("GET /%61//b/../c?%64")),
        (true, Some("/api"), "/api/%61", Ok("GET /%61")),
        (true, Some("/api"), "/%61pi/b", Err(400)),
        (true, None, "/../a", Err(400)),
    ] {
        let upstream = UrlUpstream { raw_path, ..upstream(&[port], atoll_net::Protocol::Http1) };
        let world = world(upstream, move || Forwarding { strip: strip.map(Into::into), ..forward("app") });
        let seen = world.get(target, &[]).await;
        let shown = if seen.status == 200 { Ok(seen.text().lines().next().unwrap()) } else { Err(seen.status) };
        assert_eq!(shown, expected, "{target}");
    }
}

#[tokio::test]
async fn the_next_is_tried_where_one_refuses() {
    let (dead, alive) = (nobody().await, server(atoll_net::Protocol::Http1, echo).await);
    let world = only(upstream(&[dead, alive], atoll_net::Protocol::Http1));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let seen = world.client(protocol).await.see(request(Method::POST, "/", &[], "body")).await;
        assert!(seen.text().ends_with("\nbody"), "{}", seen.text());
    }
    let world = only(upstream(&[dead, dead], atoll_net::Protocol::Http1));
    let seen = world.get("/", &[]).await;
    assert_eq!((seen.status, seen.text()), (502, "502 Bad Gateway\n"));
    let line = &world.log(1).await[0];
    let refused = format!("127.0.0.1:{dead}: connection refused");
    let error = format!("\"upstream unreachable: {refused}; {refused}\"");
    assert_eq!(logged(line, "error"), Some(error.as_str()));
}

#[tokio::test]
async fn upstreams_that_misbehave() {
    for (answer, status) in [
        ("", 504),
        ("nonsense", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", 200),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
    ] {
        let port = raw(answer).await;
        let world = only(if answer.is_empty() {
            hasty(&[port], atoll_net::Protocol::Http1)
        } else {
            upstream(&[port], atoll_net::Protocol::Http1)
        });
        let seen = world.get("/", &[]).await;
        assert_eq!(seen.status, status, "{answer}");
        assert_eq!(logged(&world.log(1).await[0], "error").is_some(), status > 500, "{answer}");
    }
}

/// Whoever takes a connection and says nothing over it is late, as one is that does not answer a request; but nothing was
/// sent to it yet, so that the next is tried.
#[tokio::test]
async fn an_upstream_that_never_begins_is_late() {
    let h2c = atoll_net::Protocol::H2c;
    let (mute, dead, alive) = (raw("").await, nobody().await, server(h2c, echo).await);
    let (late, refused) =
        (format!("127.0.0.1:{mute}: no HTTP/2 settings in time"), format!("127.0.0.1:{dead}: connection refused"));
    for (ports, status, error) in [
        (&[mute][..], 504, Some(format!("\"upstream unreachable: {late}\""))),
        (&[mute, dead], 502, Some(format!("\"upstream unreachable: {late}; {refused}\""))),
        (&[mute, alive], 200, None),
    ] {
        let world = only(hasty(ports, h2c));
        assert_eq!(
            world.client(Protocol::Http1).await.see(request(Method::POST, "/", &[], "body")).await.status,
            status
        );
        assert_eq!(logged(&world.log(1).await[0], "error"), error.as_deref(), "{ports:?}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\nzz\r\n",
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let world = only(upstream(&[raw(answer).await], atoll_net::Protocol::Http1));
            let seen = world.client(protocol).await.get("/", &[]).await;
            assert_eq!((seen.status, seen.body), (200, None), "{answer} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_stops_sending_is_cut_off() {
    let port = server(atoll_net::Protocol::Http1, |_| async {
        let first = stream::iter([Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from_static(b"first")))]);
        let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(first.chain(stream::pending())));
        Response::new(body)
    })
    .await;
    let world = only(hasty(&[port], atoll_net::Protocol::Http1));
    let seen = world.get("/", &[]).await;
    assert_eq!((seen.status, seen.body), (200, None));
    assert_eq!(logged(&world.log(1).await[0], "error"), Some("\"the upstream stopped sending\""));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let port = server(atoll_net::Protocol::Http1, |request: Request<Incoming>| async {
        Response::new(request.into_body().map_err(Into::into).boxed_unsync())
    })
    .await;
    let world = only(upstream(&[port], atoll_net::Protocol::Http1));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
        let parts = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|part| (part, receiver)));
        let parts =
            parts.map(|part| Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))));
        let (mut head, _) = get("/", &[]).into_parts();
        head.method = Method::POST;
        let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(parts));
        sender.send("one").await.unwrap();
        let mut answer = client.send(Request::from_parts(head, body)).await.unwrap().into_body();
        for part in ["one", "two"] {
            if part != "one" {
                sender.send(part).await.unwrap();
            }
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), part);
        }
        drop(sender);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_slow_reader_slows_its_upstream() {
    let sent = Arc::new(Mutex::new(0_usize));
    let port = server(atoll_net::Protocol::Http1, {
        let sent = sent.clone();
        move |_| {
            let sent = sent.clone();
            async move {
                let parts = stream::repeat_with(move || {
                    *sent.lock().unwrap() += 64 << 10;
                    Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from(vec![b'x'; 64 << 10])))
                });
                Response::new(http_body_util::BodyExt::boxed_unsync(StreamBody::new(parts.take(1024))))
            }
        }
    })
    .await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        *sent.lock().unwrap() = 0;
        let world = only(upstream(&[port], atoll_net::Protocol::Http1));
        let mut client = world.client(protocol).await;
        let body = client.send(get("/", &[])).await.unwrap().into_body();
        let mut before = usize::MAX;
        // Until nothing moves any more.
        while *sent.lock().unwrap() != before {
            before = *sent.lock().unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What the kernel holds for a socket on the loopback is most of it.
        assert!(before < 16 << 20, "{before}");
        drop(body);
    }
}

/// Where nobody reads an upload, its client comes to stand still: we hold a little of it, and the kernels the rest.
#[tokio::test]
async fn an_upload_that_is_not_read_stands_still() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let world = only(upstream(&[port], atoll_net::Protocol::Http1));
        let mut client = world.client(protocol).await;
        let sent = Arc::new(Mutex::new(0_usize));
        let counted = sent.clone();
        let parts = stream::repeat_with(move || {
            *counted.lock().unwrap() += 64 << 10;
            Ok::<_, atoll_runtime::BodyError>(Frame::data(Bytes::from(vec![b'x'; 64 << 10])))
        });
        let (mut head, _) = get("/", &[]).into_parts();
        head.method = Method::POST;
        let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(parts.take(1024)));
        let asking = tokio::spawn(async move { client.send(Request::from_parts(head, body)).await.map(drop) });
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 64];
        socket.read_exact(&mut head).await.unwrap();
        let (mut before, mut still) = (0, 0);
        // Until nothing has moved for a while.
        while before == 0 || still < 3 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = *sent.lock().unwrap();
            (before, still) = (now, if now == before { still + 1 } else { 0 });
        }
        assert!((1..16 << 20).contains(&before), "{before} over {protocol:?}");
        asking.abort();
    }
}
