//! What a request is sent to: scheme, host and port (RFC 9110, section 4.3.1), and how we speak to it.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::{Egress, Host, Place, Proxy, Target, Tls};

/// What is spoken where TLS's ALPN does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http1,
    /// HTTP/2 over TCP, with prior knowledge (RFC 9113, section 3.3).
    H2c,
}

/// Why a URI is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("not an http:// or https:// URL")]
    Scheme,
    #[error("no host that could be dialled")]
    Host,
    #[error("port 0 can't be dialled")]
    Port,
    #[error("h2c is HTTP/2 without TLS: over https, ALPN decides")]
    H2cOverTls,
}

/// Cheap to clone, to hash and to compare. Connections are shared among all who send to an equal origin.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    scheme: Scheme,
    authority: Authority,
    protocol: Protocol,
    target: Target,
    hash: u64,
}

impl Origin {
    /// Scheme, host and port of `uri`; the rest of it is not looked at. `tls` is used where the scheme is https.
    pub fn new(uri: &Uri, protocol: Protocol, tls: &Tls, egress: Egress) -> Result<Self, OriginError> {
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::HTTP,
            Some("https") => Scheme::HTTPS,
            _ => return Err(OriginError::Scheme),
        };
        let secure = scheme == Scheme::HTTPS;
        if secure && protocol == Protocol::H2c {
            return Err(OriginError::H2cOverTls);
        }
        let host = uri.host().and_then(Host::parse).ok_or(OriginError::Host)?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if port == 0 {
            return Err(OriginError::Port);
        }
        let usual = uri.port_u16().is_none() || port == if secure { 443 } else { 80 };
        let authority = if usual { host.to_string() } else { format!("{host}:{port}") };
        let target = Target { place: Place::Tcp { host, port }, tls: secure.then(|| tls.clone()), egress, via: None };
        let hash = hash(&target, protocol);
        let authority = Authority::try_from(authority).expect("a host and a port are an authority");
        Ok(Origin(Arc::new(Inner { scheme, authority, protocol, target, hash })))
    }

    /// The same, reached by `proxy`.
    #[must_use]
    pub(crate) fn through(&self, proxy: Proxy) -> Self {
        let Inner { scheme, authority, protocol, target, .. } = &*self.0;
        let (scheme, authority, protocol) = (scheme.clone(), authority.clone(), *protocol);
        let target = Target { via: Some(proxy), ..target.clone() };
        let hash = hash(&target, protocol);
        Origin(Arc::new(Inner { scheme, authority, protocol, target, hash }))
    }

    pub fn scheme(&self) -> &Scheme {
        &self.0.scheme
    }

    /// Host, and port where it is not the scheme's own.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub fn target(&self) -> &Target {
        &self.0.target
    }

    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Whether one connection may turn out to carry all requests.
    pub(crate) fn may_multiplex(&self) -> bool {
        self.0.protocol == Protocol::H2c || self.0.target.tls.is_some()
    }
}

fn hash(target: &Target, protocol: Protocol) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((target, protocol))
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.0.protocol == other.0.protocol && self.0.target == other.0.target)
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme, self.0.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRoots;

    #[test]
    fn uris_that_are_origins_and_uris_that_are_not() {
        let tls = Tls::system(&SystemRoots::default(), crate::HTTP);
        let table = [
            ("http://10.0.0.3:80", Protocol::Http1, Ok("http://10.0.0.3")),
            ("http://EXAMPLE.org/a?b", Protocol::H2c, Ok("http://example.org")),
            ("https://example.org:8443/", Protocol::Http1, Ok("https://example.org:8443")),
            ("https://[2001:DB8::1]:443", Protocol::Http1, Ok("https://[2001:db8::1]")),
            ("http://[::1]:443", Protocol::Http1, Ok("http://[::1]:443")),
            ("https://example.org", Protocol::H2c, Err(OriginError::H2cOverTls)),
            ("ftp://example.org", Protocol::Http1, Err(OriginError::Scheme)),
            ("/path", Protocol::Http1, Err(OriginError::Scheme)),
            ("http://a..b/", Protocol::Http1, Err(OriginError::Host)),
            ("http://a:0/", Protocol::Http1, Err(OriginError::Port)),
        ];
        for (uri, protocol, expected) in table {
            let origin = Origin::new(&uri.parse().unwrap(), protocol, &tls, Egress::Any);
            assert_eq!(origin.map(|origin| origin.to_string()), expected.map(str::to_owned), "{uri}");
        }
    }

    #[test]
    fn origins_are_equal_where_connections_can_be_shared() {
        let tls = Tls::system(&SystemRoots::default(), crate::HTTP);
        let other = Tls::system(&SystemRoots::default(), crate::HTTP);
        let origin =
            |uri: &str, tls: &Tls, egress| Origin::new(&uri.parse().unwrap(), Protocol::Http1, tls, egress).unwrap();
        let one = origin("https://a.test", &tls, Egress::Any);
        assert_eq!(one, origin("https://A.test:443/x", &tls, Egress::Any));
        assert_ne!(one, origin("https://a.test", &other, Egress::Any));
        assert_ne!(one, origin("https://a.test", &tls, Egress::Public));
        assert_ne!(one, origin("http://a.test", &tls, Egress::Any));
        assert_ne!(one, origin("https://a.test:444", &tls, Egress::Any));
    }
}
