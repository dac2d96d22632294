//! The one way to a peer: resolve, check each address, dial exactly the address that was checked, or have a proxy do so for
//! whoever need not be checked, then TLS where it is asked for. Who may ask for which name is decided before; this room keeps no connection and knows no protocol.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{Egress, Host, Place, Proxy, Resolve, Stream, SystemResolver, Target, Tls};

/// Addresses of one name that are tried before we give up.
const ADDRESSES: usize = 16;

/// Why there is no connection. `peer` is the host and port, or the path, as the target has it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    #[error("{peer}: name not found: {reason}")]
    NameNotFound { peer: Box<str>, reason: Box<str> },
    #[error("{peer}: the name leads to addresses that are not allowed")]
    AddressDenied { peer: Box<str> },
    #[error("{peer}: connection refused")]
    Refused { peer: Box<str> },
    #[error("{peer}: timed out")]
    TimedOut { peer: Box<str> },
    /// The peer did not prove to be who it should be.
    #[error("{peer}: certificate not trusted: {reason}")]
    Untrusted { peer: Box<str>, reason: Box<str> },
    /// No TLS with this peer, for another reason than its certificate.
    #[error("{peer}: tls failed: {reason}")]
    Tls { peer: Box<str>, reason: Box<str> },
    #[error("{peer}: no HTTP/2: {reason}")]
    Http2 { peer: Box<str>, reason: Box<str> },
    /// It took the connection, and did not begin to speak HTTP/2.
    #[error("{peer}: no HTTP/2 settings in time")]
    Silent { peer: Box<str> },
    #[error("{peer}: {source}")]
    Io { peer: Box<str>, source: Arc<io::Error> },
    /// Of the proxy that it is behind.
    #[error("{peer}: by the proxy {why}")]
    Proxy { peer: Box<str>, why: Box<str> },
}

impl DialError {
    /// Whether it is only that nothing came in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Silent { .. })
    }
}

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub struct Dialler {
    resolver: Arc<dyn Resolve>,
}

impl Dialler {
    pub fn new(resolver: impl Resolve) -> Self {
        Self { resolver: Arc::new(resolver) }
    }

    /// With the system's resolver.
    pub fn system() -> Self {
        Self::new(SystemResolver::default())
    }

    /// Opens a connection within `limit`, TLS included.
    pub async fn connect(&self, target: &Target, limit: Duration) -> Result<Stream, DialError> {
        let peer = Peer(&target.place);
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.open(target, deadline)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(peer.timed_out()),
        }
    }

    async fn open(&self, target: &Target, deadline: Instant) -> Result<Stream, DialError> {
        let peer = Peer(&target.place);
        let (host, port) = match &target.place {
            Place::Unix(path) => return unix(peer, path).await,
            Place::Tcp { host, port } => (host, *port),
        };
        let socket = match &target.via {
            None => self.dial(peer, (host, port), target.egress, deadline).await?,
            Some(proxy) => self.by_proxy(proxy, target, (host, port), deadline).await?,
        };
        match &target.tls {
            None => Ok(Stream::Tcp(socket)),
            Some(tls) => secure(peer, host, tls, socket).await,
        }
    }

    async fn dial(
        &self,
        peer: Peer<'_>,
        (host, port): (&Host, u16),
        egress: Egress,
        deadline: Instant,
    ) -> Result<TcpStream, DialError> {
        let addresses = self.addresses(peer, host, egress).await?;
        dial_each(peer, &addresses, port, deadline).await
    }

    /// To a proxy; for TLS, through it.
    async fn by_proxy(
        &self,
        proxy: &Proxy,
        target: &Target,
        (host, port): (&Host, u16),
        deadline: Instant,
    ) -> Result<TcpStream, DialError> {
        let peer = Peer(&target.place);
        if target.egress != Egress::Any {
            return Err(DialError::AddressDenied { peer: peer.name() });
        }
        let failed = |why: String| DialError::Proxy { peer: peer.name(), why: why.into() };
        let place = Place::Tcp { host: proxy.host().clone(), port: proxy.port() };
        let socket = self.dial(Peer(&place), (proxy.host(), proxy.port()), Egress::Any, deadline).await;
        let mut socket = socket.map_err(|error| failed(error.to_string()))?;
        if target.tls.is_some() {
            let tunnel = proxy.tunnel(&mut socket, host, port).await;
            tunnel.map_err(|why| failed(format!("{proxy}: {why}")))?;
        }
        Ok(socket)
    }

    /// The addresses that may be dialled, at least one.
    async fn addresses(&self, peer: Peer<'_>, host: &Host, egress: Egress) -> Result<Vec<IpAddr>, DialError> {
        let not_found = |reason: &str| DialError::NameNotFound { peer: peer.name(), reason: reason.into() };
        let mut addresses = match host {
            Host::Address(address) => vec![*address],
            // Never asked of a resolver: RFC 6761, section 6.3.
            Host::Name(name) if &**name == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Host::Name(name) => self.resolver.resolve(name).await.map_err(|error| not_found(&error.to_string()))?,
        };
        if addresses.is_empty() {
            return Err(not_found("no addresses"));
        }
        addresses.retain(|address| egress.admits(host, *address));
        addresses.truncate(ADDRESSES);
        if addresses.is_empty() { Err(DialError::AddressDenied { peer: peer.name() }) } else { Ok(addresses) }
    }
}

