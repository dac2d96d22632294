//! What the fuzzers call: what must hold of a PROXY header, whatever bytes a connection begins with.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::proxy::{ProxyError, proxied};

type Read = Result<Option<std::net::SocketAddr>, ProxyError>;

/// The beginning of a connection.
pub fn proxy(bytes: &[u8]) {
    let (read, taken) = header(bytes);
    assert!(taken <= 16 + 4096 && (taken <= 107 || bytes.starts_with(b"\r\n")), "it waits for too much");
    let Ok(client) = read else { return };
    // Not a byte of the client's, and nothing of the client's counts.
    let (again, all) = header(&bytes[..taken]);
    assert_eq!((again.ok(), all), (Some(client), taken));
    if let Some(client) = client {
        let (kind, ip, port) = (if client.is_ipv4() { "TCP4" } else { "TCP6" }, client.ip(), client.port());
        let line = format!("PROXY {kind} {ip} {ip} {port} 1\r\n");
        assert_eq!(header(line.as_bytes()).0.ok(), Some(Some(client)), "{line}");
    }
}

/// What is read, and how many bytes that takes.
fn header(bytes: &[u8]) -> (Read, usize) {
    let mut rest = bytes;
    let read = match pin!(proxied(&mut rest)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("all of it is there"),
    };
    (read, bytes.len() - rest.len())
}

#[cfg(test)]
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept() {
    replay::replay("proxy", proxy);
}
