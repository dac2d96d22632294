//! How a token is shown: as the server's challenge says (RFC 9110, section 11), Basic (RFC 7617) or Bearer (RFC 6750).

use std::io;

use atoll_net::{Secret, basic};
use http::HeaderValue;

/// Longer than any token.
const MAX_TOKEN: u64 = 16 * 1024;

/// The user beside a token that stands alone: forges look at the token, and some want a name that is not empty.
const USER: &str = "x-access-token";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer,
}

impl Scheme {
    /// Of what a server offers: Basic, which every forge takes, else Bearer.
    pub(super) fn of<'a>(challenges: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for challenge in challenges.flat_map(|value| value.split(',')) {
            let scheme = challenge.trim_start().split(' ').next().unwrap_or_default();
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if scheme.eq_ignore_ascii_case("bearer") {
                found = Some(Self::Bearer);
            }
        }
        found
    }

    /// What the first line says: a token, or for Basic `USER:PASSWORD`.
    pub(super) fn credentials(self, secret: &Secret) -> io::Result<HeaderValue> {
        let wrong = |what: &str| io::Error::other(format!("the token in {secret} {what}"));
        let read = secret.read(MAX_TOKEN).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let text = String::from_utf8(read).map_err(|_| wrong("has characters that no token has"))?;
        // Some editors begin every text with a mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let token = text.lines().next().unwrap_or_default().trim();
        if token.is_empty() {
            let elsewhere = !text.trim().is_empty();
            return Err(wrong(if elsewhere { "is not in its first line, which is empty" } else { "is empty" }));
        }
        match self {
            Self::Bearer => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut value = value.map_err(|_| wrong("has characters that no token has"))?;
                value.set_sensitive(true);
                Ok(value)
            }
            Self::Basic if token.contains(':') => Ok(basic(token.as_bytes())),
            Self::Basic => Ok(basic(format!("{USER}:{token}").as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers() {
        for (challenges, scheme) in [
            (&["Basic realm=\"GitHub\""][..], Some(Scheme::Basic)),
            (&["Bearer realm=\"x\", basic realm=\"y\""], Some(Scheme::Basic)),
            (&["Negotiate", "bearer"], Some(Scheme::Bearer)),
            (&["Negotiate"], None),
            (&[], None),
        ] {
            assert_eq!(Scheme::of(challenges.iter().copied()), scheme, "{challenges:?}");
        }
    }

    #[test]
    fn tokens_are_shown_as_they_should() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, scheme, value) in [
            ("abc\n", Scheme::Bearer, Ok("Bearer abc")),
            // printf x-access-token:abc | base64
            ("abc\n", Scheme::Basic, Ok("Basic eC1hY2Nlc3MtdG9rZW46YWJj")),
            // RFC 7617, section 2.
            ("Aladdin:open sesame", Scheme::Basic, Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("\n", Scheme::Basic, Err("is empty")),
            ("\u{feff}abc\r\n", Scheme::Bearer, Ok("Bearer abc")),
            ("\u{feff}\n", Scheme::Basic, Err("is empty")),
            ("\nabc\n", Scheme::Bearer, Err("is not in its first line, which is empty")),
            ("a\x07b", Scheme::Bearer, Err("has characters that no token has")),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = scheme.credentials(&Secret::File(path.clone())).map_err(|error| error.to_string());
            let expected = value.map_err(|what| format!("the token in {} {what}", path.display()));
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected.as_ref().map(|value| *value));
        }
    }
}
