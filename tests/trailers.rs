//! Fields behind a body, and the word of who takes them: `TE: trailers`, without which servers of gRPC refuse.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::support::{
    ca::Ca,
    client::{BOTH, Protocol, with_fields},
    host::{Host, Setup},
    raw, tables,
    upstream::{Body, Seen, Upstream, whole},
    wait::{SOON, within},
};

async fn before(upstream: &Upstream, scheme: &str, lines: &str, ca: &Ca) -> Host {
    let url = format!("[upstream.app]\nurl = \"{scheme}://{}\"\n{lines}\n", upstream.address());
    let setup = Setup::new(&(url + &tables::router()));
    setup.write("ca.pem", ca.pem());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    setup.start().await
}

#[tokio::test]
async fn who_takes_trailers_is_passed_on_and_nothing_else_of_it() {
    let ca = Ca::new("upstream");
    let pair = ca.issue(&["127.0.0.1"]);
    let answer = |_: &Seen| Response::new(whole("x"));
    for (upstream, scheme, lines) in [
        (Upstream::start(Protocol::Http1, answer).await, "http", ""),
        (Upstream::start(Protocol::Http2, answer).await, "http", "protocol = \"h2c\""),
        (Upstream::start_tls(Protocol::Http1, &pair, answer).await, "https", "ca = \"ca.pem\""),
        (Upstream::start_tls(Protocol::Http2, &pair, answer).await, "https", "ca = \"ca.pem\""),
    ] {
        let host = before(&upstream, scheme, lines, &ca).await;
        for client in BOTH {
            // Over HTTP/2 a client says that, or nothing.
            let codings: &[_] = if client == Protocol::Http1 {
                &["trailers", "gzip, trailers;q=1", "gzip, Trailers"]
            } else {
                &["trailers"]
            };
            for te in codings.iter().copied().chain([""]) {
                let fields = [("te", te), ("connection", "te")];
                let fields = if te.is_empty() {
                    &[][..]
                } else if client == Protocol::Http1 {
                    &fields
                } else {
                    &fields[..1]
                };
                let request = with_fields("GET", "https://a.test/", fields);
                assert_eq!(host.client().send_over(client, request).await.brief(), (200, "x"));
                let seen = upstream.seen().pop().unwrap();
                let taken = !te.is_empty() && !te.contains(';');
                let (expected, named) = if taken { ("trailers", "te") } else { ("", "") };
                assert_eq!(seen.field("te"), expected, "{te:?} from {client:?} to {:?}", seen.version);
                let named = if seen.version == Version::HTTP_2 { "" } else { named };
                assert_eq!(seen.field("connection"), named, "{te:?} from {client:?} to {:?}", seen.version);
            }
        }
    }
}

fn field(name: &'static str, value: &'static str) -> HeaderMap {
    [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
}

/// Data, and trailers.
fn trailed(data: &'static str, trailers: HeaderMap) -> Body {
    let frames = [Ok(Frame::data(Bytes::from(data))), Ok(Frame::trailers(trailers))];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// What ends at a hop, or counts in a head alone, costs neither an answer nor a request: the rest of the trailers is passed on.
#[tokio::test]
async fn what_is_no_trailer_is_left_behind() {
    let answer: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nKeep-Alive: timeout=5\r\n\
                          Connection: x-a\r\nX-A: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\nX-Sum: 1\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let manifest = [tables::upstream("app", listener.local_addr().unwrap()), tables::router()].concat();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(answer).await;
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    let setup = Setup::new(&manifest);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    for protocol in BOTH {
        let mut connection = host.client().connect("a.test", protocol).await;
        let request = with_fields("GET", "https://a.test/", &[("te", "trailers")]);
        let body = connection.open(request).await.unwrap().into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        // HTTP/1.1 has those alone that a head announced.
        let expected = if protocol == Protocol::Http2 { field("x-sum", "1") } else { HeaderMap::new() };
        assert_eq!((trailers, body.to_bytes()), (expected, Bytes::from("ok")), "{protocol:?}");
    }
    // Each was whole, and the client read it.
    for line in host.accessed(2).await {
        assert_eq!((&line["status"], &line["bytes"], &line["error"]), (&200.into(), &2.into(), &().into()), "{line}");
    }

    let ca = Ca::new("upstream");
    let upstream = Upstream::start(Protocol::Http2, |_| Response::new(whole("x"))).await;
    let host = before(&upstream, "http", "protocol = \"h2c\"", &ca).await;
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   2\r\nhi\r\n0\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nHost: b.test\r\n\
                   X-Forwarded-For: 192.0.2.1\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n";
    let reply = raw::tls(&host.client(), "a.test", request.as_bytes()).await;
    assert_eq!(raw::status(&reply), 200, "{}", String::from_utf8_lossy(&reply));
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.body, seen.trailers), (Bytes::from("hi"), field("x-sum", "1")));
}

/// As gRPC has it: a status behind each answer, or in its head where there is nothing else; what it says of its bytes stays,
/// and they do too.
#[tokio::test]
async fn a_call_goes_through() {
    let upstream = Upstream::start(Protocol::Http2, |seen| {
        // As its servers do.
        if seen.field("te") != "trailers" {
            return Response::builder().status(400).body(whole("no te")).unwrap();
        }
        let response = Response::builder().header("content-type", "application/grpc");
        match seen.target.ends_with("/Fail") {
            true => response.header("grpc-status", "5").body(whole("")).unwrap(),
            false => response.body(trailed("\0\0\0\0\x02hi", field("grpc-status", "0"))).unwrap(),
        }
    });
    let upstream = upstream.await;
    let host = before(&upstream, "http", "protocol = \"h2c\"", &Ca::new("none")).await;
    let stream = host.client().handshake(Some("a.test"), &[b"h2"]).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, head, body, trailers) in
        [("Greet", None, "\0\0\0\0\x02hi", Some(field("grpc-status", "0"))), ("Fail", Some("5"), "", None)]
    {
        let request = Request::post(format!("https://a.test/greeter.Greeter/{method}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("accept-encoding", "gzip")
            .body(trailed("\0\0\0\0\x03you", field("x-sum", "7")))
            .unwrap();
        let response = within(SOON, "an answer", sender.send_request(request)).await.unwrap();
        let field = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), field("grpc-status").as_deref()), (200, head), "{method}");
        assert_eq!((field("content-type").as_deref(), field("content-encoding")), (Some("application/grpc"), None));
        let collected = within(SOON, "its end", response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().cloned(), trailers, "{method}");
        assert_eq!(collected.to_bytes(), body, "{method}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((&seen.body[..], seen.trailers), (&b"\0\0\0\0\x03you"[..], self::field("x-sum", "7")), "{method}");
    }
}
