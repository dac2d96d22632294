//! The body of a response on its way to a client: an enum, so that a remembered answer costs no box and no call through a
//! table. It counts what leaves, and turns what breaks off into an error, which ends in a reset.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use atoll_net::Incoming;
use atoll_runtime::{Body, BodyError};
use atoll_semantics::hop;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};

use crate::http::{
    encoder::{Encoded, Encoding},
    ending::Ending,
    gather::Gather,
    limits::SEND_BUFFER,
};

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the body is shorter than its content-length")]
    Short,
    #[error("the body is longer than its content-length")]
    Long,
    #[error("the upstream stopped sending")]
    Stalled,
}

/// A response's body.
pub(super) struct Payload {
    content: Content,
    /// Told how it ended; none before the response is finished.
    ending: Option<Ending>,
}

enum Content {
    Empty,
    Whole(Bytes),
    Parts(VecDeque<Bytes>),
    Guest(Box<Stream>),
    Upstream(Box<Upstream>),
    Encoded(Box<Encoded<Payload>>),
}

impl Payload {
    pub(super) fn empty() -> Self {
        Self { content: Content::Empty, ending: None }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        let content = if bytes.is_empty() { Content::Empty } else { Content::Whole(bytes) };
        Self { content, ending: None }
    }

    pub(super) fn parts(chunks: Vec<Bytes>) -> Self {
        Self { content: Content::Parts(chunks.into()), ending: None }
    }

    pub(super) fn stream(stream: Stream) -> Self {
        let content = if stream.left == Some(0) { Content::Empty } else { Content::Guest(Box::new(stream)) };
        Self { content, ending: None }
    }

    /// A body that an upstream sends; it may pause for as long as `patience`.
    pub(super) fn upstream(body: Incoming, patience: Duration) -> Self {
        Self {
            content: Content::Upstream(Box::new(Upstream { body: Gather::new(body), patience, pause: None })),
            ending: None,
        }
    }

    /// The same, encoded as it passes by; `ending` is for what comes of it.
    pub(super) fn encoded(self, encoding: Option<Encoding>) -> Self {
        match encoding {
            Some(encoding) if !self.is_end_stream() => {
                Self { content: Content::Encoded(Box::new(Encoded::new(self, encoding))), ending: None }
            }
            _ => self,
        }
    }

    fn pending<T>(&mut self) -> Poll<T> {
        if let Some(ending) = &mut self.ending {
            ending.waits_for_client(false);
        }
        Poll::Pending
    }

    /// Binds the body to what is to happen when it ends.
    pub(super) fn ending(mut self, mut ending: Ending) -> Self {
        if self.is_end_stream() {
            // Nobody would read it.
            ending.complete();
        } else {
            ending.waits_for_client(true);
            self.ending = Some(ending);
        }
        self
    }
}

impl http_body::Body for Payload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // HTTP/2 takes the next piece when there is room for it, and holds it until its client has some.
        let most = if self.ending.as_ref().is_some_and(Ending::in_pieces) { SEND_BUFFER } else { usize::MAX };
        let mut frame = match &mut self.content {
            Content::Empty => None,
            Content::Whole(bytes) => {
                let piece = piece(bytes, most);
                if bytes.is_empty() {
                    self.content = Content::Empty;
                }
                Some(Ok(Frame::data(piece)))
            }
            Content::Parts(chunks) => chunks.front_mut().map(|chunk| piece(chunk, most)).map(|piece| {
                if chunks.front().is_some_and(Bytes::is_empty) {
                    chunks.pop_front();
                }
                Ok(Frame::data(piece))
            }),
            Content::Guest(stream) => match stream.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.pending(),
            },
            Content::Upstream(upstream) => match upstream.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.pending(),
            },
            Content::Encoded(encoded) => match encoded.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.pending(),
            },
        };
        // Nothing comes behind trailers, and nobody asks for it.
        let last = if let Some(Ok(frame)) = &mut frame { settle(frame) } else { true };
        let over = last || self.is_end_stream();
        if let Some(ending) = &mut self.ending {
            ending.waits_for_client(true);
            match &frame {
                Some(Ok(frame)) => ending.sent(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(error)) => ending.broke(error.as_ref()),
                None => {}
            }
            if over {
                // What held an instance or a connection goes now, whenever the client's side is done with us.
                ending.complete();
            }
        }
        if over {
            self.content = Content::Empty;
            self.ending = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(_) => false,
            Content::Parts(chunks) => chunks.is_empty(),
            Content::Guest(stream) => stream.is_end(),
            Content::Upstream(upstream) => upstream.body.is_end_stream(),
            Content::Encoded(encoded) => encoded.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts(chunks) => SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Content::Guest(stream) => stream.left.map_or_else(SizeHint::new, SizeHint::with_exact),
            Content::Upstream(upstream) => upstream.body.size_hint(),
            Content::Encoded(_) => SizeHint::new(),
        }
    }
}

/// Takes out of trailers what may not stand there. Whether they are any.
pub(super) fn settle(frame: &mut Frame<Bytes>) -> bool {
    frame.trailers_mut().map(hop::strip_trailers).is_some()
}

/// As much as goes out at once.
fn piece(bytes: &mut Bytes, most: usize) -> Bytes {
    if bytes.len() > most { bytes.split_to(most) } else { std::mem::take(bytes) }
}

