//! `[listen]`: where clients come in, and which of them speak for others.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::reader::Table;
use crate::{problem::Place, text::quoted};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Nowhere for addresses that were arguments.
    pub place: Place,
    pub http: Vec<Address>,
    pub https: Vec<Address>,
    /// Proxies whose `X-Forwarded-*` are believed.
    pub trusted: Vec<IpNet>,
    /// Of these addresses, those whose connections begin with a PROXY header.
    pub proxied: Vec<SocketAddr>,
    /// Whether plain HTTP is redirected to HTTPS rather than served, where that is said.
    pub redirect: Option<bool>,
}

impl Listen {
    /// Nobody is sent where nobody listens, unless that is said: somebody may stand before this host.
    pub fn redirects(&self) -> bool {
        self.redirect.unwrap_or(!self.https.is_empty())
    }

    /// What keeps two of its addresses from being listened on at once, if anything does.
    pub(super) fn clash(&self) -> Option<String> {
        let all: Vec<_> = self.http.iter().chain(&self.https).map(|address| address.at).collect();
        let pairs = all.iter().enumerate().flat_map(|(index, a)| all.iter().skip(index + 1).map(move |b| (*a, *b)));
        let (a, b) = pairs.into_iter().find(|(a, b)| overlap(*a, *b))?;
        let both = |at| [&self.http, &self.https].iter().all(|all| all.iter().any(|address| address.at == at));
        Some(match a == b {
            true if !both(a) => format!("has {a} twice"),
            true => format!("has {a} for both `http` and `https`: one address, one protocol"),
            false => {
                let (all, one) = if a.ip().is_unspecified() { (a, b) } else { (b, a) };
                format!("has {all} beside {one}, which is one of its addresses: leave one of them out")
            }
        })
    }
}

/// Whether only one of two addresses can be listened on. An IPv6 listener never takes IPv4.
pub(crate) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a == b || all && a.is_ipv4() == b.is_ipv4())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub at: SocketAddr,
    /// To be left out where this machine has no such address (no IPv6). Any other failure to bind is an error.
    pub optional: bool,
}

impl Address {
    /// As an operator writes it.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self { at, optional: false });
        }
        let meant = match text.rsplit_once(':') {
            _ if text.parse::<u16>().is_ok() => format!("127.0.0.1:{text}"),
            Some(("" | "*" | "localhost", port)) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
            _ => "127.0.0.1:8080\" or \"[::1]:8080".into(),
        };
        Err(format!("{} is not an IP address and a port: write \"{meant}\"", quoted(text)))
    }
}

impl Default for Listen {
    /// This machine alone, on ports that need no privilege.
    fn default() -> Self {
        let loopback = |port| {
            vec![
                Address { at: (Ipv4Addr::LOCALHOST, port).into(), optional: false },
                Address { at: (Ipv6Addr::LOCALHOST, port).into(), optional: true },
            ]
        };
        let (http, https) = (loopback(8080), loopback(8443));
        Self { place: Place::default(), http, https, trusted: Vec::new(), proxied: Vec::new(), redirect: None }
    }
}

/// A manifest that names no address listens where the built-in one does; one that names one kind has not the other.
pub(super) fn read(mut table: Table<'_>) -> Listen {
    let (place, default) = (table.place(), Listen::default());
    let http = table.texts("http", Address::parse);
    let https = table.texts("https", Address::parse);
    let trusted = table.texts("trusted", network).unwrap_or_default();
    let redirect = table.flag("redirect");
    let proxied = table.texts("proxied", Address::parse).unwrap_or_default();
    let proxied: Vec<_> = proxied.into_iter().map(|address| address.at).collect();
    let (http, https) = match (http, https) {
        (None, None) => (default.http, default.https),
        (http, https) => (http.unwrap_or_default(), https.unwrap_or_default()),
    };
    for at in &proxied {
        if !http.iter().chain(&https).any(|address| address.at == *at) {
            table.report(format!("has {at} in `proxied`, and in neither `http` nor `https`"));
        }
    }
    let listen = Listen { place, http, https, trusted, proxied, redirect };
    if let Some(words) = listen.clash() {
        table.report(words);
    }
    table.finish();
    listen
}

fn network(text: &str) -> Result<IpNet, String> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<std::net::IpAddr>() {
            Ok(address) => format!("{} has no prefix length: write \"{}\"", quoted(text), IpNet::from(address)),
            Err(_) => format!("{} is not a network: write \"10.0.0.0/8\" or \"fd00::/8\"", quoted(text)),
        });
    };
    if network != network.trunc() {
        return Err(format!("{} has bits beyond its prefix: write \"{}\"", quoted(text), network.trunc()));
    }
    Ok(network)
}
