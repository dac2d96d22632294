//! The body of a request on its way into an instance: while the guest waits for the client, its time does not run.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use wasmtime_wasi_http::Error;

use crate::Body;

/// When the guest last got something to work on.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Marks>);

struct Marks {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    /// The guest has asked for more, and the client has not sent it.
    waits_for_client: AtomicBool,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self(Arc::new(Marks {
            start: Instant::now(),
            last: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
        }))
    }

    /// Returns when the guest has had `timeout` to itself without a word.
    pub(crate) async fn overdue(&self, timeout: Duration) {
        loop {
            let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
            let deadline = self.0.start + last + timeout;
            tokio::time::sleep_until(deadline).await;
            if self.0.waits_for_client.load(Ordering::Relaxed) {
                self.note();
            } else if Duration::from_millis(self.0.last.load(Ordering::Relaxed)) == last {
                return;
            }
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
    }
}

pub(crate) struct Upload {
    body: Body,
    progress: Progress,
}

impl Upload {
    pub(crate) fn new(body: Body, progress: Progress) -> Self {
        Self { body, progress }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.0.waits_for_client.store(frame.is_pending(), Ordering::Relaxed);
        self.progress.note();
        frame.map_err(|_| Error::ConnectionTerminated)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    /// A guest that has let go of the body waits for nobody.
    fn drop(&mut self) {
        self.progress.0.waits_for_client.store(false, Ordering::Relaxed);
    }
}
