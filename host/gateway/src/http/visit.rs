//! One request on its way through, and the one place where its response is finished: what the decision changes, what the
//! host itself says, and what the log is told.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use atoll_runtime::FieldChange;
use atoll_semantics::vary::{self, Varies};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, Version,
    header::{ACCEPT_ENCODING, CONNECTION, STRICT_TRANSPORT_SECURITY},
};
use http_body::Body as _;

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
    version: Version,
}

impl Visit {
    pub(super) fn new(ending: Ending, insist: bool, version: Version) -> Self {
        Self { ending, insist, version }
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
        let fields = response.headers_mut();
        let by_coding = |names: &[HeaderName]| names.contains(&ACCEPT_ENCODING);
        let coded = !changes.is_empty() && matches!(Varies::of(fields), Varies::By(names) if by_coding(&names));
        for change in changes {
            change.apply(fields);
        }
        // Others would be given the form that this client asked for.
        if coded {
            vary::add(fields, &ACCEPT_ENCODING);
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
        if self.version == Version::HTTP_10 && response.body().size_hint().exact().is_none() {
            // Its end is the connection's, and HTTP/1.0 is told so (RFC 9112, section 9.3).
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
