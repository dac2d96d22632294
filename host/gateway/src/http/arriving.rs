//! The body of a request as its client sends it. What nobody reads of it over HTTP/2 is read away for a while: a stream
//! that is reset in the midst of an upload, though by NO_ERROR (RFC 9113, section 8.1), is a failure to many clients, the
//! answer that they have already included. Over HTTP/1.1 the connection lingers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::http::{limits::LEAVE, streams::Newcomers};

pub(super) struct Arriving {
    /// There until it is dropped, or was found to be empty.
    body: Option<Incoming>,
    /// What came of it before anybody read it.
    first: Option<Frame<Bytes>>,
    /// Who polls what is left of it.
    rest: Option<Newcomers>,
}

/// Why it is not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivingError {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the client reset it")]
    Reset,
}

impl Arriving {
    pub(super) fn new(body: Incoming, version: Version, streams: &Newcomers) -> Self {
        let rest = (version == Version::HTTP_2 && !body.is_end_stream()).then(|| streams.clone());
        Self { body: Some(body), first: None, rest }
    }

    pub(super) fn empty() -> Self {
        Self { body: None, first: None, rest: None }
    }
}

impl Arriving {
    /// Waits until it is known whether there is anything in it: HTTP/2 need not say so in the head.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ArrivingError>> {
        while self.first.is_none()
            && let Some(body) = &mut self.body
        {
            match ready!(Pin::new(body).poll_frame(cx)) {
                None => {
                    self.ended()?;
                    self.body = None;
                }
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(Ok(frame)) => self.first = Some(frame),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether this was its end. Over HTTP/2 hyper calls it one too where the client reset the stream and called that no error
    /// (RFC 9113, section 8.1: that is a server's to say, behind the end of its answer).
    fn ended(&self) -> Result<(), ArrivingError> {
        let whole = self.rest.is_none() || self.body.as_ref().is_none_or(Body::is_end_stream);
        if whole { Ok(()) } else { Err(ArrivingError::Reset) }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = ArrivingError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ArrivingError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            None => Poll::Ready(self.ended().err().map(Err)),
            Some(frame) => Poll::Ready(Some(Ok(frame?))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() {
            // Of what is left, `Incoming` knows; of this it does no more.
            return SizeHint::default();
        }
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let (Some(streams), Some(body)) = (self.rest.take(), self.body.take())
            && !body.is_end_stream()
        {
            streams.begin(read_away(body));
        }
    }
}

async fn read_away(mut body: Incoming) {
    let _ = timeout(Duration::from_secs(LEAVE.into()), async { while let Some(Ok(_)) = body.frame().await {} }).await;
}
