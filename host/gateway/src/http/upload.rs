//! The body of a request on its way behind us. It streams; a client that sends too little ends it, and where nobody has
//! touched it yet it can be had back, for the next that may be asked.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use atoll_runtime::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};

use crate::http::{arriving::Arriving, inbound::Line, least::Least, payload::settle, rescue::Fault};

/// What the client did, whoever says that something is wrong: it is not theirs.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Blame {
    #[error("the client sent too little")]
    Stalled,
    #[error("the request's body broke off")]
    BrokeOff,
}

impl From<Blame> for Fault {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Stalled => Self::ClientStalled,
            Blame::BrokeOff => Self::Request,
        }
    }
}

/// A body that is being sent on.
pub(super) struct Upload {
    /// None once it was given back.
    body: Option<Arriving>,
    touched: bool,
    least: Least,
    fate: Fate,
}

/// What becomes of a body, for whoever gave it away. Nothing does of one that is empty.
#[derive(Clone)]
pub(super) struct Fate(Option<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    stalled: AtomicBool,
    broke_off: AtomicBool,
    /// Whether somebody waits for the client's next bytes.
    waiting: AtomicBool,
    returned: Mutex<Option<Arriving>>,
}

impl Fate {
    /// Whether its client is why it ended.
    pub(super) fn blame(&self) -> Option<Blame> {
        let shared = self.0.as_ref()?;
        let blames = [(&shared.stalled, Blame::Stalled), (&shared.broke_off, Blame::BrokeOff)];
        blames.into_iter().find_map(|(so, blame)| so.load(Ordering::Relaxed).then_some(blame))
    }

    /// Whether whoever reads it waits for its client.
    pub(super) fn waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.waiting.load(Ordering::Relaxed))
    }

    /// The answer's body, of which an error may be due to the request's.
    pub(super) fn answering(&self, body: Body) -> Body {
        if self.0.is_none() {
            return body;
        }
        let fate = self.clone();
        body.map_err(move |error| fate.blame().map_or(error, Into::into)).boxed_unsync()
    }

    /// The body, where it was dropped untouched.
    pub(super) fn returned(&self) -> Option<Arriving> {
        match &self.0 {
            Some(shared) => shared.returned.lock().unwrap_or_else(PoisonError::into_inner).take(),
            None => Some(Arriving::empty()),
        }
    }
}

impl Upload {
    /// A body that comes over this connection.
    pub(super) fn new(body: Arriving, line: &Line) -> (Self, Fate) {
        let fate = Fate((!body.is_end_stream()).then(Arc::default));
        let (rate, window) = line.watch.body();
        (Self { body: Some(body), touched: false, least: Least::new(rate, window), fate: fate.clone() }, fate)
    }

    /// For a guest.
    pub(super) fn boxed(self) -> Body {
        if self.is_end_stream() {
            return Empty::new().map_err(|never| match never {}).boxed_unsync();
        }
        self.boxed_unsync()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        self.touched = true;
        if let Some(shared) = &self.fate.0 {
            shared.waiting.store(polled.is_pending(), Ordering::Relaxed);
        }
        if let Poll::Ready(mut frame) = polled {
            if let Some(Ok(frame)) = &mut frame {
                settle(frame);
            }
            match (&frame, &self.fate.0) {
                (Some(Ok(frame)), _) => self.least.came(frame.data_ref().map_or(0, Bytes::len)),
                (Some(Err(_)), Some(shared)) => shared.broke_off.store(true, Ordering::Relaxed),
                (Some(Err(_)) | None, _) => {}
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.least.poll_short(cx));
        if let Some(shared) = &self.fate.0 {
            shared.stalled.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Err(Blame::Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.touched
            && let Some(shared) = &self.fate.0
        {
            *shared.returned.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}
