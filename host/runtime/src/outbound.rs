//! What guests reach the network through: one request to an origin that their table lists. The host implements it over
//! its one dialler, the test kit over a table.

use futures_util::future::BoxFuture;

use crate::Body;

/// Why a guest's request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The origin is not in the component's `http` list.
    #[error("not granted")]
    Denied,
    /// The name resolved to addresses that names may not lead to.
    #[error("address not allowed")]
    AddressDenied,
    #[error("name not found")]
    NameNotFound,
    #[error("connection refused")]
    Refused,
    #[error("timed out")]
    TimedOut,
    #[error("tls failed")]
    Untrusted,
    #[error("protocol error")]
    Protocol,
}

/// Sends requests of one component.
pub trait Outbound: Send + Sync + 'static {
    /// The request's URI is absolute. The body of the answer streams.
    fn send(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>>;
}

/// Nothing is granted.
pub struct Nowhere;

impl Outbound for Nowhere {
    fn send(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>> {
        Box::pin(std::future::ready(Err(OutboundError::Denied)))
    }
}
