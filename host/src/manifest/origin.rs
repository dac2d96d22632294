//! Origins, and the authority part of every URL that a manifest holds. Stricter than a browser: what two readers could
//! understand in two ways is refused, and so are credentials, which are never repeated in a message.

use std::fmt;

use url::Host;

use crate::text::quoted;

/// `https://host[:port]` (RFC 6454): what a component may reach, or where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub scheme: Scheme,
    /// A domain in lower-case A-labels without a trailing dot, or an address.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// What a URL without a port means.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)?;
        let scheme = url.web_scheme(text)?;
        if url.user.is_some() {
            return Err(
                "credentials do not belong in a URL: leave them out; who sends the request sets `authorization`".into(),
            );
        }
        let origin = url.origin(scheme);
        if !url.rest.is_empty() {
            return Err(format!("{} has more than scheme, host and port: write \"{origin}\"", quoted(text)));
        }
        Ok(origin)
    }

    /// `host[:port]`, the port only where it is not the scheme's own (RFC 9110 §4.2.3).
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// `scheme://[user[:password]@]host[:port][rest]`, cut up; the host and the port are checked.
pub(super) struct Url<'a> {
    /// Lower case.
    pub scheme: String,
    pub user: Option<&'a str>,
    pub password: bool,
    pub host: Host,
    pub port: Option<u16>,
    /// From the first `/`, `?` or `#` on.
    pub rest: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(format!(
                "{} is not a URL: it has a blank, a control character or a backslash",
                secretless(text)
            ));
        }
        let Some((scheme, after)) = text.split_once("://") else {
            return Err(format!("{} is not a URL: write \"https://host\" or \"http://host\"", secretless(text)));
        };
        let scheme = scheme.to_ascii_lowercase();
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|userinfo| userinfo.split_once(':')) {
            Some(Some((user, _))) => (Some(user), true),
            Some(None) => (userinfo, false),
            None => (None, false),
        };
        let (host, port) = split_port(host)?;
        let port = match port {
            Some(port) => Some(parse_port(port)?),
            None => None,
        };
        Ok(Self { scheme, user, password, host: parse_host(host)?, port, rest })
    }

    /// # Errors
    /// Where it is neither `http` nor `https`.
    pub(super) fn web_scheme(&self, text: &str) -> Result<Scheme, String> {
        match &*self.scheme {
            "http" => Ok(Scheme::Http),
            "https" => Ok(Scheme::Https),
            _ => Err(format!("{} is neither http:// nor https://", secretless(text))),
        }
    }

    pub(super) fn origin(&self, scheme: Scheme) -> Origin {
        Origin { scheme, host: self.host.clone(), port: self.port.unwrap_or(scheme.port()) }
    }
}

/// For a message: nothing that stands before an `@`.
pub(super) fn secretless(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, after)) => quoted(&format!("…@{after}")),
        None => quoted(text),
    }
}

/// `host:port` in two; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if authority.starts_with('[') {
        let Some((host, after)) = authority.split_once(']').map(|(host, after)| (&authority[..=host.len()], after))
        else {
            return Err(format!("{} has no closing bracket", quoted(authority)));
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("{} is not a host and a port", quoted(authority))),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err(format!("{} looks like an IPv6 address: write it in brackets, \"[::1]:80\"", quoted(authority)))
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(format!("{} is not a port: 1 to 65535", quoted(text))),
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        return Err("a URL needs a host".into());
    }
    if text.contains('*') {
        return Err(format!("{} is a pattern: name each host", quoted(text)));
    }
    let wrong = || format!("{} is not a host: a name, an IPv4 address, or an IPv6 address in brackets", quoted(text));
    // A percent sign would be decoded below.
    if text.contains('%') {
        return Err(wrong());
    }
    match Host::parse(text).map_err(|_| wrong())? {
        Host::Domain(domain) => {
            let domain = domain.strip_suffix('.').unwrap_or(&domain);
            let is_label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            };
            if domain.len() > 253 || !domain.split('.').all(is_label) {
                return Err(wrong());
            }
            Ok(Host::Domain(domain.to_owned()))
        }
        address => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_one_form() {
        for (text, form, authority) in [
            ("https://api.example.org", "https://api.example.org", "api.example.org"),
            ("https://api.example.org:443", "https://api.example.org", "api.example.org"),
            ("HTTPS://API.Example.org.", "https://api.example.org", "api.example.org"),
            ("http://10.0.0.3:8080", "http://10.0.0.3:8080", "10.0.0.3:8080"),
            ("http://127.1", "http://127.0.0.1", "127.0.0.1"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("http://[::1]", "http://[::1]", "[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("http://localhost:80", "http://localhost", "localhost"),
        ] {
            let origin = Origin::parse(text).expect(text);
            assert_eq!((&*origin.to_string(), &*origin.authority()), (form, authority), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_origin() {
        let secret = "credentials do not belong in a URL: leave them out; who sends the request sets `authorization`";
        let host = "is not a host: a name, an IPv4 address, or an IPv6 address in brackets";
        for (text, message) in [
            ("api.example.org", "`api.example.org` is not a URL: write \"https://host\" or \"http://host\""),
            ("ftp://a.test", "`ftp://a.test` is neither http:// nor https://"),
            ("https://me:secret@a.test", secret),
            ("https://token@a.test", secret),
            ("https://a.test/v1", "`https://a.test/v1` has more than scheme, host and port: write \"https://a.test\""),
            ("https://a.test/", "`https://a.test/` has more than scheme, host and port: write \"https://a.test\""),
            ("https://a.test?x", "`https://a.test?x` has more than scheme, host and port: write \"https://a.test\""),
            ("https://", "a URL needs a host"),
            ("https://:80", "a URL needs a host"),
            ("https://*.a.test", "`*.a.test` is a pattern: name each host"),
            ("https://a.test:0", "`0` is not a port: 1 to 65535"),
            ("https://a.test:+1", "`+1` is not a port: 1 to 65535"),
            ("https://a.test:99999", "`99999` is not a port: 1 to 65535"),
            ("https://a.test:", "`` is not a port: 1 to 65535"),
            ("https://::1", "`::1` looks like an IPv6 address: write it in brackets, \"[::1]:80\""),
            ("https://[::1", "`[::1` has no closing bracket"),
            ("https://[::1]x", "`[::1]x` is not a host and a port"),
            ("https://a..b", &format!("`a..b` {host}")),
            ("https://a%2eb", &format!("`a%2eb` {host}")),
            ("https://1.2.3.999", &format!("`1.2.3.999` {host}")),
            ("https://a b", "`https://a b` is not a URL: it has a blank, a control character or a backslash"),
            ("https://me:secret@a b", "`…@a b` is not a URL: it has a blank, a control character or a backslash"),
        ] {
            assert_eq!(Origin::parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
