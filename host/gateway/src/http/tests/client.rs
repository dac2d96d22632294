//! A client of a gateway under test: requests, and what it saw of their answers.

use atoll_runtime::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};

use super::fields;

/// What a client saw: the fields in the order of their names, without the date.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) head: Vec<String>,
    /// None where it broke off.
    pub(super) body: Option<Bytes>,
}

impl Seen {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().expect("it broke off")).unwrap()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(super) async fn seen<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> Seen {
    let (parts, body) = response.into_parts();
    let mut head: Vec<_> = parts
        .headers
        .iter()
        .filter(|(name, _)| *name != http::header::DATE)
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    head.sort();
    let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
    Seen { status: parts.status.as_u16(), head, body }
}

/// A connection to the gateway.
pub(super) enum Client {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<hyper::body::Incoming>, hyper::Error> {
        match self {
            Self::Http1(client) => {
                client.ready().await?;
                let (mut parts, body) = request.into_parts();
                parts.headers.entry("host").or_insert(parts.uri.authority().unwrap().as_str().parse().unwrap());
                parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
                client.send_request(Request::from_parts(parts, body)).await
            }
            Self::Http2(client) => {
                client.ready().await?;
                client.send_request(request).await
            }
        }
    }

    pub(super) async fn see(&mut self, request: Request<Body>) -> Seen {
        seen(self.send(request).await.unwrap()).await
    }

    pub(super) async fn get(&mut self, target: &str, fields: &[(&'static str, &'static str)]) -> Seen {
        self.see(get(target, fields)).await
    }
}

pub(super) fn get(target: &str, fields: &[(&'static str, &'static str)]) -> Request<Body> {
    request(Method::GET, target, fields, "")
}

pub(super) fn request(
    method: Method,
    target: &str,
    head: &[(&'static str, &'static str)],
    body: impl Into<Bytes>,
) -> Request<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = format!("https://a.test{target}").parse().unwrap();
    *request.headers_mut() = fields(head);
    request
}
