//! A request's head as the gateway understands it: who asks, over what, for which name and path, each in its one form.
//! Nothing behind this reads the target again.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use atoll_runtime::{Forwarding, Head, under};
use atoll_semantics::{
    authority::{Authority, AuthorityError},
    forwarded::{self, Origin},
    path::one_form,
};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header::HOST, request::Parts};

use crate::http::{peer::Peer, rescue::Fault, streams::Newcomers, tunnel::Wish, watch::Watch};

/// One connection, as all its requests share it.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) watch: Arc<Watch>,
    /// Where what comes after HTTP is left.
    pub(super) tunnels: Newcomers,
    /// The peer, as it is told to who is behind us.
    pub(super) hop: HeaderValue,
    /// The name that was asked for last: as a rule it is asked for again.
    last: Mutex<Option<Arc<Name>>>,
}

/// A name that was asked for on a connection.
pub(super) struct Name {
    sent: Box<[u8]>,
    pub(super) authority: Arc<Authority>,
    /// Without a port.
    host: HeaderValue,
    /// Whether the connection's certificate vouches for it; a plain connection has none to.
    pub(super) covered: bool,
}

pub(super) struct Inbound {
    pub(super) name: Arc<Name>,
    pub(super) origin: Origin,
    /// The path, where its one form is not what was sent.
    path: Option<String>,
    pub(super) hidden_separator: bool,
    /// What the client wants to speak from now on, where that isn't HTTP.
    pub(super) wish: Option<Box<Wish>>,
}

impl Line {
    pub(super) fn new(peer: Peer, watch: Arc<Watch>, tunnels: Newcomers) -> Self {
        let hop = forwarded::hop(peer.address.ip());
        Self { peer, watch, tunnels, hop, last: Mutex::default() }
    }

    fn name(&self, sent: &[u8]) -> Result<Arc<Name>, AuthorityError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = last.as_ref().filter(|name| *name.sent == *sent) {
            return Ok(name.clone());
        }
        let authority = Arc::new(Authority::parse(sent)?);
        let covered = self.peer.certificate.as_ref().is_none_or(|certificate| certificate.covers(&authority.name));
        let host = HeaderValue::try_from(&*authority.name).expect("an authority is ASCII");
        let name = Arc::new(Name { sent: sent.into(), authority, host, covered });
        *last = Some(name.clone());
        Ok(name)
    }
}

impl Inbound {
    pub(super) fn read<B>(line: &Line, request: &Request<B>, origin: Origin) -> Result<Self, Fault> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Fault::Method);
        }
        if request.uri().scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            return Err(Fault::Target);
        }
        // RFC 9113, section 8.3.1: every request but CONNECT has a path.
        if request.version() == Version::HTTP_2 && request.uri().path_and_query().is_none() {
            return Err(Fault::Target);
        }
        let name = line.name(authority(request)?)?;
        let mut inbound = Self { name, origin, path: None, hidden_separator: false, wish: None };
        if !is_asterisk(request) {
            let form = one_form(request.uri().path())?;
            inbound.hidden_separator = form.hidden_separator;
            if let Cow::Owned(path) = form.path {
                inbound.path = Some(path);
            }
        }
        Ok(inbound)
    }

    /// The path in its one form.
    pub(super) fn path<'a>(&'a self, sent: &'a http::Uri) -> &'a str {
        self.path.as_deref().unwrap_or(sent.path())
    }

    /// What a router may ask about.
    pub(super) fn head<'a>(&'a self, parts: &'a Parts) -> Head<'a> {
        self.asked(&parts.method, &parts.uri, &parts.headers)
    }

    pub(super) fn asked<'a>(&'a self, method: &'a Method, uri: &'a http::Uri, fields: &'a HeaderMap) -> Head<'a> {
        Head {
            scheme: self.origin.scheme.name(),
            authority: &self.name.authority.name,
            method,
            path: self.path(uri),
            query: uri.query(),
            fields,
            client: self.origin.client,
        }
    }

    /// The port that the client named, where it isn't the scheme's own.
    pub(super) fn port(&self) -> Option<u16> {
        self.name.authority.port.filter(|port| *port != self.origin.scheme.default_port())
    }

    /// Name and port, as they are told to who is behind us.
    pub(super) fn authority(&self) -> String {
        self.name.authority.with_port(self.origin.scheme.default_port())
    }

    /// The same as a field says it.
    pub(super) fn host(&self) -> HeaderValue {
        match self.port() {
            None => self.name.host.clone(),
            Some(_) => HeaderValue::try_from(self.authority()).expect("an authority is ASCII"),
        }
    }
}

