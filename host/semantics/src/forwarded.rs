//! What is told about the client behind us: `X-Forwarded-*`, out of what the host knows. A claim counts only where a proxy
//! that the operator trusts makes it.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use crate::{network::Network, scheme::Scheme};

pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who asks, and how it got to the first of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub client: IpAddr,
    pub scheme: Scheme,
}

/// Takes the claims out of a request, but for those of a trusted proxy, and says who asks. `peer` is whom we hear, over
/// which scheme.
pub fn settle(fields: &mut HeaderMap, peer: Origin, trusted: &[Network]) -> Origin {
    let address = peer.client.to_canonical();
    let mut origin = Origin { client: address, ..peer };
    if !fields.keys().any(is_claim) {
        return origin;
    }
    let believed = trusted.iter().any(|network| network.contains(address));
    let untrue: Vec<_> =
        fields.keys().filter(|name| if believed { is_misspelt(name) } else { is_claim(name) }).cloned().collect();
    for name in untrue {
        fields.remove(name);
    }
    if believed {
        origin.client = client(fields, address, trusted);
        match fields.get_all(PROTO).iter().next_back().map(HeaderValue::as_bytes) {
            Some(b"https") => origin.scheme = Scheme::Https,
            Some(b"http") => origin.scheme = Scheme::Http,
            _ => {}
        }
        // It says the same in other words, which we would have to keep true.
        fields.remove(FORWARDED);
    }
    origin
}

/// How somebody is named to who is next: once, for all that is heard of them.
pub fn hop(peer: IpAddr) -> HeaderValue {
    HeaderValue::try_from(peer.to_canonical().to_string()).expect("an address is ASCII")
}

/// Tells what `settle` found, to whoever gets the request next. `peer` is the hop that we heard.
pub fn tell(fields: &mut HeaderMap, peer: &HeaderValue, origin: Origin, authority: &HeaderValue) {
    let mut hops = Vec::new();
    for hop in fields.get_all(FOR).iter().filter(|value| value.to_str().is_ok_and(|text| !text.is_empty())) {
        hops.extend_from_slice(hop.as_bytes());
        hops.extend_from_slice(b", ");
    }
    let hops = if hops.is_empty() {
        peer.clone()
    } else {
        hops.extend_from_slice(peer.as_bytes());
        HeaderValue::from_maybe_shared(Bytes::from(hops)).expect("parts of field values, and an address")
    };
    fields.insert(FOR, hops);
    fields.insert(PROTO, HeaderValue::from_static(origin.scheme.name()));
    if !fields.contains_key(HOST) {
        fields.insert(HOST, authority.clone());
    }
}

/// Whether a field says something about the client that we know better; however it is spelt, since to programs that read
/// fields as CGI does (RFC 3875, section 4.1.18) `_` and `-` are one.
pub(crate) fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    let begins = |with: &str| {
        let same = |(a, b): (u8, u8)| a == b || (a, b) == (b'_', b'-');
        name.len() >= with.len() && name.bytes().zip(with.bytes()).all(same)
    };
    begins("x-forwarded-") || [FORWARDED.as_str(), "x-real-ip"].iter().any(|is| name.len() == is.len() && begins(is))
}

/// A claim in a spelling that no proxy uses.
fn is_misspelt(name: &HeaderName) -> bool {
    name.as_str().contains('_') && is_claim(name)
}

/// The last address that no trusted proxy has: each of them appends whom it heard.
fn client(fields: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    let mut client = peer;
    for value in fields.get_all(FOR).iter().rev() {
        for hop in value.to_str().unwrap_or_default().rsplit(',').map(str::trim) {
            let Some(address) = address(hop) else { return client };
            client = address;
            if !trusted.iter().any(|network| network.contains(address)) {
                return client;
            }
        }
    }
    client
}

/// An address, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().or_else(|_| hop.parse::<std::net::SocketAddr>().map(|address| address.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{Origin, hop, settle, tell};
    use crate::{network::Network, scheme::Scheme, testing::fields};

    fn peer(address: &str) -> Origin {
        Origin { client: address.parse().unwrap(), scheme: Scheme::Http }
    }

    #[test]
    fn a_strangers_claims_are_taken_out() {
        let peer = peer("::ffff:192.0.2.1");
        let mut claimed = fields(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x_real_ip", "1.2.3.4"),
            ("x_forwarded-for", "1.2.3.4"),
            ("x-forwarded_proto", "https"),
            ("x-other", "kept"),
        ]);
        let origin = settle(&mut claimed, peer, &[Network::new("10.0.0.0".parse().unwrap(), 8).unwrap()]);
        assert_eq!((origin.client.to_string().as_str(), origin.scheme), ("192.0.2.1", Scheme::Http));
        assert_eq!(claimed, fields(&[("x-other", "kept")]));
        tell(&mut claimed, &hop(peer.client), origin, &HeaderValue::from_static("a.test:8080"));
        assert_eq!(
            claimed,
            fields(&[
                ("x-other", "kept"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "a.test:8080"),
            ])
        );
    }

    #[test]
    fn a_trusted_proxys_are_kept() {
        let peer = peer("10.0.0.1");
        let trusted = [Network::new("10.0.0.0".parse().unwrap(), 8).unwrap()];
        let mut claimed = fields(&[
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
            ("x-forwarded-for", "10.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outside.test"),
            ("x_forwarded_for", "1.2.3.4"),
            ("forwarded", "for=192.0.2.7"),
        ]);
        let origin = settle(&mut claimed, peer, &trusted);
        assert_eq!((origin.client.to_string().as_str(), origin.scheme), ("192.0.2.7", Scheme::Https));
        tell(&mut claimed, &hop(peer.client), origin, &HeaderValue::from_static("inside.test"));
        assert_eq!(
            claimed,
            fields(&[
                ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.9.9.9, 10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "outside.test"),
            ])
        );
    }

    #[test]
    fn who_asks_behind_trusted_proxies() {
        let trusted = [Network::new("10.0.0.0".parse().unwrap(), 8).unwrap()];
        for (hops, client) in [
            ("", "10.0.0.1"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:1234", "192.0.2.7"),
            ("[2001:db8::1]:1234", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("192.0.2.7, unknown", "10.0.0.1"),
            ("192.0.2.7, unknown, 10.2.2.2", "10.2.2.2"),
            ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ] {
            let mut fields = fields(&[]);
            fields.insert(super::FOR, HeaderValue::try_from(hops).unwrap());
            let origin = settle(&mut fields, peer("10.0.0.1"), &trusted);
            assert_eq!(origin.client.to_string(), client, "{hops}");
        }
    }
}
