//! The body of a service's answer on its way to the client: what was taken off the instance at once, and the rest from
//! wherever it comes.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::{BodyError, ctx::Given, upload::Progress};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    /// It trapped, or returned without finishing it: the log says which.
    #[error("the component ended in the middle of the body")]
    Ended,
    #[error("cut off: it was of an older generation, whose time was over")]
    Reset,
    #[error("the body is not as long as its content-length says")]
    WrongLength,
    #[error("the component gave no more of the body in time")]
    TimedOut,
}

/// What an instance and the body that it writes know of each other.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    /// Set before a store that trapped is dropped: to its body, a trap and a clean end look alike.
    broken: Arc<AtomicBool>,
    /// The body has ended, or nobody reads it any more.
    ended: CancellationToken,
    /// The guest was too slow: nobody waits for its instance any more.
    abandoned: CancellationToken,
    /// The generation's.
    reset: CancellationToken,
}

impl Fate {
    /// Of an instance of a generation that ends with `reset`.
    pub(crate) fn new(reset: CancellationToken) -> Self {
        Self { reset, ..Self::default() }
    }

    /// For one of several bodies that an instance writes: they break off together, and end apart.
    pub(crate) fn of_another_body(&self) -> Self {
        Self { ended: CancellationToken::new(), ..self.clone() }
    }

    pub(crate) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Abandons the instance when dropped, unless it is disarmed.
    pub(crate) fn guard(&self) -> DropGuard {
        self.abandoned.clone().drop_guard()
    }

    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.is_cancelled()
    }

    pub(crate) async fn abandoned(&self) {
        self.abandoned.cancelled().await;
    }

    /// Returns when nobody waits for the instance any more: it was abandoned, or its body ended `timeout` ago.
    pub(crate) async fn overstayed(&self, timeout: Duration) {
        let overstays = async {
            self.ended.cancelled().await;
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            () = overstays => {}
            () = self.abandoned() => {}
        }
    }
}

pub(crate) struct Streamed {
    taken: VecDeque<Frame<Bytes>>,
    taken_bytes: u64,
    rest: Rest,
    /// Bytes that are still to come, where the response's head says how many.
    left: Option<u64>,
    /// What is held until the body has ended.
    held: Option<Box<dyn std::any::Any + Send>>,
}

enum Rest {
    Nothing,
    /// Made by the host; no instance is held.
    Host(WasiBody),
    Guest(Box<GuestRest>),
}

struct GuestRest {
    body: WasiBody,
    fate: Fate,
    /// Of its component: how long to wait for a chunk, of the guest's own time.
    given: Arc<Given>,
    progress: Progress,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Drop for GuestRest {
    fn drop(&mut self) {
        self.fate.end();
    }
}

impl Streamed {
    pub(crate) fn whole(taken: VecDeque<Frame<Bytes>>) -> Self {
        Self::new(taken, Rest::Nothing)
    }

    pub(crate) fn from_host(taken: VecDeque<Frame<Bytes>>, body: WasiBody) -> Self {
        Self::new(taken, Rest::Host(body))
    }

    pub(crate) fn from_guest(
        taken: VecDeque<Frame<Bytes>>,
        body: WasiBody,
        fate: Fate,
        progress: Progress,
        given: Arc<Given>,
    ) -> Self {
        Self::new(taken, Rest::Guest(Box::new(GuestRest { body, fate, given, progress, waiting: None })))
    }

    /// Not whole unless it has just so many bytes. (wasi-http's own check says nothing where its channel is full.)
    pub(crate) fn of_length(mut self, length: Option<u64>) -> Self {
        self.left = length;
        self
    }

    pub(crate) fn holding(mut self, held: impl std::any::Any + Send) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    fn new(taken: VecDeque<Frame<Bytes>>, rest: Rest) -> Self {
        let taken_bytes = taken.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        Self { taken, taken_bytes, rest, left: None, held: None }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_next(cx));
        let Some(left) = self.left else { return Poll::Ready(frame) };
        let more = match &frame {
            Some(Ok(frame)) => left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Some(Err(_)) => return Poll::Ready(frame),
            None => (left == 0).then_some(0),
        };
        self.left = more;
        if more.is_none() {
            (self.taken, self.taken_bytes, self.rest) = (VecDeque::new(), 0, Rest::Nothing);
            return Poll::Ready(Some(Err(BrokenOff::WrongLength.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty()
            && self.left.is_none_or(|left| left == 0)
            && match &self.rest {
                Rest::Nothing => true,
                Rest::Host(body) => body.is_end_stream(),
                // Only its end tells whether it is whole.
                Rest::Guest(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Host(body) => body.size_hint(),
            Rest::Guest(rest) => rest.body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + self.taken_bytes);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + self.taken_bytes);
        }
        hint
    }
}

impl Streamed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.taken.pop_front() {
            self.taken_bytes -= frame.data_ref().map_or(0, |data| data.len() as u64);
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Rest::Nothing => Poll::Ready(None),
            Rest::Host(body) => Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(broken))),
            Rest::Guest(rest) => rest.poll_frame(cx),
        }
    }
}

/// What wasi-http says, in words of ours where its own mislead.
pub(crate) fn broken(error: Error) -> BodyError {
    match error {
        Error::HttpResponseBodySize(_) => BrokenOff::WrongLength.into(),
        error => error.into(),
    }
}

impl GuestRest {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let timeout = self.given.limits.timeout;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            ready!(waiting.as_mut().poll(cx));
            loop {
                let due = self.progress.due(timeout);
                if due <= Instant::now() {
                    break;
                }
                waiting.as_mut().reset(due);
                ready!(waiting.as_mut().poll(cx));
            }
            self.fate.abandon();
            self.given.tell_failed(&BrokenOff::TimedOut);
            return Poll::Ready(Some(Err(BrokenOff::TimedOut.into())));
        };
        self.waiting = None;
        match frame {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Poll::Ready(Some(Err(broken(error)))),
            None if self.fate.broken.load(Ordering::Acquire) => {
                let why = if self.fate.reset.is_cancelled() { BrokenOff::Reset } else { BrokenOff::Ended };
                Poll::Ready(Some(Err(why.into())))
            }
            None => {
                self.fate.end();
                Poll::Ready(None)
            }
        }
    }
}
