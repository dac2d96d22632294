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

/// The same, to be kept while a guest is asked.
#[derive(Debug)]
pub(crate) struct OwnedHead {
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) fields: HeaderMap,
    pub(crate) client: IpAddr,
}

impl Head<'_> {
    pub(crate) fn owned(&self) -> OwnedHead {
        OwnedHead {
            scheme: self.scheme.into(),
            authority: self.authority.into(),
            method: self.method.clone(),
            path: self.path.into(),
            query: self.query.map(Into::into),
            fields: self.fields.clone(),
            client: self.client,
        }
    }
}

impl OwnedHead {
    pub(crate) fn borrowed(&self) -> Head<'_> {
        Head {
            scheme: &self.scheme,
            authority: &self.authority,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            fields: &self.fields,
            client: self.client,
        }
    }
}

/// A router's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Forward(Forwarding),
    Redirect { status: StatusCode, location: HeaderValue },
    Refuse { status: StatusCode, reason: String },
}

impl Decision {
    /// Bytes that it takes beside itself, about.
    pub(crate) fn weight(&self) -> usize {
        let changes = |changes: &[FieldChange]| -> usize {
            let one = |change: &FieldChange| match change {
                FieldChange::Set(name, value) | FieldChange::Add(name, value) => name.as_str().len() + value.len(),
                FieldChange::Remove(name) => name.as_str().len(),
            };
            changes.iter().map(|change| size_of::<FieldChange>() + one(change)).sum()
        };
        size_of::<Self>()
            + match self {
                Self::Redirect { location, .. } => location.len(),
                Self::Refuse { reason, .. } => reason.len(),
                Self::Forward(to) => {
                    to.upstream.len()
                        + to.strip.as_ref().map_or(0, String::len)
                        + to.add.as_ref().map_or(0, String::len)
                        + changes(&to.request_fields)
                        + changes(&to.response_fields)
                }
            }
    }
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
