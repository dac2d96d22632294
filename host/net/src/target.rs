//! Where a connection goes: a name or an address with its port, or a Unix socket. Parsed once, then trusted to be well
//! formed; nothing here asks the network.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::{Egress, Proxy, Tls};

/// A host as a URL names it (RFC 3986, section 3.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, without a trailing dot. Whatever is not plainly an address is a name, `127.1` too.
    Name(Box<str>),
    Address(IpAddr),
}

impl Host {
    /// `None` where it is neither an address (IPv6 with or without its brackets) nor a name that DNS could hold.
    pub fn parse(host: &str) -> Option<Self> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare {
            return address.parse().ok().map(|address| Host::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = host.parse() {
            return Some(Host::Address(address));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (name.len() <= 253 && name.split('.').all(label)).then(|| Host::Name(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The far end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    Tcp { host: Host, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Place::Tcp { host: Host::Address(address.ip()), port: address.port() }
    }
}

/// A place, how to speak to it, and whose wish that is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub place: Place,
    /// TLS over it, with the certificates to trust and the protocols to offer.
    pub tls: Option<Tls>,
    pub egress: Egress,
    /// By this proxy, which looks the name up itself: not where the address is to be checked.
    pub via: Option<Proxy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        let long = "a".repeat(64);
        let table = [
            ("example.org", Some("example.org")),
            ("EXAMPLE.org.", Some("example.org")),
            ("_dmarc.example.org", Some("_dmarc.example.org")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.1", Some("127.1")),
            ("::1", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[127.0.0.1]", None),
            ("[::1", None),
            ("fe80::1%eth0", None),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a b", None),
            ("a/b", None),
            ("user@a", None),
            ("ä.org", None),
            ("a\0", None),
            (long.as_str(), None),
        ];
        for (text, expected) in table {
            assert_eq!(Host::parse(text).map(|host| host.to_string()).as_deref(), expected, "{text:?}");
        }
    }
}