/// A guest's body as it comes: whole, or cut for a range on the way.
pub(super) struct Stream {
    /// What was read of it before.
    first: Bytes,
    body: Gather<Body>,
    /// Bytes to leave out at its head.
    skip: u64,
    /// Bytes to send, where they are known.
    left: Option<u64>,
    /// Whether more than that is an error, or nobody's business.
    cut: bool,
}

impl Stream {
    /// All of a body that is to have this length.
    pub(super) fn whole(body: Body, length: Option<u64>) -> Self {
        Self { first: Bytes::new(), body: Gather::new(body), skip: 0, left: length, cut: false }
    }

    /// What is all there.
    pub(super) fn collected(bytes: Bytes) -> Self {
        Self::resumed(bytes, http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    /// All of a body, of which the first bytes were read.
    pub(super) fn resumed(first: Bytes, body: Body) -> Self {
        Self { first, body: Gather::new(body), skip: 0, left: None, cut: false }
    }

    /// A part of it.
    pub(super) fn cut(self, skip: u64, length: u64) -> Self {
        Self { skip, left: Some(length), cut: true, ..self }
    }

    fn is_end(&self) -> bool {
        self.first.is_empty() && (self.left == Some(0) || self.left.is_none() && self.body.is_end_stream())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        loop {
            let frame = match ready!(self.body.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.left.unwrap_or(0) > 0 => return Poll::Ready(Some(Err(Broken::Short.into()))),
                None => return Poll::Ready(None),
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                // Behind a part, trailers would be those of the whole.
                Err(_) if self.cut => continue,
                Err(_) if self.left.unwrap_or(0) > 0 => return Poll::Ready(Some(Err(Broken::Short.into()))),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
            self.skip -= skipped as u64;
            drop(data.split_to(skipped));
            if let Some(left) = self.left {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                if data.len() > most {
                    if !self.cut {
                        return Poll::Ready(Some(Err(Broken::Long.into())));
                    }
                    data.truncate(most);
                }
                self.left = Some(left - data.len() as u64);
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }
}

struct Upstream {
    body: Gather<Incoming>,
    patience: Duration,
    /// Set while it says nothing.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Upstream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = self.body.poll_frame(cx) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + self.patience));
        ready!(self.pause.get_or_insert_with(deadline).as_mut().poll(cx));
        Poll::Ready(Some(Err(Broken::Stalled.into())))
    }
}

#[cfg(test)]
mod tests {
    use atoll_runtime::{Body, BodyError};
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::{Body as _, Frame};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::{Payload, Stream};

    fn body(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
        http_body_util::BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)))
    }

    /// The text that came, and what broke it off.
    async fn read(mut payload: Payload) -> (String, Option<String>) {
        let mut text = String::new();
        while let Some(frame) = payload.frame().await {
            match frame {
                Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
                Err(error) => return (text, Some(error.to_string())),
            }
            if payload.is_end_stream() {
                break;
            }
        }
        (text, None)
    }

    #[tokio::test]
    async fn a_stream_is_as_long_as_it_says() {
        let short = "the body is shorter than its content-length";
        let long = "the body is longer than its content-length";
        for (chunks, length, text, broken) in [
            (&["ab", "", "cd"][..], None, "abcd", None),
            (&["ab", "cd"], Some(4), "abcd", None),
            (&["ab", "cd"], Some(5), "abcd", Some(short)),
            (&["ab", "cd"], Some(3), "", Some(long)),
            (&["ab", "cd"], Some(2), "", Some(long)),
            (&[], Some(1), "", Some(short)),
            (&["ab"], Some(0), "", None),
            (&[], None, "", None),
        ] {
            let payload = Payload::stream(Stream::whole(body(chunks), length));
            assert_eq!(payload.size_hint().exact(), length);
            assert_eq!(read(payload).await, (text.into(), broken.map(Into::into)), "{chunks:?} {length:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_cut() {
        for (skip, length, text) in
            [(0, 6, "abcdef"), (0, 1, "a"), (1, 2, "bc"), (2, 2, "cd"), (3, 3, "def"), (5, 1, "f")]
        {
            let payload = Payload::stream(Stream::whole(body(&["ab", "cd", "ef"]), Some(6)).cut(skip, length));
            assert_eq!(read(payload).await, (text.into(), None), "{skip} {length}");
        }
        let short = Payload::stream(Stream::whole(body(&["ab"]), Some(3)).cut(1, 2));
        assert_eq!(read(short).await, ("b".into(), Some("the body is shorter than its content-length".into())));
    }

    #[tokio::test]
    async fn what_was_read_comes_first() {
        let payload = Payload::stream(Stream::resumed(Bytes::from_static(b"ab"), body(&["cd"])));
        assert_eq!(read(payload).await, ("abcd".into(), None));
    }

    #[tokio::test]
    async fn bytes_that_are_there() {
        let payload = Payload::whole(Bytes::from_static(b"abc"));
        assert_eq!((payload.size_hint().exact(), payload.is_end_stream()), (Some(3), false));
        assert_eq!(read(payload).await, ("abc".into(), None));
        let payload = Payload::parts(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert_eq!(payload.size_hint().exact(), Some(3));
        assert_eq!(read(payload).await, ("abc".into(), None));
        assert!(Payload::whole(Bytes::new()).is_end_stream());
    }
}
