//! Content codings of what passes by, where nobody encoded it before: piece by piece, and flushed wherever the next piece is
//! waited for, so that no event is kept back for those after it. What one encoder holds is bounded, and how many there are.

use std::{
    io::Write as _,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use atoll_runtime::BodyError;
use atoll_semantics::{
    coding::{self, Coding},
    vary,
};
use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE},
    response,
};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{
    limits::ENCODERS,
    shares::{Seat, Shares},
};

/// Encoded in one go: a third of a millisecond, as an HTTP/2 frame or a TLS record holds.
const PIECE: usize = 16 * 1024;
/// Less than this waits for more to go with it, or for a pause.
const SMALL: usize = 4 * 1024;
/// Encoded before others are let, where nothing came out.
const AT_ONCE: usize = 64 * 1024;

/// Made once and sent once: 60 to 100 MiB a second and core, and 0.7 MiB of memory. From 4 on it takes twice that.
const BROTLI_QUALITY: u32 = 3;
/// 64 KiB: a page refers to itself, and four times the window takes three times the memory.
const BROTLI_WINDOW: u32 = 16;
const BROTLI_BUFFER: usize = 4 * 1024;
/// As fast, and 0.5 MiB; 6 costs twice the time for a fiftieth of the bytes.
const GZIP_LEVEL: u32 = 4;

/// Places for bodies that are encoded on their way: so many, and of these each client its share.
pub(super) struct Encoders {
    places: Arc<Semaphore>,
    clients: Arc<Shares>,
}

/// A body is to be encoded so; its place is taken.
pub(super) struct Encoding {
    coding: Coding,
    place: Place,
}

type Place = (OwnedSemaphorePermit, Seat);

impl Default for Encoders {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(ENCODERS)), clients: Arc::default() }
    }
}

impl Encoders {
    /// Whether an answer's body is encoded on its way, in which case its head says so from here on. `request` is what was
    /// asked upstream: there, who has no wish of an encoding may have had it taken out.
    pub(super) fn settle(
        &self,
        client: IpAddr,
        request: &HeaderMap,
        answer: &mut response::Parts,
        length: Option<u64>,
    ) -> Option<Encoding> {
        let head = &mut answer.headers;
        if answer.status == StatusCode::NOT_MODIFIED {
            coding::name_encoded(request, head);
            return None;
        }
        if !is_whole(answer.status) || head.contains_key(CONTENT_RANGE) || !coding::compressible(head, length) {
            return None;
        }
        vary::add(head, &ACCEPT_ENCODING);
        // Ranges are those of the bytes as they are.
        let coding = if request.contains_key(RANGE) { Coding::Identity } else { coding::preferred(request) };
        if coding == Coding::Identity {
            return None;
        }
        let seat = self.clients.free(client, ENCODERS)?;
        let place = (self.places.clone().try_acquire_owned().ok()?, seat);
        coding::mark(head, coding);
        head.remove(CONTENT_LENGTH);
        head.remove(ACCEPT_RANGES);
        Some(Encoding { coding, place })
    }
}

/// Whether an answer of this status brings all of what it is about.
fn is_whole(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT)
}

/// A body, encoded as it comes.
pub(super) struct Encoded<B> {
    body: B,
    /// None behind the last piece.
    encoder: Option<Encoder>,
    /// What has come and is not encoded yet.
    left: Bytes,
    /// What is encoded and has not gone.
    ready: Bytes,
    /// What goes behind all of that.
    last: Option<Result<Frame<Bytes>, BodyError>>,
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Encoded<B> {
    pub(super) fn new(body: B, encoding: Encoding) -> Self {
        let encoder = Some(Encoder::new(encoding));
        Self { body, encoder, left: Bytes::new(), ready: Bytes::new(), last: None }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut done = 0;
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ready)))));
            }
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(self.last.take()) };
            if !self.left.is_empty() {
                if done >= AT_ONCE {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = self.left.split_to(self.left.len().min(PIECE));
                done += piece.len();
                self.ready = encoder.encode(&piece);
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(trailers) => self.finish(Some(Ok(trailers))),
                },
                Poll::Ready(None) => self.finish(None),
                // What came before goes out, and no end of the coding's own: it would look like a whole body.
                Poll::Ready(Some(Err(error))) => {
                    self.ready = encoder.flush();
                    self.encoder = None;
                    self.last = Some(Err(error));
                }
                Poll::Pending if encoder.holds => self.ready = encoder.flush(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn finish(&mut self, last: Option<Result<Frame<Bytes>, BodyError>>) {
        self.ready = self.encoder.take().map(Encoder::finish).unwrap_or_default();
        self.last = last;
    }

    pub(super) fn is_end(&self) -> bool {
        self.encoder.is_none() && self.ready.is_empty() && self.last.is_none()
    }
}

struct Encoder {
    writer: Writer,
    /// Whether something went in that may not have come out.
    holds: bool,
    _place: Place,
}

enum Writer {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Encoder {
    fn new(Encoding { coding, place }: Encoding) -> Self {
        let writer = match coding {
            Coding::Brotli => Writer::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Gzip => Writer::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))),
            Coding::Identity => unreachable!("settled otherwise"),
        };
        Self { writer, holds: false, _place: place }
    }

    fn encode(&mut self, piece: &[u8]) -> Bytes {
        self.holds = true;
        let written = match &mut self.writer {
            Writer::Brotli(writer) => writer.write_all(piece),
            Writer::Gzip(writer) => writer.write_all(piece),
        };
        written.expect("memory takes what is written");
        if self.written().len() < SMALL { Bytes::new() } else { self.take() }
    }

    /// All that went in comes out.
    fn flush(&mut self) -> Bytes {
        self.holds = false;
        let flushed = match &mut self.writer {
            Writer::Brotli(writer) => writer.flush(),
            Writer::Gzip(writer) => writer.flush(),
        };
        flushed.expect("memory takes what is written");
        self.take()
    }

    fn finish(self) -> Bytes {
        match self.writer {
            Writer::Brotli(writer) => writer.into_inner(),
            Writer::Gzip(writer) => writer.finish().expect("memory takes what is written"),
        }
        .into()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.written()).into()
    }

    fn written(&mut self) -> &mut Vec<u8> {
        match &mut self.writer {
            Writer::Brotli(writer) => writer.get_mut(),
            Writer::Gzip(writer) => writer.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests;
