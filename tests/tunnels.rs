//! How what stopped being HTTP ends, on either side of the host, in order or not: the other side learns which, over TCP, TLS
//! and HTTP/2 (RFC 8441, section 5).

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_rustls::client::TlsStream;

use crate::support::{
    frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, field, frame},
    host::{Host, Setup},
    tables,
    wait::{SOON, within},
};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\n\
    X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nContent-Length: 7\r\n\
    X-Mine: 1\r\n\r\n";

/// What an upstream does once it has heard `x`.
#[derive(Clone, Copy)]
enum Deed {
    /// Hears all.
    Nothing,
    /// The same, and then has a word to say.
    Answer,
    Close,
    /// And hears all that still comes.
    HalfClose,
    Reset,
    /// With a word before.
    LastWord,
}

/// How a side ended, as the other saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Broken,
}

use End::{Broken, Orderly};

/// All that comes, and how it ends.
async fn all(stream: &mut (impl AsyncRead + Unpin)) -> (String, End) {
    let mut heard = Vec::new();
    let end = match within(SOON, "an end", stream.read_to_end(&mut heard)).await {
        Ok(_) => Orderly,
        // Reset, or without close_notify.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => Broken,
        Err(error) => panic!("{error}"),
    };
    (String::from_utf8(heard).unwrap(), end)
}

async fn upstream(deed: Deed) -> (String, UnboundedReceiver<(String, End)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(does(deed, stream, told.clone()));
        }
    });
    (url, heard)
}

