//! A stream that is overheard: whoever wants to know what the peer said hears it as it is read, and may take it for the end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Stream, socket};

/// Told of all bytes that the peer sent, in the pieces in which they were read. An error ends the connection.
pub(crate) trait Hear: Unpin {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Asked where the peer says nothing: ready when it ought to have. An error ends the connection.
    fn poll_late(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

pub(crate) struct Ear<H> {
    pub(crate) stream: Stream,
    pub(crate) to: H,
}

impl<H: Hear> AsyncRead for Ear<H> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buffer)?.is_pending() {
            return self.to.poll_late(cx).map(Err);
        }
        if let new @ [_, ..] = &buffer.filled()[before..] {
            self.to.hear(new)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<H: Unpin> AsyncWrite for Ear<H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        socket::write(Pin::new(&mut self.stream), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
