//! A client over HTTPS: hyper on rustls, HTTP/1.1 or HTTP/2, at one address whatever the name. It takes no redirect, keeps
//! nothing and undoes no encoding: what is seen is what came.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncWriteExt as _, net::TcpSocket, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::wait::{BUILT, SOON, within};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// Who a client trusts, and where it connects.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    source: Option<IpAddr>,
    patience: Duration,
    versions: Vec<&'static SupportedProtocolVersion>,
    receive_buffer: Option<u32>,
    hesitation: Duration,
    announced: Vec<u8>,
}

/// One connection.
pub(crate) struct Connection {
    name: String,
    sender: Sender,
    patience: Duration,
    /// What the server showed, leaf first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request to `https://NAME/PATH`.
pub(crate) fn ask(method: &str, url: &str) -> Request<Full<Bytes>> {
    with_body(method, url, &[], Bytes::new())
}

pub(crate) fn with_fields(method: &str, url: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    with_body(method, url, fields, Bytes::new())
}

pub(crate) fn with_body(
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).expect("the tests' requests are requests")
}

impl Client {
    pub(crate) fn new(address: SocketAddr, ca: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        Self {
            address,
            roots: Arc::new(roots),
            source: None,
            patience: SOON,
            versions: rustls::ALL_VERSIONS.to_vec(),
            receive_buffer: None,
            hesitation: Duration::ZERO,
            announced: Vec::new(),
        }
    }

    /// Connects from an address of this machine's.
    pub(crate) fn connecting_from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Waits longer for a response's head.
    pub(crate) fn patient(mut self) -> Self {
        self.patience = BUILT;
        self
    }

    /// Speaks this version of TLS alone.
    pub(crate) fn version(mut self, version: ProtocolVersion) -> Self {
        self.versions.retain(|each| each.version == version);
        self
    }

    /// Waits between connecting and the first word.
    pub(crate) fn hesitating(mut self, hesitation: Duration) -> Self {
        self.hesitation = hesitation;
        self
    }

    /// Says this before TLS begins, as a balancer does.
    pub(crate) fn announced(mut self, header: &[u8]) -> Self {
        self.announced = header.to_vec();
        self
    }

    /// Takes little at a time, so that the sender feels it when nothing is read.
    pub(crate) fn narrow(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }

    /// One request on a connection of its own, HTTP/1.1.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        self.send_over(Protocol::Http1, request).await
    }

    pub(crate) async fn send_over(&self, protocol: Protocol, request: Request<Full<Bytes>>) -> Reply {
        let name = request.uri().host().expect("the tests' URLs have a host").to_owned();
        let mut connection = self.connect(&name, protocol).await;
        connection.send(request).await
    }

    pub(crate) async fn get(&self, url: &str) -> Reply {
        self.send(ask("GET", url)).await
    }

    pub(crate) async fn connect(&self, name: &str, protocol: Protocol) -> Connection {
        let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
        let stream = self.handshake(Some(name), &[alpn]).await.expect("a TLS connection");
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(alpn));
        let certificates = session.peer_certificates().expect("the server's").iter().map(|c| c.clone().into_owned());
        let certificates = certificates.collect();
        let io = TokioIo::new(stream);
        let sender = if protocol == Protocol::Http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.expect("an HTTP/2 connection");
            tokio::spawn(driver);
            Sender::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(io).await.expect("an HTTP/1.1 connection");
            tokio::spawn(driver);
            Sender::Http1(sender)
        };
        Connection { name: name.to_owned(), sender, certificates, patience: self.patience }
    }

    /// TLS and no more. Without a name, none is sent: the certificate must then cover the address.
    pub(crate) async fn handshake(
        &self,
        name: Option<&str>,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<tokio::net::TcpStream>> {
        let mut config = ClientConfig::builder_with_protocol_versions(&self.versions)
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned()).expect("the tests' names are names"),
            None => ServerName::IpAddress(self.address.ip().into()),
        };
        let handshake = async {
            let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(size) = self.receive_buffer {
                socket.set_recv_buffer_size(size)?;
            }
            if let Some(source) = self.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let mut stream = socket.connect(self.address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&self.announced).await?;
            tokio::time::sleep(self.hesitation).await;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        within(SOON, "a TLS handshake", handshake).await
    }
}

impl Connection {
    /// A whole response.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Reply {
        let url = request.uri().to_string();
        self.try_send(request).await.unwrap_or_else(|error| panic!("{url}: {error:?}"))
    }

    /// The same, where it may break off.
    pub(crate) async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        let response = self.open(request).await?;
        let (head, body) = response.into_parts();
        let body = within(SOON, "the response's body", body.collect()).await?.to_bytes();
        Ok(Reply { status: head.status, version: head.version, fields: head.headers, body })
    }

    /// The response's head; its body is read by whoever asks, as slowly as they like.
    pub(crate) async fn open(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        let request = self.in_its_form(request);
        let response = async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        within(self.patience, "the response's head", response).await
    }

    /// On HTTP/2, many at a time: a sender of its own for one more stream.
    pub(crate) fn stream(&self) -> Connection {
        let Sender::Http2(sender) = &self.sender else { panic!("HTTP/1.1 has no streams") };
        let sender = Sender::Http2(sender.clone());
        Connection { name: self.name.clone(), sender, certificates: self.certificates.clone(), patience: self.patience }
    }

    /// Whether the server has ended the connection, or does within `limit`.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        let ended = async {
            loop {
                let ready = match &mut self.sender {
                    Sender::Http1(sender) => sender.ready().await.is_ok() && !sender.is_closed(),
                    Sender::Http2(sender) => sender.ready().await.is_ok() && !sender.is_closed(),
                };
                if !ready {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(limit, ended).await.is_ok()
    }

    fn in_its_form(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        if matches!(self.sender, Sender::Http1(_)) && request.method() != Method::CONNECT {
            let uri = std::mem::take(request.uri_mut());
            let authority = uri.authority().expect("the tests' URLs have a host").to_string();
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            *request.uri_mut() = Uri::try_from(target).expect("the target of a URI");
            request.headers_mut().entry(header::HOST).or_insert(authority.parse().expect("an authority is a value"));
        }
        request
    }
}

impl Reply {
    /// A field's one value; none where there is none.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} came twice: {:?}", self.fields);
        Some(value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// What most tables look at.
    pub(crate) fn brief(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text())
    }
}
