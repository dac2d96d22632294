//! Who is at the other end of a connection, as the listening side knows it: nothing here is a client's claim.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The certificate of a connection, as TLS hands it over.
pub trait Certificate: Send + Sync + 'static {
    /// Whether it vouches for a name in its one form (lower case, an IPv6 address in brackets).
    fn covers(&self, name: &str) -> bool;
    /// Whether its chain verifies against the system's roots, so that a browser may be told to insist on it.
    fn public(&self) -> bool;
}

/// Addresses with a common beginning, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// None where the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// An address of IPv4 in the clothes of IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn networks() {
        for (network, prefix, address, within) in [
            ("10.0.0.0", 8, "10.1.2.3", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("10.0.0.0", 8, "::ffff:10.1.2.3", true),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.0", false),
            ("0.0.0.0", 0, "1.2.3.4", true),
            ("0.0.0.0", 0, "::1", false),
            ("2001:db8::", 32, "2001:db8:1::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("::", 0, "2001:db8::1", true),
            ("::1", 128, "::1", true),
        ] {
            let network = Network::new(network.parse().unwrap(), prefix).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), within, "{address} in {network:?}");
        }
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(Network::new("::".parse().unwrap(), 129), None);
    }
}
