//! Small pieces of a body put together as far as they are there: a guest that writes a few bytes at a time costs neither a
//! frame nor a system call for each, and HTTP/2 clients take too many small frames for an attack. Nothing waits for more.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// What is as large passes as it is.
const SMALL: usize = 4 * 1024;
/// As much as an HTTP/2 frame or a TLS record holds.
const MOST: usize = 16 * 1024;

pub(super) struct Gather<B: Body> {
    body: B,
    /// What was read behind the last piece, and goes next.
    next: Option<Next<B::Error>>,
}

enum Next<E> {
    Frame(Frame<Bytes>),
    Broken(E),
    End,
}

impl<B: Body<Data = Bytes> + Unpin> Gather<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, next: None }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(match next {
                Next::Frame(frame) => Some(Ok(frame)),
                Next::Broken(error) => Some(Err(error)),
                Next::End => None,
            });
        }
        let first = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.len() < SMALL => data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            other => return Poll::Ready(other),
        };
        let mut gathered = None;
        while let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) {
            match next.map(|next| next.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let all = gathered.get_or_insert_with(|| BytesMut::from(&first[..]));
                    if all.len() + data.len() > MOST {
                        self.next = Some(Next::Frame(Frame::data(data)));
                        break;
                    }
                    all.extend_from_slice(&data);
                }
                Some(Ok(Err(trailers))) => {
                    self.next = Some(Next::Frame(trailers));
                    break;
                }
                Some(Err(error)) => {
                    self.next = Some(Next::Broken(error));
                    break;
                }
                None => {
                    self.next = Some(Next::End);
                    break;
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(gathered.map_or(first, BytesMut::freeze)))))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.next {
            Some(next) => matches!(next, Next::End),
            None => self.body.is_end_stream(),
        }
    }

    /// Of what the body itself still has.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.next {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use atoll_runtime::{Body, BodyError};
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::{Gather, SMALL};

    /// `-` is a pause, `!` an error, `.` trailers.
    fn gather(pieces: &[&str]) -> Gather<Body> {
        let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let frames = stream::iter(pieces).filter_map(async |piece| match piece.as_str() {
            "-" => {
                tokio::task::yield_now().await;
                None
            }
            "!" => Some(Err(BodyError::from("broken"))),
            "." => Some(Ok(Frame::trailers(HeaderMap::new()))),
            piece => Some(Ok(Frame::data(Bytes::from(piece.to_owned())))),
        });
        Gather::new(http_body_util::BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    /// What comes, frame by frame; long ones by their length.
    async fn read(mut gather: Gather<Body>) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(frame) = poll_fn(|cx| gather.poll_frame(cx)).await {
            read.push(match frame.map(Frame::into_data) {
                Ok(Ok(data)) if data.len() > 100 => data.len().to_string(),
                Ok(Ok(data)) => String::from_utf8(data.to_vec()).unwrap(),
                Ok(Err(_)) => ".".into(),
                Err(error) => error.to_string(),
            });
        }
        assert!(
            gather.is_end_stream()
                || matches!(poll_fn(|cx| Poll::Ready(gather.poll_frame(cx))).await, Poll::Ready(None))
        );
        read
    }

    #[tokio::test]
    async fn pieces_that_are_there_go_together() {
        let small = "x".repeat(SMALL - 1);
        let large = "x".repeat(SMALL);
        let (small, large) = (small.as_str(), large.as_str());
        for (pieces, expected) in [
            (&["a", "b", "c"][..], &["abc"][..]),
            (&["a", "-", "b", "c", "-", "d"], &["a", "bc", "d"]),
            (&["a", "b", "!"], &["ab", "broken"]),
            (&["a", "b", "."], &["ab", "."]),
            (&["!"], &["broken"]),
            (&[], &[]),
            (&[large, "a"], &["4096", "a"]),
            (&["a", large], &["4097"]),
            (&[small, small, small, small, small], &["16380", "4095"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|frame| (*frame).to_owned()).collect();
            assert_eq!(read(gather(pieces)).await, expected, "{}", pieces.len());
        }
    }
}
