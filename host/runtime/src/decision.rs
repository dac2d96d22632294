//! What a router says, parsed: field names and values, locations and statuses are checked here once, so that nothing
//! behind this has to.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The head of a request, as a router may ask about it; every part is in the form that `wit/routing.wit` promises.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `https` or `http`.
    pub scheme: &'a str,
    pub authority: &'a str,
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub fields: &'a HeaderMap,
    pub client: IpAddr,
}

/// A router's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Forward(Forwarding),
    Redirect { status: StatusCode, location: HeaderValue },
    Refuse { status: StatusCode, reason: String },
}

/// To hand the request to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// A name of the manifest; whether it is there is for the gateway to see.
    pub upstream: String,
    /// A prefix without a trailing slash, taken off the path by whole segments.
    pub strip: Option<String>,
    /// A prefix without a trailing slash, put before the path.
    pub add: Option<String>,
    pub request_fields: Vec<FieldChange>,
    pub response_fields: Vec<FieldChange>,
}

/// A change to fields; applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldChange {
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
    Remove(HeaderName),
}

impl FieldChange {
    pub fn apply(&self, fields: &mut HeaderMap) {
        match self {
            Self::Set(name, value) => drop(fields.insert(name, value.clone())),
            Self::Add(name, value) => drop(fields.append(name, value.clone())),
            Self::Remove(name) => drop(fields.remove(name)),
        }
    }
}

/// Whether `path` is `prefix` or below it, by whole segments. A trailing slash of the prefix is ignored.
pub fn under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::under;

    #[test]
    fn a_prefix_covers_whole_segments() {
        for (path, prefix, covered) in [
            ("/api", "/api", true),
            ("/api/", "/api", true),
            ("/api/x", "/api/", true),
            ("/apis", "/api", false),
            ("/", "/", true),
            ("/x", "/", true),
            ("/x", "", true),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(under(path, prefix), covered, "{path} under {prefix}");
        }
    }
}
