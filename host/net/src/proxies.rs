//! Which forward proxy an origin is behind, by the variables of the environment that curl and Git read. It is for those who
//! ask: nobody else's requests go that way.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::{Egress, Host, Origin, Place, basic, tunnel::Proxy};

/// Where none is named, as curl has it.
const PORT: u16 = 1080;

/// Why an origin can't be reached by its proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxiesError {
    /// What the variable says may be a secret.
    #[error("the variable {0} names no proxy of a known kind: write http://HOST:PORT")]
    Form(&'static str),
    #[error("{origin} is behind the proxy {proxy}, where nobody checks which address its name leads to")]
    Unchecked { origin: Origin, proxy: Proxy },
}

/// Cheap to clone. By default there is none.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    http: Option<Result<Proxy, ProxiesError>>,
    https: Option<Result<Proxy, ProxiesError>>,
    except: Vec<Exception>,
}

/// What is reached without.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// The name, and all below it.
    Name(String),
    Network(IpNet),
}

impl Proxies {
    /// By `variable`, which knows the environment: `http_proxy` (in lower case alone: a server's `HTTP_PROXY` is what a
    /// client's field `Proxy` says), `https_proxy`, `all_proxy`, `no_proxy`, and these in upper case.
    pub fn of(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let said = |name: &&'static str| Some((*name, variable(name).filter(|value| !value.trim().is_empty())?));
            names.iter().find_map(said)
        };
        let proxy = |names: &[&'static str]| {
            first(names).map(|(name, value)| proxy(value.trim()).ok_or(ProxiesError::Form(name)))
        };
        let except = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| exceptions(&value)).unwrap_or_default();
        Self(Arc::new(Inner {
            http: proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except,
        }))
    }

    /// The way to `origin`: by its proxy, if it is behind one.
    pub fn route(&self, origin: &Origin) -> Result<Origin, ProxiesError> {
        let target = origin.target();
        let Place::Tcp { host, .. } = &target.place else { return Ok(origin.clone()) };
        let Inner { http, https, except } = &*self.0;
        let said = if target.tls.is_some() { https } else { http };
        let Some(proxy) = said.as_ref().filter(|_| !except.iter().any(|exception| exception.holds(host))) else {
            return Ok(origin.clone());
        };
        let proxy = proxy.clone()?;
        if target.egress != Egress::Any {
            return Err(ProxiesError::Unchecked { origin: origin.clone(), proxy });
        }
        Ok(origin.through(proxy))
    }
}

impl Exception {
    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Name(name), Host::Name(host)) => {
                host.strip_suffix(name.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            (Self::Network(network), Host::Address(address)) => network.contains(address),
            _ => false,
        }
    }
}

/// `[http://][USER:PASSWORD@]HOST[:PORT][/]`.
fn proxy(text: &str) -> Option<Proxy> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) => Some(rest).filter(|_| scheme.eq_ignore_ascii_case("http"))?,
        None => text,
    };
    let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    // An address of IPv6 is in brackets.
    let (host, port) = match place.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (place, PORT),
    };
    let authorization = match user {
        Some(user) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            Some(basic(&[decoded(name)?, b":".to_vec(), decoded(password)?].concat()))
        }
        None => None,
    };
    Some(Proxy::new(Host::parse(host)?, port, authorization))
}

/// RFC 3986, section 2.1.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_at_checked(2));
        match escaped {
            None => {
                bytes.push(*first);
                rest = after;
            }
            Some(escaped) => {
                let (digits, after) = escaped?;
                let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
        }
    }
    Some(bytes)
}

