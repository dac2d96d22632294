//! Bodies that come to a component too slowly, or not whole: what the client is told, and whose fault it is in what is
//! written down.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::StreamBody;
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{
    client::{BOTH, Protocol},
    frames::{DATA, END_HEADERS, Frames, HEADERS, field, frame},
    host::{Host, Setup},
    raw, tables,
    upstream::mute,
    wait::{BUILT, SOON, within},
};

/// A component that has less time than its clients.
async fn host() -> Host {
    let limits = "[limits]\nbody-rate = 100\nbody-window = \"3s\"\n";
    Setup::new(&[limits, &tables::mischief("mischief", "timeout = \"1s\"\n")].concat()).start().await
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_slowly_is_told_so_and_the_component_is_not_blamed() {
    let host = host().await;
    let client = host.client();
    let before = host.setup().log();
    let mut lines = 0;
    // What the guest reads, and what the host hands on.
    for path in ["/size", "/echo"] {
        for http2 in [false, true] {
            if http2 {
                let mut frames = Frames::open(&client, "localhost", &[]).await;
                let fields = [
                    field(":method", "POST"),
                    field(":scheme", "https"),
                    field(":authority", "localhost"),
                    field(":path", path),
                    field("content-length", "1000"),
                ];
                let head = frame(HEADERS, END_HEADERS, 1, &fields.concat());
                frames.send(&[head, frame(DATA, 0, 1, b"some")].concat()).await;
                assert_eq!(frames.outcome().await, "answered 1", "{path}");
            } else {
                let answer = raw::tls(&client, "localhost", (post(path, 1000) + "some").as_bytes()).await;
                assert_eq!(raw::status(&answer), 408, "{path}");
            }
            lines += 1;
            let line = host.accessed(lines).await.remove(lines - 1);
            assert_eq!(
                (&line["status"], &line["error"]),
                (&408.into(), &"the client sent too little".into()),
                "{line}"
            );
        }
    }
    let mut stream = client.handshake(Some("localhost"), &[b"http/1.1"]).await.unwrap();
    stream.write_all((post("/size", 1000) + "some").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let line = host.accessed(lines + 1).await.remove(lines);
    assert_eq!(line["error"], "the request's body broke off", "{line}");
    assert_eq!(client.get("https://localhost/").await.brief(), (200, "mischief\n"));
    assert_eq!(host.component("mischief").await["traps"], 0);
    assert_eq!(host.setup().log(), before);
}

/// The pauses are the client's, of whose time there is more.
#[tokio::test]
async fn a_component_does_not_time_out_while_its_client_sends() {
    let host = host().await;
    for path in ["/size", "/copy"] {
        let stream = host.client().handshake(Some("localhost"), &[b"http/1.1"]).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        writer.write_all(post(path, 1600).as_bytes()).await.unwrap();
        let sending = tokio::spawn(async move {
            for _ in 0..4 {
                writer.write_all(&[b'x'; 400]).await.unwrap();
                writer.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            writer
        });
        let mut answer = Vec::new();
        let _ = within(SOON, "an answer", reader.read_to_end(&mut answer)).await;
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {text}");
        assert!(path == "/size" || text.ends_with("\r\n0\r\n\r\n"), "{path}: {text}");
        assert!(
            if path == "/size" { text.contains("1600\n") } else { text.matches('x').count() >= 1600 },
            "{path}: {text}"
        );
        drop(sending.await.unwrap());
    }
}

const GIB: usize = 1 << 30;

/// What a GiB may add to what the host holds.
const HELD: usize = 48 << 20;

/// Takes a GiB behind a head, and rests now and then; then answers.
async fn take_slowly(listener: &TcpListener) {
    let (mut socket, _) = listener.accept().await.expect("somebody comes");
    let (mut bytes, mut head) = (vec![0; 64 << 10], Vec::new());
    let end = loop {
        head.push(socket.read_u8().await.expect("a head"));
        if head.ends_with(b"\r\n\r\n") {
            break String::from_utf8(head).expect("text");
        }
    };
    assert!(end.contains("\r\ncontent-length: 1073741824\r\n"), "{end}");
    let (mut left, mut rests) = (GIB, GIB);
    while left > 0 {
        let most = left.min(bytes.len());
        let read = socket.read(&mut bytes[..most]).await.expect("more of it");
        assert!(read > 0, "it ended {left} before its end");
        left -= read;
        if left + (4 << 20) <= rests {
            rests = left;
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone").await.expect("it waits");
}

/// A client that has it all at once, over TLS and each protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_gib_over_tls_for_a_slow_upstream_little_is_held() {
    const PIECE: usize = 64 << 10;
    let (address, listener) = mute().await;
    let setup = Setup::new(&[tables::upstream("app", address), tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    for protocol in BOTH {
        let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
        let io = TokioIo::new(host.client().handshake(Some("a.test"), &[alpn]).await.expect("TLS"));
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let pieces = (0..GIB / PIECE).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let request = Request::post(if protocol == Protocol::Http2 { "https://a.test/" } else { "/" });
        let request = request.header("content-length", GIB).header("host", "a.test").body(body).expect("a request");
        let before = host.resident();
        let asked = tokio::spawn(async move {
            let answer = if protocol == Protocol::Http2 {
                let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
                tokio::spawn(driver);
                sender.send_request(request).await
            } else {
                let (mut sender, driver) = http1::handshake(io).await.expect("HTTP/1.1");
                tokio::spawn(driver);
                sender.send_request(request).await
            };
            answer.expect("an answer").status().as_u16()
        });
        let mut most = before;
        let taking = async {
            let mut taking = std::pin::pin!(take_slowly(&listener));
            while tokio::time::timeout(Duration::from_millis(10), &mut taking).await.is_err() {
                most = most.max(host.resident());
            }
        };
        within(BUILT, "a GiB", taking).await;
        assert_eq!(within(SOON, "an answer", asked).await.expect("no panic"), 200, "{protocol:?}");
        assert!(most - before < HELD, "{} more over {protocol:?}", most - before);
    }
}
