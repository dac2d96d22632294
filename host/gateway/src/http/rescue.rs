//! What went wrong, as a client sees it: one place where a failure becomes a status, and one plain page. The reason is for
//! the log alone.

use std::borrow::Cow;

use atoll_runtime::Failure;
use atoll_semantics::{
    authority::AuthorityError,
    path::PathError,
    quality::{Quality, alternatives},
    range::unsatisfied_range,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
        RETRY_AFTER,
    },
};

use crate::http::payload::Payload;

/// Why a request does not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Path(#[from] PathError),
    /// `OPTIONS` alone asks about `*`; a scheme is `http` or `https`.
    #[error("bad target")]
    Target,
    #[error("encoded separator in the path")]
    HiddenSeparator,
    /// An upstream with `raw-path` gets what was sent, of which a prefix can't be taken that isn't there.
    #[error("the path's prefix is spelled in another way")]
    HiddenPrefix,
    #[error("not for this connection's certificate")]
    Misdirected,
    /// CONNECT and TRACE: nothing here is a tunnel, and no request comes back.
    #[error("method not implemented")]
    Method,
    #[error("nothing is there")]
    Absent,
    #[error("refused: {reason}")]
    Refused { status: StatusCode, reason: String },
    #[error("router: {0}")]
    Router(Failure),
    #[error("{0}")]
    Service(Failure),
    #[error("the body broke off: {0}")]
    Body(String),
    #[error("no upstream \"{0}\"")]
    NoUpstream(String),
    #[error("bad decision: {0}")]
    Decision(String),
    #[error("upstream unreachable: {0}")]
    Unreachable(String),
    /// Nothing answered at all, in the time that there is for it.
    #[error("upstream unreachable: {0}")]
    Silent(String),
    #[error("upstream broke off: {0}")]
    Broken(String),
    #[error("upstream timed out")]
    Slow,
    /// A length beside a transfer coding: two readers would find two ends (RFC 9112, section 6.1).
    #[error("two lengths")]
    Framing,
    #[error("unknown transfer coding")]
    Coding,
    #[error("the request's body broke off")]
    Request,
    #[error("too many fields")]
    Fields,
    #[error("the client sent too little")]
    ClientStalled,
    #[error("precondition failed")]
    Precondition,
    #[error("range not satisfiable")]
    Range { length: u64 },
}

impl Fault {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Authority(_)
            | Self::Path(_)
            | Self::Target
            | Self::HiddenSeparator
            | Self::HiddenPrefix
            | Self::Framing
            | Self::Request => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Method | Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Absent => StatusCode::NOT_FOUND,
            Self::Refused { status, .. } => *status,
            Self::Router(failure) => status(failure, StatusCode::INTERNAL_SERVER_ERROR),
            Self::Service(failure) => status(failure, StatusCode::BAD_GATEWAY),
            Self::Decision(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Body(_) | Self::NoUpstream(_) | Self::Unreachable(_) | Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Slow | Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Fields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// For the log.
    pub(super) fn reason(&self) -> Option<Cow<'static, str>> {
        match self {
            // Nothing went wrong: the client asked for this.
            Self::Precondition | Self::Range { .. } => None,
            fault => Some(brief(&fault.to_string()).into()),
        }
    }

    /// The page: JSON where the client would rather have it, else text.
    pub(super) fn response(&self, method: &Method, request: &HeaderMap) -> Response<Payload> {
        let status = self.status();
        let words = status.canonical_reason().unwrap_or("Error");
        let (media, page) = if prefers_json(request) {
            ("application/json", format!("{{\"status\":{},\"error\":\"{words}\"}}\n", status.as_u16()))
        } else {
            ("text/plain; charset=utf-8", format!("{} {words}\n", status.as_u16()))
        };
        let mut head = HeaderMap::with_capacity(6);
        head.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        head.insert(CONTENT_LENGTH, page.len().into());
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Router(Failure::NotServing { retry_after }) | Self::Service(Failure::NotServing { retry_after }) => {
                head.insert(RETRY_AFTER, (*retry_after).into());
            }
            Self::Range { length } => {
                head.insert(CONTENT_RANGE, unsatisfied_range(*length));
                head.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            }
            Self::Method => drop(head.insert(ALLOW, HeaderValue::from_static(ALLOWED))),
            // Where the next request would begin is not known for sure.
            Self::Framing | Self::Coding | Self::Request => {
                head.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        let payload = if *method == Method::HEAD { Payload::empty() } else { Payload::whole(Bytes::from(page)) };
        let mut response = Response::new(payload);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        response
    }
}

/// In one line: of a trap what it was, since the backtrace before that is in the host's log.
fn brief(words: &str) -> String {
    let first = words.lines().next().unwrap_or_default();
    let cause = words.lines().filter_map(|line| line.strip_prefix("caused by: ")).next_back();
    match (first.split_once("trapped: "), cause) {
        (Some((who, _)), Some(cause)) => format!("{who}trapped: {cause}"),
        _ => first.to_owned(),
    }
}

/// What the host passes on, in the answer to `OPTIONS *` and beside a method that it doesn't.
pub(super) const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A guest's failure; `wrong` where it did something wrong.
fn status(failure: &Failure, wrong: StatusCode) -> StatusCode {
    match failure {
        Failure::NotServing { .. } | Failure::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Failure::Request => StatusCode::BAD_REQUEST,
        Failure::Trapped(_) | Failure::NoResponse(_) | Failure::BadAnswer(_) => wrong,
    }
}

/// Whether a client names JSON, and likes it no less than text.
fn prefers_json(request: &HeaderMap) -> bool {
    let (mut json, mut text): (Quality, Quality) = (0, 0);
    for (media, quality) in alternatives(request, &ACCEPT) {
        match media {
            "application/json" | "application/*" => json = json.max(quality),
            "text/plain" | "text/html" | "text/*" => text = text.max(quality),
            _ => {}
        }
    }
    json > 0 && json >= text
}

#[cfg(test)]
mod tests {
    use atoll_runtime::Failure;
    use atoll_semantics::{authority::AuthorityError, path::PathError};
    use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ACCEPT};
    use http_body_util::BodyExt as _;