/// Parted by commas or blanks. What is none of them matches nothing.
fn exceptions(text: &str) -> Vec<Exception> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let exception = |word: &str| {
        if word == "*" {
            return Exception::All;
        }
        let bare = word.trim_start_matches('[').trim_end_matches(']');
        match (word.parse::<IpNet>(), bare.parse::<IpAddr>()) {
            (Ok(network), _) => Exception::Network(network),
            (_, Ok(address)) => Exception::Network(address.into()),
            _ => Exception::Name(word.trim_matches('.').to_ascii_lowercase()),
        }
    };
    words.map(exception).filter(|exception| *exception != Exception::Name(String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HTTP, Protocol, SystemRoots, Tls};

    fn route(variables: &[(&str, &str)], to: &str, egress: Egress) -> String {
        let said = |name: &str| variables.iter().find(|(said, _)| *said == name).map(|(_, value)| (*value).to_owned());
        let tls = Tls::system(&SystemRoots::default(), HTTP);
        let origin = Origin::new(&to.parse().unwrap(), Protocol::Http1, &tls, egress).unwrap();
        match Proxies::of(said).route(&origin) {
            Ok(origin) => origin.target().via.as_ref().map_or("directly".to_owned(), ToString::to_string),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn which_variable_counts() {
        let (http, https) = ("http://a.test", "https://a.test");
        for (variables, to, expected) in [
            (&[][..], https, "directly"),
            (&[("http_proxy", "http://p:1")], http, "p:1"),
            (&[("http_proxy", "http://p:1")], https, "directly"),
            (&[("HTTP_PROXY", "http://p:1")], http, "directly"),
            (&[("https_proxy", "http://p:1"), ("HTTPS_PROXY", "http://p:2")], https, "p:1"),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://p:2")], https, "p:2"),
            (&[("HTTPS_PROXY", "p:2"), ("ALL_PROXY", "p:3")], https, "p:2"),
            (&[("HTTPS_PROXY", "p:2"), ("ALL_PROXY", "p:3")], http, "p:3"),
            (&[("all_proxy", "HTTP://p/"), ("ALL_PROXY", "p:3")], http, "p:1080"),
            (&[("all_proxy", "me:secret@[::1]:8")], http, "[::1]:8"),
            (&[("all_proxy", "[::1]")], http, "[::1]:1080"),
        ] {
            assert_eq!(route(variables, to, Egress::Any), expected, "{variables:?} {to}");
        }
    }

    #[test]
    fn what_names_no_proxy_is_said_without_its_secret() {
        for value in [
            "socks5://me:secret@p:1",
            "https://me:secret@p:1",
            "me:secret@p:0",
            "me:secret@p:x",
            "me:secret@",
            "me:%zz@p",
            "me:%+1@p",
            "me:%2@p",
            "a b",
        ] {
            let said = "the variable https_proxy names no proxy of a known kind: write http://HOST:PORT";
            assert_eq!(route(&[("https_proxy", value)], "https://a.test", Egress::Any), said, "{value}");
            assert_eq!(route(&[("https_proxy", value)], "http://a.test", Egress::Any), "directly", "{value}");
        }
    }

    #[test]
    fn what_is_reached_without() {
        for (except, to, without) in [
            ("a.test", "https://a.test", true),
            ("A.test.", "https://a.test:8443", true),
            (".a.test", "https://a.test", true),
            ("a.test", "https://x.a.test", true),
            (".a.test", "https://x.a.test", true),
            ("a.test", "https://xa.test", false),
            ("b.test, a.test", "https://a.test", true),
            ("b.test  a.test", "https://a.test", true),
            ("b.test,", "https://a.test", false),
            (",.", "https://a.test", false),
            ("*", "https://a.test", true),
            ("*.test", "https://a.test", false),
            ("10.0.0.1", "https://10.0.0.1", true),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("10.0.0.0/33", "https://10.0.0.1", false),
            ("0.1", "https://10.0.0.1", false),
            ("::1", "https://[::1]", true),
            ("[::1]", "https://[::1]", true),
            ("fd00::/8", "https://[fd00::1]", true),
        ] {
            for name in ["no_proxy", "NO_PROXY"] {
                let found = route(&[("https_proxy", "p:1"), (name, except)], to, Egress::Any);
                assert_eq!(found, if without { "directly" } else { "p:1" }, "{except} {to}");
            }
        }
        let both = [("https_proxy", "p:1"), ("no_proxy", "b.test"), ("NO_PROXY", "a.test")];
        assert_eq!(route(&both, "https://a.test", Egress::Any), "p:1", "lower case first");
    }

    #[test]
    fn where_an_address_is_to_be_checked_no_proxy_looks_it_up() {
        let variables = [("all_proxy", "me:secret@p:1"), ("no_proxy", "b.test")];
        assert_eq!(
            route(&variables, "http://a.test", Egress::Public),
            "http://a.test is behind the proxy p:1, where nobody checks which address its name leads to"
        );
        assert_eq!(route(&variables, "http://b.test", Egress::Public), "directly");
    }
}
