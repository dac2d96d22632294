//! A request's head in the form in which it goes out over each protocol: version, target and `Host`, or `:authority`, and
//! what is said of the connection.

use http::{
    HeaderValue, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING},
    request::Parts,
    uri::Authority,
};
use http_body::Body as _;

use crate::{Origin, body::Outgoing};

/// What goes out of a head: it may be needed again.
fn request(head: &Parts, version: Version, body: Outgoing) -> Request<Outgoing> {
    let mut request = Request::new(body);
    *request.version_mut() = version;
    request.method_mut().clone_from(&head.method);
    request.uri_mut().clone_from(&head.uri);
    request.headers_mut().clone_from(&head.headers);
    request
}

/// Origin-form, and `Host`; to a proxy absolute-form (RFC 9112, section 3.2), and what it wants to see.
pub(crate) fn for_http1(origin: &Origin, head: &Parts, body: Outgoing) -> Request<Outgoing> {
    let mut request = request(head, Version::HTTP_11, body);
    let host = match request.uri().authority() {
        Some(authority) => Some(host_of(authority)),
        None if request.headers().contains_key(HOST) => None,
        None => Some(host_of(origin.authority())),
    };
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    if request.headers().contains_key(TE) {
        // RFC 9110, section 10.1.4: whoever says it names it.
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("te"));
    }
    // Of a GET hyper would send no body whose length is not known.
    if !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        *request.uri_mut() = match request.uri().path_and_query() {
            Some(target) => Uri::from(target.clone()),
            None => Uri::default(),
        };
    }
    if let (Some(proxy), None) = (&origin.target().via, &origin.target().tls) {
        *request.uri_mut() = absolute(origin, std::mem::take(request.uri_mut()), None);
        if let Some(authorization) = proxy.authorization() {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
    }
    request
}

/// The parts of the absolute form are what becomes `:scheme`, `:authority` and `:path`.
pub(crate) fn for_http2(origin: &Origin, head: &Parts, body: Outgoing) -> Request<Outgoing> {
    let mut request = request(head, Version::HTTP_2, body);
    let host = request.headers_mut().remove(HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    *request.uri_mut() = absolute(origin, std::mem::take(request.uri_mut()), host);
    request
}

/// The target with the authority that it names, else `host`, else the origin's.
fn absolute(origin: &Origin, target: Uri, host: Option<Authority>) -> Uri {
    let mut parts = target.into_parts();
    parts.authority = parts.authority.or(host).or_else(|| Some(origin.authority().clone()));
    parts.scheme = Some(origin.scheme().clone());
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).expect("all three parts are there")
}

/// Without what names a user (RFC 9110, section 4.2.4).
fn host_of(authority: &Authority) -> HeaderValue {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    HeaderValue::from_str(host).expect("an authority is made of visible characters")
}
