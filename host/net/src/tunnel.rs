//! A forward proxy, and the way through it to a peer: CONNECT (RFC 9110, section 9.3.6). Which peer is behind which proxy is
//! for others to say. What the proxy wants to see of us is shown to it alone, and never in words.

use std::{fmt, io, sync::Arc};

use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{Host, Place};

/// The longest answer to a CONNECT, in bytes.
const LONGEST: usize = 16 * 1024;

/// Cheap to clone and to compare.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy(Arc<Inner>);

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    host: Host,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    pub(crate) fn new(host: Host, port: u16, authorization: Option<HeaderValue>) -> Self {
        Self(Arc::new(Inner { host, port, authorization }))
    }

    pub(crate) fn host(&self) -> &Host {
        &self.0.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// What it is shown of us.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }

    /// Makes a connection to it one to `host` and `port`.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn tunnel<S>(&self, stream: &mut S, host: &Host, port: u16) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |error: io::Error| error.to_string();
        let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = self.authorization() {
            head.extend(b"Proxy-Authorization: ");
            head.extend(authorization.as_bytes());
            head.extend(b"\r\n");
        }
        head.extend(b"\r\n");
        stream.write_all(&head).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == LONGEST {
                return Err(format!("its answer has more than {LONGEST} bytes"));
            }
            // Byte by byte: what follows is the peer's.
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err("it hangs up".to_owned()),
                Err(error) => return Err(broken(error)),
            }
        }
        match status(&answer) {
            Some(status) if status.is_success() => Ok(()),
            Some(status) => Err(format!("it answers {status}")),
            None => Err("what it answers is not HTTP".to_owned()),
        }
    }
}

fn status(answer: &[u8]) -> Option<StatusCode> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    let (_, rest) = line.split_at_checked(2).filter(|(version, _)| matches!(*version, b"0 " | b"1 "))?;
    let (code, rest) = rest.split_at_checked(3)?;
    if !matches!(rest.first(), Some(b' ' | b'\r')) {
        return None;
    }
    StatusCode::from_bytes(code).ok()
}

/// Without what it is shown.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Place::Tcp { host: self.0.host.clone(), port: self.0.port }.fmt(f)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_proxy_is_asked_and_what_it_may_answer() {
        let authorization = HeaderValue::from_static("Basic bWU6c2VjcmV0");
        let proxy = Proxy::new(Host::parse("proxy.test").unwrap(), 3128, Some(authorization));
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.test:3128 proxy.test:3128");
        let long = format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(LONGEST));
        for (answer, said) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200 OK\r\nvia: x\r\n\r\n", Ok(())),
            ("HTTP/1.1 204\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 \x1b[2J\r\n\r\n", Err("it answers 407 Proxy Authentication Required")),
            ("HTTP/1.1 502 x\r\n\r\n", Err("it answers 502 Bad Gateway")),
            ("HTTP/1.1 2000 x\r\n\r\n", Err("what it answers is not HTTP")),
            ("HTTP/2 200\r\n\r\n", Err("what it answers is not HTTP")),
            ("SSH-2.0-x\r\n\r\n", Err("what it answers is not HTTP")),
            ("\r\n\r\n", Err("what it answers is not HTTP")),
            ("HTTP/1.1 200 OK\r\n", Err("it hangs up")),
            ("", Err("it hangs up")),
            (&long, Err("its answer has more than 16384 bytes")),
        ] {
            let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
            theirs.write_all(answer.as_bytes()).await.unwrap();
            if said.is_ok() {
                theirs.write_all(b"of the peer").await.unwrap();
            }
            theirs.shutdown().await.unwrap();
            let found = proxy.tunnel(&mut ours, &Host::parse("::1").unwrap(), 443).await;
            assert_eq!(found, said.map_err(str::to_owned), "{answer:?}");
            let mut rest = String::new();
            if found.is_ok() {
                ours.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "of the peer", "{answer:?}");
            }
            drop(ours);
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).await.unwrap();
            let head = "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n";
            assert_eq!(asked, format!("{head}Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"));
        }
    }
}
