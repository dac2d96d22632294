//! What begins as HTTP and goes on as something else: Upgrade over HTTP/1.1 and extended CONNECT over HTTP/2, through to an
//! upstream, both ways until either side closes.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::client::TlsStream;

use crate::support::{
    ca::Ca,
    client::{Client, Protocol, ask},
    frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, field, frame},
    host::{Host, Setup},
    raw, tables,
    upstream::tls_acceptor,
    wait::{SOON, within},
};

/// An upstream that switches to what it is asked for, says `hello `, and then says all that it hears.
struct Echo {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-Mine: 1\r\n\r\n";

impl Echo {
    async fn start(answer: &'static str, tls: Option<&Ca>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let tls = tls.map(|ca| tls_acceptor(&ca.issue(&["127.0.0.1"]), &["h2", "http/1.1"]));
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let all = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, tls) = (all.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => echo(stream, answer, &all).await,
                        Some(tls) => echo(tls.accept(stream).await.unwrap(), answer, &all).await,
                    }
                });
            }
        });
        Self { url, heads }
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, heads: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    stream.write_all(answer.as_bytes()).await.unwrap();
    if answer == SWITCH {
        stream.write_all(b"hello ").await.unwrap();
        stream.flush().await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut reading, &mut writing).await;
        let _ = writing.shutdown().await;
    }
}

async fn before(upstream: &str, more: &str) -> Host {
    let manifest = format!("{more}\n[upstream.app]\nurl = \"{upstream}\"\n");
    let manifest = [&manifest, &*tables::mischief("mischief", ""), &tables::router()].concat();
    let setup = Setup::new(&manifest);
    let routes = "upstream = \"app\"\n[[path]]\nprefix = \"/guest\"\nupstream = \"mischief\"\nstrip = true\n\
                  [[path]]\nprefix = \"/private\"\nrefuse = 403\n";
    setup.repository("routes").commit("main", &[("_.toml", routes)]);
    setup.start().await
}

const ASK: &str = "GET /chat?x HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A tunnel over HTTP/1.1, and the head that opened it.
async fn upgraded(client: &Client) -> (TlsStream<TcpStream>, String) {
    let mut stream = client.handshake(Some("a.test"), &[b"http/1.1"]).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(SOON, "a head", stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

fn connect(path: &str) -> Vec<u8> {
    connect_to("websocket", path)
}

fn connect_to(protocol: &str, path: &str) -> Vec<u8> {
    let fields = [
        field(":method", "CONNECT"),
        field(":protocol", protocol),
        field(":scheme", "https"),
        field(":authority", "a.test"),
        field(":path", path),
        field("sec-websocket-version", "13"),
    ];
    frame(HEADERS, END_HEADERS, 1, &fields.concat())
}

/// The first byte of a stream's head, and the bytes behind it until there are as many or the stream has ended.
async fn heard(frames: &mut Frames, count: usize) -> (Option<u8>, Vec<u8>, bool) {
    let (mut status, mut bytes) = (None, Vec::new());
    loop {
        let Some(frame) = frames.next().await else { return (status, bytes, true) };
        match frame.kind {
            HEADERS => status = Some(frame.payload[0]),
            DATA => bytes.extend(frame.payload),
            _ => continue,
        }
        if frame.flags & END_STREAM != 0 || bytes.len() >= count {
            return (status, bytes, frame.flags & END_STREAM != 0);
        }
    }
}

/// `:status 200` out of the static table (RFC 7541, appendix A).
const OK: u8 = 0x88;

#[tokio::test]
async fn a_websocket_goes_through() {
    let ca = Ca::new("upstream");
    for tls in [None, Some(&ca)] {
        let upstream = Echo::start(SWITCH, tls).await;
        let lines = if tls.is_some() { "ca = \"ca.pem\"\n" } else { "" };
        let manifest = format!("[upstream.app]\nurl = \"{}\"\n{lines}{}", upstream.url, tables::router());
        let setup = Setup::new(&manifest);
        setup.write("ca.pem", ca.pem());
        setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
        let host = setup.start().await;

        let (mut stream, head) = upgraded(&host.client()).await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        for field in
            ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: x\r\n", "x-mine: 1\r\n"]
        {
            assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
        }
        stream.write_all(b"there").await.unwrap();
        let mut echoed = [0; 11];
        within(SOON, "an echo", stream.read_exact(&mut echoed)).await.unwrap();
        assert_eq!(&echoed, b"hello there");
        let large = vec![b'x'; 1 << 20];
        let (mut reading, mut writing) = tokio::io::split(stream);
        let mut back = vec![0; large.len()];
        let (sent, came) = tokio::join!(writing.write_all(&large), reading.read_exact(&mut back));
        sent.unwrap();
        came.unwrap();
        assert!(back == large);
        writing.shutdown().await.unwrap();
        assert_eq!(within(SOON, "its end", reading.read(&mut [0; 1])).await.unwrap(), 0);
        let head = upstream.head();
        assert!(head.starts_with("GET /chat?x HTTP/1.1\r\n"), "{head}");
        for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: dGhl"] {
            assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
        }

        let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
        let first = frames.next().await.unwrap();
        // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, section 3).
        assert!(first.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{first:?}");
        frames.send(&[connect("/chat?y"), frame(DATA, 0, 1, b"there")].concat()).await;
        assert_eq!(heard(&mut frames, 11).await, (Some(OK), b"hello there".to_vec(), false));
        frames.send(&frame(DATA, END_STREAM, 1, b"!")).await;
        let (_, bytes, ended) = heard(&mut frames, 2).await;
        assert_eq!((&bytes[..], ended), (&b"!"[..], true));
        let head = upstream.head();
        assert!(head.starts_with("GET /chat?y HTTP/1.1\r\n") && head.contains("\r\nhost: a.test\r\n"), "{head}");
        for field in [
            "connection: upgrade\r\n",
            "upgrade: websocket\r\n",
            "sec-websocket-key: ",
            "sec-websocket-version: 13\r\n",
        ] {
            assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
        }
        let lines = host.accessed(2).await;
        assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&101.into(), &200.into()), "{lines:?}");
    }
}