async fn does(deed: Deed, mut stream: TcpStream, told: UnboundedSender<(String, End)>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(&[SWITCH, b"hello "].concat()).await.unwrap();
    let heard = stream.read_u8().await;
    match deed {
        Deed::Nothing | Deed::Answer => {}
        Deed::Close => return stream.write_all(b"bye").await.unwrap(),
        Deed::HalfClose => {
            stream.write_all(b"bye").await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Deed::Reset => return stream.set_zero_linger().unwrap(),
        Deed::LastWord => {
            stream.write_all(b"bye").await.unwrap();
            return stream.set_zero_linger().unwrap();
        }
    }
    let (mut more, end) = if heard.is_ok() { all(&mut stream).await } else { (String::new(), Broken) };
    if matches!(deed, Deed::Answer) {
        stream.write_all(b"late").await.unwrap();
    }
    more.insert(0, 'x');
    told.send((more, end)).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Over {
    Tcp,
    Tls,
    Http2,
}

/// A tunnel, from its client's side, in which `hello ` was heard.
enum Client {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Http2(Box<Frames>),
}

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn upgraded(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(SOON, "a head", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "x-mine: 1\r\n"] {
        assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-connection", "\r\nte:", "content-length"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    let mut hello = [0; 6];
    within(SOON, "its greeting", stream.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"hello ");
}

impl Client {
    async fn open(host: &Host, over: Over) -> Self {
        match over {
            Over::Tcp => {
                let mut stream = TcpStream::connect(host.http()).await.unwrap();
                upgraded(&mut stream).await;
                Self::Tcp(stream)
            }
            Over::Tls => {
                let mut stream = host.client().handshake(Some("a.test"), &[b"http/1.1"]).await.unwrap();
                upgraded(&mut stream).await;
                Self::Tls(Box::new(stream))
            }
            Over::Http2 => {
                let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
                let fields = [
                    field(":method", "CONNECT"),
                    field(":protocol", "websocket"),
                    field(":scheme", "https"),
                    field(":authority", "a.test"),
                    field(":path", "/chat"),
                ];
                frames.send(&frame(HEADERS, END_HEADERS, 1, &fields.concat())).await;
                let mut hello = Vec::new();
                while hello.len() < 6 {
                    let frame = frames.next().await.expect("a frame");
                    if frame.kind == DATA {
                        hello.extend(frame.payload);
                    }
                }
                assert_eq!(hello, b"hello ");
                Self::Http2(Box::new(frames))
            }
        }
    }

    async fn say(&mut self, words: &[u8]) {
        match self {
            Self::Tcp(stream) => stream.write_all(words).await.unwrap(),
            Self::Tls(stream) => {
                stream.write_all(words).await.unwrap();
                stream.flush().await.unwrap();
            }
            Self::Http2(frames) => frames.send(&frame(DATA, 0, 1, words)).await,
        }
    }

    /// Says no more.
    async fn half_close(&mut self) {
        match self {
            Self::Tcp(stream) => stream.shutdown().await.unwrap(),
            Self::Tls(stream) => stream.shutdown().await.unwrap(),
            Self::Http2(frames) => frames.send(&frame(DATA, END_STREAM, 1, b"")).await,
        }
    }

    /// Over HTTP/2 the connection goes on.
    async fn break_off(&mut self) {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger().unwrap(),
            Self::Tls(stream) => stream.get_ref().0.set_zero_linger().unwrap(),
            Self::Http2(frames) => frames.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await,
        }
    }

    /// All that comes, and how it ends.
    async fn hears(&mut self) -> (String, End) {
        let frames = match self {
            Self::Tcp(stream) => return all(stream).await,
            Self::Tls(stream) => return all(stream).await,
            Self::Http2(frames) => frames,
        };
        let mut heard = Vec::new();
        loop {
            let frame = frames.next().await.expect("the connection goes on");
            let end = match frame.kind {
                // CANCEL.
                RST_STREAM if frame.payload == [0, 0, 0, 8] => Some(Broken),
                RST_STREAM => panic!("{frame:?}"),
                DATA => {
                    heard.extend(frame.payload);
                    (frame.flags & END_STREAM != 0).then_some(Orderly)
                }
                _ => None,
            };
            if let Some(end) = end {
                return (String::from_utf8(heard).unwrap(), end);
            }
        }
    }
}

async fn host(url: &str) -> Host {
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nredirect = false\n";
    let setup = Setup::new(&format!("{listen}[upstream.app]\nurl = \"{url}\"\n{}", tables::router()));
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    setup.start().await
}

fn said(words: &str, end: End) -> (String, End) {
    (words.to_owned(), end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_an_upstream_ends_is_what_its_client_learns() {
    for (deed, heard) in [
        (Deed::Close, said("bye", Orderly)),
        (Deed::HalfClose, said("bye", Orderly)),
        (Deed::Reset, said("", Broken)),
        (Deed::LastWord, said("bye", Broken)),
    ] {
        let (url, mut told) = upstream(deed).await;
        let host = host(&url).await;
        for over in [Over::Tcp, Over::Tls, Over::Http2] {
            let mut client = Client::open(&host, over).await;
            client.say(b"x").await;
            assert_eq!(client.hears().await, heard, "over {over:?}");
            if matches!(deed, Deed::HalfClose) {
                client.say(b"more").await;
                client.half_close().await;
                assert_eq!(
                    within(SOON, "its end", told.recv()).await.unwrap(),
                    said("xmore", Orderly),
                    "over {over:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_client_ends_is_what_its_upstream_learns() {
    let (url, mut told) = upstream(Deed::Answer).await;
    let host = host(&url).await;
    for over in [Over::Tcp, Over::Tls, Over::Http2] {
        let mut client = Client::open(&host, over).await;
        client.say(b"xyz").await;
        client.half_close().await;
        assert_eq!(within(SOON, "its end", told.recv()).await.unwrap(), said("xyz", Orderly), "over {over:?}");
        assert_eq!(client.hears().await, said("late", Orderly), "over {over:?}");
    }
    let (url, mut told) = upstream(Deed::Nothing).await;
    let host = self::host(&url).await;
    for over in [Over::Tcp, Over::Tls, Over::Http2] {
        let mut client = Client::open(&host, over).await;
        client.say(b"x").await;
        client.break_off().await;
        if !matches!(over, Over::Http2) {
            drop(client);
            assert_eq!(within(SOON, "its end", told.recv()).await.unwrap(), said("x", Broken), "over {over:?}");
            continue;
        }
        assert_eq!(within(SOON, "its end", told.recv()).await.unwrap(), said("x", Broken), "over {over:?}");
        // The whole connection, without a word.
        let mut client = Client::open(&host, over).await;
        client.say(b"x").await;
        let Client::Http2(frames) = client else { unreachable!() };
        drop(frames);
        assert_eq!(within(SOON, "its end", told.recv()).await.unwrap(), said("x", Broken), "over {over:?}");
    }
}
