//! Servers to forward to: one that answers as a test says and notes what it was asked, and some that do not answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{ca::Pair, client::Protocol};

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

type Answer = Arc<dyn Fn(&Seen) -> Response<Body> + Send + Sync>;

/// A request that reached an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// As it was on the wire: the path and query, after an authority in HTTP/2.
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// A server that runs until it is dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

/// A body that is there at once.
pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// Where nobody listens.
pub(crate) fn dead() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a bound listener")
}

/// Listens, takes connections in, and says nothing.
pub(crate) async fn mute() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    (listener.local_addr().expect("a bound listener"), listener)
}

/// TLS with this pair, and these protocols by ALPN.
pub(crate) fn tls_acceptor(pair: &Pair, protocols: &[&str]) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl Upstream {
    /// Over TCP: HTTP/1.1, or h2c.
    pub(crate) async fn start(
        protocol: Protocol,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(protocol, None, None, Arc::new(answer)).await
    }

    /// Over h2c, so many streams a connection at once.
    pub(crate) async fn taking(streams: u32, answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::serve(Protocol::Http2, None, Some(streams), Arc::new(answer)).await
    }

    /// Over TLS, with that protocol alone by ALPN.
    pub(crate) async fn start_tls(
        protocol: Protocol,
        pair: &Pair,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let only = if protocol == Protocol::Http2 { "h2" } else { "http/1.1" };
        Self::serve(protocol, Some(tls_acceptor(pair, &[only])), None, Arc::new(answer)).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no handler panics").clone()
    }

    async fn serve(protocol: Protocol, tls: Option<TlsAcceptor>, streams: Option<u32>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound listener");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, notes, tls) = (Arc::clone(&answer), Arc::clone(&notes), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => connection(protocol, stream, streams, answer, notes).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection(protocol, stream, streams, answer, notes).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, server }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Seen {
    /// A field's values, joined.
    pub(crate) fn field(&self, name: &str) -> String {
        let values = self.fields.get_all(name).iter().map(|value| value.to_str().expect("text"));
        values.collect::<Vec<_>>().join(", ")
    }
}

async fn connection(
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    streams: Option<u32>,
    answer: Answer,
    notes: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, notes) = (Arc::clone(&answer), Arc::clone(&notes));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let target = head.uri.to_string();
            let seen = Seen {
                method: head.method,
                version: head.version,
                target,
                fields: head.headers,
                body: body.to_bytes(),
                trailers,
            };
            let response = answer(&seen);
            notes.lock().expect("no handler panics").push(seen);
            Ok::<_, hyper::Error>(response)
        }
    });
    let io = TokioIo::new(stream);
    // A connection that breaks off is the client's doing, and the client's test sees it.
    let _ = match protocol {
        Protocol::Http1 => http1::Builder::new().serve_connection(io, service).await,
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            if let Some(streams) = streams {
                builder.max_concurrent_streams(streams);
            }
            builder.serve_connection(io, service).await
        }
    };
}

#[tokio::test]
async fn the_client_and_the_upstream_speak_both_protocols() {
    use super::{
        ca::Ca,
        client::{BOTH, Client, with_body},
    };

    let ca = Ca::new("test");
    for protocol in BOTH {
        let pair = ca.issue(&["a.test"]);
        let answer = |seen: &Seen| {
            let body = format!("{} {}", seen.method, seen.field("x"));
            Response::builder().status(418).header("y", "2").body(whole(body)).unwrap()
        };
        let upstream = Upstream::start_tls(protocol, &pair, answer).await;
        let client = Client::new(upstream.address(), ca.pem());
        let request = with_body("POST", "https://a.test/p?q", &[("x", "1")], "hello");
        let reply = client.send_over(protocol, request).await;
        assert_eq!((reply.brief(), reply.field("y"), reply.field("z")), ((418, "POST 1"), Some("2"), None));
        let seen = upstream.seen().remove(0);
        assert_eq!(&seen.body[..], b"hello");
        let (target, host) = (seen.target.as_str(), seen.field("host"));
        if protocol == Protocol::Http1 {
            assert_eq!(
                (target, &*host, seen.version, reply.version),
                ("/p?q", "a.test", Version::HTTP_11, Version::HTTP_11)
            );
        } else {
            assert_eq!((target, &*host), ("https://a.test/p?q", ""));
        }
        let refused = client.handshake(Some("b.test"), &[]).await.expect_err("another name");
        assert!(refused.to_string().contains("not valid for name"), "{refused}");
    }
}

#[tokio::test]
async fn bytes_go_and_come_as_they_are() {
    use super::raw;

    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    let response = raw::plain(upstream.address(), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(raw::status(&response), 200);
    assert!(response.ends_with(b"\r\n\r\nx"));
    assert_eq!(raw::status(&raw::plain(upstream.address(), b"GET\0/ HTTP/1.1\r\n\r\n").await), 400);
    let (address, listener) = mute().await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    assert!(raw::silent(&mut stream, std::time::Duration::from_millis(20)).await);
    drop(listener);
    assert!(tokio::net::TcpStream::connect(dead()).await.is_err());
}
