//! What the fuzzers call: for each kind of bytes, what must hold whatever they are. Inputs are text, so that seeds can be
//! written by hand: lines, and heads with an empty line behind them.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, ETAG, HOST, IF_MATCH, IF_NONE_MATCH, RANGE, TE},
};
use smallvec::SmallVec;

use crate::{
    authority::Authority,
    cache_control::Directives,
    coding::{self, Coding},
    forwarded::{self, Origin},
    hop,
    network::Network,
    no_vary_search::SearchRule,
    path::one_form,
    precondition::{self, Condition, Tag},
    quality::alternatives,
    range::{self, Span, Wanted},
    scheme::Scheme,
    storing::Terms,
    vary::{self, Varies},
};

/// An authority, and on the next line a path.
pub fn target(bytes: &[u8]) {
    let (authority, path) = line(bytes);
    if let Ok(authority) = Authority::parse(authority) {
        let again = Authority::parse(authority.with_port(0).as_bytes());
        let port = authority.port.filter(|port| *port != 0);
        assert_eq!(again, Ok(Authority { name: authority.name.clone(), port }), "its form is not its own");
    }
    let Ok(path) = std::str::from_utf8(path) else { return };
    let Ok(form) = one_form(path) else { return };
    let (hidden, form) = (form.hidden_separator, form.path.into_owned());
    assert!(form.starts_with('/') && form.len() <= 3 * path.len());
    assert!(form.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
    assert!(!hidden || path.contains(['%', '\\']));
    let segments: Vec<&str> = form.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        assert!(!matches!(*segment, "." | "..") && (last || !segment.is_empty()), "{form}");
    }
    for separator in ["%2F", "%5C", "%00"] {
        assert!(!form.contains(separator), "{form}");
    }
    let again = one_form(&form).expect("a form has one");
    assert_eq!((again.path.as_ref(), again.hidden_separator), (form.as_str(), false), "not a fixed point");
    assert!(matches!(again.path, std::borrow::Cow::Borrowed(_)), "copied in vain");
    // Another spelling of it: whatever may be encoded is.
    let mut spelt = String::new();
    let mut rest = form.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' => spelt.extend(['%'].into_iter().chain(rest.by_ref().take(2))),
            '.' | '-' | '_' | '~' | '0'..='9' | 'a'..='z' | 'A'..='Z' => {
                let _ = write!(spelt, "%{:02x}", u32::from(character));
            }
            _ => spelt.push(character),
        }
    }
    assert_eq!(one_form(&spelt).expect("a spelling of one").path, form, "{spelt}");
}

/// A length, and on each line after it a `Range`.
pub fn range(bytes: &[u8]) {
    let (length, values) = line(bytes);
    let Some(length) = text(length).and_then(|length| length.parse::<u64>().ok()) else { return };
    let mut request = HeaderMap::new();
    for value in values.split(|byte| *byte == b'\n') {
        request.extend(HeaderValue::from_bytes(value).ok().map(|value| (Some(RANGE), value)));
    }
    let wanted = range::wanted(&request, length);
    let spans = match &wanted {
        Wanted::Whole => return,
        Wanted::Unsatisfiable => {
            assert_eq!(range::unsatisfied_range(length), format!("bytes */{length}"));
            return;
        }
        Wanted::One(span) => vec![*span],
        Wanted::Several(spans) => spans.clone(),
    };
    assert!((1..=16).contains(&spans.len()) && (spans.len() > 1) == matches!(wanted, Wanted::Several(_)));
    for (at, span) in spans.iter().enumerate() {
        assert!(span.first < span.end && span.end <= length, "{span:?}");
        assert_eq!(span.content_range(length), format!("bytes {}-{}/{length}", span.first, span.end - 1));
        assert!(spans[..at].iter().all(|other| other.end <= span.first || span.end <= other.first), "{spans:?}");
    }
    let printed: Vec<_> = spans.iter().map(|Span { first, end }| format!("{first}-{}", end - 1)).collect();
    let printed = HeaderValue::try_from(format!("bytes={}", printed.join(","))).expect("digits");
    assert_eq!(range::wanted(&HeaderMap::from_iter([(RANGE, printed)]), length), wanted, "not what it says");
    if length <= 4096 {
        let whole = Bytes::from(vec![b'x'; usize::try_from(length).expect("below 4096")]);
        let body = range::multipart(&whole, &spans, None, "boundary");
        let parts: u64 = body.iter().skip(1).step_by(2).map(|part| part.len() as u64).sum();
        assert_eq!((body.len(), parts), (2 * spans.len() + 1, spans.iter().map(|span| span.length()).sum()));
    }
}

