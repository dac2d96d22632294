//! Content codings, RFC 9110 section 8.4: which one a client likes best, what is worth encoding, and how an encoded answer
//! is marked.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH},
};

use crate::{
    cache_control::Directives,
    precondition::{Tag, tags},
    quality::{Quality, alternatives},
    vary,
};

/// Below this a coding saves less than its head costs.
const LEAST: u64 = 1024;

/// What is said of bytes that an encoded answer does not have (RFC 9530).
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

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
    if !request.contains_key(ACCEPT_ENCODING) || Directives::of(request.get_all(CACHE_CONTROL)).no_transform {
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

/// Whether a whole answer with this head, and this length where it is known, may and should be encoded.
pub fn compressible(head: &HeaderMap, length: Option<u64>) -> bool {
    length.is_none_or(|length| length >= LEAST)
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

/// Of which bytes a tag is by its name: that of the bytes as they are.
fn identity_of(tag: Tag<'_>, coding: Coding) -> Option<Tag<'_>> {
    let opaque = tag.opaque.strip_suffix(coding.name().as_bytes())?.strip_suffix(b"-")?;
    Some(Tag { weak: tag.weak, opaque })
}

/// Adds to a request's preconditions, behind the tags of encoded answers, those of the bytes as they are: who has them knows
/// no others. A client may go on without the answer only where it would get that coding again; it may change what it has
/// seen in any.
pub fn name_identity(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MATCH] {
        if !request.contains_key(&name) {
            continue;
        }
        let codings: &[Coding] = if name == IF_MATCH { &[Coding::Brotli, Coding::Gzip] } else { &[preferred(request)] };
        // One line: nginx takes no second one.
        let lines: Vec<_> = request.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        let mut list = lines.join(&b", "[..]);
        let held = list.len();
        for tag in request.get_all(&name).iter().flat_map(tags) {
            for identity in codings.iter().filter_map(|coding| identity_of(tag, *coding)) {
                list.extend_from_slice(if identity.weak { b", W/\"" } else { b", \"" });
                list.extend_from_slice(identity.opaque);
                list.extend_from_slice(b"\"");
            }
        }
        if list.len() > held
            && let Ok(list) = HeaderValue::from_maybe_shared(Bytes::from(list))
        {
            request.insert(name, list);
        }
    }
}

/// Gives a 304 the tag of what the client has, where that is the encoded answer.
pub fn name_encoded(request: &HeaderMap, not_modified: &mut HeaderMap) {
    let coding = preferred(request);
    let Some(encoded) = not_modified.get(ETAG).filter(|_| coding != Coding::Identity) else { return };
    let Some(encoded) = tag_of(encoded, coding) else { return };
    let Some(tag) = Tag::parse(encoded.as_bytes()) else { return };
    if request.get_all(IF_NONE_MATCH).iter().flat_map(tags).any(|held| held.opaque == tag.opaque) {
        not_modified.insert(ETAG, encoded);
        vary::add(not_modified, &ACCEPT_ENCODING);
    }
}

/// Marks a head as that of an encoded answer.
pub fn mark(head: &mut HeaderMap, coding: Coding) {
    head.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    if let Some(tag) = head.remove(ETAG).and_then(|tag| tag_of(&tag, coding)) {
        head.insert(ETAG, tag);
    }
    for name in DIGESTS {
        head.remove(name);
    }
}

/// Media types whose bytes are text, or have no compression of their own.
fn compresses(media: &[u8]) -> bool {
    let essence = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    essence.starts_with(b"text/")
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

    use super::{Coding, accepted, compressible, mark, name_encoded, name_identity, preferred};
    use crate::testing::fields;

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
        let as_it_is = [("accept-encoding", "br, gzip"), ("cache-control", "max-age=0, no-transform")];
        assert_eq!(preferred(&fields(&as_it_is)), Identity);
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
            (Some(1024), &[("content-type", "text/html; charset=utf-8")][..], true),
            (Some(1023), &[("content-type", "text/html")], false),
            (None, &[("content-type", "text/html")], true),
            (None, &[("content-type", "image/png")], false),
            (None, &[("content-type", "text/event-stream")], true),
            (Some(1024), &[("content-type", "TEXT/CSS")], true),
            (Some(1024), &[("content-type", "image/svg+xml")], true),
            (Some(1024), &[("content-type", "application/ld+json")], true),
            (Some(1024), &[("content-type", "application/wasm")], true),
            (Some(1024), &[("content-type", "image/png")], false),
            (Some(1024), &[("content-type", "font/woff2")], false),
            (Some(1024), &[], false),
            (Some(1024), &[("content-type", "text/html"), ("content-encoding", "br")], false),
            (Some(1024), &[("content-type", "text/html"), ("cache-control", "public, no-transform")], false),
            (Some(1024), &[("content-type", "text/html"), ("cache-control", "public")], true),
        ] {
            assert_eq!(compressible(&self::fields(fields), length), yes, "{fields:?}");
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

    #[test]
    fn an_encoded_answer_has_no_digest_of_other_bytes() {
        let mut head = fields(&[("repr-digest", "a"), ("content-digest", "b"), ("digest", "c"), ("content-md5", "d")]);
        mark(&mut head, Coding::Gzip);
        assert_eq!(head, fields(&[("content-encoding", "gzip")]));
    }

    /// What is asked of who knows only the bytes as they are.
    #[test]
    fn the_tag_of_an_encoded_answer_stands_for_that_of_the_bytes() {
        for (accepting, name, tags, added) in [
            ("br", "if-none-match", "\"a-br\"", Some("\"a\"")),
            ("br", "if-none-match", "W/\"a-br\", \"b\",\"c-br\"", Some("W/\"a\", \"c\"")),
            ("br", "if-none-match", "\"a-gzip\"", None),
            ("gzip", "if-none-match", "\"a-gzip\"", Some("\"a\"")),
            ("", "if-none-match", "\"a-br\"", None),
            ("br", "if-none-match", "\"abr\", \"a\", *", None),
            ("", "if-match", "\"a-br\", \"b-gzip\"", Some("\"a\", \"b\"")),
            ("br", "if-match", "\"a\"", None),
            ("br", "if-range", "\"a-br\"", None),
        ] {
            let name = HeaderName::from_static(name);
            let mut request = accepting_with(accepting, &name, tags);
            let mut expected = request.clone();
            if let Some(added) = added {
                expected.insert(&name, HeaderValue::try_from(format!("{tags}, {added}")).unwrap());
            }
            name_identity(&mut request);
            assert_eq!(request, expected, "{accepting} {tags}");
        }
    }

    #[test]
    fn a_304_has_the_tag_of_what_the_client_has() {
        for (accepting, held, tag, named) in [
            ("br", "\"a-br\", \"a\"", "\"a\"", "\"a-br\""),
            ("br", "\"a-br\"", "W/\"a\"", "W/\"a-br\""),
            ("br", "\"a\"", "\"a\"", "\"a\""),
            ("gzip", "\"a-br\"", "\"a\"", "\"a\""),
            ("", "\"a-br\"", "\"a\"", "\"a\""),
            ("br", "\"a-br\"", "a", "a"),
        ] {
            let request = accepting_with(accepting, &http::header::IF_NONE_MATCH, held);
            let mut head = fields(&[("etag", tag)]);
            name_encoded(&request, &mut head);
            assert_eq!(head["etag"], named, "{accepting} {held}");
            assert_eq!(head.contains_key("vary"), tag != named, "{accepting} {held}");
        }
    }

    fn accepting_with(value: &'static str, name: &HeaderName, tags: &'static str) -> HeaderMap {
        let mut request = accepting(value);
        request.append(name.clone(), HeaderValue::from_static(tags));
        request
    }
}
