//! Which addresses a connection may be dialled to. The check is made on the address itself, after the name was
//! resolved; nothing here resolves anything, and no list here is open at its end: what is not known to be public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Host;

/// Whose wish a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Egress {
    /// The operator wrote the peer down himself: upstreams, remotes.
    Any,
    /// A guest asks for an origin that its table lists. A name leads to public addresses only; an address or `localhost`
    /// is listed as such, and allowed.
    Public,
}

impl Egress {
    /// Whether `host`, found at `address`, may be dialled there.
    pub fn admits(self, host: &Host, address: IpAddr) -> bool {
        match (self, host) {
            (Egress::Any, _) | (Egress::Public, Host::Address(_)) => true,
            (Egress::Public, Host::Name(name)) => {
                is_public(address) || (&**name == "localhost" && address.is_loopback())
            }
        }
    }
}

/// Whether an address is one of the public Internet's, by the special-purpose registries of IANA (RFC 6890). Addresses
/// that carry an IPv4 address inside (mapped, compatible, 6to4, Teredo, NAT64) are not, whatever they carry.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "one range a line")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)           // this network, private, loopback
            | (100, 64..=127, _)     // shared, RFC 6598
            | (169, 254, _)          // link-local: cloud metadata lives here
            | (172, 16..=31, _)      // private
            | (192, 0, 0 | 2)        // protocol assignments, documentation
            | (192, 88, 99)          // 6to4 relays
            | (192, 168, _)          // private
            | (198, 18..=19, _)      // benchmarks
            | (198, 51, 100)         // documentation
            | (203, 0, 113)          // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    )
}

/// Global unicast is 2000::/3 alone: loopback, unspecified, mapped, compatible, NAT64, discard-only, unique-local,
/// link-local, site-local and multicast lie outside.
#[expect(clippy::unnested_or_patterns, reason = "one range a line")]
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    a & 0xe000 == 0x2000
        && !matches!(
            (a, b),
            (0x2001, 0..=0x01ff)       // 2001::/23: Teredo, benchmarks, ORCHID
                | (0x2001, 0x0db8)     // documentation
                | (0x2002, _)          // 6to4
                | (0x3fff, 0..=0x0fff) // documentation
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_is_told_apart_at_both_its_ends() {
        let denied = "
            0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.0.0.1
            127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0
            192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255 198.18.0.0
            198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0 239.255.255.255
            240.0.0.0 255.255.255.254 255.255.255.255 :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1
            ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::8.8.8.8 64:ff9b::127.0.0.1 64:ff9b:1::
            64:ff9b:1:ffff:ffff:ffff:ffff:ffff 100:: 100::ffff:ffff:ffff:ffff
            1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:: 2001:0:7f00:1:: 2001:2::1 2001:10:: 2001:20::
            2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002::
            2002:7f00:1:: 2002:808:808::1 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff::
            3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff 4000:: 5f00::1 fc00:: fd00::1
            fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80::1 febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0::1
            ff00:: ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let public = "
            1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
            169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0
            192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255
            198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2001:200:: 2001:4860:4860::8888
            2001:db7:ffff:: 2001:db9:: 2003:: 2606:4700::1111 3ffe::1 3fff:1000::
            3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for (expected, addresses) in [(false, denied), (true, public)] {
            for address in addresses.split_whitespace() {
                assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn what_is_listed_as_such_is_allowed() {
        let table = [
            (Egress::Any, "db.internal", "10.0.0.1", true),
            (Egress::Any, "127.0.0.1", "127.0.0.1", true),
            (Egress::Public, "example.org", "93.184.215.14", true),
            (Egress::Public, "example.org", "127.0.0.1", false),
            (Egress::Public, "example.org", "::1", false),
            (Egress::Public, "example.org", "10.0.0.1", false),
            (Egress::Public, "127.0.0.1", "127.0.0.1", true),
            (Egress::Public, "10.0.0.1", "10.0.0.1", true),
            (Egress::Public, "[::1]", "::1", true),
            (Egress::Public, "localhost", "127.0.0.1", true),
            (Egress::Public, "LOCALHOST", "::1", true),
            (Egress::Public, "localhost", "10.0.0.1", false),
            (Egress::Public, "a.localhost", "127.0.0.1", false),
            (Egress::Public, "127.1", "127.0.0.1", false),
            (Egress::Public, "2130706433", "127.0.0.1", false),
        ];
        for (egress, host, address, expected) in table {
            let parsed = Host::parse(host).unwrap();
            assert_eq!(egress.admits(&parsed, address.parse().unwrap()), expected, "{egress:?} {host} at {address}");
        }
    }
}