/// A request's head, then that of an answer.
pub fn precondition(bytes: &[u8]) {
    let (request, rest) = head(bytes);
    let (answer, _) = head(rest);
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let condition = precondition::evaluate(&request, &answer);
    if !request.keys().any(|name| name.as_str().starts_with("if-")) {
        assert_eq!(condition, Condition::Met);
        assert!(precondition::range_applies(&request, &answer, now));
    }
    if precondition::range_applies(&request, &answer, now) && request.contains_key("if-range") {
        assert!(answer.contains_key(ETAG) || answer.contains_key("last-modified"));
    }
    let Some(value) = answer.get(ETAG) else { return };
    let only = |name: HeaderName| precondition::evaluate(&HeaderMap::from_iter([(name, value.clone())]), &answer);
    match Tag::parse(value.as_bytes()) {
        Some(Tag { weak, opaque }) => {
            let printed = [if weak { &b"W/\""[..] } else { b"\"" }, opaque, b"\""].concat();
            assert_eq!(printed, value.as_bytes(), "not what it was read from");
            assert_eq!(only(IF_NONE_MATCH), Condition::NotModified);
            assert_eq!(only(IF_MATCH), if weak { Condition::Failed } else { Condition::Met });
        }
        // What can't be read is like nothing; but `*` is like anything.
        None if value.as_bytes().trim_ascii() != b"*" => assert_eq!(only(IF_MATCH), Condition::Failed),
        None => {}
    }
}

/// A request's head, then that of an answer.
pub fn coding(bytes: &[u8]) {
    let (request, rest) = head(bytes);
    let (mut answer, _) = head(rest);
    let best = coding::preferred(&request);
    assert!(best == Coding::Identity || coding::accepted(&request, best), "{best:?} is refused");
    for name in [ACCEPT_ENCODING, ACCEPT] {
        for (alternative, quality) in alternatives(&request, &name) {
            assert!(quality <= 1000 && !alternative.is_empty());
            let printed = format!("{alternative};q={}.{:03}", quality / 1000, quality % 1000);
            let printed = HeaderMap::from_iter([(ACCEPT, HeaderValue::try_from(printed).expect("parts of values"))]);
            assert_eq!(alternatives(&printed, &ACCEPT).collect::<Vec<_>>(), [(alternative, quality)]);
        }
    }
    if coding::compressible(&answer, Some(4096)) && best != Coding::Identity {
        let before = answer.get(ETAG).cloned();
        coding::mark(&mut answer, best);
        assert!(!coding::compressible(&answer, Some(4096)), "encoded twice");
        assert!(before.is_none() || answer.get(ETAG) != before.as_ref(), "two representations of one tag");
    }
}

