//! Whether an answer may be remembered, and how long it is fresh: RFC 9111 for a shared cache, narrowed to what asks for
//! it. What an answer's generation has to do with it is `memory`'s business.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, Method, StatusCode,
    header::{AGE, AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, SET_COOKIE},
};

use crate::{cache_control::Directives, vary::Varies};

/// Statuses that are understood well enough to be given again. A part, a 304 and a 412 answer one request alone.
const LASTING: [StatusCode; 14] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MULTIPLE_CHOICES,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
    StatusCode::URI_TOO_LONG,
    StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
];

/// Whether a request may be answered out of memory at all. One with credentials never is, whatever its answer allows: a
/// guest that forgets to say `private` gives nothing away.
pub fn askable(method: &Method, request: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && !request.contains_key(AUTHORIZATION)
}

/// What an answer that may be remembered says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub varies: Vec<http::HeaderName>,
    /// For an answer that its generation alone does not explain: how long it is fresh, and how old it came.
    pub lifetime: Duration,
    pub age: Duration,
}

impl Terms {
    /// None where the answer may not be remembered: it doesn't ask for it by `public` or `s-maxage`, or it must not.
    pub fn of(request: &HeaderMap, method: &Method, answer: &http::response::Parts, now: SystemTime) -> Option<Self> {
        let fields = &answer.headers;
        let directives = Directives::of(fields.get_all(CACHE_CONTROL));
        let asks = directives.public || directives.s_maxage.is_some();
        if *method != Method::GET
            || !askable(method, request)
            || !LASTING.contains(&answer.status)
            || !asks
            || directives.private
            || directives.no_store
            || fields.contains_key(SET_COOKIE)
            || Directives::of(request.get_all(CACHE_CONTROL)).no_store
        {
            return None;
        }
        let Varies::By(varies) = Varies::of(fields) else { return None };
        // What the host itself tells about the client is in no key.
        if varies.iter().any(|name| name.as_str().starts_with("x-forwarded-")) {
            return None;
        }
        let lifetime = if directives.no_cache { Duration::ZERO } else { lifetime(&directives, fields, now) };
        Some(Self { varies, lifetime, age: age(fields) })
    }
}

/// RFC 9111 section 4.2.1, without guessing.
fn lifetime(directives: &Directives, fields: &HeaderMap, now: SystemTime) -> Duration {
    let date = |name| {
        let mut values = fields.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        httpdate::parse_http_date(value.to_str().ok()?).ok()
    };
    directives.s_maxage.or(directives.max_age).unwrap_or_else(|| {
        let expires = date(EXPIRES).unwrap_or(SystemTime::UNIX_EPOCH);
        expires.duration_since(date(DATE).unwrap_or(now)).unwrap_or_default()
    })
}

/// How old an answer came, RFC 9111 section 5.1. What can't be read is as old as can be.
fn age(fields: &HeaderMap) -> Duration {
    let Some(value) = fields.get(AGE) else { return Duration::ZERO };
    let seconds = value.to_str().ok().and_then(|seconds| seconds.trim().parse::<u32>().ok());
    Duration::from_secs(seconds.unwrap_or(u32::MAX).into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{Method, Response, StatusCode};

    use super::{Terms, askable};
    use crate::testing::fields;

    fn terms(
        method: &Method,
        request: &[(&'static str, &'static str)],
        status: u16,
        answer: &[(&'static str, &'static str)],
    ) -> Option<Terms> {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(status).unwrap();
        parts.headers = fields(answer);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        Terms::of(&fields(request), method, &parts, now)
    }

    #[test]
    fn what_may_be_remembered() {
        let public = &[("cache-control", "public")][..];
        for (method, request, status, answer, yes) in [
            (Method::GET, &[][..], 200, public, true),
            (Method::GET, &[], 200, &[("cache-control", "s-maxage=10")], true),
            (Method::GET, &[], 200, &[("cache-control", "public, no-cache")], true),
            (Method::GET, &[("cookie", "a=b")], 200, public, true),
            (Method::GET, &[], 404, public, true),
            (Method::GET, &[], 308, public, true),
            // Not asked for.
            (Method::GET, &[], 200, &[], false),
            (Method::GET, &[], 200, &[("cache-control", "max-age=60")], false),
            (Method::GET, &[], 200, &[("expires", "Sun, 06 Nov 2094 08:49:37 GMT")], false),
            // Not allowed.
            (Method::GET, &[], 200, &[("cache-control", "public, private")], false),
            (Method::GET, &[], 200, &[("cache-control", "public"), ("cache-control", "no-store")], false),
            (Method::GET, &[], 200, &[("cache-control", "public"), ("set-cookie", "a=b")], false),
            (Method::GET, &[], 200, &[("cache-control", "public"), ("vary", "*")], false),
            (Method::GET, &[], 200, &[("cache-control", "public"), ("vary", "x-forwarded-for")], false),
            (Method::GET, &[("authorization", "Basic eA==")], 200, public, false),
            (Method::GET, &[("cache-control", "no-store")], 200, public, false),
            (Method::HEAD, &[], 200, public, false),
            (Method::POST, &[], 200, public, false),
            // One request's own.
            (Method::GET, &[], 206, public, false),
            (Method::GET, &[], 304, public, false),
            (Method::GET, &[], 412, public, false),
            (Method::GET, &[], 416, public, false),
            (Method::GET, &[], 500, public, false),
            (Method::GET, &[], 503, public, false),
        ] {
            assert_eq!(
                terms(&method, request, status, answer).is_some(),
                yes,
                "{method} {request:?} {status} {answer:?}"
            );
        }
    }

    #[test]
    fn how_long_it_is_fresh() {
        for (answer, lifetime, age) in [
            (&[("cache-control", "public")][..], 0, 0),
            (&[("cache-control", "public, max-age=60")], 60, 0),
            (&[("cache-control", "public, max-age=60, s-maxage=5")], 5, 0),
            (&[("cache-control", "public, no-cache, max-age=60")], 0, 0),
            (&[("cache-control", "public"), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], 60, 0),
            (
                &[
                    ("cache-control", "public"),
                    ("date", "Sun, 06 Nov 1994 08:50:27 GMT"),
                    ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
                ],
                10,
                0,
            ),
            (&[("cache-control", "public"), ("expires", "0")], 0, 0),
            (&[("cache-control", "public, max-age=60"), ("expires", "0")], 60, 0),
            // No guess from the last change.
            (&[("cache-control", "public"), ("last-modified", "Sun, 06 Nov 1984 08:49:37 GMT")], 0, 0),
            (&[("cache-control", "public, max-age=60"), ("age", "50")], 60, 50),
            (&[("cache-control", "public, max-age=60"), ("age", "old")], 60, u32::MAX.into()),
        ] {
            let terms = terms(&Method::GET, &[], 200, answer).unwrap();
            assert_eq!(
                (terms.lifetime, terms.age),
                (Duration::from_secs(lifetime), Duration::from_secs(age)),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn what_may_be_asked_of_memory() {
        for (method, request, yes) in [
            (Method::GET, &[][..], true),
            (Method::HEAD, &[("cookie", "a=b")], true),
            (Method::GET, &[("authorization", "")], false),
            (Method::POST, &[], false),
            (Method::OPTIONS, &[], false),
        ] {
            assert_eq!(askable(&method, &fields(request)), yes);
        }
    }
}
