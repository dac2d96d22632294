//! Bodies that the host itself makes, and how to tell them from a guest's: they hold no instance.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    thread::{self, ThreadId},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error;

use crate::TreeError;

/// Tells, for one instance, whether a response's body is a `HostBody` that no guest stands before.
///
/// wasi-http hands such a body on untouched but hides its type, so it is asked by reading: while `asking` is set, a frame
/// that is read passes through us only if the body is ours.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    /// Who asks, by its thread: another thread may read another body of this instance at the same moment.
    asking: Arc<Mutex<Option<ThreadId>>>,
    host: Arc<AtomicBool>,
}

impl Origin {
    /// Reads on, and says whether the body is the host's own as well.
    pub(crate) fn poll_frame<B>(
        &self,
        body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> (Poll<Option<Result<Frame<Bytes>, Error>>>, bool)
    where
        B: http_body::Body<Data = Bytes, Error = Error>,
    {
        self.host.store(false, Ordering::Relaxed);
        self.set_asking(Some(thread::current().id()));
        let frame = body.poll_frame(cx);
        self.set_asking(None);
        (frame, self.host.load(Ordering::Relaxed))
    }

    fn set_asking(&self, asking: Option<ThreadId>) {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = asking;
    }

    /// Called by a body of ours that is read.
    fn is_ours(&self) {
        let asking = *self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.is_some_and(|asking| asking == thread::current().id()) {
            self.host.store(true, Ordering::Relaxed);
        }
    }
}

/// A body made by the host, on its way through an instance or past it.
pub(crate) struct HostBody<B> {
    inner: B,
    origin: Origin,
    end: Option<oneshot::Sender<Result<(), TreeError>>>,
}

impl<B> HostBody<B> {
    pub(crate) fn new(inner: B, origin: Origin) -> Self {
        Self { inner, origin, end: None }
    }

    /// Says how it ended.
    pub(crate) fn reporting(mut self, end: oneshot::Sender<Result<(), TreeError>>) -> Self {
        self.end = Some(end);
        self
    }
}

impl<B> http_body::Body for HostBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<crate::BodyError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.origin.is_ours();
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            None => {
                self.end(Ok(()));
                None
            }
            Some(Err(error)) => {
                let error = error.into();
                let words = error.to_string();
                let error = error.downcast::<TreeError>().map_or(TreeError::Other(words.clone()), |error| *error);
                self.end(Err(error));
                Some(Err(Error::InternalError(Some(words))))
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> HostBody<B> {
    fn end(&mut self, result: Result<(), TreeError>) {
        if let Some(end) = self.end.take() {
            let _ = end.send(result);
        }
    }
}

impl<B> Drop for HostBody<B> {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}