/// A request's head, that of an answer, and a query.
pub fn caching(bytes: &[u8]) {
    let (request, rest) = head(bytes);
    let (fields, query) = head(rest);
    let directives = Directives::of(fields.get_all("cache-control"));
    assert_eq!(Directives::of(&[HeaderValue::try_from(printed(&directives)).expect("words")]), directives);
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.headers) = (StatusCode::OK, fields);
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    if let Some(terms) = Terms::of(&request, &Method::GET, &parts, now) {
        assert!(!directives.private && !directives.no_store && (directives.public || directives.s_maxage.is_some()));
        assert!(!request.contains_key("authorization") && !parts.headers.contains_key("set-cookie"));
        assert_eq!(Varies::of(&parts.headers), Varies::By(terms.varies));
    }
    vary::add(&mut parts.headers, &ACCEPT_ENCODING);
    let varies = match Varies::of(&parts.headers) {
        Varies::ByAll => true,
        Varies::By(names) => {
            names.contains(&ACCEPT_ENCODING) && names.is_sorted_by(|one, other| one.as_str() < other.as_str())
        }
    };
    assert!(varies, "it depends on what a client accepts");
    let (Some(rule), Some(query)) = (SearchRule::of(&parts.headers), text(query)) else { return };
    let written = |query: &str| {
        let mut out = SmallVec::<[u8; 64]>::new();
        rule.write(Some(query), &mut out);
        String::from_utf8(out.to_vec()).expect("parts of a query, at `&`")
    };
    let counts = written(query);
    assert!(counts.is_empty() || counts.starts_with('?'));
    assert_eq!(
        written(counts.strip_prefix('?').unwrap_or_default()),
        counts,
        "what counts of what counts is all of it"
    );
    let pairs: Vec<&str> = query.split('&').collect();
    assert!(counts.get(1..).is_none_or(|counts| counts.split('&').all(|pair| pairs.contains(&pair))));
}

/// An address, and then a request's head, as it came to us from there.
pub fn hops(bytes: &[u8]) {
    let (client, rest) = line(bytes);
    let (mut fields, _) = head(rest);
    let Some(client) = text(client).and_then(|client| client.parse().ok()) else { return };
    let peer = Origin { client, scheme: Scheme::Http };
    let authority = HeaderValue::from_static("a.test");
    let mut told = fields.clone();
    let stranger = forwarded::settle(&mut told, peer, &[]);
    assert_eq!(stranger, Origin { client: client.to_canonical(), ..peer }, "a stranger's claim counts");
    forwarded::tell(&mut told, &forwarded::hop(client), stranger, &authority);
    assert_eq!(told["x-forwarded-for"], client.to_canonical().to_string());
    assert!(told["x-forwarded-proto"] == "http" && told["x-forwarded-host"] == "a.test");
    let everybody = ["0.0.0.0", "::"].map(|all| Network::new(all.parse().expect("one"), 0).expect("within"));
    let mut passed = fields.clone();
    let origin = forwarded::settle(&mut passed, peer, &everybody);
    forwarded::tell(&mut passed, &forwarded::hop(client), origin, &authority);
    let hops = passed["x-forwarded-for"].to_str().expect("parts of readable values");
    assert!(hops.ends_with(&client.to_canonical().to_string()));
    let framing = [CONTENT_LENGTH, HOST].map(|name| fields.get_all(name).iter().cloned().collect::<Vec<_>>());
    hop::strip(&mut fields);
    assert!([CONNECTION, TE].iter().all(|name| !fields.contains_key(name)) && !fields.contains_key("keep-alive"));
    assert_eq!([CONTENT_LENGTH, HOST].map(|name| fields.get_all(name).iter().cloned().collect::<Vec<_>>()), framing);
    let once = fields.clone();
    hop::strip(&mut fields);
    assert_eq!(fields, once);
}

/// The first line, and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Fields up to an empty line, less what no server would hand on, and what follows them.
fn head(mut bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut fields = HeaderMap::new();
    loop {
        let (field, rest) = line(bytes);
        bytes = rest;
        if field.is_empty() || fields.len() == 100 {
            return (fields, bytes);
        }
        let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
        let (name, value) = (&field[..colon], field.get(colon + 1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// As a server would write it.
fn printed(directives: &Directives) -> String {
    let Directives { public, private, no_store, no_cache, no_transform, max_age, s_maxage } = *directives;
    let words = [
        (public, "public"),
        (private, "private"),
        (no_store, "no-store"),
        (no_cache, "no-cache"),
        (no_transform, "no-transform"),
    ];
    let mut printed: Vec<String> = words.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()).collect();
    for (age, name) in [(max_age, "max-age"), (s_maxage, "s-maxage")] {
        printed.extend(age.map(|age| format!("{name}={}", age.as_secs())));
    }
    printed.join(", ")
}

#[cfg(test)]
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept() {
    replay::replay("target", target);
    replay::replay("range", range);
    replay::replay("precondition", precondition);
    replay::replay("coding", coding);
    replay::replay("caching", caching);
    replay::replay("hops", hops);
}
