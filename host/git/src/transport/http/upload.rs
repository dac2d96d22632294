//! The body of a request: a message, and a pack after it that is read piece by piece as it goes out.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use atoll_send_pack::Pack;

/// What is sent; may be sent again.
#[derive(Clone, Default)]
pub(super) struct Payload {
    pub(super) message: Bytes,
    pub(super) pack: Option<Pack>,
}

pub(super) struct Upload {
    payload: Payload,
    /// Bytes that have gone out.
    sent: Arc<AtomicU64>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Payload {
    fn length(&self) -> u64 {
        self.message.len() as u64 + self.pack.as_ref().map_or(0, Pack::length)
    }
}

impl Upload {
    /// `sent` counts the bytes that have gone out.
    pub(super) fn new(payload: Payload, sent: Arc<AtomicU64>) -> Self {
        sent.store(0, Ordering::Relaxed);
        Self { payload, sent, reading: None }
    }

    fn left(&self) -> u64 {
        self.payload.length() - self.sent.load(Ordering::Relaxed)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let (sent, first) = (self.sent.load(Ordering::Relaxed), self.payload.message.len() as u64);
        let piece = if sent < first {
            self.payload.message.clone()
        } else {
            let pack = self.payload.pack.clone().expect("what is left is of the pack");
            let reading = self.reading.get_or_insert_with(|| spawn_blocking(move || pack.piece(sent - first)));
            let read = std::task::ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            Bytes::from(read.map_err(io::Error::other)??)
        };
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
