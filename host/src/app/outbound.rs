//! The way out for guests: to the origins of a component's table and to no other, through the one dialler, which checks
//! the address that it dials.

use std::collections::HashMap;

use atoll_net::{Client, DialError, Egress, Protocol, SendError, Tls};
use atoll_runtime::{Body, Outbound, OutboundError};
use futures_util::future::BoxFuture;
use http::{Uri, uri::Scheme};
use http_body_util::BodyExt as _;

use crate::manifest;

/// What one component may send to.
pub(super) struct Origins {
    client: Client,
    /// By scheme, host in lower case, port.
    allowed: HashMap<(bool, String, u16), atoll_net::Origin>,
}

impl Origins {
    /// # Errors
    /// An origin that can't be dialled, in words.
    pub(super) fn new<'a>(
        client: &Client,
        tls: &Tls,
        origins: impl IntoIterator<Item = &'a manifest::Origin>,
    ) -> Result<Self, String> {
        let mut allowed = HashMap::new();
        for origin in origins {
            let uri: Uri = origin.to_string().parse().map_err(|error| format!("{origin}: {error}"))?;
            let dialled = atoll_net::Origin::new(&uri, Protocol::Http1, tls, Egress::Public);
            let dialled = dialled.map_err(|error| format!("{origin}: {error}"))?;
            allowed.insert(key(&uri).ok_or_else(|| format!("{origin}: no origin"))?, dialled);
        }
        Ok(Self { client: client.clone(), allowed })
    }
}

impl Outbound for Origins {
    fn send(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>> {
        let origin = key(request.uri()).and_then(|key| self.allowed.get(&key)).cloned();
        let client = self.client.clone();
        Box::pin(async move {
            let origin = origin.ok_or(OutboundError::Denied)?;
            let response = client.send(&origin, request).await.map_err(|error| outcome(&error))?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

fn key(uri: &Uri) -> Option<(bool, String, u16)> {
    let secure = uri.scheme()? == &Scheme::HTTPS;
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Some((secure, uri.host()?.to_ascii_lowercase(), port))
}

fn outcome(error: &SendError) -> OutboundError {
    match error {
        SendError::Connect(DialError::AddressDenied { .. }) => OutboundError::AddressDenied,
        SendError::Connect(DialError::NameNotFound { .. }) => OutboundError::NameNotFound,
        SendError::Connect(DialError::Refused { .. } | DialError::Io { .. } | DialError::Proxy { .. }) => {
            OutboundError::Refused
        }
        SendError::Connect(DialError::TimedOut { .. } | DialError::Silent { .. }) | SendError::TimedOut { .. } => {
            OutboundError::TimedOut
        }
        SendError::Connect(DialError::Untrusted { .. } | DialError::Tls { .. }) => OutboundError::Untrusted,
        SendError::Connect(DialError::Http2 { .. })
        | SendError::Broken { .. }
        | SendError::Interim { .. }
        | SendError::Request { .. }
        | SendError::Connection { .. } => OutboundError::Protocol,
    }
}
