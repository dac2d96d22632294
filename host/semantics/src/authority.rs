//! The name that a request is for, in its one form: lower case, without a trailing dot, an address in brackets as RFC 5952
//! writes it. A name that no certificate and no route file could hold is refused here.

use std::{fmt, net::Ipv6Addr};

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// A name in A-labels, an IPv4 address, or an IPv6 address in brackets.
    pub name: Box<str>,
    /// As the client named it.
    pub port: Option<u16>,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("no host")]
    Missing,
    #[error("more than one host")]
    Several,
    #[error("bad host")]
    Bad,
    /// HTTP/2 with `Host` beside `:authority`, RFC 9113 section 8.3.1.
    #[error("host differs from the authority")]
    Differs,
}

impl Authority {
    /// RFC 9110 section 7.2, without user information; RFC 1123 names, with underscores, which are in use.
    pub fn parse(text: &[u8]) -> Result<Self, AuthorityError> {
        let text = std::str::from_utf8(text).map_err(|_| AuthorityError::Bad)?;
        let (host, port) = match text.rfind(':') {
            Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
            _ => (text, None),
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| AuthorityError::Bad)?)
            }
            Some(_) => return Err(AuthorityError::Bad),
        };
        let name = match host.strip_prefix('[') {
            Some(rest) => {
                let address: Ipv6Addr =
                    rest.strip_suffix(']').and_then(|inner| inner.parse().ok()).ok_or(AuthorityError::Bad)?;
                format!("[{address}]")
            }
            None => name(host)?,
        };
        Ok(Self { name: name.into_boxed_str(), port })
    }

    /// The name with the port, where it isn't the scheme's own.
    pub fn with_port(&self, default: u16) -> String {
        match self.port {
            Some(port) if port != default => format!("{}:{port}", self.name),
            _ => self.name.to_string(),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

fn name(host: &str) -> Result<String, AuthorityError> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() > 253 || !host.split('.').all(fits) {
        return Err(AuthorityError::Bad);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{Authority, AuthorityError};

    #[test]
    fn one_form_of_a_name() {
        for (text, name, port) in [
            ("example.org", "example.org", None),
            ("EXAMPLE.org", "example.org", None),
            ("example.org.", "example.org", None),
            ("example.org:8443", "example.org", Some(8443)),
            ("example.org.:443", "example.org", Some(443)),
            ("example.org:", "example.org", None),
            ("localhost", "localhost", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("_dmarc.example.org", "_dmarc.example.org", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[0:0::0:1]:8080", "[::1]", Some(8080)),
            ("[2001:DB8::1]", "[2001:db8::1]", None),
        ] {
            let authority = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!((authority.name.as_ref(), authority.port), (name, port), "{text}");
        }
    }

    #[test]
    fn what_is_no_authority() {
        let long = format!("{}.example.org", "a".repeat(64));
        let longer = "a.".repeat(127) + "a";
        for text in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a/b",
            "user@example.org",
            "example.org:99999",
            "example.org:8o",
            "example.org:-1",
            "example.org:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "%61.example",
            "*.example.org",
            "exa\u{301}mple.org",
            long.as_str(),
            longer.as_str(),
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), Err(AuthorityError::Bad), "{text}");
        }
        assert_eq!(Authority::parse(b"\xff.org"), Err(AuthorityError::Bad));
    }

    #[test]
    fn a_port_is_told_where_it_is_not_the_schemes_own() {
        for (text, default, told) in
            [("a.test:443", 443, "a.test"), ("a.test:8443", 443, "a.test:8443"), ("a.test", 443, "a.test")]
        {
            assert_eq!(Authority::parse(text.as_bytes()).unwrap().with_port(default), told);
        }
    }
}
