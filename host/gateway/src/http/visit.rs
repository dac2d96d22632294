//! One request on its way through, and the one place where its response is finished: what the decision changes, what the
//! host itself says, and what the log is told.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use atoll_runtime::FieldChange;
use http::{HeaderMap, HeaderValue, Method, Response, header::STRICT_TRANSPORT_SECURITY};

use crate::http::{
    access::{Record, Upstream},
    ending::Ending,
    payload::Payload,
    rescue::Fault,
    shares::Seat,
};

/// A year, as browsers' lists ask for; other names of the domain are their owners' business.
const INSIST: &str = "max-age=31536000";

pub(super) struct Visit {
    ending: Ending,
    /// Whether a browser may be told to come by https alone.
    insist: bool,
}

impl Visit {
    pub(super) fn new(ending: Ending, insist: bool) -> Self {
        Self { ending, insist }
    }

    pub(super) fn record(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = self.ending.record() {
            note(record);
        }
    }

    /// Until the response has ended.
    pub(super) fn hold(&mut self, seat: Option<Seat>) {
        seat.into_iter().for_each(|seat| self.ending.hold(seat));
    }

    /// Who answers, for the log.
    pub(super) fn answered_by(&mut self, upstream: impl FnOnce() -> Upstream) {
        self.record(|record| record.upstream = Some(upstream()));
    }

    /// An upstream's response.
    pub(super) fn pass(self, mut response: Response<Payload>, changes: &[FieldChange]) -> Response<Payload> {
        for change in changes {
            change.apply(response.headers_mut());
        }
        self.finish(response)
    }

    /// The host's own response.
    pub(super) fn finish(mut self, mut response: Response<Payload>) -> Response<Payload> {
        let status = response.status();
        self.record(|record| record.status = Some(status));
        // A certificate that browsers don't verify would lock them out, whoever says it.
        if self.insist {
            let insist = HeaderValue::from_static(INSIST);
            response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert(insist);
        } else {
            response.headers_mut().remove(STRICT_TRANSPORT_SECURITY);
        }
        response.map(|payload| payload.ending(self.ending))
    }

    /// What went wrong.
    pub(super) fn fail(mut self, fault: &Fault, method: &Method, request: &HeaderMap) -> Response<Payload> {
        self.record(|record| record.error = fault.reason());
        self.finish(fault.response(method, request))
    }
}

/// A response that is there, or that somebody has to be asked for. The first costs no allocation.
pub(super) enum Answering {
    Now(Option<Response<Payload>>),
    Later(Pin<Box<dyn Future<Output = Response<Payload>> + Send>>),
}

impl Answering {
    pub(super) fn now(response: Response<Payload>) -> Self {
        Self::Now(Some(response))
    }

    pub(super) fn later(response: impl Future<Output = Response<Payload>> + Send + 'static) -> Self {
        Self::Later(Box::pin(response))
    }
}

impl Future for Answering {
    type Output = Result<Response<Payload>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => Poll::Ready(Ok(response.take().expect("polled after its end"))),
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}