/// Who does not get a tunnel gets an answer, and never one that looks like a tunnel.
#[tokio::test]
async fn what_is_no_tunnel() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    const OTHER: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    for (answer, path, over1, over2) in [
        (PLAIN, "/", 200, 502),
        (OTHER, "/", 502, 502),
        (REFUSED, "/", 404, 404),
        (SWITCH, "/private", 403, 403),
        (SWITCH, "/guest/", 200, 501),
    ] {
        let upstream = Echo::start(answer, None).await;
        let host = before(&upstream.url, "").await;
        let client = host.client();
        let request = ASK.replace("/chat?x", path).replace("keep-alive", "close");
        assert_eq!(raw::status(&raw::tls(&client, "a.test", request.as_bytes()).await), over1, "{answer} {path}");
        let mut frames = Frames::open(&client, "a.test", &[]).await;
        frames.send(&connect(path)).await;
        within(SOON, "an answer", frames.outcome()).await;
        let line = host.accessed(2).await.remove(1);
        assert_eq!(line["status"], over2, "{answer} {path}: {line}");
    }
    // HTTP once more would go past every decision.
    let upstream = Echo::start(PLAIN, None).await;
    let host = before(&upstream.url, "").await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(raw::status(&raw::tls(&host.client(), "a.test", request.as_bytes()).await), 200);
    let head = upstream.head().to_ascii_lowercase();
    assert!(!["upgrade", "http2-settings", "h2c"].iter().any(|word| head.contains(word)), "{head}");
    let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
    frames.send(&connect_to("h2c", "/")).await;
    within(SOON, "an answer", frames.outcome()).await;
    assert_eq!((&host.accessed(2).await[1]["status"], upstream.heads.lock().unwrap().len()), (&501.into(), 1));
    // Nobody has asked.
    let upstream = Echo::start(SWITCH, None).await;
    let host = before(&upstream.url, "").await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        assert_eq!(host.client().send_over(protocol, ask("GET", "https://a.test/")).await.status, 502);
    }
}

/// A tunnel is in flight: who wants to end waits for it, and no longer than for anything else.
#[tokio::test]
async fn a_tunnel_is_finished_before_the_end() {
    let upstream = Echo::start(SWITCH, None).await;
    for now in [false, true] {
        let host = before(&upstream.url, "").await;
        let (mut stream, _) = upgraded(&host.client()).await;
        let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
        frames.send(&connect("/")).await;
        assert_eq!(heard(&mut frames, 6).await, (Some(OK), b"hello ".to_vec(), false));
        host.signal(Signal::TERM);
        host.logged("stopping").await;
        let mut echoed = [0; 9];
        stream.write_all(b"yes").await.unwrap();
        within(SOON, "an echo", stream.read_exact(&mut echoed)).await.unwrap();
        frames.send(&frame(DATA, 0, 1, b"too")).await;
        assert_eq!(heard(&mut frames, 3).await, (None, b"too".to_vec(), false));
        if now {
            host.signal(Signal::TERM);
        } else {
            stream.shutdown().await.unwrap();
            frames.send(&frame(DATA, END_STREAM, 1, b"")).await;
            assert!(heard(&mut frames, 1).await.2);
            drop(frames);
        }
        let (_, status) = host.ended(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0));
    }
}

/// As long as a connection may be idle, and no longer.
#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_ended() {
    let upstream = Echo::start(SWITCH, None).await;
    let host = before(&upstream.url, "[limits]\nidle = \"2s\"").await;
    let (mut stream, _) = upgraded(&host.client()).await;
    let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
    frames.send(&connect("/")).await;
    assert_eq!(heard(&mut frames, 6).await.1, b"hello ");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.write_all(b"x").await.unwrap();
        frames.send(&frame(DATA, 0, 1, b"x")).await;
        assert_eq!(heard(&mut frames, 1).await, (None, b"x".to_vec(), false));
    }
    let mut rest = Vec::new();
    let _ = within(SOON, "its end", stream.read_to_end(&mut rest)).await;
    assert!(rest.starts_with(b"hello xxx"), "{rest:?}");
    assert!(within(SOON, "its end", heard(&mut frames, 1)).await.2);
}

/// What looks like HTTP in there is nobody's, and passes as it is.
#[tokio::test]
async fn what_a_tunnel_carries_is_not_read() {
    let upstream = Echo::start(SWITCH, None).await;
    let host = before(&upstream.url, "").await;
    let (mut stream, _) = upgraded(&host.client()).await;
    let said = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET / HTTP/1.1\r\n\r\n";
    stream.write_all(said).await.unwrap();
    let mut heard = vec![0; b"hello ".len() + said.len()];
    within(SOON, "an echo", stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, [&b"hello "[..], said].concat());
}