/// Whether the target is `*`, which asks about the server as such.
pub(super) fn is_asterisk<B>(request: &Request<B>) -> bool {
    request.uri().path() == "*"
}

/// A path as a decision moves it: `strip` off, `add` on.
pub(super) fn moved<'a>(path: &'a str, forwarding: &Forwarding) -> Cow<'a, str> {
    let rest = match &forwarding.strip {
        Some(prefix) if under(path, prefix) => &path[prefix.len()..],
        _ => path,
    };
    match forwarding.add.as_deref() {
        Some(prefix) if !prefix.is_empty() => Cow::Owned(format!("{prefix}{rest}")),
        _ if rest.is_empty() => Cow::Borrowed("/"),
        _ => Cow::Borrowed(rest),
    }
}

/// Whom a request is for, as it was sent: RFC 9112 section 3.2 and RFC 9113 section 8.3.1.
fn authority<B>(request: &Request<B>) -> Result<&[u8], AuthorityError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(AuthorityError::Several);
    }
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match (target, host) {
        (None, None) => Err(AuthorityError::Missing),
        (None, Some(host)) => Ok(host),
        (Some(_), None) if request.version() == Version::HTTP_11 => Err(AuthorityError::Missing),
        (Some(target), None) => Ok(target),
        (Some(target), Some(host)) => {
            // The target's wins, but a host that is none, or another one where it may not be, is refused all the same.
            let host = Authority::parse(host)?;
            if request.version() == Version::HTTP_2 && Authority::parse(target)? != host {
                return Err(AuthorityError::Differs);
            }
            Ok(target)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use atoll_runtime::Forwarding;
    use atoll_semantics::{forwarded::Origin, scheme::Scheme};
    use http::{Method, Request, Version};

    use super::{Inbound, Line, moved};
    use crate::http::{
        Limits,
        peer::{Certificate, Peer},
        streams::Newcomers,
        watch::Watch,
    };
    use crate::tls::Protocol;

    struct Covers(&'static str, AtomicUsize);

    impl Certificate for Covers {
        fn covers(&self, name: &str) -> bool {
            self.1.fetch_add(1, Ordering::Relaxed);
            name == self.0
        }

        fn public(&self) -> bool {
            false
        }
    }

    fn line(certificate: Option<Arc<dyn Certificate>>) -> Line {
        let address = "192.0.2.1:9".parse().unwrap();
        let peer = Peer { address, port: 443, protocol: Protocol::Http1, certificate };
        Line::new(peer, Arc::new(Watch::new(Arc::default(), &Limits::default())), Newcomers::default())
    }

    fn request(version: Version, method: Method, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap()
    }

    const ORIGIN: Origin =
        Origin { client: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), scheme: Scheme::Https };

    #[test]
    fn whom_a_request_is_for() {
        let (h1, h0, h2) = (Version::HTTP_11, Version::HTTP_10, Version::HTTP_2);
        for (version, uri, hosts, expected) in [
            (h1, "/x", &["A.test"][..], Ok("a.test /x")),
            (h1, "/x", &[], Err("no host")),
            (h0, "/x", &[], Err("no host")),
            (h0, "/x", &["a.test"], Ok("a.test /x")),
            (h1, "/x", &["a.test", "a.test"], Err("more than one host")),
            (h1, "/x", &[""], Err("bad host")),
            (h1, "/x", &["a test"], Err("bad host")),
            (h1, "/x", &["me@a.test"], Err("bad host")),
            (h1, "http://b.test/x", &["a.test"], Ok("b.test /x")),
            (h1, "http://b.test", &["a.test"], Ok("b.test /")),
            (h1, "http://b.test/x", &["a test"], Err("bad host")),
            (h1, "http://b.test/x", &[], Err("no host")),
            (h0, "http://b.test/x", &[], Ok("b.test /x")),
            (h1, "ftp://b.test/x", &["a.test"], Err("bad target")),
            (h1, "http://me@b.test/x", &["a.test"], Err("bad host")),
            (h2, "https://a.test/x", &[], Ok("a.test /x")),
            (h2, "https://a.test/x", &["A.test."], Ok("a.test /x")),
            (h2, "https://a.test/x", &["b.test"], Err("host differs from the authority")),
            (h2, "https://a.test/x", &["a.test:8443"], Err("host differs from the authority")),
            (h2, "/x", &["a.test"], Ok("a.test /x")),
            (h1, "/a/../b", &["a.test"], Ok("a.test /b")),
            (h1, "/../b", &["a.test"], Err("path leaves the root")),
            (h1, "/%zz", &["a.test"], Err("bad escape in the path")),
        ] {
            let request = request(version, Method::GET, uri, hosts);
            let read = Inbound::read(&line(None), &request, ORIGIN);
            let shown = match &read {
                Ok(inbound) => Ok(format!("{} {}", inbound.name.authority, inbound.path(request.uri()))),
                Err(fault) => Err(fault.to_string()),
            };
            assert_eq!(shown, expected.map(Into::into).map_err(Into::into), "{version:?} {uri} {hosts:?}");
        }
        for method in [Method::CONNECT, Method::TRACE] {
            let read = Inbound::read(&line(None), &request(h1, method, "/", &["a.test"]), ORIGIN);
            assert_eq!(read.err().unwrap().to_string(), "method not implemented");
        }
    }

    #[test]
    fn a_certificate_is_asked_once_for_a_name() {
        let certificate = Arc::new(Covers("a.test", AtomicUsize::new(0)));
        let line = line(Some(certificate.clone()));
        for (host, covered, asked) in
            [("a.test", true, 1), ("a.test", true, 1), ("b.test", false, 2), ("b.test", false, 2), ("a.test", true, 3)]
        {
            let read =
                Inbound::read(&line, &request(Version::HTTP_11, Method::GET, "/", &[host]), ORIGIN).ok().unwrap();
            assert_eq!((read.name.covered, certificate.1.load(Ordering::Relaxed)), (covered, asked));
        }
    }

    #[test]
    fn paths_are_moved() {
        for (path, strip, add, expected) in [
            ("/api/x", None, None, "/api/x"),
            ("/api/x", Some("/api"), None, "/x"),
            ("/api", Some("/api"), None, "/"),
            ("/api/", Some("/api"), None, "/"),
            ("/apis", Some("/api"), None, "/apis"),
            ("/api/x", Some(""), None, "/api/x"),
            ("/x", None, Some("/v1"), "/v1/x"),
            ("/", None, Some("/v1"), "/v1/"),
            ("/api", Some("/api"), Some("/v1"), "/v1"),
            ("/api/x", Some("/api"), Some("/v1"), "/v1/x"),
            ("/api/x", Some("/api"), Some(""), "/x"),
        ] {
            let forwarding = Forwarding {
                upstream: String::new(),
                strip: strip.map(Into::into),
                add: add.map(Into::into),
                request_fields: vec![],
                response_fields: vec![],
            };
            assert_eq!(moved(path, &forwarding), expected, "{path} {strip:?} {add:?}");
        }
    }
}
