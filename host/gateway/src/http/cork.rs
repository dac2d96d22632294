//! A writer that gathers: HTTP asks for a flush after each response, and each would be a TLS record and a system call. A
//! flush is taken as a note here, and done when the connection's task has nothing more to do. The buffer is there only
//! while something is in it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use atoll_net::{frames::Frames, heads::Heads};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{
    break_off::BreakOff,
    limits::{CORK, DISCARDED, FAREWELL, LEAVE},
    watch::Watch,
};

/// Bytes that are read of a connection that rests: what begins a request.
const EARLY: usize = 512;

/// What HTTP/2 says when it leaves: two GOAWAY and a PING, with their frames.
const GOODBYE: usize = 128;

/// The side that HTTP writes to.
pub(super) struct Corked<I>(Arc<Mutex<Cork<I>>>);

/// The side of the connection's task. Never locked by two at once: both sides live in one task.
pub(super) struct Opener<I>(Arc<Mutex<Cork<I>>>);

/// What is heard of a client, beside what HTTP makes of it.
pub(super) enum Ear {
    Http1(Heads),
    Http2(Frames),
    /// More came than may, and no more is listened to.
    Flooded,
}

/// How much of some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    All,
    /// Then nothing else may follow but the rest.
    Part,
    Nothing,
}

struct Cork<I> {
    io: I,
    watch: Arc<Watch>,
    gathered: Vec<u8>,
    /// Of `gathered`, what has left.
    left: usize,
    /// Bytes of bodies that were taken over HTTP/2 and have not left.
    bodies: usize,
    /// Whether anything was written since the last flush.
    dirty: bool,
    failure: Option<io::Error>,
    /// Bytes written since the client was last heard; over HTTP/1.1, since its last request began.
    unheard: usize,
    ear: Ear,
    /// How much was taken of what HTTP wrote last: it holds the rest.
    taken: Taken,
    /// Whether the client leaves bytes waiting.
    blocked: bool,
    /// What came while nobody read.
    early: Vec<u8>,
}

pub(super) fn cork<I>(io: I, watch: Arc<Watch>, ear: Ear) -> Opener<I> {
    let cork = Cork {
        io,
        watch,
        gathered: Vec::new(),
        left: 0,
        bodies: 0,
        dirty: false,
        failure: None,
        unheard: 0,
        ear,
        taken: Taken::All,
        blocked: false,
        early: Vec::new(),
    };
    Opener(Arc::new(Mutex::new(cork)))
}

impl<I> Opener<I> {
    /// The other side. The one before is of no use any more.
    pub(super) fn corked(&self) -> Corked<I> {
        Corked(self.0.clone())
    }

    /// Whether nothing is under way in either direction, over HTTP/1.1.
    pub(super) fn is_quiet(&self) -> bool {
        let cork = lock(&self.0);
        let between = matches!(&cork.ear, Ear::Http1(heads) if heads.between());
        between
            && !cork.dirty
            && cork.taken == Taken::All
            && cork.gathered.is_empty()
            && cork.early.is_empty()
            && cork.failure.is_none()
    }
}

impl<I: BreakOff> Opener<I> {
    /// Dropped from now on, it is no end in order.
    pub(super) fn break_off(&self) {
        lock(&self.0).io.break_off();
    }
}

impl<I: AsyncWrite + Unpin> Opener<I> {
    /// Sends what was gathered, as far as the client takes it. Wakes the task when it takes more. An error is told to
    /// whoever writes next.
    pub(super) fn open(&self, cx: &mut Context<'_>) {
        let mut cork = lock(&self.0);
        if !cork.dirty {
            return;
        }
        let flushed = cork.flush(cx);
        // A socket has nothing to flush, and may have taken nothing all the same.
        let owes = cork.taken != Taken::All;
        cork.block(flushed.is_pending() || owes);
        match flushed {
            Poll::Ready(Ok(())) | Poll::Pending => {}
            Poll::Ready(Err(error)) => {
                cork.dirty = false;
                cork.failure = Some(error);
                // Nobody writes to a connection that waits for its client: let it find out.
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Opener<I> {
    /// Ready when there is something to read, or the end. Whoever reads next gets it.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut cork = lock(&self.0);
        let mut bytes = [0; EARLY];
        let mut buffer = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut cork.io).poll_read(cx, &mut buffer)) {
            Ok(()) => cork.early = buffer.filled().to_vec(),
            Err(error) => cork.failure = Some(error),
        }
        Poll::Ready(())
    }

    /// Whether the connection ended because its client sent more frames than it may.
    pub(super) fn flooded(&self) -> bool {
        matches!(lock(&self.0).ear, Ear::Flooded)
    }

    /// The last words to a client that broke a limit, and for a while what it still sends is read away.
    pub(super) async fn tell(&self, words: &[u8]) {
        {
            let mut cork = lock(&self.0);
            if cork.taken == Taken::Part || cork.failure.is_some() {
                return;
            }
            cork.gathered.extend_from_slice(words);
        }
        let ending = async {
            let _ = poll_fn(|cx| self.close(cx)).await;
            let mut left = DISCARDED;
            poll_fn(|cx| self.discard(cx, &mut left)).await;
        };
        let _ = tokio::time::timeout(FAREWELL, ending).await;
    }

    /// Closes in order what can be closed without waiting.
    pub(super) fn close_now(&self, cx: &mut Context<'_>) {
        let _ = self.close(cx);
    }

    /// After the end: takes what the client still sends until it closes too, since closing with unread bytes makes the
    /// kernel take back what was just sent (RFC 9112 section 9.6). Not where there was no more to send than a farewell.
    pub(super) async fn linger(&self) {
        let last_words = {
            let cork = lock(&self.0);
            cork.unheard > if matches!(cork.ear, Ear::Http2(_)) { GOODBYE } else { 0 }
        };
        if last_words {
            let ending = async {
                // HTTP may have ended without a word to the wire: a head that could not be read.
                let _ = poll_fn(|cx| self.close(cx)).await;
                let mut left = usize::MAX;
                poll_fn(|cx| self.discard(cx, &mut left)).await;
            };
            let _ = tokio::time::timeout(Duration::from_secs(LEAVE.into()), ending).await;
        }
    }

    fn close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = lock(&self.0);
        ready!(cork.flush(cx))?;
        Pin::new(&mut cork.io).poll_shutdown(cx)
    }

