//! Bytes as they are, to a plain or a TLS listener: for requests that no client library would send, and answers that none
//! would show.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    client::Client,
    wait::{SOON, within},
};

/// All that came back to `request` until the server ended the connection.
pub(crate) async fn plain(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let stream = within(SOON, "a connection", TcpStream::connect(address)).await.expect("somebody listens");
    exchange(stream, request).await
}

/// The same over TLS, HTTP/1.1.
pub(crate) async fn tls(client: &Client, name: &str, request: &[u8]) -> Vec<u8> {
    let stream = client.handshake(Some(name), &[b"http/1.1"]).await.expect("a TLS connection");
    exchange(stream, request).await
}

/// The status of an HTTP/1.1 response.
pub(crate) fn status(response: &[u8]) -> u16 {
    let digits = response.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(response)))
}

/// Whether nothing more comes within `limit`: the server has neither said anything nor gone.
pub(crate) async fn silent(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> bool {
    timeout(limit, stream.read_u8()).await.is_err()
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Vec<u8> {
    // A server may answer and go before it has read everything: what it said counts.
    let _ = within(SOON, "the request", stream.write_all(request)).await;
    let mut response = Vec::new();
    match within(SOON, "the end of the connection", stream.read_to_end(&mut response)).await {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {}
        Err(error) => panic!("{error}"),
    }
    response
}
