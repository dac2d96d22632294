//! A fake of what is outside: answers that were written down, by origin and path.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use atoll_runtime::{Body, Outbound, OutboundError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};

use crate::{Error, lines::Lines};

/// An answer that is given whatever the request was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canned {
    status: u16,
    fields: Vec<(String, String)>,
    body: Bytes,
}

impl Canned {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Its parts are those of an HTTP response.
    pub(crate) fn can_be_sent(&self) -> bool {
        self.response().is_some()
    }

    fn response(&self) -> Option<http::Response<Body>> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {}).boxed_unsync();
        let mut response = http::Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        *response.headers_mut() = fields(&self.fields).ok()?;
        Some(response)
    }
}

/// A request that a guest sent.
#[derive(Clone, Debug)]
pub struct SentRequest {
    pub method: Method,
    pub uri: Uri,
    pub fields: HeaderMap,
    pub body: Bytes,
}

/// Of a request's body; more is not kept.
const BODY: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Sent(Mutex<Vec<SentRequest>>);

impl Sent {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn all(&self) -> Vec<SentRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Scheme, host and port; the scheme's own port is not written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin(String);

impl Origin {
    /// Nothing but scheme and authority, and at most a slash behind them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/")).then_some(())?;
        Self::of(&uri)
    }

    fn of(uri: &Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
        let own = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().filter(|port| *port != own).map(|port| format!(":{port}")).unwrap_or_default();
        Some(Self(format!("{scheme}://{host}{port}")))
    }
}

pub(crate) struct Origins {
    answers: Arc<BTreeMap<Origin, BTreeMap<String, Canned>>>,
    sent: Arc<Sent>,
    lines: Arc<Lines>,
}

impl Origins {
    pub(crate) fn new(answers: BTreeMap<Origin, BTreeMap<String, Canned>>, sent: Arc<Sent>, lines: Arc<Lines>) -> Self {
        Self { answers: Arc::new(answers), sent, lines }
    }
}

impl Outbound for Origins {
    fn send(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>> {
        let (answers, sent, lines) = (self.answers.clone(), self.sent.clone(), self.lines.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = whole(body).await.ok_or(OutboundError::Protocol)?;
            let (method, uri, fields) = (head.method, head.uri, head.headers);
            let answer = Origin::of(&uri).and_then(|origin| answers.get(&origin)).and_then(|paths| {
                let whole = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                paths.get(whole).or_else(|| paths.get(uri.path())).and_then(Canned::response)
            });
            if answer.is_none() {
                lines.note(format!("denied: {method} {uri}: the test has no answer for it"));
            }
            let mut sent = sent.0.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push(SentRequest { method, uri, fields, body });
            answer.ok_or(OutboundError::Denied)
        })
    }
}

async fn whole(mut body: Body) -> Option<Bytes> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        whole.extend_from_slice(frame.ok()?.data_ref().map_or(b"", |data| data));
        (whole.len() <= BODY).then_some(())?;
    }
    Some(whole.into())
}

/// Fields as they were written down.
pub(crate) fn fields(fields: &[(String, String)]) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let wrong = |what: &str| Error::Request(format!("\"{name}: {value}\": the {what} is none of a field"));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        map.append(parsed, HeaderValue::from_str(value).map_err(|_| wrong("value"))?);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, origin) in [
            ("https://api.example.org", Some("https://api.example.org")),
            ("https://API.example.org:443/", Some("https://api.example.org")),
            ("http://api.example.org:443", Some("http://api.example.org:443")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("https://api.example.org/v1", None),
            ("https://me@api.example.org", None),
            ("ftp://api.example.org", None),
            ("api.example.org", None),
        ] {
            assert_eq!(Origin::parse(text).map(|origin| origin.0).as_deref(), origin, "{text}");
        }
    }
}
