//! Content codings, RFC 9110 section 8.4: which one a client likes best, what is worth encoding, and how an encoded answer
//! is marked.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG},
};

use crate::{
    cache_control::Directives,
    quality::{Quality, alternatives},
};

/// Below this a coding saves less than its head costs.
const LEAST: usize = 1024;

/// How the bytes of a representation are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Brotli,
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`, and what an entity tag of its own ends in.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// The coding that a request likes best, RFC 9110 section 12.5.3. Where it likes none, the bytes as they are: a client that
/// refuses them too gets what it can't complain of.
pub fn preferred(request: &HeaderMap) -> Coding {
    if !request.contains_key(ACCEPT_ENCODING) {
        return Coding::Identity;
    }
    let Likings { brotli, gzip, identity, any } = Likings::of(request);
    let brotli = brotli.or(any).unwrap_or(0);
    let gzip = gzip.or(any).unwrap_or(0);
    let best = brotli.max(gzip);
    if best == 0 || identity.is_some_and(|identity| identity > best) {
        Coding::Identity
    } else if brotli >= gzip {
        Coding::Brotli
    } else {
        Coding::Gzip
    }
}

/// Whether a coding is accepted at all.
pub fn accepted(request: &HeaderMap, coding: Coding) -> bool {
    let Likings { brotli, gzip, identity, any } = Likings::of(request);
    let named = match coding {
        Coding::Identity => identity,
        Coding::Brotli => brotli,
        Coding::Gzip => gzip,
    };
    named.or(any).map_or(coding == Coding::Identity, |quality| quality > 0)
}

/// What an `Accept-Encoding` says of each coding, where it says anything; of what it says twice, the first.
#[derive(Default)]
struct Likings {
    brotli: Option<Quality>,
    gzip: Option<Quality>,
    identity: Option<Quality>,
    any: Option<Quality>,
}

impl Likings {
    fn of(request: &HeaderMap) -> Self {
        let mut likings = Self::default();
        for (name, quality) in alternatives(request, &ACCEPT_ENCODING) {
            let slot = match name {
                _ if name.eq_ignore_ascii_case("br") => &mut likings.brotli,
                // The same, RFC 9110 section 8.4.1.3.
                _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut likings.gzip,
                _ if name.eq_ignore_ascii_case("identity") => &mut likings.identity,
                "*" => &mut likings.any,
                _ => continue,
            };
            slot.get_or_insert(quality);
        }
        likings
    }
}

/// Whether a whole answer with this head may and should be encoded.
pub fn compressible(head: &HeaderMap, length: usize) -> bool {
    length >= LEAST
        && !head.contains_key(CONTENT_ENCODING)
        && head.get(CONTENT_TYPE).is_some_and(|media| compresses(media.as_bytes()))
        && !Directives::of(head.get_all(CACHE_CONTROL)).no_transform
}

/// The entity tag of an encoded answer: another than that of the bytes as they are, RFC 9110 section 8.8.3.3.
pub fn tag_of(identity: &HeaderValue, coding: Coding) -> Option<HeaderValue> {
    let mut tag = identity.as_bytes().strip_suffix(b"\"")?.to_vec();
    tag.extend_from_slice(b"-");
    tag.extend_from_slice(coding.name().as_bytes());
    tag.extend_from_slice(b"\"");
    HeaderValue::from_maybe_shared(Bytes::from(tag)).ok()
}

/// Marks a head as that of an encoded answer.
pub fn mark(head: &mut HeaderMap, coding: Coding) {
    head.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    if let Some(tag) = head.remove(ETAG).and_then(|tag| tag_of(&tag, coding)) {
        head.insert(ETAG, tag);
    }
}

/// Media types whose bytes are text, or have no compression of their own.
fn compresses(media: &[u8]) -> bool {
    let essence = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    essence.starts_with(b"text/") && essence != b"text/event-stream"
        || essence.ends_with(b"+json")
        || essence.ends_with(b"+xml")
        || matches!(
            essence.as_slice(),
            b"application/json"
                | b"application/javascript"
                | b"application/x-javascript"
                | b"application/xml"
                | b"application/wasm"
                | b"application/toml"
                | b"application/yaml"
                | b"application/x-ndjson"
                | b"application/rtf"
                | b"application/vnd.ms-fontobject"
                | b"font/ttf"
                | b"font/otf"
                | b"image/bmp"
                | b"image/x-icon"
                | b"image/vnd.microsoft.icon"
        )
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, header::ACCEPT_ENCODING};

    use super::{Coding, accepted, compressible, mark, preferred};

    fn accepting(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))])
    }

    #[test]
    fn what_a_client_likes_best() {
        use Coding::{Brotli, Gzip, Identity};
        for (value, coding) in [
            ("", Identity),
            ("gzip", Gzip),
            ("x-gzip", Gzip),
            ("GZip", Gzip),
            ("br", Brotli),
            ("gzip, deflate, br, zstd", Brotli),
            ("gzip;q=1.0, br;q=0.9", Gzip),
            ("gzip;q=0, br;q=0", Identity),
            ("br;q=0, gzip", Gzip),
            ("*", Brotli),
            ("*;q=0", Identity),
            ("br;q=0, *", Gzip),
            ("identity", Identity),
            ("identity, gzip;q=0.5", Identity),
            ("identity;q=0.5, gzip;q=0.5", Gzip),
            ("identity;q=0, gzip", Gzip),
            ("identity;q=0", Identity),
            ("deflate, zstd", Identity),
            ("gzip;q=nonsense", Identity),
        ] {
            assert_eq!(preferred(&accepting(value)), coding, "{value}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Identity);
    }

    #[test]
    fn what_a_client_accepts() {
        for (value, coding, yes) in [
            ("gzip", Coding::Gzip, true),
            ("gzip", Coding::Brotli, false),
            ("x-gzip", Coding::Gzip, true),
            ("X-GZIP;q=0, *", Coding::Gzip, false),
            ("*", Coding::Brotli, true),
            ("br;q=0, *", Coding::Brotli, false),
            ("gzip", Coding::Identity, true),
            ("identity;q=0", Coding::Identity, false),
        ] {
            assert_eq!(accepted(&accepting(value), coding), yes, "{value} {coding:?}");
        }
    }

    #[test]
    fn what_is_worth_encoding() {
        for (length, fields, yes) in [
            (1024, &[("content-type", "text/html; charset=utf-8")][..], true),
            (1023, &[("content-type", "text/html")], false),
            (1024, &[("content-type", "TEXT/CSS")], true),
            (1024, &[("content-type", "image/svg+xml")], true),
            (1024, &[("content-type", "application/ld+json")], true),
            (1024, &[("content-type", "application/wasm")], true),
            (1024, &[("content-type", "image/png")], false),
            (1024, &[("content-type", "font/woff2")], false),
            (1024, &[("content-type", "text/event-stream")], false),
            (1024, &[], false),
            (1024, &[("content-type", "text/html"), ("content-encoding", "br")], false),
            (1024, &[("content-type", "text/html"), ("cache-control", "public, no-transform")], false),
            (1024, &[("content-type", "text/html"), ("cache-control", "public")], true),
        ] {
            let head = fields
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(compressible(&head, length), yes, "{fields:?}");
        }
    }

    #[test]
    fn an_encoded_answer_has_a_tag_of_its_own() {
        for (tag, encoded) in [("\"a\"", Some("\"a-br\"")), ("W/\"a\"", Some("W/\"a-br\"")), ("a", None)] {
            let mut head = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static(tag))]);
            mark(&mut head, Coding::Brotli);
            assert_eq!(head.get("etag").map(|tag| tag.to_str().unwrap()), encoded);
            assert_eq!(head["content-encoding"], "br");
        }
    }
}
