//! A request as the gateway would hand it over, in one form for routers and services.

use std::net::{IpAddr, Ipv4Addr};

use atoll_runtime::{Body, Head, Isolation};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt as _, Full};

use crate::{Error, outbound::fields};

/// A request. The path is given in its one form, as the gateway brings it to before it asks anybody.
///
/// ```
/// use atoll_testkit::Request;
///
/// let request = Request::get("/api/x?page=2").authority("a.test").field("accept", "text/html");
/// let upload = Request::new("POST", "/upload").body("a file");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    scheme: String,
    authority: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Bytes,
    client: IpAddr,
}

impl Request {
    /// To `https://localhost`, from 127.0.0.1. A query stands behind the path.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            scheme: "https".into(),
            authority: "localhost".into(),
            target: target.into(),
            fields: Vec::new(),
            body: Bytes::new(),
            client: Ipv4Addr::LOCALHOST.into(),
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(self, scheme: &str) -> Self {
        Self { scheme: scheme.into(), ..self }
    }

    /// The host name, in lower case; for services it may have a port.
    #[must_use]
    pub fn authority(self, authority: &str) -> Self {
        Self { authority: authority.into(), ..self }
    }

    /// One more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The address that it comes from.
    #[must_use]
    pub fn client(self, client: IpAddr) -> Self {
        Self { client, ..self }
    }

    pub(crate) fn checked(&self) -> Result<Checked, Error> {
        let wrong = |what: String| Err(Error::Request(what));
        let Ok(method) = Method::from_bytes(self.method.as_bytes()) else {
            return wrong(format!("\"{}\" is no method", self.method));
        };
        if !matches!(self.scheme.as_str(), "https" | "http") {
            return wrong(format!("\"{}\" is no scheme: https or http", self.scheme));
        }
        if !self.target.starts_with('/') {
            return wrong(format!("\"{}\" is no path: it begins with /", self.target));
        }
        let uri =
            Uri::builder().scheme(&*self.scheme).authority(&*self.authority).path_and_query(&*self.target).build();
        let Ok(uri) = uri else {
            return wrong(format!("\"{}://{}{}\" is no URI", self.scheme, self.authority, self.target));
        };
        Ok(Checked { method, uri, fields: fields(&self.fields)?, body: self.body.clone(), client: self.client })
    }
}

/// A request whose parts are what they should be.
pub(crate) struct Checked {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    body: Bytes,
    client: IpAddr,
}

impl Checked {
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            scheme: self.uri.scheme_str().unwrap_or_default(),
            authority: self.uri.host().unwrap_or_default(),
            method: &self.method,
            path: self.uri.path(),
            query: self.uri.query(),
            fields: &self.fields,
            client: self.client,
        }
    }

    /// As the host has it: what carries a credential or may change the guest's mind gets an instance of its own.
    pub(crate) fn isolation(&self) -> Isolation {
        match self.method.is_safe() && !self.fields.contains_key(header::AUTHORIZATION) {
            true => Isolation::Shared,
            false => Isolation::Alone,
        }
    }

    pub(crate) fn into_http(self) -> http::Request<Body> {
        let mut request = http::Request::new(Full::new(self.body).map_err(|never| match never {}).boxed_unsync());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (self.method, self.uri, self.fields);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_an_error() {
        for (request, words) in [
            (Request::get("x"), "\"x\" is no path: it begins with /"),
            (Request::get("/ x"), "\"https://localhost/ x\" is no URI"),
            (Request::get("/").authority("a b"), "\"https://a b/\" is no URI"),
            (Request::get("/").scheme("ftp"), "\"ftp\" is no scheme: https or http"),
            (Request::new("G T", "/"), "\"G T\" is no method"),
            (Request::get("/").field("a b", "c"), "\"a b: c\": the name is none of a field"),
            (Request::get("/").field("a", "b\n"), "\"a: b\n\": the value is none of a field"),
        ] {
            assert_eq!(request.checked().err().map(|error| error.to_string()), Some(words.into()));
        }
    }

    #[test]
    fn what_may_change_a_guests_mind_is_asked_alone() {
        for (request, isolation) in [
            (Request::get("/"), Isolation::Shared),
            (Request::new("HEAD", "/"), Isolation::Shared),
            (Request::get("/").field("cookie", "a=b"), Isolation::Shared),
            (Request::new("POST", "/"), Isolation::Alone),
            (Request::get("/").field("authorization", "Basic x"), Isolation::Alone),
        ] {
            assert_eq!(request.checked().unwrap().isolation(), isolation, "{request:?}");
        }
    }
}
