//! What a `Cache-Control` says, RFC 9111 section 5.2, as far as a shared cache cares.

use std::time::Duration;

use http::HeaderValue;

/// The longest age that anybody may mean, RFC 9111 section 1.2.2.
const LONGEST: u64 = 1 << 31;

/// The directives of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive that is there or not")]
pub struct Directives {
    pub public: bool,
    pub private: bool,
    pub no_store: bool,
    pub no_cache: bool,
    pub no_transform: bool,
    pub max_age: Option<Duration>,
    pub s_maxage: Option<Duration>,
}

impl Directives {
    /// Reads all fields of the name. Of a directive that stands twice the stricter counts; one whose argument can't be
    /// read is stale at once, RFC 9111 section 4.2.1.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut read = Self::default();
        for value in values {
            let mut rest = value.as_bytes();
            while let Some(directive) = next(&mut rest) {
                read.take(directive);
            }
        }
        read
    }

    fn take(&mut self, directive: &[u8]) {
        let mut parts = directive.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let argument = parts.next().map(<[u8]>::trim_ascii);
        let stricter = |known: Option<Duration>| {
            let age = seconds(argument.unwrap_or_default());
            Some(known.map_or(age, |known| known.min(age)))
        };
        match name.to_ascii_lowercase().as_slice() {
            b"public" => self.public = true,
            // With field names too: whoever asks for less than the whole gets more.
            b"private" => self.private = true,
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"no-transform" => self.no_transform = true,
            b"max-age" => self.max_age = stricter(self.max_age),
            b"s-maxage" => self.s_maxage = stricter(self.s_maxage),
            _ => {}
        }
    }
}

/// Takes one element off a list; a comma within quotes is none.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let mut quoted = false;
    let mut escaped = false;
    let end = rest.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return true,
            _ => {}
        }
        false
    });
    let element = &rest[..end.unwrap_or(rest.len())];
    *rest = end.map_or(&[], |end| &rest[end + 1..]);
    Some(element)
}

fn seconds(argument: &[u8]) -> Duration {
    let digits = argument.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(argument);
    let readable = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let parsed = std::str::from_utf8(digits).ok().filter(|_| readable).map(|digits| digits.parse().unwrap_or(LONGEST));
    Duration::from_secs(parsed.unwrap_or(0).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::Directives;

    #[test]
    fn directives() {
        let none = Directives::default();
        let age = |seconds| Some(Duration::from_secs(seconds));
        for (values, expected) in [
            (&[][..], none),
            (&[""], none),
            (&["public"], Directives { public: true, ..none }),
            (&["Public , MAX-AGE=60"], Directives { public: true, max_age: age(60), ..none }),
            (&["public", "no-transform"], Directives { public: true, no_transform: true, ..none }),
            (&["s-maxage=10,max-age=0"], Directives { s_maxage: age(10), max_age: age(0), ..none }),
            (&["max-age=\"10\""], Directives { max_age: age(10), ..none }),
            (&["max-age=10, max-age=5"], Directives { max_age: age(5), ..none }),
            (&["max-age"], Directives { max_age: age(0), ..none }),
            (&["max-age=-1"], Directives { max_age: age(0), ..none }),
            (&["max-age=1.5"], Directives { max_age: age(0), ..none }),
            (&["max-age=99999999999999999999999"], Directives { max_age: age(1 << 31), ..none }),
            (&["private"], Directives { private: true, ..none }),
            (&["private=\"set-cookie, x\", no-store"], Directives { private: true, no_store: true, ..none }),
            (&["no-cache=\"public\""], Directives { no_cache: true, ..none }),
            (&["x=\"\\\", public\""], none),
            (&["x=\"public"], none),
            (&[",,public,"], Directives { public: true, ..none }),
            (&["publicly"], none),
        ] {
            let values: Vec<_> = values.iter().map(|value| HeaderValue::from_static(value)).collect();
            assert_eq!(Directives::of(&values), expected, "{values:?}");
        }
    }
}
