//! Who is at the other end of a connection, as the listening side knows it: nothing here is a client's claim.

use std::{net::SocketAddr, sync::Arc};

use atoll_semantics::{forwarded::Origin, scheme::Scheme};

use crate::tls::Protocol;

/// One accepted connection.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The port that it was accepted on.
    pub port: u16,
    /// `Http1` on a plain connection.
    pub protocol: Protocol,
    /// The certificate that was shown; none on a plain connection.
    pub certificate: Option<Arc<dyn Certificate>>,
}

impl Peer {
    /// Whether the wire is encrypted by us.
    pub fn scheme(&self) -> Scheme {
        if self.certificate.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Whom we hear, and how: who asks may be somebody else, behind a proxy.
    pub(super) fn origin(&self) -> Origin {
        Origin { client: self.address.ip(), scheme: self.scheme() }
    }
}

/// The certificate of a connection, as TLS hands it over.
pub trait Certificate: Send + Sync + 'static {
    /// Whether it vouches for a name in its one form (lower case, an IPv6 address in brackets).
    fn covers(&self, name: &str) -> bool;
    /// Whether its chain verifies against the system's roots, so that a browser may be told to insist on it.
    fn public(&self) -> bool;
}