/// One after the other; each gets its share of the time that is left, so that one that swallows packets can't use up
/// what the others need.
async fn dial_each(peer: Peer<'_>, addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
    let mut failure = peer.timed_out();
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).expect("bounded");
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true).map_err(|error| peer.io(error))?;
                return Ok(socket);
            }
            Ok(Err(error)) => failure = peer.io(error),
            Err(_) => failure = peer.timed_out(),
        }
    }
    Err(failure)
}

async fn unix(peer: Peer<'_>, path: &Path) -> Result<Stream, DialError> {
    UnixStream::connect(path).await.map(Stream::Unix).map_err(|error| peer.io(error))
}

async fn secure(peer: Peer<'_>, host: &Host, tls: &Tls, socket: TcpStream) -> Result<Stream, DialError> {
    let name = match (tls.name(), host) {
        (Some(name), _) => name.clone(),
        (None, Host::Address(address)) => ServerName::from(*address),
        (None, Host::Name(name)) => ServerName::try_from(name.to_string())
            .map_err(|_| DialError::Tls { peer: peer.name(), reason: "no certificate can be for this name".into() })?,
    };
    let config = tls.config().await.map_err(|error| peer.io(error))?;
    match TlsConnector::from(config).connect(name, socket).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => Err(peer.handshake(error)),
    }
}

/// Who an error is about: written out only when there is one.
#[derive(Clone, Copy)]
struct Peer<'a>(&'a Place);

impl Peer<'_> {
    fn name(self) -> Box<str> {
        self.0.to_string().into()
    }

    fn timed_out(self) -> DialError {
        DialError::TimedOut { peer: self.name() }
    }

    fn io(self, error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => DialError::Refused { peer: self.name() },
            io::ErrorKind::TimedOut => self.timed_out(),
            _ => DialError::Io { peer: self.name(), source: Arc::new(error) },
        }
    }

    fn handshake(self, error: io::Error) -> DialError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                DialError::Untrusted { peer: self.name(), reason: distrust(reason).into() }
            }
            Some(other) => DialError::Tls { peer: self.name(), reason: other.to_string().into() },
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                DialError::Tls { peer: self.name(), reason: "the peer hung up".into() }
            }
            None => self.io(error),
        }
    }
}

fn distrust(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "signed by no authority that is trusted".into(),
        CertificateError::Other(_) if error.to_string().contains("CaUsedAsEndEntity") => {
            "an authority's own certificate; let it sign one for the server".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
