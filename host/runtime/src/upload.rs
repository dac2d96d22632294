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

use crate::{Body, Failure};

/// When the guest last got something to work on.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Marks>);

struct Marks {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    /// The guest has asked for more, and the client has not sent it.
    waits_for_client: AtomicBool,
    /// The client, or who stands between, did not bring it to its end.
    broke_off: AtomicBool,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self(Arc::new(Marks {
            start: Instant::now(),
            last: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
            broke_off: AtomicBool::new(false),
        }))
    }

    /// Returns when the guest has had `timeout` to itself without a word.
    pub(crate) async fn overdue(&self, timeout: Duration) {
        let mut due = self.due(timeout);
        while Instant::now() < due {
            tokio::time::sleep_until(due).await;
            due = self.due(timeout);
        }
    }

    /// The failure as it is to be told: what a guest makes of a body that broke off is not its own.
    pub(crate) fn told(&self, failure: Failure) -> Failure {
        match failure {
            Failure::NoResponse(_) | Failure::BadAnswer(_) if self.0.broke_off.load(Ordering::Relaxed) => {
                Failure::Request
            }
            failure => failure,
        }
    }

    /// When it will have had that, as things stand.
    pub(crate) fn due(&self, timeout: Duration) -> Instant {
        if self.0.waits_for_client.load(Ordering::Relaxed) {
            self.note();
        }
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed)) + timeout
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
        frame.map_err(|_| {
            self.progress.0.broke_off.store(true, Ordering::Relaxed);
            Error::ConnectionTerminated
        })
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
