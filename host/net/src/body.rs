//! Bodies of requests that go out and of responses that come in. Both stream; nothing here gathers one.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::{http1::Http1, pool::Slot, shared::Taken};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// A request's body. Nothing is allocated for one that is empty.
#[derive(Default)]
pub(crate) struct Outgoing(Option<Sending>);

struct Sending {
    progress: Arc<Progress>,
    /// Of HTTP/2: where the whole answer is here first, the stream goes on.
    stream: Option<Arc<Taken>>,
}

/// A request's body, and what became of it so far.
pub(crate) struct Progress {
    /// None once it was had back.
    body: Mutex<Option<BoxBody>>,
    made: Instant,
    /// When something was taken last, in microseconds since then; 0 before the first.
    moved: AtomicU64,
    failed: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            body: Mutex::default(),
            made: Instant::now(),
            moved: AtomicU64::default(),
            failed: AtomicBool::default(),
        }
    }
}

impl Progress {
    /// Something was taken.
    pub(crate) fn note(&self) {
        let since = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(since.max(1), Relaxed);
    }

    /// The body, where nothing of it went out.
    pub(crate) fn untouched(&self) -> Option<Outgoing> {
        let mut body = self.body();
        if self.moved().is_some() || self.failed() { None } else { body.take().map(Outgoing::boxed) }
    }

    fn body(&self) -> MutexGuard<'_, Option<BoxBody>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something was taken from the body last, if anything was.
    pub(crate) fn moved(&self) -> Option<Instant> {
        let since = self.moved.load(Relaxed);
        (since > 0).then(|| self.made + Duration::from_micros(since))
    }

    /// Whether the body itself ended with an error.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

impl Outgoing {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if body.is_end_stream() {
            return Self::default();
        }
        Self::boxed(Box::pin(http_body_util::BodyExt::map_err(body, Into::into)))
    }

    fn boxed(body: BoxBody) -> Self {
        Self(Some(Sending {
            progress: Arc::new(Progress { body: Mutex::new(Some(body)), ..Progress::default() }),
            stream: None,
        }))
    }

    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.0.as_ref().map(|sending| sending.progress.clone())
    }

    /// Counts it on this stream.
    pub(crate) fn hold(&mut self, stream: &Arc<Taken>) {
        if let Some(sending) = &mut self.0 {
            sending.stream = Some(stream.clone());
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(Sending { progress, .. }) = &self.0 else {
            return Poll::Ready(None);
        };
        let mut body = progress.body();
        let Some(body) = &mut *body else { return Poll::Ready(None) };
        let polled = body.as_mut().poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => progress.failed.store(true, Relaxed),
            Poll::Ready(_) => progress.note(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(Sending { progress, .. }) = &self.0 else { return true };
        progress.body().as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(Sending { progress, .. }) = &self.0 else { return SizeHint::with_exact(0) };
        progress.body().as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body. Over HTTP/1.1 it drives its connection while it is read, and gives it back to the pool at its end;
/// dropped before its end, it closes the connection.
pub struct Incoming {
    body: hyper::body::Incoming,
    connection: Option<(Box<Http1>, Arc<Slot>)>,
    stream: Option<Arc<Taken>>,
}

impl Incoming {
    /// A body of HTTP/2, whose connection is driven elsewhere.
    pub(crate) fn multiplexed(body: hyper::body::Incoming, stream: Arc<Taken>) -> Self {
        let mut incoming = Self { body, connection: None, stream: Some(stream) };
        incoming.release_at_end();
        incoming
    }

    pub(crate) fn new(body: hyper::body::Incoming, connection: Box<Http1>, slot: Arc<Slot>) -> Self {
        let mut incoming = Self { body, connection: Some((connection, slot)), stream: None };
        incoming.release_at_end();
        incoming
    }

    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        self.stream = None;
        if let Some((connection, slot)) = self.connection.take() {
            connection.release(slot);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Some((connection, _)) = &mut this.connection
        {
            if connection.poll_drive(cx).is_ready() {
                this.connection = None;
            }
            polled = Pin::new(&mut this.body).poll_frame(cx);
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => (this.connection, this.stream) = (None, None),
            Poll::Ready(Some(Ok(_))) => this.release_at_end(),
            // Of chunks, nothing but the end itself says that it is there.
            Poll::Ready(None) => this.release(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
