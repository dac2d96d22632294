//! What a service says, and what it used to say it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// The body of a message on its way in or out.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body broke off. What was read before it is not the whole.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Whether an instance has used, while it answered, anything but what its generation is made of: a clock, randomness, the
/// outbound client. Once it has, its answers may depend on it for as long as it lives.
#[derive(Debug, Default)]
pub struct Effects(AtomicBool);

impl Effects {
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// To be asked when the body has ended: a guest may use a clock while it still writes.
    pub fn marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A service's answer to one request.
pub struct Answer {
    pub response: http::Response<Body>,
    pub effects: Arc<Effects>,
}

/// Why a guest gave no answer. The words are for the log: a client sees the status that the gateway makes of it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing of this component has been proved yet, or it starts anew after traps: try again after this many seconds.
    #[error("nothing serves yet")]
    NotServing { retry_after: u64 },
    /// As many requests are waiting as may.
    #[error("overloaded")]
    Overloaded,
    #[error("timed out")]
    TimedOut,
    /// The trap, with its backtrace.
    #[error("trapped: {0}")]
    Trapped(String),
    /// It had no answer to a request whose body broke off.
    #[error("the request's body broke off")]
    Request,
    /// It returned an error, or nothing.
    #[error("no response: {0}")]
    NoResponse(String),
    /// What it returned is not a decision or a response: a location with a line feed, a status of 1000.
    #[error("bad answer: {0}")]
    BadAnswer(String),
}
