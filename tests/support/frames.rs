//! HTTP/2 by hand: frames as bytes, for what no client library would send, and what comes back as it came.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{
    client::Client,
    wait::{SOON, within},
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection after its preface.
pub(crate) struct Frames<S = TlsStream<TcpStream>> {
    stream: S,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("24 bits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field in the form that takes no table (RFC 7541, section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The fields of a GET of `https://NAME/PATH`.
pub(crate) fn head(name: &str, path: &str) -> Vec<u8> {
    [field(":method", "GET"), field(":scheme", "https"), field(":authority", name), field(":path", path)].concat()
}

/// One that is whole.
pub(crate) fn get(stream: u32, name: &str, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(name, path))
}

impl Frames {
    /// With these settings.
    pub(crate) async fn open(client: &Client, name: &str, settings: &[u8]) -> Self {
        let mut frames = Self { stream: client.handshake(Some(name), &[b"h2"]).await.expect("a TLS connection") };
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        frames
    }

    /// Without a word.
    pub(crate) async fn silent(client: &Client, name: &str) -> Self {
        Self { stream: client.handshake(Some(name), &[b"h2"]).await.expect("a TLS connection") }
    }
}

impl Frames<TcpStream> {
    /// What was accepted, from the server's side; none where no preface came.
    pub(crate) async fn accepted(mut stream: TcpStream) -> Option<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.ok().filter(|_| preface == *PREFACE)?;
        let mut frames = Self { stream };
        frames.send(&frame(SETTINGS, 0, 0, &[])).await;
        Some(frames)
    }
}

impl<S: AsyncRead + AsyncWrite> Frames<S> {
    /// To listen and to speak at once.
    pub(crate) fn split(self) -> (Frames<ReadHalf<S>>, Frames<WriteHalf<S>>) {
        let (read, write) = split(self.stream);
        (Frames { stream: read }, Frames { stream: write })
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// As far as the other side takes it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(SOON, self.stream.write_all(bytes)).await;
    }

    /// An error where the other side is gone.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(SOON, "that it is taken", self.stream.write_all(bytes)).await
    }
}

impl<S: AsyncRead + Unpin> Frames<S> {
    /// None at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(SOON, "a frame", self.stream.read_exact(&mut head)).await.ok()?;
        let [length @ .., kind, flags, _, _, _, _] = &head;
        let (kind, flags) = (*kind, *flags);
        let [high, middle, low] = *length;
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        within(SOON, "a frame", self.stream.read_exact(&mut payload)).await.ok()?;
        Some(Frame { kind, flags, stream, payload })
    }

    /// The first frame that ends something: a stream, well or badly, or the connection; in words.
    pub(crate) async fn outcome(&mut self) -> String {
        loop {
            let Some(Frame { kind, flags, stream, payload }) = self.next().await else { return "closed".to_owned() };
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            match kind {
                GOAWAY if code(4) != 0 => return format!("GOAWAY {}", code(4)),
                RST_STREAM => return format!("RST_STREAM {stream} {}", code(0)),
                HEADERS | DATA if flags & END_STREAM != 0 => return format!("answered {stream}"),
                _ => {}
            }
        }
    }
}