    use super::Fault;

    #[test]
    fn statuses_and_reasons() {
        let trap = || Failure::Trapped("unreachable".into());
        for (fault, status, reason) in [
            (Fault::Authority(AuthorityError::Missing), 400, Some("no host")),
            (Fault::Path(PathError::AboveRoot), 400, Some("path leaves the root")),
            (Fault::Target, 400, Some("bad target")),
            (Fault::HiddenSeparator, 400, Some("encoded separator in the path")),
            (Fault::HiddenPrefix, 400, Some("the path's prefix is spelled in another way")),
            (Fault::Misdirected, 421, Some("not for this connection's certificate")),
            (Fault::Method, 501, Some("method not implemented")),
            (Fault::Absent, 404, Some("nothing is there")),
            (Fault::Refused { status: StatusCode::FORBIDDEN, reason: "private".into() }, 403, Some("refused: private")),
            (Fault::Router(trap()), 500, Some("router: trapped: unreachable")),
            (
                Fault::Router(Failure::Trapped(
                    "while it ran:\n  0: 0x1f - f\ncaused by: a trap\ncaused by: no more".into(),
                )),
                500,
                Some("router: trapped: no more"),
            ),
            (Fault::Router(Failure::NoResponse("x".into())), 500, Some("router: no response: x")),
            (Fault::Router(Failure::BadAnswer("x".into())), 500, Some("router: bad answer: x")),
            (Fault::Router(Failure::TimedOut), 504, Some("router: timed out")),
            (Fault::Router(Failure::Overloaded), 503, Some("router: overloaded")),
            (Fault::Router(Failure::NotServing { retry_after: 1 }), 503, Some("router: nothing serves yet")),
            (Fault::Service(trap()), 502, Some("trapped: unreachable")),
            (Fault::Service(Failure::NoResponse("x".into())), 502, Some("no response: x")),
            (Fault::Service(Failure::BadAnswer("x".into())), 502, Some("bad answer: x")),
            (Fault::Service(Failure::TimedOut), 504, Some("timed out")),
            (Fault::Service(Failure::Request), 400, Some("the request's body broke off")),
            (Fault::Service(Failure::Overloaded), 503, Some("overloaded")),
            (Fault::Body("x".into()), 502, Some("the body broke off: x")),
            (Fault::NoUpstream("app".into()), 502, Some("no upstream \"app\"")),
            (Fault::Decision("x".into()), 500, Some("bad decision: x")),
            (Fault::Unreachable("refused".into()), 502, Some("upstream unreachable: refused")),
            (Fault::Silent("timed out".into()), 504, Some("upstream unreachable: timed out")),
            (Fault::Broken("reset".into()), 502, Some("upstream broke off: reset")),
            (Fault::Slow, 504, Some("upstream timed out")),
            (Fault::Framing, 400, Some("two lengths")),
            (Fault::Coding, 501, Some("unknown transfer coding")),
            (Fault::Request, 400, Some("the request's body broke off")),
            (Fault::Fields, 431, Some("too many fields")),
            (Fault::ClientStalled, 408, Some("the client sent too little")),
            (Fault::Precondition, 412, None),
            (Fault::Range { length: 3 }, 416, None),
        ] {
            assert_eq!((fault.status().as_u16(), fault.reason().as_deref()), (status, reason));
        }
    }

    async fn page(fault: Fault, method: Method, accept: &'static str) -> (HeaderMap, String) {
        let request = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let (parts, body) = fault.response(&method, &request).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn text_or_json() {
        let (text, json) = ("502 Bad Gateway\n", "{\"status\":502,\"error\":\"Bad Gateway\"}\n");
        for (accept, expected) in [
            ("", text),
            ("*/*", text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", text),
            ("application/json", json),
            ("application/json, text/plain, */*", json),
            ("application/json;q=0.5, text/plain", text),
            ("application/json;q=0", text),
            ("application/*", json),
        ] {
            let (head, page) = page(Fault::Unreachable("10.0.0.3 refused".into()), Method::GET, accept).await;
            assert_eq!(page, expected, "{accept}");
            assert_eq!(head["content-length"], page.len().to_string().as_str());
            assert_eq!(head["cache-control"], "no-store");
        }
    }

    #[tokio::test]
    async fn what_a_page_says_beside() {
        let (head, body) = page(Fault::Service(Failure::NotServing { retry_after: 7 }), Method::HEAD, "").await;
        assert_eq!((&head["retry-after"], &head["content-length"], body.as_str()), (&7.into(), &24.into(), ""));
        let (head, _) = page(Fault::Range { length: 9 }, Method::GET, "").await;
        assert_eq!(head["content-range"], "bytes */9");
        let (head, _) = page(Fault::Method, Method::TRACE, "").await;
        assert_eq!(head["allow"], super::ALLOWED);
    }
}
