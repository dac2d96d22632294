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

    /// Asked where the peer takes no more of what we say. Ready with what ends the connection; pending where the peer is heard
    /// out before, who may have said why.
    fn poll_cut(&mut self, error: io::Error) -> Poll<io::Error> {
        Poll::Ready(error)
    }

    /// Told that the peer says nothing any more, and asked why, where that is known better.
    fn ended(&mut self) -> Option<io::Error> {
        None
    }
}

pub(crate) struct Ear<H> {
    pub(crate) stream: Stream,
    pub(crate) to: H,
}

impl<H: Hear> AsyncRead for Ear<H> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining() > 0);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            return self.to.poll_late(cx).map(Err);
        };
        match &buffer.filled()[before..] {
            new @ [_, ..] => self.to.hear(new)?,
            [] if room => {
                if let Some(error) = self.to.ended() {
                    return Poll::Ready(Err(error));
                }
            }
            [] => {}
        }
        Poll::Ready(read)
    }
}

impl<H: Hear> Ear<H> {
    fn said(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) => self.to.poll_cut(error).map(Err),
            written => written,
        }
    }
}

impl<H: Hear> AsyncWrite for Ear<H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.said(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = socket::write(Pin::new(&mut self.stream), cx, slices);
        self.said(written)
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