    fn discard(&self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let mut bytes = [0; 4096];
        while *left > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut lock(&self.0).io).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl<I: AsyncWrite + Unpin> Cork<I> {
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.dirty = false;
        Poll::Ready(Ok(()))
    }

    /// Empties the buffer.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.gathered.len() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered[self.left..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved(written);
            self.left += written;
        }
        self.gathered = Vec::new();
        self.left = 0;
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        self.unheard = self.unheard.saturating_add(length);
        self.dirty |= length > 0;
        if self.taken == Taken::All && length > 0 {
            self.taken = Taken::Nothing;
        }
        if self.gathered.len() + length > CORK {
            let sent = self.send(cx);
            self.block(sent.is_pending());
            ready!(sent)?;
        }
        if length > CORK {
            // What is large goes by without a copy.
            let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
            self.block(written.is_pending());
            let written = ready!(written)?;
            self.accepted(slices, written);
            self.moved(written);
            self.taken = if written < length { Taken::Part } else { Taken::All };
            return Poll::Ready(Ok(written));
        }
        self.taken = Taken::All;
        self.accepted(slices, length);
        if self.gathered.capacity() == 0 && length > 0 {
            self.gathered.reserve_exact(CORK);
        }
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }
}

impl<I> Cork<I> {
    /// Over HTTP/2, what a client has paid for with its window is what it takes: who asks for answers to PING takes nothing.
    fn accepted(&mut self, slices: &[IoSlice<'_>], mut length: usize) {
        let Ear::Http2(frames) = &mut self.ear else { return };
        for slice in slices {
            let part = &slice[..slice.len().min(length)];
            length -= part.len();
            self.bodies += frames.sending(part);
        }
    }

    /// So many bytes have left.
    fn moved(&mut self, bytes: usize) {
        let counted = match &mut self.ear {
            Ear::Http2(frames) => {
                frames.sent(bytes);
                let counted = bytes.min(self.bodies);
                self.bodies -= counted;
                counted
            }
            Ear::Http1(_) | Ear::Flooded => bytes,
        };
        if counted > 0 {
            self.watch.moved(counted);
        }
    }

    fn block(&mut self, blocked: bool) {
        if self.blocked != blocked {
            self.blocked = blocked;
            self.watch.block(blocked);
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a lone line feed behind the last chunk")
}

impl<I: AsyncRead + Unpin> AsyncRead for Corked<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut cork = lock(&self.0);
        if let Some(failure) = cork.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if matches!(&cork.ear, Ear::Http1(heads) if heads.refuse()) {
            return Poll::Ready(Err(refused()));
        }
        let before = buffer.filled().len();
        if cork.early.is_empty() {
            ready!(Pin::new(&mut cork.io).poll_read(cx, buffer))?;
        } else {
            let mut early = std::mem::take(&mut cork.early);
            cork.early = early.split_off(early.len().min(buffer.remaining()));
            buffer.put_slice(&early);
        }
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let Cork { watch, ear, unheard, .. } = &mut *cork;
        match ear {
            // What is said there is nobody's head.
            Ear::Http1(_) if watch.has_switched() => {}
            Ear::Http1(heads) => {
                let news = heads.received(fresh);
                if news.begun {
                    // What comes later of a request that was answered is not a word about the answer.
                    *unheard = 0;
                }
                if news.open {
                    watch.heard();
                }
                watch.vouch(news.vouched);
                if let Some(read) = news.refused {
                    buffer.set_filled(before + read);
                    return if read == 0 { Poll::Ready(Err(refused())) } else { Poll::Ready(Ok(())) };
                }
            }
            Ear::Http2(frames) => {
                *unheard = 0;
                if let Err(flood) = frames.received(fresh, watch.now()) {
                    *ear = Ear::Flooded;
                    return Poll::Ready(Err(io::Error::other(flood)));
                }
                watch.within_head(frames.within_head());
            }
            Ear::Flooded => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Corked<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done by the opener.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(lock(&self.0).failure.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = lock(&self.0);
        ready!(cork.flush(cx))?;
        Pin::new(&mut cork.io).poll_shutdown(cx)
    }
}

fn lock<I>(cork: &Mutex<Cork<I>>) -> MutexGuard<'_, Cork<I>> {
    cork.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
